import { expect, test } from 'vitest';
import { createCompareState, moveOn, nextToCompare } from '../../src/job/compare.js';
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
