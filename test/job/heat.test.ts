import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { LastspinError } from '../../src/errors.js';
import { createHeat, foldRest, foldTemperature, heatStep } from '../../src/job/heat.js';
import { troublePolicies } from '../../src/power/policy.js';
import type { Power } from '../../src/power/power.js';
import { falsehoods, imageInWorld } from './world.js';

const none = () => false;
const base: ScenarioInput = { seed: 3, sectorCount: 40_000 };

/** A drive whose sensor says what a test wants, and how often it was asked while it had no answer. */
function sensor(celsiusOf: (asked: number) => number | undefined) {
  let asked = 0;
  return {
    get asked() {
      return asked;
    },
    wrap: <Wrapped extends object>(drive: Wrapped) =>
      Object.assign(Object.create(drive) as Wrapped, {
        temperature: async () => celsiusOf(asked++),
      }),
  };
}

describe('a drive that gets hot', () => {
  test('rests parked until it has cooled down, and nothing is lost', async () => {
    const { wrap } = sensor((asked) => [53, 52, 40][asked] ?? 40);
    const outcome = await imageInWorld(base, { wrap });
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, none)).toEqual([]);
    const rests = outcome.events.filter((event) => event.kind === 'rested');
    expect(rests.map(({ why }) => why)).toEqual(['the drive is at 53 °C', 'the drive is at 52 °C']);
    expect(outcome.drive.counters.emergencyUnloads).toBe(0);
    expect(outcome.state.totals.powerCycles).toBe(0);
  });

  test('rests without power where that is too little, and comes back', async () => {
    const { wrap } = sensor((asked) => [60, 40][asked] ?? 40);
    const outcome = await imageInWorld(base, { wrap });
    expect(outcome.end.how).toBe('finished');
    expect(await falsehoods(outcome, none)).toEqual([]);
    expect(outcome.drive.counters.powerOns).toBe(2);
    expect(outcome.drive.counters.emergencyUnloads).toBe(0);
    expect(outcome.elapsedMs).toBeGreaterThan(600_000);
  });

  test('rests parked where the switch fails', async () => {
    const { wrap } = sensor((asked) => [60, 40][asked] ?? 40);
    const stuck: Power = {
      name: 'stuck',
      canHold: true,
      cycle: async () => {},
      set: async () => {
        throw new LastspinError('POWER_FAILED', 'the relay does not answer');
      },
      close: async () => {},
    };
    const outcome = await imageInWorld(base, { wrap, powers: [stuck] });
    expect(outcome.end.how).toBe('finished');
    expect(outcome.drive.counters.powerOns).toBe(1);
    expect(outcome.events.filter((event) => event.kind === 'rested')).toMatchObject([
      { restMs: 600_000 },
    ]);
  });

  test('without a switch it rests parked, however hot it is', async () => {
    const { wrap } = sensor((asked) => [60, 40][asked] ?? 40);
    const outcome = await imageInWorld(base, { wrap, noPower: true });
    expect(outcome.end.how).toBe('finished');
    expect(outcome.drive.counters.powerOns).toBe(1);
  });
});

describe('asking for the temperature', () => {
  const policy = troublePolicies.hdd;
  const told = (celsius: number | undefined, elapsedMs = 5) =>
    ({ kind: 'temperature', ...(celsius !== undefined && { celsius }), elapsedMs }) as const;

  test('happens at the start, then every five minutes', () => {
    const heat = createHeat();
    expect(heatStep(heat, policy, 0)).toEqual({ kind: 'take-temperature' });
    foldTemperature(heat, told(34), 1000, policy);
    expect(heatStep(heat, policy, 300_999)).toBeUndefined();
    expect(heatStep(heat, policy, 301_000)).toEqual({ kind: 'take-temperature' });
  });

  test.each([
    ['no answer', told(undefined)],
    ['a slow answer', told(34, 1001)],
  ])('ends after %s', (_what, event) => {
    const heat = createHeat();
    foldTemperature(heat, event, 0, policy);
    expect(heatStep(heat, policy, 1e9)).toBeUndefined();
  });

  test('goes on after a slow answer of a drive that had to spin up for it', () => {
    const heat = createHeat();
    foldTemperature(heat, { ...told(53, 6000), wasParked: true }, 0, policy);
    foldRest(heat, 200_000, policy);
    expect(heatStep(heat, policy, 200_000)).toEqual({ kind: 'take-temperature' });
  });

  test('happens anew after a rest of a drive that was too hot, and only of one', () => {
    const heat = createHeat();
    foldTemperature(heat, told(55), 0, policy);
    expect(heatStep(heat, policy, 1)).toMatchObject({ kind: 'cool', powerOff: false });
    foldRest(heat, 200_000, policy);
    expect(heatStep(heat, policy, 200_000)).toEqual({ kind: 'take-temperature' });
    foldTemperature(heat, told(40), 200_010, policy);
    foldRest(heat, 200_020, policy);
    expect(heatStep(heat, policy, 200_020)).toBeUndefined();
  });

  test('is none where drives of the kind have no sensor', () => {
    expect(heatStep(createHeat(), troublePolicies.flash, 0)).toBeUndefined();
  });

  test('is left out while there is trouble', async () => {
    const during: string[] = [];
    let why: string | undefined;
    const counting = sensor(() => {
      if (why !== undefined) during.push(why);
      return 30;
    });
    const outcome = await imageInWorld(
      { ...base, faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }] },
      {
        wrap: counting.wrap,
        onEvent(_event, { trouble }) {
          why = trouble.why;
        },
      },
    );
    expect(outcome.state.totals.powerCycles).toBeGreaterThan(0);
    expect(during).toEqual([]);
    expect(counting.asked).toBeGreaterThan(0);
  });
});
