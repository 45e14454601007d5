import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { Drive, DriveIdentity } from '../../src/drive/drive.js';
import { isLastspinError } from '../../src/errors.js';
import { readHashList } from '../../src/image/hash-list.js';
import type { JobEvent } from '../../src/job/events.js';
import { parseMapFile } from '../../src/map/mapfile.js';
import { statuses } from '../../src/map/status.js';
import type { Pass } from '../../src/plan/pass.js';
import { type CrashingFiles, crashingFiles, randomOf } from '../image/crashing-files.js';
import { memoryFiles } from '../image/memory-files.js';
import { falsehoods, imageInWorld } from './world.js';

const sectorBytes = 512;
const segmentCount = 512;
const base: ScenarioInput = {
  seed: 7,
  sectorCount: 8 * segmentCount,
  physicalSectorBytes: 4096,
};
const none = () => false;

describe('another drive in the middle of a job', () => {
  /** What ends a hang brings another drive. */
  async function swappedBy(until: 'power-cycle' | 'hard-reset', other: Partial<DriveIdentity>) {
    const isCure = (event: JobEvent) =>
      until === 'power-cycle'
        ? event.kind === 'power-cycled'
        : event.kind === 'reset' && event.reset === 'hard';
    let isSwapped = false;
    let readsAfter = 0;
    const files = memoryFiles();
    const wrap = (drive: Drive): Drive => ({
      ...drive,
      async identify(signal) {
        const found = await drive.identify(signal);
        return found && isSwapped ? { ...found, ...other } : found;
      },
      read(request) {
        if (isSwapped) readsAfter += 1;
        return drive.read(request);
      },
    });
    const job = imageInWorld(
      { ...base, faults: [{ kind: 'hang', lba: 2000, count: 8, until }] },
      {
        files,
        wrap,
        onEvent(event) {
          isSwapped ||= isCure(event);
        },
      },
    );
    await expect(job).rejects.toSatisfy((error) => isLastspinError(error, 'DRIVE_CHANGED'));
    return { readsAfter, map: parseMapFile(files.content('case.map'), 'case.map') };
  }

  test.each([
    ['power-cycle', { serial: 'ANOTHER' }],
    ['power-cycle', { model: 'ANOTHER' }],
    ['power-cycle', { sectorCount: base.sectorCount! + 8 }],
    ['power-cycle', { sectorBytes: 4096, sectorCount: base.sectorCount! / 8 }],
    ['hard-reset', { serial: 'ANOTHER' }],
    ['hard-reset', { sectorBytes: 520 }],
  ] as const)('after a %s, as %o: refused unread, and the map is saved', async (until, other) => {
    const { readsAfter, map } = await swappedBy(until, other);
    expect(readsAfter).toBe(0);
    expect(map.codes).toContain(statuses.finished);
    expect(map.codes).not.toContain(statuses['bad-sector']);
  });
});

describe('an image that changed between two runs', () => {
  test('is read again where it changed, on record, and nowhere else', async () => {
    const files = memoryFiles();
    const first = await imageInWorld(base, { files, segmentCount });
    const image = files.content('case.img');
    const atByte = 3 * segmentCount * sectorBytes + 9;
    image[atByte]! ^= 1;
    files.put('case.img', image);
    const second = await imageInWorld(base, { files, segmentCount });
    expect(await falsehoods(second, none)).toEqual([]);
    const log = Buffer.from(files.content('case.events.ndjson')).toString().trim().split('\n');
    const lines = log.map((line) => JSON.parse(line) as { kind: string });
    const changed = lines.find(({ kind }) => kind === 'image-changed');
    expect(changed).toMatchObject({ extents: [3 * segmentCount, segmentCount] });
    const reads = second.events.flatMap((event) => (event.kind === 'read' ? [event] : []));
    expect(reads.reduce((sum, { count }) => sum + count, 0)).toBe(segmentCount);
    expect(first.state.totals.reads).toBeGreaterThan(reads.length);
  });

  test('keeps its old bytes where it cannot be read again', async () => {
    const files = memoryFiles();
    await imageInWorld(base, { files, segmentCount });
    const image = files.content('case.img');
    image[0]! ^= 1;
    files.put('case.img', image);
    const lost = { kind: 'bad', lba: 0, count: 64, errorMs: 50 } as const;
    const second = await imageInWorld({ ...base, faults: [lost] }, { files, segmentCount });
    expect(await falsehoods(second, (lba) => lba < 64)).toEqual([]);
    const kept = files.content('case.img').subarray(0, 64 * sectorBytes);
    expect(Buffer.compare(kept, image.subarray(0, 64 * sectorBytes))).toBe(0);
  });
});

/** Every hash of the list against what the disk has. */
async function refuseFalseHashes(files: CrashingFiles, note: string): Promise<number> {
  if (!(await files.exists('case.hashes.csv'))) return 0;
  const image = files.content('case.img') ?? new Uint8Array(0);
  let hashed = 0;
  for await (const { lba, count, sha256 } of readHashList(files, 'case.hashes.csv')) {
    if (sha256 === undefined) continue;
    hashed += 1;
    const held = image.subarray(lba * sectorBytes, (lba + count) * sectorBytes);
    expect(createHash('sha256').update(held).digest('hex'), `${note}, LBA ${lba}`).toBe(sha256);
  }
  return hashed;
}

test('no crash leaves a hash of what the image does not hold, and none is mistaken for a change', async () => {
  const scenario: ScenarioInput = {
    ...base,
    // A second holds three reads, and the 30 s between two checkpoints most of them.
    mechanics: { overheadMs: 300, spinUpMs: 500 },
    faults: [{ kind: 'bad', lba: 704, count: 8, errorMs: 300 }],
  };
  const edit = (rows: readonly Pass[]) =>
    rows.map((row) => ({ ...row, readCount: Math.min(row.readCount, 32), slowMs: 0 }));
  const options = { segmentCount, edit };
  const undisturbed = crashingFiles(randomOf(0));
  await imageInWorld(scenario, { ...options, files: undisturbed });
  expect(await refuseFalseHashes(undisturbed, 'undisturbed')).toBe(9);
  const lost = (lba: number) => lba >= 704 && lba < 712;
  let hashed = 0;
  const crashes = 16;
  for (let n = 1; n <= crashes; n++) {
    const crashAt = Math.floor((n * undisturbed.operations) / (crashes + 1));
    const note = `seed ${n}, crash at ${crashAt}`;
    const files = crashingFiles(randomOf(n));
    files.crashAt(crashAt);
    await expect(imageInWorld(scenario, { ...options, files }), note).rejects.toThrow();
    const left = files.reboot();
    hashed += await refuseFalseHashes(left, note);
    const second = await imageInWorld(scenario, { ...options, files: left });
    expect(
      second.events.some(({ kind }) => kind === 'image-changed'),
      note,
    ).toBe(false);
    expect(await falsehoods(second, lost), note).toEqual([]);
    // Nine runs; of one that was cut by the crash a part may be hashed from the image.
    expect(await refuseFalseHashes(left, note)).toBeGreaterThanOrEqual(9);
  }
  expect(hashed).toBeGreaterThan(0);
});
