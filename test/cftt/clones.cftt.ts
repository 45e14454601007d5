/** Clones of drives (DA-01 to DA-05, DA-19) and of images (DA-14 to DA-18, DA-21, DA-23): the built command line, onto
 * loop devices where they are to be had, and files. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { cloneResultSchema, restoreResultSchema } from '../../src/show/copy-result.js';
import { type Finished, run, temporaryFolder } from '../cli/cli.js';
import { claimsIn } from './claim.js';
import {
  cmp,
  contentsOf,
  loopDevice,
  mib,
  needsLoop,
  platters,
  scenarioOf,
  sha256sum,
} from './drives.js';
import { failingFile, needsFailingFile } from './failing-file.js';
import { runsOfMap } from './records.js';

const noLoop = needsLoop();
const sizeBytes = 4 * mib;
const sectorCount = sizeBytes / 512;

/** A folder with a source of 4 MiB and a target of some size that holds something else, of which a copy is kept. */
function bench(seed: number, targetBytes: number) {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  platters(at('source'), seed, sizeBytes);
  writeFileSync(at('target'), contentsOf(seed + 100, targetBytes));
  writeFileSync(at('before'), contentsOf(seed + 100, targetBytes));
  return { folder, at };
}

type Bench = ReturnType<typeof bench>;

function clone({ at }: Bench, drive: string, target: string, words: readonly string[] = []) {
  const files = ['--case-files', at('case.map'), '--overwrite', at('target')];
  return run(['clone', drive, target, ...files, '--json', ...words]);
}

function restore({ at }: Bench, target: string, words: readonly string[] = []) {
  const yes = ['--overwrite', at('target'), '--json'];
  return run(['restore', at('case.img'), target, ...yes, ...words]);
}

async function done(act: Promise<Finished>): Promise<Finished> {
  const finished = await act;
  expect(finished.status, finished.stderr).toBe(0);
  return finished;
}

const clonedOf = ({ stdout }: Finished) => cloneResultSchema.parse(JSON.parse(stdout));
const restoredOf = ({ stdout }: Finished) => restoreResultSchema.parse(JSON.parse(stdout));

/** From a sector to another, of two files at the same place. */
const sectors = (from: number, to: number) => ({
  from: [from * 512, from * 512] as const,
  byteCount: (to - from) * 512,
});

/** Throws unless all of a stretch of a file is one byte. */
function expectAll(path: string, byte: number, from: number, to: number): void {
  const wanted = join(temporaryFolder(), 'wanted');
  writeFileSync(wanted, Buffer.alloc((to - from) * 512, byte));
  const stretch = { from: [from * 512, 0] as const, byteCount: (to - from) * 512 };
  expect(cmp(path, wanted, stretch)).toBe('');
}

describe.skipIf(noLoop)('DA-01: a block device onto a larger one', () => {
  const claim = claimsIn('DA-01', 'BLOCK');
  const targetBytes = sizeBytes + mib;
  let own: Bench;
  let drive: string;
  let target: string;
  let before: string;
  let finished: Finished;
  beforeAll(async () => {
    own = bench(21, targetBytes);
    [drive, target] = [loopDevice(own.at('source')), loopDevice(own.at('target'))];
    before = sha256sum(own.at('source'));
    finished = await done(clone(own, drive, target));
  });
  claim('DA-AM-01', ({ said }) => {
    expect(clonedOf(finished).hostAttached).toMatchObject({ device: drive, isReadOnly: true });
    said.push('the kernel’s block layer: the block device that was named');
  });
  claim('DA-AM-02', ({ said }) => {
    expect(clonedOf(finished).drive).toMatchObject({ sectorCount, serial: own.at('source') });
    said.push(`${sectorCount} sectors, of the file behind that device`);
  });
  claim('DA-AM-04', ({ said }) => {
    expect(clonedOf(finished)).toMatchObject({ ended: 'finished', target: { path: target } });
    expect(cmp(own.at('before'), own.at('target'))).not.toBe('');
    said.push('onto the block device that was named');
  });
  claim('DA-AM-06', ({ said }) => {
    expect(clonedOf(finished).sectors).toMatchObject({ total: sectorCount, finished: sectorCount });
    said.push(`all ${sectorCount} sectors finished`);
  });
  claim('DA-AM-08', ({ said }) => {
    expect(cmp(drive, target, sectors(0, sectorCount))).toBe('');
    said.push('cmp of both devices finds no difference up to the source’s end');
  });
  claim('DA-AO-11', ({ said }) => {
    expect(clonedOf(finished).reads).toBeGreaterThan(0);
    expect(cmp(own.at('source'), own.at('target'), sectors(0, sectorCount))).toBe('');
    said.push('no image between them');
  });
  claim('DA-AO-13', ({ said }) => {
    expect(clonedOf(finished).target).toMatchObject({ path: target, sizeBytes: targetBytes });
    said.push('a block device of the kernel’s; what is behind it in its file is what was written');
  });
  claim('DA-AO-14', ({ said }) => {
    for (const lba of [0, 1, 4095, 4096, sectorCount - 1])
      expect(cmp(drive, target, sectors(lba, lba + 1))).toBe('');
    said.push('cmp at the same addresses; the content of each sector is unique');
  });
  claim('DA-AO-17', ({ said }) => {
    expect(clonedOf(finished).target.excess).toEqual({ bytes: mib, content: 'untouched' });
    const behind = sectors(sectorCount, targetBytes / 512);
    expect(cmp(own.at('before'), own.at('target'), behind)).toBe('');
    said.push('2048 sectors behind it, by cmp with what was there before');
  });
  claim('DA-AO-24', ({ said }) => {
    expect([sha256sum(own.at('source')), sha256sum(drive)]).toEqual([before, before]);
    said.push(`SHA-256 ${before} before and after`);
  });
});

describe('DA-02: part of a simulated drive', () => {
  const claim = claimsIn('DA-02', 'PART');
  const [first, last] = [1000, 4999];
  let own: Bench;
  let finished: Finished;
  beforeAll(async () => {
    own = bench(22, sizeBytes);
    const identity = 'identity: { model: ACME PART, serial: C-2 }';
    const drive = `sim:${scenarioOf(own.folder, own.at('source'), identity)}?scale=100`;
    const range = ['--range', `${first}-${last}`];
    finished = await done(clone(own, drive, own.at('target'), range));
  });
  claim('DA-AM-02', ({ said }) => {
    expect(clonedOf(finished).drive).toMatchObject({ model: 'ACME PART', serial: 'C-2' });
    said.push('ACME PART C-2');
  });
  claim('DA-AM-04', ({ said }) => {
    expect(clonedOf(finished)).toMatchObject({ ended: 'finished' });
    said.push('onto a file of fixed size');
  });
  claim('DA-AM-08', ({ said }) => {
    expect(cmp(own.at('source'), own.at('target'), sectors(first, last + 1))).toBe('');
    said.push('cmp finds no difference in the part');
  });
  claim('DA-AO-11', ({ said }) => {
    const own4000 = { total: 4000, finished: 4000, unread: 0 };
    expect(clonedOf(finished).domain).toEqual(own4000);
    said.push('4000 sectors while the drive is read');
  });
  claim('DA-AO-16', ({ said }) => {
    expect(runsOfMap(own.at('case.map'), '+')).toEqual([{ lba: first, count: 4000 }]);
    expect(cmp(own.at('before'), own.at('target'), sectors(0, first))).toBe('');
    expect(cmp(own.at('before'), own.at('target'), sectors(last + 1, sectorCount))).toBe('');
    said.push(`LBA ${first}-${last}, whole; the rest of the target as it was, and claimed nowhere`);
  });
});

describe('DA-04: onto a target that is too small', () => {
  const claim = claimsIn('DA-04', 'FILE');
  const fitting = 5001;
  let own: Bench;
  let refused: Finished;
  let finished: Finished;
  let afterRefusal: string;
  beforeAll(async () => {
    own = bench(23, fitting * 512);
    refused = await clone(own, own.at('source'), own.at('target'));
    afterRefusal = cmp(own.at('before'), own.at('target'));
    finished = await done(clone(own, own.at('source'), own.at('target'), ['--truncate']));
  });
  claim('DA-AO-19', ({ said }) => {
    expect(cmp(own.at('source'), own.at('target'), sectors(0, fitting))).toBe('');
    const map = runsOfMap(own.at('case.map'), '?');
    expect(map).toEqual([{ lba: fitting, count: sectorCount - fitting }]);
    said.push(`the first ${fitting} of ${sectorCount} sectors; the map has the rest as not read`);
  });
  claim('DA-AO-20', ({ said }) => {
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toMatch(/too few for .*--truncate/);
    expect(afterRefusal).toBe('');
    const lost = (sectorCount - fitting) * 512;
    expect(finished.stderr).toContain(`truncated: the last ${lost} of ${sizeBytes} bytes`);
    expect(clonedOf(finished).target.truncatedBytes).toBe(lost);
    said.push(
      'refused before anything is written; with --truncate told, in bytes, and in the result',
    );
  });
});

/** A target that takes nothing in some sectors. */
const failing = [{ lba: 3000, count: 8 }] as const;

describe.skipIf(needsFailingFile())('targets that fail', () => {
  claimsIn('DA-05', 'FILE')('DA-AO-21', async ({ said }) => {
    const own = bench(24, sizeBytes);
    const target = await failingFile(own.folder, own.at('target'), { unwritable: failing });
    const files = ['--case-files', own.at('case.map'), '--overwrite', target];
    const finished = await run(['clone', own.at('source'), target, ...files]);
    expect(finished.status, finished.stderr).toBe(1);
    expect(finished.stderr).toContain(target);
    expect(finished.stderr).toMatch(/EIO|fails|input\/output/i);
    for (const { lba, count } of runsOfMap(own.at('case.map'), '+'))
      expect(cmp(own.at('source'), own.at('target'), sectors(lba, lba + count))).toBe('');
    for (const { lba, count } of runsOfMap(own.at('case.map'), '+'))
      expect(lba + count <= 3000 || lba >= 3008).toBe(true);
    said.push('exit status 1, the target named; the map claims nothing that is not on it');
  });
  claimsIn('DA-18', 'FILE')('DA-AO-21', async ({ said }) => {
    const own = bench(25, sizeBytes);
    writeFileSync(own.at('case.img'), contentsOf(25, sizeBytes));
    const target = await failingFile(own.folder, own.at('target'), { unwritable: failing });
    const finished = await run(['restore', own.at('case.img'), target, '--overwrite', target]);
    expect(finished.status, finished.stderr).toBe(1);
    expect(finished.stderr).toContain(target);
    const [, known] = /(\d+) bytes are known to be on it/.exec(finished.stderr) ?? [];
    expect(Number(known)).toBeLessThanOrEqual(3000 * 512);
    said.push('exit status 1, the target named, and how much is on it for certain');
  });
});

describe.skipIf(needsFailingFile())('targets that do not keep what they are given', () => {
  claimsIn('DA-14', 'ALTERING')('DA-AO-12', async ({ said }) => {
    const own = bench(34, sizeBytes);
    platters(own.at('case.img'), 34, sizeBytes);
    const target = await failingFile(own.folder, own.at('target'), { altering: failing });
    const finished = await run(['restore', own.at('case.img'), target, '--overwrite', target]);
    expect(finished.status, finished.stderr).toBe(1);
    expect(finished.stdout).toContain('the target does not hold what was written to it');
    const told = [...finished.stdout.matchAll(/^differs {6}bytes (\d+)-(\d+)$/gm)];
    const [[, first, last] = []] = told;
    const [from, to] = [Number(first) / 512, (Number(last) + 1) / 512];
    expect(told.length).toBe(1);
    expect(from <= 3000 && to >= 3008).toBe(true);
    const same = (start: number, end: number) =>
      cmp(own.at('case.img'), own.at('target'), sectors(start, end));
    expect([same(0, from), same(to, sectorCount)]).toEqual(['', '']);
    for (const lba of [from, 3000, 3007, to - 1]) expect(same(lba, lba + 1)).not.toBe('');
    said.push(
      `a target that stores something else in ${to - from} sectors: their place is told, exit status 1`,
    );
  });
  claimsIn('DA-14', 'FORGETFUL')('DA-AO-12', async ({ said }) => {
    const own = bench(35, sizeBytes);
    platters(own.at('case.img'), 35, sizeBytes);
    const target = await failingFile(own.folder, own.at('target'), { forgets: true });
    await done(run(['restore', own.at('case.img'), target, '--overwrite', target]));
    expect(cmp(own.at('case.img'), own.at('target'))).toBe('');
    said.push('a target that keeps nothing before it is synced holds all of it at the end (cmp)');
  });
  claimsIn('DA-01', 'FORGETFUL')('DA-AM-08', async ({ said }) => {
    const own = bench(36, sizeBytes);
    const target = await failingFile(own.folder, own.at('target'), { forgets: true });
    const files = ['--case-files', own.at('case.map'), '--overwrite', target];
    await done(run(['clone', own.at('source'), target, ...files]));
    expect(runsOfMap(own.at('case.map'), '+')).toEqual([{ lba: 0, count: sectorCount }]);
    expect(cmp(own.at('source'), own.at('target'))).toBe('');
    said.push('a target that keeps nothing before it is synced holds all that the map claims');
  });
});

describe.skipIf(needsFailingFile())('DA-09: a file that fails to read, onto a clone', () => {
  claimsIn('DA-09', 'CLONE')('DA-AM-10', async (finding) => {
    const own = bench(33, sizeBytes);
    const drive = await failingFile(own.folder, own.at('source'), { unreadable: failing });
    await done(clone(own, drive, own.at('target')));
    expect(cmp(own.at('before'), own.at('target'), sectors(3000, 3008))).toBe('');
    await done(clone(own, drive, own.at('target'), ['--fill', 'zero']));
    expectAll(own.at('target'), 0, 3000, 3008);
    expect(runsOfMap(own.at('case.map'), '-')).toEqual([...failing]);
    finding.said.push('zeros with --fill zero, by cmp; the map claims none of it');
    finding.qualified =
      'on a clone only where --fill asks for it: else 8 sectors, LBA 3000-3007, hold what the target held before';
  });
});

describe('DA-19: onto a clone, what is behind it filled', () => {
  claimsIn('DA-19', 'FILE')('DA-AO-18', async ({ said }) => {
    const own = bench(26, sizeBytes + 100 * 512);
    await done(clone(own, own.at('source'), own.at('target'), ['--excess', '0xA5']));
    expectAll(own.at('target'), 0xa5, sectorCount, sectorCount + 100);
    expect(cmp(own.at('source'), own.at('target'), sectors(0, sectorCount))).toBe('');
    said.push('100 sectors of A5, as asked; the clone before them untouched by it');
  });
});

/** An image of a bench's source, made by the tool. */
async function imaged(own: Bench, words: readonly string[] = []): Promise<void> {
  await done(run(['image', own.at('source'), own.at('case.img'), ...words]));
}

describe.skipIf(noLoop)('DA-14: an image onto a larger block device', () => {
  const claim = claimsIn('DA-14', 'BLOCK');
  let own: Bench;
  let target: string;
  let finished: Finished;
  beforeAll(async () => {
    own = bench(27, sizeBytes + mib);
    await imaged(own);
    target = loopDevice(own.at('target'));
    finished = await done(restore(own, target));
  });
  claim('DA-AO-12', ({ said }) => {
    expect(restoredOf(finished)).toMatchObject({
      ...{ verified: 'same', isFromDevice: true, bytes: { copied: sizeBytes } },
    });
    expect(cmp(own.at('source'), own.at('target'), sectors(0, sectorCount))).toBe('');
    said.push('cmp with the source finds no difference; the tool read it back past the cache');
  });
  claim('DA-AO-13', ({ said }) => {
    expect(restoredOf(finished).target).toMatchObject({ path: target });
    expect(cmp(target, own.at('source'), sectors(0, sectorCount))).toBe('');
    said.push('a block device of the kernel’s');
  });
  claim('DA-AO-14', ({ said }) => {
    for (const lba of [0, 1, 4095, 4096, sectorCount - 1])
      expect(cmp(own.at('source'), target, sectors(lba, lba + 1))).toBe('');
    said.push('cmp at the same addresses; the content of each sector is unique');
  });
  claim('DA-AO-17', ({ said }) => {
    const behind = sectors(sectorCount, sectorCount + mib / 512);
    expect(cmp(own.at('before'), own.at('target'), behind)).toBe('');
    said.push('2048 sectors behind it, by cmp with what was there before');
  });
});

describe('DA-16 and DA-23: part of an image', () => {
  const claim = claimsIn('DA-16', 'FILE');
  const [first, last] = [2000, 5999];
  let own: Bench;
  beforeAll(async () => {
    own = bench(28, sizeBytes + 64 * 512);
    await imaged(own, ['--range', `${first}-${last}`]);
    const words = ['--fill', 'none', '--excess', 'zero'];
    await done(restore(own, own.at('target'), words));
  });
  claim('DA-AO-12', ({ said }) => {
    expect(cmp(own.at('source'), own.at('target'), sectors(first, last + 1))).toBe('');
    said.push('cmp with the source finds no difference in the part');
  });
  claim('DA-AO-16', ({ said }) => {
    expect(cmp(own.at('before'), own.at('target'), sectors(0, first))).toBe('');
    expect(cmp(own.at('before'), own.at('target'), sectors(last + 1, sectorCount))).toBe('');
    said.push(`LBA ${first}-${last}, whole; what the image does not hold stayed as it was`);
  });
  claimsIn('DA-23', 'FILE')('DA-AO-18', ({ said }) => {
    expectAll(own.at('target'), 0, sectorCount, sectorCount + 64);
    said.push('64 sectors of zeros, as asked');
  });
});

describe('DA-17: an image onto a target that is too small', () => {
  const claim = claimsIn('DA-17', 'FILE');
  const fitting = 3000;
  let own: Bench;
  let refused: Finished;
  let finished: Finished;
  beforeAll(async () => {
    own = bench(29, fitting * 512);
    await imaged(own);
    refused = await restore(own, own.at('target'));
    expect(cmp(own.at('before'), own.at('target'))).toBe('');
    finished = await done(restore(own, own.at('target'), ['--truncate']));
  });
  claim('DA-AO-12', ({ said }) => {
    expect(restoredOf(finished)).toMatchObject({ verified: 'same' });
    said.push('what fits, read back and compared by the tool');
  });
  claim('DA-AO-19', ({ said }) => {
    expect(cmp(own.at('source'), own.at('target'), sectors(0, fitting))).toBe('');
    said.push(`the first ${fitting} of ${sectorCount} sectors`);
  });
  claim('DA-AO-20', ({ said }) => {
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toContain('--truncate');
    const lost = (sectorCount - fitting) * 512;
    expect(finished.stderr).toContain(`truncated: the last ${lost} of ${sizeBytes} bytes`);
    expect(restoredOf(finished).target.truncatedBytes).toBe(lost);
    said.push(
      'refused before anything is written; with --truncate told, in bytes, and in the result',
    );
  });
});

describe('DA-21: an image onto a clone, what is behind it filled', () => {
  claimsIn('DA-21', 'FILE')('DA-AO-18', async ({ said }) => {
    const own = bench(30, sizeBytes + 100 * 512);
    writeFileSync(own.at('case.img'), contentsOf(30, sizeBytes));
    await done(restore(own, own.at('target'), ['--excess', 'zero']));
    expectAll(own.at('target'), 0, sectorCount, sectorCount + 100);
    expect(cmp(own.at('source'), own.at('target'), sectors(0, sectorCount))).toBe('');
    said.push('100 sectors of zeros, as asked; the clone before them untouched by it');
  });
});
