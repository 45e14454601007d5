/** What a block device is in use for. */
import {
  type BlockDevice,
  type BlockDevices,
  blockDevices,
  devicesOfMount,
  mountsOf,
  unescaped,
  withPartitions,
} from './block-devices.js';
import { type HostFiles, lineOf } from './host.js';

export interface Use {
  /** The node that is in use, and what for: `/dev/sdb1 is mounted at /mnt`. */
  readonly what: string;
  /** Commands that free it, in order. Undefined for what the running system needs. */
  readonly free: readonly string[] | undefined;
}

/** What a running system is not without (Filesystem Hierarchy Standard). */
const systemFolders = new Set(['/', '/boot', '/boot/efi', '/usr', '/var', '/nix']);

/** How a use is ended, for people; `prefix` goes before each command: `sudo `. */
export function freedBy({ free }: Use, prefix: string): string {
  if (!free) return 'this computer runs from it; start the computer from another disk';
  return free.map((command) => `${prefix}${command}`).join(' && ');
}

/** All uses of a device, of its partitions, and of what is made of them. */
export function usesOf(
  host: HostFiles,
  device: BlockDevice,
  devices: BlockDevices = blockDevices(host),
): Use[] {
  const direct = directUses(host, devices);
  const seen = new Set<string>();
  const usesOfOne = (each: BlockDevice): Use[] => {
    // A loop in this graph cannot be, but a snapshot of a system that changes may show one.
    if (seen.has(each.name)) return [];
    seen.add(each.name);
    const made = [...each.holders, ...loopsOver(devices, each)].flatMap(
      (name) => devices.get(name) ?? [],
    );
    return [...(direct.get(each.name) ?? []), ...made.flatMap((holder) => useBy(each, holder))];
  };
  const useBy = (each: BlockDevice, holder: BlockDevice): Use[] => {
    const stop = stopOf(host, holder);
    const above = withPartitions(devices, holder).flatMap(usesOfOne);
    const part = `${each.node} is part of ${holder.node} (${stop.kind})`;
    if (above.length === 0) return [{ what: part, free: [stop.command] }];
    const whats = above.map(({ what }) => what).join(', and ');
    const free = above.every((use) => use.free)
      ? [...above.flatMap((use) => use.free ?? []), stop.command]
      : undefined;
    return [{ what: `${part}; ${whats}`, free }];
  };
  return withPartitions(devices, device).flatMap(usesOfOne);
}

/** Mounts and swap, by the name of the device. */
function directUses(host: HostFiles, devices: BlockDevices): ReadonlyMap<string, Use[]> {
  const uses = new Map<string, Use[]>();
  const add = (name: string, use: Use) => uses.set(name, [...(uses.get(name) ?? []), use]);
  for (const mount of mountsOf(host)) {
    for (const { name, node } of devicesOfMount(host, devices, mount)) {
      const what = `${node} is mounted at ${mount.at}`;
      const isNeeded = systemFolders.has(mount.at);
      add(name, { what, free: isNeeded ? undefined : [`umount ${quoted(mount.at)}`] });
    }
  }
  for (const line of host.read('/proc/swaps')?.split('\n').slice(1) ?? []) {
    const path = unescaped(line.split(/\s/, 1)[0] ?? '');
    const number = path === '' ? undefined : host.blockNumber(path);
    const device = [...devices.values()].find((each) => each.number === number);
    if (!device) continue;
    add(device.name, { what: `${device.node} is swap space`, free: [`swapoff ${device.node}`] });
  }
  return uses;
}

function loopsOver(devices: BlockDevices, { node }: BlockDevice): string[] {
  return [...devices.values()].flatMap(({ name, backingFile }) =>
    backingFile === node ? [name] : [],
  );
}

/** What kind of thing holds a device, and the command that ends it. */
function stopOf(host: HostFiles, { name, node, directory }: BlockDevice) {
  if (name.startsWith('md')) return { kind: 'RAID', command: `mdadm --stop ${node}` };
  if (name.startsWith('loop')) return { kind: 'loop device', command: `losetup -d ${node}` };
  if (name.startsWith('bcache')) {
    return { kind: 'bcache', command: `echo 1 > /sys/block/${name}/bcache/stop` };
  }
  const mapped = quoted(lineOf(host, `${directory}/dm/name`) ?? name);
  const kind = /^[^-]*/.exec(lineOf(host, `${directory}/dm/uuid`) ?? '')?.[0] ?? '';
  switch (kind) {
    case 'LVM':
      // A dash within a name is doubled; a single one parts the group from its volume.
      return {
        kind: 'LVM',
        command: `vgchange -an ${mapped.split(/(?<!-)-(?!-)/, 1)[0]?.replaceAll('--', '-')}`,
      };
    case 'CRYPT':
      return { kind: 'encryption', command: `cryptsetup close ${mapped}` };
    case 'mpath':
      return { kind: 'multipath', command: `multipath -f ${mapped}` };
    default:
      return { kind: 'device mapper', command: `dmsetup remove ${mapped}` };
  }
}

/** As a word for a shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
