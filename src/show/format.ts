import type { RunMap } from '../map/run-map.js';
import { statuses, statusLetters } from '../map/status.js';

const byteUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Decimal units, three digits: `12.3 GB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < byteUnits.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${byteUnits[unit]}`;
}

/** `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 10 min`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  const tenths = Math.round(durationMs / 100);
  if (tenths < 600) return `${(tenths / 10).toFixed(1)} s`;
  const seconds = Math.round(durationMs / 1000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, '0')} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** Never rounds up to 100 % nor down to 0 %: a single lost sector must show. */
export function formatShare(part: number, whole: number): string {
  if (whole === 0 || part === 0) return '0 %';
  if (part === whole) return '100 %';
  const percent = (100 * part) / whole;
  if (percent > 99.99) return '>99.99 %';
  return percent < 0.01 ? '<0.01 %' : `${percent.toFixed(2)} %`;
}

/** The drive as a strip of letters, the least hopeful status of each cell; untried before finished. */
export function formatStrip(map: RunMap, cells: number): string {
  const rank = [
    statuses['bad-sector'],
    statuses['non-scraped'],
    statuses['non-trimmed'],
    statuses['non-tried'],
    statuses.finished,
  ];
  let strip = '';
  const width = Math.min(cells, map.size);
  for (let cell = 0; cell < width; cell++) {
    const from = Math.floor((map.size * cell) / width);
    const to = Math.floor((map.size * (cell + 1)) / width);
    const status = rank.find((value) => map.next(from, value, to)) ?? statuses.finished;
    strip += statusLetters[status];
  }
  return strip;
}

/** What came of something, behind its name. */
export function formatOutcome(outcome: {
  readonly ok: boolean;
  readonly why?: string;
  readonly told?: string;
}): string {
  const { ok, why, told } = outcome;
  return ok ? (told ?? 'done') : `failed: ${why}`;
}

/** A word as a shell takes it for one. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
