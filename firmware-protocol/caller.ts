/** The laptop end of the protocol: HELLO, control commands, reads, beats, and the same session
 * again over a new link (PROTOCOL.md clauses H, C, R, L). */
import type { Clock } from '../src/clock.js';
import { LastspinError, reasonOf } from '../src/errors.js';
import { MalformedMessage, type Reader } from './codec.js';
import {
  type Command,
  capabilityBits,
  commands,
  type EventKind,
  events,
  frameBytesMin,
  helloMagic,
  protocolVersion,
  responseBit,
  responsesHeldMax,
} from './commands.js';
import { type DeviceEvent, ReplyError } from './device.js';
import { frameBytesMaxDefault, type Link } from './link.js';
import { decodeHeader, decodeReply, encodeMessage, type Header, type Reply } from './message.js';
import { judgeReadOnly } from './read-only.js';
import {
  type CallerRead,
  type CallerReadResult,
  createReadWindow,
  type ReadWindow,
} from './read-window.js';

export type { CallerRead, CallerReadResult } from './read-window.js';

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

/** A request is repeated on silence this often at most, spread over the time it may take (C-2). */
const callTriesMax = 8;
const callRetryMsMin = 400;
const callTimeoutMsDefault = 5000;
/** Control commands under way at once; more wait. The rest of the imager's memory for responses
 * is for those that were answered while one waited for its repetition. */
const callsUnderWayMax = 4;

/** A dropped link is tried again this often, this far apart: half a minute to push a plug back
 * in. */
const relinkTriesMax = 30;
const relinkRetryMs = 1000;

/** No imager needs more of the laptop's memory, whatever it claims in HELLO. */
const bufferBytesMax = 64 * 1024 * 1024;
const requestsMaxMax = 256;

type RequestOf<C> = C extends Command<infer Req, unknown> ? Req : never;
type ResponseOf<C> = C extends Command<unknown, infer Res> ? Res : never;
/** What HELLO agreed, limits already cut to what this end allows. */
export type Agreed = ResponseOf<typeof commands.hello>;
export type StatusReport = ResponseOf<typeof commands.status>;

export interface CallOptions {
  /** How long an answer may take, repetitions included; 5 s unless told. */
  readonly timeoutMs?: number;
  /** Ends the wait, not what the imager does. */
  readonly signal?: AbortSignal | undefined;
}

export interface Caller {
  readonly agreed: Agreed;
  /** Does a command once and gives its response. Rejects with LINK_TIMEOUT, LINK_CLOSED or
   * DEVICE_REFUSED, whose `cause` is a ReplyError with the reply code. */
  call<Req, Res>(command: Command<Req, Res>, request: Req, options?: CallOptions): Promise<Res>;
  /** Reads; results resolve in the order of the calls. No deadline on this side: the imager
   * keeps the drive's, and the link has its own. Rejects with LINK_TIMEOUT, LINK_CLOSED,
   * DEVICE_REFUSED. */
  read(request: CallerRead): Promise<CallerReadResult>;
  /** Reads called so far come back `not-attempted`, or as what they became meanwhile. */
  abort(): Promise<void>;
  readonly readsOutstanding: number;
  onEvent(handler: (event: DeviceEvent) => void): void;
  /** Called once when the session is over; without an error after `close`. */
  onClose(handler: (error?: LastspinError) => void): void;
  close(): void;
  /** What went wrong and was mended: all counts since the start. */
  readonly counters: CallerCounters;
}

export interface CallerCounters {
  /** Frames that this end threw away. */
  readonly framesDiscarded: number;
  /** Whole messages that no right imager sends. */
  readonly violations: number;
  /** Requests sent once more. */
  readonly repetitions: number;
  readonly relinks: number;
}

export interface CallerOptions {
  /** Drawn anew for each caller, 32 bits: the imager knows by it who comes back. */
  readonly session: number;
  /** What the other end is called in messages; the link's name unless told. */
  readonly name?: string;
  /** Longest message taken from the imager, in bytes. */
  readonly frameBytesMax?: number;
  /** Opens the link once more after it dropped; without it a drop is the end. */
  readonly relink?: () => Promise<Link>;
}

interface PendingCall {
  readonly code: number;
  /** How many calls were started before it. */
  readonly order: number;
  readonly onReply: (body: Reader) => void;
  readonly reject: (error: unknown) => void;
}

interface State {
  readonly options: CallerOptions;
  readonly name: string;
  readonly clock: Clock;
  link: Link | undefined;
  /** HELLO was answered on `link`; nothing else may be said before. */
  ready: boolean;
  relinking: boolean;
  /** Discards of links that are gone. */
  framesDiscardedBefore: number;
  /** Id of the next control command; reads count by themselves. */
  callId: number;
  readonly calls: Map<number, PendingCall>;
  callsStarted: number;
  readonly callQueue: (() => void)[];
  agreed: Agreed | undefined;
  /** Set once HELLO is answered. */
  window: ReadWindow | undefined;
  /** Status requests under way: id → read ids sent before it. */
  readonly beats: Map<number, number>;
  beatCount: number;
  silentBeats: number;
  /** The window's progress when it last grew, and when that was. */
  progress: { readonly seen: number; readonly atMs: number };
  heard: boolean;
  cancelBeat: () => void;
  readonly eventHandlers: ((event: DeviceEvent) => void)[];
  readonly closeHandlers: ((error?: LastspinError) => void)[];
  ended: { readonly error?: LastspinError } | undefined;
  /** Requests that came in: only an echo sends those. */
  echoes: number;
  violations: number;
  repetitions: number;
  relinks: number;
}

function discardsOf(link: Link | undefined): number {
  return link ? Object.values(link.discarded).reduce((sum, count) => sum + count, 0) : 0;
}

/** Forgets the link, but not what it cost. */
function letGo(state: State): Link | undefined {
  const { link } = state;
  state.link = undefined;
  state.ready = false;
  state.framesDiscardedBefore += discardsOf(link);
  return link;
}

function end(state: State, error?: LastspinError): void {
  if (state.ended) return;
  state.ended = error ? { error } : {};
  state.cancelBeat();
  letGo(state)?.close();
  const reason = error ?? new LastspinError('LINK_CLOSED', `${state.name} was closed`);
  state.window?.fail(reason);
  for (const call of [...state.calls.values()]) call.reject(reason);
  for (const start of state.callQueue.splice(0)) start();
  for (const handler of state.closeHandlers) handler(error);
}

function closedError(state: State): LastspinError {
  return (
    state.ended?.error ?? new LastspinError('LINK_CLOSED', `the link to ${state.name} is closed`)
  );
}

// ---- control commands -------------------------------------------------------------------------

function refusalOf(name: string, command: string, reply: Exclude<Reply<unknown>, { reply: 'ok' }>) {
  const cause = new ReplyError(reply.reply, reply.reason);
  const message = `${name} refused ${command}: ${reply.reply} (${reply.reason})`;
  return new LastspinError('DEVICE_REFUSED', message, { cause });
}

/** Room under way, and none so old that the imager may have forgotten its response (C-3). */
function mayStartCall(state: State): boolean {
  const oldest = state.calls.values().next().value;
  if (!oldest) return true;
  return (
    state.calls.size < callsUnderWayMax && state.callsStarted - oldest.order < responsesHeldMax
  );
}

async function call<Req, Res>(
  state: State,
  command: Command<Req, Res>,
  request: Req,
  options: CallOptions = {},
): Promise<Res> {
  options.signal?.throwIfAborted();
  refuseWriting(command.code, request);
  while (!state.ended && !mayStartCall(state)) {
    await new Promise<void>((resolve) => state.callQueue.push(resolve));
  }
  if (state.ended) throw closedError(state);
  try {
    return await callNow(state, command, request, options);
  } finally {
    for (const start of state.callQueue.splice(0)) start();
  }
}

/** S-1: what is not on the read-only list does not even reach the link. */
function refuseWriting(code: number, request: unknown): void {
  if (code !== commands.passthrough.code) return;
  const { cdb } = request as RequestOf<typeof commands.passthrough>;
  const verdict = judgeReadOnly(cdb);
  if (verdict.allowed) return;
  const cause = new ReplyError('refused', verdict.reason);
  throw new LastspinError('DEVICE_REFUSED', `not sent to the drive: ${verdict.reason}`, { cause });
}

function callNow<Req, Res>(
  state: State,
  command: Command<Req, Res>,
  request: Req,
  { timeoutMs = callTimeoutMsDefault, signal }: CallOptions,
): Promise<Res> {
  const id = state.callId++;
  const message = encodeMessage(command.code, id, command.request, request);
  const retryMs = Math.max(callRetryMsMin, timeoutMs / callTriesMax);
  const deadlineMs = state.clock.now() + timeoutMs;
  return new Promise((resolve, reject) => {
    let cancelTimer = () => {};
    const finish = () => {
      cancelTimer();
      signal?.removeEventListener('abort', onAbort);
      state.calls.delete(id);
    };
    const fail = (error: unknown) => {
      finish();
      reject(error);
    };
    const onAbort = () => fail(signal?.reason);
    const onReply = (body: Reader) => {
      const reply = decodeReply(body, command.response);
      if (reply.reply === 'helloFirst') {
        loseSession(state);
        return;
      }
      finish();
      if (reply.reply === 'ok') resolve(reply.value);
      else reject(refusalOf(state.name, command.name, reply));
    };
    const transmit = (tries: number) => {
      if (state.ready || command.code === commands.hello.code) state.link?.send(message);
      if (tries > 1) state.repetitions++;
      const leftMs = deadlineMs - state.clock.now();
      const waitMs = tries < callTriesMax ? Math.min(retryMs, leftMs) : leftMs;
      cancelTimer = state.clock.after(Math.max(0, waitMs), () => {
        if (state.clock.now() < deadlineMs && tries < callTriesMax) transmit(tries + 1);
        else fail(callTimeout(state, command.name, timeoutMs));
      });
    };
    state.calls.set(id, { code: command.code, order: state.callsStarted++, onReply, reject: fail });
    signal?.addEventListener('abort', onAbort, { once: true });
    transmit(1);
  });
}

function callTimeout(state: State, command: string, timeoutMs: number): LastspinError {
  const message = `${state.name} did not answer ${command} within ${timeoutMs / 1000} s`;
  return new LastspinError('LINK_TIMEOUT', message);
}

// ---- what comes in ----------------------------------------------------------------------------

function receive(state: State, message: Uint8Array): void {
  try {
    const header = decodeHeader(message);
    if (header.code & responseBit) receiveResponse(state, header);
    else if (header.code >= events.data.code) receiveEvent(state, header);
    else state.echoes++;
  } catch (error) {
    if (!(error instanceof MalformedMessage)) throw error;
    state.violations++;
  }
}

function receiveResponse(state: State, { code, id, body }: Header): void {
  state.heard = true;
  const request = code & ~responseBit;
  const sentBelow = request === commands.status.code ? state.beats.get(id) : undefined;
  if (request === commands.read.code && state.window) {
    const reply = decodeReply(body, commands.read.response);
    if (reply.reply === 'helloFirst') loseSession(state);
    else state.window.onResponse(id, reply);
  } else if (sentBelow !== undefined) {
    for (const older of state.beats.keys()) if (older <= id) state.beats.delete(older);
    const reply = decodeReply(body, commands.status.response);
    if (reply.reply === 'helloFirst') loseSession(state);
    else if (reply.reply === 'ok') state.window?.onStatus({ ...reply.value, sentBelow });
  } else {
    // One that nobody waits for is the answer to a repetition.
    const pending = state.calls.get(id);
    if (pending?.code === request) pending.onReply(body);
  }
}

function loseSession(state: State): void {
  const what = `${state.name} restarted, or serves another program now`;
  end(state, new LastspinError('LINK_CLOSED', `${what}; run the same command again`));
}

function receiveEvent(state: State, { code, id, body }: Header): void {
  state.heard = true;
  if (code === events.data.code) {
    state.window?.onPiece(id, events.data.body.read(body));
  } else if (code === events.gap.code) {
    state.window?.onGap(events.gap.body.read(body).readIdNext);
  } else {
    const event = eventOf(code, body);
    if (!event) return;
    for (const handler of state.eventHandlers) handler(event);
  }
}

/** An event in the words of `DeviceEvent`; undefined for one of a later minor version (V-3). */
function eventOf(code: number, body: Reader): DeviceEvent | undefined {
  const as = <T>(event: EventKind<T>) => event.body.read(body);
  switch (code) {
    case events.hung.code:
      return { kind: 'hung' };
    case events.gone.code:
      return { kind: 'gone' };
    case events.ready.code:
      return { kind: 'ready', ...as(events.ready) };
    case events.railFault.code: {
      const { rail, milliamps, millivolts } = as(events.railFault);
      if (rail !== 5 && rail !== 12) throw new MalformedMessage(`rail ${rail}`);
      return { kind: 'rail-fault', rail, milliamps, millivolts };
    }
    case events.overTemperature.code:
      return { kind: 'over-temperature', celsius: as(events.overTemperature).temperature / 10 };
    case events.steppedDown.code: {
      const { stage } = as(events.steppedDown);
      if (stage !== 1 && stage !== 2 && stage !== 3 && stage !== 4) {
        throw new MalformedMessage(`stage ${stage}`);
      }
      return { kind: 'stepped-down', stage };
    }
    default:
      return undefined;
  }
}

// ---- links, HELLO, beats ----------------------------------------------------------------------

function use(state: State, link: Link): void {
  state.link = link;
  link.onMessage((message) => {
    if (state.link === link) receive(state, message);
  });
  link.onClose((error) => {
    if (state.link !== link) return;
    const why = error ? `: ${reasonOf(error)}` : '';
    const message = `${state.name} went away${why}`;
    drop(state, new LastspinError('LINK_CLOSED', message, error && { cause: error }));
  });
}

/** The link is of no use any more: a new one where that is possible, else the end. */
function drop(state: State, failure: LastspinError): void {
  letGo(state)?.close();
  // A drop while a new link is tried is only a try that failed.
  if (state.relinking) return;
  if (state.window && state.options.relink) void relink(state, failure);
  else end(state, failure);
}

/** Says HELLO until it is answered. Throws NOT_AN_IMAGER, PROTOCOL_VERSION, LINK_CLOSED. */
async function sayHello(state: State): Promise<Agreed> {
  const request: RequestOf<typeof commands.hello> = {
    magic: helloMagic,
    ...protocolVersion,
    frameBytesMax: state.options.frameBytesMax ?? frameBytesMaxDefault,
    session: state.options.session >>> 0,
  };
  for (let tries = 0; tries < helloTriesMax; tries++) {
    try {
      const agreed = await callNow(state, commands.hello, request, { timeoutMs: helloRetryMs });
      return withinOurLimits(state, agreed, request.frameBytesMax);
    } catch (error) {
      const reply = error instanceof Error ? error.cause : undefined;
      if (reply instanceof ReplyError && reply.reply === 'version') {
        throw versionError(state, reply.message);
      }
      // Only silence is worth another try.
      if (!(error instanceof LastspinError) || error.code !== 'LINK_TIMEOUT') throw error;
    }
  }
  throw notAnImager(state);
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
    (!canRead || (theirs.requestsMax > 0 && theirs.bufferBytes > 0 && theirs.readCountMax > 0));
  if (!isPossible) {
    const message = `${state.name} is no imager: it names impossible limits`;
    throw new LastspinError('NOT_AN_IMAGER', message);
  }
  return {
    ...theirs,
    bufferBytes: Math.min(theirs.bufferBytes, bufferBytesMax),
    requestsMax: Math.min(theirs.requestsMax, requestsMaxMax),
  };
}

/** Opens the link again and goes on in the same session (H-6); ends with `failure` if it cannot. */
async function relink(state: State, failure: LastspinError): Promise<void> {
  state.relinking = true;
  state.cancelBeat();
  for (let tries = 0; tries < relinkTriesMax && !state.ended; tries++) {
    await state.clock.sleep(relinkRetryMs);
    const link = await state.options.relink?.().catch(() => undefined);
    if (!link) continue;
    use(state, link);
    const agreed = state.ended ? undefined : await sayHello(state).catch(() => undefined);
    if (!agreed) {
      letGo(state)?.close();
      continue;
    }
    state.relinking = false;
    state.relinks++;
    resume(state, agreed);
    return;
  }
  end(state, failure);
}

/** Goes on where the last link dropped, if the imager still knows of it. */
function resume(state: State, now: Agreed): void {
  const before = state.agreed;
  const { window } = state;
  const isSame =
    before?.bootId === now.bootId &&
    before.frameBytesMax === now.frameBytesMax &&
    window !== undefined &&
    now.readIdNext >= window.resolvedBelow;
  if (!isSame) {
    loseSession(state);
    return;
  }
  state.ready = true;
  state.silentBeats = 0;
  state.beats.clear();
  // Results that went into the dropped link show in the next status.
  window.onGap(now.readIdNext);
  scheduleBeat(state);
}

function scheduleBeat(state: State): void {
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

/** Resend answers within this on a line of 9,600 baud. */
const resendTimeoutMs = 60_000;

function openWindow(state: State, agreed: Agreed): ReadWindow {
  return createReadWindow({
    requestsMax: agreed.requestsMax,
    bufferBytes: agreed.bufferBytes,
    send: (message) => {
      if (state.ready) state.link?.send(message);
    },
    resend: (request) => {
      state.repetitions++;
      return call(state, commands.resend, request, { timeoutMs: resendTimeoutMs });
    },
    fail: (error) => end(state, error),
    violation: () => {
      state.violations++;
    },
  });
}

async function abort(state: State, window: ReadWindow): Promise<void> {
  window.abortWaiting();
  if (window.outstanding > 0) await call(state, commands.abort, { readIdBelow: window.idNext });
}

function initialState(name: string, clock: Clock, options: CallerOptions): State {
  return {
    options,
    name,
    clock,
    link: undefined,
    agreed: undefined,
    ready: false,
    relinking: false,
    framesDiscardedBefore: 0,
    // Not always from 1: what an earlier program's requests still bring must not fit ours.
    callId: 1 + (options.session >>> 8),
    calls: new Map(),
    callsStarted: 0,
    callQueue: [],
    window: undefined,
    beats: new Map(),
    beatCount: 0,
    silentBeats: 0,
    progress: { seen: 0, atMs: 0 },
    heard: false,
    cancelBeat: () => {},
    eventHandlers: [],
    closeHandlers: [],
    ended: undefined,
    echoes: 0,
    violations: 0,
    repetitions: 0,
    relinks: 0,
  };
}

/** Says HELLO on `link` and opens a session. Rejects, with the link closed, with NOT_AN_IMAGER
 * after about three seconds, PROTOCOL_VERSION, DEVICE_REFUSED or LINK_CLOSED. */
export async function createCaller(
  link: Link,
  clock: Clock,
  options: CallerOptions,
): Promise<Caller> {
  const name = options.name ?? link.name ?? 'the imager';
  const state = initialState(name, clock, options);
  use(state, link);
  let agreed: Agreed;
  try {
    agreed = await sayHello(state);
    if (agreed.readIdNext !== 0) {
      const message = `${state.name} is in use under the same session number; try again`;
      throw new LastspinError('DEVICE_REFUSED', message);
    }
  } catch (error) {
    end(state, error instanceof LastspinError ? error : undefined);
    throw error;
  }
  state.agreed = agreed;
  state.ready = true;
  const window = openWindow(state, agreed);
  state.window = window;
  scheduleBeat(state);
  return {
    agreed,
    call: (command, request, callOptions) => call(state, command, request, callOptions),
    read: (request) => window.read(request),
    abort: () => abort(state, window),
    get readsOutstanding() {
      return window.outstanding;
    },
    onEvent: (handler) => void state.eventHandlers.push(handler),
    onClose(handler) {
      if (state.ended) handler(state.ended.error);
      else state.closeHandlers.push(handler);
    },
    close: () => end(state),
    get counters() {
      return {
        framesDiscarded: state.framesDiscardedBefore + discardsOf(state.link),
        violations: state.violations + state.echoes,
        repetitions: state.repetitions,
        relinks: state.relinks,
      };
    },
  };
}
