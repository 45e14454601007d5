import { z } from 'zod';
import type { DriveIdentity } from '../drive/drive.js';
import type { LogPosition } from '../image/event-log.js';
import type { WholeSum } from '../image/whole-hashes.js';
import type { CasePaths } from '../job/case.js';
import { driveIdentitySchema } from '../job/identity.js';
import type { JobEnd } from '../job/job.js';
import { mergeNoteSchema } from '../job/snapshot.js';
import { type JobState, unstableOf } from '../job/state.js';
import { statuses } from '../map/status.js';
import { countsWithin, domainCount } from '../plan/domain.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import { describeLeftOff } from '../power/power.js';
import { wholeAlgorithms } from '../segment-hasher.js';
import { formatBytes, formatDuration, formatOutcome, formatShare } from './format.js';

const count = z.number().int().nonnegative();

/** How far the operating system was kept off a source that hangs on this computer. */
const hostAttachedSchema = z.object({
  device: z.string(),
  /** Read-only for the operating system, from the first read to the end. */
  isReadOnly: z.boolean(),
  /** Held open exclusively all the time: nothing could mount or assemble it. */
  isHeld: z.boolean(),
  /** What could touch it all the same, by the user's word (`--os-may-touch`). */
  mayBeTouchedBy: z.array(z.string()),
  /** No computer is a write blocker for what hangs on it. */
  isWriteBlocked: z.literal(false),
});

export type HostAttached = z.infer<typeof hostAttachedSchema>;

/** What `image --json` prints. */
export const imageResultSchema = z.object({
  schema: z.literal('lastspin/image-result/1'),
  ended: z.enum(['finished', 'gave-up', 'interrupted']),
  why: z.string(),
  drive: driveIdentitySchema,
  /** What its policies went by. */
  kind: z.enum(Object.keys(troublePolicies) as [DriveKind, ...DriveKind[]]),
  /** Null behind an imager, and for a plain file. */
  hostAttached: hostAttachedSchema.nullable(),
  /** The drive is without power, or, where that is not certain, may be. */
  powerLeftOff: z
    .object({ by: z.string(), isCertain: z.boolean(), onBy: z.string().exactOptional() })
    .nullable(),
  /** Sectors that the drive has and does not show (a protected area, a configuration overlay), which are not imaged;
   * null where it could not be asked. */
  hiddenSectors: count.nullable(),
  /** Other identities of the drive, by the user's word (`--same-drive`). */
  formerDrives: z.array(driveIdentitySchema),
  /** Where the image began as one of several, merged; else null. */
  merged: mergeNoteSchema.nullable(),
  image: z.string(),
  map: z.string(),
  /** Hashes of the whole image that this run made, each with the file that `sha256sum -c` and the like check. */
  wholeHashes: z.array(
    z.object({ algorithm: z.enum(wholeAlgorithms), digest: z.string(), file: z.string() }),
  ),
  /** The event log as this run left it: note the hash elsewhere, and `verify --log-hash` tells whether anything up
   * to that line was changed since. */
  eventLog: z.object({ file: z.string(), lines: count, lastHash: z.string() }),
  sectors: z.object({
    total: count,
    finished: count,
    nonTried: count,
    nonTrimmed: count,
    nonScraped: count,
    bad: count,
    badAreas: count,
  }),
  /** What was to be read, and how much of that is finished: all of the drive, unless a domain, ranges or
   * exclusions say otherwise. */
  domain: z.object({ total: count, finished: count, unread: count }),
  /** Sectors of the last sample (`--compare`) that were read again and compared with the image. */
  compared: count,
  /** Sectors that were read with different contents; the image has what most readings agree on. */
  unstable: z.object({
    sectors: count,
    areas: count,
    /** The first thousand. */
    extents: z.array(z.object({ lba: count, count })),
  }),
  /** Over all runs of the job. */
  reads: count,
  failingReads: count,
  resets: count,
  powerCycles: count,
  /** By a switch of which nobody knows whether it cuts the power: not in `powerCycles`. */
  portResets: count,
  /** Of this run. */
  elapsedMs: z.number(),
  /** What was done once the job had ended (`--then`), in that order: a failure with its reason, else what was found or
   * made, where there is more to say. */
  actions: z.array(
    z.object({
      action: z.string(),
      ok: z.boolean(),
      why: z.string().exactOptional(),
      told: z.string().exactOptional(),
      /** Of `verify`. */
      verdict: z.enum(['unchanged', 'changed', 'cannot-tell']).exactOptional(),
    }),
  ),
});

export type ImageResult = z.infer<typeof imageResultSchema>;

const extentsMax = 1000;

/** What is known of a job beside its state. */
export interface ImageFacts extends Pick<ImageResult, 'kind' | 'hiddenSectors' | 'hostAttached'> {
  readonly drive: DriveIdentity;
  readonly paths: CasePaths;
  readonly elapsedMs: number;
  readonly wholeHashes: readonly WholeSum[];
  /** The last line of the event log. */
  readonly logEnd: LogPosition;
}

/** The end of a job as plain data. */
export function imageResult(end: JobEnd, state: JobState, facts: ImageFacts): ImageResult {
  const { drive, paths, wholeHashes, logEnd } = facts;
  const { map, scope } = state.plan;
  const unstable = unstableOf(state);
  const [nonTried = 0, nonTrimmed = 0, nonScraped = 0, , finished = 0] = countsWithin(map, scope);
  return {
    schema: 'lastspin/image-result/1',
    ended: end.how,
    why: end.why,
    drive,
    kind: facts.kind,
    hostAttached: facts.hostAttached,
    hiddenSectors: facts.hiddenSectors,
    powerLeftOff: end.leftOff ?? null,
    formerDrives: [...state.formerDrives],
    merged: state.merged ? { ...state.merged, images: [...state.merged.images] } : null,
    image: paths.image,
    map: paths.map,
    wholeHashes: [...wholeHashes],
    eventLog: { file: paths.events, lines: logEnd.n + 1, lastHash: logEnd.hash },
    sectors: {
      total: map.size,
      finished: map.countOf(statuses.finished),
      nonTried: map.countOf(statuses['non-tried']),
      nonTrimmed: map.countOf(statuses['non-trimmed']),
      nonScraped: map.countOf(statuses['non-scraped']),
      bad: map.countOf(statuses['bad-sector']),
      badAreas: map.runsOf(statuses['bad-sector']),
    },
    domain: {
      total: domainCount(scope),
      finished,
      unread: nonTried + nonTrimmed + nonScraped,
    },
    compared: state.compare.comparedCount,
    unstable: {
      sectors: unstable.reduce((sum, area) => sum + area.count, 0),
      areas: unstable.length,
      extents: unstable.slice(0, extentsMax),
    },
    ...state.totals,
    elapsedMs: Math.round(facts.elapsedMs),
    actions: [],
  };
}

const headlines = {
  finished: 'finished',
  'gave-up': 'gave up',
  interrupted: 'interrupted, the map is saved: run the same command again to go on',
};

function portResetsOf({ portResets }: ImageResult): string {
  return portResets > 0 ? `, ${portResets} port resets` : '';
}

/** The result for people. */
export function formatResult(result: ImageResult): string {
  const { sectors, drive } = result;
  const bytes = (sectorCount: number) => formatBytes(sectorCount * drive.sectorBytes);
  const { domain } = result;
  const outside = sectors.total - domain.total;
  const { unread } = result.domain;
  const lines = [
    `${headlines[result.ended]}${result.ended === 'gave-up' ? `: ${result.why}` : ''}`,
    `drive        ${drive.model} ${drive.serial}, ${result.kind}, ${bytes(drive.sectorCount)}`,
    ...(result.hiddenSectors
      ? [
          `hidden       ${bytes(result.hiddenSectors)} (${result.hiddenSectors} sectors), not imaged`,
        ]
      : []),
    ...(result.hostAttached ? [`source       ${formatAttached(result.hostAttached)}`] : []),
    `finished     ${formatShare(sectors.finished, sectors.total)} (${bytes(sectors.finished)})`,
    ...(outside > 0
      ? [
          `domain       ${formatShare(domain.finished, domain.total)} of ${bytes(domain.total)}; ${bytes(outside)} outside are not read`,
        ]
      : []),
    `bad          ${sectors.bad} sectors in ${sectors.badAreas} areas (${bytes(sectors.bad)})`,
    ...(unread > 0 ? [`not yet read ${unread} sectors (${bytes(unread)})`] : []),
    ...(result.compared > 0
      ? [
          `compared     ${bytes(result.compared)} read again${result.unstable.sectors > 0 ? '' : ': all as in the image'}`,
        ]
      : []),
    ...(result.unstable.sectors > 0
      ? [`unstable     ${result.unstable.sectors} sectors read differently from time to time`]
      : []),
    `reads        ${result.reads}, ${result.failingReads} failing; ${result.resets} resets, ${result.powerCycles} power cycles${portResetsOf(result)}`,
    `time         ${formatDuration(result.elapsedMs)}`,
    `image        ${result.image}${result.merged ? `, which began as a merge of ${result.merged.images.length}` : ''}`,
    `map          ${result.map}`,
    ...result.wholeHashes.map(({ algorithm, digest }) => `${algorithm.padEnd(12)} ${digest}`),
    `log          ${result.eventLog.lines} lines, to be noted: ${result.eventLog.lastHash}`,
    ...(result.powerLeftOff ? [describeLeftOff(result.powerLeftOff)] : []),
    ...result.actions.map((each) => `then         ${each.action}: ${formatOutcome(each)}`),
  ];
  return `${lines.join('\n')}\n`;
}

/** How far the operating system was kept off. */
export function formatAttached({
  device,
  isReadOnly,
  isHeld,
  mayBeTouchedBy,
}: HostAttached): string {
  const kept = [...(isReadOnly ? ['read-only'] : []), ...(isHeld ? ['held exclusively'] : [])];
  const how = kept.join(' and ') || 'writable for this computer';
  const touched = mayBeTouchedBy.length > 0 ? '; the system could touch it' : '';
  return `${device}, ${how}${touched}. This is not a write blocker`;
}
