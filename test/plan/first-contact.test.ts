import { describe, expect, test } from 'vitest';
import {
  bytesInModel,
  type CapacityFinding,
  type Findings,
  judge,
  latencyOf,
  type SpinUpFinding,
  type ZoneRead,
  type ZonesFinding,
} from '../../src/plan/first-contact.js';

const ready: SpinUpFinding = {
  isReady: true,
  powerOns: 1,
  readyAfterMs: 4000,
  limitMs: 60_000,
  isTripped: false,
  rails: [],
};
const { readyAfterMs: _, ...never } = { ...ready, isReady: false };
const whole: CapacityFinding = { bytes: 1_000_204_886_016, isFirmwareFailed: false };

/** Reads by one letter each: good, slow, crawling, bad, refused, timeout, gone. */
function zones(letters: string, leftOut = 0): ZonesFinding {
  const kinds: Record<string, Pick<ZoneRead, 'outcome' | 'elapsedMs'>> = {
    g: { outcome: 'good', elapsedMs: 12 },
    s: { outcome: 'good', elapsedMs: 800 },
    c: { outcome: 'good', elapsedMs: 9000 },
    b: { outcome: 'bad', elapsedMs: 2000 },
    r: { outcome: 'refused', elapsedMs: 1 },
    t: { outcome: 'timeout', elapsedMs: 10_000 },
    x: { outcome: 'gone', elapsedMs: 100 },
  };
  const reads = [...letters].map((letter, at) => ({
    lba: at * 1000,
    count: 128,
    ...kinds[letter]!,
  }));
  return { reads, leftOut };
}

function found(more: Partial<Findings>): Findings {
  return {
    kind: 'hdd',
    spinUp: ready,
    isLocked: false,
    capacity: whole,
    zones: zones('g'.repeat(16)),
    ...more,
  };
}

const rail = (volts: 5 | 12, peakMilliamps: number, lastMilliamps: number) => ({
  volts,
  peakMilliamps,
  lastMilliamps,
});
const terabyte = { bytes: 1e12, from: 'model' } as const;
const zonesLeft = (kind: Findings['kind'], letters: string, leftOut = 0) =>
  found({ kind, zones: zones(letters, leftOut) });

describe('the verdict on what was found', () => {
  test.each<readonly [string, Findings, string, RegExp | undefined]>([
    ['a healthy hard drive', found({}), 'adaptive', /hard drive/],
    ['a healthy SSD', found({ kind: 'ssd' }), 'ssd', /SSD/],
    ['a healthy stick', found({ kind: 'flash' }), 'flash', /stick/],
    ['a file', found({ kind: 'file' }), 'adaptive', /file/],
    ['one bad place', zonesLeft('hdd', 'gggggggbgggggggg'), 'gentle', /15 read, 1 bad/],
    ['half of them bad', zonesLeft('hdd', 'gbgbgbgbgbgbgbgb'), 'gentle', /8 read, 8 bad/],
    ['one hang', zonesLeft('hdd', 'gttt', 12), 'gentle', /1 read, 3 without an answer/],
    ['one that leaves', zonesLeft('hdd', 'ggx', 13), 'gentle', /1 gone from the bus/],
    ['three slow places', zonesLeft('hdd', 'gggsggsgggsggggg'), 'gentle', /3 of the places/],
    ['two slow places', zonesLeft('hdd', 'gggsggsggggggggg'), 'adaptive', /2 of the places/],
    ['crawling everywhere', zonesLeft('hdd', 'cccccccccccccccc'), 'adaptive', /crawls wherever/],
    ['a bad place of an SSD', zonesLeft('ssd', 'gggggggbgggggggg'), 'ssd', /1 bad/],
    ['an SSD that mostly fails', zonesLeft('ssd', 'gbbbbbbbbbbbbbbb'), 'ssd', /15 bad/],
    ['an SSD that drops off', zonesLeft('ssd', 'ggggx', 11), 'ssd', /gone/],
    ['a stick that hangs', zonesLeft('flash', 'ggttt', 11), 'flash', /without an answer/],
    [
      'hidden sectors that explain its label',
      found({ capacity: { ...whole, bytes: 5e11, bytesWithHidden: 1e12, label: terabyte } }),
      'adaptive',
      /^500000000000 bytes are hidden, and not imaged/m,
    ],
    [
      'a larger drive than its label',
      found({ capacity: { ...whole, bytes: 2e12, label: terabyte } }),
      'adaptive',
      /larger than its model says/,
    ],
    [
      'a stick with a tenth held back',
      found({ kind: 'flash', capacity: { ...whole, bytes: 0.9e12, label: terabyte } }),
      'flash',
      undefined,
    ],
    ['its SMART about to fail', found({ isSmartPassed: false }), 'adaptive', /about to fail/],
    ['no word of a lock', { kind: 'hdd', spinUp: ready, zones: zones('g') }, 'adaptive', undefined],
  ])('%s is imaged', (_name, findings, preset, reason) => {
    const verdict = judge(findings);
    expect(verdict).toMatchObject({ decision: 'image', preset });
    expect(verdict.reasons.join('\n')).toMatch(reason ?? /./);
  });

  test.each<readonly [string, Findings, string, RegExp]>([
    [
      'a hard drive that clicks',
      found({ spinUp: { ...never, restMs: 600_000 } }),
      'cleanroom',
      /not ready within 60 s of power-on.*rest 10 min/s,
    ],
    ['several power-ons', found({ spinUp: { ...never, powerOns: 2 } }), 'cleanroom', /2 power-ons/],
    [
      'what no switch can leave off',
      found({ spinUp: never }),
      'cleanroom',
      /it still has power: unplug it/,
    ],
    [
      'what a switch leaves off',
      found({ spinUp: { ...never, isLeftOff: true } }),
      'cleanroom',
      /its power is off: leave it so/,
    ],
    [
      'a motor that does not turn',
      found({ spinUp: { ...never, rails: [rail(5, 600, 500), rail(12, 1800, 1750)] } }),
      'cleanroom',
      /1750 mA on 12 V at the end.*do not turn/s,
    ],
    [
      'a motor on 5 V that does not turn',
      found({ spinUp: { ...never, rails: [rail(5, 900, 880), rail(12, 0, 0)] } }),
      'cleanroom',
      /880 mA on 5 V/,
    ],
    [
      'a motor that turns although nothing answers',
      found({ spinUp: { ...never, rails: [rail(5, 600, 550), rail(12, 1800, 450)] } }),
      'cleanroom',
      /not ready within/,
    ],
    [
      'over-current',
      found({ spinUp: { ...never, isTripped: true, rails: [rail(12, 1800, 1800)] } }),
      'cleanroom',
      /over-current: 1800 mA on 12 V/,
    ],
    [
      'silence, and no switch',
      found({ spinUp: { ...never, powerOns: 0 } }),
      'it does not become ready',
      /--power/,
    ],
    [
      'an SSD that does not answer',
      found({ kind: 'ssd', spinUp: never }),
      'it does not become ready',
      /not ready within/,
    ],
    [
      'a controller without firmware',
      found({ capacity: { bytes: 20_971_520, isFirmwareFailed: true } }),
      'its firmware has failed',
      /20\.9 MB/,
    ],
    ['a password', found({ isLocked: true }), 'it is locked', /nothing of that is bad/],
    [
      'half of its label',
      found({ capacity: { ...whole, bytes: 5e11, label: terabyte } }),
      'it is smaller than its label',
      /500 GB of the 1000 GB that its model promises/,
    ],
    [
      'hidden sectors that do not explain it',
      found({ capacity: { ...whole, bytes: 4e11, bytesWithHidden: 5e11, label: terabyte } }),
      'it is smaller than its label',
      /another adapter/,
    ],
    ['nothing but bad places', zonesLeft('hdd', 'bbbbbbbbbbbbbbbb'), 'cleanroom', /16 bad/],
    ['nothing but silence', zonesLeft('hdd', 'ttt', 13), 'cleanroom', /3 without an answer/],
    ['mostly bad places', zonesLeft('hdd', 'gbbbbbbbbbbbbbbb'), 'cleanroom', /1 read, 15 bad/],
    ['refusals alone', zonesLeft('hdd', 'rrrrrrrrrrrrrrrr'), 'it refuses to read', /rather than/],
    [
      'the first read',
      zonesLeft('hdd', 'x', 15),
      'it leaves the bus when it is read',
      /power and cables/,
    ],
    ['a silent SSD', zonesLeft('ssd', 'ttt', 13), 'nothing can be read', /cut its power/],
  ])('%s stops', (_name, findings, what, reason) => {
    const verdict = judge(findings);
    expect(verdict).toMatchObject({ decision: 'stop', what });
    expect(verdict.reasons.join('\n')).toMatch(reason);
  });

  test('what comes first decides: a drive without its firmware is not called locked or small', () => {
    const capacity = { bytes: 20_971_520, isFirmwareFailed: true, label: terabyte };
    expect(judge(found({ capacity, isLocked: true, zones: zones('b') }))).toMatchObject({
      what: 'its firmware has failed',
    });
    expect(judge(found({ spinUp: never, isLocked: true }))).toMatchObject({ what: 'cleanroom' });
  });
});

test('the first read may take longer: it finds its tracks', () => {
  const first = (elapsedMs: number): ZonesFinding => ({
    reads: zones('gggggggg').reads.map((read, at) => (at === 0 ? { ...read, elapsedMs } : read)),
    leftOut: 0,
  });
  expect(latencyOf(first(899), 'hdd').slow).toHaveLength(0);
  expect(latencyOf(first(901), 'hdd').slow).toHaveLength(1);
  expect(latencyOf({ reads: [], leftOut: 16 }, 'hdd')).toEqual({
    medianMs: 0,
    slow: [],
    isCrawling: false,
  });
});

test.each([
  ['Samsung SSD 860 EVO 500GB', 500e9],
  ['Samsung SSD 870 QVO 1TB', 1e12],
  ['CT1000 1.5 TB', 1.5e12],
  ['ST1000DM003-1CH162', 1000e9],
  ['ST500LM000', 500e9],
  ['ST18000NM000J', 18_000e9],
  ['SEAGATE ST600MM0006', 600e9],
  ['Seagate ST2000LM015 2TB', 2e12],
  // Older names put the form factor before the capacity, or count otherwise.
  ['ST3500418AS', undefined],
  ['ST31000528AS', undefined],
  ['ST380011A', undefined],
  ['ST9500325AS', undefined],
  ['WDC WD10EZEX-08WN4A0', undefined],
  ['KINGSTON SA400S37240G', undefined],
  ['SATA 6Gb/s adapter', undefined],
  ['BRIDGE 6GB/s', undefined],
  ['RAID 1TB of 2TB', undefined],
  ['0GB', undefined],
  ['', undefined],
])('the capacity in the model %j', (model, bytes) => {
  expect(bytesInModel(model)).toBe(bytes);
});
