import { execFileSync } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { nodeFiles } from '../../src/image/node-files.js';
import { casePaths } from '../../src/job/case.js';
import { checkEventLog } from '../../src/job/replay.js';
import { exportResultSchema } from '../../src/show/exchange.js';
import { imageResultSchema } from '../../src/show/result.js';
import { verifyResultSchema } from '../../src/show/verify-result.js';
import { needsTool } from '../tools.js';
import { run, temporaryFolder } from './cli.js';

const driveBytes = 512 * 6000;
const partBytes = 999_936;
const content = randomFillSync(Buffer.alloc(driveBytes));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const needsSums = needsTool('sha256sum');

function bench() {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  writeFileSync(at('source'), content);
  const shell = (line: string) =>
    execFileSync('sh', ['-c', line], { cwd: folder, encoding: 'utf8' });
  const image = (...args: string[]) => run(['image', at('source'), at('case.img'), ...args]);
  const verify = async (...args: string[]) => {
    const { status, stdout, stderr } = await run(['verify', ...args, '--json']);
    expect(stdout, stderr).not.toBe('');
    return { status, ...verifyResultSchema.parse(JSON.parse(stdout)) };
  };
  return { at, shell, image, verify };
}

function flip(path: string, atByte: number): void {
  const bytes = readFileSync(path);
  bytes[atByte]! ^= 0x40;
  writeFileSync(path, bytes);
}

describe('an image in parts', () => {
  test.skipIf(needsSums)(
    'has the hash that cat of its parts has, however it came about',
    async () => {
      const { at, shell, image, verify } = bench();
      const first = await image('--split', '1MB', '--hash', 'sha256', '--json');
      expect(first).toMatchObject({ status: 0 });
      const { wholeHashes } = imageResultSchema.parse(JSON.parse(first.stdout));
      expect(wholeHashes).toMatchObject([{ digest: sha256(content), file: at('case.img.sha256') }]);
      const [comment = '', line] = readFileSync(at('case.img.sha256'), 'utf8').trim().split('\n');
      expect(line).toBe(`${sha256(content)}  -`);
      expect(shell(comment.replace('# check: ', ''))).toContain('OK');
      // Read in two runs, it is hashed by reading its parts back.
      rmSync(at('case.img.sha256'));
      const again = await image('--hash', 'sha256,md5');
      expect(again.stderr).toContain('once more for its sha256 and md5');
      expect(shell('cat case.img.[0-9][0-9][0-9] | sha256sum -c case.img.sha256')).toContain('OK');
      for (const name of ['case.img', 'case.img.001']) {
        const { status, verdict, findings } = await verify(at(name));
        expect([status, verdict]).toEqual([0, 'unchanged']);
        expect(findings.map(({ check }) => check)).toEqual(
          expect.arrayContaining(['hashes', 'sha256', 'md5']),
        );
      }
    },
  );

  test('is verified over all of its parts, and a change in one is read again', async () => {
    const { at, image, verify } = bench();
    expect(await image('--split', '1MB', '--hash', 'sha256')).toMatchObject({ status: 0 });
    flip(at('case.img.003'), 700);
    const changed = await verify(at('case.img'));
    expect(changed).toMatchObject({ status: 4, verdict: 'changed', changedSectors: 6000 });
    expect(changed.findings).toContainEqual(
      expect.objectContaining({ check: 'sha256', result: 'changed' }),
    );
    const { status, stderr } = await image('--verify');
    expect(status, stderr).toBe(0);
    expect(stderr).toMatch(/case\.img was changed since it was read, at LBA 0 to 5999/);
    expect(
      readFileSync(at('case.img.003')).equals(content.subarray(2 * partBytes, 3 * partBytes)),
    ).toBe(true);
    expect(await verify(at('case.img'))).toMatchObject({ status: 0, verdict: 'unchanged' });
  });

  test('with a part that was cut, or is gone, is changed; which is said', async () => {
    const { at, image, verify } = bench();
    expect(await image('--split', '1MB')).toMatchObject({ status: 0 });
    truncateSync(at('case.img.002'), 512);
    const cut = await verify(at('case.img'));
    expect(cut).toMatchObject({ status: 4, verdict: 'changed' });
    expect(cut.findings[0]?.text).toContain('case.img.002 has 512 bytes');
    const refused = await image('--verify');
    expect(refused).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('case.img.002 has 512 bytes, but the map asks for at least'),
    });
    rmSync(at('case.img.002'));
    const { findings } = await verify(at('case.img'));
    expect(findings[0]?.text).toContain('case.img.002 is missing');
  });

  test('is exported as one, and gone on with after an import', async () => {
    const { at, image } = bench();
    expect(await image('--split', '1MB')).toMatchObject({ status: 0 });
    for (const [name, file] of [
      ['case.img', 'a.E01'],
      ['case.img.001', 'b.E01'],
    ] as const) {
      const { status, stdout, stderr } = await run(['export', at(name), at(file), '--json']);
      expect(status, stderr).toBe(0);
      const { medium } = exportResultSchema.parse(JSON.parse(stdout));
      expect(medium?.md5).toBe(createHash('md5').update(content).digest('hex'));
    }
    renameSync(at('case.map'), at('rescue.log'));
    const text = readFileSync(at('rescue.log'), 'latin1').replaceAll(/^#.*\n/gm, '');
    writeFileSync(at('rescue.log'), text, 'latin1');
    for (const name of ['case.journal', 'case.hashes.csv', 'case.events.ndjson']) rmSync(at(name));
    const imported = await run(['import', at('rescue.log'), at('case.img')]);
    expect(imported, imported.stderr).toMatchObject({ status: 0 });
    expect(await image()).toMatchObject({ status: 0 });
    expect(existsSync(at('case.img'))).toBe(false);
  });

  test('that is shorter than a project claims is not imported', async () => {
    const { at, image } = bench();
    expect(await image('--split', '1MB')).toMatchObject({ status: 0 });
    writeFileSync(at('rescue.log'), `0x0 ? 1\n0x0 ${driveBytes + 512} +\n`);
    const { status, stderr } = await run(['import', at('rescue.log'), at('case.img'), '--force']);
    expect(status).toBe(2);
    expect(stderr).toContain(`ends at ${driveBytes}`);
  });
});

describe('a clone', () => {
  async function cloned(targetBytes: number, ...args: string[]) {
    const found = bench();
    const { at } = found;
    writeFileSync(at('target'), Buffer.alloc(targetBytes, 'before'));
    const { status, stderr } = await run([
      'clone',
      at('source'),
      at('target'),
      ...['--case-files', at('own.map'), '--overwrite', at('target'), ...args],
    ]);
    expect(status, stderr).toBe(0);
    return found;
  }

  test.skipIf(needsSums)('is hashed, verified and exported as far as the drive goes', async () => {
    const { at, shell, verify } = await cloned(driveBytes + 5120, '--hash', 'sha256');
    expect(existsSync(at('target.sha256'))).toBe(false);
    const [comment = '', line] = readFileSync(at('own.sha256'), 'utf8').trim().split('\n');
    expect(line).toBe(`${sha256(content)}  -`);
    expect(shell(comment.replace('# check: ', ''))).toContain('OK');
    expect(await verify(at('target'), '--map', at('own.map'))).toMatchObject({
      status: 0,
      verdict: 'unchanged',
      heldSectors: 6000,
    });
    const out = await run(['export', at('target'), at('a.E01'), '--map', at('own.map'), '--json']);
    const { medium } = exportResultSchema.parse(JSON.parse(out.stdout));
    expect(medium?.md5).toBe(createHash('md5').update(content).digest('hex'));
    flip(at('target'), 512 * 9);
    expect(await verify(at('target'), '--map', at('own.map'))).toMatchObject({
      status: 4,
      verdict: 'changed',
    });
  });

  test('that somebody wrote to is read again there', async () => {
    const { at, verify } = await cloned(driveBytes);
    flip(at('target'), 512 * 9);
    const words = ['--case-files', at('own.map'), '--overwrite', at('target')];
    const again = await run(['clone', at('source'), at('target'), ...words, '--verify']);
    expect(again, again.stderr).toMatchObject({ status: 0 });
    expect(again.stderr).toContain('was changed since it was read');
    expect(readFileSync(at('target')).equals(content)).toBe(true);
    expect(await verify(at('target'), '--map', at('own.map'))).toMatchObject({ status: 0 });
  });

  test('whose gaps were filled says so in map, log and verify', async () => {
    const { at, verify } = await cloned(driveBytes, '--range', '0-2999', '--fill', 'marker');
    const paths = casePaths(at('target'), at('own.map'));
    const { findings } = await checkEventLog(nodeFiles(), paths);
    expect(findings.filter(({ isBad }) => isBad)).toEqual([]);
    expect(readFileSync(paths.events, 'utf8')).toContain('"kind":"filled","unread":"marker"');
    const found = await verify(at('target'), '--map', at('own.map'));
    expect(found).toMatchObject({ status: 0, finishedSectors: 3000 });
    expect(found.findings).toContainEqual(
      expect.objectContaining({ result: 'told', text: expect.stringContaining('was filled') }),
    );
  });
});

describe('a fill', () => {
  test('leaves verify to what was read; the hash of the whole is set aside', async () => {
    const { at, image, verify } = bench();
    expect(await image('--range', '0-2999', '--hash', 'sha256')).toMatchObject({ status: 0 });
    const before = readFileSync(at('case.img.sha256'), 'utf8');
    const filled = await run(['fill', at('case.img'), '--unread', 'marker']);
    expect(filled).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('it is now case.img.sha256.before-fill'),
    });
    expect(existsSync(at('case.img.sha256'))).toBe(false);
    expect(readFileSync(at('case.img.sha256.before-fill'), 'utf8')).toBe(before);
    const found = await verify(at('case.img'));
    expect(found).toMatchObject({
      ...{ status: 0, verdict: 'unchanged', finishedSectors: 3000, heldSectors: 3000 },
    });
    expect(found.findings.map(({ text }) => text).join()).toContain('was filled where it was not');
    const { findings } = await checkEventLog(nodeFiles(), casePaths(at('case.img')));
    expect(findings.filter(({ isBad }) => isBad)).toEqual([]);
    // What is read now takes the place of the fill.
    expect(await image('--range', '0-5999', '--hash', 'sha256')).toMatchObject({ status: 0 });
    expect(readFileSync(at('case.img')).equals(content)).toBe(true);
    expect(await verify(at('case.img'))).toMatchObject({ status: 0, finishedSectors: 6000 });
  });

  test('with nothing to fill leaves the hash of the whole', async () => {
    const { at, image, verify } = bench();
    expect(await image('--hash', 'sha256')).toMatchObject({ status: 0 });
    expect(await run(['fill', at('case.img'), '--unread', 'zero'])).toMatchObject({ status: 0 });
    const { status, findings } = await verify(at('case.img'));
    expect(status).toBe(0);
    expect(findings).toContainEqual(
      expect.objectContaining({ check: 'sha256', result: 'unchanged' }),
    );
  });
});
