/** A drive above a path that takes SCSI commands. One command at a time; each read is one READ, whose data is
 * taken only where all of it came with a good status. */

import { strict as assert } from 'node:assert';
import type { Clock } from '../../clock.js';
import { LastspinError } from '../../errors.js';
import type { Extent } from '../../map/extent.js';
import type {
  Drive,
  DriveReadiness,
  DriveSettings,
  Fault,
  ParkKind,
  ReadRequest,
  ReadResult,
} from '../drive.js';
import { quirksOf } from './bridges.js';
import { ata, fitsLba28, fitsLba48 } from './cdb.js';
import {
  type Answer,
  type Brought,
  type Commander,
  createCommander,
  toldBy,
  whyNot,
} from './commander.js';
import {
  askHidden,
  askSmart,
  type HiddenCapacity,
  type Questions,
  type SmartReport,
} from './examine.js';
import type { ScsiPath } from './path.js';
import { findProfile, type Knowledge, type Profile } from './profile.js';
import { faultOf, type SenseReport, senseKeys } from './sense.js';

export interface ScsiDriveOptions {
  /** Least deadline of a read on this path, where a reset costs more than waiting; 0 unless told. */
  readonly timeoutMsMin?: number;
  /** Reads by READ (10) and (16), unless told, or by ATA commands where they pass through: the drive's own
   * registers then say what failed, and where. */
  readonly readBy?: 'scsi' | 'ata';
  /** Serial number of what the path ends at (a USB device's own), for devices that name none themselves. */
  readonly serial?: string;
  /** Physical sector in bytes, a multiple of the logical one; believed over what the bridge says. */
  readonly physicalSectorBytes?: number;
}

/** What lies beyond plain reading: asked only on purpose, since each question may be one too many. */
export interface Examination extends HiddenCapacity, SmartReport {
  readonly powerMode?: 'standby' | 'idle' | 'active';
  readonly temperatureCelsius?: number;
}

export interface ScsiDrive extends Drive {
  /** For questions beyond reading; nothing else may be under way. */
  readonly commander: Commander;
  /** What the last `identify` found; undefined before it. */
  readonly profile: Profile | undefined;
  readonly timeoutMsMin: number;
  /** As far as the last `identify` went. */
  questions(): Questions;
  /** Hidden capacity, power mode, temperature; SMART last, and only with `smart`. What the drive does not
   * have or does not answer is left out. After `identify`. */
  examine(options?: { readonly smart?: boolean }): Promise<Examination>;
  /** °C by the SCT status, for drives that have one: platters are not touched. */
  temperatureCelsius(timeoutMs?: number): Promise<number | undefined>;
  /** Power cycles of the drive's life (SMART attribute 12). */
  powerCycleCount(): Promise<number | undefined>;
}

/** The next reads wait here while one is under way. */
const inFlightMax = 4;
/** Until the drive has said its own. */
const sectorBytesUnknown = 512;
const readyTimeoutMs = 5000;

/** Additional sense codes (SPC-4 annex D) that something turns on. */
const codes = {
  notReady: 0x04,
  startNeeded: 0x02,
  noMedium: 0x3a,
  wasReset: 0x29,
  accessDenied: 0x20,
  security: 0x74,
  predictsFailure: 0x5d,
} as const;

interface Parts {
  readonly path: ScsiPath;
  readonly commander: Commander;
  readonly options: ScsiDriveOptions;
  readonly knowledge: Knowledge;
  readonly transferBytesMax: number;
  readonly say: (notice: string) => void;
  profile: Profile | undefined;
  sectorBytes: number;
  /** The last batch that a stop ended. */
  stoppedBatch: number | undefined;
  /** Counts aborts and resets: what waited before one is not attempted. */
  age: number;
  /** Look-ahead as it was set last; the drive forgets it when it is reset. */
  lookAhead: boolean | undefined;
  withoutRetries: boolean;
  /** It was reset since then. */
  hasForgotten: boolean;
  /** We stopped the motor by START STOP UNIT, and it is to stand until the next read. */
  isStopped: boolean;
}

/** A drive over `path`, which it closes at the end. Nothing is sent before `identify`, which must come before
 * reads. Reads throw LINK_CLOSED where the path is broken, and DEVICE_REFUSED where the drive is locked. */
export function createScsiDrive(
  path: ScsiPath,
  clock: Clock,
  options: ScsiDriveOptions = {},
): ScsiDrive {
  const notices = createNotices();
  const quirks = quirksOf(path.bridge);
  const commander = createCommander(path, clock);
  const parts: Parts = {
    path,
    commander,
    options,
    knowledge: { passesAta: undefined, ataFailures: 0, pages: undefined },
    transferBytesMax: Math.min(path.transferBytesMax, quirks.transferBytesMax ?? Infinity),
    say: notices.say,
    profile: undefined,
    sectorBytes: sectorBytesUnknown,
    stoppedBatch: undefined,
    age: 0,
    lookAhead: undefined,
    withoutRetries: false,
    hasForgotten: false,
    isStopped: false,
  };
  let line: Promise<unknown> = Promise.resolve();

  return {
    commander,
    timeoutMsMin: options.timeoutMsMin ?? 0,
    get profile() {
      return parts.profile;
    },
    get capabilities() {
      return capabilitiesOf(parts);
    },
    async identify(signal) {
      signal?.throwIfAborted();
      const found = await findProfile(commander, parts.knowledge, { quirks, ...options });
      noteReset(parts);
      if (!found) return undefined;
      takeProfile(parts, found);
      const { identity } = found;
      const { physicalSectorBytes = identity.physicalSectorBytes } = options;
      return { ...identity, physicalSectorBytes };
    },
    read(request) {
      const { age } = parts;
      const mine = line.then(() => readInTurn(parts, request, age));
      line = mine.catch(() => {});
      return mine;
    },
    async reset(kind) {
      parts.age += 1;
      // Whoever resets wants it back.
      if (kind !== 'abort') parts.isStopped = false;
      await path.reset(kind);
    },
    readiness: () => readiness(parts),
    tune: (settings) => tune(parts, settings),
    park: (kind = 'standby') => park(parts, kind),
    questions: () => questionsOf(parts),
    examine: ({ smart = false } = {}) => examine(parts, smart),
    temperatureCelsius: (timeoutMs) => temperature(parts, timeoutMs),
    temperature: () => temperature(parts),
    async powerCycleCount() {
      if (!parts.profile?.passesAta || !parts.profile.ata?.hasSmart) return undefined;
      return toldBy(await commander.smartData())?.powerCycles;
    },
    onNotice(handler) {
      notices.listen(handler);
      path.onNotice?.(handler);
    },
    async close() {
      parts.age += 1;
      await path.close();
    },
  };
}

/** What is said before anybody listens is kept for the first who does. */
function createNotices() {
  const handlers: ((notice: string) => void)[] = [];
  const unheard: string[] = [];
  return {
    say(notice: string) {
      if (handlers.length === 0) unheard.push(notice);
      for (const handler of handlers) handler(notice);
    },
    listen(handler: (notice: string) => void) {
      handlers.push(handler);
      unheard.splice(0).forEach(handler);
    },
  };
}

function capabilitiesOf({ path, profile, sectorBytes, transferBytesMax }: Parts) {
  const byBytes = Math.floor(transferBytesMax / sectorBytes);
  const readCountMax = Math.max(1, Math.min(byBytes, profile?.readCountMax ?? byBytes));
  return {
    resets: path.resets,
    power: false,
    // Stopping a stick or a card ejects it for good.
    park: profile !== undefined && (profile.passesAta || !profile.inquiry.isRemovable),
    readCountMax,
    inFlightMax,
    inFlightBytesMax: inFlightMax * readCountMax * sectorBytes,
  };
}

function takeProfile(parts: Parts, found: Profile): void {
  const isFirst = parts.profile === undefined;
  parts.profile = found;
  // Bridges may come back from a power cycle with another logical sector size.
  parts.sectorBytes = found.identity.sectorBytes;
  if (!isFirst) return;
  if (found.surplusCount > 0)
    parts.say(
      `the adapter names ${found.surplusCount} sectors more than the drive has: they are left out`,
    );
}

// ---- reading ----------------------------------------------------------------------------------

const nothing = { goodCount: 0, data: new Uint8Array() };
const notAttempted: ReadResult = { kind: 'not-attempted', ...nothing, elapsedMs: 0 };

async function readInTurn(parts: Parts, request: ReadRequest, age: number): Promise<ReadResult> {
  if (age !== parts.age || request.batch === parts.stoppedBatch) return notAttempted;
  requireUnlocked(parts);
  const { lba, count } = request.extent;
  assert(lba >= 0 && count > 0 && count <= capabilitiesOf(parts).readCountMax, 'extent in range');
  await wake(parts);
  const timeoutMs = Math.max(request.timeoutMs, parts.options.timeoutMsMin ?? 0);
  const answer = await readAwake(parts, request.extent, timeoutMs);
  const result = resultOf(parts, answer, request);
  if (isStop(request, result)) parts.stoppedBatch = request.batch;
  return result;
}

/** What a drive forgot or was told to do is put right before it reads. */
async function wake(parts: Parts): Promise<void> {
  const { commander, lookAhead } = parts;
  if (parts.isStopped) {
    parts.isStopped = false;
    await commander.startStop(true);
  }
  if (noteReset(parts)) {
    parts.say('the drive was reset, or lost its power, by itself');
  }
  if (!parts.hasForgotten) return;
  parts.hasForgotten = false;
  // Volatile (ACS-3, SET FEATURES).
  if (lookAhead !== undefined) await commander.setLookAhead(lookAhead);
}

/** A drive whose motor was stopped by whomever has not looked at the place: it is started, and asked once more. */
async function readAwake(
  parts: Parts,
  extent: Extent,
  timeoutMs: number,
): Promise<Answer<Brought>> {
  const answer = await sendRead(parts, extent, timeoutMs);
  if (answer.kind !== 'fault' || !wantsStart(answer.report)) return answer;
  const started = await parts.commander.startStop(true);
  return started.kind === 'good' ? await sendRead(parts, extent, timeoutMs) : answer;
}

/** READ (10) or (16); ATA commands where they are asked for and can name the extent. */
function sendRead(parts: Parts, extent: Extent, timeoutMs: number): Promise<Answer<Brought>> {
  const { commander, sectorBytes, options, profile } = parts;
  const canBeAta = profile?.passesAta === true && profile.isOneToOne;
  if (canBeAta && parts.withoutRetries && fitsLba28(extent))
    return commander.ata(ata.readSectorsWithoutRetry(extent), timeoutMs, sectorBytes);
  if (canBeAta && options.readBy === 'ata') {
    const isWide = commander.ataForm === 16 && profile.ata?.hasLba48 === true;
    if (isWide && fitsLba48(extent))
      return commander.ata(ata.readDmaExt(extent), timeoutMs, sectorBytes);
    if (fitsLba28(extent)) return commander.ata(ata.readDma(extent), timeoutMs, sectorBytes);
  }
  return commander.read(extent, sectorBytes, timeoutMs);
}

function resultOf(parts: Parts, answer: Answer<Brought>, request: ReadRequest): ReadResult {
  const { elapsedMs } = answer;
  const end = (kind: ReadResult['kind'], fault?: Fault): ReadResult => ({
    kind,
    ...nothing,
    elapsedMs,
    ...(fault && { fault }),
  });
  switch (answer.kind) {
    case 'good':
      return wholeOf(parts, answer.value, request, elapsedMs);
    case 'fault':
      requireAccess(parts, answer.report);
      if (isWithoutMedium(answer.report)) return end('gone');
      return end('fault', faultOf(answer.report, request.extent));
    case 'failed':
      return end('fault', { path: answer.why });
    case 'nonsense':
    case 'busy':
    case 'timeout':
      return end('timeout');
    case 'gone':
      return end('gone');
  }
}

/** All of it, or a fault: what comes short is not padded, and says nothing of the place. */
function wholeOf(
  parts: Parts,
  { data, report }: Brought,
  { extent, slowMs }: ReadRequest,
  elapsedMs: number,
): ReadResult {
  const wanted = extent.count * parts.sectorBytes;
  if (data.length !== wanted) {
    const path = `${data.length} of ${wanted} bytes came`;
    return { kind: 'fault', ...nothing, elapsedMs, fault: { path } };
  }
  if (report?.sense.asc === codes.predictsFailure)
    parts.say('the drive predicts that it will fail soon');
  const isSlow = slowMs > 0 && elapsedMs > slowMs;
  return { kind: isSlow ? 'slow' : 'good', goodCount: extent.count, data, elapsedMs };
}

function isStop({ stopOn }: ReadRequest, { kind }: ReadResult): boolean {
  switch (kind) {
    case 'good':
    case 'not-attempted':
      return false;
    case 'slow':
      return stopOn.slow;
    case 'fault':
      return stopOn.fault;
    case 'timeout':
      return stopOn.timeout;
    case 'gone':
      return true;
  }
}

/** NOT READY, initializing command required: its motor stands still. */
function wantsStart({ sense }: SenseReport): boolean {
  const { key, asc, ascq } = sense;
  return key === senseKeys.notReady && asc === codes.notReady && ascq === codes.startNeeded;
}

/** NOT READY, medium not present: also what a dock says whose drive has left. */
function isWithoutMedium({ sense }: SenseReport): boolean {
  return sense.key === senseKeys.notReady && sense.asc === codes.noMedium;
}

/** A locked drive is a locked drive, whatever its bridge makes of refused reads. */
function requireUnlocked({ profile, path }: Parts): void {
  if (profile?.ata?.security.isLocked) throw locked(path, profile.identity.model);
}

function requireAccess({ path, profile }: Parts, { sense }: SenseReport): void {
  const isDenied = sense.asc === codes.accessDenied || sense.asc === codes.security;
  if (sense.key === senseKeys.dataProtect && isDenied)
    throw locked(path, profile?.identity.model ?? 'the drive');
}

function locked({ name }: ScsiPath, model: string): LastspinError {
  return new LastspinError(
    'DEVICE_REFUSED',
    `${model} at ${name} is locked by a password: nothing can be read, and nothing is marked bad; unlock it without cutting its power, then run the same command again`,
  );
}

// ---- state ------------------------------------------------------------------------------------

async function readiness(parts: Parts): Promise<DriveReadiness> {
  const { commander, path } = parts;
  let answer = await commander.testUnitReady(readyTimeoutMs);
  if (answer.kind === 'gone' && (await path.isThere()))
    answer = await commander.testUnitReady(readyTimeoutMs);
  noteReset(parts);
  switch (answer.kind) {
    case 'good':
      return 'ready';
    case 'busy':
    case 'timeout':
      return 'not-ready';
    case 'gone':
      // It comes back as its power finds it.
      parts.isStopped = false;
      return 'gone';
    case 'fault':
      return readinessBy(parts, answer.report);
    default:
      return 'unknown';
  }
}

/** Whether a reset showed. Outside of reads that is no surprise. */
function noteReset(parts: Parts): boolean {
  if (!parts.commander.takeReset()) return false;
  parts.hasForgotten = true;
  parts.isStopped = false;
  return true;
}

async function readinessBy(parts: Parts, report: SenseReport): Promise<DriveReadiness> {
  if (isWithoutMedium(report)) return 'gone';
  if (report.sense.key !== senseKeys.notReady) return 'unknown';
  if (wantsStart(report) && !parts.isStopped) await parts.commander.startStop(true);
  return 'not-ready';
}

async function tune(parts: Parts, settings: DriveSettings): Promise<string | undefined> {
  const { lookAhead, driveRetries } = settings;
  const { profile, commander } = parts;
  if (!profile?.passesAta) return 'the adapter passes no ATA commands through';
  if (lookAhead !== undefined) {
    const answer = await commander.setLookAhead(lookAhead);
    if (answer.kind !== 'good') return whyNot(answer);
    parts.lookAhead = lookAhead;
  }
  if (driveRetries === undefined) return undefined;
  const isWithin = profile.isOneToOne && profile.identity.sectorCount <= 2 ** 28;
  if (!driveRetries && !isWithin)
    return 'reads without retries have 28-bit addresses: the drive is larger than 128 GiB';
  parts.withoutRetries = !driveRetries;
  return undefined;
}

/** Heads off the platters. Throws DEVICE_REFUSED where nothing did it. */
async function park(parts: Parts, kind: ParkKind): Promise<void> {
  const { commander, profile, path } = parts;
  const refuse = (why: string) =>
    new LastspinError('DEVICE_REFUSED', `${path.name} does not park: ${why}`);
  if (profile?.passesAta) {
    const answer =
      kind === 'standby'
        ? await commander.standbyImmediate()
        : await commander.idleImmediate(profile.ata?.hasUnload === true);
    if (answer.kind === 'good') return;
    throw refuse(whyNot(answer));
  }
  if (kind === 'unload') throw refuse('the adapter passes no ATA commands through');
  if (!capabilitiesOf(parts).park) throw refuse('it would be ejected');
  const answer = await commander.startStop(false);
  if (answer.kind !== 'good') throw refuse(whyNot(answer));
  parts.isStopped = true;
}

async function temperature({ profile, commander }: Parts, timeoutMs?: number) {
  if (!profile?.passesAta || !profile.ata?.hasSct) return undefined;
  return toldBy(await commander.sctCelsius(timeoutMs));
}

function questionsOf({ profile, commander }: Parts): Questions {
  return {
    ...(profile?.ata && { ata: profile.ata }),
    ...(profile?.passesAta && { commander }),
  };
}

async function examine(parts: Parts, smart: boolean): Promise<Examination> {
  const { commander, profile } = parts;
  const own = profile?.ata;
  if (!profile?.passesAta || !own) return {};
  const hidden = await askHidden(commander, own);
  const powerMode = toldBy(await commander.powerMode());
  const temperatureCelsius = await temperature(parts);
  return {
    ...hidden,
    ...(powerMode && { powerMode }),
    ...(temperatureCelsius !== undefined && { temperatureCelsius }),
    ...(smart && (await askSmart(commander, own))),
  };
}
