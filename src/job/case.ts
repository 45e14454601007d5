import { wallMs } from '../clock.js';
import { saveCheckpoint } from '../image/checkpoint.js';
import type { EventLog, LogPosition } from '../image/event-log.js';
import type { FileLayer, OpenFile } from '../image/file-layer.js';
import { checkSpace, type ImageFile, openImage } from '../image/image-file.js';
import { heldCount, type ImageForm } from '../image/image-form.js';
import { createJournal, loadJournal } from '../image/journal.js';
import { removeEmptyParts } from '../image/split-file.js';
import { unmountedError } from '../image/untouched.js';
import { createImageWriter, type ImageWriter } from '../image/write-behind.js';
import { endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import { type CaseData, mergeCaseData } from './case-data.js';
import { type FoundCase, fillComments, mapStatusLine } from './case-files.js';
import { formOf, withinTarget } from './case-form.js';
import { type CaseHashes, type HashParts, openCaseHashes } from './case-hashes.js';
import { logRunStart, openCaseLog } from './case-log.js';
import {
  type CaseOptions,
  freshState,
  isSame,
  type Restored,
  refuseUnknownHeads,
  restore,
} from './case-state.js';
import { refuseFailedFirmware } from './identity.js';
import { lossOf } from './image-check.js';
import { watchImage } from './image-watch.js';
import type { JobParts } from './parts.js';
import { bodyOf, type RecordedEvent } from './recorded.js';
import { createRecorder, type Recorder } from './recorder.js';
import { parseSnapshot, snapshotOf } from './snapshot.js';
import { foldJob, type JobState } from './state.js';
import { createTarget, type Target } from './target.js';

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
  /** Puts on record, durably, the hashes that came with the last reads. */
  noteHashes(): Promise<void>;
  /** The last line of the event log so far. */
  logEnd(): LogPosition;
  /** Who is told when somebody touched what stands beside the image while it was in use, one line for people. */
  onNotice(handler: (text: string) => void): void;
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
  notices.push(...(found.look?.notices ?? []));
  await recordFound(options, state, log, notices);
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
    journaled: restored?.journal ?? [],
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
  let notice: (text: string) => void = () => {};
  log.onNotice((text) => notice(text));
  /** The journal takes nothing until the next checkpoint, which is due at once. */
  let isJournalLost = false;
  const lookAtJournal = async () => {
    const touch = isJournalLost ? undefined : await journal.touched();
    if (touch === 'unmounted') throw unmountedError(paths.journal);
    if (!touch) return;
    isJournalLost = true;
    notice(
      `something removed, replaced or changed ${paths.journal} while it was in use: the map is saved at once, and a new one begins`,
    );
  };
  const recorder = createRecorder(
    {
      syncImage: async () => {
        await writer.sync();
        await watch.onSync();
      },
      appendJournal: async (events) => {
        for (const event of events) event.n ??= ++numbered;
        const fresh = events.filter(({ n }) => (n as number) > journaled);
        await lookAtJournal();
        if (!isJournalLost) await journal.append(fresh);
        journaled = events.at(-1)?.n ?? journaled;
        if (!isJournalLost) await journal.sync();
      },
      appendLog: (events) =>
        log.append(events.map((event) => ({ n: event.n as number, body: bodyOf(event) }))),
      journalBytes: () => (isJournalLost ? Number.POSITIVE_INFINITY : journal.sizeBytes),
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
        isJournalLost = false;
        // Last: what it lists is then in the image and in the map.
        await hashes.saveNews(map);
      },
    },
    options.clock,
    {
      sectorBytes: drive.sectorBytes,
      wallMs: options.wallMs ?? wallMs,
      news: (current) => hashes.news(current.plan.map),
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
    async noteHashes() {
      if (recorder.noteNews(state)) await recorder.checkpoint(state);
    },
    onNotice(handler) {
      notice = handler;
    },
    async close() {
      await versions.close();
      await log.close();
      await journal.close();
      await image.close();
    },
  };
}

interface OpeningFacts {
  readonly form: ImageForm;
  /** That the image holds. */
  readonly sectorCount: number;
  readonly notices: string[];
  /** What the journal had since the last checkpoint. */
  readonly journaled: readonly RecordedEvent[];
}

/** What stands beside the map once that is saved as number `base`. */
async function openFiles(
  options: CaseOptions,
  state: JobState,
  base: number,
  { form, sectorCount, notices, journaled }: OpeningFacts,
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
      ...{ files, paths, state, image, notices, journal: journaled, areOurs: isListOurs(options) },
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

/** Puts on record what was found before the first read, takes out of the map what the image was found to hold no more,
 * and puts that on record too. Its old bytes stay until they are read again. */
async function recordFound(
  { found: { look }, clock, ...options }: CaseOptions,
  state: JobState,
  log: EventLog,
  notices: readonly string[],
): Promise<void> {
  const { map, sectorBytes } = state.plan;
  const loss = lossOf(map, look?.changed ?? [], sectorBytes);
  const found = [
    ...notices.map((text) => ({ kind: 'noticed' as const, text })),
    ...(loss ? [loss] : []),
  ];
  if (found.length === 0) return;
  const now = { atMs: clock.now(), wallMs: (options.wallMs ?? wallMs)() };
  for (const body of found) {
    const event: RecordedEvent = { ...body, ...now };
    foldJob(state, event);
    await log.append([{ n: log.last.n + 1, body: bodyOf(event) }]);
  }
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

/** Where the last finished sector ends: an image shorter than this has lost some. */
function claimedCount(map: RunMap): number {
  const last = map.previous(map.size, statuses.finished);
  return last ? endOf(last) : 0;
}

/** A damaged journal is kept for whoever can make something of it: the next one takes its place. */
async function keepDamaged(files: FileLayer, path: string, notices: string[]): Promise<void> {
  if (!(await loadJournal(files, path))?.damage) return;
  const keptPath = `${path}.damaged`;
  await files.rename(path, keptPath);
  await files.syncDirectory(path);
  notices.push(`the damaged journal is kept as ${keptPath}`);
}
