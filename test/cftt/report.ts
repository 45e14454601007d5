/** The report, in the structure of NIST's: summary, selection of cases, results by assertion and by case,
 * environment, details. Pure. */
import { type Assertion, assertions, cases, type TestCase } from './assertions.js';

export type Verdict = 'pass' | 'qualified' | 'not met' | 'FAILED' | 'not run';

/** One assertion in one variation of a case. */
export interface Result {
  readonly id: string;
  readonly testCase: string;
  readonly variation: string;
  readonly verdict: Verdict;
  /** Why it is not a plain pass. */
  readonly why: string;
  readonly said: readonly string[];
}

export interface Environment {
  readonly date: string;
  /** Name and version, in the order in which they are shown. */
  readonly versions: readonly (readonly [string, string])[];
}

const severity: readonly Verdict[] = ['pass', 'qualified', 'not run', 'not met', 'FAILED'];

function worst(verdicts: readonly Verdict[]): Verdict {
  return verdicts.reduce((one, other) =>
    severity.indexOf(other) > severity.indexOf(one) ? other : one,
  );
}

const caseName = ({ testCase, variation }: Result) => `${testCase}-${variation}`;

/** What the tables promise and no test looks at, and the other way round; a line each. */
export function gapsIn(results: readonly Result[]): string[] {
  const gaps: string[] = [];
  const isUnsupported = (id: string) => cases.find((each) => each.id === id)?.unsupported;
  for (const { id, cases: wanted, notApplicable } of assertions) {
    const own = results.filter((result) => result.id === id);
    if (notApplicable !== undefined && own.length > 0)
      gaps.push(`${id} is said not to be applicable, and has tests`);
    for (const testCase of wanted) {
      if (notApplicable !== undefined || isUnsupported(testCase)) continue;
      if (!own.some((result) => result.testCase === testCase))
        gaps.push(`${id} has no test in ${testCase}`);
    }
    for (const { testCase } of own)
      if (!wanted.includes(testCase))
        gaps.push(`${id} is tested in ${testCase}, and not listed there`);
  }
  return [...new Set(gaps)];
}

/** The verdict over all tests of an assertion. */
export function verdictOf({ id, notApplicable }: Assertion, results: readonly Result[]) {
  if (notApplicable !== undefined) return 'not applicable';
  const own = results.filter((result) => result.id === id);
  return own.length === 0 ? 'not run' : worst(own.map(({ verdict }) => verdict));
}

export function formatReport(results: readonly Result[], environment: Environment): string {
  const sections = [
    head(environment),
    summary(results),
    selection(),
    byAssertion(results),
    byCase(results),
    environmentText(environment),
    details(results),
  ];
  return `${sections.join('\n\n')}\n`;
}

function head({ date }: Environment): string {
  return `# Test results for a digital data acquisition tool: Lastspin

${date}, written by \`npm run cftt -- --write\`.

What was tested follows NIST's Computer Forensics Tool Testing programme: its assertions for digital data acquisition
(DA), and its criteria for hardware and software write blockers (HWB, SWB). Their texts and cases are condensed from
memory, not quoted: what is claimed here is conformance to their substance, not to NIST's wording, and NIST has not
seen it. No real drive took part. Each result is a named test in \`test/cftt\`, which runs the built command line, or
the production code over a played drive, and is judged by programs that know nothing of Lastspin (cmp, dd, sha256sum,
ddrescuelog, ewf-tools, the kernel).`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function summary(results: readonly Result[]): string {
  const verdicts = assertions.map((assertion) => ({
    ...assertion,
    verdict: verdictOf(assertion, results),
  }));
  const order = ['pass', 'qualified', 'not met', 'FAILED', 'not run', 'not applicable'] as const;
  const counted = order.map((verdict) => [
    verdict,
    String(verdicts.filter((each) => each.verdict === verdict).length),
    verdicts
      .filter((each) => each.verdict === verdict && verdict !== 'pass')
      .map(({ id }) => id)
      .join(', '),
  ]);
  const remarks = verdicts.flatMap((assertion) => remarksOn(assertion, assertion.verdict, results));
  return `## 1 Results summary

${results.length} tests of ${assertions.length} assertions and criteria.

${table(
  ['result', 'assertions', 'which'],
  counted.filter(([, count]) => count !== '0'),
)}

*Qualified* is what NIST's readings call a result that holds but for what is named, as for a drive with faulty
sectors, with their count and place.

${remarks.join('\n')}`;
}

function remarksOn(
  { id, text, notApplicable }: Assertion,
  verdict: string,
  results: readonly Result[],
): string[] {
  if (verdict === 'pass') return [];
  const own = results.filter((result) => result.id === id && result.verdict === verdict);
  const whys = [...new Set(own.map(({ why }) => why))].filter((why) => why !== '');
  return [
    `- **${id}**, ${text}: ${verdict}. ${[...whys, notApplicable ?? ''].join('; ').replace(/; $/, '')}`,
  ];
}

function selection(): string {
  const features = [...new Set(cases.map(({ feature }) => feature))];
  const ofFeature = (feature: string, isSupported: boolean) =>
    cases.filter((each) => each.feature === feature && !each.unsupported === isSupported);
  const rows = (isSupported: boolean) =>
    features
      .map((feature) => ({ feature, chosen: ofFeature(feature, isSupported) }))
      .filter(({ chosen }) => chosen.length > 0);
  return `## 2 Test case selection

${table(
  ['feature', 'cases'],
  rows(true).map(({ feature, chosen }) => [
    feature,
    chosen.map(({ id, text }) => `${id} ${text}`).join('; '),
  ]),
)}

Not offered, so not chosen:

${table(
  ['feature', 'cases', 'why'],
  rows(false).map(({ feature, chosen }) => [
    feature,
    chosen.map(({ id }) => id).join(', '),
    chosen[0]?.unsupported ?? '',
  ]),
)}`;
}

function byAssertion(results: readonly Result[]): string {
  const rows = assertions.map((assertion) => {
    const own = results.filter(({ id }) => id === assertion.id);
    return [
      assertion.id,
      assertion.text,
      verdictOf(assertion, results),
      own.map((result) => caseName(result)).join(', '),
    ];
  });
  return `## 3 Results by assertion

${table(['assertion', 'substance', 'result', 'looked at in'], rows)}`;
}

function variationsOf(results: readonly Result[], { id }: TestCase): Map<string, Result[]> {
  const found = new Map<string, Result[]>();
  for (const result of results.filter(({ testCase }) => testCase === id)) {
    const own = found.get(caseName(result)) ?? [];
    found.set(caseName(result), [...own, result]);
  }
  return found;
}

function byCase(results: readonly Result[]): string {
  const rows = cases.flatMap((testCase) => [
    ...[...variationsOf(results, testCase)].map(([name, own]) => {
      const others = own.filter(({ verdict }) => verdict !== 'pass');
      const odd = others.map(({ id, verdict }) => `${id} ${verdict}`).join(', ');
      const passed = own.length - others.length;
      return [name, testCase.text, `${passed} of ${own.length} pass${odd ? `; ${odd}` : ''}`];
    }),
  ]);
  return `## 4 Results by case

${table(['case', 'what', 'assertions'], rows)}`;
}

function environmentText({ versions }: Environment): string {
  return `## 5 Environment

${table(['what', 'version'], versions)}

How the drives were made:

- *Block devices* are loop devices of the kernel over files of pseudorandom bytes (AES in counter mode, a key each), so
  that no two sectors are alike and every run has the same ones; with sectors of 512 bytes, or 4096 (4KN), or over a
  part of a file (PART).
- *Simulated drives* hold such a file too and fail as a scenario says, behind Lastspin's imager protocol on a
  pseudo-terminal (SERIAL), in the same process (HDD, SSD, STICK, HPA, DCO, MEDIUM), or behind a simulated USB adapter
  under the production USB code (USB). AGENT is a second computer, here a second process, that serves a block device.
- *Faulty sectors* come from the simulated drive, which tells sense data and ATA registers (MEDIUM), or from a file that
  nbdkit serves through FUSE and that answers EIO for some sectors (EIO). A *target that fails* is such a file too.
- *Targets* are loop devices or files that hold other pseudorandom bytes before.

The same code over a kernel's own USB stack, SATA driver and scsi_debug, in a virtual machine, is tested by
\`npm run test:hardware\`, which is no part of this report.`;
}

function details(results: readonly Result[]): string {
  const parts = cases.flatMap((testCase) =>
    [...variationsOf(results, testCase)].map(([name, own]) => {
      const lines = own.map(({ id, verdict, why, said }) => {
        const remarks = [...(why ? [why] : []), ...said];
        return `- ${id}: **${verdict}**${remarks.length > 0 ? `. ${remarks.join('. ')}` : ''}`;
      });
      return `### ${name}\n\n${lines.join('\n')}`;
    }),
  );
  return `## 6 Details\n\n${parts.join('\n\n')}`;
}
