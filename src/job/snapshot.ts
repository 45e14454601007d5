import { deflateSync, inflateSync } from 'node:zlib';
import { z } from 'zod';
import type { DriveIdentity } from '../drive/drive.js';
import { plainFile } from '../image/image-form.js';
import { type Extent, endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { type StatusCode, statuses } from '../map/status.js';
import { packScope, unpackScope } from '../plan/domain.js';
import { bandsOfHeads, createGivenHeads } from '../plan/head-map.js';
import { headMapDataSchema } from '../plan/head-map-schema.js';
import { type LearnedData, learnedData, recallLearned } from '../plan/learned.js';
import type { Pass } from '../plan/pass.js';
import { notes } from '../plan/pass.js';
import { passSchema } from '../plan/pass-schema.js';
import { createPlanState, type PlanState } from '../plan/state.js';
import { createTrouble } from '../power/ladder.js';
import type { DriveKind } from '../power/policy.js';
import { troublePolicies } from '../power/policy.js';
import { caseDataSchema } from './case-data.js';
import { driveIdentitySchema, physicalCountMax } from './identity.js';
import { createJobState, foldJob, type Given, type JobState, unstableOf } from './state.js';

const count = z.number().int().nonnegative();

const physicalCount = count.min(1).max(physicalCountMax);

const extent = z.object({ lba: count, count });

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

/** Most hashes of the image that a checkpoint keeps itself. */
export const imageSamplesMax = 8;

const digits = z.string().regex(/^-?\d{1,20}$/);

/** An `ImageRecord`. */
const imageRecordSchema = z.object({
  sizeBytes: count,
  modifiedNs: digits,
  device: digits,
  inode: digits,
  samples: z
    .array(
      z.object({ lba: count, count: count.min(1), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
    )
    .max(imageSamplesMax),
});
const formSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('file') }),
  z.object({
    kind: z.literal('split'),
    partBytes: count.min(1),
    partIds: z.array(z.string()).readonly().exactOptional(),
  }),
  z.object({
    kind: z.literal('target'),
    target: z.object({
      model: z.string(),
      serial: z.string(),
      sizeBytes: count,
      sectorBytes: count,
    }),
  }),
]);

const fillsSchema = z.array(
  z.object({
    unread: z.string().exactOptional(),
    unreadable: z.string().exactOptional(),
    excess: z.string().exactOptional(),
  }),
);

/** A `MergeNote`. */
export const mergeNoteSchema = z.object({
  images: z.array(
    z.object({
      image: z.string(),
      model: z.string().exactOptional(),
      serial: z.string().exactOptional(),
    }),
  ),
  majority: z.boolean(),
  prefer: z.string().exactOptional(),
  conflicts: count,
  unresolved: count,
});

/** What a checkpoint holds beside the map, so that a resume goes on where the job was. It comes back
 * from a disk, so it is validated like any input; one that does not fit is treated as absent. */
const snapshotSchema = z.object({
  version: z.literal(1),
  drive: driveIdentitySchema,
  driveKind: z.enum(Object.keys(troublePolicies) as [DriveKind, ...DriveKind[]]),
  physicalCount,
  physicalKnown: z.boolean().default(true),
  physicalSeen: physicalCount.exactOptional(),
  /** The rows in force. */
  passes: z.array(z.unknown()),
  /** The domain, as `packScope` has it; absent: the whole drive. */
  scope: z.array(count).exactOptional(),
  /** Rows and domain as they were given at the start, where they were changed since. */
  given: z
    .object({ passes: z.array(z.unknown()), scope: z.array(count).exactOptional() })
    .exactOptional(),
  passIndex: count,
  passStarted: z.boolean(),
  cursor: count,
  bounds: extent.exactOptional(),
  jumpedOver: z.array(extent).exactOptional(),
  jumpedTo: count.exactOptional(),
  endWanted: z.boolean().exactOptional(),
  skipCount: count,
  skipOrigin: count,
  /** Triples of LBA, count and note. */
  notes: z.array(count),
  /** Triples of LBA, count and former status. */
  blamed: z.array(count),
  suspect: suspectSchema.nullable(),
  /** What was learned of the drive, `cells` and `hopes` deflated and in base 64; absent in older checkpoints. */
  learned: z
    .object({
      numbers: z.record(z.string(), z.number()),
      typicalMs: z.array(z.number()),
      cells: z.string(),
      hopes: z.string().exactOptional(),
    })
    .optional(),
  /** What was said of heads, and which of them were thought weak when that was last learned. */
  heads: z
    .object({
      given: headMapDataSchema.exactOptional(),
      weak: z
        .object({
          /** Pairs of LBA and count; none where the head map has the bands of `numbers`. */
          bands: z.array(count),
          numbers: z.array(count).exactOptional(),
          reaches: z.array(z.number().positive()).exactOptional(),
          heads: count,
          slowness: z.number().min(1),
          spotRate: z.number().nonnegative(),
          evidence: z.number().exactOptional(),
        })
        .exactOptional(),
    })
    .exactOptional(),
  spent: z.object({ faults: count, readMs: z.number().nonnegative() }),
  hangs: z.object({ lba: count, count }),
  acquittals: z.object({ lba: count, count }),
  placeVerdicts: count.default(0),
  unproven: count.default(0),
  /** Why there was trouble, while there was. */
  trouble: z.string().nullable(),
  finishedAtCycle: count,
  /** What the row under way is limited by. */
  row: z.object({ readingMs: z.number(), faults: count, powerCycles: count }).exactOptional(),
  compareCursor: count.default(0),
  comparedCount: count.default(0),
  comparePercent: z.number().min(0).max(100).exactOptional(),
  /** Pairs of LBA and count. */
  unstable: z.array(count).default([]),
  mediaRate: z.number().nonnegative().default(0),
  formerDrives: z.array(driveIdentitySchema).default([]),
  /** A second reading that failed, until the verdict, and how often in a row. */
  compare: z.object({ suspect: suspectSchema.exactOptional(), failures: count }).exactOptional(),
  /** Whose case it is. */
  caseData: caseDataSchema.exactOptional(),
  /** The last line of the event log that was durable before this checkpoint. */
  log: z.object({ n: count, hash: z.string().regex(/^[0-9a-f]{64}$/) }).exactOptional(),
  /** What the image was like when it was last synced. */
  image: imageRecordSchema.exactOptional(),
  /** What the image is made of; absent in older checkpoints: a plain file. */
  form: formSchema.default({ kind: 'file' }),
  /** What was written to it that was not read, oldest first. */
  fills: fillsSchema.default([]),
  merged: mergeNoteSchema.exactOptional(),
  totals: z.object({
    reads: count,
    failingReads: count,
    powerCycles: count,
    portResets: count.default(0),
    resets: count,
  }),
});

export type Snapshot = z.infer<typeof snapshotSchema>;

/** Everything of a state but its map, as plain JSON data. `beside` is what the case keeps with it. */
export function snapshotOf(
  state: JobState,
  drive: DriveIdentity,
  driveKind: DriveKind,
  beside: Partial<Pick<Snapshot, 'caseData' | 'log' | 'image' | 'form'>> = {},
): Snapshot {
  const { plan, compare } = state;
  const noted: number[] = [];
  plan.notes.forEachRun((lba, runCount, value) => {
    if (value !== notes.none) noted.push(lba, runCount, value);
  });
  const scope = packScope(plan.scope);
  const isChanged = state.given.passes !== plan.passes || !isSame(state.given.scope, scope);
  return {
    version: 1,
    drive,
    driveKind,
    physicalCount: plan.physicalCount,
    physicalKnown: plan.physicalKnown,
    ...(plan.physicalSeen !== undefined && { physicalSeen: plan.physicalSeen }),
    passes: [...plan.passes],
    ...(scope && { scope }),
    ...(isChanged && { given: givenAsData(state.given) }),
    passIndex: plan.passIndex,
    passStarted: plan.passStarted,
    cursor: plan.cursor,
    bounds: plan.bounds,
    jumpedOver: [...plan.jumpedOver],
    ...(plan.jumpedTo !== undefined && { jumpedTo: plan.jumpedTo }),
    endWanted: plan.endWanted,
    skipCount: plan.skipCount,
    skipOrigin: plan.skipOrigin,
    notes: noted,
    blamed: plan.blamed.flatMap(({ lba, count: blamedCount, former }) => [
      lba,
      blamedCount,
      former,
    ]),
    suspect: plan.suspect ? suspectSchema.parse(plan.suspect) : null,
    learned: packLearned(plan),
    heads: packHeads(plan),
    spent: { ...plan.spent },
    hangs: plan.hangs,
    acquittals: plan.acquittals,
    placeVerdicts: plan.placeVerdicts,
    unproven: plan.unproven,
    trouble: state.trouble.why ?? null,
    finishedAtCycle: state.progressAtCycle,
    row: { ...state.row },
    compareCursor: state.compare.cursor,
    comparedCount: state.compare.comparedCount,
    comparePercent: state.compare.percent,
    unstable: unstableOf(state).flatMap((area) => [area.lba, area.count]),
    mediaRate: state.mediaRate,
    formerDrives: [...state.formerDrives],
    ...((compare.suspect || compare.failures > 0) && {
      compare: {
        ...(compare.suspect && { suspect: suspectSchema.parse(compare.suspect) }),
        failures: compare.failures,
      },
    }),
    fills: [...state.fills],
    form: plainFile,
    ...beside,
    ...(state.merged && { merged: { ...state.merged, images: [...state.merged.images] } }),
    totals: { ...state.totals },
  };
}

/** A snapshot from untrusted data; undefined when it is none of ours. */
export function parseSnapshot(value: unknown): Snapshot | undefined {
  const parsed = snapshotSchema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

function givenAsData({ passes, scope }: Given): NonNullable<Snapshot['given']> {
  return { passes: [...passes], ...(scope && { scope: [...scope] }) };
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

export interface RestoreOptions {
  readonly map: RunMap;
  readonly driveKind: DriveKind;
  /** Overrides what was known of the physical sector. */
  readonly physicalCount?: number;
}

/** The state that a snapshot and its map describe, with rows and domain of its own. Rows that this version
 * does not understand are none: then map and notes are all that is left. */
export function restoreState(snapshot: Snapshot, options: RestoreOptions): JobState {
  const { drive } = snapshot;
  const { sectorCount, sectorBytes } = drive;
  const { map, driveKind } = options;
  const physicalCount = options.physicalCount ?? snapshot.physicalCount;
  const passes = rowsOf(snapshot.passes);
  const scope = unpackScope(snapshot.scope, sectorCount);
  const physicalKnown = options.physicalCount !== undefined || snapshot.physicalKnown;
  const drivePlan = { sectorCount, sectorBytes, physicalCount, physicalKnown };
  const plan = createPlanState({ ...drivePlan, passes, map, scope });
  if (!physicalKnown) plan.physicalSeen = snapshot.physicalSeen;
  for (const [lba, runCount, value] of triples(snapshot.notes, sectorCount)) {
    plan.notes.set({ lba, count: runCount }, value);
  }
  restorePosition(plan, snapshot);
  for (const [lba, runCount, former] of triples(snapshot.blamed, sectorCount)) {
    // Finished sectors are never blamed; the map must not come to claim them by a verdict.
    if (former >= statuses.finished) continue;
    plan.blamed.push({ lba, count: runCount, former: former as StatusCode });
  }
  plan.suspect = snapshot.suspect ?? undefined;
  const state = createJobState(plan, troublePolicies[driveKind], givenOf(snapshot, passes));
  plan.hangs = snapshot.hangs;
  plan.acquittals = snapshot.acquittals;
  plan.placeVerdicts = snapshot.placeVerdicts;
  plan.unproven = snapshot.unproven;
  if (snapshot.heads?.given)
    plan.learned.given = createGivenHeads(snapshot.heads.given, sectorCount, physicalCount);
  if (snapshot.learned) unpackLearned(plan, snapshot.learned);
  if (snapshot.heads) unpackWeak(plan, snapshot.heads.weak);
  state.trouble.why = snapshot.trouble ?? undefined;
  Object.assign(state.totals, snapshot.totals);
  Object.assign(state.row, snapshot.row);
  state.progressAtCycle = snapshot.finishedAtCycle;
  restoreCompare(state, snapshot, snapshot.driveKind === driveKind);
  state.mediaRate = snapshot.mediaRate;
  state.formerDrives = snapshot.formerDrives;
  state.fills = snapshot.fills;
  if (snapshot.merged) state.merged = snapshot.merged;
  return state;
}

function restoreCompare(
  { compare, plan }: JobState,
  snapshot: Snapshot,
  isSameKind: boolean,
): void {
  compare.cursor = Math.min(snapshot.compareCursor, plan.sectorCount);
  compare.comparedCount = snapshot.comparedCount;
  // Another kind of drive has another share, unless somebody asks again.
  if (isSameKind) compare.percent = snapshot.comparePercent ?? compare.percent;
  for (let at = 0; at + 1 < snapshot.unstable.length; at += 2) {
    const [lba, runCount] = snapshot.unstable.slice(at, at + 2) as [number, number];
    if (lba + runCount <= plan.sectorCount) compare.unstable.set({ lba, count: runCount }, 1);
  }
  compare.suspect = snapshot.compare?.suspect;
  compare.failures = snapshot.compare?.failures ?? 0;
}

function rowsOf(values: readonly unknown[]): readonly Pass[] {
  const parsed = z.array(passSchema).safeParse(values);
  return parsed.success ? parsed.data : [];
}

function givenOf({ given, scope }: Snapshot, passes: readonly Pass[]): Given {
  if (given) return { passes: rowsOf(given.passes), ...(given.scope && { scope: given.scope }) };
  return { passes, ...(scope && { scope }) };
}

function packLearned({ learned }: PlanState): NonNullable<Snapshot['learned']> {
  const { numbers, cells, hopes, typicalMs } = learnedData(learned);
  return {
    numbers: { ...numbers },
    typicalMs: [...typicalMs],
    cells: deflateSync(cells).toString('base64'),
    ...(hopes && { hopes: deflateSync(hopes).toString('base64') }),
  };
}

/** Throws where it is damaged, or more than so many bytes. */
function inflated(text: string, maxOutputLength: number): Float32Array {
  const bytes = inflateSync(Buffer.from(text, 'base64'), { maxOutputLength });
  return new Float32Array(new Uint8Array(bytes).buffer);
}

/** What does not fit this drive is not believed: then it is learned anew. */
function unpackLearned(plan: PlanState, packed: NonNullable<Snapshot['learned']>): void {
  const { learned, map } = plan;
  try {
    const most = learnedData(learned).cells.byteLength;
    const numbers = packed.numbers as LearnedData['numbers'];
    const cells = inflated(packed.cells, most);
    const hopes = packed.hopes === undefined ? undefined : inflated(packed.hopes, most);
    recallLearned(learned, { typicalMs: packed.typicalMs, numbers, cells, hopes }, map);
  } catch {
    // Damaged or of another size.
  }
}

type PackedHeads = NonNullable<Snapshot['heads']>;

function packHeads({ learned: { given, heads } }: PlanState): PackedHeads {
  if (!heads) return { ...(given && { given: given.data }) };
  const { weak, numbers, reaches, ...same } = heads;
  const bands = numbers ? [] : weak.flatMap(({ lba, count: length }) => [lba, length]);
  return {
    ...(given && { given: given.data }),
    weak: {
      ...same,
      bands,
      ...(numbers && { numbers: [...numbers] }),
      ...(reaches && { reaches: [...reaches] }),
    },
  };
}

/** As it was learned last, not as the map would teach it now: the plan goes on as it would have. */
function unpackWeak({ learned, sectorCount }: PlanState, packed: PackedHeads['weak']): void {
  learned.heads = undefined;
  if (!packed) return;
  const { bands, numbers, ...same } = packed;
  if (numbers) {
    if (learned.given)
      learned.heads = { ...same, numbers, weak: bandsOfHeads(learned.given, numbers) };
    return;
  }
  const weak: Extent[] = [];
  for (let at = 0; at + 1 < bands.length; at += 2) {
    const [lba, length] = bands.slice(at, at + 2) as [number, number];
    const before = weak.at(-1);
    if (lba + length > sectorCount || lba < (before ? endOf(before) : 0)) return;
    weak.push({ lba, count: length });
  }
  learned.heads = { ...same, weak };
}

function restorePosition(plan: PlanState, snapshot: Snapshot): void {
  const { sectorCount } = plan;
  const isInside = ({ lba, count: length }: Extent) => lba + length <= sectorCount;
  plan.passIndex = Math.min(snapshot.passIndex, plan.passes.length);
  plan.passStarted = snapshot.passStarted;
  plan.cursor = Math.min(snapshot.cursor, sectorCount);
  if (snapshot.bounds && isInside(snapshot.bounds)) plan.bounds = snapshot.bounds;
  plan.jumpedOver = (snapshot.jumpedOver ?? []).filter(isInside);
  plan.jumpedTo = snapshot.jumpedTo;
  plan.endWanted = snapshot.endWanted ?? false;
  Object.assign(plan.spent, snapshot.spent);
  plan.skipCount = snapshot.skipCount;
  plan.skipOrigin = Math.min(snapshot.skipOrigin, sectorCount);
}

function triples(flat: readonly number[], sectorCount: number): [number, number, number][] {
  const found: [number, number, number][] = [];
  for (let at = 0; at + 2 < flat.length; at += 3) {
    const [lba, runCount, value] = flat.slice(at, at + 3) as [number, number, number];
    if (lba + runCount <= sectorCount && value <= 255) found.push([lba, runCount, value]);
  }
  return found;
}

/** A state as the next run takes it up: without trouble, and with nothing that a checkpoint does not hold. */
export function settle(
  state: JobState,
  drive: DriveIdentity,
  driveKind: DriveKind,
  isFolded: boolean,
): JobState {
  settleTrouble(state);
  // What came from a checkpoint is so already.
  if (!isFolded) return state;
  const snapshot = parseSnapshot(JSON.parse(JSON.stringify(snapshotOf(state, drive, driveKind))));
  return snapshot ? restoreState(snapshot, { map: state.plan.map, driveKind }) : state;
}

/** A run that ended in the middle of trouble never learned who was to blame: nobody is. */
export function settleTrouble(state: JobState): void {
  if (state.plan.suspect || state.trouble.why !== undefined) {
    foldJob(state, {
      kind: 'blamed',
      on: 'drive',
      why: 'the job was interrupted',
      atMs: state.atMs,
    });
  }
  Object.assign(state.trouble, createTrouble());
  // The next run sees for itself.
  state.doubt = undefined;
}
