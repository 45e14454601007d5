/** What `export` and `import` print. */

import { z } from 'zod';
import { statusNames } from '../map/status.js';
import { formatBytes, formatShare } from './format.js';

const count = z.number().int().nonnegative();

/** Sectors by what is known of them; unread and unreadable stay apart. */
const sectorCounts = z.object({
  total: count,
  finished: count,
  nonTried: count,
  nonTrimmed: count,
  nonScraped: count,
  bad: count,
});

/** What `export --json` prints. */
export const exportResultSchema = z.object({
  schema: z.literal('lastspin/export-result/1'),
  format: z.enum(['e01', 'dfxml']),
  image: z.string(),
  /** What was written, in order. */
  files: z.array(z.string()),
  writtenBytes: count,
  sectorBytes: count,
  sectors: sectorCounts,
  /** Of an E01: hashes of the medium, with zeros for what was not read, and its list of unread areas. */
  medium: z
    .object({
      md5: z.string(),
      sha1: z.string(),
      listedAreas: count,
      /** Sectors that were not read and lie behind the list's last number, 2^32 - 1. */
      unlistedSectors: count,
    })
    .nullable(),
});

export type ExportResult = z.infer<typeof exportResultSchema>;

/** What `import --json` prints. */
export const importResultSchema = z.object({
  schema: z.literal('lastspin/import-result/1'),
  from: z.enum(['ddrescue', 'opensuperclone']),
  project: z.string(),
  image: z.string(),
  imageBytes: count,
  map: z.string(),
  /** As the project names the drive; null where it does not. */
  drive: z.object({ model: z.string(), serial: z.string() }).nullable(),
  bytes: sectorCounts,
  areas: count,
  /** Blocks whose status nobody knows; they are to be read again. */
  unknownBlocks: count,
});

export type ImportResult = z.infer<typeof importResultSchema>;

export function formatExport(result: ExportResult): string {
  const { sectors, medium, files, writtenBytes } = result;
  const last = files.length > 1 ? ` to ${files.at(-1)}` : '';
  const lines = [
    `written:       ${files[0]}${last}, ${formatBytes(writtenBytes)}`,
    `read:          ${sectors.finished} of ${sectors.total} sectors (${formatShare(sectors.finished, sectors.total)})`,
    ...missingLines(sectors, 'sectors'),
  ];
  if (medium) {
    if (medium.listedAreas > 0)
      lines.push(
        `listed:        ${medium.listedAreas} areas that were not read, zeros in the medium`,
      );
    if (medium.unlistedSectors > 0)
      lines.push(
        `not listed:    ${medium.unlistedSectors} unread sectors behind LBA 4294967295, where the list's numbers end; export a .dfxml too`,
      );
    lines.push(`MD5:           ${medium.md5}`, `SHA-1:         ${medium.sha1}`);
  }
  return `${lines.join('\n')}\n`;
}

export function formatImport(result: ImportResult): string {
  const { bytes, drive, unknownBlocks } = result;
  const lines = [
    `taken over:    ${result.project} (${result.from}), ${result.areas} areas, as ${result.map}`,
    ...(drive ? [`drive:         ${[drive.model, drive.serial].filter(Boolean).join(' ')}`] : []),
    `finished:      ${bytes.finished} of ${bytes.total} bytes (${formatShare(bytes.finished, bytes.total)})`,
    ...missingLines(bytes, 'bytes'),
    ...(unknownBlocks > 0
      ? [
          `unknown:       ${unknownBlocks} blocks with a status that nobody knows are to be read again`,
        ]
      : []),
    `to go on:      npx lastspin image DRIVE ${result.image}`,
  ];
  return `${lines.join('\n')}\n`;
}

function missingLines(counts: z.infer<typeof sectorCounts>, unit: string): string[] {
  const named = [
    ['non-tried', counts.nonTried],
    ['non-trimmed', counts.nonTrimmed],
    ['non-scraped', counts.nonScraped],
    ['bad', counts.bad],
  ] as const;
  return named
    .filter(([, missing]) => missing > 0)
    .map(([name, missing]) => `${`${name}:`.padEnd(15)}${missing} ${unit}`);
}

/** Counts from a number for each status code, in `statusNames`' order. */
export function countsOf(byCode: readonly number[]): z.infer<typeof sectorCounts> {
  const [nonTried = 0, nonTrimmed = 0, nonScraped = 0, bad = 0, finished = 0] = byCode;
  const total = statusNames.reduce((sum, _, code) => sum + (byCode[code] ?? 0), 0);
  return { total, finished, nonTried, nonTrimmed, nonScraped, bad };
}
