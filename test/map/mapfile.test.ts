import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isLastspinError } from '../../src/errors.js';
import {
  createMapParser,
  formatMapFile,
  type ParsedMap,
  parseMapFile,
  sectorMapOf,
} from '../../src/map/mapfile.js';
import { createRunMap, type RunMap, runMapFrom } from '../../src/map/run-map.js';
import { statisticsOf } from '../../src/map/sector-map.js';

const header =
  '# Mapfile. Created by GNU ddrescue version 1.27\n0x00000000     ?               1\n';

function parse(text: string): ParsedMap {
  return parseMapFile(new TextEncoder().encode(text), 'case.map');
}

function blocksOf(map: ParsedMap): [number, number][] {
  return [...map.starts].map((start, index) => [start, map.codes[index]!]);
}

function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (isLastspinError(error)) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'accepted';
}

describe('reading a map file', () => {
  it('takes one that ddrescue wrote', () => {
    const map = parse(`# Mapfile. Created by GNU ddrescue version 1.27
# Command line: ddrescue -d /dev/sdb case.img case.map
# current_pos  current_status  current_pass
0x00012000     /               3
#      pos        size  status
0x00000000  0x00010000  +
0x00010000  0x00002000  -
0x00012000  0x1D1C0000  /
`);
    expect(blocksOf(map)).toEqual([
      [0, 4],
      [0x10000, 3],
      [0x12000, 2],
    ]);
    expect(map).toMatchObject({
      end: 0x1d1d2000,
      currentPosition: 0x12000,
      currentStatus: '/',
      currentPass: 3,
    });
    expect(map.comments[1]).toBe(' Command line: ddrescue -d /dev/sdb case.img case.map');
  });

  it.each([
    ['octal', '010 + 1\n0 010 -\n', [[0, 3]], 8],
    [
      'glued tokens',
      '0x200+1\n0 0x200-\n0x200 0x200+\n',
      [
        [0, 3],
        [512, 4],
      ],
      1024,
    ],
    [
      'CRLF and tabs',
      '0\t?\t1\r\n0\t5\t+\r\n5\t5\t-\r\n',
      [
        [0, 4],
        [5, 3],
      ],
      10,
    ],
    ['trailing junk', '0 ? 1 and so on\n0 5 + junk\n', [[0, 4]], 5],
    ['a missing pass', '0 ?\n0 5 +\n', [[0, 4]], 5],
    ['no final newline', '0 ? 1\n0 5 +', [[0, 4]], 5],
    ['a first block not at 0', '0 ? 1\n512 512 +\n', [[512, 4]], 1024],
    [
      'equal neighbours, joined',
      '0 ? 1\n0 5 +\n5 5 +\n10 2 -\n',
      [
        [0, 4],
        [10, 3],
      ],
      12,
    ],
    ['an empty file', '', [], 0],
    ['only comments', '# nothing\n  # here\n', [], 0],
    ['an empty first block', '0 ? 1\n0 0 ?\n0 5 +\n', [[0, 4]], 5],
    [
      'comments in between',
      '0 ?\n# a\n0 5 +\n\n  # b\n5 5 -\n',
      [
        [0, 4],
        [5, 3],
      ],
      10,
    ],
  ])('takes %s', (_, text, blocks, end) => {
    const map = parse(text);
    expect(blocksOf(map)).toEqual(blocks);
    expect(map.end).toBe(end);
  });

  it('takes the letters F and G of ddrescue filling and generating', () => {
    expect(parse('0 F\n').currentStatus).toBe('F');
    expect(parse('0 G 2\n')).toMatchObject({ currentStatus: 'G', currentPass: 2 });
  });

  it('clamps a size that overflows, as ddrescue does', () => {
    expect(parse(`${header}10 0xFFFFFFFFFFFFFFFFFF ?\n`).end).toBe(2 ** 63);
    const huge = '0 9007199254740993 +\n';
    expect(parse(`${header}${huge}9007199254740993 5 -\n`).starts.length).toBe(2);
    expect(refusal(() => parse(`${header}${huge}9007199254740992 5 -\n`))).toContain(':4:');
  });

  it.each([
    ['a byte order mark', `\ufeff${header}0 5 +\n`, ':1: bad or missing status line'],
    ['no status line', '# a\n0 5 +\n5 5 -\n', ':2: bad or missing status line'],
    ['a gap', `${header}0 5 +\n6 5 -\n`, ':4: block at 0x6 leaves a gap after'],
    ['an overlap', `${header}0 5 +\n4 5 -\n`, ':4: block at 0x4 overlaps'],
    ['a size of 0', `${header}5 0 +\n`, ':3: bad block line'],
    ['a negative size', `${header}0 -5 +\n`, ':3: bad block line'],
    ['a negative position', '-1 ?\n', ':1: bad or missing status line'],
    ['pass 0', '0 ? 0\n', ':1: bad or missing status line'],
    ['an unknown status', `${header}0 5 x\n`, ':3: bad block line'],
    ['a line cut short', `${header}0x00000000  0x000`, ':3: bad block line'],
  ])('refuses %s, naming the line', (_, text, message) => {
    const said = refusal(() => parse(text));
    expect(said).toMatch(/^MAP_INVALID case\.map:/);
    expect(said).toContain(message);
    expect(said).not.toContain('\n');
  });

  it('does not care where the pieces of a file are cut', () => {
    const text = `# a comment\n${header}0 5 +\n5 0x10 -\r\n# between\n21 0777 *\n532 1 ?`;
    const whole = parse(text);
    const bytes = new TextEncoder().encode(text);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        const parser = createMapParser('case.map');
        const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        // One buffer for all pieces, as a reader of files has it.
        const buffer = Buffer.alloc(bytes.length);
        for (let i = 1; i < places.length; i++) {
          const piece = bytes.subarray(places[i - 1], places[i]);
          buffer.fill(0xff);
          buffer.set(piece);
          parser.push(buffer.subarray(0, piece.length));
        }
        expect(parser.finish()).toEqual(whole);
      }),
    );
  });
});

describe('a map file as sectors', () => {
  const drive = { sectorBytes: 512, sectorCount: 8 };

  function sectorsOf(text: string, of = drive): string {
    const map = sectorMapOf(parse(`${header}${text}`), of, 'case.map');
    return Array.from({ length: of.sectorCount }, (_, lba) => '?*/-+'[map.valueAt(lba)]).join('');
  }

  it('takes whole sectors as they are, and the rest of the drive as non-tried', () => {
    expect(sectorsOf('0 1024 +\n1024 512 -\n')).toBe('++-?????');
    expect(sectorsOf('1024 1024 +\n')).toBe('??++????');
    expect(sectorsOf('')).toBe('????????');
  });

  it('gives a sector of fragments its least processed state', () => {
    expect(sectorsOf('0 700 +\n700 100 -\n800 1760 +\n')).toBe('+-+++???');
    expect(sectorsOf('0 600 +\n600 10 *\n610 10 /\n620 404 -\n')).toBe('+*??????');
    expect(sectorsOf('100 3996 +\n')).toBe('?+++++++');
    expect(sectorsOf('0 4000 +\n')).toBe('+++++++?');
  });

  it('refuses a map that reaches past the drive', () => {
    expect(refusal(() => sectorsOf('0 5000 +\n'))).toMatch(/^MAP_MISMATCH case\.map: .*5000.*4096/);
    expect(refusal(() => sectorsOf('0 4096 +\n4096 512 ?\n'))).toContain('MAP_MISMATCH');
  });

  it('cuts off the endless non-tried tail of a drive of unknown size', () => {
    expect(sectorsOf('0 512 +\n512 0x7FFFFFFFFFFFFDFF ?\n')).toBe('+???????');
    expect(sectorsOf('0 4096 +\n4096 0x7FFFFFFFFFFFEFFF ?\n')).toBe('++++++++');
    expect(refusal(() => sectorsOf('0 512 +\n512 0x7FFFFFFFFFFFFDFF -\n'))).toContain('MISMATCH');
  });

  it('agrees with a byte array for any fragments', () => {
    const piece = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.nat(4));
    fc.assert(
      fc.property(
        fc.array(piece),
        fc.nat(30),
        fc.integer({ min: 1, max: 9 }),
        (pieces, gap, sectorBytes) => {
          const bytes: number[] = Array(gap).fill(0);
          const lines = pieces.map(([size, code]) => {
            const line = `${bytes.length} ${size} ${'?*/-+'[code]}\n`;
            for (let i = 0; i < size; i++) bytes.push(code);
            return line;
          });
          const sectorCount = Math.ceil(bytes.length / sectorBytes) + 1;
          while (bytes.length < sectorCount * sectorBytes) bytes.push(0);
          const expected = Array.from({ length: sectorCount }, (_, lba) => {
            const codes = bytes.slice(lba * sectorBytes, (lba + 1) * sectorBytes);
            return '?*/-+'[Math.min(...codes)];
          });
          expect(sectorsOf(lines.join(''), { sectorBytes, sectorCount })).toBe(expected.join(''));
        },
      ),
    );
  });
});

describe('writing a map file', () => {
  it('writes what ddrescue writes', () => {
    const map = createRunMap(2 ** 33);
    map.set({ lba: 0, count: 128 }, 4);
    map.set({ lba: 128, count: 1 }, 3);
    expect(textOf(map, ['Command line: lastspin image'])).toBe(`# Mapfile. Created by lastspin 1.2.3
# Command line: lastspin image
# current_pos  current_status  current_pass
0x00010000     *               2
#      pos        size  status
0x00000000  0x00010000  +
0x00010000  0x00000200  -
0x00010200  0x3FFFFFEFE00  ?
`);
  });

  it('is read again as the same map, over many pieces', () => {
    const values = Uint8Array.from(
      { length: 30_000 },
      (_, index) => (index * 7 + (index >> 5)) % 5,
    );
    const map = runMapFrom(
      values.length,
      Float64Array.from(values, (_, index) => index),
      values,
    );
    const drive = { sectorBytes: 4096, sectorCount: values.length };
    const again = sectorMapOf(parse(textOf(map, [], 4096)), drive, 'case.map');
    expect([...again.runs()]).toEqual([...map.runs()]);
    expect(statisticsOf(again)).toEqual(statisticsOf(map));
  });

  it('keeps a comment to one line', () => {
    expect(textOf(createRunMap(1), ['a\n0 5 +\r\nb'])).toContain('\n# a 0 5 +  b\n');
  });
});

function textOf(map: RunMap, comments: string[], sectorBytes = 512): string {
  const pieces = formatMapFile({
    map,
    sectorBytes,
    version: '1.2.3',
    comments,
    currentPosition: 0x10000,
    currentStatus: '*',
    currentPass: 2,
  });
  return Buffer.concat([...pieces]).toString();
}
