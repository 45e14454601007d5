import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Extent, endOf } from '../../src/map/extent.js';
import { parseMapFile, sectorMapOf } from '../../src/map/mapfile.js';
import { createRunMap, type RunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { createPlanState } from '../../src/plan/state.js';
import { runPlan } from '../plan/bench-drive.js';
import { presetRows } from '../presets.js';
import { needsTool } from '../tools.js';
import { badSectors, disks, type OracleDisk, runDdrescue } from './ddrescue.js';

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

  const folder = join(import.meta.dirname, '../../../shared/real-maps');
  const maps = existsSync(folder) ? readdirSync(folder).filter((name) => /\.map$/.test(name)) : [];
  if (maps.length === 0)
    console.warn('skipped: damage of real drives: ../shared/real-maps is not beside this project');
  test.skipIf(maps.length === 0).each(maps)('on the damage of a real drive: %s', (name) => {
    const disk = realDisk(join(folder, name));
    expect(disk.bad.length).toBeGreaterThan(10);
    const theirs = runsOf(runDdrescue(disk).map);
    for (const preset of judged) expect(ourMap(preset, disk, true)).toEqual(theirs);
  });
});

/** Sectors around the damage that are left to read; what is further away counts as read before, which
 * keeps the test short. */
const aroundCount = 1000;
/** What of a long bad area is taken for damage, at each end. */
const badCountMax = 400;

/** What a map calls neither finished nor non-tried is bad; the drive ends soon behind the last of it. */
function realDisk(path: string): OracleDisk {
  const parsed = parseMapFile(readFileSync(path), path);
  const sectorBytes = parsed.starts.every((start) => start % 2048 === 0) ? 2048 : 512;
  const whole = { sectorBytes, sectorCount: Math.ceil(parsed.end / sectorBytes) };
  const bad: Extent[] = [];
  for (const run of sectorMapOf(parsed, whole, path).runs()) {
    if (run.value === statuses.finished || run.value === statuses['non-tried']) continue;
    const last = bad.at(-1);
    const count = Math.min(run.count, badCountMax);
    if (last && endOf(last) === run.lba)
      bad[bad.length - 1] = { ...last, count: last.count + count };
    else bad.push({ lba: run.lba, count });
  }
  const sectorCount = Math.min(whole.sectorCount, endOf(bad.at(-1)!)) + aroundCount;
  const initial = createRunMap(sectorCount, statuses.finished);
  for (const { lba, count } of bad) {
    const from = Math.max(0, lba - aroundCount);
    const end = Math.min(sectorCount, lba + count + aroundCount);
    initial.set({ lba: from, count: end - from }, statuses['non-tried']);
  }
  return { sectorCount, sectorBytes, bad, initial };
}
