import type { Extent } from '../map/extent.js';
import type { GivenHeads } from './head-map.js';
import type { HeadMapFile } from './head-map-schema.js';
import { rateOf } from './heads.js';
import { type Learned, seenIn } from './learned.js';

/** What is known of a drive's heads, for people and for a file. */
export interface HeadReport {
  /** Where it is from: a head map that was given, or the bands that damage and slowness keep to. */
  readonly source: 'given' | 'inferred' | 'none';
  readonly title: string | undefined;
  readonly sectorCount: number;
  /** How many heads; where it is inferred, as far as the distance of the bands tells. */
  readonly heads: number | undefined;
  /** Weak heads: by number where that was given; else the place of their band in the turn, counted from LBA 0. */
  readonly weak: readonly number[];
  readonly dead: readonly number[];
  /** Whether somebody said which heads are weak. */
  readonly isWeakGiven: boolean;
  /** Bands of weak heads, ascending; neighbours are one. */
  readonly bands: readonly Extent[];
  /** Medians over them, in sectors; the period is from the start of one to the start of the next. */
  readonly bandSectors: number | undefined;
  readonly periodSectors: number | undefined;
  /** Bands in which damage or slowness was met. */
  readonly bandsMet: number;
  /** How many times longer than is typical reads take there. */
  readonly slowness: number | undefined;
  /** Bad spots a physical sector that was read, there and elsewhere. */
  readonly spotRate: number | undefined;
  readonly spotRateElsewhere: number | undefined;
  /** Natural logarithm of how much more likely what was seen is with these bands than by chance. */
  readonly evidence: number | undefined;
}

/** What was said and learned of heads on a drive of `sectorCount` sectors. */
export function headReport(learned: Learned, sectorCount: number): HeadReport {
  const { given, heads } = learned;
  const bands = heads?.weak ?? [];
  const periods = bands.slice(1).map((band, n) => band.lba - bands[n]!.lba);
  const bandSectors = median(bands.map((band) => band.count));
  const periodSectors = median(periods);
  const seen = bands.map((band) => seenIn(learned, band));
  const [poor, tried] = seen.reduce(([p, t], each) => [p + each.poor, t + each.tried], [0, 0]);
  const whole = seenIn(learned, { lba: 0, count: sectorCount });
  const elsewhere = { poor: whole.poor - poor, tried: whole.tried - tried };
  return {
    source: given ? 'given' : heads ? 'inferred' : 'none',
    title: given?.data.title,
    sectorCount,
    heads: given?.data.heads ?? heads?.heads,
    weak: heads?.numbers ?? (heads ? [placeInTurn(bands, periodSectors, heads.heads)] : []),
    dead: given?.data.dead ?? [],
    isWeakGiven: given?.data.weak !== undefined,
    bands,
    bandSectors,
    periodSectors,
    bandsMet: seen.filter((each) => each.poor > 0).length,
    slowness: heads?.slowness,
    spotRate: heads && tried + poor > 0 ? poor / (tried + poor) : undefined,
    spotRateElsewhere: heads ? rateOf(elsewhere) : undefined,
    evidence: heads?.evidence,
  };
}

function median(values: readonly number[]): number | undefined {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** Which place the bands have, when the first band of the drive begins with it. */
function placeInTurn(bands: readonly Extent[], period: number | undefined, heads: number): number {
  if (!period) return 0;
  // The first may be cut by the start of the drive.
  const offset = (bands[1] ?? bands[0])!.lba % period;
  return Math.min(heads - 1, Math.round((offset / period) * heads) % heads);
}

/** A head map file that says what a report says; undefined where there is nothing to say. */
export function headMapFileOf(
  report: HeadReport,
  given: GivenHeads | undefined,
  sectorBytes: number,
): HeadMapFile | undefined {
  const drive = { sectorCount: report.sectorCount, sectorBytes };
  if (given) {
    const { title, heads, dead, zones, bands } = given.data;
    const isKnown = report.isWeakGiven || report.weak.length > 0;
    return {
      ...(title !== undefined && { title }),
      heads,
      ...drive,
      ...(isKnown && { weak: [...report.weak] }),
      ...(dead.length > 0 && { dead }),
      ...(zones.length > 0 && { zones }),
      ...(bands.length > 0 && { bands: bands.map(bandOf) }),
    };
  }
  if (report.source === 'none' || report.heads === undefined) return undefined;
  const [head = 0] = report.weak;
  return { heads: report.heads, ...drive, weak: [head], bands: patternsOf(report.bands, head) };
}

type BandInFile = NonNullable<HeadMapFile['bands']>[number];

function bandOf({
  head,
  from,
  sectors,
  period,
  to,
}: GivenHeads['data']['bands'][number]): BandInFile {
  return period > 0 ? { head, from, sectors, period, to } : { head, from, to };
}

/** Bands as a file has them: those of one length at one distance in a line. */
function patternsOf(bands: readonly Extent[], head: number): BandInFile[] {
  const entries: BandInFile[] = [];
  for (let first = 0; first < bands.length; ) {
    const { lba: from, count: sectors } = bands[first]!;
    const period = (bands[first + 1]?.lba ?? from) - from;
    let last = first;
    while (
      bands[last + 1]?.count === sectors &&
      bands[last + 1]!.lba - bands[last]!.lba === period
    ) {
      last += 1;
    }
    const to = bands[last]!.lba + sectors;
    entries.push(last > first ? { head, from, sectors, period, to } : { head, from, to });
    first = last + 1;
  }
  return entries;
}
