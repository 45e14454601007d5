import type { Extent } from '../map/extent.js';
import { unitBytes } from '../map/size-units.js';
import type { Pass, PerHead } from './pass.js';
import { passSchema } from './pass-schema.js';
import {
  millisecondsOf,
  type Preset,
  type PresetRow,
  sizePattern,
  type timeoutNames,
} from './preset-schema.js';

/** What rows depend on beside their preset: the drive, and what the command line overrides. */
export interface DriveFacts {
  readonly sectorCount: number;
  readonly sectorBytes: number;
  /** Logical sectors of one physical sector. */
  readonly physicalCount: number;
  readonly kind: keyof typeof kindDefaults;
  /** Repeats of every repeated retry row, instead of the preset's. */
  readonly retries?: number;
  /** Deadline of every read; 0 or absent = the preset's own. */
  readonly readTimeoutMs?: number;
  /** A read below this rate is slow in the rows that act on slow reads; 0 or absent = the preset's own. */
  readonly bytesPerSecondMin?: number;
  /** Longest read that the path to the drive takes, in sectors; absent = no limit. */
  readonly readCountMax?: number;
  /** Least read of copying rows that the path gains from; absent = the preset's own. */
  readonly readCountBest?: number;
  /** Cap on every row; 0 or absent = the preset's own. */
  readonly bytesPerSecondMax?: number;
}

interface KindDefaults {
  /** The preset for such a drive unless another is asked for. */
  readonly preset: string;
  /** Passes over the bad sectors at the end. */
  readonly retries: number;
  /** Deadlines of one read behind an imager that times out by itself, in ms. */
  readonly timeoutsMs: Readonly<Record<(typeof timeoutNames)[number], number>>;
}

const hdd: KindDefaults = {
  preset: 'adaptive',
  retries: 1,
  timeoutsMs: { copy: 1000, sweep: 3000, trim: 3000, scrape: 5000, retry: 15_000 },
};

/** How kinds of drives are read, from bench practice. */
export const kindDefaults = {
  hdd,
  ssd: {
    preset: 'ssd',
    retries: 3,
    timeoutsMs: { copy: 2000, sweep: 5000, trim: 5000, scrape: 10_000, retry: 30_000 },
  },
  flash: {
    preset: 'flash',
    retries: 10,
    timeoutsMs: { copy: 3000, sweep: 10_000, trim: 10_000, scrape: 15_000, retry: 30_000 },
  },
  /** A plain file: what stands behind it keeps its own times. */
  file: { ...hdd, retries: 0 },
} as const satisfies Record<string, KindDefaults>;

type Size = NonNullable<PresetRow['readCount']>;
type PlainSize = Exclude<Size, object>;

/** Sectors of a group read: 64 KiB at 512 bytes, what drives and bridges take everywhere. */
const groupCount = 128;
/** First jump: OpenSuperClone's, good for 35 MB to 6.5 GB a head. A jump never exceeds 1 % of the drive. */
const skipDefault = {
  startCount: { size: 4096, atMost: '1 %', rounded: 'down-to-groups' },
  maxCount: { size: '1 %', atMost: '32 GiB', rounded: 'down-to-groups' },
} as const;

/** The rows of a preset for one drive. Sizes become sectors, times ms, repeats rows. */
export function rowsOf(preset: Preset, facts: DriveFacts): Pass[] {
  return preset.rows.flatMap((row) => {
    // Who wants no retries gets none, also not where a preset would decide by itself.
    if (row.phase === 'retry' && facts.retries === 0) return [];
    const pass = passOf(merged(preset.defaults, row), facts);
    if (row.repeat === undefined) return [pass];
    const own = row.repeat === 'by-kind' ? kindDefaults[facts.kind].retries : row.repeat;
    const repeats = row.phase === 'retry' ? (facts.retries ?? own) : own;
    return Array.from({ length: repeats }, (_, n) => repeated(pass, n));
  });
}

/** Sections are merged word by word: a row that changes the longest jump keeps the first. */
function merged(defaults: Preset['defaults'], row: PresetRow): PresetRow {
  const skip = { ...skipDefault, ...defaults.skip, ...row.skip };
  return { ...defaults, ...row, skip };
}

function repeated(pass: Pass, n: number): Pass {
  const turned = pass.direction === 'forward' ? 'backward' : 'forward';
  const direction = pass.direction === 'best-first' || n % 2 === 0 ? pass.direction : turned;
  return { ...pass, name: `${pass.name} ${n + 1}`, direction };
}

function passOf(row: PresetRow, facts: DriveFacts): Pass {
  const { name: _name, phase: _phase, repeat: _repeat, before, ranges, perHead, ...same } = row;
  const own = sectorsOf(row.readCount ?? defaultCount(row), facts, 1);
  const best = row.phase === 'copy' ? (facts.readCountBest ?? 1) : 1;
  const wanted = Math.max(1, own, best);
  const readCount = Math.min(wanted, facts.readCountMax ?? wanted);
  const jump = (size: Size | undefined) => sectorsOf(size ?? 0, facts, readCount);
  const cap = facts.bytesPerSecondMax || rateOf(row.bytesPerSecondMax ?? 0);
  const { startCount, maxCount, ...skip } = row.skip ?? {};
  return passSchema.parse({
    direction: 'forward',
    area: 'any',
    onFault: 'go-on',
    onSlow: 'go-on',
    onHang: 'defer',
    ifHung: 'stop',
    ...same,
    name: row.name,
    phase: row.phase,
    readCount,
    skip: { ...skip, startCount: jump(startCount), maxCount: jump(maxCount) },
    timeoutMs: facts.readTimeoutMs || timeoutOf(row.timeoutMs ?? row.phase, facts),
    slowMs: millisecondsOf(row.slowMs ?? 0),
    bytesPerSecondMin: rateMinOf(row, facts),
    ...(cap > 0 && { bytesPerSecondMax: cap }),
    ...(row.durationMaxMs !== undefined && { durationMaxMs: millisecondsOf(row.durationMaxMs) }),
    ...(row.rest && { rest: restOf(row.rest) }),
    ...(ranges && { ranges: ranges.flatMap((range) => extentOf(range, facts)) }),
    ...(perHead && { perHead: perHead.map((head) => perHeadOf(head, facts)) }),
    before: beforeOf(before ?? 'none'),
  });
}

function defaultCount({ phase }: PresetRow): number {
  return phase === 'copy' ? groupCount : 1;
}

function restOf(rest: NonNullable<PresetRow['rest']>): NonNullable<Pass['rest']> {
  return {
    afterMs: millisecondsOf(rest.afterMs),
    afterFaults: rest.afterFaults,
    restMs: millisecondsOf(rest.restMs),
  };
}

/** What the command line says of deadlines and rates holds for single heads too. */
function perHeadOf(
  { head, readCount, timeoutMs, bytesPerSecondMax }: NonNullable<PresetRow['perHead']>[number],
  facts: DriveFacts,
): PerHead {
  const deadlineMs = facts.readTimeoutMs || (timeoutMs && millisecondsOf(timeoutMs));
  return {
    head,
    ...(readCount && { readCount: Math.min(readCount, facts.readCountMax ?? readCount) }),
    ...(deadlineMs && { timeoutMs: deadlineMs }),
    ...(bytesPerSecondMax !== undefined && {
      bytesPerSecondMax: facts.bytesPerSecondMax || rateOf(bytesPerSecondMax),
    }),
  };
}

function beforeOf(before: NonNullable<PresetRow['before']>): Pass['before'] {
  if (typeof before === 'string') return { kind: before };
  return { kind: 'rest', restMs: millisecondsOf(before.restMs) };
}

/** A part of the drive; none where it lies beyond its end. */
function extentOf(range: { from: PlainSize; to: PlainSize }, facts: DriveFacts): Extent[] {
  const lba = Math.floor(exactSectors(range.from, facts));
  const end = Math.min(facts.sectorCount, Math.ceil(exactSectors(range.to, facts)));
  return end > lba ? [{ lba, count: end - lba }] : [];
}

/** What a row says of the least rate counts where it acts on slow reads, or only watches for them. */
function rateMinOf(row: PresetRow, facts: DriveFacts): number {
  const own = rateOf(row.bytesPerSecondMin ?? 0);
  const watches = (row.onSlow ?? 'go-on') !== 'go-on' || millisecondsOf(row.slowMs ?? 0) > 0;
  return watches || own > 0 ? facts.bytesPerSecondMin || own : own;
}

/** More than any drive has: what a file may say beyond it is no whole number any more. */
const countMax = 2 ** 52;

/** A size in sectors: a bare number as it is, else whole physical sectors, or whole reads of `group`. */
function sectorsOf(size: Size, facts: DriveFacts, group: number): number {
  const physical = (exact: number) => Math.ceil(exact / facts.physicalCount) * facts.physicalCount;
  if (typeof size === 'number') return size;
  if (typeof size === 'string') return physical(exactSectors(size, facts));
  const { atLeast, atMost, rounded } = size;
  const most = atMost === undefined ? Number.POSITIVE_INFINITY : exactSectors(atMost, facts);
  const least = atLeast === undefined ? 0 : exactSectors(atLeast, facts);
  const exact = Math.max(least, Math.min(most, exactSectors(size.size, facts)));
  if (rounded === 'up-to-groups') return Math.max(1, Math.ceil(exact / group)) * group;
  if (rounded === 'down-to-groups') return Math.max(1, Math.floor(exact / group)) * group;
  return physical(exact);
}

function exactSectors(size: PlainSize, facts: DriveFacts): number {
  return typeof size === 'number' ? size : Math.min(countMax, exactSectorsOf(size, facts));
}

function exactSectorsOf(size: string, facts: DriveFacts): number {
  const [, digits, unit = ''] = sizePattern.exec(size)!;
  // Divided once, so that a share that is whole comes out whole.
  if (unit === '%') return facts.sectorCount / (100 / Number(digits));
  if (unit.startsWith('sector')) return Number(digits);
  return (Number(digits) * unitBytes[unit]!) / facts.sectorBytes;
}

/** A rate in bytes a second. */
function rateOf(rate: number | string): number {
  if (typeof rate === 'number') return rate;
  const [, digits, unit = ''] = sizePattern.exec(rate)!;
  return Number(digits) * unitBytes[unit]!;
}

function timeoutOf(timeout: NonNullable<PresetRow['timeoutMs']>, facts: DriveFacts): number {
  const { timeoutsMs } = kindDefaults[facts.kind];
  if (typeof timeout === 'string' && timeout in timeoutsMs) {
    return timeoutsMs[timeout as keyof typeof timeoutsMs];
  }
  return millisecondsOf(timeout);
}
