/** What ddrescuelog does with whole maps: combine, change, compare, shift, measure. Positions are
 * bytes; every function returns new runs, in time linear in the runs of its arguments. */

import {
  type Domain,
  isInside,
  openEnd,
  outside,
  type Runs,
  runsBuilder,
  walk,
} from './algebra-runs.js';
import type { ByteCount } from './mapfile.js';
import { type Status, type StatusCode, statuses, statusNames } from './status.js';

export { type Domain, domainRuns, openEnd, outside, type Runs } from './algebra-runs.js';

export type CombineOperator = 'and' | 'or' | 'xor';

const { finished, 'bad-sector': badSector, 'non-tried': nonTried } = statuses;

/** Combines the finished blocks of two maps where both speak and the domain is. Finished blocks
 * that are not in the result become bad sectors; everything else keeps the first map's status, and
 * the result has the first map's extent (ddrescuelog -y, -z, -x). */
export function combine(operator: CombineOperator, map: Runs, other: Runs, domain: Domain): Runs {
  return rewrite([map, other, domain], ([code, otherCode, inDomain]) => {
    if (!isInside(inDomain) || otherCode === outside) return code!;
    const [first, second] = [code === finished, otherCode === finished];
    if (operator === 'and') return first && !second ? badSector : code!;
    if (operator === 'or') return second ? finished : code!;
    if (!second) return code!;
    return first ? badSector : finished;
  });
}

/** Gives every byte of the domain the status that `table` holds for its present one
 * (ddrescuelog -a). */
export function changeStatuses(map: Runs, table: readonly StatusCode[], domain: Domain): Runs {
  return rewrite([map, domain], ([code, inDomain]) => (isInside(inDomain) ? table[code!]! : code!));
}

/** Finished becomes bad sector, everything else finished (ddrescuelog -n). */
export const inversion: readonly StatusCode[] = [finished, finished, finished, finished, badSector];

/** The first map's extent with new codes. */
function rewrite(maps: readonly Runs[], codeOf: (codes: Uint8Array) => number): Runs {
  const builder = runsBuilder(maps[0]!.starts.length);
  walk(maps, (from, to, codes) => {
    if (codes[0] !== outside) builder.append(from, to, codeOf(codes));
  });
  return builder.finish();
}

/** For every byte the most processed status that any of the maps gives it, over all that any speaks
 * of; a gap between them is non-tried. What several images of one drive hold together. Outside the
 * domain only the first map counts. */
export function unionOf(maps: readonly Runs[], domain: Domain): Runs {
  const builder = runsBuilder(maps[0]?.starts.length);
  let end = -1;
  walk([...maps, domain], (from, to, codes) => {
    const count = isInside(codes[maps.length]) ? maps.length : 1;
    let best = -1;
    for (let i = 0; i < count; i++) if (codes[i] !== outside && codes[i]! > best) best = codes[i]!;
    if (best < 0) return;
    if (end >= 0) builder.append(end, from, nonTried);
    builder.append(from, to, best);
    end = to;
  });
  return builder.finish();
}

/** Finds which map holds each finished byte of the domain, the first of several.
 * @param visit sees maximal spans, each with its map's index */
export function forEachSource(
  maps: readonly Runs[],
  domain: Domain,
  visit: (from: number, to: number, index: number) => void,
): void {
  let [spanFrom, spanTo, source] = [0, 0, -1];
  walk([...maps, domain], (from, to, codes) => {
    const first = isInside(codes[maps.length]) ? codes.indexOf(finished) : -1;
    const found = first === maps.length ? -1 : first;
    if (found === source && from === spanTo) {
      spanTo = to;
      return;
    }
    if (source >= 0) visit(spanFrom, spanTo, source);
    [spanFrom, spanTo, source] = [from, to, found];
  });
  if (source >= 0) visit(spanFrom, spanTo, source);
}

/** Finds where two maps differ within the domain. Where only one of them speaks, they differ;
 * `finishedOnly` compares them as domain maps, and nothing said is then as good as not finished
 * (ddrescuelog -p, -P).
 * @param visit sees maximal spans with both codes, `outside` where a map says nothing
 * @returns how many bytes of the domain were compared */
export function forEachDifference(
  [first, second]: readonly [Runs, Runs],
  domain: Domain,
  finishedOnly: boolean,
  visit: (from: number, to: number, code: number, otherCode: number) => void,
): number {
  let compared = 0;
  let [spanFrom, spanTo, spanCode, spanOther] = [0, 0, 0, 0];
  const flush = () => {
    if (spanTo > spanFrom) visit(spanFrom, spanTo, spanCode, spanOther);
  };
  walk([first, second, domain], (from, to, [code, other, inDomain]) => {
    if (!isInside(inDomain) || (code === outside && other === outside)) return;
    compared += to - from;
    if (code === other) return;
    if (finishedOnly && code !== finished && other !== finished) return;
    if (from === spanTo && code === spanCode && other === spanOther) {
      spanTo = to;
      return;
    }
    flush();
    [spanFrom, spanTo, spanCode, spanOther] = [from, to, code!, other!];
  });
  flush();
  return compared;
}

/** Moves all blocks by `offset` bytes. What comes to lie below 0 is cut off, and so is what stood
 * behind the end of the domain; moved up, a map begins with a non-tried block from 0
 * (ddrescuelog --shift). An open end stays open. */
export function shift(map: Runs, offset: number, domain: Domain): Runs {
  const domainEnd = statisticsWithin(map, domain).end;
  const builder = runsBuilder(map.starts.length + 1);
  const place = (position: number) =>
    position === openEnd ? openEnd : Math.min(Math.max(position + offset, 0), openEnd);
  if (offset > 0 && map.starts.length > 0 && map.starts[0]! < domainEnd) {
    builder.append(0, place(map.starts[0]!), nonTried);
  }
  walk([map], (from, to, [code]) => {
    if (from >= domainEnd) return false;
    builder.append(place(from), place(Math.min(to, domainEnd)), code!);
    return undefined;
  });
  return builder.finish();
}

/** Moves every change of status within the map to a multiple of `sectorBytes`. A sector that held
 * several statuses gets the least processed of them, so that nothing is claimed that was not read
 * whole. Where the map begins and ends stays. */
export function alignToSectors(map: Runs, sectorBytes: number): Runs {
  const builder = runsBuilder(map.starts.length);
  let sectorFrom = 0;
  /** The least status in the sector that began at `sectorFrom` and is not full yet. */
  let least: number = outside;
  walk([map], (from, to, [code]) => {
    let at = from;
    if (least !== outside) {
      const sectorEnd = (Math.floor(from / sectorBytes) + 1) * sectorBytes;
      least = Math.min(least, code!);
      if (to < sectorEnd && to < map.end) return;
      at = Math.min(sectorEnd, to);
      builder.append(sectorFrom, at, least);
      least = outside;
    }
    const wholeEnd = to === map.end ? to : Math.floor(to / sectorBytes) * sectorBytes;
    builder.append(at, wholeEnd, code!);
    sectorFrom = Math.max(at, wholeEnd);
    if (sectorFrom < to) least = code!;
  });
  return builder.finish();
}

/** Whether all that the map speaks of within the domain is finished (ddrescuelog -D). True where it
 * speaks of nothing: ask `statisticsWithin` first. */
export function isFinished(map: Runs, domain: Domain): boolean {
  let isDone = true;
  walk([map, domain], (_from, _to, [code, inDomain]) => {
    if (isInside(inDomain) && code !== outside && code !== finished) isDone = false;
    return isDone ? undefined : false;
  });
  return isDone;
}

/** What a map adds up to within a domain. Bytes; of a map with an open end they are rounded. */
export interface DomainStatistics {
  readonly statuses: Record<Status, ByteCount>;
  /** Bytes that both the map speaks of and the domain holds, and in how many pieces. */
  readonly inside: ByteCount;
  /** Where the first such byte is and where the last ends; both 0 when there is none. */
  readonly begin: number;
  readonly end: number;
}

/** Counts bytes and areas of a map within a domain (ddrescuelog -t). A block that the domain cuts
 * in two is two areas. */
export function statisticsWithin(map: Runs, domain: Domain): DomainStatistics {
  const counts = statusNames.map(() => ({ bytes: 0, areas: 0 }));
  const inside = { bytes: 0, areas: 0 };
  let [begin, end, lastCode] = [0, 0, -1];
  walk([map, domain], (from, to, [code, inDomain]) => {
    if (code === outside || !isInside(inDomain)) return;
    if (inside.areas === 0) begin = from;
    const isNewPiece = inside.areas === 0 || from !== end;
    if (isNewPiece) inside.areas += 1;
    if (isNewPiece || code !== lastCode) counts[code!]!.areas += 1;
    counts[code!]!.bytes += to - from;
    inside.bytes += to - from;
    end = to;
    lastCode = code!;
  });
  const named = statusNames.map((name, code) => [name, counts[code]!] as const);
  return {
    statuses: Object.fromEntries(named) as Record<Status, ByteCount>,
    inside,
    begin,
    end,
  };
}
