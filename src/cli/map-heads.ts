/** `lastspin map show FILE --heads`: what is known of a drive's heads. */

import { nodeFiles } from '../image/node-files.js';
import { recallState } from '../job/case-files.js';
import { openEnd } from '../map/algebra.js';
import { type ParsedMap, sectorMapOf } from '../map/mapfile.js';
import type { RunMap } from '../map/run-map.js';
import { statuses } from '../map/status.js';
import type { HeadMapFile } from '../plan/head-map-schema.js';
import { type HeadReport, headMapFileOf, headReport } from '../plan/head-report.js';
import { weakBandFrom } from '../plan/heads.js';
import { type Learned, learnAreas } from '../plan/learned.js';
import { learnedFromMap, physicalCountIn } from '../plan/map-evidence.js';
import { formatBytes, formatShare } from '../show/format.js';
import {
  loadMap,
  nameOf,
  type OutputOptions,
  print,
  sectorBytesFrom,
  startOf,
  usage,
  writeOut,
} from './map-files.js';
import { columnsOf, letterPicture, type Marks } from './map-render.js';

interface HeadsOptions extends OutputOptions {
  readonly json?: boolean;
  readonly sector?: string;
}

/** A map and what is known of its drive's heads. */
interface Found {
  readonly map: RunMap;
  readonly learned: Learned;
  readonly sectorBytes: number;
  /** Whether a job learned it, from its reads; else it is from the damage in the map alone. */
  readonly isCase: boolean;
}

/** `lastspin map show FILE --heads` */
export async function mapHeads(path: string, options: HeadsOptions): Promise<number> {
  const parsed = loadMap(path);
  const found = await findHeads(path, parsed, options);
  const report = headReport(found.learned, found.map.size);
  if (options.output !== undefined) {
    const file = headMapFileOf(report, found.learned.given, found.sectorBytes);
    if (!file) throw usage(`no head map to write: ${nothingKnown(path, found)}`);
    await writeOut([headMapText(file, whereFrom(path, report, found))], options, isHeadMap);
    return 0;
  }
  if (options.json) {
    await print(`${JSON.stringify(reportObject(path, report, found))}\n`);
    return 0;
  }
  await print(reportText(path, report, found));
  if (report.bands.length === 0 && report.dead.length === 0) return 0;
  const { marks, isFine } = marksOf(found, report);
  if (!isFine) {
    await print(
      'bands are narrower than a letter; map render --heads --from --size shows a part\n',
    );
    return 0;
  }
  await print('\n');
  const window = { from: parsed.starts[0] ?? 0, to: parsed.end };
  const columns = columnsOf(process.stdout);
  for (const line of letterPicture(parsed, window, columns, pictureRows, marks)) await print(line);
  return 0;
}

const pictureRows = 16;

/** The marks of weak and dead heads in a picture of this map. */
export async function headMarks(
  path: string,
  options: { readonly sector?: string },
): Promise<Marks> {
  const found = await findHeads(path, loadMap(path), options);
  return marksOf(found, headReport(found.learned, found.map.size)).marks;
}

/** What the case knows whose map this is; where it is another program's, what its damage tells. */
async function findHeads(
  path: string,
  parsed: ParsedMap,
  options: { readonly sector?: string },
): Promise<Found> {
  const known = path === '-' ? undefined : await recallState(nodeFiles(), path);
  if (known) {
    const { map, learned, sectorBytes, physicalCount } = known.state.plan;
    // Rows that do not go by heads leave it unlearned.
    if (!learned.heads) learnAreas(learned, map);
    if (learned.heads || learned.given) return { map, learned, sectorBytes, isCase: true };
    return { map, learned: learnedFromMap(map, physicalCount), sectorBytes, isCase: false };
  }
  const sectorBytes = sectorBytesFrom(options);
  if (parsed.end === openEnd || parsed.starts.length === 0)
    throw usage(
      `${nameOf(path)} does not say how large the drive is; nothing is known of its heads`,
    );
  const sectorCount = Math.ceil(parsed.end / sectorBytes);
  const map = sectorMapOf(parsed, { sectorBytes, sectorCount }, nameOf(path));
  return { map, learned: learnedFromMap(map, physicalCountIn(map)), sectorBytes, isCase: false };
}

function marksOf(
  { learned, sectorBytes, map }: Found,
  { bands, bandSectors, weak, dead }: HeadReport,
): { marks: Marks; isFine: boolean } {
  const { given } = learned;
  const number = weak.length === 1 ? weak[0]!.toString(36).slice(-1) : 'w';
  const letter = given ? number : 'w';
  const isDead = (lba: number) => dead.includes((given?.map.valueAt(lba) ?? 0) - 1);
  const key = [
    ...(bands.length > 0 ? [`${letter} weak head`] : []),
    ...(dead.length > 0 ? ['x dead head'] : []),
    '. others',
  ];
  const cellSectors = map.size / (columnsOf(process.stdout) * pictureRows);
  return {
    isFine: (bandSectors ?? given?.bands[dead[0] ?? 0]?.[0]?.count ?? 0) >= cellSectors,
    marks: {
      key: `below: ${key.join('  ')}`,
      at(byte) {
        const lba = Math.min(map.size - 1, Math.floor(byte / sectorBytes));
        if (isDead(lba)) return 'x';
        const band = weakBandFrom(learned.heads, lba);
        return band && band.lba <= lba ? letter : '.';
      },
    },
  };
}

function whereFrom(path: string, { source }: HeadReport, { isCase }: Found): string {
  if (source === 'given') return `given to the job of ${nameOf(path)}`;
  return isCase
    ? `inferred from the reads of ${nameOf(path)}`
    : `inferred from the damage in ${nameOf(path)} alone`;
}

function nothingKnown(path: string, { map, isCase }: Found): string {
  const areas = map.runsOf(statuses['bad-sector']) + map.runsOf(statuses['non-trimmed']);
  const what = isCase ? 'what was read for' : 'the damage in';
  return `${what} ${nameOf(path)} is too little, or too irregular, to tell a weak head (${areas} damaged areas)`;
}

function reportText(path: string, report: HeadReport, found: Found): string {
  if (report.source === 'none') return `no head map: ${nothingKnown(path, found)}\n`;
  const { sectorBytes } = found;
  const size = (sectors: number) => `${sectors} sectors (${formatBytes(sectors * sectorBytes)})`;
  const isGiven = report.source === 'given';
  const lines: [string, string][] = [
    ['head map', whereFrom(path, report, found)],
    ...(report.title === undefined ? [] : ([['title', report.title]] as [string, string][])),
    ['heads', `${report.heads}${isGiven ? '' : ', as far as the distance of the bands tells'}`],
    ['weak', weakText(report)],
    ...(report.dead.length > 0 ? ([['dead', report.dead.join(', ')]] as [string, string][]) : []),
  ];
  const { bands, bandSectors, periodSectors } = report;
  if (bandSectors !== undefined) {
    const every = periodSectors === undefined ? '' : `, one every ${size(periodSectors)}`;
    lines.push(
      [
        'bands',
        `${bands.length} of ${size(bandSectors)}${every}, the first at LBA ${bands[0]!.lba}`,
      ],
      ['met', `damage or slowness in ${report.bandsMet} of them`],
      ['cost', costText(report, found)],
      ['sure', sureText(report)],
    );
  }
  return lines.map(([name, text]) => `${name.padEnd(9)} ${text}\n`).join('');
}

function weakText({ source, weak, isWeakGiven, heads }: HeadReport): string {
  if (weak.length === 0) return isWeakGiven ? 'none, as it was said' : 'none, as far as reads tell';
  if (source === 'given')
    return `${weak.join(', ')}${isWeakGiven ? '' : ', found by how they read'}`;
  return `one of ${heads}, number ${weak[0]} if the first band of the drive is number 0's`;
}

function costText(
  { slowness, spotRate, spotRateElsewhere }: HeadReport,
  { isCase }: Found,
): string {
  const perSpot = (rate: number) => `1 bad spot in ${Math.max(1, Math.round(1 / rate))}`;
  const spots =
    spotRate === undefined
      ? 'nothing was read there yet'
      : spotRate === 0
        ? 'no bad spot there so far'
        : `${perSpot(spotRate)} physical sectors there, ${perSpot(spotRateElsewhere ?? 0)} elsewhere`;
  if (!isCase) return `${spots}; a map does not tell how slow it is`;
  return slowness !== undefined && slowness > 2
    ? `reads take up to ${Number(slowness.toPrecision(2))} times as long; ${spots}`
    : spots;
}

/** Beyond so much evidence the number says nothing more to anybody. */
const evidenceShownMax = 14;

function sureText({ evidence, bands, bandsMet, isWeakGiven }: HeadReport): string {
  if (isWeakGiven || evidence === undefined) return 'said by hand';
  const odds =
    evidence > evidenceShownMax ? 'more than a million' : Math.round(Math.exp(evidence)).toString();
  const share = formatShare(bandsMet, bands.length);
  return `${odds} times likelier than chance, seen in ${share} of the bands`;
}

function reportObject(file: string, report: HeadReport, { isCase, sectorBytes }: Found) {
  const { bands, source, ...numbers } = report;
  const inferredFrom = source !== 'inferred' ? null : isCase ? 'reads' : 'map';
  const orNull = (value: unknown) => (value === undefined ? null : value);
  const flat = Object.fromEntries(
    Object.entries(numbers).map(([name, value]) => [name, orNull(value)]),
  );
  return {
    schema: 'lastspin/map-heads/1',
    file,
    source,
    inferredFrom,
    sectorBytes,
    ...flat,
    weakBands: bands.map(({ lba, count }) => ({ lba, count })),
  };
}

/** What our own head map files begin with. */
const headMapStart = '# Head map, ';

function isHeadMap(path: string): boolean {
  return new TextDecoder().decode(startOf(path)).startsWith(headMapStart);
}

/** A head map file, a line a band. */
function headMapText(file: HeadMapFile, origin: string): string {
  const { zones = [], bands = [], ...top } = file;
  const list = (name: string, entries: readonly object[]) =>
    entries.length === 0
      ? ''
      : `${name}:\n${entries.map((entry) => `  - ${JSON.stringify(entry)}\n`).join('')}`;
  const words = Object.entries(top).map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`);
  return `${headMapStart}${origin.replaceAll(/\s+/g, ' ')}.\n${words.join('')}${list('zones', zones)}${list('bands', bands)}`;
}
