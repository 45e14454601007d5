import { existsSync } from 'node:fs';
import { type Clock, realClock } from '../clock.js';
import { serialTransport } from '../drive/links/serial.js';
import { adviceOn, loadUsb } from '../drive/links/usb.js';
import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import type { Guard } from '../job/kind.js';
import { execPower } from '../power/exec.js';
import { openHidBoard } from '../power/hid.js';
import { openHubPower } from '../power/hub.js';
import { lcusBaudRate, openLcusBoard } from '../power/lcus.js';
import { manualPower } from '../power/manual.js';
import { troublePolicies } from '../power/policy.js';
import type { Power } from '../power/power.js';
import { relayPower } from '../power/relay.js';
import { type PortLocation, parsePowerSpec } from '../power/spec.js';
import type { UsbAccess } from '../power/usb.js';
import { shellWord } from '../show/format.js';
import { personAt } from './ask.js';
import {
  checkDriveSpec,
  type OpenedDrive,
  type OpenOptions,
  openDrive,
  openImagerAt,
} from './drives.js';
import { connectorAt, type MustStay, whyKeepPower } from './hub-ports.js';

/** A switch named by `--power`. */
interface Switch {
  readonly spec: string;
  /** Absent for the switch of the drive's own imager, which is not opened by itself. */
  readonly power?: Power;
  /** What looks after the drive when this computer falls silent, where the switch can. */
  readonly guard?: Guard;
}

/** A drive and its switches. */
export interface PoweredDrive extends OpenedDrive {
  /** In the order in which they are tried. */
  readonly powers: readonly Power[];
  /** Its device was not there until a switch was switched on. */
  readonly wasAbsent: boolean;
  /** All that look after the drive when this computer falls silent. */
  readonly guards: readonly Guard[];
}

/** What switches go by besides their names. */
export interface SwitchOptions {
  /** Files whose disk must keep its power. */
  readonly files?: readonly string[];
  /** A line for the user. */
  readonly say?: (line: string) => void;
  /** Ends what takes long. */
  readonly signal?: AbortSignal;
}

/** Opens DRIVE as `openDrive` does, and the switches named by `--power`, in order; the imager's own where none is
 * named. Where the drive's device is not there, because an earlier run left the power off, a switch that
 * can hold it is switched on first. Throws what `openDrive` throws, the signal's reason, USAGE for a switch that this drive or
 * this version does not have, and what opening a switch throws. */
export async function openPowered(
  spec: string,
  powerSpecs: readonly string[],
  options: OpenOptions & SwitchOptions,
): Promise<PoweredDrive> {
  checkDriveSpec(spec);
  refuseTwice(spec, powerSpecs);
  const { files = [], say = sayOnStderr } = options;
  const stays = { files, links: [spec, ...powerSpecs] };
  const switches: Switch[] = [];
  const closeSwitches = async () => {
    for (const { power } of switches) await power?.close();
  };
  try {
    for (const each of powerSpecs) switches.push(...(await openSwitch(each, stays, say)));
    const { opened, wasAbsent } = await openOnceThere(spec, switches, options);
    const powers = powersOf(spec, switches, powerSpecs, opened);
    const guards = switches.flatMap(({ guard }) => guard ?? []);
    return {
      ...opened,
      powers,
      wasAbsent,
      guards: opened.guard ? [opened.guard, ...guards] : guards,
      async close() {
        await opened.close();
        await closeSwitches();
      },
    };
  } catch (error) {
    await closeSwitches();
    throw error;
  }
}

/** An imager serves one session: named twice it would be in use by this very program. A command makes a process
 * each time. */
function refuseTwice(spec: string, powerSpecs: readonly string[]): void {
  const named = powerSpecs.filter((each) => /^(serial|tcp|usb):/.test(each));
  const twice = named.find((each, at) => each === spec || named.indexOf(each) < at);
  if (twice === undefined) return;
  const how = twice === spec ? "the drive's own imager is --power imager" : 'name it once';
  throw new LastspinError('USAGE', `--power ${twice} is named already; ${how}`);
}

/** Opens a switch that is no imager's, or nothing for `none`. `stays`: what must keep its power. Throws USAGE and
 * what opening it throws. */
export async function openSwitchAlone(
  spec: string,
  stays: MustStay,
  say: (line: string) => void,
): Promise<Power | undefined> {
  const clock = realClock();
  const parsed = parsePowerSpec(spec);
  switch (parsed.kind) {
    case 'none':
    case 'imager':
    case 'link':
      return undefined;
    case 'exec':
      return execPower(parsed.command, clock);
    case 'manual':
      return manualPower(personAt(process.stdin, process.stderr, say), clock);
    case 'lcus': {
      const { path } = parsed;
      const transport = serialTransport({ path, baudRate: lcusBaudRate }, clock);
      return relayPower(spec, await openLcusBoard(path, transport.open, clock), parsed, clock);
    }
    case 'hid':
      return relayPower(
        spec,
        await openHidBoard(spec, parsed.serial, await usb('hid:'), clock),
        parsed,
        clock,
      );
    case 'hub':
      return openHub(spec, parsed.port, stays, say, clock);
  }
}

/** Throws USAGE where something else that is needed hangs below the port. */
async function openHub(
  spec: string,
  port: PortLocation,
  stays: MustStay,
  say: (line: string) => void,
  clock: Clock,
): Promise<Power> {
  if (process.platform !== 'linux')
    throw new LastspinError(
      'USAGE',
      `--power ${spec}: only Linux tells what else hangs below a port; use a relay or exec:`,
    );
  const ports = connectorAt(port);
  if (ports.length === 0)
    throw new LastspinError(
      'USAGE',
      `--power ${spec}: there is no such port; 'lsusb -t' lists them`,
    );
  const why = whyKeepPower(
    ports.map(({ location }) => location),
    stays,
  );
  if (why) throw new LastspinError('USAGE', `--power ${spec}: ${why}; use another port or switch`);
  return openHubPower({ name: spec, ports, say }, await usb('hub:'), clock);
}

async function usb(what: string): Promise<UsbAccess> {
  const library = (await loadUsb(what)) as unknown as Pick<UsbAccess, 'getDeviceList'>;
  return { getDeviceList: () => library.getDeviceList(), adviceOn };
}

function sayOnStderr(line: string): void {
  process.stderr.write(`lastspin: ${line}\n`);
}

async function openSwitch(
  spec: string,
  stays: MustStay,
  say: (line: string) => void,
): Promise<Switch[]> {
  const { kind } = parsePowerSpec(spec);
  if (kind === 'none') return [];
  if (kind === 'imager') return [{ spec }];
  if (kind === 'link') return [await openImagerSwitch(spec)];
  const power = await openSwitchAlone(spec, stays, say);
  return power ? [{ spec, power }] : [];
}

/** An imager that switches power, beside whatever reads the drive. */
async function openImagerSwitch(spec: string): Promise<Switch> {
  const imager = await openImagerAt(spec);
  if (!imager.power) {
    await imager.close();
    throw new LastspinError('USAGE', `--power ${spec}: this imager cannot switch power`);
  }
  const power = {
    ...imager.power,
    name: spec,
    onNotice: (handler: (notice: string) => void) => imager.onNotice?.(handler),
    close: () => imager.close(),
  };
  return { spec, power, guard: imager };
}

/** How long a device may take to come once its power is on. */
const comingMsMax = troublePolicies.hdd.readyLimitMs;
const lookMs = 1000;

async function openOnceThere(
  spec: string,
  switches: readonly Switch[],
  options: OpenOptions & SwitchOptions,
): Promise<{ readonly opened: OpenedDrive; readonly wasAbsent: boolean }> {
  // A link to an imager does not come with the drive's power: a mistyped one must not start the drive.
  const comesWithPower = !/^(?:serial|tcp|usb|stdio|sim):/.test(spec);
  const holder = comesWithPower ? switches.find(({ power }) => power?.canHold)?.power : undefined;
  try {
    return { opened: await openDrive(spec, options), wasAbsent: false };
  } catch (error) {
    if (!holder || !isAbsent(spec, error)) throw error;
  }
  const { say = sayOnStderr, signal } = options;
  const limit = `${comingMsMax / 1000} s`;
  say(`${spec} is not there: its power is switched on (${holder.name}), and it is given ${limit}`);
  try {
    await holder.set(true, signal);
    return { opened: await openWithin(comingMsMax, spec, options), wasAbsent: true };
  } catch (error) {
    // Nobody would look after what was switched on for nothing.
    await switchBack(holder, options);
    throw error;
  }
}

function isAbsent(spec: string, error: unknown): boolean {
  return (
    isLastspinError(error, 'DRIVE_OPEN_FAILED') && !existsSync(spec.replace(/^(file|sg):/, ''))
  );
}

async function openWithin(
  limitMs: number,
  spec: string,
  options: OpenOptions & SwitchOptions,
): Promise<OpenedDrive> {
  const clock = realClock();
  const untilMs = clock.now() + limitMs;
  for (;;) {
    await clock.sleep(lookMs, options.signal);
    try {
      return await openDrive(spec, options);
    } catch (error) {
      if (!isAbsent(spec, error) || clock.now() >= untilMs) throw error;
    }
  }
}

/** How long a switch may take once somebody wants to end. */
const switchBackMs = 5000;

async function switchBack(
  power: Power,
  { say = sayOnStderr, signal }: SwitchOptions,
): Promise<void> {
  const ending = new AbortController();
  const isOver = signal?.aborted === true;
  const cancel = isOver
    ? realClock().after(switchBackMs, () => ending.abort(signal.reason))
    : () => {};
  try {
    // Whoever interrupts is not asked for anything more.
    if (isOver && power.name === 'manual') throw new LastspinError('INTERRUPTED', 'interrupted');
    await power.set(false, isOver ? ending.signal : signal);
  } catch (error) {
    say(`the drive's power is still on (${power.name}): ${reasonOf(error)}`);
  } finally {
    cancel();
  }
}

function powersOf(
  spec: string,
  switches: readonly Switch[],
  powerSpecs: readonly string[],
  opened: OpenedDrive,
): readonly Power[] {
  // A simulated one goes with this program.
  const own = opened.power && !spec.startsWith('sim:') ? { onBy: onByOf(spec, opened.power) } : {};
  if (powerSpecs.length === 0) return opened.power ? [{ ...opened.power, ...own }] : [];
  return switches.map(({ spec: each, power }) => {
    if (power) return { ...power, onBy: onByOf(each, power) };
    if (opened.power) return { ...opened.power, ...own };
    const why = 'this drive has no imager that can switch power';
    throw new LastspinError('USAGE', `--power imager: ${why}`);
  });
}

function onByOf(spec: string, { canHold }: Power): string {
  if (spec === 'manual') return 'plug it in';
  return `npx lastspin power ${shellWord(spec)} ${canHold ? 'on' : 'cycle'}`;
}
