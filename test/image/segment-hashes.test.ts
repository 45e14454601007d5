import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { type HashLine, writeHashList } from '../../src/image/hash-list.js';
import {
  createSegmentHashes,
  type ListWish,
  type SegmentHashes,
} from '../../src/image/segment-hashes.js';
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
  await writeHashList(files, 'list', hashes.lines(map, earlier, { back }));
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
    'sha256,first_lba,last_lba,status,hash_of',
    `${sha256([0, segmentCount])},0,131071,finished,drive`,
    `${sha256([segmentCount, segmentCount])},131072,262143,finished,drive`,
    `${sha256([2 * segmentCount, 1000])},262144,263143,finished,drive`,
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
    'sha256,first_lba,last_lba,status,hash_of',
    `${sha256([0, segmentCount])},0,131071,finished,drive`,
    ',131072,262143,non-tried,',
    `${createHash('sha256').update(content(262_144, 500)).digest('hex')},262144,262643,finished,image`,
    ',262644,262645,bad-sector,',
    `${createHash('sha256').update(content(262_646, 498)).digest('hex')},262646,263143,finished,image`,
    '',
  ]);
  expect(asked.every(({ lba }) => lba < segmentCount || lba >= 2 * segmentCount)).toBe(true);
});

test('a sector that is written again takes the hash of its segment with it', async () => {
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  takeAll(hashes, 0, sectorCount);
  hashes.take(segmentCount - 1, new Uint8Array(2 * sectorBytes));
  const list = await listOf(hashes, finishedMap());
  const again = createHash('sha256').update(new Uint8Array(sectorBytes)).digest('hex');
  expect(list.split('\n').slice(1, -1)).toEqual([
    `${again},131071,131071,finished,drive`,
    `${again},131072,131072,finished,drive`,
    `${sha256([2 * segmentCount, 1000])},262144,263143,finished,drive`,
  ]);
});

/** Reads of a segment in any order, some of them again, as a failing drive has them. */
function takeScattered(hashes: SegmentHashes, image: Uint8Array): void {
  const take = (lba: number, count: number) =>
    hashes.take(lba, image.subarray(lba * sectorBytes, (lba + count) * sectorBytes));
  for (const lba of [600, 500, 400]) take(lba, 100);
  take(0, 64);
  take(64, 100);
  take(700, 300);
  for (let lba = 164; lba < 400; lba += 1) take(lba, 1);
  take(30, 10);
}

const scattered = { lba: 0, count: 1000 };

function scatteredImage() {
  const image = new Uint8Array(1000 * sectorBytes);
  for (let at = 0; at < image.length; at++) image[at] = (at * 31 + (at >> 9)) & 0xff;
  return image;
}

async function linesOf(hashes: SegmentHashes, wish: ListWish): Promise<HashLine[]> {
  const map = createRunMap(sectorCount, statuses['non-tried']);
  map.set(scattered, statuses.finished);
  const lines: HashLine[] = [];
  for await (const line of hashes.lines(map, no(), wish)) lines.push(line);
  return lines.filter(({ status }) => status === 'finished');
}

test('hashes are of what was read, in whatever order; who changes the image meanwhile is found out', async () => {
  const image = scatteredImage();
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  takeScattered(hashes, image);
  const known = await linesOf(hashes, { hasGaps: true });
  for (const { lba, count, sha256, isOfImage } of known) {
    const data = image.subarray(lba * sectorBytes, (lba + count) * sectorBytes);
    expect(sha256).toBe(createHash('sha256').update(data).digest('hex'));
    expect(isOfImage).toBeUndefined();
  }
  const told: Extent[] = [];
  const back = {
    read: async ({ lba, count }: Extent) =>
      image.subarray(lba * sectorBytes, (lba + count) * sectorBytes),
    tell: (changed: Extent) => void told.push(changed),
  };
  // A place that was read twice in part: what was taken first is no longer vouched for, and hashed anew.
  const whole = await linesOf(hashes, { back });
  expect(told).toEqual([]);
  expect(whole.map(({ lba, count, isOfImage = false }) => [lba, count, isOfImage])).toEqual([
    [0, 30, true],
    [30, 10, false],
    [40, 124, true],
    [164, 836, false],
  ]);
  image[450 * sectorBytes]! ^= 1;
  const changed = await linesOf(hashes, { back });
  expect(told).toEqual([{ lba: 400, count: 100 }]);
  const before = known.find(({ lba }) => lba === 400);
  expect(changed.find(({ lba }) => lba === 400)).toEqual(before);
});

test('what goes on is told of as far as it goes, and later as a whole', async () => {
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  const image = scatteredImage();
  hashes.take(0, image.subarray(0, 100 * sectorBytes));
  expect(await linesOf(hashes, {})).toMatchObject([{ lba: 0, count: 100 }]);
  hashes.take(100, image.subarray(100 * sectorBytes));
  const sha256 = createHash('sha256').update(image).digest('hex');
  expect(await linesOf(hashes, {})).toEqual([{ lba: 0, count: 1000, sha256, status: 'finished' }]);
  hashes.forget({ lba: 999, count: 1 });
  expect(await linesOf(hashes, {})).toEqual([]);
});

test('more stretches than are kept have no hash, which costs no truth', async () => {
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  for (let lba = 9000; lba > 0; lba -= 2) hashes.take(lba, content(lba, 1));
  const map = finishedMap();
  const lines: HashLine[] = [];
  for await (const line of hashes.lines(map, no())) lines.push(line);
  expect(lines).toHaveLength(4096);
});

test('a read that was given up takes the hash of its segment with it', async () => {
  const hashes = createSegmentHashes(sectorCount, sectorBytes);
  takeAll(hashes, 0, sectorCount);
  hashes.forget({ lba: segmentCount - 1, count: 1 });
  const lines = (await listOf(hashes, finishedMap())).split('\n').slice(1, -1);
  expect(lines.map((line) => line.split(',')[1])).toEqual(['131072', '262144']);
});
