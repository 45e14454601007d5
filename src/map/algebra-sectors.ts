/** Maps as sets of sector numbers, and back: the lists that badblocks and e2fsck use, and bitmaps. */

import { LastspinError } from '../errors.js';
import {
  type Domain,
  isInside,
  openEnd,
  outside,
  type Runs,
  runsBuilder,
  spansBuilder,
  walk,
} from './algebra-runs.js';
import { isSpace, type LineReader, readInteger, skipSpace } from './mapfile-lines.js';
import { type StatusCode, statuses } from './status.js';

/** How sets of sectors are numbered. */
export interface Numbering {
  readonly sectorBytes: number;
  /** Added to a byte's position in the source to get its position in the image; a multiple of
   * `sectorBytes`. */
  readonly offset: number;
}

/** Finds the sectors that hold, even in part, a byte of the domain with one of the statuses
 * (ddrescuelog -l). Numbers are of sectors in the image; those below 0 are left out.
 * @param mask bit `code` is set for each status to find
 * @param visit sees ascending runs of sectors, none twice */
export function forEachSectorRun(
  map: Runs,
  mask: number,
  domain: Domain,
  { sectorBytes, offset }: Numbering,
  visit: (first: number, count: number) => void,
): void {
  let [first, next] = [0, 0];
  walk([map, domain], (from, to, [code, inDomain]) => {
    if (code === outside || !isInside(inDomain) || ((mask >> code!) & 1) === 0) return;
    const begin = Math.max(Math.floor((from + offset) / sectorBytes), next);
    const end = Math.ceil((to + offset) / sectorBytes);
    if (end <= begin) return;
    if (begin > next) {
      if (next > first) visit(first, next - first);
      first = begin;
    }
    next = end;
  });
  if (next > first) visit(first, next - first);
}

/** How many sectors, from 0, it takes to hold the whole map in the image. */
export function sectorsToHold(map: Runs, { sectorBytes, offset }: Numbering): number {
  return map.starts.length === 0 ? 0 : Math.max(0, Math.ceil((map.end + offset) / sectorBytes));
}

export type BitOrder = 'little' | 'big';

/** Sets bits in a bitmap: the first sector of a byte is its least significant bit in a little-endian
 * bitmap, its most significant in a big-endian one. */
export function setBits(bitmap: Uint8Array, first: number, count: number, order: BitOrder): void {
  for (let bit = first; bit < first + count; ) {
    const byte = Math.floor(bit / 8);
    if (bit % 8 === 0 && first + count - bit >= 8) {
      const byteCount = Math.floor((first + count - bit) / 8);
      bitmap.fill(255, byte, byte + byteCount);
      bit += byteCount * 8;
      continue;
    }
    bitmap[byte]! |= order === 'little' ? 1 << (bit % 8) : 128 >> (bit % 8);
    bit += 1;
  }
}

/** A set of sectors, as runs that are finished where the sectors are. */
export type SectorSet = Runs;

/** Reads sector numbers, separated by white space, in any order and repeated at will; decimal, `0x`
 * hexadecimal or `0` octal; `#` starts a comment that ends with its line.
 * @param name how error messages call the file
 * @throws LastspinError MAP_INVALID naming file, line and column. */
export function parseSectorList(bytes: Uint8Array, name: string, sectorBytes: number): SectorSet {
  const reader: LineReader = { bytes, at: 0, end: bytes.length, exact: undefined };
  const sectorMax = Math.floor(Number.MAX_SAFE_INTEGER / sectorBytes);
  let sectors = new Float64Array(1024);
  let length = 0;
  let isAscending = true;
  while (!isAtEnd(reader)) {
    const from = reader.at;
    const sector = readInteger(reader);
    const isEnded =
      reader.at === bytes.length || isSpace(bytes[reader.at]!) || bytes[reader.at] === hash;
    if (!(sector >= 0 && isEnded)) throw wrong(bytes, from, name, 'a sector number is needed here');
    if (sector >= sectorMax) throw wrong(bytes, from, name, 'a sector beyond byte 2^53');
    if (length === sectors.length) {
      const wider = new Float64Array(length * 2);
      wider.set(sectors);
      sectors = wider;
    }
    if (length > 0 && sector < sectors[length - 1]!) isAscending = false;
    sectors[length++] = sector;
  }
  sectors = sectors.subarray(0, length);
  return setOf(isAscending ? sectors : sectors.sort(), sectorBytes);
}

const hash = 0x23;
const newline = 0x0a;

/** Moves to the next number. */
function isAtEnd(reader: LineReader): boolean {
  skipSpace(reader);
  while (reader.bytes[reader.at] === hash) {
    const lineEnd = reader.bytes.indexOf(newline, reader.at);
    reader.at = lineEnd < 0 ? reader.end : lineEnd;
    skipSpace(reader);
  }
  return reader.at === reader.end;
}

function wrong(bytes: Uint8Array, at: number, name: string, what: string): LastspinError {
  let lineNumber = 1;
  let lineStart = 0;
  for (let i = bytes.indexOf(newline); i >= 0 && i < at; i = bytes.indexOf(newline, i + 1)) {
    lineNumber += 1;
    lineStart = i + 1;
  }
  return new LastspinError('MAP_INVALID', `${name}:${lineNumber}:${at - lineStart + 1}: ${what}`);
}

function setOf(ascending: Float64Array, sectorBytes: number): SectorSet {
  const spans = spansBuilder(1024);
  let last = -1;
  for (const sector of ascending) {
    if (sector !== last) spans.add(sector * sectorBytes, (sector + 1) * sectorBytes);
    last = sector;
  }
  return spans.finish();
}

/** Reads a bitmap with one bit a sector. */
export function parseBitmap(bytes: Uint8Array, order: BitOrder, sectorBytes: number): SectorSet {
  const builder = runsBuilder(1024);
  for (let byte = 0; byte < bytes.length; byte++) {
    const value = bytes[byte]!;
    const bitCount = value === 0 || value === 255 ? 8 : 1;
    for (let bit = 0; bit < 8; bit += bitCount) {
      const isSet = order === 'little' ? (value >> bit) & 1 : (value << bit) & 128;
      const from = (byte * 8 + bit) * sectorBytes;
      const code = isSet ? statuses.finished : statuses['non-tried'];
      builder.append(from, from + bitCount * sectorBytes, code);
    }
  }
  return builder.finish();
}

/** What a map made from a set of sectors says. */
export interface SetStatuses {
  readonly listed: StatusCode;
  readonly others: StatusCode;
}

/** A map of the image from 0 to the end of the domain, made from a set of sectors of the source
 * (ddrescuelog -c). Only sectors that the domain holds whole count as listed; a domain without
 * an end makes a map without one. */
export function mapOfSectors(
  set: SectorSet,
  { listed, others }: SetStatuses,
  domain: Domain,
  { sectorBytes, offset }: Numbering,
): Runs {
  const mapEnd = domain.end === openEnd ? openEnd : domain.end + offset;
  const builder = runsBuilder(set.starts.length);
  let at = 0;
  walk([set, wholeSectors(domain, sectorBytes)], (from, to, [inSet, inDomain]) => {
    if (!isInside(inSet) || !isInside(inDomain)) return;
    const start = Math.max(from + offset, at);
    builder.append(at, start, others);
    builder.append(start, to + offset, listed);
    at = Math.max(at, to + offset);
  });
  builder.append(at, mapEnd, others);
  return builder.finish();
}

/** The sectors that a domain holds whole. */
function wholeSectors(domain: Domain, sectorBytes: number): Domain {
  const spans = spansBuilder(domain.starts.length);
  walk([domain], (from, to, [inDomain]) => {
    if (!isInside(inDomain)) return;
    const last = to === openEnd ? openEnd : Math.floor(to / sectorBytes) * sectorBytes;
    spans.add(Math.ceil(from / sectorBytes) * sectorBytes, last);
  });
  return spans.finish();
}
