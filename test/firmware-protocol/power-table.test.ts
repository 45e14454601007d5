import { describe, expect, test } from 'vitest';
import { type PowerState, powerStates } from '../../firmware-protocol/commands.js';
import { ReplyError } from '../../firmware-protocol/device.js';
import { type PowerInput, powerCell } from '../../firmware-protocol/power-table.js';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { createSimulatedImager } from '../../hardware-sim/imager.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';

const states = Object.keys(powerStates) as PowerState[];

function createBench() {
  const scenario = defineScenario({
    sectorCount: 1000,
    mechanics: { spinUpMs: 3000 },
    power: { rampMs: 20, dischargeMs: 300, blankingMs: 5000 },
    faults: [{ kind: 'hang', lba: 500, until: 'power-cycle' }],
  });
  const clock = createVirtualClock();
  const imager = createSimulatedImager(createSimulatedDrive(scenario), clock);
  return { clock, imager };
}
type Bench = ReturnType<typeof createBench>;

const state = ({ imager }: Bench) => imager.status().powerState;
const readAt = (bench: Bench, lba: number) =>
  bench.imager.read({ lba, count: 1, timeoutMs: 1000, slowMs: 0 });

/** Brings a fresh bench into a state by what a laptop and a drive can do. */
const waysInto: Partial<Record<PowerState, (bench: Bench) => Promise<unknown>>> = {
  off: async () => {},
  ramping: ({ imager }) => imager.power('on', 0, false),
  'on-not-ready': async ({ imager, clock }) => {
    await imager.power('on', 0, false);
    await clock.advance(100);
  },
  ready: async ({ imager, clock }) => {
    await imager.power('on', 0, false);
    await clock.advance(4000);
  },
  hung: async (bench) => {
    await waysInto.ready?.(bench);
    await bench.clock.run(readAt(bench, 500));
    await bench.clock.advance(2000);
  },
  cooling: async (bench) => {
    await waysInto.ready?.(bench);
    await bench.imager.power('off', 5000, false);
  },
};

/** State, what is asked, the state at once, the state long after. */
const asked: [PowerState, 'on' | 'off' | 'cycle' | 'reset', PowerState | 'refused', PowerState][] =
  [
    ['off', 'on', 'ramping', 'ready'],
    ['off', 'off', 'off', 'off'],
    ['off', 'cycle', 'cooling', 'ready'],
    ['off', 'reset', 'refused', 'off'],
    ['ramping', 'on', 'ramping', 'ready'],
    ['ramping', 'off', 'cooling', 'off'],
    ['ramping', 'cycle', 'cooling', 'ready'],
    ['ramping', 'reset', 'refused', 'ready'],
    ['on-not-ready', 'on', 'on-not-ready', 'ready'],
    ['on-not-ready', 'off', 'cooling', 'off'],
    ['on-not-ready', 'cycle', 'cooling', 'ready'],
    ['on-not-ready', 'reset', 'on-not-ready', 'ready'],
    ['ready', 'on', 'ready', 'ready'],
    ['ready', 'off', 'cooling', 'off'],
    ['ready', 'cycle', 'cooling', 'ready'],
    ['ready', 'reset', 'on-not-ready', 'ready'],
    ['hung', 'on', 'hung', 'hung'],
    ['hung', 'off', 'cooling', 'off'],
    ['hung', 'cycle', 'cooling', 'ready'],
    // This hang does not mind resets, so it is found to be hung again.
    ['hung', 'reset', 'on-not-ready', 'hung'],
    ['cooling', 'on', 'cooling', 'ready'],
    ['cooling', 'off', 'cooling', 'off'],
    ['cooling', 'cycle', 'cooling', 'ready'],
    ['cooling', 'reset', 'refused', 'off'],
  ];

describe('what is asked for, by state', () => {
  test.each(asked)('%s + %s: %s, then %s', async (from, action, atOnce, later) => {
    const bench = createBench();
    await waysInto[from]?.(bench);
    expect(state(bench)).toBe(from);
    const asking =
      action === 'reset' ? bench.imager.reset('hard') : bench.imager.power(action, 1000, false);
    if (atOnce === 'refused') await expect(asking).rejects.toThrow(ReplyError);
    else await asking;
    expect(state(bench)).toBe(atOnce === 'refused' ? from : atOnce);
    await bench.clock.advance(60_000);
    expect(state(bench)).toBe(later);
  });
});

/** What befalls the drive or the imager, by the state before: only what changes stands here. */
const befalls: [PowerInput, (bench: Bench) => unknown, Partial<Record<PowerState, PowerState>>][] =
  [
    [
      'over-current',
      ({ imager }) => imager.limits({ rail5MilliampsMax: 1, blankingMs: 1 }),
      { 'on-not-ready': 'tripped', ready: 'tripped', hung: 'tripped' },
    ],
    [
      'over-heat',
      ({ imager }) => imager.limits({ offCelsius: 10 }),
      { 'on-not-ready': 'tripped', ready: 'tripped', hung: 'tripped' },
    ],
    [
      'restart',
      ({ imager }) => imager.restart('watchdog'),
      { ramping: 'cooling', ready: 'on-not-ready', hung: 'on-not-ready' },
    ],
    [
      'boot',
      ({ imager }) => imager.restart('powerOn'),
      { ramping: 'off', 'on-not-ready': 'off', ready: 'off', hung: 'off', cooling: 'off' },
    ],
  ];

describe('what befalls the drive', () => {
  const reached = Object.keys(waysInto) as PowerState[];
  test.each(befalls)('%s moves the state as the table says', async (input, befall, changes) => {
    for (const from of reached) {
      const bench = createBench();
      await waysInto[from]?.(bench);
      // A drive that is ready all along is seen to be so at once.
      const after = changes[from] ?? from;
      await befall(bench);
      const seen = state(bench);
      expect(seen === after || (input === 'restart' && seen === 'ready'), `${from}: ${seen}`).toBe(
        true,
      );
      const cell = powerCell(from, input);
      if (changes[from]) expect(cell, from).toBe(changes[from]);
    }
  });

  test('a drive that was powered is powered after a restart, and its rails never moved', async () => {
    const bench = createBench();
    await waysInto.ready?.(bench);
    const { powerCycles } = bench.imager.status();
    bench.imager.restart('resetLine');
    await bench.clock.advance(1000);
    expect(bench.imager.status()).toMatchObject({ powerState: 'ready', powerCycles });
    expect((await bench.clock.run(readAt(bench, 0))).outcome).toBe('good');
  });
});

describe('the cells that no laptop reaches alone', () => {
  test('an imager boots with the rails off, whatever was before', () => {
    for (const from of states) expect(powerCell(from, 'boot')).toBe('off');
    expect(state(createBench())).toBe('off');
  });
  test('from unknown every way leads through a full off-time', () => {
    for (const input of ['power on', 'power off', 'power cycle'] as const) {
      expect(powerCell('unknown', input)).toBe('cooling');
    }
    expect(powerCell('unknown', 'reset')).toBe('noDrive');
  });
  test('tripped rails come back only after they were switched off', () => {
    expect(powerCell('tripped', 'power on')).toBe('limit');
    expect(powerCell('tripped', 'reset')).toBe('noDrive');
    expect(powerCell('tripped', 'power off')).toBe('cooling');
    expect(powerCell('tripped', 'power cycle')).toBe('cooling');
    expect(powerCell('tripped', 'restart')).toBe('tripped');
  });
  test('nothing that a line does moves a rail', () => {
    for (const from of states) expect(powerCell(from, 'HELLO, link closes')).toBe('same');
  });

  const changed: [PowerInput, Partial<Record<PowerState, PowerState>>][] = [
    ['rail-up', { ramping: 'on-not-ready' }],
    ['off-time-over', { cooling: 'off' }],
    ['drive-ready', { 'on-not-ready': 'ready', hung: 'ready' }],
    ['drive-silent', { 'on-not-ready': 'hung', ready: 'hung' }],
    ['drive-gone', { ready: 'on-not-ready', hung: 'on-not-ready' }],
    [
      'silence',
      { ramping: 'cooling', 'on-not-ready': 'cooling', ready: 'cooling', hung: 'cooling' },
    ],
    ...(['over-current', 'over-heat', 'rail-failed'] as const).map(
      (input): [PowerInput, Partial<Record<PowerState, PowerState>>] => [
        input,
        { ramping: 'tripped', 'on-not-ready': 'tripped', ready: 'tripped', hung: 'tripped' },
      ],
    ),
  ];
  test.each(changed)('%s changes only what it can', (input, changes) => {
    for (const from of states) expect(powerCell(from, input)).toBe(changes[from] ?? 'same');
  });
});
