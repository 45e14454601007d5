import { expect, test } from 'vitest';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { formatBytes, formatDuration, formatShare, formatStrip } from '../../src/show/format.js';

test.each([
  [0, '0 B'],
  [512, '512 B'],
  [1000, '1.00 kB'],
  [999_999, '1.00 MB'],
  [12_340_000, '12.3 MB'],
  [500_107_862_016, '500 GB'],
])('%i bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test.each([
  [850, '850 ms'],
  [12_300, '12.3 s'],
  [59_990, '1 min 00 s'],
  [245_000, '4 min 05 s'],
  [7_800_000, '2 h 10 min'],
])('%i ms are %s', (durationMs, text) => expect(formatDuration(durationMs)).toBe(text));

test('a single lost sector never rounds away', () => {
  expect(formatShare(999_999_999, 1_000_000_000)).toBe('>99.99 %');
  expect(formatShare(1, 1_000_000_000)).toBe('<0.01 %');
  expect(formatShare(5, 5)).toBe('100 %');
});

test('a strip shows the least hopeful status of each cell', () => {
  const map = createRunMap(100);
  map.set({ lba: 0, count: 50 }, statuses.finished);
  map.set({ lba: 13, count: 1 }, statuses['bad-sector']);
  expect(formatStrip(map, 10)).toBe('+-+++?????');
});
