import { expect, test } from 'vitest';
import type { ImageFile } from '../../src/image/image-file.js';
import { createImageWriter } from '../../src/image/write-behind.js';

const sectorBytes = 512;
const sectors = (count: number, value: number) => new Uint8Array(count * sectorBytes).fill(value);

/** An image whose writes finish when told, and that keeps a list of what was asked of it. */
function recordingImage() {
  const log: string[] = [];
  const release: (() => void)[] = [];
  let fails: Error | undefined;
  const image = {
    write: (lba: number, data: Uint8Array) => {
      log.push(`write ${lba}+${data.length / sectorBytes}=${data[0]}`);
      if (fails) return Promise.reject(fails);
      return new Promise<void>((resolve) => release.push(resolve));
    },
    sync: async () => void log.push('sync'),
  } as unknown as ImageFile;
  return {
    image,
    log,
    releaseAll: () => {
      for (const resolve of release.splice(0)) resolve();
    },
    failWith: (error: Error) => {
      fails = error;
    },
  };
}

test('neighbouring writes reach the file as one, and sync waits for it', async () => {
  const { image, log, releaseAll } = recordingImage();
  const writer = createImageWriter(image, sectorBytes);
  for (let lba = 0; lba < 1024; lba += 128) await writer.write(lba, sectors(128, 1));
  expect(log).toEqual([]);
  const synced = writer.sync();
  await Promise.resolve();
  expect(log).toEqual(['write 0+1024=1']);
  releaseAll();
  await synced;
  expect(log).toEqual(['write 0+1024=1', 'sync']);
});

test('a jump starts a new write', async () => {
  const { image, log, releaseAll } = recordingImage();
  const writer = createImageWriter(image, sectorBytes);
  await writer.write(0, sectors(8, 1));
  await writer.write(100, sectors(8, 2));
  const synced = writer.sync();
  await Promise.resolve();
  releaseAll();
  await synced;
  expect(log).toEqual(['write 0+8=1', 'write 100+8=2', 'sync']);
});

test('the same sectors written twice reach the file in order', async () => {
  const { image, log, releaseAll } = recordingImage();
  const writer = createImageWriter(image, sectorBytes);
  await writer.write(0, sectors(8, 1));
  await writer.write(50, sectors(8, 3));
  await writer.write(4, sectors(8, 2));
  const synced = writer.sync();
  await Promise.resolve();
  expect(log).not.toContain('write 4+8=2');
  releaseAll();
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  releaseAll();
  await synced;
  expect(log.indexOf('write 4+8=2')).toBeGreaterThan(log.indexOf('write 0+8=1'));
});

test('a write that fails later is thrown by the next sync, and nothing is synced', async () => {
  const { image, log, failWith } = recordingImage();
  const writer = createImageWriter(image, sectorBytes);
  failWith(new Error('no room'));
  await writer.write(0, sectors(8, 1));
  await expect(writer.sync()).rejects.toThrow('no room');
  await expect(writer.write(8, sectors(8, 1))).rejects.toThrow('no room');
  expect(log).not.toContain('sync');
});
