import { describe, expect, test } from 'vitest';
import { createSwitches, type Power } from '../../src/power/power.js';

const { signal } = new AbortController();

/** A switch that writes down what it did; `broken` names what it cannot do. */
function setUp(kinds: readonly { name: string; broken?: string; canHold?: boolean }[]) {
  const log: string[] = [];
  const powers = kinds.map(({ name, broken, canHold = true }): Power => {
    const act = async (action: string) => {
      if (broken === action || broken === 'all') throw new Error(`${name} is broken`);
      log.push(`${name} ${action}`);
    };
    return {
      name,
      canHold,
      cycle: () => act('cycle'),
      set: (on) => act(on ? 'on' : 'off'),
      close: async () => {},
    };
  });
  const failed: string[] = [];
  return { log, failed, powers, switches: createSwitches(powers, ({ name }) => failed.push(name)) };
}

describe('several switches', () => {
  test('the first that works is used, and those before it are told of', async () => {
    const { log, failed, switches } = setUp([
      { name: 'a', broken: 'all' },
      { name: 'b' },
      { name: 'c' },
    ]);
    expect((await switches.cycle(1000, signal)).name).toBe('b');
    await switches.hold(false, signal);
    expect(log).toEqual(['b cycle', 'b off']);
    expect(failed).toEqual(['a', 'a']);
  });

  test('what one holds off, another cannot bring back', async () => {
    const { log, switches } = setUp([{ name: 'a', broken: 'off' }, { name: 'b' }]);
    await switches.hold(false, signal);
    await switches.cycle(1000, signal);
    await switches.cycle(1000, signal);
    expect(log).toEqual(['b off', 'a cycle', 'b on', 'a cycle']);
  });

  test('nor does another switch it on first', async () => {
    const { log, switches } = setUp([{ name: 'a', broken: 'off' }, { name: 'b' }]);
    await switches.hold(false, signal);
    await switches.hold(true, signal);
    expect(log).toEqual(['b off', 'b on']);
  });

  test('those that can only cycle hold nothing', async () => {
    const { log, failed, switches } = setUp([{ name: 'a', canHold: false }]);
    await switches.hold(false, signal);
    expect([...log, ...failed]).toEqual([]);
  });

  test('one that is put last is used where the others fail, and holds what it held', async () => {
    const { log, powers, switches } = setUp([{ name: 'a' }, { name: 'b', broken: 'off' }]);
    await switches.hold(false, signal);
    expect(switches.putLast(powers[0]!)).toBe(true);
    expect(switches.putLast(powers[0]!)).toBe(false);
    await switches.cycle(1000, signal);
    expect((await switches.hold(false, signal))?.name).toBe('a');
    expect(log).toEqual(['a off', 'b cycle', 'a on', 'a off']);
  });

  test('when none works, the last one tells why', async () => {
    const { switches } = setUp([
      { name: 'a', broken: 'all' },
      { name: 'b', broken: 'all' },
    ]);
    await expect(switches.cycle(1000, signal)).rejects.toThrow('b is broken');
  });
});
