import { describe, expect, test } from 'vitest';
import { placeFaults } from '../../hardware-sim/faults.js';
import type { Scenario } from '../../hardware-sim/scenario.js';
import { unstableOf } from '../../src/job/state.js';
import { benchWith, count, eventsOf, falseClaims } from './bench.js';

const nothing = () => false;

/** The same stick without what pauses do for it: it hangs by what it read since power-on. */
function withoutPauses(scenario: Scenario): Scenario {
  const faults = scenario.faults.map((fault) => {
    if (fault.kind !== 'hang') return fault;
    const { pauseMs: _, ...rest } = fault;
    return rest;
  });
  return { ...scenario, faults };
}

describe.concurrent('case D: a stick that hangs anywhere and reads differently', () => {
  const bench = benchWith('case-d');
  const running = bench.run();
  const { sectorCount } = bench.drive.scenario;

  test('is told by its own word, and all of it is read within 80 power cycles', async () => {
    const outcome = await running;
    expect(outcome.kind).toBe('flash');
    expect(outcome.end.how).toBe('finished');
    expect(count(outcome, 'finished')).toBe(sectorCount);
    expect(outcome.state.totals.powerCycles).toBeLessThanOrEqual(80);
  });

  test('the power is cut within ten seconds of a hang, for three, and the same LBA is read next', async () => {
    const { events } = await running;
    const cycles = events.flatMap((event, at) => (event.kind === 'power-cycled' ? [at] : []));
    expect(cycles.length).toBeGreaterThan(1);
    for (const at of cycles) {
      const isTried = (event: (typeof events)[number]) =>
        event.kind === 'read' && event.role !== 'reference' && event.outcome !== 'not-attempted';
      const hung = events.slice(0, at).findLast(isTried) as { atMs: number; lba: number };
      // Its own deadline of three seconds has passed when it is given up; some of the time after that may be
      // a rest that lets the drive cool down.
      const coolingMs = eventsOf(events.slice(0, at), 'rested')
        .filter(({ atMs }) => atMs > hung.atMs)
        .reduce((sum, { restMs }) => sum + restMs, 0);
      const offMs = 3000;
      const backMs = 500;
      const cutAtMs = events[at]!.atMs - offMs - backMs;
      expect(cutAtMs - (hung.atMs - 3000) - coolingMs).toBeLessThan(10_000);
      expect(events[at]!.atMs - hung.atMs).toBeGreaterThan(offMs);
      expect(events.slice(at).find(isTried)).toMatchObject({ lba: hung.lba });
    }
  });

  test('once it is known how long it lasts, it gets its rests before it hangs', async () => {
    const { events, state } = await running;
    const rests = eventsOf(events, 'rested').filter(({ why }) => why.includes('as much reading'));
    expect(rests.length).toBeGreaterThan(10);
    // Without them about one cycle for every sixty reads would be due, twice over.
    expect(state.totals.powerCycles).toBeLessThan(12);
  });

  test('sectors that read differently are listed, all versions kept, and the image has the majority', async () => {
    const outcome = await running;
    const unstable = placeFaults(bench.drive.scenario, bench.drive.mechanics.headOf).find(
      ({ fault }) => fault.kind === 'wrong',
    )!;
    const listed = unstableOf(outcome.state);
    expect(listed.length).toBeGreaterThan(6);
    for (const { lba, count: sectors } of listed)
      for (let at = lba; at < lba + sectors; at++) expect(unstable.covers(at)).toBe(true);
    expect(await falseClaims(bench, outcome, nothing)).toEqual({ wrong: [], falselyBad: [] });
    const lines = Buffer.from(await bench.files.readAll('case.versions'))
      .toString()
      .trim()
      .split('\n');
    expect(lines).toHaveLength(listed.reduce((sum, area) => sum + area.count, 0));
    const { versions } = JSON.parse(lines[0]!);
    expect(versions.length).toBeGreaterThan(1);
    expect(versions[0].readings).toBeGreaterThanOrEqual(3);
    expect(Buffer.from(versions[0].base64, 'base64')).toHaveLength(512);
  });

  test('where rests do not help they are given up, and it is read all the same', async () => {
    const small = { ...withoutPauses(bench.drive.scenario), sectorCount: 40_960 };
    const other = benchWith(small);
    const outcome = await other.run({ comparePercent: 0 });
    expect(count(outcome, 'finished')).toBe(40_960);
    expect(outcome.state.totals.powerCycles).toBeLessThanOrEqual(60);
    const rests = eventsOf(outcome.events, 'rested').filter(({ why }) =>
      why.includes('as much reading'),
    );
    expect(rests.length).toBeLessThan(40);
  });

  test('interrupted while it reads again, the comparison goes on where it was', async () => {
    const stable = benchWith({ ...bench.drive.scenario, sectorCount: 12_800, faults: [] });
    const first = await stable.run({ interruptAfter: 150 });
    expect(first.end.how).toBe('interrupted');
    expect(count(first, 'finished')).toBe(12_800);
    const second = await stable.run();
    expect(second.end.how).toBe('finished');
    expect(stable.drive.counters.reads).toBeLessThanOrEqual(201);
  });

  test('a share of what was read may be read again instead of all', async () => {
    const stable = benchWith({ ...bench.drive.scenario, sectorCount: 12_800, faults: [] });
    await stable.run({ comparePercent: 10 });
    expect(stable.drive.counters.reads).toBe(100 + 10);
  });
});
