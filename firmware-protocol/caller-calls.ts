/** The laptop's control commands: each done once, repeated on silence (PROTOCOL.md clauses C). */
import { LastspinError } from '../src/errors.js';
import { type RequestOf, type State, startWaitingCalls } from './caller-state.js';
import type { Reader } from './codec.js';
import { type Command, capabilityBits, capabilityFor, commands } from './commands.js';
import { ReplyError } from './device.js';
import { decodeReply, encodeMessage, type Reply } from './message.js';
import { judgeReadOnly } from './read-only.js';

/** A request is repeated on silence this often at most, spread over the time it may take (C-2): on a line
 * that loses three messages of four, one answer in ten thousand does not come through. */
const callTriesMax = 32;
const callRetryMsMin = 400;
/** A dead line is found by its beats, and sooner. */
const callTimeoutMsDefault = 15_000;

export interface CallOptions {
  /** How long an answer may take, repetitions included; 15 s unless told. */
  readonly timeoutMs?: number;
  /** Ends the wait, not what the imager does. */
  readonly signal?: AbortSignal | undefined;
}

/** Does a command once and gives its response. Rejects with LINK_TIMEOUT, LINK_CLOSED or
 * DEVICE_REFUSED. */
export async function call<Req, Res>(
  state: State,
  command: Command<Req, Res>,
  request: Req,
  options: CallOptions = {},
): Promise<Res> {
  options.signal?.throwIfAborted();
  refuseWriting(command.code, request);
  refuseBeyond(state, command, request);
  while (!state.end && !mayStartCall(state)) {
    await new Promise<void>((resolve) => state.callQueue.push(resolve));
  }
  if (state.end) throw closedError(state);
  try {
    return await callNow(state, command, request, options);
  } catch (error) {
    if (!wasRestart(error) || !repeatable.has(command.code)) throw error;
  } finally {
    startWaitingCalls(state);
  }
  return call(state, command, request, options);
}

/** What may be asked again of an imager that restarted before it answered: it moves nothing. */
const repeatable: ReadonlySet<number> = new Set([
  commands.identify.code,
  commands.status.code,
  commands.throttle.code,
  commands.watchdog.code,
  commands.limits.code,
]);

/** The session was lost while a command was out. */
class RestartError extends ReplyError {}

/** Whether a command failed because the imager restarted before it answered. */
export function wasRestart(error: unknown): boolean {
  return error instanceof LastspinError && error.cause instanceof RestartError;
}

function closedError(state: State): LastspinError {
  return (
    state.end?.error ?? new LastspinError('LINK_CLOSED', `the link to ${state.name} is closed`)
  );
}

/** None so old that the imager may have forgotten its response, and so none more than it can take
 * (C-3, C-7). */
function mayStartCall(state: State): boolean {
  const oldest = state.calls.values().next().value;
  return !oldest || state.callsStarted - oldest.order < (state.agreed?.commandsMax ?? 1);
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

/** C-6: an imager is not asked for what it does not offer. */
function refuseBeyond<Req>(state: State, command: Command<Req, unknown>, request: Req): void {
  const capability = capabilityFor(command.name as keyof typeof commands, request);
  const { capabilities = 0 } = state.agreed ?? {};
  if (capability === undefined || (capabilities & capabilityBits[capability]) !== 0) return;
  const message = `${state.name} cannot do that: it has no ${capability}`;
  const cause = new ReplyError('unsupported', message);
  throw new LastspinError('DEVICE_REFUSED', message, { cause });
}

/** `call` without waiting for its turn: for HELLO, and for what restores a session. */
export function callNow<Req, Res>(
  state: State,
  command: Command<Req, Res>,
  request: Req,
  { timeoutMs = callTimeoutMsDefault, signal }: CallOptions,
): Promise<Res> {
  const id = state.callId++;
  const message = encodeMessage(command.code, id, command.request, request);
  const retryMs = Math.max(callRetryMsMin, timeoutMs / callTriesMax);
  const isHello = command.code === commands.hello.code;
  let deadlineMs = state.clock.now() + timeoutMs;
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
      // What it brings may be kept; the message itself is gone after this call.
      const reply = decodeReply(copyOf(body), command.response);
      finish();
      if (reply.reply === 'ok') resolve(reply.value);
      else reject(refusalOf(state.name, command.name, reply));
    };
    const transmit = (tries: number) => {
      if (state.ready || isHello) state.link?.send(message);
      if (tries > 1) state.repetitions++;
      const leftMs = deadlineMs - state.clock.now();
      const waitMs = tries < callTriesMax ? Math.min(retryMs, leftMs) : leftMs;
      cancelTimer = state.clock.after(Math.max(0, waitMs), () => {
        if (state.clock.now() < deadlineMs && tries < callTriesMax) {
          transmit(tries + 1);
        } else if (!isHello && state.phase === 'lost') {
          // Nobody could answer: its time begins anew with the next line.
          deadlineMs = state.clock.now() + timeoutMs;
          transmit(1);
        } else {
          fail(callTimeout(state, command.name, timeoutMs));
        }
      });
    };
    state.calls.set(id, { code: command.code, order: state.callsStarted++, onReply, reject: fail });
    signal?.addEventListener('abort', onAbort, { once: true });
    transmit(1);
  });
}

function copyOf({ view, offset }: Reader): Reader {
  const body = view.buffer.slice(view.byteOffset + offset, view.byteOffset + view.byteLength);
  return { view: new DataView(body), offset: 0 };
}

function refusalOf(name: string, command: string, reply: Exclude<Reply<unknown>, { reply: 'ok' }>) {
  const cause = new ReplyError(reply.reply, reply.reason);
  const message = `${name} refused ${command}: ${reply.reply} (${reply.reason})`;
  return new LastspinError('DEVICE_REFUSED', message, { cause });
}

function callTimeout(state: State, command: string, timeoutMs: number): LastspinError {
  const message = `${state.name} did not answer ${command} within ${timeoutMs / 1000} s`;
  return new LastspinError('LINK_TIMEOUT', message);
}

/** The session was lost: what was out counts as not done (L-5). */
export function rejectCalls(state: State): void {
  const reason = 'it restarted before it answered';
  const cause = new RestartError('busy', reason);
  for (const [, pending] of [...state.calls]) {
    if (pending.code === commands.hello.code) continue;
    const message = `${state.name} did not do what it was asked: ${reason}`;
    pending.reject(new LastspinError('DEVICE_REFUSED', message, { cause }));
  }
}
