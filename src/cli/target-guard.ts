import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { realClock } from '../clock.js';
import type { DriveIdentity } from '../drive/drive.js';
import { openFileDrive } from '../drive/file.js';
import { isLastspinError, LastspinError } from '../errors.js';
import {
  type BlockDevice,
  type BlockDevices,
  backingFilesBelow,
  blockDevices,
  deviceAt,
  devicesBelow,
  devicesUnderPath,
} from '../host/block-devices.js';
import { type HostFiles, thisHost } from '../host/host.js';
import { freedBy, usesOf } from '../host/uses.js';
import type { TargetIdentity } from '../image/image-form.js';
import { formatBytes } from '../show/format.js';

/** A device, or a file of a fixed size, that is to be overwritten. */
export interface Target {
  readonly path: string;
  readonly identity: TargetIdentity;
  /** What `--overwrite` must say: its serial number, or its path where it has none. For a loop device and a file, whose
   * number is the path of that file, the target's path will do as well. */
  readonly word: string;
}

/** Asks a target who it is; it is opened for reading only. Throws DRIVE_OPEN_FAILED. */
export async function lookAtTarget(path: string): Promise<Target> {
  const drive = await openFileDrive(path, realClock());
  try {
    const identity = await drive.identify();
    if (!identity) throw new LastspinError('DRIVE_OPEN_FAILED', `${path} does not answer`);
    const { model, serial, sectorBytes, sectorCount } = identity;
    return {
      path,
      identity: { model, serial, sectorBytes, sizeBytes: sectorCount * sectorBytes },
      word: serial || path,
    };
  } finally {
    await drive.close();
  }
}

/** Throws USAGE when another device has the target's name by now: somebody took their time to say yes. */
export async function requireSameTarget({ path, identity }: Target): Promise<void> {
  const { identity: now } = await lookAtTarget(path);
  const keys = ['model', 'serial', 'sizeBytes', 'sectorBytes'] as const;
  if (keys.every((key) => now[key] === identity[key])) return;
  const was = targetText(path, identity);
  throw new LastspinError('USAGE', `${targetText(path, now)}: before, it was ${was}; name it anew`);
}

/** What must not be on a target. */
export interface Spared {
  /** Devices that DRIVE would read. */
  readonly sources?: readonly BlockDevice[];
  /** Files that are read or written meanwhile; of one that is not there yet its folder counts. */
  readonly files: readonly string[];
}

/** Folders that this computer cannot run without. */
const systemFolders = ['/', '/usr', '/boot', '/var'];

/** Throws USAGE for what is neither a block device nor a file. */
export function requireTarget(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw new LastspinError('USAGE', `there is no ${path}; TARGET is a device or a file`);
  if (!found.isBlockDevice() && !found.isFile())
    throw new LastspinError(
      'USAGE',
      `${path} is neither a block device nor a file; TARGET is one of them`,
    );
}

/** Throws USAGE when a target is in use, read-only, the source or on one disk with it, or the disk of the running
 * system or of `files`. It reads no more than /sys and /proc. What the kernel does not know of, it cannot tell:
 * the target is held exclusively as well, once it is opened for writing. */
export function refuseTarget(path: string, spared: Spared, host: HostFiles = thisHost): void {
  const devices = blockDevices(host);
  const target = deviceAt(host, devices, path);
  const refuse = (why: string): never => {
    throw new LastspinError('USAGE', `${path} is not overwritten: ${why}`);
  };
  const written = target ? backingFilesBelow(host, devices, target) : [path];
  const same = spared.files.find((file) => written.some((own) => isSameFile(own, file)));
  if (same !== undefined) refuse(target ? `its bytes are ${same}` : `it is ${same}`);
  const shared = useOfFiles(host, devices, written, target);
  if (shared !== undefined) refuse(shared);
  if (!target) return;
  const below = devicesBelow(host, devices, target, false);
  const shares = (names: ReadonlySet<string>) => [...names].some((name) => below.has(name));
  for (const source of spared.sources ?? []) {
    if (shares(devicesBelow(host, devices, source, false)))
      refuse('it is the drive itself, or on one disk with it');
    if (overlaps(host, devices, target, source)) refuse('it is made of a file on the drive itself');
  }
  const [use] = usesOf(host, target, devices);
  if (use) refuse(`${use.what}; ${use.free ? 'free it first: ' : ''}${freedBy(use, '')}`);
  const system = systemFolders.find((folder) => shares(devicesUnderPath(host, devices, folder)));
  if (system) refuse(`the running system is on its disk (${system})`);
  const file = spared.files.find((each) => shares(devicesUnderPath(host, devices, standing(each))));
  if (file !== undefined) refuse(`${file} is on its disk`);
  if (target.isReadOnly) refuse('it is set read-only (blockdev --setrw)');
}

/** Whether the target's bytes lie, by way of a file, on the source. */
function overlaps(
  host: HostFiles,
  devices: BlockDevices,
  target: BlockDevice,
  source: BlockDevice,
): boolean {
  const under = devicesBelow(host, devices, target, true);
  return [...devicesBelow(host, devices, source, false)].some((name) => under.has(name));
}

function isSameFile(one: string, other: string): boolean {
  const [found, wanted] = [one, other].map((path) => statSync(path, { throwIfNoEntry: false }));
  return found !== undefined && found.dev === wanted?.dev && found.ino === wanted.ino;
}

/** What files are in use for by way of loop devices that show them, and how that ends; undefined where they are not.
 * `apart` from one such device, which is looked at for itself. */
function useOfFiles(
  host: HostFiles,
  devices: BlockDevices,
  files: readonly string[],
  apart: BlockDevice | undefined,
): string | undefined {
  for (const device of devices.values()) {
    const { backingFile, name, node } = device;
    if (backingFile === undefined || name === apart?.name) continue;
    if (!files.some((file) => isSameFile(file, backingFile))) continue;
    const [use] = usesOf(host, device, devices);
    if (use)
      return `${node} shows it, and ${use.what}; ${use.free ? 'free it first: ' : ''}${freedBy(use, '')}`;
  }
  return undefined;
}

function standing(file: string): string {
  return statSync(file, { throwIfNoEntry: false }) ? file : dirname(file);
}

/** Throws USAGE when the drive that answers has the target's serial number: the way to it may be one that the kernel
 * knows nothing of. */
export function refuseOwnSerial(target: Target, drive: DriveIdentity): void {
  const bare = (serial: string) => serial.replace(/-part\d+$/, '');
  const { serial } = target.identity;
  if (serial === '' || bare(serial) !== bare(drive.serial)) return;
  throw new LastspinError(
    'USAGE',
    `${target.path} has the serial number of the drive itself, ${drive.serial}: it is not overwritten`,
  );
}

export interface GoAhead {
  /** What `--overwrite` said. */
  readonly overwrite?: string;
  /** Asks where somebody sits before the terminal; undefined where nobody does. */
  readonly ask?: ((question: string) => Promise<boolean>) | undefined;
}

/** Throws USAGE where `--overwrite` says another word than the target's, or where nobody said it and nobody can be
 * asked. */
export function refuseWithoutWord({ path, word, identity }: Target, { overwrite, ask }: GoAhead) {
  const isNamed = overwrite === word || (isFilePath(identity.serial) && overwrite === path);
  if (isNamed || (overwrite === undefined && ask)) return;
  const what =
    overwrite === undefined ? `all data on ${path} would be lost` : `not --overwrite ${overwrite}`;
  throw new LastspinError(
    'USAGE',
    `${what}: ${targetText(path, identity)} is overwritten with --overwrite ${quotedWord(word)}`,
  );
}

/** Says what comes from where and goes where, and asks unless `--overwrite` named the target.
 * Throws USAGE without a yes. */
export async function requireOverwrite(
  target: Target,
  source: string,
  { overwrite, ask, say }: GoAhead & { readonly say: (line: string) => void },
): Promise<void> {
  refuseWithoutWord(target, { ...(overwrite !== undefined && { overwrite }), ask });
  say(`from   ${source}`);
  say(`onto   ${targetText(target.path, target.identity)}: all data on it will be overwritten`);
  if (overwrite !== undefined) return;
  if (await ask?.(`Overwrite ${target.path} (${target.word})?`)) return;
  throw new LastspinError('USAGE', `${target.path} is not overwritten without a yes`);
}

/** Who a target is, in a line. */
export function targetText(path: string, { model, serial, sizeBytes }: TargetIdentity): string {
  const who = [model, serial || 'without a serial number'].join(' ');
  return `${path}, ${who}, ${formatBytes(sizeBytes)} (${sizeBytes} bytes)`;
}

/** What stands for the serial number of a loop device or a file. */
function isFilePath(serial: string): boolean {
  return serial.startsWith('/');
}

function quotedWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Throws USAGE when so many bytes do not fit and nobody said that they need not; returns how many go onto it. */
export function fittingBytes(
  { path, identity }: Target,
  sizeBytes: number,
  mayTruncate: boolean,
): number {
  if (sizeBytes <= identity.sizeBytes) return sizeBytes;
  if (mayTruncate) return identity.sizeBytes;
  throw new LastspinError(
    'USAGE',
    `${path} has ${identity.sizeBytes} bytes, ${sizeBytes - identity.sizeBytes} too few for ${sizeBytes}; take a larger one, or --truncate to leave the rest out`,
  );
}

/** What is worth knowing before bytes go onto a target of other sectors or another size; a line each. */
export function remarksOn(
  { path, identity }: Target,
  { sizeBytes, sectorBytes }: { readonly sizeBytes: number; readonly sectorBytes: number },
): string[] {
  const isFile = identity.model === 'file';
  const remarks: string[] = [];
  if (identity.sectorBytes !== sectorBytes && !isFile) {
    remarks.push(
      `${path} has sectors of ${identity.sectorBytes} bytes, the drive of ${sectorBytes}: bytes stay where they are, and a partition table, which counts sectors, will not fit`,
    );
  }
  if (identity.sizeBytes < sizeBytes) {
    remarks.push(
      `truncated: the last ${sizeBytes - identity.sizeBytes} of ${sizeBytes} bytes have no place on ${path} and are left out`,
    );
  }
  return remarks;
}

/** A name for the files of a target's case: its model and serial number. */
export function caseNameOf({ path, identity }: Target): string {
  const { model, serial } = identity;
  const isNamed = model !== 'file' && model !== 'block device';
  const words = isNamed ? `${model} ${serial || basename(path)}` : basename(serial || path);
  return words.replaceAll(/[^A-Za-z0-9._-]+/g, '_');
}

/** The error with what it was doing, where the target's writing failed. */
export function asTargetError(error: unknown, path: string, doneBytes: number): unknown {
  const isTargets = isLastspinError(error, 'FILE_FAILED') || isLastspinError(error, 'IMAGE_SPACE');
  if (!isTargets || !error.message.includes(path)) return error;
  return new LastspinError(
    'IMAGE_WRITE_FAILED',
    `${error.message}; ${doneBytes} bytes are known to be on it`,
    { cause: error },
  );
}
