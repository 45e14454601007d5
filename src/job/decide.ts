import type { Extent } from '../map/extent.js';
import type { ReadEvent } from '../plan/events.js';
import { type PlanStep, plan } from '../plan/planner.js';
import {
  nextTroubleStep,
  type Reach,
  type Rung,
  sessionRest,
  suspicionOf,
  type TroubleStep,
} from '../power/ladder.js';
import { nextToCompare } from './compare.js';
import type { JobState } from './state.js';

/** What the job does next. */
export type JobStep =
  | PlanStep
  | TroubleStep
  /** Everything is read: this once more. */
  | { readonly kind: 'compare'; readonly extent: Extent }
  /** The job ends, whatever its rows say. */
  | { readonly kind: 'stop'; readonly why: string }
  | { readonly kind: 'trouble'; readonly why: string; readonly from: Rung };

/** Pure: the same state and reads under way give the same step. Trouble comes before the plan, and
 * waits for what is under way. */
export function decide(state: JobState, inFlight: readonly Extent[], reach: Reach): JobStep {
  const step = doubtStep(state) ?? troubleStep(state, reach);
  if (step) return inFlight.length > 0 ? { kind: 'wait' } : step;
  const underWayCount = inFlight.reduce((sum, { count }) => sum + count, 0);
  const rest = sessionRest(state.trouble, state.policy, underWayCount);
  if (rest) return inFlight.length > 0 ? { kind: 'wait' } : rest;
  const planned = plan(state.plan, inFlight);
  // Verdicts reach back to the last good read, but not past the end of a pass: they come before it.
  if (planned.kind === 'end-pass' && state.plan.blamed.length > 0) {
    return { kind: 'trouble', why: 'the last reads of the pass failed', from: 'none' };
  }
  if (planned.kind === 'finished') {
    const extent = nextToCompare(state.compare, state.plan);
    if (extent) return { kind: 'compare', extent };
  }
  return planned;
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
