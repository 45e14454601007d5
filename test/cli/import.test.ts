import { execFileSync, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { importResultSchema } from '../../src/show/exchange.js';
import { needsTool } from '../tools.js';
import { run, temporaryFolder } from './cli.js';

function workplace(sectorCount = 2000) {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const content = randomFillSync(Buffer.alloc(sectorCount * 512));
  writeFileSync(at('source.bin'), content);
  return { at, content };
}

/** A progress log of blocks of sectors: LBA, count, status. */
function oscLog(blocks: readonly (readonly [number, number, number])[], settings = ''): string {
  const hex = (value: number) => `0x${value.toString(16)}`;
  return [
    '# Disk progress log file created by OpenSuperClone version 2.5',
    '# startconfig',
    '# sectorsize  \t512',
    '# outputoffset  \t-1',
    '# model  \tWDC WD10',
    '# serial  \tWD-1',
    `${settings}# endconfig`,
    '0x0 \t \t0x30',
    ...blocks.map((fields) => `${fields.map(hex).join(' \t')} \t0x0 \t0x0`),
    '',
  ].join('\n');
}

describe.concurrent('a project is gone on with', () => {
  test.skipIf(needsTool('ddrescue'))(
    'of ddrescue, half done: finished here, accepted there',
    async () => {
      const { at, content } = workplace();
      writeFileSync(at('damage.map'), '0x0 ? 1\n0 512000 +\n512000 10240 -\n522240 501760 +\n');
      const files = [at('source.bin'), at('rescued.dd'), at('log.txt')];
      spawnSync('ddrescue', ['-q', '-H', at('damage.map'), '-c', '8', '-s', '600000', ...files]);
      // Its image is as long as it came, and ends within a sector.
      const before = readFileSync(at('rescued.dd'));
      expect(before.length).toBe(600_000);
      const imported = await run(['import', at('log.txt'), at('rescued.dd'), '--json']);
      expect(imported.status, imported.stderr).toBe(0);
      const result = importResultSchema.parse(JSON.parse(imported.stdout));
      expect(result).toMatchObject({ from: 'ddrescue', map: at('rescued.map'), drive: null });
      expect(result.bytes).toMatchObject({ finished: 600_000 - 10_240, bad: 10_240 });
      expect(result.bytes.total).toBe(content.length);
      expect(readFileSync(at('rescued.dd')).equals(before)).toBe(true);
      execFileSync('ddrescuelog', ['-p', at('log.txt'), at('rescued.map')]);
      const job = await run(['image', at('source.bin'), at('rescued.dd')]);
      expect(job.status, job.stderr).toBe(0);
      expect(job.stderr).toMatch(/written by another program: its statuses are kept/);
      expect(readFileSync(at('rescued.dd')).equals(content)).toBe(true);
      execFileSync('ddrescuelog', ['-D', at('rescued.map')]);
      const again = [at('source.bin'), at('rescued.dd'), at('rescued.map')];
      const { stdout } = spawnSync('ddrescue', again, { encoding: 'utf8' });
      expect(stdout).toMatch(/pct rescued:\s+100\.00%/);
    },
  );

  test('of OpenSuperClone: what it did not trim or divide is read, what it has is not', async () => {
    const { at, content } = workplace();
    const blocks = [
      [0, 1000, 0x7f],
      [1000, 100, 0x10],
      [1100, 100, 0x20],
      [1200, 100, 0x30],
      [1300, 100, 0x40],
      [1400, 100, 0x80],
      [1500, 500, 0x0],
    ] as const;
    writeFileSync(at('drive.log'), oscLog(blocks));
    // What it has is ours to believe: this shows that it is not read again.
    const had = Buffer.alloc(1000 * 512, 'had ');
    writeFileSync(at('clone.img'), had);
    const imported = await run(['import', at('drive.log'), at('clone.img')]);
    expect(imported.status, imported.stderr).toBe(0);
    for (const pattern of [
      ...[/\(opensuperclone\)/, /WDC WD10 WD-1/, /^finished: {6}512000 of 1024000 bytes/m],
      ...[/^non-tried: {5}307200 bytes/m, /^non-trimmed: {3}102400/m, /^non-scraped: {3}51200/m],
      ...[/^bad: {11}51200/m, /npx lastspin image DRIVE /],
    ])
      expect(imported.stdout).toMatch(pattern);
    const job = await run(['image', at('source.bin'), at('clone.img'), '--retries', '1']);
    expect(job.status, job.stderr).toBe(0);
    const expected = Buffer.concat([had, content.subarray(1000 * 512)]);
    expect(readFileSync(at('clone.img')).equals(expected)).toBe(true);
  });

  test('a map that is replaced by force, and one that is where it belongs', async () => {
    const { at } = workplace();
    writeFileSync(at('case.img'), Buffer.alloc(1024));
    writeFileSync(at('case.map'), '0x0 ? 1\n0x0 0x400 ?\n');
    writeFileSync(at('other.map'), '0x0 ? 1\n0x0 0x400 +\n');
    const refused = await run(['import', at('other.map'), at('case.img')]);
    expect(refused).toMatchObject({ status: 2 });
    expect(refused.stderr).toMatch(/case\.map exists: .*--force/);
    expect((await run(['import', at('other.map'), at('case.img'), '--force'])).status).toBe(0);
    expect(readFileSync(at('case.map'), 'latin1')).toMatch(/^# Mapfile\. Imported by lastspin/);
    expect(readFileSync(at('case.map'), 'latin1')).toMatch(/0x00000000 {2}0x00000400 {2}\+/);
    const same = await run(['import', at('case.map'), at('case.img'), '--force']);
    expect(same.stderr).toMatch(/already where .*goes on with it/);
    expect(same.status).toBe(2);
  });
});

describe.concurrent('what is refused, in one line', () => {
  const refused = async (
    args: readonly string[],
    message: RegExp,
    at: (name: string) => string,
  ) => {
    const before = existsSync(at('case.img')) ? readFileSync(at('case.img')) : undefined;
    const finished = await run(['import', ...args]);
    expect(finished.stderr).toMatch(message);
    expect(finished.stderr).toMatch(/^lastspin: .*\([A-Z_]+\)\n$/);
    expect(finished.status).toBe(2);
    expect(existsSync(at('case.map'))).toBe(false);
    expect(existsSync(at('case.lock'))).toBe(false);
    if (before) expect(readFileSync(at('case.img')).equals(before)).toBe(true);
  };

  test('claims of what the image does not hold', async () => {
    const { at } = workplace();
    writeFileSync(at('case.img'), Buffer.alloc(1024));
    writeFileSync(at('p.map'), '0x0 ? 1\n0x0 0x400 +\n0x400 0x200 -\n0x600 0x1 +\n');
    const claim = /p\.map says that bytes up to 1537 are finished, but .*case\.img ends at 1024/;
    await refused([at('p.map'), at('case.img')], claim, at);
    await refused([at('p.map'), at('case.img'), '--force'], claim, at);
    writeFileSync(at('p.log'), oscLog([[0, 3, 0x7f]]));
    await refused([at('p.log'), at('case.img')], /up to 1536 are finished/, at);
    writeFileSync(at('p.map'), '0x0 ? 1\n0x0 0x200 +\n');
    await refused([at('p.map'), at('case.img')], /has 1024 bytes, but .* is about 512/, at);
    const forced = await run(['import', at('p.map'), at('case.img'), '--force']);
    expect(forced.status).toBe(0);
  });

  test('projects with errors, by their line; of others; of our own', async () => {
    const { at } = workplace();
    writeFileSync(at('case.img'), Buffer.alloc(1024));
    const project = (content: string) => {
      writeFileSync(at('p'), content);
      return [at('p'), at('case.img')];
    };
    await refused(project('0x0 ? 1\n0x0 0x200 +\n0x300 0x100 +\n'), /p:3: .*gap/, at);
    await refused(project('0x0 ? 1\n0x0 0x200 x\n'), /p:2: bad block line/, at);
    await refused(
      project(
        oscLog([
          [0, 1, 0],
          [2, 1, 0],
        ]),
      ),
      /p:10: .*gap/,
      at,
    );
    await refused(project(''), /p: no block/, at);
    await refused(project(oscLog([[0, 1, 0x7f]], '# outputoffset \t100\n')), /to sector 100/, at);
    const moved = '# Command line: ddrescue -f -o 1Mi /dev/sdb x.img p\n0x0 ? 1\n0x0 0x200 +\n';
    await refused(project(`# Mapfile. Created by GNU ddrescue\n${moved}`), /-o 1Mi/, at);
    await run(['image', at('source.bin'), at('own.img')]);
    await refused([at('own.map'), at('case.img')], /lastspin's own/, at);
    await refused([at('none.map'), at('case.img')], /none\.map does not exist/, at);
    await refused([at('p'), at('none.img')], /none\.img does not exist/, at);
    await refused([at('p'), '/dev/null'], /is no file/, at);
    expect(statSync(at('case.img')).size).toBe(1024);
  });
});
