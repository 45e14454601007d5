/** The hashes of an image, as `case.hashes.csv` lists them: of what was read, in whatever order. */

import { createHash, type Hash } from 'node:crypto';
import { type Extent, endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { type Status, statuses, statusNames } from '../map/status.js';
import { createSegmentHasher, type StretchHash, segmentCountOf } from '../segment-hasher.js';
import type { HashedLine, HashLine } from './hash-list.js';

export interface SegmentHashes {
  readonly segmentBytes: number;
  /** Whether something is known that was not when a list was last made. */
  readonly hasNews: boolean;
  /** Takes sectors as they were read. Sectors that come a second time take the hash of what they replace with
   * them. */
  take(lba: number, data: Uint8Array): void;
  /** A stretch that was hashed where it was read. */
  takeHash(hash: StretchHash): void;
  /** Nobody knows any more what these sectors of the image are: they were being written when that was given up. */
  forget(extent: Extent): void;
  /** Whether this very line, which `onHash` was told, is still what is known of its sectors. */
  holds(line: HashedLine): boolean;
  /** Takes a line of an earlier list, or one that stands on no list yet. */
  takeLine(line: HashedLine, isNews?: boolean): void;
  /** Stretches that are finished in the map and whose hash is known: all, or up to so many of the longest, spread
   * over the drive. */
  samples(map: RunMap, most: number): HashedLine[];
  /** The list: a line for each run of the map within each segment, or for its parts, without a hash where it is not
   * finished. `earlier` lines (ascending, and still true) are known as well. With `back` what is finished is joined
   * and what nobody has a hash of is read back, and said to be (`isOfImage`); what the image does not bear out then
   * stays as it was read, and `tell` gets it. Otherwise only what is known is listed, with `hasGaps` also what is not
   * finished. */
  lines(map: RunMap, earlier: AsyncIterable<HashLine>, wish?: ListWish): AsyncGenerator<HashLine>;
}

/** How much of a list is wanted. */
export interface ListWish {
  readonly back?: ReadBack | undefined;
  readonly hasGaps?: boolean;
}

/** How what is in the image is read again. */
export interface ReadBack {
  readonly read: (extent: Extent) => Promise<Uint8Array>;
  readonly tell: (changed: Extent) => void;
}

const readBytesMax = 1 << 20;
/** Stretches whose hashes are kept, of a segment and in all: some 60 MB. What comes beyond has none, and is read back in
 * the end, which the list says. */
const stretchesOfSegmentMax = 4096;
const stretchesMax = 400_000;

/** Hashes for an image of so many sectors of so many bytes; segments of 64 MiB unless told. `onHash` is told of what
 * was read, some of it again when there is more. */
export function createSegmentHashes(
  sectorCount: number,
  sectorBytes: number,
  segmentCount = segmentCountOf(sectorBytes),
  onHash: (line: HashedLine) => void = () => {},
): SegmentHashes {
  const segmentBytes = segmentCount * sectorBytes;
  const known = createStretches(segmentCount);
  let hasNews = false;
  const takeHash = ({ offsetBytes, byteCount, sha256 }: StretchHash) => {
    const extent = { lba: offsetBytes / sectorBytes, count: byteCount / sectorBytes };
    const line: HashedLine = {
      ...extent,
      status: 'finished',
      sha256: Buffer.from(sha256).toString('hex'),
    };
    known.put(line);
    onHash(line);
    hasNews = true;
  };
  const sizes = { segmentBytes, sizeBytes: sectorCount * sectorBytes };
  const hasher = createSegmentHasher(sizes, takeHash);

  function forget({ lba, count }: Extent): void {
    hasher.drop(lba * sectorBytes, count * sectorBytes);
    known.drop({ lba, count });
  }

  async function* lines(
    map: RunMap,
    earlier: AsyncIterable<HashLine>,
    { back, hasGaps = false }: ListWish = {},
  ): AsyncGenerator<HashLine> {
    hasher.tellBegun();
    hasNews = false;
    const taker = createTaker(earlier);
    for (let lba = 0; lba < sectorCount; lba += segmentCount) {
      const extent = { lba, count: Math.min(segmentCount, sectorCount - lba) };
      const stretches = joined(
        known.within(extent.lba).filter((line) => isFinished(map, line)),
        (await taker.within(extent)).filter((line) => isFinished(map, line)),
      );
      let at = 0;
      for (const run of map.runs(lba, endOf(extent))) {
        const from = at;
        while (at < stretches.length && stretches[at]!.lba < endOf(run)) at += 1;
        yield* linesOf(run, stretches.slice(from, at), { back, hasGaps }, sectorBytes);
      }
    }
  }

  return {
    segmentBytes,
    get hasNews() {
      return hasNews;
    },
    take(lba, data) {
      known.drop({ lba, count: data.length / sectorBytes });
      hasher.take(lba * sectorBytes, data);
    },
    forget,
    takeHash,
    holds: (line) => known.within(line.lba).includes(line),
    takeLine(line, isNews = false) {
      known.put(line);
      hasNews ||= isNews;
    },
    samples(map, most) {
      hasher.tellBegun();
      const found = known.all().filter((line) => isFinished(map, line));
      if (found.length <= most) return found;
      const longest = found.reduce((max, { count }) => Math.max(max, count), 0);
      const long = found.filter(({ count }) => count >= longest / 2);
      return spread(long, most);
    },
    lines,
  };
}

/** Hashed stretches that do not overlap, by their segments. */
function createStretches(segmentCount: number) {
  const bySegment = new Map<number, HashedLine[]>();
  let total = 0;
  const indexOf = (lba: number) => Math.floor(lba / segmentCount);
  const overlaps = (one: Extent, other: Extent) => one.lba < endOf(other) && other.lba < endOf(one);

  function set(index: number, lines: HashedLine[]): void {
    total += lines.length - (bySegment.get(index)?.length ?? 0);
    if (lines.length > 0) bySegment.set(index, lines);
    else bySegment.delete(index);
  }

  function dropWithin(index: number, extent: Extent): void {
    const lines = bySegment.get(index);
    if (lines?.some((line) => overlaps(line, extent)))
      set(
        index,
        lines.filter((line) => !overlaps(line, extent)),
      );
  }

  return {
    /** In the place of those that it overlaps. */
    put(line: HashedLine): void {
      const index = indexOf(line.lba);
      // A line of a list with longer segments would be found in its first only.
      if (indexOf(endOf(line) - 1) !== index) return;
      dropWithin(index, line);
      const lines = bySegment.get(index) ?? [];
      if (total >= stretchesMax || lines.length >= stretchesOfSegmentMax) return;
      const at = lines.findLastIndex(({ lba }) => lba < line.lba) + 1;
      set(index, [...lines.slice(0, at), line, ...lines.slice(at)]);
    },
    drop(extent: Extent): void {
      const [first, last] = [indexOf(extent.lba), indexOf(endOf(extent) - 1)];
      if (last - first < bySegment.size)
        for (let index = first; index <= last; index++) dropWithin(index, extent);
      else for (const index of [...bySegment.keys()]) dropWithin(index, extent);
    },
    within: (lba: number): readonly HashedLine[] => bySegment.get(indexOf(lba)) ?? [],
    /** In ascending order. */
    all: (): HashedLine[] =>
      [...bySegment.keys()]
        .sort((one, other) => one - other)
        .flatMap((index) => bySegment.get(index)!),
  };
}

/** Lines that are known, and earlier ones where there are none, in ascending order. */
function joined(known: readonly HashedLine[], earlier: readonly HashedLine[]): HashedLine[] {
  const all: HashedLine[] = [];
  let at = 0;
  for (const line of earlier) {
    while (at < known.length && endOf(known[at]!) <= line.lba) all.push(known[at++]!);
    const isNew = at === known.length || known[at]!.lba >= endOf(line);
    if (isNew) all.push(line);
  }
  return [...all, ...known.slice(at)];
}

/** The lines of a run of the map within a segment, of which these stretches are known. */
async function* linesOf(
  { lba, count, value }: Extent & { readonly value: number },
  stretches: readonly HashedLine[],
  { back, hasGaps }: ListWish,
  sectorBytes: number,
): AsyncGenerator<HashLine> {
  const run = { lba, count };
  if (value !== statuses.finished) {
    if (back || hasGaps) yield { ...run, status: statusNames[value] as Status };
    return;
  }
  if (back) yield* finishedLines(run, stretches, back, sectorBytes);
  else yield* stretches;
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

/** The hashed lines of a stream, extent by extent; what lies in none as a whole is left out. */
function createTaker(lines: AsyncIterable<HashLine>) {
  const source = lines[Symbol.asyncIterator]();
  let next: HashLine | undefined;
  let isStarted = false;
  const step = async () => {
    const { value, done } = await source.next();
    next = done ? undefined : value;
  };
  return {
    async within(extent: Extent): Promise<HashedLine[]> {
      const found: HashedLine[] = [];
      if (!isStarted) await step();
      isStarted = true;
      for (; next && next.lba < endOf(extent); await step()) {
        if (isHashed(next) && isWithin(next, extent)) found.push(next);
      }
      return found;
    },
  };
}

export function isHashed(line: HashLine): line is HashedLine {
  return line.sha256 !== undefined;
}

/** A run that is finished, as few lines: stretches that were hashed as they were read are joined into one where the
 * image still has them; what was not is hashed as it lies in the image now. */
async function* finishedLines(
  run: Extent,
  known: readonly HashedLine[],
  { read, tell }: ReadBack,
  sectorBytes: number,
): AsyncGenerator<HashLine> {
  const [only] = known;
  if (only && only.lba === run.lba && only.count === run.count) {
    yield only;
    return;
  }
  let open: { lba: number; count: number; isOfImage: boolean; hash: Hash } | undefined;
  const close = (): HashLine[] => {
    if (!open) return [];
    const { hash, isOfImage, lba, count } = open;
    open = undefined;
    return [lineOf({ lba, count }, hash.digest('hex'), isOfImage)];
  };
  for (const stretch of stretchesOf(run, known)) {
    const isOfImage = stretch.sha256 === undefined || stretch.isOfImage === true;
    if (open && open.isOfImage !== isOfImage) yield* close();
    const before = open?.hash.copy();
    open ??= { lba: stretch.lba, count: 0, isOfImage, hash: createHash('sha256') };
    const own = createHash('sha256');
    for await (const data of dataOf(stretch, sectorBytes, read)) {
      open.hash.update(data);
      if (stretch.sha256 !== undefined) own.update(data);
    }
    open.count += stretch.count;
    if (stretch.sha256 === undefined || stretch.sha256 === own.digest('hex')) continue;
    // What was read stays on the list, by itself: else nobody would ever learn that the image was changed.
    tell({ lba: stretch.lba, count: stretch.count });
    open.count -= stretch.count;
    if (before) open.hash = before;
    else open = undefined;
    yield* close();
    yield lineOf(stretch, stretch.sha256, isOfImage);
  }
  yield* close();
}

function lineOf({ lba, count }: Extent, sha256: string, isOfImage: boolean): HashLine {
  return { lba, count, sha256, status: 'finished', ...(isOfImage && { isOfImage }) };
}

/** A run as what is known of it and what lies between. */
function stretchesOf(
  run: Extent,
  known: readonly HashedLine[],
): (Extent & Pick<HashLine, 'sha256' | 'isOfImage'>)[] {
  const stretches: (Extent & Pick<HashLine, 'sha256' | 'isOfImage'>)[] = [];
  let at = run.lba;
  const upTo = (lba: number) => {
    if (lba > at) stretches.push({ lba: at, count: lba - at });
  };
  for (const line of known) {
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
