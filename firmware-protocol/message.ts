/** A message: u8 code, u32 id, body (PROTOCOL.md M-1). */
import { type Codec, type Reader, text, u8, u32 } from './codec.js';
import { type ReplyCode, replyCodes, responseBit } from './commands.js';

export const headerBytes = u8.size(0) + u32.size(0);

export interface Header {
  readonly code: number;
  readonly id: number;
  /** Stands at the first byte of the body. */
  readonly body: Reader;
}

/** A message of `code` with `id` whose body is `value`. Throws RangeError on a value that does
 * not fit its field. */
export function encodeMessage<T>(code: number, id: number, body: Codec<T>, value: T): Uint8Array {
  return encodeMessageInto(new Uint8Array(headerBytes + body.size(value)), code, id, body, value);
}

/** `encodeMessage` at the front of `room`; gives that part. Throws RangeError where it does not fit. */
export function encodeMessageInto<T>(
  room: Uint8Array,
  code: number,
  id: number,
  body: Codec<T>,
  value: T,
): Uint8Array {
  const message = room.subarray(0, headerBytes + body.size(value));
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  body.write(view, u32.write(view, u8.write(view, 0, code), id), value);
  return message;
}

/** The response `ok` to request `id` of `code` (M-3). */
export function encodeOk<T>(code: number, id: number, body: Codec<T>, value: T): Uint8Array {
  return encodeMessage(code | responseBit, id, okReply(body), value);
}

function okReply<T>(body: Codec<T>): Codec<T> {
  return {
    fields: body.fields,
    size: (value) => u8.size(0) + body.size(value),
    write: (view, offset, value) => body.write(view, u8.write(view, offset, replyCodes.ok), value),
    read: body.read,
  };
}

/** Longest reason that goes on the wire, in characters of at most 3 bytes: it must fit the smallest
 * frame. */
const reasonLengthMax = 80;

/** The response to request `id` of `code` that says why it was not done (M-4). */
export function encodeRefusal(
  code: number,
  id: number,
  reply: Exclude<ReplyCode, 'ok'>,
  reason: string,
): Uint8Array {
  const line = reason.slice(0, reasonLengthMax);
  const message = new Uint8Array(headerBytes + u8.size(0) + text.size(line));
  const view = new DataView(message.buffer);
  const at = u32.write(view, u8.write(view, 0, code | responseBit), id);
  text.write(view, u8.write(view, at, replyCodes[reply]), line);
  return message;
}

/** Code, id and body of a message. Throws MalformedMessage when it is too short for a header. */
export function decodeHeader(message: Uint8Array): Header {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const body = { view, offset: 0 };
  return { code: u8.read(body), id: u32.read(body), body };
}

const replyNames = new Map<number, ReplyCode>(
  Object.entries(replyCodes).map(([name, code]) => [code, name as ReplyCode]),
);

export type Reply<T> =
  | { readonly reply: 'ok'; readonly value: T }
  | { readonly reply: Exclude<ReplyCode, 'ok'>; readonly reason: string };

/** What a response says. Throws MalformedMessage. A code of a later minor version reads as
 * `unsupported` (V-3). */
export function decodeReply<T>(body: Reader, response: Codec<T>): Reply<T> {
  const code = u8.read(body);
  if (code === replyCodes.ok) return { reply: 'ok', value: response.read(body) };
  const name = replyNames.get(code);
  const reason = text.read(body);
  if (name === undefined || name === 'ok') return { reply: 'unsupported', reason };
  return { reply: name, reason };
}

/** A number from outside as a whole one that fits `bits` bits: rounded, and limited at both
 * ends. */
export function toUnsigned(value: number, bits: 8 | 16 | 32 | 53): number {
  const max = 2 ** bits - 1;
  return Number.isNaN(value) ? 0 : Math.min(max, Math.max(0, Math.round(value)));
}
