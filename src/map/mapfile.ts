/** GNU ddrescue's map files, read. Accepts what ddrescuelog accepts and refuses what it refuses:
 * comments, a status line, then contiguous blocks. Positions and sizes here are bytes. */

import { LastspinError } from '../errors.js';
import {
  clampPosition,
  codeOfLetter,
  isSpace,
  type LineReader,
  lineBytesMax,
  readInteger,
  readLetter,
  readPass,
} from './mapfile-lines.js';
import { type RunMap, runMapBuilder } from './run-map.js';
import { type Status, statusNames } from './status.js';

export { formatMapFile, type MapFileContent } from './mapfile-writer.js';

/** What the program that wrote a map was doing: a block status's letter while it worked on those,
 * `F` filling, `G` generating, `+` finished. */
export type CurrentStatus = '?' | '*' | '/' | '-' | 'F' | 'G' | '+';

/** A map file as it was written, in bytes. Blocks are contiguous and maximal: block `i` is
 * `[starts[i], starts[i + 1])`, the last one ends at `end`. The first may start above 0. */
export interface ParsedMap {
  readonly starts: Float64Array;
  /** Status codes (`statuses`). */
  readonly codes: Uint8Array;
  readonly end: number;
  /** Where the writing program was: a block's start when it read forwards, its end backwards. */
  readonly currentPosition: number;
  readonly currentStatus: CurrentStatus;
  /** From 1. */
  readonly currentPass: number;
  /** The comment lines above the status line, from behind the `#`, as they stand. */
  readonly comments: readonly string[];
}

/** Takes a map file in pieces of any size. */
export interface MapParser {
  /** @throws LastspinError MAP_INVALID naming the line. */
  push(bytes: Uint8Array): void;
  /** The map, once all pieces are in.
   * @throws LastspinError MAP_INVALID naming the line. */
  finish(): ParsedMap;
}

/** Comments beyond this are read over: ours fit, and a file of nothing else must not fill
 * memory. */
const commentBytesMax = 32 * 2 ** 20;

/** The shortest line that ddrescue writes; the capacity to start with follows from it. */
const runLineBytes = 26;

/** Takes each block line as it stands, in any order: bytes from 0, rounded above 2^53 - 1. */
export type BlockSink = (position: number, size: number, code: number, lineNumber: number) => void;

interface ParserState {
  readonly name: string;
  readonly takeBlock: BlockSink | undefined;
  lineNumber: number;
  starts: Float64Array;
  codes: Uint8Array;
  length: number;
  hasBlock: boolean;
  /** Where the blocks read so far end; `endExact` where a double cannot tell. */
  end: number;
  endExact: bigint | undefined;
  currentPosition: number;
  /** Undefined before the status line. */
  currentStatus: CurrentStatus | undefined;
  currentPass: number;
  readonly comments: string[];
  commentBytes: number;
  readonly reader: LineReader;
}

/** Reads a whole map file.
 * @param name how error messages call the file
 * @throws LastspinError MAP_INVALID, one line with the file's name and the line's number. */
export function parseMapFile(bytes: Uint8Array, name: string): ParsedMap {
  const parser = createMapParser(name, bytes.length);
  parser.push(bytes);
  return parser.finish();
}

/** Reads a map file piece by piece, so that a big one is never in memory twice.
 * @param name how error messages call the file
 * @param sizeBytes the file's size where known, to reserve memory once
 * @param takeBlock gets the blocks instead of the map, which stays empty; they need not be
 *   contiguous then (`mapfile-loose.ts`) */
export function createMapParser(name: string, sizeBytes = 0, takeBlock?: BlockSink): MapParser {
  const capacity = takeBlock ? 0 : Math.ceil(sizeBytes / runLineBytes) + 16;
  const state = createState(name, capacity, takeBlock);
  /** Pieces of a line whose end has not come yet: copies, since a Buffer's `slice` is none. */
  let partial: Uint8Array[] = [];
  return {
    push: (bytes) => {
      const firstEnd = bytes.indexOf(newline) + 1;
      if (firstEnd === 0) {
        partial.push(new Uint8Array(bytes));
        return;
      }
      let from = 0;
      if (partial.length > 0) {
        parseLines(state, joined([...partial, bytes.subarray(0, firstEnd)]));
        partial = [];
        from = firstEnd;
      }
      const to = bytes.lastIndexOf(newline) + 1;
      parseLines(state, bytes.subarray(from, to));
      if (to < bytes.length) partial.push(new Uint8Array(bytes.subarray(to)));
    },
    finish: () => {
      if (partial.length > 0) parseLines(state, joined(partial));
      partial = [];
      return {
        starts: state.starts.subarray(0, state.length),
        codes: state.codes.subarray(0, state.length),
        end: state.end,
        currentPosition: state.currentPosition,
        currentStatus: state.currentStatus ?? '?',
        currentPass: state.currentPass,
        comments: state.comments,
      };
    },
  };
}

const newline = 0x0a;

function createState(name: string, capacity: number, takeBlock?: BlockSink): ParserState {
  return {
    name,
    takeBlock,
    lineNumber: 0,
    starts: new Float64Array(capacity),
    codes: new Uint8Array(capacity),
    length: 0,
    hasBlock: false,
    end: 0,
    endExact: undefined,
    currentPosition: 0,
    currentStatus: undefined,
    currentPass: 1,
    comments: [],
    commentBytes: 0,
    reader: { bytes: new Uint8Array(0), at: 0, end: 0, exact: undefined },
  };
}

/** Parses whole lines; the last may lack its newline. */
function parseLines(state: ParserState, bytes: Uint8Array): void {
  const { reader } = state;
  reader.bytes = bytes;
  let at = 0;
  while (at < bytes.length) {
    state.lineNumber += 1;
    while (at < bytes.length && bytes[at] !== newline && isSpace(bytes[at]!)) at++;
    let lineEnd = at;
    while (lineEnd < bytes.length && bytes[lineEnd] !== newline) lineEnd++;
    if (lineEnd > at) {
      reader.at = at;
      reader.end = Math.min(lineEnd, at + lineBytesMax);
      reader.exact = undefined;
      if (bytes[at] === 0x23) keepComment(state, bytes.subarray(at + 1, lineEnd));
      else if (state.currentStatus === undefined) parseStatusLine(state);
      else parseBlockLine(state);
    }
    at = lineEnd + 1;
  }
}

function keepComment(state: ParserState, text: Uint8Array): void {
  if (state.currentStatus !== undefined || state.commentBytes > commentBytesMax) return;
  state.commentBytes += text.length;
  state.comments.push(new TextDecoder().decode(text));
}

function parseStatusLine(state: ParserState): void {
  const { reader } = state;
  const position = readInteger(reader);
  const letter = readLetter(reader);
  const status = letter < 0 ? '' : String.fromCharCode(letter);
  const pass = readPass(reader) ?? 1;
  if (!(position >= 0) || !isCurrentStatus(status) || pass < 1) {
    throw invalid(state, 'bad or missing status line (position, status, pass)');
  }
  state.currentPosition = position;
  state.currentStatus = status;
  state.currentPass = pass;
}

function isCurrentStatus(letter: string): letter is CurrentStatus {
  return letter.length === 1 && '?*/-FG+'.includes(letter);
}

function parseBlockLine(state: ParserState): void {
  const { reader } = state;
  const position = readInteger(reader);
  const positionExact = reader.exact;
  reader.exact = undefined;
  const size = readInteger(reader);
  const code = codeOfLetter(readLetter(reader));
  const isSized = size > 0 || (size === 0 && position === 0);
  if (!(position >= 0) || !isSized || code < 0) {
    throw invalid(state, 'bad block line (position, size, status)');
  }
  if (state.takeBlock !== undefined) {
    state.takeBlock(position, size, code, state.lineNumber);
    return;
  }
  if (positionExact !== undefined || position + size > Number.MAX_SAFE_INTEGER) {
    addHugeBlock(state, positionExact ?? BigInt(position), reader.exact ?? BigInt(size), code);
    return;
  }
  if (state.hasBlock && (position !== state.end || state.endExact !== undefined)) {
    throw notContiguous(state, position);
  }
  state.hasBlock = true;
  if (size > 0) addBlock(state, position, code);
  state.end = position + size;
}

/** A block that reaches where a double no longer tells neighbours apart. ddrescue writes such a map
 * where it could not learn the size of the drive. */
function addHugeBlock(state: ParserState, position: bigint, size: bigint, code: number): void {
  if (state.hasBlock && position !== (state.endExact ?? BigInt(state.end))) {
    throw notContiguous(state, Number(position));
  }
  state.hasBlock = true;
  const end = clampPosition(position + size);
  if (end > position) addBlock(state, Number(position), code);
  state.end = Number(end);
  state.endExact = end;
}

function addBlock(state: ParserState, position: number, code: number): void {
  const { length } = state;
  if (length > 0 && state.codes[length - 1] === code) return;
  if (length === state.starts.length) {
    const starts = new Float64Array(Math.ceil(length * 1.5));
    const codes = new Uint8Array(starts.length);
    starts.set(state.starts);
    codes.set(state.codes);
    state.starts = starts;
    state.codes = codes;
  }
  state.starts[length] = position;
  state.codes[length] = code;
  state.length = length + 1;
}

function invalid(state: ParserState, what: string): LastspinError {
  return new LastspinError('MAP_INVALID', `${state.name}:${state.lineNumber}: ${what}`);
}

function notContiguous(state: ParserState, position: number): LastspinError {
  const what = position > state.end ? 'leaves a gap after' : 'overlaps';
  return invalid(
    state,
    `block at ${hex(position)} ${what} the one before, ending ${hex(state.end)}`,
  );
}

function hex(value: number): string {
  return `0x${value.toString(16).toUpperCase()}`;
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Bytes and areas of one status. */
export interface ByteCount {
  bytes: number;
  areas: number;
}

/** What a map file adds up to in bytes, as `ddrescuelog -t` shows it. */
export function byteStatistics(parsed: ParsedMap): Record<Status, ByteCount> {
  const counts = statusNames.map(() => ({ bytes: 0, areas: 0 }));
  const { starts, codes, end } = parsed;
  for (let i = 0; i < starts.length; i++) {
    const count = counts[codes[i]!]!;
    count.bytes += (i + 1 < starts.length ? starts[i + 1]! : end) - starts[i]!;
    count.areas += 1;
  }
  const named = statusNames.map((name, code) => [name, counts[code]!] as const);
  return Object.fromEntries(named) as Record<Status, ByteCount>;
}

/** The drive that a map is to fit. */
export interface SectorSize {
  readonly sectorBytes: number;
  readonly sectorCount: number;
}

/** A parsed map as a map of a drive's sectors. A sector of several fragments gets the least
 * processed of their states; bytes that the map does not speak of are non-tried.
 * @param name how error messages call the file
 * @throws LastspinError MAP_MISMATCH when the map reaches past the drive. Only a non-tried tail of
 *   unknown size, which ddrescue writes where it could not learn a drive's size, is cut off. */
export function sectorMapOf(parsed: ParsedMap, drive: SectorSize, name: string): RunMap {
  const { sectorBytes, sectorCount } = drive;
  const sizeBytes = sectorBytes * sectorCount;
  const { starts, codes } = parsed;
  checkFits(parsed, sizeBytes, name);
  const builder = runMapBuilder(sectorCount);
  /** The sector that pieces so far cover only in part, and the state they join to. */
  let partialCode = -1;
  const addPiece = (from: number, to: number, code: number) => {
    let first = Math.floor(from / sectorBytes);
    if (partialCode >= 0) {
      partialCode = Math.min(partialCode, code);
      if (to < (first + 1) * sectorBytes) return;
      builder.append(first, partialCode);
      partialCode = -1;
      first += 1;
    }
    const end = Math.floor(to / sectorBytes);
    if (end > first) builder.append(first, code);
    if (to > end * sectorBytes) partialCode = code;
  };
  if (starts.length === 0) addPiece(0, sizeBytes, 0);
  else if (starts[0]! > 0) addPiece(0, starts[0]!, 0);
  for (let i = 0; i < starts.length; i++) {
    const end = i + 1 < starts.length ? starts[i + 1]! : parsed.end;
    addPiece(starts[i]!, Math.min(end, sizeBytes), codes[i]!);
  }
  if (starts.length > 0 && parsed.end < sizeBytes) addPiece(parsed.end, sizeBytes, 0);
  return builder.finish();
}

/** A map of a drive's sectors in bytes, as a map file would hold it: the way to other sector sizes. */
export function byteMapOf(map: RunMap, sectorBytes: number): ParsedMap {
  const starts: number[] = [];
  const codes: number[] = [];
  map.forEachRun((lba, _count, value) => {
    starts.push(lba * sectorBytes);
    codes.push(value);
  });
  return {
    starts: Float64Array.from(starts),
    codes: Uint8Array.from(codes),
    end: map.size * sectorBytes,
    currentPosition: 0,
    currentStatus: '?',
    currentPass: 1,
    comments: [],
  };
}

function checkFits(parsed: ParsedMap, sizeBytes: number, name: string): void {
  if (parsed.end <= sizeBytes || parsed.starts.length === 0) return;
  const last = parsed.starts.length - 1;
  const isOpenTail =
    parsed.codes[last] === 0 &&
    parsed.end > Number.MAX_SAFE_INTEGER &&
    parsed.starts[last]! <= sizeBytes;
  if (isOpenTail) return;
  throw new LastspinError(
    'MAP_MISMATCH',
    `${name}: the map reaches to byte ${parsed.end}, the drive has ${sizeBytes}: ` +
      'it belongs to another drive or to another part of one',
  );
}
