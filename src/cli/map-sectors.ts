/** `lastspin map list` and `create`: maps and sector numbers. */

import {
  type BitOrder,
  forEachSectorRun,
  mapOfSectors,
  type Numbering,
  parseBitmap,
  parseSectorList,
  sectorsToHold,
  setBits,
} from '../map/algebra-sectors.js';
import { statuses } from '../map/status.js';
import { codeFrom } from './map-algebra.js';
import {
  bytesFrom,
  type DomainOptions,
  domainFrom,
  exact,
  loadMap,
  nameOf,
  type OutputOptions,
  print,
  readBytes,
  requireInside,
  sectorBytesFrom,
  usage,
  writeMap,
} from './map-files.js';

type Options = DomainOptions & OutputOptions & { readonly to?: string; readonly format?: string };

const formats = ['list', 'bitmap', 'bitmap-le', 'bitmap-be'];

/** Undefined for a list of numbers. */
function bitOrderOf({ format = 'list' }: Options): BitOrder | undefined {
  if (!formats.includes(format)) throw usage(`unknown --format '${format}': ${formats.join(', ')}`);
  if (format === 'list') return undefined;
  return format === 'bitmap-be' ? 'big' : 'little';
}

function numberingOf(options: Options): Numbering {
  const sectorBytes = sectorBytesFrom(options);
  const position = (name: string, text: string | undefined) =>
    text === undefined ? undefined : bytesFrom(name, text, sectorBytes);
  const from = position('--from', options.from) ?? 0;
  const offset = (position('--to', options.to) ?? from) - from;
  if (offset % sectorBytes === 0) return { sectorBytes, offset };
  throw usage('--to less --from must be a multiple of --sector');
}

/** `lastspin map list FILE`: numbers of the sectors that have one of the statuses. */
export async function mapList(
  path: string,
  options: Options & { readonly statuses: string },
): Promise<number> {
  const order = bitOrderOf(options);
  const numbering = numberingOf(options);
  const mask = maskOf(options.statuses);
  const domain = domainFrom(options);
  const map = loadMap(path);
  requireInside(map, domain, path);
  const firsts: number[] = [];
  const counts: number[] = [];
  forEachSectorRun(map, mask, domain, numbering, (first, count) => {
    firsts.push(first);
    counts.push(count);
  });
  const last = (firsts.at(-1) ?? 0) + (counts.at(-1) ?? 0);
  const total = order ? sectorsToHold(map, numbering) : last;
  if (total > Number.MAX_SAFE_INTEGER)
    throw usage(`${nameOf(path)} has no end: its sectors cannot be listed; --size cuts a list`);
  const pieces = order ? bitmapPieces(firsts, counts, total, order) : listPieces(firsts, counts);
  for (const piece of pieces) await print(piece);
  return 0;
}

function maskOf(text: string): number {
  const parts = /^[?*/+-]+$/.test(text) ? [...text] : text.split(',');
  return parts.reduce((mask, part) => mask | (1 << codeFrom('--statuses', part)), 0);
}

function* listPieces(firsts: readonly number[], counts: readonly number[]) {
  let piece = '';
  for (let run = 0; run < firsts.length; run++) {
    const end = firsts[run]! + counts[run]!;
    for (let sector = firsts[run]!; sector < end; sector++) {
      piece += `${sector}\n`;
      if (piece.length < 1 << 16) continue;
      yield piece;
      piece = '';
    }
  }
  yield piece;
}

const pieceSectors = 1 << 20;

function* bitmapPieces(
  firsts: readonly number[],
  counts: readonly number[],
  total: number,
  order: BitOrder,
) {
  let run = 0;
  for (let from = 0; from < total; from += pieceSectors) {
    const to = Math.min(from + pieceSectors, total);
    const piece = new Uint8Array(Math.ceil((to - from) / 8));
    for (; run < firsts.length && firsts[run]! < to; run++) {
      const first = Math.max(firsts[run]!, from);
      const end = firsts[run]! + counts[run]!;
      setBits(piece, first - from, Math.min(end, to) - first, order);
      if (end > to) break;
    }
    yield piece;
  }
}

/** `lastspin map create LIST`: a map from sector numbers or bits. */
export async function mapCreate(
  path: string,
  options: Options & OutputOptions & { readonly listed: string; readonly others: string },
): Promise<number> {
  const order = bitOrderOf(options);
  const numbering = numberingOf(options);
  const letters = {
    listed: codeFrom('--listed', options.listed),
    others: codeFrom('--others', options.others),
  };
  const domain = domainFrom(options);
  if (domain.codes.indexOf(statuses.finished) < 0)
    throw usage('nothing to do: the domain is empty');
  const bytes = readBytes(path);
  const set = order
    ? parseBitmap(bytes, order, numbering.sectorBytes)
    : parseSectorList(bytes, nameOf(path), numbering.sectorBytes);
  const runs = mapOfSectors(set, letters, domain, numbering);
  const origin = { currentPosition: 0, currentStatus: '?', currentPass: 1, comments: [] } as const;
  await writeMap(exact({ ...runs, ...origin }, nameOf(path)), runs, options);
  return 0;
}
