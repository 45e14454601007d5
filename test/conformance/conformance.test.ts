import { expect, test } from 'vitest';
import { reportLines, reportOf } from '../../firmware-protocol/conformance/report.js';
import { createRig, examine } from './rig.js';

test.each(['full', 'power-only'] as const)('the simulated imager passes: %s', async (kind) => {
  const report = reportOf(await examine(createRig({ kind })));
  const failed = report.clauses.filter(({ verdict }) => verdict === 'failed');
  if (process.env.SHOW) console.log(reportLines(report).join('\n'));
  expect(failed).toEqual([]);
});
