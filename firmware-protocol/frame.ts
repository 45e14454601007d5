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

/** The frame that carries `message` (1 byte or more), terminating zero included (F-1 to F-4); in `into`
 * where that is given and large enough. */
export function encodeFrame(message: Uint8Array, into?: Buffer): Uint8Array {
  const plain = plainRoom(message.length + crcBytes);
  plain.set(message);
  plain.writeUInt32LE(crc32(message), message.length);
  const bytes = encodedBytesMax(message.length);
  const frame = into && into.length >= bytes ? into : room(bytes);
  const end = isDense(plain) ? stuffBytes(plain, frame) : stuffSegments(plain, frame);
  frame[end] = 0;
  return frame.subarray(0, end + 1);
}

/** Memory that is not shared, and where it is much not cleared either: all of it is written. */
function room(bytes: number): Buffer {
  return bytes < roomClearedMax ? Buffer.alloc(bytes) : Buffer.allocUnsafeSlow(bytes);
}
const roomClearedMax = 4096;

let plainScratch = Buffer.alloc(0);

/** Room for a message and its CRC while it is being stuffed. */
function plainRoom(bytes: number): Buffer {
  if (plainScratch.length < bytes) plainScratch = Buffer.allocUnsafeSlow(bytes);
  return plainScratch.subarray(0, bytes);
}

const samplesMax = 64;
const denseSamples = 8;

/** Whether so many bytes are zero that runs are short: judged by a few of them. */
function isDense(plain: Uint8Array): boolean {
  const step = Math.ceil(plain.length / samplesMax);
  let zeros = 0;
  for (let at = 0; at < plain.length; at += step) if (plain[at] === 0) zeros++;
  return zeros >= denseSamples;
}

/** Stuffs byte by byte. Returns where the frame ends. */
function stuffBytes(plain: Uint8Array, frame: Uint8Array): number {
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
  return writeAt;
}

/** Where the codes of a segment go; kept, so that a frame costs no memory for it. */
const codePlaces: number[] = [];

/** The same by segments, three times as fast where zeros are few: every zero becomes the code of the run
 * behind it in its own place, so that bytes only move where a full run needs a code of its own. Returns
 * where the frame ends. */
function stuffSegments(plain: Buffer, frame: Buffer): number {
  let segmentFrom = 0;
  let runFrom = 0;
  /** Where the segment goes; its first code stands before it. */
  let writeAt = 1;
  let zeroAt = nextZero(plain, 0);
  codePlaces.length = 0;
  const endSegment = (end: number) => {
    frame.set(plain.subarray(segmentFrom, end), writeAt);
    let codeAt = writeAt - 1;
    for (const place of codePlaces) {
      frame[codeAt] = place - codeAt;
      codeAt = place;
    }
    writeAt += end - segmentFrom;
    frame[codeAt] = writeAt - codeAt;
    codePlaces.length = 0;
  };
  for (;;) {
    if (zeroAt - runFrom >= runBytesMax && runFrom + runBytesMax < plain.length) {
      runFrom += runBytesMax;
      endSegment(runFrom);
      segmentFrom = runFrom;
      writeAt++;
    } else if (zeroAt < plain.length) {
      codePlaces.push(writeAt + zeroAt - segmentFrom);
      runFrom = zeroAt + 1;
      zeroAt = nextZero(plain, runFrom);
    } else {
      endSegment(plain.length);
      return writeAt;
    }
  }
}

/** A zero that is not near is found faster by the system. */
const nearBytes = 24;

/** Where the next zero stands, or the length where there is none. */
function nextZero(plain: Buffer, from: number): number {
  const nearEnd = Math.min(plain.length, from + nearBytes);
  for (let at = from; at < nearEnd; at++) if (plain[at] === 0) return at;
  const at = nearEnd < plain.length ? plain.indexOf(0, nearEnd) : -1;
  return at === -1 ? plain.length : at;
}

/** The message in a frame without its terminating zero, in memory of its own; or why there is
 * none. */
export function decodeFrame(stuffed: Uint8Array): Uint8Array | DiscardReason {
  if (stuffed.indexOf(0) !== -1) return 'badCobs';
  const plain = room(stuffed.length);
  plain.set(stuffed);
  return decodeInPlace(plain);
}

/** The same in the memory of the frame, which has no zero. */
function decodeInPlace(frame: Buffer): Uint8Array | DiscardReason {
  const plainBytes = frame.length === 0 ? undefined : unstuff(frame);
  if (plainBytes === undefined) return 'badCobs';
  if (plainBytes < decodedBytesMin) return 'tooShort';
  const messageBytes = plainBytes - crcBytes;
  const message = new Uint8Array(frame.buffer, frame.byteOffset, messageBytes);
  return crc32(message) === frame.readUInt32LE(messageBytes) ? message : 'badCrc';
}

/** Unstuffs in place: a code becomes the zero that it stands for, and bytes only move where a full run
 * had a code of its own. Returns the length, or undefined where a run reaches beyond the end. */
function unstuff(bytes: Buffer): number | undefined {
  let codeAt = 0;
  let code = bytes[0]!;
  let segmentFrom = 1;
  let plainBytes = 0;
  const keep = (end: number) => {
    bytes.copyWithin(plainBytes, segmentFrom, end);
    plainBytes += end - segmentFrom;
  };
  for (let next = code; next < bytes.length; next = codeAt + code) {
    const isFull = code > runBytesMax;
    codeAt = next;
    code = bytes[next]!;
    if (isFull) {
      keep(next);
      segmentFrom = next + 1;
    } else {
      bytes[next] = 0;
    }
  }
  if (codeAt + code > bytes.length) return undefined;
  keep(bytes.length);
  return plainBytes;
}

/** Turns a byte stream into messages: cuts it at its zeros, keeps no more of a frame than agreed, unstuffs
 * and checks it in place. Each byte is looked at a few times, whatever the bytes and their splitting;
 * never throws; what is not a good frame is counted in `discarded` and dropped up to the next zero (F-5 to
 * F-7). A message is valid during the call of `onMessage` only.
 * `frameBytesMax`: longest message in bytes; the limit acts before a byte is kept, so no peer can make the
 * receiver grow. */
export function createFrameDecoder(options: {
  readonly frameBytesMax: number;
  readonly onMessage: (message: Uint8Array) => void;
  readonly discarded: DiscardCounts;
}): { push(bytes: Uint8Array): void } {
  const { onMessage, discarded } = options;
  const held = Buffer.allocUnsafeSlow(encodedBytesMax(options.frameBytesMax) - 1);
  let heldBytes = 0;
  let skipping = false;

  function keep(bytes: Uint8Array): void {
    if (skipping) return;
    if (heldBytes + bytes.length > held.length) {
      // F-6: counted once, and nothing of it is kept until the next zero.
      discarded.tooLong++;
      skipping = true;
      heldBytes = 0;
      return;
    }
    held.set(bytes, heldBytes);
    heldBytes += bytes.length;
  }

  function finish(): void {
    const frame = held.subarray(0, heldBytes);
    const isWhole = !skipping && heldBytes > 0;
    heldBytes = 0;
    skipping = false;
    if (!isWhole) return;
    const message = decodeInPlace(frame);
    if (typeof message === 'string') discarded[message]++;
    // Short ones, which are kept now and then, get memory of their own.
    else onMessage(message.length < keptBytesMax ? message.slice() : message);
  }

  return {
    push(bytes) {
      let from = 0;
      // Zeros between frames are passed by without a look at each (F-5).
      if (heldBytes === 0 && !skipping) while (bytes[from] === 0) from++;
      for (let zero = bytes.indexOf(0, from); zero !== -1; zero = bytes.indexOf(0, from)) {
        keep(bytes.subarray(from, zero));
        finish();
        from = zero + 1;
        while (bytes[from] === 0) from++;
      }
      if (from < bytes.length) keep(bytes.subarray(from));
    },
  };
}

const keptBytesMax = 4096;
