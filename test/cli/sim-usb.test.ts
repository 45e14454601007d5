import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, start, temporaryFolder } from './cli.js';

const folder = temporaryFolder();

/** Sends a line to the control socket, and resolves with the answer. */
function tell(path: string, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(`${line}\n`));
    socket.once('data', (answer) => {
      socket.destroy();
      resolve(answer.toString());
    });
    socket.once('error', reject);
  });
}

test('a disk over USB/IP, whose power and plug a socket holds', async () => {
  const control = join(folder, 'control');
  const options = ['--as', 'disk', '--usbip', '127.0.0.1:0', '--control', control];
  const serving = start(['sim', 'demo', ...options]);
  await serving.saw(/USB\/IP at 127\.0\.0\.1:\d+, bus id 1-1/);
  await serving.saw(/^usb-bot:1209:0002$/m);
  const deeds = ['power off', 'power on', 'unplug', 'plug', 'throw'];
  const answers: string[] = [];
  for (const deed of deeds) answers.push(await tell(control, deed));
  expect(answers.slice(0, 4)).toEqual(Array(4).fill('ok\n'));
  expect(answers[4]).toContain("error: 'throw' is none of plug, unplug, power on, power off");
  serving.process.kill('SIGTERM');
  expect((await serving.finished).status).toBe(0);
});

test('what waits for QEMU says so, and ends when it is told to', async () => {
  const waiting = start(['sim', 'demo', '--usbredir', join(folder, 'nobody')]);
  await waiting.saw(/waits for QEMU at .*nobody/);
  waiting.process.kill('SIGTERM');
  expect((await waiting.finished).status).toBe(0);
});

test.each([
  [['--usbip', '192.0.2.1:3240'], /192\.0\.2\.1:3240: this computer has no such address/],
  [['--usbip', '0', '--control', '/nowhere/control'], /\/nowhere\/control: the folder is missing/],
  [['--usbredir', join(import.meta.filename, 'socket')], /it is no socket of QEMU's/],
])('%j: why it cannot be served, in one line', async (options, why) => {
  const { status, stdout, stderr } = await run(['sim', 'demo', ...options]);
  expect(status).toBe(1);
  expect(stderr.trimEnd().split('\n').at(-1)).toMatch(why);
  expect(stderr).toMatch(/\(FILE_FAILED\)\n$/);
  expect(stdout).toBe('');
});

test.each([
  [['--as', 'disk', '--tcp', '0'], 'a disk is on USB'],
  [['--tcp', '0', '--control', join(folder, 'none')], '--control is for what has a USB plug'],
  [['--tcp', '0', '--usbip', '0'], 'sim needs one of'],
])('%j says what is wrong', async (options, why) => {
  const { status, stderr } = await run(['sim', 'demo', ...options]);
  expect(status).toBe(2);
  expect(stderr).toContain(why);
});
