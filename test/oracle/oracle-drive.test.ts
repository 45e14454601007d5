import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, temporaryFolder } from '../cli/cli.js';
import {
  oracleMissing,
  oracleScenario,
  oracleTest,
  scoreOracle,
  startOracleDrive,
} from '../oracle-drive.js';

/** An independently written failing drive judges the whole line: file drive, planner, ladder, power by a
 * command, image and map. */
async function imageOracle(name: string, options: readonly string[]) {
  const scenarioPath = oracleScenario(name);
  const drive = await startOracleDrive(scenarioPath, { scale: 100 });
  try {
    const folder = temporaryFolder();
    const image = join(folder, 'case.img');
    const power = `exec:touch '${drive.powerFile}'`;
    const args = ['image', `file:${drive.source}`, image, '--power', power, ...options];
    const finished = await run(args);
    expect(finished.status, finished.stderr).toBe(0);
    const map = join(folder, 'case.map');
    return await scoreOracle({ scenarioPath, readsCsv: drive.readsCsv, image, map });
  } finally {
    await drive.stop();
  }
}

oracleTest('p3-scattered: nothing readable is missed, nothing false is claimed', async () => {
  const score = await imageOracle('p3-scattered', ['--physical-sector', '4096']);
  expect(score.delivered_pct).toBe(100);
  expect(score.map_finished_pct).toBe(100);
  expect(score.wrong_sectors).toBe(0);
});

oracleTest('p6-hang: above 99 % is delivered through power cycles by a command', async () => {
  const score = await imageOracle('p6-hang', ['--physical-sector', '4096']);
  expect(score.delivered_pct).toBeGreaterThan(99);
  expect(score.wrong_sectors).toBe(0);
  expect(score.power_cycles).toBeGreaterThan(0);
});

test('the oracle drive is there, or the reason why not is said', () => {
  const missing = oracleMissing();
  expect(missing === undefined || missing.length > 0).toBe(true);
});
