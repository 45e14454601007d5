import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import { parseHeadMap } from '../../src/head-map-files.js';
import type { Extent } from '../../src/map/extent.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { createGivenHeads, weakOf } from '../../src/plan/head-map.js';
import type { HeadMapData } from '../../src/plan/head-map-schema.js';
import { parsePreset } from '../../src/preset-files.js';

const drive = { sectorCount: 100_000, sectorBytes: 512 };

function dataOf(text: string, size = drive): HeadMapData {
  const result = parseHeadMap(text, size);
  if ('problems' in result) throw new Error(result.problems[0]!.sentence);
  return result.value;
}

/** Heads by stretch: `2:100` is a hundred sectors of head 2, `-` nobody's. */
function laidOut(text: string, physicalCount = 1, size = drive): string {
  const { map } = createGivenHeads(dataOf(text, size), size.sectorCount, physicalCount);
  return [...map.runs()]
    .map(({ count, value }) => `${value === 0 ? '-' : value - 1}:${count}`)
    .join(' ');
}

describe('what a file says becomes bands', () => {
  const small = { sectorCount: 1000, sectorBytes: 512 };

  test.each([
    ['heads that take turns', 'heads: 2\nzones: [{ bandSectors: 300 }]', '0:300 1:300 0:300 1:100'],
    [
      'in another order, with bands of their own length',
      'heads: 3\nzones: [{ bandSectors: [100, 200], order: [2, 0] }]',
      '2:100 0:200 2:100 0:200 2:100 0:200 2:100',
    ],
    [
      'zones, each to where the next begins',
      'heads: 2\nzones: [{ bandSectors: 250 }, { from: 500, to: 900, bandSectors: 200 }]',
      '0:250 1:250 0:200 1:200 -:100',
    ],
    [
      'single bands, from where to where',
      'heads: 4\nbands: [{ head: 3, from: 100, to: 150 }, { head: 1, from: 500, sectors: 1 }]',
      '-:100 3:50 -:350 1:1 -:499',
    ],
    [
      'bands of one head at a distance, to the end of the drive',
      'heads: 4\nbands: [{ head: 2, from: 100, sectors: 200, period: 350 }]',
      '-:100 2:200 -:150 2:200 -:150 2:200',
    ],
    [
      'and up to an end, which cuts the last one',
      'heads: 4\nbands: [{ head: 2, from: 100, sectors: 200, period: 350, to: 500 }]',
      '-:100 2:200 -:150 2:50 -:500',
    ],
    [
      'bands prevail over zones',
      'heads: 2\nzones: [{ bandSectors: 500 }]\nbands: [{ head: 1, from: 100, to: 200 }]',
      '0:100 1:100 0:300 1:500',
    ],
    ['sizes with units', 'heads: 2\nzones: [{ bandSectors: 256 kB }]', '0:500 1:500'],
  ])('%s', (_what, text, expected) => {
    expect(laidOut(text, 1, small)).toBe(expected);
  });

  test('edges are moved to whole physical sectors, which no two heads share', () => {
    expect(laidOut('heads: 2\nzones: [{ bandSectors: 301 }]', 8, small)).toBe(
      '0:296 1:304 0:296 1:104',
    );
  });
});

const zone = 'zones: [{ bandSectors: 1000 }]';

describe('every mistake is told with line, column and field', () => {
  test.each([
    ['heads: 4', '1:1: zones or bands are needed'],
    [zone, '1:1: heads: is missing'],
    [`heads: 0\n${zone}`, '1:8: heads: must be above 0'],
    [`heads: 300\n${zone}`, '1:8: heads: must be at most 254'],
    [`heads: 4\nweek: [1]\n${zone}`, "2:1: week: unknown word; did you mean 'weak'?"],
    [`heads: 4\nweak: [1, 4]\n${zone}`, '2:11: weak[1]: the heads are 0 to 3'],
    [`heads: 4\nweak: [1]\ndead: [1]\n${zone}`, '3:8: dead[0]: head 1 is said to be weak too'],
    [`heads: 4\n${zone.replace('1000', '1 %')}`, 'zones[0].bandSectors: expected'],
    [
      'heads: 4\nzones:\n  - { bandSectors: 9, order: [0, 9] }',
      '3:34: zones[0].order[1]: the heads are 0 to 3',
    ],
    ['heads: 4\nzones: [{ bandSectors: [1, 2] }]', '2:24: zones[0].bandSectors: has 2 sizes for 4'],
    ['heads: 4\nbands: [{ head: 4, from: 0, to: 9 }]', '2:17: bands[0].head: the heads are 0 to 3'],
    ['heads: 4\nbands: [{ head: 1, from: 0 }]', '2:9: bands[0]: sectors: is missing'],
    ['heads: 4\nbands: [{ head: 1, from: 0, to: 9, period: 99 }]', 'bands[0]: sectors: is missing'],
    ['heads: [', '1:9: Flow sequence'],
  ])('%j', (text, sentence) => {
    const result = parseHeadMap(text);
    if ('value' in result) throw new Error('the head map was accepted');
    const { line, column, sentence: said } = result.problems[0]!;
    expect(`${line}:${column}: ${said}`).toContain(sentence);
  });

  test.each([
    [`heads: 4\nsectorCount: 5\n${zone}`, '2:14: sectorCount: is 5, but the drive has 100000'],
    [`heads: 4\nsectorBytes: 4096\n${zone}`, '2:14: sectorBytes: is 4096, but the drive has 512'],
    [
      'heads: 4\nzones: [{ to: 100001, bandSectors: 9 }]',
      '2:9: zones[0]: ends at LBA 100001, but the drive has 100000 sectors',
    ],
    [
      'heads: 4\nzones: [{ from: 200000, bandSectors: 9 }]',
      '2:9: zones[0]: begins at LBA 200000 and ends at 100000',
    ],
    [
      'heads: 4\nzones: [{ to: 90, bandSectors: 9 }, { from: 50, bandSectors: 9 }]',
      '2:37: zones[1]: overlaps the zone before it at LBA 50',
    ],
    ['heads: 4\nzones: [{ bandSectors: 0 }]', '2:24: zones[0].bandSectors: a band of no sectors'],
    [
      'heads: 4\nbands: [{ head: 1, from: 0, to: 200 GB }]',
      '2:9: bands[0]: ends at LBA 390625000, but the drive has 100000 sectors',
    ],
    ['heads: 4\nbands: [{ head: 1, from: 50, to: 40 }]', '2:9: bands[0]: a band of no sectors'],
    [
      'heads: 4\nbands: [{ head: 1, from: 0, sectors: 50, to: 40 }]',
      '2:9: bands[0]: 50 sectors from LBA 0 do not end at 40',
    ],
    [
      'heads: 4\nbands: [{ head: 1, from: 0, sectors: 50, period: 40 }]',
      '2:50: bands[0].period: a band is longer than the way to the next one',
    ],
    [
      'heads: 4\nbands:\n  - { head: 1, from: 0, to: 50 }\n  - { head: 2, from: 40, to: 60 }',
      '4:5: bands[1]: LBA 40 is a band of head 1 already',
    ],
  ])('for a drive: %j', (text, sentence) => {
    expect('value' in parseHeadMap(text)).toBe(true);
    const result = parseHeadMap(text, drive);
    if ('value' in result) throw new Error('the head map was accepted');
    const { line, column, sentence: said } = result.problems[0]!;
    expect(`${line}:${column}: ${said}`).toContain(sentence);
  });

  test('sizes given in the wrong unit are no map of a million bands', () => {
    const large = { sectorCount: 2e9, sectorBytes: 512 };
    const result = parseHeadMap('heads: 4\nzones: [{ bandSectors: 800 }]', large);
    expect('problems' in result && result.problems[0]!.sentence).toMatch(/are the most/);
  });
});

describe('which of given heads are weak', () => {
  const text = 'heads: 4\nzones: [{ bandSectors: 2000 }]';
  const headOf = (lba: number) => Math.floor(lba / 2000) % 4;

  /** The weak heads of a drive that was read whole, with bad sectors at these LBAs. */
  function weakWith(bad: readonly number[], words = '') {
    const given = createGivenHeads(dataOf(`${words}\n${text}`), drive.sectorCount, 1);
    const map = createRunMap(drive.sectorCount, statuses.finished);
    const spots = [...new Set(bad)].sort((a, b) => a - b);
    for (const lba of spots) map.set({ lba, count: 1 }, statuses['bad-sector']);
    const see = (_extent: Extent) => ({ poor: 0, tried: 0, slowness: 1 });
    return weakOf(given, { map, physicalCount: 1, spots, see });
  }

  const spread = (seed: number, count: number, wanted: (head: number) => boolean) => {
    const random = createRandom(seed);
    const found: number[] = [];
    while (found.length < count) {
      const lba = random.below(drive.sectorCount);
      if (wanted(headOf(lba))) found.push(lba);
    }
    return found;
  };

  test.each([1, 2, 3, 4])('seed %i: the one with most of the damage, and its bands', (seed) => {
    const head = seed % 4;
    const bad = [...spread(seed, 60, (each) => each === head), ...spread(seed + 9, 6, () => true)];
    const weak = weakWith(bad)!;
    expect(weak.numbers).toEqual([head]);
    expect(weak.weak.every(({ lba, count }) => headOf(lba) === head && count === 2000)).toBe(true);
    expect(weak.spotRate).toBeGreaterThan(60 / 26_000);
    expect(weak.spotRate).toBeLessThan(70 / 24_000);
    expect(weak.evidence).toBeGreaterThan(6);
  });

  test('two of four, the worse first; bands that touch are one', () => {
    const bad = [...spread(1, 200, (head) => head === 2), ...spread(2, 80, (head) => head === 1)];
    const weak = weakWith(bad)!;
    expect(weak.numbers).toEqual([2, 1]);
    expect(weak.weak[0]).toEqual({ lba: 2000, count: 4000 });
  });

  test.each([1, 2, 3, 4])('seed %i: none where damage is scattered', (seed) => {
    expect(weakWith(spread(seed, 100, () => true))).toBeUndefined();
  });

  test('none for a scratch, though it is all on one head', () => {
    const scratch = Array.from({ length: 60 }, (_, n) => 4100 + 25 * n);
    expect(new Set(scratch.map(headOf)).size).toBe(1);
    expect(weakWith(scratch)).toBeUndefined();
  });

  test('what the file says prevails: this one, or none', () => {
    const bad = spread(1, 200, (head) => head === 2);
    expect(weakWith(bad, 'weak: [0]')).toMatchObject({ numbers: [0] });
    expect(weakWith(bad, 'weak: [0]')!.evidence).toBeUndefined();
    expect(weakWith(bad, 'weak: []')).toBeUndefined();
    expect(weakWith(bad, 'dead: [2]')).toBeUndefined();
  });
});

test('the guide’s examples are what they say', () => {
  const guide = readFileSync(join(import.meta.dirname, '../../docs/guide.md'), 'utf8');
  const example = (what: string) => guide.split(`\`\`\`yaml ${what}\n`)[1]!.split('```')[0]!;
  expect(parsePreset(example('preset'))).toHaveProperty('value');
  const terabyte = { sectorCount: 1_953_525_168, sectorBytes: 512 };
  expect(dataOf(example('head map'), terabyte)).toMatchObject({ weak: [2], dead: [3] });
});
