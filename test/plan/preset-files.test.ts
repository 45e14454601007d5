import { describe, expect, test } from 'vitest';
import type { Pass } from '../../src/plan/pass.js';
import { passSchema, textOfRows } from '../../src/plan/pass-schema.js';
import { type DriveFacts, kindDefaults, rowsOf } from '../../src/plan/presets.js';
import { bundledPresets, loadPreset, parsePreset, sentenceOf } from '../../src/preset-files.js';
import { presetRows } from '../presets.js';

const facts: DriveFacts = {
  sectorCount: 1_000_000,
  sectorBytes: 512,
  physicalCount: 8,
  kind: 'hdd',
};

function problemsOf(text: string): string[] {
  const result = parsePreset(text);
  if ('value' in result) throw new Error('the preset was accepted');
  return result.problems.map((problem) => sentenceOf('mine.yaml', problem));
}

function rowsFrom(text: string, change: Partial<DriveFacts> = {}): Pass[] {
  const result = parsePreset(text);
  if ('problems' in result) throw new Error(result.problems[0]!.sentence);
  return rowsOf(result.value, { ...facts, ...change });
}

/** A preset of one copying row that says this. */
const saying = (words: string) => `title: t\nrows:\n  - { name: a, phase: copy, ${words} }\n`;
const rowSaying = (words: string, change?: Partial<DriveFacts>) =>
  rowsFrom(saying(words), change)[0]!;

describe('every mistake is told with line, column and field', () => {
  test.each([
    ['rows: []', 'mine.yaml:1:1: title: is missing'],
    ['title: t\nrows: []', 'mine.yaml:2:7: rows: must have at least 1 entry'],
    [
      saying('direktion: forward'),
      "mine.yaml:3:29: rows[0].direktion: unknown word; did you mean 'direction'?",
    ],
    [
      saying('onFault: jump'),
      'mine.yaml:3:38: rows[0].onFault: expected one of skip, leave, go-on',
    ],
    [
      saying('timeoutMs: 3 sec'),
      'mine.yaml:3:40: rows[0].timeoutMs: expected a time such as 500 ms, 15 s or 2 min',
    ],
    [
      saying('readCount: 64 KB'),
      'mine.yaml:3:40: rows[0].readCount: expected a size such as 64 KiB, 4096 sectors or 1 %',
    ],
    [
      saying('skip: { maxCount: 120 % }'),
      'mine.yaml:3:47: rows[0].skip.maxCount: must be at most 100 %',
    ],
    [
      saying('skip: { maxCounts: 1 % }'),
      "mine.yaml:3:37: rows[0].skip.maxCounts: unknown word; did you mean 'maxCount'?",
    ],
    [saying('timeoutMs: 0'), 'mine.yaml:3:40: rows[0].timeoutMs: must be above 0'],
    [saying('timeoutMs: 0 s'), 'mine.yaml:3:40: rows[0].timeoutMs: must be above 0'],
    // What a timer does not hold would be no rest at all.
    [saying('before: { restMs: 999 h }'), 'rows[0].before.restMs: must be at most 20 days'],
    [saying('before: { restMs: 1e99 }'), 'rows[0].before.restMs: must be at most 1728000000'],
    [saying('ranges: []'), 'rows[0].ranges: must have at least 1 entry'],
    [saying('ranges: [{ from: 9, to: 5 }]'), 'rows[0].ranges[0].to: must be above from'],
    ['title: ""\nrows: [{ name: a, phase: copy }]', '1:8: title: must not be empty'],
    ['title: t\nrows: [*lost]', 'mine.yaml:2:8: Unresolved alias'],
    ['title: [', 'mine.yaml:1:9: Flow sequence in block collection'],
  ])('%j', (text, sentence) => {
    expect(problemsOf(text)[0]).toContain(sentence);
  });

  test('all of them, not the first only', () => {
    expect(problemsOf(saying('onFault: 3, onSlow: 4, hangRetries: -1'))).toHaveLength(3);
  });
});

describe('what a file says becomes rows for a drive', () => {
  test('a row that says nothing has every default', () => {
    const [copy, trim] = rowsFrom(
      'title: t\nrows: [{ name: a, phase: copy }, { name: b, phase: trim }]',
    );
    expect(copy).toMatchObject({ direction: 'forward', area: 'any', readCount: 128 });
    expect(copy).toMatchObject({ onFault: 'go-on', onHang: 'defer', timeoutMs: 1000, slowMs: 0 });
    expect(trim).toMatchObject({ readCount: 1, timeoutMs: 3000, before: { kind: 'none' } });
  });

  test('a row inherits what it does not say, sections word by word', () => {
    const [row] = rowsFrom(
      'title: t\ndefaults: { slowMs: 1 s, skip: { startCount: 256, growth: 3 } }\n' +
        'rows: [{ name: a, phase: copy, slowMs: 2 s, skip: { startCount: 512 } }]',
    );
    expect(row).toMatchObject({ slowMs: 2000, skip: { startCount: 512, growth: 3 } });
  });

  test.each([
    ['512', 512],
    ['256 sectors', 256],
    ['64 KiB', 128],
    ['1 MB', 1960], // 1953.125 sectors, up to whole physical ones.
    ['1 %', 10_000],
    ['0.001 %', 16],
    ['{ size: 1 %, atMost: 4096 }', 4096],
    ['{ size: 0.001 %, atLeast: 64 KiB }', 128],
    ['{ size: 1000, rounded: up-to-groups }', 1024],
    ['{ size: 1000, rounded: down-to-groups }', 896],
    ['{ size: 3, rounded: down-to-groups }', 128],
  ])('a jump of %s', (size, count) => {
    expect(rowSaying(`skip: { startCount: ${size} }`).skip.startCount).toBe(count);
  });

  test('a size beyond all drives is a row all the same', () => {
    const row = rowSaying('readCount: 4503599627370496 TB');
    expect(passSchema.parse(row)).toEqual(row);
  });

  test.each([
    ['250', 250],
    ['250 ms', 250],
    ['1.5 s', 1500],
    ['2 min', 120_000],
    ['scrape', 5000],
  ])('a deadline of %s', (time, timeoutMs) => {
    expect(rowSaying(`timeoutMs: ${time}`).timeoutMs).toBe(timeoutMs);
  });

  test('named deadlines and retries are those of the kind of drive', () => {
    const text = 'title: t\nrows: [{ name: r, phase: retry, repeat: by-kind, timeoutMs: retry }]';
    for (const kind of ['hdd', 'ssd', 'flash', 'file'] as const) {
      const rows = rowsFrom(text, { kind });
      expect(rows).toHaveLength(kindDefaults[kind].retries);
      for (const row of rows) expect(row.timeoutMs).toBe(kindDefaults[kind].timeoutsMs.retry);
    }
  });

  test('the command line overrides retries, deadline and rates', () => {
    const text = 'title: t\nrows: [{ name: r, phase: retry, repeat: 3, bytesPerSecondMax: 8 MB }]';
    const rows = rowsFrom(text, { retries: 2, readTimeoutMs: 77, bytesPerSecondMax: 1e6 });
    expect(rows.map((row) => row.name)).toEqual(['r 1', 'r 2']);
    expect(rows[0]).toMatchObject({ timeoutMs: 77, bytesPerSecondMax: 1e6 });
  });

  test('a least rate counts only where slow reads matter', () => {
    const change = { bytesPerSecondMin: 5e5 };
    expect(rowSaying('onSlow: skip', change).bytesPerSecondMin).toBe(5e5);
    expect(rowSaying('onSlow: go-on', change).bytesPerSecondMin).toBe(0);
  });

  test('a band that is no row’s stays unread: ranges may be shares of the drive', () => {
    const { ranges } = rowSaying('ranges: [{ from: 0, to: 10 % }, { from: 2 %, to: 100 % }]');
    expect(ranges).toEqual([
      { lba: 0, count: 100_000 },
      { lba: 20_000, count: 980_000 },
    ]);
  });
});

describe('the bundled presets', () => {
  test.each(bundledPresets())('%s gives rows that pass their own check, on any drive', (name) => {
    for (const kind of ['hdd', 'ssd', 'flash', 'file'] as const) {
      for (const sectorCount of [1, 1000, 2 ** 21, 4e10]) {
        for (const row of rowsOf(loadPreset(name), { ...facts, sectorCount, kind })) {
          expect(passSchema.parse(row)).toEqual(row);
        }
      }
    }
  });

  test('of each kind of drive its default is there', () => {
    for (const { preset } of Object.values(kindDefaults)) {
      expect(bundledPresets()).toContain(preset);
    }
  });

  test('flash is never skipped over, is capped, and never left hanging', () => {
    for (const row of presetRows('flash', { sectorCount: 1e8 })) {
      expect([row.onFault, row.onSlow]).toEqual(['go-on', 'go-on']);
      expect(row.bytesPerSecondMax).toBeGreaterThan(0);
      expect(row.ifHung).toBe('next');
    }
  });

  test('gentle reads short, rests two minutes or more, and resets little', () => {
    for (const row of presetRows('gentle', { sectorCount: 1e8 })) {
      expect(row.readCount).toBeLessThanOrEqual(32);
      expect(row.rest!.restMs).toBeGreaterThanOrEqual(120_000);
      expect(row.resets).not.toContain('hard');
      if (row.before.kind === 'rest') expect(row.before.restMs).toBeGreaterThanOrEqual(120_000);
    }
  });
});

test('the same rows are the same text, whatever the order of their words', () => {
  const rows = presetRows('gentle', { sectorCount: 1e6 });
  const turned = rows.map(
    (row) => Object.fromEntries(Object.entries(row).reverse()) as unknown as Pass,
  );
  expect(textOfRows(turned)).toBe(textOfRows(rows));
  expect(textOfRows(presetRows('ssd', { sectorCount: 1e6 }))).not.toBe(textOfRows(rows));
});
