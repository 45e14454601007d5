import type { DriveIdentity } from '../drive/drive.js';
import { statuses } from '../map/status.js';
import { foldPlan } from '../plan/fold.js';
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
  /** Other identities that this drive had, by the user's word (`--same-drive`), oldest first. */
  formerDrives: readonly DriveIdentity[];
}

/** Counted over all runs of the job. */
export interface Totals {
  reads: number;
  failingReads: number;
  powerCycles: number;
  resets: number;
}

export function createJobState(plan: PlanState, policy: TroublePolicy): JobState {
  return {
    plan,
    policy,
    trouble: createTrouble(),
    finishedAtCycle: plan.map.countOf(statuses.finished),
    atMs: 0,
    totals: { reads: 0, failingReads: 0, powerCycles: 0, resets: 0 },
    formerDrives: [],
  };
}

/** Applies one event to the state, in place: no I/O, no clock, no chance. */
export function foldJob(state: JobState, event: JobEvent): void {
  state.atMs = event.atMs;
  switch (event.kind) {
    case 'read':
      if (event.outcome !== 'not-attempted') state.totals.reads += 1;
      if (isFailing(event.outcome)) state.totals.failingReads += 1;
      foldPlan(state.plan, event);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'blamed':
      foldPlan(state.plan, event);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'power-cycled':
      state.totals.powerCycles += 1;
      state.finishedAtCycle = state.plan.map.countOf(statuses.finished);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'reset':
      state.totals.resets += 1;
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'trouble':
    case 'ready':
    case 'rested':
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'pass-started':
    case 'pass-ended':
    case 'classified':
      foldPlan(state.plan, event);
      return;
    case 'started':
    case 'powered-off':
    case 'power-failed':
    case 'noticed':
    case 'gave-up':
    case 'ended':
      return;
  }
}

function isFailing(outcome: string): boolean {
  return outcome === 'fault' || outcome === 'timeout' || outcome === 'gone';
}
