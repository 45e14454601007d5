import { test } from 'vitest';
import { assertions } from './assertions.js';

/** What the report says of one test beside whether it passed. */
export interface Finding {
  /** What was measured, a line each: no paths, no times. */
  readonly said: string[];
  /** Holds, but for this. */
  qualified?: string;
  /** Does not hold; the test shows what the tool does instead. */
  notMet?: string;
}

declare module 'vitest' {
  interface TaskMeta {
    finding?: Finding;
  }
}

/** Tests of assertions in one variation of a case, such as DA-06-LOOP. */
export function claimsIn(testCase: string, variation: string) {
  return (id: string, act: (finding: Finding) => void | Promise<void>): void => {
    const text = assertions.find((assertion) => assertion.id === id)?.text;
    if (!text) throw new Error(`${id} is no assertion`);
    test(`${id} ${text} (${testCase}-${variation})`, async ({ task }) => {
      const finding: Finding = { said: [] };
      // A test that fails has said where it was.
      task.meta.finding = finding;
      await act(finding);
    });
  };
}

/** The parts of such a name; undefined for a test of another kind. */
export function claimOf(name: string) {
  const [, id, testCase, variation] =
    /^(\S+-\d\d) .* \((DA-\d\d|HWB|SWB)-(\S+)\)$/.exec(name) ?? [];
  return id && testCase && variation ? { id, testCase, variation } : undefined;
}
