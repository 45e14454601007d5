import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { imageResultSchema } from '../../src/show/result.js';
import { run, temporaryFolder } from './cli.js';

/** 4 MiB without a fault. Time runs faster, but not so much that a busy machine looks like a silent laptop. */
function drive(folder: string): string {
  const path = join(folder, 'drive.yaml');
  writeFileSync(path, JSON.stringify({ seed: 5, sectorCount: 8192 }));
  return `sim:${path}?scale=20`;
}

test('a domain is read, the rest is not, and --strict asks for the domain alone', async () => {
  const folder = temporaryFolder();
  const map = join(folder, 'domain.map');
  writeFileSync(map, '0x0 ? 1\n0x0 0x100000 ?\n0x100000 0x80000 +\n0x180000 0x280000 ?\n');
  const list = join(folder, 'never.txt');
  writeFileSync(list, '2100-2199 # a scratch\n2300+10\n');
  const options = ['--domain', map, '--exclude', list, '--exclude', '3000-9000', '--strict'];
  const args = ['image', drive(folder), join(folder, 'case.img'), '--json'];
  const first = await run([...args, ...options]);
  expect(first.status, first.stderr).toBe(0);
  const result = imageResultSchema.parse(JSON.parse(first.stdout));
  const total = 3000 - 2048 - 110;
  expect(result.domain).toEqual({ total, finished: total, unread: 0 });
  expect(result.sectors).toMatchObject({ finished: total, nonTried: 8192 - total });
  const second = await run([...args, '--prioritize', '100-199', '--range', '0-499']);
  expect(second.stderr).toContain('another domain');
  expect(imageResultSchema.parse(JSON.parse(second.stdout)).domain.total).toBe(500);
  const started = [...second.stderr.matchAll(/^pass \d+: (.*)/gm)].map((match) => match[1]);
  expect(started[0]).toMatch(/, priority 1$/);
  expect(started.some((name) => name?.endsWith(', priority 2'))).toBe(true);
  const people = await run(args.slice(0, 3));
  expect(people.stdout).toMatch(/domain {7}100 % of 256 kB; 3\.\d+ MB outside are not read/);
});

test.each([
  [['--domain', 'NOWHERE'], /NOWHERE: ENOENT/],
  [['--range', 'x-y'], /--range:1:1: a number is needed here/],
  [['--range', '9000-9001'], /--range:1: the range begins at LBA 9000/],
  [['--exclude', '0-8191'], /leave nothing to read/],
])('%j is refused in one line', async (options, complaint) => {
  const folder = temporaryFolder();
  const end = await run(['image', drive(folder), join(folder, 'case.img'), ...options]);
  expect(end.stderr).toMatch(complaint);
  expect(end.status).toBe(options.includes('NOWHERE') ? 1 : 2);
  expect(end.stderr.trim().split('\n')).toHaveLength(1);
});
