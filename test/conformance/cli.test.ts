import { expect, test } from 'vitest';
import { conformanceResultSchema } from '../../firmware-protocol/conformance/report.js';
import { run } from '../cli/cli.js';

test('a simulated imager is examined in no time, clause by clause', async () => {
  const { status, stdout, stderr } = await run(['conformance', 'sim:healthy']);
  expect(stderr).toMatch(/the power of sim:healthy is switched/);
  expect(stdout).toMatch(/^R-8 +passed/m);
  expect(stdout).toMatch(/^P-1 +untested .*supply/m);
  expect(stdout).toMatch(/0 failed, \d+ were not seen/);
  expect(status).toBe(0);
});

test('--clause chooses, --json prints one object', async () => {
  const { status, stdout } = await run([
    'conformance',
    'sim:healthy',
    '--json',
    '--clause',
    'R-8,V',
  ]);
  const report = conformanceResultSchema.parse(JSON.parse(stdout));
  expect(report.clauses.map(({ clause }) => clause)).toEqual([
    ...['V-1', 'V-2', 'V-3', 'V-4', 'V-5'],
    'R-8',
  ]);
  expect(status).toBe(0);
});

test.each([
  [['sim:healthy', '--clause', 'R-99'], 2, /'R-99' is no clause/],
  [['pipe:here'], 2, /cannot make sense of 'pipe:here'/],
  [['tcp:127.0.0.1:1'], 1, /nothing listens there/],
  [['stdio:exit 3'], 1, /exit 3/],
] as const)('%j ends with one clear line', async (args, status, line) => {
  const result = await run(['conformance', ...args]);
  expect(result.stderr.trim().split('\n').at(-1)).toMatch(line);
  expect(result.stderr).not.toContain('    at ');
  expect(result.stdout).toBe('');
  expect(result.status).toBe(status);
});
