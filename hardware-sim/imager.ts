/** The imager in front of the drive, as its firmware would be: it enforces deadlines, switches
 * power, throttles and steps down when the laptop falls silent. It decides nothing about what to
 * read. */
import {
  type bootCauses,
  capabilityBits,
  limitCelsiusMax,
  type PowerState,
} from '../firmware-protocol/commands.js';
import {
  type DeviceEvent,
  type DeviceIdentity,
  type DeviceLimits,
  type DevicePassthroughResult,
  type DeviceRead,
  type DeviceReadResult,
  type DeviceStatus,
  type ImagerDevice,
  ReplyError,
} from '../firmware-protocol/device.js';
import { frameBytesMaxDefault } from '../firmware-protocol/link.js';
import { powerCell } from '../firmware-protocol/power-table.js';
import { judgeReadOnly } from '../firmware-protocol/read-only.js';
import { createThrottle, type Throttle } from '../firmware-protocol/throttle.js';
import {
  createWatchdog,
  type Watchdog,
  type WatchdogStage,
  type WatchdogStages,
  watchdogDefaults,
  withCapabilities,
} from '../firmware-protocol/watchdog.js';
import type { Clock } from '../src/clock.js';
import type { DriveRead, SimulatedDrive } from './drive.js';
import { answerScsi, identifyData, inquiryData, type ScsiAnswer } from './passthrough.js';
import {
  createPowerSupply,
  currentDefaults,
  milliampsHardMax,
  type PowerSupply,
  railMillivolts,
} from './power-supply.js';

export interface SimulatedImagerOptions {
  readonly firmware?: string;
  /** Should differ with every start of an imager. */
  readonly bootId?: number;
  readonly frameBytesMax?: number;
  readonly bufferBytes?: number;
  readonly requestsMax?: number;
  readonly readCountMax?: number;
  readonly commandsMax?: number;
  /** `capabilityBits`, or-ed; all unless told. */
  readonly capabilities?: number;
  /** Until the laptop sets its own. */
  readonly watchdog?: WatchdogStages;
}

export interface ImagerCounters {
  /** Reads that reached the drive. */
  reads: number;
  timeouts: number;
  rests: number;
  steppedDown: number;
}

export interface SimulatedImager extends ImagerDevice {
  readonly drive: SimulatedDrive;
  readonly counters: Readonly<ImagerCounters>;
  /** As if the imager started again, with or without its own power lost in between (P-1). What serves
   * it must forget its sessions too. */
  restart(cause: keyof typeof bootCauses): void;
  /** Stops its timers, so that a process may end, and frees the drive's contents. */
  close(): void;
}

/** What an imager is unless told otherwise. */
export const imagerDefaults = {
  firmware: 'lastspin-sim 1.0',
  bootId: 1,
  frameBytesMax: frameBytesMaxDefault,
  bufferBytes: 4 * 1024 * 1024,
  requestsMax: 32,
  readCountMax: 2048,
  commandsMax: 16,
  capabilities: Object.values(capabilityBits).reduce<number>((all, bit) => all | bit, 0),
  watchdog: watchdogDefaults,
} as const satisfies SimulatedImagerOptions;

/** How long `identify` waits for a drive that is busy. */
const identifyWaitMs = 2000;
/** How often the temperature is looked at while the drive is powered (S-8: within 10 s). */
const temperaturePollMs = 5000;
/** Cooler than the limit by this much, a drive is no longer too warm. */
const hysteresisCelsius = 3;

const nothing = new Uint8Array(0);

/** Where the imager acts on the drive's temperature, and what it has done about it. */
interface Heat {
  parkCelsius: number;
  offCelsius: number;
  parked: boolean;
  cut: boolean;
  cancelPoll: () => void;
}

/** Why a wait of a command ended before its time. */
type Interruption = 'aborted' | 'reset' | 'power-lost';

interface Parts {
  readonly drive: SimulatedDrive;
  readonly clock: Clock;
  readonly supply: PowerSupply;
  readonly throttle: Throttle;
  readonly watchdog: Watchdog;
  readonly counters: ImagerCounters;
  /** What ends the waits of commands under way. */
  readonly waits: Set<(why: Interruption) => void>;
  readonly emit: (event: DeviceEvent) => void;
  readonly heat: Heat;
  lastActiveAtMs: number;
  parked: boolean;
}

/** An imager with `drive` on its port, just switched on: the drive is off until the laptop says
 * otherwise. All times come from `clock`. */
export function createSimulatedImager(
  drive: SimulatedDrive,
  clock: Clock,
  options: SimulatedImagerOptions = {},
): SimulatedImager {
  const settings = { ...imagerDefaults, ...options };
  let bootedAtMs = clock.now();
  const { capabilities } = settings;
  // P-2: an imager without `read` does not know the drive.
  const knowsDrive = (capabilities & capabilityBits.read) !== 0;
  const shown = (state: PowerState) =>
    !knowsDrive && (state === 'ready' || state === 'hung') ? 'on-not-ready' : state;
  const emit = (event: DeviceEvent) => {
    const ofDrive = event.kind === 'ready' || event.kind === 'hung' || event.kind === 'gone';
    if (knowsDrive || !ofDrive) device.onEvent(event);
  };
  const stages = (wanted: WatchdogStages) => withCapabilities(wanted, capabilities);
  const parts: Parts = {
    drive,
    clock,
    supply: createPowerSupply(drive, clock, { interrupt: (why) => interrupt(parts, why), emit }),
    throttle: createThrottle(),
    watchdog: createWatchdog(clock, stages(settings.watchdog), (stage) => stepDown(parts, stage)),
    counters: { reads: 0, timeouts: 0, rests: 0, steppedDown: 0 },
    waits: new Set(),
    emit,
    heat: { ...heatDefaults(drive), parked: false, cut: false, cancelPoll: () => {} },
    lastActiveAtMs: bootedAtMs,
    parked: false,
  };
  let bootId = settings.bootId;
  let bootCause: keyof typeof bootCauses = 'powerOn';
  const device: SimulatedImager = {
    drive,
    counters: parts.counters,
    firmware: settings.firmware,
    capabilities,
    get bootId() {
      return bootId;
    },
    get bootCause() {
      return bootCause;
    },
    commandsMax: settings.commandsMax,
    frameBytesMax: settings.frameBytesMax,
    bufferBytes: settings.bufferBytes,
    requestsMax: settings.requestsMax,
    readCountMax: settings.readCountMax,
    identify: () => identify(parts),
    read: (request) => read(parts, request),
    abort: () => interrupt(parts, 'aborted'),
    reset: async (kind) => parts.supply.reset(kind),
    power: async (action, offMs, standbyFirst) =>
      shown(await switchPower(parts, action, offMs, standbyFirst)),
    park: (kind) => park(parts, kind),
    throttle: async (limits) => parts.throttle.configure(limits, clock.now()),
    status: () => {
      const status = statusOf(parts, bootedAtMs);
      return { ...status, powerState: shown(status.powerState) };
    },
    passthrough: (request) => passthrough(parts, request),
    watchdog: async (wanted) => parts.watchdog.configure(stages(wanted)),
    limits: async (wanted) => setLimits(parts, wanted),
    heard: () => parts.watchdog.heard(),
    onEvent: () => {},
    restart(cause) {
      const lostPower = cause === 'powerOn' || cause === 'brownOut' || cause === 'unknown';
      bootId = (bootId + 1) >>> 0;
      bootCause = cause;
      bootedAtMs = clock.now();
      interrupt(parts, 'power-lost');
      if (lostPower) {
        parts.watchdog.configure(stages(settings.watchdog));
        Object.assign(parts.heat, heatDefaults(drive));
      }
      parts.supply.restart(lostPower ? 'boot' : 'restart');
    },
    close() {
      parts.heat.cancelPoll();
      parts.supply.close();
      parts.watchdog.close();
      interrupt(parts, 'aborted');
      drive.close();
    },
  };
  return device;
}

// Reading

async function read(parts: Parts, request: DeviceRead): Promise<DeviceReadResult> {
  const { clock, drive, supply, throttle, counters } = parts;
  const early = await beforeRead(parts);
  if (early) return notGood(early === 'power-lost' ? 'gone' : 'timeout', 0);
  const beganAtMs = clock.now();
  const free = await untilFree(parts, request.timeoutMs);
  if (free !== 'free') return giveUp(parts, free, beganAtMs, request.timeoutMs);
  if (parts.parked) supply.blank();
  parts.parked = false;
  counters.reads++;
  const waitedMs = clock.now() - beganAtMs;
  const leftMs = request.timeoutMs - waitedMs;
  const startedAtMs = clock.now();
  const answer = drive.read(request, clock.now());
  supply.checkCurrent();
  // The rail may just have tripped.
  const tripped = drive.condition(clock.now()).kind === 'off';
  const ended = tripped ? 'power-lost' : await pause(parts, Math.min(answer.elapsedMs, leftMs));
  throttle.note(answer.data.length, startedAtMs);
  parts.lastActiveAtMs = clock.now();
  checkTemperature(parts);
  if (ended === 'power-lost') return notGood('gone', clock.now() - beganAtMs);
  if (ended !== 'elapsed') return notGood('timeout', clock.now() - beganAtMs);
  if (answer.elapsedMs > leftMs) return giveUp(parts, 'timeout', beganAtMs, request.timeoutMs);
  if (answer.outcome === 'gone') supply.wasGone();
  return resultOf(answer, request, waitedMs + answer.elapsedMs);
}

/** What may keep a read from starting: a cap on the rate, a rest. These waits are not the drive's,
 * so no deadline runs yet. */
async function beforeRead(parts: Parts): Promise<Interruption | undefined> {
  const { clock, drive, throttle, counters } = parts;
  const { restMs, delayMs } = throttle.before(clock.now());
  if (restMs > 0) {
    counters.rests++;
    drive.unload(clock.now());
    parts.emit({ kind: 'resting', restMs });
  }
  const ended = await pause(parts, restMs + delayMs);
  return ended === 'elapsed' ? undefined : ended;
}

/** Waits for the drive to take a command: BSY clear. */
async function untilFree(parts: Parts, timeoutMs: number): Promise<'free' | 'timeout' | 'gone'> {
  const { clock, drive, supply } = parts;
  const deadlineMs = clock.now() + timeoutMs;
  for (;;) {
    const condition = drive.condition(clock.now());
    if (condition.kind === 'ready') {
      supply.wasReady();
      return 'free';
    }
    const ramping = supply.state() === 'ramping';
    if (condition.kind === 'gone' || (condition.kind === 'off' && !ramping)) return 'gone';
    const leftMs = deadlineMs - clock.now();
    if (leftMs <= 0) return 'timeout';
    const busyMs = ramping ? drive.scenario.power.rampMs : condition.untilMs - clock.now();
    const ended = await pause(parts, Math.min(busyMs, leftMs));
    if (ended === 'power-lost') return 'gone';
    if (ended !== 'elapsed') return 'timeout';
  }
}

/** A read that ended without an answer. */
function giveUp(
  parts: Parts,
  why: 'timeout' | 'gone',
  beganAtMs: number,
  timeoutMs: number,
): DeviceReadResult {
  if (why === 'gone') {
    parts.supply.wasGone();
    return notGood('gone', parts.clock.now() - beganAtMs);
  }
  parts.counters.timeouts++;
  parts.supply.wasSilent();
  return notGood('timeout', Math.min(parts.clock.now() - beganAtMs, timeoutMs));
}

function notGood(outcome: 'timeout' | 'gone', elapsedMs: number): DeviceReadResult {
  return { outcome, goodCount: 0, data: nothing, elapsedMicros: Math.round(elapsedMs * 1000) };
}

function resultOf(answer: DriveRead, request: DeviceRead, elapsedMs: number): DeviceReadResult {
  if (answer.outcome === 'gone' || answer.outcome === 'silent') return notGood('gone', elapsedMs);
  const slow = answer.outcome === 'good' && request.slowMs > 0 && elapsedMs > request.slowMs;
  const { goodCount, data, failingLba, ata, sense } = answer;
  return {
    outcome: slow ? 'slow' : answer.outcome,
    goodCount,
    data,
    elapsedMicros: Math.round(elapsedMs * 1000),
    ...(failingLba === undefined ? {} : { failingLba }),
    ...(ata && { ata }),
    ...(sense && { sense }),
  };
}

// Waiting

/** Lets time pass for a command; ends early when the command is ended. */
async function pause(parts: Parts, delayMs: number): Promise<'elapsed' | Interruption> {
  if (delayMs <= 0) return 'elapsed';
  return new Promise((resolve) => {
    const end = (how: 'elapsed' | Interruption) => {
      cancel();
      parts.waits.delete(end);
      resolve(how);
    };
    const cancel = parts.clock.after(delayMs, () => end('elapsed'));
    parts.waits.add(end);
  });
}

function interrupt(parts: Parts, why: Interruption): void {
  for (const end of [...parts.waits]) end(why);
}

// Everything else

async function identify(parts: Parts): Promise<DeviceIdentity> {
  const free = await untilFree(parts, identifyWaitMs);
  const identity = free === 'free' ? parts.drive.identify(parts.clock.now()) : undefined;
  if (!identity) {
    throw new ReplyError('noDrive', `the drive does not answer (${parts.supply.state()})`);
  }
  const { rotational: _rotational, removable, ...told } = identity;
  return { ...told, raw: removable ? inquiryData(identity) : identifyData(identity) };
}

async function passthrough(
  parts: Parts,
  request: { readonly timeoutMs: number; readonly cdb: Uint8Array; readonly lengthMax: number },
): Promise<DevicePassthroughResult> {
  const verdict = judgeReadOnly(request.cdb);
  if (!verdict.allowed) throw new ReplyError('refused', verdict.reason);
  const { clock, drive, supply } = parts;
  if (powerCell(supply.state(), 'identify, passthrough') === 'noDrive') {
    throw new ReplyError('noDrive', `the drive has no power (${supply.state()})`);
  }
  const beganAtMs = clock.now();
  const ended = (outcome: DevicePassthroughResult['outcome'], answer?: ScsiAnswer) => ({
    outcome,
    scsiStatus: answer?.scsiStatus ?? 0,
    sense: answer?.sense ?? nothing,
    data: answer?.data.subarray(0, request.lengthMax) ?? nothing,
    elapsedMicros: Math.round((clock.now() - beganAtMs) * 1000),
  });
  const free = await untilFree(parts, request.timeoutMs);
  if (free !== 'free') return ended(free);
  const answer = answerScsi(drive, request.cdb, clock.now());
  const leftMs = beganAtMs + request.timeoutMs - clock.now();
  const waited = await pause(parts, Math.min(answer.elapsedMs, leftMs));
  if (waited === 'power-lost') return ended('gone');
  if (waited !== 'elapsed' || answer.elapsedMs > leftMs) return ended('timeout');
  return ended(answer.scsiStatus === 0 ? 'good' : 'fault', answer);
}

async function switchPower(
  parts: Parts,
  action: 'off' | 'on' | 'cycle',
  offMs: number,
  standbyFirst: boolean,
): Promise<PowerState> {
  const { clock, drive, supply } = parts;
  if (standbyFirst && action !== 'on') {
    const standbyMs = drive.standby(clock.now());
    // A drive that does not answer is cut: waiting would only keep it spinning.
    if (Number.isFinite(standbyMs)) await clock.sleep(standbyMs);
  }
  if (action === 'on' && isTooHot(parts)) {
    throw new ReplyError('limit', 'the drive is too hot: let it cool');
  }
  supply.switch(action, offMs);
  watchTemperature(parts);
  return supply.state();
}

async function park(parts: Parts, kind: 'unload' | 'standby'): Promise<void> {
  const { clock, drive, supply } = parts;
  if (drive.condition(clock.now()).kind === 'off') {
    throw new ReplyError('noDrive', `the drive has no power (${supply.state()})`);
  }
  const parkMs = kind === 'unload' ? drive.unload(clock.now()) : drive.standby(clock.now());
  if (!Number.isFinite(parkMs)) throw new ReplyError('busy', 'the drive does not answer');
  parts.parked = kind === 'standby';
  await clock.sleep(parkMs);
}

/** A stage of the answer to a laptop that fell silent. The responder hears of it and stops the
 * reads. */
function stepDown(parts: Parts, stage: WatchdogStage): void {
  const { clock, drive, supply, counters } = parts;
  counters.steppedDown++;
  if (stage === 4) supply.silence();
  if (stage === 2) drive.unload(clock.now());
  if (stage === 3) {
    drive.standby(clock.now());
    parts.parked = true;
  }
  parts.emit({ kind: 'stepped-down', stage });
}

function statusOf(parts: Parts, bootedAtMs: number): DeviceStatus {
  const { clock, drive, supply } = parts;
  checkTemperature(parts);
  const nowMs = clock.now();
  const { kind } = drive.condition(nowMs);
  const drawn = drive.milliamps(nowMs);
  const rail = (volts: 5 | 12, milliamps: number) => ({
    millivolts: kind === 'off' ? 0 : railMillivolts(volts, milliamps),
    milliamps,
  });
  return {
    powerState: supply.state(),
    driveBusy: kind === 'busy' || kind === 'spinning-up' || kind === 'hung',
    temperatureCelsius: drive.temperatureCelsius(nowMs),
    rail5: rail(5, drawn.rail5),
    rail12: rail(12, drawn.rail12),
    uptimeMs: Math.round(nowMs - bootedAtMs),
    powerCycles: supply.cycles(),
    quietMs: Math.round(nowMs - parts.lastActiveAtMs),
  };
}

// Guards

function heatDefaults({ scenario: { temperature } }: SimulatedDrive) {
  return { parkCelsius: temperature.parkCelsius, offCelsius: temperature.limitCelsius };
}

function setLimits(parts: Parts, wanted: Partial<DeviceLimits>): DeviceLimits {
  const { drive, supply, heat } = parts;
  const amps = { ...currentDefaults(drive), ...defined(wanted) };
  if (Math.max(amps.rail5MilliampsMax, amps.rail12MilliampsMax) > milliampsHardMax) {
    throw new ReplyError('limit', `at most ${milliampsHardMax} mA on a rail`);
  }
  const { parkCelsius, offCelsius } = { ...heatDefaults(drive), ...defined(wanted) };
  if (Math.max(parkCelsius, offCelsius) > limitCelsiusMax) {
    throw new ReplyError('limit', `at most ${limitCelsiusMax} degrees`);
  }
  Object.assign(heat, { parkCelsius, offCelsius });
  const { rail5MilliampsMax, rail12MilliampsMax, blankingMs } = amps;
  supply.setLimits({ rail5MilliampsMax, rail12MilliampsMax, blankingMs });
  checkTemperature(parts);
  return { ...supply.limits(), parkCelsius, offCelsius };
}

function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

function isTooHot({ drive, clock, heat }: Parts): boolean {
  return drive.temperatureCelsius(clock.now()) >= heat.offCelsius;
}

/** Looks at the temperature by itself as long as the drive has power: a laptop may have fallen
 * silent. */
function watchTemperature(parts: Parts): void {
  const { clock, heat, supply } = parts;
  heat.cancelPoll();
  heat.cancelPoll = clock.after(temperaturePollMs, () => {
    checkTemperature(parts);
    const state = supply.state();
    if (state !== 'off' && state !== 'tripped') watchTemperature(parts);
  });
}

/** Standby where the drive is too warm, power off where it is too hot; each is said once, and again
 * after it has cooled (S-8). */
function checkTemperature(parts: Parts): void {
  const { drive, clock, heat, supply, emit } = parts;
  const nowMs = clock.now();
  const celsius = drive.temperatureCelsius(nowMs);
  if (celsius < heat.offCelsius - hysteresisCelsius) heat.cut = false;
  if (celsius < heat.parkCelsius - hysteresisCelsius) heat.parked = false;
  if (drive.condition(nowMs).kind === 'off') return;
  if (celsius >= heat.offCelsius && !heat.cut) {
    heat.cut = true;
    heat.parked = true;
    if (supply.overHeat()) emit({ kind: 'over-temperature', celsius, action: 'off' });
  } else if (celsius >= heat.parkCelsius && !heat.parked) {
    heat.parked = true;
    drive.standby(nowMs);
    parts.parked = true;
    emit({ kind: 'over-temperature', celsius, action: 'standby' });
  }
}
