import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  alignToSectors,
  changeStatuses,
  combine,
  domainRuns,
  forEachDifference,
  forEachSource,
  inversion,
  openEnd,
  outside,
  type Runs,
  shift,
  unionOf,
} from '../../src/map/algebra.js';
import { cellsOf } from '../../src/map/algebra-cells.js';
import { walk } from '../../src/map/algebra-runs.js';
import { parseSectorList } from '../../src/map/algebra-sectors.js';
import { formatByteMap } from '../../src/map/algebra-writer.js';
import { parseMapFile } from '../../src/map/mapfile.js';

/** A map of one status a byte, from `start`. */
function runsOf(start: number, codes: readonly number[]): Runs {
  const places = codes.map((_, index) => index).filter((n) => n === 0 || codes[n] !== codes[n - 1]);
  return {
    starts: Float64Array.from(places, (place) => start + place),
    codes: Uint8Array.from(places, (place) => codes[place]!),
    end: start + codes.length,
  };
}

/** The status of every byte below `size`, `outside` where there is none. */
function bytesOf(runs: Runs, size: number): number[] {
  const bytes = new Array<number>(size).fill(outside);
  walk([runs], (from, to, [code]) => void bytes.fill(code!, from, Math.min(to, size)));
  return bytes;
}

const codes = fc.array(fc.nat(4), { minLength: 1, maxLength: 24 });
const anyRuns = fc.tuple(fc.nat(9), codes).map(([start, list]) => runsOf(start, list));
const size = 48;

describe('the union of maps', () => {
  it('knows of every byte what the best of them knows, within the domain', () => {
    fc.assert(
      fc.property(fc.array(anyRuns, { minLength: 1, maxLength: 4 }), fc.nat(20), (maps, from) => {
        const domain = domainRuns(from);
        const single = maps.map((map) => bytesOf(map, size));
        const known = Array.from({ length: size }, (_, at) =>
          Math.max(
            ...single
              .filter((_, n) => n === 0 || at >= from)
              .map((b) => (b[at] === outside ? -1 : b[at]!)),
          ),
        );
        const first = known.findIndex((code) => code >= 0);
        const last = known.findLastIndex((code) => code >= 0);
        const expected = known.map((code, at) =>
          at < first || at > last ? outside : Math.max(code, 0),
        );
        expect(bytesOf(unionOf(maps, domain), size)).toEqual(expected);
      }),
    );
  });

  it('names the first map that holds each finished byte', () => {
    fc.assert(
      fc.property(fc.array(anyRuns, { minLength: 1, maxLength: 4 }), fc.nat(20), (maps, from) => {
        const found = new Array<number>(size).fill(-1);
        let end = -1;
        let before = -1;
        forEachSource(maps, domainRuns(from), (start, to, index) => {
          expect(start > end || (start === end && index !== before)).toBe(true);
          found.fill(index, start, to);
          [end, before] = [to, index];
        });
        const single = maps.map((map) => bytesOf(map, size));
        const expected = found.map((_, at) =>
          at < from ? -1 : single.findIndex((each) => each[at] === 4),
        );
        expect(found).toEqual(expected);
      }),
    );
  });
});

describe('fitting a map to sectors', () => {
  it('gives a sector the least processed of its statuses and keeps the ends', () => {
    fc.assert(
      fc.property(anyRuns, fc.integer({ min: 1, max: 6 }), (map, sectorBytes) => {
        const bytes = bytesOf(map, size);
        const expected = bytes.map((code, at) => {
          const sector = Math.floor(at / sectorBytes) * sectorBytes;
          return code === outside
            ? outside
            : Math.min(...bytes.slice(sector, sector + sectorBytes));
        });
        expect(bytesOf(alignToSectors(map, sectorBytes), size)).toEqual(expected);
      }),
    );
  });
});

describe('a map without an end', () => {
  const open = parseMapFile(
    new TextEncoder().encode('0 ? 1\n4096 9223372036854775807 +\n'),
    'open',
  );
  const text = (runs: Runs) =>
    Buffer.concat(formatByteMap({ ...open, ...runs, version: '1' }))
      .toString()
      .split('\n')
      .slice(4)
      .join('|');

  it('is written with the size that ddrescue gives it', () => {
    expect(text(open)).toBe('0x00001000  0x7FFFFFFFFFFFEFFF  +|');
  });

  it('stays without one, wherever it is moved', () => {
    expect(shift(open, -4096, domainRuns()).end).toBe(openEnd);
    expect(text(shift(open, 4096, domainRuns()))).toBe(
      '0x00000000  0x00002000  ?|0x00002000  0x7FFFFFFFFFFFDFFF  +|',
    );
  });

  it('is cut by a domain that has one', () => {
    expect(shift(open, 0, domainRuns(0, 8192)).end).toBe(8192);
  });
});

describe('the edges', () => {
  it('a map moved up has no gap before its first block', () => {
    const moved = shift(runsOf(5, [4, 4]), 3, domainRuns());
    expect([[...moved.starts], [...moved.codes], moved.end]).toEqual([[0, 8], [0, 4], 10]);
  });

  it('a map moved below 0 altogether is empty', () => {
    expect(shift(runsOf(0, [4, 4]), -2, domainRuns()).starts).toHaveLength(0);
  });

  it('differences carry what each map says, joined over the domain', () => {
    const found: unknown[] = [];
    const [a, b] = [runsOf(0, [4, 4, 4, 3]), runsOf(1, [3, 3, 3])];
    forEachDifference([a, b], domainRuns(), false, (...each) => found.push(each));
    expect(found).toEqual([
      [0, 1, 4, outside],
      [1, 3, 4, 3],
    ]);
  });

  it.each([
    ['1 2 x', 1, 5],
    ['1\n\n 2,3', 3, 2],
    ['-1', 1, 1],
    ['9007199254740991', 1, 1],
    ['# 1 x\n5x', 2, 1],
  ])('a list of sectors with a mistake names its place: %j', (list, line, column) => {
    const place = new RegExp(`^list:${line}:${column}: `);
    expect(() => parseSectorList(new TextEncoder().encode(list), 'list', 512)).toThrow(place);
  });

  it('a lost byte shows in its cell, however large the cell', () => {
    const list = new Array<number>(1000).fill(4);
    list[777] = 3;
    const cells = cellsOf(runsOf(100, list), 100, 1100, 10);
    expect([...cells.codes]).toEqual([4, 4, 4, 4, 4, 4, 4, 3, 4, 4]);
    expect([cells.startOf(0), cells.startOf(7), cells.startOf(10)]).toEqual([100, 800, 1100]);
    expect(cellsOf(runsOf(0, [1, 2]), 0, 2, 10).count).toBe(2);
  });

  it('cells show the least hopeful byte of each', () => {
    const hope = [3, 2, 1, 0, 4];
    fc.assert(
      fc.property(anyRuns, fc.integer({ min: 1, max: 40 }), (map, count) => {
        const from = map.starts[0]!;
        const cells = cellsOf(map, from, map.end, count);
        const bytes = bytesOf(map, size);
        for (let cell = 0; cell < cells.count; cell++) {
          const within = bytes.slice(cells.startOf(cell), cells.startOf(cell + 1));
          const least = hope.find((code) => within.includes(code));
          expect(cells.codes[cell]).toBe(least);
        }
      }),
    );
  });
});

describe('a million runs', () => {
  it('are combined and inverted', () => {
    const count = 1_000_000;
    const starts = Float64Array.from({ length: count }, (_, n) => n * 512);
    const end = count * 512;
    const other = { starts, end, codes: Uint8Array.from(starts, (_, n) => (n % 3 === 0 ? 4 : 0)) };
    const mine = { starts, end, codes: Uint8Array.from(starts, (_, n) => (n % 2) * 4) };
    const merged = combine('and', mine, other, domainRuns());
    expect(merged.codes.filter((code) => code === 4)).toHaveLength(Math.ceil((count - 3) / 6));
    const inverted = changeStatuses(mine, inversion, domainRuns());
    expect(inverted.starts).toHaveLength(count);
    expect(inverted.codes[0]).toBe(4);
    expect(inverted.codes[1]).toBe(3);
  });
});
