import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { closeImage, openImage, writeImage } from '../../src/drive/file-image.js';
import type { ImageDescriptors } from '../../src/drive/file-slots.js';

const mib = 1024 * 1024;
/** Aligned memory, as the slots of the reading process are. */
const aligned = (fill: number, bytes: number) =>
  new Uint8Array(
    new WebAssemblyMemory({ initial: 32, maximum: 32, shared: true }).buffer,
    0,
    bytes,
  ).fill(fill);
const { Memory: WebAssemblyMemory } = (
  globalThis as unknown as {
    WebAssembly: {
      Memory: new (size: {
        initial: number;
        maximum: number;
        shared: true;
      }) => {
        buffer: SharedArrayBuffer;
      };
    };
  }
).WebAssembly;

function newImage(sizeBytes: number) {
  const path = join(mkdtempSync(join(tmpdir(), 'lastspin-image-')), 'case.img');
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  const { dev, ino } = statSync(path, { bigint: true });
  const order = { path, device: `${dev}`, inode: `${ino}`, segmentBytes: 0, sizeBytes };
  return { path, order };
}

function written(image: ImageDescriptors, path: string, writes: readonly [number, Uint8Array][]) {
  for (const [place, data] of writes) expect(writeImage(image, data, place)).toBe(true);
  closeImage(image);
  return readFileSync(path);
}

describe('the image, as the reading process writes it,', () => {
  test('is the same past the cache and through it, at any place and of any length', () => {
    const sizeBytes = 4 * mib + 512;
    const writes: [number, Uint8Array][] = [
      [0, aligned(1, mib)],
      [mib, aligned(2, 512)],
      [mib + 512, aligned(3, mib - 512)],
      [2 * mib, aligned(4, mib)],
      [3 * mib, aligned(5, mib + 512)],
    ];
    const expected = Buffer.alloc(sizeBytes);
    for (const [place, data] of writes) expected.set(data, place);
    for (const way of ['direct', 'buffered']) {
      const { path, order } = newImage(sizeBytes);
      const image = openImage(order, () => false)!;
      const taken = way === 'direct' ? image : { ...image, direct: undefined };
      expect(written(taken, path, writes).equals(expected), way).toBe(true);
    }
  });

  test('is written through the cache where the disk does not take it otherwise', () => {
    const { path, order } = newImage(2 * mib);
    const image = openImage(order, () => false)!;
    // A descriptor that takes no write stands for a file system that asks for another alignment.
    if (image.direct !== undefined) closeSync(image.direct);
    const refusing = { ...image, direct: openSync(path, 'r') };
    const bytes = written(refusing, path, [[mib, aligned(7, mib)]]);
    expect(bytes.subarray(mib).every((byte) => byte === 7)).toBe(true);
  });

  test('is nothing but the file that was ordered, and never the source', () => {
    const { path, order } = newImage(mib);
    expect(
      openImage({ ...order, inode: `${BigInt(order.inode) + 1n}` }, () => false),
    ).toBeUndefined();
    expect(openImage(order, () => true)).toBeUndefined();
    expect(() => openImage({ ...order, path: `${path}.gone` }, () => false)).toThrow(/ENOENT/);
  });

  test('tells of a write that was not taken', () => {
    const { path } = newImage(mib);
    const readOnly = openSync(path, 'r');
    expect(writeImage({ buffered: readOnly, direct: undefined }, aligned(1, mib), 0)).toBe(false);
    expect(fstatSync(readOnly).blocks).toBe(0);
    closeSync(readOnly);
  });
});
