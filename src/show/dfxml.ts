/** What of an image was read, as Digital Forensics XML. Elements are those of the DFXML working group's schema; what
 * it has no words for, areas that were not read and why, stands in a namespace of its own, by names that its readers
 * do not know in any namespace: some look at no more than a name. */

import type { DriveIdentity } from '../drive/drive.js';
import { type Extent, endOf } from '../map/extent.js';
import type { RunMap } from '../map/run-map.js';
import { statuses, statusNames } from '../map/status.js';

/** What people wrote of a case. */
export interface CaseWords {
  readonly case?: string;
  readonly evidence?: string;
  readonly examiner?: string;
  readonly description?: string;
  readonly notes?: string;
}

export interface DfxmlContent extends CaseWords {
  readonly image: string;
  readonly map: RunMap;
  readonly sectorBytes: number;
  /** Absent where another program wrote the map. */
  readonly drive?: DriveIdentity;
  /** Of this program. */
  readonly version: string;
  readonly platform: string;
  readonly startedAt: Date;
  /** When the drive was last read. */
  readonly acquiredAt: Date;
  /** SHA-256 of areas that were read, in ascending order; those that do not fit the map are left out. */
  readonly hashes?: AsyncIterable<AreaHash>;
}

export interface AreaHash extends Extent {
  /** In hex. */
  readonly sha256: string;
}

const namespaces = [
  'xmlns="http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML"',
  'xmlns:dc="http://purl.org/dc/elements/1.1/"',
  'xmlns:lastspin="urn:lastspin:dfxml:1"',
].join(' ');

/** The document in pieces of some lines each. */
export async function* formatDfxml(content: DfxmlContent): AsyncGenerator<string> {
  const { map, sectorBytes } = content;
  yield headOf(content);
  yield '    <byte_runs>\n';
  yield* pieces(readAreas(content), ({ lba, count, sha256 }) => {
    const run = `byte_run img_offset="${lba * sectorBytes}" len="${count * sectorBytes}"`;
    if (sha256 === undefined) return `      <${run}/>\n`;
    return `      <${run}><hashdigest type="sha256">${sha256}</hashdigest></byte_run>\n`;
  });
  yield '    </byte_runs>\n';
  for (const code of [0, 1, 2, 3]) {
    if (map.countOf(code) === 0) continue;
    yield `    <lastspin:areas status="${statusNames[code]}">\n`;
    yield* pieces(runsOf(map, code), ({ lba, count }) => {
      const offsets = `img_offset="${lba * sectorBytes}" len="${count * sectorBytes}"`;
      return `      <lastspin:area ${offsets}/>\n`;
    });
    yield '    </lastspin:areas>\n';
  }
  yield '  </diskimageobject>\n</dfxml>\n';
}

function headOf(content: DfxmlContent): string {
  const { image, map, sectorBytes, drive, version, platform, startedAt } = content;
  const words = [
    ['case_number', content.case],
    ['evidence_number', content.evidence],
    ['examiner_name', content.examiner],
    ['description', content.description],
    ['notes', content.notes],
    ['acquired', content.acquiredAt.toISOString()],
    ['model', drive?.model],
    ['serial_number', drive?.serial],
    ['firmware', drive?.firmware],
  ]
    .filter(([, text]) => text !== undefined && text !== '')
    .map(([name, text]) => `    <lastspin:${name}>${escaped(text!)}</lastspin:${name}>\n`);
  return [
    '<?xml version="1.0" encoding="UTF-8"?>\n',
    `<dfxml version="1.3.0" ${namespaces}>\n`,
    '  <metadata>\n    <dc:type>Disk image sector map</dc:type>\n  </metadata>\n',
    '  <creator>\n',
    `    <program>lastspin</program>\n    <version>${escaped(version)}</version>\n`,
    '    <execution_environment>\n',
    `      <os_sysname>${escaped(platform)}</os_sysname>\n`,
    `      <start_time>${startedAt.toISOString()}</start_time>\n`,
    '    </execution_environment>\n  </creator>\n',
    `  <source>\n    <image_filename>${escaped(image)}</image_filename>\n  </source>\n`,
    '  <diskimageobject>\n',
    ...words,
    `    <sector_size>${sectorBytes}</sector_size>\n`,
    `    <filesize>${map.size * sectorBytes}</filesize>\n`,
  ].join('');
}

/** Text of an element; characters that XML 1.0 cannot hold become U+FFFD. */
function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd');
}

type Area = Extent & { readonly sha256?: string };

/** Finished areas in order, cut where hashes of a part of them are known. */
async function* readAreas({ map, hashes }: DfxmlContent): AsyncGenerator<Area> {
  const iterator = hashes?.[Symbol.asyncIterator]();
  const nextHash = async () => {
    const step = await iterator?.next();
    return step === undefined || step.done ? undefined : step.value;
  };
  let hash = await nextHash();
  for (const run of runsOf(map, statuses.finished)) {
    let { lba } = run;
    while (hash && hash.lba < endOf(run)) {
      const isWithin = hash.lba >= lba && hash.count > 0 && endOf(hash) <= endOf(run);
      if (isWithin) {
        if (hash.lba > lba) yield { lba, count: hash.lba - lba };
        yield hash;
        lba = endOf(hash);
      }
      hash = await nextHash();
    }
    if (lba < endOf(run)) yield { lba, count: endOf(run) - lba };
  }
}

function* runsOf(map: RunMap, code: number): Generator<Extent, void, undefined> {
  for (let lba = 0; lba < map.size; ) {
    const run = map.next(lba, code);
    if (!run) return;
    yield run;
    lba = endOf(run);
  }
}

const pieceChars = 1 << 16;

/** Lines joined: a map may have millions. */
async function* pieces<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  lineOf: (item: Item) => string,
): AsyncGenerator<string> {
  let piece = '';
  for await (const item of items) {
    piece += lineOf(item);
    if (piece.length < pieceChars) continue;
    yield piece;
    piece = '';
  }
  if (piece !== '') yield piece;
}
