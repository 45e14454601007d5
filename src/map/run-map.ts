/** A map from sector to a small number, held as runs. Which numbers mean what is the caller's: the
 * sector map stores `statuses`, notes beside it (why skipped, latency class, head) are maps too. */

import { type Extent, endOf } from './extent.js';
import {
  appendRun,
  cloneStore,
  createStore,
  endOfEntry,
  finishRuns,
  locate,
  type RunStore,
  seekBackward,
  seekForward,
  setValue,
} from './run-store.js';

/** Neighbouring sectors of one value. Runs are maximal: their neighbours hold other values. */
export interface Run extends Extent {
  readonly value: number;
}

/** Sees one run; false stops the visits. */
// biome-ignore lint/suspicious/noConfusingVoidType: most visitors return nothing
export type RunVisitor = (lba: number, count: number, value: number) => false | void;

/** Sectors `[0, size)` with a value 0–255 each. LBAs, counts and limits are sectors. Arguments
 * outside the map or not whole are bugs and throw RangeError. */
export interface RunMap {
  readonly size: number;
  /** How many runs there are in all. */
  readonly runCount: number;
  valueAt(lba: number): number;
  /** The whole run that holds `lba`. */
  runAt(lba: number): Run;
  /** Gives every sector of the extent a value. */
  set(extent: Extent, value: number): void;
  /** Gives a value to those sectors of the extent that hold `from`. */
  setWhere(extent: Extent, from: number, to: number): void;
  /** The first piece with `value` at or after `from`, clipped to `[from, limit)`. */
  next(from: number, value: number, limit?: number): Extent | undefined;
  /** The last piece with `value` below `before`, clipped to `[limit, before)`. */
  previous(before: number, value: number, limit?: number): Extent | undefined;
  /** Sectors that hold a value, in constant time. */
  countOf(value: number): number;
  /** Runs that hold a value, in constant time. */
  runsOf(value: number): number;
  /** Runs in ascending order, clipped to `[from, to)`. The map may change between two steps: what
   * follows is then read from the changed map. */
  runs(from?: number, to?: number): Generator<Run, void, undefined>;
  /** The same by callback, without an object per run, until one returns false. The map must not
   * change meanwhile. */
  forEachRun(visit: RunVisitor, from?: number, to?: number): void;
  /** An independent copy, at the cost of a pointer for every 512 runs: memory is shared until one
   * side changes it. For a checkpoint taken while the job goes on. */
  clone(): RunMap;
}

/** A map of `size` sectors that all hold `initial`.
 * @throws RangeError unless `size` is a whole number from 1. */
export function createRunMap(size: number, initial = 0): RunMap {
  const builder = runMapBuilder(size);
  builder.append(0, initial);
  return builder.finish();
}

/** A map from run starts (ascending, the first 0) and their values, copied. Equal neighbours are
 * joined. `length` takes only the first entries of the arrays.
 * @throws RangeError when the starts do not ascend from 0 or reach `size`. */
export function runMapFrom(
  size: number,
  starts: Float64Array,
  values: Uint8Array,
  length = starts.length,
): RunMap {
  const builder = runMapBuilder(size);
  for (let i = 0; i < length; i++) builder.append(starts[i]!, values[i]!);
  return builder.finish();
}

/** Builds a map of `size` sectors run by run, in ascending order, without arrays in between. */
export interface RunMapBuilder {
  /** The sectors from `start` (the first 0) up to the next start hold `value`. */
  append(start: number, value: number): void;
  /** The map; the last run reaches to its end. The builder is of no use afterwards. */
  finish(): RunMap;
}

/** Starts building a map of `size` sectors.
 * @throws RangeError unless `size` is a whole number from 1. */
export function runMapBuilder(size: number): RunMapBuilder {
  const store = createStore(size);
  return {
    append: (start, value) => {
      checkValue(value);
      appendRun(store, start, value);
    },
    finish: () => {
      finishRuns(store);
      return over(store);
    },
  };
}

function over(store: RunStore): RunMap {
  const { size } = store;
  return {
    size,
    get runCount() {
      return runCountOf(store);
    },
    valueAt: (lba) => {
      checkLba(lba, size);
      locate(store, lba);
      return store.leaves[store.leafIndex]!.values[store.entryIndex]!;
    },
    runAt: (lba) => {
      checkLba(lba, size);
      return runAt(store, lba);
    },
    set: (extent, value) => {
      checkExtent(extent, size);
      checkValue(value);
      if (extent.count > 0) setValue(store, extent.lba, endOf(extent), value);
    },
    setWhere: (extent, from, to) => {
      checkExtent(extent, size);
      checkValue(to);
      setWhere(store, extent, from, to);
    },
    next: (from, value, limit = size) => next(store, from, value, Math.min(limit, size)),
    previous: (before, value, limit = 0) =>
      previous(store, Math.min(before, size), value, Math.max(limit, 0)),
    countOf: (value) => store.sectorCounts[value] ?? 0,
    runsOf: (value) => store.runCounts[value] ?? 0,
    runs: (from = 0, to = size) => runs(store, from, Math.min(to, size)),
    forEachRun: (visit, from = 0, to = size) => forEachRun(store, visit, from, Math.min(to, size)),
    clone: () => over(cloneStore(store)),
  };
}

function runCountOf(store: RunStore): number {
  let count = 0;
  for (const runCount of store.runCounts) count += runCount;
  return count;
}

function runAt(store: RunStore, lba: number): Run {
  locate(store, lba);
  const { leafIndex, entryIndex } = store;
  const leaf = store.leaves[leafIndex]!;
  const start = leaf.starts[entryIndex]!;
  const count = endOfEntry(store, leafIndex, entryIndex) - start;
  return { lba: start, count, value: leaf.values[entryIndex]! };
}

function setWhere(store: RunStore, extent: Extent, from: number, to: number): void {
  if (from === to) return;
  const end = endOf(extent);
  let piece = next(store, extent.lba, from, end);
  while (piece !== undefined) {
    setValue(store, piece.lba, endOf(piece), to);
    piece = next(store, endOf(piece), from, end);
  }
}

function next(store: RunStore, from: number, value: number, limit: number): Extent | undefined {
  checkPosition(from);
  if (from >= limit || !(store.sectorCounts[value]! > 0)) return undefined;
  locate(store, from);
  if (!seekForward(store, value, limit)) return undefined;
  const start = store.leaves[store.leafIndex]!.starts[store.entryIndex]!;
  const lba = Math.max(start, from);
  return {
    lba,
    count: Math.min(endOfEntry(store, store.leafIndex, store.entryIndex), limit) - lba,
  };
}

function previous(
  store: RunStore,
  before: number,
  value: number,
  limit: number,
): Extent | undefined {
  checkPosition(before);
  if (before <= limit || !(store.sectorCounts[value]! > 0)) return undefined;
  locate(store, before - 1);
  if (!seekBackward(store, value, limit)) return undefined;
  const { leafIndex, entryIndex } = store;
  const lba = Math.max(store.leaves[leafIndex]!.starts[entryIndex]!, limit);
  return { lba, count: Math.min(endOfEntry(store, leafIndex, entryIndex), before) - lba };
}

function* runs(store: RunStore, from: number, to: number): Generator<Run, void, undefined> {
  checkPosition(from);
  for (let position = from; position < to; ) {
    const run = runAt(store, position);
    const end = Math.min(endOf(run), to);
    yield { lba: position, count: end - position, value: run.value };
    position = end;
  }
}

function forEachRun(store: RunStore, visit: RunVisitor, from: number, to: number): void {
  checkPosition(from);
  if (from >= to) return;
  locate(store, from);
  let { leafIndex, entryIndex } = store;
  let position = from;
  while (position < to) {
    const { starts, values, length } = store.leaves[leafIndex]!;
    for (; entryIndex < length && position < to; entryIndex++) {
      const isLast = entryIndex + 1 === length;
      const next = isLast ? endOfEntry(store, leafIndex, entryIndex) : starts[entryIndex + 1]!;
      const end = Math.min(next, to);
      if (visit(position, end - position, values[entryIndex]!) === false) return;
      position = end;
    }
    leafIndex += 1;
    entryIndex = 0;
  }
}

function checkLba(lba: number, size: number): void {
  if (!(Number.isSafeInteger(lba) && lba >= 0 && lba < size)) throw new RangeError(`LBA ${lba}`);
}

function checkPosition(lba: number): void {
  if (!(Number.isSafeInteger(lba) && lba >= 0)) throw new RangeError(`LBA ${lba}`);
}

function checkExtent(extent: Extent, size: number): void {
  const { lba, count } = extent;
  const isWhole = Number.isSafeInteger(lba) && Number.isSafeInteger(count);
  if (!(isWhole && lba >= 0 && count >= 0 && lba + count <= size)) {
    throw new RangeError(`extent ${lba}+${count} in a map of ${size}`);
  }
}

function checkValue(value: number): void {
  if (!(Number.isInteger(value) && value >= 0 && value <= 255)) {
    throw new RangeError(`value ${value}`);
  }
}
