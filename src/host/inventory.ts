/** What is plugged in, as /sys shows it. No device is opened or asked anything. */
import { basename } from 'node:path';
import { type BlockDevice, blockDevices } from './block-devices.js';
import { type HostFiles, lineOf } from './host.js';

export interface UsbInterface {
  readonly class: number;
  readonly subClass: number;
  readonly protocol: number;
  /** The kernel's driver for it, where it has one. */
  readonly driver?: string;
}

/** A USB device; ids in lower-case hex of four digits. */
export interface UsbDevice {
  readonly vendorId: string;
  readonly productId: string;
  readonly serial?: string;
  readonly product?: string;
  /** Where it is plugged in: `1-1.4`. */
  readonly location: string;
  /** The folder in /sys, and the node that libusb opens, on Linux. */
  readonly directory?: string;
  readonly node?: string;
  readonly class: number;
  readonly interfaces: readonly UsbInterface[];
}

/** A serial port, and the USB device that it belongs to. */
export interface SerialPort {
  readonly path: string;
  /** Major and minor number, on Linux. */
  readonly number?: string;
  /** udev's lasting name for it. */
  readonly lastingName?: string;
  readonly usb?: UsbDevice;
}

/** A SCSI generic node. */
export interface SgNode {
  readonly node: string;
  readonly directory: string;
  readonly model: string;
  /** The disk that it is another node of; undefined where the kernel made none. */
  readonly disk?: string;
}

export interface Inventory {
  readonly usb: readonly UsbDevice[];
  readonly ports: readonly SerialPort[];
  readonly disks: readonly BlockDevice[];
  readonly sgNodes: readonly SgNode[];
}

/** Everything that a drive, an imager or a switch could be. */
export function inventoryOf(host: HostFiles): Inventory {
  const usb = usbDevices(host);
  return {
    usb,
    ports: serialPorts(host, usb),
    disks: [...blockDevices(host).values()].filter(isDisk),
    sgNodes: sgNodes(host),
  };
}

const hubClass = 9;
const rootHubVendor = '1d6b';
const usbFolder = '/sys/bus/usb/devices';

function usbDevices(host: HostFiles): UsbDevice[] {
  const names = host.list(usbFolder);
  return names.flatMap((name) => {
    const directory = host.realpath(`${usbFolder}/${name}`);
    const text = (attribute: string) => lineOf(host, `${directory}/${attribute}`);
    const vendorId = text('idVendor');
    const productId = text('idProduct');
    if (!directory || !vendorId || !productId || vendorId === rootHubVendor) return [];
    const [serial, product] = [text('serial'), text('product')];
    const digits = (attribute: string) => text(attribute)?.padStart(3, '0');
    const interfaces = names.filter((each) => each.startsWith(`${name}:`));
    return [
      {
        vendorId,
        productId,
        ...(serial && { serial }),
        ...(product && { product }),
        location: name,
        directory,
        node: `/dev/bus/usb/${digits('busnum')}/${digits('devnum')}`,
        class: hex(text('bDeviceClass')),
        interfaces: interfaces.map((each) => interfaceAt(host, `${usbFolder}/${each}`)),
      },
    ];
  });
}

function interfaceAt(host: HostFiles, folder: string): UsbInterface {
  const code = (attribute: string) => hex(lineOf(host, `${folder}/${attribute}`));
  const driver = host.realpath(`${folder}/driver`);
  return {
    class: code('bInterfaceClass'),
    subClass: code('bInterfaceSubClass'),
    protocol: code('bInterfaceProtocol'),
    ...(driver && { driver: basename(driver) }),
  };
}

function hex(text: string | undefined): number {
  return Number.parseInt(text ?? '0', 16);
}

/** Ports of USB devices. What is soldered to the board is listed whether it is there or not, and seldom an
 * imager's. */
function serialPorts(host: HostFiles, usb: readonly UsbDevice[]): SerialPort[] {
  const links = host.list('/dev/serial/by-id').map((name) => `/dev/serial/by-id/${name}`);
  return host.list('/sys/class/tty').flatMap((name) => {
    const directory = host.realpath(`/sys/class/tty/${name}`);
    const owner = directory === undefined ? undefined : usbDeviceOf(usb, directory);
    if (!owner) return [];
    const path = `/dev/${name}`;
    const number = lineOf(host, `${directory}/dev`);
    const lastingName = links.find((link) => host.realpath(link) === path);
    return [{ path, ...(number && { number }), ...(lastingName && { lastingName }), usb: owner }];
  });
}

/** Drives, not what the kernel makes of memory, of other drives, or of nothing. */
function isDisk({ name, disk, backingFile }: BlockDevice): boolean {
  if (disk || /^(?:ram|zram|dm-|md|sr|fd|nbd|mtdblock)/.test(name)) return false;
  return !name.startsWith('loop') || backingFile !== undefined;
}

/** Peripheral device type of a direct-access device (SPC-4 table 138). */
const directAccess = '0';

function sgNodes(host: HostFiles): SgNode[] {
  return host.list('/sys/class/scsi_generic').flatMap((name) => {
    const directory = host.realpath(`/sys/class/scsi_generic/${name}/device`);
    if (!directory || lineOf(host, `${directory}/type`) !== directAccess) return [];
    const [disk] = host.list(`${directory}/block`);
    const model = lineOf(host, `${directory}/model`) ?? 'SCSI device';
    return [{ node: `/dev/${name}`, directory, model, ...(disk && { disk }) }];
  });
}

/** How a disk is attached, by its place in /sys. */
export function transportOf({ directory, backingFile }: BlockDevice): string {
  if (backingFile) return 'loop device';
  if (/\/usb\d+\//.test(directory)) return 'USB';
  if (/\/ata\d+\//.test(directory)) return 'SATA';
  if (directory.includes('/nvme/')) return 'NVMe';
  if (directory.includes('/mmc_host/')) return 'card';
  if (directory.includes('/virtio')) return 'virtio';
  return /\/host\d+\//.test(directory) ? 'SCSI' : 'block device';
}

/** The USB device that a disk hangs on. */
export function usbDeviceOf(usb: readonly UsbDevice[], directory: string): UsbDevice | undefined {
  return usb
    .filter((device) => device.directory && directory.startsWith(`${device.directory}/`))
    .sort((a, b) => b.location.length - a.location.length)[0];
}

export type UsbRole = 'imager' | 'bulk-only adapter' | 'UAS adapter' | 'relay board' | 'hub';

const massStorage = { class: 8, bulkOnly: 0x50, uas: 0x62 } as const;
const imagerInterface = { class: 0xff, subClass: 0x4c, protocol: 1 } as const;
const hidRelay = '16c0:05df';

/** What a USB device is taken for; undefined for what is none of ours. */
export function roleOf(device: UsbDevice): UsbRole | undefined {
  const { interfaces } = device;
  const storage = interfaces.filter((each) => each.class === massStorage.class);
  if (
    interfaces.some(
      (each) =>
        each.class === imagerInterface.class &&
        each.subClass === imagerInterface.subClass &&
        each.protocol === imagerInterface.protocol,
    )
  ) {
    return 'imager';
  }
  if (storage.some(({ protocol, driver }) => protocol === massStorage.uas || driver === 'uas')) {
    return 'UAS adapter';
  }
  if (storage.some(({ protocol }) => protocol === massStorage.bulkOnly)) return 'bulk-only adapter';
  if (idsOf(device) === hidRelay) return 'relay board';
  return device.class === hubClass ? 'hub' : undefined;
}

/** `1209:0001`. */
export function idsOf({ vendorId, productId }: UsbDevice): string {
  return `${vendorId}:${productId}`;
}

/** A name on the command line by vendor, product and, where it has one, serial number. */
export function usbSpec(scheme: 'usb' | 'usb-bot', device: UsbDevice): string {
  return [scheme, idsOf(device), ...(device.serial ? [device.serial] : [])].join(':');
}
