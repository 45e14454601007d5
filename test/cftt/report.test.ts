import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../cli/cli.js';
import { assertions, cases } from './assertions.js';
import { claimOf } from './claim.js';
import { formatReport, gapsIn, type Result, verdictOf } from './report.js';

const root = join(import.meta.dirname, '../..');

/** A pass for everything that the tables promise. */
function everything(): Result[] {
  return assertions
    .filter(({ notApplicable }) => notApplicable === undefined)
    .flatMap(({ id, cases: wanted }) =>
      wanted
        .filter((each) => !cases.find((testCase) => testCase.id === each)?.unsupported)
        .map((testCase) => {
          const plain = { verdict: 'pass', why: '', said: [] } as const;
          return { id, testCase, variation: 'X', ...plain };
        }),
    );
}

describe('the tables', () => {
  test('have every assertion of NIST’s once, and its cases', () => {
    const ids = assertions.map(({ id }) => id);
    const numbered = (prefix: string, count: number) =>
      Array.from({ length: count }, (_, n) => `${prefix}-${String(n + 1).padStart(2, '0')}`);
    const all = [numbered('DA-AM', 10), numbered('DA-AO', 24), numbered('HWB', 4)];
    expect(ids).toEqual([...all.flat(), ...numbered('SWB', 3)]);
    for (const { cases: wanted } of assertions)
      for (const id of wanted) expect(cases.map((each) => each.id)).toContain(id);
  });
});

describe('the report', () => {
  test('misses what has no test, and what is tested where it is not listed', () => {
    const results = everything();
    expect(gapsIn(results)).toEqual([]);
    const gaps = gapsIn(results.filter(({ id }) => id !== 'DA-AO-08'));
    expect(gaps).toEqual(['DA-AO-08 has no test in DA-25']);
    const stray: Result = { ...results[0]!, id: 'DA-AO-08' };
    expect(gapsIn([...results, stray])).toEqual([
      'DA-AO-08 is tested in DA-01, and not listed there',
    ]);
  });

  test('is as good as the worst of an assertion’s tests, and says why', () => {
    const results = everything();
    const assertion = assertions.find(({ id }) => id === 'DA-AM-08')!;
    const at = results.findIndex(({ id }) => id === 'DA-AM-08');
    const order = ['pass', 'qualified', 'not run', 'not met', 'FAILED'] as const;
    for (const verdict of order) {
      results[at] = { ...results[at]!, verdict, why: verdict === 'pass' ? '' : 'a reason' };
      expect(verdictOf(assertion, results)).toBe(verdict);
      const text = formatReport(results, { date: '2026-01-01', versions: [['x', '1']] });
      expect(text).toContain(`| DA-AM-08 | ${assertion.text} | ${verdict} |`);
      expect(text.includes('a reason')).toBe(verdict !== 'pass');
    }
  });

  test('knows its tests by their names', () => {
    const name = 'DA-AM-08 what was acquired is what the source holds (DA-06-BLOCK)';
    expect(claimOf(name)).toEqual({ id: 'DA-AM-08', testCase: 'DA-06', variation: 'BLOCK' });
    expect(claimOf('knows its tests by their names')).toBeUndefined();
  });
});

test('a preparation that fails, however far above, fails its tests; only what is missing is not run', async () => {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const here = (name: string) => JSON.stringify(join(import.meta.dirname, name));
  const vitest = JSON.stringify(join(root, 'node_modules/vitest/dist/index.js'));
  const head = (names: string) =>
    `import { ${names} } from ${vitest};\nimport { claimsIn } from ${here('claim.ts')};\n`;
  writeFileSync(
    at('broken.test.ts'),
    `${head('beforeAll, describe')}beforeAll(() => { throw new Error('the blocker broke'); });
describe('it', () => describe('all', () => claimsIn('SWB', 'BLOCK')('SWB-01', () => {})));`,
  );
  writeFileSync(
    at('absent.test.ts'),
    `${head('describe')}describe.skipIf(true)('it', () => claimsIn('SWB', 'BLOCK')('SWB-02', () => {}));`,
  );
  writeFileSync(
    at('vitest.config.mts'),
    `import { cfttReport } from ${here('reporter.ts')};
export default { test: { root: ${JSON.stringify(folder)}, include: ['*.test.ts'], reporters: [cfttReport()] } };`,
  );
  const words = ['run', '--config', at('vitest.config.mts')];
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(root, 'node_modules/vitest/vitest.mjs'), ...words],
    {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, CFTT_WRITE: at('report.md') },
    },
  );
  expect(status, stderr).toBe(1);
  const text = readFileSync(at('report.md'), 'utf8');
  expect(text).toMatch(/^- SWB-01: \*\*FAILED\*\*\. .*the blocker broke/m);
  expect(text).toMatch(/^- SWB-02: \*\*not run\*\*\. what it needs is missing/m);
});

test('the report in docs has a result for every assertion, and no machine in it', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/cftt.md'), 'utf8');
  for (const { id, text: substance } of assertions) {
    const [, verdict] =
      RegExp(`^\\| ${id} \\| .* \\| ([a-zA-Z ]+) \\| .*\\|$`, 'm').exec(text) ?? [];
    expect(['pass', 'qualified', 'not met', 'not applicable'], id).toContain(verdict);
    expect(text).toContain(substance);
  }
  expect(text).not.toMatch(/\/tmp\/|\/home\/|\/dev\/loop|FAILED|not run/);
});
