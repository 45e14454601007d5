import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { closingLine } from '../closing-line.js';

export default defineConfig({
  test: {
    root: join(import.meta.dirname, '../..'),
    include: ['test/hardware/**/*.hardware.ts'],
    reporters: ['default', closingLine()],
    // One machine at a time: each takes two cores.
    fileParallelism: false,
    // A guest without hardware acceleration is ten times slower than its host.
    testTimeout: 150_000,
    hookTimeout: 150_000,
  },
});
