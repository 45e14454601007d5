/** A job at a glance, as plain text for whoever has the drive on the bench. Pure. */

import type { LogPosition } from '../image/event-log.js';
import type { WholeSum } from '../image/whole-hashes.js';
import type { CaseData } from '../job/case-data.js';
import type { JobEvent } from '../job/events.js';
import { isoTime } from '../job/recorded.js';
import type { RunMap } from '../map/run-map.js';
import { type Status, statuses } from '../map/status.js';
import { describeLeftOff } from '../power/power.js';
import { formatBytes, formatDuration, formatOutcome, formatShare } from './format.js';
import { formatAttached, type ImageResult } from './result.js';
import { describeFull } from './terminal.js';

export interface ReportFacts {
  readonly version: string;
  readonly ending: 'finished' | 'stopped' | 'gave-up' | 'failed';
  readonly why: string;
  /** Counts and identities; how it ended stands above. */
  readonly result: ImageResult;
  readonly map: RunMap;
  readonly caseData: CaseData;
  /** Wall clock, ms since 1970. */
  readonly begunAtMs: number;
  readonly endedAtMs: number;
  /** When the event log began, as it says. */
  readonly onRecordSince?: string | undefined;
  readonly lastLine: LogPosition;
  /** Stretches and sectors that the list of hashes has a hash of; absent where there is no such list. */
  readonly hashed?: { readonly stretches: number; readonly sectors: number } | undefined;
  readonly sums: readonly WholeSum[];
  /** The files that there are, image and map first. */
  readonly files: readonly string[];
  readonly notices: readonly string[];
}

/** Areas that are listed of each status, and notices. */
const areasMax = 100;
const noticesMax = 100;
const endings = {
  finished: 'finished',
  stopped: 'stopped by request; it can be gone on with',
  'gave-up': 'gave up',
  failed: 'failed',
} as const;
const statusTexts: readonly [Status, string][] = [
  ['bad-sector', 'unreadable: read one by one, and failed (bad-sector)'],
  ['non-scraped', 'not read yet, inside an area that failed (non-scraped)'],
  ['non-trimmed', 'not read yet, inside an area that failed (non-trimmed)'],
  ['non-tried', 'never tried'],
];

/** What an event says that belongs into a report. */
export function noticeOf(event: JobEvent): string | undefined {
  switch (event.kind) {
    case 'noticed':
      return `imager: ${event.text}`;
    case 'doubted':
      return `doubtful data: ${event.why}`;
    case 'power-failed':
      return `${event.power} could not switch the power: ${event.why}`;
    case 'target-full':
      return describeFull(event);
    default:
      return undefined;
  }
}

/** The whole report. */
export function formatReport(facts: ReportFacts): string {
  const { result, version, endedAtMs } = facts;
  const sections: readonly [string, readonly string[]][] = [
    ['Case', caseRows(facts)],
    ['Drive', driveRows(result)],
    ['Job', jobRows(facts)],
    ['Sectors', sectorRows(facts)],
    ...statusTexts.map(
      ([status, text]) =>
        [`LBA ${text}`, areaRows(facts.map, status)] as [string, readonly string[]],
    ),
    ['Hashes', hashRows(facts)],
    ['Files', facts.files],
    ['Notices', bounded([...new Set(facts.notices)], noticesMax)],
    ['When it had ended', result.actions.map((each) => row(each.action, formatOutcome(each)))],
  ];
  const body = sections
    .filter(([, rows]) => rows.length > 0)
    .map(([title, rows]) => `\n${title}\n${rows.map((text) => `  ${plain(text)}\n`).join('')}`);
  const head = `${plain(result.image)}: what was read\nwritten by lastspin ${version}, ${isoTime(endedAtMs)}\n`;
  return head + body.join('');
}

function row(name: string, text: string): string {
  return `${name.padEnd(16)} ${text}`;
}

/** One line of text, whatever a drive or a person called something. */
function plain(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '\ufffd');
}

function caseRows({ caseData: { number, evidence, examiner, note } }: ReportFacts): string[] {
  const [first, ...others] = note?.split('\n').map((line) => line.replaceAll('\t', ' ')) ?? [];
  return [
    ...(number === undefined ? [] : [row('case', number)]),
    ...(evidence === undefined ? [] : [row('evidence', evidence)]),
    ...(examiner === undefined ? [] : [row('examiner', examiner)]),
    ...(first === undefined ? [] : [row('note', first), ...others.map((line) => row('', line))]),
  ];
}

function driveRows(result: ImageResult): string[] {
  const { drive, kind, formerDrives, hiddenSectors, hostAttached, merged } = result;
  const { model, serial, firmware, sectorCount, sectorBytes, physicalSectorBytes } = drive;
  const size = formatBytes(sectorCount * sectorBytes);
  return [
    row('model', model),
    row('serial', serial),
    row('firmware', firmware),
    row('size', `${size}: ${sectorCount} sectors of ${sectorBytes} bytes`),
    row('physical sector', `${physicalSectorBytes} bytes`),
    row('hidden', hiddenSectors === null ? 'could not be asked' : `${hiddenSectors} sectors`),
    row('kind', kind),
    ...formerDrives.map((former) => row('before as', `${former.model} ${former.serial}`)),
    ...(merged?.images.map(({ image }) => row('merged from', image)) ?? []),
    ...(merged ? [row('conflicts', `${merged.conflicts}, ${merged.unresolved} left unread`)] : []),
    ...(hostAttached ? [row('source', formatAttached(hostAttached))] : []),
  ];
}

function jobRows({ ending, why, result, begunAtMs, endedAtMs, ...facts }: ReportFacts): string[] {
  const { reads, failingReads, resets, powerCycles, portResets, powerLeftOff } = result;
  return [
    row('ended', ending === 'finished' ? endings[ending] : `${endings[ending]}: ${why}`),
    ...(facts.onRecordSince === undefined ? [] : [row('on record since', facts.onRecordSince)]),
    row('this run began', isoTime(begunAtMs)),
    row('and ended', `${isoTime(endedAtMs)}, after ${formatDuration(result.elapsedMs)} of reading`),
    row('reads', `${reads}, ${failingReads} failing, over all runs`),
    row('resets', `${resets}`),
    row('power cycles', `${powerCycles}${portResets > 0 ? `; ${portResets} port resets` : ''}`),
    ...(powerLeftOff ? [row('power', describeLeftOff(powerLeftOff))] : []),
  ];
}

function sectorRows({ result: { sectors, domain, drive, compared, unstable } }: ReportFacts) {
  const counted = (name: string, count: number) =>
    row(
      name,
      `${count} sectors, ${formatBytes(count * drive.sectorBytes)}, ${formatShare(count, sectors.total)}`,
    );
  const { nonTried, nonTrimmed, nonScraped } = sectors;
  return [
    counted('read', sectors.finished),
    counted('unreadable', sectors.bad),
    counted('not read yet', nonTried + nonTrimmed + nonScraped),
    ...(domain.total < sectors.total
      ? [
          counted('of the domain', domain.finished),
          counted('outside of it', sectors.total - domain.total),
        ]
      : []),
    ...(compared > 0 ? [counted('compared', compared)] : []),
    ...(unstable.sectors > 0 ? [counted('unstable', unstable.sectors)] : []),
  ];
}

/** The areas of a status, and how many more there are. */
function areaRows(map: RunMap, status: Status): string[] {
  const code = statuses[status];
  const rows: string[] = [];
  let listed = 0;
  for (const { lba, count, value } of map.runs()) {
    if (value !== code) continue;
    if (rows.length === areasMax) break;
    rows.push(`${lba} to ${lba + count - 1} (${count})`);
    listed += count;
  }
  const areas = map.runsOf(code) - rows.length;
  if (areas > 0) rows.push(`and ${areas} more areas with ${map.countOf(code) - listed} sectors`);
  return rows;
}

function hashRows({ sums, hashed, lastLine }: ReportFacts): string[] {
  return [
    ...sums.map(({ algorithm, digest, file }) => row(algorithm, `${digest} (${file})`)),
    ...(hashed
      ? [row('of stretches', `${hashed.stretches}, SHA-256, of ${hashed.sectors} sectors`)]
      : []),
    row('event log', `line ${lastLine.n}: ${lastLine.hash}`),
  ];
}

function bounded(lines: readonly string[], most: number): string[] {
  const more = lines.length - most;
  return [...lines.slice(0, most), ...(more > 0 ? [`and ${more} more`] : [])];
}
