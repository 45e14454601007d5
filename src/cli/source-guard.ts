import { readdirSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { type Clock, realClock } from '../clock.js';
import { LastspinError } from '../errors.js';
import {
  type BlockDevice,
  type BlockDevices,
  backingFilesBelow,
  blockDevices,
  deviceAt,
  devicesBelow,
  devicesUnderPath,
} from '../host/block-devices.js';
import { type Finding, sentenceOf } from '../host/finding.js';
import { type HostFiles, thisHost } from '../host/host.js';
import { inventoryOf, isNamed, usbDeviceOf } from '../host/inventory.js';
import { type Keeper, type KeeperTools, keepSystemOff } from '../host/keeper.js';
import { touchesOf } from '../host/touches.js';
import { freedBy, usesOf } from '../host/uses.js';
import type { CasePaths } from '../job/case.js';
import type { HostAttached } from '../show/result.js';

/** The source is never written, not even by a slip of the pen: throws USAGE when a file of the case is the
 * source, or would be written to a device that the source is on, or that is on the source. */
export function refuseToTouchSource(source: string, paths: CasePaths, host = thisHost): void {
  const shown = shownFilesOf(source, host);
  const sources = [statSync(source), ...shown.flatMap(statOrNothing)];
  const { image, map, journal, lock, versions, hashes, events, report } = paths;
  const temporary = [map, journal, hashes, events, report].map((path) => `${path}.tmp`);
  const own = [map, journal, lock, versions, hashes, events, report, ...temporary];
  const files = [image, ...partsOf(image), ...own];
  for (const path of files) {
    const [target] = statOrNothing(path);
    // A regular file, or a device by another of its nodes.
    const isSame = (found: Stats) =>
      found.isBlockDevice()
        ? target?.isBlockDevice() && target.rdev === found.rdev
        : target?.dev === found.dev && target.ino === found.ino;
    if (sources.some(isSame)) {
      throw new LastspinError('USAGE', `${path} is the drive itself; give another image path`);
    }
  }
  refuseDestinationOn(source, [...files, dirname(image), dirname(map)], host);
}

/** Parts of an image that are there, whether it is one in parts or not. */
function partsOf(image: string): string[] {
  const stem = `${basename(image)}.`;
  const names = statOrNothing(dirname(image))[0]?.isDirectory() ? readdirSync(dirname(image)) : [];
  const isPart = (name: string) => name.startsWith(stem) && /^\d{3}$/.test(name.slice(stem.length));
  return names.filter(isPart).map((name) => join(dirname(image), name));
}

/** What cannot be looked at cannot be written either; whoever tries says why. */
const statOrNothing = (path: string): Stats[] => {
  try {
    return [statSync(path)];
  } catch {
    return [];
  }
};

/** Files that a block device shows, itself a loop device or made of one: to write there is to write to it. */
function shownFilesOf(source: string, host: HostFiles): string[] {
  const devices = blockDevices(host);
  const device = deviceAt(host, devices, source);
  return device ? backingFilesBelow(host, devices, device) : [];
}

/** Throws USAGE when one of `paths` lies on the block device `source`, on a partition, the parent, or another
 * partition of its disk, or on anything made of one of these. */
export function refuseDestinationOn(
  source: string,
  paths: readonly string[],
  host: HostFiles,
): void {
  const devices = blockDevices(host);
  const device = deviceAt(host, devices, source);
  if (!device) return;
  // A loop device ends here: a file may be imaged beside itself.
  const below = devicesBelow(host, devices, device, false);
  for (const path of paths) {
    const shared = [...devicesUnderPath(host, devices, path)].find((name) => below.has(name));
    if (shared === undefined) continue;
    const which =
      shared === device.name ? 'itself' : `itself, by way of ${devices.get(shared)?.node}`;
    const message = `${path} would be written to the drive ${source} ${which}`;
    throw new LastspinError('USAGE', `${message}; name an image on another drive`);
  }
}

/** Throws DRIVE_OPEN_FAILED when the drive that DRIVE names is known to this computer and in use. It reads no more
 * than /sys and /proc, so that a drive in use is not touched at all. What cannot be told yet is let pass. */
export function refuseInUse(spec: string, host: HostFiles = thisHost): void {
  const devices = blockDevices(host);
  const [use] = disksOf(spec, host, devices).flatMap((disk) => usesOf(host, disk, devices));
  if (!use) return;
  throw new LastspinError(
    'DRIVE_OPEN_FAILED',
    `${use.what}; what is in use is not imaged: ${freedBy(use, '')}`,
  );
}

/** The block devices that DRIVE would read or, by detaching the kernel's driver, pull away from under whoever
 * uses them. */
export function disksOf(
  spec: string,
  host: HostFiles,
  devices: BlockDevices = blockDevices(host),
): BlockDevice[] {
  if (spec.startsWith('usb-bot:')) {
    const { usb, disks } = inventoryOf(host);
    const named = usb.filter((device) => isNamed(device, spec.slice('usb-bot:'.length)));
    return disks.filter(({ directory }) => {
      const device = usbDeviceOf(usb, directory);
      return device !== undefined && named.includes(device);
    });
  }
  const path = hostPathOf(spec, host);
  const device = path === undefined ? undefined : deviceAt(host, devices, path);
  return device ? [device] : [];
}

/** The block device that DRIVE would read, where it is one of this computer's: `file:`, a bare path, `sg:`. */
export function hostPathOf(spec: string, host: HostFiles): string | undefined {
  const scheme = /^([a-z-]+):/.exec(spec)?.[1];
  const path = scheme === undefined ? spec : spec.slice(scheme.length + 1);
  if (scheme === undefined || scheme === 'file') return path;
  if (scheme !== 'sg') return undefined;
  const name = host.realpath(path)?.split('/').at(-1) ?? '';
  const disk = host.list(`/sys/class/scsi_generic/${name}/device/block`)[0];
  return disk === undefined ? path : `/dev/${disk}`;
}

export interface GuardOptions {
  /** The user's word that the operating system may touch the source. */
  readonly osMayTouch: boolean;
  /** Whether the source is set read-only for the operating system. */
  readonly setReadOnly: boolean;
  readonly say: (line: string) => void;
  /** Asks where somebody sits before the terminal; undefined where nobody does. */
  readonly ask?: ((question: string) => Promise<boolean>) | undefined;
  readonly clock?: Clock;
  readonly host?: HostFiles;
  readonly tools?: KeeperTools;
}

export interface SourceGuard {
  /** For the record; null where the operating system cannot reach the drive. */
  attached(): HostAttached | null;
  close(): Promise<void>;
}

/** Keeps the operating system off the source for as long as a job runs, and asks for a go-ahead where that is not
 * to be had. `path`: the block device, where this computer has one. An imager's drive has none, nor has one
 * behind `usb-bot:`, whose kernel driver is detached: the system does not know that there is a drive. Nor
 * can it touch what is a plain file by more than anybody could.
 * Throws USAGE without a go-ahead, DRIVE_OPEN_FAILED for what is in use. */
export async function guardSource(
  path: string | undefined,
  options: GuardOptions,
): Promise<SourceGuard> {
  const { host = thisHost, clock = realClock(), say } = options;
  const devices = blockDevices(host);
  const device = path === undefined ? undefined : deviceAt(host, devices, path);
  if (path === undefined || !device) return { attached: () => null, close: async () => {} };
  refuseInUse(path, host);
  const touches = touchesOf(host, device, devices);
  const keeper = await keepSystemOff(path, { ...options, clock, host, onNotice: say });
  const findings = [...touches, ...(keeper?.findings ?? [])];
  try {
    await requireGoAhead(device.node, findings, options);
  } catch (error) {
    await keeper?.close();
    throw error;
  }
  return {
    attached: () => attachedAs(device.node, keeper, findings),
    close: async () => await keeper?.close(),
  };
}

async function requireGoAhead(
  node: string,
  findings: readonly Finding[],
  { osMayTouch, say, ask }: GuardOptions,
): Promise<void> {
  if (findings.length === 0) return;
  for (const finding of findings) say(sentenceOf(finding, node));
  if (osMayTouch) return;
  if (await ask?.(`The operating system may touch ${node}. Image it all the same?`)) return;
  const whats = findings.map(({ about, what }) => `${about} ${what}`).join('; ');
  throw new LastspinError(
    'USAGE',
    `the operating system may touch the source: ${whats}; mend that, or go on with --os-may-touch`,
  );
}

function attachedAs(
  device: string,
  keeper: Keeper | undefined,
  findings: readonly Finding[],
): HostAttached {
  return {
    device,
    isReadOnly: keeper?.isReadOnly ?? false,
    isHeld: keeper?.isHeld ?? false,
    mayBeTouchedBy: findings.map(({ about, what }) => `${about} ${what}`),
    isWriteBlocked: false,
  };
}

/** Asks for a yes where somebody sits before the terminal; undefined where nobody does. */
export function askOnTerminal(
  signal: AbortSignal,
): ((question: string) => Promise<boolean>) | undefined {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  return async (question) => {
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      const answer = await terminal.question(`lastspin: ${question} [y/N] `, { signal });
      return /^y(?:es)?$/i.test(answer.trim());
    } catch (error) {
      // Interrupted: whoever listens to that says so.
      if (signal.aborted) throw signal.reason;
      throw error;
    } finally {
      terminal.close();
    }
  };
}
