/** A drive that fails as its scenario says. Synchronous and without a clock: every call is told the
 * time and says how long it takes, so that a rehearsal can run as fast as the arithmetic. */
import { drawFrom, faultTopic, fillGarbage, physicalRatio, placeFaults, type PlacedRow } from './faults.js';
import { createMechanics, type Mechanics } from './mechanics.js';
import { createMedia, type Media } from './media.js';
import { fraction, hash } from './random.js';
import type { Scenario } from './scenario.js';
import type { Cure, FaultOf } from './schema.js';

export interface DriveRead {
  /** `silent`: no answer ever comes (`elapsedMs` is Infinity) until a reset or a power cycle.
   * `gone`: the drive is off or not on the bus. */
  readonly outcome: 'good' | 'fault' | 'silent' | 'gone';
  /** Sectors that came good, from the front; `data` holds exactly these. */
  readonly goodCount: number;
  readonly data: Uint8Array;
  /** From the call to the answer, waiting for an earlier command included. */
  readonly elapsedMs: number;
  readonly failingLba?: number;
  readonly ata?: { readonly status: number; readonly error: number };
  readonly sense?: { readonly key: number; readonly asc: number; readonly ascq: number };
}

export interface SimulatedIdentity {
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  readonly sectorCount: number;
  readonly sectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean;
}

/** What the bus and the rails show. `untilMs`: when it ends by itself; Infinity: never. */
export interface DriveCondition {
  readonly kind: 'off' | 'gone' | 'spinning-up' | 'busy' | 'hung' | 'ready';
  readonly untilMs: number;
}

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
  /** How often each sector was read or tried, up to 65,535; absent above 16 Mi sectors. */
  readonly sectorReads: Uint16Array | undefined;
}

export interface SimulatedDrive {
  readonly scenario: Scenario;
  readonly mechanics: Mechanics;
  readonly counters: Readonly<DriveCounters>;
  /** READ DMA EXT. Sent while busy it starts when the drive is free. `count` >= 1. */
  read(request: { readonly lba: number; readonly count: number }, nowMs: number): DriveRead;
  /** Undefined when the drive does not answer now. */
  identify(nowMs: number): SimulatedIdentity | undefined;
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
  close(): void;
}

/** Two bytes a sector are worth it up to here. */
const countedSectorsMax = 16 * 1024 * 1024;
/** A hung drive that answers at all does so at once. */
const hungReplyMs = 2;
/** How far damage looks for a sector that is not bad yet. */
const spreadSearchMax = 64;

const faultCodes = {
  // ACS-3 clause 6: status ERR | DRDY | DSC; error UNC, IDNF or ABRT. Sense as SAT-3 gives it.
  uncorrectable: { ata: { status: 0x51, error: 0x40 }, sense: { key: 3, asc: 0x11, ascq: 0 } },
  'id-not-found': { ata: { status: 0x51, error: 0x10 }, sense: { key: 3, asc: 0x14, ascq: 1 } },
  abort: { ata: { status: 0x51, error: 0x04 }, sense: { key: 0xb, asc: 0, ascq: 0 } },
  'beyond-capacity': {
    ata: { status: 0x51, error: 0x10 },
    sense: { key: 5, asc: 0x21, ascq: 0 },
  },
} as const;

const nothing = new Uint8Array(0);

interface DriveState {
  readonly scenario: Scenario;
  readonly mechanics: Mechanics;
  readonly media: Media;
  readonly ratio: number;
  readonly rows: readonly PlacedRow[];
  readonly counters: DriveCounters;
  poweredOn: boolean;
  firstPowerOnMs: number;
  spinsUntilMs: number;
  busyUntilMs: number;
  heads: 'cold' | 'loaded' | 'unloaded' | 'standby';
  positionLba: number;
  hang: FaultOf<'hang'> | undefined;
  stall: { row: PlacedRow; fault: FaultOf<'stall'>; untilMs: number; reads: number } | undefined;
  gone: FaultOf<'vanish'>['returns'] | undefined;
  readsSincePowerOn: number;
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

/** A drive in the state in which it was carried in: off and cold. `media` replaces the scenario's
 * contents. Throws SCENARIO_INVALID when an image file cannot be read. */
export function createSimulatedDrive(
  scenario: Scenario,
  options: { readonly media?: Media } = {},
): SimulatedDrive {
  const state = createState(scenario, options.media ?? createMedia(scenario));
  return {
    scenario,
    mechanics: state.mechanics,
    counters: state.counters,
    read: (request, nowMs) => read(state, request, nowMs),
    identify: (nowMs) => (answers(state, nowMs) ? identityOf(state) : undefined),
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
    close: () => state.media.close(),
  };
}

function createState(scenario: Scenario, media: Media): DriveState {
  const mechanics = createMechanics(scenario);
  const counted = scenario.sectorCount <= countedSectorsMax;
  return {
    scenario,
    mechanics,
    media,
    ratio: physicalRatio(scenario),
    rows: placeFaults(scenario, mechanics.headOf),
    counters: {
      reads: 0,
      failingReads: 0,
      powerOns: 0,
      emergencyUnloads: 0,
      spinUps: 0,
      softResets: 0,
      hardResets: 0,
      sectorReads: counted ? new Uint16Array(scenario.sectorCount) : undefined,
    },
    poweredOn: false,
    firstPowerOnMs: 0,
    spinsUntilMs: 0,
    busyUntilMs: 0,
    heads: 'cold',
    positionLba: 0,
    hang: undefined,
    stall: undefined,
    gone: undefined,
    readsSincePowerOn: 0,
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

// Power, resets, parking

function powerOn(state: DriveState, nowMs: number): void {
  if (state.poweredOn) return;
  const { scenario, counters } = state;
  warm(state, nowMs, 'off');
  if (counters.powerOns++ === 0) state.firstPowerOnMs = nowMs;
  state.poweredOn = true;
  state.heads = 'cold';
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
  const failed = scenario.faults.some(
    (fault) =>
      fault.kind === 'spin-up' &&
      counters.powerOns >= fault.fromPowerOn &&
      counters.powerOns < fault.fromPowerOn + fault.fails,
  );
  spinUp(state, nowMs);
  if (failed) state.busyUntilMs = Number.POSITIVE_INFINITY;
}

function spinUp(state: DriveState, nowMs: number): void {
  state.counters.spinUps++;
  state.spinsUntilMs = nowMs + state.scenario.mechanics.spinUpMs;
  state.busyUntilMs = state.spinsUntilMs;
}

function powerOff(state: DriveState, nowMs: number): void {
  if (!state.poweredOn) return;
  warm(state, nowMs, 'idle');
  const overPlatters = state.heads === 'loaded' || state.heads === 'cold';
  if (overPlatters && nowMs >= state.spinsUntilMs && spunUp(state)) {
    state.counters.emergencyUnloads++;
  }
  state.poweredOn = false;
}

function spunUp(state: DriveState): boolean {
  // A failed spin-up never loads its heads; a hang, by contrast, keeps them loaded.
  return state.busyUntilMs !== Number.POSITIVE_INFINITY || state.hang !== undefined;
}

function reset(state: DriveState, kind: 'soft-reset' | 'hard-reset', nowMs: number): void {
  const { counters, scenario } = state;
  if (kind === 'soft-reset') counters.softResets++;
  else counters.hardResets++;
  if (!state.poweredOn || state.gone) return;
  cureBy(state, kind);
  if (state.hang || nowMs < state.spinsUntilMs || !spunUp(state)) return;
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
  const spinning = nowMs < state.spinsUntilMs || !spunUp(state);
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
  };
}

function aliasOf(state: DriveState): FaultOf<'alias'> | undefined {
  const { powerOns } = state.counters;
  return state.scenario.faults.find(
    (fault): fault is FaultOf<'alias'> =>
      fault.kind === 'alias' &&
      powerOns >= fault.fromPowerOn &&
      powerOns < fault.fromPowerOn + (fault.lasts ?? Number.POSITIVE_INFINITY),
  );
}

function milliampsOf(state: DriveState, nowMs: number) {
  const { rail5, rail12 } = state.scenario.power;
  if (!state.poweredOn) return { rail5: 0, rail12: 0 };
  if (state.heads === 'standby') return { rail5: rail5.idleMilliamps, rail12: 0 };
  const draw =
    nowMs < state.spinsUntilMs
      ? 'spinUpMilliamps'
      : nowMs < state.busyUntilMs
        ? 'readMilliamps'
        : 'idleMilliamps';
  return { rail5: rail5[draw], rail12: rail12[draw] };
}

/** Lets the case warm or cool towards what the time since the last call brought. */
function warm(state: DriveState, nowMs: number, doing: 'off' | 'idle' | 'read'): void {
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
