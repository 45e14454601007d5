/** The device side of the protocol over a drive of this computer: what a small board with a SATA port and a
 * relay puts behind a responder to be an imager. Deadlines are the drive's own, states those of the power
 * state table, the answer to silence and the rests those that the simulator keeps too. */
import { capabilityBits, notMeasured, type PowerState } from '../../firmware-protocol/commands.js';
import {
  type DeviceIdentity,
  type DeviceRead,
  type DeviceReadResult,
  type ImagerDevice,
  ReplyError,
} from '../../firmware-protocol/device.js';
import { frameBytesMaxDefault } from '../../firmware-protocol/link.js';
import { nextPowerState, type PowerInput, powerCell } from '../../firmware-protocol/power-table.js';
import { createThrottle, type Throttle } from '../../firmware-protocol/throttle.js';
import {
  createWatchdog,
  type Watchdog,
  type WatchdogStage,
  type WatchdogStages,
  watchdogDefaults,
} from '../../firmware-protocol/watchdog.js';
import type { Clock } from '../clock.js';
import { isLastspinError } from '../errors.js';
import type { Power } from '../power/power.js';
import type { Drive, ParkKind, ReadResult, ResetKind } from './drive.js';

export interface AgentOptions {
  /** Drawn anew for each start. */
  readonly bootId: number;
  readonly firmware: string;
  /** Unreleased data held for the laptop, in bytes. */
  readonly bufferBytes?: number;
  /** How long after the switch the rails are down, since nobody measures them (P-3); 2 s unless
   * told. */
  readonly dischargeMs?: number;
  /** What an earlier start left on record. Without a record the power is cut first (P-1). */
  readonly record?: AgentRecord | undefined;
  /** Told what the record is to say, before a cut, after a rise, and when the laptop sets stages. */
  readonly keep?: (record: AgentRecord) => void;
}

/** What outlives an agent (P-1, W-3). */
export interface AgentRecord {
  /** The drive is powered. */
  readonly isOn: boolean;
  /** What the laptop wants done when it falls silent, where it said so. */
  readonly stages?: WatchdogStages;
}

export interface Agent extends ImagerDevice {
  /** Parks the drive where it can, and begins to cut its power; `isPowering` tells when that is done. */
  switchOff(): Promise<void>;
  /** Whether its switch gives the drive power, is about to, or has not yet taken it away. */
  readonly isPowering: boolean;
  /** Stops its timers. The power stays as it is. */
  close(): void;
}

const bufferBytesDefault = 16 * 1024 * 1024;
const requestsMax = 32;
const dischargeMsDefault = 2000;
/** What could not be switched off is tried again so often. */
const offRetryMs = 1000;
/** How long `identify` waits for a drive that comes up (C-5). */
const identifyWaitMs = 3000;
/** How often a drive that comes up is asked whether it is there. */
const readyPollMs = 250;
/** A drive that is still busy this long after a deadline is called hung (P-7). */
const hungAfterMs = 2000;
/** What Linux makes ENODATA of (sd, `blk_errors`): medium error, unrecovered read error. */
const senseOfMediumError = { key: 0x03, asc: 0x11, ascq: 0x00 };

interface Parts {
  readonly drive: Drive;
  readonly power: Power | undefined;
  readonly clock: Clock;
  readonly throttle: Throttle;
  readonly watchdog: Watchdog;
  readonly emit: ImagerDevice['onEvent'];
  readonly bootedAtMs: number;
  readonly dischargeMs: number;
  readonly keep: (record: AgentRecord) => void;
  stages: WatchdogStages | undefined;
  state: PowerState;
  sectorBytes: number;
  batch: number;
  isReading: boolean;
  powerCycles: number;
  /** Where a running off-time leads. */
  wantsOn: boolean;
  /** The switch did what it was told when the rails were last to go down. */
  isCut: boolean;
  notReadySinceMs: number;
  /** Counts what was begun on the rail, so that an older switching does not end a newer one. */
  switching: number;
  cancelPoll: () => void;
  cancelHung: () => void;
  /** Set while the drive is being asked who it is for a read that waits. */
  looking: Promise<boolean> | undefined;
  /** The read under way is not to wait any more. */
  aborted: boolean;
  endPause: () => void;
}

/** An imager made of `drive` and, where there is one, a switch for its power. Takes over neither: whoever
 * opened them closes them. */
export function createAgent(
  drive: Drive,
  power: Power | undefined,
  clock: Clock,
  options: AgentOptions,
): Agent {
  const parts: Parts = {
    drive,
    power,
    clock,
    throttle: createThrottle(),
    watchdog: createWatchdog(clock, options.record?.stages ?? watchdogDefaults, (stage) =>
      stepDown(parts, stage),
    ),
    emit: (event) => agent.onEvent(event),
    bootedAtMs: clock.now(),
    dischargeMs: options.dischargeMs ?? dischargeMsDefault,
    keep: options.keep ?? (() => {}),
    stages: options.record?.stages,
    // P-1: as the record says; off where there is none.
    state: power?.canHold && !options.record?.isOn ? 'cooling' : 'on-not-ready',
    sectorBytes: 512,
    batch: 0,
    isReading: false,
    powerCycles: 0,
    wantsOn: false,
    isCut: false,
    notReadySinceMs: clock.now(),
    switching: 0,
    cancelPoll: () => {},
    cancelHung: () => {},
    looking: undefined,
    aborted: false,
    endPause: () => {},
  };
  const agent: Agent = {
    get isPowering() {
      if (!power?.canHold || parts.state === 'off') return false;
      const isDown = parts.state === 'cooling' || parts.state === 'tripped';
      return !isDown || parts.wantsOn || !parts.isCut;
    },
    firmware: options.firmware,
    capabilities: capabilitiesOf(drive, power),
    bootId: options.bootId,
    bootCause: 'software',
    frameBytesMax: frameBytesMaxDefault,
    bufferBytes: options.bufferBytes ?? bufferBytesDefault,
    requestsMax,
    commandsMax: 16,
    readCountMax: Math.max(1, drive.capabilities.readCountMax),
    identify: () => identify(parts),
    async read(request) {
      const result = await read(parts, request);
      noteOutcome(parts, result.outcome);
      return result;
    },
    abort() {
      parts.aborted = true;
      parts.endPause();
      void drive.reset('abort').catch(() => {});
    },
    reset: (kind) => reset(parts, kind),
    power: (action, offMs, standbyFirst) => switchPower(parts, action, offMs, standbyFirst),
    park: (kind) => park(parts, kind),
    throttle: async (limits) => parts.throttle.configure(limits, clock.now()),
    status: () => ({
      powerState: parts.state,
      driveBusy: parts.isReading,
      uptimeMs: clock.now() - parts.bootedAtMs,
      powerCycles: parts.powerCycles,
    }),
    passthrough: beyondMeans,
    async watchdog(stages) {
      parts.watchdog.configure(stages);
      parts.stages = stages;
      if (power?.canHold) keep(parts, agent.isPowering);
    },
    limits: beyondMeans,
    heard: () => parts.watchdog.heard(),
    onEvent: () => {},
    async switchOff() {
      if (power?.canHold) await switchPower(parts, 'off', 0, true);
    },
    close() {
      // A switch that does not do what it is told is not asked any more.
      parts.switching++;
      parts.cancelPoll();
      parts.cancelHung();
      parts.watchdog.close();
    },
  };
  // W-3: a restart starts the silence anew; whoever had the drive switched on may never come back.
  if (options.record?.isOn) parts.watchdog.heard();
  if (parts.state === 'cooling') void carryOut(parts, 0);
  else void look(parts);
  return agent;
}

async function beyondMeans(): Promise<never> {
  throw new ReplyError('unsupported', 'this imager cannot do that');
}

function capabilitiesOf(drive: Drive, power: Power | undefined): number {
  const { resets, park } = drive.capabilities;
  const bits = [
    capabilityBits.identify,
    capabilityBits.read,
    capabilityBits.throttle,
    capabilityBits.watchdog,
    ...(resets.has('soft') ? [capabilityBits.softReset] : []),
    ...(resets.has('hard') ? [capabilityBits.hardReset] : []),
    ...(power?.canHold ? [capabilityBits.power] : []),
    ...(park ? [capabilityBits.park] : []),
  ];
  return bits.reduce((all, bit) => all | bit, 0);
}

function keep({ keep: write, stages }: Parts, isOn: boolean): void {
  write({ isOn, ...(stages && { stages }) });
}

/** Moves through the power state table; true when a state was entered. */
function apply(parts: Parts, input: PowerInput): boolean {
  const next = nextPowerState(parts.state, input);
  if (next === undefined) return false;
  parts.state = next;
  return true;
}

// ---- the drive --------------------------------------------------------------------------------

/** Sees once whether the drive is there, and goes on looking while it is powered and is not. */
async function look(parts: Parts): Promise<boolean> {
  const { drive, switching } = parts;
  parts.cancelPoll();
  const identity = await drive.identify().catch(() => undefined);
  if (switching !== parts.switching) return false;
  if (identity) {
    parts.sectorBytes = identity.sectorBytes;
    wasReady(parts);
    return true;
  }
  lookLater(parts);
  return false;
}

/** The drive takes one command at a time: it is not asked who it is during a read. */
function lookLater(parts: Parts): void {
  parts.cancelPoll = parts.clock.after(readyPollMs, () => {
    if (parts.state !== 'on-not-ready') return;
    if (parts.isReading) lookLater(parts);
    else void look(parts);
  });
}

function wasReady(parts: Parts): void {
  parts.cancelHung();
  if (!apply(parts, 'drive-ready')) return;
  parts.emit({ kind: 'ready', afterMs: parts.clock.now() - parts.notReadySinceMs });
}

function wasSilent(parts: Parts): void {
  const { clock, drive } = parts;
  parts.cancelHung();
  parts.cancelHung = clock.after(hungAfterMs, async () => {
    const readiness = await drive.readiness().catch(() => 'not-ready' as const);
    if (readiness === 'ready' || parts.isReading) return;
    if (apply(parts, 'drive-silent')) parts.emit({ kind: 'hung' });
  });
}

function wasGone(parts: Parts): void {
  if (apply(parts, 'drive-gone')) parts.emit({ kind: 'gone' });
  parts.notReadySinceMs = parts.clock.now();
  if (parts.state === 'on-not-ready') void look(parts);
}

async function identify(parts: Parts): Promise<DeviceIdentity> {
  nextPowerState(parts.state, 'identify, passthrough');
  // P-2: one that comes up is waited for.
  await untilReady(parts, identifyWaitMs);
  const identity = await parts.drive.identify().catch(() => undefined);
  if (!identity) throw new ReplyError('noDrive', `the drive does not answer (${parts.state})`);
  parts.sectorBytes = identity.sectorBytes;
  wasReady(parts);
  const { model, serial, firmware, sectorCount, sectorBytes, physicalSectorBytes } = identity;
  const raw = new Uint8Array();
  return { model, serial, firmware, sectorCount, sectorBytes, physicalSectorBytes, raw };
}

const gone: DeviceReadResult = {
  outcome: 'gone',
  goodCount: 0,
  data: new Uint8Array(),
  elapsedMicros: 0,
};

async function read(parts: Parts, request: DeviceRead): Promise<DeviceReadResult> {
  const { drive, clock, throttle } = parts;
  parts.aborted = false;
  if (powerCell(parts.state, 'read') === 'gone') return gone;
  await rest(parts);
  const waited = await untilReady(parts, request.timeoutMs);
  if (waited !== 'ready') return { ...gone, outcome: waited };
  const startedAtMs = clock.now();
  parts.isReading = true;
  try {
    const { lba, count, timeoutMs, slowMs } = request;
    const result = await drive.read({
      extent: { lba, count },
      timeoutMs,
      slowMs,
      stopOn: { fault: false, slow: false, timeout: false },
      batch: parts.batch++,
    });
    throttle.note(result.data.length, startedAtMs);
    return deviceResultOf(result);
  } catch (error) {
    // The path to the drive broke: to the laptop that is a drive that left the bus.
    if (isLastspinError(error)) return gone;
    throw error;
  } finally {
    parts.isReading = false;
  }
}

/** Waits, within the read's own deadline, for a drive whose rails rise or that spins up (P-2). A hung one is
 * asked: only its answer tells that it is back. */
async function untilReady(parts: Parts, timeoutMs: number): Promise<'ready' | 'timeout' | 'gone'> {
  const { clock } = parts;
  const deadlineMs = clock.now() + timeoutMs;
  while (parts.state === 'ramping' || parts.state === 'on-not-ready') {
    if (clock.now() >= deadlineMs || parts.aborted) return 'timeout';
    // Who it is may take a drive that spins up longer than the read has.
    if (parts.state === 'on-not-ready' && !parts.looking) {
      parts.looking = look(parts).finally(() => {
        parts.looking = undefined;
        parts.endPause();
      });
    }
    await pause(parts, Math.min(readyPollMs, deadlineMs - clock.now()));
  }
  return powerCell(parts.state, 'read') === 'gone' ? 'gone' : 'ready';
}

/** What an answer tells of the drive (P-7). */
function noteOutcome(parts: Parts, outcome: DeviceReadResult['outcome']): void {
  if (outcome === 'gone') wasGone(parts);
  else if (outcome === 'timeout') wasSilent(parts);
  else wasReady(parts);
}

/** Waits as `throttle` says: no deadline runs yet. */
async function rest(parts: Parts): Promise<void> {
  const { clock, drive, throttle } = parts;
  const { restMs, delayMs } = throttle.before(clock.now());
  if (restMs > 0) {
    parts.emit({ kind: 'resting', restMs });
    if (drive.capabilities.park) await drive.park('unload').catch(() => {});
  }
  if (restMs + delayMs > 0) await pause(parts, restMs + delayMs);
}

/** Lets time pass, unless an abort ends the wait. */
function pause(parts: Parts, delayMs: number): Promise<void> {
  return new Promise<void>((resolve) => {
    const cancel = parts.clock.after(delayMs, resolve);
    parts.endPause = () => {
      cancel();
      resolve();
    };
  });
}

function deviceResultOf(result: ReadResult): DeviceReadResult {
  const { kind, goodCount, data, elapsedMs, fault } = result;
  const sense = fault?.sense ?? (fault?.errno === 'ENODATA' ? senseOfMediumError : undefined);
  return {
    // An abort ends the wait for a read that had begun.
    outcome: kind === 'not-attempted' ? 'timeout' : kind,
    goodCount,
    data,
    elapsedMicros: Math.round(elapsedMs * 1000),
    ...(fault?.lba !== undefined && { failingLba: fault.lba }),
    ...(fault?.ata && { ata: fault.ata }),
    ...(sense && { sense }),
  };
}

async function reset(parts: Parts, kind: Exclude<ResetKind, 'abort'>): Promise<void> {
  apply(parts, 'reset');
  parts.notReadySinceMs = parts.clock.now();
  await asked(parts.drive.reset(kind));
  void look(parts);
}

async function park(parts: Parts, kind: ParkKind): Promise<void> {
  nextPowerState(parts.state, 'park');
  await asked(parts.drive.park(kind));
}

/** What a drive of this computer does not do is a refusal to the laptop, and not the agent's end. */
async function asked(done: Promise<void>): Promise<void> {
  await done.catch((error: unknown) => {
    if (isLastspinError(error)) throw new ReplyError('busy', error.message);
    throw error;
  });
}

// ---- power ------------------------------------------------------------------------------------

/** Begins what is asked; the switch itself may take its time (P-3). */
async function switchPower(
  parts: Parts,
  action: 'on' | 'off' | 'cycle',
  offMs: number,
  standbyFirst: boolean,
): Promise<PowerState> {
  const { drive } = parts;
  const isAnswering = parts.state === 'ready' && drive.capabilities.park;
  if (standbyFirst && isAnswering && action !== 'on') await drive.park('standby').catch(() => {});
  const wasCooling = parts.state === 'cooling';
  const entered = apply(parts, `power ${action}`);
  if (entered || wasCooling) parts.wantsOn = action !== 'off';
  // P-2: in `cooling`, `on` is remembered; `off` and `cycle` replace what was.
  if (entered || (wasCooling && action !== 'on')) {
    void carryOut(parts, offMs);
  }
  return parts.state;
}

/** Moves the rail to where the state wants it. The last one asked for wins. */
async function carryOut(parts: Parts, offMs: number): Promise<void> {
  const { power, clock } = parts;
  const mine = ++parts.switching;
  parts.cancelPoll();
  parts.cancelHung();
  if (parts.state === 'cooling') {
    if (!(await cut(parts, mine))) return;
    await clock.sleep(parts.dischargeMs + offMs);
    if (mine !== parts.switching) return;
    apply(parts, 'off-time-over');
    if (parts.wantsOn) apply(parts, 'power on');
  }
  if (parts.state !== 'ramping') return;
  const isUp = await power?.set(true).then(
    () => true,
    () => false,
  );
  if (mine !== parts.switching) return;
  if (!isUp) {
    await failRise(parts, mine);
    return;
  }
  apply(parts, 'rail-up');
  keep(parts, true);
  parts.powerCycles++;
  parts.notReadySinceMs = clock.now();
  void look(parts);
}

/** Switches off, until the switch has done it: a drive must not keep its power because a command failed once.
 * False where something newer was asked for meanwhile. */
async function cut(parts: Parts, mine: number): Promise<boolean> {
  const { power, clock } = parts;
  parts.isCut = false;
  keep(parts, false);
  while (mine === parts.switching) {
    const isDone = await power?.set(false).then(
      () => true,
      () => false,
    );
    if (mine !== parts.switching) return false;
    if (isDone) {
      parts.isCut = true;
      return true;
    }
    await clock.sleep(offRetryMs);
  }
  return false;
}

/** The switch failed: the rail is cut, and stays so until it is switched off and on (P-5). */
async function failRise(parts: Parts, mine: number): Promise<void> {
  apply(parts, 'rail-failed');
  parts.wantsOn = false;
  parts.emit({
    kind: 'rail-fault',
    rail: 5,
    milliamps: notMeasured.rail,
    millivolts: notMeasured.rail,
    fault: 'noRise',
  });
  await cut(parts, mine);
}

/** A stage of the answer to a laptop that fell silent (W-1); the responder stops the reads. */
function stepDown(parts: Parts, stage: WatchdogStage): void {
  const { drive, power } = parts;
  const { park } = drive.capabilities;
  if ((stage === 2 || stage === 3) && !park) return;
  if (stage === 4 && !power?.canHold) return;
  if (stage === 2) void drive.park('unload').catch(() => {});
  if (stage === 3) void drive.park('standby').catch(() => {});
  if (stage === 4) parts.wantsOn = false;
  if (stage === 4 && apply(parts, 'silence')) void carryOut(parts, 0);
  parts.emit({ kind: 'stepped-down', stage });
}
