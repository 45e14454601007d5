/** Joins neighbouring writes and lets the disk work while the next sectors are read. */

import type { ImageFile } from './image-file.js';

export interface ImageWriter {
  /** Takes a copy of whole sectors; resolves when there is room for more. What fails later is thrown by
   * the next call of either. */
  write(lba: number, data: Uint8Array): Promise<void>;
  /** Everything taken before the call is durable when this resolves.
   * @throws LastspinError IMAGE_SPACE, IMAGE_WRITE_FAILED. */
  sync(): Promise<void>;
}

/** One write to the file: large enough that its overhead does not count. */
const joinedBytesMax = 1024 * 1024;
/** Writes under way at once; with the one being joined that bounds the memory to 4 MiB. */
const underWayMax = 3;

/** A writer over an image. Writes that overlap reach the file in the order they were made. */
export function createImageWriter(image: ImageFile, sectorBytes: number): ImageWriter {
  const spare: Uint8Array[] = [];
  let joined: Uint8Array = new Uint8Array(joinedBytesMax);
  let joinedLba = 0;
  let joinedBytes = 0;
  const underWay = new Map<Promise<void>, { readonly from: number; readonly to: number }>();
  let failure: { readonly error: unknown } | undefined;

  const allDone = () => Promise.all(underWay.keys());

  function overlapsUnderWay(from: number, to: number): boolean {
    return [...underWay.values()].some((other) => from < other.to && other.from < to);
  }

  async function start(): Promise<void> {
    if (joinedBytes === 0) return;
    const lba = joinedLba;
    const full = joined;
    const data = full.subarray(0, joinedBytes);
    joined = spare.pop() ?? new Uint8Array(joinedBytesMax);
    joinedBytes = 0;
    const to = lba + data.length / sectorBytes;
    if (overlapsUnderWay(lba, to)) await allDone();
    const write = image
      .write(lba, data)
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => {
        underWay.delete(write);
        spare.push(full);
      });
    underWay.set(write, { from: lba, to });
    while (underWay.size >= underWayMax) await Promise.race(underWay.keys());
  }

  function throwFailure(): void {
    if (failure) throw failure.error;
  }

  return {
    async write(lba, data) {
      throwFailure();
      const follows =
        joinedBytes > 0 && lba * sectorBytes === joinedLba * sectorBytes + joinedBytes;
      if (!follows || joinedBytes + data.length > joinedBytesMax) await start();
      if (data.length > joinedBytesMax) {
        await allDone();
        await image.write(lba, data);
      } else {
        if (joinedBytes === 0) joinedLba = lba;
        joined.set(data, joinedBytes);
        joinedBytes += data.length;
      }
      throwFailure();
    },
    async sync() {
      await start();
      await allDone();
      throwFailure();
      await image.sync();
    },
  };
}
