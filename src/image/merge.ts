/** Several images of one drive, read side by side and once each. A sector is taken where at least one image
 * holds it and all that do agree; where they do not, a rule that somebody gave decides, or nobody does. */

import { createHash, type Hash } from 'node:crypto';
import { LastspinError } from '../errors.js';
import { type Runs, runsBuilder } from '../map/algebra-runs.js';
import { endOfLayer, type Layers, layersOf } from '../map/layers.js';
import { statuses } from '../map/status.js';
import type { OpenFile } from './file-layer.js';

/** An image, and what its map says of it, in whole sectors. */
export interface MergeSource {
  readonly path: string;
  readonly file: OpenFile;
  readonly map: Runs;
}

/** What decides where finished sectors differ: the version that more than half of the images that hold the
 * sector have, then the one of the preferred image. Neither: nothing does. */
export interface MergeRule {
  readonly majority: boolean;
  /** Index of a source. */
  readonly prefer?: number;
}

/** One content of sectors that are in dispute. */
export interface ConflictVersion {
  /** Indexes of the sources that have it. */
  readonly sources: readonly number[];
  /** Of all bytes of the conflict, in hexadecimal. */
  readonly sha256: string;
  readonly firstBytes: Uint8Array;
}

/** Neighbouring sectors about which the same sources disagree in the same way. Bytes. */
export interface Conflict {
  readonly from: number;
  readonly to: number;
  readonly versions: readonly ConflictVersion[];
  /** The version that went into the result, and by which rule; undefined: none did. */
  readonly taken?: { readonly version: number; readonly by: 'majority' | 'prefer' };
}

export interface MergeOptions {
  readonly sources: readonly MergeSource[];
  readonly sectorBytes: number;
  readonly sizeBytes: number;
  readonly rule: MergeRule;
  /** Empty; gets what is not zero. */
  readonly target: OpenFile;
  onConflict(conflict: Conflict): Promise<void>;
  /** Told how far it has come. */
  onProgress?(bytes: number): void;
  readonly signal?: AbortSignal;
  /** Most bytes of the drive that are in memory at once, a copy for each source; for tests. */
  readonly windowBytes?: number;
}

/** What came of it. */
export interface MergedImage {
  /** From byte 0 to the end; what stayed in dispute is non-tried. */
  readonly map: Runs;
  /** Bytes that the result has from each source; of those that agree, the first. */
  readonly takenBytes: readonly number[];
  /** Bytes of the drive that more than one source holds. */
  readonly comparedBytes: number;
  readonly readBytes: number;
}

/** All buffers together stay below this, whatever the number of sources. */
const memoryBytesMax = 64 * 2 ** 20;
const windowBytesMax = 4 * 2 ** 20;
/** The least that is left out of the result for being zero. */
const holeBytes = 64 * 1024;
const firstBytesMax = 16;
const zeros = new Uint8Array(holeBytes);

/** Merges. What is written is not durable yet. @throws LastspinError IMAGE_MISMATCH for a source that is shorter
 * than its map says, what the files throw, and the signal's reason. */
export async function mergeImages(options: MergeOptions): Promise<MergedImage> {
  const { sources, sizeBytes, target, signal } = options;
  const layers = layersOf(
    sources.map(({ map }) => map),
    sizeBytes,
  );
  const windows = windowsOf(layers, windowSize(options));
  const load = createLoader(layers, sources);
  const weaver = createWeaver(layers, options);
  let next = windows.next();
  let loading = next.done ? undefined : load(next.value);
  let writing: Promise<void> = Promise.resolve();
  try {
    while (!next.done && loading) {
      const window = next.value;
      const pieces = await loading;
      signal?.throwIfAborted();
      // The disk reads ahead of what is compared, and writes behind it.
      next = windows.next();
      loading = next.done ? undefined : load(next.value);
      loading?.catch(() => {});
      const woven = weaver.weave(window, pieces);
      await writing;
      writing = writeUnlessZero(target, woven, window.from);
      writing.catch(() => {});
      for (const conflict of weaver.conflicts()) await options.onConflict(conflict);
      options.onProgress?.(window.to);
    }
  } finally {
    // Nothing may be on its way when the files are closed.
    await Promise.allSettled([loading, writing]);
  }
  await writing;
  const merged = weaver.finish();
  for (const conflict of weaver.conflicts()) await options.onConflict(conflict);
  return { ...merged, readBytes: load.readBytes() };
}

function windowSize({ sources, sectorBytes, windowBytes = windowBytesMax }: MergeOptions): number {
  const share = Math.min(windowBytes, memoryBytesMax / (2 * sources.length + 2));
  return Math.max(1, Math.floor(share / sectorBytes)) * sectorBytes;
}

/** A stretch of the drive that is in memory at once. */
interface Window {
  readonly from: number;
  readonly to: number;
  /** The layer that holds `from`. */
  readonly layer: number;
}

/** Windows over all that any source holds; what none does is jumped over. */
function* windowsOf(layers: Layers, windowBytes: number): Generator<Window, void, undefined> {
  let layer = 0;
  let from = 0;
  while (from < layers.end) {
    while (endOfLayer(layers, layer) <= from) layer += 1;
    if (layers.holders[layer] === 0) {
      from = endOfLayer(layers, layer);
      continue;
    }
    const to = Math.min(from + windowBytes, layers.end);
    yield { from, to, layer };
    from = to;
  }
}

/** Sees the layers of a window, clipped to it. */
function forEachLayer(
  layers: Layers,
  { from, to, layer }: Window,
  visit: (from: number, to: number, index: number) => void,
): void {
  for (let index = layer; index < layers.length && layers.starts[index]! < to; index++) {
    const start = Math.max(from, layers.starts[index]!);
    visit(start, Math.min(to, endOfLayer(layers, index)), index);
  }
}

/** What a source has of a window: from its first to its last finished byte there. */
interface Piece {
  readonly from: number;
  readonly data: Uint8Array;
}

/** Reads windows, each source's part in one read, into one of two buffers in turn. */
function createLoader(layers: Layers, sources: readonly MergeSource[]) {
  const buffers = sources.map(() => [new Uint8Array(0), new Uint8Array(0)]);
  let turn = 0;
  let readBytes = 0;

  async function loadPiece(source: number, slot: number, window: Window) {
    let [first, last] = [-1, -1];
    forEachLayer(layers, window, (from, to, index) => {
      if (!holds(layers.holders[index]!, source)) return;
      if (first < 0) first = from;
      last = to;
    });
    if (first < 0) return undefined;
    const size = last - first;
    const own = buffers[source]!;
    if (own[slot]!.length < size) own[slot] = new Uint8Array(window.to - window.from);
    const data = own[slot]!.subarray(0, size);
    const { file, path } = sources[source]!;
    if ((await file.read(data, first)) < size) {
      throw new LastspinError(
        'IMAGE_MISMATCH',
        `${path} ends before byte ${last}, which its map calls finished: it was cut, or is not this map's image`,
      );
    }
    readBytes += size;
    return { from: first, data };
  }

  const load = (window: Window): Promise<(Piece | undefined)[]> => {
    const slot = turn;
    turn = 1 - turn;
    return Promise.all(sources.map((_, source) => loadPiece(source, slot, window)));
  };
  return Object.assign(load, { readBytes: () => readBytes });
}

function holds(holders: number, source: number): boolean {
  return ((holders >>> source) & 1) === 1;
}

/** A conflict that may go on with the next sector. */
interface OpenConflict {
  /** Who says what, and what is done about it. */
  readonly key: string;
  readonly from: number;
  to: number;
  readonly versions: readonly {
    readonly sources: readonly number[];
    readonly hash: Hash;
    readonly firstBytes: Uint8Array;
  }[];
  readonly taken: Conflict['taken'];
}

/** Makes one window of several. */
function createWeaver(layers: Layers, { sources, sectorBytes, rule }: MergeOptions) {
  const map = runsBuilder(layers.length);
  const takenBytes = sources.map(() => 0);
  const buffers = [new Uint8Array(0), new Uint8Array(0)];
  const closed: Conflict[] = [];
  let open: OpenConflict | undefined;
  let comparedBytes = 0;
  let turn = 0;
  let at = 0;
  let into: Uint8Array = buffers[0]!;
  let base = 0;
  let pieces: readonly (Piece | undefined)[] = [];

  /** The bytes of a source; only of one that holds them. */
  const bytesOf = (source: number, from: number, to: number): Uint8Array => {
    const piece = pieces[source]!;
    return piece.data.subarray(from - piece.from, to - piece.from);
  };

  function take(source: number, from: number, to: number): void {
    into.set(bytesOf(source, from, to), from - base);
    takenBytes[source]! += to - from;
    map.append(from, to, statuses.finished);
  }

  function closeConflict(): void {
    if (!open) return;
    const { from, to, taken } = open;
    const versions = open.versions.map(({ hash, ...version }) => ({
      ...version,
      sha256: hash.digest('hex'),
    }));
    closed.push({ from, to, versions, ...(taken && { taken }) });
    open = undefined;
  }

  /** Sectors about which the same sources disagree in the same way. */
  function dispute(from: number, to: number, versions: readonly (readonly number[])[]): void {
    const taken = decide(versions, rule);
    const key = JSON.stringify([versions, taken]);
    if (!open || open.to !== from || open.key !== key) {
      closeConflict();
      open = { key, from, to, taken, versions: versions.map(openVersion) };
    }
    open.to = to;
    for (const { sources: having, hash } of open.versions)
      hash.update(bytesOf(having[0]!, from, to));
    if (taken) take(versions[taken.version]![0]!, from, to);
    else map.append(from, to, statuses['non-tried']);

    function openVersion(having: readonly number[]) {
      const first = bytesOf(having[0]!, from, Math.min(to, from + firstBytesMax));
      return { sources: having, hash: createHash('sha256'), firstBytes: first.slice() };
    }
  }

  /** What several sources hold: whole where they agree, else sector by sector. */
  function compare(from: number, to: number, having: readonly number[]): void {
    comparedBytes += to - from;
    if (versionsOf(from, to, having).length === 1) {
      take(having[0]!, from, to);
      return;
    }
    let runFrom = from;
    let former: number[][] | undefined;
    const settle = (end: number) => {
      if (!former) return;
      if (former.length === 1) take(having[0]!, runFrom, end);
      else dispute(runFrom, end, former);
    };
    for (let sector = from, next = 0; sector < to; sector = next) {
      next = Math.min(to, (Math.floor(sector / sectorBytes) + 1) * sectorBytes);
      const versions = versionsOf(sector, next, having);
      if (former && isSameGrouping(former, versions)) continue;
      settle(sector);
      [runFrom, former] = [sector, versions];
    }
    settle(to);
  }

  /** Sources of equal bytes together, in the order of the sources. */
  function versionsOf(from: number, to: number, having: readonly number[]): number[][] {
    const versions: number[][] = [];
    for (const source of having) {
      const data = bytesOf(source, from, to);
      const same = versions.find(
        ([first]) => Buffer.compare(bytesOf(first!, from, to), data) === 0,
      );
      if (same) same.push(source);
      else versions.push([source]);
    }
    return versions;
  }

  /** What was jumped over, up to `to`: layers that nobody holds. */
  function appendUnheld(to: number): void {
    while (at < to) {
      const index = layerAt(layers, at);
      const end = Math.min(to, endOfLayer(layers, index));
      map.append(at, end, layers.codes[index]!);
      at = end;
    }
  }

  return {
    weave(window: Window, loaded: readonly (Piece | undefined)[]): Uint8Array {
      const size = window.to - window.from;
      if (buffers[turn]!.length < size) buffers[turn] = new Uint8Array(size);
      into = buffers[turn]!.subarray(0, size).fill(0);
      turn = 1 - turn;
      [pieces, base] = [loaded, window.from];
      appendUnheld(window.from);
      forEachLayer(layers, window, (from, to, index) => {
        const having = sourcesOf(layers.holders[index]!, sources.length);
        if (having.length === 0) map.append(from, to, layers.codes[index]!);
        else if (having.length === 1) take(having[0]!, from, to);
        else compare(from, to, having);
      });
      at = window.to;
      return into;
    },
    /** Those that are complete; each is given once. */
    conflicts: () => closed.splice(0),
    finish() {
      closeConflict();
      appendUnheld(layers.end);
      return { map: map.finish(), takenBytes, comparedBytes };
    },
  };
}

function layerAt({ starts, length }: Layers, position: number): number {
  let [low, high] = [0, length];
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (starts[middle]! <= position) low = middle;
    else high = middle;
  }
  return low;
}

const sourceLists = new Map<number, readonly number[]>();

/** The sources of a mask, ascending. There are few different masks. */
function sourcesOf(holders: number, count: number): readonly number[] {
  const known = sourceLists.get(holders);
  if (known) return known;
  const found: number[] = [];
  for (let source = 0; source < count; source++) if (holds(holders, source)) found.push(source);
  if (sourceLists.size < 4096) sourceLists.set(holders, found);
  return found;
}

function isSameGrouping(one: readonly number[][], other: readonly number[][]): boolean {
  return (
    one.length === other.length &&
    one.every((sources, version) => {
      const others = other[version]!;
      return sources.length === others.length && sources.every((each, i) => each === others[i]);
    })
  );
}

function decide(versions: readonly (readonly number[])[], rule: MergeRule): Conflict['taken'] {
  const { majority, prefer } = rule;
  if (majority) {
    const all = versions.reduce((sum, { length }) => sum + length, 0);
    const version = versions.findIndex(({ length }) => 2 * length > all);
    if (version >= 0) return { version, by: 'majority' };
  }
  if (prefer === undefined) return undefined;
  const version = versions.findIndex((sources) => sources.includes(prefer));
  return version < 0 ? undefined : { version, by: 'prefer' };
}

/** The target is empty: what is zero is left a hole. */
async function writeUnlessZero(
  target: OpenFile,
  data: Uint8Array,
  position: number,
): Promise<void> {
  let from = -1;
  for (let at = 0; at < data.length; at += holeBytes) {
    const piece = data.subarray(at, at + holeBytes);
    const isZero = Buffer.compare(piece, zeros.subarray(0, piece.length)) === 0;
    if (!isZero && from < 0) from = at;
    if (isZero && from >= 0) {
      await target.write(data.subarray(from, at), position + from);
      from = -1;
    }
  }
  if (from >= 0) await target.write(data.subarray(from), position + from);
}
