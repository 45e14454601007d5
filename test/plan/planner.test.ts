import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { statuses } from '../../src/map/status.js';
import { foldPlan } from '../../src/plan/fold.js';
import { notes, type Pass } from '../../src/plan/pass.js';
import { plan } from '../../src/plan/planner.js';
import { createPlanState } from '../../src/plan/state.js';
import { presetRows } from '../presets.js';
import { answer, type Damage, runPlan, standardState } from './bench-drive.js';

const sectorCount = 40_000;
/** Large enough for jumps to start at 4,096 sectors and to double once before they reach 1 %. */
const largeCount = 1_000_000;

function spots(...ranges: [number, number][]): Set<number> {
  const set = new Set<number>();
  for (const [from, to] of ranges) for (let at = from; at < to; at++) set.add(at);
  return set;
}

describe('the standard passes', () => {
  test('a healthy drive is read once, forwards, in aligned groups', () => {
    const state = standardState(sectorCount);
    const log = runPlan(state, { bad: new Set() });
    expect(log).toHaveLength(Math.ceil(sectorCount / 128));
    expect(log.every((read, n) => read.lba === n * 128)).toBe(true);
    expect(state.map.countOf(statuses.finished)).toBe(sectorCount);
  });

  test('step 1 drops a bad group and jumps, doubling, until a group reads well', () => {
    const log = runPlan(standardState(largeCount), { bad: spots([1000, 12_000]) });
    const first = log.filter((read) => read.pass.name === 'good areas');
    const failing = first.filter((read) => read.outcome === 'fault').map((read) => read.lba);
    // Group 896 fails, 4096 on from its end; the next jump is twice that and lands behind.
    expect(failing).toEqual([896, 1024 + 4096]);
    expect(first.find((read) => read.lba > 5120)?.lba).toBe(5248 + 8192);
  });

  test('jumps double up to the limit of their row and no further', () => {
    const log = runPlan(standardState(largeCount), { bad: spots([1000, 60_000]) });
    const first = log.filter((read) => read.pass.name === 'good areas');
    const jumps = first
      .filter((read) => read.outcome === 'fault')
      .map((read) => first[first.indexOf(read) + 1]!.lba - (read.lba + read.count));
    // 1 % of the drive in whole groups.
    expect(jumps).toEqual([4096, 8192, 9984, 9984, 9984, 9984, 9984]);
  });

  test('step 2 takes an area that was skipped as bad from its rear end, and leaves it at a bad group', () => {
    const log = runPlan(standardState(largeCount), { bad: spots([1000, 2000]) });
    const second = log.filter((read) => read.pass.name === 'rear edges of bad areas');
    expect(second[0]!.lba).toBe(1024 + 4096 - 128);
    expect(second.every((read, n) => n === 0 || read.lba + read.count === second[n - 1]!.lba)).toBe(
      true,
    );
    expect(second.at(-1)).toMatchObject({ outcome: 'fault', lba: 1920 });
    expect(second.filter((read) => read.outcome === 'fault')).toHaveLength(1);
  });

  test('steps 3 and 4 read slow areas from the front and what is bad in them from the rear', () => {
    const damage = { bad: spots([2000, 2100]), slow: spots([1000, 4000]) };
    const log = runPlan(standardState(largeCount), damage);
    const third = log.filter((read) => read.pass.name === 'slow areas');
    expect(third[0]).toMatchObject({ lba: 1024, outcome: 'slow' });
    expect(third.at(-1)).toMatchObject({ lba: 1920, outcome: 'fault' });
    const fourth = log.filter((read) => read.pass.name === 'rear edges of bad areas in slow ones');
    expect(fourth[0]!.lba).toBe(1024 + 4096 - 128);
    expect(fourth.at(-1)).toMatchObject({ lba: 2048, outcome: 'fault' });
  });

  test('step 5 takes only untouched groups, and no failed group is read as a group again', () => {
    const log = runPlan(standardState(sectorCount), {
      bad: spots([1000, 12_000], [20_000, 20_001]),
    });
    const groups = log.filter((read) => read.count > 1 && read.outcome === 'fault');
    expect(new Set(groups.map((read) => read.lba)).size).toBe(groups.length);
  });

  test('trimming finds the exact edges of a bad area, scraping reads what lies between', () => {
    const state = standardState(sectorCount);
    const log = runPlan(state, { bad: spots([1030, 1031], [1100, 1101]) });
    const trim = log.filter((read) => read.pass.phase === 'trim');
    expect(trim.map((read) => read.lba)).toEqual([
      ...Array.from({ length: 7 }, (_, n) => 1024 + n),
      ...Array.from({ length: 52 }, (_, n) => 1151 - n),
    ]);
    const scrape = log.filter((read) => read.pass.phase === 'scrape');
    expect(scrape.map((read) => read.lba)).toEqual(Array.from({ length: 69 }, (_, n) => 1031 + n));
    expect(state.map.countOf(statuses['bad-sector'])).toBe(2);
  });

  test('a read that names its failing LBA keeps what came before it, and that sector is not read again', () => {
    const state = standardState(sectorCount, 8);
    const log = runPlan(state, { bad: new Set([150]), namesLba: true });
    expect(log.filter((read) => read.outcome === 'fault')).toHaveLength(1);
    expect(state.map.countOf(statuses['bad-sector'])).toBe(8);
    expect(state.map.countOf(statuses.finished)).toBe(sectorCount - 8);
  });

  test('retries take bad sectors again, in alternating directions', () => {
    const log = runPlan(standardState(sectorCount, 1, 2), { bad: spots([5, 6], [700, 701]) });
    const retries = log.filter((read) => read.pass.phase === 'retry').map((read) => read.lba);
    expect(retries).toEqual([700, 5, 5, 700]);
  });
});

describe('blame', () => {
  /** A state whose first pass has started and whose next read is known. */
  function started() {
    const state = standardState(sectorCount);
    foldPlan(state, { kind: 'pass-started', index: 0, name: '' });
    return state;
  }
  const nothing: Damage = { bad: new Set() };

  function readNext(state: ReturnType<typeof started>, damage: Damage) {
    const step = plan(state, []);
    if (step.kind !== 'read') throw new Error(`expected a read, got ${step.kind}`);
    foldPlan(state, answer(state, damage, step.extent, step.pass));
    return step.extent;
  }

  function timeoutNext(state: ReturnType<typeof started>) {
    const step = plan(state, []);
    if (step.kind !== 'read') throw new Error(`expected a read, got ${step.kind}`);
    foldPlan(state, {
      kind: 'read',
      role: 'pass',
      ...step.extent,
      outcome: 'timeout',
      goodCount: 0,
      elapsedMs: 1000,
    });
    return step.extent;
  }

  test('a timeout marks nothing and nothing is planned until somebody is blamed', () => {
    const state = started();
    timeoutNext(state);
    expect(state.map.countOf(statuses['non-tried'])).toBe(sectorCount);
    expect(plan(state, []).kind).toBe('wait');
  });

  test('the place is to blame: its group becomes non-trimmed', () => {
    const state = started();
    readNext(state, nothing);
    const extent = timeoutNext(state);
    foldPlan(state, { kind: 'blamed', on: 'place', why: '' });
    expect(state.map.runAt(extent.lba)).toMatchObject({
      lba: 128,
      count: 128,
      value: statuses['non-trimmed'],
    });
  });

  test('the drive is to blame: what was marked since the last good read is as before, and is read again in place', () => {
    const state = started();
    readNext(state, nothing);
    readNext(state, { bad: spots([128, 40_000]) });
    readNext(state, { bad: spots([128, 40_000]) });
    timeoutNext(state);
    expect(state.map.countOf(statuses['non-trimmed'])).toBe(256);
    foldPlan(state, { kind: 'blamed', on: 'drive', why: '' });
    expect(state.map.countOf(statuses['non-trimmed'])).toBe(0);
    expect(plan(state, [])).toMatchObject({ kind: 'read', extent: { lba: 128, count: 128 } });
  });

  test('what was marked before a hang is as before, and is read again although the pass goes on behind it', () => {
    const state = started();
    const damage = { bad: spots([128, 256]) };
    readNext(state, nothing);
    readNext(state, damage);
    const hung = timeoutNext(state);
    foldPlan(state, { kind: 'blamed', on: 'hang', why: '' });
    expect(plan(state, [])).toMatchObject({ kind: 'read', extent: { lba: 128, count: 128 } });
    readNext(state, damage);
    runPlan(state, damage);
    expect(state.map.countOf(statuses['non-tried'])).toBe(0);
    expect(state.notes.valueAt(hung.lba)).toBe(notes.hung);
  });

  test('a spot that hung the drive keeps its status and is read last, from both sides', () => {
    const state = started();
    const extent = timeoutNext(state);
    foldPlan(state, { kind: 'blamed', on: 'hang', why: '' });
    expect(state.map.valueAt(extent.lba)).toBe(statuses['non-tried']);
    expect(state.notes.valueAt(extent.lba)).toBe(notes.hung);
    const log = runPlan(state, { bad: spots([60, 61]) });
    const inSpot = log.filter((read) => read.lba < 128);
    expect(inSpot.every((read) => read.pass.area === 'hung' && read.count === 1)).toBe(true);
    expect(inSpot[0]!.lba).toBe(0);
    expect(state.map.countOf(statuses.finished)).toBe(sectorCount - 1);
    expect(state.map.valueAt(60)).toBe(statuses['bad-sector']);
  });
});

describe('what a row may say', () => {
  function stateOf(change: Partial<Pass>, more: readonly Pass[] = []) {
    const passes = [{ ...presetRows('standard', { sectorCount })[0]!, ...change }, ...more];
    return createPlanState({ sectorCount, sectorBytes: 512, physicalCount: 1, passes });
  }
  const goOn = { onFault: 'go-on' } as const;

  test('so many failing reads end the row, and what it did not reach stays as it is', () => {
    const state = stateOf({ ...goOn, faultsMax: 3 });
    const log = runPlan(state, { bad: spots([1000, 40_000]) });
    expect(log.filter((read) => read.outcome === 'fault')).toHaveLength(3);
    expect(state.map.runAt(39_999)).toMatchObject({
      lba: 896 + 3 * 128,
      value: statuses['non-tried'],
    });
  });

  test('so much reading ends the row, and the next one begins with a limit of its own', () => {
    const row = { ...goOn, durationMaxMs: 100 };
    const state = stateOf(row, [{ ...stateOf(row).passes[0]!, name: 'again' }]);
    const log = runPlan(state, { bad: new Set() });
    // The bench drive takes 1 ms a read.
    expect(log.map((read) => read.pass.name)).toEqual([
      ...Array.from({ length: 100 }, () => 'good areas'),
      ...Array.from({ length: 100 }, () => 'again'),
    ]);
  });

  test('jumps grow by what the row says', () => {
    const skip = { startCount: 256, maxCount: 2000, growth: 1.5 };
    const log = runPlan(stateOf({ skip }), { bad: spots([1000, 40_000]) });
    const failing = log.filter((read) => read.outcome === 'fault');
    const jumps = failing
      .slice(1, 6)
      .map((read, n) => read.lba - (failing[n]!.lba + failing[n]!.count));
    expect(jumps).toEqual([256, 384, 576, 864, 1296]);
  });

  test('a place that hangs the drive is read again so often, then left for last', () => {
    const state = stateOf({ onHang: 'retry', hangRetries: 2 });
    foldPlan(state, { kind: 'pass-started', index: 0, name: '' });
    const places: number[] = [];
    for (let tries = 0; tries < 4; tries++) {
      const step = plan(state, []);
      if (step.kind !== 'read') throw new Error(step.kind);
      places.push(step.extent.lba);
      const silent = { outcome: 'timeout', goodCount: 0, elapsedMs: 1000 } as const;
      foldPlan(state, { kind: 'read', role: 'pass', ...step.extent, ...silent });
      foldPlan(state, { kind: 'blamed', on: 'hang', why: '' });
    }
    expect(places.slice(0, 3)).toEqual([0, 0, 0]);
    expect(places[3]).toBeGreaterThan(0);
    expect(state.notes.valueAt(0)).toBe(notes.hung);
  });

  test('areas that follow a finished sector, with reads under way as one at a time', () => {
    for (const windowMax of [1, 8]) {
      const state = stateOf({ area: 'after-finished', onFault: 'leave' });
      state.map.set({ lba: 1000, count: 24 }, statuses.finished);
      state.map.set({ lba: 5000, count: 100 }, statuses['bad-sector']);
      const log = runPlan(state, { bad: spots([3000, 3001]) }, windowMax);
      expect(log[0]).toMatchObject({ lba: 1024, outcome: 'good' });
      expect(log.at(-1)).toMatchObject({ lba: 2944, outcome: 'fault' });
      expect(log).toHaveLength(16);
    }
  });

  test('a row that finds nothing is not begun', () => {
    const state = stateOf({}, [{ ...stateOf({}).passes[0]!, phase: 'retry' }]);
    runPlan(state, { bad: new Set() });
    expect(state.passIndex).toBe(2);
    const untouched = stateOf({ phase: 'scrape' });
    expect(plan(untouched, [])).toEqual({ kind: 'end-pass', index: 0 });
  });
});

describe('properties over random damage', () => {
  const damageOf = fc.record({
    ranges: fc.array(fc.tuple(fc.nat(sectorCount / 8 - 1), fc.integer({ min: 1, max: 300 })), {
      maxLength: 12,
    }),
    slowRanges: fc.array(fc.tuple(fc.nat(sectorCount / 8 - 1), fc.integer({ min: 1, max: 600 })), {
      maxLength: 4,
    }),
    namesLba: fc.boolean(),
    physicalCount: fc.constantFrom(1, 8),
    windowMax: fc.constantFrom(1, 2, 8),
  });

  test('every sector ends finished or bad, truthfully, and none is answered more than twice with an error', () => {
    fc.assert(
      fc.property(damageOf, ({ ranges, slowRanges, namesLba, physicalCount, windowMax }) => {
        const state = standardState(sectorCount, physicalCount);
        const within = ([from, count]: [number, number]): [number, number] => [from, from + count];
        const bad = spots(...ranges.map(within));
        const log = runPlan(
          state,
          { bad, slow: spots(...slowRanges.map(within)), namesLba },
          windowMax,
        );
        for (let lba = 0; lba < sectorCount; lba++) {
          const expected = bad.has(Math.floor(lba / physicalCount))
            ? statuses['bad-sector']
            : statuses.finished;
          if (state.map.valueAt(lba) !== expected)
            throw new Error(`LBA ${lba} is ${state.map.valueAt(lba)}`);
        }
        const failures = new Map<number, number>();
        for (const read of log.filter((each) => each.outcome === 'fault')) {
          let lba = read.lba;
          while (!bad.has(Math.floor(lba / physicalCount))) lba++;
          const sector = Math.floor(lba / physicalCount);
          failures.set(sector, (failures.get(sector) ?? 0) + 1);
        }
        expect(Math.max(0, ...failures.values())).toBeLessThanOrEqual(2);
      }),
      { numRuns: 60 },
    );
  });

  test('reads under way change nothing: a window of eight ends in the same map as one at a time', () => {
    fc.assert(
      fc.property(damageOf, ({ ranges, slowRanges, namesLba, physicalCount }) => {
        const within = ([from, count]: [number, number]): [number, number] => [from, from + count];
        const damage = {
          bad: spots(...ranges.map(within)),
          slow: spots(...slowRanges.map(within)),
          namesLba,
        };
        const one = runPlan(standardState(sectorCount, physicalCount), damage, 1);
        const eight = runPlan(standardState(sectorCount, physicalCount), damage, 8);
        expect(eight.map(({ lba, count }) => [lba, count])).toEqual(
          one.map(({ lba, count }) => [lba, count]),
        );
      }),
      { numRuns: 30 },
    );
  });
});
