import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RunMap } from '../../src/map/run-map.js';
import { createPlanState } from '../../src/plan/state.js';
import { runPlan } from '../plan/bench-drive.js';
import { presetRows } from '../presets.js';
import { needsTool } from '../tools.js';
import { badSectors, disks, type OracleDisk, realDisk, realMaps, runDdrescue } from './ddrescue.js';

const judged = ['standard', 'ddrescue'];

/** The map that a preset ends with, as text: LBA, count and status by run. */
function ourMap(preset: string, disk: OracleDisk, namesLba: boolean): string[] {
  const { sectorCount, sectorBytes } = disk;
  const state = createPlanState({
    sectorCount,
    sectorBytes,
    physicalCount: 1,
    passes: presetRows(preset, { sectorCount, sectorBytes }),
    ...(disk.initial && { map: disk.initial.clone() }),
  });
  runPlan(state, { bad: badSectors(disk), namesLba });
  return runsOf(state.map);
}

function runsOf(map: RunMap): string[] {
  return [...map.runs()].map(({ lba, count, value }) => `${lba}+${count} ${value}`);
}

describe.skipIf(needsTool('ddrescue'))('the map at the end is GNU ddrescue’s', () => {
  test('on generated damage, by either preset, whether errors name their LBA or not', () => {
    fc.assert(
      fc.property(disks(512), fc.boolean(), (disk, namesLba) => {
        const theirs = runsOf(runDdrescue(disk).map);
        for (const preset of judged) expect(ourMap(preset, disk, namesLba)).toEqual(theirs);
      }),
      { numRuns: 20, seed: 2 },
    );
  });

  const maps = realMaps();
  test.skipIf(maps.length === 0).each(maps)('on the damage of a real drive: %s', (name) => {
    const disk = realDisk(name);
    expect(disk.bad.length).toBeGreaterThan(10);
    const theirs = runsOf(runDdrescue(disk).map);
    for (const preset of judged) expect(ourMap(preset, disk, true)).toEqual(theirs);
  });
});
