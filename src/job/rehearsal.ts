import type { DriveIdentity } from '../drive/drive.js';
import { isLastspinError } from '../errors.js';
import { type Extent, endOf } from '../map/extent.js';
import type { ReadEvent } from '../plan/events.js';
import { isForward, type Pass, slowLimitMs } from '../plan/pass.js';
import { readCountOf, sweepAhead } from '../plan/planner.js';
import { referenceExtent } from '../plan/reference.js';
import { type Reach, settleRestMs } from '../power/ladder.js';
import { decide, eventOf, type JobStep } from './decide.js';
import type { JobEvent, JobEventBody } from './events.js';
import { refuseOther } from './identity.js';
import type { JobEnd } from './job.js';
import { foldJob, type JobState, progressOf } from './state.js';

/** A drive that answers at once and says how long it would have taken. */
export interface RehearsedDrive {
  /** What a read becomes: as `ReadEvent` has it, but for what was asked and why. */
  read(extent: Extent, timeoutMs: number, nowMs: number): RehearsedRead;
  /** As many of these reads, one behind the other, as surely go well, or none: then `read` tells. */
  readStride?(
    stride: {
      readonly lba: number;
      /** Whole reads of `size` sectors. */
      readonly count: number;
      readonly size: number;
      readonly forward: boolean;
      /** No read takes longer than this, none begins at or after `endMs`. */
      readonly readMsMax: number;
      readonly endMs: number;
    },
    nowMs: number,
  ): { readonly readCount: number; readonly elapsedMs: number };
  reset(kind: 'abort' | 'soft' | 'hard', nowMs: number): void;
  /** Also when the power is already off. */
  powerCycle(offMs: number, nowMs: number): void;
  /** For a rest without power, until the next power cycle. */
  powerOff(nowMs: number): void;
  /** Heads off the platters; until `readyAtMs`. */
  park(nowMs: number, kind: 'unload' | 'standby'): void;
  setLookAhead?(on: boolean): void;
  /** When the drive will be ready if it is left alone; Infinity = never. */
  readyAtMs(nowMs: number): number;
  /** Who answers; undefined when nobody does now. */
  identify(nowMs: number): DriveIdentity | undefined;
}

export type RehearsedRead = Pick<
  ReadEvent,
  'goodCount' | 'elapsedMs' | 'cause' | 'faultLba' | 'detail'
> & { readonly outcome: 'good' | 'fault' | 'timeout' | 'gone' };

export interface RehearsalParts {
  readonly drive: RehearsedDrive;
  /** Who the drive is while it is itself. */
  readonly identity: DriveIdentity;
  readonly reach: Reach;
  /** Takes reads of a sweep that go well many at a time: their events come as one, of as many sectors. Nothing
   * else differs. Off where a row goes by what each read told. */
  readonly inStrides?: boolean;
  /** Told of every event after it was folded. */
  readonly onEvent?: (event: JobEvent, state: JobState) => void;
  /** Ends the rehearsal there; absent: only the plan ends it. */
  readonly durationMaxMs?: number;
}

/** A rest at least this long parks the heads, as in a real job. */
const parkRestMs = 10_000;
/** So many reads at the start get so many times their limits, as in a real job. */
const firstReadsCount = 3;
const firstReadsFactor = 3;

/** How long an imager waits for a busy drive to say who it is. */
const identifyWaitMs = 2000;
/** Most reads taken at once: what curves and marks over time are coarse by. */
const strideReadsMax = 256;

/** Whether what a row reads does not depend on how long good reads took. */
function isBlind({ direction, heads, perHead }: Pass): boolean {
  return direction !== 'best-first' && heads === undefined && perHead === undefined;
}

/** Runs a whole job as fast as the arithmetic: the decisions of the real one, without waiting, without data,
 * one read at a time. Times are the drive's own. Returns how it ended. */
export function rehearse(state: JobState, parts: RehearsalParts): JobEnd {
  const { drive, reach } = parts;
  const endMs = parts.durationMaxMs ?? Number.POSITIVE_INFINITY;
  let nowMs = state.atMs;
  const isStriding = parts.inStrides === true && state.plan.passes.every(isBlind);
  let readsMade = 0;
  let pacedUntilMs = 0;
  let isParked = false;
  /** Since when a rest has kept the power off. */
  let offSinceMs: number | undefined;
  /** What a row set, until the drive forgets it. */
  let lookAhead: boolean | undefined;

  function note(body: JobEventBody): void {
    fold({ ...body, atMs: nowMs } as JobEvent);
  }

  function fold(event: JobEvent): void {
    foldJob(state, event);
    parts.onEvent?.(event, state);
  }

  function read(
    role: ReadEvent['role'],
    extent: Extent,
    timeoutMs: number,
    slowMs: number,
  ): ReadEvent['outcome'] {
    const result = drive.read(extent, timeoutMs, nowMs);
    const { goodCount, elapsedMs } = result;
    nowMs += elapsedMs;
    if (result.outcome !== 'good') {
      note({ kind: 'read', role, ...extent, ...result });
      return result.outcome;
    }
    // Almost every read comes here, so no object is made but the event.
    const outcome = slowMs > 0 && elapsedMs > slowMs ? 'slow' : 'good';
    const { lba, count } = extent;
    fold({ kind: 'read', role, lba, count, outcome, goodCount, elapsedMs, atMs: nowMs });
    return outcome;
  }

  function readPass(extent: Extent, pass: Pass): void {
    beforeRead(pass, extent);
    const factor = readsMade++ < firstReadsCount ? firstReadsFactor : 1;
    const slowMs = factor * slowLimitMs(pass, extent.count, state.plan.sectorBytes);
    const outcome = read('pass', extent, factor * pass.timeoutMs, slowMs);
    if (outcome === 'good' && readsMade >= firstReadsCount) goOn(pass);
  }

  /** While a sweep reads well there is nothing to decide: each read follows the one before. What comes of it is
   * folded read by read all the same. Only where no limit is counted that a good read could reach. */
  function goOn(pass: Pass): void {
    if (pass.bytesPerSecondMax || pass.rest || state.policy.sessionRestMs > 0) return;
    const ahead = sweepAhead(state.plan, pass);
    if (!ahead) return;
    const size = readCountOf(state.plan, pass);
    const slowMs = slowLimitMs(pass, size, state.plan.sectorBytes);
    const forward = isForward(pass);
    // The edges may be cut otherwise; those are planned.
    const first = Math.ceil(ahead.lba / size) * size;
    const last = (Math.ceil(endOf(ahead) / size) - 1) * size;
    if (forward ? first !== ahead.lba : last + size !== endOf(ahead)) return;
    let { lba, count } = forward
      ? { lba: first, count: last - first }
      : { lba: first + size, count: last - first };
    while (count > 0 && nowMs < endMs) {
      const length = Math.min(count, strideReadsMax * size);
      const from = forward ? lba : lba + count - length;
      const readMsMax = Math.min(pass.timeoutMs, slowMs > 0 ? slowMs : Number.POSITIVE_INFINITY);
      const taken = readStride({ lba: from, count: length, size, forward, readMsMax, endMs });
      if (taken === 0) {
        const next = { lba: forward ? lba : lba + count - size, count: size };
        if (read('pass', next, pass.timeoutMs, slowMs) !== 'good') return;
      }
      const done = Math.max(1, taken) * size;
      if (forward) lba += done;
      count -= done;
    }
  }

  /** How many reads were taken at once: 0 where each has to be looked at. */
  function readStride(stride: Parameters<NonNullable<RehearsedDrive['readStride']>>[0]): number {
    if (!isStriding || !drive.readStride) return 0;
    const { readCount, elapsedMs } = drive.readStride(stride, nowMs);
    if (readCount === 0) return 0;
    nowMs += elapsedMs;
    const count = readCount * stride.size;
    const lba = stride.forward ? stride.lba : stride.lba + stride.count - count;
    const event = { lba, count, outcome: 'good', goodCount: count, elapsedMs } as const;
    state.totals.reads += readCount - 1;
    note({ kind: 'read', role: 'pass', ...event });
    return readCount;
  }

  /** Settings, a wake-up, and the wait for the row's cap. */
  function beforeRead(pass: Pass | undefined, extent: Extent): void {
    if (pass) tune(pass);
    if (isParked) readReference(state.trouble.references, state.policy.readyLimitMs);
    const rateMax = pass?.bytesPerSecondMax ?? 0;
    if (rateMax <= 0) return;
    nowMs = Math.max(nowMs, pacedUntilMs);
    pacedUntilMs = nowMs + (extent.count * state.plan.sectorBytes * 1000) / rateMax;
  }

  function tune(pass: Pass): void {
    const wanted = pass.lookAhead ?? (lookAhead === undefined ? undefined : true);
    if (wanted === undefined || wanted === lookAhead || !drive.setLookAhead) return;
    drive.setLookAhead(wanted);
    lookAhead = wanted;
    note({ kind: 'drive-tuned', setting: 'lookAhead', value: wanted, ok: true });
  }

  function readReference(attempt: number, timeoutMs: number): void {
    isParked = false;
    read('reference', referenceExtent(state.plan, attempt), timeoutMs, 0);
  }

  function awaitReady(limitMs: number): boolean {
    const fromMs = nowMs;
    const found = identify(limitMs);
    const ok = found !== undefined;
    if (!ok) nowMs = fromMs + limitMs;
    note({ kind: 'ready', ok, waitedMs: nowMs - fromMs });
    return ok;
  }

  /** Who answers, once the drive is free, which is waited for so long. Throws as in a real job when it is another
   * drive, or this one without its firmware. */
  function identify(limitMs: number): DriveIdentity | undefined {
    nowMs += Math.min(limitMs, Math.max(0, drive.readyAtMs(nowMs) - nowMs));
    const found = drive.identify(nowMs);
    if (found) refuseOther(parts.identity, found);
    return found;
  }

  function parkIfReady(kind: 'unload' | 'standby'): void {
    if (drive.readyAtMs(nowMs) > nowMs) return;
    drive.park(nowMs, kind);
    isParked = true;
    const readyAtMs = drive.readyAtMs(nowMs);
    if (Number.isFinite(readyAtMs)) nowMs = Math.max(nowMs, readyAtMs);
  }

  function cyclePower(offMs: number): void {
    parkIfReady('standby');
    const gained = progressOf(state) > state.progressAtCycle;
    // A rest without power counts as time off.
    const leftMs = Math.max(0, offMs - (nowMs - (offSinceMs ?? nowMs)));
    drive.powerCycle(leftMs, nowMs);
    nowMs += leftMs;
    offSinceMs = undefined;
    isParked = false;
    lookAhead = undefined;
    note({ kind: 'power-cycled', gained });
  }

  function rest(restMs: number, why: string, powerOff = false): void {
    if (restMs >= parkRestMs) parkIfReady('standby');
    if (powerOff && reach.power) {
      drive.powerOff(nowMs);
      offSinceMs ??= nowMs;
    }
    nowMs += restMs;
    note({ kind: 'rested', restMs, why });
  }

  function revive(): boolean {
    const { offMs, readyLimitMs, resetLimitMs } = state.policy;
    if (reach.power) cyclePower(offMs);
    const isBack = awaitReady(reach.power ? readyLimitMs : resetLimitMs);
    if (isBack) rest(settleRestMs(state.policy), 'the drive settles');
    return isBack;
  }

  /** Without data every reading is like the first. */
  function compare(extent: Extent, pass: Pass | undefined): void {
    beforeRead(pass, extent);
    const outcome = read('compare', extent, state.policy.patientTimeoutMs, 0);
    if (outcome === 'good') note({ kind: 'compared', ...extent });
  }

  function stopForGood(why: string): JobEnd {
    note({ kind: 'gave-up', why });
    note({ kind: 'blamed', on: 'drive', why: 'the job ends here' });
    if (!reach.power) return { how: 'gave-up', why };
    const leftOff = { by: 'imager', isCertain: true };
    note({ kind: 'powered-off', ...leftOff });
    return { how: 'gave-up', why, leftOff };
  }

  function giveUp(why: string): JobEnd | undefined {
    note({ kind: 'gave-up', why });
    note({ kind: 'blamed', on: 'drive', why });
    const index = state.plan.passIndex;
    if (state.plan.passes[index]?.ifHung !== 'next' || !revive()) return { how: 'gave-up', why };
    note({ kind: 'pass-ended', index });
    return undefined;
  }

  function act(step: JobStep): JobEnd | undefined {
    switch (step.kind) {
      case 'read':
        readPass(step.extent, step.pass);
        return;
      case 'start-pass': {
        const { before, name } = step.pass;
        if (before.kind === 'rest') rest(before.restMs, `before ${name}`);
        if (before.kind === 'power-cycle' && reach.power) revive();
        note({ kind: 'pass-started', index: step.index, name });
        return;
      }
      case 'end-pass':
      case 'learn-physical':
      case 'price':
      case 'go-back':
      case 'classify':
      case 'trouble':
        note(eventOf(step));
        return;
      case 'row-rest':
        parkIfReady('unload');
        nowMs += step.restMs;
        note({ kind: 'rested', restMs: step.restMs, why: step.why });
        return;
      case 'reference':
        identify(identifyWaitMs);
        readReference(step.attempt, step.timeoutMs);
        return;
      case 'reset':
        drive.reset(step.reset, nowMs);
        if (step.reset !== 'abort') lookAhead = undefined;
        note({ kind: 'reset', reset: step.reset, ok: true });
        return;
      case 'hold':
        note({ kind: 'held', limitMs: step.limitMs });
        return;
      case 'await-ready':
        awaitReady(step.limitMs);
        return;
      case 'power-cycle':
        cyclePower(step.offMs);
        return;
      case 'rest':
        rest(step.restMs, step.why, step.powerOff);
        return;
      case 'blame':
        note({ kind: 'blamed', on: step.on, why: step.why });
        return;
      case 'give-up':
        return step.powerOff ? stopForGood(step.why) : giveUp(step.why);
      case 'compare':
        compare(step.extent, step.pass);
        return;
      case 'stop':
        note({ kind: 'gave-up', why: step.why });
        return { how: 'gave-up', why: step.why };
      case 'finished':
        return { how: 'finished', why: 'every pass is done' };
      case 'idle':
      case 'wait':
      // A rehearsed drive has no temperature.
      case 'take-temperature':
      case 'cool':
        throw new Error(`'${step.kind}' with nothing under way`);
    }
  }

  function loop(): JobEnd {
    for (;;) {
      if (nowMs >= endMs) return { how: 'interrupted', why: 'the time is over' };
      const end = act(decide(state, [], reach));
      if (end) return end;
    }
  }

  try {
    return loop();
  } catch (error) {
    // A real job throws the second; in a rehearsal it is one more way to end.
    if (isLastspinError(error, 'FIRMWARE_FAILED') || isLastspinError(error, 'DRIVE_CHANGED'))
      return stopForGood(error.message);
    throw error;
  }
}
