import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { VirtualClock } from '../../hardware-sim/virtual-clock.js';
import { byteStatistics, parseMapFile } from '../../src/map/mapfile.js';
import { statuses } from '../../src/map/status.js';
import type { Power } from '../../src/power/power.js';
import { memoryFiles } from '../image/memory-files.js';
import { imageInWorld, type Outcome, type WorldOptions } from './world.js';

const hang: ScenarioInput = {
  seed: 3,
  sectorCount: 40_000,
  faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }],
};
/** Comes back from its first power cycle without its firmware. */
const failing: ScenarioInput = {
  ...hang,
  faults: [...hang.faults!, { kind: 'alias', fromPowerOn: 2, model: 'SATAFIRM   S11' }],
};

interface Handles {
  readonly clock: VirtualClock;
  readonly interrupt: () => void;
}

/** A job whose only switch is a relay: the imager's own, switched in two steps from outside. */
async function withRelay(
  input: ScenarioInput,
  edit: (own: Power, handles: Handles) => Partial<Power>,
  options: WorldOptions = {},
): Promise<Outcome> {
  let clock: VirtualClock | undefined;
  let interrupt = () => {};
  return imageInWorld(input, {
    clocked: (its) => {
      clock = its;
    },
    interruptible: (its) => {
      interrupt = its;
    },
    powers: ([own]) => {
      const handles = { clock: clock!, interrupt };
      const set = (on: boolean, signal?: AbortSignal) => own!.set(on, signal);
      const relay: Power = {
        name: 'relay',
        canHold: true,
        onBy: 'npx lastspin power relay on',
        set,
        async cycle(offMs, signal) {
          await set(false, signal);
          await clock!.sleep(offMs, signal);
          await set(true, signal);
        },
        close: async () => {},
      };
      return [{ ...relay, ...edit(own!, handles) }];
    },
    ...options,
  });
}

const leftOff = { by: 'relay', onBy: 'npx lastspin power relay on' };

describe('power that an interrupt leaves off is told of', () => {
  test('in the middle of a cycle it may be off', async () => {
    const { end, events, drive, elapsedMs } = await withRelay(
      hang,
      (own, { clock, interrupt }) => ({
        async set(on, signal) {
          await own.set(on, signal);
          if (!on) clock.after(1000, interrupt);
        },
        async cycle(offMs, signal) {
          await this.set!(false, signal);
          await clock.sleep(offMs, signal);
          await this.set!(true, signal);
        },
      }),
    );
    expect(end).toMatchObject({ how: 'interrupted', leftOff: { ...leftOff, isCertain: false } });
    expect(events.slice(-2)).toMatchObject([
      { kind: 'powered-off', ...leftOff },
      { kind: 'ended' },
    ]);
    expect(drive.condition(elapsedMs).kind).toBe('off');
  });

  test('unless the switch itself tells that it is on', async () => {
    const { end, events } = await withRelay(hang, (_own, { clock, interrupt }) => ({
      isOn: async () => true,
      async cycle(offMs, signal) {
        interrupt();
        await clock.sleep(offMs, signal);
      },
    }));
    expect(end).toEqual({ how: 'interrupted', why: 'interrupted' });
    expect(events.some(({ kind }) => kind === 'powered-off')).toBe(false);
  });

  test('in a rest without power it is off', async () => {
    const clicks: ScenarioInput = {
      ...hang,
      faults: [...hang.faults!, { kind: 'spin-up', fromPowerOn: 2, fails: 1 }],
    };
    const { end } = await withRelay(clicks, (own, { clock, interrupt }) => ({
      async set(on, signal) {
        await own.set(on, signal);
        if (!on) clock.after(60_000, interrupt);
      },
      cycle: (offMs, signal) => own.cycle(offMs, signal),
    }));
    expect(end).toMatchObject({ how: 'interrupted', leftOff: { ...leftOff, isCertain: true } });
  });

  test('the imager ends a cycle by itself: nothing is told', async () => {
    const { end, drive, elapsedMs } = await withRelay(hang, (own, { clock, interrupt }) => ({
      cyclesByItself: own.cyclesByItself ?? false,
      cycle(offMs, signal) {
        clock.after(2000, interrupt);
        return own.cycle(offMs, signal);
      },
    }));
    expect(drive.condition(elapsedMs).kind).toBe('off');
    expect(end).toEqual({ how: 'interrupted', why: 'interrupted' });
  });
});

describe('a drive that must not go on turning', () => {
  test('is switched off although somebody interrupts meanwhile', async () => {
    const { end, drive, elapsedMs } = await withRelay(failing, (own, { clock, interrupt }) => ({
      async set(on, signal) {
        interrupt();
        await clock.sleep(2000, signal);
        await own.set(on, signal);
      },
      cycle: (offMs, signal) => own.cycle(offMs, signal),
    }));
    expect(end).toMatchObject({ how: 'gave-up', leftOff: { ...leftOff, isCertain: true } });
    expect(drive.condition(elapsedMs).kind).toBe('off');
  });

  test('when it gives up after failed spin-ups as well', async () => {
    const clicks: ScenarioInput = {
      ...hang,
      faults: [...hang.faults!, { kind: 'spin-up', fromPowerOn: 2, fails: 9 }],
    };
    let offs = 0;
    const { end, drive, elapsedMs } = await withRelay(clicks, (own, { clock, interrupt }) => ({
      async set(on, signal) {
        offs += on ? 0 : 1;
        if (offs === 2) interrupt();
        await clock.sleep(2000, signal);
        await own.set(on, signal);
      },
      cycle: (offMs, signal) => own.cycle(offMs, signal),
    }));
    expect(end).toMatchObject({ how: 'gave-up', leftOff: { ...leftOff, isCertain: true } });
    expect(drive.condition(elapsedMs).kind).toBe('off');
  });

  test('is not waited for without end, and then it says that the drive may still turn', async () => {
    let fromMs = 0;
    const { end, events, elapsedMs } = await withRelay(failing, (own, { clock, interrupt }) => ({
      set: () => {
        fromMs = clock.now();
        interrupt();
        return new Promise(() => {});
      },
      cycle: (offMs, signal) => own.cycle(offMs, signal),
    }));
    expect(end.how).toBe('gave-up');
    expect(elapsedMs - fromMs).toBeGreaterThanOrEqual(10_000);
    expect(elapsedMs - fromMs).toBeLessThan(15_000);
    expect(events.filter(({ kind }) => kind === 'power-failed')).toMatchObject([
      { power: 'relay', why: expect.stringMatching(/may still turn: unplug it/) },
    ]);
  });

  test('its map is saved before the switch is waited for, which may be a person who is away', async () => {
    const files = memoryFiles();
    let saved: Uint8Array = new Uint8Array();
    const { state } = await withRelay(
      failing,
      (own, { clock }) => ({
        async set(on, signal) {
          await clock.sleep(3_600_000, signal);
          saved = await files.readAll('case.map');
          await own.set(on, signal);
        },
        cycle: (offMs, signal) => own.cycle(offMs, signal),
      }),
      { files },
    );
    const { finished } = byteStatistics(parseMapFile(saved, 'case.map'));
    expect(finished.bytes).toBe(512 * state.plan.map.countOf(statuses.finished));
    expect(finished.bytes).toBeGreaterThan(512 * 10_000);
  });
});
