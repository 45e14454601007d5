import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { Drive } from '../../src/drive/drive.js';
import { LastspinError } from '../../src/errors.js';
import type { JobEvent } from '../../src/job/events.js';
import type { Power } from '../../src/power/power.js';
import { imageInWorld } from './world.js';

/** A place that hangs the drive, from the front and from the rear. */
const hang: ScenarioInput = {
  seed: 3,
  sectorCount: 40_000,
  faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }],
};

/** The imager's own switch, taken for a hub's. */
const asHub = (own: readonly Power[]): Power[] =>
  own.map((power) => ({ ...power, name: 'hub:1-1.4', mayOnlyReset: true }));

interface Counting {
  readonly asked: string[];
  wrap(drive: Drive): Drive;
}

/** A drive that counts the cycles of its power, or some of them. `asked` has the events since the question
 * before. */
function counting(
  events: () => readonly JobEvent[],
  countOf: (cycles: number) => number,
): Counting {
  const asked: string[] = [];
  return {
    asked,
    wrap: (drive) =>
      Object.assign(Object.create(drive) as Drive, {
        powerCycleCount: async () => {
          asked.push(events().at(-1)?.kind ?? 'nothing');
          return countOf(events().filter(({ kind }) => kind === 'power-cycled').length);
        },
      }),
  };
}

async function run(countOf: (cycles: number) => number) {
  const events: JobEvent[] = [];
  const drive = counting(() => events, countOf);
  const outcome = await imageInWorld(hang, {
    powers: asHub,
    wrap: drive.wrap,
    onEvent: (event) => events.push(event),
  });
  const proofs = events.filter((event) => event.kind === 'power-proven');
  const cycles = events.filter((event) => event.kind === 'power-cycled');
  return { outcome, events, proofs, cycles, asked: drive.asked };
}

describe('a switch that may only reset the port', () => {
  test('counts as port resets where the drive does not tell', async () => {
    const wrap = (drive: Drive) =>
      Object.assign(Object.create(drive) as Drive, { powerCycleCount: undefined });
    const outcome = await imageInWorld(hang, { powers: asHub, wrap });
    expect(outcome.end.how).toBe('finished');
    expect(outcome.state.totals.powerCycles).toBe(0);
    expect(outcome.state.totals.portResets).toBeGreaterThan(1);
  });

  test("is proven by the drive's own count: from then on, and before, power was cycled", async () => {
    const { outcome, proofs, cycles, asked } = await run((count) => 100 + count);
    expect(proofs).toMatchObject([{ power: 'hub:1-1.4', cuts: true, resets: 1 }]);
    expect(cycles[0]).toMatchObject({ unproven: true });
    for (const cycle of cycles.slice(1)) expect(cycle).not.toHaveProperty('unproven');
    expect(outcome.state.totals).toMatchObject({
      powerCycles: outcome.drive.counters.powerOns - 1,
      portResets: 0,
    });
    // Two questions in all, and only to a drive that is well.
    expect(asked).toEqual(['started', 'blamed']);
  });

  test('is refuted by it, and nothing more is asked', async () => {
    const { outcome, proofs, cycles, asked } = await run(() => 100);
    expect(proofs).toMatchObject([{ power: 'hub:1-1.4', cuts: false, resets: 0 }]);
    expect(cycles.every((cycle) => cycle.unproven)).toBe(true);
    expect(outcome.state.totals).toMatchObject({ powerCycles: 0, portResets: cycles.length });
    expect(asked).toEqual(['started', 'blamed']);
  });

  test('a drive that refuses the question is asked once', async () => {
    const { outcome, proofs, asked } = await run(() => {
      throw new LastspinError('DEVICE_REFUSED', 'no SMART');
    });
    expect(outcome.end.how).toBe('finished');
    expect(proofs).toEqual([]);
    expect(asked).toEqual(['started']);
  });

  test('an honest switch costs no question', async () => {
    const events: JobEvent[] = [];
    const drive = counting(
      () => events,
      () => 1,
    );
    const outcome = await imageInWorld(hang, {
      wrap: drive.wrap,
      onEvent: (event) => events.push(event),
    });
    expect(drive.asked).toEqual([]);
    expect(outcome.state.totals.portResets).toBe(0);
    expect(outcome.state.totals.powerCycles).toBeGreaterThan(1);
  });

  /** The imager's own switch behind one that is told of and does nothing, as a hub that leaves its voltage on. */
  const behindHub = (own: readonly Power[]): Power[] => [
    {
      name: 'hub:1-1.4',
      canHold: true,
      mayOnlyReset: true,
      cycle: async () => {},
      set: async () => {},
      close: async () => {},
    },
    ...own,
  ];
  const idle = (drive: Drive) =>
    Object.assign(Object.create(drive) as Drive, { powerCycleCount: undefined });

  test('goes last once the drive did not come back: the next one is used, for the rest of the job', async () => {
    const events: JobEvent[] = [];
    const outcome = await imageInWorld(hang, {
      powers: behindHub,
      wrap: idle,
      onEvent: (event) => events.push(event),
    });
    expect(outcome.end.how).toBe('finished');
    const told = events.filter((event) => event.kind === 'power-failed');
    expect(told).toMatchObject([{ power: 'hub:1-1.4', why: expect.stringMatching(/tried last/) }]);
    expect(outcome.state.totals.portResets).toBe(1);
    expect(outcome.state.totals.powerCycles).toBe(outcome.drive.counters.powerOns - 1);
    expect(outcome.state.totals.powerCycles).toBeGreaterThan(1);
  });

  test('goes last once it is refuted', async () => {
    const events: JobEvent[] = [];
    // The port reset helps, for once, and the count stays.
    const drive = counting(
      () => events,
      () => 100,
    );
    const outcome = await imageInWorld(hang, {
      powers: (own) => [...asHub(own), ...own.map((power) => ({ ...power, name: 'relay' }))],
      wrap: drive.wrap,
      onEvent: (event) => events.push(event),
    });
    const cycles = events.filter((event) => event.kind === 'power-cycled');
    expect(cycles[0]).toMatchObject({ unproven: true });
    expect(cycles.length).toBeGreaterThan(1);
    for (const cycle of cycles.slice(1)) expect(cycle).not.toHaveProperty('unproven');
    expect(outcome.state.totals.portResets).toBe(1);
  });
});
