import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import { formatMapFile } from '../../src/map/mapfile.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { run, temporaryFolder } from './cli.js';

const sectorCount = 120_000;
const bandSectors = 6000;
const heads = 4;
const weak = 2;
const headOf = (lba: number) => Math.floor(lba / bandSectors) % heads;

/** A ddrescue map of a drive whose head 2 loses a sector in a hundred, or of one with scattered damage. */
function plainMap(folder: string, onlyWeak: boolean): string {
  const map = createRunMap(sectorCount, statuses.finished);
  const random = createRandom(5);
  for (let lba = 0; lba < sectorCount; lba += 8) {
    const isHit = onlyWeak ? headOf(lba) === weak && random.next() < 0.1 : random.next() < 0.005;
    if (isHit) map.set({ lba, count: 8 }, statuses['bad-sector']);
  }
  const content = { map, sectorBytes: 512, currentPosition: 0, currentStatus: '+', currentPass: 1 };
  const path = join(folder, onlyWeak ? 'weak.map' : 'scattered.map');
  writeFileSync(
    path,
    Buffer.concat([
      ...formatMapFile({ ...content, currentStatus: '+', version: 'x', comments: [] }),
    ]),
  );
  return path;
}

/** 60 MB of four heads, all well. */
function drive(folder: string): string {
  const path = join(folder, 'drive.yaml');
  const mechanics = { heads, bandSectors };
  writeFileSync(
    path,
    JSON.stringify({ seed: 5, sectorCount, physicalSectorBytes: 4096, mechanics }),
  );
  return `sim:${path}?scale=4`;
}

const preset = (rows: string) => `title: t\nrows:\n${rows}`;

describe.concurrent('heads', () => {
  test('of anybody’s map are inferred from the damage, drawn, and written as a file', async () => {
    const folder = temporaryFolder();
    const map = plainMap(folder, true);
    const shown = await run(['map', 'show', map, '--heads']);
    expect(shown.status, shown.stderr).toBe(0);
    expect(shown.stdout).toContain('inferred from the damage in');
    expect(shown.stdout).toMatch(/^heads +4, as far as/m);
    expect(shown.stdout).toMatch(/^weak +one of 4, number 2 /m);
    expect(shown.stdout).toMatch(/^cost +1 bad spot in \d+ .* a map does not tell how slow/m);
    const rows = shown.stdout.split('\n').filter((line) => /^ {14} /.test(line));
    expect(rows.join('').replaceAll(/[^w.]/g, '')).toMatch(/^\.+w+\.+w+\.+w+\.+w+\.+w+\.+$/);
    const asJson = await run(['map', 'show', map, '--heads', '--json']);
    const object = JSON.parse(asJson.stdout);
    expect(object).toMatchObject({
      schema: 'lastspin/map-heads/1',
      source: 'inferred',
      inferredFrom: 'map',
      heads: 4,
      weak: [2],
      dead: [],
      slowness: 1,
    });
    expect(Math.abs(object.periodSectors - heads * bandSectors)).toBeLessThan(500);
    expect(object.weakBands).toHaveLength(5);
    const file = join(folder, 'heads.yaml');
    expect((await run(['map', 'show', map, '--heads', '--output', file])).status).toBe(0);
    expect(readFileSync(file, 'utf8')).toMatch(
      /^# Head map, inferred from the damage in .*\nheads: 4\n/,
    );
    const again = await run(['map', 'show', map, '--heads', '--output', file]);
    expect(again).toMatchObject({ status: 2, stderr: expect.stringContaining('--force') });
    const drawn = await run(['map', 'render', map, '--heads', '--columns', '40', '--rows', '2']);
    expect(drawn.stdout).toMatch(/\n0x0{12} .{40}\n {14} \.+w+\.+w+\.+\n/);
  });

  test('of scattered damage are not made up', async () => {
    const folder = temporaryFolder();
    const map = plainMap(folder, false);
    const shown = await run(['map', 'show', map, '--heads']);
    expect(shown.status).toBe(0);
    expect(shown.stdout).toMatch(/^no head map: the damage in .* is too little, or too irregular/);
    const object = JSON.parse((await run(['map', 'show', map, '--heads', '--json'])).stdout);
    expect(object).toMatchObject({ source: 'none', heads: null, weak: [], weakBands: [] });
    const file = join(folder, 'heads.yaml');
    const written = await run(['map', 'show', map, '--heads', '--output', file]);
    expect(written.stderr).toMatch(/no head map to write: .*\(USAGE\)/);
    expect(written.status).toBe(2);
    const idle = await run(['map', 'show', map, '--json']);
    expect(idle).toMatchObject({ status: 2, stderr: expect.stringContaining('--json goes with') });
  });

  test('written as a file are what `image` takes, shows and writes again', async () => {
    const folder = temporaryFolder();
    const inferred = join(folder, 'inferred.yaml');
    await run(['map', 'show', plainMap(folder, true), '--heads', '--output', inferred]);
    const rows = join(folder, 'rows.yaml');
    writeFileSync(
      rows,
      preset(
        '  - { name: good heads, phase: copy, heads: good }\n  - { name: all, phase: copy, heads: [2] }\n',
      ),
    );
    const image = join(folder, 'case.img');
    const args = ['image', drive(folder), image, '--preset', rows, '--json'];
    const done = await run([...args, '--heads', inferred]);
    expect(done.status, done.stderr).toBe(0);
    expect(done.stderr).toContain('head map: 4 heads, weak 2');
    expect(JSON.parse(done.stdout).sectors).toMatchObject({ finished: sectorCount });
    const map = join(folder, 'case.map');
    const object = JSON.parse((await run(['map', 'show', map, '--heads', '--json'])).stdout);
    const before = JSON.parse(
      (await run(['map', 'show', join(folder, 'weak.map'), '--heads', '--json'])).stdout,
    );
    expect(object).toMatchObject({ source: 'given', isWeakGiven: true, heads: 4, weak: [2] });
    expect(object.weakBands).toEqual(before.weakBands);
    const shown = await run(['map', 'show', map, '--heads']);
    expect(shown.stdout).toMatch(/^head map +given to the job of .*case\.map$/m);
    expect(shown.stdout).toMatch(/^below: 2 weak head {2}\. others$/m);
    const again = join(folder, 'again.yaml');
    await run(['map', 'show', map, '--heads', '--output', again]);
    const body = (path: string) => readFileSync(path, 'utf8').split('\n').slice(1);
    expect(body(again)).toEqual(body(inferred));
    const forgotten = await run([...args, '--heads', 'none']);
    expect(forgotten.stderr).toMatch(/row 2 \(all\) goes by head 2, but no head map/);
    expect(forgotten.status).toBe(2);
  });

  test.each([
    [
      'heads: 4\nweak: [9]\nzones: [{ bandSectors: 6000 }]',
      /h\.yaml:2:8: weak\[0\]: the heads are 0/,
    ],
    ['heads: 4\nzones: [{ to: 1 TB, bandSectors: 6000 }]', /h\.yaml:2:9: zones\[0\]: ends at LBA/],
    ['heads: 4\nsectorCount: 7\nzones: [{ bandSectors: 60 }]', /2:14: sectorCount: is 7, but the/],
  ])('that make no sense are refused with line and field: %j', async (text, complaint) => {
    const folder = temporaryFolder();
    const file = join(folder, 'h.yaml');
    writeFileSync(file, text);
    const image = join(folder, 'case.img');
    const end = await run(['image', drive(folder), image, '--heads', file]);
    expect(end.stderr).toMatch(complaint);
    expect(end.stderr.trim().split('\n').at(-1)).toMatch(/\(HEADS_INVALID\)$/);
    expect(end.status).toBe(2);
  });

  test('from a file that is not there are a failure of the environment', async () => {
    const folder = temporaryFolder();
    const args = ['image', drive(folder), join(folder, 'case.img'), '--heads', 'NOWHERE'];
    const end = await run(args);
    expect(end).toMatchObject({ status: 1, stderr: expect.stringMatching(/^lastspin: NOWHERE: /) });
  });
});
