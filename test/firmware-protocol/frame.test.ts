import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  createFrameDecoder,
  decodeFrame,
  encodedBytesMax,
  encodeFrame,
  noDiscards,
} from '../../firmware-protocol/frame.js';

const frameBytesMax = 600;

/** Bytes of which many are zero or 255, so that COBS runs of every length occur. */
const anyBytes = (maxLength: number) =>
  fc
    .array(fc.oneof(fc.constant(0), fc.constant(255), fc.integer({ min: 0, max: 255 })), {
      maxLength,
    })
    .map((values) => Uint8Array.from(values));

const anyMessage = fc.oneof(
  anyBytes(frameBytesMax).filter((message) => message.length > 0),
  // Long runs without a zero, around the 254-byte limit of a run.
  fc
    .tuple(fc.integer({ min: 1, max: frameBytesMax }), fc.integer({ min: 1, max: 255 }))
    .map(([length, value]) => new Uint8Array(length).fill(value)),
);

function decodeAll(pieces: readonly Uint8Array[], limit = frameBytesMax) {
  const discarded = noDiscards();
  const messages: Uint8Array[] = [];
  const decoder = createFrameDecoder({
    frameBytesMax: limit,
    discarded,
    onMessage: (message) => messages.push(message),
  });
  for (const piece of pieces) decoder.push(piece);
  return { messages: messages.map((message) => Buffer.from(message).toString('hex')), discarded };
}

function split(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (const length of lengths) {
    pieces.push(bytes.slice(from, from + length));
    from += length;
  }
  return [...pieces, bytes.slice(from)];
}

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('a message comes out of its frame as it went in, and the frame holds one zero, its last', () => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      const frame = encodeFrame(message);
      expect(frame.indexOf(0)).toBe(frame.length - 1);
      expect(frame.length).toBeLessThanOrEqual(encodedBytesMax(message.length));
      expect(decodeFrame(frame.subarray(0, -1))).toEqual(message);
    }),
  );
});

test('any bytes in any pieces give the same messages and the same counts as in one piece', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(anyBytes(80), anyMessage.map(encodeFrame)), { maxLength: 12 }),
      fc.array(fc.integer({ min: 0, max: 90 }), { maxLength: 40 }),
      (parts, lengths) => {
        const stream = Uint8Array.from(parts.flatMap((part) => [...part]));
        const whole = decodeAll([stream]);
        expect(decodeAll(split(stream, lengths))).toEqual(whole);
        expect(decodeAll([...stream].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
      },
    ),
  );
});

test('after any garbage the frame behind the next zero is received', () => {
  fc.assert(
    fc.property(anyBytes(2000), anyMessage, (garbage, message) => {
      const { messages } = decodeAll([garbage, Uint8Array.of(0), encodeFrame(message)]);
      expect(messages.at(-1)).toBe(hexOf(message));
    }),
  );
});

test('a frame at the limit passes and one byte more is discarded as too long', () => {
  const atLimit = new Uint8Array(frameBytesMax).fill(7);
  const over = new Uint8Array(frameBytesMax + 8).fill(7);
  const { messages, discarded } = decodeAll([encodeFrame(atLimit), encodeFrame(over)]);
  expect(messages).toEqual([hexOf(atLimit)]);
  expect(discarded).toEqual({ ...noDiscards(), tooLong: 1 });
});

test('an endless frame is counted once and costs no memory', () => {
  const piece = new Uint8Array(65_536).fill(1);
  const pieces = Array.from({ length: 64 }, () => piece);
  const message = Uint8Array.of(1, 2, 3);
  const decoded = decodeAll([...pieces, Uint8Array.of(0), encodeFrame(message)], 16);
  expect(decoded.messages).toEqual([hexOf(message)]);
  expect(decoded.discarded).toEqual({ ...noDiscards(), tooLong: 1 });
});

test('every single flipped bit of a frame is noticed', () => {
  const message = Uint8Array.from({ length: 40 }, (_, index) => (index * 7) & 0xff);
  const frame = encodeFrame(message);
  for (let bit = 0; bit < frame.length * 8; bit++) {
    const noisy = Uint8Array.from(frame);
    noisy[bit >> 3]! ^= 1 << (bit & 7);
    expect(decodeAll([noisy, Uint8Array.of(0)]).messages).toEqual([]);
  }
});

test('each way to be broken has its own count', () => {
  const good = encodeFrame(Uint8Array.of(1, 2, 3, 4));
  const badCrc = Uint8Array.from(good);
  badCrc[1]! ^= 0x40;
  const decoded = decodeAll([badCrc, Uint8Array.of(9, 1, 0), Uint8Array.of(2, 1, 0)]);
  expect(decoded).toEqual({
    messages: [],
    discarded: { tooLong: 0, badCobs: 1, badCrc: 1, tooShort: 1 },
  });
});
