import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, temporaryFolder } from './cli.js';
import { falseClaims } from './false-claims.js';

test('the demo hangs its drive, cuts its power, and ends in an image that holds what the map says', async () => {
  const folder = temporaryFolder();
  const finished = await run(['demo', join(folder, 'demo')]);
  expect(finished.status, finished.stderr).toBe(0);
  expect(finished.stderr).toContain('power cycled');
  expect(finished.stdout).toMatch(/checked\s+all \d+ finished sectors hold what the drive held/);
  expect(falseClaims(join(folder, 'demo/demo.img'), 'demo')).toEqual([]);
  // Its slow zone and its bad sectors are no head's.
  const heads = await run(['map', 'show', join(folder, 'demo/demo.map'), '--heads']);
  expect(heads.stdout).toContain('no head map');
});
