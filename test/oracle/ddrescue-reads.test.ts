import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import type { Pass } from '../../src/plan/pass.js';
import type { DriveFacts } from '../../src/plan/presets.js';
import { createPlanState } from '../../src/plan/state.js';
import { runPlan } from '../plan/bench-drive.js';
import { presetRows } from '../presets.js';
import { needsTool } from '../tools.js';
import {
  badSectors,
  disks,
  type OracleDisk,
  readText,
  realDisk,
  realMaps,
  runDdrescue,
} from './ddrescue.js';

interface Ours {
  readonly facts?: Partial<DriveFacts>;
  readonly edit?: (row: Pass) => Pass | [];
  readonly windowMax?: number;
}

/** What the bundled rows read on the same disk. A failing read brings nothing, as under `-H`. */
function ourReads(disk: OracleDisk, { facts, edit = (row) => row, windowMax }: Ours): string[] {
  const { sectorCount, sectorBytes } = disk;
  const rows = presetRows('ddrescue', { sectorCount, sectorBytes, ...facts });
  const state = createPlanState({
    sectorCount,
    sectorBytes,
    physicalCount: 1,
    passes: rows.flatMap(edit),
    ...(disk.initial && { map: disk.initial.clone() }),
  });
  return runPlan(state, { bad: badSectors(disk) }, windowMax).map((read) =>
    readText(read, read.outcome === 'fault'),
  );
}

function expectSameReads(disk: OracleDisk, options: readonly string[] = [], ours: Ours = {}) {
  expect(ourReads(disk, ours)).toEqual(runDdrescue(disk, options).reads);
}

describe.skipIf(needsTool('ddrescue'))('the ddrescue preset reads what GNU ddrescue reads', () => {
  const kinds: [string, number, readonly string[], Ours, number][] = [
    ['with its defaults', 512, [], {}, 32],
    ['by 4,096 bytes', 4096, [], {}, 10],
    ['with three retries', 512, ['-r3'], { facts: { retries: 3 } }, 10],
    ['with eight reads under way', 512, ['-r1'], { facts: { retries: 1 }, windowMax: 8 }, 10],
    ['in clusters of 48', 512, ['-c48'], { edit: inClusters(48) }, 10],
    ['jumping from 300 to 2,000', 512, ['-K300s,2000s'], { edit: jumping(300, 2000) }, 10],
  ];
  test.each(kinds)('%s', (_how, sectorBytes, options, ours, numRuns) => {
    fc.assert(
      fc.property(disks(sectorBytes), (disk) => expectSameReads(disk, options, ours)),
      { numRuns, seed: 1 },
    );
  });

  const edges: [string, OracleDisk][] = [
    ['one sector', disk(1, [])],
    ['nothing bad', disk(30_001, [])],
    ['the first sector', disk(10_000, [[0, 1]])],
    ['all but the last sector', disk(5000, [[0, 4999]])],
    ['a cluster exactly', disk(10_000, [[1280, 128]])],
    ['around a cluster’s boundary', disk(10_000, [[1279, 2]])],
    [
      'one sector of each cluster',
      disk(
        6400,
        Array.from({ length: 49 }, (_, n) => [n * 128, 1]),
      ),
    ],
    [
      'every other sector',
      disk(
        1025,
        Array.from({ length: 512 }, (_, n) => [n * 2, 1]),
      ),
    ],
  ];
  test.each(edges)('on %s', (_what, edge) => {
    expectSameReads(edge, ['-r2'], { facts: { retries: 2 } });
  });

  const maps = realMaps();
  test.skipIf(maps.length === 0).each(maps)('on the damage of a real drive: %s', (name) => {
    expectSameReads(realDisk(name), ['-r1'], { facts: { retries: 1 } });
  });

  test('on a drive of 9 GB, where the first jump is longer, with a hole of 60 MB in what was read', () => {
    const sectorCount = 17_578_125;
    const initial = createRunMap(sectorCount, statuses.finished);
    initial.set({ lba: 5_000_001, count: 120_000 }, statuses['non-tried']);
    initial.set({ lba: 17_000_000, count: 1000 }, statuses['non-tried']);
    expectSameReads({ ...disk(sectorCount, [[5_001_000, 90_000]]), initial }, ['-N', '-n'], {
      edit: (row) => (row.phase === 'copy' ? row : []),
    });
  });
});

function disk(sectorCount: number, bad: readonly (readonly number[])[]): OracleDisk {
  const extents = bad.map(([lba, count]) => ({ lba: lba!, count: count! }));
  return { sectorCount, sectorBytes: 512, bad: extents };
}

function inClusters(readCount: number) {
  return (row: Pass): Pass => (row.phase === 'copy' ? { ...row, readCount } : row);
}

function jumping(startCount: number, maxCount: number) {
  return (row: Pass): Pass => ({ ...row, skip: { ...row.skip, startCount, maxCount } });
}
