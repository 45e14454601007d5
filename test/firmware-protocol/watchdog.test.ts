import { expect, test } from 'vitest';
import { createWatchdog } from '../../firmware-protocol/watchdog.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';

test('each stage is taken once, whatever fraction of a millisecond the last word came at', async () => {
  for (let part = 1; part <= 200; part++) {
    const clock = createVirtualClock(7000 + part / 7);
    const taken: number[] = [];
    const limits = { stopReadsMs: 0.7 * part, unloadMs: 5000, standbyMs: 0, offMs: 30_000 };
    const watchdog = createWatchdog(clock, limits, (stage) => taken.push(stage));
    watchdog.heard();
    await clock.advance(40_000);
    expect(taken).toEqual([1, 2, 4]);
    expect(clock.pending()).toBe(0);
  }
});
