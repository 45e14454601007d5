/** The plainest drive: a block device or a regular file of this computer, opened for reading
 * only. */

import { strict as assert } from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import { getSystemErrorName } from 'node:util';
import type { Clock } from '../clock.js';
import { LastspinError } from '../errors.js';
import type {
  Drive,
  DriveIdentity,
  DriveReadiness,
  ReadRequest,
  ReadResult,
  StoreTarget,
} from './drive.js';
import {
  type Answer,
  createOperationLine,
  type OperationLine,
  openTimeoutMs,
  plainRequest,
} from './file-line.js';
import type { Inspection, PathIdentity } from './file-records.js';
import { spawnIoProcess } from './io-process.js';
import { lastingName } from './links/serial-ports.js';

export interface FileDriveOptions {
  /** Logical sector in bytes. By default what the device says, 512 for a file. */
  readonly sectorBytes?: number;
  /** Physical sector in bytes, a multiple of the logical one. By default what the device says,
   * else the logical one; given, it is believed, since many a USB bridge does not pass it on. */
  readonly physicalSectorBytes?: number;
  /** Starts the reading process; for tests. */
  readonly spawnReader?: (path: string) => ChildProcess;
}

export interface FileDrive extends Drive {
  /** Whether the last read went past the page cache. False on a file system that has no O_DIRECT:
   * what this computer has cached is then not asked of the drive, and what is asked may be read
   * ahead. */
  readonly isDirect: boolean;
}

/** One read is under way, one waits behind it, one goes through the pipe, one is in the caller's
 * hands: with fewer, somebody waits for somebody. */
const inFlightMax = 4;

/** Where a file says nothing of its sectors. */
const sectorBytesDefault = 512;

/** Names that Node's table lacks (Linux, include/uapi/asm-generic/errno.h). */
const errnoNames = new Map([
  [52, 'EBADE'],
  [67, 'ENOLINK'],
  [117, 'EUCLEAN'],
  [123, 'ENOMEDIUM'],
]);

/** Opens a block device or a regular file as a drive: read-only, past the page cache, one system
 * call per request, in a process of its own that is abandoned when a read does not return in
 * time. Of the resets it has only `abort`. After a power cycle ask `identify`: it opens the path
 * again. Throws DRIVE_OPEN_FAILED: missing, not permitted, neither file nor device, empty, half
 * a sector. */
export async function openFileDrive(
  path: string,
  clock: Clock,
  options: FileDriveOptions = {},
): Promise<FileDrive> {
  const { spawnReader: start = readerFor(path) } = options;
  let onHash: StoreTarget['onHash'] | undefined;
  const line = createOperationLine(
    () => start(path),
    clock,
    (hash) => onHash?.(hash),
  );
  const storing = (target: StoreTarget | undefined) => {
    onHash = target?.onHash;
  };
  try {
    const found = requireUsable(path, await inspectPath(line, 'identify'));
    const sectorBytes = chooseSectorBytes(path, found, options);
    requireWholeSectors(path, found, sectorBytes);
    return createFileDrive(line, found, sectorBytes, options, storing);
  } catch (error) {
    await line.close();
    throw error;
  }
}

function createFileDrive(
  line: OperationLine,
  found: PathIdentity,
  sectorBytes: number,
  options: FileDriveOptions,
  storing: (target: StoreTarget | undefined) => void,
): FileDrive {
  const readBytesMax = Math.max(sectorBytes, found.readBytesMax);
  const readCountMax = Math.floor(readBytesMax / sectorBytes);
  let isDirect = found.isDirect;
  let isClosed = false;

  return {
    capabilities: {
      resets: new Set(['abort']),
      power: false,
      park: false,
      readCountMax,
      // What this computer holds itself comes from its own cache.
      ...(!found.isDirect && { readCountBest: readCountMax }),
      inFlightMax,
      inFlightBytesMax: inFlightMax * readBytesMax,
    },
    get isDirect() {
      return isDirect;
    },
    async identify(signal) {
      signal?.throwIfAborted();
      const inspection = await untilAborted(inspectPath(line, 'identify'), signal);
      if (inspection?.state !== 'open' || inspection.path.sizeBytes === 0) return undefined;
      return identityOf(inspection.path, options);
    },
    async read(request) {
      const { extent, timeoutMs, slowMs, batch, stopOn, isStored = false } = request;
      assert(!isClosed, 'a closed drive is not read');
      assert(
        extent.lba >= 0 && extent.count > 0 && extent.count <= readCountMax,
        'extent in range',
      );
      const offsetBytes = extent.lba * sectorBytes;
      const countBytes = extent.count * sectorBytes;
      const answer = await line.ask(
        { operation: 'read', offsetBytes, countBytes, slowMs, batch, stopOn, isStored },
        timeoutMs,
      );
      if (answer.kind === 'reply' && answer.reply.kind !== 'gone') isDirect = answer.reply.direct;
      return toResult(answer, request, sectorBytes);
    },
    async reset(kind) {
      if (kind !== 'abort') {
        throw new LastspinError('DEVICE_REFUSED', `a file or block device has no ${kind} reset`);
      }
      line.abortReads();
    },
    readiness: async () => readinessOf(await inspectPath(line, 'probe')),
    async park() {},
    async storeInto(wanted) {
      const { path, device, inode, segmentBytes, isSparse = false, whole = [] } = wanted;
      const file = { path, device: `${device}`, inode: `${inode}` };
      const order = { ...file, segmentBytes, isSparse, whole };
      const answer = await line.store({ ...order, sizeBytes: found.sizeBytes });
      const isTaken = answer.kind === 'reply' && answer.reply.errno === 0;
      storing(isTaken ? wanted : undefined);
      return isTaken;
    },
    async flushHashes() {
      // A process that ended told of none: what it read is hashed from the image.
      await line.ask(plainRequest('flush'), openTimeoutMs).catch(() => undefined);
    },
    async close() {
      isClosed = true;
      await line.close();
    },
  };
}

/** What opening the path shows; undefined when it takes too long. */
async function inspectPath(
  line: OperationLine,
  operation: 'identify' | 'probe',
): Promise<Inspection | undefined> {
  const answer = await line.ask(plainRequest(operation), openTimeoutMs);
  if (answer.kind !== 'reply') return undefined;
  return JSON.parse(Buffer.from(answer.reply.data).toString()) as Inspection;
}

function readinessOf(inspection: Inspection | undefined): DriveReadiness {
  if (inspection?.state !== 'open') return 'gone';
  // A reader without a medium, or a drive whose capacity its bridge has not been told yet.
  return inspection.path.sizeBytes === 0 ? 'not-ready' : 'ready';
}

function toResult(answer: Answer, request: ReadRequest, sectorBytes: number): ReadResult {
  const nothing = { goodCount: 0, data: new Uint8Array(0) };
  if (answer.kind === 'timeout')
    return { kind: 'timeout', ...nothing, elapsedMs: answer.elapsedMs };
  if (answer.kind !== 'reply') return { kind: answer.kind, ...nothing, elapsedMs: 0 };
  const { kind, data, elapsedMs, errno, isStored } = answer.reply;
  assert(
    kind !== 'inspection' && kind !== 'done' && kind !== 'begun' && kind !== 'hashed',
    'a read is answered as a read',
  );
  if (kind === 'gone' || kind === 'not-attempted') return { kind, ...nothing, elapsedMs };
  if (isStored && kind !== 'fault') {
    return { kind, goodCount: request.extent.count, data, elapsedMs, isStored };
  }
  const goodCount = Math.floor(data.length / sectorBytes);
  if (kind !== 'fault') return { kind, goodCount, data, elapsedMs };
  return {
    kind,
    goodCount,
    data: data.subarray(0, goodCount * sectorBytes),
    elapsedMs,
    fault: {
      errno: nameOfErrno(errno),
      // Where a read that ended early ended. A read that failed as a whole does not tell where.
      ...(data.length > 0 && { lba: request.extent.lba + goodCount }),
    },
  };
}

function nameOfErrno(errno: number): string {
  const known = errnoNames.get(errno);
  if (known) return known;
  const name = getSystemErrorName(-errno);
  return name.startsWith('Unknown') ? `errno ${errno}` : name;
}

function identityOf(found: PathIdentity, options: FileDriveOptions): DriveIdentity {
  // As the path is now: a bridge that changes its sector size is another drive to who reads
  // sectors.
  const sectorBytes = sectorBytesOf(found, options);
  return {
    model: found.model,
    serial: found.serial,
    firmware: found.firmware,
    sectorCount: Math.floor(found.sizeBytes / sectorBytes),
    sectorBytes,
    physicalSectorBytes: Math.max(
      sectorBytes,
      options.physicalSectorBytes ?? found.physicalSectorBytes ?? sectorBytes,
    ),
  };
}

function sectorBytesOf(found: PathIdentity, options: FileDriveOptions): number {
  return options.sectorBytes ?? found.sectorBytes ?? sectorBytesDefault;
}

function refuse(message: string): never {
  throw new LastspinError('DRIVE_OPEN_FAILED', message);
}

function requireUsable(path: string, inspection: Inspection | undefined): PathIdentity {
  if (!inspection) {
    refuse(
      `${path} does not answer within ${openTimeoutMs / 1000} s; cycle its power and try again`,
    );
  }
  if (inspection.state === 'refused')
    refuse(`cannot open ${path}: ${reasonOfErrno(inspection.errno)}`);
  if (inspection.state === 'other-kind') {
    refuse(`${path} is neither a regular file nor a block device`);
  }
  if (inspection.state === 'no-size') {
    const mend =
      process.platform === 'linux'
        ? 'mount /sys, or install the optional package koffi (npm install koffi)'
        : 'block devices are read on Linux only; use usb-bot:, an imager, or a computer with Linux';
    refuse(`the size of ${path} is not known: ${mend}`);
  }
  if (inspection.path.sizeBytes === 0) {
    refuse(`${path} is empty: no medium, or the drive does not tell its size yet`);
  }
  return inspection.path;
}

function reasonOfErrno(errno: number): string {
  const name = nameOfErrno(errno);
  switch (name) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'no such file or device';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied; use `sudo`, or join its group (`disk` for devices)';
    case 'ENXIO':
    case 'ENODEV':
    case 'ENOMEDIUM':
      return `no drive or medium behind it (${name})`;
    case 'EBUSY':
      return 'it is in use by another program';
    default:
      return name;
  }
}

function chooseSectorBytes(path: string, found: PathIdentity, options: FileDriveOptions): number {
  const sectorBytes = sectorBytesOf(found, options);
  const { physicalSectorBytes } = options;
  if (found.sectorBytes && sectorBytes % found.sectorBytes !== 0) {
    refuse(
      `${path} has sectors of ${found.sectorBytes} bytes, and cannot be read in ${sectorBytes}`,
    );
  }
  if (physicalSectorBytes && physicalSectorBytes % sectorBytes !== 0) {
    const physical = `a physical sector of ${physicalSectorBytes} bytes`;
    refuse(`${physical} is no multiple of the logical ${sectorBytes} of ${path}`);
  }
  return sectorBytes;
}

/** A drive has whole sectors only, and so has what is made of its image. */
function requireWholeSectors(path: string, found: PathIdentity, sectorBytes: number): void {
  const restBytes = found.sizeBytes % sectorBytes;
  if (restBytes === 0) return;
  const fit = `copy it, fill the copy with zeros (\`truncate -s %${sectorBytes}\`), and take that`;
  refuse(`${path} ends with ${restBytes} bytes of a sector of ${sectorBytes}: ${fit}`);
}

/** The promise, or the signal's reason, whichever is first. */
async function untilAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return await promise;
  return await new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Starts the reading process for `path`, and other names of the same device. Throws DRIVE_OPEN_FAILED where its
 * program is not built. */
export function spawnReader(path: string, ...others: readonly string[]): ChildProcess {
  return spawnIoProcess('file-reader.js', [path, ...others]);
}

/** A drive that was unplugged may come back as another `/dev/sdX`: then the name that udev gives it by model and
 * serial number finds it. Only below /dev: looking at other paths may wait for a mount that hangs. */
function readerFor(path: string) {
  const lasting = path.startsWith('/dev/') ? lastingName(path, '/dev/disk/by-id') : undefined;
  return () => spawnReader(path, ...(lasting === undefined ? [] : [lasting]));
}
