import { createHash, randomFillSync } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, startImager, temporaryFolder } from './cli.js';

const segmentBytes = 64 * 1024 * 1024;
const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

test('a file is copied whole, with a hash of each segment, and with none when told', async () => {
  const folder = temporaryFolder();
  const source = join(folder, 'source.bin');
  const content = randomFillSync(Buffer.alloc(segmentBytes + 512 * 9));
  writeFileSync(source, content);
  const image = join(folder, 'case.img');
  expect(await run(['image', source, image])).toMatchObject({ status: 0 });
  expect(readFileSync(image).equals(content)).toBe(true);
  const list = readFileSync(join(folder, 'case.hashes.csv'), 'latin1');
  expect(list.split('\n')).toEqual([
    'sha256,first_lba,last_lba,status,hash_of',
    `${sha256(content.subarray(0, segmentBytes))},0,131071,finished,drive`,
    `${sha256(content.subarray(segmentBytes))},131072,131080,finished,drive`,
    '',
  ]);
  // A second run has nothing to read, and its list is the same.
  expect(await run(['image', source, image])).toMatchObject({ status: 0 });
  expect(readFileSync(join(folder, 'case.hashes.csv'), 'latin1')).toBe(list);
  const plain = join(folder, 'plain.img');
  expect(await run(['image', source, plain, '--no-hash'])).toMatchObject({ status: 0 });
  expect(existsSync(join(folder, 'plain.hashes.csv'))).toBe(false);
});

test('a failing drive behind an imager: what was read has hashes, the rest is listed without', async () => {
  const folder = temporaryFolder();
  const image = join(folder, 'case.img');
  const drive = await startImager('demo', folder, 1000);
  await run(['image', drive, image]);
  const data = readFileSync(image);
  const lines = readFileSync(join(folder, 'case.hashes.csv'), 'latin1').trim().split('\n').slice(1);
  let next = 0;
  for (const line of lines) {
    const [hash, first, last, status, of] = line.split(',');
    // Also where it was read in pieces, from behind, and again.
    expect(of).toBe(status === 'finished' ? 'drive' : '');
    expect(Number(first)).toBe(next);
    next = Number(last) + 1;
    const part = data.subarray(Number(first) * 512, next * 512);
    expect(hash).toBe(status === 'finished' ? sha256(part) : '');
  }
  expect(next * 512).toBe(data.length);
  expect(lines.some((line) => line.endsWith('bad-sector,'))).toBe(true);
});

test('no hash outlives what it was of: not a run that hashes nothing, not another program', async () => {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const former = randomFillSync(Buffer.alloc(512 * 64));
  const content = randomFillSync(Buffer.alloc(512 * 64));
  const job = ['image', at('source.bin'), at('case.img')];
  const list = () => readFileSync(at('case.hashes.csv'), 'latin1');
  writeFileSync(at('source.bin'), former);
  expect(await run(job)).toMatchObject({ status: 0 });
  expect(list()).toContain(sha256(former));
  // Something else is in the image from here on, by a run that does not hash.
  rmSync(at('case.img'));
  rmSync(at('case.map'));
  writeFileSync(at('source.bin'), content);
  expect(await run([...job, '--no-hash'])).toMatchObject({ status: 0 });
  expect(existsSync(at('case.hashes.csv'))).toBe(false);
  writeFileSync(
    at('case.hashes.csv'),
    `sha256,first_lba,last_lba,status\n${sha256(former)},0,63,finished\n`,
  );
  writeFileSync(at('case.map'), '0x0 + 1\n0x0 0x8000 +\n');
  expect(await run(job)).toMatchObject({ status: 0 });
  expect(list()).toContain(sha256(content));
  expect(list()).not.toContain(sha256(former));
});
