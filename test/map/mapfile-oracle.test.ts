import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isLastspinError } from '../../src/errors.js';
import {
  byteStatistics,
  formatMapFile,
  type ParsedMap,
  parseMapFile,
} from '../../src/map/mapfile.js';
import { runMapFrom } from '../../src/map/run-map.js';
import { createJudge, hasDdrescuelog, type Judge } from './ddrescuelog.js';

describe.skipIf(!hasDdrescuelog())('map files before GNU ddrescuelog (package gddrescue)', () => {
  let judge: Judge;
  beforeAll(() => {
    judge = createJudge();
  });
  afterAll(() => judge.dispose());

  it('are accepted, refused and counted alike, whatever is in them', () => {
    fc.assert(
      fc.property(anyFile, (content) => expectSameVerdict(judge, content)),
      { numRuns: 400 },
    );
  });

  it('are judged alike when a good file is damaged', () => {
    fc.assert(
      fc.property(goodFile, mutations, (content, changes) => {
        expectSameVerdict(judge, mutate(content, changes));
      }),
      { numRuns: 300 },
    );
  });

  it('are accepted when we wrote them, with the same statistics', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 60, max: 4 }), (values) => {
        const starts = Float64Array.from(values, (_, index) => index);
        const pieces = formatMapFile({
          map: runMapFrom(values.length, starts, values),
          sectorBytes: 16,
          version: '1.2.3',
          comments: ['lastspin-checkpoint: 1 00000000', `lastspin-state: ${'x'.repeat(3000)}`],
          currentPosition: 16,
          currentStatus: '/',
          currentPass: 2,
        });
        const content = Buffer.concat([...pieces]);
        expect(judge.statistics(content).accepted).toBe(true);
        expectSameVerdict(judge, content);
      }),
      { numRuns: 50 },
    );
  });
});

function expectSameVerdict(judge: Judge, content: Uint8Array): void {
  const verdict = judge.statistics(content);
  const parsed = parsedOrRefused(content);
  const shown = JSON.stringify(Buffer.from(content).toString('latin1'));
  expect(parsed !== undefined, `${shown}: ddrescuelog ${verdict.accepted}`).toBe(verdict.accepted);
  if (parsed === undefined) return;
  // Without blocks it says that there is nothing to do, and shows no numbers.
  if (parsed.starts.length === 0 || parsed.end > 9999) return;
  const numbers = numbersIn(verdict.text);
  expect(numbersOf(parsed).bytes, shown).toEqual(numbers.bytes);
  // ddrescuelog also counts first blocks of size 0 as areas; there is nothing in them.
  const emptyCount = sumOf(numbers.areas) - parsed.starts.length;
  if (emptyCount <= 0) expect(numbersOf(parsed).areas, shown).toEqual(numbers.areas);
}

function parsedOrRefused(content: Uint8Array): ParsedMap | undefined {
  try {
    return parseMapFile(content, 'case.map');
  } catch (error) {
    if (isLastspinError(error, 'MAP_INVALID')) return undefined;
    throw error;
  }
}

const rows = {
  'non-tried': 'non-tried',
  rescued: 'finished',
  'non-trimmed': 'non-trimmed',
  'non-scraped': 'non-scraped',
  'bad-sector': 'bad-sector',
} as const;

function sumOf(counts: Record<string, number>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

interface Numbers {
  readonly bytes: Record<string, number>;
  readonly areas: Record<string, number>;
}

function numbersOf(parsed: ParsedMap): Numbers {
  const counts = byteStatistics(parsed);
  const table = Object.entries(rows).map(([row, status]) => [row, counts[status]] as const);
  return {
    bytes: Object.fromEntries(table.map(([row, { bytes }]) => [row, bytes])),
    areas: Object.fromEntries(table.map(([row, { areas }]) => [row, areas])),
  };
}

function numbersIn(text: string): Numbers {
  const table = Object.keys(rows).map((row) => {
    const [, bytes, areas] = new RegExp(`${row}: +([0-9]+) B, +in +([0-9]+) area`).exec(text) ?? [];
    return { row, bytes: Number(bytes), areas: Number(areas) };
  });
  return {
    bytes: Object.fromEntries(table.map(({ row, bytes }) => [row, bytes])),
    areas: Object.fromEntries(table.map(({ row, areas }) => [row, areas])),
  };
}

const letter = fc.constantFrom(...'?*/-+');

/** A file as ddrescue would write it, with small numbers so that ddrescuelog prints them in
 * full. */
const goodFile = fc
  .tuple(fc.array(fc.tuple(fc.integer({ min: 1, max: 99 }), letter), { minLength: 1 }), letter)
  .map(([blocks, status]) => {
    let position = 0;
    const lines = blocks.map(([size, each]) => {
      const line = `0x${hex(position)}  0x${hex(size)}  ${each}\n`;
      position += size;
      return line;
    });
    const text = `# Mapfile.\n# current_pos\n0x00000000     ${status}               1\n`;
    return new TextEncoder().encode(text + lines.join(''));
  });

function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

const integerText = fc.oneof(
  { weight: 6, arbitrary: fc.nat(20).map(String) },
  fc.nat(300).map((value) => `0x${value.toString(16)}`),
  fc.nat(70).map((value) => `0${value.toString(8)}`),
  fc.constantFrom('0x', '08', '+5', '-1', '-0', '+', '-', '', '0X1f', '0b1', '1e3', '5.5', '00'),
  fc.constantFrom('9007199254740992', '9007199254740993', '0x7fffffffffffffff'),
  fc.constantFrom('9223372036854775808', '0xffffffffffffffffffff', '-99999999999999999999'),
);
const passText = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('', '1', '2') },
  fc.constantFrom('0', '-1', '+1', '0x1', 'x', '1x', '-', '2147483648', '4294967297'),
  fc.constantFrom('99999999999', '9223372036854775807', '9223372036854775808', '-4294967295'),
);
const gapText = fc.oneof(
  { weight: 6, arbitrary: fc.constant(' ') },
  fc.constantFrom('', '\t', '\r', '  ', '\v', '\f', '\0', ' '.repeat(60), ' '.repeat(117)),
);
const statusText = fc.oneof(
  { weight: 8, arbitrary: letter },
  fc.constantFrom('F', 'G', 'x', '', '#', '++', '\0'),
);
const endText = fc.oneof(
  { weight: 6, arbitrary: fc.constant('\n') },
  fc.constantFrom('\r\n', ' # c\n', '\r', '', '\n\n', '\n# c\n', '\n \t# c\n', '\0\n', ' junk\n'),
);
const startText = fc.oneof(
  { weight: 8, arbitrary: fc.constant('') },
  fc.constantFrom(' ', '\t', '\r', '# c\n', '\ufeff', '\0'),
);

const statusLine = fc
  .tuple(startText, integerText, gapText, statusText, gapText, passText, endText)
  .map((parts) => parts.join(''));

/** Block lines, most of them contiguous so that the later ones matter. */
const blockLines = fc
  .array(
    fc.record({
      position: fc.option(integerText, { freq: 12 }),
      size: fc.oneof(
        { weight: 8, arbitrary: fc.integer({ min: 1, max: 50 }).map(String) },
        integerText,
      ),
      gaps: fc.tuple(startText, gapText, gapText),
      status: statusText,
      end: endText,
    }),
    { maxLength: 6 },
  )
  .map((blocks) => {
    let next = 0;
    return blocks
      .map(({ position, size, gaps, status, end }) => {
        const at = position ?? String(next);
        next = Number(at) + Number(size);
        return `${gaps[0]}${at}${gaps[1]}${size}${gaps[2]}${status}${end}`;
      })
      .join('');
  });

const anyFile = fc
  .tuple(fc.oneof({ weight: 5, arbitrary: fc.constant('0 + 1\n') }, statusLine), blockLines)
  .map(([status, blocks]) => new TextEncoder().encode(status + blocks));

type Mutation = { kind: 'set' | 'insert' | 'delete' | 'cut'; at: number; byte: number };

const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({
    kind: fc.constantFrom<Mutation['kind'][]>('set', 'insert', 'delete', 'cut'),
    at: fc.nat(400),
    byte: fc.constantFrom(...new TextEncoder().encode('0123456789xX+-?*/# \n\r\t\0AFGz')),
  }),
  { minLength: 1, maxLength: 3 },
);

function mutate(content: Uint8Array, changes: readonly Mutation[]): Uint8Array {
  const bytes = [...content];
  for (const { kind, at, byte } of changes) {
    const place = at % (bytes.length + 1);
    if (kind === 'set' && place < bytes.length) bytes[place] = byte;
    else if (kind === 'insert') bytes.splice(place, 0, byte);
    else if (kind === 'delete') bytes.splice(place, 1);
    else if (kind === 'cut') bytes.length = Math.max(place, bytes.length - 10);
  }
  return Uint8Array.from(bytes);
}
