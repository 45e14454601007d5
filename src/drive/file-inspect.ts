/** What Linux tells of a path without reading from it. Runs in the reading process, since even `stat`
 * waits for ever on a mount that hangs. */

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type Inspection, type PathIdentity, readBytesMax } from './file-records.js';

/** A path that was opened for reading only. */
export interface OpenPath {
  readonly descriptor: number;
  /** Past the page cache (O_DIRECT). */
  readonly direct: boolean;
}

/** Linux counts a device's size in these units whatever its sector size (Documentation/ABI,
 * sysfs-block `size`). */
const sysfsSizeUnitBytes = 512;
/** One scattered page of a buffer fills one segment of a command. */
const pageBytes = 4096;
/** A USB device sits this many directories above its disk at most: host, target, lun, interface. */
const usbAncestorMax = 8;

const noDirect = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP']);

/** Opens `path` strictly for reading; past the page cache where the file system can and `buffered` is
 * not asked for. Never opens anything but a regular file or a block device: opening a tape or a pipe
 * does something to it. Throws the system's error. */
export function openReadOnly(path: string, buffered: boolean): OpenPath | undefined {
  const found = statSync(path);
  if (!found.isFile() && !found.isBlockDevice()) return undefined;
  // Absent outside Linux, where reads are buffered then.
  const directFlag = buffered ? 0 : (constants.O_DIRECT ?? 0);
  if (directFlag !== 0) {
    try {
      return { descriptor: openSync(path, constants.O_RDONLY | directFlag), direct: true };
    } catch (error) {
      // Some file systems have no O_DIRECT, tmpfs before Linux 6.6 among them.
      if (!noDirect.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return { descriptor: openSync(path, constants.O_RDONLY), direct: false };
}

/** Looks at an open path. */
export function inspect(path: string, descriptor: number): Inspection {
  const found = fstatSync(descriptor);
  if (found.isBlockDevice()) return inspectDevice(found.rdev);
  return {
    state: 'open',
    path: {
      isDevice: false,
      model: 'file',
      // The path, since it alone survives what a rescue goes through: device numbers change with every
      // mount and boot, inodes with every copy, and on FUSE both are made up. A file that was moved is
      // asked about; another file put in its place is seen by its size only.
      serial: realpathSync(path),
      firmware: '',
      sizeBytes: found.size,
      readBytesMax,
    },
  };
}

function inspectDevice(deviceNumber: number): Inspection {
  const { major, minor } = splitDeviceNumber(deviceNumber);
  // By number, not by name: it holds for links, partitions and device mapper alike.
  const directory = realpathOrUndefined(`/sys/dev/block/${major}:${minor}`);
  const size = directory && readAttribute(directory, 'size');
  if (!directory || !size) return { state: 'no-sysfs' };
  const partition = readAttribute(directory, 'partition');
  const disk = partition ? dirname(directory) : directory;
  const serial = serialOf(disk);
  const sectorBytes = readNumber(disk, 'queue/logical_block_size');
  const physicalSectorBytes = readNumber(disk, 'queue/physical_block_size');
  return {
    state: 'open',
    path: {
      isDevice: true,
      model: modelOf(disk),
      serial: partition && serial ? `${serial}-part${partition}` : serial,
      firmware:
        readAttribute(disk, 'device/rev') ??
        readAttribute(disk, 'device/firmware_rev') ??
        readAttribute(disk, 'device/fwrev') ??
        '',
      sizeBytes: Number(size) * sysfsSizeUnitBytes,
      readBytesMax: commandBytesMax(disk, sectorBytes ?? sysfsSizeUnitBytes),
      ...(sectorBytes && { sectorBytes }),
      ...(physicalSectorBytes && { physicalSectorBytes }),
    } satisfies PathIdentity,
  };
}

/** The layout of Linux's dev_t in user space (glibc's gnu_dev_major and gnu_dev_minor). */
function splitDeviceNumber(deviceNumber: number): { major: number; minor: number } {
  const low = deviceNumber % 2 ** 32;
  const high = Math.floor(deviceNumber / 2 ** 32);
  return {
    major: ((low >>> 8) & 0xfff) | (high & ~0xfff),
    minor: ((low & 0xff) | ((low >>> 12) & 0xffffff00)) >>> 0,
  };
}

function modelOf(disk: string): string {
  const model = readAttribute(disk, 'device/model') ?? readAttribute(disk, 'device/name');
  if (!model) return 'block device';
  const vendor = readAttribute(disk, 'device/vendor');
  // libata's placeholder says nothing, and a number names a bus's vendor, not the drive's.
  return !vendor || vendor === 'ATA' || vendor.startsWith('0x') ? model : `${vendor} ${model}`;
}

/** The drive's own serial number, or what stands for it; empty where the drive tells none: a name like
 * sdb or a device number belongs to the port's moment, and changes with a power cycle. */
function serialOf(disk: string): string {
  return (
    readAttribute(disk, 'device/serial') ??
    unitSerialOf(disk) ??
    usbSerialOf(disk) ??
    readAttribute(disk, 'device/wwid') ??
    readAttribute(disk, 'wwid') ??
    readAttribute(disk, 'serial') ??
    readAttribute(disk, 'dm/uuid') ??
    readAttribute(disk, 'md/uuid') ??
    readAttribute(disk, 'loop/backing_file') ??
    ''
  );
}

/** The Unit Serial Number page as the kernel keeps it (SPC-4 clause 7.8.15). */
function unitSerialOf(disk: string): string | undefined {
  const headerBytes = 4;
  const page = readAttribute(disk, 'device/vpd_pg80', 'latin1');
  return page?.slice(headerBytes).trim() || undefined;
}

/** The serial of the USB device that the disk is, or hangs on; never that of the hub above it. */
function usbSerialOf(disk: string): string | undefined {
  let directory = realpathOrUndefined(join(disk, 'device'));
  for (let level = 0; directory && level < usbAncestorMax; level++) {
    if (readAttribute(directory, 'idVendor')) return readAttribute(directory, 'serial');
    directory = dirname(directory);
  }
  return undefined;
}

/** What the kernel would split is not one command. */
function commandBytesMax(disk: string, sectorBytes: number): number {
  const limits = [readBytesMax];
  const sectorsKib = readNumber(disk, 'queue/max_sectors_kb');
  const segments = readNumber(disk, 'queue/max_segments');
  if (sectorsKib) limits.push(sectorsKib * 1024);
  if (segments) limits.push(segments * pageBytes);
  const bytes = Math.min(...limits);
  return Math.max(sectorBytes, bytes - (bytes % sectorBytes));
}

function readNumber(directory: string, name: string): number | undefined {
  const value = Number(readAttribute(directory, name));
  return value > 0 ? value : undefined;
}

/** One attribute of /sys, trimmed; undefined where it is absent, unreadable or empty. */
function readAttribute(
  directory: string,
  name: string,
  encoding: 'utf8' | 'latin1' = 'utf8',
): string | undefined {
  try {
    return readFileSync(join(directory, name), encoding).trim() || undefined;
  } catch {
    return undefined;
  }
}

function realpathOrUndefined(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** Closes what may be dead already. */
export function closeQuietly(descriptor: number): void {
  try {
    closeSync(descriptor);
  } catch {
    // The error would be about data that this program never wrote.
  }
}
