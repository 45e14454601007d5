import type { Clock } from '../clock.js';
import {
  type Drive,
  type DriveIdentity,
  isMediumError,
  type ReadRequest,
  type ReadResult,
} from '../drive/drive.js';
import { describeFault } from '../drive/fault.js';
import { LastspinError, reasonOf } from '../errors.js';
import type { Extent } from '../map/extent.js';
import { statuses } from '../map/status.js';
import type { ReadEvent } from '../plan/events.js';
import { type Pass, slowLimitMs } from '../plan/pass.js';
import { referenceExtent } from '../plan/reference.js';
import type { Reach } from '../power/ladder.js';
import type { Power } from '../power/power.js';
import { decide, type JobStep } from './decide.js';
import type { JobEvent, JobEventBody } from './events.js';
import type { Recorder } from './recorder.js';
import { foldJob, type JobState } from './state.js';

/** Everything with effects that a job needs. */
export interface JobParts {
  readonly drive: Drive;
  /** Switches in order of preference; the next is tried when one fails. */
  readonly powers: readonly Power[];
  readonly image: { write(lba: number, data: Uint8Array): Promise<void> };
  readonly recorder: Recorder;
  readonly clock: Clock;
  /** The drive that this job is about; another one is refused. */
  readonly identity: DriveIdentity;
  /** Told of every event after it was folded. Must not throw. */
  readonly onEvent: (event: JobEvent, state: JobState) => void;
}

export interface JobEnd {
  readonly how: 'finished' | 'gave-up' | 'interrupted';
  readonly why: string;
}

interface InFlight {
  readonly extent: Extent;
  readonly result: Promise<ReadResult>;
}

/** How often readiness is asked for while a drive comes back: the wait it adds is at most this. */
const readinessPollMs = 250;
/** How long an interrupted job waits for reads under way. */
const drainLimitMs = 3000;
/** A rest at least this long parks the heads. */
const parkRestMs = 10_000;

/** The one loop with effects: asks what to do, does it, and folds what came of it. Ends when the plan is
 * finished, when the drive hangs beyond policy, or when `signal` aborts; the map is saved in every case,
 * also when it throws (broken link, full disk, another drive). */
export async function runJob(
  parts: JobParts,
  state: JobState,
  signal: AbortSignal,
): Promise<JobEnd> {
  const { drive, powers, clock, recorder } = parts;
  const reach: Reach = { resets: drive.capabilities.resets, power: powers.length > 0 };
  const flight: InFlight[] = [];
  let flightSectors = 0;
  let batch = 0;
  let batchStopped = false;

  function note(body: JobEventBody): void {
    const event = { ...body, atMs: clock.now() } as JobEvent;
    foldJob(state, event);
    recorder.record(event);
    parts.onEvent(event, state);
  }

  function submit(extent: Extent, pass: Pass): void {
    if (flight.length === 0) {
      batch += 1;
      batchStopped = false;
    }
    const result = drive.read(passRequest(extent, pass, batch, state.plan.sectorBytes));
    // It is awaited when its turn comes; until then a rejection must not count as unhandled.
    result.catch(() => {});
    flight.push({ extent, result });
    flightSectors += extent.count;
  }

  async function settleOldest(): Promise<void> {
    const oldest = flight.shift();
    if (!oldest) return;
    flightSectors -= oldest.extent.count;
    const result = await oldest.result;
    if (result.goodCount > 0) await parts.image.write(oldest.extent.lba, result.data);
    const event = readEvent('pass', oldest.extent, result);
    const pass = state.plan.passes[state.plan.passIndex];
    if (endsBatch(event, pass)) batchStopped = true;
    note(event);
  }

  function hasRoom(extent: Extent): boolean {
    const { inFlightMax, inFlightBytesMax } = drive.capabilities;
    if (flight.length === 0) return true;
    if (batchStopped || flight.length >= inFlightMax) return false;
    return (flightSectors + extent.count) * state.plan.sectorBytes <= inFlightBytesMax;
  }

  async function loop(): Promise<JobEnd> {
    for (;;) {
      if (signal.aborted) return { how: 'interrupted', why: 'interrupted' };
      recorder.tick();
      const step = decide(
        state,
        flight.map((read) => read.extent),
        reach,
      );
      if (step.kind === 'read' && hasRoom(step.extent)) {
        submit(step.extent, step.pass);
      } else if (flight.length > 0) {
        await settleOldest();
      } else {
        if (recorder.checkpointDue()) await recorder.checkpoint(state);
        const end = await act(step);
        if (end) return end;
      }
      if (flight.length === 0 && recorder.checkpointDue()) await recorder.checkpoint(state);
    }
  }

  /** Every step but reading ahead; nothing is under way here. */
  async function act(step: JobStep): Promise<JobEnd | undefined> {
    switch (step.kind) {
      case 'read':
        submit(step.extent, step.pass);
        return undefined;
      case 'wait':
        throw new Error('the planner waits although nothing is under way');
      case 'start-pass':
        await beforePass(step.pass);
        note({ kind: 'pass-started', index: step.index, name: step.pass.name });
        return undefined;
      case 'end-pass':
        note({ kind: 'pass-ended', index: step.index });
        return undefined;
      case 'classify':
        note({ kind: 'classified', ...step.extent, status: step.status });
        return undefined;
      case 'trouble':
        note({ kind: 'trouble', why: step.why, from: step.from });
        return undefined;
      case 'reference':
        await readReference(step.attempt, step.timeoutMs);
        return undefined;
      case 'reset':
        await reset(step.reset);
        return undefined;
      case 'await-ready':
        await awaitReady(step.limitMs);
        return undefined;
      case 'power-cycle':
        await powerCycle(step.offMs);
        return undefined;
      case 'rest':
        await rest(step.restMs, step.why, step.powerOff);
        return undefined;
      case 'blame':
        note({ kind: 'blamed', on: step.on, why: step.why });
        return undefined;
      case 'give-up':
        return giveUp(step.why);
      case 'finished':
        return { how: 'finished', why: 'every pass is done' };
    }
  }

  async function readReference(attempt: number, timeoutMs: number): Promise<void> {
    const extent = referenceExtent(state.plan, attempt);
    batch += 1;
    const stopOn = { fault: true, slow: false, timeout: true };
    const result = await drive.read({ extent, timeoutMs, slowMs: 0, stopOn, batch });
    note(readEvent('reference', extent, result));
  }

  async function reset(kind: 'abort' | 'soft' | 'hard'): Promise<void> {
    await drive.reset(kind);
    note({ kind: 'reset', reset: kind, ok: true });
  }

  /** Polls until the drive answers, and makes sure that it is the same drive. */
  async function awaitReady(limitMs: number): Promise<void> {
    const fromMs = clock.now();
    for (;;) {
      const readiness = await drive.readiness();
      const identity =
        readiness === 'ready' || readiness === 'unknown' ? await drive.identify(signal) : undefined;
      const waitedMs = clock.now() - fromMs;
      if (identity) {
        refuseOther(parts.identity, identity);
        note({ kind: 'ready', ok: true, waitedMs });
        return;
      }
      if (waitedMs >= limitMs) {
        note({ kind: 'ready', ok: false, waitedMs });
        return;
      }
      await clock.sleep(readinessPollMs, signal);
    }
  }

  /** STANDBY first where the drive still answers: an emergency unload wears like a hundred normal ones. */
  async function parkIfReady(): Promise<void> {
    if (!drive.capabilities.park) return;
    if ((await drive.readiness()) === 'ready') await drive.park();
  }

  async function powerCycle(offMs: number): Promise<void> {
    await parkIfReady();
    const gained = state.plan.map.countOf(statuses.finished) > state.finishedAtCycle;
    let failure: unknown;
    for (const power of powers) {
      try {
        await power.cycle(offMs, signal);
        note({ kind: 'power-cycled', ok: true, gained });
        return;
      } catch (error) {
        if (signal.aborted) throw error;
        note({ kind: 'power-failed', power: power.name, why: reasonOf(error) });
        failure = error;
      }
    }
    throw failure;
  }

  async function rest(restMs: number, why: string, powerOff: boolean): Promise<void> {
    const holder = powerOff ? powers.find((power) => power.canHold) : undefined;
    if (restMs >= parkRestMs) await parkIfReady();
    if (holder) await holder.set(false, signal);
    await clock.sleep(restMs, signal);
    note({ kind: 'rested', restMs, why });
  }

  async function beforePass({ before, name }: Pass): Promise<void> {
    if (before.kind === 'rest') await rest(before.restMs, `before ${name}`, false);
    if (before.kind === 'power-cycle' && powers.length > 0) {
      await powerCycle(state.policy.offMs);
      await awaitReady(state.policy.readyLimitMs);
      await clock.sleep(state.policy.settleMs, signal);
    }
  }

  /** A drive that stays hung ends the job, or only the pass where its row says so. */
  function giveUp(why: string): JobEnd | undefined {
    note({ kind: 'gave-up', why });
    const index = state.plan.passIndex;
    if (state.plan.passes[index]?.ifHung !== 'next') return { how: 'gave-up', why };
    note({ kind: 'blamed', on: 'drive', why });
    note({ kind: 'pass-ended', index });
    return undefined;
  }

  /** Takes in what reads under way still bring, for a bounded time. */
  async function drain(): Promise<void> {
    if (flight.length === 0) return;
    if (drive.capabilities.resets.has('abort')) await drive.reset('abort');
    const limit = new AbortController();
    const expired = clock.sleep(drainLimitMs, limit.signal).catch(() => {});
    await Promise.race([expired, drainAll()]);
    limit.abort();
  }

  async function drainAll(): Promise<void> {
    while (flight.length > 0) await settleOldest();
  }

  let end: JobEnd | undefined;
  try {
    end = await loop().catch((error: unknown): JobEnd => {
      if (signal.aborted) return { how: 'interrupted', why: 'interrupted' };
      throw error;
    });
    if (end.how === 'interrupted') await drain();
    return end;
  } catch (error) {
    note({ kind: 'ended', how: 'failed', why: reasonOf(error) });
    throw error;
  } finally {
    if (end) note({ kind: 'ended', ...end });
    await recorder.checkpoint(state);
  }
}

function passRequest(extent: Extent, pass: Pass, batch: number, sectorBytes: number): ReadRequest {
  return {
    extent,
    timeoutMs: pass.timeoutMs,
    slowMs: slowLimitMs(pass, extent.count, sectorBytes),
    stopOn: { fault: true, slow: pass.onSlow !== 'go-on', timeout: true },
    batch,
  };
}

function endsBatch(event: ReadEvent, pass: Pass | undefined): boolean {
  if (event.outcome === 'good') return false;
  return event.outcome !== 'slow' || pass?.onSlow !== 'go-on';
}

/** What a result says, without its data. */
export function readEvent(role: ReadEvent['role'], extent: Extent, result: ReadResult): ReadEvent {
  const { fault } = result;
  return {
    kind: 'read',
    role,
    lba: extent.lba,
    count: extent.count,
    outcome: result.kind,
    goodCount: result.goodCount,
    elapsedMs: result.elapsedMs,
    ...(fault && {
      cause: isMediumError(fault) ? 'medium' : 'unexplained',
      detail: describeFault(fault),
    }),
    ...(fault?.lba !== undefined && { faultLba: fault.lba }),
  };
}

/** Throws DRIVE_CHANGED unless model, serial, capacity and sector size are the same. */
export function refuseOther(expected: DriveIdentity, found: DriveIdentity): void {
  const keys = ['model', 'serial', 'sectorCount', 'sectorBytes'] as const;
  const differs = keys.find((key) => expected[key] !== found[key]);
  if (!differs) return;
  throw new LastspinError(
    'DRIVE_CHANGED',
    `another drive answers: ${differs} is ${found[differs]}, expected ${expected[differs]}; connect ${expected.model} ${expected.serial} and run the same command again`,
  );
}
