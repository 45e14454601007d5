import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lacksCompiler } from './posix-build.js';

interface FuzzFrames {
  compareDecoders(options: { frames: number; seed: number }): Promise<Record<string, number>>;
}

/** A program of the benchmarks, over what was last built. */
async function load(): Promise<FuzzFrames> {
  const path = join(import.meta.dirname, '../../bench/fuzz-frames.mjs');
  return (await import(path)) as FuzzFrames;
}

describe.skipIf(lacksCompiler())('both decoders', () => {
  test('agree on 100,000 broken frames: what is accepted, with which fields, what is refused and why', async () => {
    const { compareDecoders } = await load();
    const counts = await compareDecoders({ frames: 100_000, seed: 7 });
    expect(counts.frames).toBeGreaterThanOrEqual(100_000);
    // All that can become of a frame became of some.
    for (const kind of ['messages', 'malformed', 'tooLong', 'badCobs', 'badCrc', 'tooShort']) {
      expect(counts[kind], kind).toBeGreaterThan(100);
    }
  });
});
