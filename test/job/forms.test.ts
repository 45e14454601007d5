import { describe, expect, test } from 'vitest';
import { patternSector } from '../../hardware-sim/media.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { loadCheckpoint } from '../../src/image/checkpoint.js';
import type { FileLayer } from '../../src/image/file-layer.js';
import type { ImageForm, TargetIdentity } from '../../src/image/image-form.js';
import { loadJournal } from '../../src/image/journal.js';
import { openStored } from '../../src/image/split-file.js';
import { casePaths, findCase, noteFill, recallState } from '../../src/job/case.js';
import { checkEventLog, replayEventLog } from '../../src/job/replay.js';
import type { RunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import type { Pass } from '../../src/plan/pass.js';
import { crashingFiles, randomOf } from '../image/crashing-files.js';
import { memoryFiles } from '../image/memory-files.js';
import { imageInWorld } from './world.js';

const sectorBytes = 512;
const sectorCount = 4000;
const scenario: ScenarioInput = {
  seed: 8,
  sectorCount,
  mechanics: { overheadMs: 200, spinUpMs: 500 },
  faults: [
    { kind: 'bad', lba: 1900, count: 8, errorMs: 300 },
    { kind: 'hang', lba: 3304, count: 8, until: 'power-cycle' },
  ],
};
const edit = (rows: readonly Pass[]) =>
  rows.map((row) => ({ ...row, readCount: Math.min(row.readCount, 64), slowMs: 0 }));

const split: ImageForm = { kind: 'split', partBytes: sectorBytes * 1300 };
const target: TargetIdentity = {
  model: 'WDC WD10',
  serial: 'WD-1',
  sizeBytes: sectorCount * sectorBytes,
  sectorBytes: 512,
};
const targetOf = (change: Partial<TargetIdentity> = {}): ImageForm => ({
  kind: 'target',
  target: { ...target, ...change },
});
const old = (bytes: number) => Buffer.alloc(bytes, 'what was on the target before');

/** LBAs that the map calls finished and that are not there. */
async function falseClaims(files: FileLayer, map: RunMap): Promise<number[]> {
  const wrong: number[] = [];
  const isThere = (await files.exists('case.img')) || (await files.exists('case.img.001'));
  if (!isThere) return map.countOf(statuses.finished) > 0 ? [-1] : [];
  const file = await openStored(files, 'case.img', { readOnly: true });
  const sector = new Uint8Array(sectorBytes);
  for (let lba = 0; lba < map.size; lba++) {
    if (map.valueAt(lba) !== statuses.finished) continue;
    await file.read(sector, lba * sectorBytes);
    if (Buffer.compare(sector, patternSector(scenario.seed!, lba, sectorBytes)) !== 0)
      wrong.push(lba);
  }
  return wrong;
}

async function put(files: FileLayer, path: string, content: Uint8Array): Promise<void> {
  const file = await files.open(path, { create: true });
  await file.write(content, 0);
  await file.sync();
  await files.syncDirectory(path);
}

describe.each<[string, ImageForm]>([
  ['in parts', split],
  ['on a target', targetOf()],
])('an image %s', (_what, form) => {
  async function disk(seed: number) {
    const files = crashingFiles(randomOf(seed));
    if (form.kind === 'target') await put(files, 'case.img', old(target.sizeBytes));
    return files;
  }
  /** One run of the job; undefined when the power failed. */
  async function live(files: ReturnType<typeof crashingFiles>, given: ImageForm | undefined) {
    try {
      return await imageInWorld(scenario, { files, edit, ...(given && { form: given }) });
    } catch (error) {
      if (!files.crashed) throw error;
      return undefined;
    }
  }

  test('claims nothing false wherever the power fails, and is whole in the end', async () => {
    const whole = await disk(0);
    const first = whole.operations;
    await live(whole, form);
    const operations = whole.operations - first;
    expect(operations).toBeGreaterThan(30);
    const crashes = 14;
    for (let n = 1; n <= crashes; n++) {
      const crashAt = Math.floor((n * operations) / (crashes + 1));
      const replay = `seed ${n}, crash at operation ${crashAt} of ${operations}`;
      const files = await disk(n);
      files.crashAt(files.operations + crashAt);
      expect(await live(files, form), replay).toBeUndefined();
      const after = files.reboot();
      const recalled = await recallState(after, 'case.map');
      if (recalled) expect(await falseClaims(after, recalled.state.plan.map), replay).toEqual([]);
      // Parts are known from the map; a target is named each time. A map that never came to be knows nothing.
      const isKnown = form.kind === 'split' && recalled !== undefined;
      const outcome = await live(after, isKnown ? undefined : form);
      expect(outcome?.end.how, replay).toBe('finished');
      const { map } = outcome!.state.plan;
      expect(map.countOf(statuses.finished), replay).toBe(sectorCount - 16);
      expect(await falseClaims(after, map), replay).toEqual([]);
    }
  });

  test('made in the opening alone when the power fails there', async () => {
    for (let crashAt = 1; crashAt <= 24; crashAt++) {
      const files = await disk(crashAt);
      files.crashAt(files.operations + crashAt);
      await live(files, form);
      const outcome = await imageInWorld(scenario, {
        files: files.reboot(),
        edit,
        form,
        interruptAfter: 2,
      });
      expect(outcome.end.how, `crash at ${crashAt}`).toBe('interrupted');
    }
  });
});

describe('the form of a case', () => {
  async function begun(form: ImageForm | undefined) {
    const files = memoryFiles();
    if (form?.kind === 'target') files.put('case.img', old(form.target.sizeBytes));
    await imageInWorld(scenario, { files, edit, interruptAfter: 5, ...(form && { form }) });
    return files;
  }
  const again = (files: FileLayer, form: ImageForm | undefined) =>
    imageInWorld(scenario, { files, edit, interruptAfter: 9, ...(form && { form }) });

  test.each<[string, ImageForm | undefined, ImageForm | undefined, RegExp]>([
    ['one file', undefined, split, /belongs to an image in one file, not to an image in parts/],
    ['parts', split, { ...split, partBytes: 1024 * 512 }, /in parts of 665600 bytes .*not to/],
    ['a target', targetOf(), undefined, /belongs to the target WDC WD10 WD-1 of 2048000 bytes/],
    [
      'a target',
      targetOf(),
      targetOf({ serial: 'WD-2' }),
      /WD-1 of .*not to the target WDC WD10 WD-2/,
    ],
    ['a target', targetOf(), targetOf({ sizeBytes: 9e9 }), /of 2048000 bytes, not to/],
  ])('stays %s', async (_what, before, after, why) => {
    const files = await begun(before);
    await expect(again(files, after)).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(why),
    });
  });

  test('in parts is known when another program has had the map', async () => {
    const files = await begun(split);
    const text = Buffer.from(files.content('case.map')).toString('latin1');
    files.put('case.map', text.replaceAll(/^#.*\n/gm, ''));
    const { state } = await again(files, undefined);
    expect(await falseClaims(files, state.plan.map)).toEqual([]);
    expect(files.paths()).not.toContain('case.img');
    expect(files.content('case.img.001').length).toBe(split.kind === 'split' ? split.partBytes : 0);
  });

  test('in parts: their map does not go with one file, nor with none', async () => {
    const files = await begun(split);
    const paths = casePaths('case.img');
    await files.remove('case.img.001');
    // It is missed by its name when the parts are opened.
    await expect(again(files, undefined)).rejects.toThrow(/case\.img\.001 is missing/);
    for (const number of [2, 3, 4]) await files.remove(`case.img.00${number}`);
    await expect(findCase(files, paths, false)).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' });
    const other = memoryFiles();
    other.put('case.img.001', new Uint8Array(100));
    await expect(findCase(other, paths, false)).rejects.toMatchObject({ code: 'IMAGE_EXISTS' });
  });
});

describe('a target that is too small', () => {
  const held = 1500;
  const small = targetOf({ sizeBytes: held * sectorBytes + 100 });

  test('gets what fits; the rest stays non-tried, now and at a resume', async () => {
    const files = memoryFiles();
    files.put('case.img', old(held * sectorBytes + 100));
    const first = await imageInWorld(scenario, { files, edit, form: small, interruptAfter: 4 });
    expect(first.end.how).toBe('interrupted');
    const { state, end } = await imageInWorld(scenario, { files, edit, form: small });
    expect(end.how).toBe('finished');
    const { map } = state.plan;
    expect([...map.runs()].map(({ lba, count, value }) => [lba, count, value])).toEqual([
      [0, held, statuses.finished],
      [held, sectorCount - held, statuses['non-tried']],
    ]);
    expect(await falseClaims(files, map)).toEqual([]);
    // What is less than a sector is left as it was.
    const image = files.content('case.img');
    expect(image.subarray(-100)).toEqual(new Uint8Array(old(image.length).subarray(-100)));
  });

  test('is not believed to hold more than it can', async () => {
    const files = memoryFiles();
    files.put('case.img', old(held * sectorBytes));
    const claimed = 1600 * sectorBytes;
    const rest = sectorCount * sectorBytes - claimed;
    files.put('case.map', `0x0 ? 1\n0 ${claimed} +\n${claimed} ${rest} ?\n`);
    await expect(imageInWorld(scenario, { files, edit, form: small })).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
    });
  });
});

describe('the record of a fill', () => {
  const now = { version: 'test', nowMs: 5, wallMs: Date.UTC(2026, 10, 22) };
  const paths = casePaths('case.img');

  async function logLines(files: FileLayer): Promise<Record<string, unknown>[]> {
    const text = Buffer.from(await files.readAll(paths.events)).toString();
    return text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  }

  test('stands in the event log, with what only the journal had after a power cut', async () => {
    let taken = 0;
    for (const crashAt of [40, 55, 70, 85, 100]) {
      const crashing = crashingFiles(randomOf(crashAt));
      crashing.crashAt(crashAt);
      await imageInWorld(scenario, { files: crashing, edit }).catch(() => undefined);
      const files = crashing.reboot();
      const before = await recallState(files, paths.map);
      if (!before) continue;
      const linesBefore = (await replayEventLog(files, paths.events))!.report.last!.n + 1;
      expect(await noteFill(files, paths, { unread: 'zero' }, now)).toBe(true);
      const lines = await logLines(files);
      taken += lines.length - linesBefore - 1;
      expect(lines.at(-1)).toMatchObject({ kind: 'filled', unread: 'zero', ms: 5 });
      expect((await loadJournal(files, paths.journal))?.records).toEqual([]);
      expect(await badFindings(files)).toEqual([]);
      const replayed = (await replayEventLog(files, paths.events))!.replay.state!;
      expect(replayed.fills).toEqual([{ unread: 'zero' }]);
      expect([...replayed.plan.map.runs()]).toEqual([...before.state.plan.map.runs()]);
      // The next run goes on with what the lines give, and says nothing twice.
      const next = await imageInWorld(scenario, { files, edit });
      expect(next.end.how).toBe('finished');
      const run = (await logLines(files)).filter(({ kind }) => kind === 'run').at(-1);
      expect(run).toMatchObject({ state: 'as the lines before leave it' });
      expect(await badFindings(files)).toEqual([]);
    }
    expect(taken).toBeGreaterThan(0);
  });

  test('claims nothing false in the log when the power fails while it is written', async () => {
    const begun = async (seed: number) => {
      const files = crashingFiles(randomOf(seed));
      await imageInWorld(scenario, { files, edit, interruptAfter: 12 });
      return files;
    };
    const whole = await begun(1);
    const first = whole.operations;
    await noteFill(whole, paths, { unread: 'zero' }, now);
    const operations = whole.operations - first;
    for (let n = 1; n <= operations; n++) {
      const files = await begun(n);
      files.crashAt(files.operations + n);
      await noteFill(files, paths, { unread: 'zero' }, now).catch(() => undefined);
      const after = files.reboot();
      const next = await imageInWorld(scenario, { files: after, edit });
      expect(next.end.how, `crash at ${n}`).toBe('finished');
      expect(await badFindings(after), `crash at ${n}`).toEqual([]);
    }
  });

  test('leaves a log that is not of the case to the next run', async () => {
    const files = memoryFiles();
    await imageInWorld(scenario, { files, edit, interruptAfter: 12 });
    const text = Buffer.from(await files.readAll(paths.events)).toString();
    const edited = text.replace('"kind":"read"', '"kind":"reed"');
    files.put(paths.events, edited);
    expect(await noteFill(files, paths, { unread: 'zero' }, now)).toBe(true);
    expect(Buffer.from(files.content(paths.events)).toString()).toBe(edited);
    const { state } = await imageInWorld(scenario, { files, edit });
    expect(state.fills).toEqual([{ unread: 'zero' }]);
    expect(files.paths()).toContain('case.events.1.ndjson');
    expect(await badFindings(files)).toEqual([]);
  });

  async function badFindings(files: FileLayer) {
    const { findings } = await checkEventLog(files, paths);
    return findings.filter(({ isBad, kind }) => isBad || kind === 'departed');
  }

  test('changes no status, takes in the journal, and outlives the next run', async () => {
    const files = memoryFiles();
    const before = await imageInWorld(scenario, { files, edit, interruptAfter: 12 });
    expect(await noteFill(files, paths, { unread: 'zero', unreadable: 'marker' }, now)).toBe(true);
    const recalled = await recallState(files, 'case.map');
    expect([...recalled!.state.plan.map.runs()]).toEqual([...before.state.plan.map.runs()]);
    const comment = ' filled, not read: unread with zero, unreadable with marker';
    expect((await loadCheckpoint(files, 'case.map'))?.map.comments).toContain(comment);
    const notices: string[] = [];
    const { state } = await imageInWorld(scenario, {
      files,
      edit,
      opened: (rescue) => notices.push(...rescue.notices),
    });
    expect(notices.join()).toContain('gaps of this image were filled');
    expect(state.fills).toEqual([{ unread: 'zero', unreadable: 'marker' }]);
    expect((await loadCheckpoint(files, 'case.map'))?.map.comments).toContain(comment);
    expect(await falseClaims(files, state.plan.map)).toEqual([]);
  });

  test('has no place in a map of another program', async () => {
    const files = memoryFiles();
    files.put('case.map', '0x0 ? 1\n0x0 0x8000 +\n');
    const before = Buffer.from(files.content('case.map'));
    expect(await noteFill(files, casePaths('case.img'), { unread: 'zero' }, now)).toBe(false);
    expect(Buffer.from(files.content('case.map'))).toEqual(before);
  });
});
