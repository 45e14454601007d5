import { describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { hidCommand, openHidBoard, parseHidReport, relaysOf } from '../../src/power/hid.js';
import { relayPower } from '../../src/power/relay.js';
import { type FakeDevice, fakeUsb } from './fake-usb.js';

describe('the bytes of HID relay boards', () => {
  test('commands', () => {
    expect([...hidCommand(2, true)]).toEqual([0xff, 2, 0, 0, 0, 0, 0, 0]);
    expect([...hidCommand(1, false)]).toEqual([0xfd, 1, 0, 0, 0, 0, 0, 0]);
  });

  test('the report: five letters, and a bit a relay', () => {
    expect(parseHidReport(Buffer.from('BITFT\0\0\x05', 'latin1'))).toEqual({
      serial: 'BITFT',
      mask: 5,
    });
    expect(parseHidReport(Buffer.from('BITFT'))).toBeUndefined();
    expect(parseHidReport(Buffer.from([0xff, 1, 2, 3, 4, 0, 0, 0]))).toBeUndefined();
  });

  test('other products share the ids', () => {
    expect(relaysOf('USBRelay4')).toBe(4);
    expect(relaysOf('LEDCtlUnit')).toBeUndefined();
  });
});

interface RelayOptions {
  readonly serial?: string;
  readonly relays?: number;
  readonly product?: string;
  readonly stuck?: boolean;
  readonly silent?: boolean;
  readonly openError?: number;
}

function createRelays(options: RelayOptions = {}): FakeDevice & { readonly masks: number[] } {
  const { serial = 'BITFT', relays = 2, stuck, silent, openError } = options;
  let mask = 0;
  const masks: number[] = [];
  return {
    masks,
    ids: [0x16c0, 0x05df],
    product: options.product ?? `USBRelay${relays}`,
    ...(openError !== undefined && { openError }),
    control({ requestType, request, value, data }) {
      if (silent) return undefined;
      if (requestType === 0xa0 && request === 1 && value >> 8 === 3) {
        return Buffer.concat([Buffer.from(serial, 'latin1'), Buffer.from([0, 0, mask])]);
      }
      if (requestType !== 0x20 || request !== 9 || value >> 8 !== 3) throw new Error('stall');
      const bit = 1 << ((data[1] ?? 1) - 1);
      if (!stuck) mask = data[0] === 0xff ? mask | bit : mask & ~bit;
      masks.push(mask);
      return data;
    },
  };
}

function setUp(devices: readonly FakeDevice[]) {
  const clock = createVirtualClock();
  const there = [...devices];
  const { usb, openHandles } = fakeUsb(() => there);
  const open = async (name: string, serial: string | undefined, relay = 1) =>
    relayPower(
      name,
      await openHidBoard(name, serial, usb, clock),
      { relays: [relay], contact: 'no' },
      clock,
    );
  return { clock, there, open, openHandles };
}

describe('a switch of HID relays', () => {
  test('the board of that serial number switches, and tells', async () => {
    const other = createRelays({ serial: 'OTHER' });
    const board = createRelays({});
    const { clock, open, openHandles } = setUp([
      createRelays({ product: 'Thermometer' }),
      other,
      board,
    ]);
    const power = await clock.run(open('hid:BITFT:2', 'BITFT', 2));
    await clock.run(power.cycle(1000));
    expect(board.masks).toEqual([0, 2]);
    expect(other.masks).toEqual([]);
    expect(await clock.run(power.isOn!())).toBe(true);
    expect(openHandles()).toBe(0);
  });

  test('a relay that did not switch is a failure', async () => {
    const { clock, open } = setUp([createRelays({ stuck: true })]);
    const power = await clock.run(open('hid:1', undefined));
    await expect(clock.run(power.set(true))).rejects.toMatchObject({
      code: 'POWER_FAILED',
      message: 'power on by hid:1: relay 1 did not move',
    });
  });

  test.each([
    ['none', [], 'hid:X:1: there is no relay board (16c0:05df); is it plugged in?'],
    [
      'another',
      [createRelays({ serial: 'AAAAA' })],
      'hid:X:1: there is none of that serial number: hid:AAAAA',
    ],
    [
      'one that is not ours to open',
      [createRelays({ serial: 'AAAAA' }), createRelays({ openError: -3 })],
      'hid:X:1: no permission (-3)',
    ],
  ])('%s', async (_name, devices, message) => {
    const { clock, open, openHandles } = setUp(devices);
    await expect(clock.run(open('hid:X:1', 'X'))).rejects.toMatchObject({ message });
    expect(openHandles()).toBe(0);
  });

  test('two boards and no serial number', async () => {
    const { clock, open } = setUp([
      createRelays({ serial: 'AAAAA' }),
      createRelays({ serial: 'BBBBB' }),
    ]);
    await expect(clock.run(open('hid:1', undefined))).rejects.toThrow(
      'there are several: hid:AAAAA, hid:BBBBB',
    );
  });

  test('a board that falls silent holds nothing up', async () => {
    const { clock, there, open } = setUp([createRelays()]);
    const power = await clock.run(open('hid:1', undefined));
    there.splice(0, 1, createRelays({ silent: true }));
    await expect(clock.run(power.cycle(1000))).rejects.toThrow('hid:1: it does not answer');
  });

  test('a relay that the board does not have', async () => {
    const { clock, open } = setUp([createRelays({ relays: 1 })]);
    const power = await clock.run(open('hid:2', undefined, 2));
    await expect(clock.run(power.set(false))).rejects.toThrow('the board has no relay 2');
  });
});
