/** The image as the reading process of a `file:` drive writes it. */

import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import type { StoreOrder } from './file-records.js';
import type { ImageDescriptors } from './file-slots.js';
import { isOwnFile } from './file-source.js';

/** What a page of memory, and a sector of any disk that O_DIRECT is asked of here, is a part of or equal to. */
const pageBytes = 4096;
/** Large writes go past the page cache: the disk takes them from where they lie, and what this program reads
 * does not push everything else out of memory. Small ones are better gathered by the cache. */
const directBytesMin = 256 * 1024;

/** Opens the image that the parent holds open, and nothing else; undefined where another file has its name, or
 * where `isSource` says that it is the source. Throws the system's error. */
export function openImage(
  order: StoreOrder,
  isSource: (found: BigIntStats) => boolean,
): ImageDescriptors | undefined {
  const { isSparse = false } = order;
  const open = (flags: number) => {
    // What it holds is looked at only where zeros may be left out.
    const access = isSparse ? constants.O_RDWR : constants.O_WRONLY;
    const descriptor = openSync(order.path, access | flags);
    const found = fstatSync(descriptor, { bigint: true });
    const isOrdered = `${found.dev}` === order.device && `${found.ino}` === order.inode;
    if (isOrdered && !isSource(found)) return descriptor;
    closeSync(descriptor);
    return undefined;
  };
  const buffered = open(0);
  if (buffered === undefined) return undefined;
  return { buffered, direct: openDirect(order.path, open), isSparse };
}

/** A second way into the image; undefined where there is none, and outside Linux. */
function openDirect(path: string, open: (flags: number) => number | undefined): number | undefined {
  try {
    return constants.O_DIRECT && isOwnFile(path) ? open(constants.O_DIRECT) : undefined;
  } catch {
    return undefined;
  }
}

export function closeImage({ buffered, direct }: ImageDescriptors): void {
  closeSync(buffered);
  if (direct !== undefined) closeSync(direct);
}

/** Writes `data` to the image at an offset in bytes. False where the system would not take all of it. */
export function writeImage(image: ImageDescriptors, data: Uint8Array, placeBytes: number): boolean {
  try {
    if (!image.isSparse) writeAll(image, data, placeBytes);
    else
      for (const { from, to } of filledParts(image, data, placeBytes))
        writeAll(image, data.subarray(from, to), placeBytes + from);
    return true;
  } catch {
    return false;
  }
}

function writeAll(image: ImageDescriptors, data: Uint8Array, placeBytes: number): void {
  for (let done = 0; done < data.length; ) {
    done += writeOnce(image, data.subarray(done), placeBytes + done);
  }
}

/** What of a sparse image is left out when it is all zeros, aligned to itself (as `src/image/image-file.ts`). */
const sparsePieceBytes = 64 * 1024;
const held = Buffer.alloc(sparsePieceBytes);
const zeros = Buffer.alloc(sparsePieceBytes);

/** The parts of `data` that are not zeros, or replace something else than zeros. */
function filledParts(
  { buffered }: ImageDescriptors,
  data: Uint8Array,
  placeBytes: number,
): { readonly from: number; readonly to: number }[] {
  const parts: { from: number; to: number }[] = [];
  for (let at = 0; at < data.length; ) {
    const lengthMax = sparsePieceBytes - ((placeBytes + at) % sparsePieceBytes);
    const to = Math.min(data.length, at + lengthMax);
    const none = zeros.subarray(0, to - at);
    const isLeftOut =
      none.equals(data.subarray(at, to)) &&
      readSync(buffered, held, 0, to - at, placeBytes + at) === to - at &&
      none.equals(held.subarray(0, to - at));
    const last = parts.at(-1);
    if (!isLeftOut && last?.to === at) last.to = to;
    else if (!isLeftOut) parts.push({ from: at, to });
    at = to;
  }
  return parts;
}

function writeOnce(
  { buffered, direct }: ImageDescriptors,
  data: Uint8Array,
  placeBytes: number,
): number {
  const isForDisk =
    data.length >= directBytesMin && data.length % pageBytes === 0 && placeBytes % pageBytes === 0;
  if (direct !== undefined && isForDisk) {
    try {
      return writeSync(direct, data, 0, data.length, placeBytes);
    } catch {
      // A file system that wants another alignment, or a disk that fails: the cache's turn, and its error.
    }
  }
  return writeSync(buffered, data, 0, data.length, placeBytes);
}
