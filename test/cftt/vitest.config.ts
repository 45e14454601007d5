import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { cfttReport } from './reporter.js';

export default defineConfig({
  test: {
    root: join(import.meta.dirname, '../..'),
    include: ['test/cftt/**/*.test.ts', 'test/cftt/**/*.cftt.ts'],
    // It looks at the report that this run may write.
    exclude: ['test/cftt/report.test.ts'],
    // They wait for processes and ports more than they compute.
    maxWorkers: 4,
    reporters: ['default', cfttReport()],
    testTimeout: 150_000,
    hookTimeout: 150_000,
  },
});
