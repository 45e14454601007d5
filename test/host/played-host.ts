/** A small /sys, /proc and /dev, as text. */
import { dirname, join } from 'node:path';
import type { HostFiles } from '../../src/host/host.js';

export interface PlayedHost extends HostFiles {
  readonly files: Map<string, string>;
  readonly links: Map<string, string>;
  /** Block devices' nodes: path to `8:0`. */
  readonly nodes: Map<string, string>;
  /** What is mounted where: folder to the number of its file system. */
  readonly fileSystems: Map<string, string>;
  /** Nodes that may not be opened, and the group that may. */
  readonly denied: Map<string, number>;
  readonly mounts: string[];
  /** Adds a block device, with its node. */
  add(name: string, device: PlayedDevice): string;
  remove(name: string): void;
  /** Mounts a device's file system. */
  mount(name: string, at: string, fileSystem?: string): void;
  run(...programs: string[]): void;
  /** udev's notes on a block device. */
  note(name: string, ...notes: string[]): void;
}

export interface PlayedDevice {
  readonly number: string;
  /** Its folder in /sys; of a partition that of its disk with the name added. */
  readonly directory: string;
  readonly partition?: number;
  readonly sectors?: number;
  readonly isReadOnly?: boolean;
  readonly sequence?: number;
  readonly madeOf?: readonly string[];
  readonly attributes?: Readonly<Record<string, string>>;
}

export function playedHost(): PlayedHost {
  const files = new Map<string, string>();
  const links = new Map<string, string>();
  const nodes = new Map<string, string>();
  const fileSystems = new Map<string, string>([['/', '0:1']]);
  const denied = new Map<string, number>();
  const mounts: string[] = [];
  const paths = () => [...files.keys(), ...links.keys(), ...nodes.keys()];

  function realpath(path: string): string | undefined {
    let real = '/';
    for (const part of path.split('/').filter((each) => each !== '')) {
      real = join(real, part);
      const target = links.get(real);
      if (target !== undefined) real = realpath(join(dirname(real), target)) ?? target;
    }
    const exists = paths().some((each) => each === real || each.startsWith(`${real}/`));
    return exists ? real : undefined;
  }

  const host: PlayedHost = {
    files,
    links,
    nodes,
    fileSystems,
    denied,
    mounts,
    read: (path) => {
      if (path === '/proc/self/mountinfo') return mounts.join('\n');
      return files.get(realpath(path) ?? path);
    },
    list(path) {
      const real = realpath(path);
      if (real === undefined) return [];
      const below = paths().filter((each) => each.startsWith(`${real}/`));
      return [...new Set(below.map((each) => each.slice(real.length + 1).split('/')[0]!))].sort();
    },
    realpath,
    blockNumber: (path) => nodes.get(realpath(path) ?? path),
    fileSystemNumber(path) {
      const fits = [...fileSystems.keys()].filter((at) => `${path}/`.startsWith(join(at, '/')));
      return fileSystems.get(fits.sort((a, b) => b.length - a.length)[0]!);
    },
    mayOpen: (path) => (realpath(path) === undefined ? undefined : !denied.has(path)),
    groupOf: (path) => denied.get(path),
    add(name, device) {
      const { number, directory, partition, sectors = 2048, madeOf = [] } = device;
      const below = partition === undefined ? directory : `${directory}/${name}`;
      const set = (attribute: string, text: string) => files.set(`${below}/${attribute}`, text);
      links.set(`/sys/class/block/${name}`, below);
      links.set(`/sys/dev/block/${number}`, below);
      nodes.set(`/dev/${name}`, number);
      set('dev', `${number}\n`);
      set('size', `${sectors}\n`);
      set('ro', device.isReadOnly ? '1\n' : '0\n');
      if (partition !== undefined) set('partition', `${partition}\n`);
      if (device.sequence !== undefined) set('diskseq', `${device.sequence}\n`);
      for (const [attribute, text] of Object.entries(device.attributes ?? {})) set(attribute, text);
      for (const part of madeOf) {
        const folder = realpath(`/sys/class/block/${part}`)!;
        links.set(`${folder}/holders/${name}`, below);
        links.set(`${below}/slaves/${part}`, folder);
      }
      return below;
    },
    remove(name) {
      const folder = realpath(`/sys/class/block/${name}`)!;
      for (const map of [files, links]) {
        for (const path of [...map.keys()]) if (path.startsWith(`${folder}/`)) map.delete(path);
      }
      for (const [link, target] of [...links]) {
        if (target === folder || target.startsWith(`${folder}/`)) links.delete(link);
      }
      nodes.delete(`/dev/${name}`);
    },
    mount(name, at, fileSystem = 'ext4') {
      const number = nodes.get(`/dev/${name}`)!;
      const place = at.replaceAll(' ', '\\040');
      mounts.push(`30 1 ${number} / ${place} rw,relatime - ${fileSystem} /dev/${name} rw`);
      fileSystems.set(at, number);
    },
    run(...programs) {
      for (const [at, program] of programs.entries())
        files.set(`/proc/${900 + at}/comm`, `${program}\n`);
    },
    note(name, ...notes) {
      const number = nodes.get(`/dev/${name}`)!;
      files.set(`/run/udev/data/b${number}`, notes.map((note) => `E:${note}\n`).join(''));
    },
  };
  return host;
}

const pci = '/sys/devices/pci0000:00';
export const sataFolder = `${pci}/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda`;
export const usbFolder = `${pci}/0000:00:14.0/usb1/1-1/1-1.4`;

/** A SATA disk `sda` with two partitions, of which nothing is in use. */
export function withSataDisk(host = playedHost()): PlayedHost {
  const wwid = 't10.ATA     ST1000DM003-1CH162                      S1DABCDE';
  host.add('sda', { number: '8:0', directory: sataFolder, sectors: 1_953_525_168, sequence: 5 });
  host.files.set(`${dirname(dirname(sataFolder))}/wwid`, `${wwid}\n`);
  host.files.set(`${dirname(dirname(sataFolder))}/model`, 'ST1000DM003\n');
  host.links.set(`${sataFolder}/device`, '../..');
  for (const partition of [1, 2]) {
    host.add(`sda${partition}`, { number: `8:${partition}`, directory: sataFolder, partition });
  }
  return host;
}

/** A disk behind a USB adapter on a hub, as `name`. */
export function addUsbDisk(
  host: PlayedHost,
  name: string,
  number: string,
  { sequence = 9, serial = 'DD564198838B6', driver = 'usb-storage' } = {},
): void {
  const drivers = '/sys/bus/usb/drivers';
  const text = (folder: string, attributes: Record<string, string>) => {
    for (const [attribute, line] of Object.entries(attributes)) {
      host.files.set(`${folder}/${attribute}`, `${line}\n`);
    }
  };
  const hub = dirname(usbFolder);
  text(hub, { idVendor: '05e3', idProduct: '0608', bDeviceClass: '09', busnum: '1', devnum: '2' });
  text(usbFolder, { idVendor: '174c', idProduct: '55aa', serial, product: 'ASM1153E' });
  text(usbFolder, { bDeviceClass: '00', busnum: '1', devnum: '7' });
  const protocol = driver === 'uas' ? '62' : '50';
  const usbInterface = `${usbFolder}/1-1.4:1.0`;
  text(usbInterface, {
    bInterfaceClass: '08',
    bInterfaceSubClass: '06',
    bInterfaceProtocol: protocol,
  });
  host.files.set(`${drivers}/${driver}/bind`, '');
  host.links.set(`${usbInterface}/driver`, `${drivers}/${driver}`);
  host.links.set('/sys/bus/usb/devices/1-1', hub);
  host.links.set('/sys/bus/usb/devices/1-1.4', usbFolder);
  host.links.set('/sys/bus/usb/devices/1-1.4:1.0', usbInterface);
  host.nodes.delete('/dev/bus/usb/001/007');
  host.files.set('/dev/bus/usb/001/007', '');
  const scsi = `${usbInterface}/host6/target6:0:0/6:0:0:0`;
  host.add(name, { number, directory: `${scsi}/block/${name}`, sequence, sectors: 4096 });
  text(scsi, { model: 'USB3.0 Bridge', vendor: 'ASMT', type: '0' });
  host.links.set(`${scsi}/block/${name}/device`, '../..');
  host.links.set('/sys/class/scsi_generic/sg3/device', scsi);
  host.files.set('/sys/class/scsi_generic/sg3/dev', '21:3\n');
  host.files.set('/dev/sg3', '');
}
