/** Clauses F and T: bytes and frames. */
import { crc32 } from 'node:zlib';
import { commands, replyCodes } from '../commands.js';
import { encodedBytesMax, encodeFrame } from '../frame.js';
import type { Bench } from './bench.js';
import type { Check } from './check.js';
import type { Message } from './messages.js';
import { silence, type Talk } from './talk.js';
import { CheckFailed, hex, must, notSeen } from './verdict.js';
import { ownFrameBytesMax } from './wire.js';

/** A code that version 1 gives no meaning. */
export const unknownCode = 0x2e;

/** A bare message: code, id, no body. */
export function bareMessage(code: number, id: number): Uint8Array {
  const message = new Uint8Array(5);
  new DataView(message.buffer).setUint32(1, id, true);
  message[0] = code;
  return message;
}

/** Some of everything that an imager says without a drive. */
export async function someTraffic(talk: Talk): Promise<void> {
  await talk.status();
  const id = talk.commandId++;
  talk.sendRaw(bareMessage(unknownCode, id));
  const isAnswer = (m: Message) => m.kind === 'response' && m.id === id;
  const answer = await talk.wire.next(isAnswer, 2000);
  must(answer !== undefined, 'an unknown request is answered', silence(talk.wire, 2000));
  await talk.sayHello();
  await talk.status();
}

async function traffic({ talk }: Bench): Promise<undefined> {
  await someTraffic(talk);
}

/** Sends bytes that must not be answered, and tells by how much the count of discarded frames rose. */
async function discards(talk: Talk, bytes: Uint8Array, id: number): Promise<number> {
  const before = (await talk.status()).framesDiscarded;
  talk.wire.write(bytes);
  // Long frames take their time on a slow line.
  const status = await talk.ask('status', {}, { withinMs: 30_000 });
  const after = (status.value as { framesDiscarded: number }).framesDiscarded;
  const wants = 'what is no good frame is not answered';
  await talk.quiet((m) => m.kind === 'response' && m.id === id, wants);
  return after - before;
}

const oddId = 0x5eed_0001;

/** A HELLO whose message and CRC are `runBytes` bytes without a zero, and its frame. */
function zeroFreeHello(talk: Talk, id: number, runBytes: number) {
  const message = new Uint8Array(runBytes - 4).fill(0x55);
  const session = talk.session | 0x0101_0101;
  const head = talk.encode(
    'hello',
    { magic: 0x4e50_534c, major: 1, minor: 1, frameBytesMax: 0x0101_0101, session: session >>> 0 },
    { id },
  );
  message.set(head);
  const tail = new Uint8Array(4);
  do {
    message[message.length - 1] = (message[message.length - 1]! % 255) + 1;
    new DataView(tail.buffer).setUint32(0, crc32(message), true);
  } while (tail.includes(0));
  return { message, run: Buffer.concat([message, tail]) };
}

async function fullRuns(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const helloAnswered = async (bytes: Uint8Array, id: number, message: Uint8Array) => {
    talk.wire.write(Uint8Array.of(0));
    talk.note(message);
    talk.wire.write(bytes);
    return (await talk.answer('hello', id, 3000))?.reply === replyCodes.ok;
  };
  const short = zeroFreeHello(talk, 0x0101_0101, 200);
  if (!(await helloAnswered(encodeFrame(short.message), 0x0101_0101, short.message))) {
    notSeen('a HELLO with later fields is not taken (V-1, V-2)');
  }
  for (const [id, end, what] of [
    [0x0101_0102, [0], 'a run of 254 bytes that ends the frame'],
    [0x0101_0103, [1, 0], 'an empty run behind a full run that ends the frame'],
  ] as const) {
    const { message, run } = zeroFreeHello(talk, id, 254);
    const frame = Buffer.concat([Uint8Array.of(255), run, Uint8Array.from(end)]);
    const answered = await helloAnswered(frame, id, message);
    must(answered, `${what} is taken`, silence(talk.wire, 3000), 'F-3');
  }
}

async function emptyFrames({ talk }: Bench): Promise<undefined> {
  const { framesDiscarded } = await talk.status();
  talk.wire.write(new Uint8Array(100));
  const after = (await talk.status()).framesDiscarded;
  const came = `100 empty frames: ${framesDiscarded} became ${after}`;
  must(after === framesDiscarded, 'empty frames are not counted', came);
}

async function overlong(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const { frameBytesMax } = bench.hello;
  if (frameBytesMax >= ownFrameBytesMax) notSeen(`it takes messages of ${frameBytesMax} bytes`);
  const stuffedMax = encodedBytesMax(frameBytesMax) - 1;
  for (const fill of [stuffedMax, stuffedMax + 1, 2 * stuffedMax]) {
    const status = encodeFrame(bareMessage(commands.status.code, oddId));
    const bytes = Buffer.concat([new Uint8Array(fill).fill(0x55), status]);
    const count = await discards(talk, bytes, oddId);
    const came = `${count} counted for ${bytes.length} bytes without a zero`;
    must(count === 1, 'a frame that is too long is dropped and counted once', came);
  }
  const trailing = new Uint8Array(frameBytesMax - 21 - 2).fill(0x55);
  const id = 0x0101_0104;
  const hello = { magic: 0x4e50_534c, major: 1, minor: 0, frameBytesMax, session: talk.session };
  talk.sendRaw(talk.encode('hello', hello, { id, trailing }));
  const answer = await talk.answer('hello', id, 30_000);
  const wants = `a message of ${frameBytesMax - 2} bytes is taken: it offered ${frameBytesMax}`;
  must(answer?.reply === replyCodes.ok, wants, silence(talk.wire, 30_000));
}

async function brokenFrames({ talk }: Bench): Promise<undefined> {
  const good = encodeFrame(bareMessage(commands.status.code, oddId));
  const wrongCrc = Uint8Array.from(good);
  wrongCrc[wrongCrc.length - 2]! ^= 0x10;
  const rows = [
    ['of a wrong CRC', wrongCrc],
    ['wrongly stuffed', Uint8Array.of(0x20, 0x0a, 0x01, 0x02, 0x03, 0x04, 0x05, 0)],
    ['of four bytes', Uint8Array.of(5, 0x0a, 1, 2, 3, 0)],
    ['cut short', Buffer.concat([good.subarray(0, 6), Uint8Array.of(0)])],
  ] as const;
  for (const [what, bytes] of rows) {
    const count = await discards(talk, bytes, oddId);
    must(count === 1, `a frame ${what} is dropped and counted`, `${count} counted: ${hex(bytes)}`);
  }
  for (let bit = 0; bit < (good.length - 1) * 8; bit++) {
    const flipped = Uint8Array.from(good);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    talk.wire.write(flipped);
  }
  const wants = 'no frame with a flipped bit is taken for a good one';
  await talk.quiet((m) => m.kind === 'response' && (m.id === oddId || m.reply !== 0), wants);
}

async function openingZero(bench: Bench): Promise<undefined> {
  const { wire } = bench.target.reopens ? await bench.reopen() : bench.talk;
  await bench.clock.sleep(bench.late(300));
  if (wire.opening.length === 0 && bench.target.reopens) {
    throw new CheckFailed('a zero is sent when the line opens', 'nothing');
  }
  must(wire.opening[0] === 0, 'the first byte on a line is a zero', hex(wire.opening));
}

async function afterNoise(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  talk.wire.write(Uint8Array.of(0x13, 0x37, 0xff, 0xfe, 0x80, 0x01));
  const answer = await talk.sayHello();
  const wants = 'a HELLO behind noise and a zero is answered';
  must(answer?.reply === replyCodes.ok, wants, silence(talk.wire, 3000));
}

async function splitAndMerged(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const frame = (id: number) => encodeFrame(bareMessage(commands.status.code, id));
  const answered = async (id: number, wants: string) => {
    const answer = await talk.answer('status', id);
    must(answer !== undefined, wants, silence(talk.wire, 5000));
  };
  for (const id of [901, 902, 903, 904]) talk.note(bareMessage(commands.status.code, id));
  for (const byte of frame(901)) {
    talk.wire.write(Uint8Array.of(byte));
    await clock.sleep(2);
  }
  await answered(901, 'a frame that comes byte by byte is taken');
  const half = frame(902);
  talk.wire.write(half.subarray(0, 4));
  await clock.sleep(1500);
  talk.wire.write(half.subarray(4));
  await answered(902, 'a frame that stops in the middle for 1.5 s is taken');
  talk.wire.write(Buffer.concat([frame(903), frame(904)]));
  await answered(903, 'two frames in one write are taken');
  await answered(904, 'two frames in one write are taken');
}

export const frameChecks: readonly Check[] = [
  {
    clauses: ['F-1'],
    title: 'Every frame is a message and its CRC, ended by a zero',
    how: 'HELLO, status and an unknown request; every frame of the whole run is looked at',
    run: traffic,
  },
  {
    clauses: ['F-2'],
    title: 'Every frame has the right CRC',
    how: 'every frame of the whole run',
    run: traffic,
  },
  {
    clauses: ['F-4'],
    title: 'A zero stands nowhere but behind a frame',
    how: 'every frame of the whole run',
    run: traffic,
  },
  {
    clauses: ['F-3'],
    title: 'Full runs are taken with and without an empty one behind them',
    how: 'a HELLO without any zero, 254 bytes with its CRC, in both forms',
    run: fullRuns,
  },
  {
    clauses: ['F-5'],
    title: 'Empty frames mean nothing',
    how: '100 zeros; framesDiscarded before and after',
    run: emptyFrames,
  },
  {
    clauses: ['F-6'],
    title: 'A frame that is too long is dropped up to its zero',
    how: 'more bytes than it takes, with a good status at their end; then a message as long as offered',
    run: overlong,
  },
  {
    clauses: ['F-7'],
    title: 'Broken frames are dropped, counted and not answered',
    how: 'four kinds of broken frame, and a status with each of its bits flipped in turn',
    run: brokenFrames,
  },
  {
    clauses: ['F-8'],
    title: 'A line opens with a zero',
    needs: ['tells-end'],
    how: 'the first byte of a new link',
    run: openingZero,
  },
  {
    clauses: ['F-7'],
    title: 'Noise ends at the next zero',
    how: 'noise, a zero and a HELLO',
    run: afterNoise,
  },
  {
    clauses: ['T-1'],
    title: 'Frames take no notice of writes',
    how: 'a frame byte by byte, one with a pause in it, two in one write',
    run: splitAndMerged,
  },
];
