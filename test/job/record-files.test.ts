import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { realClock } from '../../src/clock.js';
import { loadCheckpoint, saveCheckpoint } from '../../src/image/checkpoint.js';
import type { FileLayer } from '../../src/image/file-layer.js';
import { createJournal, loadJournal } from '../../src/image/journal.js';
import { type Case, casePaths } from '../../src/job/case.js';
import { createControl } from '../../src/job/control.js';
import type { JobEvent } from '../../src/job/events.js';
import { mergeCases } from '../../src/job/merge-cases.js';
import { bodyOf, eventsOf, type RecordedEvent } from '../../src/job/recorded.js';
import { checkEventLog, replayEventLog } from '../../src/job/replay.js';
import { snapshotOf } from '../../src/job/snapshot.js';
import { sectorMapOf } from '../../src/map/mapfile.js';
import type { Pass } from '../../src/plan/pass.js';
import { type CrashingFiles, crashingFiles, randomOf } from '../image/crashing-files.js';
import { type MemoryFiles, memoryFiles } from '../image/memory-files.js';
import { falsehoods, imageInWorld, type Outcome, type WorldOptions } from './world.js';

const paths = casePaths('case.img');
const scenario: ScenarioInput = {
  seed: 3,
  sectorCount: 2400,
  mechanics: { overheadMs: 200, spinUpMs: 500 },
  faults: [
    { kind: 'bad', lba: 700, count: 3, errorMs: 300 },
    { kind: 'hang', lba: 1500, count: 1, until: 'power-cycle' },
  ],
};
const edit = (rows: readonly Pass[]) =>
  rows.map((row) => ({ ...row, readCount: Math.min(row.readCount, 32), slowMs: 0 }));

type Line = Record<string, unknown> & { n: number; kind: string };

async function linesOf(files: FileLayer): Promise<Line[]> {
  const text = Buffer.from(await files.readAll(paths.events)).toString();
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

/** The log is in order, and folds into what the job ended with. */
async function expectSound({ files, state }: Outcome, told = ''): Promise<void> {
  const check = await checkEventLog(files, paths);
  expect(
    check.findings.filter(({ kind }) => kind !== 'follows'),
    told,
  ).toEqual([]);
  const { replay } = (await replayEventLog(files, paths.events))!;
  expect([...replay.state!.plan.map.runs()], told).toEqual([...state.plan.map.runs()]);
  const snapshots = [replay.state!, state].map((each) => snapshotOf(each, replay.drive!, 'hdd'));
  expect(plain(snapshots[0]), told).toEqual(plain(snapshots[1]));
}

describe('a crash', () => {
  /** Events that the map file and its journal rest on, after the power came back. */
  async function durableEvents(files: CrashingFiles): Promise<RecordedEvent[]> {
    const saved = await loadCheckpoint(files, paths.map);
    const journal = await loadJournal(files, paths.journal);
    if (!saved || journal?.base !== saved.number) return [];
    return (journal?.records ?? []) as RecordedEvent[];
  }

  async function live(files: CrashingFiles, options: WorldOptions = {}) {
    try {
      return await imageInWorld(scenario, { files, edit, ...options });
    } catch (error) {
      if (!files.crashed) throw error;
      return undefined;
    }
  }

  test('at any write: the log then has every event that the map rests on, and no torn chain', async () => {
    const whole = crashingFiles(randomOf(0));
    await live(whole);
    const crashes = Number(process.env.CRASHES ?? 40);
    for (let n = 1; n <= crashes; n++) {
      // Every one of the first writes, which open the case, then spread over the job.
      const crashAt = n <= 20 ? n : Math.floor(((n - 20) * whole.operations) / (crashes - 19));
      const told = `crash at operation ${crashAt} of ${whole.operations}, seed ${n}`;
      const first = crashingFiles(randomOf(n));
      first.crashAt(crashAt);
      await live(first);
      const files = first.reboot();
      const durable = await durableEvents(files);
      const opened = ({ notices }: Case) =>
        expect(
          notices.filter((notice) => notice.includes('kept as')),
          told,
        ).toEqual([]);
      // Looked at where the next run has begun and read next to nothing: it mended the log before.
      const next = await live(files, { opened, interruptAfter: durable.length + 10 });
      const lines = new Map((await linesOf(files)).map((line) => [line.n, line]));
      for (const event of durable) {
        const { n: _n, hash: _hash, ...line } = lines.get(event.n as number) as Line;
        expect(line, told).toEqual(plain(bodyOf(event)));
      }
      await expectSound(next!, told);
    }
  });

  test('again and again: one chain from the first run to the end', async () => {
    const whole = crashingFiles(randomOf(0));
    await live(whole);
    for (let seed = 1; seed <= 4; seed++) {
      const random = randomOf(seed);
      let files = crashingFiles(random);
      let end: Outcome | undefined;
      while (!end) {
        files = files.reboot();
        files.crashAt(1 + Math.floor((random() * whole.operations) / 2));
        end = await live(files);
      }
      await expectSound(end, `seed ${seed}`);
      expect(await files.exists('case.events.1.ndjson')).toBe(false);
    }
  });
});

describe('what somebody changes while the job runs', () => {
  test('is folded in its place: rows, jumps, exclusions, a power cycle, and runs between', async () => {
    const files = memoryFiles();
    const control = createControl();
    const asks: [number, () => Promise<unknown>][] = [
      [5, () => control.request({ kind: 'tune', changes: { readCount: 16 } })],
      [9, () => control.request({ kind: 'jump', lba: 2000 })],
      [14, () => control.request({ kind: 'exclude', ranges: [{ lba: 100, count: 500 }] })],
      [18, () => control.request({ kind: 'power-cycle' })],
      [24, () => control.request({ kind: 'step-on' })],
    ];
    let reads = 0;
    const onEvent = (event: JobEvent) => {
      if (event.kind === 'read') reads += 1;
      if (asks[0] && reads >= asks[0][0]) void asks.shift()![1]();
    };
    const first = await imageInWorld(scenario, {
      files,
      edit,
      control,
      onEvent,
      interruptAfter: 30,
    });
    await expectSound(first);
    const kinds = (await linesOf(files)).map(({ kind }) => kind);
    for (const kind of ['rows-changed', 'jumped', 'excluded', 'stepped-on', 'power-cycled'])
      expect(kinds).toContain(kind);
    const { drive, elapsedMs: startMs } = first;
    await expectSound(await imageInWorld(scenario, { files, edit, drive, startMs }));
    // Other rows than before: the run begins with its whole state.
    const other = (rows: readonly Pass[]) => rows.slice(0, 3);
    const third = await imageInWorld(scenario, { files, edit: other, drive, startMs: 1e6 });
    await expectSound(third);
    expect((await linesOf(files)).map(({ kind }) => kind).filter((k) => k === 'run').length).toBe(
      3,
    );
  });

  test('a pause is folded in its place, hours of it, and one in which the run ended', async () => {
    const files = memoryFiles();
    const control = createControl();
    let later: ((delayMs: number, act: () => void) => void) | undefined;
    let interrupt = () => {};
    let pauses = 0;
    const asked = [6, 60];
    const options: WorldOptions = {
      ...{ files, edit, control },
      clocked: (clock) => {
        later = (delayMs, act) => void clock.after(delayMs, act);
      },
      interruptible: (act) => {
        interrupt = act;
      },
      onEvent(event, { totals }) {
        if (totals.reads >= (asked[0] ?? Number.POSITIVE_INFINITY)) {
          asked.shift();
          void control.request({ kind: 'pause' });
        }
        if (event.kind !== 'paused') return;
        pauses += 1;
        const then = pauses === 1 ? () => void control.request({ kind: 'resume' }) : interrupt;
        later?.(3 * 3_600_000, then);
      },
    };
    const first = await imageInWorld(scenario, options);
    expect(first.end.how).toBe('interrupted');
    expect(first.state.paused).toBe(true);
    await expectSound(first);
    const { replay } = (await replayEventLog(files, paths.events))!;
    expect(replay.state!.paused).toBe(true);
    const { drive, elapsedMs: startMs } = first;
    const second = await imageInWorld(scenario, { files, edit, drive, startMs });
    await expectSound(second);
    expect(second.end.how).toBe('finished');
    const told = (await linesOf(files)).filter(({ kind }) => /^(paused|resumed)$/.test(kind));
    expect(told.map(({ kind }) => kind)).toEqual(['paused', 'resumed', 'paused']);
    const [paused, resumed] = told as [Line, Line];
    expect(Number(resumed.ms) - Number(paused.ms)).toBeGreaterThanOrEqual(3 * 3_600_000);
    expect(Date.parse(String(resumed.at)) - Date.parse(String(paused.at))).toBeGreaterThanOrEqual(
      3 * 3_600_000,
    );
  });
});

describe('a case of a version without a log', () => {
  /** Map and journal as they were before events had numbers and a log: one read a record, nothing beside it. */
  async function makeOlder(files: FileLayer): Promise<number> {
    const saved = (await loadCheckpoint(files, paths.map))!;
    const { records } = (await loadJournal(files, paths.journal))!;
    const { log, caseData, image, ...older } = saved.state as Record<string, unknown>;
    const drive = older.drive as { sectorBytes: number; sectorCount: number };
    await saveCheckpoint(files, paths.map, {
      ...{ number: saved.number!, sectorBytes: drive.sectorBytes, version: '0.0.9' },
      map: sectorMapOf(saved.map, drive, paths.map),
      ...({ currentPosition: 0, currentStatus: '?', currentPass: 1 } as const),
      state: older,
    });
    const events = (records as RecordedEvent[]).flatMap(eventsOf);
    const journal = await createJournal(files, paths.journal, saved.number!);
    await journal.append(events);
    await journal.sync();
    await journal.close();
    await files.remove(paths.events);
    return events.length;
  }

  test('is read and gone on with, as exactly as one that has it', async () => {
    const whole = crashingFiles(randomOf(0));
    await imageInWorld(scenario, { files: whole, edit });
    const opened: unknown[] = [];
    const ends: Outcome[] = [];
    for (const isOlder of [false, true]) {
      const crashing = crashingFiles(randomOf(1));
      crashing.crashAt(Math.floor(whole.operations * 0.6));
      await expect(imageInWorld(scenario, { files: crashing, edit })).rejects.toThrow();
      const files = crashing.reboot();
      if (isOlder) expect(await makeOlder(files)).toBeGreaterThan(5);
      const look = (rescue: Case) => {
        const drive = { ...(rescue.state.formerDrives[0] ?? ({} as never)) };
        opened.push(plain(snapshotOf(rescue.state, drive, 'hdd')));
        opened.push([...rescue.state.plan.map.runs()]);
      };
      const end = await imageInWorld(scenario, { files, edit, opened: look });
      await expectSound(end, isOlder ? 'older' : 'as it is');
      ends.push(end);
      const [header] = await linesOf(files);
      if (isOlder) expect(header).toMatchObject({ why: 'the case had no event log' });
    }
    expect(opened[2]).toEqual(opened[0]);
    expect(opened[3]).toEqual(opened[1]);
    expect(ends[1]!.events.length).toBe(ends[0]!.events.length);
    const lost = (lba: number) => lba === 1500 || (lba >= 700 && lba < 703);
    expect(await falsehoods(ends[1]!, lost)).toEqual([]);
  });
});

test('a sample that is asked for again is on record: the log folds over such runs', async () => {
  const files = memoryFiles();
  const compared: number[] = [];
  const reads: number[] = [];
  for (const comparePercent of [30, 30, undefined, 60, undefined]) {
    const before = reads.at(-1) ?? 0;
    const options: WorldOptions = comparePercent === undefined ? {} : { comparePercent };
    // The sample of 60 % is interrupted, and goes on without being asked for.
    const interruptAfter = comparePercent === 60 ? before + 3 : 0;
    const last = await imageInWorld(scenario, { files, edit, ...options, interruptAfter });
    await expectSound(last, `run ${compared.length + 1}`);
    compared.push(last.state.compare.comparedCount);
    reads.push(last.state.totals.reads);
  }
  expect(compared[0]).toBeGreaterThan(0);
  expect(compared.slice(1, 3)).toEqual([compared[0], compared[0]]);
  // The second sample was read; the third run had nothing left to do.
  expect(reads[1]! - reads[0]!).toBeGreaterThan(2);
  expect(reads[2]! - reads[1]!).toBeLessThan(3);
  expect(compared[3]!).toBeLessThan(compared[4]!);
  expect(compared[4]!).toBeGreaterThan(compared[0]!);
});

describe('what a line says', () => {
  test('of a read that failed: row, attempt, rule, sense, limits, what is made of it; of a cycle: why', async () => {
    const files = memoryFiles();
    const caseData = { number: '2026/17', examiner: 'Zoë' };
    await imageInWorld(scenario, { files, edit, caseData, retries: 1 });
    const lines = await linesOf(files);
    expect(lines[0]).toMatchObject({ kind: 'log', format: 1, case: caseData, image: 'case.img' });
    expect(lines[1]).toMatchObject({
      kind: 'run',
      resumed: false,
      case: caseData,
      drive: { sectorCount: 2400 },
      driveKind: 'hdd',
      domain: { sectors: 2400, of: 2400 },
      counts: { 'non-tried': 2400, 'bad-sector': 0, finished: 0 },
    });
    const failed = lines.filter(({ outcome }) => outcome === 'fault' || outcome === 'timeout');
    for (const line of failed) {
      expect(line.at).toBe(
        new Date(Date.UTC(2026, 0, 1) + Number(line.ms)).toISOString().slice(0, 24),
      );
      if (line.role !== 'pass') continue;
      expect(line).toMatchObject({ row: expect.any(Number), rule: expect.any(String) });
      expect(line).toMatchObject({ next: expect.any(Number), elapsedMs: expect.any(Number) });
    }
    const bad = failed.filter(
      ({ lba, count }) => Number(lba) <= 700 && Number(lba) + Number(count) > 700,
    );
    expect(bad.map(({ attempt }) => attempt)).toEqual(bad.map((_, index) => index + 1));
    expect(bad.at(-1)).toMatchObject({ left: 'bad-sector', sense: { key: 3 } });
    expect(failed.find(({ outcome }) => outcome === 'timeout')).toMatchObject({
      timeoutMs: expect.any(Number),
    });
    const cycle = lines.find(({ kind }) => kind === 'power-cycled');
    expect(cycle).toMatchObject({
      why: expect.stringContaining('LBA 1'),
      attempt: 1,
      power: 'imager',
    });
    for (const kind of ['pass-ended', 'classified', 'trouble', 'blamed'])
      for (const line of lines.filter((each) => each.kind === kind))
        expect(line.why, JSON.stringify(line)).toMatch(/\w/);
    expect(lines.at(-1)).toMatchObject({
      kind: 'ended',
      counts: { 'non-tried': 0, 'bad-sector': 4, finished: 2396 },
    });
  });

  test('of every read: row, attempt, both clocks, latency; of one that failed the sense; in both runs', async () => {
    const files = memoryFiles();
    const first = await imageInWorld(scenario, { files, edit, retries: 1, interruptAfter: 30 });
    const { drive, elapsedMs: startMs } = first;
    const second = await imageInWorld(scenario, { files, edit, retries: 1, drive, startMs });
    const lines = await linesOf(files);
    for (const line of lines) {
      expect(line.ms, line.kind).toEqual(expect.any(Number));
      // The world's wall clock and the job's own go together.
      expect(Date.parse(String(line.at)) - Date.UTC(2026, 0, 1), line.kind).toBe(
        Math.trunc(Number(line.ms)),
      );
    }
    const reads = lines.filter(({ kind }) => kind === 'read') as unknown as (RecordedEvent &
      Extract<JobEvent, { kind: 'read' }>)[];
    const made = [...first.events, ...second.events].filter(({ kind }) => kind === 'read');
    expect(reads.flatMap(eventsOf)).toHaveLength(made.length);
    const failures = new Map<number, number>();
    for (const read of reads) {
      const { lba, count, goodCount, outcome, role, each } = read;
      if (outcome === 'not-attempted') continue;
      // A read that an interrupt cut short has no time of its own.
      if (outcome !== 'timeout') expect(read.elapsedMs, `LBA ${lba}`).toBeGreaterThan(0);
      if (each) expect(each.ms).toHaveLength(eventsOf(read).length);
      if (outcome === 'fault') expect(read.sense).toMatchObject({ key: 3, asc: 17, ascq: 0 });
      if (role !== 'pass') continue;
      expect(read.row).toBeGreaterThan(0);
      const sectors = Array.from({ length: count }, (_, n) => lba + n);
      const before = Math.max(...sectors.map((sector) => failures.get(sector) ?? 0));
      expect(read.attempt, `LBA ${lba}+${count}`).toBe(1 + before);
      if (outcome !== 'fault' && outcome !== 'timeout') continue;
      for (const sector of sectors.slice(goodCount))
        failures.set(sector, (failures.get(sector) ?? 0) + 1);
    }
    expect(Math.max(...failures.values())).toBeGreaterThan(1);
  });

  test('case data is kept over runs, and what changes is on record', async () => {
    const files = memoryFiles();
    const given = { number: '17', note: 'fell\nfrom a table' };
    await imageInWorld(scenario, { files, edit, caseData: given, interruptAfter: 5 });
    await imageInWorld(scenario, { files, edit, interruptAfter: 9 });
    await imageInWorld(scenario, { files, edit, caseData: { number: '18' }, interruptAfter: 12 });
    const runs = (await linesOf(files)).filter(({ kind }) => kind === 'run');
    expect(runs.map((run) => run.case)).toEqual([given, given, { ...given, number: '18' }]);
    expect(runs.map((run) => run.caseBefore)).toEqual([undefined, undefined, given]);
    expect((await checkEventLog(files, paths)).caseData).toEqual({ ...given, number: '18' });
  });
});

describe('a log that does not belong to the map, or is damaged', () => {
  const textOf = (files: MemoryFiles) => Buffer.from(files.content(paths.events)).toString();

  async function begun() {
    const files = memoryFiles();
    await imageInWorld(scenario, { files, edit, interruptAfter: 20 });
    return files;
  }

  /** Goes on, and says what it told. */
  async function goOn(files: MemoryFiles) {
    let notices: readonly string[] = [];
    const opened = (rescue: Case) => {
      notices = rescue.notices;
    };
    const outcome = await imageInWorld(scenario, { files, edit, opened, interruptAfter: 40 });
    return { outcome, notices: notices.join('\n') };
  }

  test.each([
    ['edited', (text: string) => text.replace('"outcome":"good"', '"outcome":"slow"')],
    ['cut', (text: string) => `${text.trimEnd().split('\n').slice(0, -1).join('\n')}\n`],
    ['holed', (text: string) => text.split('\n').toSpliced(3, 1).join('\n')],
  ])('%s: it is kept aside, said, and a new one begins with the whole state', async (_how, change) => {
    const files = await begun();
    const damaged = change(textOf(files));
    files.put(paths.events, damaged);
    const before = await checkEventLog(files, paths);
    expect(before.findings).toMatchObject([
      { kind: 'chain', isBad: true, line: expect.any(Number) },
    ]);
    const { outcome, notices } = await goOn(files);
    expect(notices).toMatch(/case\.events\.ndjson:\d+: .*kept as case\.events\.1\.ndjson/);
    expect(Buffer.from(files.content('case.events.1.ndjson')).toString()).toBe(damaged);
    const [header] = await linesOf(files);
    expect(header).toMatchObject({ why: expect.any(String), follows: 'case.events.1.ndjson' });
    await expectSound(outcome);
  });

  test('missing: a new one begins with the whole state and says why', async () => {
    const files = await begun();
    await files.remove(paths.events);
    expect((await checkEventLog(files, paths)).findings).toMatchObject([
      { kind: 'missing', isBad: true },
    ]);
    const { outcome } = await goOn(files);
    expect((await linesOf(files))[0]).toMatchObject({ why: 'the case had no event log' });
    await expectSound(outcome);
  });

  test('of a case that began as a merge: it says that it does not begin at nothing, and folds from there', async () => {
    const files = memoryFiles();
    for (const [name, interruptAfter] of [
      ['a', 40],
      ['b', 5],
    ] as const) {
      const { files: own } = await imageInWorld(scenario, { edit, interruptAfter });
      for (const extension of ['img', 'map', 'journal'])
        files.put(`${name}.${extension}`, await own.readAll(`case.${extension}`));
    }
    const { conflicts } = await mergeCases(files, {
      inputs: ['a', 'b'].map((name) => ({ image: `${name}.img`, map: `${name}.map` })),
      ...{ out: paths, majority: false, sameDrive: false, force: false, sectorBytes: 512 },
      ...{ version: '0.0.0', clock: realClock() },
    });
    expect(conflicts.sectors).toBe(0);
    const merge = 'the case began as a merge of a.img, b.img';
    expect((await checkEventLog(files, paths)).findings).toMatchObject([
      { kind: 'missing', isBad: false, text: expect.stringContaining(merge) },
    ]);
    await imageInWorld(scenario, { files, edit, interruptAfter: 12 });
    const last = await imageInWorld(scenario, { files, edit });
    expect((await linesOf(files))[0]).toMatchObject({ why: merge, merged: { conflicts: 0 } });
    const { findings } = await checkEventLog(files, paths);
    expect(findings).toMatchObject([
      { kind: 'follows', isBad: false, line: 1, text: expect.stringContaining(merge) },
    ]);
    await expectSound(last);
    // A log that went missing later is missing, merge or not.
    await files.remove(paths.events);
    expect((await checkEventLog(files, paths)).findings).toMatchObject([
      { kind: 'missing', isBad: true, text: expect.stringContaining('is missing') },
    ]);
  });

  test('another case of the same name is not gone on with', async () => {
    const files = await begun();
    for (const path of [paths.image, paths.map, paths.journal]) await files.remove(path);
    const { outcome, notices } = await goOn(files);
    expect(notices).toMatch(/of another case; it is kept as/);
    await expectSound(outcome);
  });

  test('a map that another program changed: its statuses are written down', async () => {
    const files = await begun();
    const text = Buffer.from(files.content(paths.map)).toString();
    files.put(paths.map, text.replace(/^# lastspin-checkpoint.*\n/m, '').replace('0x', '0x0'));
    const forced = await imageInWorld(scenario, { files, edit, interruptAfter: 12 }).catch(
      (error: unknown) => error,
    );
    expect(forced).toMatchObject({ code: 'MAP_INVALID' });
    files.put(paths.map, text.replace(/^#.*\n/gm, ''));
    const { outcome, notices } = await goOn(files);
    expect(notices).toMatch(/written by another program/);
    await expectSound(outcome);
  });

  test('lines that cannot be are said, not believed: another map, impossible numbers', async () => {
    const files = await begun();
    const lines = textOf(files).trimEnd().split('\n');
    const { createReplayer } = await import('../../src/job/replay.js');
    for (const lie of [
      '{"n":9,"at":"2026-01-01T00:00:00.000Z","ms":1,"kind":"classified","lba":-5,"count":1e9,"status":"finished"}',
      '{"n":9,"at":"2026-01-01T00:00:00.000Z","ms":1,"kind":"map","lba":0,"packed":"AAAA"}',
      '{"n":9,"at":"2026-01-01T00:00:00.000Z","ms":1,"kind":"run","drive":{}}',
      '{"n":9}',
      'null',
    ]) {
      const replayer = createReplayer();
      for (const line of [...lines, lie]) replayer.take(line);
      expect(replayer.finish().problem, lie).toMatchObject({ text: expect.any(String) });
    }
  });
});
