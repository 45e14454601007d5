/** Frames: a message and its CRC-32, COBS-stuffed so that no zero byte remains, ended by a zero
 * (PROTOCOL.md F-1 to F-8). A receiver that starts anywhere, or loses anything, is right again at
 * the next zero. */
import { crc32 } from 'node:zlib';

/** Why a frame was thrown away. Never the drive's fault, so never more than a count (F-7). */
export type DiscardReason = 'tooLong' | 'badCobs' | 'badCrc' | 'tooShort';
export type DiscardCounts = Record<DiscardReason, number>;

const crcBytes = 4;
/** One message byte and the CRC: less carries nothing. */
const decodedBytesMin = 1 + crcBytes;
/** Longest run of non-zero bytes behind one COBS code byte. */
const runBytesMax = 254;

/** Counts that start at zero, one for each reason. */
export function noDiscards(): DiscardCounts {
  return { tooLong: 0, badCobs: 0, badCrc: 0, tooShort: 0 };
}

/** Bytes that a message of `messageBytes` takes on the wire at most, terminating zero included. */
export function encodedBytesMax(messageBytes: number): number {
  const stuffed = messageBytes + crcBytes;
  return stuffed + Math.floor(stuffed / runBytesMax) + 2;
}

/** The frame that carries `message` (1 byte or more), terminating zero included (F-1 to F-4). */
export function encodeFrame(message: Uint8Array): Uint8Array {
  const plain = new Uint8Array(message.length + crcBytes);
  plain.set(message);
  new DataView(plain.buffer).setUint32(message.length, crc32(message), true);

  const frame = new Uint8Array(encodedBytesMax(message.length));
  let codeAt = 0;
  let writeAt = 1;
  for (let readAt = 0; readAt < plain.length; readAt++) {
    const byte = plain[readAt]!;
    if (byte !== 0) frame[writeAt++] = byte;
    const runBytes = writeAt - codeAt - 1;
    // F-3: a full run that ends the frame is not followed by an empty one.
    if (byte === 0 || (runBytes === runBytesMax && readAt + 1 < plain.length)) {
      frame[codeAt] = runBytes + 1;
      codeAt = writeAt++;
    }
  }
  frame[codeAt] = writeAt - codeAt;
  frame[writeAt++] = 0;
  return frame.subarray(0, writeAt);
}

/** The message in a frame without its terminating zero, in memory of its own; or why there is
 * none. */
export function decodeFrame(stuffed: Uint8Array): Uint8Array | DiscardReason {
  // Each run loses its code byte, so this never falls short.
  const plain = new Uint8Array(stuffed.length);
  let plainBytes = 0;
  let readAt = 0;
  while (readAt < stuffed.length) {
    const code = stuffed[readAt]!;
    const runEnd = readAt + code;
    if (code === 0 || runEnd > stuffed.length) return 'badCobs';
    for (readAt++; readAt < runEnd; readAt++) {
      const byte = stuffed[readAt]!;
      if (byte === 0) return 'badCobs';
      plain[plainBytes++] = byte;
    }
    if (code <= runBytesMax && runEnd < stuffed.length) plain[plainBytes++] = 0;
  }
  if (plainBytes < decodedBytesMin) return 'tooShort';
  const message = plain.subarray(0, plainBytes - crcBytes);
  const crc = new DataView(plain.buffer).getUint32(message.length, true);
  return crc32(message) === crc ? message : 'badCrc';
}

/** Cuts a byte stream at its zeros and lets only frames pass that are no longer than agreed. The
 * limit acts before a byte is kept, so no peer can make the receiver grow; each byte is looked at
 * once, however the stream is split. `onFrame` gets each non-empty frame without its zero: a view
 * that is valid only during the call. */
export function createFrameLimiter(options: {
  /** Longest message, in bytes, that a frame may carry. */
  readonly frameBytesMax: number;
  readonly onFrame: (stuffed: Uint8Array) => void;
  readonly discarded: DiscardCounts;
}): { push(bytes: Uint8Array): void } {
  const stuffedBytesMax = encodedBytesMax(options.frameBytesMax) - 1;
  const held = new Uint8Array(stuffedBytesMax);
  let heldBytes = 0;
  let skipping = false;

  function keep(bytes: Uint8Array): void {
    if (skipping) return;
    if (heldBytes + bytes.length > stuffedBytesMax) {
      // F-6: counted once, and nothing of it is kept until the next zero.
      options.discarded.tooLong++;
      skipping = true;
      heldBytes = 0;
      return;
    }
    held.set(bytes, heldBytes);
    heldBytes += bytes.length;
  }

  function finish(tail: Uint8Array): void {
    if (heldBytes === 0 && !skipping && tail.length <= stuffedBytesMax) {
      // The usual case, a frame within one piece of the stream, is not copied.
      if (tail.length > 0) options.onFrame(tail);
      return;
    }
    keep(tail);
    const frame = held.subarray(0, heldBytes);
    const whole = !skipping;
    heldBytes = 0;
    skipping = false;
    if (whole) options.onFrame(frame);
  }

  return {
    push(bytes) {
      let from = 0;
      for (let zero = bytes.indexOf(0); zero !== -1; zero = bytes.indexOf(0, from)) {
        finish(bytes.subarray(from, zero));
        from = zero + 1;
      }
      if (from < bytes.length) keep(bytes.subarray(from));
    },
  };
}

/** Turns a byte stream into messages. Linear in its input whatever the bytes and their splitting,
 * bounded by `frameBytesMax` (longest message in bytes), never throws; what is not a good frame is
 * counted in `discarded` and dropped up to the next zero (F-5 to F-7). */
export function createFrameDecoder(options: {
  readonly frameBytesMax: number;
  readonly onMessage: (message: Uint8Array) => void;
  readonly discarded: DiscardCounts;
}): { push(bytes: Uint8Array): void } {
  const { onMessage, discarded } = options;
  return createFrameLimiter({
    frameBytesMax: options.frameBytesMax,
    discarded,
    onFrame(stuffed) {
      const message = decodeFrame(stuffed);
      if (typeof message === 'string') discarded[message]++;
      else onMessage(message);
    },
  });
}
