import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { type HashLine, writeHashList } from '../../src/image/hash-list.js';
import { createSegmentHashes, type SegmentHashes } from '../../src/image/segment-hashes.js';
import type { Extent } from '../../src/map/extent.js';
import type { RunMap } from '../../src/map/run-map.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { memoryFiles } from './memory-files.js';

const sectorBytes = 512;
/** Two segments of 64 MiB and a shorter one. */
const segmentCount = 131_072;
const sectorCount = 2 * segmentCount + 1000;
const pieceCount = 8192;

const content = (lba: number, count: number) => Buffer.alloc(count * sectorBytes, (lba >> 13) + 1);
const sha256 = (...extents: readonly [number, number][]) => {
  const hash = createHash('sha256');
  for (const [lba, count] of extents) {
    for (let at = 0; at < count; at += pieceCount)
      hash.update(content(lba + at, Math.min(pieceCount, count - at)));
  }
  return hash.digest('hex');
};
/** The image as a job left it. */
const readBack = (asked: Extent[]) => async (extent: Extent) => {
  asked.push(extent);
  return content(extent.lba, extent.count);
};

function finishedMap() {
  const map = createRunMap(sectorCount, statuses['non-tried']);
  map.set({ lba: 0, count: sectorCount }, statuses.finished);
  return map;
}

async function* no(): AsyncGenerator<HashLine> {}

/** The list as the file would have it. */
async function listOf(
  hashes: SegmentHashes,
  map: RunMap,
  read?: (extent: Extent) => Promise<Uint8Array>,
  earlier: AsyncIterable<HashLine> = no(),
): Promise<string> {
  const files = memoryFiles();
  const back = read && {
    read,
    tell: (changed: Extent) => expect.fail(`${changed.lba} is called changed`),
  };
  await writeHashList(files, 'list', hashes.lines(map, earlier, back));
  return Buffer.from(files.content('list')).toString();
}

/** Takes all of an extent in order. */
function takeAll(hashes: ReturnType<typeof createSegmentHashes>, lba: number, count: number): void {
  for (let at = lba; at < lba + count; at += pieceCount)
    hashes.take(at, content(at, Math.min(pieceCount, lba + count - at)));
}

test('what is read in order is hashed on the way; nothing is read back for it', async () => {
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  takeAll(hashes, segmentCount, segmentCount + 1000);
  takeAll(hashes, 0, segmentCount);
  const asked: Extent[] = [];
  const list = await listOf(hashes, finishedMap(), readBack(asked));
  expect(asked).toEqual([]);
  expect(list.split('\n')).toEqual([
    'sha256,first_lba,last_lba,status',
    `${sha256([0, segmentCount])},0,131071,finished`,
    `${sha256([segmentCount, segmentCount])},131072,262143,finished`,
    `${sha256([2 * segmentCount, 1000])},262144,263143,finished`,
    '',
  ]);
});

test('what was read in another order is read back, around what is not finished', async () => {
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  takeAll(hashes, pieceCount, segmentCount - pieceCount);
  takeAll(hashes, 0, pieceCount);
  const map = finishedMap();
  map.set({ lba: 2 * segmentCount + 500, count: 2 }, statuses['bad-sector']);
  map.set({ lba: segmentCount, count: segmentCount }, statuses['non-tried']);
  const asked: Extent[] = [];
  const list = (await listOf(hashes, map, readBack(asked))).split('\n');
  expect(list).toEqual([
    'sha256,first_lba,last_lba,status',
    `${sha256([0, segmentCount])},0,131071,finished`,
    ',131072,262143,non-tried',
    `${createHash('sha256').update(content(262_144, 500)).digest('hex')},262144,262643,finished`,
    ',262644,262645,bad-sector',
    `${createHash('sha256').update(content(262_646, 498)).digest('hex')},262646,263143,finished`,
    '',
  ]);
  expect(asked.every(({ lba }) => lba < segmentCount || lba >= 2 * segmentCount)).toBe(true);
});

test('a sector that is written again takes the hash of its segment with it', async () => {
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  takeAll(hashes, 0, sectorCount);
  hashes.take(segmentCount - 1, new Uint8Array(2 * sectorBytes));
  const list = await listOf(hashes, finishedMap());
  expect(list.split('\n').slice(1, -1)).toEqual([
    `${sha256([2 * segmentCount, 1000])},262144,263143,finished`,
  ]);
});

test('a read that was given up takes the hash of its segment with it', async () => {
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  takeAll(hashes, 0, sectorCount);
  hashes.forget({ lba: segmentCount - 1, count: 1 });
  const lines = (await listOf(hashes, finishedMap())).split('\n').slice(1, -1);
  expect(lines.map((line) => line.split(',')[1])).toEqual(['131072', '262144']);
});
