import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { imageResultSchema } from '../../src/show/result.js';
import { needsTool } from '../tools.js';
import { run, start, temporaryFolder } from './cli.js';

/** A real block device, where this machine lets us make one. */
function needsLoop(): boolean {
  if (process.platform !== 'linux' || needsTool('losetup') || needsTool('mke2fs')) return true;
  try {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'probe'), '');
    truncateSync(join(folder, 'probe'), 1 << 20);
    losetup('--detach', attach(join(folder, 'probe')));
    return false;
  } catch {
    console.warn('skipped: no loop device is to be had (root only)');
    return true;
  }
}

const losetup = (...args: string[]) =>
  execFileSync('losetup', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
const attach = (file: string) => losetup('--find', '--show', file);

describe.skipIf(needsLoop())('a real block device', () => {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  let device: string;
  const readOnly = () => readFileSync(`/sys/class/block/${device.slice(5)}/ro`, 'utf8').trim();
  const mount = () => execFileSync('mount', [device, at('mnt')], { stdio: 'pipe' });

  beforeAll(() => {
    writeFileSync(at('disk'), '');
    truncateSync(at('disk'), 4 << 20);
    execFileSync('mke2fs', ['-q', '-F', at('disk')]);
    mkdirSync(at('mnt'));
    device = attach(at('disk'));
  });
  afterAll(() => losetup('--detach', device));

  test('mounted it is refused, and so is an image on it; nothing is made', async () => {
    mount();
    try {
      for (const image of [at('a.img'), at('mnt/a.img')]) {
        const { status, stderr } = await run(['image', device, image]);
        expect(status).toBe(1);
        expect(stderr).toContain(`${device} is mounted at ${at('mnt')}`);
        expect(stderr).toContain(`umount ${at('mnt')}`);
      }
      expect(execFileSync('ls', [folder, at('mnt')], { encoding: 'utf8' })).not.toContain('a.img');
    } finally {
      execFileSync('umount', [at('mnt')]);
    }
  });

  test('while a job runs it is read-only and cannot be mounted; then it is as before', async () => {
    const options = ['--json', '--os-may-touch'];
    // So slowly that it is still at it however slow this machine is.
    const job = start(['image', device, at('b.img'), ...options, '--max-rate', '10000']);
    await job.saw(/pass 1/);
    expect(readOnly()).toBe('1');
    expect(mount).toThrow();
    // A second job is kept off as well.
    const second = await run(['image', device, at('c.img'), '--os-may-touch']);
    expect(second.status).toBe(1);
    expect(second.stderr).toContain('another program holds it exclusively');
    job.process.kill('SIGINT');
    const { stdout, stderr, status } = await job.finished;
    expect(status, stderr).toBe(130);
    expect(imageResultSchema.parse(JSON.parse(stdout)).hostAttached).toMatchObject({
      device,
      isReadOnly: true,
      isHeld: true,
      isWriteBlocked: false,
    });
    expect(readOnly()).toBe('0');
    expect((await run(['image', device, at('b.img'), ...options])).status).toBe(0);
    expect(readFileSync(at('b.img')).equals(readFileSync(at('disk')))).toBe(true);
  });

  test('the file that a loop device shows is the drive: no image goes there', async () => {
    const before = readFileSync(at('disk'));
    linkSync(at('disk'), at('link.img'));
    for (const image of [at('disk'), at('link.img')]) {
      const { status, stderr } = await run(['image', device, image, '--force', '--os-may-touch']);
      expect(status).toBe(2);
      expect(stderr).toContain(`${image} is the drive itself`);
    }
    expect(readFileSync(at('disk')).equals(before)).toBe(true);
  });

  test('it stays read-only where it was, and writable where that is wanted', async () => {
    execFileSync('blockdev', ['--setro', device]);
    expect((await run(['image', device, at('d.img'), '--os-may-touch'])).status).toBe(0);
    expect(readOnly()).toBe('1');
    execFileSync('blockdev', ['--setrw', device]);
    const { stdout } = await run(['image', device, at('e.img'), '--os-may-touch', '--no-setro']);
    expect(stdout).toMatch(/^source +\S+, held exclusively.*This is not a write blocker$/m);
  });
});
