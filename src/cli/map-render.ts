/** `lastspin map render FILE`: a picture of a map, in letters or as SVG. */

import { domainRuns, openEnd, outside, statisticsWithin } from '../map/algebra.js';
import { type Cells, cellsOf } from '../map/algebra-cells.js';
import type { ParsedMap } from '../map/mapfile.js';
import { statusLetters, statusNames } from '../map/status.js';
import { formatBytes, formatShare } from '../show/format.js';
import {
  bytesFrom,
  loadMap,
  nameOf,
  type OutputOptions,
  requireInside,
  sectorBytesFrom,
  startOf,
  usage,
  writeOut,
} from './map-files.js';

interface RenderOptions extends OutputOptions {
  readonly from?: string;
  readonly size?: string;
  readonly sector?: string;
  readonly svg?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  /** Marks the bands of weak heads. */
  readonly heads?: boolean;
}

/** A line below each line of letters that tells more of the same cells. */
export interface Marks {
  /** What its letters mean. */
  readonly key: string;
  /** The letter for a cell, by the byte in its middle. */
  at(byte: number): string;
}

/** Bytes that a picture shows. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** `lastspin map render FILE` */
export async function mapRender(path: string, options: RenderOptions): Promise<number> {
  const map = loadMap(path);
  const window = windowOf(map, path, options);
  if (!options.svg) {
    const columns = options.columns ?? columnsOf(process.stdout);
    const marks = options.heads
      ? await (await import('./map-heads.js')).headMarks(path, options)
      : undefined;
    const picture = letterPicture(map, window, columns, options.rows ?? 16, marks);
    await writeOut(picture, options, isPicture);
    return 0;
  }
  if (options.heads) throw usage('--heads are drawn in letters, not in SVG');
  const picture = svgPicture(map, window, options.columns ?? 128, options.rows ?? 64, nameOf(path));
  await writeOut(picture, options, isPicture);
  return 0;
}

/** Letters a row that a terminal has room for, beside the position. */
export function columnsOf({ columns = 80 }: { readonly columns?: number }): number {
  return Math.max(16, Math.min(columns - 16, 128));
}

function windowOf(map: ParsedMap, path: string, options: RenderOptions): Window {
  const sectorBytes = sectorBytesFrom(options);
  const number = (name: string, text: string | undefined) =>
    text === undefined ? undefined : bytesFrom(name, text, sectorBytes);
  const from = number('--from', options.from) ?? map.starts[0] ?? 0;
  const size = number('--size', options.size) ?? Infinity;
  requireInside(map, domainRuns(from, size), path);
  if (map.end === openEnd && size === Infinity) {
    throw usage(`${nameOf(path)} has no end: --size says how much of it to show`);
  }
  return { from, to: Math.min(from + size, map.end) };
}

/** Whether a file begins as our pictures do, letters with their key or SVG. */
function isPicture(path: string): boolean {
  const text = new TextDecoder().decode(startOf(path));
  return text.startsWith(keyStart) || text.startsWith(svgStart);
}

const keyStart = 'each letter is ';
const svgStart = '<svg xmlns="http://www.w3.org/2000/svg"';

/** Rows of status letters, each with the position it begins at, and marks below them. */
export function* letterPicture(
  map: ParsedMap,
  { from, to }: Window,
  columns: number,
  rows: number,
  marks?: Marks,
) {
  const cells = cellsOf(map, from, to, columns * rows);
  const key = statusNames.map((name, code) => `${statusLetters[code]} ${name}`).join('  ');
  const worst = 'the least hopeful status within shows';
  yield `${keyStart}${formatBytes((to - from) / cells.count)}, ${worst}\n${key}\n`;
  if (marks) yield `${marks.key}\n`;
  for (let cell = 0; cell < cells.count; cell += columns) {
    const row = Array.from(cells.codes.subarray(cell, cell + columns), (code) =>
      code === outside ? ' ' : statusLetters[code]!,
    );
    const position = cells.startOf(cell).toString(16).toUpperCase().padStart(12, '0');
    yield `0x${position} ${row.join('')}\n`;
    if (!marks) continue;
    const line = row.map((_, n) =>
      marks.at((cells.startOf(cell + n) + cells.startOf(cell + n + 1)) / 2),
    );
    yield `${' '.repeat(2 + position.length)} ${line.join('')}`.trimEnd().concat('\n');
  }
}

/** As ddrescueview has them: grey, yellow, blue, red, green. */
const colours = ['#b0b0b0', '#f2c500', '#3b6fd4', '#d42a2a', '#3f9e4d'];

const cellSize = 8;

/** Cells row by row, neighbours of one status as one rectangle, and a legend with the numbers. */
function* svgPicture(
  map: ParsedMap,
  { from, to }: Window,
  columns: number,
  rows: number,
  name: string,
) {
  const cells = cellsOf(map, from, to, columns * rows);
  const width = columns * cellSize;
  const height = Math.ceil(cells.count / columns) * cellSize;
  const title = `${escaped(name)}, bytes ${from} to ${to}`;
  yield `${svgStart} viewBox="0 0 ${width} ${height + 24 * 6}" width="${width}" ` +
    `font-family="sans-serif" font-size="14">\n<title>${title}</title>\n` +
    `<rect width="100%" height="100%" fill="#ffffff"/>\n<g shape-rendering="crispEdges">\n`;
  for (let cell = 0; cell < cells.count; ) {
    const end = endOfStrip(cells, cell, columns);
    const code = cells.codes[cell]!;
    if (code !== outside) yield strip(cells, cell, end, columns, code);
    cell = end;
  }
  yield '</g>\n';
  const { statuses, inside } = statisticsWithin(map, domainRuns(from, to - from));
  for (const [index, status] of [...statusNames].reverse().entries()) {
    const { bytes, areas } = statuses[status];
    const y = height + 24 * (index + 1);
    const share = formatShare(bytes, inside.bytes);
    const letter = statusLetters[statusNames.indexOf(status)];
    yield `<rect x="8" y="${y - 12}" width="14" height="14" fill="${colours[statusNames.indexOf(status)]}"/>` +
      `<text x="30" y="${y}">${escaped(`${letter} ${status}: ${formatBytes(bytes)}, ${share}, ${areas} areas`)}</text>\n`;
  }
  yield '</svg>\n';
}

/** Where the cells of one status end, in one row. */
function endOfStrip(cells: Cells, cell: number, columns: number): number {
  const rowEnd = Math.min((Math.floor(cell / columns) + 1) * columns, cells.count);
  let end = cell + 1;
  while (end < rowEnd && cells.codes[end] === cells.codes[cell]) end += 1;
  return end;
}

function strip(cells: Cells, cell: number, end: number, columns: number, code: number): string {
  const x = (cell % columns) * cellSize;
  const y = Math.floor(cell / columns) * cellSize;
  const label = `${statusNames[code]}, bytes ${cells.startOf(cell)} to ${cells.startOf(end)}`;
  const size = `width="${(end - cell) * cellSize}" height="${cellSize}"`;
  return `<rect x="${x}" y="${y}" ${size} fill="${colours[code]}"><title>${label}</title></rect>\n`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
