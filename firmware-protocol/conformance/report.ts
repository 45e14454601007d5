/** What a run found, clause by clause. */
import { z } from 'zod';
import { capabilityBits } from '../commands.js';
import { notDared } from './checks-safety.js';
import { clauses, partly } from './clauses.js';
import { type CheckResult, offFailed, type RunResult } from './run.js';

const failure = z.object({
  check: z.string(),
  wants: z.string(),
  came: z.string(),
  /** The last messages each way. */
  trace: z.array(z.string()),
});

/** What `conformance --json` prints. */
export const conformanceResultSchema = z.object({
  schema: z.literal('lastspin/conformance-result/1'),
  imager: z.string(),
  firmware: z.string(),
  version: z.string(),
  capabilities: z.array(z.string()),
  passed: z.number().int().nonnegative(),
  failed: z.number().int().nonnegative(),
  clauses: z.array(
    z.object({
      clause: z.string(),
      about: z.string(),
      /** `not-seen`: there is a check, but not for this imager here; `untested`: there is none. */
      verdict: z.enum(['passed', 'failed', 'not-offered', 'not-seen', 'untested']),
      /** Why there is no other verdict, or what the checks cannot show. */
      note: z.string().nullable(),
      failures: z.array(failure),
    }),
  ),
  checks: z.array(
    z.object({
      clauses: z.array(z.string()),
      title: z.string(),
      how: z.string(),
      verdict: z.enum(['passed', 'failed', 'not-offered', 'not-seen']),
      note: z.string().nullable(),
      elapsedMs: z.number().nonnegative(),
    }),
  ),
  /** Why the power may still be on; null where it is off. */
  leftOn: z.string().nullable(),
  /** Commands off the read-only list that were never sent, and why. */
  notDared: z.array(z.object({ opcodes: z.string(), why: z.string() })),
});

export type ConformanceResult = z.infer<typeof conformanceResultSchema>;
type ClauseReport = ConformanceResult['clauses'][number];

/** A device's words end up on a terminal: what would move its cursor does not. */
const visible = (text: string) => text.replace(/\p{Cc}/gu, '\ufffd').slice(0, 400);

/** The report of a run, all clauses or those of `only`. */
export function reportOf(run: RunResult, only?: readonly string[]): ConformanceResult {
  const wanted = clauses.filter(
    ({ id }) => !only || only.some((word) => id === word || id.startsWith(`${word}-`)),
  );
  const reports = wanted.map((clause) => reportOfClause(run, clause));
  // What nobody looked for but everybody saw.
  for (const { clause } of run.violations) {
    const known = clauses.find(({ id }) => id === clause);
    if (!known || reports.some((report) => report.clause === clause)) continue;
    reports.push(reportOfClause(run, known));
  }
  const { hello } = run;
  return {
    schema: 'lastspin/conformance-result/1',
    imager: run.imager,
    firmware: visible(hello.firmware),
    version: `${hello.major}.${hello.minor}`,
    capabilities: Object.entries(capabilityBits)
      .filter(([, bit]) => (hello.capabilities & bit) !== 0)
      .map(([name]) => name),
    passed: reports.filter(({ verdict }) => verdict === 'passed').length,
    failed: reports.filter(({ verdict }) => verdict === 'failed').length,
    clauses: reports,
    checks: run.results.map(reportOfCheck),
    leftOn: run.leftOn === undefined ? null : visible(run.leftOn),
    notDared: [...notDared],
  };
}

function reportOfCheck({ check, verdict, elapsedMs }: CheckResult) {
  return {
    clauses: [...check.clauses],
    title: check.title,
    how: check.how,
    verdict: verdict.kind,
    note: noteOf(verdict),
    elapsedMs: Math.round(elapsedMs),
  };
}

function noteOf(verdict: CheckResult['verdict']): string | null {
  if (verdict.kind === 'passed') return verdict.note ?? null;
  if (verdict.kind === 'failed') return visible(`${verdict.wants}; ${verdict.came}`);
  return visible(verdict.why);
}

function reportOfClause(
  run: RunResult,
  { id, about, untested }: (typeof clauses)[number],
): ClauseReport {
  const base = { clause: id, about };
  const failures: ClauseReport['failures'] = [];
  for (const { check, verdict } of run.results) {
    if (verdict.kind !== 'failed' || !verdict.clauses.includes(id)) continue;
    const { wants, came, trace } = verdict;
    const shown = { wants: visible(wants), came: visible(came), trace: trace.map(visible) };
    failures.push({ check: check.title, ...shown });
  }
  for (const { clause, came } of run.violations) {
    if (clause !== id) continue;
    failures.push({ check: 'at any time', wants: about, came: visible(came), trace: [] });
  }
  if (failures.length > 0) return { ...base, verdict: 'failed', note: null, failures };
  if (untested !== undefined) return { ...base, verdict: 'untested', note: untested, failures };
  const own = run.results.filter(({ check }) => check.clauses.includes(id));
  const passed = own.filter(({ verdict }) => verdict.kind === 'passed');
  const notes = own.flatMap(({ verdict }) => (verdict.kind === 'failed' ? [] : [noteOf(verdict)]));
  const said = [...new Set(notes)].filter((note) => note !== null);
  if (passed.length > 0) {
    const note = [...said, ...(partly[id] === undefined ? [] : [partly[id]])].join('; ');
    return { ...base, verdict: 'passed', note: note === '' ? null : note, failures };
  }
  const offered = own.some(({ verdict }) => verdict.kind !== 'not-offered');
  const verdict = own.length > 0 && !offered ? 'not-offered' : 'not-seen';
  const note = said.join('; ') || 'its check broke off before it';
  return { ...base, verdict, note, failures };
}

const words = {
  passed: 'passed',
  failed: 'FAILED',
  'not-offered': 'not offered',
  'not-seen': 'not seen',
  untested: 'untested',
} as const;

/** The report for people, line by line. */
export function reportLines(report: ConformanceResult): readonly string[] {
  const { imager, firmware, version, capabilities } = report;
  const lines = [`${imager}: ${firmware}, protocol ${version}`, capabilities.join(' '), ''];
  for (const { clause, about, verdict, note, failures } of report.clauses) {
    const suffix = note === null ? '' : verdict === 'passed' ? ` (not seen: ${note})` : `: ${note}`;
    lines.push(`${clause.padEnd(5)} ${words[verdict].padEnd(12)} ${about}${suffix}`);
    for (const failed of failures) lines.push(...failureLines(failed));
  }
  const isSafety = report.clauses.some(({ clause }) => clause === 'S-1');
  if (isSafety && report.capabilities.includes('passthrough')) {
    lines.push('', 'Never sent, since an imager that is wrong would carry it out (S-1):');
    for (const { opcodes, why } of report.notDared) lines.push(`      ${opcodes}: ${why}`);
  }
  const { passed, failed, leftOn } = report;
  if (leftOn !== null) lines.push('', `Take care: ${offFailed(leftOn)}`);
  const others = report.clauses.length - passed - failed;
  lines.push(
    '',
    `${passed} clauses passed, ${failed} failed, ${others} were not seen or not offered.`,
  );
  return lines;
}

function failureLines({ check, wants, came, trace }: ClauseReport['failures'][number]): string[] {
  return [`      ${check}`, `        wants  ${wants}`, `        came   ${came}`].concat(
    trace.map((line) => `        ${line}`),
  );
}
