/** What all `lastspin map` commands share: maps in, maps out, and the domain options. */

import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import { type Domain, domainRuns, openEnd, type Runs, statisticsWithin } from '../map/algebra.js';
import { type Annotation, formatByteMap } from '../map/algebra-writer.js';
import { createMapParser, type ParsedMap, parseMapFile } from '../map/mapfile.js';
import { parseLooseMapFile } from '../map/mapfile-loose.js';
import { version } from './version.js';

export interface DomainOptions {
  readonly from?: string;
  readonly size?: string;
  readonly domain?: string;
  readonly loose?: boolean;
  readonly sector?: string;
}

export interface OutputOptions {
  readonly output?: string;
  readonly force?: boolean;
}

let isStdinRead = false;

/** The bytes of a file, or of standard input for `-`. */
export function readBytes(path: string): Uint8Array {
  if (path === '-') return reading(path, readStdin);
  return reading(path, () => {
    const file = openMap(path);
    try {
      return readFileSync(file);
    } finally {
      closeSync(file);
    }
  });
}

function reading<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (isLastspinError(error)) throw error;
    throw new LastspinError('FILE_FAILED', `cannot read ${nameOf(path)}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function readStdin(): Uint8Array {
  if (isStdinRead) throw usage('standard input (-) can be given only once');
  isStdinRead = true;
  return readFileSync(0);
}

/** Opens a file to read; a drive given by mistake is left alone. */
function openMap(path: string): number {
  if (statSync(path).isBlockDevice()) throw usage(`${path} is a drive, a map file is needed`);
  return openSync(path, 'r');
}

export function nameOf(path: string): string {
  return path === '-' ? 'standard input' : path;
}

/** A map file, strict; or with gaps and disorder where `isLoose`.
 * @throws LastspinError FILE_FAILED, MAP_INVALID */
export function loadMap(path: string, isLoose = false): ParsedMap {
  const name = nameOf(path);
  if (isLoose) return exact(parseLooseMapFile(readBytes(path), name), name);
  if (path === '-') return exact(parseMapFile(readBytes(path), name), name);
  return reading(path, () => exact(parsePieces(path), name));
}

const pieceBytes = 1 << 20;
/** Beyond this the parser grows as it reads: what says to be a map of a terabyte is none. */
const reservedBytesMax = 2 ** 28;

/** Piece by piece, so that a big map is never in memory twice, and an image that was given for its
 * map is refused at its first line. */
function parsePieces(path: string): ParsedMap {
  const file = openMap(path);
  try {
    const parser = createMapParser(path, Math.min(fstatSync(file).size, reservedBytesMax));
    const piece = new Uint8Array(pieceBytes);
    for (;;) {
      const count = readSync(file, piece, 0, piece.length, null);
      if (count === 0) return parser.finish();
      parser.push(piece.subarray(0, count));
    }
  } finally {
    closeSync(file);
  }
}

/** Refuses what a double cannot compute with: anything above 2^53 but ddrescue's open end. */
export function exact(parsed: ParsedMap, name: string): ParsedMap {
  const isEndExact = parsed.end <= Number.MAX_SAFE_INTEGER || parsed.end === openEnd;
  const lastStart = parsed.starts.at(-1) ?? 0;
  if (isEndExact && lastStart <= Number.MAX_SAFE_INTEGER) return parsed;
  throw new LastspinError(
    'MAP_INVALID',
    `${name}: a position above 2^53 bytes, no drive is that large`,
  );
}

export function usage(message: string): LastspinError {
  return new LastspinError('USAGE', message);
}

/** The domain that the options name.
 * @throws LastspinError USAGE for a number that is none, and what `loadMap` throws */
export function domainFrom(options: DomainOptions): Domain {
  const sectorBytes = sectorBytesFrom(options);
  const from = options.from === undefined ? 0 : bytesFrom('--from', options.from, sectorBytes);
  const size =
    options.size === undefined ? Infinity : bytesFrom('--size', options.size, sectorBytes);
  const map = options.domain === undefined ? undefined : loadMap(options.domain, options.loose);
  return domainRuns(from, size, map);
}

/** Refuses to act on nothing. ddrescuelog says so too, but exits with 0 and writes nothing, which a
 * script takes for an answer. */
export function requireInside(map: Runs, domain: Domain, path: string): void {
  if (statisticsWithin(map, domain).inside.areas > 0) return;
  const what = map.starts.length === 0 ? 'the map is empty' : 'the domain holds nothing of it';
  throw usage(`nothing to do with ${nameOf(path)}: ${what}`);
}

export function sectorBytesFrom(options: { readonly sector?: string }): number {
  const bytes = options.sector === undefined ? 512 : bytesFrom('--sector', options.sector, 512);
  if (bytes >= 1 && bytes < 2 ** 31) return bytes;
  throw usage(`--sector ${options.sector}: from 1 to 2147483647 bytes`);
}

/** A number of bytes as ddrescue's options take them: decimal, `0x` hexadecimal, `0` octal, then
 * `s` for sectors or `k Ki M Mi G Gi T Ti P Pi`, with or without a `B`. */
export function bytesFrom(option: string, text: string, sectorBytes: number): number {
  const parts = /^(0[xX][0-9a-fA-F]+|[0-9]+)(s|k|[MGTP]|[KMGTP]i)?B?$/.exec(text);
  const [, digits = '', unit = ''] = parts ?? [];
  const number = /^0[0-9]+$/.test(digits) ? Number(`0o${digits.slice(1)}`) : Number(digits);
  const bytes = number * factorOf(unit, sectorBytes);
  if (parts && Number.isSafeInteger(bytes)) return bytes;
  const wanted = 'a number of bytes up to 2^53 is needed, as 4096, 0x1000, 8s, 1Mi or 500G';
  throw usage(`${option} ${text}: ${wanted}`);
}

function factorOf(unit: string, sectorBytes: number): number {
  if (unit === '') return 1;
  if (unit === 's') return sectorBytes;
  const power = 'KMGTP'.indexOf(unit[0]!.toUpperCase()) + 1;
  return (unit.endsWith('i') ? 1024 : 1000) ** power;
}

/** Writes a map to standard output, or safely to a file. */
export async function writeMap(
  origin: ParsedMap,
  runs: Runs,
  options: OutputOptions,
  annotation?: Annotation,
): Promise<void> {
  const { currentPosition, currentStatus, currentPass } = origin;
  const comments = [`Command line: lastspin ${process.argv.slice(2).join(' ')}`];
  const status = { currentPosition, currentStatus, currentPass };
  await writeOut(formatByteMap({ ...runs, ...status, version, comments }, annotation), options);
}

/** Writes bytes to standard output, or to `--output`: to a file beside it first, so that the old one
 * stays until the new one is whole. */
export async function writeOut(
  pieces: Iterable<Uint8Array | string>,
  { output, force }: OutputOptions,
  isReplaceable: (path: string) => boolean = isMapFile,
): Promise<void> {
  if (output === undefined) {
    for (const piece of pieces) await print(piece);
    return;
  }
  const path = requireReplaceable(output, force === true, isReplaceable);
  const temporary = `${path}.tmp`;
  try {
    const file = openSync(temporary, 'wx');
    try {
      for (const piece of pieces) writeWhole(file, piece);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    const isOurs = (error as NodeJS.ErrnoException).code !== 'EEXIST';
    if (isOurs) rmSync(temporary, { force: true });
    throw new LastspinError('FILE_FAILED', `cannot write ${output}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function writeWhole(file: number, piece: Uint8Array | string): void {
  const bytes = typeof piece === 'string' ? new TextEncoder().encode(piece) : piece;
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

/** Where a result may go: a new file, or with `--force` an old one of the same kind. A drive or an
 * image never is.
 * @throws LastspinError USAGE */
export function requireReplaceable(
  path: string,
  force: boolean,
  isKind: (path: string) => boolean,
): string {
  if (path === '') throw usage('the name of the file to write is empty');
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return path;
  if (found.isDirectory()) throw usage(`${path} is a folder; name a file in it`);
  if (!force) throw usage(`${path} exists; --force replaces it`);
  if (found.isFile() && (found.size === 0 || isKind(path))) return realpathSync(path);
  throw usage(`${path} is not a file that this command writes; it is not replaced`);
}

/** Whether a file begins as a map does. */
function isMapFile(path: string): boolean {
  const start = startOf(path);
  const lines = start.subarray(0, start.lastIndexOf(0x0a) + 1);
  if (start.includes(0) || lines.length === 0) return false;
  try {
    createMapParser(path, 0, () => undefined).push(lines);
    return true;
  } catch {
    return false;
  }
}

/** The first 4 KiB of a file. */
export function startOf(path: string): Uint8Array {
  const file = openSync(path, 'r');
  try {
    const bytes = new Uint8Array(4096);
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(file);
  }
}

export function print(text: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => process.stdout.write(text, () => resolve()));
}
