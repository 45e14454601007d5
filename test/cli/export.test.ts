import { execFileSync } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { notesOf } from '../../src/cli/export.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { exportResultSchema } from '../../src/show/exchange.js';
import { needsTool } from '../tools.js';
import { run, start, temporaryFolder } from './cli.js';

const tool = (name: string, ...args: string[]) =>
  execFileSync(name, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** An image with a map of another program: read, never tried, failed in a group, beside a failed one, bad, read. */
function project(sectorBytes: number, counts = [64, 3, 5, 7, 11, 100]) {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const letters = '+?*/-+';
  const lines = ['0x0 ? 1'];
  let lba = 0;
  const content = randomFillSync(
    Buffer.alloc(counts.reduce((sum, count) => sum + count) * sectorBytes),
  );
  const medium = Buffer.from(content);
  const areas = counts.map((count, n) => {
    lines.push(`${lba * sectorBytes} ${count * sectorBytes} ${letters[n]}`);
    if (letters[n] !== '+') medium.fill(0, lba * sectorBytes, (lba + count) * sectorBytes);
    lba += count;
    return { letter: letters[n]!, offset: (lba - count) * sectorBytes, len: count * sectorBytes };
  });
  writeFileSync(at('case.img'), content);
  writeFileSync(at('case.map'), `${lines.join('\n')}\n`);
  return { folder, at, content, medium, areas };
}

describe.concurrent('to E01', () => {
  test.skipIf(needsTool('ewfinfo'))(
    'a case: who and what, what was not read and why, byte for byte',
    async () => {
      const folder = temporaryFolder();
      const at = (name: string) => join(folder, name);
      const content = randomFillSync(Buffer.alloc(512 * 2000));
      writeFileSync(at('source.bin'), content);
      const range = ['--range', '0-999', '--range', '1500-1999'];
      const imaged = await run(['image', at('source.bin'), at('case.img'), ...range]);
      expect(imaged).toMatchObject({ status: 0 });
      const words = [
        '--case',
        'K 7',
        '--evidence',
        'E/3',
        '--examiner',
        'Ada & Co',
        '--notes',
        'n',
      ];
      const finished = await run([
        ...['export', at('case.img'), at('x.E01'), '--description', 'a disk', '--json', ...words],
      ]);
      expect(finished.status, finished.stderr).toBe(0);
      const medium = Buffer.from(content).fill(0, 512 * 1000, 512 * 1500);
      const md5 = createHash('md5').update(medium).digest('hex');
      const result = exportResultSchema.parse(JSON.parse(finished.stdout));
      expect(result).toMatchObject({
        format: 'e01',
        files: [at('x.E01')],
        sectors: { total: 2000, finished: 1500, nonTried: 500, bad: 0 },
        medium: { md5, listedAreas: 1, unlistedSectors: 0 },
      });
      const info = tool('ewfinfo', at('x.E01'));
      for (const pattern of [
        ...[/Case number:\s+K 7/, /Evidence number:\s+E\/3/, /Examiner name:\s+Ada & Co/],
        ...[
          /Description:\s+a disk/,
          /Notes:\s+n \| Exported by lastspin .*never tried: 1000-1499\./,
        ],
        ...[/File format:\s+EnCase 6/, /sector\(s\): 1000 - 1499 number: 500/],
        RegExp(`MD5:\\s+${md5}`),
      ])
        expect(info).toMatch(pattern);
      expect(tool('ewfverify', '-q', at('x.E01'))).toMatch(/SUCCESS/);
      tool('ewfexport', '-q', '-u', '-f', 'raw', '-t', at('again'), at('x.E01'));
      expect(readFileSync(at('again.raw')).equals(medium)).toBe(true);
    },
  );

  test.skipIf(needsTool('ewfinfo'))(
    'a project of another program, in sectors of 4096 bytes, its image not yet long enough',
    async () => {
      const { at, content, medium, areas } = project(4096, [64, 3, 5, 7, 11, 0]);
      const map = readFileSync(at('case.map'), 'latin1').split('\n').slice(0, 6).join('\n');
      writeFileSync(at('elsewhere.map'), `${map}\n`);
      writeFileSync(at('raw.dd'), content.subarray(0, 66 * 4096));
      const options = ['--map', at('elsewhere.map'), '--sector', '4Ki', '--compress', 'best'];
      const finished = await run(['export', at('raw.dd'), at('x.e01'), ...options]);
      expect(finished.status, finished.stderr).toBe(0);
      expect(finished.stdout).toMatch(/read: {10}64 of 90 sectors/);
      expect(finished.stdout).toMatch(/^non-tried: {5}3 sectors$/m);
      expect(finished.stdout).toMatch(/^bad: {11}11 sectors$/m);
      const info = tool('ewfinfo', at('x.e01'));
      expect(info).toMatch(/Bytes per sector:\s+4096/);
      // One list for all, and the notes say which is which.
      expect(info).toMatch(/sector\(s\): 64 - 89 number: 26/);
      const notes = [/never tried: 64-66\./, /longer read, .*: 67-71\./, /unreadable: 79-89\./];
      for (const pattern of notes) expect(info).toMatch(pattern);
      tool('ewfexport', '-q', '-u', '-f', 'raw', '-t', at('again'), at('x.e01'));
      expect(readFileSync(at('again.raw')).equals(medium)).toBe(true);
      expect(areas[4]).toEqual({ letter: '-', offset: 79 * 4096, len: 11 * 4096 });
    },
  );

  test('stopped by a signal it leaves nothing, killed it leaves nothing that looks whole', async () => {
    const { folder, at } = project(512, [100_000, 1, 1, 1, 1, 1]);
    const names = () => readdirSync(folder).filter((name) => name.startsWith('x.'));
    for (const [signal, status] of [
      ['SIGINT', 130],
      ['SIGKILL', null],
    ] as const) {
      const options = ['--compress', 'best', '--segment-size', '1Mi'];
      const export_ = start(['export', at('case.img'), at('x.E01'), ...options]);
      while (names().length < 3) await new Promise((resolve) => setImmediate(resolve));
      export_.process.kill(signal);
      expect((await export_.finished).status).toBe(status);
      if (signal === 'SIGINT') expect(names()).toEqual([]);
      else expect(names().every((name) => name.endsWith('.part'))).toBe(true);
    }
    // What was left behind is in nobody's way.
    expect((await run(['export', at('case.img'), at('x.E01')])).status).toBe(0);
    expect(names().filter((name) => !name.endsWith('.part'))).toEqual(['x.E01']);
  });
});

describe.concurrent('to DFXML', () => {
  test.skipIf(needsTool('xmllint'))(
    'what was read, and apart from it what never was and what could not be',
    async () => {
      const { at, areas } = project(512);
      const examiner = 'Ada <"&\'> \u0001 \ud83d\udd0d';
      const args = ['export', at('case.img'), at('x.dfxml'), '--case', '7', '--examiner', examiner];
      const finished = await run([...args, '--json']);
      expect(finished.status, finished.stderr).toBe(0);
      const result = exportResultSchema.parse(JSON.parse(finished.stdout));
      expect(result).toMatchObject({ format: 'dfxml', medium: null, sectors: { bad: 11 } });
      const value = (xpath: string) => tool('xmllint', '--xpath', xpath, at('x.dfxml')).trim();
      const image = "/*[local-name()='dfxml']/*[local-name()='diskimageobject']";
      const child = (name: string) => `${image}/*[local-name()='${name}']`;
      expect(value(`string(${child('examiner_name')})`)).toBe(examiner.replace('\u0001', '\ufffd'));
      expect(value(`string(${child('filesize')})`)).toBe(String(190 * 512));
      expect(value(`string(${child('sector_size')})`)).toBe('512');
      const runs = (xpath: string) =>
        [...value(xpath).matchAll(/img_offset="(\d+)" len="(\d+)"/g)].map(([, offset, len]) => [
          Number(offset),
          Number(len),
        ]);
      const named = [
        ...[['+', `${child('byte_runs')}/*`] as const],
        ...(['?non-tried', '*non-trimmed', '/non-scraped', '-bad-sector'] as const).map(
          (name) => [name[0]!, `${child('areas')}[@status='${name.slice(1)}']/*`] as const,
        ),
      ];
      for (const [letter, xpath] of named) {
        const expected = areas.filter((area) => area.letter === letter);
        expect(runs(xpath)).toEqual(expected.map(({ offset, len }) => [offset, len]));
      }
      // Its only runs are those that were read: some programs look for no more than that name.
      expect(runs(`//*[local-name()='byte_run']`)).toHaveLength(2);
    },
  );

  test('hashes where they are known', async () => {
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    const content = randomFillSync(Buffer.alloc(512 * 300));
    writeFileSync(at('source.bin'), content);
    const range = ['--range', '0-99', '--range', '200-299'];
    await run(['image', at('source.bin'), at('case.img'), ...range]);
    // A list that was cut, or that speaks of what is no run, is used as far as it fits.
    const list = readFileSync(at('case.hashes.csv'), 'latin1');
    const mean = `${'0'.repeat(64)},50,250,finished\n`;
    writeFileSync(at('case.hashes.csv'), list.replace('\n', `\n${mean}`));
    const finished = await run(['export', at('case.img'), at('x.dfxml')]);
    expect(finished.status, finished.stderr).toBe(0);
    const text = readFileSync(at('x.dfxml'), 'utf8');
    for (const [first, last] of [
      [0, 99],
      [200, 299],
    ] as const) {
      const data = content.subarray(first * 512, (last + 1) * 512);
      const sha256 = createHash('sha256').update(data).digest('hex');
      const run_ = `<byte_run img_offset="${first * 512}" len="51200">`;
      expect(text).toContain(`${run_}<hashdigest type="sha256">${sha256}</hashdigest></byte_run>`);
    }
    expect(text).not.toContain('0'.repeat(64));
    expect(text).toContain('<lastspin:area img_offset="51200" len="51200"/>');
    const again = await run(['export', at('case.img'), at('x.dfxml')]);
    expect(again).toMatchObject({ status: 2 });
    expect((await run(['export', at('case.img'), at('x.dfxml'), '--force'])).status).toBe(0);
  });
});

describe.concurrent('what the job was told of the case', () => {
  /** A case of somebody, whose image was touched long ago by the look of it. */
  async function told(note: string) {
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    writeFileSync(at('source.bin'), randomFillSync(Buffer.alloc(512 * 100)));
    const who = ['--case', 'K 7', '--evidence', 'E/3', '--examiner', 'Ada'];
    const imaged = await run(['image', at('source.bin'), at('case.img'), ...who, '--note', note]);
    expect(imaged, imaged.stderr).toMatchObject({ status: 0 });
    utimesSync(at('case.img'), 1e9, 1e9);
    const lines = readFileSync(at('case.events.ndjson'), 'utf8').trimEnd().split('\n');
    const reads = lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === 'read');
    return { at, readAt: reads.at(-1).at as string };
  }
  const element = (text: string, name: string) =>
    new RegExp(`<lastspin:${name}>([^]*?)</lastspin:${name}>`).exec(text)?.[1];

  test('stands in a DFXML with the time of the last read; what is typed goes first', async () => {
    const { at, readAt } = await told('fell\nfrom a table');
    expect(await run(['export', at('case.img'), at('x.dfxml'), '--examiner', 'Zoë'])).toMatchObject(
      {
        status: 0,
      },
    );
    const text = readFileSync(at('x.dfxml'), 'utf8');
    const names = ['case_number', 'evidence_number', 'examiner_name', 'notes', 'acquired'];
    expect(names.map((name) => element(text, name))).toEqual([
      ...['K 7', 'E/3', 'Zoë', 'fell\nfrom a table', readAt],
    ]);
    // A log that was cut does not say when the last read was.
    const log = readFileSync(at('case.events.ndjson'), 'utf8');
    writeFileSync(at('case.events.ndjson'), log.slice(0, log.lastIndexOf('"kind":"ended"') - 80));
    expect((await run(['export', at('case.img'), at('y.dfxml')])).status).toBe(0);
    const other = readFileSync(at('y.dfxml'), 'utf8');
    expect(element(other, 'acquired')).toBe(new Date(1e12).toISOString());
  });

  test.skipIf(needsTool('ewfinfo'))(
    'stands in an E01, a long note as far as it may be',
    async () => {
      const { at, readAt } = await told(`${'n'.repeat(1995)}mmmmmmmmmm`);
      const exported = await run(['export', at('case.img'), at('x.E01'), '--evidence', 'E/4']);
      expect(exported, exported.stderr).toMatchObject({ status: 0 });
      const info = execFileSync('ewfinfo', ['-d', 'iso8601', at('x.E01')], {
        encoding: 'utf8',
        env: { ...process.env, TZ: 'UTC' },
      });
      for (const pattern of [
        ...[/Case number:\s+K 7/, /Evidence number:\s+E\/4/, /Examiner name:\s+Ada/],
        ...[RegExp(`Acquisition date:\\s+${readAt.slice(0, 19)}`)],
      ])
        expect(info).toMatch(pattern);
      // ewfinfo shows no notes of more than some 400 characters: they stand in the first section, "header2".
      const header2 = inflateSync(readFileSync(at('x.E01')).subarray(13 + 76)).toString('utf16le');
      expect(header2).toMatch(/\tn{1994} \[\.\.\.\] \| Exported by lastspin /);
    },
  );
});

test('notes say which areas are which as far as they may be long, and that there are more', () => {
  const map = createRunMap(100_000, statuses.finished);
  expect(notesOf(map, 'mine')).toMatch(
    /^mine \| Exported by lastspin \S+\. Every sector was read\.$/,
  );
  for (let lba = 0; lba < 99_000; lba += 10) map.set({ lba, count: 1 + (lba % 3) }, (lba / 10) % 4);
  const notes = notesOf(map, 'm'.repeat(2000));
  expect(notes.length).toBeLessThan(3000);
  expect(notes).toMatch(
    / sectors never tried; .* sectors unreadable\. LBAs never tried: 0, 40-41, .* and more \(see DFXML\)\.$/,
  );
});

describe.concurrent('what is refused, in one line', () => {
  const refused = async (args: readonly string[], message: RegExp, status = 2) => {
    const finished = await run(['export', ...args]);
    expect(finished.stderr).toMatch(message);
    expect(finished.stderr).toMatch(/^lastspin: .*\([A-Z_]+\)\n$/);
    expect(finished.status).toBe(status);
  };

  test('no image, no map, no such format', async () => {
    const { at } = project(512);
    await refused([at('none.img'), at('x.E01')], /none\.img does not exist/);
    await refused([at('case.img'), at('x.raw')], /FILE ends in \.E01 or \.dfxml/);
    await refused([at('case.img'), at('x.dfxml'), '--compress', 'best'], /goes with FILE\.E01/);
    await refused([at('case.img'), at('x.E01'), '--segment-size', '5'], /are the least/);
    const long = 'n'.repeat(2001);
    await refused([at('case.img'), at('x.E01'), '--notes', long], /--notes has 2001 characters/);
    await refused([at('case.img'), at('x.E01'), '--sector', '1000'], /not sectors of 1000/);
    writeFileSync(at('lonely.img'), 'x');
    await refused([at('lonely.img'), at('x.E01')], /has no map .*lonely\.map; --map/);
    expect(existsSync(at('x.E01'))).toBe(false);
  });

  test('an image that holds less, or more, than its map says', async () => {
    const { at, content } = project(512);
    writeFileSync(at('case.img'), content.subarray(0, content.length - 1));
    await refused([at('case.img'), at('x.E01')], /has 97279 bytes, its map claims 97280/);
    writeFileSync(at('case.img'), Buffer.concat([content, Buffer.alloc(1)]));
    await refused([at('case.img'), at('x.E01')], /has 97281 bytes, its map is about 97280/);
  });

  test('a map that was changed, an image that a job is writing', async () => {
    const { folder, at } = project(512);
    writeFileSync(at('source.bin'), Buffer.alloc(51_200));
    await run(['image', at('source.bin'), at('own.img')]);
    const map = readFileSync(at('own.map'), 'latin1');
    writeFileSync(
      at('own.map'),
      map.replace('0x00000000  0x0000C800  +', '0x00000000  0x0000C800  -'),
    );
    await refused([at('own.img'), at('x.E01')], /own\.map is not as lastspin wrote it/);
    const job = start(['image', 'sim:slow', join(folder, 'slow.img')]);
    await job.saw(/pass 1/);
    await refused([at('slow.img'), at('x.E01')], /is working on this image/, 1);
    job.process.kill('SIGINT');
    await job.finished;
  });

  test('a file that is no such export is not replaced', async () => {
    const { at } = project(512);
    for (const name of ['x.E01', 'x.dfxml']) {
      writeFileSync(at(name), 'a letter');
      await refused([at('case.img'), at(name)], /exists; --force/);
      await refused([at('case.img'), at(name), '--force'], /is not (replaced|a file)/);
      expect(readFileSync(at(name), 'latin1')).toBe('a letter');
    }
  });
});
