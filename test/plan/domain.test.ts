import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Extent, endOf } from '../../src/map/extent.js';
import type { RunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import {
  countsWithin,
  createScope,
  levelsOf,
  mapOfExtents,
  packScope,
  rowsForPriorities,
  unpackScope,
} from '../../src/plan/domain.js';
import { foldPlan } from '../../src/plan/fold.js';
import { referenceExtent } from '../../src/plan/reference.js';
import { createPlanState, type PlanState } from '../../src/plan/state.js';
import { runPlan, standardState } from './bench-drive.js';

const sectorCount = 6000;
const rows = standardState(sectorCount, 1, 1).passes;

function mapOf(...ranges: [number, number][]): RunMap {
  return mapOfExtents(
    sectorCount,
    ranges.map(([lba, end]) => ({ lba, count: end - lba })),
  );
}

function stateOver(scope: RunMap, physicalCount = 1): PlanState {
  const passes = rowsForPriorities(rows, levelsOf(scope));
  return createPlanState({ sectorCount, sectorBytes: 512, physicalCount, passes, scope });
}

const levelAt = (scope: RunMap, ...lbas: number[]) => lbas.map((lba) => scope.valueAt(lba));

describe('the scope', () => {
  const nothing = { sectorCount, domains: [], priorities: [] };

  test('is the whole drive where nothing is said', () => {
    const scope = createScope(nothing);
    expect(scope.countOf(1)).toBe(sectorCount);
    expect(packScope(scope)).toBeUndefined();
  });

  test('several domains are read in their order, and nothing else is', () => {
    const scope = createScope({ ...nothing, domains: [mapOf([100, 200]), mapOf([50, 150])] });
    expect(levelAt(scope, 49, 50, 99, 100, 149, 150, 199, 200)).toEqual([0, 2, 2, 1, 1, 1, 1, 0]);
  });

  test('what has priority comes first, then the rest', () => {
    const scope = createScope({ ...nothing, priorities: [mapOf([10, 20]), mapOf([15, 30])] });
    expect(levelAt(scope, 9, 10, 19, 20, 29, 30)).toEqual([3, 1, 1, 2, 2, 3]);
  });

  test('ranges restrict, exclusions take away, and priorities stay inside', () => {
    const scope = createScope({
      ...nothing,
      domains: [mapOf([0, 1000])],
      priorities: [mapOf([500, 2000])],
      ranges: [mapOf([100, 900])],
      excluded: [mapOf([600, 700])],
    });
    expect(levelAt(scope, 99, 100, 499, 500, 599, 600, 699, 700, 899, 900)).toEqual([
      0, 2, 2, 1, 1, 0, 0, 1, 1, 0,
    ]);
  });

  test('priorities that hold nothing leave no gap', () => {
    const scope = createScope({ ...nothing, priorities: [mapOf(), mapOf([10, 20])] });
    expect(levelAt(scope, 10, 20)).toEqual([1, 2]);
  });

  test('survives packing; data of another drive is the whole drive', () => {
    const scope = createScope({ ...nothing, priorities: [mapOf([10, 20])] });
    const again = unpackScope(packScope(scope), sectorCount);
    expect([...again.runs()]).toEqual([...scope.runs()]);
    expect(unpackScope([10, 1], sectorCount).countOf(1)).toBe(sectorCount);
    expect(unpackScope([sectorCount, 1.5], sectorCount).countOf(1)).toBe(sectorCount);
  });
});

test('rows go through the priorities stage by stage', () => {
  const names = rowsForPriorities(rows, 2).map(
    (row) => `${row.area === 'hung' ? 'hung' : row.phase} ${row.priority}`,
  );
  const stages = names.filter((name, n) => name !== names[n - 1]);
  expect(stages).toEqual([
    'copy 1',
    'copy 2',
    'trim 1',
    'trim 2',
    'scrape 1',
    'scrape 2',
    'hung 1',
    'hung 2',
    'retry 1',
    'retry 2',
  ]);
  expect(rowsForPriorities(rows, 1)).toBe(rows);
});

test('copying ends in the first priority before it begins in the second', () => {
  const scope = createScope({ sectorCount, domains: [], priorities: [mapOf([3000, 4000])] });
  const log = runPlan(stateOver(scope), { bad: new Set([3500, 100]) });
  const copies = log.filter((read) => read.pass.phase === 'copy').map((read) => read.lba);
  const firstRest = copies.findIndex((lba) => lba < 3000 || lba >= 4000);
  expect(copies.slice(0, firstRest).length).toBeGreaterThan(0);
  expect(copies.slice(firstRest).every((lba) => lba < 3000 || lba >= 4000)).toBe(true);
});

test('a row with ranges acts on nothing else', () => {
  const ranges = [
    { lba: 5000, count: 300 },
    { lba: 1000, count: 300 },
  ];
  const state = createPlanState({
    sectorCount,
    sectorBytes: 512,
    physicalCount: 1,
    passes: [
      { ...rows[0]!, ranges },
      { ...rows[1]!, area: 'any', ranges: [{ lba: 0, count: 500 }] },
    ],
  });
  const log = runPlan(state, { bad: new Set() });
  expect(log.map((read) => read.lba)).toEqual([
    1000, 1024, 1152, 1280, 5000, 5120, 5248, 384, 256, 128, 0,
  ]);
  expect(state.map.countOf(statuses.finished)).toBe(1100);
});

describe('a jump', () => {
  const startedAt = (passIndex: number, cursor: number) => {
    const state = stateOver(createScope({ sectorCount, domains: [], priorities: [] }));
    foldPlan(state, { kind: 'pass-started', index: passIndex, name: '' });
    state.cursor = cursor;
    return state;
  };

  test('forwards: what it went over is read at the end of the same pass', () => {
    const state = startedAt(0, 1280);
    state.map.set({ lba: 0, count: 1280 }, statuses.finished);
    foldPlan(state, { kind: 'jumped', lba: 4096 });
    const log = runPlan(state, { bad: new Set() });
    expect(log[0]!.lba).toBe(4096);
    const first = log.filter((read) => read.pass === state.passes[0]);
    expect(first).toHaveLength(Math.ceil((sectorCount - 1280) / 128));
    expect(first.at(-1)!.lba).toBe(4096 - 128);
  });

  test('over bad sectors in a retry pass: each is still tried once', () => {
    const bad = new Set([100, 2000, 5000]);
    const retry = rows.length - 1;
    for (const [cursor, lba, expected] of [
      [sectorCount, 2500, [2000, 100, 5000]],
      [3000, 5500, [5000, 2000, 100]],
    ] as const) {
      const state = startedAt(retry, cursor);
      state.map.set({ lba: 0, count: sectorCount }, statuses.finished);
      for (const at of bad) state.map.set({ lba: at, count: 1 }, statuses['bad-sector']);
      foldPlan(state, { kind: 'jumped', lba });
      expect(runPlan(state, { bad }).map((read) => read.lba)).toEqual(expected);
    }
  });

  test('out of what the pass had come back to keeps the rest of that', () => {
    const state = startedAt(0, 0);
    foldPlan(state, { kind: 'jumped', lba: 4096 });
    state.map.set({ lba: 4096, count: sectorCount - 4096 }, statuses.finished);
    foldPlan(state, { kind: 'went-back', lba: 0, count: 4096 });
    state.cursor = 1024;
    foldPlan(state, { kind: 'jumped', lba: 5000 });
    expect(state.jumpedOver).toEqual([{ lba: 1024, count: 3072 }]);
  });
});

describe('properties over random domains', () => {
  const range = fc.tuple(fc.nat(sectorCount - 1), fc.integer({ min: 1, max: 900 }));
  const extentsOf = (ranges: readonly [number, number][]): Extent[] =>
    ranges.map(([lba, count]) => ({ lba, count: Math.min(count, sectorCount - lba) }));
  const ranges = fc.array(range, { minLength: 1, maxLength: 6 }).map(extentsOf);
  const worlds = fc.record({
    domains: fc.array(ranges, { maxLength: 3 }),
    priorities: fc.array(ranges, { maxLength: 2 }),
    excluded: fc.option(ranges, { nil: undefined }),
    bad: ranges,
    physicalCount: fc.constantFrom(1, 8),
    windowMax: fc.constantFrom(1, 8),
  });
  const scopeOf = (world: {
    domains: Extent[][];
    priorities: Extent[][];
    excluded?: Extent[] | undefined;
  }) =>
    createScope({
      sectorCount,
      domains: world.domains.map((extents) => mapOfExtents(sectorCount, extents)),
      priorities: world.priorities.map((extents) => mapOfExtents(sectorCount, extents)),
      ...(world.excluded && { excluded: [mapOfExtents(sectorCount, world.excluded)] }),
    });
  const isInside = (scope: RunMap, { lba, count }: Extent) =>
    scope.next(lba, 0, lba + count) === undefined;

  test('nothing outside is read, and everything inside is classified', () => {
    fc.assert(
      fc.property(worlds, (world) => {
        const scope = scopeOf(world);
        const state = stateOver(scope, world.physicalCount);
        const bad = new Set<number>();
        for (const { lba, count } of world.bad)
          for (let at = lba; at < lba + count; at++) bad.add(Math.floor(at / world.physicalCount));
        const log = runPlan(state, { bad }, world.windowMax);
        for (const read of log) expect(isInside(scope, read)).toBe(true);
        const counts = countsWithin(state.map, scope);
        const unread = scope.size - scope.countOf(0) - counts[statuses.finished]!;
        expect(counts[statuses['bad-sector']]).toBe(unread);
        expect(state.map.countOf(statuses['non-tried'])).toBe(scope.countOf(0));
      }),
      { numRuns: 60 },
    );
  });

  test('references lie inside while nothing is finished, and later on what is finished', () => {
    fc.assert(
      fc.property(worlds, fc.nat(50), (world, attempt) => {
        const scope = scopeOf(world);
        if (scope.countOf(0) === sectorCount) return;
        const state = stateOver(scope, world.physicalCount);
        expect(isInside(scope, referenceExtent(state, attempt))).toBe(true);
        for (const extent of world.bad) state.map.set(extent, statuses.finished);
        const reference = referenceExtent(state, attempt);
        const run = state.map.runAt(reference.lba);
        expect(run.value === statuses.finished && endOf(reference) <= endOf(run)).toBe(true);
        const inside = countsWithin(state.map, scope)[statuses.finished]!;
        if (inside > 0) expect(isInside(scope, reference)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
