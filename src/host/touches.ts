/** What of the operating system could touch a drive that hangs on this computer. */
import {
  type BlockDevice,
  type BlockDevices,
  blockDevices,
  mountsOf,
  unescaped,
  withPartitions,
} from './block-devices.js';
import type { Finding } from './finding.js';
import { type HostFiles, lineOf } from './host.js';
import { keepAwayRule, keepAwayRulePath, udevProperties } from './udev.js';
import { freedBy, quoted, usesOf } from './uses.js';

interface Program {
  readonly name: string;
  /** What it does to drives. */
  readonly does: string;
  readonly stop: string;
  /** It leaves alone what udev has told it to. */
  readonly heeds?: string;
}

/** Programs that look after drives unasked, by the name that /proc shows (15 characters). */
const programs: Readonly<Record<string, Program>> = {
  udisksd: {
    name: 'udisks',
    does: 'polls SMART every ten minutes, and desktops mount through it what appears',
    stop: 'sudo systemctl mask --runtime --now udisks2',
    heeds: 'UDISKS_IGNORE',
  },
  smartd: {
    name: 'smartd',
    does: 'polls SMART and may start self-tests; SMART commands have frozen drives',
    stop: 'sudo systemctl stop smartd',
  },
  hddtemp: {
    name: 'hddtemp',
    does: 'polls temperatures by SMART',
    stop: 'sudo systemctl stop hddtemp',
  },
  multipathd: {
    name: 'multipathd',
    does: 'reads from drives again and again, and takes them for its own',
    stop: 'sudo systemctl stop multipathd multipathd.socket',
  },
  devmon: { name: 'devmon', does: 'mounts what appears', stop: 'pkill -x devmon' },
};

/** Programs that are running, by the name that /proc shows. */
export function runningPrograms(host: HostFiles): ReadonlySet<string> {
  const pids = host.list('/proc').filter((name) => /^\d+$/.test(name));
  return new Set(pids.flatMap((pid) => lineOf(host, `/proc/${pid}/comm`) ?? []));
}

/** What could touch the drive while it is imaged. What already uses it is told by `usesOf`; whether it can be
 * written to at all, by `keepSystemOff`. */
export function touchesOf(
  host: HostFiles,
  device: BlockDevice,
  devices: BlockDevices = blockDevices(host),
): Finding[] {
  const disk = (device.disk && devices.get(device.disk)) || device;
  return [
    ...watchersOf(host, disk, devices),
    ...assemblersOf(host, disk, devices),
    ...automountsOf(host, disk, devices),
    ...neighboursOf(host, device, disk, devices),
  ];
}

function ruleFor(host: HostFiles, disk: BlockDevice, devices: BlockDevices) {
  return { path: keepAwayRulePath, text: keepAwayRule(host, devices, disk).rule };
}

function watchersOf(host: HostFiles, disk: BlockDevice, devices: BlockDevices): Finding[] {
  const properties = udevProperties(host, 'b', disk.number);
  const running = runningPrograms(host);
  return Object.entries(programs).flatMap(([command, { name, does, stop, heeds }]) => {
    if (!running.has(command) || (heeds && properties.get(heeds) === '1')) return [];
    const finding = { about: disk.node, what: `is watched by ${name}`, why: `it ${does}` };
    if (!heeds) return [{ ...finding, mend: stop }];
    const mend = `${stop}, or a udev rule`;
    return [{ ...finding, mend, rule: ruleFor(host, disk, devices) }];
  });
}

/** Contents that udev has seen, and the rules by which it puts such members together. */
const members: Readonly<Record<string, { readonly name: string; readonly rules: RegExp }>> = {
  linux_raid_member: { name: 'RAID', rules: /^64-md-raid-assembly\.rules$/ },
  LVM2_member: { name: 'LVM', rules: /^69-(?:dm-)?lvm.*\.rules$/ },
};
const ruleFolders = ['/usr/lib/udev/rules.d', '/lib/udev/rules.d', '/etc/udev/rules.d'];

function assemblersOf(host: HostFiles, disk: BlockDevice, devices: BlockDevices): Finding[] {
  const rules = ruleFolders.flatMap((folder) => host.list(folder));
  return withPartitions(devices, disk).flatMap(({ node, number }) => {
    const properties = udevProperties(host, 'b', number);
    const member = members[properties.get('ID_FS_TYPE') ?? ''];
    if (!member || properties.get('SYSTEMD_READY') === '0') return [];
    if (!rules.some((rule) => member.rules.test(rule))) return [];
    return [
      {
        about: node,
        what: `holds a part of ${member.name} that udev puts together by itself`,
        why: 'it would do so each time that the drive comes back, and write to it',
        mend: 'a udev rule',
        rule: ruleFor(host, disk, devices),
      },
    ];
  });
}

const fstabLinks: Readonly<Record<string, string>> = {
  UUID: 'by-uuid',
  LABEL: 'by-label',
  PARTUUID: 'by-partuuid',
  PARTLABEL: 'by-partlabel',
};

/** Places where a mere look would mount the drive (systemd.automount(5)). */
function automountsOf(host: HostFiles, disk: BlockDevice, devices: BlockDevices): Finding[] {
  const waiting = new Set(
    mountsOf(host).flatMap(({ fileSystem, at }) => (fileSystem === 'autofs' ? [at] : [])),
  );
  if (waiting.size === 0) return [];
  const numbers = new Map(withPartitions(devices, disk).map(({ number, node }) => [number, node]));
  return (host.read('/etc/fstab') ?? '').split('\n').flatMap((line) => {
    const [source = '', place = ''] = line.trim().split(/\s+/);
    const at = unescaped(place);
    if (source === '' || source.startsWith('#') || !waiting.has(at)) return [];
    const [, tag = '', value = ''] = /^(\w+)="?([^"]*)"?$/.exec(source) ?? [];
    const folder = fstabLinks[tag];
    const number = host.blockNumber(folder ? `/dev/disk/${folder}/${value}` : unescaped(source));
    const node = number === undefined ? undefined : numbers.get(number);
    if (node === undefined) return [];
    return [
      {
        about: node,
        what: `is mounted as soon as anybody looks into ${at}`,
        why: 'mounting replays a journal, which writes',
        mend: `sudo systemctl stop "$(systemd-escape --path --suffix=automount ${quoted(at)})"`,
      },
    ];
  });
}

/** Of a partition: what else of its drive is at work. */
function neighboursOf(
  host: HostFiles,
  device: BlockDevice,
  disk: BlockDevice,
  devices: BlockDevices,
): Finding[] {
  if (disk === device) return [];
  return usesOf(host, disk, devices).map((use) => ({
    about: device.node,
    what: `is on a drive that is at work: ${use.what}`,
    why: 'the system goes on reading and writing there',
    mend: freedBy(use, 'sudo '),
  }));
}
