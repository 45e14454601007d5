/** Whole messages over a byte stream. */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  createFrameDecoder,
  type DiscardReason,
  encodedBytesMax,
  encodeFrame,
  noDiscards,
} from './frame.js';

/** Carries whole messages between two ends. A message handed to `onMessage` is exactly what the
 * other end sent (its frame's CRC held); some may be lost, and then nothing is said. */
export interface Link {
  /** What the other end is called in messages: `serial:/dev/ttyACM0`. */
  readonly name?: string;
  /** Queues one message, of which it takes a copy. Never throws: a link that cannot send closes. */
  send(message: Uint8Array): void;
  /** Resolves when what was sent before the call has left, so that a sender can keep its queue short; also
   * when the link closes. */
  drained(): Promise<void>;
  /** Sets the one receiver. Messages that come before there is one wait. A message is valid during the call
   * only. */
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

export interface FramedLinkOptions {
  readonly name?: string;
  /** Longest message taken, in bytes; `frameBytesMaxDefault` unless told. */
  readonly frameBytesMax?: number;
  /** How this stream is closed, where `destroy` does not (serialport). */
  readonly close?: () => void;
}

interface Outbox {
  /** `onLeft`: the bytes are not needed any more. */
  write(bytes: Uint8Array, onLeft?: () => void): void;
  drained(): Promise<void>;
  /** Nothing is written any more, and nobody waits. */
  close(): void;
}

/** Writes to a stream and knows when all has left. `onStuck`: the peer does not read. */
function createOutbox(duplex: Duplex, onStuck: () => void): Outbox {
  const waiters: { readonly until: number; readonly resolve: () => void }[] = [];
  let sent = 0;
  let left = 0;
  let closed = false;

  function release(): void {
    while (waiters[0] && (closed || waiters[0].until <= left)) waiters.shift()!.resolve();
  }

  return {
    write(bytes, onLeft) {
      if (closed) return;
      if (duplex.writableLength > sendQueueBytesMax) {
        onStuck();
        return;
      }
      sent++;
      duplex.write(bytes, () => {
        left++;
        onLeft?.();
        release();
      });
    },
    drained() {
      if (closed || left === sent) return Promise.resolve();
      return new Promise((resolve) => waiters.push({ until: sent, resolve }));
    },
    close() {
      closed = true;
      release();
    },
  };
}

const longBytes = 4096;
const sparesMax = 8;

function frameRoom(message: Uint8Array): Buffer {
  return Buffer.allocUnsafeSlow(encodedBytesMax(message.length));
}

/** A link over a duplex byte stream: a serial port, a socket, a pipe. */
export function framedLink(duplex: Duplex, options: FramedLinkOptions = {}): Link {
  const discarded = noDiscards();
  const decoder = createFrameDecoder({
    frameBytesMax: options.frameBytesMax ?? frameBytesMaxDefault,
    discarded,
    onMessage: (message) => {
      if (!ended) receive?.(message);
    },
  });
  const outbox = createOutbox(duplex, () => finish(new Error('the other end stopped reading')));
  const spares: Buffer[] = [];
  const closeHandlers: ((error?: Error) => void)[] = [];
  let receive: ((message: Uint8Array) => void) | undefined;
  let ended: { readonly error?: Error } | undefined;

  // Idempotent: serialport emits 'close' twice when a write meets an unplug, and 'error' before it.
  function finish(error?: Error): void {
    if (ended) return;
    ended = error ? { error } : {};
    duplex.off('data', decoder.push);
    if (options.close) options.close();
    else duplex.destroy();
    outbox.close();
    for (const handler of closeHandlers) handler(error);
  }

  // A small request behind a small answer would wait for the peer's delayed acknowledgement.
  if (duplex instanceof Socket) duplex.setNoDelay(true);
  duplex.on('error', (error) => finish(error));
  duplex.on('end', () => finish(new Error('closed by the other end')));
  duplex.on('close', (error?: unknown) =>
    finish(error instanceof Error ? error : new Error('closed')),
  );
  // F-8: what noise left in the other end's receiver ends here, and not in our first frame.
  outbox.write(Uint8Array.of(0));

  return {
    ...(options.name !== undefined && { name: options.name }),
    discarded,
    send(message) {
      // Long frames take turns in the same memory: fresh memory costs more than stuffing.
      const into = message.length < longBytes ? undefined : (spares.pop() ?? frameRoom(message));
      outbox.write(encodeFrame(message, into), () => {
        if (into && spares.length < sparesMax) spares.push(into);
      });
    },
    drained: () => outbox.drained(),
    onMessage(handler) {
      // The stream flows from the first receiver on; until then back pressure holds the bytes.
      if (!receive) duplex.on('data', decoder.push);
      receive = handler;
    },
    onClose(handler) {
      if (ended) handler(ended.error);
      else closeHandlers.push(handler);
    },
    close: () => finish(),
  };
}
