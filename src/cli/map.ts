/** `lastspin map show` and `stats`: a map in words. */

import { type Domain, statisticsWithin } from '../map/algebra.js';
import type { ParsedMap } from '../map/mapfile.js';
import { statusLetters, statusNames } from '../map/status.js';
import { formatBytes, formatShare } from '../show/format.js';
import {
  type DomainOptions,
  domainFrom,
  loadMap,
  nameOf,
  print,
  requireInside,
} from './map-files.js';

/** Bytes written at once; a map may have millions of runs. */
const pieceLength = 1 << 16;

/** `lastspin map show FILE`: position, size and status by run, in bytes. */
export async function mapShow(path: string): Promise<number> {
  const parsed = loadMap(path);
  let piece = `current ${parsed.currentPosition} ${parsed.currentStatus} pass ${parsed.currentPass}\n`;
  for (let index = 0; index < parsed.starts.length; index++) {
    const start = parsed.starts[index]!;
    const size = (parsed.starts[index + 1] ?? parsed.end) - start;
    const code = parsed.codes[index]!;
    piece += `${start}\t${size}\t${statusLetters[code]} ${statusNames[code]}\n`;
    if (piece.length >= pieceLength) {
      await print(piece);
      piece = '';
    }
  }
  await print(piece);
  return 0;
}

/** `lastspin map stats FILE…`: bytes and areas by status within the domain, for each file. */
export async function mapStats(
  paths: readonly string[],
  options: DomainOptions & { readonly json?: boolean; readonly binary?: boolean },
): Promise<number> {
  const domain = domainFrom(options);
  const isRestricted = [options.from, options.size, options.domain].some(
    (each) => each !== undefined,
  );
  for (const path of paths) {
    const parsed = loadMap(path);
    if (isRestricted) requireInside(parsed, domain, path);
    if (options.json) await print(`${JSON.stringify(statsObject(path, parsed, domain))}\n`);
    else {
      const title = paths.length > 1 ? `${nameOf(path)}\n` : '';
      await print(title + statsTable(parsed, domain, options.binary === true));
    }
  }
  return 0;
}

function statsObject(file: string, parsed: ParsedMap, domain: Domain) {
  const { statuses, inside, begin, end } = statisticsWithin(parsed, domain);
  const { currentPosition, currentStatus, currentPass } = parsed;
  return {
    schema: 'lastspin/map-stats/1',
    file,
    total: inside.bytes,
    begin,
    end,
    pieces: inside.areas,
    current: { position: currentPosition, status: currentStatus, pass: currentPass },
    statuses,
  };
}

function statsTable(parsed: ParsedMap, domain: Domain, isBinary: boolean): string {
  const { statuses, inside } = statisticsWithin(parsed, domain);
  const total = inside.bytes;
  const size = (bytes: number) => formatSize(bytes, isBinary).padStart(isBinary ? 11 : 9);
  const rows = [...statusNames].reverse().map((name) => {
    const { bytes, areas } = statuses[name];
    const letter = statusLetters[statusNames.indexOf(name)];
    return `${letter} ${name.padEnd(12)} ${size(bytes)} ${formatShare(bytes, total).padStart(9)}  ${bytes} bytes in ${areas} areas\n`;
  });
  const pieces = inside.areas > 1 ? `  in ${inside.areas} pieces` : '';
  return `  ${'total'.padEnd(12)} ${size(total)}${pieces}\n${rows.join('')}`;
}

const binaryUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Decimal units, or binary ones: `12.3 MB`, `11.7 MiB`. */
export function formatSize(bytes: number, isBinary: boolean): string {
  if (!isBinary) return formatBytes(bytes);
  let value = bytes;
  let unit = 0;
  while (value >= 1023.5 && unit < binaryUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${binaryUnits[unit]}`;
}
