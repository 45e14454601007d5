/** Block devices as /sys shows them, and what lies on what. */
import { basename, dirname } from 'node:path';
import { type HostFiles, lineOf } from './host.js';

export interface BlockDevice {
  /** The kernel's name: `sda1`. */
  readonly name: string;
  /** Its node. */
  readonly node: string;
  /** `8:1`. */
  readonly number: string;
  /** Its folder in /sys. */
  readonly directory: string;
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  /** Tells a device from another that got its name later (Linux 5.15). */
  readonly sequence?: string;
  /** The disk that it is a partition of. */
  readonly disk?: string;
  readonly partitions: readonly string[];
  /** Devices that are made of it: RAID, LVM, encryption. */
  readonly holders: readonly string[];
  /** Devices that it is made of. */
  readonly slaves: readonly string[];
  /** Of a loop device: the file or device that it shows. */
  readonly backingFile?: string;
}

export type BlockDevices = ReadonlyMap<string, BlockDevice>;

/** Linux counts sizes in these units whatever the sector size (Documentation/ABI, sysfs-block). */
const sizeUnitBytes = 512;
const classFolder = '/sys/class/block';

/** All block devices by name. Empty where there is no /sys. */
export function blockDevices(host: HostFiles): BlockDevices {
  const seen = host.list(classFolder).flatMap((name) => deviceIn(host, name) ?? []);
  const devices = new Map(seen.map((device) => [device.name, device]));
  for (const device of seen) {
    if (!device.disk) continue;
    const disk = devices.get(device.disk);
    if (disk) devices.set(disk.name, { ...disk, partitions: [...disk.partitions, device.name] });
  }
  return devices;
}

function deviceIn(host: HostFiles, name: string): BlockDevice | undefined {
  const directory = host.realpath(`${classFolder}/${name}`);
  const number = directory && lineOf(host, `${directory}/dev`);
  if (!directory || !number) return undefined;
  const isPartition = lineOf(host, `${directory}/partition`) !== undefined;
  const sequence = lineOf(host, `${isPartition ? dirname(directory) : directory}/diskseq`);
  const backingFile = lineOf(host, `${directory}/loop/backing_file`);
  return {
    name,
    // A slash in a device's name is an exclamation mark in /sys.
    node: `/dev/${name.replaceAll('!', '/')}`,
    number,
    directory,
    sizeBytes: Number(lineOf(host, `${directory}/size`) ?? 0) * sizeUnitBytes,
    isReadOnly: lineOf(host, `${directory}/ro`) === '1',
    ...(sequence && { sequence }),
    ...(isPartition && { disk: basename(dirname(directory)) }),
    partitions: [],
    holders: host.list(`${directory}/holders`),
    slaves: host.list(`${directory}/slaves`),
    ...(backingFile && { backingFile }),
  };
}

/** The device that a path (a node, a link to one, `/dev/mapper/NAME`) names. */
export function deviceAt(
  host: HostFiles,
  devices: BlockDevices,
  path: string,
): BlockDevice | undefined {
  const number = host.blockNumber(path);
  return number === undefined ? undefined : withNumber(devices, number);
}

export function withNumber(devices: BlockDevices, number: string): BlockDevice | undefined {
  return [...devices.values()].find((device) => device.number === number);
}

/** The device, and its partitions where it is a disk. */
export function withPartitions(devices: BlockDevices, device: BlockDevice): BlockDevice[] {
  return [device, ...device.partitions.flatMap((name) => devices.get(name) ?? [])];
}

/** Where the device's bytes are in the end: itself, the disk that it is a partition of, what it is made of.
 * `intoFiles`: for a loop device also what its file lies on. */
export function devicesBelow(
  host: HostFiles,
  devices: BlockDevices,
  device: BlockDevice,
  intoFiles: boolean,
): ReadonlySet<string> {
  const found = new Set<string>();
  const descend = (each: BlockDevice | undefined) => {
    if (!each || found.has(each.name)) return;
    found.add(each.name);
    for (const name of [...(each.disk ? [each.disk] : []), ...each.slaves]) {
      descend(devices.get(name));
    }
    if (intoFiles && each.backingFile) {
      for (const below of devicesUnderPath(host, devices, each.backingFile)) {
        descend(devices.get(below));
      }
    }
  };
  descend(device);
  return found;
}

/** Files whose bytes a device shows: of loop devices, itself or what it is made of. */
export function backingFilesBelow(
  host: HostFiles,
  devices: BlockDevices,
  device: BlockDevice,
): string[] {
  const below = [...devicesBelow(host, devices, device, false)];
  return below.flatMap((name) => {
    const file = devices.get(name)?.backingFile;
    if (file === undefined) return [];
    const under = deviceAt(host, devices, file);
    return under ? backingFilesBelow(host, devices, under) : [file];
  });
}

/** Names of the devices that a path's bytes go to in the end: those below its file system, or below the device
 * that it is. Empty where nothing can be told: a network, memory. */
export function devicesUnderPath(
  host: HostFiles,
  devices: BlockDevices,
  path: string,
): ReadonlySet<string> {
  const own = deviceAt(host, devices, path);
  const under = own ? [own] : fileSystemDevices(host, devices, host.fileSystemNumber(path));
  const names = under.flatMap((device) => [...devicesBelow(host, devices, device, true)]);
  return new Set(names);
}

export interface Mount {
  readonly number: string;
  /** Where it is mounted. */
  readonly at: string;
  readonly fileSystem: string;
  readonly source: string;
  readonly options: string;
}

/** Mounts that this process sees (proc(5), /proc/PID/mountinfo). */
export function mountsOf(host: HostFiles): Mount[] {
  const lines = host.read('/proc/self/mountinfo')?.split('\n') ?? [];
  return lines.flatMap((line) => {
    const [left = '', right = ''] = line.split(' - ', 2);
    const [, , number, , at] = left.split(' ');
    const [fileSystem, source, options = ''] = right.split(' ');
    if (!number || !at || !fileSystem || source === undefined) return [];
    return [{ number, at: unescaped(at), fileSystem, source: unescaped(source), options }];
  });
}

/** Blanks and the like are octal numbers in these tables. */
export function unescaped(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
}

/** The devices of a mounted file system: of btrfs all that it spans. */
export function devicesOfMount(host: HostFiles, devices: BlockDevices, mount: Mount) {
  const device = withNumber(devices, mount.number) ?? deviceAt(host, devices, mount.source);
  if (!device) return [];
  if (mount.fileSystem !== 'btrfs') return [device];
  const spans = host.list('/sys/fs/btrfs').map((id) => host.list(`/sys/fs/btrfs/${id}/devices`));
  const span = spans.find((names) => names.includes(device.name)) ?? [device.name];
  return span.flatMap((name) => devices.get(name) ?? []);
}

function fileSystemDevices(
  host: HostFiles,
  devices: BlockDevices,
  number: string | undefined,
  isLayer = false,
): BlockDevice[] {
  if (number === undefined) return [];
  const mounts = mountsOf(host).filter((mount) => mount.number === number);
  const found = mounts.flatMap((mount) => devicesOfMount(host, devices, mount));
  const own = withNumber(devices, number);
  if (own) found.push(own);
  // An overlay writes to its upper layer.
  const upper = mounts.map(({ options }) => /(?:^|,)upperdir=([^,]+)/.exec(options)?.[1])[0];
  if (upper === undefined || isLayer) return found;
  return fileSystemDevices(host, devices, host.fileSystemNumber(unescaped(upper)), true);
}
