/** Drives for the tests, and judges that know nothing of the tool: cmp, dd, sha256sum, losetup. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { temporaryFolder } from '../cli/cli.js';
import { needsTool } from '../tools.js';

export const mib = 1 << 20;

/** Bytes that look random and are the same every time. */
export function contentsOf(seed: number, byteCount: number): Buffer {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16));
  return cipher.update(Buffer.alloc(byteCount));
}

/** A file that stands for a drive's platters. */
export function platters(path: string, seed: number, byteCount: number): string {
  writeFileSync(path, contentsOf(seed, byteCount));
  return path;
}

export function tool(name: string, ...args: string[]): string {
  const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 };
  return execFileSync(name, args, options as { encoding: 'utf8' }).trim();
}

export const sha256sum = (path: string): string => tool('sha256sum', path).slice(0, 64);

export interface Stretch {
  /** Byte at which each of the two begins. */
  readonly from?: readonly [number, number];
  readonly byteCount?: number;
}

/** What `cmp` says of two files, devices too: '' where they are the same. */
export function cmp(
  one: string,
  other: string,
  { from = [0, 0], byteCount }: Stretch = {},
): string {
  const limits = byteCount === undefined ? [] : ['-n', String(byteCount)];
  const { stdout, stderr } = spawnSync('cmp', [...limits, '-i', from.join(':'), one, other], {
    encoding: 'utf8',
  });
  return stdout + stderr;
}

/** SHA-256 of sectors of a file, by `dd` and `sha256sum`. */
export function sha256OfSectors(path: string, lba: number, count: number, sectorBytes = 512) {
  const script = 'dd if="$0" bs="$1" skip="$2" count="$3" status=none | sha256sum';
  const words = [path, sectorBytes, lba, count].map(String);
  return execFileSync('sh', ['-c', script, ...words], { encoding: 'utf8' }).slice(0, 64);
}

const devices: string[] = [];
const mounts: string[] = [];
afterAll(() => {
  for (const point of mounts) spawnSync('umount', ['-l', point]);
  for (const device of devices) spawnSync('losetup', ['--detach', device]);
});

/** A block device of the kernel's that shows a file; gone when the test file ends. */
export function loopDevice(file: string, ...options: string[]): string {
  const device = tool('losetup', ...options, '--find', '--show', file);
  devices.push(device);
  return device;
}

/** A disk of its own in a folder, in memory; gone when the test file ends. */
export function smallDisk(point: string, byteCount: number): string {
  mkdirSync(point);
  tool('mount', '-t', 'tmpfs', '-o', `size=${byteCount}`, 'small', point);
  mounts.push(point);
  return point;
}

/** An ext2 file system on a loop device, mounted; gone when the test file ends. */
export function ext2Disk(folder: string, byteCount: number): string {
  const file = join(folder, 'ext2');
  writeFileSync(file, Buffer.alloc(byteCount));
  const device = loopDevice(file);
  tool('mke2fs', '-q', '-F', device);
  const point = join(folder, 'mounted');
  mkdirSync(point);
  tool('mount', device, point);
  mounts.push(point);
  return point;
}

/** Whether loop devices and mounts are to be had: for root, on Linux. */
export function needsLoop(): boolean {
  if (process.platform !== 'linux' || needsTool('losetup') || needsTool('mke2fs')) return true;
  const probe = join(temporaryFolder(), 'probe');
  writeFileSync(probe, Buffer.alloc(mib));
  const made = spawnSync('losetup', ['--find', '--show', probe], { encoding: 'utf8' });
  if (made.status !== 0) {
    console.warn('skipped: no loop device is to be had (root only)');
    return true;
  }
  spawnSync('losetup', ['--detach', made.stdout.trim()]);
  return false;
}

/** A scenario file whose drive holds what a file holds. */
export function scenarioOf(folder: string, contents: string, words: string): string {
  const path = join(folder, 'drive.yaml');
  const sectorCount = statSync(contents).size / 512;
  writeFileSync(path, `sectorCount: ${sectorCount}\ncontents: { file: ${contents} }\n${words}\n`);
  return path;
}
