/** The laptop end of the protocol: one session with an imager, over any number of links (PROTOCOL.md).
 * Control commands are in `caller-calls.ts`, HELLO and lost links in `caller-link.ts`, reads in
 * `read-window.ts`. */
import type { Clock } from '../src/clock.js';
import { LastspinError, reasonOf } from '../src/errors.js';
import { type CallOptions, call, wasRestart } from './caller-calls.js';
import { drop, goOn, loseSession, sayHello } from './caller-link.js';
import {
  type Agreed,
  type CallerOptions,
  discardsOf,
  end,
  initialState,
  type LinkNotice,
  type ResponseOf,
  type State,
} from './caller-state.js';
import { MalformedMessage, type Reader } from './codec.js';
import {
  type Command,
  commands,
  type EventKind,
  events,
  heatActions,
  railFaults,
  replyCodes,
  responseBit,
} from './commands.js';
import type { DeviceEvent } from './device.js';
import type { Link } from './link.js';
import { decodeHeader, decodeReply, type Header } from './message.js';
import {
  type CallerRead,
  type CallerReadResult,
  createReadWindow,
  type ReadWindow,
} from './read-window.js';

export type { CallOptions } from './caller-calls.js';
export type { Agreed, CallerOptions, LinkNotice } from './caller-state.js';
export type { CallerRead, CallerReadResult } from './read-window.js';

export type StatusReport = ResponseOf<typeof commands.status>;

export interface Caller {
  /** What the last HELLO agreed. */
  readonly agreed: Agreed;
  /** Does a command once and gives its response. Rejects with LINK_TIMEOUT, LINK_CLOSED or
   * DEVICE_REFUSED, whose `cause` is a ReplyError with the reply code; `busy` where the imager
   * restarted before it answered. */
  call<Req, Res>(command: Command<Req, Res>, request: Req, options?: CallOptions): Promise<Res>;
  /** Reads; results resolve in the order of the calls. No deadline on this side: the imager
   * keeps the drive's, and the link has its own. Where the imager restarted, reads come back not
   * attempted. Rejects with LINK_TIMEOUT, LINK_CLOSED, DEVICE_REFUSED. */
  read(request: CallerRead): Promise<CallerReadResult>;
  /** Reads called so far come back `not-attempted`, or as what they became meanwhile. */
  abort(): Promise<void>;
  readonly readsOutstanding: number;
  onEvent(handler: (event: DeviceEvent) => void): void;
  /** Told of links that drop and come back. */
  onNotice(handler: (notice: LinkNotice) => void): void;
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
  /** Sessions that the imager lost. */
  readonly restarts: number;
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
  if (isHelloFirst(body)) {
    loseSession(state);
    return;
  }
  const request = code & ~responseBit;
  const sentBelow = request === commands.status.code ? state.beats.get(id) : undefined;
  if (request === commands.read.code) {
    // What a lost session still brings is not the new one's.
    if (state.ready) state.window?.onResponse(id, decodeReply(body, commands.read.response));
  } else if (sentBelow !== undefined) {
    for (const older of state.beats.keys()) if (older <= id) state.beats.delete(older);
    const reply = decodeReply(body, commands.status.response);
    if (reply.reply === 'ok') state.window?.onStatus({ ...reply.value, sentBelow });
  } else {
    // One that nobody waits for is the answer to a repetition.
    const pending = state.calls.get(id);
    if (pending?.code === request) pending.onReply(body);
  }
}

function isHelloFirst({ view, offset }: Reader): boolean {
  return offset < view.byteLength && view.getUint8(offset) === replyCodes.helloFirst;
}

function receiveEvent(state: State, { code, id, body }: Header): void {
  state.heard = true;
  if (code === events.data.code) {
    if (state.ready) state.window?.onPiece(id, events.data.body.read(body));
  } else if (code === events.fill.code) {
    if (state.ready) state.window?.onFill(id, events.fill.body.read(body));
  } else if (code === events.gap.code) {
    if (state.ready) state.window?.onGap(events.gap.body.read(body).readIdNext);
  } else {
    const event = eventOf(code, body);
    if (!event) return;
    for (const handler of state.eventHandlers) handler(event);
  }
}

/** The name of a wire value. Throws MalformedMessage. */
function nameOf<T extends string>(names: Readonly<Record<T, number>>, value: number): T {
  const found = (Object.keys(names) as T[]).find((name) => names[name] === value);
  if (found === undefined) throw new MalformedMessage(`${value} has no meaning here`);
  return found;
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
    case events.resting.code:
      return { kind: 'resting', ...as(events.resting) };
    case events.railFault.code: {
      const { rail, milliamps, millivolts, fault } = as(events.railFault);
      if (rail !== 5 && rail !== 12) throw new MalformedMessage(`rail ${rail}`);
      return { kind: 'rail-fault', rail, milliamps, millivolts, fault: nameOf(railFaults, fault) };
    }
    case events.overTemperature.code: {
      const { temperature, action } = as(events.overTemperature);
      const celsius = temperature / 10;
      return { kind: 'over-temperature', celsius, action: nameOf(heatActions, action) };
    }
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

// ---- a session --------------------------------------------------------------------------------

/** Resend answers within this on a line of 9,600 baud. */
const resendTimeoutMs = 60_000;

function openWindow(state: State, agreed: Agreed): ReadWindow {
  return createReadWindow(agreed, {
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
  if (window.outstanding === 0) return;
  await call(state, commands.abort, { readIdBelow: window.idNext }).catch((error: unknown) => {
    // A restart has ended them all.
    if (!wasRestart(error)) throw error;
  });
}

/** Says HELLO on `link` and opens a session. Rejects, with the link closed, with NOT_AN_IMAGER
 * after about three seconds, PROTOCOL_VERSION, DEVICE_REFUSED or LINK_CLOSED. */
export async function createCaller(
  link: Link,
  clock: Clock,
  options: CallerOptions,
): Promise<Caller> {
  const name = options.name ?? link.name ?? 'the imager';
  const state: State = initialState(name, clock, options, (next) => use(state, next));
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
  const window = openWindow(state, agreed);
  state.window = window;
  goOn(state);
  return {
    get agreed() {
      return state.agreed ?? agreed;
    },
    call: (command, request, callOptions) => call(state, command, request, callOptions),
    read: (request) => window.read(request),
    abort: () => abort(state, window),
    get readsOutstanding() {
      return window.outstanding;
    },
    onEvent: (handler) => void state.eventHandlers.push(handler),
    onNotice: (handler) => void state.noticeHandlers.push(handler),
    onClose(handler) {
      if (state.end) handler(state.end.error);
      else state.closeHandlers.push(handler);
    },
    close: () => end(state),
    get counters() {
      return {
        framesDiscarded: state.framesDiscardedBefore + discardsOf(state.link),
        violations: state.violations + state.echoes,
        repetitions: state.repetitions,
        relinks: state.relinks,
        restarts: state.restarts,
      };
    },
  };
}
