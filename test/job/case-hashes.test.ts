import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import type { ImageFile } from '../../src/image/image-file.js';
import { plainFile } from '../../src/image/image-form.js';
import { casePaths } from '../../src/job/case-files.js';
import { openCaseHashes } from '../../src/job/case-hashes.js';
import { createJobState } from '../../src/job/state.js';
import { statuses } from '../../src/map/status.js';
import { createPlanState } from '../../src/plan/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import { memoryFiles } from '../image/memory-files.js';

const [sectorBytes, sectorCount, segmentCount] = [512, 64, 8];
const drive = {
  ...{ model: 'm', serial: 's', firmware: '', physicalSectorBytes: sectorBytes },
  ...{ sectorBytes, sectorCount },
};

async function opened() {
  const plan = createPlanState({ sectorCount, sectorBytes, physicalCount: 1, passes: [] });
  const image = { form: plainFile, sizeBytes: sectorBytes * sectorCount } as ImageFile;
  const hashes = await openCaseHashes({
    ...{ files: memoryFiles(), paths: casePaths('case.img'), drive, image, segmentCount },
    state: createJobState(plan, troublePolicies.hdd),
    ...{ areOurs: true, hashed: true, journal: [], notices: [] },
  });
  const finish = (lba: number, count: number) => plan.map.set({ lba, count }, statuses.finished);
  return { hashes, map: plan.map, finish };
}

const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
const segment = (byte: number) => new Uint8Array(segmentCount * sectorBytes).fill(byte);

test('a hash goes on record once its sectors are finished, and once', async () => {
  const { hashes, map, finish } = await opened();
  await hashes.beforeWrite(8, segment(1));
  expect(hashes.news(map)).toEqual([]);
  finish(8, 8);
  expect(hashes.news(map)).toEqual([
    { kind: 'hashed', lba: 8, count: 8, sha256: sha256(segment(1)) },
  ]);
  expect(hashes.news(map)).toEqual([]);
});

test('what was read again before it was finished is not on record as it was first', async () => {
  const { hashes, map, finish } = await opened();
  await hashes.beforeWrite(8, segment(1));
  await hashes.beforeWrite(8, segment(2));
  await hashes.beforeWrite(16, segment(3));
  hashes.forget({ lba: 16, count: 1 });
  finish(8, 16);
  expect(hashes.news(map)).toEqual([
    { kind: 'hashed', lba: 8, count: 8, sha256: sha256(segment(2)) },
  ]);
});
