import { statuses } from '../map/status.js';
import { packScope } from '../plan/domain.js';
import type { ReadEvent } from '../plan/events.js';
import { foldPlan } from '../plan/fold.js';
import type { Pass } from '../plan/pass.js';
import type { PlanState } from '../plan/state.js';
import { createTrouble, foldTrouble, type Trouble } from '../power/ladder.js';
import type { TroublePolicy } from '../power/policy.js';
import type { JobEvent } from './events.js';

/** The whole state of a job: what the planner knows, and how the drive is. */
export interface JobState {
  readonly plan: PlanState;
  readonly policy: TroublePolicy;
  readonly trouble: Trouble;
  /** Finished sectors when the power was last cycled: what the next cycle must have gained on. */
  finishedAtCycle: number;
  /** Time of the last event. */
  atMs: number;
  readonly totals: Totals;
  given: Given;
  /** Whether somebody wants the drive left alone. A new run starts running. */
  paused: boolean;
  /** Since the row under way began. */
  readonly row: RowCounts;
}

/** What a row is limited by. */
export interface RowCounts {
  /** The drive's own time for reads, and reads that failed, both since the last rest. */
  readingMs: number;
  faults: number;
  powerCycles: number;
}

/** What the job was told at its start, before anybody changed it while it ran. */
export interface Given {
  readonly passes: readonly Pass[];
  /** The domain, packed; absent: the whole drive. */
  readonly scope?: readonly number[];
}

/** Counted over all runs of the job. */
export interface Totals {
  reads: number;
  failingReads: number;
  powerCycles: number;
  resets: number;
}

export function createJobState(
  plan: PlanState,
  policy: TroublePolicy,
  given: Given = givenOf(plan),
): JobState {
  return {
    plan,
    policy,
    trouble: createTrouble(),
    finishedAtCycle: plan.map.countOf(statuses.finished),
    atMs: 0,
    totals: { reads: 0, failingReads: 0, powerCycles: 0, resets: 0 },
    given,
    paused: false,
    row: { readingMs: 0, faults: 0, powerCycles: 0 },
  };
}

function givenOf({ passes, scope }: PlanState): Given {
  const packed = packScope(scope);
  return { passes, ...(packed && { scope: packed }) };
}

/** Applies one event to the state, in place: no I/O, no clock, no chance. */
export function foldJob(state: JobState, event: JobEvent): void {
  state.atMs = event.atMs;
  switch (event.kind) {
    case 'read':
      if (event.outcome !== 'not-attempted') state.totals.reads += 1;
      if (isFailing(event.outcome)) state.totals.failingReads += 1;
      if (event.role === 'pass') countInRow(state.row, event);
      foldPlan(state.plan, event);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'blamed':
      foldPlan(state.plan, event);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'power-cycled':
      state.totals.powerCycles += 1;
      state.row.powerCycles += 1;
      state.finishedAtCycle = state.plan.map.countOf(statuses.finished);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'reset':
      state.totals.resets += 1;
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'rested':
      if (event.restMs > 0) Object.assign(state.row, { readingMs: 0, faults: 0 });
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'trouble':
    case 'ready':
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'pass-started':
      Object.assign(state.row, { readingMs: 0, faults: 0, powerCycles: 0 });
      foldPlan(state.plan, event);
      return;
    case 'paused':
      state.paused = true;
      return;
    case 'started':
    case 'resumed':
      state.paused = false;
      return;
    case 'pass-ended':
    case 'priced':
    case 'classified':
    case 'went-back':
    case 'rows-changed':
    case 'jumped':
    case 'excluded':
    case 'stepped-on':
      foldPlan(state.plan, event);
      return;
    case 'power-failed':
    case 'noticed':
    case 'drive-tuned':
    case 'gave-up':
    case 'ended':
      return;
  }
}

function countInRow(row: RowCounts, event: ReadEvent): void {
  row.readingMs += event.elapsedMs;
  if (isFailing(event.outcome)) row.faults += 1;
}

function isFailing(outcome: string): boolean {
  return outcome === 'fault' || outcome === 'timeout' || outcome === 'gone';
}
