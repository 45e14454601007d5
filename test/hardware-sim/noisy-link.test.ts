import { describe, expect, test } from 'vitest';
import { linkPair, type NoiseRow, pacedLink } from '../../hardware-sim/noisy-link.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';

const message = (id: number, bytes = 40) => new Uint8Array(bytes).fill(id);

/** Sends `count` messages over a noisy line; what arrived, and the bytes on the line. */
async function send(noise: readonly NoiseRow[], seed: number, count = 300) {
  const clock = createVirtualClock();
  const wire: number[] = [];
  const [near, far] = linkPair(clock, {
    seed,
    noise,
    onBytes: (towards, bytes) => {
      if (towards === 'far') wire.push(...bytes);
    },
  });
  const arrived: number[] = [];
  far.onMessage((each) => arrived.push(each[0]!));
  for (let id = 1; id <= count; id++) near.send(message(1 + (id % 200)));
  await clock.advance(1000);
  const discards = Object.values(far.discarded).reduce((sum, each) => sum + each, 0);
  return { arrived, wire, discards };
}

test('a quiet line carries everything, at once and in order', async () => {
  const { arrived, discards } = await send([], 1, 5);
  expect(arrived).toEqual([2, 3, 4, 5, 6]);
  expect(discards).toBe(0);
});

describe('one seed, one history', () => {
  const all: NoiseRow[] = [
    { kind: 'drop', chance: 0.05 },
    { kind: 'duplicate', chance: 0.05 },
    { kind: 'flip', chance: 0.05 },
    { kind: 'truncate', chance: 0.05 },
    { kind: 'merge', chance: 0.05 },
    { kind: 'delay', chance: 0.05, delayMs: 50 },
  ];
  test('the same seed gives the same bytes, another one others', async () => {
    const first = await send(all, 7);
    expect((await send(all, 7)).wire).toEqual(first.wire);
    expect((await send(all, 8)).wire).not.toEqual(first.wire);
    expect(first.discards).toBeGreaterThan(0);
    expect(first.arrived.length).toBeGreaterThan(200);
  });
});

test.each([
  ['drop', 0, 0],
  ['duplicate', 600, 0],
  ['flip', 0, 300],
  ['truncate', 0, 300],
  // All run together: one frame that never ends and is too long.
  ['merge', 0, 0],
] as const)('%s, every time: %i arrive', async (kind, arrivedCount, discardsMin) => {
  const { arrived, discards } = await send([{ kind, chance: 1 }], 3);
  expect(arrived).toHaveLength(arrivedCount);
  // A flip may also make a zero, and so two bad frames of one.
  expect(discards).toBeGreaterThanOrEqual(discardsMin * 0.9);
});

test('a delayed frame holds up what follows: nothing overtakes', async () => {
  const clock = createVirtualClock();
  const [near, far] = linkPair(clock, {
    seed: 2,
    noise: [{ kind: 'delay', chance: 0.5, delayMs: 30 }],
  });
  const arrived: number[] = [];
  far.onMessage((each) => arrived.push(each[0]!));
  for (let id = 1; id <= 50; id++) near.send(message(id));
  await clock.advance(29);
  const early = arrived.length;
  await clock.advance(1);
  expect(early).toBeLessThan(50);
  expect(arrived).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
});

test('noise towards one end leaves the other direction alone', async () => {
  const clock = createVirtualClock();
  const [near, far] = linkPair(clock, { noise: [{ kind: 'drop', chance: 1, towards: 'near' }] });
  let atNear = 0;
  let atFar = 0;
  near.onMessage(() => atNear++);
  far.onMessage(() => atFar++);
  near.send(message(1));
  far.send(message(1));
  await clock.advance(1);
  expect([atNear, atFar]).toEqual([0, 1]);
});

test('a line with a speed takes its time, and says when it has drained', async () => {
  const clock = createVirtualClock();
  const [near, far] = linkPair(clock, { bytesPerSecond: 1000 });
  const arrivedAtMs: number[] = [];
  far.onMessage(() => arrivedAtMs.push(clock.now()));
  // 94 bytes of message become a frame of 100: CRC, one COBS code, the end mark.
  near.send(message(1, 94));
  near.send(message(2, 94));
  await clock.run(near.drained());
  await clock.advance(0);
  expect(arrivedAtMs).toEqual([100, 200]);
});

test('a paced link spaces what it sends', async () => {
  const clock = createVirtualClock();
  const [near, far] = linkPair(clock);
  const paced = pacedLink(near, clock, 1000);
  const arrivedAtMs: number[] = [];
  far.onMessage(() => arrivedAtMs.push(clock.now()));
  for (let id = 1; id <= 3; id++) paced.send(message(id, 100));
  await clock.run(paced.drained());
  expect(arrivedAtMs).toEqual([0, 100, 200]);
});

test('closing one end ends the other; what comes before a receiver waits for it', async () => {
  const clock = createVirtualClock();
  const [near, far] = linkPair(clock);
  near.send(message(9));
  await clock.advance(1);
  const arrived: number[] = [];
  far.onMessage((each) => arrived.push(each[0]!));
  expect(arrived).toEqual([9]);
  const ends: (string | undefined)[] = [];
  near.onClose((error) => ends.push(error?.message));
  far.onClose((error) => ends.push(error?.message));
  near.close();
  near.close();
  expect(ends).toEqual([undefined, 'closed by the other end']);
  far.send(message(1));
  await clock.advance(1);
});
