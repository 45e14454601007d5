/** The checkpoint: everything a job needs to go on, in one file that is replaced at once. It is the
 * map file itself. Our own state stands in comments at its top, which other tools read over:
 *
 *     # Mapfile. Created by lastspin 0.1.0
 *     # lastspin-checkpoint: 12 1a2b3c4d
 *     # lastspin-state: {"…
 *     # lastspin-state: …"}
 *     # current_pos  current_status  current_pass
 *
 * The number counts checkpoints; the CRC-32 covers every byte after its line. A map that another
 * tool has rewritten lacks the line or fails the CRC, and is then only a map.
 *
 * Order of a job's writes: image, its sync, journal, its sync, and now and then a checkpoint, then
 * a journal that continues it. So the map never claims what the image does not hold. A new job
 * saves its first checkpoint before it makes the image: a crash in between then leaves a map that
 * claims nothing, and not an image that nobody knows. A resuming job folds the journal into the map
 * if the journal's base is the checkpoint's number, saves that as the next checkpoint, and starts
 * the next journal; it never appends to the old one. */

import { crc32 } from 'node:zlib';
import { LastspinError } from '../errors.js';
import {
  type CurrentStatus,
  createMapParser,
  formatMapFile,
  type ParsedMap,
} from '../map/mapfile.js';
import type { RunMap } from '../map/run-map.js';
import type { FileLayer, OpenFile } from './file-layer.js';
import { replaceFile } from './replace-file.js';

/** What a checkpoint holds. */
export interface CheckpointContent {
  /** From 0, one more each time; a journal continues the checkpoint of its number. */
  readonly number: number;
  /** Status codes by sector. A snapshot is taken at once; the job may change the map meanwhile. */
  readonly map: RunMap;
  readonly sectorBytes: number;
  /** Of this program. */
  readonly version: string;
  /** Bytes, ddrescue's letter, pass from 1: the map file's status line. */
  readonly currentPosition: number;
  readonly currentStatus: CurrentStatus;
  readonly currentPass: number;
  /** Anything that JSON holds, up to `stateBytesMax` as text. */
  readonly state: unknown;
  /** Further comment lines for people, without the `# `. */
  readonly comments?: readonly string[];
}

/** What was found in a map file. */
export interface LoadedCheckpoint {
  readonly map: ParsedMap;
  /** True when another program wrote or changed the map: only its blocks and status line count. */
  readonly foreign: boolean;
  /** True when it was ours once: cut, or changed by hand or by a bad disk. */
  readonly damaged: boolean;
  /** Undefined in a foreign map. */
  readonly number?: number;
  readonly state?: unknown;
}

/** Above this the state is no longer compact notes, and saving it would hold up the job. */
export const stateBytesMax = 16 * 2 ** 20;

const stateLineChars = 2000;
const readBytes = 1 << 20;
const checkpointLine = /^#[^\n]*\n# lastspin-checkpoint: ([0-9]{1,15}) ([0-9a-f]{8})\n/;
/** What every map file of ours begins with, also a plain one. */
const firstWords = '# Mapfile. Created by lastspin ';
/** What only a checkpoint has. */
const ownLine = /^# lastspin-(?:checkpoint|state): /m;
/** The checkpoint's line is the second; both together are shorter than this. */
const checkpointHeadBytes = 512;

/** Replaces the map file by a new checkpoint: a temporary file beside it, synced, renamed over it,
 * and the directory synced. The old checkpoint stays until the new one is whole.
 * @returns the file's size in bytes
 * @throws LastspinError IMAGE_SPACE, FILE_FAILED; the old checkpoint is then still there.
 * @throws RangeError when the state is larger than `stateBytesMax`. */
export async function saveCheckpoint(
  files: FileLayer,
  path: string,
  content: CheckpointContent,
): Promise<number> {
  const { number, version } = content;
  const snapshot = { ...content, map: content.map.clone() };
  const comments = [
    checkpointText(number, 0),
    ...stateLines(content.state),
    ...(content.comments ?? []),
  ];
  let sizeBytes = 0;
  await replaceFile(files, path, async (file) => {
    const head = `${firstWords}${version}\n# ${checkpointText(number, 0)}\n`;
    const coveredFrom = new TextEncoder().encode(head).length;
    let crc = 0;
    for (const piece of formatMapFile({ ...snapshot, comments })) {
      crc = crc32(piece.subarray(sizeBytes === 0 ? coveredFrom : 0), crc);
      await file.write(piece, sizeBytes);
      sizeBytes += piece.length;
    }
    // The CRC is known only now; its width is fixed, and nobody reads the file yet.
    const crcText = new TextEncoder().encode(crcHex(crc));
    await file.write(crcText, coveredFrom - 1 - crcText.length);
  });
  return sizeBytes;
}

/** Reads a map file, ours or anybody's. Undefined when there is none.
 * @throws LastspinError MAP_INVALID naming the line, FILE_FAILED. */
export async function loadCheckpoint(
  files: FileLayer,
  path: string,
): Promise<LoadedCheckpoint | undefined> {
  if (!(await files.exists(path))) return undefined;
  const file = await files.open(path, { readOnly: true });
  try {
    return await readCheckpoint(file, path);
  } finally {
    await file.close();
  }
}

async function readCheckpoint(file: OpenFile, path: string): Promise<LoadedCheckpoint> {
  const parser = createMapParser(path, await file.size());
  const buffer = new Uint8Array(readBytes);
  let head: { number: number; crc: string } | undefined;
  let isOurs = false;
  let crc = 0;
  for (let position = 0; ; ) {
    const byteCount = await file.read(buffer, position);
    if (byteCount === 0) break;
    const piece = buffer.subarray(0, byteCount);
    let coveredFrom = 0;
    if (position === 0) {
      const text = new TextDecoder('latin1').decode(piece.subarray(0, checkpointHeadBytes));
      isOurs = text.startsWith(firstWords) && ownLine.test(text);
      const match = checkpointLine.exec(text);
      if (match !== null) head = { number: Number(match[1]), crc: match[2]! };
      coveredFrom = match?.[0].length ?? 0;
    }
    if (head !== undefined) crc = crc32(piece.subarray(coveredFrom), crc);
    parser.push(piece);
    position += byteCount;
  }
  const map = parser.finish();
  if (head === undefined || head.crc !== crcHex(crc))
    return { map, foreign: true, damaged: isOurs };
  return {
    map,
    foreign: false,
    damaged: false,
    number: head.number,
    state: parseState(map.comments, path),
  };
}

function checkpointText(number: number, crc: number): string {
  return `lastspin-checkpoint: ${number} ${crcHex(crc)}`;
}

function crcHex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}

const statePrefix = 'lastspin-state: ';

/** JSON in ASCII, so that it may be cut anywhere and no program stumbles over it. */
function stateLines(state: unknown): string[] {
  const json = JSON.stringify(state) ?? 'null';
  const ascii = json.replaceAll(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  if (ascii.length > stateBytesMax) throw new RangeError(`state of ${ascii.length} bytes`);
  const lines: string[] = [];
  for (let at = 0; at < ascii.length; at += stateLineChars) {
    lines.push(statePrefix + ascii.slice(at, at + stateLineChars));
  }
  return lines;
}

function parseState(comments: readonly string[], path: string): unknown {
  const prefix = ` ${statePrefix}`;
  const ours = comments.filter((comment) => comment.startsWith(prefix));
  const json = ours.map((comment) => comment.slice(prefix.length)).join('');
  try {
    return JSON.parse(json);
  } catch (error) {
    // The CRC says that we wrote it so.
    throw new LastspinError('MAP_INVALID', `${path}: the state in its comments is no JSON`, {
      cause: error,
    });
  }
}
