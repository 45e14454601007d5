import type { z } from 'zod';
import type { Pass } from './pass.js';
import { passSchema } from './pass-schema.js';

/** New values by name of the parameter: `timeoutMs`, or `skip.maxCount` for one inside another. Null takes an
 * optional one away. */
export type RowChanges = Readonly<Record<string, unknown>>;

export type ChangedRow = { readonly row: Pass } | { readonly why: string };

/** The row with its changes, or one line that says what is wrong with them. */
export function changeRow(row: Pass, changes: RowChanges): ChangedRow {
  const raw = structuredClone(row) as unknown as Record<string, unknown>;
  for (const [path, value] of Object.entries(changes)) {
    const [name = '', inner] = path.split('.', 2);
    if (inner === undefined) put(raw, name, value);
    else put(innerOf(raw, name), inner, value);
  }
  const parsed = passSchema.safeParse(raw);
  if (parsed.success) return { row: parsed.data };
  const [issue] = parsed.error.issues;
  const where = issue && issue.path.length > 0 ? `${issue.path.join('.')}: ` : '';
  return { why: `${where}${issue ? problemText(issue) : 'it is no row any more'}` };
}

function problemText(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'unrecognized_keys':
      return `no parameter is called '${issue.keys.join("', '")}'`;
    case 'too_small':
      return `must be ${issue.inclusive ? 'at least' : 'above'} ${issue.minimum}`;
    case 'too_big':
      return `must be at most ${issue.maximum}`;
    case 'invalid_value':
      return `expected one of ${issue.values.join(', ')}`;
    case 'invalid_type':
      if (issue.expected === 'number' || issue.expected === 'int')
        return 'a number is needed; times are in ms, sizes in sectors';
      return `expected ${issue.expected}`;
    default:
      return issue.message;
  }
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
