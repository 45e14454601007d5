import type { Extent } from '../map/extent.js';
import type { ReadEvent } from '../plan/events.js';
import type { Pass } from '../plan/pass.js';
import { type PlanStep, plan } from '../plan/planner.js';
import type { PlanState } from '../plan/state.js';
import {
  nextTroubleStep,
  type Reach,
  type Rung,
  sessionRest,
  suspicionOf,
  type TroubleStep,
} from '../power/ladder.js';
import { nextToCompare } from './compare.js';
import type { JobEventBody } from './events.js';
import { type HeatStep, heatStep } from './heat.js';
import type { JobState } from './state.js';

/** What the job does next. */
export type JobStep =
  | PlanStep
  | TroubleStep
  | HeatStep
  | { readonly kind: 'trouble'; readonly why: string; readonly from: Rung }
  /** A rest that the row wants, heads parked. */
  | { readonly kind: 'row-rest'; readonly restMs: number; readonly why: string }
  /** Everything is read: this once more, as gently as the last row read. */
  | { readonly kind: 'compare'; readonly extent: Extent; readonly pass?: Pass }
  /** The job ends, whatever its rows say. */
  | { readonly kind: 'stop'; readonly why: string }
  /** Leave the drive alone until somebody says otherwise. */
  | { readonly kind: 'idle' };

/** A step that is done by saying so. */
type SaidStep = Extract<
  JobStep,
  { kind: 'end-pass' | 'learn-physical' | 'price' | 'go-back' | 'classify' | 'trouble' }
>;

/** What is noted of it: what was decided in this state, and by what. */
export function eventOf(step: SaidStep, { plan: planState }: JobState): JobEventBody {
  switch (step.kind) {
    case 'end-pass':
      return { kind: 'pass-ended', index: step.index, why: whyEnded(planState) };
    case 'learn-physical': {
      const why = `the damage begins and ends as sectors of ${step.count} would`;
      return { kind: 'physical-learned', count: step.count, why };
    }
    case 'price': {
      const why = `nothing is left that is worth the price of ${planState.learned.price}`;
      return { kind: 'priced', price: step.price, lba: step.lba, why };
    }
    case 'go-back':
      return { kind: 'went-back', ...step.extent, why: 'a jump had left it behind' };
    case 'classify': {
      const why = 'both its edges are known: what lies between is read sector by sector';
      return { kind: 'classified', ...step.extent, status: step.status, why };
    }
    case 'trouble':
      return { kind: 'trouble', why: step.why, from: step.from };
  }
}

/** Why the row ends in this state. */
function whyEnded({ passes, passIndex, passStarted, endWanted, spent }: PlanState): string {
  const { faultsMax, durationMaxMs } = passes[passIndex] ?? {};
  if (endWanted) return 'it was asked to end';
  if (!passStarted) return 'it finds nothing to read';
  if (faultsMax && spent.faults >= faultsMax)
    return `${spent.faults} failing reads: its limit is ${faultsMax}`;
  if (durationMaxMs && spent.readMs >= durationMaxMs)
    return `${Math.round(spent.readMs)} ms of reading: its limit is ${durationMaxMs}`;
  return 'nothing is left for it to read';
}

/** The read whose failure a verdict is about. */
export function suspectOf({ plan: { suspect }, compare }: JobState): { of?: Extent } {
  const read = suspect ?? compare.suspect;
  return read ? { of: { lba: read.lba, count: read.count } } : {};
}

/** Pure: the same state and reads under way give the same step. Trouble comes before the plan, and
 * waits for what is under way. */
export function decide(state: JobState, inFlight: readonly Extent[], reach: Reach): JobStep {
  const allowed = withinRow(state, reach);
  const step =
    doubtStep(state) ?? (state.paused ? pausedStep(state, allowed) : troubleStep(state, allowed));
  if (step) return inFlight.length > 0 ? { kind: 'wait' } : step;
  const underWayCount = inFlight.reduce((sum, { count }) => sum + count, 0);
  const rest = sessionRest(state.trouble, state.policy, underWayCount);
  if (rest) return inFlight.length > 0 ? { kind: 'wait' } : rest;
  const heat = reach.temperature ? heatStep(state.heat, state.policy, state.atMs) : undefined;
  if (heat) return inFlight.length > 0 ? { kind: 'wait' } : heat;
  const planned = plan(state.plan, inFlight);
  // Verdicts reach back to the last good read, but not past the end of a pass or of what
  // a jump left behind: they come before it.
  const isEnd = planned.kind === 'end-pass' || planned.kind === 'go-back';
  if (isEnd && state.plan.blamed.length > 0) {
    return { kind: 'trouble', why: 'the last reads of the pass failed', from: 'none' };
  }
  if (planned.kind === 'finished') return compareStep(state) ?? planned;
  const wanted = planned.kind === 'read' ? rowRest(state, planned.pass) : undefined;
  if (wanted) return inFlight.length > 0 ? { kind: 'wait' } : wanted;
  return planned;
}

/** Reads again what was read, at the pace of the last row. */
function compareStep({ compare, plan: planState }: JobState): JobStep | undefined {
  const extent = nextToCompare(compare, planState);
  const pass = planState.passes.at(-1);
  return extent && { kind: 'compare', extent, ...(pass && { pass }) };
}

/** What of the path's means the row under way leaves to the ladder. */
function withinRow(
  { plan: { passes, passIndex, passStarted }, row }: JobState,
  reach: Reach,
): Reach {
  const pass = passStarted ? passes[passIndex] : undefined;
  if (!pass?.resets && pass?.powerCyclesMax === undefined) return reach;
  const { resets, powerCyclesMax = Infinity } = pass;
  const isSpent = reach.power && row.powerCycles >= powerCyclesMax;
  return {
    ...reach,
    resets: resets ? new Set(resets.filter((reset) => reach.resets.has(reset))) : reach.resets,
    power: reach.power && !isSpent,
    ...(isSpent && {
      powerRefused: `this row's budget of ${powerCyclesMax} power cycles is spent`,
    }),
  };
}

/** The rest that a row wants after so much reading or so many failing reads. */
function rowRest({ row }: JobState, { rest }: Pass): JobStep | undefined {
  if (!rest || rest.restMs <= 0) return undefined;
  const isLong = rest.afterMs > 0 && row.readingMs >= rest.afterMs;
  const isBad = rest.afterFaults > 0 && row.faults >= rest.afterFaults;
  if (!isLong && !isBad) return undefined;
  const why = isLong
    ? `after ${Math.round(row.readingMs / 1000)} s of reading`
    : `after ${row.faults} failing reads`;
  return { kind: 'row-rest', restMs: rest.restMs, why };
}

/** Even a paused job cycles the power when it is told to. */
function pausedStep(state: JobState, reach: Reach): JobStep {
  const step = state.trouble.asked
    ? nextTroubleStep(state.trouble, reach, state.policy, state.atMs)
    : undefined;
  return step ?? { kind: 'idle' };
}

function doubtStep({ doubt }: JobState): JobStep | undefined {
  if (doubt === undefined) return undefined;
  const advice =
    'what came of it is not claimed; leave the power off for a minute and run the same command again, or, where that is what the drive holds, with --trust-data';
  return { kind: 'stop', why: `${doubt}: it may be made up; ${advice}` };
}

function troubleStep(state: JobState, reach: Reach): JobStep | undefined {
  const step = nextTroubleStep(state.trouble, reach, state.policy, state.atMs);
  if (step) return step;
  const suspect = state.plan.suspect ?? state.compare.suspect;
  if (suspect) return { kind: 'trouble', why: whyOf(suspect), from: rungFor(suspect) };
  const why = suspicionOf(state.trouble);
  return why === undefined ? undefined : { kind: 'trouble', why, from: 'none' };
}

/** After silence the drive is still at work on the command, so it is aborted before anything is asked;
 * a drive that left the bus hears neither an abort nor a soft reset. */
function rungFor(suspect: ReadEvent): Rung {
  if (suspect.outcome === 'timeout') return 'abort';
  return suspect.outcome === 'gone' ? 'hard' : 'none';
}

function whyOf(suspect: ReadEvent): string {
  const place = `LBA ${suspect.lba}+${suspect.count}`;
  if (suspect.outcome === 'timeout')
    return `no answer at ${place} within ${Math.round(suspect.elapsedMs)} ms`;
  if (suspect.outcome === 'gone') return `the drive left the bus at ${place}`;
  return `unexplained error at ${place}${suspect.detail ? ` (${suspect.detail})` : ''}`;
}
