import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { takeLock } from '../../src/image/lock.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lastspin-lock-'));
  path = join(folder, 'case.lock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the lock beside an image', () => {
  it('keeps a second job out, naming the first, until it is released', async () => {
    const lock = await takeLock(path);
    await expect(takeLock(path)).rejects.toMatchObject({
      code: 'IMAGE_LOCKED',
      message: expect.stringContaining(`process ${process.pid} `),
    });
    await lock.release();
    await lock.release();
    expect(readdirSync(folder)).toEqual([]);
    await (await takeLock(path)).release();
  });

  it('is taken over from a process that is gone', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    const own = await ownContent();
    writeFileSync(path, JSON.stringify({ ...own, pid }));
    const lock = await takeLock(path);
    expect(JSON.parse(readFileSync(path, 'utf8')).pid).toBe(process.pid);
    expect(readdirSync(folder)).toEqual(['case.lock']);
    await lock.release();
  });

  it.runIf(process.platform === 'linux')(
    'is taken over from a process that was killed and that its parent never waits for',
    async () => {
      // What the shell becomes knows nothing of the child it had.
      const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 30']);
      const [line] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(String(line));
      const fieldsOf = () => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
      await expect.poll(() => fieldsOf()[0]).toBe('Z');
      const own = await ownContent();
      writeFileSync(path, JSON.stringify({ ...own, pid, startedAt: fieldsOf()[19] }));
      try {
        await (await takeLock(path)).release();
      } finally {
        parent.kill();
      }
    },
  );

  it('is taken over from an earlier boot, and when the pid is another process by now', async () => {
    const own = await ownContent();
    if (own.bootId === undefined) return;
    writeFileSync(path, JSON.stringify({ ...own, bootId: 'another' }));
    await (await takeLock(path)).release();
    writeFileSync(path, JSON.stringify({ ...own, startedAt: '1' }));
    await (await takeLock(path)).release();
  });

  it('is not taken over from another host, nor when it cannot be read', async () => {
    const own = await ownContent();
    writeFileSync(path, JSON.stringify({ ...own, host: `not-${hostname()}` }));
    await expect(takeLock(path)).rejects.toThrow(`process ${process.pid} on not-`);
    writeFileSync(path, '{');
    await expect(takeLock(path)).rejects.toMatchObject({ code: 'IMAGE_LOCKED' });
    expect(existsSync(path)).toBe(true);
  });

  it('goes to one of many that find it stale at once', async () => {
    const own = await ownContent();
    writeFileSync(
      path,
      JSON.stringify({ ...own, pid: spawnSync(process.execPath, ['-e', '']).pid }),
    );
    const takers = Array.from({ length: 8 }, () => takeLock(path));
    const results = await Promise.allSettled(takers);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('says why it cannot be written', async () => {
    await expect(takeLock(join(folder, 'missing', 'case.lock'))).rejects.toMatchObject({
      code: 'FILE_FAILED',
    });
  });
});

async function ownContent() {
  const lock = await takeLock(path);
  const content = JSON.parse(readFileSync(path, 'utf8'));
  await lock.release();
  return content;
}
