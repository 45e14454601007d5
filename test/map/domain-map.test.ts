import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { domainOf, domainOfRanges, parseRanges } from '../../src/map/domain-map.js';
import { parseMapFile } from '../../src/map/mapfile.js';
import { parseLooseMapFile } from '../../src/map/mapfile-loose.js';
import type { RunMap } from '../../src/map/run-map.js';
import { needsTool } from '../tools.js';

const bytesOf = (text: string) => new TextEncoder().encode(text);
const drive = { sectorBytes: 512, sectorCount: 100 };

/** `lba+count` of everything inside. */
function inside(domain: RunMap): string[] {
  return [...domain.runs()]
    .filter(({ value }) => value === 1)
    .map(({ lba, count }) => `${lba}+${count}`);
}

describe('a domain from a ddrescue map', () => {
  const domain = (blocks: string) =>
    domainOf(parseMapFile(bytesOf(`0 ?\n${blocks}`), 'd'), drive, 'd');

  it('is its finished blocks, partial sectors included', () => {
    expect(inside(domain('0 1023 -\n1023 2 +\n1025 1023 ?\n2048 512 +\n'))).toEqual(['1+2', '4+1']);
  });

  it('joins blocks that share a sector', () => {
    expect(inside(domain('0 100 +\n100 100 -\n200 100 +\n300 300 /\n600 10 +\n'))).toEqual(['0+2']);
  });

  it('is cut off at the end of the drive', () => {
    expect(inside(domain('0 512 +\n512 49152 -\n49664 9223372036854775807 +\n'))).toEqual([
      '0+1',
      '97+3',
    ]);
    expect(domain('0 51200 +\n51200 512 +\n').runCount).toBe(1);
  });

  it.each([
    ['0 51200 -\n51200 512 +\n'],
    ['0 51200 ?\n'],
    [''],
  ])('is refused when empty: %j', (blocks) => {
    expect(() => domain(blocks)).toThrow(
      /^d: no finished block \(\+\) within the drive's 100 sectors/,
    );
  });

  test.skipIf(needsTool('ddrescuelog'))('has the sectors that ddrescuelog lists', () => {
    const block = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.constantFrom(...'?*/-++'));
    const blocks = fc.array(block, { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.nat(9), blocks, fc.integer({ min: 1, max: 5 }), (from, list, sectorBytes) => {
        const text = mapText(from, list);
        const listed = spawnSync('ddrescuelog', ['-l+', `-b${sectorBytes}`, '-'], { input: text });
        const expected = listed.stdout.toString().split('\n').filter(Boolean).map(Number);
        fc.pre(expected.length > 0);
        const size = { sectorBytes, sectorCount: 400 };
        const found = domainOf(parseMapFile(bytesOf(text), 'd'), size, 'd');
        expect(lbasOf(found)).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  });
});

function mapText(from: number, list: readonly (readonly [number, string])[]): string {
  let at = from;
  const lines = list.map(([size, letter]) => {
    at += size;
    return `${at - size} ${size} ${letter}\n`;
  });
  return `0 ?\n${lines.join('')}`;
}

function lbasOf(domain: RunMap): number[] {
  return Array.from({ length: domain.size }, (_, lba) => lba).filter((lba) => domain.valueAt(lba));
}

describe('a list of ranges', () => {
  const domain = (text: string) => domainOfRanges(parseRanges(text, 'list'), drive, 'list');

  it('knows sectors, and bytes by their units', () => {
    const text = [
      '# what hung yesterday',
      '  5   # one sector',
      '10-12',
      '20+3',
      '0x1E - 0x1f',
      '40 + 2#two',
      '20480B+1B',
      '25KiB-26KiB',
      '98-',
      '',
    ].join('\n');
    expect(inside(domain(text))).toEqual(['5+1', '10+3', '20+3', '30+2', '40+2', '50+2', '98+2']);
  });

  it('may be in any order and overlap', () => {
    expect(inside(domain('50-60\r\n10-20\r\n15+40\r\n'))).toEqual(['10+51']);
  });

  it('reaches past the drive only with its end', () => {
    expect(inside(domain('90+1000'))).toEqual(['90+10']);
    expect(() => domain('1\n100-101')).toThrow(
      /^list:2: the range begins at LBA 100, the drive has 100/,
    );
    expect(() => domain('51200B+1B')).toThrow(/^list:1: the range begins at LBA 100/);
  });

  it('is refused when there is nothing in it', () => {
    expect(() => domain('# nothing\n')).toThrow(/^list: there is no range in it/);
  });

  it.each([
    ['5\n\n ten', 3, 2, /a number is needed here/],
    ['5 6', 1, 3, /the range should end here/],
    ['5-6-7', 1, 4, /the range should end here/],
    ['7-6', 1, 3, /runs backwards/],
    ['7+0', 1, 3, /empty/],
    ['1GB-1000000000B', 1, 5, /empty or runs backwards/],
    ['5+', 1, 3, /a number is needed here/],
    ['5 Gb', 1, 3, /should end here/],
    ['5Gb+1GB', 1, 2, /unknown unit 'Gb' \(B, kB/],
    ['5GB+1', 1, 5, /one number has a unit and the other has none/],
    ['5+1MB', 1, 3, /one number has a unit/],
    ['5GB', 1, 4, /needs an end or a size/],
    ['9007199254740993+1', 1, 1, /above 2\^53/],
    ['9007199254740991+1', 1, 18, /ends above 2\^53/],
    ['-5', 1, 1, /a number is needed/],
    ['1.5-2', 1, 2, /should end here/],
  ])('names the place of what is wrong in %j', (text, line, column, what) => {
    const place = new RegExp(`^list:${line}:${column}: .*${what.source}`);
    expect(() => parseRanges(text, 'list')).toThrow(place);
    expect(() => parseRanges(text, 'list')).toThrow(
      expect.objectContaining({ code: 'MAP_INVALID' }),
    );
  });
});

describe('a map written by hand', () => {
  const loose = (text: string) => parseLooseMapFile(bytesOf(text), 'hand');

  it('may be unordered, leave gaps and overlap where it says the same', () => {
    const { starts, codes, end, currentPass } = loose('0 + 3\n300 100 +\n50 10 -\n350 100 +\n');
    expect([[...starts], [...codes], end, currentPass]).toEqual([
      [0, 50, 60, 300],
      [0, 3, 0, 4],
      450,
      3,
    ]);
  });

  it('is refused with both lines when it contradicts itself', () => {
    expect(() => loose('0 +\n300 100 +\n10 5 ?\n399 2 -\n')).toThrow(
      /^hand:4: overlaps .* in line 2$/,
    );
    expect(() => loose('0 +\n10 5 +\n300 -\n')).toThrow(/^hand:3: bad block line/);
  });

  it('without blocks is empty', () => {
    expect(loose('0 +\n').starts).toHaveLength(0);
  });
});
