import type { DriveIdentity } from '../drive/drive.js';
import type { Extent } from '../map/extent.js';
import { statuses } from '../map/status.js';
import { packScope } from '../plan/domain.js';
import type { ReadEvent } from '../plan/events.js';
import { foldPlan } from '../plan/fold.js';
import type { Pass } from '../plan/pass.js';
import type { PlanState } from '../plan/state.js';
import { createTrouble, foldTrouble, type Trouble } from '../power/ladder.js';
import type { TroublePolicy } from '../power/policy.js';
import {
  type CompareState,
  createCompareState,
  foldCompareBlame,
  foldCompared,
  foldCompareRead,
} from './compare.js';
import type { FillRecord, JobEvent } from './events.js';
import { createHeat, foldRest, foldTemperature, type Heat } from './heat.js';

/** The whole state of a job: what the planner knows, and how the drive is. */
export interface JobState {
  readonly plan: PlanState;
  readonly policy: TroublePolicy;
  readonly trouble: Trouble;
  readonly heat: Heat;
  /** Reading again what was read. */
  readonly compare: CompareState;
  /** Progress when the power was last cycled: what the next cycle must have gained on. */
  progressAtCycle: number;
  /** Time of the last event. */
  atMs: number;
  readonly totals: Totals;
  /** Why the drive's data is not believed any more; undefined while it is. */
  doubt: string | undefined;
  /** Bytes a second that the media gave before that, for the next run to compare with; 0 = unknown. */
  mediaRate: number;
  /** Other identities that this drive had, by the user's word (`--same-drive`), oldest first. */
  formerDrives: readonly DriveIdentity[];
  /** What was written into gaps of the image, oldest first; no sector is finished by that. */
  fills: readonly FillRecord[];
  given: Given;
  /** Whether somebody wants the drive left alone. A new run starts running. */
  paused: boolean;
  /** Since the row under way began. */
  readonly row: RowCounts;
  /** Where the image began as one of several, merged. */
  merged?: MergeNote;
}

/** What an image was merged from, and how. */
export interface MergeNote {
  /** The images, and whose they were where their maps told. */
  readonly images: readonly {
    readonly image: string;
    readonly model?: string;
    readonly serial?: string;
  }[];
  readonly majority: boolean;
  /** The image that was preferred. */
  readonly prefer?: string;
  /** Sectors of which the images held different contents, and those of them that were left unread. */
  readonly conflicts: number;
  readonly unresolved: number;
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
  /** Cycles of a port whose voltage may have stayed on. */
  portResets: number;
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
    heat: createHeat(),
    compare: createCompareState(plan.sectorCount, policy.comparePercent),
    progressAtCycle: plan.map.countOf(statuses.finished),
    atMs: 0,
    totals: { reads: 0, failingReads: 0, powerCycles: 0, portResets: 0, resets: 0 },
    given,
    paused: false,
    row: { readingMs: 0, faults: 0, powerCycles: 0 },
    formerDrives: [],
    fills: [],
    doubt: undefined,
    mediaRate: 0,
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
      if (event.role === 'compare') foldCompareRead(state.compare, event);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'compared':
      foldCompared(state.compare, event);
      return;
    case 'filled':
      state.fills = [...state.fills, fillOf(event)];
      return;
    case 'varied':
      state.compare.unstable.set(event, 1);
      return;
    case 'blamed':
      foldPlan(state.plan, event);
      foldCompareBlame(state.compare, event);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'power-cycled':
      if (event.unproven) state.totals.portResets += 1;
      else state.totals.powerCycles += 1;
      state.row.powerCycles += 1;
      state.progressAtCycle = progressOf(state);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'reset':
      state.totals.resets += 1;
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'rested':
      if (event.restMs > 0) Object.assign(state.row, { readingMs: 0, faults: 0 });
      foldRest(state.heat, event.atMs, state.policy);
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'trouble':
    case 'held':
    case 'ready':
      foldTrouble(state.trouble, event, event.atMs, state.policy);
      return;
    case 'temperature':
      foldTemperature(state.heat, event, event.atMs, state.policy);
      return;
    case 'doubted':
      state.doubt = event.why;
      state.mediaRate = Math.max(state.mediaRate, event.mediaRate);
      foldPlan(state.plan, event);
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
    case 'physical-learned':
    case 'classified':
    case 'went-back':
    case 'rows-changed':
    case 'jumped':
    case 'excluded':
    case 'stepped-on':
    case 'heads-given':
    case 'image-changed':
      foldPlan(state.plan, event);
      return;
    case 'power-proven':
      if (!event.cuts) return;
      state.totals.portResets -= event.resets;
      state.totals.powerCycles += event.resets;
      return;
    case 'target-full':
    case 'target-again':
    case 'powered-off':
    case 'power-failed':
    case 'noticed':
    case 'drive-tuned':
    case 'gave-up':
    case 'acted':
    case 'hashed':
    case 'ended':
      return;
  }
}

function fillOf({ unread, unreadable, excess }: FillRecord): FillRecord {
  return {
    ...(unread !== undefined && { unread }),
    ...(unreadable !== undefined && { unreadable }),
    ...(excess !== undefined && { excess }),
  };
}

function countInRow(row: RowCounts, event: ReadEvent): void {
  row.readingMs += event.elapsedMs;
  if (isFailing(event.outcome)) row.faults += 1;
}

/** Sectors finished, and sectors compared behind that. */
export function progressOf({ plan, compare }: JobState): number {
  return plan.map.countOf(statuses.finished) + compare.cursor;
}

/** Areas whose sectors were read with different contents. */
export function unstableOf({ compare }: JobState): Extent[] {
  const areas: Extent[] = [];
  compare.unstable.forEachRun((lba, count, value) => {
    if (value !== 0) areas.push({ lba, count });
  });
  return areas;
}

function isFailing(outcome: string): boolean {
  return outcome === 'fault' || outcome === 'timeout' || outcome === 'gone';
}
