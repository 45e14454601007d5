/** First contact with a drive, the least harmful question first: does it start, who is it, is it locked, is it
 * whole, does each zone read, and SMART last. One read a zone, none is tried again, nothing is reset but a read
 * that got no answer, and all of it takes three minutes at most. */

import type { Clock } from '../clock.js';
import {
  type Drive,
  type DriveIdentity,
  isMediumError,
  type ReadRequest,
  type ReadResult,
} from '../drive/drive.js';
import { describeFault } from '../drive/fault.js';
import type { ImagerStatus } from '../drive/imager.js';
import type { SmartData } from '../drive/scsi/ata-data.js';
import { askHidden, askSmart, type HiddenCapacity, type Questions } from '../drive/scsi/examine.js';
import { isLastspinError } from '../errors.js';
import type { Extent } from '../map/extent.js';
import {
  bytesInModel,
  type CapacityFinding,
  type Findings,
  judge,
  type Label,
  type RailCurrent,
  type SpinUpFinding,
  stopBeforeReading,
  type Verdict,
  type ZoneRead,
  type ZonesFinding,
} from '../plan/first-contact.js';
import type { DriveKind, TroublePolicy } from '../power/policy.js';
import type { Power } from '../power/power.js';
import { bringUp } from './bring-up.js';
import { isFirmwareFailed } from './identity.js';

export interface TriageParts {
  readonly drive: Drive;
  readonly powers: readonly Power[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Of the drive until it has said what it is. */
  readonly policy: TroublePolicy;
  /** What to take it for before and after it has said who it is. */
  readonly kindOf: (identity: DriveIdentity | undefined) => DriveKind;
  readonly questions: () => Questions;
  /** What the imager measures; absent without one. */
  readonly status?: () => Promise<ImagerStatus>;
  /** The capacity on the drive's label, in bytes. */
  readonly labelBytes?: number;
  /** Whether SMART may be asked. */
  readonly isSmartWanted: boolean;
  readonly say: (line: string) => void;
}

/** What first contact found. */
export interface Triage {
  readonly identity?: DriveIdentity;
  readonly hidden: HiddenCapacity;
  readonly smart?: SmartData;
  readonly temperatureCelsius?: number;
  readonly findings: Findings;
  readonly verdict: Verdict;
  readonly elapsedMs: number;
}

/** Until here power-ons and the waits for them take. Another that would go beyond is left out, but for the first. */
const bringUpMsMax = 110_000;
/** No read begins that could end later than this. */
const readsEndMs = 170_000;
const samplePeriodMs = 100;

/** Makes first contact. Power that this switches on stays on, unless the drive never became ready. Throws what a
 * broken link throws, and the signal's reason; what the drive does not do is a finding. */
export async function triage(parts: TriageParts): Promise<Triage> {
  const { clock, drive } = parts;
  const startMs = clock.now();
  const { identity, finding } = await spinUp(parts);
  let findings: Findings = { kind: parts.kindOf(identity), spinUp: finding };
  const end = (more: Partial<Triage> = {}): Triage => ({
    ...(identity && { identity }),
    hidden: {},
    findings,
    verdict: judge(findings),
    elapsedMs: clock.now() - startMs,
    ...more,
  });
  if (!identity) return end();
  const { ata, commander } = parts.questions();
  findings = {
    ...findings,
    ...(ata && { isLocked: ata.security.isLocked }),
    capacity: capacityOf(parts, identity, {}),
  };
  // Hidden capacity may be why it is smaller than its label; nothing else is asked of a locked or failed drive.
  const isAskable = ata && commander && !findings.isLocked && !findings.capacity?.isFirmwareFailed;
  const hidden = isAskable ? await askHidden(commander, ata) : {};
  findings = { ...findings, capacity: capacityOf(parts, identity, hidden) };
  if (stopBeforeReading(findings)) return end({ hidden });
  const zones = await readZones(parts, identity, startMs);
  findings = { ...findings, zones };
  // Questions have frozen drives that were about to.
  const isWell = zones.reads.every(({ outcome }) => outcome !== 'timeout' && outcome !== 'gone');
  if (!isWell || clock.now() - startMs > readsEndMs) return end({ hidden });
  const temperatureCelsius = await drive.temperature?.();
  const mayAsk = isAskable && parts.isSmartWanted;
  const { isSmartPassed, smart } = mayAsk ? await askSmart(commander, ata) : {};
  if (isSmartPassed !== undefined) findings = { ...findings, isSmartPassed };
  return end({
    hidden,
    ...(smart && { smart }),
    ...(temperatureCelsius !== undefined && { temperatureCelsius }),
  });
}

// ---- spin-up ----------------------------------------------------------------------------------

/** When the power came on last, or may have, and how often. */
interface PowerOns {
  count: number;
  /** By switches that may only reset a port: perhaps none of them was one. */
  resets: number;
  atMs: number;
}

async function spinUp(
  parts: TriageParts,
): Promise<{ readonly identity?: DriveIdentity; readonly finding: SpinUpFinding }> {
  const { clock, drive, policy, signal, say } = parts;
  const ons: PowerOns = { count: 0, resets: 0, atMs: clock.now() };
  const powers = parts.powers.map((power) => watched(power, ons, clock));
  const failedSpinUpsMax = spinUpsWithin(policy);
  const meter = createMeter(parts, ons);
  const either = AbortSignal.any([signal, meter.tripped]);
  const finding = () => ({
    powerOns: ons.count,
    ...(ons.resets > 0 && { portResets: ons.resets }),
    limitMs: policy.readyLimitMs,
    isTripped: meter.tripped.aborted,
    rails: meter.rails(),
    ...(powers.some(({ canHold, mayOnlyReset }) => canHold && !mayOnlyReset) && {
      isLeftOff: true,
    }),
    ...(policy.failedSpinUpsMax > failedSpinUpsMax && { restMs: policy.spinUpRestMs }),
  });
  try {
    const identity = await bringUp(
      drive,
      powers,
      { ...policy, failedSpinUpsMax },
      clock,
      either,
      say,
    );
    const readyAfterMs = Math.max(0, (meter.readyAtMs() ?? clock.now()) - ons.atMs);
    // When it began to start is not known after a reset that may have been a power-on.
    const isMeasured = ons.count > 0 && ons.resets === 0;
    if (ons.count + ons.resets > 0) await settle(parts, readyAfterMs);
    await meter.sample();
    return {
      identity,
      finding: { isReady: true, ...finding(), ...(isMeasured && { readyAfterMs }) },
    };
  } catch (error) {
    signal.throwIfAborted();
    const hadTrip = isLastspinError(error, 'POWER_FAILED') && (await meter.isTripped());
    const isNotReady = isLastspinError(error, 'DRIVE_HUNG') || meter.tripped.aborted || hadTrip;
    if (!isNotReady) throw error;
    return { finding: { isReady: false, ...finding(), ...(hadTrip && { isTripped: true }) } };
  } finally {
    meter.stop();
  }
}

/** As many power-ons as the policy allows and fit into the time with their rests; one at least. */
function spinUpsWithin({ failedSpinUpsMax, readyLimitMs, spinUpRestMs }: TroublePolicy): number {
  const fitting = Math.floor((bringUpMsMax + spinUpRestMs) / (readyLimitMs + spinUpRestMs));
  return Math.max(1, Math.min(failedSpinUpsMax, fitting));
}

/** Ready is not usable: from power-on on, and half a second of it after ready. */
const settleLeastMs = 500;

async function settle({ clock, policy, signal }: TriageParts, readyAfterMs: number): Promise<void> {
  const { settleMs } = policy;
  await clock.sleep(Math.max(Math.min(settleMs, settleLeastMs), settleMs - readyAfterMs), signal);
}

/** A switch that notes when it gives power. */
function watched(power: Power, ons: PowerOns, clock: Clock): Power {
  const note = () => {
    if (power.mayOnlyReset) ons.resets += 1;
    else ons.count += 1;
    ons.atMs = clock.now();
  };
  return {
    ...power,
    async cycle(offMs, signal) {
      await power.cycle(offMs, signal);
      note();
    },
    async set(on, signal) {
      await power.set(on, signal);
      if (on) note();
    },
  };
}

/** Looks at rails and readiness again and again while the drive starts. */
function createMeter({ status, clock }: TriageParts, ons: PowerOns) {
  const stopped = new AbortController();
  const tripped = new AbortController();
  const seen = new Map<5 | 12, { peak: number; last: number }>();
  let readyAtMs: number | undefined;

  function note(found: ImagerStatus): void {
    if (found.powerState === 'tripped' && ons.count > 0) tripped.abort(new Error('over-current'));
    // Of an earlier power-on it says nothing.
    const isKnown = readyAtMs !== undefined && readyAtMs >= ons.atMs;
    if (found.powerState === 'ready' && ons.count > 0 && !isKnown) readyAtMs = clock.now();
    if (found.powerState !== 'on-not-ready' && found.powerState !== 'ready') return;
    for (const volts of [5, 12] as const) {
      const last = found[`rail${volts}`]?.milliamps;
      if (last === undefined) continue;
      seen.set(volts, { peak: Math.max(last, seen.get(volts)?.peak ?? 0), last });
    }
  }

  async function look(): Promise<ImagerStatus | undefined> {
    // A broken line is the business of whoever waits for the drive.
    const found = await status?.().catch(() => undefined);
    if (found) note(found);
    return found;
  }

  async function run(): Promise<void> {
    while (!stopped.signal.aborted) {
      await look();
      await clock.sleep(samplePeriodMs, stopped.signal).catch(() => {});
    }
  }
  if (status) void run();

  return {
    tripped: tripped.signal,
    sample: look,
    isTripped: async () => (await look())?.powerState === 'tripped',
    readyAtMs: () => readyAtMs,
    /** None where the drive was on already: what it drew when it started is gone. */
    rails: (): RailCurrent[] =>
      ons.count === 0
        ? []
        : [...seen].map(([volts, { peak, last }]) => ({
            volts,
            peakMilliamps: peak,
            lastMilliamps: last,
          })),
    stop: () => stopped.abort(),
  };
}

// ---- capacity ---------------------------------------------------------------------------------

function capacityOf(
  { labelBytes }: TriageParts,
  identity: DriveIdentity,
  { nativeSectorCount = 0, configurationSectorCount = 0 }: HiddenCapacity,
): CapacityFinding {
  const { sectorCount, sectorBytes, model } = identity;
  const byModel = bytesInModel(model);
  const label: Label | undefined =
    labelBytes !== undefined
      ? { bytes: labelBytes, from: 'user' }
      : byModel !== undefined
        ? { bytes: byModel, from: 'model' }
        : undefined;
  const withHidden = Math.max(nativeSectorCount, configurationSectorCount);
  return {
    bytes: sectorCount * sectorBytes,
    isFirmwareFailed: isFirmwareFailed(identity, label?.bytes),
    ...(label && { label }),
    ...(withHidden > 0 && { bytesWithHidden: withHidden * sectorBytes }),
  };
}

// ---- zones ------------------------------------------------------------------------------------

const zonesMax = 16;
const zoneCount = 128;
const zoneTimeoutMs = 10_000;
const timeoutsMax = 3;
/** Where in its zone a place is: the golden ratio's multiples are never in step with the bands of the heads. */
const goldenShare = (1 + Math.sqrt(5)) / 2 - 1;

/** One place a zone, in their order: the first and the last sectors of the drive, and between them places that
 * are the same each time. */
export function zonePlaces(sectorCount: number, readCountMax: number): Extent[] {
  const count = Math.min(zoneCount, readCountMax, sectorCount);
  const zones = Math.max(1, Math.min(zonesMax, Math.floor(sectorCount / count)));
  const zoneSectors = sectorCount / zones;
  return Array.from({ length: zones }, (_, zone) => {
    const room = zoneSectors - count;
    const share = zone === 0 ? 0 : (zone * goldenShare) % 1;
    const lba = Math.floor(zone * zoneSectors + room * share);
    return { lba: zone > 0 && zone === zones - 1 ? sectorCount - count : lba, count };
  });
}

async function readZones(
  parts: TriageParts,
  { sectorCount }: DriveIdentity,
  startMs: number,
): Promise<ZonesFinding> {
  const { drive, clock, signal } = parts;
  const places = zonePlaces(sectorCount, drive.capabilities.readCountMax);
  const reads: ZoneRead[] = [];
  let timeouts = 0;
  for (const [batch, extent] of places.entries()) {
    signal.throwIfAborted();
    const isLate = clock.now() - startMs + zoneTimeoutMs > readsEndMs;
    if (isLate || timeouts >= timeoutsMax || reads.at(-1)?.outcome === 'gone') break;
    const read = await readZone(drive, extent, batch);
    reads.push(read);
    if (read.outcome !== 'timeout') continue;
    timeouts += 1;
    // Nothing follows on a path that still waits for an answer.
    if (drive.capabilities.resets.has('abort')) await abort(drive);
  }
  return { reads, leftOut: places.length - reads.length };
}

async function readZone(drive: Drive, extent: Extent, batch: number): Promise<ZoneRead> {
  const request: ReadRequest = {
    extent,
    timeoutMs: zoneTimeoutMs,
    slowMs: 0,
    stopOn: { fault: false, slow: false, timeout: false },
    batch,
  };
  try {
    return { ...extent, ...outcomeOf(await drive.read(request)) };
  } catch (error) {
    // The drive's own refusal where its IDENTIFY data did not tell of a lock.
    if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
    return { ...extent, outcome: 'refused', elapsedMs: 0, detail: error.message };
  }
}

function outcomeOf(
  result: ReadResult,
): Pick<ZoneRead, 'outcome' | 'elapsedMs' | 'detail' | 'isBlank'> {
  const { kind, elapsedMs, fault, data } = result;
  switch (kind) {
    case 'good':
    case 'slow':
      return {
        outcome: 'good',
        elapsedMs,
        ...(data.length > 0 && { isBlank: data.every((byte) => byte === 0) }),
      };
    case 'fault':
      return {
        outcome: fault && isMediumError(fault) ? 'bad' : 'refused',
        elapsedMs,
        detail: describeFault(fault ?? {}),
      };
    case 'gone':
      return { outcome: 'gone', elapsedMs };
    case 'timeout':
    case 'not-attempted':
      return { outcome: 'timeout', elapsedMs };
  }
}

async function abort(drive: Drive): Promise<void> {
  await drive.reset('abort').catch((error: unknown) => {
    if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
  });
}
