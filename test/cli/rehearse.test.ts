import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type RehearseOptions, rehearse } from '../../src/cli/rehearse.js';
import { type RehearsalResult, rehearsalResultSchema } from '../../src/show/rehearsal.js';
import { mainPath, run, temporaryFolder } from './cli.js';

async function rehearsed(...args: string[]): Promise<RehearsalResult> {
  const { status, stdout, stderr } = await run(['rehearse', ...args, '--json']);
  expect(status, stderr).toBe(0);
  return rehearsalResultSchema.parse(JSON.parse(stdout));
}

function fileWith(name: string, content: string): string {
  const path = join(temporaryFolder(), name);
  writeFileSync(path, content);
  return path;
}

const statusLine = '0x0 ? 1\n';
/** 1 MiB less a byte: an unreadable sector and two that are not known to be, all beside the sectors' edges. */
const oddMap = `${statusLine}0x0 0x10000 +
0x10000 0x200 -
0x10200 0x7F00 +
0x18100 0x100 *
0x18200 0x7E00 +
0x20000 0x100 /
0x20100 0x5FF00 ?
0x80000 0x7FFFF +
`;

const small = `seed: 4
sectorCount: 40000
mechanics: { heads: 2, bandSectors: 4096 }
faults:
  - { kind: bad, scattered: 6, count: 16, errorMs: 400 }
  - { kind: bad, lba: 20000, count: 40, errorMs: 400, readChance: 0.3 }
`;

describe.concurrent('rehearse', () => {
  test('runs three presets on a bundled scenario, each on the same drive', async () => {
    const { drive, runs } = await rehearsed('demo');
    expect(drive).toMatchObject({ name: 'demo', source: 'scenario', kind: 'hdd', seed: 2026 });
    expect(drive.sectorCount).toBe(163_840);
    expect(runs.map(({ preset }) => preset)).toEqual(['adaptive', 'standard', 'ddrescue']);
    for (const each of runs) {
      expect(each.ended).toBe('finished');
      expect(each.powerCycles).toBeGreaterThan(0);
      expect(each.finishedSectors + each.badSectors).toBe(drive.sectorCount);
      expect(each.deliveredShare).toBeGreaterThan(0.999);
      expect(each.until.map(({ percent }) => percent)).toEqual([50, 90, 99, 99.9]);
    }
    expect(new Set(runs.map(({ reads }) => reads)).size).toBe(3);
  });

  test('the seed draws the scenario’s chances, and nothing else does', async () => {
    const scenario = fileWith('mine.yaml', small);
    const args = [scenario, '--preset', 'standard'];
    const [own, named, other] = await Promise.all([
      rehearsed(...args),
      rehearsed(...args, '--seed', '4'),
      rehearsed(...args, '--seed', '5'),
    ]);
    expect(named).toEqual(own);
    expect(other.runs[0]!.curve).not.toEqual(own.runs[0]!.curve);
  });

  test('tables and plot for people; presets by file, comma or repeated', async () => {
    const scenario = fileWith('mine.yaml', small);
    const preset = fileWith(
      'quick.yaml',
      'title: quick\nrows:\n  - { name: all, phase: copy, onFault: skip }\n',
    );
    const args = ['--preset', `${preset},ddrescue`, '--preset', 'gentle,ddrescue'];
    const { status, stdout, stderr } = await run(['rehearse', scenario, ...args]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^mine: hdd, 20\.5 MB, .*seed 4; 96 sectors unreadable/);
    for (const name of [preset, 'ddrescue', 'gentle']) {
      expect(stdout.split('\n').filter((line) => line.startsWith(`${name} `))).toHaveLength(2);
    }
    expect(stdout).toContain(`a ${preset}  b ddrescue  c gentle\n`);
    expect(stdout).toMatch(/100 % \|.*[abc*]/);
  });

  test('options reach the planner: retries, duration, kind, physical sector', async () => {
    const scenario = fileWith('mine.yaml', small);
    const args = [scenario, '--preset', 'standard'];
    const [none, many, short, flash, wide] = await Promise.all([
      rehearsed(...args, '--retries', '0'),
      rehearsed(...args, '--retries', '9'),
      rehearsed(...args, '--duration', '5s'),
      rehearsed(...args, '--kind', 'flash'),
      rehearsed(...args, '--physical-sector', '4096'),
    ]);
    expect(none.runs[0]!.failingReads).toBeLessThan(many.runs[0]!.failingReads);
    // What now and then reads comes with retries.
    expect(none.runs[0]!.finishedSectors).toBeLessThan(many.runs[0]!.finishedSectors);
    expect(short.runs[0]).toMatchObject({ ended: 'interrupted', elapsedMs: expect.any(Number) });
    expect(short.runs[0]!.elapsedMs).toBeLessThan(8000);
    expect(flash.drive.kind).toBe('flash');
    expect(wide.settings.physicalSectorBytes).toBe(4096);
    expect(wide.runs[0]!.failingReads).toBeLessThan(none.runs[0]!.failingReads);
  });

  test('errors that do not name their LBA cost more of them', async () => {
    const args = [fileWith('mine.yaml', small), '--preset', 'standard', '--retries', '0'];
    const [told, hidden] = await Promise.all([
      rehearsed(...args, '--failing-lba', 'yes'),
      rehearsed(...args, '--failing-lba', 'no'),
    ]);
    expect([told.settings.failingLba, hidden.settings.failingLba]).toEqual(['yes', 'no']);
    expect(hidden.runs[0]!.failingReads).toBeGreaterThan(told.runs[0]!.failingReads);
  });
});

describe.concurrent('rehearse on a map', () => {
  test('what the map says is bad is bad, to whole sectors, and what it leaves open is said', async () => {
    const map = fileWith('odd.map', oddMap);
    const args = ['rehearse', map, '--preset', 'standard,ddrescue', '--retries', '0', '--json'];
    const { status, stdout, stderr } = await run(args);
    expect(status).toBe(0);
    expect(stderr.split('\n')).toEqual([
      'lastspin: 512 bytes are * or / in the map: not known to be bad, taken for unreadable',
      'lastspin: 392960 bytes are ? in the map, taken for good (--untried)',
      '',
    ]);
    const { drive, runs, settings } = rehearsalResultSchema.parse(JSON.parse(stdout));
    expect(drive).toMatchObject({ source: 'map', sectorCount: 2048, readableSectors: 2045 });
    expect(settings).toMatchObject({ untried: 'good', errorTimeMs: 700 });
    for (const each of runs) {
      expect(each).toMatchObject({ finishedSectors: 2045, badSectors: 3, deliveredShare: 1 });
    }
  });

  test('a physical sector is lost as a whole, and ? is bad when asked for', async () => {
    const map = fileWith('odd.map', oddMap);
    const args = [map, '--preset', 'standard', '--retries', '0'];
    const [wide, pessimist] = await Promise.all([
      rehearsed(...args, '--physical-sector', '4096'),
      rehearsed(...args, '--untried', 'bad'),
    ]);
    expect(wide.drive.physicalSectorBytes).toBe(4096);
    expect(wide.runs[0]!.badSectors).toBe(24);
    // 0x20000 to 0x80000, and the two before.
    expect(pessimist.runs[0]!.badSectors).toBe(768 + 2);
  });

  test('standard input is a map too', () => {
    const args = [mainPath, 'rehearse', '-', '--preset', 'standard'];
    const { status, stdout } = spawnSync(process.execPath, args, {
      input: `${statusLine}0x0 0x100000 +\n`,
      encoding: 'utf8',
    });
    expect(status).toBe(0);
    expect(stdout).toMatch(/^standard input: hdd, 1\.05 MB/);
  });

  test('a terabyte is read to its end', { timeout: 60_000 }, async () => {
    const bytes = 1e12;
    const areas = Array.from({ length: 200 }, (_, n) => (n + 1) * 4.608e9);
    const lines = areas.flatMap((at, n) => {
      const from = n === 0 ? 0 : areas[n - 1]! + 8192;
      return [`${from} ${at - from} +`, `${at} 8192 -`];
    });
    const last = areas.at(-1)! + 8192;
    const map = fileWith('tb.map', `${statusLine}${lines.join('\n')}\n${last} ${bytes - last} +\n`);
    const { drive, runs } = await rehearsed(map, '--preset', 'ddrescue', '--kind', 'hdd');
    expect(drive.sectorCount * 512).toBe(bytes);
    expect(runs[0]).toMatchObject({ ended: 'finished', deliveredShare: 1 });
    expect(runs[0]!.reads).toBeGreaterThan(bytes / 65_536);
    expect(runs[0]!.badSectors).toBe(200 * 16);
  });
});

describe.concurrent('the picture', () => {
  test('is written beside the result, and replaced only when it is one and --force says so', async () => {
    const folder = temporaryFolder();
    const svg = join(folder, 'plot.svg');
    const args = ['rehearse', 'healthy', '--preset', 'standard', '--svg', svg];
    const first = await run(args);
    expect(first.status, first.stderr).toBe(0);
    const picture = readFileSync(svg, 'utf8');
    expect(picture).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
    expect(picture).toContain('standard: 100.00 % in');
    const refused = await run(args);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toBe(`lastspin: ${svg} exists; --force replaces it (USAGE)\n`);
    const forced = await run([
      'rehearse',
      'healthy',
      '--preset',
      'ddrescue',
      '--svg',
      svg,
      '--force',
    ]);
    expect(forced.status).toBe(0);
    expect(readFileSync(svg, 'utf8')).toContain('ddrescue: 100.00 % in');
    writeFileSync(svg, 'a letter');
    const foreign = await run([...args, '--force']);
    expect(foreign.status).toBe(2);
    expect(readFileSync(svg, 'utf8')).toBe('a letter');
  });
});

describe.concurrent('what the tables must not say', () => {
  test('of a drive that gives nothing, by when what is readable was in', async () => {
    const map = fileWith('all-bad.map', `${statusLine}0 0xE00 -\n`);
    const result = await rehearsed(map, '--preset', 'adaptive');
    expect(result.drive.readableSectors).toBe(0);
    for (const { atMs } of result.runs[0]!.until) expect(atMs).toBeNull();
  });

  test('that an option for maps did anything to a scenario', async () => {
    const args = ['rehearse', fileWith('mine.yaml', small), '--preset', 'ssd', '--json'];
    const { stdout, stderr } = await run([...args, '--error-time', '5']);
    expect(stderr).toMatch(/^lastspin: --untried and --error-time are for maps[^\n]*\n$/);
    expect(JSON.parse(stdout).settings).toMatchObject({ untried: null, errorTimeMs: null });
  });
});

describe.concurrent('bad input is one clear line, and nothing is written', () => {
  const folder = temporaryFolder();
  const path = (name: string, content: string) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  mkdirSync(join(folder, 'sub'));
  const svg = join(folder, 'never.svg');
  test.each<[string, readonly string[], RegExp]>([
    ['an unknown name', ['nonsense'], /no scenario and no map file is called 'nonsense'; .*demo/],
    ['a missing file', [join(folder, 'no.yaml')], /no\.yaml: cannot be read/],
    ['a folder', [join(folder, 'sub')], /sub is a folder/],
    ['a broken scenario', [path('a.yaml', 'sectorCount: 5\nwrong: 1\n')], /a\.yaml:2: .*wrong/],
    ['a scenario under another name', [path('a', 'sectorCount: five\n')], /a:1: .*sectorCount/],
    ['a broken map', [path('b.map', `${statusLine}0x0 0x100 x\n`)], /b\.map:2: /],
    ['a map with a hole', [path('c.map', `${statusLine}0 1 +\n5 1 +\n`)], /c\.map:3: /],
    ['an empty map', [path('d.map', '# nothing\n')], /d\.map is empty/],
    ['no end', [path('e.map', `${statusLine}0 0x7FFFFFFFFFFFFFFF ?\n`)], /e\.map has no end/],
    ['no such drive', [path('f.map', `${statusLine}0 0x7FFFFFFFFFFFFF ?\n`)], /f\.map/],
    ['an unknown preset', ['demo', '--preset', 'standard,nope'], /no preset is called 'nope'/],
    ['a broken preset', ['demo', '--preset', path('p.yaml', 'rows: 5\n')], /p\.yaml:1:/],
    ['half a sector', ['demo', '--physical-sector', '700'], /--physical-sector 700/],
    ['no name', ['demo', '--svg', ''], /the name of the file to write is empty/],
    ['a folder for a picture', ['demo', '--svg', join(folder, 'sub')], /sub is a folder; name/],
    ['no folder', ['demo', '--svg', join(folder, 'none', 'x.svg')], /there is no folder .*none/],
  ])('%s', async (_name, [spec = '', option, value = ''], line) => {
    const options: RehearseOptions = {
      preset: option === '--preset' ? value.split(',') : ['standard'],
      svg: option === '--svg' ? value : svg,
      ...(option === '--physical-sector' && { physicalSector: Number(value) }),
    };
    const error = await rehearse(spec, options).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ exitCode: 2 });
    expect((error as Error).message).toMatch(line);
    expect((error as Error).message).not.toContain('\n');
    expect(existsSync(svg)).toBe(false);
  });

  test('as the shell sees it', async () => {
    const { status, stdout, stderr } = await run(['rehearse', 'demo', '--preset', 'nope']);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/^lastspin: no preset is called 'nope'[^\n]*\(PRESET_INVALID\)\n$/);
  });

  test.each([
    ['--duration', '5'],
    ['--untried', 'maybe'],
    ['--preset', ','],
  ])('%s %s', async (option, value) => {
    const { status, stderr } = await run(['rehearse', 'demo', `${option}=${value}`]);
    expect(status).toBe(2);
    expect(stderr).toContain(option);
  });
});
