import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { mergeResultSchema } from '../../src/show/merge-result.js';
import { imageResultSchema } from '../../src/show/result.js';
import { needsTool } from '../tools.js';
import { run, start, temporaryFolder } from './cli.js';

const sectorBytes = 512;
const sectorCount = 4096;

/** Every sector names itself. */
function contentOfDrive(): Buffer {
  const content = Buffer.alloc(sectorCount * sectorBytes);
  for (let lba = 0; lba < sectorCount; lba++) {
    content.fill(`sector ${lba} of the drive;`, lba * sectorBytes, (lba + 1) * sectorBytes);
  }
  return content;
}

function folderWithSource() {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const content = contentOfDrive();
  writeFileSync(at('source.bin'), content);
  return { folder, at, content };
}

function mapText(...rows: readonly [number, number, string][]): string {
  const hex = (lba: number) => `0x${(lba * sectorBytes).toString(16)}`;
  const lines = rows.map(([lba, count, status]) => `${hex(lba)} ${hex(count)} ${status}\n`);
  return `# made by hand\n0x0 ? 1\n${lines.join('')}`;
}

/** Two attempts by another program, which differ in four sectors. */
function twoForeign() {
  const { folder, at, content } = folderWithSource();
  writeFileSync(at('a.img'), content);
  writeFileSync(at('a.map'), mapText([0, 3000, '+'], [3000, 96, '-'], [3096, 1000, '/']));
  const other = Buffer.from(content);
  for (const lba of [100, 101, 102, 2000]) other[lba * sectorBytes + 5]! ^= 1;
  writeFileSync(at('b.img'), other);
  writeFileSync(at('b.map'), mapText([0, 50, '?'], [50, 2500, '+'], [2550, 1546, '*']));
  return { folder, at, content };
}

describe.concurrent('merge', () => {
  test('two halves of a drive, by lastspin: one image, and a job that finds nothing left', async () => {
    const { at, content } = folderWithSource();
    for (const [name, range] of [
      ['a', '0-2999'],
      ['b', '2500-4095'],
    ] as const) {
      const made = await run(['image', at('source.bin'), at(`${name}.img`), '--range', range]);
      expect(made.status, made.stderr).toBe(0);
    }
    const merged = await run(['merge', at('out.img'), at('a.img'), at('b.img'), '--json']);
    expect(merged.status, merged.stderr).toBe(0);
    const result = mergeResultSchema.parse(JSON.parse(merged.stdout));
    expect(result.bytes.finished).toBe(content.length);
    expect(result.comparedBytes).toBe(500 * sectorBytes);
    expect(result.inputs.map(({ takenBytes }) => takenBytes / sectorBytes)).toEqual([3000, 1096]);
    expect(result).toMatchObject({ conflictsFile: null, conflicts: { sectors: 0, list: [] } });
    expect(readFileSync(at('out.img')).equals(content)).toBe(true);
    expect(existsSync(at('out.conflicts.csv'))).toBe(false);
    const job = await run(['image', at('source.bin'), at('out.img'), '--json', '--strict']);
    expect(job.status, job.stderr).toBe(0);
    const finished = imageResultSchema.parse(JSON.parse(job.stdout));
    expect(finished.sectors.finished).toBe(sectorCount);
    expect(finished.merged?.images.map(({ image }) => image)).toEqual([at('a.img'), at('b.img')]);
  });

  test('conflicts: exit status 4, a list, nothing claimed; the drive settles them', async () => {
    const { at, content } = twoForeign();
    const merged = await run(['merge', at('out.img'), at('a.img'), at('b.img')]);
    expect(merged.status, merged.stderr).toBe(4);
    expect(merged.stdout).toMatch(/4 sectors in 2 places: 4 not decided: left unread/);
    expect(merged.stdout).toMatch(/LBA 100-102: [0-9a-f]{12} .*a\.img; [0-9a-f]{12} .*b\.img/);
    const list = readFileSync(at('out.conflicts.csv'), 'utf8').trim().split('\n').slice(1);
    expect(list.map((line) => line.split(',').slice(0, 2).join('-'))).toEqual([
      ...['100-102', '100-102', '2000-2000', '2000-2000'],
    ]);
    const image = readFileSync(at('out.img'));
    expect(image.subarray(100 * 512, 103 * 512).every((byte) => byte === 0)).toBe(true);
    const job = await run(['image', at('source.bin'), at('out.img')]);
    expect(job.status, job.stderr).toBe(0);
    expect(readFileSync(at('out.img')).equals(content)).toBe(true);
  });

  test.skipIf(needsTool('ddrescuelog'))(
    'ddrescuelog says the same of the map: unread and unreadable stay different',
    async () => {
      const { at } = twoForeign();
      await run(['merge', at('out.img'), at('a.img'), at('b.img')]);
      const listed = (letter: string) =>
        execFileSync('ddrescuelog', [`-l${letter}`, at('out.map')], { encoding: 'utf8' })
          .trim()
          .split('\n')
          .map(Number);
      expect(listed('?')).toEqual([100, 101, 102, 2000]);
      expect(listed('-')).toEqual(Array.from({ length: 96 }, (_, index) => 3000 + index));
      expect(listed('/')).toEqual(Array.from({ length: 1000 }, (_, index) => 3096 + index));
      expect(listed('+')).toHaveLength(3000 - 4);
    },
  );

  test('--prefer takes one image’s side and says so; --majority needs three', async () => {
    const { at, content } = twoForeign();
    const images = [at('a.img'), at('b.img')];
    const preferred = await run(['merge', at('out.img'), ...images, '--prefer', at('a.img')]);
    expect(preferred.status, preferred.stderr).toBe(0);
    expect(preferred.stdout).toMatch(/4 taken from .*a\.img/);
    expect(readFileSync(at('out.img')).subarray(0, 3000 * 512)).toEqual(
      content.subarray(0, 3000 * 512),
    );
    const two = await run(['merge', at('two.img'), ...images, '--majority']);
    expect(two).toMatchObject({ status: 2, stdout: '' });
    writeFileSync(at('c.img'), content);
    writeFileSync(at('c.map'), mapText([0, sectorCount, '+']));
    const three = ['merge', at('out.img'), ...images, at('c.img'), '--majority', '--force'];
    const voted = await run(three);
    expect(voted.status, voted.stderr).toBe(0);
    expect(voted.stdout).toContain('4 decided by majority');
    expect(readFileSync(at('out.img')).equals(content)).toBe(true);
    expect(readFileSync(at('out.conflicts.csv'), 'utf8')).toMatch(/c\.img,.*,majority$/m);
  });

  test('a map of another name, and a name with a colon in it', async () => {
    const { at, content } = twoForeign();
    mkdirSync(at('maps'));
    writeFileSync(at('with:colon.img'), content);
    writeFileSync(at('maps/other:name'), mapText([3000, 1096, '+']));
    const named = `${at('with:colon.img')}:${at('maps/other:name')}`;
    const merged = await run(['merge', at('out.img'), at('a.img'), named]);
    expect(merged.status, merged.stderr).toBe(0);
    expect(readFileSync(at('out.img')).equals(content)).toBe(true);
  });

  test.each<[string, (at: (name: string) => string) => string[], RegExp]>([
    ['an image that is not there', (at) => ['out.img', 'a.img', 'x.img'].map(at), /no such image/],
    ['an image without a map', (at) => ['out.img', 'a.img', 'source.bin'].map(at), /has no map/],
    ['one image', (at) => ['out.img', 'a.img'].map(at), /2 to 32 images/],
    ['an image twice', (at) => ['out.img', 'a.img', 'link.img:b.map'].map(at), /given twice/],
    ['OUT among the images', (at) => ['a.img', 'a.img', 'b.img'].map(at), /one of the images/],
    ['OUT by another name', (at) => ['hard.img', 'a.img', 'b.img'].map(at), /one of the images/],
    [
      'a map where OUT’s event log would be',
      (at) => [at('out.img'), at('a.img'), `${at('b.img')}:${at('out.events.ndjson')}`],
      /one of the images/,
    ],
    ['OUT beside an input’s map', (at) => ['b.dd', 'a.img', `b.img`].map(at), /one of the images/],
    [
      '--prefer of none',
      (at) => [...['o.img', 'a.img', 'b.img'].map(at), '--prefer', 'z'],
      /none of the images/,
    ],
    ['OUT named like a map', (at) => ['o.map', 'a.img', 'b.img'].map(at), /as \S+o\.img/],
    ['a folder', (at) => ['out.img', 'a.img', 'maps'].map(at), /is not a file/],
    [
      'a claim beyond a cut image',
      (at) => ['out.img', 'a.img', 'cut.img'].map(at),
      /calls bytes up to/,
    ],
  ])('refuses %s, and makes nothing', async (_, args, message) => {
    const { folder, at } = twoForeign();
    symlinkSync(at('a.img'), at('link.img'));
    linkSync(at('a.img'), at('hard.img'));
    mkdirSync(at('maps'));
    writeFileSync(at('out.events.ndjson'), mapText([0, 4096, '-']));
    writeFileSync(at('cut.img'), '');
    truncateSync(at('cut.img'), 1024);
    writeFileSync(at('cut.map'), mapText([0, 4096, '+']));
    const before = readdirSync(folder).sort();
    const finished = await run(['merge', ...args(at)]);
    expect(finished.stderr).toMatch(message);
    expect(finished.stderr.trim().split('\n')).toHaveLength(1);
    expect([1, 2]).toContain(finished.status);
    expect(finished.stdout).toBe('');
    expect(readdirSync(folder).sort()).toEqual(before);
  });

  test('left at once by a second signal, what it leaves is removed by the next one', async () => {
    const { at } = twoForeign();
    for (const name of ['one', 'two']) {
      writeFileSync(at(`${name}.img`), '');
      truncateSync(at(`${name}.img`), 2 ** 33);
      writeFileSync(at(`${name}.map`), `0x0 + 1\n0 ${2 ** 33} +\n`);
    }
    const job = start(['merge', at('out.img'), at('one.img'), at('two.img')]);
    while (!existsSync(at('out.img.merging')))
      await new Promise((resolve) => setImmediate(resolve));
    job.process.kill('SIGINT');
    await job.saw(/stopping \(again: leave at once; the next merge removes what is left\)/);
    job.process.kill('SIGINT');
    expect((await job.finished).status).toBe(130);
    expect(existsSync(at('out.img'))).toBe(false);
    const next = await run(['merge', at('out.img'), at('a.img'), at('b.img')]);
    expect([0, 4], next.stderr).toContain(next.status);
    expect(existsSync(at('out.img.merging'))).toBe(false);
  });

  test('an image that a job holds is left alone', async () => {
    const { at } = twoForeign();
    const holder = await import('../../src/image/lock.js');
    const lock = await holder.takeLock(at('a.lock'));
    const refused = await run(['merge', at('out.img'), at('a.img'), at('b.img')]);
    expect(refused).toMatchObject({ status: 1 });
    expect(refused.stderr).toMatch(/is working on this image/);
    await lock.release();
  });

  test('what is empty takes no room', async () => {
    const { at } = folderWithSource();
    for (const name of ['a', 'b']) {
      writeFileSync(at(`${name}.img`), '');
      truncateSync(at(`${name}.img`), sectorCount * sectorBytes * 64);
      writeFileSync(at(`${name}.map`), mapText([0, sectorCount * 64, '+']));
    }
    const merged = await run(['merge', at('out.img'), at('a.img'), at('b.img')]);
    expect(merged.status, merged.stderr).toBe(0);
    expect(statSync(at('out.img')).size).toBe(sectorCount * sectorBytes * 64);
    expect(statSync(at('out.img')).blocks).toBeLessThan(16);
  });
});
