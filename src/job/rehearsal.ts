import type { Extent } from '../map/extent.js';
import type { ReadEvent } from '../plan/events.js';
import { type Pass, slowLimitMs } from '../plan/pass.js';
import { referenceExtent } from '../plan/reference.js';
import type { Reach } from '../power/ladder.js';
import { decide, type JobStep } from './decide.js';
import type { JobEvent, JobEventBody } from './events.js';
import type { JobEnd } from './job.js';
import { foldJob, type JobState, progressOf } from './state.js';

/** A drive that answers at once and says how long it would have taken. */
export interface RehearsedDrive {
  /** What a read becomes: as `ReadEvent` has it, but for what was asked and why. */
  read(extent: Extent, timeoutMs: number, nowMs: number): RehearsedRead;
  reset(kind: 'abort' | 'soft' | 'hard', nowMs: number): void;
  powerCycle(offMs: number, nowMs: number): void;
  park(nowMs: number): void;
  /** When the drive will be ready if it is left alone; Infinity = never. */
  readyAtMs(nowMs: number): number;
}

export type RehearsedRead = Pick<
  ReadEvent,
  'goodCount' | 'elapsedMs' | 'cause' | 'faultLba' | 'detail'
> & { readonly outcome: 'good' | 'fault' | 'timeout' | 'gone' };

export interface RehearsalParts {
  readonly drive: RehearsedDrive;
  readonly reach: Reach;
  /** Told of every event after it was folded. */
  readonly onEvent?: (event: JobEvent, state: JobState) => void;
  /** Ends the rehearsal there; absent: only the plan ends it. */
  readonly durationMaxMs?: number;
}

/** A rest at least this long parks the heads, as in a real job. */
const parkRestMs = 10_000;

/** Runs a whole job as fast as the arithmetic: the decisions of the real one, without waiting, without data,
 * one read at a time. Times are the drive's own. Returns how it ended. */
export function rehearse(state: JobState, parts: RehearsalParts): JobEnd {
  const { drive } = parts;
  let nowMs = state.atMs;

  function note(body: JobEventBody): void {
    const event = { ...body, atMs: nowMs } as JobEvent;
    foldJob(state, event);
    parts.onEvent?.(event, state);
  }

  function read(
    role: ReadEvent['role'],
    extent: Extent,
    timeoutMs: number,
    slowMs: number,
  ): RehearsedRead {
    const result = drive.read(extent, timeoutMs, nowMs);
    nowMs += result.elapsedMs;
    const isSlow = result.outcome === 'good' && slowMs > 0 && result.elapsedMs > slowMs;
    note({ kind: 'read', role, ...extent, ...result, ...(isSlow && { outcome: 'slow' as const }) });
    return result;
  }

  function readPass(extent: Extent, pass: Pass): void {
    const slowMs = slowLimitMs(pass, extent.count, state.plan.sectorBytes);
    read('pass', extent, pass.timeoutMs, slowMs);
  }

  function awaitReady(limitMs: number): boolean {
    const waitedMs = Math.min(limitMs, Math.max(0, drive.readyAtMs(nowMs) - nowMs));
    const ok = waitedMs < limitMs;
    nowMs += waitedMs;
    note({ kind: 'ready', ok, waitedMs });
    return ok;
  }

  function cyclePower(offMs: number): void {
    const gained = progressOf(state) > state.progressAtCycle;
    drive.powerCycle(offMs, nowMs);
    nowMs += offMs;
    note({ kind: 'power-cycled', gained });
  }

  function rest(restMs: number, why: string): void {
    if (restMs >= parkRestMs) drive.park(nowMs);
    nowMs += restMs;
    note({ kind: 'rested', restMs, why });
  }

  function revive(): boolean {
    const { offMs, readyLimitMs, resetLimitMs, settleMs } = state.policy;
    if (parts.reach.power) cyclePower(offMs);
    const isBack = awaitReady(parts.reach.power ? readyLimitMs : resetLimitMs);
    if (isBack) rest(settleMs, 'the drive settles');
    return isBack;
  }

  /** Without data every reading is like the first. */
  function compare(extent: Extent): void {
    const { outcome } = read('compare', extent, state.policy.patientTimeoutMs, 0);
    if (outcome === 'good') note({ kind: 'compared', ...extent });
  }

  function stopForGood(why: string): JobEnd {
    note({ kind: 'gave-up', why });
    note({ kind: 'blamed', on: 'drive', why: 'the job ends here' });
    if (parts.reach.power) note({ kind: 'powered-off' });
    return { how: 'gave-up', why };
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
        if (before.kind === 'power-cycle' && parts.reach.power) revive();
        note({ kind: 'pass-started', index: step.index, name });
        return;
      }
      case 'end-pass':
        note({ kind: 'pass-ended', index: step.index });
        return;
      case 'learn-physical':
        note({ kind: 'physical-learned', count: step.count });
        return;
      case 'price':
        note({ kind: 'priced', price: step.price, lba: step.lba });
        return;
      case 'go-back':
        note({ kind: 'went-back', ...step.extent });
        return;
      case 'row-rest':
        rest(step.restMs, step.why);
        return;
      case 'classify':
        note({ kind: 'classified', ...step.extent, status: step.status });
        return;
      case 'trouble':
        note({ kind: 'trouble', why: step.why, from: step.from });
        return;
      case 'reference':
        read('reference', referenceExtent(state.plan, step.attempt), step.timeoutMs, 0);
        return;
      case 'reset':
        drive.reset(step.reset, nowMs);
        note({ kind: 'reset', reset: step.reset, ok: true });
        return;
      case 'await-ready':
        awaitReady(step.limitMs);
        return;
      case 'power-cycle':
        cyclePower(step.offMs);
        return;
      case 'rest':
        rest(step.restMs, step.why);
        return;
      case 'blame':
        note({ kind: 'blamed', on: step.on, why: step.why });
        return;
      case 'give-up':
        return step.powerOff ? stopForGood(step.why) : giveUp(step.why);
      case 'compare':
        compare(step.extent);
        return;
      case 'stop':
        note({ kind: 'gave-up', why: step.why });
        return { how: 'gave-up', why: step.why };
      case 'finished':
        return { how: 'finished', why: 'every pass is done' };
      case 'idle':
      case 'wait':
        throw new Error(`'${step.kind}' with nothing under way`);
    }
  }

  for (;;) {
    if (nowMs >= (parts.durationMaxMs ?? Number.POSITIVE_INFINITY))
      return { how: 'interrupted', why: 'the time is over' };
    const end = act(decide(state, [], parts.reach));
    if (end) return end;
  }
}
