import { z } from 'zod';
import type { DriveIdentity } from '../drive/drive.js';
import type { RunMap } from '../map/run-map.js';
import type { StatusCode } from '../map/status.js';
import type { Pass } from '../plan/pass.js';
import { notes } from '../plan/pass.js';
import { createPlanState } from '../plan/state.js';
import type { DriveKind } from '../power/policy.js';
import { troublePolicies } from '../power/policy.js';
import { driveIdentitySchema } from './identity.js';
import { createJobState, type JobState, unstableOf } from './state.js';

const count = z.number().int().nonnegative();

/** A read event, as `ReadEvent` has it. */
const suspectSchema = z.object({
  kind: z.literal('read'),
  role: z.enum(['pass', 'reference', 'compare']),
  lba: count,
  count,
  outcome: z.enum(['good', 'slow', 'fault', 'timeout', 'not-attempted', 'gone']),
  goodCount: count,
  elapsedMs: z.number(),
  cause: z.enum(['medium', 'unexplained']).exactOptional(),
  faultLba: count.exactOptional(),
  detail: z.string().exactOptional(),
});

/** What a checkpoint holds beside the map, so that a resume goes on where the job was. It comes back
 * from a disk, so it is validated like any input; one that does not fit is treated as absent. */
const snapshotSchema = z.object({
  version: z.literal(1),
  drive: driveIdentitySchema,
  driveKind: z.enum(Object.keys(troublePolicies) as [DriveKind, ...DriveKind[]]),
  physicalCount: count,
  /** The rows in force: a resume with other rows starts them from the first, on the same map. */
  passes: z.array(z.unknown()),
  passIndex: count,
  passStarted: z.boolean(),
  cursor: count,
  skipCount: count,
  skipOrigin: count,
  /** Triples of LBA, count and note. */
  notes: z.array(count),
  /** Triples of LBA, count and former status. */
  blamed: z.array(count),
  suspect: suspectSchema.nullable(),
  acquittals: z.object({ lba: count, count }),
  hangs: z.object({ lba: count, count }).default({ lba: 0, count: 0 }),
  /** Why there was trouble, while there was. */
  trouble: z.string().nullable(),
  finishedAtCycle: count,
  compareCursor: count.default(0),
  /** Pairs of LBA and count. */
  unstable: z.array(count).default([]),
  mediaRate: z.number().nonnegative().default(0),
  formerDrives: z.array(driveIdentitySchema).default([]),
  totals: z.object({ reads: count, failingReads: count, powerCycles: count, resets: count }),
});

export type Snapshot = z.infer<typeof snapshotSchema>;

/** Everything of a state but its map, as plain JSON data. */
export function snapshotOf(state: JobState, drive: DriveIdentity, driveKind: DriveKind): Snapshot {
  const { plan } = state;
  const noted: number[] = [];
  plan.notes.forEachRun((lba, runCount, value) => {
    if (value !== notes.none) noted.push(lba, runCount, value);
  });
  return {
    version: 1,
    drive,
    driveKind,
    physicalCount: plan.physicalCount,
    passes: [...plan.passes],
    passIndex: plan.passIndex,
    passStarted: plan.passStarted,
    cursor: plan.cursor,
    skipCount: plan.skipCount,
    skipOrigin: plan.skipOrigin,
    notes: noted,
    blamed: plan.blamed.flatMap(({ lba, count: blamedCount, former }) => [
      lba,
      blamedCount,
      former,
    ]),
    suspect: plan.suspect ?? null,
    acquittals: plan.acquittals,
    hangs: plan.hangs,
    trouble: state.trouble.why ?? null,
    finishedAtCycle: state.progressAtCycle,
    compareCursor: state.compare.cursor,
    unstable: unstableOf(state).flatMap((area) => [area.lba, area.count]),
    mediaRate: state.mediaRate,
    formerDrives: [...state.formerDrives],
    totals: { ...state.totals },
  };
}

/** A snapshot from untrusted data; undefined when it is none of ours. */
export function parseSnapshot(value: unknown): Snapshot | undefined {
  const parsed = snapshotSchema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

/** The state that a snapshot and its map describe. Where `passes` differ from the snapshot's, the map
 * and the notes are kept and the passes begin with the first. `physicalCount` overrides what was known of
 * the physical sector. */
export function restoreState(
  snapshot: Snapshot,
  map: RunMap,
  passes: readonly Pass[],
  driveKind: DriveKind,
  physicalCount = snapshot.physicalCount,
): JobState {
  const { drive } = snapshot;
  const { sectorCount, sectorBytes } = drive;
  const plan = createPlanState({ sectorCount, sectorBytes, physicalCount, passes, map });
  for (const [lba, runCount, value] of triples(snapshot.notes, sectorCount)) {
    plan.notes.set({ lba, count: runCount }, value);
  }
  if (JSON.stringify(passes) === JSON.stringify(snapshot.passes)) {
    plan.passIndex = Math.min(snapshot.passIndex, passes.length);
    plan.passStarted = snapshot.passStarted;
    plan.cursor = Math.min(snapshot.cursor, sectorCount);
    plan.skipCount = snapshot.skipCount;
    plan.skipOrigin = Math.min(snapshot.skipOrigin, sectorCount);
  }
  for (const [lba, runCount, former] of triples(snapshot.blamed, sectorCount)) {
    plan.blamed.push({ lba, count: runCount, former: Math.min(former, 4) as StatusCode });
  }
  plan.suspect = snapshot.suspect ?? undefined;
  const state = createJobState(plan, troublePolicies[driveKind]);
  plan.acquittals = snapshot.acquittals;
  plan.hangs = snapshot.hangs;
  state.trouble.why = snapshot.trouble ?? undefined;
  Object.assign(state.totals, snapshot.totals);
  state.progressAtCycle = snapshot.finishedAtCycle;
  state.compare.cursor = Math.min(snapshot.compareCursor, sectorCount);
  for (let at = 0; at + 1 < snapshot.unstable.length; at += 2) {
    const [lba, runCount] = snapshot.unstable.slice(at, at + 2) as [number, number];
    if (lba + runCount <= sectorCount) state.compare.unstable.set({ lba, count: runCount }, 1);
  }
  state.mediaRate = snapshot.mediaRate;
  state.formerDrives = snapshot.formerDrives;
  return state;
}

function triples(flat: readonly number[], sectorCount: number): [number, number, number][] {
  const found: [number, number, number][] = [];
  for (let at = 0; at + 2 < flat.length; at += 3) {
    const [lba, runCount, value] = flat.slice(at, at + 3) as [number, number, number];
    if (lba + runCount <= sectorCount && value <= 255) found.push([lba, runCount, value]);
  }
  return found;
}
