/** The file layer over the operating system: the one place, with the lock, that touches the disk
 * for image, map and journal. */

import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LastspinError, reasonOf } from '../errors.js';
import { deviceOf } from './device-of.js';
import type { FileLayer, OpenFile } from './file-layer.js';
import { reserveSpace } from './reserve.js';

/** Files of the operating system. Every failure is a LastspinError that names the path: IMAGE_SPACE
 * when there is no room (or the file system cannot hold a file that big), FILE_FAILED otherwise. */
export function nodeFiles(): FileLayer {
  return {
    open: (path, options = {}) =>
      named(path, 'open', async () => {
        const { create = false, exclusive = false, readOnly = false, held = false } = options;
        const handle = held
          ? await openHeld(path)
          : await openHandle(path, { create, exclusive, readOnly });
        // Known while it is there: a disk that was unplugged may be unmounted as well.
        const disk = (await nearestStat(dirname(path)))?.dev;
        return openFile(path, handle, await deviceOf(path), disk);
      }),
    exists: (path) =>
      named(path, 'look up', async () => {
        try {
          await stat(path);
          return true;
        } catch (error) {
          if (codeOf(error) === 'ENOENT') return false;
          throw error;
        }
      }),
    readAll: (path) => named(path, 'read', () => readFile(path)),
    rename: (from, to) => named(to, 'replace', () => rename(from, to)),
    remove: (path) => named(path, 'remove', () => rm(path, { force: true })),
    syncDirectory: (path) => named(path, 'sync the directory of', () => syncDirectory(path)),
    freeBytes: (path) =>
      named(path, 'find the free space of', async () => {
        const { bavail, bsize } = await statfs(dirname(path));
        return bavail * bsize;
      }),
  };
}

async function openHandle(
  path: string,
  options: { create: boolean; exclusive: boolean; readOnly: boolean },
): Promise<FileHandle> {
  if (options.readOnly) return await open(path, 'r');
  if (options.exclusive) return await open(path, 'wx+');
  try {
    return await open(path, 'r+');
  } catch (error) {
    if (!options.create || codeOf(error) !== 'ENOENT') throw error;
    // Exclusive, or two that create at once would both believe the file to be theirs and empty.
    return await open(path, 'wx+');
  }
}

/** Linux refuses this for a device that is mounted or part of something, and refuses both while it is open so
 * (O_EXCL of open(2), which on a regular file means nothing without O_CREAT). */
function openHeld(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDWR | constants.O_EXCL);
}

/** `disk`: the number of that which its directory is on. */
function openFile(
  path: string,
  handle: FileHandle,
  device: string,
  disk: bigint | undefined,
): OpenFile {
  const tried = <T>(verb: string, act: () => Promise<T>) => named(path, verb, act, device);
  /** fdatasync may leave out a changed size on some systems; where it changed, fsync. */
  let sizeBytes: number | undefined;
  let sizeChanged = true;
  return {
    read: (into, position) => tried('read', () => readFully(handle, into, position)),
    write: (data, position) =>
      tried('write', async () => {
        sizeBytes ??= (await handle.stat()).size;
        if (position + data.length > sizeBytes) {
          sizeBytes = position + data.length;
          sizeChanged = true;
        }
        await writeFully(handle, data, position);
      }),
    sync: () =>
      tried('sync', async () => {
        if (!sizeChanged) return await handle.datasync();
        sizeChanged = false;
        try {
          await handle.sync();
        } catch (error) {
          sizeChanged = true;
          throw error;
        }
      }),
    isAt: async (other) => {
      try {
        const found = await stat(other, { bigint: true });
        const own = await handle.stat({ bigint: true });
        return found.dev === own.dev && found.ino === own.ino;
      } catch (error) {
        return codeOf(error) !== 'ENOENT';
      }
    },
    isUnmounted: async () => {
      const found = await nearestStat(dirname(path));
      return found !== undefined && disk !== undefined && found.dev !== disk;
    },
    stamp: () =>
      tried('look up', async () => {
        const { size, mtimeNs, dev, ino } = await handle.stat({ bigint: true });
        return {
          sizeBytes: Number(size),
          modifiedNs: `${mtimeNs}`,
          device: `${dev}`,
          inode: `${ino}`,
        };
      }),
    identity: () =>
      tried('look up', async () => {
        const { dev, ino } = await handle.stat({ bigint: true });
        return `${dev}:${ino}`;
      }),
    size: () => tried('find the size of', async () => (await handle.stat()).size),
    allocatedBytes: () =>
      tried('find the size of', async () => {
        const { blocks, size } = await handle.stat();
        // In 512-byte units whatever the file system's own; undefined on Windows.
        return blocks === undefined ? size : blocks * 512;
      }),
    truncate: (size) =>
      tried('resize', async () => {
        await handle.truncate(size);
        sizeBytes = size;
        sizeChanged = true;
      }),
    reserve: (size) => reserveSpace(handle.fd, size),
    close: () => tried('close', () => handle.close()),
  };
}

/** Of a directory, or of the nearest one above it that is there; undefined where it cannot be looked up. */
async function nearestStat(directory: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(directory, { bigint: true });
  } catch (error) {
    const above = dirname(directory);
    return codeOf(error) === 'ENOENT' && above !== directory ? nearestStat(above) : undefined;
  }
}

async function readFully(handle: FileHandle, into: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

async function writeFully(handle: FileHandle, data: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const rest = data.length - done;
    const { bytesWritten } = await handle.write(data, done, rest, position + done);
    done += bytesWritten;
  }
}

/** Some file systems and systems cannot sync a directory (Windows, some FUSE and network mounts).
 * There a rename is as durable as they make it; it stays atomic. */
async function syncDirectory(path: string): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(dirname(path), 'r');
  } catch (error) {
    if (cannotSyncDirectory.has(codeOf(error))) return;
    throw error;
  }
  try {
    await handle.sync();
  } catch (error) {
    if (!cannotSyncDirectory.has(codeOf(error))) throw error;
  } finally {
    await handle.close();
  }
}

const cannotSyncDirectory = new Set(['EINVAL', 'ENOTSUP', 'EPERM', 'EACCES', 'EISDIR', 'EBADF']);

/** Runs one operation and says of a failure what was tried, on what, why not, and what to do. */
async function named<T>(
  path: string,
  verb: string,
  act: () => Promise<T>,
  device?: string,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const code = codeOf(error);
    const room = roomAdvice[code];
    if (room !== undefined) {
      throw new LastspinError('IMAGE_SPACE', `cannot ${verb} ${path}: ${room}`, { cause: error });
    }
    const text =
      deviceAdvice[code]?.(device ?? (await deviceOf(path))) ?? adviceOf[code] ?? reasonOf(error);
    throw new LastspinError('FILE_FAILED', `cannot ${verb} ${path}: ${text}`, { cause: error });
  }
}

const roomAdvice: Readonly<Record<string, string>> = {
  ENOSPC: 'no space is left there; free some, or put the image on a larger disk',
  EDQUOT: 'your disk quota is used up; free some, or put the image elsewhere',
  EFBIG:
    'the file system there (FAT32 ends at 4 GiB), or your limit (`ulimit -f`), takes no file that big; use ext4 or exFAT',
};

const adviceOf: Readonly<Record<string, string>> = {
  EACCES: 'permission denied; choose a place you may write to, or change its permissions',
  EPERM: 'not permitted; choose a place you may write to',
  EROFS: 'the file system is mounted read-only; remount it writable or choose another place',
  ENOENT: 'no such file or directory; check the path',
  ENOTDIR: 'part of the path is a file, not a directory; check the path',
  EISDIR: 'it is a directory; name a file',
  ERR_FS_EISDIR: 'a directory of that name is in the way; move it away',
  EEXIST: 'it exists already; choose another name or move it away',
  EBUSY: 'it is in use: mounted, part of something, or another program holds it; free it first',
};

const gone = (device: string) =>
  `the disk it is on${device} is gone, which is not the source drive; reconnect it and run the same command again`;

/** What is wrong with the disk that the files of a case are on. */
const deviceAdvice: Readonly<Record<string, (device: string) => string>> = {
  EIO: (device) =>
    `input/output error: the disk it is on${device} fails, which is not the source drive; check it, then run the same command again`,
  ENODEV: gone,
  ENXIO: gone,
  ENOTCONN: gone,
  ESTALE: gone,
  ESHUTDOWN: gone,
};

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : '';
}
