import { defineConfig } from 'vitest/config';
import { closingLine } from '../closing-line.js';

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['**/*.hardware.ts'],
    reporters: ['default', closingLine()],
    // A guest without hardware acceleration is ten times slower than its host.
    testTimeout: 150_000,
    hookTimeout: 150_000,
  },
});
