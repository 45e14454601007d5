/** The state that a run begins with: a new one, or what map and journal of earlier runs give. */

import type { Clock } from '../clock.js';
import type { DriveIdentity } from '../drive/drive.js';
import { LastspinError } from '../errors.js';
import type { LoadedCheckpoint } from '../image/checkpoint.js';
import type { ImageForm } from '../image/image-form.js';
import { type LoadedJournal, loadJournal } from '../image/journal.js';
import { byteMapOf, sectorMapOf } from '../map/mapfile.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import { levelsOf, packScope, rowsForPriorities, unpackScope } from '../plan/domain.js';
import { foldPlan } from '../plan/fold.js';
import type { HeadMapData } from '../plan/head-map-schema.js';
import { headProblem } from '../plan/head-rows.js';
import type { Pass } from '../plan/pass.js';
import { textOfRows } from '../plan/pass-schema.js';
import { createPlanState, restartPlan } from '../plan/state.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import type { WholeAlgorithm } from '../segment-hasher.js';
import type { CaseData } from './case-data.js';
import { type FoundCase, fillText } from './case-files.js';
import { askToCompare } from './compare.js';
import { isOtherIdentity, physicalCountMax, refuseOther } from './identity.js';
import { foldRecorded, type RecordedEvent } from './recorded.js';
import { parseSnapshot, restoreState, type Snapshot, settle, snapshotOf } from './snapshot.js';
import { createJobState, type JobState } from './state.js';

export interface CaseOptions {
  readonly found: FoundCase;
  readonly drive: DriveIdentity;
  readonly driveKind: DriveKind;
  readonly passes: readonly Pass[];
  /** The domain (`createScope`); absent: what an earlier run had, or the whole drive. */
  readonly scope?: RunMap;
  /** The head map that this run will be given, for the rows to be checked by; null for none any more, absent for
   * what an earlier run had. The job puts it on record (`JobParts.heads`). */
  readonly heads?: HeadMapData | null;
  /** Logical sectors of one physical sector, where the user says so; else what an earlier run knew, or
   * what the drive says. */
  readonly physicalCount?: number;
  /** The user says that it is the same drive, although it has another name or another sector size. */
  readonly sameDrive?: boolean;
  /** What the image is to be made of; absent: what an earlier run made it of, or a plain file. A case keeps its
   * form. */
  readonly form?: ImageForm;
  /** Take an image that has no map as empty, and do not insist on disk space. */
  readonly force: boolean;
  /** Hash what is read, segment by segment. */
  readonly hashed?: boolean;
  /** Percent of what was read that is read again in the end; absent: as the kind of drive has it. */
  readonly comparePercent?: number;
  /** Whose case it is, where this run is told; else as an earlier run was. */
  readonly caseData?: CaseData;
  /** What the event log says of this run beside that: its command line, what drive and image are called. */
  readonly told?: object;
  /** Hashes of the whole image that are wanted in the end. */
  readonly whole?: readonly WholeAlgorithm[];
  /** Sectors of a segment; 64 MiB unless told. */
  readonly segmentCount?: number;
  /** What the image takes on the disk: room kept for all of it where that can be had (`reserved`), only what is not
   * zeros (`sparse`), or what is written. */
  readonly space?: 'reserved' | 'sparse';
  readonly version: string;
  readonly clock: Clock;
  /** Wall clock, ms since 1970; absent: the computer's. */
  readonly wallMs?: () => number;
}

/** Logical sectors of one physical sector by the drive's word; 1 where it makes no sense. */
export function physicalCountOf({
  physicalSectorBytes,
  sectorBytes,
}: Pick<DriveIdentity, 'sectorBytes' | 'physicalSectorBytes'>): number {
  const count = physicalSectorBytes / sectorBytes;
  return Number.isInteger(count) && count >= 1 && count <= physicalCountMax ? count : 1;
}

/** Whether the physical sector is certain. A drive or bridge that claims 512 bytes may hide larger ones. */
export function isPhysicalTold(
  drive: Pick<DriveIdentity, 'sectorBytes' | 'physicalSectorBytes'>,
): boolean {
  return drive.sectorBytes !== 512 || physicalCountOf(drive) > 1;
}

/** Most pieces of a domain: what the state in a map file has room for, as it was given and as it is. */
const scopeRunsMax = 600_000;

/** The domain and the rows of this run: rows are given without priorities. */
function scopeAndRows({ drive, passes, scope: wanted }: CaseOptions, given?: readonly number[]) {
  const scope = wanted ?? unpackScope(given, drive.sectorCount);
  if (scope.runCount > scopeRunsMax) {
    throw new LastspinError(
      'USAGE',
      `the domain has ${scope.runCount} pieces, ${scopeRunsMax} are the most; give a coarser one`,
    );
  }
  return { scope, passes: rowsForPriorities(passes, levelsOf(scope)) };
}

/** Goes on with the rows and the domain of the last run, as they were changed while it ran; where this one was
 * given others, they are in force and the passes begin with the first, on the same map. */
export function adoptGiven(state: JobState, options: CaseOptions, notices: string[]): void {
  const { scope, passes } = scopeAndRows(options, state.given.scope);
  const packed = packScope(scope);
  const isSameScope = isSame(packed, state.given.scope);
  if (isSameScope && textOfRows(passes) === textOfRows(state.given.passes)) return;
  if (!isSameScope)
    notices.push('this run has another domain than the last one: the new one is in force');
  restartPlan(state.plan, passes, isSameScope ? state.plan.scope : scope);
  state.given = { passes, ...(packed && { scope: packed }) };
}

/** Rows that name heads which no head map has would read nothing, and nobody would know. */
export function refuseUnknownHeads(
  { plan }: JobState,
  heads: HeadMapData | null | undefined,
): void {
  const given = heads === undefined ? plan.learned.given : heads && { data: heads };
  const problem = headProblem(plan.passes, given ?? undefined);
  if (problem !== undefined) throw new LastspinError('USAGE', problem);
}

export function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

export function freshState(options: CaseOptions, map?: RunMap): JobState {
  const { drive, driveKind } = options;
  const { scope, passes } = scopeAndRows(options);
  const { sectorCount, sectorBytes } = drive;
  const physicalCount = options.physicalCount ?? physicalCountOf(drive);
  const plan = createPlanState({
    sectorCount,
    sectorBytes,
    physicalCount,
    physicalKnown: options.physicalCount !== undefined || isPhysicalTold(drive),
    passes,
    scope,
    ...(map && { map }),
  });
  const state = createJobState(plan, troublePolicies[driveKind]);
  adoptShare(state, options);
  return state;
}

/** How much is to be read again, where this run is told. */
export function adoptShare({ compare, plan }: JobState, { comparePercent }: CaseOptions): void {
  if (comparePercent !== undefined) askToCompare(compare, plan, comparePercent);
}

/** Another program's map of another size is another drive's, as far as anybody can tell. */
function refuseOtherSize({ found, drive, force }: CaseOptions, saved: LoadedCheckpoint): void {
  if (force || !saved.foreign) return;
  const mapBytes = saved.map.end;
  const driveBytes = drive.sectorCount * drive.sectorBytes;
  if (mapBytes === driveBytes || mapBytes > Number.MAX_SAFE_INTEGER) return;
  throw new LastspinError(
    'MAP_MISMATCH',
    `${found.paths.map} is about ${mapBytes} bytes but the drive has ${driveBytes}: it is another drive's map; move it away, or --force to use what fits`,
  );
}

export interface Restored {
  readonly state: JobState;
  /** Absent where the map is another program's. */
  readonly snapshot?: Snapshot;
  readonly journal: readonly RecordedEvent[];
  /** Whether the state is what folding all events gives, and nothing was changed since. */
  readonly isImplied: boolean;
}

export async function restore(
  options: CaseOptions,
  saved: LoadedCheckpoint,
  notices: string[],
): Promise<Restored> {
  const { found, drive, driveKind, physicalCount } = options;
  const { paths } = found;
  refuseOtherSize(options, saved);
  const snapshot = parseSnapshot(saved.state);
  if (!snapshot) {
    const map = sectorMapOf(saved.map, drive, paths.map);
    notices.push(
      `${paths.map} was written by another program: its statuses are kept, the passes start anew`,
    );
    return { state: freshState(options, map), journal: [], isImplied: false };
  }
  const isOther = options.sameDrive === true && isOtherIdentity(snapshot.drive, drive);
  if (!isOther) refuseOther(snapshot.drive, drive);
  // Notes and journal count in the sectors of the drive that they were made with.
  const told = physicalCount === undefined ? {} : { physicalCount };
  const map = sectorMapOf(saved.map, snapshot.drive, paths.map);
  let state = restoreState(snapshot, { map, driveKind, ...told });
  const { journal, isWhole } = await foldJournal(found, saved, state, notices);
  state = settle(state, snapshot.drive, driveKind, journal.length > 0);
  for (const fill of state.fills)
    notices.push(
      `gaps of this image were filled (${fillText(fill)}); nothing counts as read by that`,
    );
  const before = snapshotOf(state, drive, snapshot.driveKind);
  if (isOther) state = takeOver(options, state, snapshot.drive, notices);
  else adoptGiven(state, options, notices);
  adoptShare(state, options);
  const isTold =
    physicalCount !== undefined &&
    !(snapshot.physicalKnown && snapshot.physicalCount === physicalCount);
  const isImplied =
    isWhole && !isOther && !isTold && isSame(before, snapshotOf(state, drive, driveKind));
  return { state, snapshot, journal, isImplied };
}

/** Folds what the journal has since the checkpoint; says what that was, and whether it was all. */
async function foldJournal(
  found: FoundCase,
  saved: LoadedCheckpoint,
  state: JobState,
  notices: string[],
): Promise<{ journal: readonly RecordedEvent[]; isWhole: boolean }> {
  const { files, paths } = found;
  const loaded = await loadJournal(files, paths.journal);
  // One of another number is in the checkpoint; one whose head is damaged says no number, and is not believed.
  const isNext = loaded !== undefined && loaded.base === saved.number;
  const journal = isNext ? (loaded.records as RecordedEvent[]) : [];
  for (const record of journal) foldRecorded(state, record);
  if (loaded && (isNext || loaded.damage)) notices.push(...journalNotices(loaded));
  else notices.push(...missingNotices(found, saved, state, loaded));
  return { journal, isWhole: loaded?.damage === undefined };
}

/** Whether a journal is missing that would go on from the checkpoint. The log may tell of what it held, but the image
 * may be as old as the map is: what only the log knows is read again. */
function missingNotices(
  { paths, log }: FoundCase,
  { state: saved, number = 0 }: LoadedCheckpoint,
  { plan: { map } }: JobState,
  loaded: LoadedJournal | undefined,
): string[] {
  const anchor = parseSnapshot(saved)?.log;
  // A merge has none, and it takes a run to begin one.
  if (!anchor) return [];
  const lines = Math.max(0, (log?.report.last?.n ?? 0) - anchor.n);
  if (loaded && (loaded.base ?? 0) < number) return [];
  const isNew = map.next(0, statuses['non-tried'])?.count === map.size;
  if (!loaded && isNew && !log?.hasEvents) return [];
  const what = loaded ? 'is of a later map than the one that is there' : 'is not there';
  const told =
    lines > 0 ? `: ${paths.events} has ${lines} lines that the map knows nothing of` : '';
  return [`${paths.journal} ${what}; what was read since that map was saved is read again${told}`];
}

/** Goes on with what was learned of a drive under its new identity, which is recorded. The byte map holds;
 * where sectors have another size the passes start anew on it. */
function takeOver(
  options: CaseOptions,
  state: JobState,
  former: DriveIdentity,
  notices: string[],
): JobState {
  const { drive, found } = options;
  notices.push(
    `--same-drive: ${drive.model} ${drive.serial} is taken for ${former.model} ${former.serial}`,
  );
  const scale = former.sectorBytes / drive.sectorBytes;
  const physicalCount =
    options.physicalCount ??
    Math.max(physicalCountOf(drive), Math.round(state.plan.physicalCount * scale));
  const map = sectorMapOf(byteMapOf(state.plan.map, former.sectorBytes), drive, found.paths.map);
  const scaled = (from: RunMap, to = createRunMap(drive.sectorCount)): RunMap => {
    from.forEachRun((lba, count, value) => {
      const first = Math.floor(lba * scale);
      const end = Math.min(drive.sectorCount, Math.ceil((lba + count) * scale));
      if (value !== 0) to.set({ lba: first, count: end - first }, value);
    });
    return to;
  };
  const given = scaled(unpackScope(state.given.scope, former.sectorCount));
  const fresh = freshState({ ...options, scope: options.scope ?? given, physicalCount }, map);
  fresh.plan.physicalKnown = options.physicalCount !== undefined || isPhysicalTold(drive);
  // The same domain as before keeps what was taken out of it while the job ran.
  if (isSame(fresh.given.scope, packScope(given))) fresh.plan.scope = scaled(state.plan.scope);
  scaled(state.plan.notes, fresh.plan.notes);
  scaled(state.compare.unstable, fresh.compare.unstable);
  const { given: heads } = state.plan.learned;
  if (heads && scale === 1) foldPlan(fresh.plan, { kind: 'heads-given', heads: heads.data });
  else if (heads) notices.push('the head map counts in other sectors: give it again (--heads)');
  fresh.mediaRate = state.mediaRate;
  Object.assign(fresh.totals, state.totals);
  fresh.formerDrives = [...state.formerDrives, former];
  fresh.fills = state.fills;
  if (options.comparePercent === undefined) fresh.compare.percent = state.compare.percent;
  if (state.merged) fresh.merged = state.merged;
  return fresh;
}

/** Neither loses a claim that the map makes: what was not replayed is read again. */
function journalNotices({ tornBytes, damage }: LoadedJournal): string[] {
  if (damage) return [damage.message];
  return tornBytes > 0
    ? [`the last ${tornBytes} bytes of the journal were torn and are dropped`]
    : [];
}
