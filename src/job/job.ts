import { isLastspinError, reasonOf } from '../errors.js';
import { referenceExtent } from '../plan/reference.js';
import type { Reach } from '../power/ladder.js';
import { decide, type JobStep } from './decide.js';
import type { JobEvent } from './events.js';
import { createFlight, type Flight } from './flight.js';
import type { JobParts, Note } from './parts.js';
import { createRemedies, type Remedies } from './remedies.js';
import { foldJob, type JobState } from './state.js';

export interface JobEnd {
  readonly how: 'finished' | 'gave-up' | 'interrupted';
  readonly why: string;
}

interface Job {
  readonly parts: JobParts;
  readonly state: JobState;
  readonly note: Note;
  readonly flight: Flight;
  readonly remedies: Remedies;
  readonly signal: AbortSignal;
}

/** How long an interrupted job waits for reads under way. */
const drainLimitMs = 3000;

const interrupted: JobEnd = { how: 'interrupted', why: 'interrupted' };

/** Images until the plan is finished, the drive hangs beyond policy, or `signal` aborts. The map is saved
 * in every case, also when this throws (broken link, another drive, a failed switch), unless its own
 * disk is what failed: then the journal has what was durable. */
export async function runJob(
  parts: JobParts,
  state: JobState,
  signal: AbortSignal,
): Promise<JobEnd> {
  let over = false;
  const note: Note = (body) => {
    // What the imager says after the end is nobody's any more.
    if (over) return;
    const event = { ...body, atMs: parts.clock.now() } as JobEvent;
    foldJob(state, event);
    parts.recorder.record(event);
    parts.onEvent(event, state);
  };
  const flight = createFlight(parts, state, note);
  const remedies = createRemedies(parts, state, note, signal);
  const job: Job = { parts, state, note, flight, remedies, signal };
  parts.drive.onNotice?.((text) => note({ kind: 'noticed', text }));
  note({ kind: 'started', resumed: parts.resumed, ...parts.names });
  if (parts.isTrusted) note({ kind: 'noticed', text: 'data is taken as it comes (--trust-data)' });
  let end: JobEnd | undefined;
  let failure: { readonly error: unknown } | undefined;
  try {
    end = await loop(job).catch((error: unknown) => {
      if (signal.aborted) return interrupted;
      if (isLastspinError(error, 'FIRMWARE_FAILED'))
        return stopForGood(note, remedies, reasonOf(error));
      throw error;
    });
    if (end.how === 'interrupted') await drain(job);
  } catch (error) {
    failure = { error };
  }
  // Who ends in the middle of trouble never learned who was to blame: nobody is.
  if (state.plan.suspect || state.trouble.why !== undefined) {
    note({ kind: 'blamed', on: 'drive', why: 'the job ended before the verdict' });
  }
  note({ kind: 'ended', ...(end ?? { how: 'failed', why: reasonOf(failure?.error) }) });
  over = true;
  try {
    await parts.recorder.checkpoint(state);
  } catch (error) {
    failure ??= { error };
  }
  if (failure || !end) throw failure?.error;
  return end;
}

/** Asks what to do, does it, and folds what came of it. */
async function loop(job: Job): Promise<JobEnd> {
  const { parts, state, flight, signal } = job;
  const reach: Reach = { resets: parts.drive.capabilities.resets, power: parts.powers.length > 0 };
  for (;;) {
    if (signal.aborted) return interrupted;
    parts.recorder.tick();
    if (parts.recorder.checkpointDue()) await parts.recorder.checkpoint(state);
    const underWay = flight.extents();
    const step = decide(state, underWay, reach);
    if (step.kind === 'read' && flight.hasRoom(step.extent)) {
      flight.submit(step.extent, step.pass);
    } else if (underWay.length > 0) {
      // A read may take fifteen seconds; who presses Ctrl-C shall not wait for it.
      await unlessAborted(flight.settleOldest(), signal);
    } else {
      const end = await unlessAborted(act(job, step), signal);
      if (end) return end;
    }
  }
}

/** What the promise becomes, or undefined as soon as the signal aborts. Not a race with one lasting promise:
 * that one would remember every read of the job. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const onAbort = () => resolve(undefined);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const forget = () => signal.removeEventListener('abort', onAbort);
    promise.then(
      (value) => {
        forget();
        resolve(value);
      },
      (error: unknown) => {
        forget();
        reject(error);
      },
    );
  });
}

/** Every step but reading; nothing is under way here. */
async function act(
  { state, note, flight, remedies }: Job,
  step: JobStep,
): Promise<JobEnd | undefined> {
  switch (step.kind) {
    case 'read':
    case 'wait':
      throw new Error(`'${step.kind}' with nothing under way`);
    case 'start-pass':
      await remedies.prepare(step.pass);
      note({ kind: 'pass-started', index: step.index, name: step.pass.name });
      return;
    case 'end-pass':
      note({ kind: 'pass-ended', index: step.index });
      return;
    case 'classify':
      note({ kind: 'classified', ...step.extent, status: step.status });
      return;
    case 'trouble':
      note({ kind: 'trouble', why: step.why, from: step.from });
      return;
    case 'reference':
      await remedies.checkIdentity();
      return flight
        .probe(referenceExtent(state.plan, step.attempt), step.timeoutMs)
        .then(() => undefined);
    case 'reset':
      await remedies.reset(step.reset);
      return;
    case 'await-ready':
      await remedies.awaitReady(step.limitMs);
      return;
    case 'power-cycle':
      await remedies.cyclePower(step.offMs);
      return;
    case 'rest':
      await remedies.rest(step.restMs, step.why, step.powerOff);
      return;
    case 'blame':
      note({ kind: 'blamed', on: step.on, why: step.why });
      return;
    case 'give-up':
      if (step.powerOff) return stopForGood(note, remedies, step.why);
      return giveUp(state, note, remedies, step.why);
    case 'compare':
      return flight.compare(step.extent, state.policy.patientTimeoutMs).then(() => undefined);
    case 'stop':
      note({ kind: 'gave-up', why: step.why });
      return { how: 'gave-up', why: step.why };
    case 'finished':
      return { how: 'finished', why: 'every pass is done' };
  }
}

/** A drive that would only wear ends the job, and its power stays off. */
async function stopForGood(note: Note, remedies: Remedies, why: string): Promise<JobEnd> {
  note({ kind: 'gave-up', why });
  note({ kind: 'blamed', on: 'drive', why: 'the job ends here' });
  await remedies.powerOff();
  return { how: 'gave-up', why };
}

/** A drive that stays hung ends the job, or only the pass where its row says so and a last power cycle
 * brings it back. */
async function giveUp(
  state: JobState,
  note: Note,
  remedies: Remedies,
  why: string,
): Promise<JobEnd | undefined> {
  note({ kind: 'gave-up', why });
  note({ kind: 'blamed', on: 'drive', why });
  const index = state.plan.passIndex;
  if (state.plan.passes[index]?.ifHung !== 'next') return { how: 'gave-up', why };
  if (!(await remedies.revive())) return { how: 'gave-up', why };
  note({ kind: 'pass-ended', index });
  return undefined;
}

/** Takes in what reads under way still bring, for a bounded time. */
async function drain({ parts, flight }: Job): Promise<void> {
  if (!flight.isBusy()) return;
  if (parts.drive.capabilities.resets.has('abort')) await parts.drive.reset('abort');
  const limit = new AbortController();
  const settled = (async () => {
    while (flight.extents().length > 0 && !limit.signal.aborted) await flight.settleOldest();
  })();
  settled.catch(() => {});
  await Promise.race([settled, parts.clock.sleep(drainLimitMs, limit.signal).catch(() => {})]);
  limit.abort();
  flight.abandon();
}
