import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CallerRead, createCaller } from '../../firmware-protocol/caller.js';
import { commands, events, readOutcomes, responseBit } from '../../firmware-protocol/commands.js';
import { encodeMessage, encodeOk } from '../../firmware-protocol/message.js';
import { coverWith, firstMissing } from '../../firmware-protocol/read-window.js';
import { serveImager } from '../../firmware-protocol/responder.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { LastspinError } from '../../src/errors.js';
import {
  createFakeImager,
  createLine,
  type Direction,
  kindOf,
  sectorBytes,
  sectorsAt,
} from './fake-imager.js';

type Passes = (message: Uint8Array, index: number, to: Direction) => Uint8Array | undefined;

const read: CallerRead = {
  sectorBytes,
  batch: 1,
  lba: 40,
  count: 8,
  timeoutMs: 1000,
  slowMs: 0,
  stopOn: 0,
};

/** A session in which the imager's messages pass through `passes`, and one read in it. */
async function readThrough(passes: Passes, extra: (send: (message: Uint8Array) => void) => void) {
  const clock = createVirtualClock();
  const device = createFakeImager(clock);
  const line = createLine(clock, passes);
  serveImager(line.device, device, clock);
  return clock.run(
    (async () => {
      const laptop = await createCaller(line.laptop, clock, { session: 3 });
      const reading = laptop.read(read).catch((error: unknown) => error);
      extra((message) => line.device.send(message));
      const result = await reading;
      const { counters } = laptop;
      laptop.close();
      return { result, counters, reads: device.reads };
    })(),
  );
}

const nothing = () => {};
const goodResponse = {
  outcome: readOutcomes.good,
  goodCount: 8,
  known: 0,
  failingLba: 0,
  ataStatus: 0,
  ataError: 0,
  senseKey: 0,
  asc: 0,
  ascq: 0,
  elapsedMicros: 1,
  dataBytes: 8 * sectorBytes,
  dataCrc: 0,
  lba: read.lba,
};
const responseTo = (id: number, change: Partial<Record<keyof typeof goodResponse, number>>) =>
  encodeOk(commands.read.code, id, commands.read.response, { ...goodResponse, ...change });
const piece = (id: number, offset: number, length: number) =>
  encodeMessage(events.data.code, id, events.data.body, { offset, bytes: new Uint8Array(length) });

test.each([
  ['a piece outside the read', piece(0, 4090, 10)],
  ['a piece far outside the read', piece(0, 0xffff_ffff, 1)],
  ['a piece of a read never asked for', piece(9, 0, 10)],
  ['more good sectors than were asked for', responseTo(0, { goodCount: 9, dataBytes: 4608 })],
  ['a short read called good', responseTo(0, { goodCount: 7, dataBytes: 3584 })],
  ['bytes that do not match the sectors', responseTo(0, { dataBytes: 4095 })],
  ['a fault after which nothing is missing', responseTo(0, { outcome: readOutcomes.fault })],
  [
    'sectors of what was not attempted',
    responseTo(0, { outcome: 4, goodCount: 1, dataBytes: 512 }),
  ],
  ['an outcome that does not exist', responseTo(0, { outcome: 77 })],
  ["an answer to another session's read of that id", responseTo(0, { lba: 8 })],
  [
    'a fill outside the read',
    encodeMessage(events.fill.code, 0, events.fill.body, { offset: 512, length: 4096, byte: 0 }),
  ],
  ['the response to a read never asked for', responseTo(9, {})],
  ['a response cut short', Uint8Array.of(commands.read.code | responseBit, 0, 0, 0, 0, 0, 1)],
  ['a message too short for its header', Uint8Array.of(0x83, 0)],
  [
    'a gap beyond what was sent',
    encodeMessage(events.gap.code, 0, events.gap.body, { readIdNext: 50 }),
  ],
  [
    'a rail that does not exist',
    encodeMessage(events.railFault.code, 0, events.railFault.body, {
      rail: 3,
      milliamps: 0,
      millivolts: 0,
      fault: 1,
    }),
  ],
  ["the laptop's own request", encodeMessage(commands.status.code, 5, commands.status.request, {})],
])('%s is counted, and the read ends right', async (_name, message) => {
  const { result, counters } = await readThrough(
    (same) => same,
    (send) => send(message),
  );
  expect(result).toMatchObject({ outcome: 'good', data: sectorsAt(40, 8) });
  expect(counters.violations).toBe(1);
});

test('wrong data in a right frame is found by the checksum of the read and sent again', async () => {
  let spoiled = 0;
  const { result, reads } = await readThrough((message) => {
    if (kindOf(message) === 'event 64' && spoiled++ === 0) message[20]! ^= 1;
    return message;
  }, nothing);
  expect(result).toMatchObject({ outcome: 'good', data: sectorsAt(40, 8) });
  expect(reads).toHaveLength(1);
});

test('an imager whose data never matches its checksum is given up, not believed', async () => {
  const { result } = await readThrough((message) => {
    if (kindOf(message) === 'event 64') message[20]! ^= 1;
    return message;
  }, nothing);
  expect(result).toMatchObject({ code: 'LINK_TIMEOUT' });
  expect((result as Error).message).toContain('checksum');
});

test('an imager that contradicts itself for ever is given up with what it said', async () => {
  const { result } = await readThrough(
    (message) => (kindOf(message) === 'read response' ? responseTo(0, { goodCount: 9 }) : message),
    nothing,
  );
  expect(result).toMatchObject({ code: 'LINK_TIMEOUT' });
  expect((result as Error).message).toContain('9 of 8 sectors');
});

test('endless gaps do not make the laptop send for ever', async () => {
  const gap = encodeMessage(events.gap.code, 0, events.gap.body, { readIdNext: 0 });
  const { result, counters } = await readThrough(
    (message, _index, to) =>
      to === 'to-laptop' && kindOf(message) !== 'hello response' ? gap : message,
    (send) => {
      for (let count = 0; count < 200; count++) send(gap);
    },
  );
  expect(result).toMatchObject({ code: 'LINK_TIMEOUT' });
  expect(counters.repetitions).toBeLessThan(100);
});

test('whatever an imager says, the laptop neither falls over nor believes wrong data', async () => {
  const anyMessage = fc
    .tuple(
      fc.oneof(
        fc.constantFrom(0x83, 0x84, 0x8a, 0x40, 0x41, 0x45),
        fc.integer({ min: 0, max: 255 }),
      ),
      fc.constantFrom(0, 1, 2, 0xffff_ffff),
      fc.uint8Array({ maxLength: 60 }),
    )
    .map(([code, id, body]) => {
      const message = new Uint8Array(5 + body.length);
      message[0] = code;
      new DataView(message.buffer).setUint32(1, id, true);
      message.set(body, 5);
      return message;
    });
  await fc.assert(
    fc.asyncProperty(fc.array(anyMessage, { maxLength: 20 }), async (messages) => {
      const { result } = await readThrough(
        (same) => same,
        (send) => {
          for (const message of messages) send(message);
        },
      );
      if (result instanceof LastspinError) return;
      const { data, goodCount } = result as { data: Uint8Array; goodCount: number };
      expect(data).toEqual(sectorsAt(40, goodCount));
    }),
    { numRuns: 60 },
  );
});

test('whatever a laptop says, the imager does not fall over and still serves the next one', async () => {
  const clock = createVirtualClock();
  const device = createFakeImager(clock);
  const line = createLine(clock);
  const responder = serveImager(line.device, device, clock);
  const laptop = await clock.run(createCaller(line.laptop, clock, { session: 3 }));
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(0, 1, 7, 0xffff_ffff),
      fc.uint8Array({ maxLength: 60 }),
      (code, id, body) => {
        const message = new Uint8Array(5 + body.length);
        message[0] = code;
        new DataView(message.buffer).setUint32(1, id, true);
        message.set(body, 5);
        line.laptop.send(message);
        line.laptop.send(body);
      },
    ),
    { numRuns: 2000 },
  );
  await clock.advance(60_000);
  laptop.close();
  const otherLine = createLine(clock);
  responder.attach(otherLine.device);
  const result = await clock.run(
    (async () => {
      const next = await createCaller(otherLine.laptop, clock, { session: 4 });
      const got = await next.read(read);
      next.close();
      return got;
    })(),
  );
  expect(result.data).toEqual(sectorsAt(40, 8));
});

test('covered parts of a read join, and the first missing one is found', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 99 }), fc.integer({ min: 1, max: 20 }))),
      (spans) => {
        const bytes = 100;
        const has = new Array<boolean>(bytes).fill(false);
        let covered: ReturnType<typeof coverWith> = [];
        for (const [from, length] of spans) {
          const end = Math.min(bytes, from + length);
          has.fill(true, from, end);
          covered = coverWith(covered, { from, end });
        }
        const missing = firstMissing(covered, bytes);
        const from = has.indexOf(false);
        if (from === -1) return expect(missing).toBeUndefined();
        const next = has.indexOf(true, from);
        expect(missing).toEqual({ from, end: next === -1 ? bytes : next });
      },
    ),
  );
});

test('a copy of a piece with other bytes changes nothing, before or behind the right one', async () => {
  for (const altered of ['before', 'behind'] as const) {
    const clock = createVirtualClock();
    const device = createFakeImager(clock);
    const line = createLine(clock);
    const { send } = line.device;
    Object.assign(line.device, {
      send(message: Uint8Array) {
        const copy = Uint8Array.from(message);
        if (kindOf(message) === `event ${events.data.code}`) copy.fill(0x5a, message.length - 20);
        if (altered === 'before') send(copy);
        send(message);
        if (altered === 'behind') send(copy);
      },
    });
    serveImager(line.device, device, clock);
    const result = await clock.run(
      (async () => {
        const laptop = await createCaller(line.laptop, clock, { session: 3 });
        const reading = laptop.read(read).catch((error: unknown) => error);
        const end = await reading;
        laptop.close();
        return end;
      })(),
    );
    // Wrong bytes that came first are in the sum, which then does not hold: never are they handed out.
    if (result instanceof LastspinError) expect(altered).toBe('before');
    else expect(result).toMatchObject({ outcome: 'good', data: sectorsAt(read.lba, read.count) });
  }
});
