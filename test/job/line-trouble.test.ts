import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { falsehoods, imageInWorld, type WorldOptions } from './world.js';

const noise: WorldOptions['noise'] = [
  { kind: 'drop', chance: 0.01 },
  { kind: 'flip', chance: 0.01 },
  { kind: 'duplicate', chance: 0.02 },
  { kind: 'merge', chance: 0.01 },
  { kind: 'reorder', chance: 0.02, delayMs: 5 },
];

const scenario = (seed: number): ScenarioInput => ({
  seed,
  sectorCount: 6000,
  mechanics: { spinUpMs: 2000 },
  faults: [
    { kind: 'bad', lba: 1200, count: 9, errorMs: 300 },
    { kind: 'bad', lba: 4100 + seed, errorMs: 300 },
  ],
});
const isLost = (seed: number) => (lba: number) =>
  (lba >= 1200 && lba < 1209) || lba === 4100 + seed;

describe('a job on a bad line', () => {
  test.each([
    'unplug',
    'watchdog',
    'powerOn',
  ] as const)('%s in the middle costs no byte and no sector', async (kind) => {
    for (const afterReads of [1, 2, 7, 13, 30, 55]) {
      const outcome = await imageInWorld(scenario(afterReads), {
        noise,
        troubles: [
          { afterReads, kind },
          { afterReads: afterReads + 9, kind },
        ],
      });
      expect(outcome.end.how, `${kind} after ${afterReads}`).toBe('finished');
      expect(await falsehoods(outcome, isLost(afterReads))).toEqual([]);
    }
  });

  test('a pulled plug costs no read of the drive', async () => {
    const undisturbed = await imageInWorld(scenario(3));
    for (const afterReads of [5, 20, 50]) {
      const outcome = await imageInWorld(scenario(3), {
        troubles: [{ afterReads, kind: 'unplug' }],
      });
      expect(outcome.drive.counters.reads).toBe(undisturbed.drive.counters.reads);
      expect(outcome.drive.counters.powerOns).toBe(undisturbed.drive.counters.powerOns);
    }
  });

  test('an imager that restarts with the rails kept up costs the drive no power cycle', async () => {
    const outcome = await imageInWorld(scenario(4), {
      troubles: [{ afterReads: 20, kind: 'watchdog' }],
    });
    expect(outcome.drive.counters.powerOns).toBe(1);
    expect(await falsehoods(outcome, isLost(4))).toEqual([]);
  });

  test('one that lost its own power switches the drive on again', async () => {
    const outcome = await imageInWorld(scenario(5), {
      troubles: [{ afterReads: 20, kind: 'powerOn' }],
    });
    expect(outcome.drive.counters.powerOns).toBeGreaterThan(1);
    expect(await falsehoods(outcome, isLost(5))).toEqual([]);
  });
});
