import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import type { Pass } from '../plan/pass.js';
import { referenceExtent } from '../plan/reference.js';
import type { Reach } from '../power/ladder.js';
import type { LeftOff } from '../power/power.js';
import { type Circumstances, createDesk, type Desk } from './control.js';
import { decide, eventOf, type JobStep, suspectOf } from './decide.js';
import { endedBeforeVerdict, type JobEvent } from './events.js';
import { createFlight, type Flight } from './flight.js';
import type { JobParts, Note } from './parts.js';
import { countsOfStatus, roundMs } from './recorded.js';
import { createRemedies, type Remedies } from './remedies.js';
import { foldJob, type JobState } from './state.js';

export interface JobEnd {
  readonly how: 'finished' | 'gave-up' | 'interrupted';
  readonly why: string;
  /** The drive is without power, or may be. */
  readonly leftOff?: LeftOff;
}

interface Job {
  readonly parts: JobParts;
  readonly state: JobState;
  readonly note: Note;
  readonly flight: Flight;
  readonly remedies: Remedies;
  readonly desk: Desk;
  readonly reach: Reach;
  readonly signal: AbortSignal;
  /** Ends the step that is being done. */
  halt: AbortController;
  /** The checkpoint that is being saved. */
  saving: Promise<void> | undefined;
}

/** How long an interrupted job waits for reads under way. */
const drainLimitMs = 3000;
/** How long a read under way may go on before a power cycle that was asked for. */
const graceMs = 1000;

const interrupted: JobEnd = { how: 'interrupted', why: 'interrupted' };
/** Why a step was ended before its time: somebody asked for something else. */
const halted = new Error('halted');

/** Images until the plan is finished, the drive hangs beyond policy, or `signal` aborts. The map is saved
 * in every case, also when this throws (broken link, another drive, a failed switch), unless its own
 * disk is what failed: then the journal has what was durable. */
export async function runJob(
  parts: JobParts,
  state: JobState,
  outerSignal: AbortSignal,
): Promise<JobEnd> {
  let over = false;
  const record: Note = (body) => {
    const event = { ...body, atMs: roundMs(parts.clock.now()) } as JobEvent;
    foldJob(state, event);
    parts.recorder.record(event, state);
    parts.onEvent(event, state);
  };
  const note: Note = (body) => {
    // What the imager says after the end is nobody's any more; the disk may still keep the map from being saved.
    if (!over || body.kind === 'target-full' || body.kind === 'target-again') record(body);
  };
  const job = createJob(parts, state, note, outerSignal);
  const { signal, desk } = job;
  for (const source of [parts.drive, ...parts.powers])
    source.onNotice?.((text) => note({ kind: 'noticed', text }));
  parts.files?.onNotice((text) => record({ kind: 'noticed', text }));
  const { resets, power, temperature = false } = job.reach;
  const reach = { resets: [...resets], power, temperature };
  note({ kind: 'started', resumed: parts.resumed, ...parts.names, reach });
  if (parts.heads !== undefined) note({ kind: 'heads-given', heads: parts.heads });
  if (parts.isTrusted) note({ kind: 'noticed', text: 'data is taken as it comes (--trust-data)' });
  const leaveTarget = attendTarget(job);
  const disconnect = parts.control?.connect((request) => desk.take(request));
  let end: JobEnd | undefined;
  let failure: { readonly error: unknown } | undefined;
  try {
    end = await readAll(job).catch((error: unknown) => {
      if (signal.aborted) return interrupted;
      if (isLastspinError(error, 'FIRMWARE_FAILED')) return stopForGood(job, reasonOf(error));
      throw error;
    });
    if (end.how === 'interrupted') {
      parts.target?.giveUp();
      await drain(job);
    }
  } catch (error) {
    failure = { error };
    await restDrive(job, error);
  }
  disconnect?.();
  desk.close();
  // Who ends in the middle of trouble never learned who was to blame: nobody is.
  if (state.plan.suspect || state.trouble.why !== undefined) {
    note({ kind: 'blamed', on: 'drive', why: endedBeforeVerdict });
  }
  const leftOff = await leftOffOf(job);
  if (leftOff) note({ kind: 'powered-off', ...leftOff });
  const counts = countsOfStatus(state.plan.map);
  note({ kind: 'ended', ...(end ?? { how: 'failed', why: reasonOf(failure?.error) }), counts });
  over = true;
  try {
    await saveAtEnd(job, failure !== undefined);
  } catch (error) {
    failure = { error: unsaved(failure?.error ?? error, signal.aborted) };
  } finally {
    leaveTarget();
  }
  if (failure || !end) throw failure?.error;
  return leftOff ? { ...end, leftOff } : end;
}

/** A switch that does not answer is not waited for: what was done to it is told then. */
async function leftOffOf({ parts, remedies }: Job): Promise<LeftOff | undefined> {
  let leftOff: LeftOff | undefined;
  const asking = remedies.leftOff().then((found) => {
    leftOff = found;
  });
  await within(parts, asking, drainLimitMs);
  return leftOff;
}

/** The errors of the disk that image, map and journal are on. */
const targetErrors = ['IMAGE_SPACE', 'IMAGE_WRITE_FAILED', 'FILE_FAILED'] as const;

function isOfTarget(error: unknown): boolean {
  return targetErrors.some((code) => isLastspinError(error, code));
}

/** A job that its own disk ends leaves the drive parked. */
async function restDrive({ parts, flight, remedies }: Job, error: unknown): Promise<void> {
  if (!isOfTarget(error)) return;
  const park = async () => {
    await flight.answered();
    await remedies.park();
  };
  await within(parts, park(), drainLimitMs).catch(() => {});
}

/** Says what the user has after the map could not be saved. Who interrupts a job whose disk is full gets what was
 * asked for. */
function unsaved(error: unknown, isInterrupted: boolean): unknown {
  if (!isLastspinError(error) || !isOfTarget(error)) return error;
  const left =
    'the map is as it was last saved, and its journal has what was durable since: keep both';
  const message = `${error.message}; ${left}`;
  return isInterrupted && error.code === 'IMAGE_SPACE'
    ? new LastspinError('INTERRUPTED', `interrupted: ${message}`, { cause: error })
    : new LastspinError(error.code, message, { cause: error });
}

/** Tells of a full disk when it fills and when there is room. */
function attendTarget({ parts: { target, clock }, note, desk }: Job): () => void {
  let fullAtMs = clock.now();
  return (
    target?.attend((what) => {
      const full = target.full();
      if (full) fullAtMs = clock.now();
      if (full) note({ kind: 'target-full', ...full });
      if (what === 'again')
        note({ kind: 'target-again', waitedMs: roundMs(clock.now() - fullAtMs) });
      desk.stir();
    }) ?? (() => {})
  );
}

function isFull({ parts }: Job): boolean {
  return parts.target?.full() !== undefined;
}

/** Starts a checkpoint, or joins the one that is being saved. */
function save(job: Job): Promise<void> {
  job.saving ??= job.parts.recorder.checkpoint(job.state).finally(() => {
    job.saving = undefined;
  });
  return job.saving;
}

/** The last checkpoint. It waits for room with the drive parked, unless the job failed or somebody wants to leave. */
async function saveAtEnd(job: Job, hasFailed: boolean): Promise<void> {
  const { parts, signal } = job;
  await job.saving?.catch(() => {});
  if (hasFailed || signal.aborted) parts.target?.giveUp();
  const saving = parts.recorder.checkpoint(job.state);
  while (!signal.aborted && !(await unlessStirred(job, saving))) {
    if (isFull(job)) await perform(job, { kind: 'await-room' });
  }
  if (signal.aborted) parts.target?.giveUp();
  await saving;
}

function createJob(parts: JobParts, state: JobState, note: Note, outerSignal: AbortSignal): Job {
  const stop = new AbortController();
  const signal = AbortSignal.any([outerSignal, stop.signal]);
  const job: Job = {
    parts,
    state,
    note,
    flight: createFlight(parts, state, note),
    remedies: createRemedies(parts, state, note, () => job.halt.signal),
    desk: createDesk(state, note, () => stop.abort(new Error('stopped'))),
    reach: {
      resets: parts.drive.capabilities.resets,
      power: parts.powers.length > 0,
      temperature: parts.drive.temperature !== undefined,
    },
    signal,
    halt: new AbortController(),
    saving: undefined,
  };
  return job;
}

/** Somebody who changes the image more often than this while it is written is not outrun. */
const looksMax = 3;

/** Goes on until there is nothing more to do and the image holds what was read, as far as a look at it tells. Who
 * interrupts does not wait for that. */
async function readAll(job: Job): Promise<JobEnd> {
  const { parts, note, signal } = job;
  for (let looks = 1; ; looks++) {
    const end = await loop(job);
    if (end.how === 'interrupted') return end;
    const loss = await parts.image.lookBack?.(signal);
    if (!loss) return end;
    note(loss);
    if (end.how !== 'finished') return end;
    if (looks < looksMax) continue;
    throw new LastspinError(
      'IMAGE_MISMATCH',
      `something goes on changing ${parts.names.image} while it is in use; end that, and run the same command again`,
    );
  }
}

/** Asks what to do, does it, and folds what came of it. */
async function loop(job: Job): Promise<JobEnd> {
  const { parts, state, flight, desk, signal } = job;
  await job.remedies.countCycles();
  for (;;) {
    if (signal.aborted) return interrupted;
    parts.recorder.tick();
    if (isFull(job)) {
      await perform(job, { kind: 'await-room' });
      continue;
    }
    if (!desk.isEmpty()) {
      await attendDesk(job);
      continue;
    }
    if (job.saving || parts.recorder.checkpointDue()) {
      await unlessStirred(job, save(job));
      continue;
    }
    const underWay = flight.extents();
    const step = decide(state, underWay, job.reach);
    const isRead = step.kind === 'read' || step.kind === 'compare';
    const first = isRead && step.pass ? beforeRead(job, step.pass) : undefined;
    if (first && underWay.length === 0) {
      await perform(job, first);
    } else if (step.kind === 'read' && !first && flight.hasRoom(step.extent)) {
      flight.submit(step.extent, step.pass);
    } else if (underWay.length > 0) {
      // A read may take fifteen seconds; who presses Ctrl-C shall not wait for it.
      await unlessStirred(job, flight.settleOldest());
    } else {
      const end = await perform(job, step);
      if (end) return end;
    }
  }
}

/** What must be done before the next read can be sent. */
function beforeRead({ remedies, flight }: Job, pass: Pass): Act | undefined {
  if (remedies.mustTune(pass)) return { kind: 'tune-drive', pass };
  // The first read after the heads were parked takes far longer than its row allows.
  if (remedies.isParked()) return { kind: 'wake' };
  const waitMs = flight.paceMs(pass);
  return waitMs > 0 ? { kind: 'pace', waitMs } : undefined;
}

/** Gets to what was asked for as soon as nothing is under way. */
async function attendDesk(job: Job): Promise<void> {
  const { flight, desk } = job;
  if (desk.has('power-cycle')) await hurry(job, graceMs);
  else if (flight.isBusy()) await unlessStirred(job, flight.settleOldest());
  if (!flight.isBusy()) desk.answerAll(circumstancesOf(job));
}

function circumstancesOf(job: Job): Circumstances {
  const { reach, remedies } = job;
  return { hasPower: reach.power, isCycling: remedies.isCycling(), isFull: isFull(job) };
}

/** What the promise becomes, or undefined as soon as somebody asks for something or the signal aborts. Not a
 * race with one lasting promise: that one would remember every read of the job. */
function unlessStirred<T>(
  { desk, signal }: Job,
  promise: Promise<T>,
): Promise<{ value: T } | undefined> {
  return new Promise((resolve, reject) => {
    const onStir = () => {
      forget();
      resolve(undefined);
    };
    const unlisten = desk.onStir(onStir);
    const forget = () => {
      signal.removeEventListener('abort', onStir);
      unlisten();
    };
    if (signal.aborted) onStir();
    else signal.addEventListener('abort', onStir, { once: true });
    promise.then(
      (value) => {
        forget();
        resolve({ value });
      },
      (error: unknown) => {
        forget();
        reject(error);
      },
    );
  });
}

/** Steps, and what the way to the drive asks for between them. */
type Act =
  | JobStep
  /** Leave the drive alone until the disk has room. */
  | { readonly kind: 'await-room' }
  | { readonly kind: 'wake' }
  | { readonly kind: 'tune-drive'; readonly pass: Pass }
  | { readonly kind: 'pace'; readonly waitMs: number };

/** Does a step, and meanwhile whatever is asked for; ends it early where that cannot wait. */
async function perform(job: Job, step: Act): Promise<JobEnd | undefined> {
  const { desk, signal, flight } = job;
  const halt = new AbortController();
  job.halt = halt;
  const onAbort = () => halt.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const acting = act(job, step);
  try {
    for (;;) {
      const done = await unlessStirred(job, acting);
      if (done) return done.value;
      // Its power must not stay on.
      if (signal.aborted) return endsInOff(step) ? await acting : undefined;
      if (!mustHalt(job, step)) {
        desk.answerAll(circumstancesOf(job));
        continue;
      }
      halt.abort(halted);
      acting.catch(() => {});
      // What the drive answered meanwhile is taken in now.
      if (step.kind === 'await-room') return undefined;
      if (flight.isBusy()) await hurry(job, graceMs);
      else await acting.catch(unlessHalted);
      return undefined;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function unlessHalted(error: unknown): undefined {
  if (error !== halted) throw error;
}

function endsInOff(step: Act): boolean {
  return step.kind === 'give-up' && step.powerOff === true;
}

/** Whether what was asked for cannot wait until the step is done. */
function mustHalt(job: Job, step: Act): boolean {
  const { desk, remedies } = job;
  if (step.kind === 'await-room') return !isFull(job);
  if (step.kind === 'idle' || step.kind === 'pace') return true;
  if (endsInOff(step)) return false;
  if (remedies.isCycling()) return false;
  if (desk.has('power-cycle')) return true;
  return (step.kind === 'start-pass' || step.kind === 'row-rest') && desk.has('step-on');
}

/** Every step but reading; nothing is under way here. */
async function act(job: Job, step: Act): Promise<JobEnd | undefined> {
  const { state, note, flight, remedies } = job;
  switch (step.kind) {
    case 'read':
    case 'wait':
      throw new Error(`'${step.kind}' with nothing under way`);
    case 'start-pass':
      await remedies.prepare(step.pass);
      note({ kind: 'pass-started', index: step.index, name: step.pass.name });
      return;
    case 'end-pass':
    case 'learn-physical':
    case 'price':
    case 'go-back':
    case 'classify':
    case 'trouble':
      note(eventOf(step, state));
      return;
    case 'reference':
      remedies.wasWoken();
      await remedies.checkIdentity();
      await flight.probe(referenceExtent(state.plan, step.attempt), step.timeoutMs);
      return;
    case 'wake': {
      remedies.wasWoken();
      const attempt = state.trouble.references;
      await flight.probe(referenceExtent(state.plan, attempt), state.policy.readyLimitMs);
      return;
    }
    case 'await-room': {
      const { signal } = job.halt;
      await flight.answered();
      // Whoever goes on does not wait for this.
      signal.throwIfAborted();
      await remedies.idle();
      return;
    }
    case 'idle':
      await Promise.all([save(job), remedies.idle()]);
      return;
    case 'reset':
      await remedies.reset(step.reset);
      return;
    case 'await-ready':
      await remedies.awaitReady(step.limitMs);
      return;
    case 'hold':
      remedies.hold(step.limitMs);
      // It may be the last that this run does.
      await unlessStirred(job, save(job));
      return;
    case 'power-cycle':
      await remedies.cyclePower(step.offMs, step.why);
      return;
    case 'rest':
      await remedies.rest(step.restMs, step.why, step.powerOff);
      return;
    case 'take-temperature':
      await remedies.takeTemperature();
      return;
    case 'cool':
      await remedies.cool(step.restMs, step.why, step.powerOff);
      return;
    case 'row-rest':
      await remedies.restParked(step.restMs, step.why);
      return;
    case 'pace':
      await job.parts.clock.sleep(step.waitMs, job.halt.signal);
      return;
    case 'tune-drive':
      await remedies.tuneDrive(step.pass);
      return;
    case 'blame':
      note({ kind: 'blamed', on: step.on, why: step.why, ...suspectOf(state) });
      // Only now is the drive known to be well.
      await remedies.countCycles();
      return;
    case 'give-up':
      if (step.powerOff) return stopForGood(job, step.why);
      return giveUp(state, note, remedies, step.why);
    case 'compare':
      await flight.compare(step.extent, state.policy.patientTimeoutMs, step.pass);
      return;
    case 'stop':
      note({ kind: 'gave-up', why: step.why });
      return { how: 'gave-up', why: step.why };
    case 'finished':
      return { how: 'finished', why: 'every pass is done' };
  }
}

/** A drive that would only wear ends the job, and its power stays off. What was read is safe meanwhile: a switch
 * may be a person who is away. */
async function stopForGood(job: Job, why: string): Promise<JobEnd> {
  const { parts, note, remedies } = job;
  note({ kind: 'gave-up', why });
  note({ kind: 'blamed', on: 'drive', why: 'the job ends here' });
  // It is saved once more at the end, and what that meets is told.
  const saving = save(job).catch(() => {});
  const isOver = await endedLate(job, (signal) => remedies.powerOff(signal));
  await unlessStirred(job, saving);
  if (isOver) return { how: 'gave-up', why };
  for (const { name, canHold } of parts.powers)
    if (canHold) note({ kind: 'power-failed', power: name, why: stillOn });
  return { how: 'gave-up', why };
}

const stillOn = 'the power-off was cut short, the drive may still turn: unplug it';
/** How long a power-off may go on once somebody wants to end. */
const powerOffGraceMs = 10_000;

/** Does what an interrupt must not cut short, unless it takes long: says whether it came to its end. */
async function endedLate(
  { parts, signal }: Job,
  act: (signal: AbortSignal) => Promise<void>,
): Promise<boolean> {
  const limit = new AbortController();
  let cancel = () => {};
  const begin = () => {
    cancel = parts.clock.after(powerOffGraceMs, () => limit.abort(signal.reason));
  };
  if (signal.aborted) begin();
  else signal.addEventListener('abort', begin, { once: true });
  const isLate = new Promise<false>((resolve) =>
    limit.signal.addEventListener('abort', () => resolve(false), { once: true }),
  );
  const acting = act(limit.signal).then(() => true);
  acting.catch(() => {});
  try {
    return await Promise.race([acting, isLate]);
  } finally {
    signal.removeEventListener('abort', begin);
    cancel();
  }
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
  if (!(await remedies.revive(`a last time for this row: ${why}`))) return { how: 'gave-up', why };
  note({ kind: 'pass-ended', index, why: `${why}; the row says to go on with the next` });
  return undefined;
}

/** Takes in what reads under way still bring, for a bounded time. */
async function drain(job: Job): Promise<void> {
  await hurry(job, 0);
  job.flight.abandon();
}

/** Ends the wait for what is under way: after `waitMs` the reads are aborted, and what has not come back soon
 * after that is given up. What came back is kept. */
async function hurry({ parts, flight }: Job, waitMs: number): Promise<void> {
  if (!flight.isBusy()) return;
  if (waitMs > 0) await within(parts, flight.settleAll(), waitMs);
  if (!flight.isBusy()) return;
  if (parts.drive.capabilities.resets.has('abort')) {
    // Bounded as well: the link to the drive may be gone, and somebody may have asked to end.
    await within(parts, parts.drive.reset('abort'), drainLimitMs);
  }
  await within(parts, flight.settleAll(), drainLimitMs);
  if (flight.isBusy()) flight.abandon();
}

/** Waits for the promise, but no longer than that. */
async function within({ clock }: JobParts, promise: Promise<void>, limitMs: number): Promise<void> {
  const limit = new AbortController();
  promise.catch(() => {});
  try {
    await Promise.race([promise, clock.sleep(limitMs, limit.signal).catch(() => {})]);
  } finally {
    limit.abort();
  }
}
