/** Map files that people wrote by hand: blocks in any order, with gaps, and overlapping where they
 * say the same. What ddrescue accepts under `--loose-domain` and `--complete-mapfile`. */

import { LastspinError } from '../errors.js';
import { createMapParser, type ParsedMap } from './mapfile.js';
import type { StatusCode } from './status.js';

/** What stands where a loose map says nothing. */
export interface GapFill {
  /** By default non-tried, as ddrescue fills them. */
  readonly code?: StatusCode;
  /** Where the filled map ends, in bytes; by default, and at least, where its last block ends. */
  readonly end?: number;
}

/** Blocks in the order of the file, side by side: a hand-written map may come from a script and
 * have millions. */
interface Blocks {
  starts: Float64Array;
  ends: Float64Array;
  codes: Uint8Array;
  lineNumbers: Uint32Array;
  length: number;
  isAscending: boolean;
}

/** Reads a map file whose blocks may be unordered, leave gaps and overlap others of the same
 * status. The map begins at 0 and has no gaps; without blocks it is empty.
 * @param name how error messages call the file
 * @throws LastspinError MAP_INVALID naming the line: unreadable, or a block that overlaps one of
 *   another status. */
export function parseLooseMapFile(bytes: Uint8Array, name: string, fill: GapFill = {}): ParsedMap {
  const blocks = createBlocks(1024);
  const parser = createMapParser(name, bytes.length, (position, size, code, lineNumber) => {
    if (position > Number.MAX_SAFE_INTEGER) {
      throw new LastspinError('MAP_INVALID', `${name}:${lineNumber}: a position above 2^53`);
    }
    if (size > 0) addBlock(blocks, position, Math.min(position + size, 2 ** 63), code, lineNumber);
  });
  parser.push(bytes);
  return { ...parser.finish(), ...joined(blocks, name, fill) };
}

function createBlocks(capacity: number): Blocks {
  return {
    starts: new Float64Array(capacity),
    ends: new Float64Array(capacity),
    codes: new Uint8Array(capacity),
    lineNumbers: new Uint32Array(capacity),
    length: 0,
    isAscending: true,
  };
}

function addBlock(
  blocks: Blocks,
  start: number,
  end: number,
  code: number,
  lineNumber: number,
): void {
  const { length } = blocks;
  if (length === blocks.starts.length) grow(blocks);
  if (length > 0 && start < blocks.starts[length - 1]!) blocks.isAscending = false;
  blocks.starts[length] = start;
  blocks.ends[length] = end;
  blocks.codes[length] = code;
  blocks.lineNumbers[length] = lineNumber;
  blocks.length = length + 1;
}

function grow(blocks: Blocks): void {
  const wider = createBlocks(blocks.length * 2);
  wider.starts.set(blocks.starts);
  wider.ends.set(blocks.ends);
  wider.codes.set(blocks.codes);
  wider.lineNumbers.set(blocks.lineNumbers);
  blocks.starts = wider.starts;
  blocks.ends = wider.ends;
  blocks.codes = wider.codes;
  blocks.lineNumbers = wider.lineNumbers;
}

/** The blocks' places in ascending order of their starts. */
function ascending({ starts, length, isAscending }: Blocks): Uint32Array {
  const order = Uint32Array.from({ length }, (_, index) => index);
  return isAscending ? order : order.sort((a, b) => starts[a]! - starts[b]!);
}

function joined(
  blocks: Blocks,
  name: string,
  fill: GapFill,
): Pick<ParsedMap, 'starts' | 'codes' | 'end'> {
  const gapCode = fill.code ?? 0;
  // A gap before each block and one behind the last, at most.
  const starts = new Float64Array(2 * blocks.length + 1);
  const codes = new Uint8Array(starts.length);
  let length = 0;
  const append = (start: number, code: number) => {
    if (length > 0 && codes[length - 1] === code) return;
    starts[length] = start;
    codes[length] = code;
    length += 1;
  };
  let end = 0;
  /** The block that reached furthest: any later one that starts before `end` overlaps it. */
  let furthest = -1;
  for (const index of ascending(blocks)) {
    const start = blocks.starts[index]!;
    const code = blocks.codes[index]!;
    if (start < end && code !== blocks.codes[furthest])
      throw overlap(blocks, index, furthest, name);
    if (start > end) append(end, gapCode);
    append(start, code);
    if (blocks.ends[index]! <= end) continue;
    end = blocks.ends[index]!;
    furthest = index;
  }
  if (length > 0 && fill.end !== undefined && fill.end > end) {
    append(end, gapCode);
    end = fill.end;
  }
  return { starts: starts.subarray(0, length), codes: codes.subarray(0, length), end };
}

function overlap(blocks: Blocks, one: number, other: number, name: string): LastspinError {
  const [first, second] = [blocks.lineNumbers[one]!, blocks.lineNumbers[other]!].sort(
    (a, b) => a - b,
  );
  const what = `overlaps the block of another status in line ${first}`;
  return new LastspinError('MAP_INVALID', `${name}:${second}: ${what}`);
}
