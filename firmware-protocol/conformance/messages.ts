/** The messages of an imager, read strictly by the tables of `commands.ts`: every value without a
 * meaning is a violation, said with its clause. */
import type { Fields } from '../codec.js';
import {
  bootCauses,
  type Command,
  capabilityBits,
  commands,
  type EventKind,
  events,
  faultBits,
  heatActions,
  powerStates,
  railFaults,
  readOutcomes,
  replyCodes,
  responseBit,
  scsiOutcomes,
} from '../commands.js';
import { hex, type Violation } from './verdict.js';

export type CommandName = keyof typeof commands;
export type EventName = keyof typeof events;
export type RequestOf<N extends CommandName> =
  (typeof commands)[N] extends Command<infer Q, unknown> ? Q : never;
export type ResponseOf<N extends CommandName> =
  (typeof commands)[N] extends Command<unknown, infer R> ? R : never;
export type EventBody<N extends EventName> =
  (typeof events)[N] extends EventKind<infer T> ? T : never;

export interface Response {
  readonly kind: 'response';
  /** Undefined: to a code of which this version knows nothing. */
  readonly name: CommandName | undefined;
  readonly code: number;
  readonly id: number;
  readonly reply: number;
  /** The fields of `ok`. */
  readonly value: unknown;
  /** The text of a refusal. */
  readonly reason: string;
  readonly atMs: number;
  readonly raw: Uint8Array;
}

export interface EventMessage {
  readonly kind: 'event';
  /** Undefined: an imager's maker's own. */
  readonly name: EventName | undefined;
  readonly code: number;
  readonly id: number;
  readonly value: unknown;
  readonly atMs: number;
  readonly raw: Uint8Array;
}

export type Message = Response | EventMessage;

const commandNames = new Map(
  (Object.keys(commands) as CommandName[]).map((name) => [commands[name].code, name]),
);
const eventNames = new Map(
  (Object.keys(events) as EventName[]).map((name) => [events[name].code, name]),
);
const replyNames = new Map<number, string>(
  Object.entries(replyCodes).map(([name, code]) => [code, name]),
);

/** The name of a reply code, or its number. */
export function replyName(reply: number): string {
  return replyNames.get(reply) ?? `reply ${reply}`;
}

/** Codes from which on events are an imager's maker's own (V-5). */
const makersEventsFrom = 0x70;
const reasonLengthMax = 80;

type Say = (violation: Violation) => void;

/** What a message says; undefined when it cannot be told what it is. */
export function readMessage(raw: Uint8Array, atMs: number, say: Say): Message | undefined {
  if (raw.length < 5) {
    say({ clause: 'M-1', came: `a message of ${raw.length} bytes: ${hex(raw)}` });
    return undefined;
  }
  const code = raw[0]!;
  const id = new DataView(raw.buffer, raw.byteOffset).getUint32(1, true);
  const body = raw.subarray(5);
  if (code & responseBit) return readResponse({ code, id, body, atMs, raw }, say);
  if (code < 0x40) {
    say({ clause: 'M-2', came: `a request from the imager: ${hex(raw)}` });
    return undefined;
  }
  return readEvent({ code, id, body, atMs, raw }, say);
}

interface Parts {
  readonly code: number;
  readonly id: number;
  readonly body: Uint8Array;
  readonly atMs: number;
  readonly raw: Uint8Array;
}

function readEvent({ body, ...parts }: Parts, say: Say): EventMessage | undefined {
  const { code, raw } = parts;
  const name = eventNames.get(code);
  if (name === undefined) {
    if (code < makersEventsFrom) {
      say({ clause: 'V-5', came: `an event that has no meaning: ${hex(raw)}` });
    }
    return { kind: 'event', name, value: undefined, ...parts };
  }
  const value = readFields(events[name].body.fields, body);
  if (typeof value === 'string') {
    say({ clause: 'M-1', came: `${events[name].name} ${value}: ${hex(raw)}` });
    return undefined;
  }
  sayMeaningless(events[name].name, value, say);
  return { kind: 'event', name, value, ...parts };
}

function readResponse({ body, ...parts }: Parts, say: Say): Response | undefined {
  const { code, raw } = parts;
  const name = commandNames.get(code & ~responseBit);
  const label = name === undefined ? `code ${code}` : commands[name].name;
  const reply = body[0];
  if (reply === undefined) {
    say({ clause: 'M-3', came: `a response to ${label} without a reply code: ${hex(raw)}` });
    return undefined;
  }
  const base = { kind: 'response' as const, name, reply, ...parts };
  if (reply !== replyCodes.ok)
    return { ...base, value: undefined, reason: readReason(base, body, say) };
  if (name === undefined) {
    say({ clause: 'V-3', came: `ok to a code that has no meaning: ${hex(raw)}` });
    return { ...base, value: undefined, reason: '' };
  }
  const value = readFields(commands[name].response.fields, body.subarray(1));
  if (typeof value === 'string') {
    const clause = value.includes('short') ? 'M-3' : 'M-1';
    say({ clause, came: `the response to ${label} ${value}: ${hex(raw)}` });
    return undefined;
  }
  sayMeaningless(label, value, say);
  return { ...base, value, reason: '' };
}

function readReason(
  { reply, raw }: { readonly reply: number; readonly raw: Uint8Array },
  body: Uint8Array,
  say: Say,
): string {
  if (!replyNames.has(reply)) {
    say({ clause: 'V-5', came: `reply code ${reply}, which has no meaning: ${hex(raw)}` });
  }
  if (body.length === 1) return '';
  const value = readFields({ reason: { type: 'text' } }, body.subarray(1));
  if (typeof value === 'string') {
    say({ clause: 'M-4', came: `a refusal whose text ${value}: ${hex(raw)}` });
    return '';
  }
  const reason = value.reason as string;
  if ([...reason].length > reasonLengthMax) {
    say({ clause: 'M-4', came: `a refusal of ${[...reason].length} characters: ${reason}` });
  }
  return reason;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** The values of a body, or what is wrong with it. Bytes behind the last field are of a later
 * version (V-2). */
function readFields(
  fields: Fields | Readonly<Record<string, { readonly type: string }>>,
  body: Uint8Array,
): Record<string, unknown> | string {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const values: Record<string, unknown> = {};
  let at = 0;
  try {
    for (const [name, { type }] of Object.entries(fields)) {
      const field = readField(view, at, type);
      if (typeof field.value === 'number' && !Number.isSafeInteger(field.value)) {
        return `has a number above 2^53 - 1 as its ${name}`;
      }
      values[name] = field.value;
      at += field.bytes;
    }
  } catch (error) {
    return error instanceof RangeError ? 'is too short' : 'has a text that is no UTF-8';
  }
  return values;
}

/** One field. Throws RangeError where the body ends before it, TypeError on text that is none. */
function readField(view: DataView, at: number, type: string) {
  switch (type) {
    case 'u8':
      return { value: view.getUint8(at), bytes: 1 };
    case 'u16':
      return { value: view.getUint16(at, true), bytes: 2 };
    case 'i16':
      return { value: view.getInt16(at, true), bytes: 2 };
    case 'u32':
      return { value: view.getUint32(at, true), bytes: 4 };
    case 'u64':
      return { value: Number(view.getBigUint64(at, true)), bytes: 8 };
    default: {
      const length = view.getUint16(at, true);
      const bytes = new Uint8Array(view.buffer, view.byteOffset + at + 2, length);
      if (at + 2 + length > view.byteLength) throw new RangeError('beyond the message');
      return { value: type === 'text' ? utf8.decode(bytes) : bytes, bytes: 2 + length };
    }
  }
}

const oneOf = (values: Readonly<Record<string, number>>) => (value: number) =>
  Object.values(values).includes(value);
const bitsOf = (values: Readonly<Record<string, number>>) => {
  const all = Object.values(values).reduce((sum, bit) => sum | bit, 0);
  return (value: number) => (value & ~all) === 0;
};
const makersBits = 0xff00_0000;

/** Fields whose values are numbered: anything else is kept for later versions (V-5). */
const meanings: Readonly<Record<string, (value: number) => boolean>> = {
  'hello.capabilities': (value) => bitsOf(capabilityBits)(value & ~makersBits),
  'hello.bootCause': oneOf(bootCauses),
  'read.outcome': oneOf(readOutcomes),
  'read.known': bitsOf(faultBits),
  'power.powerState': oneOf(powerStates),
  'status.powerState': oneOf(powerStates),
  'status.driveBusy': (value) => value <= 1,
  'passthrough.outcome': oneOf(scsiOutcomes),
  'rail-fault.rail': (value) => value === 5 || value === 12,
  'rail-fault.fault': oneOf(railFaults),
  'over-temperature.action': oneOf(heatActions),
  'stepped-down.stage': (value) => value >= 1 && value <= 4,
};

function sayMeaningless(message: string, value: Record<string, unknown>, say: Say): void {
  for (const [name, field] of Object.entries(value)) {
    const means = meanings[`${message}.${name}`];
    if (typeof field !== 'number' || !means || means(field)) continue;
    say({ clause: 'V-5', came: `${message} with ${name} ${field}, which has no meaning` });
  }
}

/** A message in one line. */
export function describe(message: Message): string {
  const shown = JSON.stringify(message.value, (_key, value: unknown) =>
    value instanceof Uint8Array ? `${value.length} bytes` : value,
  );
  if (message.kind === 'event') {
    const name = message.name === undefined ? message.code : events[message.name].name;
    return `event ${name} #${message.id} ${shown ?? ''}`;
  }
  const name = message.name ?? `code ${message.code & ~responseBit}`;
  const what =
    message.reply === replyCodes.ok
      ? `ok ${shown ?? ''}`
      : `${replyName(message.reply)} '${message.reason.slice(0, 80)}'`;
  return `${name} #${message.id}: ${what}`;
}
