import { describe, expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import { createDataDetector, type Doubt } from '../../src/drive/detectors.js';
import type { ReadResult } from '../../src/drive/drive.js';

const sectorBytes = 512;
/** 1 GiB: the window is 64 MiB, 1024 reads. */
const sectorCount = 2 * 1024 * 1024;
const readCount = 128;
const windowReads = 1024;

type Content = 'zeros' | 'pattern' | 'pages' | 'unique' | 'stale' | 'failure';
interface Piece {
  readonly content: Content;
  readonly reads: number;
  readonly megabytesPerSecond?: number;
  /** By the drive's own times; else 131. */
  readonly driveMegabytesPerSecond?: number;
}

/** Feeds a detector with one piece after the other, read in order, and says what it makes of them. */
function feed(turns: boolean, pieces: readonly Piece[], bestRate = 0): Doubt | undefined {
  const detector = createDataDetector({ turns, sectorBytes, sectorCount, bestRate });
  const random = createRandom(5);
  const sector = Uint8Array.from({ length: sectorBytes }, () => random.below(256));
  const pattern = new Uint8Array(readCount * sectorBytes);
  for (let at = 0; at < pattern.length; at += sectorBytes) pattern.set(sector, at);
  const zeros = new Uint8Array(readCount * sectorBytes);
  const page = Uint8Array.from({ length: 8 * sectorBytes }, () => random.below(256));
  const pages = zeros.map((_, at) => page[at % page.length]!);
  let atMs = 0;
  let lba = 0;
  let last: Uint8Array = zeros;
  const dataOf = (content: Content): Uint8Array => {
    if (content === 'zeros') return zeros;
    if (content === 'pattern') return pattern;
    if (content === 'pages') return pages;
    if (content === 'stale') return last;
    const unique = pattern.slice();
    new DataView(unique.buffer).setUint32(0, lba);
    return unique;
  };
  for (const piece of pieces) {
    const { content, reads, megabytesPerSecond = 150, driveMegabytesPerSecond = 131 } = piece;
    const elapsedMs = zeros.length / (driveMegabytesPerSecond * 1000);
    for (let n = 0; n < reads; n++) {
      const data = content === 'failure' ? new Uint8Array(0) : dataOf(content);
      if (content !== 'failure') last = data;
      const goodCount = data.length / sectorBytes;
      const kind = content === 'failure' ? 'fault' : 'good';
      atMs += zeros.length / (megabytesPerSecond * 1000);
      const result: ReadResult = { kind, goodCount, data, elapsedMs };
      const doubt = detector.look({ lba, count: readCount }, result, atMs);
      if (doubt) return doubt;
      lba += readCount;
    }
  }
  return undefined;
}

const ordinary: Piece = { content: 'unique', reads: 2 * windowReads };

describe('zeros and patterns on a drive that turns', () => {
  test.each(['zeros', 'pattern'] as const)('%s at the media’s pace are believed', (content) => {
    expect(feed(true, [ordinary, { content, reads: 4 * windowReads }])).toBeUndefined();
    expect(feed(true, [{ content, reads: 4 * windowReads }, ordinary])).toBeUndefined();
  });

  test('an outer zone twice as fast as what was read before is believed', () => {
    const slow = { ...ordinary, megabytesPerSecond: 75 };
    const fast: Piece = { content: 'zeros', reads: 4 * windowReads, megabytesPerSecond: 160 };
    expect(feed(true, [slow, fast])).toBeUndefined();
  });

  test('a weak zone was slow, and the empty one behind it reads as fast as platters do: believed', () => {
    for (const slow of [1, 10, 60, 100]) {
      const weak = { ...ordinary, megabytesPerSecond: slow, driveMegabytesPerSecond: slow };
      const pieceAt = (megabytesPerSecond: number): Piece => ({
        content: 'zeros',
        reads: 4 * windowReads,
        megabytesPerSecond,
        driveMegabytesPerSecond: megabytesPerSecond,
      });
      expect(feed(true, [weak, pieceAt(150)])).toBeUndefined();
      expect(feed(true, [weak, pieceAt(300)])).toBeUndefined();
      // A bridge on USB 3 that makes them up is faster.
      expect(feed(true, [weak, pieceAt(400)])?.why).toContain('zeros at 400 MB/s');
      expect(feed(true, [weak, pieceAt(300)], 150e6)).toBeUndefined();
    }
    expect(
      feed(true, [ordinary, { content: 'zeros', reads: 4 * windowReads, megabytesPerSecond: 400 }]),
    ).toBeDefined();
  });

  test('zeros from the cache are believed as long as a cache can hold them', () => {
    const cached: Piece = { content: 'zeros', reads: windowReads / 2, megabytesPerSecond: 550 };
    expect(feed(true, [ordinary, cached, ordinary, cached, ordinary])).toBeUndefined();
  });

  test('a link slower than the media hides nothing that neither cache nor bus could bring', () => {
    const link = { megabytesPerSecond: 25, reads: 4 * windowReads };
    const through = { ...ordinary, ...link };
    const prefetched: Piece = { content: 'zeros', ...link, driveMegabytesPerSecond: 550 };
    expect(feed(true, [through, prefetched])).toBeUndefined();
    const made: Piece = { content: 'zeros', ...link, driveMegabytesPerSecond: 2000 };
    const doubt = feed(true, [through, made]);
    expect(doubt?.why).toMatch(/^the drive returns zeros at 2000 MB\/s, at most 131 MB\/s/);
    expect(doubt?.extents).toEqual([
      { lba: through.reads * readCount, count: windowReads * readCount },
    ]);
    // What came as quickly as from a cache before that is doubted with it.
    expect(feed(true, [through, prefetched, made])?.extents).toEqual([
      { lba: through.reads * readCount, count: (prefetched.reads + windowReads) * readCount },
    ]);
    // Nobody knows how such an imager takes its times before it brought anything else.
    expect(feed(true, [made])).toBeUndefined();
  });

  test.each([
    ['zeros', /^the drive returns zeros at 550 MB\/s, at most 150 MB\/s/],
    ['pattern', /one and the same sector at 550 MB\/s/],
  ] as const)('%s faster than that are not, from their first sector on', (content, why) => {
    const made: Piece = { content, reads: 4 * windowReads, megabytesPerSecond: 550 };
    const doubt = feed(true, [ordinary, made]);
    expect(doubt?.why).toMatch(why);
    expect(doubt?.extents).toEqual([
      { lba: ordinary.reads * readCount, count: windowReads * readCount },
    ]);
  });

  test('zeros that a slow link brings at once, as fills, are believed at the pace of the platters', () => {
    const slowLink = { ...ordinary, megabytesPerSecond: 3, driveMegabytesPerSecond: 150 };
    const zeros: Piece = {
      content: 'zeros',
      reads: 4 * windowReads,
      megabytesPerSecond: 149,
      driveMegabytesPerSecond: 150,
    };
    expect(feed(true, [slowLink, zeros])).toBeUndefined();
    expect(feed(true, [slowLink, { ...zeros, driveMegabytesPerSecond: 700 }])).toBeDefined();
  });

  test('the window before is doubted too: the change may lie in it', () => {
    const doubt = feed(true, [
      ordinary,
      { content: 'zeros', reads: windowReads + 100 },
      { content: 'zeros', reads: 2 * windowReads, megabytesPerSecond: 550 },
    ]);
    expect(doubt?.extents[0]?.lba).toBeLessThan((ordinary.reads + windowReads + 100) * readCount);
  });

  test('where nothing else was seen, only what no platter gives is doubted', () => {
    const zeros = (megabytesPerSecond: number): Piece => ({
      content: 'zeros',
      reads: 2 * windowReads,
      megabytesPerSecond,
    });
    expect(feed(true, [zeros(500)])).toBeUndefined();
    expect(feed(true, [zeros(500)], 150e6)?.why).toContain('at most 150 MB/s');
    expect(feed(true, [zeros(900)])?.why).toContain('no platter can');
  });
});

test('a drive that does not turn may answer zeros as fast as it likes', () => {
  const trimmed: Piece = { content: 'zeros', reads: 4 * windowReads, megabytesPerSecond: 3000 };
  expect(feed(false, [ordinary, trimmed])).toBeUndefined();
});

describe('late reads that a bridge calls good', () => {
  /** `count` times some reads in time and a late one; what they hold is `content`. */
  const lapses = (content: Content, count: number, between: Content = 'unique') =>
    Array.from({ length: count }, (): Piece[] => [
      { content: between, reads: 20 },
      { content, reads: 1, driveMegabytesPerSecond: 0.04 },
    ]).flat();

  test.each(['zeros', 'stale'] as const)('%s are doubted after a few, and only they', (content) => {
    for (const turns of [true, false]) {
      const doubt = feed(turns, [ordinary, ...lapses(content, 6)]);
      expect(doubt?.why).toMatch(/^late reads bring nothing of their own: 3 in a row/);
      const first = (ordinary.reads + 20) * readCount;
      const lbas = [0, 1, 2].map((n) => first + n * 21 * readCount);
      expect(doubt?.extents).toEqual(lbas.map((lba) => ({ lba, count: readCount })));
    }
  });

  test('two are chance, and so are more on a drive that has such reads in time as well', () => {
    expect(feed(true, [ordinary, ...lapses('stale', 2), ordinary])).toBeUndefined();
    const mixed = Array.from({ length: 100 }, (): Piece[] => [
      { content: 'unique', reads: 3 },
      { content: 'zeros', reads: 1 },
    ]).flat();
    expect(feed(true, [...mixed, ...lapses('zeros', 8)])).toBeUndefined();
  });

  test('late reads with what is there, in a blank stretch, or after a jump are believed', () => {
    expect(feed(true, [ordinary, ...lapses('unique', 50)])).toBeUndefined();
    expect(feed(true, [ordinary, ...lapses('zeros', 50, 'zeros')])).toBeUndefined();
    const detector = createDataDetector({ turns: true, sectorBytes, sectorCount });
    const data = new Uint8Array(readCount * sectorBytes);
    for (let n = 0; n < 400; n++) {
      const lba = n * 2 * readCount;
      const isLate = n > 200 && n % 3 === 0;
      const held = isLate ? data : data.slice().fill(n % 256, 0, 100);
      const elapsedMs = isLate ? 900 : 2;
      const result: ReadResult = { kind: 'good', goodCount: readCount, data: held, elapsedMs };
      expect(detector.look({ lba, count: readCount }, result, n)).toBeUndefined();
    }
  });

  test('a read that is not ten times as long as usual is not late', () => {
    const slow: Piece = { content: 'unique', reads: 2 * windowReads, driveMegabytesPerSecond: 0.5 };
    const lapse: Piece = { content: 'zeros', reads: 1, driveMegabytesPerSecond: 0.1 };
    const pieces = Array.from({ length: 8 }, () => [{ ...slow, reads: 20 }, lapse]).flat();
    expect(feed(true, [slow, ...pieces])).toBeUndefined();
  });
});

describe('a stale buffer after a failed read', () => {
  const failure: Piece = { content: 'failure', reads: 1 };
  const stale: Piece = { content: 'stale', reads: 8 };

  test.each([
    true,
    false,
  ])('is doubted, with all that came since the failure (turns: %s)', (turns) => {
    const doubt = feed(turns, [ordinary, failure, stale]);
    expect(doubt?.why).toContain('what other places held');
    expect(doubt?.extents[0]?.lba).toBe((ordinary.reads + 1) * readCount);
  });

  test('is nobody’s concern where the drive repeated itself before', () => {
    const pattern: Piece = { content: 'pattern', reads: 200 };
    expect(feed(true, [ordinary, pattern, failure, pattern])).toBeUndefined();
    expect(feed(true, [failure, pattern, failure, pattern])).toBeUndefined();
  });

  test('zeros behind a bad sector are believed', () => {
    expect(feed(true, [ordinary, failure, { content: 'zeros', reads: 100 }])).toBeUndefined();
  });

  test('one repeat, as of a file that lies there twice, is believed', () => {
    const once: Piece = { content: 'stale', reads: 1 };
    expect(feed(true, [ordinary, failure, once, ordinary])).toBeUndefined();
  });
});

describe('a buffer that is stuck', () => {
  test('is doubted without a failed read', () => {
    const doubt = feed(false, [ordinary, { content: 'stale', reads: 8 }]);
    expect(doubt?.why).toContain('what the read before each had brought');
  });

  test('a file of one page over and over is believed', () => {
    expect(feed(false, [ordinary, { content: 'pages', reads: 200 }, ordinary])).toBeUndefined();
  });
});
