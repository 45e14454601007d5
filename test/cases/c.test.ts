import { describe, expect, test } from 'vitest';
import {
  benchWith,
  count,
  deadSectors,
  eventsOf,
  falseClaims,
  isOff,
  type RunOutcome,
} from './bench.js';

/** LBAs of reads of the hung rows that took the drive down. */
const lostAt = (outcome: RunOutcome) =>
  eventsOf(outcome.events, 'read')
    .filter((event) => event.outcome === 'gone' && event.count === 1)
    .map(({ lba }) => lba);

describe.concurrent('case C: an SSD that drops off the bus at a bad page', () => {
  const bench = benchWith('case-c');
  const running = bench.run();

  test('is told to be one by its own word, and costs no sector but the bad pages', async () => {
    const outcome = await running;
    expect(outcome.kind).toBe('ssd');
    expect(outcome.end.how).toBe('finished');
    const dead = deadSectors(bench.drive);
    expect(await falseClaims(bench, outcome, dead)).toEqual({ wrong: [], falselyBad: [] });
    expect(count(outcome, 'finished')).toBe(98_304 - 32 - 8);
    // Five seconds off each time.
    const cycled = outcome.events.findIndex((event) => event.kind === 'power-cycled');
    expect(outcome.events[cycled]!.atMs - outcome.events[cycled - 1]!.atMs).toBeGreaterThan(5000);
  });

  test('nothing that was asked for after the hang is blamed', async () => {
    const { events } = await running;
    const gone = events.findIndex((event) => event.kind === 'read' && event.outcome === 'gone');
    const verdict = events.findIndex((event, at) => at > gone && event.kind === 'blamed');
    const between = eventsOf(events.slice(gone + 1, verdict), 'read').filter(
      ({ role }) => role === 'pass',
    );
    expect(between.every(({ outcome }) => outcome === 'not-attempted')).toBe(true);
    expect(events[verdict]).toMatchObject({ on: 'hang' });
  });

  test('the page is left for last, behind a jump of 128 KiB, and then approached from both sides', async () => {
    const outcome = await running;
    const reads = eventsOf(outcome.events, 'read').filter(
      ({ role, outcome: how }) => role === 'pass' && how !== 'not-attempted',
    );
    const first = reads.findIndex(({ outcome: how }) => how === 'gone');
    expect(reads[first + 1]!.lba).toBe(reads[first]!.lba + 128 + 256);
    expect(new Set(lostAt(outcome))).toEqual(
      new Set([30_000, 30_031, 30_001, 30_030, 70_000, 70_007, 70_001, 70_006]),
    );
  });

  test('two pages in one group that each take it down once are both read in the end', async () => {
    const other = benchWith({
      ...bench.drive.scenario,
      faults: [
        { kind: 'vanish', lba: 30_000, count: 1, returns: 'power-cycle', times: 1 },
        { kind: 'vanish', lba: 30_040, count: 1, returns: 'power-cycle', times: 1 },
      ],
    });
    const outcome = await other.run();
    expect(count(outcome, 'finished')).toBe(98_304);
  });

  test.each([
    'case-c-alias',
    'case-c-lost',
  ])('%s: a drive that comes back without its firmware ends the job, map saved, power off', async (name) => {
    const bench = benchWith(name);
    const outcome = await bench.run();
    expect(outcome.end.how).toBe('gave-up');
    expect(outcome.end.why).toMatch(/firmware has failed: .*SATAFIRM.* 20\.9\d* MB/);
    expect(outcome.end.why).not.toContain('another drive');
    expect(count(outcome, 'bad-sector')).toBe(0);
    expect(isOff(bench)).toBe(true);
    const nothing = () => false;
    expect(await falseClaims(bench, outcome, nothing)).toEqual({ wrong: [], falselyBad: [] });
  });

  test('the alias that shows once: run again, the job goes on where it was', async () => {
    const bench = benchWith('case-c-alias');
    const first = await bench.run();
    const second = await bench.run();
    expect(second.events[0]).toMatchObject({ kind: 'started', resumed: true });
    expect(second.end.how).toBe('finished');
    expect(count(second, 'finished')).toBeGreaterThan(count(first, 'finished'));
    expect(count(second, 'finished')).toBe(98_304 - 32 - 8);
  });

  test('the alias for ever: run again, it is refused by name and the map stays', async () => {
    const bench = benchWith('case-c-lost');
    await bench.run();
    const before = Buffer.from(await bench.files.readAll('case.map'));
    await expect(bench.run()).rejects.toMatchObject({ code: 'FIRMWARE_FAILED' });
    expect(Buffer.compare(before, await bench.files.readAll('case.map'))).toBe(0);
  });
});
