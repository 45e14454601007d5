import { expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import { createTypical, foldTypical, healthySectorMs, typicalMs } from '../../src/plan/typical.js';

test('a typical read is a median: one in ten that takes a hundred times as long changes little', () => {
  const typical = createTypical();
  const { next } = createRandom(1);
  for (let read = 0; read < 2000; read++)
    foldTypical(typical, 128, next() < 0.1 ? 300 : 2.8 + 0.4 * next());
  expect(typicalMs(typical, 128)).toBeGreaterThan(2.7);
  expect(typicalMs(typical, 128)).toBeLessThan(3.3);
});

test('it follows a drive whose inner tracks are slower', () => {
  const typical = createTypical();
  for (let read = 0; read < 200; read++) foldTypical(typical, 128, 1);
  for (let read = 0; read < 200; read++) foldTypical(typical, 128, 2);
  expect(typicalMs(typical, 128)).toBeCloseTo(2, 0);
});

test('a size that was never read: no longer than a longer one, in proportion to a shorter one', () => {
  const typical = createTypical();
  foldTypical(typical, 64, 4);
  expect(typicalMs(typical, 8)).toBe(4);
  expect(typicalMs(typical, 256)).toBe(16);
  expect(healthySectorMs(typical)).toBe(4 / 64);
  // Its first read that took longer than a longer one did is no typical one.
  foldTypical(typical, 8, 500);
  expect(typicalMs(typical, 8)).toBe(4);
});

test('reads that take no time at all leave a time to reckon with', () => {
  const typical = createTypical();
  for (let read = 0; read < 20_000; read++) foldTypical(typical, 128, 0);
  expect(typicalMs(typical, 128)).toBe(0.001);
});
