/** The hashes of an image's segments, as `case.hashes.csv` lists them: of what was read, in whatever order. */

import { createHash } from 'node:crypto';
import { type Extent, endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import { createSegmentHasher, type SegmentHash, segmentCountOf } from '../segment-hasher.js';

export interface SegmentHashes {
  readonly segmentBytes: number;
  /** Takes sectors as they were read. Sectors that come a second time take the hash of what they replace with
   * them. */
  take(lba: number, data: Uint8Array): void;
  /** A segment that was hashed where it was read. */
  takeHash(hash: SegmentHash): void;
  /** Nobody knows any more what these sectors of the image are: they were being written when that was given up. */
  forget(extent: Extent): void;
  /** Takes the hashes of an earlier list for segments that the map still calls finished. What makes no sense is
   * left out: it will be hashed again. */
  takeList(text: string, map: RunMap): void;
  /** The list: `sha256,first_lba,last_lba,status`, a line for each run of the map within each segment, without a
   * hash where it is not finished. What was not hashed on the way is read back with `read`; without it, only
   * what is known is listed. */
  list(map: RunMap, read?: (extent: Extent) => Promise<Uint8Array>): Promise<string>;
}

const headLine = 'sha256,first_lba,last_lba,status';
const linePattern = /^([0-9a-f]{64}),(\d{1,15}),(\d{1,15}),finished$/;
const readBytesMax = 1 << 20;
const statusNames = new Map<number, string>(
  Object.entries(statuses).map(([name, code]) => [code, name]),
);

/** Hashes for an image of so many sectors of so many bytes. */
export function createSegmentHashes(sectorCount: number, sectorBytes: number): SegmentHashes {
  const segmentCount = segmentCountOf(sectorBytes);
  const segmentBytes = segmentCount * sectorBytes;
  const known = new Map<number, string>();
  const takeHash = ({ index, sha256 }: SegmentHash) => {
    known.set(index, Buffer.from(sha256).toString('hex'));
  };
  const sizes = { segmentBytes, sizeBytes: sectorCount * sectorBytes };
  const hasher = createSegmentHasher(sizes, takeHash);
  const indexOf = (lba: number) => Math.floor(lba / segmentCount);
  const segment = (index: number): Extent => {
    const lba = index * segmentCount;
    return { lba, count: Math.min(segmentCount, sectorCount - lba) };
  };
  const isFinished = (map: RunMap, extent: Extent) => {
    const run = map.runAt(extent.lba);
    return run.value === statuses.finished && endOf(run) >= endOf(extent);
  };

  async function* lines(
    map: RunMap,
    read: ((extent: Extent) => Promise<Uint8Array>) | undefined,
  ): AsyncGenerator<string> {
    for (let index = 0; index * segmentCount < sectorCount; index++) {
      const extent = segment(index);
      const hash = known.get(index);
      if (hash !== undefined && isFinished(map, extent)) yield lineOf(hash, extent, 'finished');
      else if (read) yield* linesWithin(map, extent, read);
    }
  }

  async function* linesWithin(
    map: RunMap,
    extent: Extent,
    read: (extent: Extent) => Promise<Uint8Array>,
  ): AsyncGenerator<string> {
    for (const run of map.runs(extent.lba, endOf(extent))) {
      const isRead = run.value === statuses.finished;
      const hash = isRead ? await hashOf(run, sectorBytes, read) : '';
      yield lineOf(hash, run, statusNames.get(run.value) ?? '');
    }
  }

  function forget(extent: Extent): void {
    const last = indexOf(endOf(extent) - 1);
    for (let index = indexOf(extent.lba); index <= last; index++) known.delete(index);
  }

  return {
    segmentBytes,
    take(lba, data) {
      forget({ lba, count: data.length / sectorBytes });
      hasher.take(lba * sectorBytes, data);
    },
    forget,
    takeHash,
    takeList(text, map) {
      for (const line of text.split('\n')) {
        const [, hash = '', first, last] = linePattern.exec(line) ?? [];
        const lba = Number(first);
        if (!(lba < sectorCount) || lba % segmentCount !== 0) continue;
        const extent = segment(indexOf(lba));
        const isWhole = endOf(extent) - 1 === Number(last);
        if (isWhole && isFinished(map, extent)) known.set(indexOf(lba), hash);
      }
    },
    async list(map, read) {
      const all = [headLine];
      for await (const line of lines(map, read)) all.push(line);
      return `${all.join('\n')}\n`;
    },
  };
}

function lineOf(hash: string, { lba, count }: Extent, status: string): string {
  return `${hash},${lba},${lba + count - 1},${status}`;
}

async function hashOf(
  extent: Extent,
  sectorBytes: number,
  read: (extent: Extent) => Promise<Uint8Array>,
): Promise<string> {
  const hash = createHash('sha256');
  const pieceCount = Math.max(1, Math.floor(readBytesMax / sectorBytes));
  for (let { lba } = extent; lba < endOf(extent); lba += pieceCount) {
    hash.update(await read({ lba, count: Math.min(pieceCount, endOf(extent) - lba) }));
  }
  return hash.digest('hex');
}
