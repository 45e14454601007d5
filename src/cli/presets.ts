import { writeFileSync } from 'node:fs';
import { LastspinError, reasonOf } from '../errors.js';
import type { Pass } from '../plan/pass.js';
import { kindDefaults, rowsOf } from '../plan/presets.js';
import {
  bundledPresets,
  loadPreset,
  parsePreset,
  readPreset,
  sentenceOf,
} from '../preset-files.js';
import { formatBytes } from '../show/format.js';
import { requireReplaceable, startOf } from './map-files.js';

type Kind = keyof typeof kindDefaults;

/** Words of `--kind`. */
export const driveKinds = Object.keys(kindDefaults) as readonly Kind[];

const exitBadInput = 2;

/** `lastspin presets list`: the bundled presets, a line each. */
export function presetsList(): number {
  for (const name of bundledPresets()) {
    const kinds = driveKinds.filter((kind) => kindDefaults[kind].preset === name);
    const usual = kinds.length > 0 ? ` (default for ${kinds.join(', ')})` : '';
    process.stdout.write(`${name.padEnd(10)} ${loadPreset(name).title}${usual}\n`);
  }
  return 0;
}

export interface ShowOptions {
  readonly sectors: number;
  readonly sectorBytes: number;
  readonly kind: string;
  readonly retries?: number;
  readonly yaml?: boolean;
}

/** `lastspin presets show NAME|FILE`: the rows as a drive of that size would get them, or the file. */
export function presetsShow(name: string, options: ShowOptions): number {
  const preset = loadPreset(name);
  if (options.yaml) {
    process.stdout.write(readPreset(name).text);
    return 0;
  }
  const { sectors, sectorBytes } = options;
  if (sectors < 1 || sectorBytes < 1)
    throw new LastspinError('USAGE', '--sectors and --sector-bytes are at least 1');
  const kind = options.kind as Kind;
  const rows = rowsOf(preset, {
    sectorCount: sectors,
    sectorBytes,
    physicalCount: 1,
    kind,
    ...(options.retries !== undefined && { retries: options.retries }),
  });
  const size = formatBytes(sectors * sectorBytes);
  const about = preset.description ? ` ${preset.description}` : '';
  const head = `${preset.title}.${about}\nFor ${sectors} sectors of ${sectorBytes} bytes (${size}), ${kind}:\n\n`;
  process.stdout.write(head + formatRows(rows));
  return 0;
}

/** A table of rows: the columns that every row has, and behind them whatever else it says. */
export function formatRows(rows: readonly Pass[]): string {
  const head = ['#', 'row', 'phase', 'order', 'area', 'read', 'on bad', 'on slow', 'on hang'];
  const lines = [
    [...head, 'deadline', 'also'],
    ...rows.map((row, index) => [
      String(index + 1),
      row.name,
      row.phase,
      row.direction,
      row.area,
      String(row.readCount),
      onFaultText(row),
      onSlowText(row),
      row.onHang === 'retry' && row.hangRetries !== undefined
        ? `retry ${row.hangRetries}x`
        : row.onHang,
      timeText(row.timeoutMs),
      alsoText(row),
    ]),
  ];
  const widths = lines[0]!.map((_, column) =>
    Math.max(...lines.map((cells) => cells[column]!.length)),
  );
  return lines
    .map(
      (cells) =>
        `${cells
          .map((cell, n) => cell.padEnd(widths[n]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

function onFaultText({ onFault, onSlow, skip, leaveAs }: Pass): string {
  const growth = skip.growth === undefined ? '' : ` x${skip.growth}`;
  const within = skip.withinRun ? ' within run' : '';
  const jumps = `skip ${skip.startCount}..${skip.maxCount}${growth}${within}`;
  if (onFault === 'skip') return jumps;
  const left = leaveAs ? `${onFault} as ${leaveAs}` : onFault;
  return onSlow === 'skip' ? `${left} (${jumps})` : left;
}

function onSlowText({ onSlow, slowMs, bytesPerSecondMin }: Pass): string {
  const limits = [
    ...(slowMs > 0 ? [timeText(slowMs)] : []),
    ...(bytesPerSecondMin > 0 ? [`${formatBytes(bytesPerSecondMin)}/s`] : []),
  ];
  return limits.length === 0 ? '-' : `${onSlow} (${limits.join(', ')})`;
}

/** What most rows do not say. */
function alsoText(row: Pass): string {
  const { before, rest, heads, ranges } = row;
  const said: (string | false | 0 | undefined)[] = [
    before.kind === 'power-cycle' && 'power cycle before',
    before.kind === 'rest' && `rest ${timeText(before.restMs)} before`,
    row.joinsRemainder && 'joins remainder',
    heads !== undefined && `heads ${typeof heads === 'string' ? heads : heads.join(',')}`,
    row.perHead && `per head: ${row.perHead.map(({ head }) => head).join(',')}`,
    row.priority !== undefined && `priority ${row.priority}`,
    ranges && `only ${ranges.map(({ lba, count }) => `${lba}+${count}`).join(' ')}`,
    row.bytesPerSecondMax && `at most ${formatBytes(row.bytesPerSecondMax)}/s`,
    row.faultsMax && `until ${row.faultsMax} failing reads`,
    row.durationMaxMs && `for ${timeText(row.durationMaxMs)}`,
    rest?.afterMs && `rest ${timeText(rest.restMs)} after ${timeText(rest.afterMs)}`,
    rest?.afterFaults && `rest ${timeText(rest.restMs)} after ${rest.afterFaults} failing`,
    row.resets && `resets ${row.resets.join(',') || 'none'}`,
    row.powerCyclesMax !== undefined && `at most ${row.powerCyclesMax} power cycles`,
    row.lookAhead !== undefined && `look-ahead ${row.lookAhead ? 'on' : 'off'}`,
    row.driveRetries !== undefined && `drive retries ${row.driveRetries ? 'on' : 'off'}`,
    row.ifHung === 'next' && 'if hung: next row',
  ];
  return said.filter(Boolean).join('; ');
}

/** A time in the unit that it is whole in. */
function timeText(ms: number): string {
  if (ms >= 60_000 && ms % 60_000 === 0) return `${ms / 60_000} min`;
  return ms >= 1000 && ms % 100 === 0 ? `${ms / 1000} s` : `${ms} ms`;
}

/** `lastspin presets check FILE…`: `ok`, or every problem with line, column and field; 2 when there is one. */
export function presetsCheck(files: readonly string[]): number {
  let status = 0;
  for (const file of files) {
    const result = parsePreset(readPreset(file).text);
    if ('value' in result) {
      process.stdout.write(`${file}: ok\n`);
      continue;
    }
    status = exitBadInput;
    const inOrder = [...result.problems].sort((a, b) => a.line - b.line || a.column - b.column);
    for (const problem of inOrder) process.stdout.write(`${sentenceOf(file, problem)}\n`);
  }
  return status;
}

export interface NewOptions {
  readonly from: string;
  readonly force?: boolean;
}

/** Whether a file begins as a preset does, mistakes or not. */
function isPreset(file: string): boolean {
  const start = new TextDecoder().decode(startOf(file));
  return !start.includes('\0') && /^(title|description|defaults|rows):/m.test(start);
}

/** `lastspin presets new FILE`: a copy of a preset, comments and all, to edit. */
export function presetsNew(file: string, { from, force }: NewOptions): number {
  const { text } = readPreset(from);
  loadPreset(from);
  if (force) requireReplaceable(file, true, isPreset);
  try {
    // One call: nothing can come in between that would be overwritten.
    writeFileSync(file, text, { flag: force ? 'w' : 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST')
      throw new LastspinError('USAGE', `${file} exists; another name, or --force to replace it`);
    throw new LastspinError('FILE_FAILED', `cannot write ${file}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  process.stdout.write(`${file}\n`);
  return 0;
}
