/** What udev has noted of devices, and rules that tell it to keep away. */
import { basename, dirname } from 'node:path';
import type { BlockDevice, BlockDevices } from './block-devices.js';
import { type HostFiles, lineOf } from './host.js';

/** Before 60-block.rules and 60-persistent-storage.rules, which make udev read the drive. */
export const keepAwayRulePath = '/etc/udev/rules.d/59-lastspin.rules';
/** Before 73-seat-late.rules, which hands out what is tagged `uaccess`. */
export const accessRulePath = '/etc/udev/rules.d/70-lastspin.rules';

/** udev's notes on a device; `kind` is `b` for block and `c` for character devices. Empty where udev does not run. */
export function udevProperties(
  host: HostFiles,
  kind: 'b' | 'c',
  number: string,
): ReadonlyMap<string, string> {
  const text = host.read(`/run/udev/data/${kind}${number}`) ?? '';
  const lines = [...text.matchAll(/^E:([^=\n]+)=(.*)$/gm)];
  return new Map(lines.map(([, name = '', value = '']) => [name, value]));
}

/** How a drive is known again: in udev's words, and by a name for it. */
export interface Match {
  readonly words: string;
  readonly name: string;
  /** Whether the words hold for another drive at the same place as well. */
  readonly isOfPlace: boolean;
}

/** Rules that keep udisks, systemd, RAID, LVM and udev's own probes off a drive each time that it appears, and set
 * it read-only before anybody else is told of it. The kernel still looks for partitions by itself. The
 * drive is then `/dev/lastspin/NAME`, whatever the kernel calls it. */
export function keepAwayRule(
  host: HostFiles,
  devices: BlockDevices,
  device: BlockDevice,
): { readonly rule: string; readonly link: string } {
  const disk = (device.disk && devices.get(device.disk)) || device;
  const { words, name } = matchOf(host, disk);
  const match = `SUBSYSTEM=="block", ACTION!="remove", ${words}`;
  const keep = [
    'ENV{UDISKS_IGNORE}="1"',
    'ENV{SYSTEMD_READY}="0"',
    'ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"',
    'RUN+="/sbin/blockdev --setro $devnode"',
  ];
  const link = `lastspin/${name.replaceAll(/[^\w-]+/g, '_')}`;
  const lines = [
    `${match}, ${keep.join(', ')}`,
    `${match}, ENV{DEVTYPE}=="disk", SYMLINK+="${link}"`,
  ];
  return { rule: lines.join('\n'), link: `/dev/${link}` };
}

/** How `disk` is told from other drives: by the serial number of its USB bridge, its own, or where it is. */
export function matchOf(host: HostFiles, disk: BlockDevice): Match {
  const usb = usbFolderAbove(host, disk.directory);
  if (usb) return usbMatch(usb);
  const own = (attribute: string) => lineOf(host, `${disk.directory}/device/${attribute}`);
  const wwid = own('wwid');
  if (wwid) {
    const name = wwid.replace(/^\w+\.(?:ATA +)?/, '');
    return { words: `ATTRS{wwid}=="${patternOf(wwid)}"`, name, isOfPlace: false };
  }
  const serial = own('serial');
  if (serial) {
    return { words: `ATTRS{serial}=="${patternOf(serial)}"`, name: serial, isOfPlace: false };
  }
  const place = basename(host.realpath(`${disk.directory}/device`) ?? disk.name);
  return { words: `KERNELS=="${patternOf(place)}"`, name: disk.name, isOfPlace: true };
}

function usbMatch({ vendorId, productId, serial }: UsbFolder): Match {
  const ids = `ATTRS{idVendor}=="${vendorId}", ATTRS{idProduct}=="${productId}"`;
  if (!serial) return { words: ids, name: `${vendorId}-${productId}`, isOfPlace: false };
  const words = `${ids}, ATTRS{serial}=="${patternOf(serial)}"`;
  return { words, name: serial, isOfPlace: false };
}

/** The USB device that a folder of /sys lies in, at most so many levels up. */
const levelMax = 12;

export interface UsbFolder {
  readonly directory: string;
  readonly vendorId: string;
  readonly productId: string;
  readonly serial?: string;
}

/** The nearest USB device that a folder of /sys belongs to. */
export function usbFolderAbove(host: HostFiles, folder: string): UsbFolder | undefined {
  let directory = folder;
  for (let level = 0; level < levelMax && directory.startsWith('/sys/devices/'); level++) {
    const vendorId = lineOf(host, `${directory}/idVendor`);
    const productId = lineOf(host, `${directory}/idProduct`);
    const serial = lineOf(host, `${directory}/serial`);
    if (vendorId && productId) return { directory, vendorId, productId, ...(serial && { serial }) };
    directory = dirname(directory);
  }
  return undefined;
}

/** Text in one of udev's patterns, where some characters mean more than themselves. */
function patternOf(text: string): string {
  return text.trim().replaceAll(/[*?[\]|"\\]|[^\x20-\x7e]/g, '?');
}

/** A rule that lets whoever sits at the computer open a USB device, and a port on it, and keeps ModemManager from
 * talking to it. */
export function accessRule({ vendorId, productId }: UsbIds): string {
  const own = `ATTR{idVendor}=="${vendorId}", ATTR{idProduct}=="${productId}"`;
  const above = `ATTRS{idVendor}=="${vendorId}", ATTRS{idProduct}=="${productId}"`;
  return [
    `SUBSYSTEM=="usb", ${own}, TAG+="uaccess", ENV{ID_MM_DEVICE_IGNORE}="1"`,
    `SUBSYSTEM=="tty", ${above}, TAG+="uaccess", ENV{ID_MM_DEVICE_IGNORE}="1"`,
  ].join('\n');
}

interface UsbIds {
  readonly vendorId: string;
  readonly productId: string;
}
