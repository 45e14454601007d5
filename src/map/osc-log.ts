/** Progress logs of OpenSuperClone and HDDSuperClone, read: configuration in comments, a line of where the program
 * was, then blocks of position, size, status, info and error, all in sectors. */

import { LastspinError } from '../errors.js';
import type { CurrentStatus } from './mapfile.js';
import { type LineReader, readInteger, skipSpace } from './mapfile-lines.js';
import { type StatusCode, statuses } from './status.js';

/** A log as a map in bytes, as `ParsedMap` has it. */
export interface OscLog {
  readonly starts: Float64Array;
  readonly codes: Uint8Array;
  readonly end: number;
  readonly currentPosition: number;
  readonly currentStatus: CurrentStatus;
  readonly sectorBytes: number;
  /** As the log names the drive; empty where it does not. */
  readonly model: string;
  readonly serial: string;
  /** Blocks whose status is none that these programs are known to write; they count as non-tried. */
  readonly unknownCount: number;
}

/** Takes a log in pieces of any size. */
export interface OscLogParser {
  /** @throws LastspinError MAP_INVALID naming the line. */
  push(bytes: Uint8Array): void;
  /** @throws LastspinError MAP_INVALID naming the line; MAP_MISMATCH where the image does not lie as the drive does. */
  finish(): OscLog;
}

/** Whether text is the beginning of such a log: its first line that is no comment is two numbers, where a map file has
 * a number and a letter. */
export function isOscLog(beginning: string): boolean {
  const line = beginning.split('\n').find((text) => /^\s*[^#\s]/.test(text));
  return line !== undefined && /^\s*(0x[0-9a-f]+|\d+)\s+(0x[0-9a-f]+|\d+)\s*$/i.test(line);
}

const lineBytesMax = 1 << 20;

interface LogState {
  readonly name: string;
  lineNumber: number;
  starts: Float64Array;
  codes: Uint8Array;
  length: number;
  /** Where the blocks so far end, in sectors. */
  endLba: number;
  current: { readonly lba: number; readonly status: number } | undefined;
  unknownCount: number;
  readonly settings: Map<string, string>;
  isInSettings: boolean;
  /** What a block of free text ends with, while in one. */
  textEnd: string | undefined;
  readonly reader: LineReader;
}

/** Reads a log piece by piece.
 * @param name how error messages call the file */
export function createOscLogParser(name: string): OscLogParser {
  const state: LogState = {
    name,
    lineNumber: 0,
    starts: new Float64Array(1024),
    codes: new Uint8Array(1024),
    length: 0,
    endLba: 0,
    current: undefined,
    unknownCount: 0,
    settings: new Map(),
    isInSettings: false,
    textEnd: undefined,
    reader: { bytes: new Uint8Array(), at: 0, end: 0, exact: undefined },
  };
  let partial: Uint8Array = new Uint8Array();
  return {
    push(bytes) {
      const whole = partial.length === 0 ? bytes : Buffer.concat([partial, bytes]);
      const end = whole.lastIndexOf(newline) + 1;
      parseLines(state, whole.subarray(0, end));
      partial = new Uint8Array(whole.subarray(end));
      if (partial.length > lineBytesMax) throw invalid(state, 'a line without an end', 1);
    },
    finish() {
      parseLines(state, partial);
      if (!state.current) throw invalid(state, 'no line that says where the program was');
      if (state.length === 0) throw invalid(state, 'no block');
      return logOf(state, state.current);
    },
  };
}

const newline = 0x0a;
const hash = 0x23;

function parseLines(state: LogState, bytes: Uint8Array): void {
  const { reader } = state;
  reader.bytes = bytes;
  for (let at = 0; at < bytes.length; ) {
    const found = bytes.indexOf(newline, at);
    const lineEnd = found < 0 ? bytes.length : found;
    state.lineNumber += 1;
    reader.at = at;
    reader.end = lineEnd;
    reader.exact = undefined;
    skipSpace(reader);
    if (reader.at < lineEnd) {
      if (bytes[reader.at] === hash) parseComment(state, bytes.subarray(reader.at, lineEnd));
      else if (state.textEnd !== undefined) reader.at = lineEnd;
      else if (state.current) parseBlock(state);
      else parseCurrent(state);
    }
    at = lineEnd + 1;
  }
}

/** Free text between comments that the programs write; the first word is misspelt there. */
const textEnds: Readonly<Record<string, string>> = {
  startanyalyze: 'endanalyze',
  startanalyze: 'endanalyze',
  startsmart: 'endsmart',
};

function parseComment(state: LogState, line: Uint8Array): void {
  const text = Buffer.from(line.subarray(0, 4096)).toString('utf8');
  const [, key = '', value = ''] = /^#\s+(\S+)\s*(.*?)\s*$/.exec(text) ?? [];
  if (state.textEnd !== undefined) {
    if (key === state.textEnd) state.textEnd = undefined;
  } else if (key in textEnds) state.textEnd = textEnds[key];
  else if (key === 'startconfig') state.isInSettings = true;
  else if (key === 'endconfig') state.isInSettings = false;
  else if (state.isInSettings && state.settings.size < 1000) state.settings.set(key, value);
}

function parseCurrent(state: LogState): void {
  const lba = readField(state);
  const status = readField(state);
  if (!isLineEnd(state) || !(lba >= 0) || !(status >= 0)) {
    throw invalid(state, 'bad or missing line of where the program was (position, status)');
  }
  state.current = { lba, status };
}

function parseBlock(state: LogState): void {
  const lba = readField(state);
  const count = readField(state);
  const status = readField(state);
  const info = readField(state);
  const error = readField(state);
  const isWhole = isLineEnd(state) && lba >= 0 && count > 0 && status >= 0;
  if (!isWhole || Number.isNaN(info) || Number.isNaN(error)) {
    throw invalid(state, 'bad block line (position, size, status, info, error)');
  }
  if (lba !== state.endLba) {
    const what = lba > state.endLba ? 'leaves a gap after' : 'overlaps';
    throw invalid(
      state,
      `block at sector ${lba} ${what} the one before, ending at ${state.endLba}; let the program that wrote the log repair it`,
    );
  }
  state.endLba = lba + count;
  if (!Number.isSafeInteger(state.endLba)) throw invalid(state, 'a position above 2^53');
  const code = codeOfStatus(status);
  if (code === undefined) state.unknownCount += 1;
  addBlock(state, lba, code ?? statuses['non-tried']);
}

/** An integer that ends where a field does; NaN else. */
function readField({ reader }: LogState): number {
  const value = readInteger(reader);
  const before = reader.at;
  skipSpace(reader);
  const isEnded = reader.at > before || reader.at >= reader.end;
  return isEnded ? value : Number.NaN;
}

function isLineEnd({ reader }: LogState): boolean {
  return reader.at >= reader.end;
}

const finishedStatus = 0x7f;
/** Marks a block that was left because of a bad head; together with "finished" it is none that we know. */
const badHeadFlag = 0x80;

/** Statuses of blocks. Non-divided, which lies between trimming and scraping, is not yet trimmed here: it is read in
 * groups once more. The low bits of what was not tried tell the phase that left it. */
function codeOfStatus(status: number): StatusCode | undefined {
  if (status === finishedStatus) return statuses.finished;
  if (status > 0xff) return undefined;
  const plain = status & ~badHeadFlag;
  if (plain < 0x10) return statuses['non-tried'];
  return blockCodes.get(plain);
}

const blockCodes = new Map<number, StatusCode>([
  [0x10, statuses['non-trimmed']],
  [0x20, statuses['non-trimmed']],
  [0x30, statuses['non-scraped']],
  [0x40, statuses['bad-sector']],
]);

/** What the program was doing, as ddrescue's letter. */
const currentLetters = new Map<number, CurrentStatus>([
  [0x10, '*'],
  [0x20, '*'],
  [0x22, '*'],
  [0x30, '/'],
  [0x40, '-'],
  [0x7f, '+'],
]);

function addBlock(state: LogState, lba: number, code: number): void {
  const { length } = state;
  if (length > 0 && state.codes[length - 1] === code) return;
  if (length === state.starts.length) {
    const starts = new Float64Array(length * 2);
    const codes = new Uint8Array(length * 2);
    starts.set(state.starts);
    codes.set(state.codes);
    state.starts = starts;
    state.codes = codes;
  }
  state.starts[length] = lba;
  state.codes[length] = code;
  state.length = length + 1;
}

function logOf(state: LogState, current: NonNullable<LogState['current']>): OscLog {
  const { name, settings, length } = state;
  const sectorBytes = numberOf(state, 'sectorsize', 512);
  const isSize = Number.isSafeInteger(sectorBytes) && sectorBytes >= 1 && sectorBytes <= 65_536;
  if (!isSize) {
    const message = `${name}: a sector size of ${settings.get('sectorsize')}`;
    throw new LastspinError('MAP_INVALID', message);
  }
  requireSamePlaces(state);
  const end = state.endLba * sectorBytes;
  if (!Number.isSafeInteger(end)) {
    throw new LastspinError('MAP_INVALID', `${name}: a position above 2^53 bytes`);
  }
  return {
    starts: state.starts.subarray(0, length).map((lba) => lba * sectorBytes),
    codes: state.codes.subarray(0, length),
    end,
    currentPosition: Math.min(current.lba, state.endLba) * sectorBytes,
    currentStatus: currentLetters.get(current.status) ?? '?',
    sectorBytes,
    model: settings.get('model') ?? '',
    serial: settings.get('serial') ?? '',
    unknownCount: state.unknownCount,
  };
}

function numberOf({ settings }: LogState, key: string, unless: number): number {
  const text = settings.get(key);
  return text === undefined || text === '' ? unless : Number(text);
}

/** An image that was written at another offset, or in sectors of another size, does not hold the drive's sector n where
 * sector n is looked for. */
function requireSamePlaces(state: LogState): void {
  const input = numberOf(state, 'inputoffset', 0);
  const output = numberOf(state, 'outputoffset', -1);
  const isMoved = output !== -1 && output !== input;
  if (!isMoved && numberOf(state, 'sectorsizeadjust', 0) === 0) return;
  const what = isMoved
    ? `from sector ${input} of the drive to sector ${output}`
    : 'in sectors of another size';
  throw new LastspinError(
    'MAP_MISMATCH',
    `${state.name}: its image was written ${what}: what it holds is not where the drive has it`,
  );
}

function invalid(state: LogState, what: string, ahead = 0): LastspinError {
  return new LastspinError('MAP_INVALID', `${state.name}:${state.lineNumber + ahead}: ${what}`);
}
