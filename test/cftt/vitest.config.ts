import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { cfttReport } from './reporter.js';

export default defineConfig({
  test: {
    root: join(import.meta.dirname, '../..'),
    include: ['test/cftt/**/*.test.ts', 'test/cftt/**/*.cftt.ts'],
    reporters: ['default', cfttReport()],
    testTimeout: 150_000,
    hookTimeout: 150_000,
  },
});
