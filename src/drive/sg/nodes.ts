/** Which /dev/sg node is meant, what stands behind it, and where it is when it comes back under another
 * name: by what Linux keeps in /sys, without a command to the drive. */
import { basename, dirname, join } from 'node:path';
import { LastspinError } from '../../errors.js';

/** Where /sys is looked at. */
export interface SgSysfs {
  /** An attribute's text (Latin-1); undefined where it is absent or unreadable. */
  read(path: string): string | undefined;
  /** The path without links; undefined where there is none. */
  realpath(path: string): string | undefined;
  /** Names in a folder; none where there is no such folder. */
  list(path: string): readonly string[];
}

/** The layout of Linux's dev_t in user space (glibc's gnu_dev_major and gnu_dev_minor), as far as Linux
 * uses it. */
export function splitDeviceNumber(deviceNumber: number): { major: number; minor: number } {
  return {
    major: (deviceNumber >>> 8) & 0xfff,
    minor: ((deviceNumber & 0xff) | ((deviceNumber >>> 12) & 0xffffff00)) >>> 0,
  };
}

/** What `stat` says of the path that the user named. */
export interface NamedFile {
  /** Without links. */
  readonly path: string;
  readonly kind: 'block' | 'character' | 'other';
  readonly major: number;
  readonly minor: number;
}

export interface UsbBridge {
  readonly vendorId: number;
  readonly productId: number;
  /** Empty where it has none. */
  readonly serial: string;
  readonly driver: string;
}

export interface SgNode {
  /** `/dev/sg2`. */
  readonly path: string;
  /** The SCSI device's folder in /sys. */
  readonly device: string;
  /** The host adapter's folder in /sys. */
  readonly host: string;
  /** `/dev/sdb`, where the kernel made a disk of it. */
  readonly blockPath?: string;
  /** libata drives it: it knows no SG_SCSI_RESET. */
  readonly isAta: boolean;
  /** The USB device that it hangs on, and the driver of its interface. */
  readonly usb?: UsbBridge;
  /** What the drive or its bridge is told apart by, as the kernel read it when it found the device. */
  readonly uniqueId?: string;
  /** The way to it from the processor, without the numbers that change when it comes back. */
  readonly place: string;
}

const classPath = '/sys/class/scsi_generic';
/** Peripheral device types that hold sectors (SPC-4 table 138): disk, CD/DVD, optical memory, simplified
 * disk. */
const typesWithSectors: ReadonlySet<string> = new Set(['0', '5', '7', '14']);
const sgMajorText = /^sg\d+$/;
/** A USB interface stands this far above the SCSI device at most: target, host, interface, device. */
const usbAncestorMax = 5;

/** The node that `file` names: itself, or that of a disk. Throws DRIVE_UNKNOWN for what takes no SCSI
 * commands, DRIVE_OPEN_FAILED where the kernel has not made a node, or holds it in a way that loses drives. */
export function findNode(file: NamedFile, sysfs: SgSysfs): SgNode {
  const name = file.kind === 'block' ? generic(file, sysfs) : basename(file.path);
  if (file.kind !== 'block' && (file.kind !== 'character' || !sgMajorText.test(name)))
    throw refusalOf(file);
  const node = describe(name, sysfs);
  if (!node) throw openFailed(`${file.path} has no SCSI device behind it; is it still plugged in?`);
  const type = sysfs.read(join(node.device, 'type'))?.trim() ?? '0';
  if (!typesWithSectors.has(type))
    throw new LastspinError(
      'DRIVE_UNKNOWN',
      `${file.path} holds no sectors (SCSI device type ${type})`,
    );
  refuseUas(node);
  return node;
}

/** The name of the sg node beside a block device. */
function generic(file: NamedFile, sysfs: SgSysfs): string {
  const folder = sysfs.realpath(`/sys/dev/block/${file.major}:${file.minor}`);
  if (folder && sysfs.read(join(folder, 'partition')))
    throw new LastspinError(
      'DRIVE_UNKNOWN',
      `${file.path} is a partition; commands go to whole drives: sg:/dev/${basename(dirname(folder))}`,
    );
  const device = folder && sysfs.realpath(join(folder, 'device'));
  if (!device || !sysfs.read(join(device, 'type'))) throw refusalOf(file);
  const [name] = sysfs.list(join(device, 'scsi_generic'));
  if (!name)
    throw openFailed(`${file.path} has no /dev/sg node; load the driver: sudo modprobe sg`);
  return name;
}

function refusalOf(file: NamedFile): LastspinError {
  const isNvme = /^(nvme|ng)\d/.test(basename(file.path));
  const why = isNvme ? 'speaks NVMe, not SCSI' : 'takes no SCSI commands';
  const instead =
    file.kind === 'block'
      ? `read it as a block device: file:${file.path}`
      : isNvme
        ? 'name its block device: file:/dev/nvme…n1'
        : 'name a disk or a /dev/sg node';
  return new LastspinError('DRIVE_UNKNOWN', `${file.path} ${why}; ${instead}`);
}

/** UAS takes a device away after an error for good; bulk-only transport keeps it. */
function refuseUas({ path, usb }: SgNode): void {
  if (usb?.driver !== 'uas') return;
  const quirk = `${hex(usb.vendorId)}:${hex(usb.productId)}:u`;
  throw openFailed(
    `${path} is driven by UAS, which loses failing drives; run: echo ${quirk} | sudo tee /sys/module/usb_storage/parameters/quirks, then plug the adapter in again`,
  );
}

function openFailed(message: string): LastspinError {
  return new LastspinError('DRIVE_OPEN_FAILED', message);
}

function hex(value: number): string {
  return value.toString(16).padStart(4, '0');
}

/** The node where the device of `before` is now: at its place, or with its identity anywhere. Where nothing
 * has its identity, whatever is at its place: a drive that lost its firmware has another name. Undefined
 * where there is none, or several. */
export function findAgain(before: SgNode, sysfs: SgSysfs): SgNode | undefined {
  const nodes = sysfs.list(classPath).flatMap((name) => describe(name, sysfs) ?? []);
  const same = nodes.filter(
    ({ uniqueId }) => uniqueId !== undefined && uniqueId === before.uniqueId,
  );
  const here = (some: readonly SgNode[]) => some.find(({ place }) => place === before.place);
  return here(same) ?? (same.length === 1 ? same[0] : undefined) ?? here(nodes);
}

/** Whether the kernel lets commands through to the device, and if not, whether it can be told to. */
export function stateOf(node: SgNode, sysfs: SgSysfs): 'online' | 'offline' | 'gone' {
  const state = sysfs.read(join(node.device, 'state'))?.trim();
  if (state === undefined || state === 'cancel' || state === 'deleted') return 'gone';
  return state === 'offline' || state === 'transport-offline' ? 'offline' : 'online';
}

function describe(name: string, sysfs: SgSysfs): SgNode | undefined {
  const device = sysfs.realpath(join(classPath, name, 'device'));
  if (!device) return undefined;
  const [block] = sysfs.list(join(device, 'block'));
  const usb = usbOf(device, sysfs);
  const uniqueId = uniqueIdOf(device, usb, sysfs);
  return {
    path: `/dev/${name}`,
    device,
    host: dirname(dirname(device)),
    isAta: /\/ata\d+\//.test(device),
    place: placeOf(device),
    ...(block && { blockPath: `/dev/${block}` }),
    ...(usb && { usb }),
    ...(uniqueId && { uniqueId }),
  };
}

/** Numbers of hosts are given anew when a device comes back; channel, target and unit are the device's. */
function placeOf(device: string): string {
  return device
    .replace(/\/host\d+\//, '/host/')
    .replace(/\/target\d+:/, '/target:')
    .replace(/\/\d+:(\d+:\d+:\d+)$/, '/$1');
}

/** The bridge that the device hangs on: its interface is named `2-1:1.0` and lies in its folder. */
function usbOf(device: string, sysfs: SgSysfs): UsbBridge | undefined {
  let folder = device;
  for (let level = 0; level < usbAncestorMax; level++) {
    const above = dirname(folder);
    const attribute = (name: string) => sysfs.read(join(above, name))?.trim() ?? '';
    if (attribute('idVendor')) {
      return {
        vendorId: Number.parseInt(attribute('idVendor'), 16),
        productId: Number.parseInt(attribute('idProduct'), 16),
        serial: attribute('serial'),
        driver: basename(sysfs.realpath(join(folder, 'driver')) ?? ''),
      };
    }
    folder = above;
  }
  return undefined;
}

function uniqueIdOf(
  device: string,
  usb: UsbBridge | undefined,
  sysfs: SgSysfs,
): string | undefined {
  const attribute = (name: string) => sysfs.read(join(device, name))?.trim() ?? '';
  const unit = basename(device).split(':').at(-1);
  const wwid = attribute('wwid');
  if (wwid) return wwid;
  const names = `${attribute('vendor')} ${attribute('model')}`;
  // The Unit Serial Number page as the kernel keeps it: a header of 4 bytes (SPC-4 clause 7.8.15).
  const serial = sysfs.read(join(device, 'vpd_pg80'))?.slice(4).trim() || usb?.serial;
  if (!serial) return undefined;
  return usb
    ? `${hex(usb.vendorId)}:${hex(usb.productId)} ${serial} ${names} ${unit}`
    : `${names} ${serial}`;
}
