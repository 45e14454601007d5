import { basename, dirname, extname, join } from 'node:path';
import { type Clock, wallMs } from '../clock.js';
import type { DriveIdentity } from '../drive/drive.js';
import { LastspinError } from '../errors.js';
import { type LoadedCheckpoint, loadCheckpoint, saveCheckpoint } from '../image/checkpoint.js';
import type { EventLog, LogPosition } from '../image/event-log.js';
import type { FileLayer, OpenFile } from '../image/file-layer.js';
import { checkSpace, type ImageFile, openImage } from '../image/image-file.js';
import { heldCount, type ImageForm, plainFile, type TargetIdentity } from '../image/image-form.js';
import type { ImageLook } from '../image/image-look.js';
import { createJournal, type LoadedJournal, loadJournal } from '../image/journal.js';
import { hasParts, partPath, removeEmptyParts, wholeName } from '../image/split-file.js';
import { createImageWriter, type ImageWriter } from '../image/write-behind.js';
import { endOf } from '../map/extent.js';
import { byteMapOf, sectorMapOf } from '../map/mapfile.js';
import { createRunMap, type RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import {
  domainCount,
  levelsOf,
  outside,
  packScope,
  rowsForPriorities,
  unpackScope,
} from '../plan/domain.js';
import { foldPlan } from '../plan/fold.js';
import type { HeadMapData } from '../plan/head-map-schema.js';
import { headProblem } from '../plan/head-rows.js';
import type { Pass } from '../plan/pass.js';
import { textOfRows } from '../plan/pass-schema.js';
import { createPlanState, restartPlan } from '../plan/state.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import type { WholeAlgorithm } from '../segment-hasher.js';
import { type CaseData, mergeCaseData } from './case-data.js';
import { type CaseHashes, type HashParts, openCaseHashes } from './case-hashes.js';
import { appendBetweenRuns, type FoundLog, findLog, logRunStart, openCaseLog } from './case-log.js';
import { askToCompare } from './compare.js';
import type { FillRecord } from './events.js';
import {
  isOtherIdentity,
  physicalCountMax,
  refuseFailedFirmware,
  refuseOther,
} from './identity.js';
import { checkImage, type LookWish, lossOf } from './image-check.js';
import { watchImage } from './image-watch.js';
import type { JobParts } from './parts.js';
import { bodyOf, foldRecorded, type RecordedEvent } from './recorded.js';
import { createRecorder, type Recorder } from './recorder.js';
import { parseSnapshot, restoreState, type Snapshot, settle, snapshotOf } from './snapshot.js';
import { createJobState, foldJob, type JobState } from './state.js';
import { createTarget, type Target } from './target.js';

/** The files of a case: `case.img`, and beside it `case.map` and `case.journal`. */
export interface CasePaths {
  /** The image, by its own name where it is in parts; or the target that is written instead. */
  readonly image: string;
  readonly map: string;
  readonly journal: string;
  readonly lock: string;
  /** What the readings of sectors that change were; made where there are any. */
  readonly versions: string;
  /** The hashes of the image's segments. */
  readonly hashes: string;
  /** The hashes of the whole image stand in files of this name and `.sha256` and so on. */
  readonly sums: string;
  /** Every decision, one line each. */
  readonly events: string;
  /** Where the images that this one was merged from differed. */
  readonly conflicts: string;
  /** All of it at a glance, for people; made where it is asked for. */
  readonly report: string;
}

const imageExtensions = new Set(['.img', '.dd', '.raw', '.bin', '.image', '.iso']);

/** Names beside an image: its extension is replaced when it is an image's, else kept. A clone has no image to stand
 * beside: its files stand beside `map`. */
export function casePaths(image: string, map?: string): CasePaths {
  const named = map ?? image;
  const extension = extname(named);
  const isReplaced =
    map === undefined ? imageExtensions.has(extension.toLowerCase()) : extension === '.map';
  const stem = isReplaced ? basename(named, extension) : basename(named);
  const beside = (suffix: string) => join(dirname(named), stem + suffix);
  return {
    image,
    map: beside('.map'),
    journal: beside('.journal'),
    lock: beside('.lock'),
    versions: beside('.versions'),
    hashes: beside('.hashes.csv'),
    sums: map === undefined ? image : beside(''),
    events: beside('.events.ndjson'),
    conflicts: beside('.conflicts.csv'),
    report: beside('.report.txt'),
  };
}

/** The image's own name, where it may be named by the first of its parts. */
export async function imageNamed(files: FileLayer, path: string): Promise<string> {
  const whole = wholeName(path);
  if (whole === path || (await files.exists(casePaths(path).map))) return path;
  return whole;
}

/** What lies at a case's paths before the job begins. */
export interface FoundCase {
  readonly files: FileLayer;
  readonly paths: CasePaths;
  readonly hasImage: boolean;
  readonly saved: LoadedCheckpoint | undefined;
  readonly log: FoundLog | undefined;
  /** Whether the image is as the last run left it; absent where nobody can tell. */
  readonly look?: ImageLook;
}

/** Looks at image and map without touching them, so that what is wrong with them is said before a drive
 * is powered for it. `force` takes an image that has no map, a map that is not as it was written, and another
 * image than the map's. A `target` is there before its map.
 * Throws IMAGE_EXISTS, IMAGE_MISMATCH, MAP_INVALID, FILE_FAILED. */
export async function findCase(
  files: FileLayer,
  paths: CasePaths,
  force: boolean,
  wish: LookWish = {},
  onto: 'image' | 'target' = 'image',
): Promise<FoundCase> {
  const saved = await loadCheckpoint(files, paths.map);
  const hasImage = await isStored(files, paths, saved);
  if (hasImage && !saved && !force && onto === 'image') {
    throw new LastspinError(
      'IMAGE_EXISTS',
      `${paths.image} exists but its map ${paths.map} does not; give another name, or --force to read into it`,
    );
  }
  if (saved?.damaged && !force) {
    throw new LastspinError(
      'MAP_INVALID',
      `${paths.map} is not as lastspin wrote it; bring back a copy, or --force to believe what it says now`,
    );
  }
  // A map that claims what no image holds is worth nothing.
  if (!hasImage && saved?.map.codes.includes(statuses.finished)) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${paths.map} says that sectors are finished but ${paths.image} does not exist; bring the image back or move the map away`,
    );
  }
  const anchor = saved && parseSnapshot(saved.state)?.log;
  const log = await findLog(files, paths.events, anchor);
  const look = hasImage && saved && (await checkImage(files, paths, saved, force, wish));
  return { files, paths, hasImage, saved, log, ...(look && { look }) };
}

async function isStored(
  files: FileLayer,
  { image }: CasePaths,
  saved: LoadedCheckpoint | undefined,
): Promise<boolean> {
  if (await files.exists(image)) return true;
  const snapshot = parseSnapshot(saved?.state);
  if (snapshot?.form.kind !== 'split') return hasParts(files, image);
  const { sectorCount, sectorBytes } = snapshot.drive;
  const { partBytes } = snapshot.form;
  return hasParts(files, image, { partBytes, sizeBytes: sectorCount * sectorBytes });
}

/** What a map file and the journal beside it tell, to look at: nothing is written, nobody is kept out. Undefined
 * where another program wrote or changed the map, or there is none.
 * Throws MAP_INVALID, FILE_FAILED. */
export async function recallState(
  files: FileLayer,
  mapPath: string,
): Promise<
  | {
      readonly state: JobState;
      readonly drive: DriveIdentity;
      readonly driveKind: DriveKind;
      /** What the journal has since the checkpoint. */
      readonly journal: readonly RecordedEvent[];
      readonly caseData: CaseData;
      /** The last line of the event log that the checkpoint knows of. */
      readonly logEnd: LogPosition | undefined;
    }
  | undefined
> {
  const saved = await loadCheckpoint(files, mapPath);
  const snapshot = saved?.foreign === false ? parseSnapshot(saved.state) : undefined;
  if (!saved || !snapshot) return undefined;
  const { drive, driveKind } = snapshot;
  const state = restoreState(snapshot, { map: sectorMapOf(saved.map, drive, mapPath), driveKind });
  const loaded = await loadJournal(files, mapPath.replace(/\.map$/, '.journal'));
  const isCurrent = loaded !== undefined && loaded.base === saved.number;
  const journal = isCurrent ? (loaded.records as RecordedEvent[]) : [];
  for (const record of journal) foldRecorded(state, record);
  const { caseData = {}, log: logEnd } = snapshot;
  return { state, drive, driveKind, journal, caseData, logEnd };
}

/** Puts on record, in map and event log of a case that nobody works on, what goes into the gaps of its image; statuses
 * stay. What the journal holds is taken into both with it. False where another program wrote the map, which is left
 * alone. `nowMs` is of this process, `wallMs` since 1970.
 * Throws MAP_INVALID, FILE_FAILED, IMAGE_SPACE, IMAGE_WRITE_FAILED. */
export async function noteFill(
  files: FileLayer,
  paths: CasePaths,
  fill: FillRecord,
  now: { readonly version: string; readonly nowMs: number; readonly wallMs: number },
): Promise<boolean> {
  const saved = await loadCheckpoint(files, paths.map);
  const snapshot = parseSnapshot(saved?.state);
  const recalled = await recallState(files, paths.map);
  if (!snapshot || !recalled || saved?.number === undefined) return false;
  const { state, drive, journal } = recalled;
  const event: RecordedEvent = { kind: 'filled', ...fill, atMs: now.nowMs, wallMs: now.wallMs };
  foldJob(state, event);
  const beside = besideOf(snapshot);
  const log = await appendBetweenRuns(files, paths.events, beside.log, journal, event);
  const number = saved.number + 1;
  await saveCheckpoint(files, paths.map, {
    number,
    map: state.plan.map,
    sectorBytes: drive.sectorBytes,
    ...mapStatusLine(state),
    state: snapshotOf(state, drive, snapshot.driveKind, { ...beside, ...(log && { log }) }),
    version: now.version,
    comments: fillComments(state),
  });
  await (await createJournal(files, paths.journal, number)).close();
  return true;
}

function besideOf({ caseData, log, image, form }: Snapshot) {
  return { ...(caseData && { caseData }), ...(log && { log }), ...(image && { image }), form };
}

/** For people who read the map. */
function fillComments({ fills }: JobState): string[] {
  return fills.map((fill) => `filled, not read: ${fillText(fill)}`);
}

/** A fill in words. */
export function fillText({ unread, unreadable }: FillRecord): string {
  const words = [unread && `unread with ${unread}`, unreadable && `unreadable with ${unreadable}`];
  return words.filter(Boolean).join(', ');
}

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

export interface Case extends HashParts {
  readonly state: JobState;
  /** What its image is made of. */
  readonly form: ImageForm;
  readonly resumed: boolean;
  readonly image: JobParts['image'];
  readonly recorder: Recorder;
  /** The disk that the case's files are on. */
  readonly target: Target;
  /** What the user should know about how the case was opened, one line each. */
  readonly notices: readonly string[];
  /** Bytes that something took out of the image during this run, and that nobody looked for yet. */
  lostBytes(): number;
  /** The last line of the event log so far. */
  logEnd(): LogPosition;
  /** Whose case it is, as all runs together were told. */
  readonly caseData: CaseData;
  close(): Promise<void>;
}

/** Opens a new case or goes on with one. Old bytes are kept in every case.
 * Throws IMAGE_MISMATCH, IMAGE_SPACE, MAP_MISMATCH, DRIVE_CHANGED, FIRMWARE_FAILED, FILE_FAILED, and USAGE for
 * rows that go by heads which no head map has. */
export async function openCase(given: CaseOptions): Promise<Case> {
  const target = createTarget(given.found.files, given.clock);
  const { drive, driveKind } = given;
  refuseFailedFirmware(drive);
  const notices: string[] = [];
  let form = await formOf(given);
  const sectorCount = heldCount(form, drive);
  const found = { ...given.found, files: target.files };
  const options = { ...withinTarget(given, sectorCount), found };
  const { files, paths, saved } = found;
  const restored = saved ? await restore(options, saved, notices) : undefined;
  const state = restored?.state ?? freshState(options);
  refuseUnknownHeads(state, options.heads);
  if (form.kind !== 'target')
    await checkSpace(files, paths.image, sectorCount * drive.sectorBytes, options.force);
  let number = await checkpointBefore(found, saved?.number);
  const { log, caseData } = await beginRecord(options, state, restored, notices);
  await takeOutLost(options, state, log, notices);
  /** Numbers given to events, and the last one that the journal took. */
  let numbered = log.last.n;
  let journaled = numbered;
  let record = isListOurs(options) ? parseSnapshot(saved?.state)?.image : undefined;
  const save = (current: JobState) => {
    number += 1;
    return saveCheckpoint(files, paths.map, {
      number,
      map: current.plan.map,
      sectorBytes: drive.sectorBytes,
      ...mapStatusLine(current),
      state: snapshotOf(current, drive, driveKind, {
        caseData,
        log: log.last,
        form,
        ...(record && { image: record }),
      }),
      version: options.version,
      comments: fillComments(current),
    });
  };
  if (found.look?.isListForeign) await files.rename(paths.hashes, `${paths.hashes}.other`);
  else if (!isListOurs(options)) await removeDurably(files, paths.hashes);
  // The map first: a crash in between leaves no image that nobody can account for.
  const undo = async (error: unknown): Promise<never> => {
    await log.close().catch(() => {});
    if (!saved) await removeNew(found);
    throw error;
  };
  await save(state).catch(undo);
  // What could be made of it is in the map now.
  if (saved) await keepDamaged(files, paths.journal, notices).catch(undo);
  const { image, hashes, journal } = await openFiles(options, state, number, {
    form,
    sectorCount,
    notices,
  }).catch(undo);
  form = image.form;
  const writer = createImageWriter(image, drive.sectorBytes);
  const access = readable(image, writer, hashes);
  const watch = await watchImage({
    map: state.plan.map,
    sectorBytes: drive.sectorBytes,
    ...hashes,
    allocatedBytes: image.allocatedBytes,
    read: access.read,
  });
  const versions = lineFile(files, paths.versions);
  const recorder = createRecorder(
    {
      syncImage: async () => {
        await writer.sync();
        await watch.onSync();
      },
      appendJournal: async (events) => {
        for (const event of events) event.n ??= ++numbered;
        const fresh = events.filter(({ n }) => (n as number) > journaled);
        await journal.append(fresh);
        journaled = events.at(-1)?.n ?? journaled;
        await journal.sync();
      },
      appendLog: (events) =>
        log.append(events.map((event) => ({ n: event.n as number, body: bodyOf(event) }))),
      journalBytes: () => journal.sizeBytes,
      settle: async ({ plan }) => {
        await writer.sync();
        await watch.onSync();
        await log.sync();
        record = await hashes.record(plan.map.clone());
      },
      checkpoint: async (current) => {
        const map = current.plan.map.clone();
        await save(current);
        await journal.restart(number);
        // Last: what it lists is then in the image and in the map.
        await hashes.saveNews(map);
      },
    },
    options.clock,
    {
      sectorBytes: drive.sectorBytes,
      wallMs: options.wallMs ?? wallMs,
      ...(found.log?.attempts && { attempts: found.log.attempts }),
    },
  );
  return {
    state,
    form,
    resumed: saved !== undefined,
    image: { ...access, keepVersions: versions.append, lookBack: watch.look },
    lostBytes: watch.lostBytes,
    recorder,
    target,
    notices,
    caseData,
    ...hashes.parts(access.read),
    logEnd: () => log.last,
    async close() {
      await versions.close();
      await log.close();
      await journal.close();
      await image.close();
    },
  };
}

/** What stands beside the map once that is saved as number `base`. */
async function openFiles(
  options: CaseOptions,
  state: JobState,
  base: number,
  { form, sectorCount, notices }: { form: ImageForm; sectorCount: number; notices: string[] },
) {
  const { found, drive } = options;
  const { files, paths } = found;
  const image = await openImage(files, paths.image, {
    sectorBytes: drive.sectorBytes,
    sectorCount,
    mode: 'resume',
    claimedCount: claimedCount(state.plan.map),
    isReserved: options.space === 'reserved',
    isSparse: options.space === 'sparse',
    form,
  });
  if (image.unreserved !== undefined)
    notices.push(`no room on the disk is kept for ${paths.image}: ${image.unreserved}`);
  try {
    const hashes = await openCaseHashes({
      ...options,
      ...{ files, paths, state, image, notices, areOurs: isListOurs(options) },
    });
    return { image, hashes, journal: await createJournal(files, paths.journal, base) };
  } catch (error) {
    await image.close().catch(() => {});
    throw error;
  }
}

/** Takes away what a case that could not begin has made, the map last: nothing of the drive is in it yet. */
async function removeNew({ files, paths, hasImage, log }: FoundCase): Promise<void> {
  try {
    if (!log) await files.remove(paths.events);
    if (!hasImage && (await files.exists(paths.image))) await files.remove(paths.image);
    else if (!hasImage) await removeEmptyParts(files, paths.image);
    await files.remove(paths.map);
    await files.syncDirectory(paths.map);
  } catch {
    // Why it could not begin is told; that is the same reason.
  }
}

/** The event log, as far as the start of this run; before the checkpoint that takes in what only the journal had. */
async function beginRecord(
  options: CaseOptions,
  state: JobState,
  restored: Restored | undefined,
  notices: string[],
) {
  const { found, drive, driveKind, version, clock } = options;
  const nowMs = clock.now();
  const now = (options.wallMs ?? wallMs)();
  const formerCaseData = restored?.snapshot?.caseData ?? {};
  const caseData = mergeCaseData(formerCaseData, options.caseData);
  const opened = await openCaseLog({
    files: found.files,
    path: found.paths.events,
    found: found.log,
    anchor: restored?.snapshot?.log,
    isCase: found.saved !== undefined,
    merged: state.merged,
    journal: restored?.journal ?? [],
    header: { version, image: found.paths.image, case: caseData, drive },
    nowMs,
    wallMs: now,
  });
  notices.push(...opened.notices);
  const { log } = opened;
  const start = {
    state,
    drive,
    driveKind,
    resumed: restored !== undefined,
    caseData,
    ...(restored && !isSame(formerCaseData, caseData) && { formerCaseData }),
    version,
    told: options.told ?? {},
    isImplied: opened.isCurrent && restored?.isImplied === true,
    nowMs,
    wallMs: now,
  };
  try {
    await logRunStart(log, start);
    return { log, caseData };
  } catch (error) {
    await log.close().catch(() => {});
    if (!found.saved && !found.log) await found.files.remove(found.paths.events).catch(() => {});
    throw error;
  }
}

/** The form that a case has, or is to get. Throws USAGE where it has another than the one asked for. */
async function formOf({ found, form, drive }: CaseOptions): Promise<ImageForm> {
  const snapshot = parseSnapshot(found.saved?.state);
  const had = snapshot?.form ?? (await formOnDisk(found));
  if (!had) return form ?? plainFile;
  if (!form && had.kind !== 'target') return had;
  const isSame =
    had.kind === form?.kind &&
    (had.kind !== 'split' || form.kind !== 'split' || had.partBytes === form.partBytes) &&
    (had.kind !== 'target' || form.kind !== 'target' || isSameTarget(had.target, form.target));
  if (isSame) return had;
  const [is, wanted] = [had, form ?? plainFile].map((each) => formText(each, drive));
  throw new LastspinError(
    'USAGE',
    `${found.paths.map} belongs to ${is}, not to ${wanted}; go on as it began, or name other files`,
  );
}

/** Of a case whose map another program has written, or none. */
async function formOnDisk({ files, paths }: FoundCase): Promise<ImageForm | undefined> {
  if (await files.exists(paths.image)) return undefined;
  if (!(await hasParts(files, paths.image))) return undefined;
  const first = await files.open(partPath(paths.image, 1), { readOnly: true });
  try {
    const partBytes = await first.size();
    return partBytes > 0 ? { kind: 'split', partBytes } : undefined;
  } finally {
    await first.close();
  }
}

function isSameTarget(one: TargetIdentity, other: TargetIdentity): boolean {
  const keys = ['model', 'serial', 'sizeBytes', 'sectorBytes'] as const;
  return keys.every((key) => one[key] === other[key]);
}

function formText(form: ImageForm, { sectorBytes }: DriveIdentity): string {
  switch (form.kind) {
    case 'file':
      return 'an image in one file';
    case 'split':
      return `an image in parts of ${form.partBytes} bytes (${form.partBytes / sectorBytes} sectors)`;
    case 'target': {
      const { model, serial, sizeBytes } = form.target;
      return `the target ${[model, serial].filter(Boolean).join(' ')} of ${sizeBytes} bytes`;
    }
  }
}

/** What a target has no room for is outside the domain: it is not read, and the map says so of it. */
function withinTarget(options: CaseOptions, heldSectors: number): CaseOptions {
  const { drive, found } = options;
  if (heldSectors === drive.sectorCount) return options;
  // An earlier run of ours left its domain, which is within the target.
  if (!options.scope && parseSnapshot(found.saved?.state)) return options;
  const scope = options.scope?.clone() ?? createRunMap(drive.sectorCount, 1);
  scope.set({ lba: heldSectors, count: drive.sectorCount - heldSectors }, outside);
  if (domainCount(scope) > 0) return { ...options, scope };
  throw new LastspinError('USAGE', `nothing of the domain lies on ${found.paths.image}`);
}

/** The image for writing and for reading what was written. */
function readable(
  image: ImageFile,
  writer: ImageWriter,
  hashes: CaseHashes,
): Omit<JobParts['image'], 'keepVersions' | 'lookBack'> {
  let isBehind = false;
  return {
    async write(lba, data) {
      await hashes.beforeWrite(lba, data);
      isBehind = true;
      await writer.write(lba, data);
    },
    forget: hashes.forget,
    async read(extent) {
      if (isBehind) await writer.sync();
      isBehind = false;
      return image.read(extent);
    },
  };
}

/** Whether the list of hashes beside the image is of it: not where another program had the map, for nobody knows
 * what it did to the image, nor where sectors had another size. */
function isListOurs({ found: { saved }, drive }: CaseOptions): boolean {
  if (!saved || saved.foreign) return false;
  return parseSnapshot(saved.state)?.drive.sectorBytes === drive.sectorBytes;
}

async function removeDurably(files: FileLayer, path: string): Promise<void> {
  if (!(await files.exists(path))) return;
  await files.remove(path);
  await files.syncDirectory(path);
}

/** Takes out of the map what the image was found to hold no more, and puts it on record. Its old bytes stay until
 * they are read again. */
async function takeOutLost(
  { found: { look }, clock, ...options }: CaseOptions,
  state: JobState,
  log: EventLog,
  notices: string[],
): Promise<void> {
  const { map, sectorBytes } = state.plan;
  const loss = lossOf(map, look?.changed ?? [], sectorBytes);
  notices.push(...(look?.notices ?? []));
  if (!loss) return;
  const event: RecordedEvent = {
    ...loss,
    atMs: clock.now(),
    wallMs: (options.wallMs ?? wallMs)(),
  };
  foldJob(state, event);
  await log.append([{ n: log.last.n + 1, body: bodyOf(event) }]);
  await log.sync();
}

/** A file of lines that is made with the first of them; each is durable when `append` resolves. */
function lineFile(files: FileLayer, path: string) {
  let file: OpenFile | undefined;
  let sizeBytes = 0;
  return {
    async append(line: string): Promise<void> {
      file ??= await files.open(path, { create: true });
      sizeBytes ||= await file.size();
      const bytes = Buffer.from(line);
      await file.write(bytes, sizeBytes);
      sizeBytes += bytes.length;
      await file.sync();
    },
    close: async () => file?.close(),
  };
}

/** The number to count on from. A foreign map has none; then no journal that lies about may match the
 * numbers to come. */
async function checkpointBefore(
  { files, paths }: FoundCase,
  saved: number | undefined,
): Promise<number> {
  if (saved !== undefined) return saved;
  return (await loadJournal(files, paths.journal))?.base ?? 0;
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

/** Where the last finished sector ends: an image shorter than this has lost some. */
function claimedCount(map: RunMap): number {
  const last = map.previous(map.size, statuses.finished);
  return last ? endOf(last) : 0;
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
function adoptGiven(state: JobState, options: CaseOptions, notices: string[]): void {
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
function refuseUnknownHeads({ plan }: JobState, heads: HeadMapData | null | undefined): void {
  const given = heads === undefined ? plan.learned.given : heads && { data: heads };
  const problem = headProblem(plan.passes, given ?? undefined);
  if (problem !== undefined) throw new LastspinError('USAGE', problem);
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function freshState(options: CaseOptions, map?: RunMap): JobState {
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
function adoptShare({ compare, plan }: JobState, { comparePercent }: CaseOptions): void {
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

interface Restored {
  readonly state: JobState;
  /** Absent where the map is another program's. */
  readonly snapshot?: Snapshot;
  readonly journal: readonly RecordedEvent[];
  /** Whether the state is what folding all events gives, and nothing was changed since. */
  readonly isImplied: boolean;
}

async function restore(
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
  { files, paths }: FoundCase,
  saved: LoadedCheckpoint,
  state: JobState,
  notices: string[],
): Promise<{ journal: readonly RecordedEvent[]; isWhole: boolean }> {
  const loaded = await loadJournal(files, paths.journal);
  // One of another number is in the checkpoint; one whose head is damaged says no number, and is not believed.
  const isNext = loaded !== undefined && loaded.base === saved.number;
  const journal = isNext ? (loaded.records as RecordedEvent[]) : [];
  for (const record of journal) foldRecorded(state, record);
  if (loaded && (isNext || loaded.damage)) notices.push(...journalNotices(loaded));
  return { journal, isWhole: loaded?.damage === undefined };
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

/** A damaged journal is kept for whoever can make something of it: the next one takes its place. */
async function keepDamaged(files: FileLayer, path: string, notices: string[]): Promise<void> {
  if (!(await loadJournal(files, path))?.damage) return;
  const keptPath = `${path}.damaged`;
  await files.rename(path, keptPath);
  await files.syncDirectory(path);
  notices.push(`the damaged journal is kept as ${keptPath}`);
}

/** Neither loses a claim that the map makes: what was not replayed is read again. */
function journalNotices({ tornBytes, damage }: LoadedJournal): string[] {
  if (damage) return [damage.message];
  return tornBytes > 0
    ? [`the last ${tornBytes} bytes of the journal were torn and are dropped`]
    : [];
}

/** ddrescue's status line: the position, and a letter for what the pass is after. */
function mapStatusLine({ plan }: JobState): {
  currentPosition: number;
  currentStatus: '?' | '*' | '/' | '-' | '+';
  currentPass: number;
} {
  const pass = plan.passes[plan.passIndex];
  const letters = { copy: '?', trim: '*', scrape: '/', retry: '-' } as const;
  return {
    currentPosition: plan.cursor * plan.sectorBytes,
    currentStatus: pass ? letters[pass.phase] : '+',
    currentPass: 1,
  };
}
