import { describe, expect, test } from 'vitest';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { physicalCountSeen } from '../../src/plan/physical.js';
import { createPlanState, type PlanState } from '../../src/plan/state.js';
import { presetRows } from '../presets.js';
import { type Damage, type LoggedRead, runPlan } from './bench-drive.js';

const sectorCount = 40_000;

function mapWith(bad: readonly [lba: number, count: number][]) {
  const map = createRunMap(sectorCount, statuses.finished);
  for (const [lba, count] of bad) map.set({ lba, count }, statuses['bad-sector']);
  return map;
}

describe('what the damage says of the physical sector', () => {
  test('eight, where every edge of it is on a multiple of eight', () => {
    const bad = [80, 800, 1608, 4000].map((lba): [number, number] => [lba, 8]);
    expect(physicalCountSeen(mapWith(bad))).toBe(8);
    expect(physicalCountSeen(mapWith([...bad, [9000, 8000]]))).toBe(8);
  });

  test('nothing, where there is too little of it, or one edge is elsewhere', () => {
    expect(physicalCountSeen(mapWith([[80, 8]]))).toBeUndefined();
    const bad = [80, 800, 1608, 4000, 5000].map((lba): [number, number] => [lba, 8]);
    expect(physicalCountSeen(mapWith([...bad, [9000, 9]]))).toBeUndefined();
  });

  test('edges of what was not read say nothing', () => {
    const map = mapWith([]);
    for (const lba of [80, 800, 1608, 4000]) {
      map.set({ lba: lba - 3, count: 20 }, statuses['non-tried']);
      map.set({ lba, count: 8 }, statuses['bad-sector']);
    }
    expect(physicalCountSeen(map)).toBeUndefined();
  });
});

const sectors = [12, 300, 777, 1203, 1999, 2500, 2501, 3333, 4444];
/** Physical sectors of eight that an adapter keeps to itself. */
const hidden: Damage = { bad: new Set(sectors), physicalCount: 8 };

function stateOf(preset: string, physicalKnown: boolean): PlanState {
  const passes = presetRows(preset, { sectorCount });
  const sizes = { sectorCount, sectorBytes: 512, physicalCount: 1 };
  return createPlanState({ ...sizes, physicalKnown, passes });
}

const failing = (log: readonly LoggedRead[]) => log.filter(({ outcome }) => outcome === 'fault');

describe.each([
  ['adaptive', true],
  ['adaptive', false],
  ['standard', true],
  ['ddrescue', false],
])('%s, the failing LBA named: %s', (preset, namesLba) => {
  const damage = { ...hidden, namesLba };

  test('a hidden physical sector is learned from the damage, and saves failing reads', () => {
    const told = stateOf(preset, true);
    const toldLog = runPlan(told, damage);
    const state = stateOf(preset, false);
    const log = runPlan(state, damage);
    expect(told.physicalCount).toBe(1);
    expect(state.physicalCount).toBe(8);
    expect([...state.map.runs()]).toEqual([...told.map.runs()]);
    expect(state.map.countOf(statuses['bad-sector'])).toBe(8 * sectors.length);
    expect(failing(log).length).toBeLessThan(0.9 * failing(toldLog).length);
  });

  test('single bad sectors teach nothing', () => {
    const lone = { bad: new Set(sectors.map((each) => 8 * each + 3)), namesLba };
    const state = stateOf(preset, false);
    runPlan(state, lone);
    expect(state.physicalCount).toBe(1);
    expect(state.map.countOf(statuses['bad-sector'])).toBe(sectors.length);
  });
});

test('what was learned wrongly is taken back: each sector is called bad only for itself', () => {
  // The first part of the drive has bad sectors by eights, by chance; behind it they are single.
  const eights = sectors
    .slice(0, 6)
    .flatMap((each) => Array.from({ length: 8 }, (_, n) => 8 * each + n));
  const singles = [35_004, 36_001, 36_003, 37_777];
  const damage = { bad: new Set([...eights, ...singles]), physicalCount: 1, namesLba: true };
  const state = stateOf('adaptive', false);
  state.map.set({ lba: 0, count: 30_000 }, statuses.finished);
  for (const lba of eights) state.map.set({ lba, count: 1 }, statuses['bad-sector']);
  const seen: number[] = [];
  runPlan(state, damage, 1, (event) => {
    if (event.kind === 'physical-learned') seen.push(event.count);
  });
  expect(seen).toEqual([8, 1]);
  expect(state.physicalCount).toBe(1);
  expect(state.map.countOf(statuses['bad-sector'])).toBe(eights.length + singles.length);
  expect(state.map.countOf(statuses.finished)).toBe(sectorCount - eights.length - singles.length);
});
