import { describe, expect, it, test } from 'vitest';
import { LastspinError } from '../../src/errors.js';
import { checkSpace, imageSpace, openImage } from '../../src/image/image-file.js';
import { type MemoryFiles, memoryFiles } from './memory-files.js';

const drive = { sectorBytes: 512, sectorCount: 100 };
const path = 'case.img';

describe('an image', () => {
  it('has its full size at once, and holds what was written where it belongs', async () => {
    const files = memoryFiles();
    const image = await openImage(files, path, { ...drive, mode: 'new' });
    expect(files.content(path).length).toBe(51_200);
    await image.write(98, new Uint8Array(1024).fill(7));
    expect(files.content(path)[98 * 512]).toBe(7);
    expect(await image.read({ lba: 97, count: 2 })).toEqual(new Uint8Array(1024).fill(7, 512));
  });

  it('takes a terabyte without room for it', async () => {
    const files = memoryFiles();
    const huge = { sectorBytes: 512, sectorCount: 2 ** 31 };
    const image = await openImage(files, path, { ...huge, mode: 'new' });
    await image.write(2 ** 31 - 1, new Uint8Array(512).fill(1));
    expect(await image.read({ lba: 2 ** 31 - 1, count: 1 })).toEqual(new Uint8Array(512).fill(1));
  });

  it.each([
    [(image: Image) => image.write(99, new Uint8Array(1024))],
    [(image: Image) => image.write(0, new Uint8Array(100))],
    [(image: Image) => image.read({ lba: -1, count: 1 })],
    [(image: Image) => image.write(0.5, new Uint8Array(512))],
  ])('refuses what is not inside it or not whole sectors', async (act) => {
    const image = await openImage(memoryFiles(), path, { ...drive, mode: 'new' });
    await expect(act(image)).rejects.toThrow(RangeError);
  });

  it('never replaces an existing file', async () => {
    const files = memoryFiles();
    files.put(path, 'precious');
    const act = openImage(files, path, { ...drive, mode: 'new' });
    await expect(act).rejects.toMatchObject({ code: 'IMAGE_EXISTS' });
    expect(Buffer.from(files.content(path)).toString()).toBe('precious');
  });

  it('resumes with the old bytes', async () => {
    const files = memoryFiles();
    const first = await openImage(files, path, { ...drive, mode: 'new' });
    await first.write(3, new Uint8Array(512).fill(3));
    await first.close();
    const second = await openImage(files, path, { ...drive, mode: 'resume' });
    expect(await second.read({ lba: 3, count: 1 })).toEqual(new Uint8Array(512).fill(3));
  });

  it('refuses to resume a file that lost what the map claims or is too large', async () => {
    const files = memoryFiles();
    const resume = (claimedCount: number) =>
      openImage(files, path, { ...drive, mode: 'resume', claimedCount });
    await expect(resume(1)).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' });
    files.put(path, new Uint8Array(512 * 10));
    await expect(resume(11)).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' });
    await expect(resume(10)).resolves.toMatchObject({ sizeBytes: 51_200 });
    expect(files.content(path).length).toBe(51_200);
    files.put(path, new Uint8Array(51_201));
    await expect(resume(0)).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' });
  });

  it('is made when resuming before it was', async () => {
    const files = memoryFiles();
    await openImage(files, path, { ...drive, mode: 'resume', claimedCount: 0 });
    expect(files.content(path).length).toBe(51_200);
  });

  it('says how many bytes are missing when the disk is full', async () => {
    const files = memoryFiles({ capacityBytes: 8192 });
    const image = await openImage(files, path, { ...drive, mode: 'new' });
    const act = image.write(0, new Uint8Array(512 * 50));
    await expect(act).rejects.toMatchObject({
      code: 'IMAGE_SPACE',
      message: expect.stringContaining('43008 are missing'),
    });
  });

  it('calls a failing target a failing target', async () => {
    const files = memoryFiles();
    const image = await openImage(files, path, { ...drive, mode: 'new' });
    files.failNext('write', new LastspinError('FILE_FAILED', 'cannot write case.img: EIO'));
    await expect(image.write(0, new Uint8Array(512))).rejects.toMatchObject({
      code: 'IMAGE_WRITE_FAILED',
    });
    files.failNext('sync', new LastspinError('FILE_FAILED', 'cannot sync case.img: EIO'));
    await expect(image.sync()).rejects.toMatchObject({ code: 'IMAGE_WRITE_FAILED' });
  });
});

type Image = Awaited<ReturnType<typeof openImage>>;

describe('the room for an image', () => {
  it('counts what is free and what the image already has', async () => {
    const files = memoryFiles({ capacityBytes: 20_480 });
    const image = await openImage(files, path, { ...drive, mode: 'new' });
    await image.write(0, new Uint8Array(8192));
    expect(await imageSpace(files, path, image.sizeBytes)).toEqual({
      neededBytes: 43_008,
      freeBytes: 12_288,
      missingBytes: 30_720,
    });
    await expect(checkSpace(files, path, image.sizeBytes)).rejects.toMatchObject({
      code: 'IMAGE_SPACE',
      message: expect.stringContaining('30720 are missing'),
    });
    await checkSpace(files, path, image.sizeBytes, true);
    await checkSpace(files, 'other.img', 12_288);
  });
});

describe('a sparse image', () => {
  const sectorBytes = 512;
  const sectorCount = 1024;
  const piece = 128;
  const open = (files: MemoryFiles) =>
    openImage(files, 'case.img', {
      sectorBytes,
      sectorCount,
      mode: 'resume',
      claimedCount: 0,
      isSparse: true,
    });
  const filled = (count: number, value: number) => new Uint8Array(count * sectorBytes).fill(value);

  test('does not take room for zeros', async () => {
    const files = memoryFiles();
    const image = await open(files);
    await image.write(0, filled(4 * piece, 0));
    const mixed = filled(3 * piece, 0);
    mixed.fill(7, piece * sectorBytes, (piece + 1) * sectorBytes);
    await image.write(4 * piece, mixed);
    const whole = files.content('case.img');
    expect(whole.subarray(5 * piece * sectorBytes, (5 * piece + 1) * sectorBytes)).toEqual(
      filled(1, 7),
    );
    expect(whole.reduce((sum, byte) => sum + byte, 0)).toBe(7 * sectorBytes);
    const file = await files.open('case.img');
    expect(await file.allocatedBytes()).toBe(piece * sectorBytes);
  });

  test('replaces what it held by zeros, in this run and the next', async () => {
    const files = memoryFiles();
    const image = await open(files);
    await image.write(10, filled(200, 5));
    await image.write(10, filled(100, 0));
    expect(await image.read({ lba: 0, count: 111 })).toEqual(
      Uint8Array.from([...filled(110, 0), ...filled(1, 5)]),
    );
    await image.close();
    const next = await open(files);
    await next.write(0, filled(sectorCount, 0));
    expect(files.content('case.img').every((byte) => byte === 0)).toBe(true);
  });
});

describe('an image whose sync failed once', () => {
  test('is never synced again, whatever the system says then', async () => {
    const files = memoryFiles();
    const image = await openImage(files, 'case.img', {
      sectorBytes: 512,
      sectorCount: 8,
      mode: 'new',
    });
    files.failNext('sync', new LastspinError('FILE_FAILED', 'input/output error'));
    const [first, second] = await Promise.allSettled([image.sync(), image.sync()]);
    expect(first.status).toBe('rejected');
    // Two at once: the system tells one of them alone.
    expect(second.status).toBe('rejected');
    await expect(image.sync()).rejects.toThrow('input/output error');
  });
});

describe('an image whose room is kept', () => {
  const options = { sectorBytes: 512, sectorCount: 8, mode: 'new', isReserved: true } as const;

  test('is not asked for where the room is not there: it would take what there is', async () => {
    const files = memoryFiles({ capacityBytes: 2 ** 20 });
    const image = await openImage(files, 'case.img', options);
    expect(image.unreserved).toMatch(/^it needs 4096 bytes and \d+ to spare, \d+ are free$/);
  });

  test('says why where nothing can keep it', async () => {
    const image = await openImage(memoryFiles(), 'case.img', options);
    expect(image.unreserved).toBe('nothing is known here that could');
  });
});
