import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DriveIdentity } from '../../src/drive/drive.js';
import { parseSnapshot, restoreState, snapshotOf } from '../../src/job/snapshot.js';
import { createJobState } from '../../src/job/state.js';
import type { Extent } from '../../src/map/extent.js';
import { statuses } from '../../src/map/status.js';
import type { PlanEvent } from '../../src/plan/events.js';
import { foldPlan } from '../../src/plan/fold.js';
import { notes, type Pass } from '../../src/plan/pass.js';
import { plan } from '../../src/plan/planner.js';
import { createPlanState, type PlanState } from '../../src/plan/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import { bundledPresets } from '../../src/preset-files.js';
import { presetRows } from '../presets.js';
import { answer, type Damage } from './bench-drive.js';

const sectorCount = 6000;

/** A drive's damage by physical sector; `hangs` take the drive down at every read. */
interface Ailing extends Damage {
  readonly physicalCount: number;
  readonly slow: ReadonlySet<number>;
  readonly hangs: ReadonlySet<number>;
}

function damages(hangsMax: number): fc.Arbitrary<Ailing> {
  return fc.constantFrom(1, 8).chain((physicalCount) => {
    const place = fc.nat(sectorCount / physicalCount - 1);
    const ranges = (countMax: number, maxLength: number) =>
      fc
        .array(fc.tuple(place, fc.integer({ min: 1, max: countMax })), { maxLength })
        .map((each) => new Set(each.flatMap(([from, count]) => span(from, count))));
    return fc.record({
      physicalCount: fc.constant(physicalCount),
      bad: ranges(200, 8),
      slow: ranges(400, 3),
      hangs: ranges(2, hangsMax),
      namesLba: fc.boolean(),
    });
  });
}

function span(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => from + n);
}

function freshState(preset: string, { physicalCount }: Ailing, retries = 0): PlanState {
  const passes = presetRows(preset, { sectorCount, physicalCount, retries });
  return createPlanState({ sectorCount, sectorBytes: 512, physicalCount, passes });
}

/** The events that follow a plan's step on such a drive; none when it is done. */
function eventsAfter(state: PlanState, damage: Ailing): PlanEvent[] {
  const step = plan(state, []);
  switch (step.kind) {
    case 'price':
      return [{ kind: 'priced', price: step.price, lba: step.lba }];
    case 'learn-physical':
      return [{ kind: 'physical-learned', count: step.count }];
    case 'go-back':
      return [{ kind: 'went-back', ...step.extent }];
    case 'start-pass':
      return [{ kind: 'pass-started', index: step.index, name: step.pass.name }];
    case 'end-pass':
      // As the job does: verdicts do not reach back past the end of a row.
      if (state.blamed.length > 0) return [{ kind: 'blamed', on: 'place', why: '' }];
      return [{ kind: 'pass-ended', index: step.index }];
    case 'classify':
      return [{ kind: 'classified', ...step.extent, status: step.status }];
    case 'read':
      return readEvents(state, damage, step.extent, step.pass);
    case 'wait':
      return [{ kind: 'blamed', on: 'hang', why: '' }];
    case 'finished':
      return [];
  }
}

function readEvents(state: PlanState, damage: Ailing, extent: Extent, pass: Pass): PlanEvent[] {
  const sectors = span(extent.lba, extent.count).map((lba) =>
    Math.floor(lba / damage.physicalCount),
  );
  if (!sectors.some((sector) => damage.hangs.has(sector))) {
    return [answer(state, damage, extent, pass)];
  }
  const silent = { outcome: 'timeout', goodCount: 0, elapsedMs: pass.timeoutMs } as const;
  return [{ kind: 'read', role: 'pass', ...extent, ...silent }];
}

/** Runs a plan to its end; `see` is shown each event before it is folded. */
function run(state: PlanState, damage: Ailing, see: (event: PlanEvent) => void = () => {}): void {
  for (let guard = 0; guard < 200_000; guard++) {
    const events = eventsAfter(state, damage);
    if (events.length === 0) return;
    for (const event of events) {
      see(event);
      foldPlan(state, event);
    }
  }
  throw new Error('the plan does not end');
}

function mapText(state: PlanState): string {
  return [...state.map.runs()].map(({ lba, value }) => `${lba}:${value}`).join(' ');
}

const drive: DriveIdentity = {
  model: 'M',
  serial: 'S',
  firmware: '1',
  sectorCount,
  sectorBytes: 512,
  physicalSectorBytes: 512,
};

/** What a checkpoint keeps of a state, as it comes from a disk. */
function saved(state: PlanState): { passes: unknown[] } {
  const snapshot = snapshotOf(createJobState(state, troublePolicies.hdd), drive, 'hdd');
  return JSON.parse(JSON.stringify(snapshot));
}

/** The state as a checkpoint brings it back. */
function throughDisk(state: PlanState): PlanState {
  const read = parseSnapshot(saved(state));
  return restoreState(read!, { map: state.map.clone(), driveKind: 'hdd' }).plan;
}

describe.each(bundledPresets())('%s, on random damage', (preset) => {
  test('every sector ends finished or bad, truthfully; none is read again once finished', () => {
    fc.assert(
      fc.property(damages(0), (damage) => {
        const state = freshState(preset, damage);
        run(state, damage, (event) => {
          if (event.kind !== 'read') return;
          const again = state.map.next(event.lba, statuses.finished, event.lba + event.count);
          if (again) throw new Error(`LBA ${again.lba} is read again`);
        });
        for (let lba = 0; lba < sectorCount; lba++) {
          const isBad = damage.bad.has(Math.floor(lba / damage.physicalCount));
          const expected = isBad ? statuses['bad-sector'] : statuses.finished;
          if (state.map.valueAt(lba) !== expected)
            throw new Error(`LBA ${lba} is ${state.map.valueAt(lba)}`);
        }
      }),
      { numRuns: 12, seed: 1 },
    );
  });

  // Without hangs: a verdict against the drive voids the answers before it, which are then asked for again.
  test('before the retries no physical sector is answered more than twice with a medium error', () => {
    fc.assert(
      fc.property(damages(0), (damage) => {
        const failures = new Map<number, number>();
        run(freshState(preset, damage), damage, (event) => {
          if (event.kind !== 'read' || event.outcome !== 'fault') return;
          const first = span(event.lba, event.count)
            .map((lba) => Math.floor(lba / damage.physicalCount))
            .find((sector) => damage.bad.has(sector))!;
          failures.set(first, (failures.get(first) ?? 0) + 1);
        });
        expect(Math.max(0, ...failures.values())).toBeLessThanOrEqual(2);
      }),
      { numRuns: 15, seed: 2 },
    );
  });

  test('spots that hang the drive cost no other sector: what stays unread is noted as hung', () => {
    fc.assert(
      fc.property(damages(4), (damage) => {
        const state = freshState(preset, damage);
        run(state, damage);
        for (let lba = 0; lba < sectorCount; lba++) {
          const status = state.map.valueAt(lba);
          const sector = Math.floor(lba / damage.physicalCount);
          const isIll = damage.bad.has(sector) || damage.hangs.has(sector);
          if (status === statuses['bad-sector'] && !isIll)
            throw new Error(`LBA ${lba} is called bad`);
          const isUnread = status !== statuses['bad-sector'] && status !== statuses.finished;
          if (isUnread && state.notes.valueAt(lba) !== notes.hung)
            throw new Error(`LBA ${lba} is forgotten`);
        }
      }),
      { numRuns: 12, seed: 3 },
    );
  });

  test('any prefix of the events folds to the same plan', () => {
    fc.assert(
      fc.property(damages(3), fc.double({ min: 0, max: 1, noNaN: true }), (damage, share) => {
        const events: PlanEvent[] = [];
        const steps: string[] = [];
        const state = freshState(preset, damage, 1);
        run(state, damage, (event) => {
          steps.push(JSON.stringify(plan(state, [])));
          events.push(event);
        });
        const length = Math.floor(share * (events.length - 1));
        const again = freshState(preset, damage, 1);
        for (const event of events.slice(0, length)) foldPlan(again, event);
        expect(JSON.stringify(plan(again, []))).toBe(steps[length]);
      }),
      { numRuns: 8, seed: 4 },
    );
  });

  test('stopped at any event, brought back from disk and run on: the same reads, the same map', () => {
    fc.assert(
      fc.property(damages(3), fc.double({ min: 0, max: 1, noNaN: true }), (damage, share) => {
        const events: PlanEvent[] = [];
        const whole = freshState(preset, damage, 1);
        run(whole, damage, (event) => events.push(event));
        const stopAt = Math.floor(share * (events.length - 1));
        const stopped = freshState(preset, damage, 1);
        for (const event of events.slice(0, stopAt)) foldPlan(stopped, event);
        const resumed = throughDisk(stopped);
        const rest: PlanEvent[] = [];
        run(resumed, damage, (event) => rest.push(event));
        expect(rest).toEqual(events.slice(stopAt));
        expect(mapText(resumed)).toBe(mapText(whole));
      }),
      { numRuns: 10, seed: 5 },
    );
  });
});

test('a snapshot with an impossible physical sector is none', () => {
  const state = createPlanState({ sectorCount, sectorBytes: 512, physicalCount: 1, passes: [] });
  const snapshot = saved(state);
  expect(parseSnapshot({ ...snapshot, physicalSeen: 8 })).toBeDefined();
  for (const wrong of [0, 65]) {
    expect(parseSnapshot({ ...snapshot, physicalCount: wrong })).toBeUndefined();
    expect(parseSnapshot({ ...snapshot, physicalSeen: wrong })).toBeUndefined();
  }
});

test('what a snapshot calls blamed is never finished when the blame is taken back', () => {
  const state = createPlanState({ sectorCount, sectorBytes: 512, physicalCount: 1, passes: [] });
  const snapshot = parseSnapshot({ ...saved(state), blamed: [0, 8, 4, 8, 8, 0] })!;
  const { plan } = restoreState(snapshot, { map: state.map.clone(), driveKind: 'hdd' });
  expect(plan.blamed).toEqual([{ lba: 8, count: 8, former: 0 }]);
});

test('a snapshot whose rows are no rows has none', () => {
  const state = createPlanState({
    sectorCount,
    sectorBytes: 512,
    physicalCount: 1,
    passes: presetRows('standard', { sectorCount }),
  });
  const snapshot = saved(state);
  expect(parseSnapshot(snapshot)).toBeDefined();
  for (const wrong of [
    {},
    { ...state.passes[0]!, onFault: 'jump' },
    { ...state.passes[0]!, x: 1 },
  ]) {
    const restored = restoreState(parseSnapshot({ ...snapshot, passes: [wrong] })!, {
      map: state.map.clone(),
      driveKind: 'hdd',
    });
    // Map, notes and identity stay; rows that say nothing are none.
    expect(restored.plan.passes).toEqual([]);
  }
});
