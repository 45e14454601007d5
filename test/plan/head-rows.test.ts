import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DriveIdentity } from '../../src/drive/drive.js';
import { parseSnapshot, restoreState, snapshotOf } from '../../src/job/snapshot.js';
import { createJobState } from '../../src/job/state.js';
import { type Extent, endOf } from '../../src/map/extent.js';
import { statuses } from '../../src/map/status.js';
import { createScope, mapOfExtents } from '../../src/plan/domain.js';
import type { PlanEvent } from '../../src/plan/events.js';
import { foldPlan } from '../../src/plan/fold.js';
import type { HeadMapData } from '../../src/plan/head-map-schema.js';
import { headProblem } from '../../src/plan/head-rows.js';
import { weakBandFrom } from '../../src/plan/heads.js';
import type { Pass } from '../../src/plan/pass.js';
import { plan } from '../../src/plan/planner.js';
import { createPlanState, type PlanState } from '../../src/plan/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import { presetRows } from '../presets.js';
import { runTimed, type TimedDrive, weakHeadDrive } from './head-drive.js';

const sectorCount = 60_000;
const physicalCount = 8;
const bandSectors = 2000;
const heads = 4;
const headOf = (lba: number) => Math.floor(lba / bandSectors) % heads;

const [copy, rear] = presetRows('standard', { sectorCount, physicalCount }) as [Pass, Pass];
const [bestFirst] = presetRows('adaptive', { sectorCount, physicalCount }) as [Pass];

function given(change: Partial<HeadMapData> = {}): HeadMapData {
  const order = [0, 1, 2, 3];
  const zones = [{ from: 0, to: sectorCount, order, bandSectors: order.map(() => bandSectors) }];
  return { heads, dead: [], zones, bands: [], ...change };
}

function stateWith(passes: readonly Pass[], data?: HeadMapData): PlanState {
  const state = createPlanState({ sectorCount, sectorBytes: 512, physicalCount, passes });
  if (data) foldPlan(state, { kind: 'heads-given', heads: data });
  return state;
}

function driveWith(bad: readonly number[] = []): TimedDrive {
  return { physicalCount, bad: new Set(bad), slownessAt: () => 1 };
}

/** The heads that an extent touches. */
function headsIn({ lba, count }: Extent): number[] {
  const found = new Set<number>();
  for (let at = lba; at < lba + count; at++) found.add(headOf(at));
  return [...found];
}

const row: Record<string, Pass> = {
  'a sweep forwards': copy,
  'a sweep backwards': { ...rear, area: 'any' },
  'best first': bestFirst,
};

describe.each(Object.entries(row))('%s', (_name, pass) => {
  test.each([
    { heads: [1], read: [1] },
    { heads: [0, 3], read: [0, 3] },
    { heads: 'good', read: [0, 1] },
    { heads: 'weak', read: [2] },
    { heads: undefined, read: [0, 1, 2] },
    { heads: [3], read: [3] },
  ] as const)('with heads $heads reads those of $read, and all of them', ({
    heads: wanted,
    read,
  }) => {
    const only = wanted === undefined ? pass : { ...pass, heads: wanted };
    const state = stateWith([only], given({ weak: [2], dead: [3] }));
    const log = runTimed(state, driveWith());
    expect([...new Set(log.flatMap(headsIn))].sort()).toEqual([...read]);
    for (let lba = 0; lba < sectorCount; lba++) {
      const isRead = state.map.valueAt(lba) === statuses.finished;
      if (isRead !== (read as readonly number[]).includes(headOf(lba)))
        throw new Error(`LBA ${lba}`);
    }
  });

  test('over random damage, domains and rows, nothing of another head is read', () => {
    const extents = fc.array(fc.tuple(fc.nat(sectorCount - 1), fc.integer({ min: 1, max: 9000 })), {
      minLength: 1,
      maxLength: 5,
    });
    const worlds = fc.record({
      heads: fc.oneof(
        fc.constantFrom('good', 'weak'),
        fc.uniqueArray(fc.nat(heads - 1), { minLength: 1, maxLength: 3 }),
      ),
      weak: fc.uniqueArray(fc.nat(heads - 1), { maxLength: 2 }),
      domain: extents,
      bad: fc.array(fc.nat(sectorCount / physicalCount - 1), { maxLength: 60 }),
      onFault: fc.constantFrom('skip', 'leave', 'go-on'),
    });
    fc.assert(
      fc.property(worlds, (world) => {
        const domain = mapOfExtents(
          sectorCount,
          world.domain.map(([lba, count]) => ({ lba, count: Math.min(count, sectorCount - lba) })),
        );
        const only = { ...pass, heads: world.heads, onFault: world.onFault } as Pass;
        const state = stateWith([only], given({ weak: world.weak }));
        state.scope = createScope({ sectorCount, domains: [domain], priorities: [] });
        const isWanted = (head: number) =>
          typeof world.heads === 'string'
            ? world.weak.includes(head) === (world.heads === 'weak')
            : world.heads.includes(head);
        for (const read of runTimed(state, driveWith(world.bad))) {
          expect(headsIn(read).every(isWanted)).toBe(true);
          expect(domain.next(read.lba, 0, endOf(read))).toBeUndefined();
        }
      }),
      { numRuns: 25, seed: 11 },
    );
  });

  test('reads of a head have its size and deadline, and end where its band ends', () => {
    const perHead = [
      { head: 'weak', readCount: 16, timeoutMs: 200, bytesPerSecondMax: 1e6 },
      { head: 'good', timeoutMs: 900 },
      { head: 3, readCount: 1024 },
    ] as const;
    const state = stateWith([{ ...pass, perHead }], given({ weak: [2] }));
    const log = runTimed(state, driveWith());
    const longest = [0, 0, 0, 0];
    for (const read of log) {
      const [head = -1, ...others] = headsIn(read);
      expect(others).toEqual([]);
      longest[head] = Math.max(longest[head]!, read.count);
      const { timeoutMs, bytesPerSecondMax } = read.pass;
      expect([timeoutMs, bytesPerSecondMax]).toEqual(
        head === 2 ? [200, 1e6] : [900, pass.bytesPerSecondMax],
      );
    }
    expect(longest).toEqual([pass.readCount, pass.readCount, 16, 1024]);
  });
});

test('trimming and scraping keep to their heads and sizes too', () => {
  const rows = presetRows('standard', { sectorCount, physicalCount }).map(
    (each): Pass => ({ ...each, heads: 'good', perHead: [{ head: 1, timeoutMs: 77 }] }),
  );
  const state = stateWith(rows, given({ weak: [2] }));
  const bad = Array.from({ length: 2000 }, (_, n) => 3 * n).filter((n) => n % 200 < 100);
  const log = runTimed(state, driveWith(bad));
  for (const read of log) {
    expect(headsIn(read)).not.toContain(2);
    expect(read.pass.timeoutMs === 77).toBe(headOf(read.lba) === 1);
  }
  expect(new Set(log.map(({ pass }) => pass.phase))).toEqual(new Set(['copy', 'trim', 'scrape']));
});

test('good heads first, then the weak one, then what is left: everything ends classified', () => {
  const rows: Pass[] = [{ ...copy, heads: 'good' }, { ...copy, heads: 'weak' }, copy];
  const state = stateWith(rows, given({ weak: [1] }));
  const log = runTimed(state, driveWith());
  const firstWeak = log.findIndex((read) => headOf(read.lba) === 1);
  expect(log.slice(firstWeak).every((read) => headOf(read.lba) === 1)).toBe(true);
  expect(state.map.countOf(statuses.finished)).toBe(sectorCount);
});

test('a sector that ran out of time waits for a later row only where that row reads its head', () => {
  const trim: Pass = { ...copy, phase: 'trim', timeoutMs: 9000, heads: [0] };
  const single: Pass = { ...copy, readCount: physicalCount };
  for (const [lba, expected] of [
    [0, statuses['non-trimmed']],
    [bandSectors, statuses['bad-sector']],
  ] as const) {
    const state = stateWith([single, trim], given());
    foldPlan(state, { kind: 'pass-started', index: 0, name: '' });
    const read = { kind: 'read', role: 'pass', lba, count: physicalCount, goodCount: 0 } as const;
    foldPlan(state, { ...read, outcome: 'timeout', elapsedMs: 1000 });
    foldPlan(state, { kind: 'blamed', on: 'place', why: '' });
    expect(state.map.valueAt(lba)).toBe(expected);
  }
});

describe('a head map that is given', () => {
  test('begins the passes anew where it is news, and changes nothing where it is not', () => {
    const state = stateWith([{ ...copy, heads: 'good' }, copy], given({ weak: [1] }));
    runTimed(state, driveWith(), undefined, ({ passIndex }) => passIndex === 1);
    foldPlan(state, { kind: 'heads-given', heads: given({ weak: [1] }) });
    expect(state.passIndex).toBe(1);
    foldPlan(state, { kind: 'heads-given', heads: given({ weak: [0] }) });
    expect([state.passIndex, state.passStarted, state.cursor]).toEqual([0, false, 0]);
    const log = runTimed(state, driveWith(), undefined, ({ passIndex }) => passIndex === 1);
    expect([...new Set(log.flatMap(headsIn))]).toEqual([1]);
    foldPlan(state, { kind: 'heads-given', heads: null });
    expect(state.learned.given).toBeUndefined();
    expect(state.learned.heads).toBeUndefined();
  });

  test('without weak heads has them found by how they read', () => {
    const state = stateWith([{ ...copy, heads: 'good' }], given());
    const bad = Array.from({ length: sectorCount / physicalCount }, (_, n) => n).filter(
      (sector) => headOf(sector * physicalCount) === 2 && sector % 7 === 0,
    );
    const log = runTimed(state, driveWith(bad));
    expect(state.learned.heads?.numbers).toEqual([2]);
    const inWeak = log.filter((read) => headsIn(read).includes(2));
    // Once it is known the row leaves it alone.
    expect(inWeak.length).toBeLessThan(20);
    expect(inWeak.every((read) => read.lba < sectorCount / 2)).toBe(true);
  });

  test('is needed by rows that name numbers, and must have those', () => {
    const rows: Pass[] = [copy, { ...copy, heads: [1, 5] }];
    expect(headProblem(rows, undefined)).toMatch(
      /^row 2 \(good areas\) goes by head 1, 5, .*--heads FILE/,
    );
    expect(headProblem(rows, { data: given() })).toMatch(/the head map has 4 heads/);
    expect(headProblem([copy, { ...copy, heads: [1, 3] }], { data: given() })).toBeUndefined();
    expect(headProblem([{ ...copy, perHead: [{ head: 0 }] }], undefined)).toMatch(/goes by head 0/);
    const words: Pass = { ...copy, heads: 'good', perHead: [{ head: 'weak', readCount: 8 }] };
    expect(headProblem([words], undefined)).toBeUndefined();
  });
});

describe('rows that go by what is learned, on a drive with a weak head', () => {
  const large = { sectorCount: 200_000, physicalCount };
  const rowSets: Record<string, Pass[]> = {
    sweeps: [
      { ...copy, heads: 'good' },
      { ...copy, heads: 'weak', perHead: [{ head: 'weak', readCount: 32 }] },
      copy,
    ],
    'best first': [
      { ...bestFirst, heads: 'good' },
      { ...bestFirst, perHead: [{ head: 'weak', readCount: 16 }] },
    ],
  };
  const fresh = (passes: readonly Pass[]) =>
    createPlanState({ ...large, sectorBytes: 512, passes });
  const identity: DriveIdentity = {
    model: 'M',
    serial: 'S',
    firmware: '1',
    sectorCount: large.sectorCount,
    sectorBytes: 512,
    physicalSectorBytes: 4096,
  };
  const throughDisk = (state: PlanState) => {
    const job = createJobState(state, troublePolicies.hdd);
    const snapshot = parseSnapshot(JSON.parse(JSON.stringify(snapshotOf(job, identity, 'hdd'))));
    return restoreState(snapshot!, { map: state.map.clone(), driveKind: 'hdd' }).plan;
  };

  describe.each(Object.entries(rowSets))('%s', (_name, passes) => {
    const drive = weakHeadDrive(3, { sectorCount: large.sectorCount, badShare: 0.1, heads: 4 });
    const events: PlanEvent[] = [];
    const steps: string[] = [];
    const state = fresh(passes);
    runTimed(state, drive, (event) => {
      steps.push(JSON.stringify(plan(state, [])));
      events.push(event);
    });

    test('the weak head is found on the way, and then left alone until its row', () => {
      const again = fresh(passes);
      let outside = 0;
      for (const event of events) {
        const { learned, passIndex } = again;
        if (event.kind === 'read' && passIndex === 0 && learned.heads) {
          const band = weakBandFrom(learned.heads, event.lba);
          expect(band === undefined || band.lba >= event.lba + event.count).toBe(true);
          outside += 1;
        }
        foldPlan(again, event);
      }
      expect(outside).toBeGreaterThan(100);
    });

    test('any prefix of the events folds to the same plan', () => {
      for (const share of [0.1, 0.3, 0.5, 0.7, 0.9]) {
        const length = Math.floor(share * events.length);
        const again = fresh(passes);
        for (const event of events.slice(0, length)) foldPlan(again, event);
        expect(JSON.stringify(plan(again, []))).toBe(steps[length]);
      }
    });
  });

  test('stopped anywhere and brought back from disk, sweeps go on as they would have', () => {
    const passes = rowSets.sweeps!;
    const drive = weakHeadDrive(3, { sectorCount: large.sectorCount, badShare: 0.1, heads: 4 });
    const events: PlanEvent[] = [];
    runTimed(fresh(passes), drive, (event) => events.push(event));
    for (const share of [0.02, 0.05, 0.2, 0.6]) {
      const stopAt = Math.floor(share * events.length);
      const stopped = fresh(passes);
      for (const event of events.slice(0, stopAt)) foldPlan(stopped, event);
      const resumed = throughDisk(stopped);
      expect(resumed.learned.heads).toEqual(stopped.learned.heads);
      for (const event of events.slice(stopAt, stopAt + 400)) {
        const step = plan(resumed, []);
        if (event.kind === 'read') expect(step).toMatchObject({ extent: { lba: event.lba } });
        foldPlan(resumed, event);
      }
    }
  });

  test('a given head map survives the disk as well', () => {
    const data = given({ dead: [3] });
    const state = createPlanState({ ...large, sectorBytes: 512, passes: [copy] });
    foldPlan(state, { kind: 'heads-given', heads: data });
    const again = throughDisk(state);
    expect(again.learned.given!.data).toEqual(data);
    expect([...again.learned.given!.map.runs()]).toEqual([...state.learned.given!.map.runs()]);
  });
});
