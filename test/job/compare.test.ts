import { expect, test } from 'vitest';
import {
  askToCompare,
  createCompareState,
  foldCompared,
  moveOn,
  nextToCompare,
} from '../../src/job/compare.js';
import type { Extent } from '../../src/map/extent.js';
import { statuses } from '../../src/map/status.js';
import { createPlanState } from '../../src/plan/state.js';

test('what is read again is finished and inside the domain, to its last sector', () => {
  const plan = createPlanState({
    sectorCount: 1000,
    sectorBytes: 512,
    physicalCount: 1,
    passes: [],
  });
  plan.scope.set({ lba: 0, count: 50 }, 0);
  plan.scope.set({ lba: 300, count: 400 }, 0);
  plan.map.set({ lba: 0, count: 900 }, statuses.finished);
  const compare = createCompareState(1000, 100);
  const seen: Extent[] = [];
  for (let next = nextToCompare(compare, plan); next; next = nextToCompare(compare, plan)) {
    seen.push(next);
    moveOn(compare, next);
  }
  expect(seen).toEqual([
    { lba: 50, count: 78 },
    { lba: 128, count: 128 },
    { lba: 256, count: 44 },
    { lba: 700, count: 68 },
    { lba: 768, count: 128 },
    { lba: 896, count: 4 },
  ]);
});

test('a sample under way goes on when it is asked for again, one that is complete is taken anew', () => {
  const plan = createPlanState({
    sectorCount: 1280,
    sectorBytes: 512,
    physicalCount: 1,
    passes: [],
  });
  plan.map.set({ lba: 0, count: 1280 }, statuses.finished);
  const compare = createCompareState(1280, 0);
  const take = (most: number) => {
    for (let taken = 0; taken < most; taken++) {
      const next = nextToCompare(compare, plan);
      if (!next) return taken;
      foldCompared(compare, next);
    }
    return most;
  };
  expect(take(9)).toBe(0);
  askToCompare(compare, plan, 50);
  expect(take(2)).toBe(2);
  askToCompare(compare, plan, 50);
  expect(compare.comparedCount).toBe(256);
  expect(take(9)).toBe(3);
  expect(compare.comparedCount).toBe(640);
  expect(take(9)).toBe(0);
  askToCompare(compare, plan, 50);
  expect(take(9)).toBe(5);
  expect(compare.comparedCount).toBe(640);
  // A larger share of a sample that is complete is a new one, from the first sector on.
  askToCompare(compare, plan, 25);
  expect(take(9)).toBe(2);
  askToCompare(compare, plan, 100);
  expect(take(99)).toBe(10);
});
