/** A drive that fails as its scenario says. Synchronous and without a clock: every call is told the
 * time and says how long it takes, so that a rehearsal can run as fast as the arithmetic. */
import { type DriveRead, read, readStride, type Stride, type StrideResult } from './drive-read.js';
import {
  aliasOf,
  createState,
  type DriveCounters,
  type DriveState,
  spinUp,
  warm,
} from './drive-state.js';
import { type Damage, drawFrom, faultTopic } from './faults.js';
import { countLost } from './lost.js';
import type { Mechanics } from './mechanics.js';
import { createMedia, type Media } from './media.js';
import type { Scenario } from './scenario.js';
import type { Cure, FaultOf } from './schema.js';

export type { Damage, DriveCounters, DriveRead, Stride, StrideResult };

export interface SimulatedIdentity {
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  readonly sectorCount: number;
  readonly sectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean;
  readonly removable: boolean;
  /** By its password: it says who it is, and reads nothing. */
  readonly locked?: boolean;
  /** Sectors with the host protected area, and with the configuration overlay, where more are hidden. */
  readonly nativeSectorCount?: number | undefined;
  readonly configurationSectorCount?: number | undefined;
}

/** What the bus and the rails show. `untilMs`: when it ends by itself; Infinity: never. */
export interface DriveCondition {
  readonly kind: 'off' | 'gone' | 'spinning-up' | 'busy' | 'hung' | 'ready';
  readonly untilMs: number;
}

export interface SimulatedDrive {
  readonly scenario: Scenario;
  readonly mechanics: Mechanics;
  readonly counters: Readonly<DriveCounters>;
  /** READ DMA EXT. Sent while busy it starts when the drive is free. `count` >= 1. */
  read(request: { readonly lba: number; readonly count: number }, nowMs: number): DriveRead;
  /** Many reads at once where nothing can go wrong, in a drive without data; see `drive-read.ts`. */
  readStride(stride: Stride, nowMs: number): StrideResult;
  /** Undefined when the drive does not answer now. */
  identify(nowMs: number): SimulatedIdentity | undefined;
  /** SET FEATURES, read look-ahead. */
  setLookAhead(on: boolean): void;
  softReset(nowMs: number): void;
  hardReset(nowMs: number): void;
  powerOn(nowMs: number): void;
  powerOff(nowMs: number): void;
  /** STANDBY IMMEDIATE: how long it takes; Infinity when the drive does not answer. */
  standby(nowMs: number): number;
  /** IDLE IMMEDIATE with unload: as `standby`, with the motor on. */
  unload(nowMs: number): number;
  condition(nowMs: number): DriveCondition;
  milliamps(nowMs: number): { readonly rail5: number; readonly rail12: number };
  temperatureCelsius(nowMs: number): number;
  /** Sectors that no read ever gives (`lost.ts`). */
  lostCount(): number;
  close(): void;
}

export interface SimulatedDriveOptions {
  /** Instead of the scenario's contents. `none`: reads take their time and bring no data, and how often
   * each sector was read is not counted. */
  readonly media?: Media | 'none';
  /** Bad sectors besides the scenario's faults. */
  readonly damage?: Damage;
}

/** A drive in the state in which it was carried in: off and cold.
 * Throws SCENARIO_INVALID when an image file cannot be read. */
export function createSimulatedDrive(
  undamaged: Scenario,
  options: SimulatedDriveOptions = {},
): SimulatedDrive {
  const { damage } = options;
  const scenario = damage
    ? { ...undamaged, faults: [...undamaged.faults, damage.fault] }
    : undamaged;
  const media = options.media === 'none' ? undefined : (options.media ?? createMedia(scenario));
  const state = createState(scenario, media, damage);
  return {
    scenario,
    mechanics: state.mechanics,
    counters: state.counters,
    read: (request, nowMs) => read(state, request, nowMs),
    readStride: (stride, nowMs) => readStride(state, stride, nowMs),
    identify: (nowMs) => (answers(state, nowMs) ? identityOf(state) : undefined),
    setLookAhead(on) {
      state.lookAhead = on;
    },
    softReset: (nowMs) => reset(state, 'soft-reset', nowMs),
    hardReset: (nowMs) => reset(state, 'hard-reset', nowMs),
    powerOn: (nowMs) => powerOn(state, nowMs),
    powerOff: (nowMs) => powerOff(state, nowMs),
    standby: (nowMs) => park(state, 'standby', nowMs),
    unload: (nowMs) => park(state, 'unloaded', nowMs),
    condition: (nowMs) => conditionOf(state, nowMs),
    milliamps: (nowMs) => milliampsOf(state, nowMs),
    temperatureCelsius(nowMs) {
      warm(state, nowMs, 'idle');
      return state.celsius;
    },
    lostCount: () => countLost(scenario, state.rows),
    close: () => state.media?.close(),
  };
}

// Power, resets, parking

function powerOn(state: DriveState, nowMs: number): void {
  if (state.poweredOn) return;
  const { scenario, counters } = state;
  warm(state, nowMs, 'off');
  if (counters.powerOns++ === 0) state.firstPowerOnMs = nowMs;
  state.poweredOn = true;
  state.lookAhead = scenario.mechanics.lookAhead;
  state.positionLba = 0;
  state.readsSincePowerOn = 0;
  cureBy(state, 'power-cycle');
  if (state.gone === 'power-cycle') state.gone = undefined;
  for (const { index, fault } of state.rows) {
    const drawn = counters.powerOns * 65_536 + (state.firings[index] as number);
    const topic = faultTopic(index, 'threshold');
    state.armedAtReads[index] = drawFrom(fault.afterReads ?? 0, scenario.seed, topic, drawn);
    state.armedAtMs[index] ??= state.firstPowerOnMs + (fault.afterMs ?? 0);
  }
  spinUp(state, nowMs);
  const failing = scenario.faults.find(
    (fault): fault is FaultOf<'spin-up'> =>
      fault.kind === 'spin-up' &&
      counters.powerOns >= fault.fromPowerOn &&
      counters.powerOns < fault.fromPowerOn + fault.fails,
  );
  state.spinUpFailed = failing !== undefined;
  state.isStuck = failing?.stuck ?? false;
  if (stillClicks(state, nowMs)) state.spinUpFailed = true;
  if (state.spinUpFailed) state.busyUntilMs = Number.POSITIVE_INFINITY;
}

function powerOff(state: DriveState, nowMs: number): void {
  if (!state.poweredOn) return;
  warm(state, nowMs, 'idle');
  const spinning = nowMs >= state.spinsUntilMs && !state.spinUpFailed;
  if (spinning && state.heads === 'loaded') state.counters.emergencyUnloads++;
  state.poweredOn = false;
  state.poweredOffAtMs = nowMs;
}

/** Whether the heads find no tracks at this power-on either; a long enough rest helps. */
function stillClicks(state: DriveState, nowMs: number): boolean {
  if (state.clicksLeft === 0) return false;
  const restMs = state.clicksRestMs ?? Number.POSITIVE_INFINITY;
  const rested = nowMs - state.poweredOffAtMs >= restMs;
  state.clicksLeft = rested ? 0 : state.clicksLeft - 1;
  return !rested;
}

function reset(state: DriveState, kind: 'soft-reset' | 'hard-reset', nowMs: number): void {
  const { counters, scenario } = state;
  if (kind === 'soft-reset') counters.softResets++;
  else counters.hardResets++;
  if (!state.poweredOn || state.gone) return;
  if (kind === 'hard-reset') state.lookAhead = scenario.mechanics.lookAhead;
  cureBy(state, kind);
  if (state.hang || state.spinUpFailed || nowMs < state.spinsUntilMs) return;
  const { softResetMs, hardResetMs } = scenario.mechanics;
  state.busyUntilMs = nowMs + (kind === 'soft-reset' ? softResetMs : hardResetMs);
}

const cureStrength: Record<Cure, number> = { 'soft-reset': 1, 'hard-reset': 2, 'power-cycle': 3 };

/** Ends a hang and a stall that this, or anything weaker, is said to end. */
function cureBy(state: DriveState, cure: Cure): void {
  const ends = (until: Cure | undefined) =>
    until !== undefined && cureStrength[until] <= cureStrength[cure];
  if (ends(state.hang?.until)) state.hang = undefined;
  if (ends(state.stall?.fault.until)) state.stall = undefined;
}

function park(state: DriveState, into: 'standby' | 'unloaded', nowMs: number): number {
  if (!answers(state, nowMs)) return Number.POSITIVE_INFINITY;
  if (state.heads === 'standby' || state.heads === into) return 0;
  warm(state, nowMs, 'idle');
  const { standbyMs } = state.scenario.mechanics;
  state.heads = into;
  state.calibrated = false;
  state.busyUntilMs = nowMs + standbyMs;
  return standbyMs;
}

// What it shows

/** Whether a command sent now gets a sensible answer at once. */
function answers(state: DriveState, nowMs: number): boolean {
  return conditionOf(state, nowMs).kind === 'ready' && !state.hang;
}

function conditionOf(state: DriveState, nowMs: number): DriveCondition {
  const never = Number.POSITIVE_INFINITY;
  if (!state.poweredOn) return { kind: 'off', untilMs: never };
  if (state.gone) return { kind: 'gone', untilMs: never };
  if (state.hang?.answering === 'nothing') return { kind: 'hung', untilMs: never };
  if (nowMs >= state.busyUntilMs) return { kind: 'ready', untilMs: never };
  const spinning = nowMs < state.spinsUntilMs || state.spinUpFailed;
  return { kind: spinning ? 'spinning-up' : 'busy', untilMs: state.busyUntilMs };
}

/** The identity, or the one that failed firmware shows instead. */
function identityOf(state: DriveState): SimulatedIdentity {
  const { identity, sectorCount, sectorBytes, physicalSectorBytes, mechanics } = state.scenario;
  const alias = aliasOf(state);
  return {
    model: alias?.model ?? identity.model,
    serial: alias?.serial ?? identity.serial,
    firmware: alias?.firmware ?? identity.firmware,
    sectorCount: alias?.sectorCount ?? sectorCount,
    sectorBytes,
    physicalSectorBytes,
    rotational: mechanics.rotationMs > 0,
    removable: identity.removable,
    locked: identity.locked,
    nativeSectorCount: identity.nativeSectorCount,
    configurationSectorCount: identity.configurationSectorCount,
  };
}

function milliampsOf(state: DriveState, nowMs: number) {
  const { rail5, rail12 } = state.scenario.power;
  if (!state.poweredOn) return { rail5: 0, rail12: 0 };
  if (state.heads === 'standby') return { rail5: rail5.idleMilliamps, rail12: 0 };
  const draw =
    nowMs < state.spinsUntilMs || state.isStuck
      ? 'spinUpMilliamps'
      : nowMs < state.busyUntilMs
        ? 'readMilliamps'
        : 'idleMilliamps';
  return { rail5: rail5[draw], rail12: rail12[draw] };
}
