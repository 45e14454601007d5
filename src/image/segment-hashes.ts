/** The hashes of an image's segments, as `case.hashes.csv` lists them: of what was read, in whatever order. */

import { createHash } from 'node:crypto';
import { type Extent, endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { type Status, statuses, statusNames } from '../map/status.js';
import { createSegmentHasher, type SegmentHash, segmentCountOf } from '../segment-hasher.js';
import type { HashLine } from './hash-list.js';

export interface SegmentHashes {
  readonly segmentBytes: number;
  /** Whether something is known that was not when a list was last made. */
  readonly hasNews: boolean;
  /** Takes sectors as they were read. Sectors that come a second time take the hash of what they replace with
   * them. */
  take(lba: number, data: Uint8Array): void;
  /** A segment that was hashed where it was read. */
  takeHash(hash: SegmentHash): void;
  /** Nobody knows any more what these sectors of the image are: they were being written when that was given up. */
  forget(extent: Extent): void;
  /** Takes a line of an earlier list, of which only whole segments are kept. */
  takeLine(line: HashLine): void;
  /** Whole segments that are finished in the map and whose hash is known, up to so many, spread over the drive. */
  samples(map: RunMap, most: number): HashLine[];
  /** The list: a line for each run of the map within each segment, without a hash where it is not finished.
   * What is known neither here nor from the `earlier` lines (ascending, and still true) is read back; without
   * `read` only what is known is listed. `earlier` lines that the image does not bear out when it is read back
   * stay as they are, and `tell` gets them. */
  lines(map: RunMap, earlier: AsyncIterable<HashLine>, back?: ReadBack): AsyncGenerator<HashLine>;
}

/** How what is in the image is read again. */
export interface ReadBack {
  readonly read: (extent: Extent) => Promise<Uint8Array>;
  readonly tell: (changed: Extent) => void;
}

const readBytesMax = 1 << 20;

/** Hashes for an image of so many sectors of so many bytes; segments of 64 MiB unless told. */
export function createSegmentHashes(
  sectorCount: number,
  sectorBytes: number,
  segmentCount = segmentCountOf(sectorBytes),
): SegmentHashes {
  const segmentBytes = segmentCount * sectorBytes;
  const known = new Map<number, string>();
  let hasNews = false;
  const takeHash = ({ index, sha256 }: SegmentHash) => {
    known.set(index, Buffer.from(sha256).toString('hex'));
    hasNews = true;
  };
  const sizes = { segmentBytes, sizeBytes: sectorCount * sectorBytes };
  const hasher = createSegmentHasher(sizes, takeHash);
  const indexOf = (lba: number) => Math.floor(lba / segmentCount);
  const segment = (index: number): Extent => {
    const lba = index * segmentCount;
    return { lba, count: Math.min(segmentCount, sectorCount - lba) };
  };

  function forget(extent: Extent): void {
    const last = indexOf(endOf(extent) - 1);
    for (let index = indexOf(extent.lba); index <= last; index++) known.delete(index);
  }

  async function* lines(
    map: RunMap,
    earlier: AsyncIterable<HashLine>,
    back?: ReadBack,
  ): AsyncGenerator<HashLine> {
    hasNews = false;
    const taker = createTaker(earlier);
    for (let index = 0; index * segmentCount < sectorCount; index++) {
      const extent = segment(index);
      const before = await taker.within(extent);
      const sha256 = known.get(index);
      if (sha256 !== undefined && isFinished(map, extent)) {
        yield { ...extent, sha256, status: 'finished' };
      } else if (back) {
        yield* linesWithin(map, extent, before, back);
      } else {
        yield* before.filter((line) => isFinished(map, line));
      }
    }
  }

  async function* linesWithin(
    map: RunMap,
    extent: Extent,
    before: readonly HashLine[],
    back: ReadBack,
  ): AsyncGenerator<HashLine> {
    for (const { lba, count, value } of map.runs(extent.lba, endOf(extent))) {
      const run = { lba, count };
      if (value !== statuses.finished) yield { ...run, status: statusNames[value] as Status };
      else
        yield* finishedLines(
          run,
          before.filter((line) => isWithin(line, run)),
          back,
          sectorBytes,
        );
    }
  }

  return {
    segmentBytes,
    get hasNews() {
      return hasNews;
    },
    take(lba, data) {
      forget({ lba, count: data.length / sectorBytes });
      hasher.take(lba * sectorBytes, data);
    },
    forget,
    takeHash,
    takeLine({ lba, count, sha256 }) {
      const whole = segment(indexOf(lba));
      if (sha256 !== undefined && lba === whole.lba && count === whole.count)
        known.set(indexOf(lba), sha256);
    },
    samples(map, most) {
      const indexes = [...known.keys()].filter((index) => isFinished(map, segment(index)));
      return spread(
        indexes.sort((one, other) => one - other),
        most,
      ).map((index) => ({
        ...segment(index),
        sha256: known.get(index)!,
        status: 'finished',
      }));
    },
    lines,
  };
}

/** Up to so many of these, the first and the last among them, at even distances. */
export function spread<T>(all: readonly T[], most: number): T[] {
  const count = Math.min(all.length, most);
  const step = count > 1 ? (all.length - 1) / (count - 1) : 0;
  return Array.from({ length: count }, (_, nth) => all[Math.round(nth * step)] as T);
}

export function isFinished(map: RunMap, extent: Extent): boolean {
  const run = map.runAt(extent.lba);
  return run.value === statuses.finished && endOf(run) >= endOf(extent);
}

function isWithin(inner: Extent, outer: Extent): boolean {
  return inner.lba >= outer.lba && endOf(inner) <= endOf(outer);
}

/** The hashed lines of a stream, stretch by stretch; what lies in none as a whole is left out. */
function createTaker(lines: AsyncIterable<HashLine>) {
  const source = lines[Symbol.asyncIterator]();
  let next: HashLine | undefined;
  let isStarted = false;
  const step = async () => {
    const { value, done } = await source.next();
    next = done ? undefined : value;
  };
  return {
    async within(extent: Extent): Promise<HashLine[]> {
      const found: HashLine[] = [];
      if (!isStarted) await step();
      isStarted = true;
      for (; next && next.lba < endOf(extent); await step()) {
        if (next.sha256 !== undefined && isWithin(next, extent)) found.push(next);
      }
      return found;
    },
  };
}

/** A run that is finished. What earlier lines vouch for in it is read with the rest, and must still be as they
 * say: else nobody would ever learn that the image was changed. */
async function* finishedLines(
  run: Extent,
  before: readonly HashLine[],
  { read, tell }: ReadBack,
  sectorBytes: number,
): AsyncGenerator<HashLine> {
  const first = before[0];
  if (first?.lba === run.lba && first.count === run.count) {
    yield first;
    return;
  }
  const whole = createHash('sha256');
  const pieces: HashLine[] = [];
  let isTrue = true;
  for (const stretch of stretchesOf(run, before)) {
    const hash = createHash('sha256');
    for await (const data of dataOf(stretch, sectorBytes, read)) {
      whole.update(data);
      if (before.length > 0) hash.update(data);
    }
    const sha256 = before.length > 0 ? hash.digest('hex') : '';
    const isChanged = stretch.sha256 !== undefined && stretch.sha256 !== sha256;
    if (isChanged) tell({ lba: stretch.lba, count: stretch.count });
    isTrue &&= !isChanged;
    pieces.push({ ...stretch, sha256: stretch.sha256 ?? sha256 });
  }
  if (isTrue) yield { ...run, sha256: whole.digest('hex'), status: 'finished' };
  else yield* pieces;
}

/** A run as its earlier lines and what lies between them. */
function stretchesOf(run: Extent, before: readonly HashLine[]): HashLine[] {
  const stretches: HashLine[] = [];
  let at = run.lba;
  const upTo = (lba: number) => {
    if (lba > at) stretches.push({ lba: at, count: lba - at, status: 'finished' });
  };
  for (const line of before) {
    upTo(line.lba);
    stretches.push(line);
    at = endOf(line);
  }
  upTo(endOf(run));
  return stretches;
}

async function* dataOf(
  extent: Extent,
  sectorBytes: number,
  read: (extent: Extent) => Promise<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const pieceCount = Math.max(1, Math.floor(readBytesMax / sectorBytes));
  for (let { lba } = extent; lba < endOf(extent); lba += pieceCount)
    yield await read({ lba, count: Math.min(pieceCount, endOf(extent) - lba) });
}
