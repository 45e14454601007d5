import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { FileLayer } from '../../src/image/file-layer.js';
import type { Hashing } from '../../src/image/hash-threads.js';
import { casePaths, noteFill } from '../../src/job/case-files.js';
import { verifyImage } from '../../src/job/verify.js';
import type { Pass } from '../../src/plan/pass.js';
import { crashingFiles, randomOf } from '../image/crashing-files.js';
import { type MemoryFiles, memoryFiles } from '../image/memory-files.js';
import { imageInWorld, type WorldOptions } from './world.js';

const paths = casePaths('case.img');
const scenario: ScenarioInput = {
  seed: 5,
  sectorCount: 1200,
  mechanics: { overheadMs: 200, spinUpMs: 500 },
  faults: [{ kind: 'bad', lba: 700, count: 3, errorMs: 300 }],
};
const edit = (rows: readonly Pass[]) =>
  rows.map((row) => ({ ...row, readCount: Math.min(row.readCount, 32), slowMs: 0 }));

function hashingOf(files: FileLayer): Hashing {
  const sha256 = async ([from, count]: readonly [number, number]) => {
    const bytes = Buffer.from(await files.readAll(paths.image)).subarray(from, from + count);
    return bytes.length < count ? undefined : createHash('sha256').update(bytes).digest('hex');
  };
  return {
    width: 1,
    ranges: (ranges) => Promise.all(ranges.map(sha256)),
    stream(algorithm) {
      const hash = createHash(algorithm);
      return {
        async add([from, count]) {
          const bytes = Buffer.from(await files.readAll(paths.image));
          hash.update(bytes.subarray(from, from + count));
        },
        digest: async () => hash.digest('hex'),
      };
    },
    close: async () => {},
  };
}

async function imaged(options: WorldOptions & { files?: MemoryFiles } = {}): Promise<MemoryFiles> {
  const files = options.files ?? memoryFiles();
  await imageInWorld(scenario, { files, edit, segmentCount: 512, ...options });
  return files;
}

async function verified(files: FileLayer, isQuick = false) {
  const { verdict, findings } = await verifyImage({
    ...{ files, paths, hashing: hashingOf(files), isQuick },
    signal: new AbortController().signal,
  });
  const of = (check: string) =>
    findings
      .filter((finding) => finding.check === check)
      .map(({ result, text }) => `${result}: ${text}`)
      .join('\n');
  return { verdict, findings, of };
}

const textOf = (files: MemoryFiles, path: string) => Buffer.from(files.content(path)).toString();
const linesOf = (files: MemoryFiles, path = paths.events) =>
  textOf(files, path).trimEnd().split('\n');

/** A line as whoever can reckon the chain adds it. */
function chainedTo(line: string, body: object): string {
  const { n, hash } = JSON.parse(line) as { n: number; hash: string };
  const covered = JSON.stringify({ n: n + 1, ...body });
  const own = createHash('sha256').update(hash).update(covered).digest('hex');
  return `${covered.slice(0, -1)},"hash":"${own}"}`;
}

function addSum(files: MemoryFiles): void {
  const digest = createHash('sha256').update(files.content(paths.image)).digest('hex');
  files.put(`${paths.image}.sha256`, `${digest}  case.img\n`);
}

/** A file of another state of a case put in its place. */
const swap = async (files: MemoryFiles, path: string, other: Uint8Array) =>
  files.put(path, Buffer.from(other));

const read = {
  ...{ at: '2026-01-01T00:00:00.000Z', ms: 1, kind: 'read', role: 'pass', lba: 696, count: 16 },
  ...{ outcome: 'good', goodCount: 16, elapsedMs: 1 },
};

test('records that nobody touched are unchanged', async () => {
  const { verdict, of } = await verified(await imaged());
  expect(verdict).toBe('unchanged');
  expect(of('journal')).toMatch(/^unchanged: .*the last run ended in order$/);
});

describe('lines behind the end of a log whose run ended in order', () => {
  test.each([
    ['a read, chained', (last: string) => `${chainedTo(last, read)}\n`, /neither map nor journal/],
    ['junk', () => 'something else\n', /no line of an event log/],
    ['an empty line', () => '\n', /no line of an event log/],
    ['junk without an end', () => 'something else', /ends within this line/],
  ])('%s is found where it stands', async (_what, added, words) => {
    const files = await imaged();
    addSum(files);
    const lines = linesOf(files);
    files.put(paths.events, `${textOf(files, paths.events)}${added(lines.at(-1)!)}`);
    for (const isQuick of [false, true]) {
      const { verdict, of } = await verified(files, isQuick);
      expect(verdict).toBe('changed');
      expect(of('log')).toMatch(words);
      expect(of('log')).toContain(`changed: ${paths.events}:${lines.length + 1}: `);
    }
  });

  test.each([
    ['the beginning of a line', (n: number) => `{"n":${n},"at":"2026-`],
    ['zeros', () => '\0\0\0\0'],
  ])('%s may be what a crash left at the start of the next run', async (_what, torn) => {
    const files = await imaged();
    const lines = linesOf(files);
    files.put(paths.events, `${textOf(files, paths.events)}${torn(lines.length)}`);
    const { verdict, of } = await verified(files);
    expect(verdict).toBe('unchanged');
    expect(of('log')).toContain('told: ');
  });
});

describe('a journal', () => {
  /** A run that crashed, its journal and its log as they were before the next one. */
  async function crashed(): Promise<MemoryFiles> {
    const files = memoryFiles();
    let kept: [string, Uint8Array][] = [];
    const onEvent: WorldOptions['onEvent'] = (_event, state) => {
      if (state.totals.reads === 20)
        kept = files.paths().map((path) => [path, files.content(path).slice()]);
    };
    await imaged({ files, onEvent });
    for (const path of files.paths()) await files.remove(path);
    for (const [path, content] of kept) files.put(path, content);
    return files;
  }

  test('that is lost is to blame, not the log that has its events', async () => {
    const files = await crashed();
    expect((await verified(files)).of('journal')).toMatch(/^told: .* did not end in order$/);
    await files.remove(paths.journal);
    const { verdict, of } = await verified(files);
    expect(verdict).toBe('changed');
    expect(of('journal')).toMatch(/^changed: .*case\.journal is missing, .*from line \d+ on$/);
    expect(of('log')).not.toMatch(/^changed/m);
  });

  test.each([
    ['an earlier base and the same length', '{"journal":1,"base":1}'],
    ['a later base', '{"journal":1,"base":99}'],
  ])('of another case, with %s, is not taken for what a crash left', async (_what, header) => {
    const files = await imaged();
    const text = `0 ${header}`;
    files.put(paths.journal, `${crc32(text).toString(16).padStart(8, '0')} ${text}\n`);
    const { verdict, of } = await verified(files);
    expect(verdict).toBe('changed');
    expect(of('journal')).toMatch(/^changed: /);
  });

  test('whose events are not those of the log is of another case', async () => {
    const files = await crashed();
    const lines = textOf(files, paths.journal).replaceAll(/^.*"kind":"read".*$/gm, (line) => {
      const changed = line.slice(9).replace('"elapsedMs":', '"elapsedMs":1');
      return `${crc32(changed).toString(16).padStart(8, '0')} ${changed}`;
    });
    files.put(paths.journal, lines);
    expect((await verified(files)).of('journal')).toMatch(/^changed: .* of another case/);
  });

  test('that a fill took in is described as it is, whether the fill made a new one or not', async () => {
    const files = await crashed();
    const before = files.content(paths.journal).slice();
    const now = { version: 'test', nowMs: 1, wallMs: Date.UTC(2026, 0, 1) };
    await noteFill(files, paths, { unreadable: 'zero' }, now);
    const filled = await verified(files);
    expect(filled.verdict).not.toBe('changed');
    expect(filled.of('journal')).toMatch(/the last run did not end in order, .*was filled$/);
    await swap(files, paths.journal, before);
    const left = await verified(files);
    expect(left.verdict).not.toBe('changed');
    expect(left.of('journal')).toMatch(/^told: .*saved once more when the image was filled$/);
    expect(left.of('journal')).not.toContain('crash');
  });
});

describe('the list of hashes', () => {
  const isBad = (line: string) => line.endsWith(',bad-sector,');
  test.each<[string, (lines: string[]) => string[], RegExp]>([
    [
      'another status',
      (lines) =>
        lines.map((line) => (isBad(line) ? line.replace('bad-sector', 'non-tried') : line)),
      /not all non-tried, the map has bad-sector there/,
    ],
    [
      'no line of bad sectors, and others left',
      (lines) => [...lines.filter((line) => !isBad(line)), ',1200,1200,non-tried,'].slice(0, -1),
      /no line for some sectors, though the last run came to its end/,
    ],
    [
      'other sectors in a line',
      (lines) => lines.map((line) => (isBad(line) ? line.replace(',702,', ',701,') : line)),
      /LBA 702 to 702 have no line/,
    ],
    ['no end', (lines) => lines.slice(0, -1), /have no line/],
    ['no first line', (lines) => lines.toSpliced(1, 1), /LBA 0 to \d+ have no line/],
  ])('with %s is not that of the map', async (_what, change, words) => {
    const files = await imaged();
    const lines = linesOf(files, paths.hashes);
    expect(lines.filter(isBad)).toEqual([',700,702,bad-sector,']);
    files.put(paths.hashes, `${change(lines).join('\n')}\n`);
    expect((await verified(files)).verdict).not.toBe('unchanged');
    addSum(files);
    const { verdict, of } = await verified(files);
    expect(verdict).toBe('changed');
    expect(of('hashes')).toMatch(words);
  });

  test('may have several lines for what is one in the map', async () => {
    const files = await imaged();
    const lines = linesOf(files, paths.hashes).flatMap((line) =>
      line === ',700,702,bad-sector,' ? [',700,700,bad-sector,', ',701,702,bad-sector,'] : [line],
    );
    files.put(paths.hashes, `${lines.join('\n')}\n`);
    expect((await verified(files)).verdict).toBe('unchanged');
  });

  test('of an earlier run, where the next was killed before it wrote its own, is told', async () => {
    const files = await imaged();
    const list = files.content(paths.hashes).slice();
    // The bad place is read this time.
    await imageInWorld({ ...scenario, faults: [] }, { files, edit, segmentCount: 512, retries: 2 });
    expect(textOf(files, paths.hashes)).not.toContain('bad-sector');
    await swap(files, paths.hashes, list);
    const { verdict, of } = await verified(files);
    expect(of('hashes')).toMatch(/told: .*is older than the map: line \d+: LBA 700 to 702/);
    expect(verdict).toBe('cannot-tell');
  });
});

describe('a map', () => {
  test('that was edited and robbed of our comments does not pass for unchanged', async () => {
    const files = await imaged();
    addSum(files);
    const edited = textOf(files, paths.map)
      .replaceAll(/^# .*lastspin.*\n/gm, '')
      .replaceAll(/ -$/gm, ' +');
    files.put(paths.map, edited);
    const { verdict, of } = await verified(files);
    expect(verdict).toBe('cannot-tell');
    expect(of('map')).toMatch(/LBA 700, finished in the map, bad-sector by the log/);
  });

  test('that another program wrote as it was contradicts nothing', async () => {
    const files = await imaged();
    addSum(files);
    files.put(paths.map, textOf(files, paths.map).replaceAll(/^# .*lastspin.*\n/gm, ''));
    const { verdict, of } = await verified(files);
    expect(of('map')).toMatch(/written by another program$/);
    expect(verdict).toBe('unchanged');
  });

  test.each([
    [paths.journal],
    [paths.events],
  ])('that is gone is missed by what goes with it, if only %s', async (kept) => {
    const files = await imaged();
    addSum(files);
    for (const path of [paths.map, paths.journal, paths.events])
      if (path !== kept) await files.remove(path);
    const { verdict, of } = await verified(files);
    expect(verdict).toBe('changed');
    expect(of('map')).toContain(`${paths.map} is missing: ${kept}`);
  });
});

test('no crash, of a run, of the next or of a fill, leaves what is called changed', async () => {
  const now = { version: 'test', nowMs: 1, wallMs: Date.UTC(2026, 0, 1) };
  const live = async (files: FileLayer) => {
    const options = { files, edit, segmentCount: 512 };
    await imageInWorld(scenario, { ...options, interruptAfter: 12 });
    await noteFill(files, paths, { unread: 'zero' }, now);
    await imageInWorld(scenario, { ...options, retries: 1 });
    await imageInWorld(scenario, { ...options, retries: 1 });
  };
  const whole = crashingFiles(randomOf(1));
  await live(whole);
  const seen = new Set<string>();
  for (let n = 3; n <= whole.operations; n += 2) {
    const files = crashingFiles(randomOf(n));
    files.crashAt(n);
    await live(files).catch(() => undefined);
    const after = files.reboot();
    if (!(await after.exists(paths.map)) || !(await after.exists(paths.image))) continue;
    const { findings } = await verified(after);
    for (const { result, text } of findings) seen.add(`${result} ${text.split(' ')[1]}`);
    const bad = findings.filter(({ result }) => result === 'changed');
    expect(bad, `crash at ${n} of ${whole.operations}`).toEqual([]);
  }
  expect([...seen].join()).toContain('told');
});
