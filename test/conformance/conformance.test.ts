import { describe, expect, test } from 'vitest';
import { clauses } from '../../firmware-protocol/conformance/clauses.js';
import {
  type ConformanceResult,
  reportLines,
  reportOf,
} from '../../firmware-protocol/conformance/report.js';
import { mutants } from './mutants.js';
import { createRig, examine } from './rig.js';

const failedOf = (report: ConformanceResult) =>
  report.clauses.filter(({ verdict }) => verdict === 'failed');

describe('an imager that is right passes', () => {
  test.each(['full', 'power-only'] as const)('%s', async (kind) => {
    const report = reportOf(await examine(createRig({ kind })));
    if (process.env.SHOW) console.log(reportLines(report).join('\n'));
    expect(failedOf(report)).toEqual([]);
  });
});

describe('an imager that breaks a clause is caught by the check of that clause', () => {
  test.each(
    mutants.map((mutant) => [`${mutant.clause}: it ${mutant.does}`, mutant] as const),
  )('%s', async (_name, { clause, filter, ...options }) => {
    const rig = createRig({ ...options, ...(filter && { filter: filter() }) });
    const report = reportOf(await examine(rig, { only: [clause] }), [clause]);
    if (process.env.SHOW) console.log(reportLines(report).join('\n'));
    expect(report.clauses.find((each) => each.clause === clause)?.verdict).toBe('failed');
  });
});

test('every clause that has a check has a mutant', () => {
  const tested = clauses.filter(({ untested }) => untested === undefined).map(({ id }) => id);
  expect(tested.filter((id) => !mutants.some(({ clause }) => clause === id))).toEqual([]);
});
