import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import {
  changeStatuses,
  combine,
  type Domain,
  domainRuns,
  forEachDifference,
  inversion,
  isFinished,
  openEnd,
  type Runs,
  shift,
  statisticsWithin,
} from '../../src/map/algebra.js';
import {
  forEachSectorRun,
  mapOfSectors,
  parseBitmap,
  parseSectorList,
  sectorsToHold,
  setBits,
} from '../../src/map/algebra-sectors.js';
import { type Annotation, formatByteMap } from '../../src/map/algebra-writer.js';
import { type ParsedMap, parseMapFile } from '../../src/map/mapfile.js';
import { parseLooseMapFile } from '../../src/map/mapfile-loose.js';
import { type StatusCode, statusLetters } from '../../src/map/status.js';
import { needsTool } from '../tools.js';

const folder = mkdtempSync(join(tmpdir(), 'lastspin-algebra-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Answer {
  readonly status: number;
  readonly stdout: Buffer;
}

/** Runs ddrescuelog with each list of arguments in turn, in one shell. `list` is standard input. */
function ask(files: Record<string, string | Uint8Array>, calls: readonly string[]): Answer[] {
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  const lines = calls.map((call, n) => `ddrescuelog ${call} > ${n}.out 2>/dev/null; echo $?`);
  const { stdout } = spawnSync('sh', [], { cwd: folder, input: lines.join('\n') });
  const statuses = stdout.toString().trim().split('\n').map(Number);
  return statuses.map((status, n) => ({ status, stdout: readFileSync(join(folder, `${n}.out`)) }));
}

/** The lines of a map file that are no comments. */
function linesOf(bytes: Uint8Array): string[] {
  return Buffer.from(bytes)
    .toString()
    .split('\n')
    .map((line) => line.replace(/\s*#.*/, ''))
    .filter(Boolean);
}

function written(origin: ParsedMap, runs: Runs, annotation?: Annotation): string[] {
  const { currentPosition, currentStatus, currentPass } = origin;
  const content = { ...runs, currentPosition, currentStatus, currentPass, version: '1' };
  return linesOf(Buffer.concat(formatByteMap(content, annotation)));
}

const letter = fc.constantFrom(...'?*/-+++');
const blocks = fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), letter), {
  minLength: 1,
  maxLength: 12,
});
const anyMap = fc
  .record({
    from: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat(20)),
    list: blocks,
    isOpen: fc.nat(9).map((n) => n === 0),
  })
  .map(({ from, list, isOpen }) => {
    let at = from;
    const distinct = list.filter(([, status], index) => status !== list[index - 1]?.[1]);
    const lines = distinct.map(([size, status], index) => {
      at += size;
      const isLast = index === distinct.length - 1;
      return `${at - size} ${isOpen && isLast ? 2n ** 63n - 1n : size} ${status}\n`;
    });
    return `5 * 2\n${lines.join('')}`;
  });
const anyRange = fc.oneof(
  fc.constant({ from: 0, size: Infinity }),
  fc.record({
    from: fc.nat(40),
    size: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 60 })),
  }),
);

interface Case {
  readonly a: string;
  readonly b: string;
  readonly d: string | undefined;
  readonly from: number;
  readonly size: number;
}

const anyCase: fc.Arbitrary<Case> = fc
  .tuple(anyMap, anyMap, fc.option(anyMap, { nil: undefined }), anyRange)
  .map(([a, b, d, range]) => ({ a, b, d, ...range }));

function read(text: string): ParsedMap {
  return parseMapFile(new TextEncoder().encode(text), 'case');
}

function domainIn({ d, from, size }: Case): Domain {
  return domainRuns(from, size, d === undefined ? undefined : read(d));
}

function optionsOf({ d, from, size }: Case): string {
  return `${d === undefined ? '' : '-m d'} -i ${from} ${size === Infinity ? '' : `-s ${size}`}`;
}

function filesOf({ a, b, d }: Case): Record<string, string> {
  return { a, b, d: d ?? '', list: '' };
}

/** Whether the domain holds nothing of what all these maps speak of: ddrescuelog then prints nothing. */
function isEmpty(maps: readonly Runs[], domain: Domain): boolean {
  const common = maps.reduce<Domain>((rest, { starts, end }) => {
    const from = starts[0] ?? 0;
    return domainRuns(from, end - from, rest);
  }, domain);
  return statisticsWithin(maps[0]!, common).inside.bytes === 0;
}

describe.skipIf(needsTool('ddrescuelog'))('the algebra before ddrescuelog', () => {
  test('combines, changes, inverts and annotates alike', () => {
    fc.assert(
      fc.property(
        anyCase,
        fc.string({ unit: letter, minLength: 1, maxLength: 4 }),
        fc.string({ unit: letter, minLength: 1, maxLength: 4 }),
        (each, old, young) => {
          const options = optionsOf(each);
          const [a, b, domain] = [read(each.a), read(each.b), domainIn(each)];
          const [and, or, xor, changed, inverted, annotated] = ask(filesOf(each), [
            `-y b ${options} a`,
            `-z b ${options} a`,
            `-x b ${options} a`,
            `-a '${old},${young}' ${options} a`,
            `-n ${options} a`,
            `-A ${options} a`,
          ]);
          if (!isEmpty([a, b], domain)) {
            expect(written(a, combine('and', a, b, domain))).toEqual(linesOf(and!.stdout));
            expect(written(a, combine('or', a, b, domain))).toEqual(linesOf(or!.stdout));
            expect(written(a, combine('xor', a, b, domain))).toEqual(linesOf(xor!.stdout));
          } else expect(and!.stdout.length + or!.stdout.length + xor!.stdout.length).toBe(0);
          if (isEmpty([a], domain)) return;
          const table = changesOf(old, young);
          expect(written(a, changeStatuses(a, table, domain))).toEqual(linesOf(changed!.stdout));
          expect(written(a, changeStatuses(a, inversion, domain))).toEqual(
            linesOf(inverted!.stdout),
          );
          const annotation = { domain, describe: () => 'here' };
          expect(written(a, a, annotation)).toEqual(linesOf(annotated!.stdout));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('compares, tests and counts alike', () => {
    fc.assert(
      fc.property(anyCase, fc.boolean(), (each, isCopy) => {
        const given = isCopy ? { ...each, b: each.a } : each;
        const options = optionsOf(given);
        const [a, b, domain] = [read(given.a), read(given.b), domainIn(given)];
        const [compared, asDomain, done, counted] = ask(filesOf(given), [
          `-p b ${options} a`,
          `-P b ${options} a`,
          `-D ${options} a`,
          `-t ${options} a`,
        ]);
        for (const [answer, finishedOnly] of [
          [compared!, false],
          [asDomain!, true],
        ] as const) {
          let differs = 0;
          const bytes = forEachDifference([a, b], domain, finishedOnly, () => differs++);
          // Where one of them says nothing at all ddrescuelog finds nothing to do.
          const isOneSided = isEmpty([a], domain) || isEmpty([b], domain);
          if (bytes > 0 && !isOneSided)
            expect(answer.status, `-p/-P ${finishedOnly}`).toBe(differs > 0 ? 1 : 0);
        }
        const { statuses, inside, begin, end } = statisticsWithin(a, domain);
        if (inside.bytes === 0) return;
        expect(isFinished(a, domain) ? 0 : 1).toBe(done!.status);
        if (end > 9999) return;
        const text = counted!.stdout.toString();
        const rows = {
          'non-tried': 'non-tried',
          rescued: 'finished',
          'non-trimmed': 'non-trimmed',
          'non-scraped': 'non-scraped',
          'bad-sector': 'bad-sector',
        } as const;
        for (const [row, name] of Object.entries(rows)) {
          const { bytes, areas } = statuses[name];
          expect(text).toMatch(new RegExp(`${row}: +${bytes} B, +in +${areas} area`));
        }
        if (!text.includes('domain begin')) return;
        expect(text).toMatch(new RegExp(`domain begin: +${begin} B, +domain end: +${end} B`));
        expect(text).toMatch(
          new RegExp(`domain size: +${inside.bytes} B, +in +${inside.areas} area`),
        );
      }),
      { numRuns: 60 },
    );
  });

  test('shifts alike', () => {
    fc.assert(
      fc.property(anyCase, fc.nat(40), fc.boolean(), (each, distance, isUp) => {
        const given = { ...each, from: isUp ? 0 : distance };
        const [a, domain] = [read(given.a), domainIn(given)];
        const to = isUp ? distance : 0;
        const [shifted] = ask(filesOf(given), [`--shift ${optionsOf(given)} -o ${to} a`]);
        if (isEmpty([a], domain)) return;
        // ddrescuelog leaves a gap behind the block that it puts in front of a map that begins above
        // 0, which it then refuses to read; and cuts an open end to where it is moved.
        if (isUp && a.starts[0]! > 0) return;
        if (!isUp && a.end === openEnd) return;
        expect(written(a, shift(a, to - given.from, domain))).toEqual(linesOf(shifted!.stdout));
      }),
      { numRuns: 60 },
    );
  });

  test('lists sectors alike, as numbers and as bits', () => {
    fc.assert(
      fc.property(
        anyCase,
        fc.integer({ min: 1, max: 5 }),
        fc.nat(6),
        fc.integer({ min: 1, max: 31 }),
        (each, sectorBytes, ahead, mask) => {
          const [a, domain] = [read(each.a), domainIn(each)];
          const out = (each.from % sectorBytes) + ahead * sectorBytes;
          const options = `${optionsOf(each)} -o ${out} -b ${sectorBytes} a`;
          const types = [...statusLetters].filter((_, code) => (mask >> code) & 1).join('');
          if (isEmpty([a], domain) || a.end === openEnd) return;
          const [list, little, big] = ask(filesOf(each), [
            `-l '${types}' ${options}`,
            `-F bitmap -l '${types}' ${options}`,
            `-F bitmap-be -l '${types}' ${options}`,
          ]);
          const numbering = { sectorBytes, offset: out - each.from };
          const sectors: number[] = [];
          const bytes = Math.ceil(sectorsToHold(a, numbering) / 8);
          const bitmaps = { little: Buffer.alloc(bytes), big: Buffer.alloc(bytes) };
          forEachSectorRun(a, mask, domain, numbering, (first, count) => {
            for (let sector = first; sector < first + count; sector++) sectors.push(sector);
            setBits(bitmaps.little, first, count, 'little');
            setBits(bitmaps.big, first, count, 'big');
          });
          expect(sectors).toEqual(list!.stdout.toString().split('\n').filter(Boolean).map(Number));
          // Moved down, ddrescuelog loses the bits below where a map began; its list has them.
          if (a.starts[0]! > 0 && numbering.offset < 0) return;
          expect(bitmaps.little).toEqual(little!.stdout);
          expect(bitmaps.big).toEqual(big!.stdout);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('makes maps from lists and bitmaps alike', () => {
    fc.assert(
      fc.property(
        anyCase,
        fc.array(fc.nat(60), { maxLength: 20 }),
        fc.uint8Array({ maxLength: 6 }),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(6),
        (each, numbers, bits, sectorBytes, ahead) => {
          const origin = read('0 ? 1\n');
          const domain = domainIn(each);
          const out = (each.from % sectorBytes) + ahead * sectorBytes;
          const options = `${optionsOf(each)} -o ${out} -b ${sectorBytes}`;
          const list = Buffer.from(numbers.map((n) => `${n}\n`).join(''));
          const files = { ...filesOf(each), list, bits };
          const [fromList, fromLittle, fromBig] = ask(files, [
            `-c ${options} - < list`,
            `-c'?/' -F bitmap -b ${sectorBytes} - < bits`,
            `-c'/?' -F bitmap-be -b ${sectorBytes} - < bits`,
          ]);
          // Without a domain: of neighbouring bits ddrescuelog drops all when one is outside, though
          // it takes the others when they come as a list.
          const everything = domainRuns();
          for (const [answer, order, letters] of [
            [fromLittle!, 'little', { listed: 0, others: 2 }],
            [fromBig!, 'big', { listed: 2, others: 0 }],
          ] as const) {
            const bitmap = parseBitmap(bits, order, sectorBytes);
            const made = mapOfSectors(bitmap, letters, everything, { sectorBytes, offset: 0 });
            expect(written(origin, made)).toEqual(linesOf(answer.stdout));
          }
          const numbering = { sectorBytes, offset: out - each.from };
          const set = parseSectorList(list, 'list', sectorBytes);
          // ddrescuelog moves an open end down too.
          if (domain.end === openEnd && numbering.offset < 0) return;
          if (fromList!.stdout.length === 0) return;
          const made = mapOfSectors(set, { listed: 4, others: 3 }, domain, numbering);
          expect(written(origin, made)).toEqual(linesOf(fromList!.stdout));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('reads hand-written maps alike, or refuses them alike', () => {
    const block = fc.tuple(fc.nat(60), fc.nat(9), fc.constantFrom(...'++++-?'));
    fc.assert(
      fc.property(fc.array(block, { minLength: 1, maxLength: 6 }), anyMap, (list, a) => {
        const text = `5 * 2\n${list.map((parts) => `${parts.join(' ')}\n`).join('')}`;
        const calls = ['-C d', '-C- d', '-L -m d -n a'];
        const [completed, filled, inverted] = ask({ d: text, a, list: '' }, calls);
        const bytes = new TextEncoder().encode(text);
        const parse = () => parseLooseMapFile(bytes, 'd');
        if (completed!.status !== 0) {
          expect(parse).toThrow(/^d:[0-9]+: /);
          return;
        }
        const parsed = parse();
        expect(written(parsed, parsed)).toEqual(closed(linesOf(completed!.stdout), parsed.end));
        if (parsed.starts.length === 0) return;
        const full = parseLooseMapFile(bytes, 'd', { code: 3 });
        expect(written(full, full)).toEqual(closed(linesOf(filled!.stdout), full.end));
        const map = read(a);
        const domain = domainRuns(0, Infinity, parsed);
        if (isEmpty([map], domain)) return;
        const expected = linesOf(inverted!.stdout);
        expect(written(map, changeStatuses(map, inversion, domain))).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });
});

/** The first mention of a status counts; the last of the new stands for all that are missing. */
function changesOf(old: string, young: string): StatusCode[] {
  const table = [0, 1, 2, 3, 4];
  [...old].forEach((from, n) => {
    if (old.indexOf(from) < n) return;
    const to = young[Math.min(n, young.length - 1)]!;
    table[statusLetters.indexOf(from)] = statusLetters.indexOf(to);
  });
  return table as StatusCode[];
}

/** What ddrescuelog completed, without the blocks of size 0 that it keeps, and ended where the last
 * block ends: it moves that end to the largest position when the gaps get the last block's status. */
function closed(lines: readonly string[], end: number): string[] {
  return lines
    .filter((line) => !/^0x0+ {2}0x0+ /.test(line))
    .map((line) => {
      const [start, size, status] = line.split('  ');
      if (!size?.startsWith('0x7FFFFFFFF')) return line;
      return `${start}  0x${hex(end - Number(start))}  ${status}`;
    });
}

function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}
