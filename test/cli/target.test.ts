import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { needsTool } from '../tools.js';
import { run, start, startTool, temporaryFolder } from './cli.js';

const mib = 1024 * 1024;

/** A file that stands for a drive: no piece of it is like another. */
function sourceIn(folder: string, sizeBytes: number): string {
  const path = join(folder, 'source.bin');
  const whole = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 4) whole.writeUInt32LE((at * 2654435761) >>> 0, at);
  writeFileSync(path, whole);
  return path;
}

const mounted: string[] = [];
afterAll(() => {
  for (const folder of mounted) spawnSync('umount', ['-l', folder]);
});

/** A disk of its own in a folder; undefined, and said, where mounting is not allowed. */
function smallDisk(folder: string, sizeBytes: number): string | undefined {
  const point = join(folder, 'disk');
  mkdirSync(point);
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'small', point]);
  if (status !== 0) {
    console.warn('skipped: a small disk cannot be mounted here (root only)');
    return undefined;
  }
  mounted.push(point);
  return point;
}

const sameBytes = (one: string, other: string) => sha256Of(one) === sha256Of(other);
const sha256Of = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

describe('a disk of the image that is full', () => {
  test('is waited for, and the job goes on by itself', async (context) => {
    const folder = temporaryFolder();
    const disk = smallDisk(folder, 6 * mib);
    if (!disk) return context.skip();
    const source = sourceIn(folder, 16 * mib);
    const image = join(disk, 'case.img');
    const job = start(['image', source, image, '--force']);
    const [full] = await job.saw(/no room for .*/);
    expect(full).toMatch(/case\.\w+: it needs .* more, .* free/);
    execFileSync('mount', ['-o', `remount,size=${64 * mib}`, disk]);
    const { status, stderr } = await job.finished;
    expect(status, stderr).toBe(0);
    expect(stderr).toMatch(/there is room again/);
    expect(sameBytes(source, image)).toBe(true);
  });

  test('is no reason not to end, and the next run goes on', async (context) => {
    const folder = temporaryFolder();
    const disk = smallDisk(folder, 6 * mib);
    if (!disk) return context.skip();
    const source = sourceIn(folder, 16 * mib);
    const image = join(disk, 'case.img');
    const job = start(['image', source, image, '--force']);
    await job.saw(/no room for /);
    job.process.kill('SIGINT');
    const { status, stderr } = await job.finished;
    expect(status, stderr).toBe(130);
    expect(stderr).toMatch(/the map is as it was last saved/);
    execFileSync('mount', ['-o', `remount,size=${64 * mib}`, disk]);
    const again = await run(['image', source, image]);
    expect(again.status, again.stderr).toBe(0);
    expect(sameBytes(source, image)).toBe(true);
  });
});

const lacks = ['nbdkit', 'nbdfuse'].some(needsTool);

describe('a disk of the image that fails', () => {
  test.skipIf(lacks)('is told from the source, and named', async () => {
    const folder = temporaryFolder();
    const source = sourceIn(folder, 16 * mib);
    const image = join(folder, 'case.img');
    writeFileSync(image, '');
    const memory = join(folder, 'held.bin');
    writeFileSync(memory, '');
    truncateSync(memory, 16 * mib);
    // From the fourth mebibyte on this disk takes nothing.
    const take = `if [ $4 -ge ${4 * mib} ]; then echo EIO gone >&2; exit 1; fi; dd of=${memory} conv=notrunc oflag=seek_bytes seek=$4 bs=1M iflag=fullblock 2>/dev/null`;
    const give = `dd if=${memory} iflag=skip_bytes,count_bytes skip=$4 count=$3 bs=1M 2>/dev/null`;
    mounted.push(image);
    startTool('nbdfuse', [
      ...[image, '--command', 'nbdkit', '-s', 'eval', `get_size=echo ${16 * mib}`],
      ...[`pread=${give}`, `pwrite=${take}`, 'flush=true'],
    ]);
    while (statSync(image).size === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    const { status, stderr } = await run(['image', source, image, '--force', '--sparse']);
    expect(status, stderr).toBe(1);
    expect(stderr).toMatch(
      /case\.img: .*the disk it is on \(.*mounted on .*case\.img\) fails, which is not the source/,
    );
    expect(stderr).not.toMatch(/trouble|blame/);
    // What it took before is claimed, and nothing else.
    const finished = /^(0x\w+) +(0x\w+) +\+$/gm;
    for (const [, at, bytes] of readFileSync(join(folder, 'case.map'), 'latin1').matchAll(
      finished,
    )) {
      const [from, end] = [Number(at), Number(at) + Number(bytes)];
      expect(end).toBeLessThanOrEqual(4 * mib);
      const [held, given] = [memory, source].map((path) => readFileSync(path).subarray(from, end));
      expect(held!.equals(given!)).toBe(true);
    }
  });
});
