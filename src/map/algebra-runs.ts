/** Sequences of runs in bytes, and the one walk over several of them that the whole algebra is made
 * of. Linear in the number of runs, no object per run. */

import type { ParsedMap } from './mapfile.js';
import { statuses } from './status.js';

/** The blocks of a map in bytes: contiguous and maximal, from `starts[0]` to `end`. */
export type Runs = Pick<ParsedMap, 'starts' | 'codes' | 'end'>;

/** The code of bytes of which a map says nothing: before its first block, behind its last. */
export const outside = 255;

/** Where a map ends that has no end: ddrescue's largest position, 2^63 - 1, as a double reads it. */
export const openEnd = 2 ** 63;

/** Sees one span `[from, to)` in which no map changes, with the code of each map in it. The array is
 * used again: copy what is to stay. False stops the walk. */
// biome-ignore lint/suspicious/noConfusingVoidType: most visitors return nothing
export type SpanVisitor = (from: number, to: number, codes: Uint8Array) => false | void;

/** Walks several maps at once, from the first byte that any of them speaks of to the last. Spans
 * between two maps that neither speaks of come with `outside` for both. */
export function walk(maps: readonly Runs[], visit: SpanVisitor): void {
  const codes = new Uint8Array(maps.length).fill(outside);
  const indexes = new Int32Array(maps.length).fill(-1);
  const edges = Float64Array.from(maps, ({ starts }) => starts[0] ?? Infinity);
  let from = leastOf(edges);
  while (from < Infinity) {
    for (let i = 0; i < maps.length; i++) {
      if (edges[i]! > from) continue;
      const { starts, codes: values, end } = maps[i]!;
      const index = ++indexes[i]!;
      codes[i] = index < starts.length ? values[index]! : outside;
      if (index >= starts.length) edges[i] = Infinity;
      else edges[i] = index + 1 < starts.length ? starts[index + 1]! : end;
    }
    const to = leastOf(edges);
    if (to === Infinity) return;
    if (visit(from, to, codes) === false) return;
    from = to;
  }
}

function leastOf(numbers: Float64Array): number {
  let least = Infinity;
  for (let i = 0; i < numbers.length; i++) if (numbers[i]! < least) least = numbers[i]!;
  return least;
}

/** Builds runs span by span, ascending and contiguous, joining neighbours of one code. */
export interface RunsBuilder {
  append(from: number, to: number, code: number): void;
  finish(): Runs;
}

export function runsBuilder(capacity = 64): RunsBuilder {
  let starts = new Float64Array(Math.max(capacity, 1));
  let codes = new Uint8Array(starts.length);
  let length = 0;
  let end = 0;
  return {
    append: (from, to, code) => {
      if (to <= from) return;
      if (length > 0 && from !== end) throw new RangeError(`span at ${from} after ${end}`);
      end = to;
      if (length > 0 && codes[length - 1] === code) return;
      if (length === starts.length) {
        const wider = new Float64Array(length * 2);
        wider.set(starts);
        starts = wider;
        const widerCodes = new Uint8Array(length * 2);
        widerCodes.set(codes);
        codes = widerCodes;
      }
      starts[length] = from;
      codes[length] = code;
      length += 1;
    },
    finish: () => ({ starts: starts.subarray(0, length), codes: codes.subarray(0, length), end }),
  };
}

/** Which bytes an operation acts on: those that are `finished` in it. */
export type Domain = Runs;

/** The bytes `[from, from + size)` that are finished in `map`; all of them without one.
 * @param size Infinity for no limit */
export function domainRuns(from = 0, size = Infinity, map?: Runs): Domain {
  const end = Math.min(from + size, openEnd);
  const range = spansBuilder();
  range.add(from, end);
  if (map === undefined) return range.finish();
  const spans = spansBuilder(map.starts.length);
  walk([map], (spanFrom, spanTo, [code]) => {
    if (code === statuses.finished) spans.add(Math.max(from, spanFrom), Math.min(spanTo, end));
  });
  return spans.finish();
}

/** Builds runs that are finished in the spans given, from the first of them to the last, and
 * non-tried between. */
export function spansBuilder(capacity?: number) {
  const builder = runsBuilder(capacity);
  let end = -1;
  return {
    /** Spans come in ascending order; empty ones are left out. */
    add: (from: number, to: number): void => {
      if (to <= from) return;
      if (end >= 0) builder.append(end, from, statuses['non-tried']);
      builder.append(from, to, statuses.finished);
      end = to;
    },
    finish: builder.finish,
  };
}

/** Whether a code of a domain means inside. */
export function isInside(code: number | undefined): boolean {
  return code === statuses.finished;
}
