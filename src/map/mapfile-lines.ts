/** The lexical level of GNU ddrescue's map files: numbers as C reads them and the two kinds of
 * line, straight from bytes. `mapfile.ts` gives them their meaning. */

import { statusLetters } from './status.js';

/** A place in a line. A plain object that functions move along, since one line in four million must
 * not cost an object. */
export interface LineReader {
  bytes: Uint8Array;
  at: number;
  /** One past the last byte of the line that counts. */
  end: number;
  /** The exact value of the number read last, where a double cannot hold it. */
  exact: bigint | undefined;
}

/** ddrescue reads no more of a line than this. */
export const lineBytesMax = 127;

/** The largest position there is: 2^63 - 1. Larger numbers are read as this one. */
const positionMax = 2n ** 63n - 1n;

const hexDigits = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) {
  hexDigits[digit.toString(16).charCodeAt(0)] = digit;
  hexDigits[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}

const plus = 0x2b;
const minus = 0x2d;
const zero = 0x30;

/** Space, tab, newline, vertical tab, form feed, carriage return. */
export function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

export function skipSpace(reader: LineReader): void {
  while (reader.at < reader.end && isSpace(reader.bytes[reader.at]!)) reader.at += 1;
}

/** Reads an integer as C's `%lli` does: decimal, 0x hexadecimal, 0 octal, with an optional sign,
 * ended by whatever is no digit. "0x" alone is 0. Returns NaN where there is none and -1 for
 * anything below zero; no caller tells negative numbers apart. Above 2^53 - 1 the result is
 * rounded and `reader.exact` holds it, clamped to 2^63 - 1. */
export function readInteger(reader: LineReader): number {
  skipSpace(reader);
  const { bytes, end } = reader;
  let at = reader.at;
  const sign = at < end ? bytes[at]! : 0;
  if (sign === minus || sign === plus) at += 1;
  let base = 10;
  let digitCount = 0;
  if (at < end && bytes[at] === zero) {
    base = 8;
    digitCount = 1;
    at += 1;
    if (at < end && (bytes[at]! | 0x20) === 0x78) {
      base = 16;
      at += 1;
    }
  }
  const from = at;
  // Seven digits at most keep to small integers, which is what makes four million lines quick.
  const smallEnd = Math.min(end, from + 7);
  let small = 0;
  let digit = 0;
  for (; at < smallEnd; at++) {
    digit = hexDigits[bytes[at]!]!;
    if (digit >= base) break;
    small = (small * base + digit) | 0;
  }
  let value = small;
  if (at === smallEnd) {
    for (; at < end; at++) {
      digit = hexDigits[bytes[at]!]!;
      if (digit >= base) break;
      value = value * base + digit;
    }
  }
  digitCount += at - from;
  if (digitCount === 0) return Number.NaN;
  reader.at = at;
  if (sign === minus) return value === 0 ? 0 : -1;
  if (value <= Number.MAX_SAFE_INTEGER) return value;
  return exactInteger(reader, from, base);
}

function exactInteger(reader: LineReader, from: number, base: number): number {
  let exact = 0n;
  const digits = reader.bytes.subarray(from, reader.at);
  for (const byte of digits) exact = exact * BigInt(base) + BigInt(hexDigits[byte]!);
  reader.exact = clampPosition(exact);
  return Number(reader.exact);
}

/** The position, or the largest there is. */
export function clampPosition(position: bigint): bigint {
  if (position > positionMax) return positionMax;
  return position;
}

/** Reads the next byte that is not white space, or returns -1 at the end of the line. */
export function readLetter(reader: LineReader): number {
  skipSpace(reader);
  if (reader.at >= reader.end) return -1;
  return reader.bytes[reader.at++]!;
}

/** Reads the pass of a status line as C's `%d` does: decimal only, cut to 32 bits. Undefined where
 * there is no number. */
export function readPass(reader: LineReader): number | undefined {
  skipSpace(reader);
  const text = String.fromCharCode(...reader.bytes.subarray(reader.at, reader.end));
  const digits = /^[+-]?[0-9]+/.exec(text)?.[0];
  if (digits === undefined) return undefined;
  const magnitude = clampPosition(BigInt(digits.replace(/^[+-]/, '')));
  return Number(BigInt.asIntN(32, digits.startsWith('-') ? -magnitude : magnitude));
}

const codesByLetter = new Int8Array(256).fill(-1);
for (let code = 0; code < statusLetters.length; code++) {
  codesByLetter[statusLetters.charCodeAt(code)] = code;
}

/** The status code of a letter's byte, or -1. */
export function codeOfLetter(byte: number): number {
  return byte < 0 ? -1 : codesByLetter[byte]!;
}
