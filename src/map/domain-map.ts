/** Which part of a drive to act on: read from a ddrescue domain map, or from a list of ranges. A
 * domain is a run map of 1 inside and 0 outside. */

import { LastspinError } from '../errors.js';
import type { ParsedMap, SectorSize } from './mapfile.js';
import { type RunMap, runMapBuilder } from './run-map.js';
import { unitBytes } from './size-units.js';
import { statuses } from './status.js';

/** The finished blocks of a map as a domain of a drive: 1 inside, 0 outside. A sector that is only
 * partly inside counts as inside. What lies past the end of the drive is cut off, as ddrescue does
 * with `--domain-mapfile`.
 * @param parsed from `parseMapFile`, or from `parseLooseMapFile` where gaps are to be accepted
 * @param name how error messages call the file
 * @throws LastspinError MAP_MISMATCH when nothing of the drive would be inside. */
export function domainOf(parsed: ParsedMap, drive: SectorSize, name: string): RunMap {
  const { starts, codes } = parsed;
  const domain = domainBuilder(drive.sectorCount);
  for (let i = 0; i < starts.length; i++) {
    if (codes[i] !== statuses.finished) continue;
    const end = i + 1 < starts.length ? starts[i + 1]! : parsed.end;
    domain.add(
      Math.floor(starts[i]! / drive.sectorBytes),
      Math.min(Math.ceil(end / drive.sectorBytes), drive.sectorCount),
    );
  }
  return domain.finish(
    () => `${name}: no finished block (+) within the drive's ${drive.sectorCount} sectors`,
  );
}

/** One line of a list of ranges: `[start, end)` in its unit. */
export interface ListedRange {
  readonly unit: 'sectors' | 'bytes';
  readonly start: number;
  /** Infinity where the range reaches to the end of the drive. */
  readonly end: number;
  /** Where it stands in the file, from 1. */
  readonly lineNumber: number;
}

const rangeGrammar = 'LBA, LBA-LBA, LBA-, LBA+COUNT, or the same in bytes as 1GB-2GB, 1GB+512KiB';

/** Reads a list of ranges, to exclude or to restrict to: one a line, `#` starts a comment, empty
 * lines are fine, order and overlaps do not matter.
 *
 * - `LBA` one sector, `LBA-LBA` from the first to the last, both included, `LBA-` to the end of the
 *   drive, `LBA+COUNT` that many sectors.
 * - With a byte unit on the numbers (`B`, `kB`, `MB`, `GB`, `TB` decimal; `KiB`, `MiB`, `GiB`,
 *   `TiB` binary) a range is bytes: `1GB-2GB` up to but without byte 2,000,000,000, `1GB+512KiB`,
 *   `1GB-`. Both numbers carry a unit or neither.
 * - Numbers are whole, decimal or `0x` hexadecimal.
 *
 * @param name how error messages call the file
 * @throws LastspinError MAP_INVALID naming file, line and column. */
export function parseRanges(text: string, name: string): ListedRange[] {
  const ranges: ListedRange[] = [];
  text.split(/\r\n|\n|\r/).forEach((line, index) => {
    const reader = { line, at: 0, place: { name, lineNumber: index + 1 } };
    skipSpace(reader);
    if (!isAtEnd(reader)) ranges.push(readRange(reader));
  });
  return ranges;
}

/** A list of ranges as a domain of a drive: 1 inside, 0 outside. A sector that is only partly inside
 * counts as inside; what lies past the end of the drive is cut off.
 * @param name how error messages call the file
 * @throws LastspinError MAP_MISMATCH for a range that begins behind the drive, or an empty list. */
export function domainOfRanges(
  ranges: readonly ListedRange[],
  drive: SectorSize,
  name: string,
): RunMap {
  const extents = ranges.map(({ unit, start, end, lineNumber }) => {
    const unitBytes = unit === 'bytes' ? drive.sectorBytes : 1;
    const lba = Math.floor(start / unitBytes);
    if (lba < drive.sectorCount) {
      return { lba, end: Math.min(Math.ceil(end / unitBytes), drive.sectorCount) };
    }
    const what = `the range begins at LBA ${lba}, the drive has ${drive.sectorCount} sectors`;
    throw new LastspinError('MAP_MISMATCH', `${name}:${lineNumber}: ${what}`);
  });
  const domain = domainBuilder(drive.sectorCount);
  for (const { lba, end } of extents.sort((a, b) => a.lba - b.lba)) domain.add(lba, end);
  return domain.finish(() => `${name}: there is no range in it (${rangeGrammar})`);
}

/** Builds a domain from extents in ascending order of their starts; they may overlap. */
function domainBuilder(sectorCount: number) {
  const builder = runMapBuilder(sectorCount);
  let end = 0;
  let isEmpty = true;
  return {
    add: (from: number, to: number) => {
      if (to <= Math.max(from, end)) return;
      if (from > end) builder.append(end, 0);
      builder.append(Math.max(from, end), 1);
      end = to;
      isEmpty = false;
    },
    finish: (complaint: () => string): RunMap => {
      if (isEmpty) throw new LastspinError('MAP_MISMATCH', complaint());
      if (end < sectorCount) builder.append(end, 0);
      return builder.finish();
    },
  };
}

interface RangeReader {
  readonly line: string;
  /** The next character, from 0. */
  at: number;
  readonly place: { readonly name: string; readonly lineNumber: number };
}

function readRange(reader: RangeReader): ListedRange {
  const { lineNumber } = reader.place;
  const first = readAmount(reader);
  const unit = first.hasUnit ? 'bytes' : 'sectors';
  const start = first.value;
  const sign = reader.line[reader.at];
  if (sign !== '-' && sign !== '+') {
    if (first.hasUnit) throw wrong(reader, 'a range in bytes needs an end or a size');
    expectEnd(reader);
    return { unit, start, end: start + 1, lineNumber };
  }
  reader.at += 1;
  skipSpace(reader);
  if (sign === '-' && isAtEnd(reader)) return { unit, start, end: Infinity, lineNumber };
  const column = reader.at;
  const second = readAmount(reader);
  expectEnd(reader);
  if (second.hasUnit !== first.hasUnit) {
    throw wrong(reader, 'one number has a unit and the other has none', column);
  }
  const includesLast = sign === '-' && !first.hasUnit;
  const end = sign === '+' ? start + second.value : second.value + (includesLast ? 1 : 0);
  if (end <= start) throw wrong(reader, 'the range is empty or runs backwards', column);
  if (!Number.isSafeInteger(end)) throw wrong(reader, 'the range ends above 2^53', column);
  return { unit, start, end, lineNumber };
}

function readAmount(reader: RangeReader): { value: number; hasUnit: boolean } {
  const column = reader.at;
  const digits = /^(0x[0-9a-f]+|[0-9]+)/i.exec(reader.line.slice(reader.at))?.[0];
  if (digits === undefined) throw wrong(reader, `a number is needed here (${rangeGrammar})`);
  reader.at += digits.length;
  const letters = /^[a-z]*/i.exec(reader.line.slice(reader.at))![0];
  const factor = letters === '' ? 1 : unitBytes[letters];
  if (factor === undefined) {
    throw wrong(reader, `unknown unit '${letters}' (${Object.keys(unitBytes).join(', ')})`);
  }
  reader.at += letters.length;
  skipSpace(reader);
  const value = Number(digits) * factor;
  if (!Number.isSafeInteger(value)) throw wrong(reader, 'a number above 2^53', column);
  return { value, hasUnit: letters !== '' };
}

function skipSpace(reader: RangeReader): void {
  while (/\s/.test(reader.line[reader.at] ?? '')) reader.at += 1;
}

function isAtEnd(reader: RangeReader): boolean {
  return reader.at === reader.line.length || reader.line[reader.at] === '#';
}

function expectEnd(reader: RangeReader): void {
  if (!isAtEnd(reader)) throw wrong(reader, `the range should end here (${rangeGrammar})`);
}

function wrong(reader: RangeReader, what: string, column = reader.at): LastspinError {
  const { name, lineNumber } = reader.place;
  return new LastspinError('MAP_INVALID', `${name}:${lineNumber}:${column + 1}: ${what}`);
}
