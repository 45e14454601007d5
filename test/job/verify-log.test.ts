import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { loadCheckpoint, saveCheckpoint } from '../../src/image/checkpoint.js';
import type { Hashing } from '../../src/image/hash-threads.js';
import { casePaths } from '../../src/job/case.js';
import { verifyImage } from '../../src/job/verify.js';
import { sectorMapOf } from '../../src/map/mapfile.js';
import type { Pass } from '../../src/plan/pass.js';
import { type MemoryFiles, memoryFiles } from '../image/memory-files.js';
import { imageInWorld } from './world.js';

const paths = casePaths('case.img');
const scenario: ScenarioInput = {
  seed: 5,
  sectorCount: 1200,
  mechanics: { overheadMs: 200, spinUpMs: 500 },
  faults: [{ kind: 'bad', lba: 700, count: 3, errorMs: 300 }],
};
const edit = (rows: readonly Pass[]) =>
  rows.map((row) => ({ ...row, readCount: Math.min(row.readCount, 32), slowMs: 0 }));

/** No hashes lie beside these images. */
const noHashing: Hashing = {
  width: 1,
  ranges: () => Promise.reject(new Error('nothing is to be hashed')),
  stream: () => {
    throw new Error('nothing is to be hashed');
  },
  close: () => Promise.resolve(),
};

async function imaged(interruptAfter = 0): Promise<MemoryFiles> {
  const files = memoryFiles();
  await imageInWorld(scenario, { files, edit, interruptAfter });
  return files;
}

/** What `verify` says of the log. */
async function verified(files: MemoryFiles, notedHash?: string, isQuick = false) {
  const { signal } = new AbortController();
  const { verdict, findings } = await verifyImage({
    ...{ files, paths, hashing: noHashing, isQuick, signal },
    ...(notedHash !== undefined && { notedHash }),
  });
  return { verdict, log: findings.filter(({ check }) => check === 'log') };
}

const textOf = (files: MemoryFiles) => Buffer.from(files.content(paths.events)).toString();
const linesOf = (files: MemoryFiles) => textOf(files).trimEnd().split('\n');
const put = (files: MemoryFiles, lines: readonly string[]) =>
  files.put(paths.events, `${lines.join('\n')}\n`);
const hashOf = (line: string) => (JSON.parse(line) as { hash: string }).hash;

/** Binds lines together as if they had been written so. */
function chained(lines: readonly string[]): string[] {
  let former = '0'.repeat(64);
  return lines.map((line, n) => {
    const covered = line
      .replace(/,"hash":"[0-9a-f]{64}"\}$/, '}')
      .replace(/^\{"n":[0-9]+/, `{"n":${n}`);
    former = createHash('sha256').update(former).update(covered).digest('hex');
    return `${covered.slice(0, -1)},"hash":"${former}"}`;
  });
}

/** The map as whoever rewrites the log would leave it: it knows of that log's end. */
async function anchorTo(files: MemoryFiles, lines: readonly string[]): Promise<void> {
  const saved = (await loadCheckpoint(files, paths.map))!;
  const state = saved.state as { drive: { sectorBytes: number; sectorCount: number } };
  const { sectorBytes } = state.drive;
  await saveCheckpoint(files, paths.map, {
    ...{ number: saved.number!, sectorBytes, version: 'test' },
    map: sectorMapOf(saved.map, state.drive, paths.map),
    ...({ currentPosition: 0, currentStatus: '+', currentPass: 1 } as const),
    state: { ...state, log: { n: lines.length - 1, hash: hashOf(lines.at(-1)!) } },
  });
}

describe('verify and the event log', () => {
  test('a log that nobody touched is as written, and its last hash is told', async () => {
    const files = await imaged();
    const { log, verdict } = await verified(files);
    expect(log).toEqual([
      {
        ...{ check: 'log', result: 'unchanged' },
        text: expect.stringContaining(hashOf(linesOf(files).at(-1)!)),
      },
    ]);
    // Nothing was hashed.
    expect(verdict).toBe('cannot-tell');
  });

  const at = 20;
  test.each<[string, (lines: string[]) => string[], number, RegExp]>([
    ['removed', (lines) => lines.toSpliced(at, 1), at + 1, /20 is missing before it/],
    [
      'edited',
      (lines) => lines.with(at, lines[at]!.replace('"ms":', '"ms":1')),
      at + 1,
      /not as it was written/,
    ],
    ['added', (lines) => lines.toSpliced(at, 0, lines[at - 1]!), at + 1, /out of order/],
    [
      'reordered',
      (lines) => lines.toSpliced(at, 2, lines[at + 1]!, lines[at]!),
      at + 1,
      /out of order/,
    ],
    ['cut', (lines) => lines.slice(0, at), at + 1, /the log ends with line 20/],
    [
      'forged, with a chain of its own,',
      (lines) => chained(lines.toSpliced(at, 1)),
      0,
      /the map knows of 1 more|another one than the map knows/,
    ],
  ])('a line that was %s is named', async (_how, change, line, words) => {
    const files = await imaged();
    put(files, change(linesOf(files)));
    for (const isQuick of [false, true]) {
      const { verdict, log } = await verified(files, undefined, isQuick);
      expect(verdict).toBe('changed');
      const bad = log.filter(({ result }) => result === 'changed');
      expect(bad).toMatchObject([{ text: expect.stringMatching(words) }]);
      if (line > 0) expect(bad[0]!.text).toContain(`${paths.events}:${line}: `);
    }
  });

  test('one that gives another map than the one that is there is found, though its chain holds', async () => {
    const files = await imaged();
    const lines = linesOf(files);
    const last = lines.findLastIndex((line) => line.includes('"outcome":"fault"'));
    const forged = chained(lines.toSpliced(last, 1));
    put(files, forged);
    await anchorTo(files, forged);
    const { verdict, log } = await verified(files);
    expect(log.map(({ text }) => text).join('\n')).toMatch(/give another map than the case has/);
    expect(verdict).toBe('changed');
  });

  test('one cut, bound together anew and with a map to it is found by the noted hash alone', async () => {
    const files = await imaged();
    const lines = linesOf(files);
    const noted = hashOf(lines.at(-1)!);
    // What nothing follows from: the map stays the same.
    const idle = lines.findIndex((line) => line.includes('"kind":"ended"'));
    const forged = chained(lines.toSpliced(idle, 1));
    put(files, forged);
    await anchorTo(files, forged);
    expect((await verified(files)).log).toMatchObject([{ result: 'unchanged' }]);
    const told = await verified(files, noted);
    expect(told.verdict).toBe('changed');
    expect(told.log).toMatchObject([{ result: 'changed', text: expect.stringMatching(noted) }]);
  });

  test('a noted hash is found where it stood, whole or its beginning, after later runs too', async () => {
    const files = await imaged(9);
    const lines = linesOf(files);
    const noted = hashOf(lines.at(-1)!);
    await imageInWorld(scenario, { files, edit });
    const since = linesOf(files).length - lines.length;
    expect(since).toBeGreaterThan(0);
    for (const hash of [noted, noted.slice(0, 16)]) {
      const { log } = await verified(files, hash, true);
      expect(log).toMatchObject([
        { result: 'unchanged' },
        { result: 'told', text: expect.stringContaining(`${since} lines came after it`) },
      ]);
      expect(log[1]!.text).toContain(`${paths.events}:${lines.length}: `);
    }
  });

  test('a case that never had one says so; one whose log is gone is changed', async () => {
    const files = await imaged();
    await files.remove(paths.events);
    expect(await verified(files)).toMatchObject({
      verdict: 'changed',
      log: [{ result: 'changed', text: `${paths.events} is missing` }],
    });
    const saved = (await loadCheckpoint(files, paths.map))!;
    const { log: _log, ...older } = saved.state as Record<string, unknown>;
    const drive = older.drive as { sectorBytes: number; sectorCount: number };
    await saveCheckpoint(files, paths.map, {
      ...{ number: saved.number!, sectorBytes: drive.sectorBytes, version: 'test' },
      map: sectorMapOf(saved.map, drive, paths.map),
      ...({ currentPosition: 0, currentStatus: '+', currentPass: 1 } as const),
      state: older,
    });
    const without = await verified(files);
    expect(without.log).toEqual([
      { check: 'log', result: 'told', text: 'the case has no event log' },
    ]);
    expect(without.verdict).not.toBe('changed');
    expect((await verified(files, '0'.repeat(64))).verdict).toBe('changed');
  });
});
