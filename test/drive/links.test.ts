import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SerialPortMock } from 'serialport';
import { afterEach, expect, test } from 'vitest';
import { createFrameDecoder, encodeFrame, noDiscards } from '../../firmware-protocol/frame.js';
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import { serveImager } from '../../firmware-protocol/responder.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { realClock } from '../../src/clock.js';
import { openImager } from '../../src/drive/imager.js';
import { openLink, parseLinkSpec, pollBothDirections, serialLink } from '../../src/drive/links.js';
import { createFakeImager, sectorsAt } from '../firmware-protocol/fake-imager.js';
import { needsTool } from '../tools.js';

/** serialport's own copy of @serialport/binding-mock: the package is there once as ESM and once as
 * CommonJS, each with its own ports. */
const MockBinding = SerialPortMock.binding;

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
  'usb:1:2',
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

/** Reads 40 times 8 sectors over a link to a fake imager, and checks each byte. */
async function readOver(link: Link): Promise<void> {
  const drive = await openImager(link, realClock(), { session: 21 });
  await drive.identify();
  const reads = Array.from({ length: 40 }, (_, index) =>
    drive.read({
      extent: { lba: index * 8, count: 8 },
      timeoutMs: 1000,
      slowMs: 0,
      stopOn: { fault: false, slow: false, timeout: false },
      batch: 1,
    }),
  );
  const results = await Promise.all(reads);
  results.forEach((result, index) => {
    expect(result.data).toEqual(sectorsAt(index * 8, 8));
  });
  expect(drive.counters).toMatchObject({ framesDiscarded: 0, violations: 0 });
  await drive.close();
}

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

async function openMock(path: string, echo = false): Promise<SerialPortMock> {
  MockBinding.createPort(path, { echo, record: true });
  cleanups.push(() => MockBinding.reset());
  const port = new SerialPortMock({ path, baudRate: 115_200, autoOpen: false });
  await new Promise<void>((resolve, reject) => {
    port.open((error) => (error ? reject(error) : resolve()));
  });
  return port;
}

test('serialport carries frames both ways', async () => {
  const port = await openMock('/dev/mock');
  const link = serialLink(port, {
    name: 'mock',
    nodePath: '/dev/mock',
    clock: createVirtualClock(),
  });
  const arrived = new Promise((resolve) => link.onMessage(resolve));
  link.send(Uint8Array.of(1, 0, 2));
  await link.drained();
  const binding = port.port!;
  const sent: Uint8Array[] = [];
  createFrameDecoder({
    frameBytesMax: 100,
    discarded: noDiscards(),
    onMessage: (message) => sent.push(message),
  }).push(binding.recording);
  expect(sent).toEqual([Uint8Array.of(1, 0, 2)]);
  binding.emitData(Buffer.from(encodeFrame(Uint8Array.of(3, 0, 4))));
  expect(await arrived).toEqual(Uint8Array.of(3, 0, 4));
  const closed = new Promise((resolve) => port.on('close', resolve));
  link.close();
  await closed;
  expect(port.isOpen).toBe(false);
});

test('a port that echoes is NOT_AN_IMAGER', async () => {
  const clock = createVirtualClock();
  const link = serialLink(await openMock('/dev/echo', true), {
    name: 'serial:/dev/echo',
    nodePath: '/dev/echo',
    clock,
  });
  const opening = clock.run(openImager(link, clock, { session: 1 }));
  await expect(opening).rejects.toMatchObject({
    code: 'NOT_AN_IMAGER',
    message: 'serial:/dev/echo is no imager: it only sends back what it is sent',
  });
});

test('an unplug that serialport does not report is noticed by asking the port', async () => {
  const clock = createVirtualClock();
  const port = await openMock('/dev/pulled');
  const link = serialLink(port, { name: 'mock', nodePath: '/dev/pulled', clock });
  const ends: (Error | undefined)[] = [];
  link.onClose((error) => ends.push(error));
  await clock.advance(2000);
  expect(ends).toEqual([]);
  port.get = (callback) =>
    callback(new Error('Input/output error, cannot get'), undefined as never);
  await clock.advance(600);
  expect(ends).toEqual([new Error('the port is gone; was it unplugged?')]);
  expect(port.isOpen).toBe(false);
});

test('a pty has no modem lines: it is there as long as its node is', async () => {
  const clock = createVirtualClock();
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-'));
  const port = await openMock('/dev/pty');
  port.get = (callback) =>
    callback(new Error('Inappropriate ioctl for device, cannot get'), undefined as never);
  const link = serialLink(port, { name: 'mock', nodePath: folder, clock });
  const ended = new Promise((resolve) => link.onClose(resolve));
  await clock.advance(2000);
  expect(port.isOpen).toBe(true);
  rmSync(folder, { recursive: true });
  const guarded = clock.advance(600);
  expect(await ended).toBeInstanceOf(Error);
  await guarded;
});

test('waiting to read does not make serialport forget that it waits to write', () => {
  const asked: number[] = [];
  const waits = { readable: 0, writable: 0 };
  const poller = {
    poll: (events: number) => void asked.push(events),
    listenerCount: (event: 'readable' | 'writable') => waits[event],
  };
  pollBothDirections({ poller });
  poller.poll(2);
  waits.writable = 1;
  poller.poll(1);
  waits.writable = 0;
  waits.readable = 1;
  poller.poll(2);
  expect(asked).toEqual([2, 3, 3]);
  pollBothDirections(undefined); // a binding without a poller (Windows, the mock) is left alone
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
