import { describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import {
  type HubPort,
  isPortPowered,
  openHubPower,
  parseHubDescriptor,
} from '../../src/power/hub.js';
import { type FakeDevice, fakeUsb } from './fake-usb.js';

describe('what hubs say', () => {
  test('how they switch', () => {
    // QEMU's hub, a root hub of xHCI, one that switches nothing.
    expect(parseHubDescriptor(Buffer.from('0a2908090001000000ff', 'hex'))).toEqual({
      portCount: 8,
      switching: 'per-port',
    });
    expect(parseHubDescriptor(Buffer.from([9, 0x29, 4, 0x00, 0, 1, 0]))?.switching).toBe('ganged');
    expect(parseHubDescriptor(Buffer.from([9, 0x29, 4, 0x0a, 0, 1, 0]))?.switching).toBe('none');
    expect(parseHubDescriptor(Buffer.from([9, 0x29]))).toBeUndefined();
  });

  test('whether a port is powered: another bit in USB 3', () => {
    expect(isPortPowered(Buffer.from([0x03, 0x01, 0, 0]), false)).toBe(true);
    expect(isPortPowered(Buffer.from([0x03, 0x02, 0, 0]), true)).toBe(true);
    expect(isPortPowered(Buffer.from([0xa0, 0x00, 0, 0]), true)).toBe(false);
    expect(isPortPowered(Buffer.alloc(0), false)).toBeUndefined();
  });
});

interface HubOptions {
  readonly bus?: number;
  readonly characteristics?: number;
  readonly isSuperSpeed?: boolean;
  /** How often the system switches a port on again that it sees go. */
  readonly comesBack?: number;
  /** Never comes on again. */
  readonly isDead?: boolean;
}

/** A hub at port 1 of its bus; `log` has what was done to its ports: `2 4 off` is port 4 on bus 2. */
function createHub(log: string[], options: HubOptions = {}) {
  const { bus = 1, characteristics = 9, isSuperSpeed = false, isDead = false } = options;
  let comesBack = options.comesBack ?? 0;
  const powered = new Set([1, 2, 3, 4]);
  const device: FakeDevice = {
    bus,
    ports: [1],
    isHub: true,
    bcdUSB: isSuperSpeed ? 0x0310 : 0x0200,
    control({ requestType, request, value, index }) {
      const kind = (requestType << 8) | request;
      if (kind === 0xa006 && value === (isSuperSpeed ? 0x2a00 : 0x2900))
        return Buffer.from([12, value >> 8, 4, characteristics, 0, 0, 0, 0]);
      if (kind === 0xa300) {
        const status = Buffer.from([0, powered.has(index) ? (isSuperSpeed ? 2 : 1) : 0, 0, 0]);
        if (!powered.has(index) && comesBack > 0) {
          comesBack--;
          powered.add(index);
        }
        return status;
      }
      if ((kind !== 0x2301 && kind !== 0x2303) || value !== 8) throw new Error('stall');
      log.push(`${bus} ${index} ${kind === 0x2303 ? 'on' : 'off'}`);
      if (kind === 0x2301) powered.delete(index);
      else if (!isDead) powered.add(index);
      return Buffer.alloc(0);
    },
  };
  return { device, powered };
}

const portAt = (bus: number, port = 4): HubPort => ({ location: { bus, hub: [1], port } });

async function setUp(hubs: readonly HubOptions[], ports: readonly HubPort[] = [portAt(1)]) {
  const clock = createVirtualClock();
  const log: string[] = [];
  const made = hubs.map((options) => createHub(log, options));
  const { usb, openHandles } = fakeUsb(() => made.map(({ device }) => device));
  const said: string[] = [];
  const opening = openHubPower(
    { name: 'hub:1-1.4', ports, say: (line) => said.push(line) },
    usb,
    clock,
  );
  return { clock, log, made, openHandles, said, power: await clock.run(opening) };
}

describe('a port of a hub', () => {
  test('goes off for as long as it is told, and on', async () => {
    const { clock, log, power, openHandles } = await setUp([{}]);
    expect(power.mayOnlyReset).toBe(true);
    expect(await clock.run(power.isOn!())).toBe(true);
    const fromMs = clock.now();
    await clock.run(power.cycle(5000));
    expect(clock.now() - fromMs).toBeGreaterThanOrEqual(5000);
    expect(log).toEqual(['1 4 off', '1 4 on']);
    expect(openHandles()).toBe(0);
  });

  test('its USB 3 half too, and that comes on first', async () => {
    const { clock, log, power } = await setUp(
      [{}, { bus: 2, isSuperSpeed: true }],
      [portAt(1), portAt(2)],
    );
    await clock.run(power.cycle(1000));
    expect(log).toEqual(['1 4 off', '2 4 off', '2 4 on', '1 4 on']);
  });

  test('is off when both halves are', async () => {
    const { clock, made, power } = await setUp(
      [{}, { bus: 2, isSuperSpeed: true }],
      [portAt(1), portAt(2)],
    );
    made[0]!.powered.delete(4);
    expect(await clock.run(power.isOn!())).toBe(true);
    made[1]!.powered.delete(4);
    expect(await clock.run(power.isOn!())).toBe(false);
  });

  test('a half that does not switch is told of', async () => {
    const { clock, log, said, power } = await setUp(
      [{}, { bus: 2, isSuperSpeed: true, characteristics: 0x0a }],
      [portAt(1), portAt(2)],
    );
    await clock.run(power.cycle(1000));
    expect(log).toEqual(['1 4 off', '1 4 on']);
    expect(said).toEqual([
      'hub:1-1.4: its other half 2-1.4 does not switch: the hub switches no port; use another hub or a relay',
    ]);
  });

  test.each([
    [{ characteristics: 0 }, portAt(1), /the hub switches all its ports together/],
    [{ characteristics: 0x0a }, portAt(1), /the hub switches no port; use another hub or a relay/],
    [{}, portAt(1, 5), /the hub has 4 ports/],
    [{ bus: 3 }, portAt(1), /there is no hub at 1-1/],
  ])('%j is refused', async (hub, port, why) => {
    await expect(setUp([hub], [port])).rejects.toThrow(why);
  });

  test('what is no hub is refused', async () => {
    const clock = createVirtualClock();
    const stick: FakeDevice = { ports: [1], control: () => Buffer.alloc(0) };
    const { usb } = fakeUsb(() => [stick]);
    const opening = openHubPower(
      { name: 'hub:1-1.4', ports: [portAt(1)], say: () => {} },
      usb,
      clock,
    );
    await expect(opening).rejects.toMatchObject({
      code: 'USAGE',
      message: '--power hub:1-1.4: at 1-1 is no hub',
    });
  });

  test('one that the system switches on again is told again, and the off-time counts from then', async () => {
    const { clock, log, power } = await setUp([{ comesBack: 3 }]);
    const fromMs = clock.now();
    await clock.run(power.cycle(2000));
    expect(log).toEqual(['1 4 off', '1 4 off', '1 4 off', '1 4 off', '1 4 on']);
    expect(clock.now() - fromMs).toBeGreaterThan(2200);
  });

  test('one that never stays off is a failure, not a cycle', async () => {
    const { clock, power } = await setUp([{ comesBack: 1e9 }]);
    await expect(clock.run(power.cycle(2000))).rejects.toMatchObject({
      code: 'POWER_FAILED',
      message:
        'hub:1-1.4: the port switches itself on again; Linux 6.0 leaves it off when this runs as root',
    });
  });

  test('one that stays off is told of', async () => {
    const { clock, power } = await setUp([{ isDead: true }]);
    await expect(clock.run(power.cycle(2000))).rejects.toThrow('1-1.4 stays off');
  });

  test('the system is told to leave it off, after the hub, and to bring it back', async () => {
    const told: string[] = [];
    const port = { ...portAt(1), tellSystem: async (isOff: boolean) => void told.push(`${isOff}`) };
    const { clock, log, power } = await setUp([{}], [port]);
    await clock.run(power.cycle(1000));
    expect(told).toEqual(['true', 'false']);
    expect(log).toEqual(['1 4 off', '1 4 on']);
  });

  test('a system that never lets go holds nothing up', async () => {
    const port = { ...portAt(1), tellSystem: () => new Promise<void>(() => {}) };
    const { clock, power } = await setUp([{}], [port]);
    await expect(clock.run(power.cycle(1000))).rejects.toThrow(
      'the system does not let go of what hangs there',
    );
  });

  test('an abort in the off-time leaves it off', async () => {
    const { clock, log, power, openHandles } = await setUp([{}]);
    const abort = new AbortController();
    clock.after(500, () => abort.abort(new Error('stopped')));
    await expect(clock.run(power.cycle(60_000, abort.signal))).rejects.toThrow('stopped');
    expect(log).toEqual(['1 4 off']);
    expect(openHandles()).toBe(0);
  });
});
