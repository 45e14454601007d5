/** What lies on the disk of a case: its names, what a start finds there, and what is put on record between runs. */

import { basename, dirname, extname, join } from 'node:path';
import type { DriveIdentity } from '../drive/drive.js';
import { LastspinError } from '../errors.js';
import { type LoadedCheckpoint, loadCheckpoint, saveCheckpoint } from '../image/checkpoint.js';
import type { LogPosition } from '../image/event-log.js';
import type { FileLayer } from '../image/file-layer.js';
import type { ImageLook } from '../image/image-look.js';
import { createJournal, loadJournal } from '../image/journal.js';
import { hasParts, wholeName } from '../image/split-file.js';
import { sectorMapOf } from '../map/mapfile.js';
import { statuses } from '../map/status.js';
import type { DriveKind } from '../power/policy.js';
import type { CaseData } from './case-data.js';
import { appendBetweenRuns, type FoundLog, findLog } from './case-log.js';
import type { FillRecord } from './events.js';
import { checkImage, type LookWish } from './image-check.js';
import { foldRecorded, type RecordedEvent } from './recorded.js';
import { parseSnapshot, restoreState, type Snapshot, snapshotOf } from './snapshot.js';
import { foldJob, type JobState } from './state.js';

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
export function fillComments({ fills }: JobState): string[] {
  return fills.map((fill) => `filled, not read: ${fillText(fill)}`);
}

/** A fill in words. */
export function fillText({ unread, unreadable, excess }: FillRecord): string {
  const words = [
    unread && `unread with ${unread}`,
    unreadable && `unreadable with ${unreadable}`,
    excess && `behind the drive's end with ${excess}`,
  ];
  return words.filter(Boolean).join(', ');
}

/** ddrescue's status line: the position, and a letter for what the pass is after. */
export function mapStatusLine({ plan }: JobState): {
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
