import { expect, test } from 'vitest';
import { timeMsMax } from '../../src/plan/pass-schema.js';
import { changeRow } from '../../src/plan/row-change.js';
import { presetRows } from '../presets.js';

const [row] = presetRows('standard', { sectorCount: 1e6 });

test.each([
  [{ timeoutMs: 0 }, 'timeoutMs: must be above 0'],
  // More than a timer holds would be no rest at all.
  [{ 'before.kind': 'rest', 'before.restMs': 1e12 }, `before.restMs: must be at most ${timeMsMax}`],
  [{ 'skip.maxCount': -1 }, 'skip.maxCount: must be at least 0'],
  [{ timeoutMs: '2s' }, 'timeoutMs: a number is needed; times are in ms, sizes in sectors'],
  [{ onFault: 'jump' }, 'onFault: expected one of skip, leave, go-on'],
  [{ deadline: 5 }, "no parameter is called 'deadline'"],
])('%j is refused in words for people', (changes, why) => {
  expect(changeRow(row!, changes)).toEqual({ why });
});
