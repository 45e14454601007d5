import { describe, expect, test } from 'vitest';
import { slowLimitMs } from '../../src/plan/pass.js';
import type { DriveFacts } from '../../src/plan/presets.js';
import { presetRows } from '../presets.js';

const groupCount = 128;

function rowsFor(change: Partial<DriveFacts> = {}) {
  return presetRows('standard', { sectorCount: 2_000_000, ...change });
}

/** The jumps of a drive's first pass. */
function skipFor(sectorCount: number, sectorBytes = 512) {
  return rowsFor({ sectorCount, sectorBytes })[0]!.skip;
}

describe('the standard preset', () => {
  test('a read timeout overrides that of every row, and of the retries', () => {
    const rows = rowsFor({ retries: 3, readTimeoutMs: 7777 });
    expect(new Set(rows.map((row) => row.timeoutMs))).toEqual(new Set([7777]));
  });

  test('without one the rows have their own, and none gets less than the one before it', () => {
    const timeouts = rowsFor({ retries: 1 })
      .filter((row) => row.area === 'any')
      .map((row) => row.timeoutMs);
    expect(timeouts).toEqual([1000, 3000, 3000, 5000, 15_000]);
  });

  test('a least rate makes a read slow in the rows that leave slow areas', () => {
    const rows = rowsFor({ bytesPerSecondMin: 1_000_000, retries: 1 });
    const limits = rows
      .filter((row) => row.onSlow !== 'go-on')
      .map((row) => slowLimitMs(row, groupCount, 512));
    // 64 KiB at 1 MB/s, which is less than the 300 ms that count without it.
    expect(limits).toEqual([66, 66]);
  });

  test('a least rate does not keep the later rows from anything', () => {
    const rows = rowsFor({ bytesPerSecondMin: 1_000_000, retries: 1 });
    const sweeps = rows.filter(
      (row) => row.name === 'what was skipped' || row.phase !== 'copy' || row.area === 'hung',
    );
    expect(sweeps.length).toBeGreaterThan(5);
    expect(sweeps.map((row) => slowLimitMs(row, groupCount, 512))).toEqual(sweeps.map(() => 0));
  });

  test('as many retries as asked for, the first backwards, then in turns, behind all other rows', () => {
    const rows = rowsFor({ retries: 3 });
    expect(rows.slice(-3).map(({ phase, direction }) => [phase, direction])).toEqual([
      ['retry', 'backward'],
      ['retry', 'forward'],
      ['retry', 'backward'],
    ]);
    expect(rows).toHaveLength(rowsFor().length + 3);
  });

  test.each([
    ['10 MB, where 1 % is about a group', 20_000, 512, 128, 128],
    ['100 MB, where 1 % is less than the usual first jump', 200_000, 512, 1920, 1920],
    ['1 TB, where 1 % is 9.3 GiB', 1_953_525_168, 512, 4096, 19_535_232],
    ['20 TB, where 1 % would be 186 GiB', 39_063_650_304, 512, 4096, 32 * 2 ** 30 * (1 / 512)],
    ['20 TB of 4,096-byte sectors', 4_882_956_288, 4096, 4096, (32 * 2 ** 30) / 4096],
  ])('jumps on %s', (_drive, sectorCount, sectorBytes, startCount, maxCount) => {
    expect(skipFor(sectorCount, sectorBytes)).toEqual({ startCount, maxCount });
  });

  test('jumps are whole groups and at least one, whatever the size of the drive', () => {
    for (let sectorCount = 1; sectorCount < 1e11; sectorCount = Math.ceil(sectorCount * 1.37)) {
      const { startCount, maxCount } = skipFor(sectorCount);
      expect([startCount % groupCount, maxCount % groupCount]).toEqual([0, 0]);
      expect(startCount).toBeGreaterThanOrEqual(groupCount);
      expect(maxCount).toBeGreaterThanOrEqual(startCount);
    }
  });
});
