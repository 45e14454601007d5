/** Ports of USB hubs that can be switched one by one: hub class requests (USB 2.0 clause 11.24, USB 3.2). */

import type { Clock } from '../clock.js';
import { LastspinError } from '../errors.js';
import type { Power } from './power.js';
import { nameOfPort, type PortLocation } from './spec.js';
import { type ControlPipe, openPipe, type UsbAccess, type UsbControlDevice } from './usb.js';

/** What a hub says of itself. */
export interface HubTraits {
  readonly portCount: number;
  /** Logical power switching mode: each port by itself, all together, or not at all. */
  readonly switching: 'per-port' | 'ganged' | 'none';
}

/** Hub descriptor (USB 2.0 table 11-13; that of USB 3.2 is alike as far as this goes). Undefined where it is
 * too short to be one. */
export function parseHubDescriptor(bytes: Uint8Array): HubTraits | undefined {
  const [, , portCount, characteristics] = bytes;
  if (portCount === undefined || characteristics === undefined) return undefined;
  const mode = characteristics & 0x03;
  return { portCount, switching: mode === 1 ? 'per-port' : mode === 0 ? 'ganged' : 'none' };
}

/** PORT_POWER of a port's status (USB 2.0 table 11-21; one bit further in the port status of USB 3.2). Undefined for
 * what is too short. */
export function isPortPowered(status: Uint8Array, isSuperSpeed: boolean): boolean | undefined {
  const high = status[1];
  if (high === undefined) return undefined;
  return (high & (isSuperSpeed ? 0x02 : 0x01)) !== 0;
}

const portPowerFeature = 8;
const superSpeedFrom = 0x0300;

function hubDescriptorSetup(isSuperSpeed: boolean) {
  const type = isSuperSpeed ? 0x2a : 0x29;
  return { requestType: 0xa0, request: 0x06, value: type << 8, index: 0 };
}
/** Recipient: "other", the port. */
const portStatusSetup = (port: number) => ({
  requestType: 0xa3,
  request: 0x00,
  value: 0,
  index: port,
});
const portPowerSetup = (port: number, on: boolean) => ({
  requestType: 0x23,
  request: on ? 0x03 : 0x01,
  value: portPowerFeature,
  index: port,
});

/** One half of a connector: a port of a USB 2 hub or of a USB 3 hub. */
export interface HubPort {
  readonly location: PortLocation;
  /** The operating system's own switch for this port, where it has one and lets us use it: without, Linux
   * switches a port on again as soon as it sees the device gone. */
  readonly tellSystem?: (isOff: boolean) => Promise<void>;
}

export interface HubPowerOptions {
  /** For messages: `hub:1-1.4`. */
  readonly name: string;
  /** The port, and its other half where it has one: both must be off for the voltage to go. */
  readonly ports: readonly HubPort[];
  /** Told of what limits the switch, one line each. */
  readonly say: (line: string) => void;
}

interface OpenPort extends HubPort {
  readonly pipe: ControlPipe;
  readonly isSuperSpeed: boolean;
}

/** How often a port that is off is looked at, and how long one that comes back on by itself is told again. */
const lookMs = 100;
const stubbornMs = 10_000;
/** From the request to a port that says it is on; USB 2.0 allows 510 ms. */
const riseMs = 2000;
/** The system lets go of a device that has lost its power within a second. */
const systemMs = 15_000;

/** The switch for a port. Throws USAGE where the hub is none or does not switch its ports one by one,
 * POWER_FAILED where it cannot be opened. */
export async function openHubPower(
  options: HubPowerOptions,
  usb: UsbAccess,
  clock: Clock,
): Promise<Power> {
  const { name } = options;
  const ports = await usablePorts(options, usb, clock);
  const withPorts = async <T>(use: (open: readonly OpenPort[]) => Promise<T>): Promise<T> => {
    const open: OpenPort[] = [];
    try {
      for (const port of ports) open.push(openPort(name, port, usb, clock));
      return await use(open);
    } finally {
      for (const { pipe } of open) pipe.close();
    }
  };
  return {
    name,
    canHold: true,
    mayOnlyReset: true,
    cycle: (offMs, signal) =>
      withPorts(async (open) => {
        signal?.throwIfAborted();
        await switchOff(name, open, clock);
        await stayOff(name, open, offMs, clock, signal);
        await switchOn(name, open, clock);
      }),
    set: (on, signal) =>
      withPorts(async (open) => {
        signal?.throwIfAborted();
        await (on ? switchOn : switchOff)(name, open, clock);
        // A port that switches itself on again does so at once.
        if (!on) await stayOff(name, open, 5 * lookMs, clock, signal);
      }),
    isOn: () => withPorts(anyPowered),
    async close() {},
  };
}

/** The ports that can be switched; the first must be among them. */
async function usablePorts(
  { name, ports, say }: HubPowerOptions,
  usb: UsbAccess,
  clock: Clock,
): Promise<readonly HubPort[]> {
  const usable: HubPort[] = [];
  for (const [at, port] of ports.entries()) {
    const why = await whyUnusable(name, port, usb, clock);
    if (why === undefined) usable.push(port);
    else if (at === 0) throw new LastspinError('USAGE', `--power ${name}: ${why}`);
    else say(`${name}: its other half ${nameOfPort(port.location)} does not switch: ${why}`);
  }
  return usable;
}

async function whyUnusable(
  name: string,
  port: HubPort,
  usb: UsbAccess,
  clock: Clock,
): Promise<string | undefined> {
  const open = openPort(name, port, usb, clock);
  try {
    const traits = parseHubDescriptor(
      await open.pipe.read(hubDescriptorSetup(open.isSuperSpeed), 16),
    );
    if (!traits) return 'the hub does not describe itself';
    const { portCount, switching } = traits;
    if (port.location.port > portCount) return `the hub has ${portCount} ports`;
    if (switching === 'per-port' || (switching === 'ganged' && portCount === 1)) return undefined;
    const what = switching === 'ganged' ? 'switches all its ports together' : 'switches no port';
    return `the hub ${what}; use another hub or a relay`;
  } finally {
    open.pipe.close();
  }
}

function openPort(name: string, port: HubPort, usb: UsbAccess, clock: Clock): OpenPort {
  const { bus, hub } = port.location;
  const device = usb
    .getDeviceList()
    .find((each) => each.busNumber === bus && isSamePlace(each.portNumbers ?? [], hub));
  const place = hub.length === 0 ? `root hub of bus ${bus}` : `${bus}-${hub.join('.')}`;
  if (!device) throw new LastspinError('POWER_FAILED', `${name}: there is no hub at ${place}`);
  if (!isHub(device)) throw new LastspinError('USAGE', `--power ${name}: at ${place} is no hub`);
  const pipe = openPipe(name, device, usb, clock);
  return { ...port, pipe, isSuperSpeed: device.deviceDescriptor.bcdUSB >= superSpeedFrom };
}

function isSamePlace(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((port, at) => port === other[at]);
}

const hubClass = 9;

function isHub({ deviceDescriptor }: UsbControlDevice): boolean {
  return deviceDescriptor.bDeviceClass === hubClass;
}

async function isPowered({ pipe, location, isSuperSpeed }: OpenPort): Promise<boolean> {
  const status = await pipe.read(portStatusSetup(location.port), 4);
  return isPortPowered(status, isSuperSpeed) ?? true;
}

async function anyPowered(ports: readonly OpenPort[]): Promise<boolean> {
  for (const port of ports) if (await isPowered(port)) return true;
  return false;
}

/** First by the hub itself: a drive that hangs holds the system up until it has no power. Then the system is told
 * to leave it off. */
async function switchOff(name: string, ports: readonly OpenPort[], clock: Clock): Promise<void> {
  for (const { pipe, location } of ports)
    await pipe.write(portPowerSetup(location.port, false), none);
  for (const { tellSystem } of ports) if (tellSystem) await inTime(name, tellSystem(true), clock);
}

/** Returns when the ports were off for that long without a break. */
async function stayOff(
  name: string,
  ports: readonly OpenPort[],
  offMs: number,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<void> {
  const giveUpAtMs = clock.now() + offMs + stubbornMs;
  let sinceMs = clock.now();
  for (;;) {
    if (await anyPowered(ports)) {
      if (clock.now() >= giveUpAtMs) throw stubborn(name, ports);
      for (const { pipe, location } of ports)
        await pipe.write(portPowerSetup(location.port, false), none);
      sinceMs = clock.now();
    }
    const leftMs = sinceMs + offMs - clock.now();
    if (leftMs <= 0) return;
    await clock.sleep(Math.min(lookMs, leftMs), signal);
  }
}

function stubborn(name: string, ports: readonly OpenPort[]): LastspinError {
  const advice = ports.some(({ tellSystem }) => !tellSystem)
    ? '; Linux 6.0 leaves it off when this runs as root'
    : '';
  return new LastspinError('POWER_FAILED', `${name}: the port switches itself on again${advice}`);
}

/** USB 3 first: a drive that finds only USB 2 stays there. */
async function switchOn(name: string, ports: readonly OpenPort[], clock: Clock): Promise<void> {
  const fastFirst = ports.toSorted((a, b) => Number(b.isSuperSpeed) - Number(a.isSuperSpeed));
  for (const port of fastFirst) {
    if (port.tellSystem) await inTime(name, port.tellSystem(false), clock);
    if (!(await isPowered(port)))
      await port.pipe.write(portPowerSetup(port.location.port, true), none);
  }
  const untilMs = clock.now() + riseMs;
  for (const port of fastFirst) {
    while (!(await isPowered(port))) {
      if (clock.now() >= untilMs)
        throw new LastspinError(
          'POWER_FAILED',
          `${name}: ${nameOfPort(port.location)} stays off; unplug the drive and plug it in again`,
        );
      await clock.sleep(lookMs);
    }
  }
}

const none = new Uint8Array(0);

/** Meanwhile the system holds the hub, and every transfer to it would wait too. */
async function inTime(name: string, telling: Promise<void>, clock: Clock): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const cancel = clock.after(systemMs, () =>
      reject(
        new LastspinError(
          'POWER_FAILED',
          `${name}: the system does not let go of what hangs there`,
        ),
      ),
    );
    telling.then(
      () => {
        cancel();
        resolve();
      },
      (error) => {
        cancel();
        reject(error);
      },
    );
  });
}
