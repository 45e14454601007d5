/** The drive behind an imager: the protocol's words in those of `Drive` and `Power`. */

import type { Caller } from '../../firmware-protocol/caller.js';
import {
  type CallerCounters,
  type CallerReadResult,
  createCaller,
  type LinkNotice,
  type StatusReport,
} from '../../firmware-protocol/caller.js';
import {
  bootCauses,
  capabilityBits,
  commands,
  notMeasured,
  type PowerState,
  parkKinds,
  powerActions,
  powerStates,
  resetKinds,
  stopBits,
} from '../../firmware-protocol/commands.js';
import { type DeviceEvent, type DeviceStatus, ReplyError } from '../../firmware-protocol/device.js';
import type { Link } from '../../firmware-protocol/link.js';
import { toUnsigned } from '../../firmware-protocol/message.js';
import type { Clock } from '../clock.js';
import { LastspinError, reasonOf } from '../errors.js';
import type { Power } from '../power/power.js';
import {
  ataErrorsAtPlace,
  type Drive,
  type DriveCapabilities,
  type DriveIdentity,
  type DriveReadiness,
  type DriveSettings,
  type Fault,
  type ReadRequest,
  type ReadResult,
  type ResetKind,
} from './drive.js';
import { kindFromIdentify } from './kind.js';
import { type AtaIdentity, parseIdentify } from './scsi/ata-data.js';
import { type Commander, createCommander, toldBy, whyNot } from './scsi/commander.js';
import type { Questions } from './scsi/examine.js';
import { imagerPath } from './scsi/imager-path.js';
import { namesPlace } from './scsi/sense.js';

/** What the imager measures and counts. Absent where it has no sensor. */
export interface ImagerStatus extends DeviceStatus {
  /** Frames that the imager threw away. */
  readonly framesDiscarded: number;
}

/** The imager's own switch. */
export interface ImagerPower extends Power {
  /** `standbyFirst`: heads off the platters before the cut; only for a drive that still answers. */
  cycle(offMs: number, signal?: AbortSignal, standbyFirst?: boolean): Promise<void>;
}

export interface ImagerDrive extends Drive {
  /** Where the imager is able to switch the drive. */
  readonly power?: ImagerPower;
  /** The imager's own name and version. */
  readonly firmware: string;
  /** For questions to the drive beyond reading, where the imager passes them on. */
  readonly commander?: Commander;
  /** As far as the last `identify` went. */
  questions(): Questions;
  /** It reads a drive; one that does not only switches power beside an adapter. */
  readonly canRead: boolean;
  status(): Promise<ImagerStatus>;
  /** What the imager says unasked: hung, ready, gone, rail fault, over-temperature, stepped
   * down. */
  onEvent(handler: (event: DeviceEvent) => void): void;
  /** Called once when the link is lost for good; without an error after `close`. */
  /** Of `onNotice`, what concerns the line alone. */
  onLineNotice(handler: (notice: string) => void): void;
  onClose(handler: (error?: LastspinError) => void): void;
  /** 0 lifts a limit. */
  throttle(limits: {
    readonly bytesPerSecondMax: number;
    readonly restEveryMs: number;
    readonly restMs: number;
  }): Promise<void>;
  /** How long after the laptop fell silent the imager takes each stage; 0 = never. */
  watchdog(stages: {
    readonly stopReadsMs: number;
    readonly unloadMs: number;
    readonly standbyMs: number;
    readonly offMs: number;
  }): Promise<void>;
  readonly counters: CallerCounters;
}

export interface ImagerOptions {
  /** Drawn anew for each opening, 32 bits. */
  readonly session: number;
  /** What the imager is called in messages; the link's name unless told. */
  readonly name?: string;
  /** Opens the link once more after it dropped, for example for a plug pulled by accident. */
  readonly relink?: () => Promise<Link>;
}

/** A drive may spin up and retry in its service area before it says who it is. */
const identifyTimeoutMs = 30_000;
/** STANDBY IMMEDIATE takes half a second, ten at most. */
const parkTimeoutMs = 15_000;
const resetTimeoutMs = 15_000;
/** How often a switching rail is looked at. */
const powerPollMs = 100;
/** Parking before the cut, and the rail's rise: what a switch may take beyond its off-time. */
const powerSlackMs = 30_000;

/** Sector sizes that drives have: 512 to 4,096 with up to 128 bytes of protection. */
const sectorBytesMin = 512;
const sectorBytesMax = 4096 + 128;
/** Until the drive has said its own. */
const sectorBytesUnknown = 512;

const powerStateNames = new Map<number, PowerState>(
  Object.entries(powerStates).map(([name, code]) => [code, name as PowerState]),
);

function statusOf(report: StatusReport): ImagerStatus {
  const { temperature } = report;
  const rail = (millivolts: number, milliamps: number) =>
    millivolts === notMeasured.rail ? undefined : { millivolts, milliamps };
  const rail5 = rail(report.rail5Millivolts, report.rail5Milliamps);
  const rail12 = rail(report.rail12Millivolts, report.rail12Milliamps);
  return {
    powerState: powerStateNames.get(report.powerState) ?? 'unknown',
    driveBusy: report.driveBusy !== 0,
    ...(temperature !== notMeasured.temperature && { temperatureCelsius: temperature / 10 }),
    ...(rail5 && { rail5 }),
    ...(rail12 && { rail12 }),
    uptimeMs: report.uptimeMs,
    powerCycles: report.powerCycles,
    framesDiscarded: report.framesDiscarded,
    ...(report.quietMs !== notMeasured.quietMs && { quietMs: report.quietMs }),
  };
}

function readinessOf(state: PowerState): DriveReadiness {
  switch (state) {
    case 'ready':
      return 'ready';
    case 'ramping':
    case 'on-not-ready':
    case 'hung':
      return 'not-ready';
    case 'off':
    case 'cooling':
    case 'tripped':
      return 'gone';
    case 'unknown':
      return 'unknown';
  }
}

function isRailOn(state: PowerState): boolean {
  return state === 'on-not-ready' || state === 'ready' || state === 'hung';
}

function isReply(error: unknown, reply: ReplyError['reply']): boolean {
  return error instanceof Error && error.cause instanceof ReplyError && error.cause.reply === reply;
}

function stopMask({ stopOn }: ReadRequest): number {
  return (
    (stopOn.fault ? stopBits.fault : 0) |
    (stopOn.slow ? stopBits.slow : 0) |
    (stopOn.timeout ? stopBits.timeout : 0)
  );
}

/** A failing LBA is believed of an error that has a place: firmware may pass on what the registers held. */
function faultOf(result: CallerReadResult): Fault {
  const { failingLba, ata, sense } = result;
  const hasPlace = ata ? (ata.error & ataErrorsAtPlace) !== 0 : !sense || namesPlace(sense);
  const lba = hasPlace ? failingLba : undefined;
  return { ...(lba !== undefined && { lba }), ...(ata && { ata }), ...(sense && { sense }) };
}

function resultOf(result: CallerReadResult): ReadResult {
  const { outcome: kind, goodCount, data } = result;
  const elapsedMs = result.elapsedMicros / 1000;
  const fault = faultOf(result);
  const hasFault = kind === 'fault' || Object.keys(fault).length > 0;
  return { kind, goodCount, data, elapsedMs, ...(hasFault && { fault }) };
}

function capabilitiesOf(caller: Caller, sectorBytes: number): DriveCapabilities {
  const { capabilities: bits, bufferBytes, requestsMax, readCountMax } = caller.agreed;
  const has = (bit: keyof typeof capabilityBits) => (bits & capabilityBits[bit]) !== 0;
  const resets = new Set<ResetKind>(['abort']);
  if (has('softReset')) resets.add('soft');
  if (has('hardReset')) resets.add('hard');
  return {
    resets,
    power: has('power'),
    park: has('park'),
    readCountMax: Math.max(1, Math.min(readCountMax, Math.floor(bufferBytes / sectorBytes))),
    inFlightMax: requestsMax,
    inFlightBytesMax: bufferBytes,
  };
}

async function identify(
  caller: Caller,
  signal: AbortSignal | undefined,
): Promise<{ readonly identity: DriveIdentity; readonly raw: Uint8Array } | undefined> {
  const options = { timeoutMs: identifyTimeoutMs, signal };
  const answer = await caller.call(commands.identify, {}, options).catch((error: unknown) => {
    if (isReply(error, 'noDrive')) return undefined;
    throw error;
  });
  if (!answer) return undefined;
  const { model, serial, firmware, sectorCount, sectorBytes, physicalSectorBytes } = answer;
  if (sectorBytes < sectorBytesMin || sectorBytes > sectorBytesMax) {
    const what = `the imager names a sector size of ${sectorBytes} bytes for ${model}`;
    throw new LastspinError('DEVICE_REFUSED', `${what}; power-cycle the drive and try again`);
  }
  const kind = kindFromIdentify(answer.raw);
  const isMultiple = physicalSectorBytes > 0 && physicalSectorBytes % sectorBytes === 0;
  const identity = {
    model: model.trim(),
    serial: serial.trim(),
    firmware: firmware.trim(),
    sectorCount,
    sectorBytes,
    physicalSectorBytes: isMultiple ? physicalSectorBytes : sectorBytes,
    ...(kind && { kind }),
  };
  return { identity, raw: answer.raw };
}

async function tuneDrive(
  commander: Commander | undefined,
  { lookAhead, driveRetries }: DriveSettings,
): Promise<string | undefined> {
  // Its commands write mode pages or logs, which no source drive gets.
  if (driveRetries !== undefined) return 'no command that only reads can set that';
  if (lookAhead === undefined) return undefined;
  if (!commander) return 'the imager passes no commands through';
  const answer = await commander.setLookAhead(lookAhead);
  return answer.kind === 'good' ? undefined : whyNot(answer);
}

async function statusNow(caller: Caller): Promise<ImagerStatus> {
  return statusOf(await caller.call(commands.status, {}));
}

/** Polls until the rails are as wanted. Throws POWER_FAILED. */
async function waitForRails(
  caller: Caller,
  clock: Clock,
  until: {
    readonly done: (status: ImagerStatus) => boolean;
    readonly timeoutMs: number;
    readonly signal: AbortSignal | undefined;
  },
): Promise<void> {
  const deadlineMs = clock.now() + until.timeoutMs;
  for (;;) {
    const status = await statusNow(caller);
    if (until.done(status)) return;
    if (status.powerState === 'tripped') {
      const what = 'the imager cut the power because of over-current';
      throw new LastspinError('POWER_FAILED', `${what}; check the drive's board and cables`);
    }
    if (clock.now() >= deadlineMs) {
      const what = `the imager's power is still ${status.powerState}`;
      throw new LastspinError('POWER_FAILED', `${what} after ${until.timeoutMs / 1000} s`);
    }
    await clock.sleep(powerPollMs, until.signal);
  }
}

async function switchPower(
  caller: Caller,
  request: { action: number; offMs: number; standbyFirst: number },
  signal: AbortSignal | undefined,
): Promise<PowerState> {
  try {
    const options = { timeoutMs: parkTimeoutMs, signal };
    const { powerState } = await caller.call(commands.power, request, options);
    return powerStateNames.get(powerState) ?? 'unknown';
  } catch (error) {
    if (!(error instanceof Error && error.cause instanceof ReplyError)) throw error;
    throw new LastspinError('POWER_FAILED', reasonOf(error), { cause: error });
  }
}

function createPower(caller: Caller, clock: Clock): ImagerPower {
  return {
    name: 'imager',
    canHold: true,
    cyclesByItself: true,
    async cycle(offMs, signal, standbyFirst = false) {
      const before = await statusNow(caller);
      const action = powerActions.cycle;
      const offMsWhole = toUnsigned(offMs, 32);
      const request = { action, offMs: offMsWhole, standbyFirst: standbyFirst ? 1 : 0 };
      const begun = await switchPower(caller, request, signal);
      let wentOff = !isRailOn(begun);
      await waitForRails(caller, clock, {
        // A short off-time may lie between two looks; the imager's own count tells of it.
        done(status) {
          wentOff ||= !isRailOn(status.powerState) || status.powerCycles !== before.powerCycles;
          return wentOff && isRailOn(status.powerState);
        },
        timeoutMs: offMs + powerSlackMs,
        signal,
      });
    },
    async set(on, signal) {
      const action = on ? powerActions.on : powerActions.off;
      await switchPower(caller, { action, offMs: 0, standbyFirst: 0 }, signal);
      const isThere = (state: PowerState) => (on ? isRailOn(state) : !isRailOn(state));
      await waitForRails(caller, clock, {
        done: ({ powerState }) => powerState !== 'ramping' && isThere(powerState),
        timeoutMs: powerSlackMs,
        signal,
      });
    },
    // The switch goes with the drive's link.
    close: async () => {},
  };
}

const stageNames = [
  '',
  'stopped reading',
  'unloaded the heads',
  'put the drive to standby',
  'cut the power',
];

const railFaultNames = {
  overCurrent: 'over-current',
  noRise: 'no voltage',
  noFall: 'voltage that does not go away',
} as const;

const heatNames = {
  told: '',
  standby: '; it is put to standby',
  off: '; its power is cut',
} as const;

/** What happened to the line, for people. */
function linkNoticeOf(notice: LinkNotice): string {
  switch (notice.kind) {
    case 'lost':
      return `${notice.why}; plug it in again, the job goes on by itself`;
    case 'back':
      return 'the imager is back; the job goes on where it was';
    case 'restarted':
      return `the imager started again (${bootCauseNames[notice.bootCause] ?? 'no reason given'}); the job goes on`;
  }
}

const bootCauseNames: Readonly<Record<number, string>> = {
  [bootCauses.powerOn]: 'it was without power',
  [bootCauses.brownOut]: 'its supply sagged',
  [bootCauses.watchdog]: 'its firmware hung',
  [bootCauses.resetLine]: 'it was reset',
  [bootCauses.software]: 'its program was started again',
};

/** What the imager said unasked, for people. */
function noticeOf(event: DeviceEvent): string {
  switch (event.kind) {
    case 'hung':
      return 'the drive does not answer';
    case 'ready':
      return `the drive became ready after ${Math.round(event.afterMs)} ms`;
    case 'gone':
      return 'the drive left the bus';
    case 'rail-fault':
      return `${railFaultNames[event.fault]} on the ${event.rail} V rail: ${event.milliamps} mA at ${event.millivolts} mV; the power is cut`;
    case 'over-temperature':
      return `the drive is too hot: ${event.celsius.toFixed(1)} °C${heatNames[event.action]}`;
    case 'resting':
      return `the imager rests the drive for ${Math.round(event.restMs / 1000)} s`;
    case 'stepped-down':
      return `the laptop was silent: the imager ${stageNames[event.stage]}`;
  }
}

interface Settings {
  readonly watchdog: Parameters<ImagerDrive['watchdog']>[0];
  readonly throttle: Parameters<ImagerDrive['throttle']>[0];
}

/** Opens the imager at the other end of `link` and, through it, the drive. Rejects, with the link
 * closed, with NOT_AN_IMAGER after about three seconds, PROTOCOL_VERSION, DEVICE_REFUSED or
 * LINK_CLOSED. Later the drive's methods throw LINK_CLOSED, LINK_TIMEOUT and DEVICE_REFUSED. */
export async function openImager(
  link: Link,
  clock: Clock,
  options: ImagerOptions,
): Promise<ImagerDrive> {
  /** What the imager was told, to be told again where it forgot. */
  const told: { -readonly [K in keyof Settings]?: Settings[K] } = {};
  const caller: Caller = await createCaller(link, clock, {
    ...options,
    async restore() {
      if (told.watchdog) await caller.call(commands.watchdog, told.watchdog);
      if (told.throttle) await caller.call(commands.throttle, told.throttle);
    },
  });
  let sectorBytes = sectorBytesUnknown;
  let ata: AtaIdentity | undefined;
  const path = imagerPath(caller, options.name ?? link.name ?? 'the imager');
  const commander = path && createCommander(path, clock);
  const canPower = (caller.agreed.capabilities & capabilityBits.power) !== 0;
  return {
    firmware: caller.agreed.firmware,
    canRead: (caller.agreed.capabilities & capabilityBits.read) !== 0,
    ...(canPower && { power: createPower(caller, clock) }),
    get capabilities() {
      return capabilitiesOf(caller, sectorBytes);
    },
    get counters() {
      return caller.counters;
    },
    async identify(signal) {
      const found = await identify(caller, signal);
      // Bridges may come back from a power cycle with another logical sector size.
      if (found) sectorBytes = found.identity.sectorBytes;
      ata = found && parseIdentify(found.raw);
      return found?.identity;
    },
    async read(request) {
      const result = await caller.read({
        sectorBytes,
        batch: request.batch >>> 0,
        lba: request.extent.lba,
        count: request.extent.count,
        timeoutMs: toUnsigned(request.timeoutMs, 32),
        slowMs: toUnsigned(request.slowMs, 32),
        stopOn: stopMask(request),
      });
      return resultOf(result);
    },
    async reset(kind) {
      // Reads still on their way must not meet a drive that was just reset.
      await caller.abort();
      if (kind === 'abort') return;
      await caller.call(commands.reset, { kind: resetKinds[kind] }, { timeoutMs: resetTimeoutMs });
    },
    readiness: async () => readinessOf((await statusNow(caller)).powerState),
    async park(kind = 'standby') {
      const request = { kind: parkKinds[kind] };
      await caller.call(commands.park, request, { timeoutMs: parkTimeoutMs });
    },
    temperature: async () => (await statusNow(caller)).temperatureCelsius,
    ...(commander && {
      commander,
      powerCycleCount: async () => toldBy(await commander.smartData())?.powerCycles,
    }),
    questions: () => ({ ...(ata && { ata }), ...(ata && commander && { commander }) }),
    tune: (settings) => tuneDrive(commander, settings),
    status: () => statusNow(caller),
    async throttle(limits) {
      told.throttle = limits;
      await caller.call(commands.throttle, limits);
    },
    async watchdog(stages) {
      told.watchdog = stages;
      await caller.call(commands.watchdog, stages);
    },
    onEvent: (handler) => caller.onEvent(handler),
    onNotice(handler) {
      caller.onEvent((event) => handler(noticeOf(event)));
      caller.onNotice((notice) => handler(linkNoticeOf(notice)));
    },
    onLineNotice(handler) {
      caller.onNotice((notice) => handler(linkNoticeOf(notice)));
    },
    onClose: (handler) => caller.onClose(handler),
    close: async () => caller.close(),
  };
}
