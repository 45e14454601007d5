/** The image as the reading process of a `file:` drive writes it. */

import { type BigIntStats, closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
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
  const open = (flags: number) => {
    const descriptor = openSync(order.path, constants.O_WRONLY | flags);
    const found = fstatSync(descriptor, { bigint: true });
    const isOrdered = `${found.dev}` === order.device && `${found.ino}` === order.inode;
    if (isOrdered && !isSource(found)) return descriptor;
    closeSync(descriptor);
    return undefined;
  };
  const buffered = open(0);
  if (buffered === undefined) return undefined;
  return { buffered, direct: openDirect(order.path, open) };
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
    for (let done = 0; done < data.length; ) {
      done += writeOnce(image, data.subarray(done), placeBytes + done);
    }
    return true;
  } catch {
    return false;
  }
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
