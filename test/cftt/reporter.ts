import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node';
import { claimOf } from './claim.js';
import { type Environment, formatReport, gapsIn, type Result } from './report.js';

const root = join(import.meta.dirname, '../..');

/** Programs that judged, and how they say their version. */
const judges = [
  ['GNU diffutils (cmp)', 'cmp', '--version'],
  ['GNU coreutils (dd, sha256sum)', 'sha256sum', '--version'],
  ['util-linux (losetup)', 'losetup', '--version'],
  ['GNU ddrescue (ddrescuelog)', 'ddrescuelog', '--version'],
  ['libewf (ewfverify, ewfexport)', 'ewfverify', '-V'],
  ['nbdkit', 'nbdkit', '--version'],
] as const;

function versionOf(command: string, word: string): string {
  try {
    const said = execFileSync(command, [word], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return /\b(\d+\.\d[\w.]*|\d{8})\b/.exec(said.split('\n')[0] ?? '')?.[0] ?? 'unknown';
  } catch {
    return 'not installed';
  }
}

function environment(): Environment {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return {
    date: new Date().toISOString().slice(0, 10),
    versions: [
      ['Lastspin', version],
      ['Node.js', process.version],
      ['kernel', `${process.platform} ${release()}`],
      ...judges.map(([name, command, word]) => [name, versionOf(command, word)] as const),
    ],
  };
}

/** What a failure says in the end; before it stands what the tool printed. */
const lastWords = (message: string) => message.trim().split('\n').slice(-2).join(' ');

/** A test whose preparation failed, in any suite that it is in, counts as skipped. */
function errorsAbove({ parent }: TestCase) {
  const found = [];
  for (let suite: TestModule | TestSuite = parent; ; suite = suite.parent) {
    found.push(...suite.errors());
    if (suite.type === 'module') return found;
  }
}

function resultOf(test: TestCase): Result | undefined {
  const claim = claimOf(test.name);
  if (!claim) return undefined;
  const { state, errors } = test.result();
  const { finding } = test.meta();
  const said = finding?.said ?? [];
  const [error] = state === 'failed' ? errors : errorsAbove(test);
  if (error) return { ...claim, verdict: 'FAILED', why: lastWords(error.message), said };
  // Said when the tests were collected, before anything ran.
  if (state === 'skipped' && test.options.mode === 'skip')
    return { ...claim, verdict: 'not run', why: 'what it needs is missing on this computer', said };
  if (state !== 'passed')
    return { ...claim, verdict: 'FAILED', why: 'it was not run, and nothing was missing', said };
  if (finding?.notMet) return { ...claim, verdict: 'not met', why: finding.notMet, said };
  if (finding?.qualified) return { ...claim, verdict: 'qualified', why: finding.qualified, said };
  return { ...claim, verdict: 'pass', why: '', said };
}

/** Prints the report when every test has run; with CFTT_WRITE it is written there as well. A gap between tables and
 * tests is a failure. */
export function cfttReport(): Reporter {
  return {
    onTestRunEnd(modules: readonly TestModule[]) {
      const sorted = [...modules].sort((one, other) => (one.moduleId < other.moduleId ? -1 : 1));
      const results = sorted
        .flatMap((module) => [...module.children.allTests()])
        .flatMap((test) => resultOf(test) ?? []);
      const report = formatReport(results, environment());
      process.stdout.write(report);
      const gaps = gapsIn(results);
      for (const gap of gaps) console.error(`cftt: ${gap}`);
      if (gaps.length > 0) process.exitCode = 1;
      const path = process.env.CFTT_WRITE;
      if (path) writeFileSync(path, report);
    },
  };
}
