/** Whole messages over a byte stream. */
import { Socket } from 'node:net';
import { type Duplex, Transform } from 'node:stream';
import { DelimiterParser } from '@serialport/parser-delimiter';
import {
  createFrameLimiter,
  type DiscardCounts,
  type DiscardReason,
  decodeFrame,
  encodeFrame,
  noDiscards,
} from './frame.js';

/** Carries whole messages between two ends. A message handed to `onMessage` is exactly what the
 * other end sent (its frame's CRC held); some may be lost, and then nothing is said. */
export interface Link {
  /** What the other end is called in messages: `serial:/dev/ttyACM0`. */
  readonly name?: string;
  /** Queues one message. Never throws: a link that cannot send closes. */
  send(message: Uint8Array): void;
  /** Resolves when what was sent has left, so that a sender can keep its queue short; also when the
   * link closes. */
  drained(): Promise<void>;
  /** Sets the one receiver. Messages that come before there is one wait. */
  onMessage(handler: (message: Uint8Array) => void): void;
  /** Called once when the link ends; `error` is absent after an orderly `close`. */
  onClose(handler: (error?: Error) => void): void;
  close(): void;
  /** What line noise cost so far; nothing vanishes uncounted. */
  readonly discarded: Readonly<Record<DiscardReason, number>>;
}

/** Longest message that a laptop takes: at 3 Mbaud a tenth of a second, so that a lost frame is
 * cheap to send again and a status is not kept waiting; long enough that framing costs TCP little.
 * */
export const frameBytesMaxDefault = 32_768;

/** A peer that leaves this much unread for its own requests or answers has stopped reading. */
const sendQueueBytesMax = 8 * 1024 * 1024;

const delimiter = Uint8Array.of(0);

/** Hands on whole frames only. `DelimiterParser` alone neither has a limit nor is linear: it
 * joins and scans all it holds again for every piece of an unfinished frame. Behind this it never
 * holds one. */
function limitingTransform(frameBytesMax: number, discarded: DiscardCounts): Transform {
  const limiter = createFrameLimiter({
    frameBytesMax,
    discarded,
    // The frame is a view that does not outlive the call; `concat` copies.
    onFrame: (stuffed) => transform.push(Buffer.concat([stuffed, delimiter])),
  });
  const transform: Transform = new Transform({
    transform(bytes: Buffer, _encoding, done) {
      limiter.push(bytes);
      done();
    },
  });
  return transform;
}

export interface FramedLinkOptions {
  readonly name?: string;
  /** Longest message taken, in bytes; `frameBytesMaxDefault` unless told. */
  readonly frameBytesMax?: number;
  /** How this stream is closed, where `destroy` does not (serialport). */
  readonly close?: () => void;
}

interface Outbox {
  write(bytes: Uint8Array): void;
  drained(): Promise<void>;
  /** Nothing is written any more, and nobody waits. */
  close(): void;
}

/** Writes to a stream and knows when all has left. `onStuck`: the peer does not read. */
function createOutbox(duplex: Duplex, onStuck: () => void): Outbox {
  const waiters: (() => void)[] = [];
  let unsent = 0;
  let closed = false;

  function release(): void {
    for (const resolve of waiters.splice(0)) resolve();
  }

  return {
    write(bytes) {
      if (closed) return;
      if (duplex.writableLength > sendQueueBytesMax) {
        onStuck();
        return;
      }
      unsent++;
      duplex.write(bytes, () => {
        unsent--;
        if (unsent === 0) release();
      });
    },
    drained() {
      if (closed || unsent === 0) return Promise.resolve();
      return new Promise((resolve) => waiters.push(resolve));
    },
    close() {
      closed = true;
      release();
    },
  };
}

/** A link over a duplex byte stream: a serial port, a socket, a pipe. */
export function framedLink(duplex: Duplex, options: FramedLinkOptions = {}): Link {
  const discarded = noDiscards();
  const limiter = limitingTransform(options.frameBytesMax ?? frameBytesMaxDefault, discarded);
  // Object mode keeps frames apart whatever the state of the stream.
  const parser = new DelimiterParser({ delimiter: [0], readableObjectMode: true });
  const outbox = createOutbox(duplex, () => finish(new Error('the other end stopped reading')));
  const closeHandlers: ((error?: Error) => void)[] = [];
  let receive: ((message: Uint8Array) => void) | undefined;
  let ended: { readonly error?: Error } | undefined;

  // Idempotent: serialport emits 'close' twice when a write meets an unplug, and 'error' before it.
  function finish(error?: Error): void {
    if (ended) return;
    ended = error ? { error } : {};
    duplex.unpipe(limiter);
    if (options.close) options.close();
    else duplex.destroy();
    outbox.close();
    for (const handler of closeHandlers) handler(error);
  }

  function take(stuffed: Buffer): void {
    if (ended || stuffed.length === 0) return;
    const message = decodeFrame(stuffed);
    if (typeof message === 'string') discarded[message]++;
    else receive?.(message);
  }

  // A small request behind a small answer would wait for the peer's delayed acknowledgement.
  if (duplex instanceof Socket) duplex.setNoDelay(true);
  duplex.on('error', (error) => finish(error));
  duplex.on('end', () => finish(new Error('closed by the other end')));
  duplex.on('close', (error?: unknown) =>
    finish(error instanceof Error ? error : new Error('closed')),
  );
  duplex.pipe(limiter).pipe(parser);
  // F-8: what noise left in the other end's receiver ends here, and not in our first frame.
  outbox.write(delimiter);

  return {
    ...(options.name !== undefined && { name: options.name }),
    discarded,
    send: (message) => outbox.write(encodeFrame(message)),
    drained: () => outbox.drained(),
    onMessage(handler) {
      // The parser flows from the first receiver on; until then back pressure holds the bytes.
      if (!receive) parser.on('data', take);
      receive = handler;
    },
    onClose(handler) {
      if (ended) handler(ended.error);
      else closeHandlers.push(handler);
    },
    close: () => finish(),
  };
}
