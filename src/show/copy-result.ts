import { z } from 'zod';
import { formatBytes } from './format.js';
import { formatResult, imageResultSchema } from './result.js';

const count = z.number().int().nonnegative();

/** Who was overwritten, and what became of its bytes behind the image's. */
const targetSchema = z.object({
  path: z.string(),
  model: z.string(),
  serial: z.string(),
  sizeBytes: count,
  sectorBytes: count,
  /** Bytes of the drive that have no place on it; left out by the user's word (`--truncate`). */
  truncatedBytes: count,
  /** Bytes of it behind the drive's last, and what is in them: what was there before, or a fill, perhaps by an earlier
   * run. */
  excess: z.object({ bytes: count, content: z.string() }),
  /** Bytes of the drive's that were not read, and what is in them: what was there before, or a fill. */
  gaps: z.object({ bytes: count, content: z.string() }),
});

export type TargetResult = z.infer<typeof targetSchema>;

/** What fills and excess are called where nothing was written. */
export const untouched = 'untouched';

/** What `clone --json` prints. */
export const cloneResultSchema = imageResultSchema.extend({
  schema: z.literal('lastspin/clone-result/1'),
  target: targetSchema,
});

export type CloneResult = z.infer<typeof cloneResultSchema>;

/** The result of a clone for people. */
export function formatClone(result: CloneResult): string {
  const { schema, target, ...image } = result;
  const lines = formatResult({ schema: 'lastspin/image-result/1', ...image })
    .trimEnd()
    .split('\n');
  return `${[...lines.filter((line) => !line.startsWith('image ')), ...targetLines(target)].join('\n')}\n`;
}

function targetLines({ path, model, serial, sizeBytes, ...rest }: TargetResult): string[] {
  const { truncatedBytes, excess, gaps } = rest;
  return [
    `target       ${path}, ${[model, serial].filter(Boolean).join(' ')}, ${formatBytes(sizeBytes)}`,
    ...(gaps.bytes > 0 ? [`not read     ${gaps.bytes} bytes of it: ${gaps.content}`] : []),
    ...(truncatedBytes > 0
      ? [`truncated    the last ${truncatedBytes} bytes of the drive are not on it`]
      : []),
    ...(excess.bytes > 0 ? [`behind it    ${excess.bytes} bytes: ${excess.content}`] : []),
  ];
}

/** What `restore --json` prints. */
export const restoreResultSchema = z.object({
  schema: z.literal('lastspin/restore-result/1'),
  image: z.string(),
  /** Null where the image has none: then all of it was taken as read. */
  map: z.string().nullable(),
  target: targetSchema,
  bytes: z.object({ copied: count, filled: count, untouched: count }),
  /** `differs`: the target does not hold what was written to it. */
  verified: z.enum(['same', 'differs', 'not-asked']),
  /** Whether that was read past this computer's cache. */
  isFromDevice: z.boolean(),
  /** Bytes of the target that differ, `to` excluded; the first thousand areas. */
  differences: z.array(z.object({ from: count, to: count })),
});

export type RestoreResult = z.infer<typeof restoreResultSchema>;

const verdicts = {
  same: 'every byte that was written reads back the same',
  differs: 'the target does not hold what was written to it',
  'not-asked': 'not read back (--no-verify)',
};

/** The result of a restore for people. */
export function formatRestore(result: RestoreResult): string {
  const { bytes, differences } = result;
  const how =
    result.verified === 'same' && !result.isFromDevice ? ', by way of this computer’s cache' : '';
  return `${[
    `restored     ${bytes.copied} bytes (${formatBytes(bytes.copied)})`,
    ...(bytes.filled > 0 ? [`filled       ${bytes.filled} bytes that were not read`] : []),
    `verified     ${verdicts[result.verified]}${how}`,
    ...differences.slice(0, 10).map(({ from, to }) => `differs      bytes ${from}-${to - 1}`),
    ...(differences.length > 10
      ? [`             and ${differences.length - 10} areas more: --json`]
      : []),
    `image        ${result.image}`,
    `map          ${result.map ?? 'none: all of the image was taken as read'}`,
    ...targetLines(result.target),
  ].join('\n')}\n`;
}

/** What `fill --json` prints. */
export const fillResultSchema = z.object({
  schema: z.literal('lastspin/fill-result/1'),
  image: z.string(),
  map: z.string(),
  /** As asked for; null: left as it was. */
  unread: z.string().nullable(),
  unreadable: z.string().nullable(),
  bytes: z.object({ unread: count, unreadable: count }),
  /** Whether the map says so; another program's map is left as it is. */
  isRecorded: z.boolean(),
});

export type FillResult = z.infer<typeof fillResultSchema>;

/** The result of a fill for people. */
export function formatFill(result: FillResult): string {
  const line = (word: string, fill: string | null, bytes: number) =>
    fill === null ? [] : [`${word} ${bytes} bytes (${formatBytes(bytes)}): ${fill}`];
  return `${[
    ...line('unread      ', result.unread, result.bytes.unread),
    ...line('unreadable  ', result.unreadable, result.bytes.unreadable),
    `image        ${result.image}`,
    `map          ${result.map}, which claims no more than before${result.isRecorded ? ' and says that it was filled' : ''}`,
  ].join('\n')}\n`;
}
