import {
  existsSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { checkSpace, type ImageOptions, openImage } from '../../src/image/image-file.js';
import { nodeFiles } from '../../src/image/node-files.js';
import { openStored, splitSize } from '../../src/image/split-file.js';
import { crashingFiles, randomOf } from './crashing-files.js';
import { memoryFiles } from './memory-files.js';

const sizes = { sectorBytes: 512, sectorCount: 100 };
const partBytes = 512 * 30;
const form = { kind: 'split', partBytes } as const;
const fresh: ImageOptions = { ...sizes, form, mode: 'resume', claimedCount: 0 };

describe('an image in parts', () => {
  test('holds what one file would hold, whatever is written where', async () => {
    const files = memoryFiles();
    const split = await openImage(files, 'case.img', fresh);
    const whole = await openImage(files, 'one.img', { ...sizes, mode: 'new' });
    const random = randomOf(1);
    for (let round = 0; round < 200; round++) {
      const lba = Math.floor(random() * 100);
      const count = 1 + Math.floor(random() * Math.min(70, 99 - lba));
      const data = new Uint8Array(Math.min(count, 100 - lba) * 512).fill(1 + (round % 255));
      await split.write(lba, data);
      await whole.write(lba, data);
      const extent = { lba, count: Math.min(100 - lba, 40) };
      expect(Buffer.compare(await split.read(extent), await whole.read(extent))).toBe(0);
    }
    const parts = ['001', '002', '003', '004'].map((each) => files.content(`case.img.${each}`));
    expect(parts.map((part) => part.length)).toEqual([15_360, 15_360, 15_360, 5120]);
    expect(Buffer.concat(parts)).toEqual(Buffer.from(files.content('one.img')));
    const stored = await openStored(files, 'case.img.001', { readOnly: true });
    const back = new Uint8Array(51_200);
    expect(await stored.read(back, 0)).toBe(51_200);
    expect(Buffer.from(back)).toEqual(Buffer.concat(parts));
  });

  test('is as durable after a sync as one file', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const files = crashingFiles(randomOf(seed));
      const image = await openImage(files, 'case.img', fresh);
      await image.write(25, new Uint8Array(512 * 70).fill(7));
      await image.sync();
      await image.write(28, new Uint8Array(512 * 5).fill(9));
      const after = files.reboot();
      const again = await openImage(after, 'case.img', { ...fresh, claimedCount: 95 });
      const data = await again.read({ lba: 34, count: 61 });
      expect(data.every((byte) => byte === 7)).toBe(true);
    }
  });

  test('says how much room it needs beside what its parts have', async () => {
    const files = memoryFiles({ capacityBytes: 40_960 });
    const image = await openImage(files, 'case.img', fresh);
    await image.write(0, new Uint8Array(512 * 40));
    await expect(checkSpace(files, 'case.img', image.sizeBytes)).rejects.toMatchObject({
      code: 'IMAGE_SPACE',
    });
    files.setCapacity(1 << 20);
    await checkSpace(files, 'case.img', image.sizeBytes);
  });

  test.each([
    [0, /less than one of the drive's sectors/],
    [511, /less than one/],
    [4096, /makes 25000 parts and 999 are the most; 102912B is the least/],
  ])('in parts of %i bytes is refused', (bytes, why) => {
    expect(() => splitSize(bytes, 512, 102_400_000)).toThrow(why);
  });

  test('has parts of whole sectors, no larger than was asked for', () => {
    expect(splitSize(1_000_000, 512, 1e8)).toBe(999_936);
    expect(splitSize(1_000_000, 4096, 1e8)).toBe(999_424);
  });
});

describe('parts on a disk', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-split-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'case.img');
  const part = (number: number) => `${path}.00${number}`;
  const claimed = { ...fresh, claimedCount: 100 };
  let partIds: readonly string[];
  const resume = async () => {
    const known = { ...form, partIds };
    const image = await openImage(nodeFiles(), path, { ...claimed, form: known });
    await image.close();
  };

  beforeEach(async () => {
    for (const number of [1, 2, 3, 4, 5]) rmSync(part(number), { force: true });
    const image = await openImage(nodeFiles(), path, fresh);
    for (let lba = 0; lba < 100; lba += 10) await image.write(lba, new Uint8Array(5120).fill(lba));
    await image.sync();
    if (image.form.kind === 'split') partIds = image.form.partIds ?? [];
    await image.close();
  });

  test('are found again', async () => {
    await resume();
    expect(partIds).toHaveLength(4);
  });

  test.each<[string, () => void, RegExp]>([
    ['is missing', () => rmSync(part(2)), /case\.img\.002 is missing/],
    ['was cut', () => truncateSync(part(3), 5000), /case\.img\.003 has 5000 bytes.*cut/],
    ['grew', () => truncateSync(part(1), 20_000), /case\.img\.001 has 20000 bytes/],
    ['is one too many', () => writeFileSync(part(5), ''), /case\.img\.005 is no part/],
    [
      'has the name of another',
      () => {
        renameSync(part(1), part(9));
        renameSync(part(2), part(1));
        renameSync(part(9), part(2));
      },
      /case\.img\.001 is the file that was .*case\.img\.002/,
    ],
  ])('are refused when one %s', async (_what, spoil, why) => {
    spoil();
    await expect(resume()).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringMatching(why),
    });
  });

  test.each<[string, () => void]>([
    ['cut', () => truncateSync(part(4), 100)],
    ['moved', () => renameSync(part(4), `${part(4)}.away`)],
    [
      'replaced',
      () => {
        renameSync(part(4), `${part(4)}.away`);
        writeFileSync(part(4), new Uint8Array(5120));
      },
    ],
  ])('end the job when one is %s while it is in use', async (_what, spoil) => {
    const image = await openImage(nodeFiles(), path, { ...claimed });
    spoil();
    await image.write(0, new Uint8Array(512));
    await expect(image.sync()).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringContaining('case.img.004'),
    });
    await image.close();
    rmSync(`${part(4)}.away`, { force: true });
  });

  test('copied elsewhere are taken as they are', async () => {
    partIds = partIds.map((id) => `0${id}`);
    await resume();
  });

  test('take no room where nothing was read', async () => {
    const large = { sectorBytes: 512, sectorCount: 200_000 };
    const sparse = join(folder, 'sparse.img');
    const image = await openImage(nodeFiles(), sparse, {
      ...large,
      mode: 'new',
      form: { kind: 'split', partBytes: 512 * 60_000 },
    });
    await image.write(130_000, new Uint8Array(4096).fill(1));
    await image.sync();
    await image.close();
    const blocks = [1, 2, 3, 4].map((number) => statSync(`${sparse}.00${number}`).blocks);
    expect(blocks[0]).toBe(0);
    expect(blocks.reduce((sum, each) => sum + each, 0) * 512).toBeLessThan(1 << 17);
    expect(existsSync(sparse)).toBe(false);
  });

  test('that are not of one size, or not all there, are not read as an image', async () => {
    truncateSync(part(2), 1000);
    const open = () => openStored(nodeFiles(), path, { readOnly: true });
    await expect(open()).rejects.toThrow(/case\.img\.002 has 1000 bytes, the first part 15360/);
    rmSync(part(2));
    await expect(open()).rejects.toThrow(
      /case\.img\.002 is missing, and .*case\.img\.003 is there/,
    );
  });
});
