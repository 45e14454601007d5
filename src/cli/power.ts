import type { ImagerDrive, ImagerStatus } from '../drive/imager.js';
import { isLastspinError, LastspinError } from '../errors.js';
import type { Power } from '../power/power.js';
import { parsePowerSpec } from '../power/spec.js';
import {
  formatPower,
  type PowerAction,
  type PowerResult,
  powerActions,
} from '../show/power-result.js';
import { openImagerAt } from './drives.js';
import { onInterrupt } from './interrupt.js';
import { openSwitchAlone } from './powers.js';

export interface PowerOptions {
  /** Of a cycle, in ms. */
  readonly offTime: number;
  readonly json?: boolean;
}

interface Opened {
  readonly power: Power;
  readonly imager?: ImagerDrive;
  close(): Promise<void>;
}

/** `lastspin power LINK on|off|cycle|status`: returns the exit status. An imager that another program uses
 * answers that it is busy, and so does a serial port; nothing is switched then. */
export async function power(link: string, action: string, options: PowerOptions): Promise<number> {
  const wanted = powerActions.find((each) => each === action);
  if (!wanted)
    throw new LastspinError('USAGE', `'${action}' is no action; it is on, off, cycle or status`);
  const interrupt = onInterrupt('lastspin: stopping; the power may be left off');
  try {
    const opened = await open(link);
    try {
      const result = await perform(link, wanted, opened, options.offTime, interrupt.signal);
      process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatPower(result));
    } finally {
      await opened.close();
    }
  } catch (error) {
    if (error !== interrupt.signal.reason) throw error;
    throw new LastspinError('INTERRUPTED', `interrupted; the power of ${link} may be off`);
  } finally {
    interrupt.dispose();
  }
  return 0;
}

async function open(link: string): Promise<Opened> {
  if (parsePowerSpec(link).kind !== 'link') return openSwitch(link);
  const imager = await openImagerAt(link);
  if (imager.power) return { power: imager.power, imager, close: () => imager.close() };
  await imager.close();
  throw new LastspinError('USAGE', `${link}: this imager cannot switch power`);
}

async function openSwitch(link: string): Promise<Opened> {
  const say = (line: string) => process.stderr.write(`lastspin: ${line}\n`);
  const found = await openSwitchAlone(link, { files: [], links: [] }, say);
  if (found) return { power: found, close: () => found.close() };
  const why = 'name the switch itself: the link of an imager, as serial:PATH, or hub:, lcus:, hid:';
  throw new LastspinError('USAGE', `'${link}' is no switch by itself; ${why}`);
}

async function perform(
  link: string,
  action: PowerAction,
  { power: rail, imager }: Opened,
  offTimeMs: number,
  signal: AbortSignal,
): Promise<PowerResult> {
  if (imager && (action === 'off' || action === 'cycle')) await parkIfReady(imager);
  if (action === 'cycle') await rail.cycle(offTimeMs, signal);
  if (action === 'on' || action === 'off') await rail.set(action === 'on', signal);
  const status = await imager?.status();
  const isOn = status ? isPowered(status.powerState) : await rail.isOn?.();
  return {
    schema: 'lastspin/power-result/1',
    link,
    action,
    power: isOn === undefined ? null : isOn ? 'on' : 'off',
    offMs: action === 'cycle' && rail.canHold ? offTimeMs : null,
    mayOnlyReset: rail.mayOnlyReset ?? false,
    ...(imager && status && { imager: { firmware: imager.firmware, ...measuredOf(status) } }),
  };
}

function measuredOf(status: ImagerStatus): Omit<NonNullable<PowerResult['imager']>, 'firmware'> {
  const { powerState, driveBusy, rail5, rail12, temperatureCelsius, powerCycles, uptimeMs } =
    status;
  return {
    state: powerState,
    driveBusy,
    ...(rail5 && { rail5 }),
    ...(rail12 && { rail12 }),
    ...(temperatureCelsius !== undefined && { temperatureCelsius }),
    powerCycles,
    uptimeMs,
  };
}

/** Undefined while nobody knows. */
function isPowered(state: ImagerStatus['powerState']): boolean | undefined {
  switch (state) {
    case 'unknown':
      return undefined;
    case 'off':
    case 'cooling':
    case 'tripped':
      return false;
    default:
      return true;
  }
}

/** Heads off the platters before the cut, where the drive still answers: an emergency unload wears like a hundred
 * normal ones. */
async function parkIfReady(imager: ImagerDrive): Promise<void> {
  if (!imager.capabilities.park || (await imager.readiness()) !== 'ready') return;
  await imager.park().catch((error: unknown) => {
    // A drive that refuses to park is parked by losing its power.
    if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
  });
}
