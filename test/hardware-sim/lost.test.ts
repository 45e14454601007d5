import { describe, expect, test } from 'vitest';
import { createSimulatedDrive, type Damage } from '../../hardware-sim/drive.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';

const never = { errorMs: 1, readChance: 0 } as const;

/** Physical sectors that fail or lose the drive by themselves, each on a drive of its own. */
function lostOneByOne(input: ScenarioInput): number {
  const scenario = defineScenario(input);
  const ratio = scenario.physicalSectorBytes / scenario.sectorBytes;
  let lost = 0;
  for (let lba = 0; lba < scenario.sectorCount; lba += ratio) {
    const drive = createSimulatedDrive(scenario, { media: 'none' });
    drive.powerOn(0);
    const count = Math.min(ratio, scenario.sectorCount - lba);
    if (drive.read({ lba, count }, 10_000).outcome !== 'good') lost += count;
  }
  return lost;
}

describe('what a drive has lost is what no read brings', () => {
  test.each<[string, ScenarioInput]>([
    [
      'overlapping rows, whole physical sectors, a short last one',
      {
        sectorCount: 2003,
        physicalSectorBytes: 4096,
        faults: [
          { kind: 'bad', lba: 90, count: 30, ...never },
          { kind: 'bad', lba: 100, count: 3, pitch: 97, repeats: 15, ...never },
          { kind: 'hang', lba: 1500, count: 20, until: 'power-cycle' },
          { kind: 'vanish', lba: 2000, count: 3, returns: 'power-cycle' },
          { kind: 'slow', lba: 0, count: 80, extraMs: 1 },
        ],
      },
    ],
    [
      'a share of a head, a share of everywhere',
      {
        sectorCount: 3000,
        mechanics: { heads: 3, bandSectors: 100 },
        faults: [
          { kind: 'bad', head: 1, perMillion: 300_000, ...never },
          { kind: 'bad', everywhere: true, perMillion: 50_000, ...never },
        ],
      },
    ],
    ['a healthy drive', { sectorCount: 100 }],
  ])('%s', (_name, input) => {
    const drive = createSimulatedDrive(defineScenario(input), { media: 'none' });
    expect(drive.lostCount()).toBe(lostOneByOne(input));
  });

  test('what comes at another try is not lost', () => {
    const faults: ScenarioInput['faults'] = [
      { kind: 'bad', lba: 10, count: 5, errorMs: 1, readChance: 0.1 },
      { kind: 'hang', lba: 50, until: 'power-cycle', times: 1 },
      { kind: 'bad', lba: 70, count: 5, ...never, afterReads: 100 },
    ];
    const drive = createSimulatedDrive(defineScenario({ sectorCount: 100, faults }));
    expect(drive.lostCount()).toBe(0);
  });

  test('damage by ranges counts, also where they touch one physical sector twice', () => {
    const damage: Damage = {
      fault: {
        kind: 'bad',
        ...never,
        error: 'uncorrectable',
        reportsLba: true,
        spreadChance: 0,
      },
      froms: Float64Array.from([3, 6, 40]),
      ends: Float64Array.from([5, 7, 49]),
    };
    const scenario = defineScenario({ sectorCount: 100, physicalSectorBytes: 4096 });
    const drive = createSimulatedDrive(scenario, { media: 'none', damage });
    expect(drive.lostCount()).toBe(8 + 16);
    drive.powerOn(0);
    expect(drive.read({ lba: 0, count: 48 }, 10_000)).toMatchObject({
      outcome: 'fault',
      goodCount: 0,
      failingLba: 0,
    });
    expect(drive.read({ lba: 8, count: 48 }, 20_000)).toMatchObject({ goodCount: 32 });
  });
});
