import { describe, expect, test } from 'vitest';
import { loadCheckpoint } from '../../src/image/checkpoint.js';
import { parseSnapshot } from '../../src/job/snapshot.js';
import { type Bench, benchWith, count, deadSectors, eventsOf, falseClaims } from './bench.js';

/** The dock is unplugged and the drive put on another adapter: its power goes, and comes back there. */
async function moveToAnotherAdapter({ imager, clock }: Bench): Promise<void> {
  await clock.run(imager.power('off', 0, true));
  await clock.advance(10_000);
}

async function savedState({ files }: Bench) {
  return parseSnapshot((await loadCheckpoint(files, 'case.map'))?.state);
}

describe.concurrent('case E: a 512e drive in a dock', () => {
  test('errors come in eights: they are trimmed by physical sector', async () => {
    const bench = benchWith('case-e');
    const outcome = await bench.run();
    const dead = deadSectors(bench.drive);
    expect(await falseClaims(bench, outcome, dead)).toEqual({ wrong: [], falselyBad: [] });
    expect(count(outcome, 'bad-sector')).toBe(8 * 10);
    // Nothing is read in less than a whole physical sector, and none of them fails more than twice.
    const reads = eventsOf(outcome.events, 'read');
    expect(reads.every((read) => read.lba % 8 === 0 && read.count % 8 === 0)).toBe(true);
    const failed = new Map<number, number>();
    for (const { lba, count: sectors, outcome: how } of reads)
      if (how === 'fault' && sectors === 8) failed.set(lba, (failed.get(lba) ?? 0) + 1);
    expect(Math.max(...failed.values())).toBeLessThanOrEqual(2);
  });

  test('behind another adapter it has another name: refused, until the user says that it is the same', async () => {
    const bench = benchWith('case-e');
    const first = await bench.run({ interruptAfter: 500 });
    expect(first.end.how).toBe('interrupted');
    await moveToAnotherAdapter(bench);
    const before = Buffer.from(await bench.files.readAll('case.map'));
    await expect(bench.run()).rejects.toMatchObject({
      code: 'DRIVE_CHANGED',
      message: expect.stringContaining('--same-drive'),
    });
    expect(Buffer.compare(before, await bench.files.readAll('case.map'))).toBe(0);

    const readsBefore = bench.drive.counters.reads;
    const second = await bench.run({ sameDrive: true });
    expect(second.end.how).toBe('finished');
    expect(second.notices.join()).toContain('LASTSPIN CASE E SIM-CASE-E is taken for USB DOCK');
    const dead = deadSectors(bench.drive);
    expect(await falseClaims(bench, second, dead)).toEqual({ wrong: [], falselyBad: [] });
    expect(count(second, 'finished')).toBe(131_072 - 80);
    // What the dock had brought is not read again.
    expect(bench.drive.counters.reads - readsBefore).toBeLessThan(131_072 / 128 - 300);
    // The override is on record, and the drive is now the one that it says it is.
    const saved = await savedState(bench);
    expect(saved?.formerDrives).toMatchObject([{ model: 'USB DOCK', serial: 'DOCK0001' }]);
    expect(saved?.drive.serial).toBe('SIM-CASE-E');
  });

  test('the user’s word does not make up for another capacity', async () => {
    const bench = benchWith('case-e');
    await bench.run({ interruptAfter: 100 });
    const other = benchWith({ ...bench.drive.scenario, sectorCount: 262_144 });
    const files = bench.files;
    await files.rename('case.map', 'old.map');
    for (const name of ['case.map', 'case.img']) {
      const file = await other.files.open(name, { create: true });
      await file.write(await files.readAll(name === 'case.map' ? 'old.map' : name), 0);
      await file.close();
    }
    await expect(other.run({ sameDrive: true })).rejects.toMatchObject({ code: 'DRIVE_CHANGED' });
  });

  test('an adapter with another sector size: the map goes on by bytes', async () => {
    const bench = benchWith('case-e');
    const before = await bench.run({ interruptAfter: 500 });
    const { scenario } = bench.drive;
    // Contents follow from sector numbers, so a drive of large sectors holds other bytes; only the map counts.
    const large = benchWith({
      ...scenario,
      sectorBytes: 4096,
      sectorCount: scenario.sectorCount / 8,
      faults: [],
    });
    for (const name of ['case.map', 'case.img']) {
      const file = await large.files.open(name, { create: true });
      await file.write(await bench.files.readAll(name), 0);
      await file.close();
    }
    const finished = (await savedState(bench))!;
    expect(finished.drive.sectorBytes).toBe(512);
    const outcome = await large.run({ sameDrive: true });
    expect(outcome.end.how).toBe('finished');
    // What was found bad before stays so.
    const bad = count(before, 'bad-sector') / 8;
    expect(bad).toBeGreaterThan(0);
    expect(count(outcome, 'bad-sector')).toBe(bad);
    expect(count(outcome, 'finished')).toBe(scenario.sectorCount / 8 - bad);
    expect(large.drive.counters.reads).toBeLessThan(scenario.sectorCount / 8 / 128);
  });

  test('the lid is closed: reads stop, the heads unload, the rail stays, and the job resumes', async () => {
    const bench = benchWith('case-e');
    await expect(bench.run({ mutedAfter: 300 })).rejects.toMatchObject({ code: 'LINK_TIMEOUT' });
    const readsBefore = bench.drive.counters.reads;
    await bench.clock.advance(50 * 60_000);
    expect(bench.drive.counters.reads).toBe(readsBefore);
    expect(bench.imager.counters.steppedDown).toBe(3);
    expect(bench.drive.condition(bench.clock.now()).kind).toBe('ready');

    const second = await bench.run();
    expect(second.end.how).toBe('finished');
    const dead = deadSectors(bench.drive);
    expect(await falseClaims(bench, second, dead)).toEqual({ wrong: [], falselyBad: [] });
    expect(bench.drive.counters).toMatchObject({ powerOns: 1, emergencyUnloads: 0 });
    expect(bench.drive.counters.reads - readsBefore).toBeLessThan(131_072 / 128 - 150);
  });
});
