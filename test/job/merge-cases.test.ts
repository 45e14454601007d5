import { describe, expect, test } from 'vitest';
import { realClock } from '../../src/clock.js';
import type { DriveIdentity } from '../../src/drive/drive.js';
import { loadCheckpoint, saveCheckpoint } from '../../src/image/checkpoint.js';
import type { FileLayer } from '../../src/image/file-layer.js';
import { openCase } from '../../src/job/case.js';
import { casePaths, findCase, recallState } from '../../src/job/case-files.js';
import { type MergeCasesOptions, mergeCases, mergingPath } from '../../src/job/merge-cases.js';
import { snapshotOf } from '../../src/job/snapshot.js';
import { createJobState } from '../../src/job/state.js';
import type { Extent } from '../../src/map/extent.js';
import { createRunMap } from '../../src/map/run-map.js';
import { type Status, statuses } from '../../src/map/status.js';
import { createPlanState } from '../../src/plan/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import { crashingFiles, randomOf } from '../image/crashing-files.js';
import { type MemoryFiles, memoryFiles } from '../image/memory-files.js';

const drive: DriveIdentity = {
  model: 'ST1000',
  serial: 'Z1',
  firmware: 'CC1',
  sectorCount: 64,
  sectorBytes: 512,
  physicalSectorBytes: 4096,
};
const clock = realClock();
const none: Extent = { lba: 0, count: 0 };

interface Made {
  readonly identity?: DriveIdentity;
  readonly finished?: Extent;
  readonly bad?: Extent;
  /** Every byte of the image. */
  readonly fill?: number;
  readonly unstable?: Extent;
}

/** A case as a job leaves it. */
async function makeCase(files: FileLayer, name: string, made: Made = {}): Promise<void> {
  const { identity = drive, finished = none, bad = none, fill = 0x11, unstable } = made;
  const { sectorCount, sectorBytes } = identity;
  const paths = casePaths(`${name}.img`);
  const map = createRunMap(sectorCount);
  if (finished.count > 0) map.set(finished, statuses.finished);
  if (bad.count > 0) map.set(bad, statuses['bad-sector']);
  const options = { sectorCount, sectorBytes, physicalCount: 1, passes: [], map };
  const state = createJobState(createPlanState(options), troublePolicies.hdd);
  state.totals.reads = 10;
  if (unstable) state.compare.unstable.set(unstable, 1);
  const image = await files.open(paths.image, { create: true });
  await image.truncate(sectorCount * sectorBytes);
  const data = new Uint8Array(finished.count * sectorBytes).fill(fill);
  if (data.length > 0) await image.write(data, finished.lba * sectorBytes);
  await image.sync();
  await files.syncDirectory(paths.image);
  await saveCheckpoint(files, paths.map, {
    ...{ number: 1, map, sectorBytes, version: '0.0.0' },
    ...{ currentPosition: 0, currentStatus: '?', currentPass: 1 },
    state: snapshotOf(state, identity, 'hdd'),
  });
}

function options(names: readonly string[], more: Partial<MergeCasesOptions> = {}) {
  return {
    inputs: names.map((name) => ({ image: `${name}.img`, map: `${name}.map` })),
    out: casePaths('out.img'),
    ...{ majority: false, sameDrive: false, force: false, sectorBytes: 512 },
    ...{ version: '0.0.0', clock },
    ...more,
  } satisfies MergeCasesOptions;
}

async function statusesOf(files: FileLayer): Promise<Status[]> {
  const { state } = (await recallState(files, 'out.map'))!;
  const names = Object.keys(statuses) as Status[];
  return Array.from(
    { length: state.plan.map.size },
    (_, lba) => names[state.plan.map.valueAt(lba)]!,
  );
}

async function twoAttempts(): Promise<MemoryFiles> {
  const files = memoryFiles();
  await makeCase(files, 'a', { finished: { lba: 0, count: 40 }, unstable: { lba: 3, count: 2 } });
  await makeCase(files, 'b', { finished: { lba: 30, count: 30 }, bad: { lba: 60, count: 2 } });
  return files;
}

describe('cases of one drive', () => {
  test('become a case that a job goes on with', async () => {
    const files = await twoAttempts();
    const { conflicts, drive: named } = await mergeCases(files, options(['a', 'b']));
    expect(conflicts.sectors).toBe(0);
    expect(named).toEqual(drive);
    const found = await statusesOf(files);
    expect(found.slice(0, 60).every((status) => status === 'finished')).toBe(true);
    expect(found.slice(60)).toEqual(['bad-sector', 'bad-sector', 'non-tried', 'non-tried']);
    expect(
      files
        .content('out.img')
        .subarray(0, 60 * 512)
        .every((byte) => byte === 0x11),
    ).toBe(true);
    expect(files.paths()).not.toContain(mergingPath('out.img'));
    const { state } = (await recallState(files, 'out.map'))!;
    expect(state.totals.reads).toBe(20);
    expect(state.compare.unstable.valueAt(4)).toBe(1);
    expect(state.merged?.images.map(({ image }) => image)).toEqual(['a.img', 'b.img']);
    const rescue = await openCase({
      found: await findCase(files, casePaths('out.img'), false),
      ...{ drive, driveKind: 'hdd', passes: [], force: false, version: '0.0.0', clock },
    });
    expect(rescue.resumed).toBe(true);
    expect(rescue.state.plan.map.countOf(statuses.finished)).toBe(60);
    expect(rescue.state.merged?.conflicts).toBe(0);
    await rescue.close();
    await expect(
      openCase({
        found: await findCase(files, casePaths('out.img'), false),
        ...{ driveKind: 'hdd', passes: [], force: false, version: '0.0.0', clock },
        drive: { ...drive, serial: 'Z2' },
      }),
    ).rejects.toThrow(/another drive answers/);
  });

  test('conflicts are listed and claimed by nobody, whatever the image has', async () => {
    const files = await twoAttempts();
    await makeCase(files, 'b', { finished: { lba: 30, count: 30 }, fill: 0x22 });
    const { conflicts } = await mergeCases(files, options(['a', 'b']));
    expect(conflicts).toMatchObject({ extents: 1, sectors: 10, unresolved: 10 });
    expect((await statusesOf(files)).slice(29, 41)).toEqual([
      'finished',
      ...Array.from({ length: 10 }, () => 'non-tried'),
      'finished',
    ]);
    const held = files.content('out.img').subarray(30 * 512, 40 * 512);
    expect(held.every((byte) => byte === 0)).toBe(true);
    const lines = Buffer.from(files.content('out.conflicts.csv')).toString().trim().split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[0]).toBe('first_lba,last_lba,image,sha256,first_bytes,taken');
    expect(lines[1]).toMatch(/^30,39,a\.img,[0-9a-f]{64},(11){16},$/);
    expect(lines[2]).toMatch(/^30,39,b\.img,[0-9a-f]{64},(22){16},$/);
  });

  test('a rule that was given decides, and the list and the map say which', async () => {
    const files = await twoAttempts();
    await makeCase(files, 'b', { finished: { lba: 30, count: 30 }, fill: 0x22 });
    const { conflicts } = await mergeCases(files, options(['a', 'b'], { prefer: 1 }));
    expect(conflicts).toMatchObject({ sectors: 10, byPreference: 10, unresolved: 0 });
    expect(files.content('out.img')[30 * 512]).toBe(0x22);
    const list = Buffer.from(files.content('out.conflicts.csv')).toString();
    expect(list).toMatch(/b\.img,[0-9a-f]+,[0-9a-f]+,prefer$/m);
    const { state } = (await recallState(files, 'out.map'))!;
    expect(state.merged).toMatchObject({ prefer: 'b.img', conflicts: 10, unresolved: 0 });
  });

  test('another drive is refused, unless the user says that it is the same', async () => {
    const files = await twoAttempts();
    const identity = { ...drive, model: 'USB bridge', serial: '0001' };
    await makeCase(files, 'b', { identity, finished: { lba: 30, count: 30 } });
    await expect(mergeCases(files, options(['a', 'b']))).rejects.toThrow(
      /a\.img is of ST1000 Z1, b\.img of USB bridge 0001; add --same-drive/,
    );
    expect(files.paths()).not.toContain('out.img');
    await mergeCases(files, options(['a', 'b'], { sameDrive: true }));
    const { state } = (await recallState(files, 'out.map'))!;
    expect(state.formerDrives).toEqual([identity]);
  });

  test('another size is refused; by the user’s word the smaller is its beginning', async () => {
    const files = await twoAttempts();
    const identity = { ...drive, sectorCount: 32 };
    await makeCase(files, 'b', { identity, finished: { lba: 0, count: 32 } });
    await expect(mergeCases(files, options(['a', 'b']))).rejects.toThrow(
      /a\.map is about 32768 bytes, b\.map about 16384/,
    );
    const merged = await mergeCases(files, options(['b', 'a'], { sameDrive: true }));
    expect(merged.drive).toEqual(drive);
    expect(merged.sizeBytes).toBe(32768);
  });

  test('sectors of 4096 and of 512 bytes: the smaller ones count', async () => {
    const files = await twoAttempts();
    const identity = { ...drive, sectorCount: 8, sectorBytes: 4096 };
    await makeCase(files, 'b', { identity, finished: { lba: 4, count: 3 } });
    const merged = await mergeCases(files, options(['b', 'a']));
    expect(merged).toMatchObject({ sectorBytes: 512, drive });
    const { state } = (await recallState(files, 'out.map'))!;
    expect(state.plan.map.countOf(statuses.finished)).toBe(56);
    expect(state.formerDrives).toEqual([identity]);
  });

  test('maps of other programs: the result is a plain map', async () => {
    const files = memoryFiles();
    for (const name of ['a', 'b']) files.put(`${name}.img`, new Uint8Array(5000).fill(3));
    files.put('a.map', '0x0 ? 1\n0x0 0x800 +\n0x800 0xB88 /\n');
    files.put('b.map', '0x0 ? 1\n0x0 0x1000 *\n0x1000 0x388 +\n');
    const { drive: named } = await mergeCases(files, options(['a', 'b']));
    expect(named).toBeUndefined();
    const saved = (await loadCheckpoint(files, 'out.map'))!;
    expect(saved.foreign).toBe(true);
    expect([...saved.map.starts]).toEqual([0, 0x800, 0x1000]);
    expect([...saved.map.codes]).toEqual([statuses.finished, 2, statuses.finished]);
  });

  test.each([
    ['a gap', '0x0 ? 1\n0x0 0x200 +\n0x400 0x200 +\n', /b\.map:3: .*gap/],
    ['no status line', 'hello\n', /b\.map:1/],
    [
      'a claim behind the end of the image',
      '0x0 ? 1\n0x0 0x9000 +\n',
      /b\.map calls bytes up to 36864 finished, but b\.img has 32768/,
    ],
    [
      'a position above 2^53',
      '0x0 ? 1\n0x0 0x40000000000000 ?\n0x40000000000000 0x200 -\n',
      /above 2\^53/,
    ],
    ['nothing at all', '0x0 ? 1\n', /is about 32768 bytes, b\.map about 0/],
  ])('a hostile map is refused: %s', async (_, text, message) => {
    const files = await twoAttempts();
    files.put('b.map', text);
    await expect(mergeCases(files, options(['a', 'b']))).rejects.toThrow(message);
    expect(files.paths().filter((path) => path.startsWith('out'))).toEqual([]);
  });

  test('a map that was edited is refused, unless forced', async () => {
    const files = await twoAttempts();
    const text = Buffer.from(files.content('b.map')).toString();
    files.put(
      'b.map',
      text.replace(/^0x0000F000 .*$/m, (line) => line.replace(/.$/, '?')).concat('\n# edited\n'),
    );
    await expect(mergeCases(files, options(['a', 'b']))).rejects.toThrow(
      /not as lastspin wrote it/,
    );
    await mergeCases(files, options(['a', 'b'], { force: true }));
  });

  test('an existing case is never replaced, but what a merge left is, when forced', async () => {
    const files = await twoAttempts();
    await makeCase(files, 'out', { finished: { lba: 0, count: 64 } });
    const before = files.content('out.map');
    await expect(mergeCases(files, options(['a', 'b']))).rejects.toThrow(/out\.img exists/);
    await expect(mergeCases(files, options(['a', 'b'], { force: true }))).rejects.toThrow(
      /is not what a merge left/,
    );
    expect(files.content('out.map')).toEqual(before);
    for (const path of ['out.img', 'out.map']) await files.remove(path);
    await mergeCases(files, options(['a', 'b']));
    await expect(mergeCases(files, options(['a', 'b']))).rejects.toThrow(/out\.img exists/);
    await mergeCases(files, options(['a', 'b'], { force: true }));
    for (const name of ['out.journal', 'out.events.ndjson', 'out.versions', 'out.report.txt']) {
      files.put(name, 'a job has gone on');
      await expect(mergeCases(files, options(['a', 'b'], { force: true }))).rejects.toThrow(
        /not what/,
      );
      await files.remove(name);
    }
    files.put('fresh.events.ndjson', 'what is left of a case');
    const out = casePaths('fresh.img');
    await expect(mergeCases(files, options(['a', 'b'], { out }))).rejects.toThrow(
      /fresh\.events\.ndjson exists/,
    );
  });

  test('a full disk: said before it begins, or nothing is left', async () => {
    const files = await twoAttempts();
    files.setCapacity(1e6);
    const usedBytes = 1e6 - (await files.freeBytes('out.img'));
    files.setCapacity(usedBytes + 20_000);
    await expect(mergeCases(files, options(['a', 'b']))).rejects.toThrow(/no room for out\.img/);
    await expect(mergeCases(files, options(['a', 'b'], { force: true }))).rejects.toMatchObject({
      code: 'IMAGE_SPACE',
    });
    expect(files.paths().filter((path) => path.startsWith('out'))).toEqual([]);
  });

  test('an image that cannot be synced, or an interrupt: nothing is left', async () => {
    const files = await twoAttempts();
    files.failNext('sync', new Error('the disk is gone'));
    await expect(mergeCases(files, options(['a', 'b']))).rejects.toThrow('the disk is gone');
    const signal = AbortSignal.abort(new Error('interrupted'));
    await expect(mergeCases(files, options(['a', 'b'], { signal }))).rejects.toThrow('interrupted');
    expect(files.paths().filter((path) => path.startsWith('out'))).toEqual([]);
  });
});

/** Power fails at every single operation of a merge, also of one over an earlier one with another rule: the map
 * that is there then, if any, claims what the image beside it holds. */
test('a crash at any moment leaves no map that lies', async () => {
  const begin = async (seed: number) => {
    const files = crashingFiles(randomOf(seed));
    await makeCase(files, 'a', { finished: { lba: 0, count: 40 }, fill: 1 });
    await makeCase(files, 'b', { finished: { lba: 30, count: 34 }, fill: 2 });
    await mergeCases(files, options(['a', 'b'], { prefer: 0 }));
    return files;
  };
  let [whole, partial] = [0, 0];
  let isOver = false;
  for (let seed = 0; !isOver; seed++) {
    const files = await begin(seed);
    files.crashAt(files.operations + 1 + Math.floor(seed / 4));
    const again = options(['a', 'b'], { prefer: 1, force: true });
    isOver = await mergeCases(files, again).then(
      () => true,
      (error: unknown) => {
        if (!files.crashed) throw error;
        return false;
      },
    );
    const found = files.reboot();
    const recalled = await recallState(found, 'out.map');
    if (!recalled) partial += 1;
    else whole += 1;
    const rule = recalled?.state.merged?.prefer;
    const image = found.content('out.img');
    for (const { lba, count, value } of recalled?.state.plan.map.runs() ?? []) {
      if (value !== statuses.finished) continue;
      for (let sector = lba; sector < lba + count; sector++) {
        const bytes = image!.subarray(sector * 512, (sector + 1) * 512);
        const inA = sector < 40 && (sector < 30 || rule === 'a.img');
        expect(
          bytes.every((byte) => byte === (inA ? 1 : 2)),
          `crash ${seed}, LBA ${sector}`,
        ).toBe(true);
      }
    }
  }
  expect(whole).toBeGreaterThan(20);
  expect(partial).toBeGreaterThan(5);
});
