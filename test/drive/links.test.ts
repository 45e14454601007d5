import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { framedLink } from '../../firmware-protocol/link.js';
import { serveImager } from '../../firmware-protocol/responder.js';
import { realClock } from '../../src/clock.js';
import { openLink, parseLinkSpec } from '../../src/drive/links.js';
import { createFakeImager } from '../firmware-protocol/fake-imager.js';
import { needsTool } from '../tools.js';
import { readOver } from './read-over.js';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

test.each([
  [
    'serial:/dev/ttyACM0?baud=3000000',
    { kind: 'serial', path: '/dev/ttyACM0', baudRate: 3_000_000 },
  ],
  ['serial:COM3', { kind: 'serial', path: 'COM3', baudRate: 115_200 }],
  ['tcp:imager.local:7070', { kind: 'tcp', host: 'imager.local', port: 7070 }],
  ['tcp:[fe80::1]:7070', { kind: 'tcp', host: 'fe80::1', port: 7070 }],
  ['usb:1209:0001', { kind: 'usb', vendorId: 0x1209, productId: 1 }],
  ['usb:1D50:60fc:A:1', { kind: 'usb', vendorId: 0x1d50, productId: 0x60fc, serialNumber: 'A:1' }],
  ['stdio:ssh board imager /dev/sda?', { kind: 'stdio', command: 'ssh board imager /dev/sda?' }],
])('%s is understood', (spec, parsed) => {
  expect(parseLinkSpec(spec)).toEqual(parsed);
});

test.each([
  'serial:',
  'serial:/dev/ttyACM0?baud=fast',
  'serial:/dev/ttyACM0?baud=0',
  'serial:/dev/ttyACM0?speed=9600',
  'tcp:host',
  'tcp:host:0',
  'tcp:host:65536',
  'tcp:fe80::1:7070',
  'usb:',
  'usb:1209',
  'usb:1209:xyz',
  'usb:1209:00011',
  'stdio:',
  'stdio: ',
  'bluetooth:1',
])('%s is DRIVE_UNKNOWN, in one line', (spec) => {
  expect(() => parseLinkSpec(spec)).toThrow(
    expect.objectContaining({ code: 'DRIVE_UNKNOWN', message: expect.not.stringContaining('\n') }),
  );
});

test.each([
  ['serial:/dev/no-such-port', /cannot open \/dev\/no-such-port: there is no such port/],
  ['serial:/dev/null', /cannot open \/dev\/null: it is no serial port/],
])('%s is DRIVE_OPEN_FAILED and says what to do', async (spec, message) => {
  const opening = openLink(spec, realClock());
  await expect(opening).rejects.toMatchObject({
    code: 'DRIVE_OPEN_FAILED',
    message: expect.stringMatching(message),
  });
});

function listen(server: Server): Promise<number> {
  cleanups.push(() => server.close());
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

test('an imager is read over TCP', async () => {
  const clock = realClock();
  const server = createServer((socket) => {
    serveImager(framedLink(socket), createFakeImager(clock, { readMs: 0 }), clock);
  });
  const port = await listen(server);
  await readOver(await openLink(`tcp:127.0.0.1:${port}`, clock));
});

test('a TCP port where nothing listens is DRIVE_OPEN_FAILED', async () => {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  const opening = openLink(`tcp:127.0.0.1:${port}`, realClock());
  await expect(opening).rejects.toMatchObject({
    code: 'DRIVE_OPEN_FAILED',
    message: `cannot connect to 127.0.0.1 port ${port}: nothing listens there; is the imager on?`,
  });
});

/** Two ptys, one the other's far end. */
async function openPtyPair(): Promise<{ near: string; far: string; process: ChildProcess }> {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-'));
  const near = join(folder, 'near');
  const far = join(folder, 'far');
  const side = (path: string) => `pty,raw,echo=0,link=${path}`;
  const socat = spawn('socat', ['-d', '-d', side(near), side(far)]);
  cleanups.push(() => {
    socat.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  await new Promise<void>((resolve, reject) => {
    let log = '';
    socat.on('exit', () => reject(new Error(`socat: ${log}`)));
    socat.stderr.on('data', (bytes: Buffer) => {
      log += bytes.toString();
      if (log.includes('starting data transfer loop')) resolve();
    });
  });
  return { near, far, process: socat };
}

const noSocat = needsTool('socat');

test.skipIf(noSocat)('an imager is read over a real pty with serialport', async () => {
  const clock = realClock();
  const { near, far } = await openPtyPair();
  const deviceLink = await openLink(`serial:${far}`, clock);
  cleanups.push(() => deviceLink.close());
  serveImager(deviceLink, createFakeImager(clock, { readMs: 0 }), clock);
  await readOver(await openLink(`serial:${near}?baud=3000000`, clock));
});

test.skipIf(noSocat)('a pty whose far end goes away closes the link', async () => {
  const clock = realClock();
  const { near, process } = await openPtyPair();
  const link = await openLink(`serial:${near}`, clock);
  const ended = new Promise((resolve) => link.onClose(resolve));
  process.removeAllListeners('exit');
  process.kill();
  expect(await ended).toBeInstanceOf(Error);
});

test.skipIf(noSocat)('a port that another program has open is DRIVE_OPEN_FAILED', async () => {
  const clock = realClock();
  const { near } = await openPtyPair();
  const first = await openLink(`serial:${near}`, clock);
  cleanups.push(() => first.close());
  await expect(openLink(`serial:${near}`, clock)).rejects.toMatchObject({
    code: 'DRIVE_OPEN_FAILED',
    message: expect.stringContaining('another program has it open'),
  });
});
