import { type Damage, type PlacedRow, physicalRatio, placeFaults } from './faults.js';
import { createMechanics, type Mechanics } from './mechanics.js';
import type { Media } from './media.js';
import type { Scenario } from './scenario.js';
import type { FaultOf } from './schema.js';

export interface DriveCounters {
  /** Commands that read, whatever became of them. */
  reads: number;
  /** Reads that ended in an error or in silence. */
  failingReads: number;
  powerOns: number;
  /** Power cut while the heads were over the platters. */
  emergencyUnloads: number;
  spinUps: number;
  softResets: number;
  hardResets: number;
  /** Sectors that the heads passed over on their way and below them. */
  travelSectors: number;
  /** How often each sector was read or tried, up to 65,535; absent above 16 Mi sectors, and in a drive
   * without data. */
  readonly sectorReads: Uint16Array | undefined;
}

/** Two bytes a sector are worth it up to here. */
const countedSectorsMax = 16 * 1024 * 1024;
/** Everything that changes in a drive. Owned by `drive.ts`; `drive-read.ts` acts on it. */
export interface DriveState {
  readonly scenario: Scenario;
  readonly mechanics: Mechanics;
  /** Absent: reads bring no data. */
  readonly media: Media | undefined;
  readonly ratio: number;
  readonly rows: readonly PlacedRow[];
  readonly aliases: readonly FaultOf<'alias'>[];
  readonly counters: DriveCounters;
  poweredOn: boolean;
  firstPowerOnMs: number;
  spinsUntilMs: number;
  busyUntilMs: number;
  spinUpFailed: boolean;
  /** The platters do not turn at all: the motor goes on drawing what it draws when it starts. */
  isStuck: boolean;
  /** Errors since the drive last began to click, and power-ons that still fail because of it. */
  errorsSinceClicks: number;
  clicksLeft: number;
  /** How often it has clicked, and after how long without power it stops. */
  clicked: number;
  clicksRestMs: number | undefined;
  poweredOffAtMs: number;
  heads: 'loaded' | 'unloaded' | 'standby';
  /** Whether the next read has to find its tracks first. */
  calibrated: boolean;
  positionLba: number;
  /** As SET FEATURES left it; a hard reset and a power cycle bring back the scenario's. */
  lookAhead: boolean;
  hang: FaultOf<'hang'> | undefined;
  stall: { readonly fault: FaultOf<'stall'>; readonly index: number; untilMs: number } | undefined;
  gone: FaultOf<'vanish'>['returns'] | undefined;
  readsSincePowerOn: number;
  /** Pauses that started a count of reads anew. */
  pauses: number;
  /** By scenario row: reads since power-on from which on it is armed, and when in time. */
  readonly armedAtReads: number[];
  readonly armedAtMs: number[];
  readonly firings: number[];
  /** Tries of physical sectors whose fate is drawn per try, by `physical * rows + row`. */
  readonly tries: Map<number, number>;
  /** Physical sectors that went bad by spreading, with the row they belong to. */
  readonly grown: Map<number, PlacedRow>;
  lastSector: Uint8Array;
  celsius: number;
  celsiusAtMs: number;
}

/** A drive that was never powered. */
export function createState(
  scenario: Scenario,
  media: Media | undefined,
  damage?: Damage,
): DriveState {
  const mechanics = createMechanics(scenario);
  const counted = media !== undefined && scenario.sectorCount <= countedSectorsMax;
  return {
    scenario,
    mechanics,
    media,
    ratio: physicalRatio(scenario),
    rows: placeFaults(scenario, mechanics.headOf, damage),
    aliases: scenario.faults.filter((fault) => fault.kind === 'alias'),
    counters: {
      reads: 0,
      failingReads: 0,
      powerOns: 0,
      emergencyUnloads: 0,
      spinUps: 0,
      softResets: 0,
      hardResets: 0,
      travelSectors: 0,
      sectorReads: counted ? new Uint16Array(scenario.sectorCount) : undefined,
    },
    poweredOn: false,
    firstPowerOnMs: 0,
    spinsUntilMs: 0,
    busyUntilMs: 0,
    spinUpFailed: false,
    isStuck: false,
    errorsSinceClicks: 0,
    clicksLeft: 0,
    clicked: 0,
    clicksRestMs: undefined,
    poweredOffAtMs: 0,
    heads: 'loaded',
    calibrated: false,
    positionLba: 0,
    lookAhead: scenario.mechanics.lookAhead,
    hang: undefined,
    stall: undefined,
    gone: undefined,
    readsSincePowerOn: 0,
    pauses: 0,
    armedAtReads: [],
    armedAtMs: [],
    firings: scenario.faults.map(() => 0),
    tries: new Map(),
    grown: new Map(),
    lastSector: new Uint8Array(scenario.sectorBytes),
    celsius: scenario.temperature.ambientCelsius,
    celsiusAtMs: 0,
  };
}

/** Starts the motor; the drive is busy until it turns. */
export function spinUp(state: DriveState, nowMs: number): void {
  state.counters.spinUps++;
  state.heads = 'loaded';
  state.calibrated = false;
  state.spinsUntilMs = nowMs + state.scenario.mechanics.spinUpMs;
  state.busyUntilMs = state.spinsUntilMs;
}

/** The false identity that this power-on shows, if any. */
export function aliasOf(state: DriveState): FaultOf<'alias'> | undefined {
  if (state.aliases.length === 0) return undefined;
  const { powerOns } = state.counters;
  return state.aliases.find(
    (fault) =>
      powerOns >= fault.fromPowerOn &&
      powerOns < fault.fromPowerOn + (fault.lasts ?? Number.POSITIVE_INFINITY),
  );
}

/** Lets the case warm or cool towards what the time since the last call brought. */
export function warm(state: DriveState, nowMs: number, doing: 'off' | 'idle' | 'read'): void {
  const { ambientCelsius, idleRiseCelsius, readRiseCelsius, timeConstantMs } =
    state.scenario.temperature;
  const deltaMs = nowMs - state.celsiusAtMs;
  if (deltaMs <= 0) return;
  const rise =
    !state.poweredOn || doing === 'off' ? 0 : doing === 'read' ? readRiseCelsius : idleRiseCelsius;
  const target = ambientCelsius + rise;
  state.celsius = target + (state.celsius - target) * Math.exp(-deltaMs / timeConstantMs);
  state.celsiusAtMs = nowMs;
}
