import { existsSync } from 'node:fs';
import { realClock } from '../clock.js';
import { isLastspinError, LastspinError } from '../errors.js';
import type { Guard } from '../job/kind.js';
import { execPower } from '../power/exec.js';
import { troublePolicies } from '../power/policy.js';
import type { Power } from '../power/power.js';
import { type OpenedDrive, type OpenOptions, openDrive, openImagerAt } from './drives.js';

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

const links = ['serial', 'tcp', 'usb', 'stdio'];

/** Opens DRIVE as `openDrive` does, and the switches named by `--power`, in order; the imager's own where none is
 * named. Where the drive's device is not there, because an earlier run left the power off, a switch that
 * can hold it is switched on first. Throws what `openDrive` throws, USAGE for a switch that this drive or
 * this version does not have, and what opening a switch throws. */
export async function openPowered(
  spec: string,
  powerSpecs: readonly string[],
  options: OpenOptions,
): Promise<PoweredDrive> {
  refuseTwice(spec, powerSpecs);
  const switches: Switch[] = [];
  const closeSwitches = async () => {
    for (const { power } of switches) await power?.close();
  };
  try {
    for (const each of powerSpecs) switches.push(...(await openSwitch(each)));
    const { opened, wasAbsent } = await openOnceThere(spec, switches, options);
    const powers = powersOf(switches, powerSpecs, opened);
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

async function openSwitch(spec: string): Promise<Switch[]> {
  const clock = realClock();
  const scheme = /^([a-z]+):/.exec(spec)?.[1];
  if (spec === 'none') return [];
  if (spec === 'imager') return [{ spec }];
  if (scheme === 'exec') return [{ spec, power: execPower(spec.slice('exec:'.length), clock) }];
  if (scheme !== undefined && links.includes(scheme)) return [await openImagerSwitch(spec)];
  throw new LastspinError(
    'USAGE',
    `unknown power switch '${spec}'; known are imager, serial:, tcp:, usb:, stdio:, exec:COMMAND and none`,
  );
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

async function openOnceThere(
  spec: string,
  switches: readonly Switch[],
  options: OpenOptions,
): Promise<{ readonly opened: OpenedDrive; readonly wasAbsent: boolean }> {
  const clock = realClock();
  const holder = switches.find(({ power }) => power?.canHold)?.power;
  const untilMs = clock.now() + troublePolicies.hdd.readyLimitMs;
  for (let attempt = 0; ; attempt++) {
    try {
      return { opened: await openDrive(spec, options), wasAbsent: attempt > 0 };
    } catch (error) {
      const isAbsent = !existsSync(spec.replace(/^file:/, ''));
      if (!isLastspinError(error, 'DRIVE_OPEN_FAILED') || !isAbsent) throw error;
      if (!holder || clock.now() >= untilMs) throw error;
      if (attempt === 0) await holder.set(true);
      await clock.sleep(1000);
    }
  }
}

function powersOf(
  switches: readonly Switch[],
  powerSpecs: readonly string[],
  opened: OpenedDrive,
): readonly Power[] {
  if (powerSpecs.length === 0) return opened.power ? [opened.power] : [];
  return switches.map(({ power }) => {
    if (power) return power;
    if (opened.power) return opened.power;
    const why = 'this drive has no imager that can switch power';
    throw new LastspinError('USAGE', `--power imager: ${why}`);
  });
}
