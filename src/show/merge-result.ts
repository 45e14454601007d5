import { z } from 'zod';
import { driveIdentitySchema } from '../job/identity.js';
import { formatBytes, formatDuration, formatShare } from './format.js';

const count = z.number().int().nonnegative();

/** What `merge --json` prints. Positions and sizes are bytes, LBAs are of `sectorBytes`. */
export const mergeResultSchema = z.object({
  schema: z.literal('lastspin/merge-result/1'),
  image: z.string(),
  map: z.string(),
  /** The list of conflicts; null where there are none. */
  conflictsFile: z.string().nullable(),
  /** Null where no map of the inputs names a drive of the result's size. */
  drive: driveIdentitySchema.nullable(),
  /** The user's word that all are images of one drive. */
  sameDrive: z.boolean(),
  sectorBytes: count,
  sizeBytes: count,
  inputs: z.array(
    z.object({
      image: z.string(),
      map: z.string(),
      drive: driveIdentitySchema.nullable(),
      finishedBytes: count,
      /** What the result has from this one; where several agree, that is the first. */
      takenBytes: count,
    }),
  ),
  bytes: z.object({
    finished: count,
    nonTried: count,
    nonTrimmed: count,
    nonScraped: count,
    bad: count,
  }),
  /** Held by more than one image, and compared. */
  comparedBytes: count,
  rule: z.object({ majority: z.boolean(), prefer: z.string().nullable() }),
  /** Sectors that are finished in several images and differ. */
  conflicts: z.object({
    sectors: count,
    extents: count,
    byMajority: count,
    byPreference: count,
    /** Left non-tried; nothing of them is in the image. */
    unresolved: count,
    /** The first thousand. */
    list: z.array(
      z.object({
        firstLba: count,
        lastLba: count,
        versions: z.array(
          z.object({ images: z.array(z.string()), sha256: z.string(), firstBytes: z.string() }),
        ),
        /** Index of the version that is in the result, and the rule that chose it; null where none was. */
        taken: z.object({ version: count, by: z.enum(['majority', 'prefer']) }).nullable(),
      }),
    ),
  }),
  readBytes: count,
  elapsedMs: z.number(),
});

export type MergeResult = z.infer<typeof mergeResultSchema>;
export type ListedConflict = MergeResult['conflicts']['list'][number];

/** Conflicts shown to people; the file has all. */
const shownMax = 10;

/** The result for people. */
export function formatMergeResult(result: MergeResult): string {
  const { inputs, bytes, conflicts, sizeBytes, drive, rule } = result;
  const untried = bytes.nonTried + bytes.nonTrimmed + bytes.nonScraped;
  const rate = (result.readBytes * 1000) / Math.max(1, result.elapsedMs);
  const lines = [
    `merged       ${inputs.length} images of ${drive ? `${drive.model} ${drive.serial}` : 'a drive that no map names'}, ${formatBytes(sizeBytes)}${result.sameDrive ? ', one drive by your word (--same-drive)' : ''}`,
    ...inputs.map(
      ({ image, finishedBytes, takenBytes }) =>
        `from         ${image}: ${formatBytes(finishedBytes)} finished, ${formatBytes(takenBytes)} taken`,
    ),
    `finished     ${formatShare(bytes.finished, sizeBytes)} (${formatBytes(bytes.finished)}); ${formatBytes(result.comparedBytes)} held by several, compared`,
    `bad          ${formatBytes(bytes.bad)}`,
    ...(untried > 0 ? [`not yet read ${formatBytes(untried)}`] : []),
    `conflicts    ${describeConflicts(conflicts, rule)}`,
    ...conflicts.list.slice(0, shownMax).map(describeConflict),
    ...(conflicts.extents > shownMax
      ? [`             … ${conflicts.extents - shownMax} more`]
      : []),
    ...(result.conflictsFile ? [`listed in    ${result.conflictsFile}`] : []),
    `time         ${formatDuration(result.elapsedMs)}, ${formatBytes(rate)}/s read`,
    `image        ${result.image}`,
    `map          ${result.map}`,
  ];
  return `${lines.join('\n')}\n`;
}

function describeConflicts(
  { sectors, extents, byMajority, byPreference, unresolved }: MergeResult['conflicts'],
  { prefer }: MergeResult['rule'],
): string {
  if (sectors === 0) return 'none';
  const ways = [
    ...(byMajority > 0 ? [`${byMajority} decided by majority`] : []),
    ...(byPreference > 0 ? [`${byPreference} taken from ${prefer}`] : []),
    ...(unresolved > 0 ? [`${unresolved} not decided: left unread`] : []),
  ];
  return `${sectors} sectors in ${extents} places: ${ways.join(', ')}`;
}

function describeConflict({ firstLba, lastLba, versions, taken }: ListedConflict): string {
  const said = versions.map(
    ({ images, sha256 }, index) =>
      `${sha256.slice(0, 12)} ${images.join(' = ')}${taken?.version === index ? ' (taken)' : ''}`,
  );
  return `             LBA ${firstLba}-${lastLba}: ${said.join('; ')}`;
}
