/** The imager's power side: the rail, the readiness of the drive on it, and the state table's
 * inputs. */
import type { PowerState } from '../firmware-protocol/commands.js';
import type { DeviceEvent } from '../firmware-protocol/device.js';
import { nextPowerState, type PowerInput } from '../firmware-protocol/power-table.js';
import type { Clock } from '../src/clock.js';
import type { SimulatedDrive } from './drive.js';

export interface PowerSupply {
  state(): PowerState;
  /** Times the rail went up. */
  cycles(): number;
  /** Carries out what the laptop asked for. Throws ReplyError where the table refuses. */
  switch(action: 'on' | 'off' | 'cycle', offMs: number): void;
  /** Issues a reset. Throws ReplyError when no drive is powered. */
  reset(kind: 'soft' | 'hard'): void;
  /** The drive was seen to be free. */
  wasReady(): void;
  /** A deadline passed with the drive still busy. */
  wasSilent(): void;
  wasGone(): void;
  /** Compares the rails with their limits; trips. While blanked only far too much does. */
  checkCurrent(): void;
  /** The drive is too hot to stay on. */
  overHeat(): boolean;
  /** The laptop has been silent for too long. */
  silence(): void;
  /** The imager itself starts again: without its own power before, or as it was. */
  restart(how: 'boot' | 'restart'): void;
  /** Sets where the rails trip, in milliamps, and for how long not. */
  setLimits(limits: CurrentLimits): void;
  limits(): CurrentLimits;
  /** The drive is about to spin up once more: blanks the trip. */
  blank(): void;
  /** Stops all timers. */
  close(): void;
}

export interface CurrentLimits {
  readonly rail5MilliampsMax: number;
  readonly rail12MilliampsMax: number;
  /** After the rails rose and after a spin-up. */
  readonly blankingMs: number;
}

/** What no drive draws, not even while its motor starts: this trips at any time (S-7). */
export const milliampsHardMax = 8000;

interface Hooks {
  /** The rail went down, or the drive was reset: whatever was under way is over. */
  readonly interrupt: (why: 'power-lost' | 'reset') => void;
  readonly emit: (event: DeviceEvent) => void;
}

/** A drive that is still busy this long after a deadline expired is called hung. */
const hungAfterMs = 2000;

interface Supply {
  readonly drive: SimulatedDrive;
  readonly clock: Clock;
  readonly hooks: Hooks;
  state: PowerState;
  /** Where a running off-time leads. */
  wantsOn: boolean;
  cycles: number;
  railDownAtMs: number;
  notReadySinceMs: number;
  /** The rails rose or the motor starts: what `blankingMs` counts from. */
  blankedFromMs: number;
  /** Waits for the rail, the off-time or readiness; at most one at a time. */
  cancelStep: () => void;
  cancelHung: () => void;
  cancelBlanking: () => void;
  limits: CurrentLimits;
}

/** The supply of a simulated imager that was just switched on itself: the rail is off. */
export function createPowerSupply(drive: SimulatedDrive, clock: Clock, hooks: Hooks): PowerSupply {
  const supply: Supply = {
    drive,
    clock,
    hooks,
    state: 'unknown',
    wantsOn: false,
    cycles: 0,
    railDownAtMs: Number.NEGATIVE_INFINITY,
    notReadySinceMs: 0,
    blankedFromMs: Number.NEGATIVE_INFINITY,
    cancelStep: () => {},
    cancelHung: () => {},
    cancelBlanking: () => {},
    limits: currentDefaults(drive),
  };
  apply(supply, 'boot');
  return {
    state: () => supply.state,
    cycles: () => supply.cycles,
    switch: (action, offMs) => switchTo(supply, action, offMs),
    reset: (kind) => reset(supply, kind),
    wasReady: () => wasReady(supply),
    wasSilent: () => watchHung(supply),
    wasGone() {
      if (apply(supply, 'drive-gone')) hooks.emit({ kind: 'gone' });
    },
    checkCurrent: () => checkCurrent(supply),
    overHeat() {
      if (!apply(supply, 'over-heat')) return false;
      railDown(supply);
      return true;
    },
    silence() {
      supply.wantsOn = false;
      if (!apply(supply, 'silence')) return;
      railDown(supply);
      coolDown(supply, 0);
    },
    restart: (how) => restart(supply, how),
    setLimits(limits) {
      supply.limits = limits;
      lookAfterBlanking(supply);
      checkCurrent(supply);
    },
    limits: () => supply.limits,
    blank: () => blank(supply),
    close: () => stopTimers(supply),
  };
}

/** Where a scenario's rails trip until the laptop says otherwise. */
export function currentDefaults({ scenario: { power } }: SimulatedDrive): CurrentLimits {
  return {
    rail5MilliampsMax: power.rail5.limitMilliamps,
    rail12MilliampsMax: power.rail12.limitMilliamps,
    blankingMs: power.blankingMs,
  };
}

/** Moves through the table; true when a state was entered. Throws ReplyError where it refuses. */
function apply(supply: Supply, input: PowerInput): boolean {
  const next = nextPowerState(supply.state, input);
  if (next === undefined) return false;
  supply.state = next;
  return true;
}

function step(supply: Supply, delayMs: number, then: () => void): void {
  supply.cancelStep();
  supply.cancelStep = supply.clock.after(delayMs, then);
}

function stopTimers(supply: Supply): void {
  supply.cancelStep();
  supply.cancelHung();
  supply.cancelBlanking();
}

// The rail

function switchTo(supply: Supply, action: 'on' | 'off' | 'cycle', offMs: number): void {
  const wasUp = supply.state !== 'off' && supply.state !== 'tripped';
  const entered = apply(supply, `power ${action}`);
  supply.wantsOn = action !== 'off';
  if (!entered) return;
  if (supply.state === 'ramping') {
    step(supply, supply.drive.scenario.power.rampMs, () => railUp(supply));
    return;
  }
  if (wasUp) railDown(supply);
  coolDown(supply, offMs);
}

/** The off-time counts from the rail being down, not from the switch (P-3). */
function coolDown(supply: Supply, offMs: number): void {
  const restMs = supply.railDownAtMs + offMs - supply.clock.now();
  step(supply, Math.max(0, restMs), () => {
    apply(supply, 'off-time-over');
    if (supply.wantsOn) switchTo(supply, 'on', 0);
  });
}

/** P-1: after a restart the rails are what they were; an off-time and a rise begin anew. */
function restart(supply: Supply, how: 'boot' | 'restart'): void {
  const wasUp = supply.drive.condition(supply.clock.now()).kind !== 'off';
  const { wantsOn } = supply;
  stopTimers(supply);
  apply(supply, how);
  if (how === 'boot') Object.assign(supply, { limits: currentDefaults(supply.drive), cycles: 0 });
  if (supply.state === 'cooling') {
    if (wasUp) railDown(supply);
    coolDown(supply, 0);
  } else if (supply.state === 'on-not-ready') {
    supply.notReadySinceMs = supply.clock.now();
    watchReady(supply);
  } else if (wasUp) {
    railDown(supply);
  }
  supply.wantsOn = supply.state === 'cooling' && wantsOn;
}

function railUp(supply: Supply): void {
  const { drive, clock } = supply;
  apply(supply, 'rail-up');
  supply.cycles++;
  drive.powerOn(clock.now());
  supply.notReadySinceMs = clock.now();
  blank(supply);
  if (supply.state === 'on-not-ready') watchReady(supply);
}

function railDown(supply: Supply): void {
  const { drive, clock, hooks } = supply;
  stopTimers(supply);
  drive.powerOff(clock.now());
  supply.railDownAtMs = clock.now() + drive.scenario.power.dischargeMs;
  hooks.interrupt('power-lost');
}

/** Leaves the trip out of it while the motor starts, and looks once when that is over. */
function blank(supply: Supply): void {
  supply.blankedFromMs = supply.clock.now();
  lookAfterBlanking(supply);
  checkCurrent(supply);
}

function lookAfterBlanking(supply: Supply): void {
  const { clock, blankedFromMs, limits } = supply;
  supply.cancelBlanking();
  const leftMs = blankedFromMs + limits.blankingMs - clock.now();
  if (leftMs > 0) supply.cancelBlanking = clock.after(leftMs, () => checkCurrent(supply));
}

function checkCurrent(supply: Supply): void {
  const { clock, drive, hooks, limits } = supply;
  const isBlanked = clock.now() < supply.blankedFromMs + limits.blankingMs;
  const drawn = drive.milliamps(clock.now());
  const rails = [
    { rail: 5, milliamps: drawn.rail5, most: limits.rail5MilliampsMax },
    { rail: 12, milliamps: drawn.rail12, most: limits.rail12MilliampsMax },
  ] as const;
  for (const { rail, milliamps, most } of rails) {
    if (milliamps <= (isBlanked ? milliampsHardMax : most)) continue;
    if (!apply(supply, 'over-current')) continue;
    railDown(supply);
    const millivolts = railMillivolts(rail, milliamps);
    hooks.emit({ kind: 'rail-fault', rail, milliamps, millivolts, fault: 'overCurrent' });
    return;
  }
}

// The drive on it

function reset(supply: Supply, kind: 'soft' | 'hard'): void {
  const { clock, drive, hooks } = supply;
  apply(supply, 'reset');
  hooks.interrupt('reset');
  if (kind === 'soft') drive.softReset(clock.now());
  else drive.hardReset(clock.now());
  supply.notReadySinceMs = clock.now();
  watchReady(supply);
}

function wasReady(supply: Supply): void {
  const { clock, hooks } = supply;
  if (!apply(supply, 'drive-ready')) return;
  supply.cancelHung();
  hooks.emit({ kind: 'ready', afterMs: Math.round(clock.now() - supply.notReadySinceMs) });
}

function watchReady(supply: Supply): void {
  const { clock, drive } = supply;
  const { kind, untilMs } = drive.condition(clock.now());
  if (kind === 'ready') wasReady(supply);
  if (kind === 'hung') watchHung(supply);
  if (Number.isFinite(untilMs)) step(supply, untilMs - clock.now(), () => watchReady(supply));
}

/** Calls the drive hung unless what keeps it busy now is over by then. */
function watchHung(supply: Supply): void {
  const { clock, drive, hooks } = supply;
  const before = drive.condition(clock.now());
  if (before.kind !== 'busy' && before.kind !== 'hung') return;
  supply.cancelHung();
  supply.cancelHung = clock.after(hungAfterMs, () => {
    const { kind, untilMs } = drive.condition(clock.now());
    // Busy again, with something else, is not hung.
    if (kind !== before.kind || untilMs !== before.untilMs) return;
    if (!apply(supply, 'drive-silent')) return;
    supply.notReadySinceMs = clock.now();
    hooks.emit({ kind: 'hung' });
    watchReady(supply);
  });
}

/** What a rail measures under load: a supply with 50 milliohms. */
export function railMillivolts(rail: 5 | 12, milliamps: number): number {
  return rail * 1000 - Math.round(milliamps * 0.05);
}
