import { type Plug, plugIntoPty, plugIntoTcp, type Serve } from '../../hardware-sim/plug.js';
import type { Scenario } from '../../hardware-sim/scenario.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { type Deeds, openControl } from '../../hardware-sim/sim-control.js';
import { serveSimulator, serveUsbDisk } from '../../hardware-sim/simulator.js';
import { createUsbDevice, type UsbDevice, type UsbPlug } from '../../hardware-sim/usb-device.js';
import { serveUsbip } from '../../hardware-sim/usbip.js';
import { openUsbredir } from '../../hardware-sim/usbredir.js';
import { type Clock, realClock } from '../clock.js';
import { LastspinError } from '../errors.js';
import { newSession } from './drives.js';
import { onInterrupt } from './interrupt.js';

export interface SimOptions {
  readonly pty?: string;
  readonly tcp?: string;
  readonly usbredir?: string;
  readonly usbip?: string;
  /** What is on the USB port. */
  readonly as: 'imager' | 'disk';
  readonly control?: string;
  readonly scale: number;
  readonly untilEof?: boolean;
}

/** What is served, until it is closed. */
interface Served {
  /** The DRIVE that opens it. */
  readonly name: string;
  /** What may be done to it through the control socket; absent where it has no USB plug. */
  readonly deeds?: Deeds;
  close(): Promise<void>;
}

/** `lastspin sim SCENARIO --pty PATH | --tcp ADDR | --usbredir PATH | --usbip ADDR`: serves until interrupted. One
 * line on stdout says where, once it can be opened. */
export async function sim(scenario: string, options: SimOptions): Promise<number> {
  checkOptions(options);
  const loaded = loadScenario(scenario);
  const interrupt = onInterrupt('lastspin: unplugged');
  const served = await serve(loaded, options, interrupt.signal).catch((error: unknown) => {
    if (error === interrupt.signal.reason) return undefined;
    throw error;
  });
  if (!served) return 0;
  const control =
    options.control !== undefined && served.deeds
      ? await openControl(options.control, served.deeds).catch(async (error: unknown) => {
          await served.close();
          throw error;
        })
      : undefined;
  process.stdout.write(`${served.name}\n`);
  await new Promise((resolve) => {
    interrupt.signal.addEventListener('abort', resolve);
    if (options.untilEof) process.stdin.on('end', resolve).resume();
  });
  process.stdin.pause();
  await control?.close();
  await served.close();
  interrupt.dispose();
  return 0;
}

function checkOptions({ pty, tcp, usbredir, usbip, as, control }: SimOptions): void {
  const places = [pty, tcp, usbredir, usbip].filter((place) => place !== undefined);
  const isUsb = usbredir !== undefined || usbip !== undefined;
  const problem =
    places.length !== 1
      ? 'sim needs one of --pty PATH, --tcp ADDR, --usbredir PATH and --usbip ADDR'
      : as === 'disk' && !isUsb
        ? 'sim --as disk needs --usbredir PATH or --usbip ADDR: a disk is on USB'
        : control !== undefined && !isUsb
          ? 'sim --control is for what has a USB plug: --usbredir PATH or --usbip ADDR'
          : undefined;
  if (problem !== undefined) throw new LastspinError('USAGE', problem);
}

function serve(scenario: Scenario, options: SimOptions, signal: AbortSignal): Promise<Served> {
  const { pty, tcp, as } = options;
  const clock = realClock(options.scale);
  if (pty !== undefined) {
    return serveImager(scenario, clock, 'serial:', (link) => plugIntoPty(pty, link));
  }
  if (tcp !== undefined) {
    return serveImager(scenario, clock, 'tcp:', (link) => plugIntoTcp(tcp, link));
  }
  if (as === 'disk') return serveDisk(scenario, clock, options, signal);
  return serveUsbImager(scenario, clock, options, signal);
}

async function serveImager(
  scenario: Scenario,
  clock: Clock,
  prefix: string,
  plugInto: (serve: Serve) => Promise<Plug>,
): Promise<Served> {
  const { address, close } = await serveSimulator(scenario, clock, plugInto, {
    bootId: newSession(),
  });
  return { name: `${prefix}${address}`, close };
}

async function serveUsbImager(
  scenario: Scenario,
  clock: Clock,
  options: SimOptions,
  signal: AbortSignal,
): Promise<Served> {
  let port: UsbPlug | undefined;
  const served = await serveImager(scenario, clock, 'usb:', async (link) => {
    const device = createUsbDevice(link);
    port = await openPort(options, device, signal);
    await port.plugIn();
    return { address: device.name, close: async () => port?.close() };
  });
  return { ...served, deeds: { plug: () => port?.plugIn(), unplug: () => port?.pull() } };
}

async function serveDisk(
  scenario: Scenario,
  clock: Clock,
  options: SimOptions,
  signal: AbortSignal,
): Promise<Served> {
  const { disk, dock, close } = await serveUsbDisk(scenario, clock, (device) =>
    openPort(options, device, signal),
  );
  await dock.power(true);
  return {
    name: `usb-bot:${disk.name}`,
    deeds: {
      plug: () => dock.plugIn(),
      unplug: () => dock.pull(),
      'power on': () => dock.power(true),
      'power off': () => dock.power(false),
    },
    close,
  };
}

/** The bus has real time, whatever time the drive lives in. */
async function openPort(
  { usbredir, usbip }: SimOptions,
  device: UsbDevice,
  signal: AbortSignal,
): Promise<UsbPlug> {
  if (usbredir !== undefined) {
    process.stderr.write(`lastspin: waits for QEMU at ${usbredir}\n`);
    return openUsbredir(usbredir, device, realClock(), signal);
  }
  const server = await serveUsbip(usbip ?? '', device);
  process.stderr.write(`lastspin: USB/IP at ${server.address}, bus id 1-1 (usbip attach)\n`);
  return server;
}
