import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../cli/cli.js';

const script = join(import.meta.dirname, '../../dist/src/host/holder.js');

/** A holder of a file, with a `blockdev` that only writes down what it is told; ends as `end` does. */
async function hold(end: (holder: ReturnType<typeof spawn>) => void): Promise<string> {
  const folder = temporaryFolder();
  const log = join(folder, 'log');
  const node = join(folder, 'node');
  writeFileSync(node, '');
  writeFileSync(join(folder, 'blockdev'), `#!/bin/sh\necho "$@" >> ${log}\n`);
  chmodSync(join(folder, 'blockdev'), 0o755);
  const holder = spawn(process.execPath, [script, node, `${folder}/disk`, `${folder}/disk1`], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, PATH: `${folder}:${process.env.PATH}` },
  });
  const ended = new Promise((resolve) => holder.once('exit', resolve));
  const answer = await new Promise((resolve) => holder.stdout.once('data', resolve));
  expect(String(answer)).toBe('held\n');
  expect(existsSync(log)).toBe(false);
  end(holder);
  await ended;
  return existsSync(log) ? readFileSync(log, 'utf8').replaceAll(folder, '') : '';
}

test('whoever started it was killed: what was set read-only is writable again', async () => {
  expect(await hold((holder) => holder.stdin?.end())).toBe('--setrw /disk\n--setrw /disk1\n');
});

test('told to let go, it does no more than that', async () => {
  expect(await hold((holder) => holder.kill('SIGKILL'))).toBe('');
});
