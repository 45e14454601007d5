/** The laptop's link: HELLO, beats, the same session over a new line, and a new session in place of
 * a lost one (PROTOCOL.md clauses H, L). */
import { isLastspinError, LastspinError } from '../src/errors.js';
import { callNow, rejectCalls } from './caller-calls.js';
import {
  type Agreed,
  discardsOf,
  end,
  letGo,
  notify,
  type RequestOf,
  type State,
} from './caller-state.js';
import {
  capabilityBits,
  commands,
  commandsMaxMax,
  frameBytesMin,
  helloMagic,
  protocolVersion,
  sessionLiveMs,
} from './commands.js';
import { ReplyError } from './device.js';
import { frameBytesMaxDefault } from './link.js';
import { encodeMessage } from './message.js';

/** How often the imager is asked how it is while reads are out: soon enough that a lost request
 * costs half a second, seldom enough to cost nothing. It also tells the imager that the laptop is
 * alive. */
const beatMs = 500;
/** Without reads every fourth beat is enough for the imager's watchdog, whose stages are
 * seconds. */
const idleBeatEvery = 4;
/** Beats in a row without a sign of life after which the link is dead: five seconds. */
const silentBeatsMax = 10;

/** HELLO is tried this often, this far apart: three seconds, enough for a board that a port's
 * opening has reset, short enough for someone who chose the wrong port. */
const helloTriesMax = 4;
const helloRetryMs = 750;
/** An imager whose last program ended without a word is free after `sessionLiveMs`. */
const busyTriesMax = Math.ceil((sessionLiveMs + 2000) / 1000);
const busyRetryMs = 1000;

/** A dropped link is tried again this often, this far apart: ten minutes, in which the imager puts a
 * hard drive to standby at most (L-4). */
const relinkTriesMax = 600;
const relinkRetryMs = 1000;

/** Sessions lost in a row without a read that came back: the imager dies of what it is asked. */
const fruitlessRestartsMax = 3;

/** No imager needs more of the laptop's memory, whatever it claims in HELLO. */
const bufferBytesMax = 64 * 1024 * 1024;
const requestsMaxMax = 256;

/** The link is of no use any more: a new one where that is possible, else the end. */
export function drop(state: State, failure: LastspinError): void {
  letGo(state)?.close();
  // A drop while a new link is tried is only a try that failed.
  if (state.phase === 'lost') return;
  const canRelink = state.phase !== 'greeting' && state.options.relink !== undefined;
  if (canRelink) void relink(state, failure);
  else end(state, failure);
}

/** Says HELLO until it is answered. Throws NOT_AN_IMAGER, PROTOCOL_VERSION, LINK_CLOSED, and
 * DEVICE_REFUSED for an imager that another program uses. */
export async function sayHello(state: State): Promise<Agreed> {
  const request: RequestOf<typeof commands.hello> = {
    magic: helloMagic,
    ...protocolVersion,
    frameBytesMax: state.options.frameBytesMax ?? frameBytesMaxDefault,
    session: state.options.session >>> 0,
  };
  let busyTries = 0;
  for (let silentTries = 0; silentTries < helloTriesMax; ) {
    try {
      const agreed = await callNow(state, commands.hello, request, { timeoutMs: helloRetryMs });
      return withinOurLimits(state, agreed, request.frameBytesMax);
    } catch (error) {
      const reply = error instanceof Error ? error.cause : undefined;
      const refusal = reply instanceof ReplyError ? reply : undefined;
      if (refusal?.reply === 'version') throw versionError(state, refusal.message);
      if (refusal?.reply === 'busy') {
        if (++busyTries >= busyTriesMax) throw inUse(state);
        await state.clock.sleep(busyRetryMs);
        continue;
      }
      // Only silence is worth another try.
      if (!(error instanceof LastspinError) || error.code !== 'LINK_TIMEOUT') throw error;
      silentTries++;
    }
  }
  throw notAnImager(state);
}

function inUse(state: State): LastspinError {
  const message = `${state.name} is in use by another program; stop that one first`;
  return new LastspinError('DEVICE_REFUSED', message);
}

function versionError(state: State, theirs: string): LastspinError {
  const { major, minor } = protocolVersion;
  const ours = `this program speaks ${major}.${minor}; update the older one`;
  return new LastspinError('PROTOCOL_VERSION', `${state.name}: ${theirs}, ${ours}`);
}

function notAnImager(state: State): LastspinError {
  const sawNoise = discardsOf(state.link) > 0 || state.violations > 0;
  const why =
    state.echoes > 0
      ? 'it only sends back what it is sent'
      : sawNoise
        ? 'it sends something else (another device, or another baud rate)'
        : 'it does not answer';
  return new LastspinError('NOT_AN_IMAGER', `${state.name} is no imager: ${why}`);
}

function withinOurLimits(state: State, theirs: Agreed, frameBytesMax: number): Agreed {
  if (theirs.major !== protocolVersion.major) {
    throw versionError(state, `the imager speaks version ${theirs.major}.${theirs.minor}`);
  }
  // An imager that only switches power holds no reads.
  const canRead = (theirs.capabilities & capabilityBits.read) !== 0;
  const isPossible =
    theirs.frameBytesMax >= frameBytesMin &&
    theirs.frameBytesMax <= frameBytesMax &&
    theirs.commandsMax > 0 &&
    (!canRead || (theirs.requestsMax > 0 && theirs.bufferBytes > 0 && theirs.readCountMax > 0));
  if (!isPossible) {
    const message = `${state.name} is no imager: it names impossible limits`;
    throw new LastspinError('NOT_AN_IMAGER', message);
  }
  return {
    ...theirs,
    bufferBytes: Math.min(theirs.bufferBytes, bufferBytesMax),
    requestsMax: Math.min(theirs.requestsMax, requestsMaxMax),
    commandsMax: Math.min(theirs.commandsMax, commandsMaxMax),
  };
}

/** Opens the link again and goes on in the same session (L-4); ends with `failure` if it cannot. */
async function relink(state: State, failure: LastspinError): Promise<void> {
  state.phase = 'lost';
  state.cancelBeat();
  notify(state, { kind: 'lost', why: failure.message });
  for (let tries = 0; tries < relinkTriesMax && !state.end; tries++) {
    await state.clock.sleep(relinkRetryMs);
    const link = await state.options.relink?.().catch(() => undefined);
    if (!link) continue;
    if (state.end) {
      link.close();
      return;
    }
    state.use(link);
    const agreed = await sayHello(state).catch(() => undefined);
    if (!agreed) {
      letGo(state)?.close();
      continue;
    }
    state.relinks++;
    await resume(state, agreed);
    return;
  }
  end(state, failure);
}

/** Goes on where the last link dropped, if the imager still knows of it (H-6). */
async function resume(state: State, now: Agreed): Promise<void> {
  const { agreed: before, window } = state;
  const isSame =
    before?.bootId === now.bootId &&
    before.sessionCount === now.sessionCount &&
    before.frameBytesMax === now.frameBytesMax &&
    window !== undefined &&
    now.readIdNext >= window.resolvedBelow &&
    now.readIdNext <= window.idNext;
  if (!isSame) {
    await restore(state, now);
    return;
  }
  goOn(state);
  notify(state, { kind: 'back' });
  // Results that went into the dropped link show in the next status.
  window.onGap(now.readIdNext);
}

/** Opens `state` for everything that may be said after HELLO. */
export function goOn(state: State): void {
  state.phase = 'open';
  state.ready = true;
  state.silentBeats = 0;
  state.beats.clear();
  state.progress = { seen: state.window?.progress ?? 0, atMs: state.clock.now() };
  scheduleBeat(state);
}

/** The imager does not know the session any more: it restarted, or served another program. */
export function loseSession(state: State): void {
  if (state.phase !== 'open') return;
  state.phase = 'restoring';
  state.ready = false;
  state.cancelBeat();
  void greetAgain(state);
}

async function greetAgain(state: State): Promise<void> {
  try {
    const agreed = await sayHello(state);
    if (state.phase !== 'restoring') return;
    // It may be there all the same: a refusal of before came late.
    await resume(state, agreed);
  } catch (error) {
    // A link that dropped meanwhile is being replaced, and says HELLO by itself.
    if (state.phase !== 'restoring') return;
    end(state, isLastspinError(error) ? error : notAnImager(state));
  }
}

/** A new session in place of the lost one (L-5): reads that were out come back not attempted, commands
 * that were out as refused, and what the imager had been told is told again first. */
async function restore(state: State, agreed: Agreed): Promise<void> {
  const { window } = state;
  const mine = ++state.restarts;
  state.phase = 'restoring';
  const returned = window?.returned ?? 0;
  const canRead = (agreed.capabilities & capabilityBits.read) !== 0;
  const wasReading = canRead && window !== undefined && window.outstanding > 0;
  const isFruitless = wasReading && returned === state.readsBackAtRestart;
  state.fruitlessRestarts = isFruitless ? state.fruitlessRestarts + 1 : 0;
  state.readsBackAtRestart = returned;
  if (state.fruitlessRestarts >= fruitlessRestartsMax) {
    const what = `${state.name} restarted ${fruitlessRestartsMax} times without finishing a read`;
    end(state, new LastspinError('LINK_CLOSED', `${what}; check its own power supply`));
    return;
  }
  state.agreed = agreed;
  notify(state, { kind: 'restarted', bootCause: agreed.bootCause });
  rejectCalls(state);
  window?.restart(agreed);
  goOn(state);
  try {
    await state.options.restore?.();
  } catch (error) {
    if (mine === state.restarts && !isLastspinError(error, 'DEVICE_REFUSED')) {
      // Nothing may be read before the imager knows what it was told (L-5).
      end(state, isLastspinError(error) ? error : notAnImager(state));
      return;
    }
  }
  // Where the session was lost again meanwhile, the newer one is not set up by what was said in this one.
  if (mine === state.restarts) window?.go();
}

function scheduleBeat(state: State): void {
  state.cancelBeat();
  state.cancelBeat = state.clock.after(beatMs, () => beat(state));
}

/** L-1: asks how the imager is, and learns from the answer which requests and results were lost. */
function beat(state: State): void {
  const isWaiting = state.beats.size > 0;
  state.silentBeats = state.heard || !isWaiting ? 0 : state.silentBeats + 1;
  state.heard = false;
  if (state.silentBeats >= silentBeatsMax) {
    const message = `${state.name} has been silent for ${(silentBeatsMax * beatMs) / 1000} s`;
    drop(state, new LastspinError('LINK_TIMEOUT', `${message}; check its cable and power`));
    return;
  }
  if (isStuck(state)) {
    const message = `${state.name} answers but does not finish a read whose deadline is over`;
    end(state, new LastspinError('LINK_TIMEOUT', `${message}; power the imager off and on`));
    return;
  }
  state.beatCount++;
  const { window } = state;
  const hasReads = window !== undefined && window.outstanding > 0;
  if (hasReads || isWaiting || state.beatCount % idleBeatEvery === 0) {
    const id = state.callId++;
    state.beats.set(id, window?.idNext ?? 0);
    state.link?.send(encodeMessage(commands.status.code, id, commands.status.request, {}));
  }
  scheduleBeat(state);
}

/** How long after the drive's deadline the imager may take to say so. A throttled imager rests between
 * reads, two minutes or more. */
const overdueMs = 300_000;

/** L-3: the deadline is the imager's to keep; one that does not is no better than a dead link. */
function isStuck(state: State): boolean {
  const { window, clock } = state;
  if (!window) return false;
  if (window.progress !== state.progress.seen || window.outstanding === 0) {
    state.progress = { seen: window.progress, atMs: clock.now() };
    return false;
  }
  return clock.now() - state.progress.atMs > window.oldestTimeoutMs + overdueMs;
}
