import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { loadCheckpoint } from '../../src/image/checkpoint.js';
import { nodeFiles } from '../../src/image/node-files.js';
import { parseSnapshot } from '../../src/job/snapshot.js';
import type { Pass } from '../../src/plan/pass.js';
import { textOfRows } from '../../src/plan/pass-schema.js';
import { rowsOf } from '../../src/plan/presets.js';
import { loadPreset } from '../../src/preset-files.js';
import { run, temporaryFolder } from './cli.js';

test.concurrent.each([
  ['demo', [], 'hdd', 'adaptive'],
  ['ssd', [], 'ssd', 'ssd'],
  ['stick', [], 'flash', 'flash'],
  ['stick', ['--preset', 'gentle'], 'flash', 'gentle'],
] as const)('a drive behind an imager is read by the preset of its kind: %s %j as %s by %s', async (scenario, options, kind, preset) => {
  const folder = temporaryFolder();
  const finished = await run(
    ['image', `sim:${scenario}?scale=20`, join(folder, 'case.img')].concat([
      ...['--range', '0-4095', '--json'],
      ...options,
    ]),
  );
  expect(finished.status, finished.stderr).toBe(0);
  expect(JSON.parse(finished.stdout)).toMatchObject({ kind, domain: { unread: 0 } });
  const saved = await loadCheckpoint(nodeFiles(), join(folder, 'case.map'));
  const { sectorCount, sectorBytes, physicalSectorBytes } = loadScenario(scenario);
  const physicalCount = physicalSectorBytes / sectorBytes;
  const facts = { sectorCount, sectorBytes, physicalCount, kind };
  const rows = rowsOf(loadPreset(preset), facts);
  expect(textOfRows(parseSnapshot(saved?.state)!.passes as Pass[])).toBe(textOfRows(rows));
});
