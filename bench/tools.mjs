// What the benchmarks share: tables, tools of the system, middles of numbers, words of the command line.
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const lastspin = [join(root, 'bin/lastspin.js')];

let folder;

/** A folder of this run, made when first asked for, gone at the end. */
export function workFolder() {
  if (!folder) {
    folder = mkdtempSync(join(tmpdir(), 'lastspin-bench-'));
    if (isMainThread) process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  }
  return folder;
}

export const has = (tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0;
export const run = (command, args, options = {}) =>
  spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });

export const sum = (values) => values.reduce((total, value) => total + value, 0);
export const mean = (values) => sum(values) / values.length;
export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
export const geometricMean = (ratios) => Math.exp(mean(ratios.map(Math.log)));

/** Geometric mean of ratios with the 95 % confidence interval of it (normal, of the logarithms). */
export function ratioWithInterval(ratios) {
  if (ratios.length === 0) return undefined;
  const logs = ratios.map(Math.log);
  const middle = mean(logs);
  const variance = sum(logs.map((log) => (log - middle) ** 2)) / Math.max(1, logs.length - 1);
  const half = 1.96 * Math.sqrt(variance / logs.length);
  return {
    mean: Math.exp(middle),
    least: Math.exp(middle - half),
    most: Math.exp(middle + half),
    count: ratios.length,
  };
}

export function seconds(body) {
  const from = performance.now();
  body();
  return (performance.now() - from) / 1000;
}

export const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);
export function head(...cells) {
  row(...cells);
  row(...cells.map(() => '--'));
}

/** Splits `50 p1 --only x --each` into plain words and options; an option without a value is true. */
export function parseWords(words, flags = []) {
  const plain = [];
  const options = {};
  for (let at = 0; at < words.length; at++) {
    const word = words[at];
    if (!word.startsWith('--')) plain.push(word);
    else if (flags.includes(word.slice(2))) options[word.slice(2)] = true;
    else options[word.slice(2)] = words[++at];
  }
  return { plain, options };
}

export const largeRuns = 4_000_000;

/** Writes a map file of so many runs of 4 KiB, finished and non-tried by turns. Returns the bytes it is about. */
export function writeLargeMap(path) {
  const file = openSync(path, 'w');
  writeSync(file, '0x0 ?\n');
  let piece = '';
  for (let n = 0; n < largeRuns; n++) {
    piece += `0x${(n * 4096).toString(16).padStart(10, '0')}  0x00001000  ${n % 2 ? '?' : '+'}\n`;
    if (n % 50_000 === 49_999) {
      writeSync(file, piece);
      piece = '';
    }
  }
  closeSync(file);
  return largeRuns * 4096;
}
