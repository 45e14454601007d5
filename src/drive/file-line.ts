/** Operations of a `file:` drive in one line: asked of the reading process in order, answered in order,
 * each within its deadline, whatever becomes of the process. */

import { strict as assert } from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../clock.js';
import { LastspinError } from '../errors.js';
import { connectReader, type ReaderProcess, type Reply } from './file-process.js';
import { helloId, type RequestRecord } from './file-records.js';

/** How an operation ended: as the process said, or without it. */
export type Answer =
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'timeout'; readonly elapsedMs: number }
  | { readonly kind: 'not-attempted' | 'gone' };

export interface OperationLine {
  /** Answers come in the order of the calls. Rejects with LINK_CLOSED when the process ends by itself. */
  ask(request: Omit<RequestRecord, 'id'>, timeoutMs: number): Promise<Answer>;
  /** Reads that have no answer yet become `not-attempted`, at once. */
  abortReads(): void;
  close(): void;
}

/** Opening waits for the kernel's own error handling of a drive that hangs, 5 to 35 s a step, or for a
 * spin-up; beyond that it counts as no answer. */
export const openTimeoutMs = 30_000;

/** Processes that were killed and have not ended, since their read never returned. Each holds some
 * 50 MB and one more reference to the device; a path that has swallowed this many without giving one
 * back needs its power cut, not a ninth. */
export const abandonedCountMax = 8;

/** Ids start again after this one, long after the first has been answered. */
const idMax = 2 ** 32 - 1;

interface Entry {
  readonly request: RequestRecord;
  readonly timeoutMs: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  /** Known before its turn. */
  answer?: Answer;
}

/** A line whose processes `spawn` starts. Time for deadlines is `clock`'s. */
export function createOperationLine(spawn: () => ChildProcess, clock: Clock): OperationLine {
  const entries: Entry[] = [];
  const readers = createReaders(spawn);
  const deadline = createDeadline(clock);
  let idLast = helloId;
  let stoppedBatch: number | undefined;

  /** Settles what is known at the head of the line. */
  const advance = () => {
    while (entries[0]?.answer) {
      const settled = entries.shift()!;
      settled.resolve(settled.answer!);
    }
    readers.setInUse(entries.length > 0);
  };
  /** Each operation's deadline runs from when the one before is over: a drive does one at a time. */
  const arm = () => {
    const head = entries[0];
    if (!head) return deadline.disarm();
    deadline.arm(readers.hasOpened() ? head.timeoutMs : openTimeoutMs, expire);
  };
  const expire = (elapsedMs: number) => {
    const { request } = entries[0]!;
    readers.abandon();
    entries[0]!.answer = { kind: 'timeout', elapsedMs };
    if (request.operation === 'read' && request.stopOn.timeout) {
      stoppedBatch = request.batch;
      answerReads(entries, { kind: 'not-attempted' }, stoppedBatch);
    }
    startAnew();
  };
  const fail = (error: Error) => {
    deadline.disarm();
    for (const entry of entries.splice(0)) {
      if (entry.answer) entry.resolve(entry.answer);
      else entry.reject(error);
    }
  };
  const receive = (reply: Reply) => {
    if (reply.id !== helloId) {
      const head = entries[0];
      assert(head?.request.id === reply.id, 'replies come in the order of the requests');
      head.answer = { kind: 'reply', reply };
      // The process has applied the stop already; here for what is asked of its successor.
      if (isStop(head.request, reply)) stoppedBatch = head.request.batch;
      advance();
    }
    arm();
  };
  /** Hands what has no answer to a new process. */
  const startAnew = () => {
    deadline.disarm();
    advance();
    if (entries.length === 0) return;
    const refusal = readers.start({ header: deadline.disarm, reply: receive, ended: fail });
    if (refusal instanceof Error) return fail(refusal);
    if (refusal) answerAll(entries, refusal);
    advance();
    for (const { answer, request } of entries) if (!answer) readers.send(request);
    arm();
  };

  return {
    ask: (asked, timeoutMs) =>
      new Promise((resolve, reject) => {
        idLast = (idLast % idMax) + 1;
        const request = { ...asked, id: idLast };
        const entry: Entry = { request, timeoutMs, resolve, reject };
        entries.push(entry);
        if (request.operation === 'read' && request.batch === stoppedBatch) {
          entry.answer = { kind: 'not-attempted' };
          return advance();
        }
        if (!readers.isRunning()) return startAnew();
        readers.send(request);
        readers.setInUse(true);
        if (entries.length === 1) arm();
      }),
    abortReads() {
      if (!entries.some(({ request, answer }) => request.operation === 'read' && !answer)) return;
      readers.abandon();
      answerReads(entries, { kind: 'not-attempted' });
      startAnew();
    },
    close() {
      deadline.disarm();
      readers.abandon();
      answerAll(entries, { kind: 'not-attempted' });
      advance();
    },
  };
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
function createReaders(spawn: () => ChildProcess) {
  let running: ReaderProcess | undefined;
  /** It has opened the path: what it does from here on is what it was asked. */
  let hasOpened = false;
  let abandonedCount = 0;

  return {
    isRunning: () => running !== undefined,
    hasOpened: () => hasOpened,
    send: (request: RequestRecord) => running?.send(request),
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
        running = connectReader(spawn(), {
          header: events.header,
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
      let isOver = false;
      const cancel = clock.after(timeoutMs, () => {
        // A reply that waits in the socket was in time; it is only this program that is late.
        setImmediate(() => {
          if (isOver) return;
          isOver = true;
          onExpired(clock.now() - startedMs);
        });
      });
      disarm = () => {
        isOver = true;
        cancel();
      };
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
