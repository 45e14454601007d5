import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadCheckpoint, saveCheckpoint } from '../../src/image/checkpoint.js';
import { openImage } from '../../src/image/image-file.js';
import { createJournal, loadJournal } from '../../src/image/journal.js';
import { nodeFiles } from '../../src/image/node-files.js';
import { createRunMap } from '../../src/map/run-map.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lastspin-image-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('files of the operating system', () => {
  it('hold image, map and journal', async () => {
    const files = nodeFiles();
    const path = join(folder, 'case.img');
    const drive = { sectorBytes: 512, sectorCount: 10_000 };
    const image = await openImage(files, path, { ...drive, mode: 'new' });
    await image.write(5000, new Uint8Array(512).fill(9));
    await image.sync();
    expect((await image.read({ lba: 5000, count: 2 })).subarray(0, 513).at(-2)).toBe(9);
    await image.close();
    expect(readFileSync(path).length).toBe(5_120_000);

    const mapPath = join(folder, 'case.map');
    await saveCheckpoint(files, mapPath, {
      number: 1,
      map: createRunMap(drive.sectorCount),
      sectorBytes: 512,
      version: '1.2.3',
      currentPosition: 0,
      currentStatus: '?',
      currentPass: 1,
      state: {},
    });
    expect(await loadCheckpoint(files, mapPath)).toMatchObject({ number: 1, foreign: false });

    const journal = await createJournal(files, join(folder, 'case.journal'), 1);
    await journal.append([1, 2]);
    await journal.sync();
    await journal.restart(2);
    await journal.append([3]);
    await journal.close();
    expect((await loadJournal(files, join(folder, 'case.journal')))?.records).toEqual([3]);
  });

  it('tell an allocated byte from a hole, and how much is free', async () => {
    const files = nodeFiles();
    const path = join(folder, 'sparse');
    const file = await files.open(path, { create: true });
    await file.truncate(2 ** 30);
    await file.write(new Uint8Array(4096).fill(1), 2 ** 29);
    await file.sync();
    expect(await file.size()).toBe(2 ** 30);
    expect(await file.allocatedBytes()).toBeLessThan(2 ** 20);
    expect(await files.freeBytes(path)).toBeGreaterThan(0);
    await file.close();
  });

  it('read short at the end of a file, and keep what a second opening finds', async () => {
    const files = nodeFiles();
    const path = join(folder, 'short');
    writeFileSync(path, 'abc');
    const file = await files.open(path, { create: true });
    expect(await file.read(new Uint8Array(10), 1)).toBe(2);
    expect(await file.read(new Uint8Array(10), 3)).toBe(0);
    await file.close();
  });

  it('say in one line what failed, where and what to do', async () => {
    const files = nodeFiles();
    const path = join(folder, 'missing', 'case.img');
    await expect(files.open(path, { create: true })).rejects.toMatchObject({
      code: 'FILE_FAILED',
      message: expect.stringMatching(/^cannot open .*case\.img: no such file .*check the path$/),
    });
    writeFileSync(join(folder, 'there'), '');
    await expect(files.open(join(folder, 'there'), { exclusive: true })).rejects.toMatchObject({
      code: 'FILE_FAILED',
      message: expect.stringContaining('exists already'),
    });
    await expect(files.readAll(folder)).rejects.toMatchObject({ code: 'FILE_FAILED' });
    await files.remove(path);
    expect(await files.exists(path)).toBe(false);
  });

  it.skipIf(process.platform !== 'linux')('say that there is no room', async () => {
    const file = await nodeFiles().open('/dev/full');
    await expect(file.write(new Uint8Array(10), 0)).rejects.toMatchObject({
      code: 'IMAGE_SPACE',
      message: expect.stringContaining('no space is left'),
    });
    await file.close();
  });
});

describe('an image that somebody touches while it is in use', () => {
  const sizes = { sectorBytes: 512, sectorCount: 8, mode: 'new' } as const;
  const touched = async (touch: (path: string) => void) => {
    const path = join(folder, 'case.img');
    const image = await openImage(nodeFiles(), path, sizes);
    await image.write(0, new Uint8Array(512).fill(1));
    await image.sync();
    touch(path);
    await image.write(1, new Uint8Array(512).fill(1));
    return image.sync().finally(() => image.close());
  };

  it.each([
    ['cut', (path: string) => truncateSync(path, 0)],
    ['moved or replaced', (path: string) => renameSync(path, `${path}.old`)],
    [
      'moved or replaced',
      (path: string) => {
        renameSync(path, `${path}.old`);
        writeFileSync(path, new Uint8Array(8 * 512));
      },
    ],
  ])('is found %s at the next sync, before a map claims more', async (what, touch) => {
    await expect(touched(touch)).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringContaining(what),
    });
  });

  it('is told from one whose disk was unmounted, which is no bad input', async () => {
    const mount = join(folder, 'mount');
    mkdirSync(join(mount, 'cases'), { recursive: true });
    const path = join(mount, 'cases', 'case.img');
    const image = await openImage(nodeFiles(), path, sizes);
    renameSync(mount, `${mount}.old`);
    // Another file system where the disk was.
    symlinkSync('/proc', mount);
    await image.write(1, new Uint8Array(512).fill(1));
    await expect(image.sync().finally(() => image.close())).rejects.toMatchObject({
      code: 'FILE_FAILED',
      message: expect.stringContaining('was unmounted while it was in use'),
    });
  });
});

it('a directory where a map is to be saved is said in plain words', async () => {
  const path = join(folder, 'case.map');
  mkdirSync(`${path}.tmp`);
  await expect(nodeFiles().remove(`${path}.tmp`)).rejects.toMatchObject({
    code: 'FILE_FAILED',
    message: `cannot remove ${path}.tmp: a directory of that name is in the way; move it away`,
  });
});
