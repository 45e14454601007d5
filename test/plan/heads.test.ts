import { describe, expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import { endOf } from '../../src/map/extent.js';
import { statuses } from '../../src/map/status.js';
import { headReport } from '../../src/plan/head-report.js';
import type { HeadMap } from '../../src/plan/heads.js';
import { learnedFromMap } from '../../src/plan/map-evidence.js';
import { createPlanState, type PlanState } from '../../src/plan/state.js';
import { presetRows } from '../presets.js';
import { runTimed, type TimedDrive, type WeakHeadDrive, weakHeadDrive } from './head-drive.js';

const sectorCount = 400_000;
const physicalCount = 8;
const seeds = [1, 2, 3, 4, 5];

/** Reads a drive as `adaptive` does, to its end or until `isEnough`. */
function readDrive(drive: TimedDrive, isEnough?: (state: PlanState) => boolean): PlanState {
  const facts = { sectorCount, physicalCount };
  const passes = presetRows('adaptive', facts);
  const state = createPlanState({ ...facts, sectorBytes: 512, passes });
  runTimed(state, drive, undefined, isEnough);
  return state;
}

/** The share of the weak head's sectors that the bands hold, and the share of the others'. */
function sharesIn(heads: HeadMap | undefined, drive: WeakHeadDrive): [number, number] {
  const inside = [0, 0];
  const all = [0, 0];
  const bands = heads?.weak ?? [];
  let next = 0;
  for (let lba = 0; lba < sectorCount; lba += physicalCount) {
    while (bands[next] && endOf(bands[next]!) <= lba) next += 1;
    const who = drive.isWeak(lba) ? 0 : 1;
    all[who]! += 1;
    if (bands[next] && bands[next]!.lba <= lba) inside[who]! += 1;
  }
  return [inside[0]! / all[0]!, inside[1]! / all[1]!];
}

describe.each([
  { what: 'a dead head', badShare: 1, slowness: 1 },
  { what: 'a head with a third of its sectors bad', badShare: 0.3, slowness: 1 },
  { what: 'a head with one bad sector in fifty', badShare: 0.02, slowness: 1 },
  { what: 'a slow head', badShare: 0, slowness: 20 },
  { what: 'a slow head with bad sectors', badShare: 0.01, slowness: 20 },
])('$what is found', ({ badShare, slowness }) => {
  test.each(seeds)('seed %i: its bands and their period, once the other heads are read', (seed) => {
    const heads = 3 + (seed % 4);
    const drive = weakHeadDrive(seed, { sectorCount, badShare, slowness, heads });
    const goodCount = sectorCount * (1 - 1 / heads);
    const state = readDrive(
      drive,
      ({ map }) => map.countOf(statuses.finished) > (badShare < 1 ? 0.95 : 0.9) * goodCount,
    );
    const report = headReport(state.learned, sectorCount);
    expect(report.source).toBe('inferred');
    const period = drive.bandSectors * heads;
    expect(Math.abs(report.periodSectors! / period - 1)).toBeLessThan(0.05);
    const [hit, falsely] = sharesIn(state.learned.heads, drive);
    expect(hit).toBeGreaterThan(0.6);
    // Bands are cut where a read lands behind them; what lies between is unread yet.
    expect(falsely).toBeLessThan(0.3);
    expect(report.evidence).toBeGreaterThan(6);
  });
});

test.each(seeds)('seed %i: it is the right head of the right number, when all is known', (seed) => {
  const heads = 3 + (seed % 4);
  const drive = weakHeadDrive(seed, { sectorCount, badShare: 0.1, heads });
  const { learned, map } = readDrive(drive);
  for (const known of [learned, learnedFromMap(map, physicalCount)]) {
    const report = headReport(known, sectorCount);
    expect(Math.abs(report.heads! - heads)).toBeLessThanOrEqual(1);
    expect(report.weak).toEqual([drive.weak]);
    const offset = (report.bands[1]!.lba + report.bandSectors! / 2) % (drive.bandSectors * heads);
    expect(Math.floor(offset / drive.bandSectors)).toBe(drive.weak);
    const [hit, falsely] = sharesIn(known.heads, drive);
    expect(hit).toBeGreaterThan(0.9);
    expect(falsely).toBeLessThan(0.08);
  }
});

describe('no head is blamed for', () => {
  const place = (bad: Set<number>): TimedDrive => ({ physicalCount, bad, slownessAt: () => 1 });
  const damages: Record<string, (seed: number) => TimedDrive> = {
    'scattered sectors': (seed) => {
      const random = createRandom(seed);
      const below = sectorCount / physicalCount;
      const count = 30 + 30 * seed;
      return place(new Set(Array.from({ length: count }, () => random.below(below))));
    },
    'a scratch': (seed) => {
      const random = createRandom(seed + 50);
      const pitch = 60 + random.below(200);
      const from = random.below(10_000);
      const bad = new Set<number>();
      for (let turn = 0; turn < 60; turn++) {
        const width = 1 + random.below(4);
        for (let n = 0; n < width; n++) bad.add(from + turn * pitch + n);
      }
      return place(bad);
    },
    'a hole': (seed) => {
      const bad = new Set<number>();
      for (let n = 0; n < 2000; n++) bad.add(seed * 5000 + n);
      return place(bad);
    },
    'a slow zone and a few bad sectors elsewhere': (seed) => {
      const random = createRandom(seed + 90);
      const below = sectorCount / physicalCount;
      const bad = new Set(Array.from({ length: 3 + seed }, () => random.below(below)));
      const from = random.below(sectorCount / 2);
      const count = 1500 + random.below(10_000);
      return {
        physicalCount,
        bad,
        slownessAt: (lba) => (lba >= from && lba < from + count ? 30 : 1),
      };
    },
    'a drive that is well': () => place(new Set()),
  };

  describe.each(Object.entries(damages))('%s', (_name, damage) => {
    test.each(seeds)('seed %i', (seed) => {
      const { learned, map } = readDrive(damage(seed));
      expect(learned.heads).toBeUndefined();
      expect(headReport(learned, sectorCount).source).toBe('none');
      expect(learnedFromMap(map, physicalCount).heads).toBeUndefined();
    });
  });
});
