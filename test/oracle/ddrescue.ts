/** GNU ddrescue as judge of plans: it reads a drive whose damage is a map (`-H`), and logs every read. */

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { type Extent, endOf } from '../../src/map/extent.js';
import { parseMapFile, sectorMapOf } from '../../src/map/mapfile.js';
import { createRunMap, type RunMap } from '../../src/map/run-map.js';
import { statuses, statusLetters } from '../../src/map/status.js';

/** A drive in `sectorBytes`. ddrescue takes the last good sector of `-H` for the drive's end, so the last
 * one must be good. */
export interface OracleDisk {
  readonly sectorCount: number;
  readonly sectorBytes: number;
  /** Ascending, apart from each other. */
  readonly bad: readonly Extent[];
  /** What was read before, where not all is non-tried. */
  readonly initial?: RunMap;
}

/** `LBA+count`, with `!` where it failed: one text a read, so that a difference is readable. */
export type ReadText = string;

export function readText({ lba, count }: Extent, failed: boolean): ReadText {
  return `${lba}+${count}${failed ? '!' : ''}`;
}

/** Runs ddrescue on the disk to its end: its reads in order, and its final map. */
export function runDdrescue(
  disk: OracleDisk,
  options: readonly string[] = [],
): { reads: ReadText[]; map: RunMap } {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-ddrescue-'));
  const path = (name: string) => join(folder, name);
  try {
    writeFileSync(path('source'), '');
    truncateSync(path('source'), disk.sectorCount * disk.sectorBytes);
    writeFileSync(path('damage.map'), mapText(damageOf(disk), disk.sectorBytes));
    if (disk.initial) writeFileSync(path('result.map'), mapText(disk.initial, disk.sectorBytes));
    const own = ['-q', '-f', '-b', String(disk.sectorBytes), '-H', path('damage.map')];
    const files = [path('source'), '/dev/null', path('result.map')];
    const log = `--log-reads=${path('reads')}`;
    execFileSync('ddrescue', [...own, log, ...options, ...files]);
    const parsed = parseMapFile(readFileSync(path('result.map')), 'result.map');
    return {
      reads: readsOf(readFileSync(path('reads'), 'latin1'), disk.sectorBytes),
      map: sectorMapOf(parsed, disk, 'result.map'),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function damageOf({ sectorCount, bad }: OracleDisk): RunMap {
  const map = createRunMap(sectorCount, statuses.finished);
  for (const extent of bad) map.set(extent, statuses['bad-sector']);
  return map;
}

function mapText(map: RunMap, sectorBytes: number): string {
  const lines = ['0x0 ? 1'];
  map.forEachRun((lba, count, value) => {
    lines.push(`${lba * sectorBytes} ${count * sectorBytes} ${statusLetters[value]}`);
  });
  return `${lines.join('\n')}\n`;
}

function readsOf(log: string, sectorBytes: number): ReadText[] {
  const reads: ReadText[] = [];
  for (const line of log.split('\n')) {
    const [position, size, , errorSize] = line.split('\t');
    if (errorSize === undefined || line.startsWith('#')) continue;
    const extent = { lba: Number(position) / sectorBytes, count: Number(size) / sectorBytes };
    reads.push(readText(extent, Number(errorSize) > 0));
  }
  return reads;
}

/** The damaged sectors one by one, as the bench drive takes them. */
export function badSectors({ bad }: OracleDisk): Set<number> {
  const set = new Set<number>();
  for (const extent of bad) for (let lba = extent.lba; lba < endOf(extent); lba++) set.add(lba);
  return set;
}

/** Disks with single bad sectors, clusters and whole zones; on some, part was read before. */
export function disks(sectorBytes: number): fc.Arbitrary<OracleDisk> {
  return fc
    .oneof(
      { weight: 1, arbitrary: fc.integer({ min: 2, max: 400 }) },
      { weight: 3, arbitrary: fc.integer({ min: 400, max: 30_000 }) },
    )
    .chain((sectorCount) =>
      fc.record({
        sectorCount: fc.constant(sectorCount),
        sectorBytes: fc.constant(sectorBytes),
        bad: fc
          .array(spots(sectorCount), { maxLength: 12 })
          .map((each) => apart(each, sectorCount)),
        initial: fc.option(before(sectorCount), { nil: undefined, freq: 3 }),
      }),
    )
    .map(({ initial, ...disk }) => (initial ? { ...disk, initial } : disk));
}

function spots(sectorCount: number): fc.Arbitrary<Extent> {
  const counts = fc.oneof(
    fc.constant(1),
    fc.integer({ min: 1, max: 300 }),
    fc.integer({ min: 1, max: Math.ceil(sectorCount / 4) }),
  );
  return fc.record({ lba: fc.nat(sectorCount - 1), count: counts });
}

/** Joined where they touch, and the last sector left good. */
function apart(spots: readonly Extent[], sectorCount: number): Extent[] {
  const map = createRunMap(sectorCount);
  for (const { lba, count } of spots) {
    const end = Math.min(sectorCount - 1, lba + count);
    if (end > lba) map.set({ lba, count: end - lba }, 1);
  }
  return [...map.runs()].filter((run) => run.value === 1).map(({ lba, count }) => ({ lba, count }));
}

/** What an earlier run may have left. Non-scraped runs are left out: ddrescue never leaves one beside a
 * non-trimmed one, and trims towards it if made to. */
function before(sectorCount: number): fc.Arbitrary<RunMap> {
  const runs = fc.array(
    fc.record({
      count: fc.integer({ min: 1, max: 600 }),
      status: fc.constantFrom(...(['non-trimmed', 'bad-sector', 'finished', 'finished'] as const)),
      gap: fc.integer({ min: 0, max: 900 }),
    }),
    { maxLength: 30 },
  );
  return runs.map((each) => {
    const map = createRunMap(sectorCount);
    let lba = 0;
    for (const { count, status, gap } of each) {
      lba += gap;
      const fits = Math.min(count, sectorCount - lba);
      if (fits <= 0) break;
      map.set({ lba, count: fits }, statuses[status]);
      lba += fits;
    }
    return map;
  });
}

const realMapFolder = join(import.meta.dirname, '../../../shared/real-maps');

/** Names of the maps of real drives that lie beside this project; where there are none, says so. */
export function realMaps(): string[] {
  if (existsSync(realMapFolder))
    return readdirSync(realMapFolder).filter((name) => /\.map$/.test(name));
  console.warn('skipped: damage of real drives: ../shared/real-maps is not beside this project');
  return [];
}

/** Sectors around the damage that are left to read; what is further away counts as read before, which
 * keeps the test short. */
const aroundCount = 1000;
/** What of a long bad area is taken for damage, at each end. */
const badCountMax = 400;

/** What a map calls neither finished nor non-tried is bad; the drive ends soon behind the last of it. */
export function realDisk(name: string): OracleDisk {
  const path = join(realMapFolder, name);
  const parsed = parseMapFile(readFileSync(path), path);
  const sectorBytes = parsed.starts.every((start) => start % 2048 === 0) ? 2048 : 512;
  const whole = { sectorBytes, sectorCount: Math.ceil(parsed.end / sectorBytes) };
  const bad: Extent[] = [];
  for (const run of sectorMapOf(parsed, whole, path).runs()) {
    if (run.value === statuses.finished || run.value === statuses['non-tried']) continue;
    const last = bad.at(-1);
    const count = Math.min(run.count, badCountMax);
    if (last && endOf(last) === run.lba)
      bad[bad.length - 1] = { ...last, count: last.count + count };
    else bad.push({ lba: run.lba, count });
  }
  const sectorCount = Math.min(whole.sectorCount, endOf(bad.at(-1)!)) + aroundCount;
  const initial = createRunMap(sectorCount, statuses.finished);
  for (const { lba, count } of bad) {
    const from = Math.max(0, lba - aroundCount);
    const end = Math.min(sectorCount, lba + count + aroundCount);
    initial.set({ lba: from, count: end - from }, statuses['non-tried']);
  }
  return { sectorCount, sectorBytes, bad, initial };
}
