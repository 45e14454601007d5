import type { DriveRead, SimulatedDrive } from '../../hardware-sim/drive.js';
import { isMediumError } from '../drive/drive.js';
import { describeFault } from '../drive/fault.js';
import type { RehearsedDrive, RehearsedRead } from '../job/rehearsal.js';
import type { Extent } from '../map/extent.js';
import type { TroublePolicy } from '../power/policy.js';

/** A simulated drive behind an imager that answers at once: deadlines, waiting while the drive is busy and
 * what an error is called are the imager's. */
export function rehearsedDrive(drive: SimulatedDrive): RehearsedDrive {
  return {
    read: (extent, timeoutMs, nowMs) => read(drive, extent, timeoutMs, nowMs),
    readStride: (stride, nowMs) => drive.readStride(stride, nowMs),
    reset(kind, nowMs) {
      if (kind === 'soft') drive.softReset(nowMs);
      if (kind === 'hard') drive.hardReset(nowMs);
    },
    powerCycle(offMs, nowMs) {
      drive.powerOff(nowMs);
      drive.powerOn(nowMs + offMs);
    },
    powerOff: (nowMs) => drive.powerOff(nowMs),
    park(nowMs, kind) {
      if (kind === 'standby') drive.standby(nowMs);
      else drive.unload(nowMs);
    },
    setLookAhead: (on) => drive.setLookAhead(on),
    readyAtMs: (nowMs) => readyAtMs(drive, nowMs),
    identify: (nowMs) => drive.identify(nowMs),
  };
}

/** Switches the drive on at 0 and says when it is ready, after as many tries as the policy has for a drive
 * that does not spin up; without `readyMs` it never was until `triedMs`, and is off. */
export function powerOnRehearsed(
  drive: SimulatedDrive,
  policy: TroublePolicy,
): { readonly readyMs?: number; readonly triedMs: number } {
  let nowMs = 0;
  for (let attempt = 0; attempt < policy.failedSpinUpsMax; attempt++) {
    if (attempt > 0) nowMs += policy.spinUpRestMs;
    drive.powerOn(nowMs);
    const readyMs = readyAtMs(drive, nowMs);
    if (readyMs <= nowMs + policy.readyLimitMs) return { readyMs, triedMs: readyMs };
    nowMs += policy.readyLimitMs;
    drive.powerOff(nowMs);
  }
  return { triedMs: nowMs };
}

function readyAtMs(drive: SimulatedDrive, nowMs: number): number {
  const { kind, untilMs } = drive.condition(nowMs);
  return kind === 'ready' ? nowMs : untilMs;
}

function read(
  drive: SimulatedDrive,
  extent: Extent,
  timeoutMs: number,
  nowMs: number,
): RehearsedRead {
  const { kind, untilMs } = drive.condition(nowMs);
  if (kind === 'off' || kind === 'gone') return { outcome: 'gone', goodCount: 0, elapsedMs: 0 };
  // A busy drive is not sent anything before it is free.
  if (kind !== 'ready' && untilMs > nowMs + timeoutMs) return timedOut(timeoutMs);
  const answer = drive.read(extent, nowMs);
  const { outcome, goodCount, elapsedMs } = answer;
  if (elapsedMs > timeoutMs) return timedOut(timeoutMs);
  if (outcome === 'good') return { outcome, goodCount, elapsedMs };
  return outcome === 'fault' ? faultOf(answer) : { outcome: 'gone', goodCount: 0, elapsedMs };
}

function timedOut(timeoutMs: number): RehearsedRead {
  return { outcome: 'timeout', goodCount: 0, elapsedMs: timeoutMs };
}

function faultOf({ goodCount, elapsedMs, failingLba, ata, sense }: DriveRead): RehearsedRead {
  const fault = {
    ...(ata && { ata }),
    ...(sense && { sense }),
    ...(failingLba !== undefined && { lba: failingLba }),
  };
  return {
    outcome: 'fault',
    goodCount,
    elapsedMs,
    cause: isMediumError(fault) ? 'medium' : 'unexplained',
    detail: describeFault(fault),
    ...(failingLba !== undefined && { faultLba: failingLba }),
  };
}
