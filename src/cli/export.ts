/** `lastspin export IMAGE FILE`: an image for other programs. */

import { randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { type as platformName } from 'node:os';
import { realClock } from '../clock.js';
import type { DriveIdentity } from '../drive/drive.js';
import { isLastspinError, LastspinError } from '../errors.js';
import { type LoadedCheckpoint, loadCheckpoint } from '../image/checkpoint.js';
import { type EwfCase, type EwfCompression, writeEwf } from '../image/ewf.js';
import { fieldCharsMax } from '../image/ewf-sections.js';
import type { FileLayer, OpenFile } from '../image/file-layer.js';
import { openImageToRead } from '../image/image-file.js';
import { type ImageLock, takeLock } from '../image/lock.js';
import { nodeFiles } from '../image/node-files.js';
import { replaceFile } from '../image/replace-file.js';
import { openStored, storedPaths } from '../image/split-file.js';
import type { CaseData } from '../job/case-data.js';
import { type CasePaths, casePaths, imageNamed, recallState } from '../job/case-files.js';
import { lastReadAt } from '../job/case-log.js';
import { parseSnapshot } from '../job/snapshot.js';
import { endOf } from '../map/extent.js';
import { sectorMapOf } from '../map/mapfile.js';
import type { RunMap } from '../map/run-map.js';
import { statuses, statusNames } from '../map/status.js';
import { createByteProgress } from '../show/byte-progress.js';
import { type AreaHash, type CaseWords, formatDfxml } from '../show/dfxml.js';
import { countsOf, type ExportResult, formatExport } from '../show/exchange.js';
import { requireMapOf } from './case-map.js';
import { onInterrupt } from './interrupt.js';
import {
  bytesFrom,
  print,
  requireReplaceable,
  sectorBytesFrom,
  startOf,
  usage,
} from './map-files.js';
import { terminalOf } from './terminal.js';
import { version } from './version.js';

export interface ExportOptions extends CaseWords {
  readonly map?: string;
  readonly sector?: string;
  readonly segmentSize?: string;
  readonly compress?: EwfCompression;
  readonly json?: boolean;
  readonly force?: boolean;
}

/** Below what FAT32, CD images of old and every tool take for one file. */
const segmentBytesDefault = 1500 * 2 ** 20;

/** `lastspin export IMAGE FILE`: returns the exit status. */
export async function exportImage(
  image: string,
  path: string,
  options: ExportOptions,
): Promise<number> {
  const format = formatOf(path, options);
  requireShort(options);
  const interrupt = onInterrupt('lastspin: stopping, what was written is removed');
  const files = nodeFiles();
  try {
    const held = await holdCase(files, image, options);
    try {
      const write = format === 'e01' ? writeE01 : writeDfxml;
      const result = await write(files, held, path, options, interrupt.signal);
      await print(options.json ? `${JSON.stringify(result)}\n` : formatExport(result));
      return 0;
    } finally {
      await held.release();
    }
  } catch (error) {
    if (error !== interrupt.signal.reason) throw error;
    throw new LastspinError('INTERRUPTED', `interrupted; there is no ${path}`);
  } finally {
    interrupt.dispose();
  }
}

function formatOf(path: string, options: ExportOptions): ExportResult['format'] {
  if (/[^/\\]\.e01$/i.test(path)) return 'e01';
  if (!/\.dfxml$/i.test(path)) throw usage(`${path}: FILE ends in .E01 or .dfxml`);
  const idle = (['segmentSize', 'compress'] as const).find((name) => options[name] !== undefined);
  if (idle === undefined) return 'dfxml';
  throw usage(`--${idle === 'segmentSize' ? 'segment-size' : idle} goes with FILE.E01`);
}

/** An image that nobody changes meanwhile, and what its map says of it. */
interface HeldCase {
  readonly paths: CasePaths;
  readonly image: OpenFile;
  readonly map: RunMap;
  readonly sectorBytes: number;
  /** Absent where another program wrote the map. */
  readonly drive?: DriveIdentity;
  /** What this command was told of the case, else what the job was. */
  readonly words: CaseWords;
  /** When the drive was last read. */
  readonly acquiredAt: Date;
  release(): Promise<void>;
}

/** @throws LastspinError IMAGE_LOCKED while a job runs, IMAGE_MISMATCH where the image holds less than its map claims,
 *   MAP_INVALID, MAP_MISMATCH, USAGE, FILE_FAILED */
async function holdCase(files: FileLayer, path: string, options: ExportOptions): Promise<HeldCase> {
  const named = await imageNamed(files, path);
  const map = options.map ?? casePaths(named).map;
  const clone = await cloneOf(files, map);
  // A clone's files stand beside its map.
  const paths = { ...casePaths(named, clone && map), map };
  const [first = named] = clone ? [named] : await storedPaths(files, named);
  if (!(await files.exists(first))) throw usage(`${path} does not exist; name an image`);
  const lock = await lockWherePossible(files, paths.lock);
  try {
    const image = clone
      ? await openImageToRead(files, named, clone)
      : await openStored(files, named, { readOnly: true });
    try {
      const imageBytes = await image.size();
      const lastWritten = clone ? map : first;
      const known = await readMap(files, paths, { imageBytes, lastWritten }, options);
      requireHeld(named, imageBytes, known);
      const size = { path: named, sizeBytes: imageBytes };
      if (options.map !== undefined) await requireMapOf(files, map, size, 'reading');
      const release = async () => {
        await image.close();
        await lock?.release();
      };
      return { ...known, paths, image, release };
    } catch (error) {
      await image.close();
      throw error;
    }
  } catch (error) {
    await lock?.release();
    throw error;
  }
}

/** Of a map that is a clone's: what its target holds. */
async function cloneOf(files: FileLayer, map: string) {
  const saved = await loadCheckpoint(files, map);
  const snapshot = saved?.foreign === false ? parseSnapshot(saved.state) : undefined;
  if (snapshot?.form.kind !== 'target') return undefined;
  return { ...snapshot.drive, form: snapshot.form };
}

/** Evidence may lie where nothing can be written: then no job of ours writes there either. */
async function lockWherePossible(files: FileLayer, path: string): Promise<ImageLock | undefined> {
  try {
    return await takeLock(path);
  } catch (error) {
    if (isLastspinError(error, 'FILE_FAILED') && !(await files.exists(path))) return undefined;
    throw error;
  }
}

type KnownMap = Pick<HeldCase, 'map' | 'sectorBytes' | 'drive' | 'words' | 'acquiredAt'>;

async function readMap(
  files: FileLayer,
  { image, map: path, events }: CasePaths,
  /** `lastWritten`: the file whose last change is the nearest to when the drive was read. */
  { imageBytes, lastWritten }: { imageBytes: number; lastWritten: string },
  options: ExportOptions,
): Promise<KnownMap> {
  const saved = await loadCheckpoint(files, path);
  if (!saved) throw usage(`${image} has no map ${path}; --map names another`);
  if (isChangedCase(saved)) {
    const advice = 'bring back a copy of it';
    throw new LastspinError('MAP_INVALID', `${path} is not as lastspin wrote it; ${advice}`);
  }
  const known = await recallState(files, path);
  const changedAt = statSync(lastWritten).mtime;
  if (known) {
    const { drive, state, caseData, logEnd } = known;
    const acquiredAt = (await lastReadAt(files, events, logEnd)) ?? changedAt;
    const words = wordsOf(options, caseData);
    return { map: state.plan.map, sectorBytes: drive.sectorBytes, drive, words, acquiredAt };
  }
  const sectorBytes = sectorBytesFrom(options);
  // ddrescue's open end, where it could not learn the size of a drive.
  const isOpen = saved.map.end > Number.MAX_SAFE_INTEGER;
  const sizeBytes = isOpen ? imageBytes : saved.map.end;
  if (sizeBytes === 0 || sizeBytes % sectorBytes !== 0) {
    throw usage(`${path} is about ${sizeBytes} bytes: not sectors of ${sectorBytes} (--sector)`);
  }
  const drive = { sectorBytes, sectorCount: sizeBytes / sectorBytes };
  const map = sectorMapOf(saved.map, drive, path);
  return { map, sectorBytes, words: wordsOf(options, {}), acquiredAt: changedAt };
}

/** What this command is told of the case goes before what the job was told. */
function wordsOf(
  options: ExportOptions,
  { number, evidence, examiner, note }: CaseData,
): CaseWords {
  const told = {
    case: options.case ?? number,
    evidence: options.evidence ?? evidence,
    examiner: options.examiner ?? examiner,
    description: options.description,
    notes: options.notes ?? note,
  };
  return Object.fromEntries(Object.entries(told).filter(([, text]) => text !== undefined));
}

/** Whether a map is a case's own that something has changed since; `lastspin map` makes maps that are nobody's. */
export function isChangedCase({ damaged, map }: LoadedCheckpoint): boolean {
  const isMade = map.comments.some((comment) => comment.startsWith(' Command line: lastspin map '));
  return damaged && !isMade;
}

/** A map may be about more than the image holds, as long as it does not claim it. */
function requireHeld(path: string, imageBytes: number, { map, sectorBytes }: KnownMap): void {
  const last = map.previous(map.size, statuses.finished);
  const claimedBytes = last ? endOf(last) * sectorBytes : 0;
  const wholeBytes = map.size * sectorBytes;
  if (imageBytes >= claimedBytes && imageBytes <= wholeBytes) return;
  const expected = imageBytes < claimedBytes ? `claims ${claimedBytes}` : `is about ${wholeBytes}`;
  throw new LastspinError(
    'IMAGE_MISMATCH',
    `${path} has ${imageBytes} bytes, its map ${expected}: they do not belong together, or the image was cut`,
  );
}

async function writeE01(
  files: FileLayer,
  held: HeldCase,
  path: string,
  options: ExportOptions,
  signal: AbortSignal,
): Promise<ExportResult> {
  const { map, sectorBytes, image, paths } = held;
  const { segmentSize } = options;
  const progress = createByteProgress(terminalOf(process.stderr), realClock(), {
    verb: 'exported',
    totalBytes: map.size * sectorBytes,
  });
  const read = async (into: Uint8Array, position: number) => {
    if ((await image.read(into, position)) === into.length) return;
    const end = position + into.length;
    const message = `${paths.image} ends before byte ${end}: something has cut it meanwhile`;
    throw new LastspinError('IMAGE_MISMATCH', message);
  };
  try {
    const written = await writeEwf(
      files,
      path,
      { map, sectorBytes, read },
      {
        about: aboutOf(held),
        compression: options.compress ?? 'fast',
        segmentBytes:
          segmentSize === undefined
            ? segmentBytesDefault
            : bytesFrom('--segment-size', segmentSize, 512),
        setId: newSetId(),
        force: options.force === true,
        signal,
        onProgress: progress.show,
      },
    );
    const { paths: set, writtenBytes, ...medium } = written;
    return { ...resultOf('e01', held), files: [...set], writtenBytes, medium };
  } finally {
    progress.end();
  }
}

function aboutOf({ map, drive, words, acquiredAt }: HeldCase): EwfCase {
  return {
    ...(words.case !== undefined && { caseNumber: words.case }),
    ...(words.evidence !== undefined && { evidenceNumber: words.evidence }),
    ...(words.examiner !== undefined && { examiner: words.examiner }),
    ...(words.description !== undefined && { description: words.description }),
    ...(drive && { model: drive.model, serial: drive.serial }),
    notes: notesOf(map, cutNotes(words.notes)),
    version,
    platform: platformName(),
    acquiredAt,
    systemAt: startedAt(),
  };
}

function resultOf(format: ExportResult['format'], { paths, map, sectorBytes }: HeldCase) {
  return {
    schema: 'lastspin/export-result/1',
    format,
    image: paths.image,
    sectorBytes,
    sectors: countsOf(statusNames.map((_, code) => map.countOf(code))),
  } as const;
}

/** When this process began. */
function startedAt(): Date {
  return new Date(performance.timeOrigin);
}

/** 16 random bytes as a GUID is stored: its first three numbers little-endian. */
function newSetId(): Uint8Array {
  const bytes = Buffer.from(randomUUID().replaceAll('-', ''), 'hex');
  bytes.subarray(0, 4).swap32();
  bytes.subarray(4, 8).swap16();
  return bytes;
}

/** What of the notes is the user's; the rest of what the format takes says what was not read. */
const notesCharsMax = 2000;

/** What a job took as a note may be longer than what the format has room for; the map and a `.dfxml` have all of it. */
function cutNotes(notes = ''): string {
  const mark = ' [...]';
  return notes.length <= notesCharsMax ? notes : notes.slice(0, notesCharsMax - mark.length) + mark;
}

/** What EnCase would cut is refused. */
function requireShort(options: ExportOptions): void {
  for (const name of ['case', 'evidence', 'examiner', 'description', 'notes'] as const) {
    const most = name === 'notes' ? notesCharsMax : fieldCharsMax;
    const { length } = options[name] ?? '';
    if (length > most) throw usage(`--${name} has ${length} characters, ${most} are the most`);
  }
}

/** The user's notes, and which of the listed sectors are which: the format has one list for all. */
export function notesOf(map: RunMap, notes = ''): string {
  const kinds = [
    [statuses['non-tried'], 'never tried'],
    [statuses['non-trimmed'], 'failed in a longer read, not tried one by one'],
    [statuses['non-scraped'], 'beside a failed sector, not tried one by one'],
    [statuses['bad-sector'], 'unreadable'],
  ] as const;
  let text = `${notes === '' ? '' : `${notes} | `}Exported by lastspin ${version}.`;
  const missing = kinds.filter(([code]) => map.countOf(code) > 0);
  if (missing.length === 0) return `${text} Every sector was read.`;
  const counts = missing.map(([code, words]) => `${map.countOf(code)} sectors ${words}`);
  text += ` Zeros, and listed as errors: ${counts.join('; ')}.`;
  for (const [code, words] of missing) {
    text += ` LBAs ${words}:`;
    for (const run of map.runs()) {
      if (run.value !== code) continue;
      const area = run.count === 1 ? ` ${run.lba}` : ` ${run.lba}-${endOf(run) - 1}`;
      if (text.length + area.length + 40 > fieldCharsMax) return `${text} and more (see DFXML).`;
      text += `${area},`;
    }
    text = `${text.slice(0, -1)}.`;
  }
  return text;
}

async function writeDfxml(
  files: FileLayer,
  held: HeldCase,
  path: string,
  options: ExportOptions,
  signal: AbortSignal,
): Promise<ExportResult> {
  const target = requireReplaceable(path, options.force === true, isDfxml);
  const { paths, map, sectorBytes, drive, words, acquiredAt } = held;
  let writtenBytes = 0;
  await replaceFile(files, target, async (file) => {
    const document = formatDfxml({
      ...words,
      image: paths.image,
      acquiredAt,
      map,
      sectorBytes,
      ...(drive && { drive, hashes: listedHashes(files, paths.hashes) }),
      version,
      platform: platformName(),
      startedAt: startedAt(),
    });
    for await (const text of document) {
      signal.throwIfAborted();
      const bytes = Buffer.from(text);
      await file.write(bytes, writtenBytes);
      writtenBytes += bytes.length;
    }
  });
  return { ...resultOf('dfxml', held), files: [path], writtenBytes, medium: null };
}

function isDfxml(path: string): boolean {
  return /<dfxml\s/.test(Buffer.from(startOf(path)).toString('latin1'));
}

const hashLine = /^([0-9a-f]{64}),(\d{1,15}),(\d{1,15}),finished(?:,(?:drive|image))?$/;
const lineCharsMax = 256;

/** The hashes of `case.hashes.csv`, line by line: it may have millions. What is no such line is left out. */
async function* listedHashes(files: FileLayer, path: string): AsyncGenerator<AreaHash> {
  if (!(await files.exists(path))) return;
  const file = await files.open(path, { readOnly: true });
  try {
    const buffer = new Uint8Array(1 << 16);
    let rest = '';
    for (let position = 0; ; ) {
      const byteCount = await file.read(buffer, position);
      if (byteCount === 0) return;
      position += byteCount;
      const text = rest + Buffer.from(buffer.subarray(0, byteCount)).toString('latin1');
      const lines = text.split('\n');
      rest = lines.pop()!.slice(0, lineCharsMax);
      for (const line of lines) {
        const [, sha256, first, last] = hashLine.exec(line) ?? [];
        if (sha256 !== undefined && Number(last) >= Number(first))
          yield { sha256, lba: Number(first), count: Number(last) - Number(first) + 1 };
      }
    }
  } finally {
    await file.close();
  }
}
