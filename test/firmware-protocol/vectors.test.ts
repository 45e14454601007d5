import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Codec } from '../../firmware-protocol/codec.js';
import { commands, events } from '../../firmware-protocol/commands.js';
import {
  createFrameDecoder,
  type DiscardCounts,
  decodeFrame,
  encodeFrame,
  noDiscards,
} from '../../firmware-protocol/frame.js';
import {
  decodeHeader,
  decodeReply,
  encodeMessage,
  encodeOk,
  encodeRefusal,
} from '../../firmware-protocol/message.js';

/** The vectors were made by another program than the one under test, and are fixed. */
function load<T>(name: string): T[] {
  const path = new URL(`../../firmware-protocol/vectors/${name}`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8')) as T[];
}

interface MessageVector {
  readonly name: string;
  readonly kind: 'request' | 'response' | 'refusal' | 'event';
  readonly of: string;
  readonly id: number;
  readonly reply?: never;
  readonly fields: Readonly<Record<string, number | string>>;
  readonly message: string;
  readonly frame: string;
}

const messages = load<MessageVector>('messages.json');
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));

type AnyCodec = Codec<Record<string, unknown>>;
const commandOf = (vector: MessageVector) => commands[vector.of as keyof typeof commands];
const eventOf = (vector: MessageVector) => events[vector.of as keyof typeof events];

function codecOf(vector: MessageVector): AnyCodec {
  if (vector.kind === 'event') return eventOf(vector).body as unknown as AnyCodec;
  const { request, response } = commandOf(vector);
  return (vector.kind === 'request' ? request : response) as unknown as AnyCodec;
}

/** Fields with `bytes` as bytes, which JSON does not have. */
function bodyOf(vector: MessageVector): Record<string, unknown> {
  const { fields } = codecOf(vector);
  return Object.fromEntries(
    Object.entries(vector.fields).map(([name, value]) => [
      name,
      fields[name]?.type === 'bytes' ? bytesOf(String(value)) : value,
    ]),
  );
}

function encode(vector: MessageVector): Uint8Array {
  const { id } = vector;
  switch (vector.kind) {
    case 'event':
      return encodeMessage(eventOf(vector).code, id, codecOf(vector), bodyOf(vector));
    case 'request':
      return encodeMessage(commandOf(vector).code, id, codecOf(vector), bodyOf(vector));
    case 'response':
      return encodeOk(commandOf(vector).code, id, codecOf(vector), bodyOf(vector));
    case 'refusal':
      return encodeRefusal(commandOf(vector).code, id, vector.reply!, String(vector.fields.reason));
  }
}

function decode(vector: MessageVector): unknown {
  const { id, body } = decodeHeader(bytesOf(vector.message));
  expect(id).toBe(vector.id);
  if (vector.kind === 'event' || vector.kind === 'request') return codecOf(vector).read(body);
  const reply = decodeReply(body, codecOf(vector));
  if (reply.reply === 'ok') return reply.value;
  expect(reply.reply).toBe(vector.reply);
  return { reason: reply.reason };
}

test.each(messages)('$name: fields, message and frame are one', (vector) => {
  expect(hex(encode(vector))).toBe(vector.message);
  expect(hex(encodeFrame(bytesOf(vector.message)))).toBe(vector.frame);
  expect(decode(vector)).toEqual(vector.kind === 'refusal' ? vector.fields : bodyOf(vector));
});

test('every message has a vector', () => {
  const has = new Set(messages.map(({ kind, of }) => `${kind} ${of}`));
  const wanted = [
    ...Object.keys(commands).flatMap((name) => [`request ${name}`, `response ${name}`]),
    ...Object.keys(events).map((name) => `event ${name}`),
  ];
  expect(wanted.filter((name) => !has.has(name))).toEqual([]);
});

interface FrameVector {
  readonly name: string;
  readonly message: string;
  readonly frame: string;
}

test.each(load<FrameVector>('frames.json'))('frame: $name', ({ message, frame }) => {
  expect(hex(encodeFrame(bytesOf(message)))).toBe(frame);
  expect(decodeFrame(bytesOf(frame).subarray(0, -1))).toEqual(bytesOf(message));
});

interface StreamVector {
  readonly name: string;
  readonly frameBytesMax: number;
  readonly stream: string;
  readonly messages: readonly string[];
  readonly discarded: DiscardCounts;
}

test.each(load<StreamVector>('streams.json'))('stream: $name', (vector) => {
  const discarded = noDiscards();
  const received: string[] = [];
  const decoder = createFrameDecoder({
    frameBytesMax: vector.frameBytesMax,
    discarded,
    onMessage: (message) => received.push(hex(message)),
  });
  decoder.push(bytesOf(vector.stream));
  expect({ messages: received, discarded }).toEqual({
    messages: vector.messages,
    discarded: vector.discarded,
  });
});
