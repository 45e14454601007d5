import { describe, expect, test } from 'vitest';
import { commands } from '../../firmware-protocol/commands.js';
import type { Link } from '../../firmware-protocol/link.js';
import { decodeHeader } from '../../firmware-protocol/message.js';
import { type LinkWorldResult, runLinkWorld } from '../../hardware-sim/link-world.js';

/** An imager that forgets results while the laptop still counts on them: all but the last `heldMax`. */
function forgetful(link: Link, heldMax: number): Link {
  const releaseAt = 34 - 4;
  return {
    ...link,
    discarded: link.discarded,
    onMessage: (handler) =>
      link.onMessage((message) => {
        const { code, id } = decodeHeader(message);
        if (code === commands.read.code && message.length === releaseAt + 4) {
          const view = new DataView(message.buffer, message.byteOffset);
          const releaseBelow = view.getUint32(releaseAt, true);
          view.setUint32(releaseAt, Math.max(releaseBelow, id - heldMax), true);
        }
        handler(message);
      }),
  };
}

function total(results: readonly LinkWorldResult[], name: keyof LinkWorldResult): number {
  return results.reduce((sum, result) => sum + result[name], 0);
}

describe('1,000 worlds with a bad line', () => {
  test('no wrong byte, no good sector called bad, no read done twice', async () => {
    const results: LinkWorldResult[] = [];
    for (let seed = 1; seed <= 1000; seed++) {
      const result = await runLinkWorld(seed);
      const { wrongSectors, falselyBad, extraReads } = result;
      expect({ wrongSectors, falselyBad, extraReads }, `world ${seed}`).toEqual({
        wrongSectors: 0,
        falselyBad: 0,
        extraReads: 0,
      });
      results.push(result);
    }
    // The lines were bad indeed.
    expect(total(results, 'framesDiscarded')).toBeGreaterThan(5000);
    expect(total(results, 'repetitions')).toBeGreaterThan(5000);
    expect(total(results, 'relinks')).toBeGreaterThan(500);
  });

  test('an imager that holds less than it says breaks that', async () => {
    let failed = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const wrap = (link: Link) => forgetful(link, 1);
      const end = await runLinkWorld(seed, { wrap }).catch(() => undefined);
      if (!end) failed++;
    }
    expect(failed).toBeGreaterThan(20);
  });
});
