import { describe, expect, test } from 'vitest';
import { benchWith, count, deadSectors, eventsOf, falseClaims } from './bench.js';

describe.concurrent('bundled drives, each by the preset of its kind', () => {
  test('ssd: it comes back without its firmware once; run again, only its bad pages are missing', async () => {
    const bench = benchWith('ssd');
    const first = await bench.run();
    expect(first.end).toMatchObject({
      how: 'gave-up',
      why: expect.stringContaining('firmware has failed'),
    });
    const second = await bench.run();
    expect(second).toMatchObject({ kind: 'ssd', end: { how: 'finished' } });
    expect(count(second, 'finished')).toBe(262_144 - 256 - 64);
    const dead = deadSectors(bench.drive);
    expect(await falseClaims(bench, second, dead)).toEqual({ wrong: [], falselyBad: [] });
  });

  test('stick: it hangs anywhere, and all of it is read: no sector is called bad', async () => {
    const bench = benchWith('stick');
    const outcome = await bench.run({ comparePercent: 0 });
    expect(outcome).toMatchObject({ kind: 'flash', end: { how: 'finished' } });
    expect(outcome.state.totals.powerCycles).toBeGreaterThan(1);
    const reads = eventsOf(outcome.events, 'read').filter(({ role }) => role === 'pass');
    // Whatever hung it is read again at once.
    for (const [at, { lba, outcome: how }] of reads.entries())
      if (how === 'timeout')
        expect(reads.slice(at).find((next) => next.goodCount > 0)).toMatchObject({ lba });
    expect(count(outcome, 'finished')).toBe(524_288);
    expect(count(outcome, 'bad-sector')).toBe(0);
  });
});
