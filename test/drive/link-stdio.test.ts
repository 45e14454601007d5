import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { createFrameDecoder, noDiscards } from '../../firmware-protocol/frame.js';
import { framedLink } from '../../firmware-protocol/link.js';
import { openDrive } from '../../src/cli/drives.js';
import { realClock } from '../../src/clock.js';
import { streamOf } from '../../src/drive/links/stdio.js';
import { openLink } from '../../src/drive/links.js';
import { temporaryFolder } from '../cli/cli.js';

const clock = realClock();
const imager = `'${process.execPath}' '${join(import.meta.dirname, 'stdio-imager.mjs')}'`;

/** A command that writes its process id into `file` before it becomes the imager. */
function imagerWithPid(file: string, spinUpMs: number): string {
  const scenario = join(temporaryFolder(), 'small.yaml');
  writeFileSync(scenario, JSON.stringify({ sectorCount: 4096, mechanics: { spinUpMs } }));
  return `stdio:echo $$ > '${file}'; exec ${imager} '${scenario}'`;
}

async function pidIn(file: string): Promise<number> {
  while (!existsSync(file) || readFileSync(file, 'utf8') === '') await clock.sleep(10);
  return Number(readFileSync(file, 'utf8'));
}

async function untilEnded(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await clock.sleep(10);
  }
}

const read = (lba: number) => ({
  extent: { lba, count: 8 },
  timeoutMs: 60_000,
  slowMs: 0,
  stopOn: { fault: false, slow: false, timeout: false },
  batch: 1,
});

test('a process is an imager; what it says to people is told; it ends with the link', async () => {
  const pidFile = join(temporaryFolder(), 'pid');
  const { drive, power, close } = await openDrive(imagerWithPid(pidFile, 100));
  const notices: string[] = [];
  drive.onNotice?.((notice) => notices.push(notice));
  await power?.set?.(true);
  const { kind, data } = await drive.read(read(0));
  expect([kind, data.length]).toEqual(['good', 4096]);
  expect(notices).toContain('the imager says: a simulated imager');
  await close();
  await untilEnded(await pidIn(pidFile));
});

test('a process that dies is the end of the job at once, with its status and last words', async () => {
  const pidFile = join(temporaryFolder(), 'pid');
  const { drive, power, close } = await openDrive(imagerWithPid(pidFile, 60_000));
  // The drive spins up for a minute, with the read waiting for it.
  await power?.set?.(true);
  const begun = drive.read(read(0));
  process.kill(await pidIn(pidFile), 'SIGUSR2');
  await expect(begun).rejects.toMatchObject({
    code: 'LINK_CLOSED',
    message: expect.stringMatching(
      /went away: its process ended with status 7, last saying 'out of memory'; a new one would be another imager, so run the same command again$/,
    ),
  });
  await close();
});

test.each([
  [
    'no-such-imager',
    /its process ended with status 127, last saying '.*no-such-imager.*not found'/,
  ],
  ['echo bye >&2; kill -9 $$', /its process was ended by SIGKILL, last saying 'bye'/],
  ['exec >&-; sleep 3', /its process closed its output; a new one/],
])('stdio:%s ends with its reason', async (command, reason) => {
  const link = await openLink(`stdio:${command}`, clock);
  expect(link.reopen).toBeUndefined();
  const error = await new Promise<Error | undefined>((resolve) => link.onClose(resolve));
  expect(error?.message).toMatch(reason);
});

test('a process that never said a word is ended with the link', async () => {
  const pidFile = join(temporaryFolder(), 'pid');
  const link = await openLink(`stdio:echo $$ > '${pidFile}'; exec sleep 300`, clock);
  const pid = await pidIn(pidFile);
  link.close();
  await untilEnded(pid);
});

test('T-5: a process that has spoken ends by itself, when its drive is safe', async () => {
  const folder = temporaryFolder();
  const done = join(folder, 'parked');
  const link = await openLink(`stdio:printf x; cat > /dev/null; sleep 0.2; touch '${done}'`, clock);
  await new Promise((resolve) => {
    link.onMessage(() => {});
    void clock.sleep(100).then(resolve);
  });
  link.close();
  expect(existsSync(done)).toBe(false);
  while (!existsSync(done)) await clock.sleep(10);
});

test('what a slow reader has not taken yet is not written over by what follows', async () => {
  const came: number[] = [];
  const decoder = createFrameDecoder({
    frameBytesMax: 32_768,
    discarded: noDiscards(),
    onMessage: (message) => came.push(message[0]!),
  });
  const takers: (() => void)[] = [];
  const output = new Writable({
    write(bytes: Uint8Array, _encoding, done) {
      takers.push(() => {
        decoder.push(bytes);
        done();
      });
    },
  });
  const link = framedLink(streamOf(new PassThrough(), output));
  const sent = [1, 2, 3, 4, 5, 6, 7, 8];
  for (const first of sent) {
    link.send(new Uint8Array(6000).fill(first));
    await new Promise(setImmediate);
  }
  while (came.length < sent.length) {
    takers.shift()?.();
    await new Promise(setImmediate);
  }
  expect(came).toEqual(sent);
});
