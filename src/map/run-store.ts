/** The memory behind a run map: an unrolled list of run starts. Leaves of typed arrays hold about
 * 512 runs each, so ten million runs cost about 100 MB and no object per run, and a change moves at
 * most one leaf's bytes. Plain data and functions; `run-map.ts` is the interface. */

const leafRunsMax = 512;
/** Bulk loading leaves room, or the first change in each leaf would split it. */
const leafRunsLoaded = 448;
const leafRunsMin = 128;
const leafRunsJoined = 384;

interface Leaf {
  /** The store that may write to this leaf; any other copies it first. */
  readonly owner: object;
  /** First LBA of each run, ascending. A run ends where the next one starts. */
  readonly starts: Float64Array;
  readonly values: Uint8Array;
  length: number;
}

export interface RunStore {
  readonly size: number;
  /** Marks the leaves that no copy of the store shares. */
  owner: object;
  readonly leaves: Leaf[];
  /** `leaves[i].starts[0]`, side by side so that a search touches little memory. */
  firsts: Float64Array;
  /** Which values a leaf may hold: bit `value % 32`. Removal leaves bits standing; a search that
   * finds nothing in a whole leaf clears them. */
  masks: Uint32Array;
  /** Sectors and runs by value. */
  readonly sectorCounts: Float64Array;
  readonly runCounts: Float64Array;
  /** Where `locate` ended: a leaf, an entry in it. The leaf is also where the next search
   * starts. */
  leafIndex: number;
  entryIndex: number;
}

/** A store without runs, to be filled by `appendRun` and closed by `finishRuns`.
 * @throws RangeError unless `size` is a whole number from 1. */
export function createStore(size: number): RunStore {
  if (!Number.isSafeInteger(size) || size < 1) throw new RangeError(`map size ${size}`);
  return {
    size,
    owner: {},
    leaves: [],
    firsts: new Float64Array(8),
    masks: new Uint32Array(8),
    sectorCounts: new Float64Array(256),
    runCounts: new Float64Array(256),
    leafIndex: 0,
    entryIndex: 0,
  };
}

/** Adds a run that reaches to wherever the next one starts. Joins it to an equal one before it.
 * @throws RangeError unless the starts ascend from 0 and stay below the size. */
export function appendRun(store: RunStore, start: number, value: number): void {
  const { leaves } = store;
  let leaf = leaves[leaves.length - 1];
  if (leaf === undefined) {
    if (start !== 0) throw new RangeError('the first run must start at 0');
  } else {
    const last = leaf.length - 1;
    const count = start - leaf.starts[last]!;
    if (!(count > 0 && start < store.size)) throw new RangeError(`run at ${start} does not ascend`);
    const lastValue = leaf.values[last]!;
    if (lastValue === value) return;
    store.sectorCounts[lastValue]! += count;
  }
  if (leaf === undefined || leaf.length === leafRunsLoaded) {
    leaf = newLeaf(store);
    insertLeaf(store, leaves.length, leaf);
    store.firsts[leaves.length - 1] = start;
    store.masks[leaves.length - 1] = 0;
  }
  leaf.length += 1;
  put(store, leaves.length - 1, leaf.length - 1, start, value);
}

/** Counts the last run, which reaches to the end of the map.
 * @throws RangeError when there is none. */
export function finishRuns(store: RunStore): void {
  const leaf = store.leaves.at(-1);
  if (leaf === undefined) throw new RangeError('a map needs a run');
  const last = leaf.length - 1;
  store.sectorCounts[leaf.values[last]!]! += store.size - leaf.starts[last]!;
}

/** An independent copy. Leaves are shared until either side writes to them, so that a snapshot of
 * ten million runs costs less than a millisecond. */
export function cloneStore(store: RunStore): RunStore {
  store.owner = {};
  return {
    ...store,
    owner: {},
    leaves: store.leaves.slice(),
    firsts: store.firsts.slice(),
    masks: store.masks.slice(),
    sectorCounts: store.sectorCounts.slice(),
    runCounts: store.runCounts.slice(),
  };
}

/** The leaf at an index, made this store's own so that it may be written to. */
function ownLeaf(store: RunStore, leafIndex: number): Leaf {
  const leaf = store.leaves[leafIndex]!;
  if (leaf.owner === store.owner) return leaf;
  const { starts, values, length } = leaf;
  const own = { owner: store.owner, starts: starts.slice(), values: values.slice(), length };
  store.leaves[leafIndex] = own;
  return own;
}

/** Points `leafIndex` and `entryIndex` at the run that holds `lba`, which must be in the map. */
export function locate(store: RunStore, lba: number): void {
  const { firsts, leaves } = store;
  let leafIndex = store.leafIndex;
  const cached =
    firsts[leafIndex]! <= lba && (leafIndex + 1 === leaves.length || lba < firsts[leafIndex + 1]!);
  if (!cached) {
    leafIndex = lastNotAbove(firsts, leaves.length, lba);
    store.leafIndex = leafIndex;
  }
  const leaf = leaves[leafIndex]!;
  store.entryIndex = lastNotAbove(leaf.starts, leaf.length, lba);
}

/** Where the run at an entry ends: the next start, in this leaf or in the next. */
export function endOfEntry(store: RunStore, leafIndex: number, entryIndex: number): number {
  const leaf = store.leaves[leafIndex]!;
  if (entryIndex + 1 < leaf.length) return leaf.starts[entryIndex + 1]!;
  return leafIndex + 1 < store.leaves.length ? store.firsts[leafIndex + 1]! : store.size;
}

/** From the located entry on, moves to the first entry with `value` that starts below `limit`. */
export function seekForward(store: RunStore, value: number, limit: number): boolean {
  const { leaves, firsts } = store;
  const bit = 1 << (value & 31);
  let from = store.entryIndex;
  for (let i = store.leafIndex; i < leaves.length && firsts[i]! < limit; i++, from = 0) {
    if ((store.masks[i]! & bit) === 0) continue;
    const { values, starts, length } = leaves[i]!;
    let j = from;
    while (j < length && values[j] !== value) j++;
    if (j < length) {
      store.leafIndex = i;
      store.entryIndex = j;
      return starts[j]! < limit;
    }
    if (from === 0) refreshMask(store, i);
  }
  return false;
}

/** From the located entry back, moves to the first entry with `value` that ends above `limit`. */
export function seekBackward(store: RunStore, value: number, limit: number): boolean {
  const { leaves } = store;
  const bit = 1 << (value & 31);
  let from = store.entryIndex;
  for (let i = store.leafIndex; i >= 0; i--) {
    if (from < 0) from = leaves[i]!.length - 1;
    if ((store.masks[i]! & bit) !== 0) {
      const { values, length } = leaves[i]!;
      let j = from;
      while (j >= 0 && values[j] !== value) j--;
      if (j >= 0) {
        store.leafIndex = i;
        store.entryIndex = j;
        return endOfEntry(store, i, j) > limit;
      }
      if (from === length - 1) refreshMask(store, i);
    }
    if (store.firsts[i]! <= limit) return false;
    from = -1;
  }
  return false;
}

/** Gives `[lba, end)` one value, joining equal neighbours. The extent must be in the map and not
 * empty. Run starts in `[lba, end]` go, and at most two come: one at `lba`, one at `end`. */
export function setValue(store: RunStore, lba: number, end: number, value: number): void {
  locate(store, lba);
  if (isCovered(store, end, value)) return;
  if (store.leaves[store.leafIndex]!.length + 2 > leafRunsMax) {
    splitLeaf(store, store.leafIndex);
    locate(store, lba);
  }
  const leafIndex = store.leafIndex;
  const leaf = ownLeaf(store, leafIndex);
  const startsHere = leaf.starts[store.entryIndex] === lba;
  const valueBefore = startsHere ? valueBeforeLocated(store) : leaf.values[store.entryIndex]!;
  const keepCount = startsHere ? store.entryIndex : store.entryIndex + 1;

  const valueAfter = countOut(store, lba, end);
  store.sectorCounts[value]! += end - lba;

  const putsStart = valueBefore !== value;
  const putsEnd = valueAfter >= 0 && valueAfter !== value;
  makeRoom(store, leafIndex, keepCount, (putsStart ? 1 : 0) + (putsEnd ? 1 : 0));
  if (putsStart) put(store, leafIndex, keepCount, lba, value);
  if (putsEnd) put(store, leafIndex, keepCount + (putsStart ? 1 : 0), end, valueAfter);
  tidy(store, leafIndex);
}

/** Whether the located run already gives everything up to `end` this value. */
function isCovered(store: RunStore, end: number, value: number): boolean {
  const { leafIndex, entryIndex } = store;
  const held = store.leaves[leafIndex]!.values[entryIndex];
  return held === value && endOfEntry(store, leafIndex, entryIndex) >= end;
}

/** The value below the located entry, or -1 below the first. */
function valueBeforeLocated(store: RunStore): number {
  const { leaves, leafIndex, entryIndex } = store;
  if (entryIndex > 0) return leaves[leafIndex]!.values[entryIndex - 1]!;
  if (leafIndex === 0) return -1;
  const previous = leaves[leafIndex - 1]!;
  return previous.values[previous.length - 1]!;
}

/** Walks from the located entry over every run that starts in `[lba, end]`, takes it out of the
 * counts, and leaves the location just after the last. Returns the value held at `end`, -1 past
 * the map. */
function countOut(store: RunStore, lba: number, end: number): number {
  const { leaves, sectorCounts, runCounts } = store;
  let { leafIndex, entryIndex } = store;
  let position = lba;
  let old = -1;
  while (position <= end && position < store.size) {
    if (entryIndex === leaves[leafIndex]!.length) {
      leafIndex += 1;
      entryIndex = 0;
    }
    const leaf = leaves[leafIndex]!;
    old = leaf.values[entryIndex]!;
    if (leaf.starts[entryIndex]! >= lba) runCounts[old]! -= 1;
    const entryEnd = endOfEntry(store, leafIndex, entryIndex);
    if (position < end) sectorCounts[old]! -= Math.min(entryEnd, end) - position;
    position = entryEnd;
    entryIndex += 1;
  }
  store.leafIndex = leafIndex;
  store.entryIndex = entryIndex;
  return end < store.size ? old : -1;
}

/** Removes the entries from `keepCount` of a leaf up to the located one, leaves in between
 * included, and opens `addCount` free entries there. */
function makeRoom(store: RunStore, leafIndex: number, keepCount: number, addCount: number): void {
  const leaf = store.leaves[leafIndex]!;
  const { leafIndex: lastIndex, entryIndex: cutCount } = store;
  store.leafIndex = leafIndex;
  if (lastIndex === leafIndex) {
    moveEntries(leaf, keepCount + addCount, cutCount);
    return;
  }
  leaf.length = keepCount + addCount;
  const last = ownLeaf(store, lastIndex);
  moveEntries(last, 0, cutCount);
  if (last.length > 0) store.firsts[lastIndex] = last.starts[0]!;
  removeLeaves(store, leafIndex + 1, last.length > 0 ? lastIndex : lastIndex + 1);
}

/** Moves a leaf's entries from `from` on to `to`. */
function moveEntries(leaf: Leaf, to: number, from: number): void {
  if (to !== from && from < leaf.length) {
    leaf.starts.copyWithin(to, from, leaf.length);
    leaf.values.copyWithin(to, from, leaf.length);
  }
  leaf.length += to - from;
}

function put(
  store: RunStore,
  leafIndex: number,
  entryIndex: number,
  lba: number,
  value: number,
): void {
  const leaf = store.leaves[leafIndex]!;
  leaf.starts[entryIndex] = lba;
  leaf.values[entryIndex] = value;
  store.masks[leafIndex]! |= 1 << (value & 31);
  store.runCounts[value]! += 1;
}

/** After a change in a leaf: its first start, and no empty or nearly empty leaves. The leaf after
 * it may have lost entries too. */
function tidy(store: RunStore, leafIndex: number): void {
  const leaf = store.leaves[leafIndex]!;
  if (leaf.length > 0) store.firsts[leafIndex] = leaf.starts[0]!;
  else removeLeaves(store, leafIndex, leafIndex + 1);
  if (leaf.length < leafRunsMin) joinIfSmall(store, leafIndex);
  const next = store.leaves[leafIndex + 1];
  if (next !== undefined && next.length < leafRunsMin) joinIfSmall(store, leafIndex);
  if (store.leafIndex >= store.leaves.length) store.leafIndex = store.leaves.length - 1;
}

/** Joins a leaf with its neighbour on either side where the result leaves room to grow. */
function joinIfSmall(store: RunStore, leafIndex: number): void {
  const last = Math.min(leafIndex, store.leaves.length - 2);
  for (let i = last; i >= 0 && i >= leafIndex - 1; i--) {
    const from = store.leaves[i + 1]!;
    if (store.leaves[i]!.length + from.length > leafRunsJoined) continue;
    const into = ownLeaf(store, i);
    into.starts.set(from.starts.subarray(0, from.length), into.length);
    into.values.set(from.values.subarray(0, from.length), into.length);
    into.length += from.length;
    store.masks[i]! |= store.masks[i + 1]!;
    removeLeaves(store, i + 1, i + 2);
    return;
  }
}

function splitLeaf(store: RunStore, leafIndex: number): void {
  const leaf = ownLeaf(store, leafIndex);
  const half = leaf.length >> 1;
  const upper = newLeaf(store);
  upper.starts.set(leaf.starts.subarray(half, leaf.length));
  upper.values.set(leaf.values.subarray(half, leaf.length));
  upper.length = leaf.length - half;
  leaf.length = half;
  insertLeaf(store, leafIndex + 1, upper);
  store.firsts[leafIndex + 1] = upper.starts[0]!;
  store.masks[leafIndex + 1] = store.masks[leafIndex]!;
}

function newLeaf(store: RunStore): Leaf {
  return {
    owner: store.owner,
    starts: new Float64Array(leafRunsMax),
    values: new Uint8Array(leafRunsMax),
    length: 0,
  };
}

function insertLeaf(store: RunStore, leafIndex: number, leaf: Leaf): void {
  const count = store.leaves.length;
  if (count === store.firsts.length) {
    const firsts = new Float64Array(count * 2);
    const masks = new Uint32Array(count * 2);
    firsts.set(store.firsts);
    masks.set(store.masks);
    store.firsts = firsts;
    store.masks = masks;
  }
  store.leaves.splice(leafIndex, 0, leaf);
  store.firsts.copyWithin(leafIndex + 1, leafIndex, count);
  store.masks.copyWithin(leafIndex + 1, leafIndex, count);
}

/** Drops the leaves `[from, to)`. */
function removeLeaves(store: RunStore, from: number, to: number): void {
  if (from >= to) return;
  const count = store.leaves.length;
  store.leaves.splice(from, to - from);
  store.firsts.copyWithin(from, to, count);
  store.masks.copyWithin(from, to, count);
}

function refreshMask(store: RunStore, leafIndex: number): void {
  const { values, length } = store.leaves[leafIndex]!;
  let mask = 0;
  for (let i = 0; i < length; i++) mask |= 1 << (values[i]! & 31);
  store.masks[leafIndex] = mask;
}

/** Index of the last of `length` ascending numbers that is not above `key`; the first always is
 * not. */
function lastNotAbove(ascending: Float64Array, length: number, key: number): number {
  let low = 0;
  let high = length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! <= key) low = middle;
    else high = middle;
  }
  return low;
}
