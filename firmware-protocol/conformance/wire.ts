/** Bytes, frames and messages as an examiner sees them: nothing is repaired, everything wrong is
 * said, with its clause. Kept apart from the laptop's own receiver, which forgives by design. */
import type { Duplex } from 'node:stream';
import { crc32 } from 'node:zlib';
import type { Clock } from '../../src/clock.js';
import { reasonOf } from '../../src/errors.js';
import { encodedBytesMax } from '../frame.js';
import { type Message, readMessage } from './messages.js';
import { hex, type Violation } from './verdict.js';

/** Longest message that the suite says it takes: more than any message can be long (M-1: `bytes` has
 * a u16 length), so that an imager tells its own limit. */
export const ownFrameBytesMax = 0x10_0000;

/** A babbling imager must not fill the memory: what nobody asked for is kept to this extent. */
const inboxCountMax = 50_000;
const inboxBytesMax = 128 * 1024 * 1024;
const runBytesMax = 254;

/** The message of a stuffed frame without its zero, or the clauses that it breaks. */
export function readFrame(stuffed: Uint8Array): {
  readonly message?: Uint8Array;
  readonly violations: readonly Violation[];
} {
  const plain = new Uint8Array(stuffed.length);
  const violations: Violation[] = [];
  let length = 0;
  let at = 0;
  while (at < stuffed.length) {
    const code = stuffed[at]!;
    const end = at + code;
    if (end > stuffed.length) {
      return { violations: [{ clause: 'F-4', came: `a zero within a run: ${hex(stuffed)}` }] };
    }
    plain.set(stuffed.subarray(at + 1, end), length);
    length += code - 1;
    if (code <= runBytesMax && end < stuffed.length) plain[length++] = 0;
    if (code === 1 && end === stuffed.length && endsFullRun(stuffed, at)) {
      violations.push({ clause: 'F-3', came: `an empty run behind a full one: ${hex(stuffed)}` });
    }
    at = end;
  }
  if (length < 5) {
    violations.push({ clause: 'F-1', came: `a frame of ${length} bytes: ${hex(stuffed)}` });
    return { violations };
  }
  const message = plain.subarray(0, length - 4);
  const crc = new DataView(plain.buffer).getUint32(length - 4, true);
  if (crc32(message) === crc) return { message, violations };
  violations.push({ clause: 'F-2', came: `a frame with a wrong CRC: ${hex(stuffed)}` });
  return { violations };
}

/** Whether the run that ends before `at` is a full one. */
function endsFullRun(stuffed: Uint8Array, at: number): boolean {
  let code = 0;
  for (let run = 0; run < at; run += stuffed[run]!) code = stuffed[run]!;
  return code === runBytesMax + 1;
}

/** One open line to an imager, with all that came on it and was not taken yet. */
export interface Wire {
  /** Puts bytes on the line as they are. */
  write(bytes: Uint8Array): void;
  /** The first message that matches, taken out; undefined when none comes in time. */
  next(matches: (message: Message) => boolean, withinMs: number): Promise<Message | undefined>;
  /** All messages that match and have come, taken out. */
  take(matches: (message: Message) => boolean): Message[];
  /** Forgets what has come. */
  clear(): void;
  /** Reads no further until `resume`, so that the line fills up. */
  pause(): void;
  resume(): void;
  /** The first bytes that came on this line, up to 32. */
  readonly opening: Uint8Array;
  readonly bytesReceived: number;
  /** Bytes behind the last zero. */
  readonly unended: number;
  /** Why the line is of no use any more. */
  readonly ended: string | undefined;
  /** Longest message that may come (H-4). */
  frameBytesMax: number;
  close(): void;
}

interface WireOptions {
  readonly clock: Clock;
  readonly onViolation: (violation: Violation) => void;
  /** Sees every good message once, as it comes. */
  readonly onMessage: (message: Message) => void;
}

interface Waiter {
  readonly matches: (message: Message) => boolean;
  readonly resolve: (message: Message | undefined) => void;
}

interface State extends WireOptions {
  readonly duplex: Duplex;
  readonly close: () => void;
  inbox: Message[];
  inboxBytes: number;
  readonly waiters: Set<Waiter>;
  opening: Uint8Array;
  bytesReceived: number;
  ended: string | undefined;
  frameBytesMax: number;
  /** Of the frame that has not ended; its bytes are `unendedBytes`. */
  parts: Uint8Array[];
  unendedBytes: number;
  tooLong: boolean;
}

/** Begins to listen on an open stream. Says nothing by itself. */
export function openWire(
  line: { readonly stream: Duplex; close(): void },
  options: WireOptions,
): Wire {
  const { stream: duplex } = line;
  const state: State = {
    ...options,
    duplex,
    close: line.close,
    inbox: [],
    inboxBytes: 0,
    waiters: new Set(),
    opening: new Uint8Array(),
    bytesReceived: 0,
    ended: undefined,
    frameBytesMax: ownFrameBytesMax,
    parts: [],
    unendedBytes: 0,
    tooLong: false,
  };
  duplex.on('data', (bytes: Uint8Array) => receive(state, bytes));
  duplex.on('error', (error) => end(state, reasonOf(error)));
  duplex.on('end', () => end(state, 'the imager closed the link'));
  duplex.on('close', () => end(state, 'the link closed'));
  return {
    write(bytes) {
      if (!state.ended) duplex.write(bytes);
    },
    next: (matches, withinMs) => next(state, matches, withinMs),
    take: (matches) => take(state, matches),
    clear() {
      state.inbox = [];
      state.inboxBytes = 0;
    },
    pause: () => void duplex.pause(),
    resume: () => void duplex.resume(),
    get opening() {
      return state.opening;
    },
    get bytesReceived() {
      return state.bytesReceived;
    },
    get unended() {
      return state.unendedBytes;
    },
    get ended() {
      return state.ended;
    },
    get frameBytesMax() {
      return state.frameBytesMax;
    },
    set frameBytesMax(bytes) {
      state.frameBytesMax = bytes;
    },
    close() {
      end(state, 'closed');
      line.close();
    },
  };
}

function end(state: State, why: string): void {
  state.ended ??= why;
  for (const waiter of [...state.waiters]) waiter.resolve(undefined);
}

function receive(state: State, bytes: Uint8Array): void {
  if (state.ended) return;
  if (state.opening.length < 32) {
    state.opening = Uint8Array.from([...state.opening, ...bytes.subarray(0, 32)]).subarray(0, 32);
  }
  state.bytesReceived += bytes.length;
  let from = 0;
  for (let zero = bytes.indexOf(0); zero !== -1; zero = bytes.indexOf(0, from)) {
    keep(state, bytes.subarray(from, zero));
    finish(state);
    from = zero + 1;
  }
  keep(state, bytes.subarray(from));
}

function keep(state: State, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  state.unendedBytes += bytes.length;
  if (state.tooLong) return;
  if (state.unendedBytes >= encodedBytesMax(state.frameBytesMax)) {
    state.tooLong = true;
    state.parts = [];
    const came = `a frame longer than a message of ${state.frameBytesMax} bytes can become`;
    state.onViolation({ clause: 'H-4', came });
  } else {
    // A view: the stream reuses nothing that it has handed out.
    state.parts.push(bytes);
  }
}

function finish(state: State): void {
  const { parts, tooLong, unendedBytes } = state;
  state.parts = [];
  state.unendedBytes = 0;
  state.tooLong = false;
  if (tooLong || unendedBytes === 0) return;
  const { message, violations } = readFrame(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
  for (const violation of violations) state.onViolation(violation);
  if (!message) return;
  if (message.length > state.frameBytesMax) {
    const came = `a message of ${message.length} bytes where ${state.frameBytesMax} were agreed`;
    state.onViolation({ clause: 'H-4', came });
  }
  const read = readMessage(message, state.clock.now(), state.onViolation);
  if (read) deliver(state, read);
}

function deliver(state: State, message: Message): void {
  state.onMessage(message);
  for (const waiter of state.waiters) {
    if (!waiter.matches(message)) continue;
    waiter.resolve(message);
    return;
  }
  state.inbox.push(message);
  state.inboxBytes += message.raw.length;
  if (state.inbox.length > inboxCountMax || state.inboxBytes > inboxBytesMax) {
    end(state, 'the imager babbles: more came than was asked for');
    state.close();
  }
}

function take(state: State, matches: (message: Message) => boolean): Message[] {
  const taken: Message[] = [];
  state.inbox = state.inbox.filter((message) => {
    if (!matches(message)) return true;
    taken.push(message);
    state.inboxBytes -= message.raw.length;
    return false;
  });
  return taken;
}

function next(
  state: State,
  matches: (message: Message) => boolean,
  withinMs: number,
): Promise<Message | undefined> {
  const at = state.inbox.findIndex(matches);
  if (at !== -1) {
    const [message] = state.inbox.splice(at, 1);
    state.inboxBytes -= message!.raw.length;
    return Promise.resolve(message);
  }
  if (state.ended) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    const waiter: Waiter = {
      matches,
      resolve(message) {
        cancel();
        state.waiters.delete(waiter);
        resolve(message);
      },
    };
    const cancel = state.clock.after(withinMs, () => waiter.resolve(undefined));
    state.waiters.add(waiter);
  });
}
