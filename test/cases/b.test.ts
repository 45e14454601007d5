import { describe, expect, test } from 'vitest';
import type { Scenario } from '../../hardware-sim/scenario.js';
import { notes } from '../../src/plan/pass.js';
import { benchWith, count, deadSectors, eventsOf, falseClaims, type RunOutcome } from './bench.js';

const nothing = () => false;

describe.concurrent('case B: an SMR drive whose firmware stalls', () => {
  const bench = benchWith('case-b');
  const running = bench.run();

  /** From the first sign of each stall to the verdict. */
  const stalls = ({ events }: RunOutcome) => {
    const found: (typeof events)[] = [];
    events.forEach((event, at) => {
      if (event.kind !== 'trouble') return;
      const end = events.findIndex((later, index) => index > at && later.kind === 'blamed');
      found.push(events.slice(at, end + 1));
    });
    return found.filter((stall) => stall.at(-1)!.atMs - stall[0]!.atMs > 30_000);
  };

  test('no good sector is marked, and all of them are read', async () => {
    const outcome = await running;
    const dead = deadSectors(bench.drive);
    expect(outcome.end.how).toBe('finished');
    expect(await falseClaims(bench, outcome, dead)).toEqual({ wrong: [], falselyBad: [] });
    expect(count(outcome, 'finished') + count(outcome, 'bad-sector')).toBe(262_144);
  });

  test('each stall costs a rest and at most one power cycle, with the heads parked first', async () => {
    const outcome = await running;
    expect(stalls(outcome)).toHaveLength(2);
    for (const stall of stalls(outcome)) {
      expect(eventsOf(stall, 'power-cycled').length).toBeLessThanOrEqual(1);
      expect(eventsOf(stall, 'rested')[0]).toMatchObject({ restMs: 60_000 });
      expect(stall.at(-1)).toMatchObject({ kind: 'blamed', on: 'drive' });
    }
    expect(bench.drive.counters.emergencyUnloads).toBe(0);
  });

  test('nothing is skipped: reading goes on where it was', async () => {
    const outcome = await running;
    for (const stall of stalls(outcome)) {
      const at = outcome.events.indexOf(stall[0]!);
      const isPass = (event: (typeof stall)[number]) =>
        event.kind === 'read' && event.role === 'pass' && event.outcome !== 'not-attempted';
      const before = outcome.events.slice(0, at).findLast(isPass);
      const after = outcome.events.slice(at + stall.length).find(isPass);
      expect(after).toMatchObject({ lba: (before as { lba: number }).lba });
    }
    expect(outcome.state.plan.notes.countOf(notes.hung)).toBe(0);
  });
});

describe.concurrent('made-up data', () => {
  test('zeros faster than the platters turn stop the job, and none of them is claimed', async () => {
    const bench = benchWith('case-b-zeros');
    const outcome = await bench.run();
    expect(outcome.end.how).toBe('gave-up');
    expect(outcome.end.why).toMatch(/returns zeros at \d+ MB\/s, at most \d+ MB\/s .*--trust-data/);
    expect(await falseClaims(bench, outcome, nothing)).toEqual({ wrong: [], falselyBad: [] });
    expect(count(outcome, 'non-tried')).toBeGreaterThan(0);
    // The drive has not changed: it is seen again, and nothing is claimed by the way.
    const again = await bench.run();
    expect(again.end.why).toMatch(/at most \d+ MB\/s/);
    expect(again.end.how).toBe('gave-up');
    expect(await falseClaims(bench, again, nothing)).toEqual({ wrong: [], falselyBad: [] });
    // The user's word goes further.
    const trusted = await bench.run({ trustData: true });
    expect(trusted.end.how).toBe('finished');
    expect(count(trusted, 'finished')).toBe(262_144);
    expect(eventsOf(trusted.events, 'noticed')[0]?.text).toContain('--trust-data');
  });

  const healthy = (changes: Partial<Scenario>): Scenario => ({
    ...benchWith('case-b').drive.scenario,
    sectorCount: 65_536,
    faults: [],
    ...changes,
  });

  test.each([
    ['full of zeros', healthy({ contents: 'zeros' })],
    [
      'full of zeros, with bad sectors',
      healthy({
        contents: 'zeros',
        faults: benchWith('case-b').drive.scenario.faults.filter(({ kind }) => kind === 'bad'),
      }),
    ],
    [
      'that does not turn and answers zeros at once',
      {
        ...benchWith('case-c').drive.scenario,
        contents: 'zeros' as const,
        faults: [],
      },
    ],
  ])('a healthy drive %s raises no alarm', async (_, scenario) => {
    const outcome = await benchWith(scenario).run();
    expect(outcome.end.how).toBe('finished');
  });
});
