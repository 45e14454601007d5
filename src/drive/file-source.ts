/** A path that is read by the reading process of a `file:` drive: opened for reading only, one system call a
 * read. */

import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { inspectDevice, type Sysfs } from './file-inspect.js';
import {
  deviceReadBytesMax,
  helloId,
  type Inspection,
  type ReplyHeader,
  type ReplyKind,
  type RequestRecord,
  readBytesMax,
} from './file-records.js';
import { type DeviceSize, loadIoctl, sizeByIoctl } from './ioctl.js';

/** A path that was opened for reading only. */
interface OpenPath {
  readonly descriptor: number;
  /** Past the page cache (O_DIRECT). */
  readonly direct: boolean;
}

/** Whether reads go past the page cache, where the file system can. `by-path`: those of devices do, and of files
 * on file systems that a program or another computer serves: behind them may be a drive that fails. */
type How = 'by-path' | 'direct' | 'buffered';

/** File systems whose files are no disk's of this computer: FUSE, NFS, CIFS, SMB 2, 9P, Ceph (Linux,
 * include/uapi/linux/magic.h). */
const servedFileSystems = new Set([
  0x65735546, 0x6969, 0xff534d42, 0xfe534d42, 0x01021997, 0x00c36400,
]);

/** Whether `path` is a regular file on a disk of this computer. Throws the system's error. */
export function isOwnFile(path: string): boolean {
  return statSync(path).isFile() && !servedFileSystems.has(statfsSync(path).type);
}

/** Opens `path` strictly for reading. Undefined for what is neither a regular file nor a block device,
 * unopened: opening a tape or a pipe does something to it. Throws the system's error. */
function openReadOnly(path: string, how: How): OpenPath | undefined {
  const found = statSync(path);
  if (!found.isFile() && !found.isBlockDevice()) return undefined;
  // Absent outside Linux, where reads are buffered then.
  const isBuffered = how === 'buffered' || (how === 'by-path' && isOwnFile(path));
  const directFlag = isBuffered ? 0 : (constants.O_DIRECT ?? 0);
  if (directFlag !== 0) {
    try {
      return { descriptor: openSync(path, constants.O_RDONLY | directFlag), direct: true };
    } catch (error) {
      // Some file systems have no O_DIRECT, tmpfs before Linux 6.6 among them.
      if (errnoOf(error) !== errnoInvalid) throw error;
    }
  }
  return { descriptor: openSync(path, constants.O_RDONLY), direct: false };
}

const sysfs: Sysfs = {
  read: (path) => orUndefined(() => readFileSync(path, 'latin1')),
  realpath: (path) => orUndefined(() => realpathSync(path)),
};

function orUndefined<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** Looks at an open path, here and not in the parent, for even `stat` waits on a mount that
 * hangs. */
function inspect(path: string, { descriptor, direct }: OpenPath): Inspection {
  const found = fstatSync(descriptor);
  if (found.isBlockDevice()) {
    return inspectDevice(found.rdev, direct, sysfs, sizeOf(descriptor));
  }
  return {
    state: 'open',
    path: {
      isDirect: direct,
      model: 'file',
      // The path, since it alone survives what a rescue goes through: device numbers change with
      // every mount and boot, inodes with every copy, and on FUSE both are made up. A file that was
      // moved is asked about; another file put in its place is seen by its size only.
      serial: realpathSync(path),
      firmware: '',
      sizeBytes: found.size,
      readBytesMax: !direct && isOwnFile(path) ? readBytesMax : deviceReadBytesMax,
    },
  };
}

/** Undefined without koffi, and elsewhere than on Linux: /sys has to do then. */
function sizeOf(descriptor: number): DeviceSize | undefined {
  if (process.platform !== 'linux') return undefined;
  return orUndefined(() => sizeByIoctl(loadIoctl(), descriptor));
}

/** The path, open or not. */
interface Opened {
  /** Undefined while the path cannot be opened; then `openErrno` says why. */
  open: OpenPath | undefined;
  openErrno: number;
}

export type Source = ReturnType<typeof createSource>;

/** Answers requests about a path. `names`: the path, and others that the same device may have when it comes back;
 * each is tried where there is nothing at the one before. */
export function createSource(names: readonly string[]) {
  const opened: Opened = { open: undefined, openErrno: 0 };
  /** The stop is applied here, so that the next request of a batch can already be waiting when
   * the one before ends well. */
  let stoppedBatch: number | undefined;
  const first = reopen(opened, names);

  const reply = (id: number, rest: Partial<ReplyHeader> & Pick<ReplyHeader, 'kind'>) => ({
    id,
    dataBytes: 0,
    errno: 0,
    elapsedMs: 0,
    direct: opened.open?.direct ?? false,
    isStored: false,
    ...rest,
  });
  const report = (id: number, inspection: Inspection, into: Uint8Array): ReplyHeader => {
    const bytes = Buffer.from(JSON.stringify(inspection));
    into.set(bytes);
    return reply(id, { kind: 'inspection', dataBytes: bytes.length });
  };

  return {
    /** What the opening at the start showed. */
    hello: (into: Uint8Array) => report(helloId, first, into),
    ask: ({ id, operation }: RequestRecord, into: Uint8Array) =>
      report(id, operation === 'probe' ? probe(names) : reopen(opened, names), into),
    done: (id: number, errno: number): ReplyHeader => reply(id, { kind: 'done', errno }),
    /** Whether that file is the path itself. */
    isSame({ dev, ino, rdev }: BigIntStats): boolean {
      if (!opened.open) return true;
      const own = fstatSync(opened.open.descriptor, { bigint: true });
      return own.isBlockDevice() ? own.rdev === rdev : own.dev === dev && own.ino === ino;
    },
    read(request: RequestRecord, into: Uint8Array): ReplyHeader {
      const { id, batch, stopOn } = request;
      if (batch === stoppedBatch) return reply(id, { kind: 'not-attempted' });
      if (!opened.open) return reply(id, { kind: 'gone', errno: opened.openErrno });
      const { dataBytes, errno, elapsedMs } = readAligned(opened, names, request, into);
      const kind = kindOf({ dataBytes, errno, elapsedMs }, request);
      const failed = kind === 'fault' || kind === 'gone';
      if ((kind === 'slow' && stopOn.slow) || (failed && stopOn.fault)) stoppedBatch = batch;
      // The cache must not stand between a drive that fails and what is asked of it.
      if (failed && !opened.open.direct) reopen(opened, names, 'direct');
      // A read that ended early says where, and not why.
      const why = kind === 'fault' && errno === 0 ? errnoInputOutput : errno;
      return reply(id, { kind, errno: why, dataBytes, elapsedMs });
    },
  };
}

/** Opens the path anew: behind it there may be the device as it came back. */
function reopen(opened: Opened, names: readonly string[], how: How = 'by-path'): Inspection {
  if (opened.open) closeQuietly(opened.open);
  opened.open = undefined;
  opened.openErrno = errnoNotThere;
  for (const path of names) {
    try {
      opened.openErrno = 0;
      opened.open = openReadOnly(path, how);
      return opened.open ? inspect(path, opened.open) : { state: 'other-kind' };
    } catch (error) {
      opened.openErrno = errnoOf(error);
      if (opened.openErrno !== errnoNotThere) break;
    }
  }
  return { state: 'refused', errno: opened.openErrno };
}

/** A mount that died answers even this with an error, and there is nothing to be done about it. */
function closeQuietly({ descriptor }: OpenPath): void {
  orUndefined(() => closeSync(descriptor));
}

/** Whether the path opens, beside the descriptor that is read from. */
function probe(names: readonly string[]): Inspection {
  const beside: Opened = { open: undefined, openErrno: 0 };
  const inspection = reopen(beside, names);
  if (beside.open) closeQuietly(beside.open);
  return inspection;
}

/** One read; buffered from now on where O_DIRECT refuses what is asked. */
function readAligned(
  opened: Opened,
  names: readonly string[],
  request: RequestRecord,
  into: Uint8Array,
): ReadOnce {
  const result = readOnce(opened, request, into);
  if (result.errno !== errnoInvalid || !opened.open?.direct) return result;
  // The kernel refuses the alignment before the device hears of it, so the next is the first
  // command.
  reopen(opened, names, 'buffered');
  return opened.open ? readOnce(opened, request, into) : result;
}

interface ReadOnce {
  readonly dataBytes: number;
  readonly errno: number;
  readonly elapsedMs: number;
}

/** Exactly one system call. */
function readOnce({ open }: Opened, request: RequestRecord, into: Uint8Array): ReadOnce {
  const { countBytes, offsetBytes } = request;
  const started = process.hrtime.bigint();
  let dataBytes = 0;
  let errno = 0;
  try {
    dataBytes = readSync(open!.descriptor, into, 0, countBytes, offsetBytes);
  } catch (error) {
    errno = errnoOf(error);
  }
  return { dataBytes, errno, elapsedMs: Number(process.hrtime.bigint() - started) / 1e6 };
}

/** Error numbers of Linux (include/uapi/asm-generic/errno.h); the first six are the same
 * elsewhere. */
const errnoNotThere = 2;
const errnoInputOutput = 5;
const errnoInvalid = 22;
/** ENOENT, ENXIO, ENODEV, ENOTCONN (the server of a FUSE mount died), ENOMEDIUM. */
const errnosGone = new Set([2, 6, 19, 107, 123]);

function kindOf(result: ReadOnce, { countBytes, slowMs }: RequestRecord): ReplyKind {
  if (errnosGone.has(result.errno)) return 'gone';
  if (result.errno !== 0) return 'fault';
  // The end of the device where there was more before: it lost its size, and with it the drive.
  if (result.dataBytes === 0) return 'gone';
  if (result.dataBytes < countBytes) return 'fault';
  return slowMs > 0 && result.elapsedMs > slowMs ? 'slow' : 'good';
}

/** The positive number of a system error. An error without one is a bug, and ends the process. */
export function errnoOf(error: unknown): number {
  const { errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) throw error;
  return Math.abs(errno);
}
