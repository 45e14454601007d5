import { stripVTControlCharacters } from 'node:util';
import { expect, test } from 'vitest';
import { endedBeforeVerdict, type JobEvent } from '../../src/job/events.js';
import { createJobState, foldJob } from '../../src/job/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import { createProgress } from '../../src/show/terminal.js';
import { standardState } from '../plan/bench-drive.js';

const controlEscape = String.fromCharCode(27);

/** Shows a few reads on a terminal of this width and returns what was written. */
function show(columns: number, live: boolean, last?: JobEvent): string[] {
  const written: string[] = [];
  let nowMs = 0;
  const clock = { now: () => nowMs, sleep: () => Promise.resolve(), after: () => () => {} };
  const terminal = {
    write: (text: string) => void written.push(text),
    live,
    columns,
    colors: true,
  };
  const progress = createProgress(terminal, clock);
  const state = createJobState(standardState(2_000_000_000), troublePolicies.hdd);
  const happen = (event: JobEvent) => {
    foldJob(state, event);
    progress.onEvent(event, state);
  };
  happen({ kind: 'pass-started', index: 0, name: 'good areas', atMs: 0 });
  for (let n = 0; n < 5; n++) {
    nowMs += 11_000;
    const read = { kind: 'read', role: 'pass', outcome: 'good', elapsedMs: 1 } as const;
    happen({ ...read, lba: n * 128, count: 128, goodCount: 128, atMs: nowMs });
  }
  if (last) happen(last);
  progress.end();
  return written;
}

test.each([
  20, 60, 80, 200,
])('no line of the picture wraps on a terminal of %i columns', (columns) => {
  const lines = show(columns, true).join('').split('\n').map(stripVTControlCharacters);
  const long = lines.filter((line) => line.length >= columns && !line.startsWith('pass'));
  expect(long).toEqual([]);
});

test('each picture erases exactly the lines of the last', () => {
  const written = show(80, true);
  const cursorUp = new RegExp(`${controlEscape}\\[(\\d+)A`, 'g');
  const ups = written.flatMap((text) => [...text.matchAll(cursorUp)].map((match) => match[1]));
  expect(ups.length).toBeGreaterThan(3);
  expect(new Set(ups)).toEqual(new Set(['3']));
});

test('without a terminal there are plain lines and no control characters', () => {
  const lines = show(80, false);
  expect(lines.join('')).not.toContain(`${controlEscape}[1A`);
  expect(lines.length).toBeGreaterThan(3);
});

test('who interrupts a job does not read that the drive is to blame', () => {
  const end = { kind: 'blamed', on: 'drive', why: endedBeforeVerdict, atMs: 60_000 } as const;
  const text = show(80, false, end).join('');
  expect(text).toContain(endedBeforeVerdict);
  expect(text).not.toContain('to blame');
});
