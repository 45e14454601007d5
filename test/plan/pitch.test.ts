import { expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import { createRunMap, type RunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { findPitches, nextExpected } from '../../src/plan/pitch.js';

const sectorCount = 2 ** 20;

/** A map that was read, but for these spots. */
function mapWith(spots: readonly number[]): RunMap {
  const map = createRunMap(sectorCount, statuses.finished);
  for (const lba of spots) map.set({ lba, count: 8 }, statuses['bad-sector']);
  return map;
}

function scratch(seed: number, pitch: number, jitter: number, count: number): number[] {
  const { next } = createRandom(seed);
  return Array.from({ length: count }, (_, n) =>
    Math.round(200_000 + n * pitch + (2 * next() - 1) * jitter),
  );
}

test.each([1, 2, 3, 4, 5])('a scratch is found, however rough, seed %d', (seed) => {
  const pitch = 700 + 137 * seed;
  const spots = scratch(seed, pitch, 0.04 * pitch, 20);
  const [found] = findPitches(spots, mapWith(spots));
  expect(Math.abs(found!.pitch - pitch)).toBeLessThan(0.01 * pitch);
  expect(found!.spread).toBeLessThan(0.04 * pitch);
});

test('a scratch with gaps keeps its pitch: half a pitch explains it as well, and is not taken', () => {
  const spots = scratch(3, 1000, 20, 40).filter((_, n) => n % 4 !== 2);
  const [found] = findPitches(spots, mapWith(spots));
  expect(found!.pitch).toBeCloseTo(1000, -1);
});

test('chance makes no pitch: at most one in fifty drives of scattered spots', () => {
  let found = 0;
  for (let seed = 1; seed <= 100; seed++) {
    const { next } = createRandom(seed);
    const spots = Array.from({ length: 24 }, () => Math.floor(next() * sectorCount)).sort(
      (a, b) => a - b,
    );
    found += findPitches(spots, mapWith(spots)).length > 0 ? 1 : 0;
  }
  expect(found).toBeLessThanOrEqual(2);
});

test('too few spots say nothing', () => {
  const spots = scratch(1, 1000, 0, 6);
  expect(findPitches(spots, mapWith(spots))).toEqual([]);
});

test('where the next is expected: behind what was met, within the spread; nothing where it was met', () => {
  const spots = scratch(2, 1000, 10, 20);
  const map = mapWith(spots);
  const pitches = findPitches(spots, map);
  const last = spots.at(-1)!;
  const next = nextExpected(pitches, map, last + 8, sectorCount)!;
  expect(Math.abs(next.lba - (last + 1000))).toBeLessThan(25);
  expect(next.from).toBeLessThanOrEqual(next.lba);
  expect(next.to).toBeGreaterThan(next.lba);
  expect(nextExpected(pitches, map, spots[3]! + 20, spots[4]! - 50)).toBeUndefined();
  expect(nextExpected(pitches, map, last + 50_000, sectorCount)).toBeUndefined();
});
