import { defineConfig } from 'vitest/config';
import { closingLine } from './test/closing-line.js';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // The slow tests wait for real ports and processes, so more of them than cores fit at once.
    maxWorkers: 4,
    reporters: ['default', closingLine()],
    // A busy two-core machine runs real-port tests slowly; no test asserts on time.
    testTimeout: 240_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
