import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { framedLink } from '../../firmware-protocol/link.js';
import { serveImager } from '../../firmware-protocol/responder.js';
import { realClock } from '../../src/clock.js';
import { type UsbName, usbTransport } from '../../src/drive/links/usb.js';
import type { Wire } from '../../src/drive/links/wire.js';
import { linkThrough } from '../../src/drive/links.js';
import { createFakeImager } from '../firmware-protocol/fake-imager.js';
import { createFakeUsb, type FakeUsbDevice } from './fake-usb.js';
import { readOver } from './read-over.js';

const name: UsbName = { vendorId: 0x1209, productId: 1 };
const clock = realClock();

function transportTo(...devices: FakeUsbDevice[]) {
  const getDeviceList = () => devices.flatMap(({ library }) => library.getDeviceList());
  return usbTransport(name, clock, async () => ({ getDeviceList }));
}

/** Resolves with the first `length` bytes that come out of a wire. */
function take({ stream }: Wire, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let all = Buffer.alloc(0);
    stream.on('data', (bytes: Buffer) => {
      all = Buffer.concat([all, bytes]);
      if (all.length >= length) resolve(all);
    });
    stream.on('error', reject);
  });
}

function closed({ stream }: Wire): Promise<Error | undefined> {
  return new Promise((resolve) => {
    let reason: Error | undefined;
    stream.on('error', (error) => {
      reason = error;
    });
    stream.on('close', () => resolve(reason));
  });
}

test('an imager is read over bulk endpoints', async () => {
  const device = createFakeUsb({ serialNumber: 'SN1' });
  serveImager(framedLink(device.far), createFakeImager(clock, { readMs: 0 }), clock);
  await readOver(await linkThrough(transportTo(device), 'usb:1209:0001'));
  // The bus has work while this end is busy.
  expect(device.input.state.inFlightMost).toBeGreaterThanOrEqual(2);
});

test('T-3: a transfer of full packets is ended by an empty one', async () => {
  const device = createFakeUsb();
  const wire = await transportTo(device).open();
  const write = (bytes: number) =>
    new Promise((resolve) => wire.stream.write(Buffer.alloc(bytes, 1), resolve));
  await write(511);
  await write(512);
  await write(1025);
  await write(128 * 1024);
  expect(device.outLengths).toEqual([511, 512, 0, 1025, 131_072, 0]);
  wire.close();
});

test('bytes come whole and in order whatever their transfers are', async () => {
  const device = createFakeUsb();
  const wire = await transportTo(device).open();
  const sent = [1, 512, 4096, 128 * 1024, 300_000, 7, 5000].map((length) => randomBytes(length));
  for (const bytes of sent) device.far.write(bytes);
  const all = Buffer.concat(sent);
  expect((await take(wire, all.length)).equals(all)).toBe(true);
  wire.close();
});

test('a reader that pauses holds the device back', async () => {
  const device = createFakeUsb();
  const wire = await transportTo(device).open();
  const all = randomBytes(8 * 1024 * 1024);
  let left = false;
  device.far.write(all, () => {
    left = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  // Nobody reads: no more is taken than the transfers under way and what the stream holds.
  expect(left).toBe(false);
  expect(wire.stream.readableLength).toBeLessThan(2 * 1024 * 1024);
  expect((await take(wire, all.length)).equals(all)).toBe(true);
  wire.close();
});

test.each([
  0, 1, 511, 512, 70_000, 131_072, 200_000,
])('a stall after %i bytes loses none, either way', async (at) => {
  const device = createFakeUsb({ stallInAt: at, stallOutAt: at });
  const wire = await transportTo(device).open();
  const all = randomBytes(400_000);
  for (let from = 0; from < all.length; from += 50_000) {
    device.far.write(all.subarray(from, from + 50_000));
  }
  expect((await take(wire, all.length)).equals(all)).toBe(true);
  const there = take({ stream: device.far, close: () => {} }, all.length);
  wire.stream.write(all);
  expect((await there).equals(all)).toBe(true);
  expect([device.input.state.halts, device.output.state.halts]).toEqual([1, 1]);
  // libusb: no transfer may be under way on an endpoint whose halt is cleared.
  expect(device.input.state.clearedWhileBusy + device.output.state.clearedWhileBusy).toBe(0);
  wire.close();
});

test('an unplug ends the link with a reason, and nothing stays open', async () => {
  const device = createFakeUsb({ serialNumber: 'SN1' });
  const wire = await transportTo(device).open();
  wire.stream.resume();
  const end = closed(wire);
  device.unplug();
  expect(await end).toEqual(new Error('the device is gone; was it unplugged?'));
  expect(device.openHandles()).toBe(0);
});

test('closing cancels what is under way, and only then lets go of the device', async () => {
  const device = createFakeUsb();
  const wire = await transportTo(device).open();
  wire.stream.resume();
  const end = closed(wire);
  wire.close();
  expect(await end).toBeUndefined();
  expect(device.openHandles()).toBe(0);
  expect(device.input.pending).toEqual([]);
});

test('opened again it is the one with the same serial number, at any place', async () => {
  const first = createFakeUsb({ serialNumber: 'A', portNumbers: [1] });
  const other = createFakeUsb({ serialNumber: 'B', portNumbers: [2] });
  const moved = createFakeUsb({ serialNumber: 'A', portNumbers: [3, 1] });
  const devices = [first];
  const transport = usbTransport(name, clock, async () => ({
    getDeviceList: () => devices.flatMap(({ library }) => library.getDeviceList()),
  }));
  const wire = await transport.open();
  wire.stream.on('error', () => {}).resume();
  first.unplug();
  devices.splice(0, 1, other);
  await expect(transport.open()).rejects.toMatchObject({
    code: 'DRIVE_OPEN_FAILED',
    message: expect.stringContaining('1209:0001, serial number A: it is not there'),
  });
  devices.push(moved);
  const again = await transport.open();
  expect([other.openHandles(), moved.openHandles()]).toEqual([0, 1]);
  again.close();
});

test('opened again while the last handle is still being closed, it waits for that', async () => {
  const device = createFakeUsb();
  const transport = transportTo(device);
  const wire = await transport.open();
  wire.close();
  const again = await transport.open();
  expect(device.openHandles()).toBe(1);
  again.close();
});

test.each([
  [[], 'cannot open USB device 1209:0001: there is none; is the imager plugged in?'],
  [
    [createFakeUsb({ serialNumber: 'A' }), createFakeUsb({ serialNumber: 'B' })],
    'cannot open USB device 1209:0001: there are 2 of them; usb:1209:0001:A or usb:1209:0001:B',
  ],
  [
    [createFakeUsb({ interfaceClass: 2 })],
    'cannot open USB device 1209:0001: it has no interface of an imager; if it is a serial port, name it serial:PATH',
  ],
  [
    [createFakeUsb({ openError: -6 })],
    'cannot open USB device 1209:0001: another program has it open',
  ],
  [
    [createFakeUsb({ openError: -3 })],
    `cannot open USB device 1209:0001: no permission; put 'SUBSYSTEM=="usb", ATTR{idVendor}=="1209", ATTR{idProduct}=="0001", TAG+="uaccess"' into /etc/udev/rules.d/70-lastspin.rules and plug it in again`,
  ],
])('what cannot be opened says why in one line %#', async (devices, message) => {
  await expect(transportTo(...devices).open()).rejects.toMatchObject({
    code: 'DRIVE_OPEN_FAILED',
    message,
  });
  for (const device of devices) expect(device.openHandles()).toBe(0);
});
