import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  createEventLog,
  createLogChecker,
  type LogPosition,
  logLineBytesMax,
  openEventLog,
  readEventLog,
  verifyEventLog,
} from '../../src/image/event-log.js';
import { memoryFiles } from './memory-files.js';

const path = 'case.events.ndjson';

/** A log of a header and `count` lines. */
async function written(count = 8) {
  const files = memoryFiles();
  const log = await createEventLog(files, path, { kind: 'log', case: { number: 'A "1"\n' } });
  for (let n = 1; n <= count; n++) await log.append([{ n, body: { kind: 'read', lba: n * 100 } }]);
  await log.sync();
  const text = Buffer.from(files.content(path)).toString();
  return { files, log, lines: text.trimEnd().split('\n'), last: log.last };
}

describe('a log', () => {
  test('is one object a line, numbered, each hash over the one before and the line without it', async () => {
    const { lines, last } = await written();
    let former = '0'.repeat(64);
    for (const [n, line] of lines.entries()) {
      const { hash, ...rest } = JSON.parse(line);
      expect(rest.n).toBe(n);
      expect(Object.keys(JSON.parse(line)).at(-1)).toBe('hash');
      const bare = line.replace(/,"hash":"[0-9a-f]{64}"\}$/, '}');
      former = createHash('sha256')
        .update(former + bare)
        .digest('hex');
      expect(hash).toBe(former);
    }
    expect(last).toEqual({ n: 8, hash: former });
    expect(verifyEventLog(lines, { anchor: last })).toMatchObject({ last });
    expect(verifyEventLog(lines, { anchor: last }).problem).toBeUndefined();
  });

  test('passes over lines that it has, and takes none behind a gap', async () => {
    const { log, lines } = await written(3);
    await log.append([
      { n: 3, body: { kind: 'read', lba: 300 } },
      { n: 4, body: { kind: 'read', lba: 400 } },
    ]);
    expect(log.last.n).toBe(4);
    await expect(log.append([{ n: 6, body: { kind: 'read' } }])).rejects.toThrow(RangeError);
    expect(lines).toHaveLength(4);
  });

  test('a write that found no room leaves no line behind, and is made again', async () => {
    const { files, log } = await written(2);
    files.setCapacity(0);
    const long = { kind: 'noticed', text: 'x'.repeat(10_000) };
    await expect(log.append([{ n: 3, body: long }])).rejects.toMatchObject({ code: 'IMAGE_SPACE' });
    files.setCapacity(1e6);
    await log.append([{ n: 3, body: long }]);
    const report = await readEventLog(files, path, { anchor: log.last });
    expect(report).toMatchObject({ last: { n: 3 }, goodBytes: report!.sizeBytes });
    expect(report!.problem).toBeUndefined();
  });

  test('goes on behind its last good line: what a crash tore is cut off', async () => {
    const { files, last } = await written(5);
    const whole = Buffer.from(files.content(path));
    files.put(path, Buffer.concat([whole, Buffer.from('{"n":6,"kind":"re')]));
    const report = await readEventLog(files, path, { anchor: last });
    expect(report!.problem).toMatchObject({ kind: 'torn', line: 7 });
    const log = await openEventLog(files, path, report!);
    await log.append([{ n: 6, body: { kind: 'ended' } }]);
    const after = await readEventLog(files, path, { anchor: log.last });
    expect(after!.problem).toBeUndefined();
    expect(Buffer.from(files.content(path)).subarray(0, whole.length)).toEqual(whole);
  });
});

describe('a check names the first line that is not as it was written', () => {
  const swapped = (lines: string[], one: number, other: number) => {
    const changed = [...lines];
    [changed[one], changed[other]] = [changed[other]!, changed[one]!];
    return changed;
  };
  const cases: [string, (lines: string[]) => string[], string, number][] = [
    ['an edited line', (l) => l.with(4, l[4]!.replace('400', '401')), 'edited', 5],
    ['an edited header', (l) => l.with(0, l[0]!.replace('A ', 'B ')), 'edited', 1],
    [
      'an edited hash',
      (l) =>
        l.with(
          4,
          l[4]!.replace(/[0-9a-f]"\}$/, (end) => (end[0] === '0' ? '1"}' : '0"}')),
        ),
      'edited',
      5,
    ],
    ['a removed line', (l) => l.toSpliced(3, 1), 'removed', 4],
    ['a removed header', (l) => l.slice(1), 'removed', 1],
    ['two lines exchanged', (l) => swapped(l, 2, 6), 'moved', 3],
    ['a line twice', (l) => l.toSpliced(4, 0, l[3]!), 'moved', 5],
    ['a cut tail', (l) => l.slice(0, -2), 'cut', 8],
    ['a line put in', (l) => l.toSpliced(4, 0, '{"n":4,"kind":"read","lba":7}'), 'not-a-line', 5],
    ['an empty line', (l) => l.toSpliced(4, 0, ''), 'not-a-line', 5],
    ['nothing at all', () => [], 'cut', 1],
  ];
  test.each(cases)('%s', async (_what, change, kind, line) => {
    const { lines, last } = await written();
    const { problem } = verifyEventLog(change(lines), { anchor: last });
    expect(problem).toMatchObject({ kind, line });
  });

  test('a chain that was made anew from some line on is known by the last hash', async () => {
    const { lines, last } = await written();
    const files = memoryFiles();
    const forged = await createEventLog(files, path, { kind: 'log' });
    for (let n = 1; n <= 8; n++) await forged.append([{ n, body: { kind: 'read', lba: n } }]);
    const report = await readEventLog(files, path, { anchor: last });
    expect(report!.problem).toMatchObject({ kind: 'replaced', line: 9 });
    // One that is right as far as the anchor reaches and goes on is no problem.
    const anchor: LogPosition = { n: 2, hash: JSON.parse(lines[2]!).hash };
    expect(verifyEventLog(lines, { anchor }).problem).toBeUndefined();
  });

  test('every byte counts: any one changed is found, at its line', async () => {
    const { lines, last } = await written(3);
    const whole = Buffer.from(`${lines.join('\n')}\n`);
    let line = 1;
    for (let at = 0; at < whole.length; at++) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1;
      const checker = createLogChecker({ anchor: last });
      checker.push(bytes.subarray(0, at));
      checker.push(bytes.subarray(at));
      expect(checker.finish().problem?.line, `byte ${at}`).toBe(line);
      if (whole[at] === 0x0a) line += 1;
    }
  });

  test('a line without an end takes no more memory than the longest line', () => {
    const checker = createLogChecker();
    const piece = Buffer.alloc(1 << 20, 'x');
    for (let size = 0; size < logLineBytesMax + 10 * piece.length; size += piece.length)
      checker.push(piece);
    checker.push(Buffer.from('\n{"n":1}\n'));
    expect(checker.finish().problem).toMatchObject({ kind: 'not-a-line', line: 1 });
  });
});
