import type { Pass } from './pass.js';

/** What a preset may be tuned with before the rows are made. */
export interface PresetOptions {
  readonly sectorCount: number;
  readonly sectorBytes: number;
  /** Extra passes over the bad sectors, alternating direction. */
  readonly retries: number;
  /** Overrides the deadline of every pass; 0 = the preset's own. */
  readonly readTimeoutMs: number;
  /** A read below this rate is slow; 0 = latency alone decides. */
  readonly bytesPerSecondMin: number;
}

/** Sectors of a group read: 64 KiB at 512 bytes, what drives and bridges take everywhere. */
const groupCount = 128;
/** First jump, in sectors: OpenSuperClone's, good for 35 MB to 6.5 GB a head. */
const skipStartCount = 4096;
/** A jump never exceeds 1 % of the drive or 32 GiB. */
const skipMaxBytes = 32 * 1024 ** 3;

/** The reference passes: good areas, then slow, then bad; trim, scrape, retry; last the spots that hung
 * the drive, from both sides. Timeouts are those of a hard drive behind an imager that times out by
 * itself: copy 1 s, sweep 3 s, trim 3 s, scrape 5 s, retry 15 s. */
export function standardPreset(options: PresetOptions): readonly Pass[] {
  const onePercent = Math.floor(
    Math.min(options.sectorCount / 100, skipMaxBytes / options.sectorBytes),
  );
  // Whole groups, so that a landing is aligned like every other read.
  const wholeGroups = (count: number) =>
    Math.max(groupCount, Math.floor(count / groupCount) * groupCount);
  const skip = {
    startCount: wholeGroups(Math.min(skipStartCount, onePercent)),
    maxCount: wholeGroups(onePercent),
  };
  const copy: Pass = {
    name: 'good areas',
    phase: 'copy',
    direction: 'forward',
    area: 'any',
    readCount: groupCount,
    onFault: 'skip',
    onSlow: 'skip',
    onHang: 'defer',
    skip,
    timeoutMs: 1000,
    slowMs: 300,
    bytesPerSecondMin: options.bytesPerSecondMin,
    before: { kind: 'none' },
    ifHung: 'stop',
  };
  const single: Pass = {
    ...copy,
    readCount: 1,
    onFault: 'go-on',
    onSlow: 'go-on',
    slowMs: 0,
    bytesPerSecondMin: 0,
  };
  const hung: Pass = { ...single, phase: 'scrape', area: 'hung', onHang: 'leave', timeoutMs: 5000 };
  const rows: Pass[] = [
    copy,
    {
      ...copy,
      name: 'rear edges of bad areas',
      direction: 'backward',
      area: 'skipped-bad',
      onFault: 'leave',
      onSlow: 'leave',
    },
    {
      ...copy,
      name: 'slow areas',
      area: 'skipped-slow',
      onFault: 'leave',
      onSlow: 'go-on',
      leaveAs: 'bad-in-slow',
      timeoutMs: 3000,
    },
    {
      ...copy,
      name: 'rear edges of bad areas in slow ones',
      direction: 'backward',
      area: 'bad-in-slow',
      onFault: 'leave',
      onSlow: 'go-on',
      timeoutMs: 3000,
    },
    {
      ...copy,
      name: 'what was skipped',
      onFault: 'go-on',
      onSlow: 'go-on',
      slowMs: 0,
      bytesPerSecondMin: 0,
      timeoutMs: 3000,
    },
    { ...single, name: 'trim', phase: 'trim', timeoutMs: 3000 },
    { ...single, name: 'scrape', phase: 'scrape', timeoutMs: 5000 },
    { ...hung, name: 'hung spots, from the front' },
    { ...hung, name: 'hung spots, from the rear', direction: 'backward' },
    { ...hung, name: 'between hung spots, forwards', onHang: 'go-on-while-gaining' },
    {
      ...hung,
      name: 'between hung spots, backwards',
      direction: 'backward',
      onHang: 'go-on-while-gaining',
    },
  ];
  for (let n = 0; n < options.retries; n++) {
    rows.push({
      ...single,
      name: `retry ${n + 1}`,
      phase: 'retry',
      direction: n % 2 === 0 ? 'backward' : 'forward',
      timeoutMs: 15_000,
    });
  }
  if (options.readTimeoutMs === 0) return rows;
  return rows.map((row) => ({ ...row, timeoutMs: options.readTimeoutMs }));
}
