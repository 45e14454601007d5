import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { SerialPortMock } from 'serialport';
import { afterEach, expect, test } from 'vitest';
import { createFrameDecoder, encodeFrame, noDiscards } from '../../firmware-protocol/frame.js';
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import type { Clock } from '../../src/clock.js';
import { openImager } from '../../src/drive/imager.js';
import {
  pollBothDirections,
  readOnTheSpot,
  type SerialStream,
  serialTransport,
  serialWire,
} from '../../src/drive/links/serial.js';
import {
  lastingName,
  portsInSysfs,
  type SeenPort,
  seenPort,
} from '../../src/drive/links/serial-ports.js';
import { temporaryFolder } from '../cli/cli.js';

/** serialport's own copy of @serialport/binding-mock: the package is there once as ESM and once as
 * CommonJS, each with its own ports. */
const MockBinding = SerialPortMock.binding;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function linkOver(port: SerialStream, clock: Clock, nodePath: string): Link {
  const wire = serialWire(port, { nodePath, clock });
  return framedLink(wire.stream, { name: `serial:${nodePath}`, close: () => wire.close() });
}

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
  const link = linkOver(port, createVirtualClock(), '/dev/mock');
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
  const link = linkOver(await openMock('/dev/echo', true), clock, '/dev/echo');
  const opening = clock.run(openImager(link, clock, { session: 1 }));
  await expect(opening).rejects.toMatchObject({
    code: 'NOT_AN_IMAGER',
    message: 'serial:/dev/echo is no imager: it only sends back what it is sent',
  });
});

test('an unplug that serialport does not report is noticed by asking the port', async () => {
  const clock = createVirtualClock();
  const port = await openMock('/dev/pulled');
  const link = linkOver(port, clock, '/dev/pulled');
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

test.each([
  'Error: Inappropriate ioctl for device',
  'Error: Invalid argument',
])('a port without modem lines (%s) is there as long as its node is', async (why) => {
  const clock = createVirtualClock();
  const folder = temporaryFolder();
  const port = await openMock('/dev/pty');
  port.get = (callback) => callback(new Error(`${why}, cannot get`), undefined as never);
  const link = linkOver(port, clock, folder);
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

/** A port as serialport's Linux binding has it, over one end of a pipe, and what its reader is given. */
function pollablePort(fd: number | null) {
  const waiting: ((error: Error | null) => void)[] = [];
  const port = {
    fd,
    poller: {
      once: (_: 'readable', callback: (error: Error | null) => void) => waiting.push(callback),
    },
    read: (_buffer: Buffer, _offset: number, _length: number) =>
      Promise.reject<{ bytesRead: number }>(new Error('by the thread pool')),
  };
  readOnTheSpot(port);
  const wake = async (error: Error | null = null) => {
    for (const callback of waiting.splice(0)) callback(error);
    await Promise.resolve();
    await Promise.resolve();
  };
  return { port, wake, isWaiting: () => waiting.length > 0 };
}

test('a port is read when the kernel says so, and what hung up or was closed ends the read', async () => {
  const file = join(temporaryFolder(), 'wire');
  writeFileSync(file, 'abc');
  const fd = openSync(file, 'r');
  cleanups.push(() => closeSync(fd));
  const { port, wake, isWaiting } = pollablePort(fd);
  const buffer = Buffer.alloc(8, '.');
  const first = port.read(buffer, 2, 6);
  expect(isWaiting()).toBe(true);
  await wake();
  expect((await first).bytesRead).toBe(3);
  expect(String(buffer)).toBe('..abc...');
  const atEnd = expect(port.read(buffer, 0, 8)).rejects.toThrow('hung up');
  await wake();
  await atEnd;
  const canceled = expect(port.read(buffer, 0, 8)).rejects.toThrow('Canceled');
  await wake(Object.assign(new Error('Canceled'), { canceled: true }));
  await canceled;
  const polled = expect(port.read(buffer, 0, 8)).rejects.toThrow('hung up');
  await wake(new Error('bad file descriptor'));
  await polled;
  port.fd = null;
  const closed = expect(port.read(buffer, 0, 8)).rejects.toMatchObject({ canceled: true });
  await wake();
  await closed;
});

test('a port that has nothing after all is waited for again', async () => {
  // A pseudo-terminal's own end, opened without waiting, has nothing to read: EAGAIN.
  const fd = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY);
  cleanups.push(() => closeSync(fd));
  const { port, wake, isWaiting } = pollablePort(fd);
  const read = port.read(Buffer.alloc(8), 0, 8);
  read.catch(() => {});
  await wake();
  await wake();
  expect(isWaiting()).toBe(true);
});

// Which port is the one from before

const nano: Omit<SeenPort, 'path' | 'location'> = { vendorId: '2341', productId: '0043' };

/** A system whose ports come and go. */
function createSystem(ports: SeenPort[]) {
  const opened: string[] = [];
  return {
    ports,
    opened,
    async list() {
      return [...ports];
    },
    async open(path: string) {
      opened.push(path);
      return openMock(path);
    },
  };
}

function port(path: string, location: string, more: Partial<SeenPort> = {}): SeenPort {
  return { path, location, ...nano, ...more };
}

/** Opens `path` while `before` are plugged in, and again while `after` are; the second path. */
async function reopened(path: string, before: SeenPort[], after: SeenPort[]): Promise<string> {
  const system = createSystem([...before]);
  const clock = createVirtualClock();
  const transport = serialTransport({ path, baudRate: 115_200 }, clock, system);
  (await transport.open()).close();
  MockBinding.reset();
  system.ports.splice(0, system.ports.length, ...after);
  (await transport.open()).close();
  return system.opened[1] ?? '';
}

const sn1 = { serialNumber: 'SN1' };
const sn2 = { serialNumber: 'SN2' };

test.each([
  [
    'under another name at its place',
    [port('/dev/ttyACM0', '1-1', sn1)],
    [port('/dev/ttyACM1', '1-1', sn1)],
    '/dev/ttyACM1',
  ],
  [
    'at another place, by its serial number',
    [port('/dev/ttyACM0', '1-1', sn1), port('/dev/ttyACM1', '1-2', sn2)],
    [port('/dev/ttyACM0', '1-2', sn2), port('/dev/ttyACM5', '3-1.2', sn1)],
    '/dev/ttyACM5',
  ],
  [
    'without a serial number, at its place among others like it',
    [port('/dev/ttyACM0', '1-1'), port('/dev/ttyACM1', '1-2')],
    [port('/dev/ttyACM0', '1-2'), port('/dev/ttyACM1', '1-1')],
    '/dev/ttyACM1',
  ],
  [
    'without a serial number, at another place, as the only new one',
    [port('/dev/ttyACM0', '1-1'), port('/dev/ttyACM1', '1-2')],
    [port('/dev/ttyACM1', '1-2'), port('/dev/ttyACM0', '1-3')],
    '/dev/ttyACM0',
  ],
  [
    'as the same one of the two ports of a device',
    [
      port('/dev/ttyACM0', '1-1', { ...sn1, interfaceNumber: '00' }),
      port('/dev/ttyACM1', '1-1', { ...sn1, interfaceNumber: '02' }),
    ],
    [
      port('/dev/ttyACM1', '1-1', { ...sn1, interfaceNumber: '00' }),
      port('/dev/ttyACM2', '1-1', { ...sn1, interfaceNumber: '02' }),
    ],
    '/dev/ttyACM1',
  ],
  ['by its name where it is no USB device', [], [], '/dev/ttyACM0'],
])('a port is found again %s', async (_how, before, after, path) => {
  expect(await reopened('/dev/ttyACM0', before, after)).toBe(path);
});

test.each([
  [
    'its twin alone, although that has its name by now',
    [port('/dev/ttyACM0', '1-1'), port('/dev/ttyACM1', '1-2')],
    [port('/dev/ttyACM0', '1-2')],
  ],
  [
    'two that may be it',
    [port('/dev/ttyACM0', '1-1')],
    [port('/dev/a', '1-2'), port('/dev/b', '1-3')],
  ],
  ['another serial number', [port('/dev/ttyACM0', '1-1', sn1)], [port('/dev/ttyACM0', '1-1', sn2)]],
  ['none', [port('/dev/ttyACM0', '1-1', sn1)], []],
])('it is not taken for %s', async (_what, before, after) => {
  await expect(reopened('/dev/ttyACM0', before, after)).rejects.toMatchObject({
    code: 'DRIVE_OPEN_FAILED',
    message: expect.stringMatching(/^no port of 2341:0043.* is there; is it plugged in\?$/),
  });
});

test('the two names of a port on macOS are one', async () => {
  const before = [port('/dev/tty.usbmodem14201', '14200000', sn1)];
  const after = [port('/dev/tty.usbmodem14301', '14300000', sn1)];
  expect(await reopened('/dev/cu.usbmodem14201', before, after)).toBe('/dev/cu.usbmodem14301');
});

/** Folders and files as Linux shows them, for a CDC-ACM, an FTDI and an on-board port. */
function fakeSysfs(): string {
  const root = temporaryFolder();
  const write = (path: string, text: string) => writeFileSync(join(root, path), `${text}\n`);
  const classes = join(root, 'class/tty');
  for (const folder of [
    'class/tty/ttyACM0',
    'class/tty/ttyUSB0',
    'class/tty/ttyS0',
    'class/tty/console',
    'devices/1-1/1-1:1.1',
    'devices/1-2.4/1-2.4:1.0/ttyUSB0',
    'devices/serial8250',
  ]) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  symlinkSync(join(root, 'devices/1-1/1-1:1.1'), join(classes, 'ttyACM0/device'));
  symlinkSync(join(root, 'devices/1-2.4/1-2.4:1.0/ttyUSB0'), join(classes, 'ttyUSB0/device'));
  symlinkSync(join(root, 'devices/serial8250'), join(classes, 'ttyS0/device'));
  write('devices/1-1/idVendor', '1209');
  write('devices/1-1/idProduct', '0001');
  write('devices/1-1/serial', 'SN1');
  write('devices/1-1/1-1:1.1/bInterfaceNumber', '01');
  write('devices/1-2.4/idVendor', '0403');
  write('devices/1-2.4/idProduct', '6001');
  write('devices/1-2.4/1-2.4:1.0/bInterfaceNumber', '00');
  return classes;
}

test('Linux tells the USB device behind a port without udev', () => {
  const seen = portsInSysfs(fakeSysfs(), '/dev');
  expect(seen).toEqual([
    {
      path: '/dev/ttyACM0',
      vendorId: '1209',
      productId: '0001',
      serialNumber: 'SN1',
      interfaceNumber: '01',
      location: '1-1',
    },
    {
      path: '/dev/ttyUSB0',
      vendorId: '0403',
      productId: '6001',
      serialNumber: undefined,
      interfaceNumber: '00',
      location: '1-2.4',
    },
  ]);
  expect(portsInSysfs('/no/such/folder', '/dev')).toEqual([]);
});

test('what serialport lists is understood as well', () => {
  const windows = {
    path: 'COM7',
    vendorId: '1209',
    productId: '1',
    pnpId: 'USB\\VID_1209&MI_02\\7&3',
  };
  expect(seenPort({ ...windows, serialNumber: 'SN1', locationId: 'Port_#0001' })).toEqual([
    {
      path: 'COM7',
      vendorId: '1209',
      productId: '0001',
      serialNumber: 'SN1',
      location: 'Port_#0001',
      interfaceNumber: '02',
    },
  ]);
  expect(seenPort({ path: '/dev/ttyS0' })).toEqual([]);
});

test('where nothing else is known, udev has a lasting name for a port', () => {
  const folder = temporaryFolder();
  const links = join(folder, 'by-id');
  mkdirSync(links);
  writeFileSync(join(folder, 'ttyUSB0'), '');
  symlinkSync('../ttyUSB0', join(links, 'usb-FTDI_A1-if00-port0'));
  expect(lastingName(join(folder, 'ttyUSB0'), links)).toBe(join(links, 'usb-FTDI_A1-if00-port0'));
  expect(lastingName(join(folder, 'ttyUSB1'), links)).toBeUndefined();
});
