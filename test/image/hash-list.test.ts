import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { keepHashes } from '../../src/image/hash-keeper.js';
import { type HashLine, readHashList, writeHashList } from '../../src/image/hash-list.js';
import { createSegmentHashes } from '../../src/image/segment-hashes.js';
import type { Extent } from '../../src/map/extent.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { type CrashingFiles, crashingFiles, randomOf } from './crashing-files.js';
import { memoryFiles } from './memory-files.js';

/** As lists were before they said what a hash is of. */
const head = 'sha256,first_lba,last_lba,status';
const newHead = `${head},hash_of`;
const hash = 'a'.repeat(64);

async function read(text: string, sectorCount?: number): Promise<HashLine[]> {
  const files = memoryFiles();
  files.put('list', text);
  const lines: HashLine[] = [];
  for await (const line of readHashList(files, 'list', sectorCount)) lines.push(line);
  return lines;
}

test('a list that was written is read as it was', async () => {
  const lines: HashLine[] = [
    { lba: 0, count: 10, sha256: hash, status: 'finished' },
    { lba: 10, count: 1, status: 'bad-sector' },
    { lba: 12, count: 2, sha256: hash, status: 'finished', isOfImage: true },
    { lba: 20, count: 5, status: 'non-tried' },
  ];
  const files = memoryFiles();
  async function* all() {
    yield* lines;
  }
  await writeHashList(files, 'list', all());
  const text = Buffer.from(files.content('list')).toString();
  expect(text).toBe(
    `${newHead}\n${hash},0,9,finished,drive\n,10,10,bad-sector,\n${hash},12,13,finished,image\n,20,24,non-tried,\n`,
  );
  expect(await read(text)).toEqual(lines);
  const older = `${head}\n${hash},0,9,finished\n,10,10,bad-sector\n`;
  expect(await read(older)).toEqual(lines.slice(0, 2));
});

test.each([
  ['nothing', '', 1],
  ['another head', `hash,first,last\n`, 1],
  ['a short hash', `${head}\n${hash.slice(1)},0,9,finished\n`, 2],
  ['a hash in capitals', `${head}\n${hash.toUpperCase()},0,9,finished\n`, 2],
  ['no hash where it is finished', `${head}\n,0,9,finished\n`, 2],
  ['a hash where nothing was read', `${head}\n${hash},0,9,bad-sector\n`, 2],
  ['a status that there is not', `${head}\n,0,9,unread\n`, 2],
  ['an end before its start', `${head}\n,9,0,non-tried\n`, 2],
  ['numbers past counting', `${head}\n,0,9999999999999999,non-tried\n`, 2],
  ['lines that overlap', `${head}\n,0,9,non-tried\n,9,12,bad-sector\n`, 3],
  ['lines out of order', `${head}\n,20,29,non-tried\n,0,9,bad-sector\n`, 3],
  ['what lies behind the drive', `${head}\n,0,99,non-tried\n,100,100,non-tried\n`, 3],
  ['a cut within a line', `${head}\n,0,9,non-tried\n,10,1`, 3],
  ['a line without end', `${head}\n${'x'.repeat(3_000_000)}`, 2],
  ['bytes that are no text', `${head}\n\u0000\u0001\n`, 2],
])('%s is refused by line', async (_, text, line) => {
  await expect(read(text, 100)).rejects.toMatchObject({
    code: 'HASHES_INVALID',
    message: expect.stringContaining(`list:${line}:`),
  });
});

const sectorBytes = 512;
const segmentCount = 8;
const sectorCount = 5 * segmentCount;
const listPath = 'case.hashes.csv';

const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

function mapOf(extents: readonly Extent[]) {
  const map = createRunMap(sectorCount);
  for (const extent of extents) map.set(extent, statuses.finished);
  return map;
}

/** An image in memory, as a job would leave it. */
function imageOf(seed: number) {
  const random = randomOf(seed);
  return Uint8Array.from({ length: sectorCount * sectorBytes }, () => random() * 256);
}

const readFrom = (image: Uint8Array) => async (extent: Extent) =>
  image.slice(extent.lba * sectorBytes, (extent.lba + extent.count) * sectorBytes);

async function linesOf(files: CrashingFiles | ReturnType<typeof memoryFiles>) {
  const lines: HashLine[] = [];
  for await (const line of readHashList(files, listPath)) lines.push(line);
  return lines;
}

test('a run that grew is hashed anew only when what was known of it still holds', async () => {
  const files = memoryFiles();
  const image = imageOf(1);
  const before = mapOf([
    { lba: 0, count: 3 },
    { lba: 4, count: 36 },
  ]);
  const first = createSegmentHashes(sectorCount, sectorBytes, segmentCount);
  const keeper = await keepHashes(files, listPath, first, before, []);
  const told: Extent[] = [];
  const tell = (extent: Extent) => void told.push(extent);
  await keeper.save(before, { back: { read: readFrom(image), tell } });
  const listed = await linesOf(files);
  const whole = mapOf([{ lba: 0, count: sectorCount }]);
  // Somebody writes into the image between two runs.
  image[5 * sectorBytes]! ^= 1;
  const again = createSegmentHashes(sectorCount, sectorBytes, segmentCount);
  const later = await keepHashes(files, listPath, again, whole, []);
  await later.save(whole, { back: { read: readFrom(image), tell } });
  expect(told).toEqual([{ lba: 4, count: 4 }]);
  const [one, two, ...rest] = await linesOf(files);
  // What grew is hashed with what came; what was changed keeps the hash of what it was.
  expect(one).toMatchObject({ lba: 0, count: 4, isOfImage: true });
  expect(two).toEqual(listed[2]);
  expect(rest).toEqual(listed.slice(3));
  image[5 * sectorBytes]! ^= 1;
  await later.save(whole, { back: { read: readFrom(image), tell } });
  expect((await linesOf(files))[0]).toEqual({
    ...{ lba: 0, count: 8, status: 'finished', isOfImage: true },
    sha256: sha256(image.subarray(0, 8 * sectorBytes)),
  });
});

test('what the map no longer calls finished leaves the list at once, the rest stays', async () => {
  const files = memoryFiles();
  const image = imageOf(2);
  const whole = mapOf([{ lba: 0, count: sectorCount }]);
  const keeper = await keepHashes(
    ...[files, listPath, createSegmentHashes(sectorCount, sectorBytes, segmentCount), whole, []],
  );
  await keeper.save(whole, { back: { read: readFrom(image), tell: () => expect.fail() } });
  const part = mapOf([
    { lba: 0, count: 20 },
    { lba: 24, count: 16 },
  ]);
  const hashes = createSegmentHashes(sectorCount, sectorBytes, segmentCount);
  const next = await keepHashes(files, listPath, hashes, part, []);
  expect((await linesOf(files)).map(({ lba }) => lba)).toEqual([0, 8, 24, 32]);
  expect([0, 15, 16, 23, 24].map((lba) => next.vouchesFor({ lba, count: 1 }))).toEqual([
    ...[true, true, false, false, true],
  ]);
  await next.withdraw({ lba: 12, count: 1 });
  expect((await linesOf(files)).map(({ lba }) => lba)).toEqual([0, 24, 32]);
});

test('a list that cannot be used is kept under another name, and nothing of it is believed', async () => {
  const files = memoryFiles();
  files.put(listPath, `${head}\n${hash},0,7,finished\nnonsense\n`);
  const notices: string[] = [];
  const map = mapOf([{ lba: 0, count: sectorCount }]);
  const hashes = createSegmentHashes(sectorCount, sectorBytes, segmentCount);
  const keeper = await keepHashes(files, listPath, hashes, map, notices);
  expect(notices).toEqual([expect.stringContaining(`${listPath}:3:`)]);
  expect(files.paths()).toEqual([`${listPath}.damaged`]);
  expect(hashes.samples(map, 8)).toEqual([]);
  expect(keeper.vouchesFor({ lba: 0, count: 1 })).toBe(false);
});

/** A job in miniature: segments are read, saved, and now and then a finished one is written again. */
async function live(files: CrashingFiles, random: () => number): Promise<void> {
  const image = await files.open('case.img', { create: true });
  await image.truncate(sectorCount * sectorBytes);
  await image.sync();
  await files.syncDirectory('case.img');
  const map = createRunMap(sectorCount);
  const hashes = createSegmentHashes(sectorCount, sectorBytes, segmentCount);
  const keeper = await keepHashes(files, listPath, hashes, map, []);
  for (let step = 0; step < 12; step++) {
    const index = Math.floor(random() * 5);
    const isPart = random() < 0.3;
    const lba = index * segmentCount + (isPart ? 3 : 0);
    const count = isPart ? 2 : segmentCount;
    const data = Uint8Array.from({ length: count * sectorBytes }, () => random() * 256);
    await keeper.withdraw({ lba, count });
    hashes.take(lba, data);
    await image.write(data, lba * sectorBytes);
    map.set({ lba, count }, statuses.finished);
    if (random() < 0.5) continue;
    const finished = map.clone();
    await image.sync();
    const back = {
      read: async (extent: Extent) => {
        const into = new Uint8Array(extent.count * sectorBytes);
        await image.read(into, extent.lba * sectorBytes);
        return into;
      },
      tell: () => expect.fail('nobody else writes here'),
    };
    await keeper.save(finished, random() < 0.5 ? { back } : {});
  }
}

test('whenever the power fails, the list has only hashes of what the image holds', async () => {
  let listed = 0;
  for (let seed = 0; seed < 8; seed++) {
    const undisturbed = crashingFiles(randomOf(seed));
    await live(undisturbed, randomOf(seed));
    for (let crashAt = 1; crashAt <= undisturbed.operations; crashAt += 3) {
      const files = crashingFiles(randomOf(seed * 1000 + crashAt));
      files.crashAt(crashAt);
      await live(files, randomOf(seed)).catch((error: unknown) => {
        if (!files.crashed) throw error;
      });
      const left = files.reboot();
      if (!(await left.exists(listPath))) continue;
      const image = left.content('case.img') ?? new Uint8Array(0);
      for (const { lba, count, sha256: claimed } of await linesOf(left)) {
        if (claimed === undefined) continue;
        listed += 1;
        const held = image.subarray(lba * sectorBytes, (lba + count) * sectorBytes);
        expect(sha256(held), `seed ${seed}, crash at ${crashAt}, LBA ${lba}`).toBe(claimed);
      }
    }
  }
  expect(listed).toBeGreaterThan(100);
});
