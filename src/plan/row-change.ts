import { z } from 'zod';
import { noteNames, type Pass } from './pass.js';

/** Changes of rows while a job runs, and rows that come back from a disk: the one place that says what a
 * row may hold. */

const count = z.number().int().nonnegative();
const positive = z.number().int().positive();
const ms = z.number().nonnegative();
const reaction = z.enum(['skip', 'leave', 'go-on']);
const leftNotes = noteNames.filter((note) => note !== 'none') as [
  Exclude<(typeof noteNames)[number], 'none'>,
];

/** A `Pass` from untrusted data. */
export const passSchema = z.looseObject({
  name: z.string(),
  phase: z.enum(['copy', 'trim', 'scrape', 'retry']),
  direction: z.enum(['forward', 'backward', 'best-first']),
  area: z.enum(['any', 'after-finished', 'before-finished', ...leftNotes]),
  ranges: z.array(z.object({ lba: count, count: positive })).exactOptional(),
  priority: positive.exactOptional(),
  heads: z.union([z.enum(['good', 'weak']), z.array(count)]).exactOptional(),
  perHead: z
    .array(
      z.object({
        head: count,
        readCount: positive.exactOptional(),
        timeoutMs: positive.exactOptional(),
        bytesPerSecondMax: count.exactOptional(),
      }),
    )
    .exactOptional(),
  readCount: positive,
  onFault: reaction,
  onSlow: reaction,
  onHang: z.enum(['defer', 'leave', 'go-on-while-gaining', 'retry']),
  leaveAs: z.enum(leftNotes).exactOptional(),
  skip: z.object({
    startCount: positive,
    maxCount: positive,
    growth: z.number().min(1).exactOptional(),
  }),
  timeoutMs: positive.max(0xffff_ffff),
  slowMs: ms,
  bytesPerSecondMin: z.number().nonnegative(),
  faultsMax: count.exactOptional(),
  durationMaxMs: ms.exactOptional(),
  bytesPerSecondMax: z.number().nonnegative().exactOptional(),
  rest: z.object({ afterMs: ms, afterFaults: count, restMs: ms }).exactOptional(),
  resets: z.array(z.enum(['abort', 'soft', 'hard'])).exactOptional(),
  powerCyclesMax: count.exactOptional(),
  lookAhead: z.boolean().exactOptional(),
  driveRetries: z.boolean().exactOptional(),
  before: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('none') }),
    z.object({ kind: z.literal('power-cycle') }),
    z.object({ kind: z.literal('rest'), restMs: ms }),
  ]),
  ifHung: z.enum(['stop', 'next']),
}) satisfies z.ZodType<Pass>;

/** New values by name of the parameter: `timeoutMs`, or `skip.maxCount` for one inside another. Null takes an
 * optional one away. */
export type RowChanges = Readonly<Record<string, unknown>>;

export type ChangedRow = { readonly row: Pass } | { readonly why: string };

/** The row with its changes, or one line that says what is wrong with them. */
export function changeRow(row: Pass, changes: RowChanges): ChangedRow {
  const raw = structuredClone(row) as unknown as Record<string, unknown>;
  for (const [path, value] of Object.entries(changes)) {
    const [name = '', inner, ...more] = path.split('.');
    const isKnown = Object.hasOwn(passSchema.shape, name) || Object.hasOwn(row, name);
    if (!isKnown || more.length > 0) return { why: `a row has no parameter '${path}'` };
    if (inner === undefined) put(raw, name, value);
    else put(innerOf(raw, name), inner, value);
  }
  const parsed = passSchema.safeParse(raw);
  if (parsed.success) return { row: parsed.data };
  const [issue] = parsed.error.issues;
  return { why: `${issue?.path.join('.')}: ${issue?.message}` };
}

function innerOf(raw: Record<string, unknown>, name: string): Record<string, unknown> {
  const existing = raw[name];
  if (typeof existing === 'object' && existing !== null) return existing as Record<string, unknown>;
  // `rest` has three parts; those not named are off.
  const fresh = name === 'rest' ? { afterMs: 0, afterFaults: 0, restMs: 0 } : {};
  raw[name] = fresh;
  return fresh;
}

function put(target: Record<string, unknown>, name: string, value: unknown): void {
  if (value === null) delete target[name];
  else target[name] = value;
}

/** What changed, for people: `timeoutMs 1000 → 500`. */
export function describeChanges(before: Pass, changes: RowChanges): string {
  return Object.entries(changes)
    .map(([path, value]) => {
      const former = path
        .split('.')
        .reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], before);
      return `${path} ${show(former)} → ${show(value ?? undefined)}`;
    })
    .join(', ');
}

function show(value: unknown): string {
  if (value === undefined) return 'unset';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
