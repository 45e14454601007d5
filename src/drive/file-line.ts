/** Operations of a `file:` drive in one line: asked of the reading process in order, answered in
 * order, each within its deadline, whatever becomes of the process. */

import { strict as assert } from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../clock.js';
import { LastspinError } from '../errors.js';
import type { StretchHash } from '../segment-hasher.js';
import {
  decodeReplyHeader,
  encodeRequest,
  helloId,
  type Operation,
  type ReplyHeader,
  type RequestRecord,
  replyHeaderBytes,
  type StoreOrder,
} from './file-records.js';
import {
  abandonedCountMax,
  connectIoProcess,
  type IoProcess,
  type ReplyFormat,
} from './io-process.js';

/** How an operation ended: as the process said, or without it. */
export type Answer =
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'timeout'; readonly elapsedMs: number }
  | { readonly kind: 'not-attempted' | 'gone' };

export interface OperationLine {
  /** Answers come in the order of the calls. Rejects with LINK_CLOSED when the process ends by
   * itself. */
  ask(request: Omit<RequestRecord, 'id'>, timeoutMs: number): Promise<Answer>;
  /** Tells the process, and every one that takes its place, where reads are to be put. Answers as `ask`. */
  store(order: StoreOrder): Promise<Answer>;
  /** Reads that have no answer yet become `not-attempted`, at once. */
  abortReads(): void;
  /** Resolves when the processes have ended, or soon after for one that hangs. */
  close(): Promise<void>;
}

/** Opening waits for the kernel's own error handling of a drive that hangs, 5 to 35 s a step, or
 * for a spin-up; beyond that it counts as no answer. */
export const openTimeoutMs = 30_000;

export type Reply = ReplyHeader & { readonly data: Uint8Array };

const format: ReplyFormat<ReplyHeader> = {
  doing: 'reading',
  headerBytes: replyHeaderBytes,
  decode: decodeReplyHeader,
  // The read is over, and what it brought is being put into the image; or something has been hashed.
  isNotice: ({ kind }) => kind === 'begun' || kind === 'hashed',
};

/** What was killed ends within milliseconds, unless it hangs in the kernel. */
const closeWaitMs = 500;

/** Ids start again after this one, long after the first has been answered. */
const idMax = 2 ** 32 - 1;

interface Entry {
  readonly request: RequestRecord;
  /** What goes behind the request. */
  readonly payload?: Uint8Array;
  readonly timeoutMs: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  /** Known before its turn. */
  answer?: Answer;
}

/** The parts that the functions below share. */
interface Line {
  /** Asked and not yet settled, oldest first. */
  readonly entries: Entry[];
  readonly readers: ReturnType<typeof createReaders>;
  readonly deadline: ReturnType<typeof createDeadline>;
  /** The last batch that a stop ended. */
  stoppedBatch: number | undefined;
  /** What a new process is told first. */
  storing: { readonly request: RequestRecord; readonly payload: Uint8Array } | undefined;
}

/** A line whose processes `spawn` starts. Time for deadlines is `clock`'s. `onHash` is told what they hashed. */
export function createOperationLine(
  spawn: () => ChildProcess,
  clock: Clock,
  onHash: (hash: StretchHash) => void = () => {},
): OperationLine {
  const line: Line = {
    entries: [],
    readers: createReaders(spawn, onHash),
    deadline: createDeadline(clock),
    stoppedBatch: undefined,
    storing: undefined,
  };
  const { entries, readers } = line;
  let idLast = helloId;

  function ask(
    asked: Omit<RequestRecord, 'id'>,
    timeoutMs: number,
    payload?: Uint8Array,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      idLast = (idLast % idMax) + 1;
      const request = { ...asked, id: idLast };
      const entry: Entry = { request, timeoutMs, resolve, reject, ...(payload && { payload }) };
      entries.push(entry);
      if (request.operation === 'read' && request.batch === line.stoppedBatch) {
        entry.answer = { kind: 'not-attempted' };
        return advance(line);
      }
      if (!readers.isRunning()) return startAnew(line);
      readers.send(request, payload);
      readers.setInUse(true);
      if (entries.length === 1) arm(line);
    });
  }

  return {
    ask,
    async store(order) {
      const payload = Buffer.from(JSON.stringify(order));
      const request = { ...plainRequest('store'), countBytes: payload.length };
      const answer = await ask(request, openTimeoutMs, payload);
      line.storing = { request: { ...request, id: helloId }, payload };
      return answer;
    },
    abortReads() {
      if (!entries.some(({ request, answer }) => request.operation === 'read' && !answer)) return;
      readers.abandon();
      answerReads(entries, { kind: 'not-attempted' });
      startAnew(line);
    },
    async close() {
      line.deadline.disarm();
      readers.abandon();
      answerAll(entries, { kind: 'not-attempted' });
      advance(line);
      const limit = new AbortController();
      const tooLong = clock.sleep(closeWaitMs, limit.signal).catch(() => {});
      await Promise.race([readers.allGone(), tooLong]);
      limit.abort();
    },
  };
}

/** A request that is no read. */
export function plainRequest(operation: Exclude<Operation, 'read'>): Omit<RequestRecord, 'id'> {
  return {
    operation,
    offsetBytes: 0,
    countBytes: 0,
    slowMs: 0,
    batch: 0,
    stopOn: { fault: false, slow: false, timeout: false },
  };
}

/** Settles what is known at the head of the line. */
function advance({ entries, readers }: Line): void {
  while (entries[0]?.answer) {
    const settled = entries.shift()!;
    settled.resolve(settled.answer!);
  }
  readers.setInUse(entries.length > 0);
}

/** Each operation's deadline runs from when the one before is over: a drive does one at a time. */
function arm(line: Line): void {
  const head = line.entries[0];
  if (!head) {
    line.deadline.disarm();
    return;
  }
  const timeoutMs = line.readers.hasOpened() ? head.timeoutMs : openTimeoutMs;
  line.deadline.arm(timeoutMs, (elapsedMs) => expire(line, elapsedMs));
}

/** The operation at the head was not answered in time: its process is left behind. */
function expire(line: Line, elapsedMs: number): void {
  const head = line.entries[0]!;
  line.readers.abandon();
  head.answer = { kind: 'timeout', elapsedMs };
  const { operation, batch, stopOn } = head.request;
  if (operation === 'read' && stopOn.timeout) {
    line.stoppedBatch = batch;
    answerReads(line.entries, { kind: 'not-attempted' }, batch);
  }
  startAnew(line);
}

function receive(line: Line, reply: Reply): void {
  if (reply.id !== helloId) {
    const head = line.entries[0];
    assert(head?.request.id === reply.id, 'replies come in the order of the requests');
    head.answer = { kind: 'reply', reply };
    // The process has applied the stop already; here for what is asked of its successor.
    if (isStop(head.request, reply)) line.stoppedBatch = head.request.batch;
    advance(line);
  }
  arm(line);
}

/** Hands what has no answer to a new process. */
function startAnew(line: Line): void {
  const { entries, readers, deadline } = line;
  deadline.disarm();
  advance(line);
  if (entries.length === 0) return;
  const refusal = readers.start({
    header: deadline.disarm,
    reply: (reply) => receive(line, reply),
    ended: (error) => fail(line, error),
  });
  if (refusal instanceof Error) {
    fail(line, refusal);
    return;
  }
  if (refusal) answerAll(entries, refusal);
  else if (line.storing) readers.send(line.storing.request, line.storing.payload);
  advance(line);
  for (const { answer, request, payload } of entries) if (!answer) readers.send(request, payload);
  arm(line);
}

/** No process: what has no answer is rejected. */
function fail(line: Line, error: Error): void {
  line.deadline.disarm();
  for (const entry of line.entries.splice(0)) {
    if (entry.answer) entry.resolve(entry.answer);
    else entry.reject(error);
  }
}

function answerAll(entries: readonly Entry[], answer: Answer): void {
  for (const entry of entries) entry.answer ??= answer;
}

/** Answers the reads, of one batch where it is given, that have no answer yet. */
function answerReads(entries: readonly Entry[], answer: Answer, batch?: number): void {
  for (const entry of entries) {
    const { request } = entry;
    if (request.operation !== 'read' || (batch !== undefined && request.batch !== batch)) continue;
    entry.answer ??= answer;
  }
}

/** The running process, and how many were left behind. */
function createReaders(spawn: () => ChildProcess, onHash: (hash: StretchHash) => void) {
  let running: IoProcess | undefined;
  /** It has opened the path: what it does from here on is what it was asked. */
  let hasOpened = false;
  let abandonedCount = 0;
  let onAllGone = () => {};

  return {
    allGone: () =>
      new Promise<void>((resolve) => {
        if (abandonedCount === 0) resolve();
        onAllGone = resolve;
      }),
    isRunning: () => running !== undefined,
    hasOpened: () => hasOpened,
    send: (request: RequestRecord, payload?: Uint8Array) =>
      running?.send(encodeRequest(request), ...(payload ? [payload] : [])),
    setInUse: (inUse: boolean) => running?.setInUse(inUse),
    /** Starts a process. Returns why not: `gone` beyond the bound, or an error. */
    start(events: {
      header(): void;
      reply(reply: Reply): void;
      ended(error: LastspinError): void;
    }): Answer | Error | undefined {
      if (abandonedCount >= abandonedCountMax) return { kind: 'gone' };
      hasOpened = false;
      try {
        running = connectIoProcess(spawn(), format, {
          header: events.header,
          notice: ({ hash }) => hash && onHash(hash),
          reply(reply) {
            hasOpened = true;
            events.reply(reply);
          },
          ended(reason) {
            running = undefined;
            events.ended(processEnded(reason));
          },
        });
      } catch (error) {
        return error as Error;
      }
      return undefined;
    },
    abandon() {
      if (!running) return;
      abandonedCount++;
      running.abandon(() => {
        abandonedCount--;
        if (abandonedCount === 0) onAllGone();
      });
      running = undefined;
    },
  };
}

/** One deadline at a time. */
function createDeadline(clock: Clock) {
  let disarm = () => {};
  return {
    disarm: () => disarm(),
    arm(timeoutMs: number, onExpired: (elapsedMs: number) => void) {
      disarm();
      const startedMs = clock.now();
      let cancel = clock.after(timeoutMs, () => {
        // A reply that waits in the socket was in time; it is only this program that is late.
        // Another turn of the event loop hears it.
        cancel = clock.after(0, () => onExpired(clock.now() - startedMs));
      });
      disarm = () => cancel();
    },
  };
}

function isStop({ operation, stopOn }: RequestRecord, { kind }: Reply): boolean {
  if (operation !== 'read') return false;
  return (
    (kind === 'slow' && stopOn.slow) || ((kind === 'fault' || kind === 'gone') && stopOn.fault)
  );
}

function processEnded(reason: string): LastspinError {
  return new LastspinError(
    'LINK_CLOSED',
    `the process that reads the drive ended unexpectedly (${reason}); run the same command again`,
  );
}
