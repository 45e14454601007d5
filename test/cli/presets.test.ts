import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bundledPresets } from '../../src/preset-files.js';
import { run, temporaryFolder } from './cli.js';

describe.concurrent('presets', () => {
  test('list tells each in a line', async () => {
    const { status, stdout } = await run(['presets', 'list']);
    expect(status).toBe(0);
    const names = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[0]);
    expect(names).toEqual(bundledPresets());
  });

  test('show prints the rows for a drive, or the file itself', async () => {
    const table = await run([
      'presets',
      'show',
      'standard',
      '--sectors',
      '200000',
      '--retries',
      '2',
    ]);
    expect(table.stdout).toMatch(/1 +good areas +copy +forward +any +128 +skip 1920\.\.1920/);
    expect(table.stdout).toMatch(/13 +retry 2 /);
    const file = await run(['presets', 'show', 'standard', '--yaml']);
    expect(file.stdout).toContain('title: good areas');
    expect((await run(['presets', 'show', 'nothing'])).stderr).toContain('bundled: adaptive');
    expect((await run(['presets', 'show', 'ssd', '--kind', 'tape'])).status).toBe(2);
  });

  test('new writes a file that check takes, and replaces none unless forced', async () => {
    const file = join(temporaryFolder(), 'mine.yaml');
    expect((await run(['presets', 'new', file, '--from', 'gentle'])).status).toBe(0);
    expect(await run(['presets', 'check', file])).toMatchObject({
      status: 0,
      stdout: `${file}: ok\n`,
    });
    writeFileSync(file, 'title: precious\n');
    const refused = await run(['presets', 'new', file]);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('exists');
    expect(readFileSync(file, 'utf8')).toBe('title: precious\n');
    expect((await run(['presets', 'new', file, '--force'])).status).toBe(0);
    expect(readFileSync(file, 'utf8')).toContain('good areas');
  });

  test('new --force replaces a preset, never an image or a map', async () => {
    const folder = temporaryFolder();
    const image = join(folder, 'case.img');
    const map = join(folder, 'case.map');
    writeFileSync(image, Buffer.alloc(4096, 7));
    writeFileSync(map, '0x0 + 1\n0x0 0x1000 +\n');
    for (const file of [image, map]) {
      const before = readFileSync(file);
      const { status, stderr } = await run(['presets', 'new', file, '--force']);
      expect(status).toBe(2);
      expect(stderr).toContain('it is not replaced');
      expect(readFileSync(file)).toEqual(before);
    }
  });

  test('check prints every mistake where it is, and exits with 2', async () => {
    const file = join(temporaryFolder(), 'wrong.yaml');
    writeFileSync(file, 'title: t\nrows:\n  - name: a\n    phase: copi\n    onFault: jump\n');
    const { status, stdout } = await run(['presets', 'check', file, 'standard']);
    expect(status).toBe(2);
    expect(stdout).toBe(
      `${file}:4:12: rows[0].phase: expected one of copy, trim, scrape, retry\n` +
        `${file}:5:14: rows[0].onFault: expected one of skip, leave, go-on\nstandard: ok\n`,
    );
  });

  test('image takes a file, and refuses a wrong one before it touches anything', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'mine.yaml');
    writeFileSync(file, 'title: t\nrows:\n  - { name: only row, phase: copy, readCount: 256 }\n');
    const image = join(folder, 'case.img');
    const drive = 'sim:healthy?scale=20';
    const done = await run(['image', drive, image, '--preset', file, '--json']);
    expect(done.status, done.stderr).toBe(0);
    expect(JSON.parse(done.stdout)).toMatchObject({ ended: 'finished' });
    writeFileSync(file, 'title: t\n');
    const refused = await run(['image', drive, join(folder, 'other.img'), '--preset', file]);
    expect(refused.stderr).toContain('mine.yaml:1:1: rows: is missing (PRESET_INVALID)');
    expect(refused.status).toBe(2);
  });
});
