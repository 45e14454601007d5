import { describe, expect, test } from 'vitest';
import { type Extent, endOf } from '../../src/map/extent.js';
import { statuses } from '../../src/map/status.js';
import { referenceExtent } from '../../src/plan/reference.js';
import type { PlanState } from '../../src/plan/state.js';
import { standardState } from './bench-drive.js';

const sectorCount = 8_000_000;
/** How far a drive's own cache reaches, in sectors. */
const cacheCount = 262_144;
const attempts = Array.from({ length: 40 }, (_, n) => n);

/** A state in which these sectors are finished, from and to. */
function finished(ranges: readonly [number, number][], physicalCount = 8): PlanState {
  const state = standardState(sectorCount, physicalCount);
  for (const [from, to] of ranges) {
    state.map.set({ lba: from, count: to - from }, statuses.finished);
  }
  return state;
}

function referencesOf(state: PlanState): Extent[] {
  return attempts.map((attempt) => referenceExtent(state, attempt));
}

function isFinished(state: PlanState, { lba, count }: Extent): boolean {
  const run = state.map.runAt(lba);
  return run.value === statuses.finished && lba + count <= endOf(run);
}

function isPhysicalSector({ lba, count }: Extent): boolean {
  return lba % 8 === 0 && count === 8;
}

describe('a reference read', () => {
  test('is among what was read before', () => {
    const state = finished([
      [100_000, 100_100],
      [1_000_000, 1_700_000],
    ]);
    const outside = referencesOf(state).filter((extent) => !isFinished(state, extent));
    expect(outside).toEqual([]);
  });

  test('is one whole physical sector, so that the drive touches no other for it', () => {
    const state = finished([[1_000_003, 3_000_001]]);
    expect(referencesOf(state).filter((extent) => !isPhysicalSector(extent))).toEqual([]);
  });

  test('is a whole physical sector of a run that has one, whatever lies around it', () => {
    // Of each run only the sectors 8 to 15 are one.
    const runs = Array.from({ length: 5000 }, (_, n) => 1_000_000 + n * 40);
    const state = finished(runs.map((lba) => [lba + 3, lba + 23]));
    expect(referencesOf(state).filter((extent) => !isPhysicalSector(extent))).toEqual([]);
  });

  test('is what there is, where no whole physical sector was read', () => {
    const state = finished([[1_000_003, 1_000_006]]);
    expect(referenceExtent(state, 0)).toEqual({ lba: 1_000_003, count: 3 });
  });

  test('is elsewhere with every attempt, as far as there is room', () => {
    const state = finished([[0, sectorCount]]);
    const places = referencesOf(state).map(({ lba }) => lba);
    expect(new Set(places).size).toBe(attempts.length);
  });

  test('is the same for the same state and attempt', () => {
    const state = finished([[0, 3_000_000]]);
    expect(referencesOf(state)).toEqual(referencesOf(state));
  });

  test('lies beyond the reach of the cache from the last reads', () => {
    const state = finished([[0, 2_000_000]]);
    for (const cursor of [0, 1_000_000, 2_000_000]) {
      state.cursor = cursor;
      const near = referencesOf(state).filter(({ lba }) => Math.abs(lba - cursor) <= cacheCount);
      expect(near).toEqual([]);
    }
  });

  test('keeps its distance on a small drive too: a sixteenth of it', () => {
    const state = standardState(40_000, 8);
    state.map.set({ lba: 0, count: 40_000 }, statuses.finished);
    state.cursor = 20_000;
    const near = referencesOf(state).filter(({ lba }) => Math.abs(lba - 20_000) <= 2500);
    expect(near).toEqual([]);
  });

  test('differs from the last ones even while only the start of the drive was read', () => {
    const state = finished([[0, 400_000]]);
    state.cursor = 400_000;
    const places = referencesOf(state).map(({ lba }) => lba);
    expect(new Set(places).size).toBeGreaterThan(attempts.length / 2);
    expect(Math.max(...places)).toBeLessThan(400_000 - cacheCount);
  });

  test('is near where nothing was read far away', () => {
    const state = finished([[1_000_000, 1_000_800]]);
    state.cursor = 1_000_800;
    const outside = referencesOf(state).filter((extent) => !isFinished(state, extent));
    expect(outside).toEqual([]);
  });

  test('is spread over the drive, and inside it, while nothing was read', () => {
    const references = referencesOf(finished([]));
    expect(references.filter((extent) => endOf(extent) > sectorCount)).toEqual([]);
    expect(references.filter((extent) => !isPhysicalSector(extent))).toEqual([]);
    const tenths = new Set(references.map(({ lba }) => Math.floor((lba * 10) / sectorCount)));
    expect(tenths.size).toBe(10);
  });

  test('is inside a drive of a few sectors as well', () => {
    const state = standardState(13, 8);
    const outside = referencesOf(state).filter(({ lba, count }) => count < 1 || lba + count > 13);
    expect(outside).toEqual([]);
  });
});
