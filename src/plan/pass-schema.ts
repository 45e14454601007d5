import { z } from 'zod';
import type { Pass } from './pass.js';

/** The words of a row, shared by rows in force and by preset files. */
export const rowWords = {
  phase: ['copy', 'trim', 'scrape', 'retry'],
  direction: ['forward', 'backward', 'best-first'],
  leaveAs: ['skipped-bad', 'skipped-slow', 'bad-in-slow', 'hung'],
  area: [
    'any',
    'after-finished',
    'before-finished',
    'skipped-bad',
    'skipped-slow',
    'bad-in-slow',
    'hung',
  ],
  reaction: ['skip', 'leave', 'go-on'],
  onHang: ['defer', 'leave', 'go-on-while-gaining', 'retry'],
  resets: ['abort', 'soft', 'hard'],
  ifHung: ['stop', 'next'],
} as const;

const count = z.int().nonnegative();
const positive = z.int().positive();
const amount = z.number().nonnegative();

/** The longest time that a row may name: longer ones are slips of the pen, and more than a timer holds. */
export const timeMsMax = 20 * 24 * 3_600_000;
const time = amount.max(timeMsMax);
const deadline = z.number().positive().max(timeMsMax);

/** A row in force, checked: rows come back from a disk and over the control interface. */
export const passSchema: z.ZodType<Pass> = z.strictObject({
  name: z.string(),
  phase: z.enum(rowWords.phase),
  direction: z.enum(rowWords.direction),
  area: z.enum(rowWords.area),
  ranges: z.array(z.strictObject({ lba: count, count: positive })).exactOptional(),
  priority: positive.exactOptional(),
  heads: z.union([z.enum(['good', 'weak']), z.array(count)]).exactOptional(),
  perHead: z
    .array(
      z.strictObject({
        head: z.union([z.enum(['good', 'weak']), count]),
        readCount: positive.exactOptional(),
        timeoutMs: deadline.exactOptional(),
        bytesPerSecondMax: amount.exactOptional(),
      }),
    )
    .exactOptional(),
  readCount: positive,
  joinsRemainder: z.boolean().exactOptional(),
  onFault: z.enum(rowWords.reaction),
  onSlow: z.enum(rowWords.reaction),
  onHang: z.enum(rowWords.onHang),
  hangRetries: count.exactOptional(),
  keepAwayCount: count.exactOptional(),
  leaveAs: z.enum(rowWords.leaveAs).exactOptional(),
  skip: z.strictObject({
    startCount: count,
    maxCount: count,
    growth: z.number().min(1).exactOptional(),
    withinRun: z.boolean().exactOptional(),
  }),
  timeoutMs: deadline,
  slowMs: time,
  bytesPerSecondMin: amount,
  faultsMax: count.exactOptional(),
  durationMaxMs: time.exactOptional(),
  bytesPerSecondMax: amount.exactOptional(),
  rest: z.strictObject({ afterMs: time, afterFaults: count, restMs: time }).exactOptional(),
  resets: z.array(z.enum(rowWords.resets)).exactOptional(),
  powerCyclesMax: count.exactOptional(),
  lookAhead: z.boolean().exactOptional(),
  driveRetries: z.boolean().exactOptional(),
  before: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('none') }),
    z.strictObject({ kind: z.literal('power-cycle') }),
    z.strictObject({ kind: z.literal('rest'), restMs: time }),
  ]),
  ifHung: z.enum(rowWords.ifHung),
});

/** Rows as `passSchema` writes them: the same rows are the same text, whatever the order of their words.
 * Throws for what is no row. */
export function textOfRows(rows: readonly Pass[]): string {
  return JSON.stringify(rows.map((row) => passSchema.parse(row)));
}
