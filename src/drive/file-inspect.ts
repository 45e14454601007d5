/** What Linux tells of a block device without reading from it: attributes of /sys, and what its size is by
 * ioctl. */

import { dirname, join } from 'node:path';
import { deviceReadBytesMax, type Inspection } from './file-records.js';
import type { DeviceSize } from './ioctl.js';

/** Where /sys is looked at. */
export interface Sysfs {
  /** An attribute's text; undefined where it is absent or unreadable. Latin-1, as some are
   * binary. */
  read(path: string): string | undefined;
  /** The path without links; undefined where there is none. */
  realpath(path: string): string | undefined;
}

/** Linux counts a device's size in these units whatever its sector size (Documentation/ABI,
 * sysfs-block `size`). */
const sysfsSizeUnitBytes = 512;
/** One scattered page of a buffer fills one segment of a command. */
const pageBytes = 4096;
/** A USB device sits this many directories above its disk at most: host, target, lun, interface. */
const usbAncestorMax = 8;

/** Looks at the block device with the number `deviceNumber` (`rdev` of stat), opened past the page
 * cache or not. `told`: what the device itself was asked for, which goes before what /sys says; where there is
 * no /sys it is all there is. */
export function inspectDevice(
  deviceNumber: number,
  isDirect: boolean,
  sysfs: Sysfs,
  told?: DeviceSize,
): Inspection {
  const { major, minor } = splitDeviceNumber(deviceNumber);
  // By number, not by name: it holds for links, partitions and device mapper alike.
  const directory = sysfs.realpath(`/sys/dev/block/${major}:${minor}`);
  const size = directory && attributesOf(sysfs, directory)('size');
  if (!directory || !size) return told ? nameless(isDirect, told) : { state: 'no-size' };
  const partition = attributesOf(sysfs, directory)('partition');
  const disk = partition ? dirname(directory) : directory;
  const attribute = attributesOf(sysfs, disk);
  const serial = serialOf(attribute, usbSerialOf(sysfs, disk));
  const sectorBytes = told?.sectorBytes || positive(attribute('queue/logical_block_size'));
  const physicalSectorBytes =
    told?.physicalSectorBytes || positive(attribute('queue/physical_block_size'));
  return {
    state: 'open',
    path: {
      isDirect,
      model: modelOf(attribute),
      serial: partition && serial ? `${serial}-part${partition}` : serial,
      firmware:
        attribute('device/rev') ??
        attribute('device/firmware_rev') ??
        attribute('device/fwrev') ??
        '',
      sizeBytes: told?.sizeBytes ?? Number(size) * sysfsSizeUnitBytes,
      readBytesMax: commandBytesMax(attribute, sectorBytes ?? sysfsSizeUnitBytes),
      ...(sectorBytes && { sectorBytes }),
      ...(physicalSectorBytes && { physicalSectorBytes }),
    },
  };
}

/** A device of which nothing is known but its size. */
function nameless(isDirect: boolean, told: DeviceSize): Inspection {
  const names = { model: 'block device', serial: '', firmware: '' };
  return { state: 'open', path: { isDirect, ...names, ...told, readBytesMax: deviceReadBytesMax } };
}

/** Reads attributes below a directory: trimmed, undefined where there is nothing. */
type Attribute = (name: string) => string | undefined;

function attributesOf(sysfs: Sysfs, directory: string): Attribute {
  return (name) => sysfs.read(join(directory, name))?.trim() || undefined;
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

function modelOf(attribute: Attribute): string {
  const model = attribute('device/model') ?? attribute('device/name');
  if (!model) return 'block device';
  const vendor = attribute('device/vendor');
  // libata's placeholder says nothing, and a number names a bus's vendor, not the drive's.
  return !vendor || vendor === 'ATA' || vendor.startsWith('0x') ? model : `${vendor} ${model}`;
}

/** The drive's own serial number, or what stands for it; empty where the drive tells none: a name
 * like sdb or a device number belongs to the port's moment, and changes with a power cycle. */
function serialOf(attribute: Attribute, usbSerial: string | undefined): string {
  // The Unit Serial Number page as the kernel keeps it: a header of 4 bytes (SPC-4 clause 7.8.15).
  const unitSerial = attribute('device/vpd_pg80')?.slice(4).trim() || undefined;
  return (
    attribute('device/serial') ??
    unitSerial ??
    usbSerial ??
    attribute('device/wwid') ??
    attribute('wwid') ??
    attribute('serial') ??
    attribute('dm/uuid') ??
    attribute('md/uuid') ??
    attribute('loop/backing_file') ??
    ''
  );
}

/** The serial of the USB device that the disk is, or hangs on; never that of the hub above it. */
function usbSerialOf(sysfs: Sysfs, disk: string): string | undefined {
  let directory = sysfs.realpath(join(disk, 'device'));
  for (let level = 0; directory && level < usbAncestorMax; level++) {
    const attribute = attributesOf(sysfs, directory);
    if (attribute('idVendor')) return attribute('serial');
    directory = dirname(directory);
  }
  return undefined;
}

/** What the kernel would split is not one command. */
function commandBytesMax(attribute: Attribute, sectorBytes: number): number {
  const limits = [deviceReadBytesMax];
  const sectorsKib = positive(attribute('queue/max_sectors_kb'));
  const segments = positive(attribute('queue/max_segments'));
  if (sectorsKib) limits.push(sectorsKib * 1024);
  if (segments) limits.push(segments * pageBytes);
  const bytes = Math.min(...limits);
  return Math.max(sectorBytes, bytes - (bytes % sectorBytes));
}

function positive(text: string | undefined): number | undefined {
  const value = Number(text);
  return value > 0 ? value : undefined;
}
