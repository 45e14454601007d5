import { describe, expect, test } from 'vitest';
import { fraction } from '../../hardware-sim/random.js';
import { createOscLogParser, isOscLog, type OscLog } from '../../src/map/osc-log.js';
import { statusLetters } from '../../src/map/status.js';

/** A log as the programs lay it out. */
function logText(blocks: readonly string[], settings: readonly string[] = [], more = ''): string {
  return [
    '# Disk progress log file created by OpenSuperClone version 2.6',
    '# Sun Mar  1 12:00:00 2026',
    '# command= ./opensuperclone',
    '#',
    '################ START CONFIGURATION DATA ################',
    '# startconfig',
    '# source  \t/dev/sdb',
    '# sectorsize  \t512',
    '# inputoffset  \t0',
    '# outputoffset  \t-1',
    '# model  \tWDC WD10EZEX-00',
    '# serial  \tWD-WCC3F1234567',
    '# sectorsizeadjust  \t0',
    ...settings,
    '# endconfig',
    '################ END CONFIGURATION DATA ################',
    `${more}#`,
    '# current position  \t \tstatus',
    '0x000100        \t \t0x22',
    '#',
    '# position \tsize     \tstatus \tinfo \terr/status/time',
    ...blocks,
    '',
  ].join('\n');
}

const block = (lba: number, count: number, status: number) =>
  `0x${lba.toString(16).padStart(6, '0')} \t0x${count.toString(16).padStart(6, '0')} \t0x${status.toString(16)} \t0x0 \t0x0`;

function parse(text: string, pieceBytes = 1 << 20): OscLog {
  const parser = createOscLogParser('drive.log');
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += pieceBytes)
    parser.push(bytes.subarray(at, at + pieceBytes));
  return parser.finish();
}

const runs = ({ starts, codes, end }: OscLog) =>
  [...starts].map(
    (start, n) => `${start}+${(starts[n + 1] ?? end) - start} ${statusLetters[codes[n]!]}`,
  );

const statusesSeen = [0x7f, 0x0, 0x10, 0x20, 0x30, 0x40, 0x7f, 0x8, 0x80, 0xa0, 0xc0, 0x7f];

describe('a progress log', () => {
  test('every status: non-divided is trimmed again, marks of bad heads and phases fall off', () => {
    const log = parse(logText(statusesSeen.map((status, n) => block(n * 16, 16, status))));
    const letters = '+?**/-+?' + '?*-+';
    // Neighbours that say the same are one.
    expect(
      runs(log)
        .map((run) => run.at(-1))
        .join(''),
    ).toBe(letters.replace('**', '*').replace('??', '?'));
    expect(log).toMatchObject({
      end: 16 * 512 * statusesSeen.length,
      currentPosition: log.end,
      currentStatus: '*',
      model: 'WDC WD10EZEX-00',
      serial: 'WD-WCC3F1234567',
      unknownCount: 0,
    });
  });

  test('what nobody knows is never taken for finished', () => {
    const unknown = [0xff, 0x7e, 0x70, 0x50, 0x41, 0x17f];
    const log = parse(logText(unknown.map((status, n) => block(n, 1, status))));
    expect(runs(log)).toEqual([`0+${512 * unknown.length} ?`]);
    expect(log.unknownCount).toBe(unknown.length);
  });

  test('sectors of 4096 bytes', () => {
    const log = parse(logText([block(0, 8, 0x7f), block(8, 8, 0x40)], ['# sectorsize  \t4096']));
    expect(runs(log)).toEqual(['0+32768 +', '32768+32768 -']);
  });

  test('in pieces of any size, with lines of free text', () => {
    const more =
      '# startsmart\nraw text 1 2 3\n# endsmart\n# startanyalyze\n0x0 0x0\n# endanalyze\n';
    const text = logText([block(0, 8, 0x7f), block(8, 8, 0x40)], [], more);
    for (const pieceBytes of [1, 7, 64]) expect(runs(parse(text, pieceBytes))).toHaveLength(2);
    expect(runs(parse(text.replaceAll('\n', '\r\n')))).toHaveLength(2);
  });

  test.each([
    ['a gap', [block(0, 8, 0), block(9, 8, 0)], /drive\.log:22: block at sector 9 leaves a gap/],
    ['an overlap', [block(0, 8, 0), block(7, 8, 0)], /drive\.log:22: .*overlaps/],
    ['not from 0', [block(1, 8, 0)], /drive\.log:21: .*gap/],
    ['an empty block', [block(0, 0, 0)], /drive\.log:21: bad block line/],
    ['four fields', ['0x0 0x8 0x7f 0x0'], /drive\.log:21: bad block line/],
    ['six fields', ['0x0 0x8 0x7f 0x0 0x0 0x0'], /drive\.log:21: bad block line/],
    ['no number', ['0x0 0x8 + 0x0 0x0'], /drive\.log:21: bad block line/],
    ['half a number', ['0x0 8z 0x7f 0x0 0x0'], /drive\.log:21: bad block line/],
    ['a negative', ['0x0 -8 0x7f 0x0 0x0'], /drive\.log:21: bad block line/],
    ['beyond 2^53', ['0x0 0xffffffffffffffff 0x7f 0x0 0x0'], /2\^53/],
    ['no block', [], /no block/],
  ])('%s is named by its line', (_, blocks, message) => {
    expect(() => parse(logText(blocks))).toThrow(message);
  });

  test('a line of where it was is needed, and a sector size that is one', () => {
    expect(() => parse('# nothing\n')).toThrow(/where the program was/);
    expect(() => parse(`${block(0, 8, 0x7f)}\n`)).toThrow(/drive\.log:1: .*where the program was/);
    for (const size of ['0', '-512', 'x', '1e9'])
      expect(() => parse(logText([block(0, 8, 0)], [`# sectorsize  \t${size}`]))).toThrow(
        /sector size/,
      );
  });

  test('an image at another place is refused, the same place said twice is none', () => {
    const blocks = [block(0, 8, 0x7f)];
    for (const setting of ['# outputoffset  \t2048', '# sectorsizeadjust  \t4096'])
      expect(() => parse(logText(blocks, [setting]))).toThrow(/not where the drive has it/);
    const same = ['# inputoffset  \t64', '# outputoffset  \t64'];
    expect(runs(parse(logText(blocks, same)))).toHaveLength(1);
  });

  test('hostile bytes end in one line or in a map, never in anything else', () => {
    const text = logText(statusesSeen.map((status, n) => block(n * 16, 16, status)));
    for (let seed = 0; seed < 400; seed++) {
      const bytes = Buffer.from(text);
      for (let n = 0; n < 4; n++) {
        const at = Math.floor(fraction(seed, 1, n) * bytes.length);
        bytes[at] = Math.floor(fraction(seed, 2, n) * 256);
      }
      const parser = createOscLogParser('drive.log');
      try {
        parser.push(bytes);
        const log = parser.finish();
        expect(log.end).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toMatchObject({ name: 'LastspinError' });
      }
    }
    const endless = createOscLogParser('drive.log');
    expect(() => {
      for (let n = 0; n < 3; n++) endless.push(Buffer.alloc(1 << 20, 'x'));
    }).toThrow(/a line without an end/);
  });
});

test('a log is told from a map of ddrescue, also from one that such a program wrote', () => {
  expect(isOscLog(logText([block(0, 8, 0)]))).toBe(true);
  expect(isOscLog('# Mapfile. Created by GNU ddrescue\n0x0 ? 1\n0x0 0x8 +\n')).toBe(false);
  const exported =
    '# Disk progress log file created by OpenSuperClone\n# ddrescue export\n0x00000200     ?\n';
  expect(isOscLog(exported)).toBe(false);
  expect(isOscLog('# nothing\n')).toBe(false);
});
