/** Operations of an `sg:` path in one line: asked of the sending process one at a time, answered in
 * order, each within its deadline, whatever becomes of the process. */
import { strict as assert } from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../../clock.js';
import { LastspinError } from '../../errors.js';
import { abandonedCountMax, connectIoProcess, type IoProcess } from '../io-process.js';
import {
  decodeReplyHeader,
  encodeRecord,
  type Hello,
  helloId,
  replyHeaderBytes,
  type SgRecord,
  type SgReply,
} from './records.js';

/** How an operation ended. */
export type SgOutcome =
  | { readonly kind: 'reply'; readonly reply: SgReply }
  /** What the process said when it came up: nothing else was asked for, or the node does not open. */
  | { readonly kind: 'hello'; readonly hello: Hello }
  | { readonly kind: 'timeout'; readonly elapsedMs: number }
  /** Somebody ended it before it was over, or before it went out. */
  | { readonly kind: 'aborted'; readonly elapsedMs: number }
  /** Too many processes hang. */
  | { readonly kind: 'stuck' };

export type SgAsked = Omit<SgRecord, 'id'>;

export interface SgLine {
  /** Starts a process, where none runs, and opens the node. Rejects as `ask` does. */
  greet(): Promise<SgOutcome>;
  /** `deadlineMs`: after it the process is left behind. Rejects with LINK_CLOSED when the process ends by
   * itself. */
  ask(asked: SgAsked, deadlineMs: number): Promise<SgOutcome>;
  /** What has no answer yet becomes `aborted`, at once. */
  abort(): void;
  /** The next operation opens the node anew, unless one is under way. */
  reopen(): void;
  close(): void;
}

/** Opening does not wait for the kernel's error handling, only for a device that is woken. */
export const openTimeoutMs = 30_000;

const format = { doing: 'sending', headerBytes: replyHeaderBytes, decode: decodeReplyHeader };

/** Ids start again after this one, long after the first has been answered. */
const idMax = 2 ** 32 - 1;

interface Entry {
  /** Undefined: only the greeting is asked for. */
  readonly asked: SgAsked | undefined;
  readonly deadlineMs: number;
  readonly resolve: (outcome: SgOutcome) => void;
  readonly reject: (error: Error) => void;
}

/** The parts that the functions below share. */
interface Line {
  readonly spawn: () => ChildProcess;
  readonly clock: Clock;
  /** Asked and not yet settled; the first is under way. */
  readonly entries: Entry[];
  sender: IoProcess | undefined;
  /** What the running process said when it came up. */
  hello: Hello | undefined;
  abandonedCount: number;
  idLast: number;
  /** When what is under way went out. */
  startedMs: number;
  disarm: () => void;
}

/** A line whose processes `spawn` starts. Time for deadlines is `clock`'s. */
export function createSgLine(spawn: () => ChildProcess, clock: Clock): SgLine {
  const line: Line = {
    spawn,
    clock,
    entries: [],
    sender: undefined,
    hello: undefined,
    abandonedCount: 0,
    idLast: helloId,
    startedMs: 0,
    disarm: () => {},
  };
  const enqueue = (asked: SgAsked | undefined, deadlineMs: number) =>
    new Promise<SgOutcome>((resolve, reject) => {
      line.entries.push({ asked, deadlineMs, resolve, reject });
      if (line.entries.length === 1) startHead(line);
    });
  return {
    greet: () => enqueue(undefined, openTimeoutMs),
    ask: enqueue,
    abort: () => abort(line),
    reopen() {
      if (line.entries.length === 0) abandon(line);
    },
    close() {
      abort(line);
      abandon(line);
    },
  };
}

function abort(line: Line): void {
  if (line.entries.length === 0) return;
  line.disarm();
  abandon(line);
  const elapsedMs = line.clock.now() - line.startedMs;
  line.entries.splice(0).forEach(({ resolve }, at) => {
    resolve({ kind: 'aborted', elapsedMs: at === 0 ? elapsedMs : 0 });
  });
}

/** Leaves the running process behind. */
function abandon(line: Line): void {
  if (!line.sender) return;
  line.abandonedCount++;
  line.sender.abandon(() => {
    line.abandonedCount--;
  });
  line.sender = undefined;
  line.hello = undefined;
}

/** Lets the first of the line go out, to a new process where none runs. */
function startHead(line: Line): void {
  const head = line.entries[0];
  if (!head) return;
  if (!line.sender) {
    if (line.abandonedCount >= abandonedCountMax) {
      settle(line, { kind: 'stuck' });
      return;
    }
    if (!startSender(line)) return;
  }
  line.sender?.setInUse(true);
  if (line.hello) askHead(line, head, line.hello);
  else arm(line, openTimeoutMs);
}

function startSender(line: Line): boolean {
  try {
    line.sender = connectIoProcess(line.spawn(), format, {
      header: () => line.disarm(),
      reply: (reply) => receive(line, reply),
      ended: (reason) => fail(line, processEnded(reason)),
    });
    return true;
  } catch (error) {
    fail(line, error as Error);
    return false;
  }
}

function askHead(line: Line, { asked, deadlineMs }: Entry, hello: Hello): void {
  if (asked && hello.state === 'open') {
    line.idLast = (line.idLast % idMax) + 1;
    line.sender?.send(encodeRecord({ ...asked, id: line.idLast }));
    arm(line, deadlineMs);
    return;
  }
  // The next process may find a node.
  if (hello.state !== 'open') abandon(line);
  settle(line, { kind: 'hello', hello });
}

function receive(line: Line, reply: SgReply): void {
  if (reply.id === helloId) {
    line.hello = JSON.parse(Buffer.from(reply.data).toString()) as Hello;
    const head = line.entries[0];
    if (head) askHead(line, head, line.hello);
    return;
  }
  assert(reply.id === line.idLast && line.entries.length > 0, 'a reply is to what was asked last');
  settle(line, { kind: 'reply', reply });
}

/** Answers the first of the line, and goes on with what stands behind it. */
function settle(line: Line, outcome: SgOutcome): void {
  line.disarm();
  const head = line.entries.shift();
  line.sender?.setInUse(false);
  head?.resolve(outcome);
  startHead(line);
}

/** No process: what has no answer is rejected. */
function fail(line: Line, error: Error): void {
  line.disarm();
  line.sender = undefined;
  line.hello = undefined;
  for (const { reject } of line.entries.splice(0)) reject(error);
}

/** One deadline at a time. */
function arm(line: Line, timeoutMs: number): void {
  const { clock } = line;
  line.disarm();
  line.startedMs = clock.now();
  let cancel = clock.after(timeoutMs, () => {
    // A reply that waits in the socket was in time; it is only this program that is late.
    cancel = clock.after(0, () => {
      abandon(line);
      settle(line, { kind: 'timeout', elapsedMs: clock.now() - line.startedMs });
    });
  });
  line.disarm = () => cancel();
}

function processEnded(reason: string): LastspinError {
  return new LastspinError(
    'LINK_CLOSED',
    `the process that sends commands to the drive ended unexpectedly (${reason}); run the same command again`,
  );
}
