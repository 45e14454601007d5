import type { Reporter, TestModule } from 'vitest/node';

/** Ends a run with one plain line that counts skips too. Under REQUIRE_TOOLS=1 a skipped test is a
 * failure: a tool is missing where it must not be. */
export function closingLine(): Reporter {
  return {
    onTestRunEnd(modules: readonly TestModule[]) {
      const counts = { passed: 0, failed: 0, skipped: 0 };
      for (const module of modules) {
        // A file that did not load has no tests to count, and is a failure all the same.
        if (module.errors().length > 0) counts.failed += 1;
        for (const test of module.children.allTests()) {
          const { state } = test.result();
          counts[state === 'pending' ? 'skipped' : state] += 1;
        }
      }
      const strict = process.env.REQUIRE_TOOLS === '1' && counts.skipped > 0;
      if (strict) {
        console.log(`REQUIRE_TOOLS=1: ${counts.skipped} skipped tests count as failed`);
        process.exitCode = 1;
      }
      const failed = counts.failed + (strict ? counts.skipped : 0);
      const skipped = strict ? 0 : counts.skipped;
      console.log(`${counts.passed} passed, ${failed} failed, ${skipped} skipped`);
    },
  };
}
