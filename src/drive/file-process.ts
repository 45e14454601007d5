/** The parent's end of the reading process: starting it, asking it, hearing it, leaving it
 * behind.
 *
 * A process, since a blocking read of a device that hangs cannot be cancelled: a thread that
 * sits in it (a worker, or one of Node's own pool) would keep this program from ending. Data
 * comes over a socket pair as raw bytes: measured against a shared file in memory, the second
 * way known to Node of handing over bytes without encoding them, it is as fast, and it needs no
 * place to put the file. */

import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { LastspinError } from '../errors.js';
import {
  decodeReplyHeader,
  encodeRequest,
  type ReplyHeader,
  type RequestRecord,
  repliesDescriptor,
  replyHeaderBytes,
  requestsDescriptor,
} from './file-records.js';

export interface Reply extends ReplyHeader {
  readonly data: Uint8Array;
}

export interface ReaderEvents {
  /** A reply has begun to arrive: its read is over, whatever its data still takes. */
  header(header: ReplyHeader): void;
  reply(reply: Reply): void;
  /** The process ended without having been abandoned. `reason` is a phrase for people. */
  ended(reason: string): void;
}

export interface ReaderProcess {
  /** `payload` goes behind the request's record. */
  send(request: RequestRecord, payload?: Uint8Array): void;
  /** While in use, the process keeps this program running; otherwise it does not. */
  setInUse(inUse: boolean): void;
  /** Kills it and forgets it at once: no event follows. `onExit` is called when it has really gone,
   * which a process in uninterruptible sleep may never do. */
  abandon(onExit: () => void): void;
}

/** Connects to a process that `spawnReader` started. Throws LINK_CLOSED where none could be. */
export function connectReader(child: ChildProcess, events: ReaderEvents): ReaderProcess {
  // Without descriptors to spare, Node returns a child without pipes, whatever the types say.
  const requests = child.stdio?.[requestsDescriptor] as Socket | undefined;
  const replies = child.stdio?.[repliesDescriptor] as Socket | undefined;
  if (!requests || !replies) {
    child.on('error', () => {});
    throw new LastspinError(
      'LINK_CLOSED',
      'the reading process could not be started: too many open files (see `ulimit -n`)',
    );
  }
  let abandoned = false;
  let ended = false;

  const end = (reason: string) => {
    if (abandoned || ended) return;
    ended = true;
    events.ended(reason);
  };
  const feed = createReplyParser(events);
  replies.on('data', (bytes: Buffer) => {
    if (!abandoned) feed(bytes);
  });
  // The end of a process shows on its pipes as well; its exit says more.
  for (const pipe of [requests, replies]) pipe.on('error', () => {});
  child.on('error', (error) => end(error.message));
  child.on('close', (code, signal) => end(signal ? `killed by ${signal}` : `exit code ${code}`));
  child.unref();

  let isInUse = true;
  const setInUse = (inUse: boolean) => {
    if (inUse === isInUse) return;
    isInUse = inUse;
    for (const pipe of [requests, replies]) inUse ? pipe.ref() : pipe.unref();
  };
  setInUse(false);

  return {
    send(request, payload) {
      requests.write(encodeRequest(request));
      if (payload) requests.write(payload);
    },
    setInUse,
    abandon(onExit) {
      abandoned = true;
      if (child.exitCode !== null || child.signalCode !== null) return onExit();
      child.on('exit', onExit);
      child.kill('SIGKILL');
      for (const pipe of [requests, replies]) pipe.destroy();
    },
  };
}

/** Cuts the stream into replies. Data is copied once, from the piece that arrived into the
 * reply's own array, which is never used again. */
function createReplyParser(events: Pick<ReaderEvents, 'header' | 'reply'>) {
  const headerBuffer = Buffer.alloc(replyHeaderBytes);
  let headerFilled = 0;
  let header: ReplyHeader | undefined;
  let data = Buffer.alloc(0);
  let dataFilled = 0;

  return (piece: Buffer) => {
    let at = 0;
    while (at < piece.length) {
      if (!header) {
        const count = piece.copy(headerBuffer, headerFilled, at);
        at += count;
        headerFilled += count;
        if (headerFilled < replyHeaderBytes) return;
        header = decodeReplyHeader(headerBuffer);
        data = Buffer.allocUnsafeSlow(header.dataBytes);
        dataFilled = 0;
        events.header(header);
        if (header.kind === 'begun') {
          header = undefined;
          headerFilled = 0;
          continue;
        }
      } else {
        const count = piece.copy(data, dataFilled, at);
        at += count;
        dataFilled += count;
      }
      if (dataFilled < header.dataBytes) continue;
      const reply = { ...header, data };
      header = undefined;
      headerFilled = 0;
      events.reply(reply);
    }
  };
}
