import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { statusByByte } from '../../src/image/byte-map.js';
import { copyOnto, differencesOn, fillExcess } from '../../src/image/copy-back.js';
import { type Fills, fillGaps, parseFill } from '../../src/image/fill.js';
import { nodeFiles } from '../../src/image/node-files.js';
import { parseMapFile } from '../../src/map/mapfile.js';
import { createRunMap } from '../../src/map/run-map.js';
import { randomOf } from './crashing-files.js';
import { memoryFiles } from './memory-files.js';

const sectorBytes = 512;
const letters = '?*/-+';

/** A map of random runs, their ends not always on sectors, the first longer than what is written at once, and its
 * letters by byte. */
function randomMap(sizeBytes: number, random: () => number, firstBytes = 0) {
  const lines = ['0x0 ? 1'];
  const byByte = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; ) {
    const least = at === 0 ? firstBytes : 0;
    const bytes = Math.min(sizeBytes - at, least + 1 + Math.floor(random() * 5000));
    const letter = letters[Math.floor(random() * 5)]!;
    lines.push(`${at} ${bytes} ${letter}`);
    byByte.fill(letter, at, at + bytes);
    at += bytes;
  }
  return { parsed: parseMapFile(Buffer.from(`${lines.join('\n')}\n`), 'map'), byByte };
}

/** What must be at a byte, told without the code that is tested. */
function wantedAt(at: number, letter: string, old: number, fills: Record<string, string>): number {
  const word = letter === '+' ? 'none' : fills[letter === '-' ? 'unreadable' : 'unread'];
  if (word === undefined || word === 'none') return old;
  if (word === 'zero') return 0;
  const lba = Math.floor(at / sectorBytes);
  const why = letter === '-' ? 'could not be read' : 'was not read';
  const text = word === 'marker' ? `lastspin: sector ${lba} ${why}\n` : bytesOf(word);
  return text.charCodeAt((at - lba * sectorBytes) % text.length);
}

const bytesOf = (word: string) => Buffer.from(word.slice(2), 'hex').toString('latin1');

const wishes: Record<string, string>[] = [
  { unread: 'zero' },
  { unreadable: 'marker' },
  { unread: '0xBAADF00D', unreadable: 'zero' },
  { unread: 'marker', unreadable: 'marker' },
  { unread: '0x010203', unreadable: '0xFF' },
];
const fillsOf = (wish: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(wish).map(([gap, text]) => [gap, parseFill(text, '--x')]),
  ) as Fills;

describe('filling', () => {
  test.each(wishes)('%o changes every byte of the gaps and no other', async (wish) => {
    for (let seed = 0; seed < 3; seed++) {
      const random = randomOf(seed);
      const firstBytes = seed === 0 ? 1 << 20 : 0;
      const sizeBytes = firstBytes + 40_000 + Math.floor(random() * 100_000);
      const { parsed, byByte } = randomMap(sizeBytes, random, firstBytes);
      const old = Buffer.alloc(sizeBytes, 'what was there before');
      const files = memoryFiles();
      files.put('case.img', old);
      const file = await files.open('case.img');
      const map = statusByByte(parsed, sizeBytes);
      const filled = await fillGaps(file, map, { fills: fillsOf(wish), sectorBytes });
      const now = files.content('case.img');
      const counts = { unread: 0, unreadable: 0 };
      for (let at = 0; at < sizeBytes; at++) {
        const letter = String.fromCharCode(byByte[at]!);
        if (now[at] !== wantedAt(at, letter, old[at]!, wish)) throw new Error(`byte ${at}`);
        const gap = letter === '-' ? 'unreadable' : 'unread';
        if (letter !== '+' && wish[gap]) counts[gap] += 1;
      }
      expect(filled).toEqual(counts);
    }
  });

  test('what a map does not speak of was not read', async () => {
    const parsed = parseMapFile(Buffer.from('0x0 ? 1\n1024 1024 +\n'), 'map');
    const map = statusByByte(parsed, 4096);
    expect([...map.runs()].map(({ lba, count, value }) => [lba, count, value])).toEqual([
      [0, 1024, 0],
      [1024, 1024, 4],
      [2048, 2048, 0],
    ]);
    expect([...statusByByte(parsed, 1500).runs()].at(-1)).toMatchObject({ lba: 1024, count: 476 });
  });

  test.each([
    '',
    'zeros',
    '0x',
    '0x123',
    `0x${'00'.repeat(513)}`,
    'none',
  ])('with "%s" is refused', (text) => {
    expect(() => parseFill(text, '--unread')).toThrow(/--unread .*: zero, marker, or/);
  });

  test('with zeros leaves holes', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lastspin-fill-'));
    const path = join(folder, 'sparse');
    const file = await nodeFiles().open(path, { create: true });
    await file.truncate(32 << 20);
    await file.write(new Uint8Array(4096).fill(5), 8 << 20);
    await fillGaps(file, createRunMap(32 << 20), {
      fills: fillsOf({ unread: 'zero' }),
      sectorBytes,
    });
    const back = new Uint8Array(4096).fill(1);
    await file.read(back, 8 << 20);
    await file.close();
    expect(back.every((byte) => byte === 0)).toBe(true);
    // The one piece that was not zero has been written, the rest are the holes that they were.
    expect(statSync(path).blocks * 512).toBeLessThanOrEqual(2 << 20);
    rmSync(folder, { recursive: true });
  });

  test('ends when it is told to', async () => {
    const files = memoryFiles();
    files.put('case.img', new Uint8Array(100));
    const signal = AbortSignal.abort(new Error('enough'));
    const options = { fills: fillsOf({ unread: 'marker' }), sectorBytes, signal };
    const act = fillGaps(await files.open('case.img'), createRunMap(100), options);
    await expect(act).rejects.toThrow('enough');
  });
});

describe('a copy onto a target', () => {
  async function world(seed: number, fills: Fills, endShare = 1) {
    const random = randomOf(seed);
    const sizeBytes = 512 * (2000 + Math.floor(random() * 4000));
    const endBytes = 512 * Math.floor((sizeBytes / 512) * endShare);
    const { parsed, byByte } = randomMap(sizeBytes, random);
    const content = Buffer.alloc(sizeBytes);
    for (let at = 0; at < sizeBytes; at++) content[at] = Math.floor(random() * 256);
    const files = memoryFiles();
    files.put('case.img', content);
    files.put('target', Buffer.alloc(sizeBytes + 5120, 'OLD'));
    const target = await files.open('target');
    const image = await files.open('case.img');
    const map = statusByByte(parsed, sizeBytes);
    const contents = { image, imagePath: 'case.img', map, sectorBytes, fills, endBytes };
    return { files, target, contents, content, byByte, endBytes };
  }
  const nothing = () => ({ copied: 0, filled: 0, untouched: 0, synced: 0 });

  test.each([
    [{ unread: 'zero', unreadable: 'marker' }, 1],
    [{}, 1],
    [{ unread: '0xAA' }, 0.5],
  ])('with %o has what was read, the fills, and else what was there', async (wish, share) => {
    const { files, target, contents, content, byByte, endBytes } = await world(
      3,
      fillsOf(wish),
      share,
    );
    const done = nothing();
    await copyOnto(target, contents, {}, done);
    const now = files.content('target');
    const old = Buffer.alloc(now.length, 'OLD');
    for (let at = 0; at < now.length; at++) {
      const letter = String.fromCharCode(byByte[at] ?? 0);
      const isRead = at < endBytes && letter === '+';
      const wanted =
        at < endBytes && !isRead
          ? wantedAt(at, letter, old[at]!, wish)
          : isRead
            ? content[at]!
            : old[at]!;
      if (now[at] !== wanted) throw new Error(`byte ${at}: ${now[at]}, not ${wanted}`);
    }
    expect(done.copied + done.filled + done.untouched).toBe(endBytes);
    expect(done.synced).toBe(endBytes);
    const back = async (position: number, bytes: number) => now.slice(position, position + bytes);
    expect(await differencesOn(back, contents, {})).toEqual([]);
  });

  test('that changed is told of by its bytes, and not where it was never written', async () => {
    const { files, target, contents, byByte } = await world(4, {});
    await copyOnto(target, contents, {}, nothing());
    const now = files.content('target');
    const read = byByte.indexOf('+', 700_000);
    const gap = byByte.indexOf('-', 200_000);
    now[read]! ^= 1;
    now[gap]! ^= 1;
    const back = async (position: number, bytes: number) => now.slice(position, position + bytes);
    const found = await differencesOn(back, contents, {});
    expect(found).toHaveLength(1);
    expect(found[0]!.from).toBeLessThanOrEqual(read);
    expect(found[0]!.to).toBeGreaterThan(read);
    expect(found[0]!.to - found[0]!.from).toBeLessThanOrEqual(512);
  });

  test('does not go on where the image ends before its map', async () => {
    const { target, contents, files } = await world(5, {});
    files.put('case.img', new Uint8Array(512 * 1000));
    const image = await files.open('case.img');
    const act = copyOnto(target, { ...contents, image }, {}, nothing());
    await expect(act).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' });
  });

  test('leaves what is behind it, or fills that to the last byte', async () => {
    const { files, target, endBytes } = await world(6, {});
    const to = endBytes + 5120;
    await fillExcess(target, { from: endBytes, to, fill: parseFill('0x5A', '') }, {});
    const now = files.content('target');
    expect(now.subarray(0, endBytes).includes(0x5a)).toBe(false);
    expect(now.subarray(endBytes).every((byte) => byte === 0x5a)).toBe(true);
  });
});
