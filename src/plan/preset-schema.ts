import { z } from 'zod';
import { rowWords, timeMsMax } from './pass-schema.js';

/** The preset file as a schema. Every section is strict: an unknown word is an error, since a limit that
 * silently does nothing would cost a drive. */

/** `64 KiB`, `4096 sectors`, `1 %`. */
export const sizePattern = /^(\d+(?:\.\d+)?)\s*(%|sectors?|B|[kMGT]B|[KMGT]iB)$/;
/** `10 MB`, a second. */
const ratePattern = /^\d+(?:\.\d+)?\s*(?:B|[kMGT]B|[KMGT]iB)$/;
/** `500 ms`, `15 s`, `2 min`, `1.5 h`. */
export const durationPattern = /^(\d+(?:\.\d+)?)\s*(ms|s|min|h)$/;

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, min: 60_000, h: 3_600_000 };

/** A time as a file says it, in ms. */
export function millisecondsOf(duration: number | string): number {
  if (typeof duration === 'number') return duration;
  const [, digits, unit = ''] = durationPattern.exec(duration)!;
  return Number(digits) * unitMs[unit]!;
}

const count = z.int().nonnegative();
const positive = z.int().positive();
const sizeText = z
  .string()
  .regex(sizePattern, 'expected a size such as 64 KiB, 4096 sectors or 1 %')
  .refine((text) => !text.endsWith('%') || Number.parseFloat(text) <= 100, {
    message: 'must be at most 100 %',
  });
const plainSize = z.union([count, sizeText]);

/** A number is sectors; a percentage is of the drive. */
const size = z.union([
  plainSize,
  z.strictObject({
    size: plainSize.describe('The size that is wanted.'),
    atLeast: plainSize.exactOptional().describe('Never less than this.'),
    atMost: plainSize.exactOptional().describe('Never more than this.'),
    rounded: z
      .enum(['up', 'up-to-groups', 'down-to-groups'])
      .default('up')
      .describe(
        'Up to whole physical sectors; or to whole reads of this row (readCount), up, or down but to at least one.',
      ),
  }),
]);
const durationText = z
  .string()
  .regex(durationPattern, 'expected a time such as 500 ms, 15 s or 2 min')
  .refine((text) => !durationPattern.test(text) || millisecondsOf(text) <= timeMsMax, {
    message: 'must be at most 20 days',
  });
const duration = z.union([z.number().nonnegative().max(timeMsMax), durationText]);
/** How long to wait for a read: 0 would be not at all. */
const deadline = z.union([
  z.number().positive().max(timeMsMax),
  durationText.refine((text) => !durationPattern.test(text) || millisecondsOf(text) > 0, {
    message: 'must be above 0',
  }),
]);
/** The limits that the kind of drive has for each sort of read. */
export const timeoutNames = ['copy', 'sweep', 'trim', 'scrape', 'retry'] as const;
const timeout = z.union([z.enum(timeoutNames), deadline]);
const rate = z.union([
  z.number().nonnegative(),
  z.string().regex(ratePattern, 'expected bytes a second such as 10 MB'),
]);

/** What a row, or `defaults` for all rows, may say. */
const rowFields = {
  direction: z
    .enum(rowWords.direction)
    .describe(
      'forward (unless told), backward, or best-first: where a read is expected to bring most for its time and strain.',
    ),
  area: z
    .enum(rowWords.area)
    .describe(
      'Which areas: any but hung spots (unless told); those left by an earlier row as skipped-bad, skipped-slow, bad-in-slow or hung; after-finished and before-finished, areas that follow or precede a finished sector.',
    ),
  ranges: z
    .array(
      z
        .strictObject({
          from: plainSize.describe('Where it begins, from the start of the drive.'),
          to: plainSize.describe('Where it ends, exclusive.'),
        })
        .refine(({ from, to }) => typeof from === 'string' || typeof to === 'string' || from < to, {
          message: 'must be above from',
          path: ['to'],
        }),
    )
    .min(1)
    .describe(
      'Only these parts of the drive; a band that no row names stays unread. Unless told: all.',
    ),
  priority: positive.describe(
    'Only sectors of this priority of the job’s domain, 1 being the first. Unless told: all.',
  ),
  heads: z
    .union([z.enum(['good', 'weak']), z.array(count).min(1)])
    .describe(
      'Only bands of these heads: weak, which is what was learned or said to be weak; good, which is everything else; or numbers from 0, which need a head map (--heads). A row of heads: good first and one of heads: weak later spare a weak head until the rest is read; let a row without heads come last, for what was thought weak for a while.',
    ),
  perHead: z
    .array(
      z.strictObject({
        head: z.union([z.enum(['good', 'weak']), count]),
        readCount: positive.exactOptional(),
        timeoutMs: deadline.exactOptional(),
        bytesPerSecondMax: rate.exactOptional(),
      }),
    )
    .describe(
      'How reads of single heads differ from the row’s, by number (which needs a head map) or for all good or weak ones; a read ends where its band ends.',
    ),
  readCount: size.describe(
    'Sectors of one read, rounded up to physical sectors; reads are aligned to it. Unless told 128 in copy rows, else 1.',
  ),
  joinsRemainder: z
    .boolean()
    .describe('The last readCount sectors of a run, or fewer, are one read across a boundary.'),
  onFault: z
    .enum(rowWords.reaction)
    .describe(
      'On a bad read: skip (jump ahead, further each time, until a read goes well), leave (the rest of the area, for a later row), go-on (unless told).',
    ),
  onSlow: z.enum(rowWords.reaction).describe('The same on a slow read.'),
  onHang: z
    .enum(rowWords.onHang)
    .describe(
      'A read that hung the drive: defer (unless told; note the spot and go on behind it), leave (give the spot up as bad and leave the area), go-on-while-gaining (give it up; leave the area only when the sector before it could not be read either), retry (again in place).',
    ),
  hangRetries: count.describe(
    'With onHang: retry, how often a place that hung the drive is read again before it is deferred, or given up in rows of hung spots (unless told 2, and 1 in rows of hung spots).',
  ),
  keepAwayCount: count.describe(
    'Sectors next to a spot that hung the drive by itself that are not read, in whole physical sectors: a spot is often wider than one, and each touch is a power cycle. They stay unread.',
  ),
  leaveAs: z.enum(rowWords.leaveAs).describe('What an area left on a bad read is left for.'),
  skip: z
    .strictObject({
      startCount: size.exactOptional().describe('The first jump.'),
      maxCount: size.exactOptional().describe('The longest jump.'),
      growth: z
        .number()
        .min(1)
        .exactOptional()
        .describe('By what each jump is longer than the one before; 2 unless told.'),
      withinRun: z
        .boolean()
        .exactOptional()
        .describe('No jump leads beyond the unread run it began in; each run starts anew.'),
    })
    .describe(
      'Jumps of skip. A number is sectors, 1 % is a share of the drive. Unless told 4096 sectors at first, at most 1 % or 32 GiB.',
    ),
  timeoutMs: timeout.describe(
    'Deadline of one read: ms, a time such as 3 s, or copy, sweep, trim, scrape, retry for what the kind of drive bears. Unless told that of the phase.',
  ),
  slowMs: duration.describe('A read that takes longer is slow; 0 (unless told) = no limit.'),
  bytesPerSecondMin: rate.describe(
    'A read below this rate is slow; 0 (unless told) = no limit. --min-rate overrides it in rows that act on slow reads.',
  ),
  faultsMax: count.describe('The row ends after so many failing reads; 0 = no limit.'),
  durationMaxMs: duration.describe('The row ends after so much reading; 0 = no limit.'),
  bytesPerSecondMax: rate.describe('No faster than this on average; 0 = no cap.'),
  rest: z
    .strictObject({
      afterMs: duration.default(0).describe('Rest after so much reading; 0 = never.'),
      afterFaults: count.default(0).describe('Rest after so many failing reads; 0 = never.'),
      restMs: duration.describe('How long; the heads are parked. Two minutes or more.'),
    })
    .describe('Rests with parked heads, so that a worn drive cools down.'),
  resets: z
    .array(z.enum(rowWords.resets))
    .describe('Resets that may be used when the drive hangs; unless told all that the path has.'),
  powerCyclesMax: count.describe(
    'Power cycles during this row; unless told the budget of the kind of drive.',
  ),
  lookAhead: z.boolean().describe('The drive’s look-ahead on or off, where it lets us.'),
  driveRetries: z.boolean().describe('The drive’s own retries on or off, where it lets us.'),
  before: z
    .union([z.enum(['none', 'power-cycle']), z.strictObject({ restMs: duration })])
    .describe('Before the row: none, power-cycle, or { restMs: 2 min }.'),
  ifHung: z
    .enum(rowWords.ifHung)
    .describe(
      'When the drive cannot be brought back: stop the job, or next: cut the power once more and try the next row.',
    ),
};

const optionalFields = Object.fromEntries(
  Object.entries(rowFields).map(([word, field]) => [word, field.exactOptional()]),
) as { [Word in keyof typeof rowFields]: z.ZodExactOptional<(typeof rowFields)[Word]> };

const row = z.strictObject({
  name: z.string().min(1).describe('Its purpose, for people.'),
  phase: z
    .enum(rowWords.phase)
    .describe(
      'Which sectors it takes: copy non-tried ones, trim the edges of failed reads, scrape what lies between, retry bad sectors.',
    ),
  repeat: z
    .union([z.literal('by-kind'), count.max(1000)])
    .exactOptional()
    .describe(
      'So many such rows in turn, the direction alternating; by-kind: what the kind of drive bears (1 for a hard drive, 3 SSD, 10 flash, none for a plain file). --retries overrides it in retry rows.',
    ),
  ...optionalFields,
});

export const presetSchema = z.strictObject({
  title: z.string().min(1).describe('One line for lists.'),
  description: z.string().exactOptional().describe('What it is good for, and what it costs.'),
  defaults: z
    .strictObject(optionalFields)
    .prefault({})
    .describe('What every row inherits; a row names only what differs.'),
  rows: z.array(row).min(1).describe('The passes, in order.'),
});

/** A preset as its file says it. */
export type Preset = z.output<typeof presetSchema>;
export type PresetRow = Preset['rows'][number];

/** The JSON schema of a preset file, for editors. */
export function presetJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(presetSchema, { io: 'input' }) as Record<string, unknown>;
}
