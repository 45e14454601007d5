/** Runs the checks against one imager, one after the other. */

import type { Clock } from '../../src/clock.js';
import { LastspinError } from '../../src/errors.js';
import { capabilityBits } from '../commands.js';
import {
  type Bench,
  type Capability,
  type Introduced,
  introduce,
  type Need,
  type Target,
} from './bench.js';
import type { Check } from './check.js';
import { frameChecks } from './checks-frames.js';
import { messageChecks } from './checks-messages.js';
import { firstChecks, lastChecks, powerChecks } from './checks-power.js';
import { readChecks } from './checks-reads.js';
import { safetyChecks } from './checks-safety.js';
import { sessionChecks } from './checks-sessions.js';
import { clauses } from './clauses.js';
import { describe, type ResponseOf } from './messages.js';
import { CheckFailed, hex, NotSeen, type Violation } from './verdict.js';

export type Verdict =
  | { readonly kind: 'passed'; readonly note?: string }
  | {
      readonly kind: 'failed';
      readonly wants: string;
      readonly came: string;
      /** The last messages each way, in words and hex. */
      readonly trace: readonly string[];
      /** The clauses that it breaks. */
      readonly clauses: readonly string[];
    }
  | { readonly kind: 'not-offered'; readonly why: string }
  | { readonly kind: 'not-seen'; readonly why: string };

export interface CheckResult {
  readonly check: Check;
  readonly verdict: Verdict;
  readonly elapsedMs: number;
}

export interface RunResult {
  readonly imager: string;
  readonly hello: ResponseOf<'hello'>;
  readonly results: readonly CheckResult[];
  /** What was wrong whatever was tried at the time. */
  readonly violations: readonly Violation[];
  /** Why the power may still be on. */
  readonly leftOn: string | undefined;
}

export interface RunOptions {
  readonly target: Target;
  readonly clock: Clock;
  /** The number of the first session; should be drawn anew for each run. */
  readonly session: number;
  /** Runs although the rails are on. */
  readonly force?: boolean;
  /** Clauses (`R-8`) or chapters (`R`); all where absent. */
  readonly only?: readonly string[];
  /** Told before each check. */
  readonly onCheck?: (check: Check, index: number, count: number) => void;
  /** Ends the run between two checks. */
  readonly signal?: AbortSignal;
}

/** All checks, in the order in which they run: with the rails off first, so that a drive starts as seldom
 * as can be. */
export const checks: readonly Check[] = [
  ...firstChecks,
  ...byRails([
    ...frameChecks,
    ...messageChecks,
    ...sessionChecks,
    ...readChecks,
    ...safetyChecks,
    ...powerChecks,
  ]),
  ...lastChecks,
];

function byRails(all: readonly Check[]): readonly Check[] {
  const order = ['off', undefined, 'on'];
  return [...all].sort((a, b) => order.indexOf(a.rails) - order.indexOf(b.rails));
}

/** Whether `--clause` words choose a check. Throws USAGE on a word that names no clause. */
export function chosen(check: Check, only: readonly string[] | undefined): boolean {
  if (!only) return true;
  return check.clauses.some((id) => only.some((word) => id === word || id.startsWith(`${word}-`)));
}

function assertKnown(only: readonly string[]): void {
  const unknown = only.find(
    (word) => !clauses.some(({ id }) => id === word || id.startsWith(`${word}-`)),
  );
  if (unknown === undefined) return;
  throw new LastspinError('USAGE', `'${unknown}' is no clause of PROTOCOL.md, such as R-8 or R`);
}

/** What a user must know when it could not be switched off. */
export function offFailed(why: string): string {
  return `the power may still be on, since it could not be switched off: ${why}`;
}

/** More checks in a row without a session than this, and the imager is taken for dead. */
const deadAfter = 3;

/** Examines an imager. Throws what `introduce` throws, and USAGE for clauses that do not exist. */
export async function runConformance(options: RunOptions): Promise<RunResult> {
  const { target, clock, session, only, signal } = options;
  if (only) assertKnown(only);
  const wanted = checks.filter((check) => chosen(check, only));
  const introduced = await introduce({ target, clock, session }, options.force === true);
  const { bench } = introduced;
  const results: CheckResult[] = [];
  let silent = 0;
  let leftOn: string | undefined;
  try {
    for (const [index, check] of wanted.entries()) {
      if (signal?.aborted) break;
      options.onCheck?.(check, index, wanted.length);
      const beganAtMs = clock.now();
      const verdict: Verdict =
        silent >= deadAfter
          ? { kind: 'not-seen', why: 'the imager answers no HELLO any more' }
          : await runCheck(introduced, check);
      const hasSession = verdict.kind !== 'not-seen' || !verdict.why.startsWith('no session');
      silent = hasSession ? 0 : silent + 1;
      results.push({ check, verdict, elapsedMs: clock.now() - beganAtMs });
    }
  } finally {
    leftOn = await introduced.finish();
  }
  if (signal?.aborted)
    throw new LastspinError(
      'INTERRUPTED',
      `interrupted; ${leftOn === undefined ? 'the power is off' : offFailed(leftOn)}`,
    );
  return { imager: target.name, hello: bench.hello, results, violations: bench.violations, leftOn };
}

async function runCheck(introduced: Introduced, check: Check): Promise<Verdict> {
  const { bench } = introduced;
  const lacking = await lacks(introduced, check);
  if (lacking) return lacking;
  introduced.clean();
  try {
    await bench.fresh();
    if (check.rails) await bench.rails(check.rails);
    introduced.clean();
    bench.talk.wire.clear();
    const note = await check.run(bench);
    return { kind: 'passed', ...(note !== undefined && { note }) };
  } catch (error) {
    if (error instanceof NotSeen) return { kind: 'not-seen', why: error.message };
    if (!(error instanceof CheckFailed)) throw error;
    const { wants, came, clause } = error;
    const broken = clause === undefined ? check.clauses : [clause];
    return { kind: 'failed', wants, came, clauses: broken, trace: traceOf(introduced) };
  }
}

function traceOf({ trace }: Introduced): readonly string[] {
  const { sent, came } = trace();
  return [
    ...sent.map(({ raw }) => `sent ${hex(raw)}`),
    ...came.map((message) => `came ${hex(message.raw)}  ${describe(message)}`),
  ];
}

const notHere: Readonly<Record<string, string>> = {
  'second-link': 'this transport has one link only',
  reopen: 'a link to it cannot be opened again',
  'tells-end': 'a serial line does not tell the imager when it opens and closes',
  process: 'it is no process of this computer',
};

async function lacks(introduced: Introduced, check: Check): Promise<Verdict | undefined> {
  const { bench } = introduced;
  for (const need of check.needs ?? []) {
    if (need in capabilityBits) {
      if (!bench.can(need as Capability)) return { kind: 'not-offered', why: `no ${need}` };
    } else if (!isHere(bench, need)) {
      return { kind: 'not-seen', why: notHere[need] ?? need };
    }
  }
  if (!check.needs?.includes('drive')) return undefined;
  try {
    introduced.clean();
    await bench.fresh();
    if (await bench.findDrive()) return undefined;
  } catch (error) {
    if (!(error instanceof CheckFailed || error instanceof NotSeen)) throw error;
    return { kind: 'not-seen', why: `no drive was found: ${error.message}` };
  }
  return { kind: 'not-seen', why: 'no drive answers' };
}

function isHere({ target }: Bench, need: Need): boolean {
  switch (need) {
    case 'second-link':
      return target.linksMax > 1;
    case 'reopen':
      return target.reopens;
    case 'tells-end':
      return target.tellsEnd;
    case 'process':
      return target.exited !== undefined;
    default:
      return true;
  }
}
