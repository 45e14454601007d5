/** What a laptop says in one session, with nothing done behind the check's back: nothing is repeated,
 * asked again or put in order. */
import { crc32 } from 'node:zlib';
import type { Clock } from '../../src/clock.js';
import type { Codec } from '../codec.js';
import {
  commands,
  helloMagic,
  protocolVersion,
  readOutcomes,
  replyCodes,
  responseBit,
} from '../commands.js';
import { encodeFrame } from '../frame.js';
import { encodeMessage } from '../message.js';
import {
  type CommandName,
  type EventBody,
  type EventMessage,
  type EventName,
  type Message,
  type RequestOf,
  type Response,
  type ResponseOf,
  replyName,
} from './messages.js';
import { answerMs, CheckFailed, hex } from './verdict.js';
import { ownFrameBytesMax, type Wire } from './wire.js';

/** A message that went out, for the report and to tell what was asked. */
export interface Sent {
  readonly code: number;
  readonly id: number;
  readonly raw: Uint8Array;
}

export interface AskOptions {
  readonly id?: number;
  readonly withinMs?: number;
  /** Bytes behind the last field. */
  readonly trailing?: Uint8Array;
}

export type ReadRequest = Partial<RequestOf<'read'>>;

export interface ReadResult {
  readonly reply: number;
  readonly response: ResponseOf<'read'>;
  /** What came in pieces, as far as it is in order. */
  /** The response's bytes. */
  readonly raw: Uint8Array;
  readonly data: Uint8Array;
  readonly pieces: readonly {
    readonly kind: 'data' | 'fill';
    readonly from: number;
    readonly end: number;
  }[];
  readonly atMs: number;
}

export interface Talk {
  readonly wire: Wire;
  readonly session: number;
  /** The id of the next control command. */
  commandId: number;
  /** The id of the next read. */
  readId: number;
  /** A HELLO with the number above, and its answer. `change` are other values of its fields. */
  sayHello(change?: Partial<RequestOf<'hello'>>, withinMs?: number): Promise<Response | undefined>;
  /** Sends a request; returns its id. */
  send<N extends CommandName>(name: N, request: RequestOf<N>, options?: AskOptions): number;
  /** Sends a message that may be no request at all. */
  sendRaw(message: Uint8Array): void;
  /** Takes down a message whose bytes go out by `wire.write`, so that its answer is known as one. */
  note(message: Uint8Array): void;
  /** The message that `send` would send. */
  encode<N extends CommandName>(name: N, request: RequestOf<N>, options?: AskOptions): Uint8Array;
  answer(name: CommandName, id: number, withinMs?: number): Promise<Response | undefined>;
  /** Sends a request and waits for its answer. Fails the check on silence. */
  ask<N extends CommandName>(
    name: N,
    request: RequestOf<N>,
    options?: AskOptions,
  ): Promise<Response>;
  /** ... which must be `ok`. */
  ok<N extends CommandName>(
    name: N,
    request: RequestOf<N>,
    options?: AskOptions,
  ): Promise<ResponseOf<N>>;
  status(): Promise<ResponseOf<'status'>>;
  tryStatus(): Promise<ResponseOf<'status'> | undefined>;
  event(name: EventName, withinMs: number): Promise<EventMessage | undefined>;
  /** Fails the check when anything that matches comes, up to the answer of a status sent now and a
   * little more. */
  quiet(matches: (message: Message) => boolean, wants: string): Promise<void>;
  /** Sends the next read; returns its id. */
  read(request?: ReadRequest, id?: number): number;
  /** The first message that matches, with a status every second meanwhile, so that the imager does not
   * take the laptop for silent (L-1, W-1). */
  await(matches: (message: Message) => boolean, withinMs: number): Promise<Message | undefined>;
  /** What comes of a read; undefined when for `withinMs` nothing of it comes. `silent`: without a word
   * meanwhile. */
  result(id: number, withinMs?: number, silent?: boolean): Promise<ReadResult | undefined>;
  /** ... which must come. */
  needResult(id: number, withinMs?: number, silent?: boolean): Promise<ReadResult>;
}

export interface TalkOptions {
  readonly wire: Wire;
  readonly clock: Clock;
  readonly session: number;
  readonly commandId: number;
  readonly readId: number;
  readonly slackMs: () => number;
  readonly sectorBytes: () => number | undefined;
  readonly say: (clause: string, came: string) => void;
  readonly onSent: (sent: Sent) => void;
  readonly onSession: () => void;
}

/** Requests that many checks send. */
export const greeting = {
  hardDriveStages: { stopReadsMs: 5000, unloadMs: 10_000, standbyMs: 600_000, offMs: 3_600_000 },
  defaultLimits: {
    rail5MilliampsMax: 0,
    rail12MilliampsMax: 0,
    blankingMs: 0,
    parkTemperature: -32768,
    offTemperature: -32768,
  },
} as const;

const readDefaults: RequestOf<'read'> = {
  batch: 0,
  lba: 0,
  count: 1,
  timeoutMs: 10_000,
  slowMs: 0,
  stopOn: 0,
  releaseBelow: 0,
};

interface State extends TalkOptions {
  /** What each read asked for, by its id. */
  readonly asked: Map<number, { readonly count: number; readonly lba: number }>;
  helloId: number;
}

/** A session that has not begun: `sayHello` begins it. */
export function createTalk(options: TalkOptions): Talk {
  const state: State = { ...options, asked: new Map(), helloId: 0 };
  const { wire, clock } = options;
  const note = (message: Uint8Array) => {
    const head = headOf(message);
    options.onSent({ ...head, raw: message });
    const asked = head.code === commands.read.code ? readRequestOf(message) : undefined;
    if (asked) state.asked.set(head.id, asked);
  };
  const transmit = (message: Uint8Array) => {
    note(message);
    wire.write(encodeFrame(message));
  };
  const talk: Talk = {
    wire,
    session: options.session,
    commandId: options.commandId,
    readId: options.readId,
    sayHello: (change = {}, withinMs = 3000) => sayHello(state, talk, change, withinMs),
    sendRaw: transmit,
    note,
    encode(name, request, { id = talk.commandId, trailing } = {}) {
      const { code, request: body } = commands[name];
      const message = encodeMessage(code, id, body as Codec<unknown>, request);
      return trailing ? Buffer.concat([message, trailing]) : message;
    },
    send(name, request, { id = talk.commandId, trailing } = {}) {
      talk.commandId = Math.max(talk.commandId, id + 1);
      transmit(talk.encode(name, request, { id, ...(trailing && { trailing }) }));
      return id;
    },
    answer: (name, id, withinMs = answerMs) => answer(wire, name, id, withinMs),
    async ask(name, request, askOptions = {}) {
      const id = talk.send(name, request, askOptions);
      const response = await answerTo(talk, name, id, askOptions.withinMs ?? answerMs);
      if (response) return response;
      throw new CheckFailed(`${name} is answered`, silence(wire, askOptions.withinMs ?? answerMs));
    },
    async ok(name, request, askOptions) {
      const response = await talk.ask(name, request, askOptions);
      if (response.reply === replyCodes.ok) return response.value as never;
      const came = `${replyName(response.reply)} '${response.reason}'`;
      throw new CheckFailed(`${name} is answered by ok`, came);
    },
    status: () => talk.ok('status', {}),
    async tryStatus() {
      const id = talk.send('status', {});
      return (await talk.answer('status', id))?.value as ResponseOf<'status'> | undefined;
    },
    event: async (name, withinMs) =>
      (await wire.next((m) => m.kind === 'event' && m.name === name, withinMs)) as
        | EventMessage
        | undefined,
    async quiet(matches, wants) {
      await talk.status();
      await clock.sleep(state.slackMs() + 70);
      const [came] = wire.take(matches);
      if (came) throw new CheckFailed(wants, hex(came.raw));
    },
    read(request = {}, id = talk.readId) {
      talk.readId = Math.max(talk.readId, id + 1);
      const whole = { ...readDefaults, ...request };
      transmit(encodeMessage(commands.read.code, id, commands.read.request, whole));
      return id;
    },
    await: (matches, withinMs) => awaitBeating(talk, matches, withinMs),
    result: (id, withinMs = 15_000, silent = false) =>
      result(state, id, (matches) =>
        silent ? wire.next(matches, withinMs) : awaitBeating(talk, matches, withinMs),
      ),
    async needResult(id, withinMs, silent) {
      const came = await talk.result(id, withinMs, silent);
      if (came) return came;
      throw new CheckFailed(`read ${id} is answered`, silence(wire, withinMs ?? 15_000));
    },
  };
  return talk;
}

function headOf(message: Uint8Array): { code: number; id: number } {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  return { code: message[0] ?? 0, id: message.length >= 5 ? view.getUint32(1, true) : -1 };
}

/** What a read asks for; undefined where it is cut short. */
function readRequestOf(message: Uint8Array): { count: number; lba: number } | undefined {
  if (message.length < 21) return undefined;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  return { lba: Number(view.getBigUint64(9, true)), count: view.getUint32(17, true) };
}

/** What a check reports when nothing came. */
export function silence(wire: Wire, withinMs: number): string {
  if (wire.ended) return wire.ended;
  const unended =
    wire.unended > 0 ? `, but ${wire.unended} bytes without a zero behind them (F-1)` : '';
  return `nothing within ${withinMs} ms${unended}`;
}

async function sayHello(
  state: State,
  talk: Talk,
  change: Partial<RequestOf<'hello'>>,
  withinMs: number,
): Promise<Response | undefined> {
  const { wire } = state;
  const request = {
    magic: helloMagic,
    ...protocolVersion,
    frameBytesMax: ownFrameBytesMax,
    session: talk.session,
    ...change,
  };
  const id = state.helloId++;
  // F-8: what is in the imager's receiver ends here.
  wire.write(Uint8Array.of(0));
  talk.sendRaw(encodeMessage(commands.hello.code, id, commands.hello.request, request));
  const response = await answer(wire, 'hello', id, withinMs);
  if (response?.reply !== replyCodes.ok) return response;
  const { frameBytesMax } = response.value as ResponseOf<'hello'>;
  wire.frameBytesMax = Math.min(request.frameBytesMax, Math.max(frameBytesMax, 256));
  state.onSession();
  return response;
}

const isAnswer = (name: CommandName, id: number) => (message: Message) =>
  message.kind === 'response' &&
  message.code === (commands[name].code | responseBit) &&
  message.id === id;

async function answer(
  wire: Wire,
  name: CommandName,
  id: number,
  withinMs: number,
): Promise<Response | undefined> {
  return (await wire.next(isAnswer(name, id), withinMs)) as Response | undefined;
}

/** ... with beats, since this may take its time. */
async function answerTo(
  talk: Talk,
  name: CommandName,
  id: number,
  withinMs: number,
): Promise<Response | undefined> {
  return (await awaitBeating(talk, isAnswer(name, id), withinMs)) as Response | undefined;
}

const beatMs = 1000;

async function awaitBeating(
  talk: Talk,
  matches: (message: Message) => boolean,
  withinMs: number,
): Promise<Message | undefined> {
  for (let leftMs = withinMs; ; leftMs -= beatMs) {
    const message = await talk.wire.next(matches, Math.min(beatMs, leftMs));
    if (message || leftMs <= beatMs || talk.wire.ended) return message;
    talk.send('status', {});
  }
}

// Reads

/** More than a sector of any drive can have: what an imager could make the bench keep is bounded. */
const sectorBytesMax = 4224;
const wholeMax = 256 * 1024 * 1024;

interface Assembly {
  readonly parts: {
    readonly kind: 'data' | 'fill';
    readonly from: number;
    readonly bytes: Uint8Array;
  }[];
  length: number;
}

async function result(
  state: State,
  id: number,
  next: (matches: (message: Message) => boolean) => Promise<Message | undefined>,
): Promise<ReadResult | undefined> {
  const asked = state.asked.get(id) ?? { count: 0, lba: 0 };
  const lengthMax = Math.min(wholeMax, asked.count * (state.sectorBytes() ?? sectorBytesMax));
  const assembly: Assembly = { parts: [], length: 0 };
  const isOf = (m: Message) =>
    m.id === id &&
    (m.kind === 'event'
      ? m.name === 'data' || m.name === 'fill'
      : m.code === (commands.read.code | responseBit));
  for (;;) {
    const message = await next(isOf);
    if (!message) return undefined;
    if (message.kind === 'event') addPiece(state, assembly, message, lengthMax);
    else return resultOf(state, assembly, message, asked);
  }
}

function addPiece(
  state: State,
  assembly: Assembly,
  message: EventMessage,
  lengthMax: number,
): void {
  const isFill = message.name === 'fill';
  const { offset } = message.value as { offset: number };
  const fill = isFill ? (message.value as EventBody<'fill'>) : undefined;
  const length = fill?.length ?? (message.value as EventBody<'data'>).bytes.length;
  const read = `read ${message.id}`;
  if (offset !== assembly.length) {
    state.say('R-3', `a piece of ${read} at ${offset} where ${assembly.length} was next`);
    return;
  }
  if (offset + length > lengthMax || length === 0 || length > wholeMax) {
    state.say(
      'R-3',
      `a piece of ${read} of ${length} bytes at ${offset}; ${lengthMax} were asked for`,
    );
    return;
  }
  const bytes = fill
    ? new Uint8Array(length).fill(fill.byte)
    : (message.value as EventBody<'data'>).bytes;
  assembly.parts.push({ kind: isFill ? 'fill' : 'data', from: offset, bytes });
  assembly.length += length;
}

function resultOf(
  state: State,
  assembly: Assembly,
  message: Response,
  asked: { readonly count: number; readonly lba: number },
): ReadResult {
  const data = Buffer.concat(assembly.parts.map(({ bytes }) => bytes));
  const pieces = assembly.parts.map(({ kind, from, bytes }) => ({
    kind,
    from,
    end: from + bytes.length,
  }));
  const response = (message.value ?? {}) as ResponseOf<'read'>;
  const { reply, raw, atMs } = message;
  const read = { reply, response, raw, data, pieces, atMs };
  if (message.reply === replyCodes.ok) judgeResult(state, message.id, read, asked);
  return read;
}

/** What every result must keep. A response without any data may be a repeated one. */
function judgeResult(
  state: State,
  id: number,
  read: ReadResult,
  { count, lba }: { readonly count: number; readonly lba: number },
): void {
  const { outcome, goodCount, dataBytes, dataCrc } = read.response;
  const say = (came: string) => state.say('R-5', `read ${id} of ${count} sectors: ${came}`);
  if (read.response.lba !== lba) say(`lba ${read.response.lba} where ${lba} was asked for`);
  const isWhole = outcome === readOutcomes.good || outcome === readOutcomes.slow;
  if (isWhole !== (goodCount === count)) say(`outcome ${outcome} with goodCount ${goodCount}`);
  if (outcome === readOutcomes['not-attempted'] && goodCount > 0)
    say('not attempted, but some are good');
  const sectorBytes = state.sectorBytes();
  if (sectorBytes !== undefined && dataBytes !== goodCount * sectorBytes) {
    say(`${dataBytes} bytes for ${goodCount} sectors of ${sectorBytes}`);
  }
  if (read.pieces.length === 0) return;
  if (read.data.length !== dataBytes)
    say(`${read.data.length} bytes came, dataBytes says ${dataBytes}`);
  else if (crc32(read.data) !== dataCrc)
    say(`dataCrc ${dataCrc.toString(16)} is not that of the data`);
  if (sectorBytes !== undefined) judgeFills(state, id, read, sectorBytes);
}

function judgeFills(state: State, id: number, read: ReadResult, sectorBytes: number): void {
  const { pieces, data } = read;
  const say = (came: string) => state.say('R-13', `read ${id}: ${came}`);
  for (const [index, { kind, from, end }] of pieces.entries()) {
    const before = pieces[index - 1];
    if (kind === 'fill' && (from % sectorBytes !== 0 || end % sectorBytes !== 0)) {
      say(`a fill from ${from} to ${end}: no whole sectors of ${sectorBytes} bytes`);
    }
    if (kind === 'fill' && before?.kind === 'fill' && data[from] === data[before.from]) {
      say(`two fills of one byte behind each other, at ${before.from} and ${from}`);
    }
  }
  const isFilled = (at: number) =>
    pieces.some(({ kind, from, end }) => kind === 'fill' && from <= at && at < end);
  for (let at = 0; at + sectorBytes <= data.length; at += sectorBytes) {
    const sector = data.subarray(at, at + sectorBytes);
    if (sector.every((byte) => byte === sector[0]) && !isFilled(at)) {
      say(
        `the sector at ${at} is 0x${(sector[0] ?? 0).toString(16)} over and over, and came as data`,
      );
      return;
    }
  }
}
