/** Whether the image still holds what was read, while a job writes to it: who cuts it, empties a part of it or edits
 * it meanwhile leaves no trace in its length once the job's own writes have made it as long again. */

import { createHash } from 'node:crypto';
import type { HashLine } from '../image/hash-list.js';
import { type ByteRange, join } from '../image/image-look.js';
import { type Extent, endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import type { JobEventBody } from './events.js';
import { lossOf } from './image-check.js';

export interface ImageWatch {
  /** Notes how much of the image is on the disk; to be called when the image is synced. */
  onSync(): Promise<void>;
  /** Bytes that were on the disk and are there no more, since `look` was called last: something took them out. */
  lostBytes(): number;
  /** Looks at a stretch or a few whose hash is known, at most `sampleBytes`. Where one is not as it was read, or bytes
   * were lost, at all of them; where bytes were lost, also for zeros in what has no hash. Returns the event that
   * says what is to be read again.
   * Throws IMAGE_MISMATCH, FILE_FAILED and the signal's reason. */
  look(signal: AbortSignal): Promise<JobEventBody | undefined>;
}

export interface WatchOptions {
  readonly map: RunMap;
  readonly sectorBytes: number;
  readonly segmentBytes: number;
  /** Bytes of the image on the disk. */
  allocatedBytes(): Promise<number>;
  /** What the image holds, everything that was written included. */
  read(extent: Extent): Promise<Uint8Array>;
  /** Finished stretches whose hash is known, up to so many. */
  samples(most: number): readonly HashLine[];
  /** Nothing vouches for these any more. */
  takeBack(extents: readonly Extent[]): Promise<void>;
}

const sampleBytes = 64 << 20;
const readBytes = 1 << 20;
/** File systems move a little by themselves: less than this share of the image, and no more than so much. */
const toleratedShare = 1 / 64;
const toleratedBytesMin = 64 << 10;
const toleratedBytesMax = 16 << 20;
/** Places with zeros that are closer than this are read again as one. */
const gapBytes = 1 << 20;

/** Begins to watch an image that is open and has its size. Throws FILE_FAILED. */
export async function watchImage(options: WatchOptions): Promise<ImageWatch> {
  const { map, sectorBytes, segmentBytes, samples } = options;
  const imageBytes = map.size * sectorBytes;
  const toleratedBytes = Math.min(
    toleratedBytesMax,
    Math.max(toleratedBytesMin, imageBytes * toleratedShare),
  );
  let mostBytes = await options.allocatedBytes();
  let lostBytes = 0;

  /** What has no hash and reads as zeros is what is left where bytes were taken out, or was zeros before. */
  async function changedOrEmpty(signal: AbortSignal): Promise<Extent[]> {
    const known = samples(Number.POSITIVE_INFINITY);
    const changed = await changedAmong(known, options, signal);
    const empty = lostBytes > 0 ? await emptyBeside(known, options, signal) : [];
    return [...changed, ...empty].sort((one, other) => one.lba - other.lba);
  }

  return {
    async onSync() {
      const foundBytes = await options.allocatedBytes();
      const isCut = mostBytes - foundBytes > toleratedBytes;
      if (isCut) lostBytes += mostBytes - foundBytes;
      mostBytes = isCut ? foundBytes : Math.max(mostBytes, foundBytes);
    },
    lostBytes: () => lostBytes,
    async look(signal) {
      const few = samples(Math.max(1, Math.floor(sampleBytes / segmentBytes)));
      const isOdd = lostBytes > 0 || (await changedAmong(few, options, signal)).length > 0;
      if (!isOdd) return undefined;
      const changed = await changedOrEmpty(signal);
      lostBytes = 0;
      await options.takeBack(changed);
      const loss = lossOf(map, changed.map(rangeIn(sectorBytes)), sectorBytes);
      return loss && { ...loss, why: 'the image was changed while this job wrote to it' };
    },
  };
}

function rangeIn(sectorBytes: number): (extent: Extent) => ByteRange {
  return (extent) => ({
    fromBytes: extent.lba * sectorBytes,
    toBytes: endOf(extent) * sectorBytes,
  });
}

/** Pieces of an extent that are read at once. */
function* piecesOf(extent: Extent, sectorBytes: number): Generator<Extent> {
  const most = Math.max(1, Math.floor(readBytes / sectorBytes));
  for (let { lba } = extent; lba < endOf(extent); lba += most)
    yield { lba, count: Math.min(most, endOf(extent) - lba) };
}

async function changedAmong(
  lines: readonly HashLine[],
  { read, sectorBytes }: WatchOptions,
  signal: AbortSignal,
): Promise<Extent[]> {
  const changed: Extent[] = [];
  for (const { lba, count, sha256 } of lines) {
    const hash = createHash('sha256');
    for (const piece of piecesOf({ lba, count }, sectorBytes)) {
      signal.throwIfAborted();
      hash.update(await read(piece));
    }
    if (hash.digest('hex') !== sha256) join(changed, { lba, count });
  }
  return changed;
}

/** Finished sectors that read as zeros, outside of these extents, and their neighbours. */
async function emptyBeside(
  known: readonly Extent[],
  { map, read, sectorBytes }: WatchOptions,
  signal: AbortSignal,
): Promise<Extent[]> {
  const left = map.clone();
  for (const extent of known) left.set(extent, statuses['non-tried']);
  const empty: Extent[] = [];
  for (const run of left.runs()) {
    if (run.value !== statuses.finished) continue;
    for (const piece of piecesOf(run, sectorBytes)) {
      signal.throwIfAborted();
      const data = await read(piece);
      for (let at = 0; at < piece.count; at++) {
        const sector = data.subarray(at * sectorBytes, (at + 1) * sectorBytes);
        if (isZero(sector)) addNear(empty, piece.lba + at, gapBytes / sectorBytes);
      }
    }
  }
  return empty.map((extent) => widened(extent, map.size));
}

/** With a sector more on both sides: what is cut within a sector leaves a part of it. */
function widened(extent: Extent, sectorCount: number): Extent {
  const lba = Math.max(0, extent.lba - 1);
  return { lba, count: Math.min(sectorCount, endOf(extent) + 1) - lba };
}

function isZero(data: Uint8Array): boolean {
  return data.every((byte) => byte === 0);
}

/** Adds a sector behind an ascending list, to the last extent where that is near. */
function addNear(extents: Extent[], lba: number, gap: number): void {
  const last = extents.at(-1);
  if (last && lba - endOf(last) <= gap)
    extents[extents.length - 1] = { lba: last.lba, count: lba + 1 - last.lba };
  else extents.push({ lba, count: 1 });
}
