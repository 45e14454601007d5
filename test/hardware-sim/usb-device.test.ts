import type { Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import {
  createUsbDevice,
  serialEndpoint,
  type TransferEnd,
  type UsbDevice,
  vendorEndpoint,
} from '../../hardware-sim/usb-device.js';

function plugged() {
  const streams: Duplex[] = [];
  const device = createUsbDevice((stream) => streams.push(stream), { serialNumber: 'A1' });
  device.attach();
  return { device, streams };
}

/** What each of the host's IN transfers of `lengthMax` bytes brings: its length, or how it ended. */
function take(device: UsbDevice, lengthMax: number, count: number) {
  const ends: (number | TransferEnd)[] = [];
  const cancels = Array.from({ length: count }, () =>
    device.bulkIn(vendorEndpoint | 0x80, lengthMax, (end, bytes) =>
      ends.push(end === 'done' ? bytes.length : end),
    ),
  );
  return { ends, cancels };
}

const clearHalt = (endpoint: number) => ({
  requestType: 2,
  request: 1,
  value: 0,
  index: endpoint,
});

test('T-3: what is sent ends with a short transfer, of no bytes where the last one was full', () => {
  const { device, streams } = plugged();
  const { ends } = take(device, 1024, 6);
  streams[0]?.write(Buffer.alloc(100));
  streams[0]?.write(Buffer.alloc(1024));
  streams[0]?.write(Buffer.alloc(1500));
  expect(ends).toEqual([100, 1024, 0, 1024, 476]);
});

test('a stall holds the endpoint, loses nothing, and ends with the halt', () => {
  const { device, streams } = plugged();
  const first = take(device, 1024, 1);
  device.stall(vendorEndpoint | 0x80);
  streams[0]?.write(Buffer.alloc(10));
  const second = take(device, 1024, 1);
  expect([first.ends, second.ends]).toEqual([['stall'], ['stall']]);
  device.control(clearHalt(vendorEndpoint | 0x80), 0);
  expect(take(device, 1024, 1).ends).toEqual([10]);
  expect(device.haltsCleared).toBe(1);
});

test('a cancelled transfer takes nothing with it', () => {
  const { device, streams } = plugged();
  const { ends, cancels } = take(device, 1024, 2);
  cancels[0]?.();
  streams[0]?.write(Buffer.alloc(7));
  expect(ends).toEqual(['cancelled', 7]);
});

test('a device without room holds the host back', () => {
  const { device, streams } = plugged();
  const ends: TransferEnd[] = [];
  const give = () =>
    device.bulkOut(serialEndpoint, Buffer.alloc(1_000_000), (end) => ends.push(end));
  give();
  expect(ends).toEqual([]);
  streams[1]?.resume().read();
  expect(ends).toEqual(['done']);
});

test('each plugging in is a new pair of links', () => {
  const { device, streams } = plugged();
  device.detach();
  device.attach();
  expect(streams.map(({ destroyed }) => destroyed)).toEqual([true, true, false, false]);
});

test('it says who it is, and stalls what it does not know', () => {
  const { device } = plugged();
  const get = (value: number) =>
    device.control({ requestType: 0x80, request: 6, value, index: 0 }, 255);
  const serial = get(0x0303);
  expect(serial === 'stall' ? serial : serial.subarray(2).toString('utf16le')).toBe('A1');
  expect(get(0x0309)).toBe('stall');
  expect(device.control({ requestType: 0xc0, request: 99, value: 0, index: 0 }, 8)).toBe('stall');
  expect(device.name).toBe('1209:0001');
});
