/** The imager's power side: the rail, the readiness of the drive on it, and the state table's inputs. */
import type { PowerState } from '../firmware-protocol/commands.js';
import { type DeviceEvent, ReplyError } from '../firmware-protocol/device.js';
import type { Clock } from '../src/clock.js';
import type { SimulatedDrive } from './drive.js';
import { type PowerInput, powerCell } from './power-table.js';

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
  /** Compares the rails with their limits, unless the trip is blanked; trips. */
  checkCurrent(): void;
  /** The drive is about to spin up once more: blanks the trip. */
  blank(): void;
  /** Stops all timers. */
  close(): void;
}

interface Hooks {
  /** The rail went down, or the drive was reset: whatever was under way is over. */
  readonly interrupt: (why: 'power-lost' | 'reset') => void;
  readonly emit: (event: DeviceEvent) => void;
}

/** A drive that is still busy this long after a deadline expired is called hung. */
const hungAfterMs = 2000;

/** The supply of a simulated imager that was just switched on itself: the rail is off. */
export function createPowerSupply(drive: SimulatedDrive, clock: Clock, hooks: Hooks): PowerSupply {
  const { power } = drive.scenario;
  let state: PowerState = 'unknown';
  let wantsOn = false;
  let cycles = 0;
  let railDownAtMs = Number.NEGATIVE_INFINITY;
  let notReadySinceMs = 0;
  let blankedUntilMs = 0;
  /** Waits for the rail, the off-time or readiness; at most one at a time. */
  let cancelStep = () => {};
  let cancelHung = () => {};
  let cancelBlanking = () => {};

  const step = (delayMs: number, then: () => void) => {
    cancelStep();
    cancelStep = clock.after(delayMs, then);
  };

  /** Moves through the table; true when the state changed or was entered anew. */
  const apply = (input: PowerInput): boolean => {
    const cell = powerCell(state, input);
    if (cell === 'same') return false;
    if (cell === 'refused') throw refusal(state, input);
    state = cell;
    return true;
  };

  const stopTimers = () => {
    cancelStep();
    cancelHung();
    cancelBlanking();
  };
  const railDown = () => {
    stopTimers();
    drive.powerOff(clock.now());
    hooks.interrupt('power-lost');
  };
  const cool = (offMs: number, wasOff: boolean) => {
    railDown();
    // The off-time counts from the rail being down, not from the switch.
    if (!wasOff) railDownAtMs = clock.now() + power.dischargeMs;
    step(Math.max(0, railDownAtMs + offMs - clock.now()), () => {
      apply('off-time-over');
      if (wantsOn) switchTo('on', 0);
    });
  };
  const railUp = () => {
    apply('rail-up');
    cycles++;
    drive.powerOn(clock.now());
    notReadySinceMs = clock.now();
    blank();
    watchReady();
  };
  const switchTo = (action: 'on' | 'off' | 'cycle', offMs: number) => {
    const before = state;
    const changed = apply(action);
    wantsOn = action !== 'off';
    if (!changed) return;
    if (state === 'ramping') step(power.rampMs, railUp);
    else cool(offMs, before === 'off' || before === 'tripped');
  };

  const wasReady = () => {
    if (!apply('drive-ready')) return;
    cancelHung();
    hooks.emit({ kind: 'ready', afterMs: Math.round(clock.now() - notReadySinceMs) });
  };
  const watchReady = () => {
    const condition = drive.condition(clock.now());
    if (condition.kind === 'ready') wasReady();
    if (condition.kind === 'hung') watchHung();
    if (Number.isFinite(condition.untilMs)) step(condition.untilMs - clock.now(), watchReady);
  };
  const watchHung = () => {
    const before = drive.condition(clock.now());
    if (before.kind !== 'busy' && before.kind !== 'hung') return;
    cancelHung();
    cancelHung = clock.after(hungAfterMs, () => {
      const { kind, untilMs } = drive.condition(clock.now());
      // Busy again, with something else, is not hung.
      if (kind !== before.kind || untilMs !== before.untilMs || !apply('drive-silent')) return;
      notReadySinceMs = clock.now();
      hooks.emit({ kind: 'hung' });
      watchReady();
    });
  };

  const blank = () => {
    blankedUntilMs = clock.now() + power.blankingMs;
    cancelBlanking();
    cancelBlanking = clock.after(power.blankingMs, () => {
      blankedUntilMs = 0;
      checkCurrent();
    });
  };
  const checkCurrent = () => {
    if (clock.now() < blankedUntilMs) return;
    const drawn = drive.milliamps(clock.now());
    for (const rail of [5, 12] as const) {
      const milliamps = rail === 5 ? drawn.rail5 : drawn.rail12;
      const { limitMilliamps } = rail === 5 ? power.rail5 : power.rail12;
      if (milliamps <= limitMilliamps || !apply('over-current')) continue;
      railDown();
      railDownAtMs = clock.now() + power.dischargeMs;
      hooks.emit({
        kind: 'rail-fault',
        rail,
        milliamps,
        millivolts: railMillivolts(rail, milliamps),
      });
      return;
    }
  };

  apply('boot');
  return {
    state: () => state,
    cycles: () => cycles,
    switch: switchTo,
    reset(kind) {
      apply('reset');
      hooks.interrupt('reset');
      if (kind === 'soft') drive.softReset(clock.now());
      else drive.hardReset(clock.now());
      notReadySinceMs = clock.now();
      watchReady();
    },
    wasReady,
    wasSilent: watchHung,
    wasGone() {
      if (apply('drive-gone')) hooks.emit({ kind: 'gone' });
    },
    checkCurrent,
    blank,
    close: stopTimers,
  };
}

/** What a rail measures under load: a supply with 50 milliohms. */
export function railMillivolts(rail: 5 | 12, milliamps: number): number {
  return rail * 1000 - Math.round(milliamps * 0.05);
}

function refusal(state: PowerState, input: PowerInput): ReplyError {
  if (state === 'tripped' && input === 'on') {
    return new ReplyError('limit', 'over-current: switch off first');
  }
  return new ReplyError('noDrive', `the drive has no power (${state})`);
}
