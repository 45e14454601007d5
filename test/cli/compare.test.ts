import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { imageResultSchema } from '../../src/show/result.js';
import { run, temporaryFolder } from './cli.js';

test('--compare reads a sample again, says how much, and lists what differs; asked again, it does it again', async () => {
  const folder = temporaryFolder();
  const [source, image] = [join(folder, 'source.bin'), join(folder, 'case.img')];
  const content = Buffer.alloc(512 * 1280, 7);
  writeFileSync(source, content);
  const compared = async (percent?: number) => {
    const option = percent === undefined ? [] : ['--compare', String(percent)];
    const finished = await run(['image', source, image, '--json', ...option]);
    expect(finished.status, finished.stderr).toBe(0);
    return imageResultSchema.parse(JSON.parse(finished.stdout));
  };
  expect(await compared()).toMatchObject({ compared: 0 });
  expect(await compared(50)).toMatchObject({ compared: 640, unstable: { sectors: 0 } });
  // A drive that now says something else of two sectors, one of them outside the sample.
  const before = content.subarray(0, 512).toString('base64');
  for (const lba of [10, 130]) content.fill(9, lba * 512, (lba + 1) * 512);
  writeFileSync(source, content);
  expect(await compared()).toMatchObject({ compared: 640, unstable: { sectors: 0 } });
  expect(await compared(50)).toMatchObject({
    compared: 640,
    unstable: { sectors: 1, extents: [{ lba: 130, count: 1 }] },
  });
  const versions = JSON.parse(readFileSync(join(folder, 'case.versions'), 'utf8').trim());
  expect(versions.lba).toBe(130);
  expect(versions.versions).toContainEqual({ readings: 1, base64: before });
  // Most readings agree on the new content; the sector that was not sampled is as it was read.
  expect(readFileSync(image)[130 * 512]).toBe(9);
  expect(readFileSync(image)[10 * 512]).toBe(7);
  expect(await compared(100)).toMatchObject({ compared: 1280, unstable: { sectors: 2 } });
});
