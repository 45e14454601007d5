import { formatDuration } from './format.js';
import type { RehearsalResult, RehearsalRun } from './rehearsal.js';

/** Share recovered over time, for several runs: in letters and as SVG. Time is logarithmic, since what comes in the
 * first minutes matters as much as what takes a week. */

interface Axis {
  readonly fromMs: number;
  readonly toMs: number;
}

const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000];
/** Times that an axis names, in groups: the first of them wherever they are, those behind where room is left. */
const tickTimesMs: readonly (readonly number[])[] = [
  [1, second, minute, hour, day, 7 * day, 30 * day, 365 * day],
  [10, 100, 10 * second, 10 * minute, 4 * hour, 100 * day, 1000 * day],
  [30 * second, 30 * minute, 12 * hour, 3 * day, 14 * day],
  ...[2, 5, 20, 50, 200, 500].map((ms) => [ms]),
  ...[2, 5, 20].map((seconds) => [seconds * second, seconds * minute]),
  ...[2, 3, 6, 8].map((hours) => [hours * hour]),
  ...[2, 5, 10, 20, 60, 200, 500].map((days) => [days * day]),
];
/** More decades than this would squeeze the end, where the runs differ. */
const decadesMax = 4;

/** From shortly before the first sectors of any run to the end of the longest. */
function axisOf(runs: readonly RehearsalRun[]): Axis {
  const toMs = Math.max(10, ...runs.map((run) => run.elapsedMs));
  const firstMs = runs.map((run) => run.curve.find(([, sectors]) => sectors > 0)?.[0] ?? toMs);
  const fromMs = Math.max(1, toMs / 10 ** decadesMax, Math.min(toMs / 10, ...firstMs));
  return { fromMs, toMs };
}

/** Where a time is on the axis, 0 to 1. */
function placeOf({ fromMs, toMs }: Axis, ms: number): number {
  return Math.log(Math.max(fromMs, ms) / fromMs) / Math.log(toMs / fromMs);
}

function timeAt({ fromMs, toMs }: Axis, place: number): number {
  return fromMs * (toMs / fromMs) ** place;
}

/** Round times on the axis, rising, with at least `gap` of the axis between two. */
function ticksOf(axis: Axis, gap: number): number[] {
  const taken: number[] = [];
  for (const ms of tickTimesMs.flat()) {
    const isFree = taken.every(
      (other) => Math.abs(placeOf(axis, ms) - placeOf(axis, other)) >= gap,
    );
    if (ms >= axis.fromMs && ms <= axis.toMs && isFree) taken.push(ms);
  }
  return taken.sort((a, b) => a - b);
}

/** Sectors finished at a time, straight between two points of the curve. */
function finishedAt({ curve }: RehearsalRun, ms: number): number {
  const next = curve.findIndex(([atMs]) => atMs > ms);
  if (next < 0) return curve.at(-1)![1];
  const [toMs, to] = curve[next]!;
  const [fromMs, from] = curve[next - 1] ?? [0, 0];
  return from + ((to - from) * (ms - fromMs)) / Math.max(1, toMs - fromMs);
}

const letterOf = (index: number) => String.fromCharCode('a'.charCodeAt(0) + (index % 26));

/** The plot in letters, `columns` wide: a letter a run, `*` where several meet. */
export function plotInLetters(result: RehearsalResult, columns: number, rows = 16): string {
  const { runs, drive } = result;
  const axis = axisOf(runs);
  const width = Math.max(20, columns - 8);
  const grid = Array.from({ length: rows + 1 }, () => Array<string>(width).fill(' '));
  for (const [index, run] of runs.entries()) {
    let former: number | undefined;
    const last = Math.round(placeOf(axis, run.elapsedMs) * (width - 1));
    for (let column = 0; column <= last; column++) {
      const ms = column === last ? run.elapsedMs : timeAt(axis, column / (width - 1));
      const share = Math.min(1, finishedAt(run, ms) / Math.max(1, drive.readableSectors));
      const row = Math.round((1 - share) * rows);
      // A steep rise is drawn in one column, so that the line has no holes.
      for (let y = row; y <= Math.max(row, (former ?? row) - 1); y++) {
        const here = grid[y]![column]!;
        grid[y]![column] = here === ' ' ? letterOf(index) : '*';
      }
      former = row;
    }
  }
  const lines = grid.map((line, row) => {
    const percent = 100 - (100 * row) / rows;
    const label = Number.isInteger(percent) ? `${percent} %` : '';
    return `${label.padStart(6)} |${line.join('')}`.trimEnd();
  });
  const legend = runs.map((run, index) => `${letterOf(index)} ${run.preset}`).join('  ');
  return `share of what is readable over time\n${legend}\n\n${lines.join('\n')}\n${tickLine(axis, width)}`;
}

/** Columns between two ticks: the longest label and a space. */
const tickColumns = 9;

function tickLine(axis: Axis, width: number): string {
  const rule = Array<string>(width).fill('-');
  let labels = '';
  for (const ms of ticksOf(axis, tickColumns / width)) {
    const column = Math.round(placeOf(axis, ms) * (width - 1));
    const label = formatTick(ms);
    rule[column] = '+';
    // The last one may end before its mark, so that it stays on the line.
    labels = labels.padEnd(Math.min(column, width - label.length)) + label;
  }
  return `${' '.repeat(7)}+${rule.join('')}\n${' '.repeat(8)}${labels}\n`;
}

/** `10 s`, `4 h`, `7 d`: ticks are round. */
function formatTick(ms: number): string {
  if (ms >= 86_400_000) return `${ms / 86_400_000} d`;
  if (ms >= 3_600_000) return `${ms / 3_600_000} h`;
  if (ms >= 60_000) return `${ms / 60_000} min`;
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`;
}

/** Told apart by colour and dash, on white and on black; by dash alone in print. */
const colours = {
  light: ['#1f5fbf', '#c9332c', '#237a34', '#a05a00', '#7b3fa0', '#00727d'],
  dark: ['#7fb0ff', '#ff8a80', '#7fd18b', '#f0b35a', '#cf9bf0', '#5fd3dd'],
};
const dashes = ['none', '8 3', '2 3', '8 3 2 3'];
const plotBox = { left: 64, top: 44, width: 780, height: 380 } as const;
const marginRight = 32;
const legendLinePx = 22;
/** Between two labels of the time axis. */
const tickPx = 64;
/** Letters of the title and of a line of the legend that surely fit. */
const titleMax = 84;
const legendMax = 100;

/** How such pictures begin, to tell one from a file that must not be replaced. */
export const svgStart = '<svg xmlns="http://www.w3.org/2000/svg" data-of="lastspin rehearsal"';

/** The same plot as SVG, with axes and legend: by itself, in light and dark. */
export function plotAsSvg({ drive, runs }: RehearsalResult): string {
  const { left, top, width, height } = plotBox;
  const axis = axisOf(runs);
  const totalWidth = left + width + marginRight;
  const totalHeight = top + height + 66 + legendLinePx * runs.length;
  const title = `${drive.name}: share of what is readable, over time`;
  return [
    `${svgStart} viewBox="0 0 ${totalWidth} ${totalHeight}" width="${totalWidth}" height="${totalHeight}" ` +
      `role="img" font-family="sans-serif" font-size="13">`,
    `<title>${escaped(title)}</title>`,
    styleOf(runs.length),
    '<rect class="ground" width="100%" height="100%"/>',
    `<text x="${left}" y="26" font-size="16">${escaped(cut(title, titleMax))}</text>`,
    ...gridOf(axis),
    ...runs.flatMap((run, index) => [
      curveOf(axis, run, index, drive.readableSectors),
      ...legendOf(run, index),
    ]),
    '</svg>\n',
  ].join('\n');
}

/** The reader's own choice of light or dark holds, also inside another page. */
function styleOf(runCount: number): string {
  const strokes = (scheme: readonly string[]) =>
    Array.from({ length: runCount }, (_, n) => `.r${n}{stroke:${scheme[n % scheme.length]}}`).join(
      '',
    );
  const dashed = Array.from(
    { length: runCount },
    (_, n) => `.r${n}{stroke-dasharray:${dashes[n % dashes.length]}}`,
  ).join('');
  return (
    `<style>.run{fill:none;stroke-width:2}${dashed}` +
    `.ground{fill:#fff}text{fill:#222}.grid{stroke:#ddd}.frame{stroke:#333;fill:none}${strokes(colours.light)}` +
    '@media (prefers-color-scheme:dark){.ground{fill:#16181c}text{fill:#e6e6e6}.grid{stroke:#3a3d44}' +
    `.frame{stroke:#aaa}${strokes(colours.dark)}}</style>`
  );
}

const xOf = (axis: Axis, ms: number) =>
  (plotBox.left + placeOf(axis, ms) * plotBox.width).toFixed(1);
const yOf = (share: number) => (plotBox.top + (1 - share) * plotBox.height).toFixed(1);

function gridOf(axis: Axis): string[] {
  const { left, top, width, height } = plotBox;
  const parts: string[] = [];
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(gridLine(left, yOf(share), left + width, yOf(share)));
    parts.push(label(left - 8, Number(yOf(share)) + 4, `${share * 100} %`, 'end'));
  }
  for (const ms of ticksOf(axis, tickPx / width)) {
    parts.push(gridLine(xOf(axis, ms), top, xOf(axis, ms), top + height));
    parts.push(label(xOf(axis, ms), top + height + 20, formatTick(ms), 'middle'));
  }
  parts.push(`<rect class="frame" x="${left}" y="${top}" width="${width}" height="${height}"/>`);
  const caption = 'time of the drive since power-on, logarithmic';
  parts.push(label(left + width / 2, top + height + 42, caption, 'middle'));
  return parts;
}

function curveOf(axis: Axis, run: RehearsalRun, index: number, readable: number): string {
  const points = run.curve
    .filter((_point, at) => (run.curve[at + 1]?.[0] ?? Number.POSITIVE_INFINITY) > axis.fromMs)
    .map(([ms, sectors]) => {
      const share = Math.min(1, sectors / Math.max(1, readable));
      return `${xOf(axis, ms)},${yOf(share)}`;
    });
  return `<polyline class="run r${index}" points="${points.join(' ')}"/>`;
}

function legendOf(run: RehearsalRun, index: number): string[] {
  const { left, top, height } = plotBox;
  const y = top + height + 66 + legendLinePx * index;
  const share = `${(100 * run.deliveredShare).toFixed(2)} %`;
  const cost = `${run.failingReads} failing reads, ${run.powerCycles} power cycles`;
  const text = `${run.preset}: ${share} in ${formatDuration(run.elapsedMs)}, ${cost}`;
  const line = `x1="${left}" y1="${y - 5}" x2="${left + 30}" y2="${y - 5}"`;
  return [
    `<line class="run r${index}" ${line}/>`,
    label(left + 40, y, cut(text, legendMax), 'start'),
  ];
}

/** A text that would run out of the picture loses its beginning: names are paths, what follows are numbers. */
function cut(text: string, most: number): string {
  return text.length <= most ? text : `…${text.slice(text.length - most + 1)}`;
}

type Place = number | string;

function gridLine(x1: Place, y1: Place, x2: Place, y2: Place): string {
  return `<line class="grid" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`;
}

function label(x: Place, y: Place, text: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}">${escaped(text)}</text>`;
}

/** Text for XML; characters that XML cannot hold become `?`. */
function escaped(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML forbids
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '?')
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
  );
}
