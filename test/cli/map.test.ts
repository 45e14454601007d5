import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseMapFile } from '../../src/map/mapfile.js';
import { statusLetters } from '../../src/map/status.js';
import { needsTool } from '../tools.js';
import { mainPath, run, temporaryFolder } from './cli.js';

const a = '0x1000 * 2\n0x0 0x1000 +\n0x1000 0x1000 -\n0x2000 0x1000 /\n0x3000 0x1000 ?\n';
const b = '0x0 ? 1\n0x0 0x800 +\n0x800 0x1000 -\n0x1800 0x2800 +\n';
const shorter = '0x0 ? 1\n0x1000 0x1000 +\n';
const hand = '0x0 ? 1\n0x3000 0x1000 +\n0x800 0x400 -\n0x3400 0x200 +\n';

/** A folder with a few maps, and their paths. */
function maps() {
  const folder = temporaryFolder();
  const path = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  return {
    folder,
    path,
    a: path('a.map', a),
    b: path('b.map', b),
    shorter: path('shorter.map', shorter),
    hand: path('hand.map', hand),
  };
}

/** `start+size letter` in hexadecimal, run by run. */
function runsIn(text: string | Uint8Array): string[] {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  const { starts, codes, end } = parseMapFile(bytes, 'result');
  return [...starts].map((start, n) => {
    const size = (starts[n + 1] ?? end) - start;
    return `${start.toString(16)}+${size.toString(16)} ${statusLetters[codes[n]!]}`;
  });
}

async function result(...args: string[]): Promise<string[]> {
  const finished = await run(['map', ...args]);
  expect(finished.status, finished.stderr).toBe(0);
  return runsIn(finished.stdout);
}

async function complains(args: readonly string[], status: number, line: RegExp) {
  const finished = await run(['map', ...args]);
  expect(finished.stderr).toMatch(line);
  expect(finished.stderr).toMatch(/^lastspin: .*\([A-Z_]+\)\n$/);
  expect(finished.stdout).toBe('');
  expect(finished.status).toBe(status);
}

describe.concurrent('maps from maps', () => {
  test('merge: and, or, xor keep the first map, more than two are taken in order', async () => {
    const { a, b, hand, path } = maps();
    const third = path('third.map', '0 ? 1\n0x2000 0x2000 +\n');
    expect(await result('merge', 'and', a, b)).toEqual([
      '0+800 +',
      '800+1800 -',
      '2000+1000 /',
      '3000+1000 ?',
    ]);
    expect(await result('merge', 'or', a, b, third)).toEqual([
      '0+1000 +',
      '1000+800 -',
      '1800+2800 +',
    ]);
    expect(await result('merge', 'xor', a, b, '--domain', hand, '--loose')).toEqual([
      '0+1000 +',
      '1000+1000 -',
      '2000+1000 /',
      '3000+1000 +',
    ]);
  });

  test('merge union holds the best of all, says that sizes differ, and names sources', async () => {
    const { a, b, shorter } = maps();
    const merged = await run(['map', 'merge', 'union', a, shorter]);
    expect(runsIn(merged.stdout)).toEqual(['0+2000 +', '2000+1000 /', '3000+1000 ?']);
    expect(merged.stderr).toMatch(
      /^lastspin: note: .*a\.map ends at byte 16384, .*shorter\.map at 8192\n$/,
    );
    const sources = await run(['map', 'merge', 'union', a, b, '--sources']);
    expect(sources.stdout).toBe(`0\t4096\t${a}\n6144\t10240\t${b}\n`);
  });

  test('convert, invert, shift, complete', async () => {
    const { a, hand } = maps();
    expect(await result('convert', a, '--change', '?/,-+', '--from', '0x2800')).toEqual([
      '0+1000 +',
      '1000+1000 -',
      '2000+800 /',
      '2800+800 +',
      '3000+1000 -',
    ]);
    expect(await result('convert', a, '--align', '--sector', '0x1800')).toEqual([
      '0+1800 -',
      '1800+1800 /',
      '3000+1000 ?',
    ]);
    expect(await result('invert', a, '--size', '12s')).toEqual([
      '0+1000 -',
      '1000+800 +',
      '1800+800 -',
      '2000+1000 /',
      '3000+1000 ?',
    ]);
    expect(await result('shift', a, '--by', '1Ki', '--size', '0x1800')).toEqual([
      '0+400 ?',
      '400+1000 +',
      '1400+800 -',
    ]);
    expect(await result('shift', a, '--by=-0x1800')).toEqual([
      '0+800 -',
      '800+1000 /',
      '1800+1000 ?',
    ]);
    expect(await result('complete', hand, '--fill', '*', '--size', '32Ki')).toEqual([
      '0+800 *',
      '800+400 -',
      'c00+2400 *',
      '3000+1000 +',
      '4000+4000 *',
    ]);
  });

  test('the status line of the first map stays, and comments say how the map was made', async () => {
    const { a } = maps();
    const { stdout } = await run(['map', 'annotate', a, '--from', '0x1800', '--size', '0x400']);
    const lines = stdout.split('\n');
    expect(lines[0]).toMatch(/^# Mapfile\. Created by lastspin /);
    expect(lines[1]).toMatch(/^# Command line: lastspin map annotate .*a\.map --from 0x1800/);
    expect(lines[3]).toMatch(/^0x00001000 +\* +2$/);
    expect(lines.slice(5, 8)).toEqual([
      '0x00000000  0x00001000  +',
      '0x00001000  0x00000800  -',
      '0x00001800  0x00000400  -  # at   6.14 kB  for   1.02 kB',
    ]);
  });

  test('sectors: to a list or a bitmap and back', async () => {
    const { a, folder } = maps();
    const list = await run(['map', 'list', a, '--statuses', '-/', '--sector', '2048']);
    expect(list.stdout).toBe('2\n3\n4\n5\n');
    const listPath = join(folder, 'list');
    writeFileSync(listPath, list.stdout);
    const sector = ['--sector', '2048', '--size', '8s'];
    expect(
      await result('create', listPath, ...sector, '--listed', 'bad-sector', '--others', '+'),
    ).toEqual(['0+1000 +', '1000+2000 -', '3000+1000 +']);
    const bitmap = spawnSync(process.execPath, [
      mainPath,
      'map',
      'list',
      a,
      '--statuses',
      'bad-sector,non-scraped',
      '--sector',
      '2048',
      '--format',
      'bitmap-be',
    ]);
    expect([...bitmap.stdout]).toEqual([0b0011_1100]);
    writeFileSync(listPath, bitmap.stdout);
    expect(await result('create', listPath, ...sector, '--format', 'bitmap-be')).toEqual([
      '0+1000 -',
      '1000+2000 +',
      '3000+1000 -',
    ]);
  });

  test('a result goes to a new file, or with --force over an old map', async () => {
    const { a, b, folder } = maps();
    const output = join(folder, 'new.map');
    expect((await run(['map', 'invert', a, '--output', output])).stdout).toBe('');
    expect(runsIn(readFileSync(output))).toEqual(['0+1000 -', '1000+3000 +']);
    expect(
      (await run(['map', 'merge', 'or', output, b, '--output', output, '--force'])).status,
    ).toBe(0);
    expect(runsIn(readFileSync(output))).toEqual(['0+800 +', '800+800 -', '1000+3000 +']);
    expect(existsSync(`${output}.tmp`)).toBe(false);
  });
});

describe.concurrent('questions to maps', () => {
  test('diff: 0 the same, 1 different, with what differs', async () => {
    const { a, shorter } = maps();
    expect(await run(['map', 'diff', a, a])).toMatchObject({ status: 0, stdout: '' });
    const domain = ['--from', '0x1000', '--size', '0x1800'];
    expect(await run(['map', 'diff', a, shorter, ...domain])).toMatchObject({
      status: 1,
      stdout: '4096\t4096\t-\t+\n8192\t2048\t/\tnothing\n',
    });
    const json = await run(['map', 'diff', a, shorter, ...domain, '--as-domain', '--json']);
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      schema: 'lastspin/map-diff/1',
      compared: 6144,
      differing: 4096,
      differences: [{ position: 4096, size: 4096, first: '-', second: '+' }],
    });
  });

  test('diff --as-domain takes maps written by hand', async () => {
    const { hand, path } = maps();
    const other = path('other.map', '0 ? 1\n0 0x3000 ?\n0x3000 0x1000 +\n');
    const args = ['map', 'diff', hand, other, '--as-domain', '--loose'];
    expect(await run(args)).toMatchObject({ status: 0, stdout: '' });
  });

  test('done: 0 finished, 1 not; --delete deletes only then', async () => {
    const { a } = maps();
    expect(await run(['map', 'done', a, '--delete'])).toMatchObject({
      status: 1,
      stdout: 'not finished\n',
    });
    expect(existsSync(a)).toBe(true);
    const args = ['map', 'done', a, '--size', '4Ki', '--delete', '--quiet'];
    expect(await run(args)).toMatchObject({ status: 0, stdout: '' });
    expect(existsSync(a)).toBe(false);
  });

  test('stats of several files, within a domain', async () => {
    const { a, b, shorter } = maps();
    const { stdout } = await run(['map', 'stats', a, b, '--json', '--domain', shorter]);
    const objects = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(objects.map(({ file, total, begin, end }) => [file, total, begin, end])).toEqual([
      [a, 4096, 4096, 8192],
      [b, 4096, 4096, 8192],
    ]);
    expect(objects[1].statuses.finished).toEqual({ bytes: 2048, areas: 1 });
    const table = await run(['map', 'stats', a, '--binary']);
    expect(table.stdout).toContain('total           16.0 KiB\n+ finished        4.00 KiB');
  });

  test('render: letters with positions, SVG that is well formed', async () => {
    const { a, folder } = maps();
    const letters = await run(['map', 'render', a, '--columns', '4', '--rows', '2']);
    expect(letters.stdout.split('\n').slice(2)).toEqual([
      '0x000000000000 ++--',
      '0x000000002000 //??',
      '',
    ]);
    const path = join(folder, 'map.svg');
    await run(['map', 'render', a, '--svg', '--columns', '4', '--rows', '2', '--output', path]);
    const svg = readFileSync(path, 'utf8');
    expect(svg).toMatch(
      /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"[^>]*>\n<title>.*a\.map, bytes 0 to 16384</,
    );
    expect(svg).toContain(
      '<rect x="16" y="0" width="16" height="8" fill="#d42a2a"><title>bad-sector, bytes 4096 to 8192</title></rect>',
    );
    expect(svg).toContain('- bad-sector: 4.10 kB, 25.00 %, 1 areas');
    expect(svg.match(/<(rect|text|title|g|svg)\b/g)).toHaveLength(
      (svg.match(/<\/(rect|text|title|g|svg)>|\/>/g) ?? []).length,
    );
    expect(svg.endsWith('</svg>\n')).toBe(true);
  });

  test('a map comes from standard input too', () => {
    const { a } = maps();
    const input = readFileSync(a);
    const { stdout, status } = spawnSync(
      process.execPath,
      [mainPath, 'map', 'merge', 'or', '-', a],
      { input },
    );
    expect(status).toBe(0);
    expect(runsIn(stdout)).toEqual(runsIn(input));
  });
});

describe.concurrent('wrong input: one line, the right exit status, nothing lost', () => {
  const { a, b, hand, folder, path } = maps();
  const empty = path('empty.map', '0 ? 1\n');
  const open = path('open.map', '0 ? 1\n0 9223372036854775807 +\n');
  const image = path('case.img', Buffer.from(`x${'precious\n'.repeat(9)}`));
  const list = path('list', '5\nsix\n');
  const link = join(folder, 'link.map');
  symlinkSync('/dev/zero', link);

  test.each<[string, readonly string[], number, RegExp]>([
    [
      'a missing file',
      ['merge', 'and', a, join(folder, 'no.map')],
      1,
      /cannot read .*no\.map: ENOENT/,
    ],
    [
      'an unknown operator',
      ['merge', 'nand', a, b],
      2,
      /unknown operator 'nand': and, or, xor, union/,
    ],
    ['one file', ['merge', 'and', a], 2, /merge and needs at least two maps/],
    ['a file twice', ['merge', 'xor', a, b, `${folder}/./a.map`], 2, /a\.map is given twice/],
    ['a map with gaps', ['invert', hand], 2, /hand\.map:3: /],
    ['an image for a map', ['stats', image], 2, /case\.img:1: bad or missing status line/],
    ['an empty map', ['done', empty, '--delete'], 2, /nothing to do with .*: the map is empty/],
    [
      'a domain that misses the map',
      ['done', a, '--from', '1Mi'],
      2,
      /the domain holds nothing of it/,
    ],
    [
      'a domain that misses the other map',
      ['merge', 'and', a, b, '--from', '1Mi'],
      2,
      /nothing to do with/,
    ],
    ['an empty domain map', ['diff', a, b, '--domain', empty], 2, /nothing to compare/],
    ['standard input twice', ['diff', '-', '-'], 2, /standard input \(-\) can be given only once/],
    [
      'a number with a wrong unit',
      ['invert', a, '--from', '1K'],
      2,
      /--from 1K: a number of bytes up to 2\^53/,
    ],
    ['a sector of nothing', ['list', a, '--sector', '0'], 2, /--sector 0: from 1 to/],
    ['an offset off the sectors', ['list', a, '--to', '100'], 2, /must be a multiple of --sector/],
    [
      'an unknown format',
      ['list', a, '--format', 'xml'],
      2,
      /unknown --format 'xml': list, bitmap/,
    ],
    [
      'an unknown status',
      ['convert', a, '--change', '?x,+'],
      2,
      /--change: 'x' is no status \(\? non-tried/,
    ],
    ['half a change', ['convert', a, '--change', '?'], 2, /two lists are needed/],
    ['nothing to convert', ['convert', a], 2, /convert needs --change OLD,NEW or --align/],
    [
      'a list without an end',
      ['list', open, '--statuses', '+'],
      2,
      /open\.map has no end: .*--size/,
    ],
    ['a picture without an end', ['render', open], 2, /open\.map has no end: --size says/],
    ['a list that is none', ['create', list], 2, /list:2:1: a sector number is needed here/],
    [
      'a map longer than --size',
      ['complete', hand, '--size', '0x3000'],
      2,
      /reaches to byte 16384, beyond/,
    ],
    ['a shift that leaves nothing', ['shift', a, '--by=-1Mi'], 2, /nothing of .* is left above 0/],
    ['--loose without a domain', ['diff', a, b, '--loose'], 2, /--loose goes with/],
    ['sources of and', ['merge', 'and', a, b, '--sources'], 2, /--sources goes with union only/],
    [
      'an output that exists',
      ['invert', a, '--output', b],
      2,
      /b\.map exists; --force replaces it/,
    ],
    [
      'an image as output',
      ['invert', a, '--output', image, '--force'],
      2,
      /case\.img is not a file that this command writes/,
    ],
    [
      'a device as output',
      ['invert', a, '--output', link, '--force'],
      2,
      /link\.map is not a file/,
    ],
    [
      'a folder as output',
      ['invert', a, '--output', folder, '--force'],
      2,
      /is a folder; name a file/,
    ],
    [
      'an output in no folder',
      ['invert', a, '--output', join(folder, 'no/x.map')],
      1,
      /cannot write .*no\/x\.map: ENOENT/,
    ],
  ])('%s', (_, args, status, line) => complains(args, status, line));

  test('loses nothing', () => {
    expect(readFileSync(image, 'utf8')).toMatch(/^xprecious/);
    expect(runsIn(readFileSync(b))).toHaveLength(3);
  });
});

test.skipIf(needsTool('ddrescuelog'))(
  'a million runs, in bounded memory, as ddrescuelog has them',
  () => {
    const folder = temporaryFolder();
    const write = (name: string, letters: string) => {
      const lines = Array.from(
        { length: 1_000_000 },
        (_, n) => `${n * 512} 512 ${letters[n % letters.length]}\n`,
      );
      writeFileSync(join(folder, name), `0 ? 1\n${lines.join('')}`);
    };
    write('one.map', '+?');
    write('two.map', '?-+');
    const options = { cwd: folder, maxBuffer: 2 ** 28 } as const;
    // Typed arrays lie outside this heap; an object for each run would not fit.
    const limited = [
      `--max-old-space-size=64`,
      mainPath,
      'map',
      'merge',
      'and',
      'one.map',
      'two.map',
    ];
    const ours = spawnSync(process.execPath, limited, options);
    expect(ours.status, ours.stderr.toString()).toBe(0);
    const theirs = spawnSync('ddrescuelog', ['-y', 'two.map', 'one.map'], options);
    const lines = (text: Buffer) => text.subarray(text.indexOf('#      pos'));
    expect(lines(ours.stdout).equals(lines(theirs.stdout))).toBe(true);
  },
);
