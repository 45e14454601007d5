import { z } from 'zod';
import { driveIdentitySchema } from '../job/identity.js';
import type { ChangedPlace, Verification } from '../job/verify.js';
import { formatBytes } from './format.js';

const count = z.number().int().nonnegative();

/** What `verify --json` prints. */
export const verifyResultSchema = z.object({
  schema: z.literal('lastspin/verify-result/1'),
  image: z.string(),
  mode: z.enum(['full', 'quick']),
  /** `unchanged`: all that was read is in the image as it was read (`quick`: a sample of it), or the whole image
   * has its hash. `cannot-tell`: nothing was found changed, but not all of it is vouched for. */
  verdict: z.enum(['unchanged', 'changed', 'cannot-tell']),
  /** What each check found, in the order in which they are made; `told` weighs nothing. */
  findings: z.array(
    z.object({
      check: z.enum(['image', 'map', 'journal', 'log', 'hashes', 'sha256', 'sha1', 'md5', 'drive']),
      result: z.enum(['unchanged', 'changed', 'cannot-tell', 'told']),
      text: z.string(),
    }),
  ),
  /** Null without a map of ours. */
  drive: driveIdentitySchema.nullable(),
  /** Finished sectors that are not as they were read, by the stretch that has a hash: the first thousand stretches,
   * neighbours as one. `missing`: the image ends before. */
  changed: z.array(
    z.object({
      lba: count,
      count,
      fromByte: count,
      byteCount: count,
      what: z.enum(['differs', 'missing']),
      status: z.literal('finished'),
    }),
  ),
  changedSectors: count,
  /** Finished sectors in all, and those of them whose hash the image bears out. */
  finishedSectors: count,
  heldSectors: count,
  elapsedMs: z.number(),
});

export type VerifyResult = z.infer<typeof verifyResultSchema>;

export function verifyResult(
  image: string,
  found: Verification,
  isQuick: boolean,
  elapsedMs: number,
): VerifyResult {
  const { verdict, findings, drive, changed, changedSectors } = found;
  return {
    schema: 'lastspin/verify-result/1',
    image,
    mode: isQuick ? 'quick' : 'full',
    verdict,
    findings: findings.map((finding) => ({ ...finding })),
    drive: drive ?? null,
    changed: changed.map(({ lba, count: sectors, fromByte, byteCount, what }) => ({
      ...{ lba, count: sectors, fromByte, byteCount, what },
      status: 'finished',
    })),
    changedSectors,
    finishedSectors: found.finishedSectors,
    heldSectors: found.heldSectors,
    elapsedMs: Math.round(elapsedMs),
  };
}

const placesMax = 20;

/** The result for people: the verdict, what each check found, and where. */
export function formatVerification(result: VerifyResult): string {
  const { findings, changed } = result;
  const lines = [
    headlineOf(result),
    ...findings.map(({ check, result: found, text }) => {
      const mark = found === 'told' || found === 'unchanged' ? '' : `${wordsOf[found]}: `;
      return `${check.padEnd(12)} ${mark}${text}`;
    }),
    ...changed.slice(0, placesMax).map((place) => `${place.what.padEnd(12)} ${formatPlace(place)}`),
  ];
  if (changed.length > placesMax)
    lines.push(`             and ${changed.length - placesMax} more places (--json lists them)`);
  return `${lines.join('\n')}\n`;
}

/** The verdict in one line; where something changed, the first place. */
export function formatVerdict(result: VerifyResult): string {
  const [first, ...more] = result.changed;
  const where = first ? `, at LBA ${first.lba} to ${first.lba + first.count - 1}` : '';
  return `${headlineOf(result)}${where}${more.length > 0 ? ` and ${more.length} other places` : ''}`;
}

const wordsOf = { changed: 'changed', 'cannot-tell': 'cannot tell' } as const;

function headlineOf({ verdict, mode, findings, changedSectors, drive }: VerifyResult): string {
  const bytes = formatBytes(changedSectors * (drive?.sectorBytes ?? 512));
  switch (verdict) {
    case 'unchanged':
      return mode === 'quick' ? 'unchanged, as far as a sample tells' : 'unchanged';
    case 'changed':
      if (changedSectors > 0) return `changed: ${changedSectors} sectors (${bytes})`;
      return `changed: ${[...new Set(findings.filter(({ result }) => result === 'changed').map(({ check }) => check))].join(', ')}`;
    case 'cannot-tell':
      return 'cannot tell: nothing was found changed, but not all of it is vouched for';
  }
}

function formatPlace({ lba, count: sectors, fromByte, byteCount }: ChangedPlace): string {
  return `LBA ${lba} to ${lba + sectors - 1}, bytes ${fromByte} to ${fromByte + byteCount - 1}, finished in the map`;
}
