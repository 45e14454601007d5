import { formatDuration } from './format.js';
import type { RehearsalResult, RehearsalRun } from './rehearsal.js';

/** Share recovered over time, for several runs: in letters and as SVG. Time is logarithmic, since what comes in the
 * first minutes matters as much as what takes a week. */

interface Axis {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Times that an axis names. */
const tickTimesMs = [
  ...[1, 10, 100],
  ...[1, 10].map((seconds) => seconds * 1000),
  ...[1, 10].map((minutes) => minutes * 60_000),
  ...[1, 4, 12, 24, 72, 168, 720].map((hours) => hours * 3_600_000),
];
/** More decades than this would squeeze the end, where the runs differ. */
const decadesMax = 4;

/** From shortly before the first sectors of any run to the end of the longest. */
function axisOf(runs: readonly RehearsalRun[]): Axis {
  const toMs = Math.max(10, ...runs.map((run) => run.elapsedMs));
  const firstMs = runs.map((run) => run.curve.find(([, sectors]) => sectors > 0)?.[0] ?? toMs);
  const fromMs = Math.max(1, toMs / 10 ** decadesMax, Math.min(toMs / 2, ...firstMs));
  return { fromMs, toMs };
}

/** Where a time is on the axis, 0 to 1. */
function placeOf({ fromMs, toMs }: Axis, ms: number): number {
  return Math.log(Math.max(fromMs, ms) / fromMs) / Math.log(toMs / fromMs);
}

function timeAt({ fromMs, toMs }: Axis, place: number): number {
  return fromMs * (toMs / fromMs) ** place;
}

function ticksOf(axis: Axis): number[] {
  return tickTimesMs.filter((ms) => ms >= axis.fromMs && ms <= axis.toMs);
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
    for (let column = 0; column < width; column++) {
      const ms = timeAt(axis, column / (width - 1));
      if (ms > run.elapsedMs * 1.000001) break;
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
  return `share of what is readable over time    ${legend}\n${lines.join('\n')}\n${tickLine(axis, width)}`;
}

function tickLine(axis: Axis, width: number): string {
  const rule = Array<string>(width).fill('-');
  let labels = '';
  for (const ms of ticksOf(axis)) {
    const column = Math.round(placeOf(axis, ms) * (width - 1));
    const label = formatTick(ms);
    rule[column] = '+';
    if (column < labels.length + 1 && labels !== '') continue;
    if (column + label.length > width) break;
    labels = labels.padEnd(column) + label;
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

const colours = ['#1f5fbf', '#c9332c', '#2c8a3d', '#a05a00', '#7b3fa0', '#007f8c', '#555555'];
const dashes = ['', '7 3', '2 3'];
const plotBox = { left: 64, top: 44, width: 760, height: 380 } as const;
const legendLinePx = 22;

/** How such pictures begin, to tell one from a file that must not be replaced. */
export const svgStart = '<svg xmlns="http://www.w3.org/2000/svg"';

/** The same plot as SVG, with axes and legend. */
export function plotAsSvg({ drive, runs }: RehearsalResult): string {
  const axis = axisOf(runs);
  const { left, top, width, height } = plotBox;
  const x = (ms: number) => (left + placeOf(axis, ms) * width).toFixed(1);
  const y = (share: number) => (top + (1 - share) * height).toFixed(1);
  const legendTop = top + height + 62;
  const totalHeight = legendTop + legendLinePx * runs.length;
  const title = escaped(`${drive.name}: share of what is readable, over time`);
  const parts = [
    `${svgStart} viewBox="0 0 ${left + width + 40} ${totalHeight}" width="${left + width + 40}" ` +
      `height="${totalHeight}" font-family="sans-serif" font-size="13">`,
    `<title>${title}</title>`,
    '<rect width="100%" height="100%" fill="#ffffff"/>',
    `<text x="${left}" y="24" font-size="16">${title}</text>`,
  ];
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(line(left, y(share), left + width, y(share), '#dddddd'));
    parts.push(label(left - 8, Number(y(share)) + 4, `${share * 100} %`, 'end'));
  }
  for (const ms of ticksOf(axis)) {
    parts.push(line(x(ms), top, x(ms), top + height, '#dddddd'));
    parts.push(label(x(ms), top + height + 20, formatTick(ms), 'middle'));
  }
  parts.push(
    `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#333333"/>`,
  );
  parts.push(
    label(left + width / 2, top + height + 40, 'time of the drive, logarithmic', 'middle'),
  );
  for (const [index, run] of runs.entries()) {
    const stroke = strokeOf(index);
    const points = run.curve
      .filter(([ms], at) => ms >= axis.fromMs || (run.curve[at + 1]?.[0] ?? 0) > axis.fromMs)
      .map(([ms, sectors]) => {
        const share = Math.min(1, sectors / Math.max(1, drive.readableSectors));
        return `${x(ms)},${y(share)}`;
      });
    parts.push(`<polyline points="${points.join(' ')}" fill="none" ${stroke}/>`);
    const at = legendTop + legendLinePx * index;
    parts.push(`<line x1="${left}" y1="${at - 5}" x2="${left + 28}" y2="${at - 5}" ${stroke}/>`);
    parts.push(label(left + 38, at, legendOf(run), 'start'));
  }
  return `${parts.join('\n')}\n</svg>\n`;
}

function strokeOf(index: number): string {
  const colour = colours[index % colours.length]!;
  const dash = dashes[Math.floor(index / colours.length) % dashes.length]!;
  return `stroke="${colour}" stroke-width="2"${dash && ` stroke-dasharray="${dash}"`}`;
}

function legendOf(run: RehearsalRun): string {
  const share = `${(100 * run.deliveredShare).toFixed(2)} %`;
  const cost = `${run.failingReads} failing reads, ${run.powerCycles} power cycles`;
  return `${run.preset}: ${share} in ${formatDuration(run.elapsedMs)}, ${cost}`;
}

type Place = number | string;

function line(x1: Place, y1: Place, x2: Place, y2: Place, stroke: string): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${stroke}"/>`;
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
