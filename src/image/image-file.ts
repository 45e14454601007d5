/** The image: sector `n` of the drive at byte `n * sectorBytes`, sparse where nothing was read. */

import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import { type Extent, endOf } from '../map/extent.js';
import type { FileLayer, FileStamp, OpenFile } from './file-layer.js';
import { heldCount, type ImageForm, plainFile } from './image-form.js';
import { allocatedInParts, openPartsToRead, openSplit, type SplitFile } from './split-file.js';
import { requireUntouched } from './untouched.js';

/** An open image. Extents and LBAs are sectors of the drive. */
export interface ImageFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** As it is on the disk now. */
  readonly form: ImageForm;
  /** Writes whole sectors from `lba` on. Durable only after the next `sync`.
   * @throws LastspinError IMAGE_SPACE saying how many bytes are missing, IMAGE_WRITE_FAILED. */
  write(lba: number, data: Uint8Array): Promise<void>;
  /** The bytes of an extent; zeros where nothing was written.
   * @throws LastspinError IMAGE_MISMATCH when the file has become shorter meanwhile. */
  read(extent: Extent): Promise<Uint8Array>;
  /** Why the disk does not keep room for all of the image; undefined where it does, or was not asked. */
  readonly unreserved: string | undefined;
  /** Everything written before the call is durable when this resolves. When it fails, nothing
   * written since the last success may be believed: the system tells of lost pages once, so every later
   * sync fails as well.
   * @throws LastspinError IMAGE_WRITE_FAILED, IMAGE_SPACE, and IMAGE_MISMATCH when the file was cut, moved or
   *   replaced meanwhile: then no map may go on claiming what its name holds. */
  sync(): Promise<void>;
  /** Bytes of it that are on the disk; holes are not. */
  allocatedBytes(): Promise<number>;
  /** What the system says of the file now; undefined where nobody can tell. */
  stamp(): Promise<FileStamp | undefined>;
  close(): Promise<void>;
}

/** How to open an image. */
export interface ImageOptions {
  readonly sectorBytes: number;
  readonly sectorCount: number;
  /** `new` refuses an existing file; `resume` takes it, or makes it where the map claims
   * nothing. */
  readonly mode: 'new' | 'resume';
  /** When resuming: the end, in sectors, of the last finished run of the map. A shorter image has
   * lost what the map claims. The whole drive when left out. */
  readonly claimedCount?: number;
  /** Keep room on the disk for all of it, where the file system can. */
  readonly isReserved?: boolean;
  /** Pieces of zeros are not written where the file already reads as zeros. */
  readonly isSparse?: boolean;
  /** A plain file unless told. Of a target that is too small, `sectorCount` is what fits. */
  readonly form?: ImageForm;
}

/** What of an image is left out when it is all zeros: a few allocation units of any file system. */
const sparsePieceBytes = 64 * 1024;
/** Room for map, journal and lists that an image does not take when it is reserved. */
const reserveSpareBytes = 64 * 1024 * 1024;

/** Opens an image and gives it its full size. A new image's name and size are durable when this resolves.
 * @throws LastspinError IMAGE_EXISTS (`new` on an existing file), IMAGE_MISMATCH (a file of another
 *   size than map and drive say), IMAGE_SPACE, FILE_FAILED. */
export async function openImage(
  files: FileLayer,
  path: string,
  options: ImageOptions,
): Promise<ImageFile> {
  const { sectorBytes, sectorCount, mode } = options;
  const sizeBytes = sectorBytes * sectorCount;
  const claimedBytes = mode === 'new' ? 0 : (options.claimedCount ?? sectorCount) * sectorBytes;
  const { form = plainFile } = options;
  const opened = { path, sectorBytes, sizeBytes, isSparse: options.isSparse ?? false };
  if (form.kind === 'split') {
    const { partBytes, partIds } = form;
    const known = { sizeBytes, partBytes, mode, claimedBytes, ...(partIds && { partIds }) };
    const { partIds: ids, ...file } = await openSplit(files, path, known);
    const now: ImageForm = { kind: 'split', partBytes, ...(ids && { partIds: ids }) };
    const unreserved = options.isReserved ? 'it is in parts, made one after the other' : undefined;
    return imageOver(files, file, { ...opened, form: now, unreserved });
  }
  if (form.kind === 'target') {
    const file = await openTarget(files, path, { sizeBytes, claimedBytes });
    return imageOver(files, file, { ...opened, form, unreserved: undefined });
  }
  const exists = await files.exists(path);
  if (exists && mode === 'new') {
    throw new LastspinError(
      'IMAGE_EXISTS',
      `${path} exists and has no map beside it: name another image, or use --force to overwrite it`,
    );
  }
  if (!exists && claimedBytes > 0) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${path} is missing, but its map says that sectors are in it: put it back, or remove the map`,
    );
  }
  const file = await files.open(path, { create: true, exclusive: mode === 'new' });
  let unreserved: string | undefined;
  try {
    await giveSize(file, path, sizeBytes, claimedBytes);
    if (options.isReserved) unreserved = await reserve(files, file, path, sizeBytes);
    await files.syncDirectory(path);
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
  return imageOver(files, file, { ...opened, form, unreserved });
}

/** Asks the disk to keep room for all of an image. Returns why not. Where the room is not there it is not asked:
 * it would take what there is. */
async function reserve(
  files: FileLayer,
  file: OpenFile,
  path: string,
  sizeBytes: number,
): Promise<string | undefined> {
  const freeBytes = await files.freeBytes(path);
  const { neededBytes } = spaceOf(sizeBytes, await file.allocatedBytes(), freeBytes);
  if (neededBytes === 0) return undefined;
  if (neededBytes + reserveSpareBytes > freeBytes)
    return `it needs ${neededBytes} bytes and ${reserveSpareBytes} to spare, ${freeBytes} are free`;
  return file.reserve ? file.reserve(sizeBytes) : 'nothing is known here that could';
}

/** Opens what a case's image is made of, only to read it. What of a target holds the drive is the image; what of parts
 * the map claims nothing of may be missing. `claimedCount` is as for `openImage`.
 * @throws LastspinError IMAGE_MISMATCH naming a part that is missing or has another size; FILE_FAILED. */
export async function openImageToRead(
  files: FileLayer,
  path: string,
  options: Pick<ImageOptions, 'sectorBytes' | 'sectorCount' | 'claimedCount' | 'form'>,
): Promise<SplitFile> {
  const { sectorBytes, sectorCount, form = plainFile } = options;
  const sizeBytes = heldCount(form, options) * sectorBytes;
  const claimedBytes = (options.claimedCount ?? sectorCount) * sectorBytes;
  if (form.kind === 'split')
    return openPartsToRead(files, path, { sizeBytes, partBytes: form.partBytes, claimedBytes });
  const file = await files.open(path, { readOnly: true });
  return form.kind === 'target' ? asTarget(file, sizeBytes) : file;
}

/** A target has the size that it has; what of it the image fills is the image. */
async function openTarget(
  files: FileLayer,
  path: string,
  { sizeBytes, claimedBytes }: { sizeBytes: number; claimedBytes: number },
): Promise<OpenFile> {
  if (claimedBytes > sizeBytes) {
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `the map claims ${claimedBytes} bytes, of which ${sizeBytes} are on ${path}: it is not this target's map`,
    );
  }
  return asTarget(await files.open(path, { held: true }), sizeBytes);
}

function asTarget(file: OpenFile, sizeBytes: number): OpenFile {
  // A device has no size to ask for here; a file may be longer than the image.
  const size = async () => Math.min(sizeBytes, (await file.size()) || sizeBytes);
  // Its node in /dev is made anew whenever it is plugged in.
  const stamp = async () => undefined;
  return { ...file, size, stamp, allocatedBytes: async () => sizeBytes };
}

async function giveSize(
  file: OpenFile,
  path: string,
  sizeBytes: number,
  claimedBytes: number,
): Promise<void> {
  const foundBytes = await file.size();
  if (foundBytes > sizeBytes || foundBytes < claimedBytes) {
    const expected = foundBytes > sizeBytes ? `${sizeBytes}` : `at least ${claimedBytes}`;
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `${path} has ${foundBytes} bytes, but map and drive ask for ${expected}: it is not this ` +
        "job's image, or it was cut",
    );
  }
  if (foundBytes === sizeBytes) return;
  await file.truncate(sizeBytes);
  await file.sync();
}

interface OpenedImage {
  readonly path: string;
  readonly sectorBytes: number;
  readonly sizeBytes: number;
  readonly isSparse: boolean;
  readonly form: ImageForm;
  readonly unreserved: string | undefined;
}

function imageOver(files: FileLayer, file: OpenFile, opened: OpenedImage): ImageFile {
  const { path, sectorBytes, sizeBytes, unreserved, isSparse, form } = opened;
  const put = isSparse ? sparseWriter(file) : file.write;
  const sync = createStickySync(() => file.sync());
  const checked = (lba: number, bytes: number) => {
    const position = lba * sectorBytes;
    const isInside = lba >= 0 && position + bytes <= sizeBytes;
    if (!Number.isSafeInteger(lba) || bytes % sectorBytes !== 0 || !isInside) {
      throw new RangeError(`${bytes} bytes at LBA ${lba} of an image of ${sizeBytes}`);
    }
    return position;
  };
  const failed = async (error: unknown): Promise<never> => {
    if (isLastspinError(error, 'IMAGE_SPACE')) {
      throw await withMissingBytes(error, { files, file, path, sizeBytes });
    }
    if (!isLastspinError(error, 'FILE_FAILED')) throw error;
    throw new LastspinError('IMAGE_WRITE_FAILED', reasonOf(error), { cause: error });
  };
  return {
    path,
    sizeBytes,
    unreserved,
    form,
    write: async (lba, data) => {
      const position = checked(lba, data.length);
      try {
        await put(data, position);
      } catch (error) {
        await failed(error);
      }
    },
    read: async (extent) => {
      const position = checked(extent.lba, extent.count * sectorBytes);
      const data = new Uint8Array(extent.count * sectorBytes);
      const byteCount = await file.read(data, position);
      if (byteCount < data.length) {
        throw new LastspinError(
          'IMAGE_MISMATCH',
          `${path} ends before LBA ${endOf(extent)}: something has cut it while it was in use`,
        );
      }
      return data;
    },
    sync: async () => {
      try {
        await sync();
      } catch (error) {
        await failed(error);
      }
      await requireUntouched(file, path, sizeBytes);
    },
    allocatedBytes: () => file.allocatedBytes(),
    stamp: async () => file.stamp?.(),
    close: () => file.close(),
  };
}

/** A sync that never succeeds again once it failed. The system tells each open file once that pages were lost; of
 * two calls at once the other one would hear that all is well, so there is one at a time. */
function createStickySync(sync: () => Promise<void>): () => Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  let last: Promise<void> = Promise.resolve();
  return () => {
    const mine = last.then(async () => {
      if (failure) throw failure.error;
      try {
        await sync();
      } catch (error) {
        failure = { error };
        throw error;
      }
    });
    last = mine.catch(() => undefined);
    return mine;
  };
}

/** Writes what is not zeros, or replaces something else than zeros. What the file holds is read for it, so that it
 * is right in a file of any history. */
function sparseWriter(file: OpenFile): OpenFile['write'] {
  const isLeftOut = async (piece: Uint8Array, position: number) => {
    if (!isZero(piece)) return false;
    const before = new Uint8Array(piece.length);
    const byteCount = await file.read(before, position);
    return byteCount === piece.length && isZero(before);
  };
  return async (data, position) => {
    let from = 0;
    for (let at = 0; at < data.length; ) {
      // Pieces as the file system allocates: aligned to themselves.
      const length = sparsePieceBytes - ((position + at) % sparsePieceBytes);
      const piece = data.subarray(at, at + length);
      if (await isLeftOut(piece, position + at)) {
        if (at > from) await file.write(data.subarray(from, at), position + from);
        from = at + piece.length;
      }
      at += piece.length;
    }
    if (from < data.length) await file.write(data.subarray(from), position + from);
  };
}

function isZero(data: Uint8Array): boolean {
  return data[0] === 0 && Buffer.compare(data.subarray(1), data.subarray(0, -1)) === 0;
}

/** Bytes that an image still needs, has, and lacks. */
export interface ImageSpace {
  /** Of the image's full size, what is not allocated yet. */
  readonly neededBytes: number;
  readonly freeBytes: number;
  readonly missingBytes: number;
}

/** Whether the disk has room for the rest of an image: free bytes and those already allocated to
 * the image against its full size. The image need not exist.
 * @throws LastspinError FILE_FAILED when the directory is not there. */
export async function imageSpace(
  files: FileLayer,
  path: string,
  sizeBytes: number,
): Promise<ImageSpace> {
  const allocatedBytes = await allocatedBytesOf(files, path);
  return spaceOf(sizeBytes, allocatedBytes, await files.freeBytes(path));
}

/** Refuses a disk without room for the rest of an image, unless forced: a user may know that the
 * drive is mostly empty or that room will be made.
 * @throws LastspinError IMAGE_SPACE saying how many bytes are missing. */
export async function checkSpace(
  files: FileLayer,
  path: string,
  sizeBytes: number,
  force = false,
): Promise<void> {
  if (force) return;
  const space = await imageSpace(files, path, sizeBytes);
  if (space.missingBytes > 0) throw spaceError(path, space);
}

async function allocatedBytesOf(files: FileLayer, path: string): Promise<number> {
  if (!(await files.exists(path))) return allocatedInParts(files, path);
  const file = await files.open(path, { readOnly: true });
  try {
    return await file.allocatedBytes();
  } finally {
    await file.close();
  }
}

function spaceOf(sizeBytes: number, allocatedBytes: number, freeBytes: number): ImageSpace {
  const neededBytes = Math.max(0, sizeBytes - allocatedBytes);
  return { neededBytes, freeBytes, missingBytes: Math.max(0, neededBytes - freeBytes) };
}

function spaceError(path: string, space: ImageSpace, cause?: unknown): LastspinError {
  return new LastspinError(
    'IMAGE_SPACE',
    `no room for ${path}: it needs ${space.neededBytes} bytes more, ${space.freeBytes} are free, ` +
      `${space.missingBytes} are missing; free them, or put the image on a larger disk`,
    { cause },
  );
}

/** The same failure, saying how much is missing. Where the disk counts differently from us (quota,
 * file size limit) its own words stand. */
async function withMissingBytes(
  error: LastspinError,
  at: { files: FileLayer; file: OpenFile; path: string; sizeBytes: number },
): Promise<LastspinError> {
  try {
    const allocatedBytes = await at.file.allocatedBytes();
    const space = spaceOf(at.sizeBytes, allocatedBytes, await at.files.freeBytes(at.path));
    return space.missingBytes > 0 ? spaceError(at.path, space, error) : error;
  } catch {
    return error;
  }
}
