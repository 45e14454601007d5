import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { fraction } from '../../hardware-sim/random.js';
import { LastspinError } from '../../src/errors.js';
import { type EwfOptions, type EwfSource, writeEwf } from '../../src/image/ewf.js';
import { adler32, segmentPath } from '../../src/image/ewf-sections.js';
import { nodeFiles } from '../../src/image/node-files.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { needsTool } from '../tools.js';
import { memoryFiles } from './memory-files.js';

const folder = mkdtempSync(join(tmpdir(), 'lastspin-ewf-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const mebibyte = 2 ** 20;

function createRandom(seed: number): () => number {
  let asked = 0;
  return () => fraction(seed, 1, asked++);
}

/** A medium of noise, text and holes, of which some was not read although the image holds something there. */
function source(seed: number, sectorCount: number, sectorBytes: number) {
  const random = createRandom(seed);
  const image = Buffer.alloc(sectorCount * sectorBytes);
  const map = createRunMap(sectorCount, statuses.finished);
  for (let lba = 0; lba < sectorCount; ) {
    const count = Math.min(sectorCount - lba, 1 + Math.floor(random() * 300));
    const area = image.subarray(lba * sectorBytes, (lba + count) * sectorBytes);
    const kind = random();
    if (kind < 0.4) for (let at = 0; at < area.length; at++) area[at] = random() * 256;
    else if (kind < 0.8) area.fill(`text ${lba} `);
    if (random() < 0.2) map.set({ lba, count }, Math.floor(random() * 4));
    lba += count;
  }
  const medium = Buffer.from(image);
  map.forEachRun((lba, count, value) => {
    if (value !== statuses.finished) medium.fill(0, lba * sectorBytes, (lba + count) * sectorBytes);
  });
  const read: EwfSource['read'] = async (into, position) => {
    expect(position + into.length).toBeLessThanOrEqual(image.length);
    image.copy(into, 0, position);
  };
  return { medium, map, sectorBytes, read };
}

const options: EwfOptions = {
  about: {
    caseNumber: 'K-7',
    evidenceNumber: 'E 3',
    examiner: 'Ada Lövelace',
    description: 'a tab\there',
    notes: 'two\nlines',
    model: 'WDC WD10',
    serial: 'S/N 1',
    version: '0.1.0',
    platform: 'Linux',
    acquiredAt: new Date('2026-03-04T05:06:07Z'),
    systemAt: new Date('2026-03-04T06:07:08Z'),
  },
  compression: 'fast',
  segmentBytes: 64 * mebibyte,
  setId: Buffer.alloc(16, 7),
  force: false,
};

const tool = (name: string, ...args: string[]) =>
  execFileSync(name, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Areas as ewfinfo lists them: unread and unreadable neighbours are one there. */
function areasOf({ map }: EwfSource): string[] {
  const joined = createRunMap(map.size, 0);
  map.forEachRun((lba, count, value) => {
    if (value !== statuses.finished) joined.set({ lba, count }, 1);
  });
  return [...joined.runs()]
    .filter(({ value }) => value === 1)
    .map(({ lba, count }) => `${lba} - ${lba + count - 1} number: ${count}`);
}

describe.skipIf(needsTool('ewfinfo'))('libewf', () => {
  test.each([
    { name: 'plain', sectorCount: 9765, sectorBytes: 512, compression: 'fast', files: 1 },
    { name: 'best', sectorCount: 64 * 40, sectorBytes: 512, compression: 'best', files: 1 },
    { name: 'set', sectorCount: 12_001, sectorBytes: 512, compression: 'none', files: 5 },
    { name: 'large', sectorCount: 1537, sectorBytes: 4096, compression: 'none', files: 4 },
    { name: 'one', sectorCount: 1, sectorBytes: 512, compression: 'fast', files: 1 },
  ] as const)('reads what was written: $name', async ({ name, files: fileCount, ...sizes }) => {
    const from = source(fileCount * 7 + sizes.sectorCount, sizes.sectorCount, sizes.sectorBytes);
    const path = join(folder, `${name}.E01`);
    const { compression } = sizes;
    const segmentBytes = fileCount === 1 ? options.segmentBytes : mebibyte;
    const written = await writeEwf(nodeFiles(), path, from, {
      ...options,
      compression,
      segmentBytes,
    });
    const md5 = createHash('md5').update(from.medium).digest('hex');
    const sha1 = createHash('sha1').update(from.medium).digest('hex');
    expect(written).toMatchObject({ md5, sha1, unlistedSectors: 0 });
    if (fileCount > 1) expect(written.paths.length).toBeGreaterThan(1);
    else expect(written.paths).toEqual([path]);
    const sizesOfFiles = written.paths.map((each) => readFileSync(each).length);
    expect(sizesOfFiles.reduce((sum, size) => sum + size)).toBe(written.writtenBytes);
    for (const size of sizesOfFiles.slice(0, -1)) expect(size).toBeLessThanOrEqual(segmentBytes);

    const info = tool('ewfinfo', path);
    const fields = [/Case number:\s+K-7/, /Examiner name:\s+Ada Lövelace/, /Model:\s+WDC WD10/];
    const more = [/Serial number:\s+S\/N 1/, /Notes:\s+two lines/, /Description:\s+a tab here/];
    const format = [
      /File format:\s+EnCase 6/,
      RegExp(`MD5:\\s+${md5}`),
      RegExp(`SHA1:\\s+${sha1}`),
    ];
    for (const pattern of [...fields, ...more, ...format]) expect(info).toMatch(pattern);
    expect(info).toMatch(RegExp(`Bytes per sector:\\s+${sizes.sectorBytes}\n`));
    expect(info).toMatch(RegExp(`Number of sectors:\\s+${sizes.sectorCount}\n`));
    const listed = [...info.matchAll(/at sector\(s\): (.*)/g)].map(([, area]) => area);
    expect(listed).toEqual(areasOf(from));
    expect(written.listedAreas).toBe(listed.length);

    expect(tool('ewfverify', '-q', '-d', 'sha1', path)).toMatch(/SUCCESS/);
    const raw = join(folder, `${name}-again`);
    tool('ewfexport', '-q', '-u', '-f', 'raw', '-t', raw, path);
    expect(readFileSync(`${raw}.raw`).equals(from.medium)).toBe(true);
  });

  test('a byte that changed is found', async () => {
    const files = memoryFiles();
    await writeEwf(files, 'x.E01', source(1, 3000, 512), options);
    const content = files.content('x.E01');
    content[content.length >> 1]! ^= 1;
    const path = join(folder, 'changed.E01');
    await nodeFiles()
      .open(path, { create: true })
      .then(async (file) => {
        await file.write(content, 0);
        await file.close();
      });
    expect(() => tool('ewfverify', '-q', path)).toThrow();
  });
});

describe('the set of files', () => {
  test('a large hole costs next to nothing, compressed or not', async () => {
    const sectorCount = 400_000;
    const map = createRunMap(sectorCount, statuses.finished);
    const read = async (into: Uint8Array) => void into.fill(0);
    for (const compression of ['none', 'best'] as const) {
      const files = memoryFiles();
      const hole = { map, sectorBytes: 512, read };
      const written = await writeEwf(files, 'x.E01', hole, { ...options, compression });
      expect(written.writtenBytes).toBeLessThan(sectorCount);
    }
  });

  test('more chunks than a table holds', async () => {
    const files = memoryFiles();
    const sectorCount = 64 * 16_400;
    const read = async (into: Uint8Array) => void into.fill(0);
    const map = createRunMap(sectorCount, statuses.finished);
    await writeEwf(files, 'x.E01', { map, sectorBytes: 1, read }, options);
    const text = Buffer.from(files.content('x.E01')).toString('latin1');
    expect(text.match(/table\0{11}/g)).toHaveLength(2);
    expect(text.match(/table2\0{10}/g)).toHaveLength(2);
  });

  test('what stands there is not replaced, unless told and an E01', async () => {
    const files = memoryFiles();
    const from = source(3, 9000, 512);
    const small = { ...options, segmentBytes: mebibyte, compression: 'none' } as const;
    await writeEwf(files, 'x.E01', from, small);
    const former = files.paths();
    expect(former.length).toBeGreaterThan(2);
    await expect(writeEwf(files, 'x.E01', from, small)).rejects.toMatchObject({
      code: 'IMAGE_EXISTS',
    });
    // Fewer files than before: none of the old ones is left among the new.
    const shorter = source(4, 600, 512);
    const { paths } = await writeEwf(files, 'x.E01', shorter, { ...small, force: true });
    expect(files.paths()).toEqual(paths);
    files.put('y.E02', 'a letter');
    for (const force of [false, true]) {
      await expect(writeEwf(files, 'y.E01', from, { ...small, force })).rejects.toMatchObject({
        code: 'IMAGE_EXISTS',
      });
    }
    expect(Buffer.from(files.content('y.E02')).toString()).toBe('a letter');
  });

  test('on a full disk nothing is left, at whatever write it was', async () => {
    const from = source(5, 9000, 512);
    const small = { ...options, segmentBytes: mebibyte } as const;
    const whole = memoryFiles();
    const { writtenBytes } = await writeEwf(whole, 'x.E01', from, small);
    for (let share = 0; share < 1; share += 0.1) {
      const files = memoryFiles({ capacityBytes: Math.floor(writtenBytes * share) });
      await expect(writeEwf(files, 'x.E01', from, small)).rejects.toMatchObject({
        code: 'IMAGE_SPACE',
      });
      expect(files.paths()).toEqual([]);
    }
  });

  test('before it is whole it has no name; interrupted, or where the image cannot be read, nothing is left', async () => {
    const from = source(6, 9000, 512);
    const files = memoryFiles();
    const interrupt = new AbortController();
    const names = new Set<string>();
    const onProgress = (done: number) => {
      for (const path of files.paths()) names.add(path);
      if (done > 3_000_000) interrupt.abort(new Error('enough'));
    };
    const small = { ...options, segmentBytes: mebibyte, compression: 'none' } as const;
    const watched = { ...small, signal: interrupt.signal, onProgress };
    await expect(writeEwf(files, 'x.E01', from, watched)).rejects.toThrow('enough');
    expect([...names].every((name) => name.endsWith('.part'))).toBe(true);
    expect(names.size).toBeGreaterThan(1);
    expect(files.paths()).toEqual([]);
    const failing = {
      ...from,
      read: () => Promise.reject(new LastspinError('FILE_FAILED', 'gone')),
    };
    await expect(writeEwf(files, 'x.E01', failing, options)).rejects.toThrow('gone');
    expect(files.paths()).toEqual([]);
  });

  test('killed between two renames, the set lacks its first file', async () => {
    const files = memoryFiles();
    let renames = 0;
    const rename = files.rename;
    files.rename = async (from, to) => {
      renames += 1;
      if (renames === 3) throw new Error('killed');
      await rename(from, to);
    };
    // What the process would have removed, it does not any more.
    files.remove = async () => {};
    const small = { ...options, segmentBytes: mebibyte, compression: 'none' } as const;
    await expect(writeEwf(files, 'x.E01', source(7, 9000, 512), small)).rejects.toThrow('killed');
    expect(files.paths()).toContain('x.E01.part');
    expect(files.paths()).not.toContain('x.E01');
  });

  test('sizes that the format does not hold are refused', async () => {
    const files = memoryFiles();
    const from = source(8, 100, 512);
    const tiny = { ...options, segmentBytes: 1000 };
    await expect(writeEwf(files, 'x.E01', from, tiny)).rejects.toMatchObject({ code: 'USAGE' });
    const huge = { ...from, map: createRunMap(2 ** 40) };
    const mean = { ...options, segmentBytes: mebibyte };
    await expect(writeEwf(files, 'x.E01', huge, mean)).rejects.toMatchObject({ code: 'USAGE' });
  });
});

test('names of the files of a set', () => {
  const names = [1, 99, 100, 125, 126, 775, 776, 14_971].map((n) => segmentPath('a.E01', n));
  expect(names).toEqual([
    ...['a.E01', 'a.E99', 'a.EAA', 'a.EAZ', 'a.EBA', 'a.EZZ', 'a.FAA', 'a.ZZZ'],
  ]);
  expect(segmentPath('a.E01', 14_972)).toBeUndefined();
  expect(segmentPath('b.e01', 101)).toBe('b.eab');
});

test('Adler-32 is that of zlib, however it is cut', () => {
  const random = createRandom(9);
  for (const length of [0, 1, 5551, 5552, 5553, 40_000]) {
    const bytes = Uint8Array.from({ length }, () => 200 + random() * 56);
    const expected = deflateSync(bytes).readUInt32BE(deflateSync(bytes).length - 4);
    expect(adler32(bytes)).toBe(expected);
    const cut = Math.floor(length / 3);
    expect(adler32(bytes.subarray(cut), adler32(bytes.subarray(0, cut)))).toBe(expected);
  }
});
