/** The `lastspin map` commands that make one map from others, or answer a question about them. */

import { unlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import { LastspinError, reasonOf } from '../errors.js';
import {
  alignToSectors,
  type CombineOperator,
  changeStatuses,
  combine,
  type Domain,
  domainRuns,
  forEachDifference,
  forEachSource,
  inversion,
  isFinished,
  openEnd,
  outside,
  type Runs,
  shift,
  unionOf,
} from '../map/algebra.js';
import type { ParsedMap } from '../map/mapfile.js';
import { parseLooseMapFile } from '../map/mapfile-loose.js';
import { type StatusCode, statusLetters, statusNames } from '../map/status.js';
import { formatSize } from './map.js';
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

type Options = DomainOptions & OutputOptions;

/** Exit status of an answer that is no: not finished, or they differ. */
const exitNo = 1;

const operators = ['and', 'or', 'xor', 'union'] as const;

/** `lastspin map merge OPERATOR FILE…` */
export async function mapMerge(
  operator: string,
  paths: readonly string[],
  options: Options & { readonly sources?: boolean },
): Promise<number> {
  const isKnown = (operators as readonly string[]).includes(operator);
  if (!isKnown) throw usage(`unknown operator '${operator}': ${operators.join(', ')}`);
  if (paths.length < 2) throw usage(`merge ${operator} needs at least two maps`);
  const twice = paths.find((path, index) => paths.findIndex((each) => isSame(each, path)) < index);
  if (twice !== undefined) throw usage(`${twice} is given twice`);
  const domain = domainFrom(options);
  const maps = paths.map((path) => loadMap(path));
  noteSizes(paths, maps);
  if (options.sources) return mergeSources(operator, paths, maps, domain);
  const [first, ...others] = maps as [ParsedMap, ...ParsedMap[]];
  if (operator === 'union') {
    await writeMap(first, unionOf(maps, domain), options);
    return 0;
  }
  let merged: Runs = first;
  others.forEach((other, index) => {
    const start = other.starts[0] ?? 0;
    requireInside(first, domainRuns(start, other.end - start, domain), paths[index + 1]!);
    merged = combine(operator as CombineOperator, merged, other, domain);
  });
  await writeMap(first, merged, options);
  return 0;
}

function isSame(one: string, other: string): boolean {
  return resolve(one) === resolve(other);
}

/** Maps of one drive end alike; that they do not is allowed, and worth a line. */
function noteSizes(paths: readonly string[], maps: readonly ParsedMap[]): void {
  const other = maps.findIndex(({ end }) => end !== maps[0]!.end);
  if (other < 0) return;
  const [one, two] = [maps[0]!.end, maps[other]!.end];
  process.stderr.write(
    `lastspin: note: ${nameOf(paths[0]!)} ends at byte ${one}, ${nameOf(paths[other]!)} at ${two}\n`,
  );
}

async function mergeSources(
  operator: string,
  paths: readonly string[],
  maps: readonly ParsedMap[],
  domain: Domain,
): Promise<number> {
  if (operator !== 'union') throw usage('--sources goes with union only');
  requireInside(unionOf(maps, domain), domain, paths[0]!);
  const lines = textCollector();
  forEachSource(maps, domain, (from, to, index) => {
    lines.add(`${from}\t${to - from}\t${paths[index]}\n`);
  });
  for (const piece of lines.pieces()) await print(piece);
  return 0;
}

/** Gathers text in pieces worth a write, as bytes: a million strings, or one made of them, would fill
 * memory. */
function textCollector() {
  const pieces: Uint8Array[] = [];
  let piece = '';
  return {
    add: (text: string): void => {
      piece += text;
      if (piece.length < 1 << 16) return;
      pieces.push(Buffer.from(piece));
      piece = '';
    },
    pieces: (): readonly Uint8Array[] => [...pieces, Buffer.from(piece)],
  };
}

/** `lastspin map invert FILE` */
export function mapInvert(path: string, options: Options): Promise<number> {
  return rewriteMap(path, options, (map, domain) => changeStatuses(map, inversion, domain));
}

/** `lastspin map convert FILE --change OLD,NEW --align` */
export function mapConvert(
  path: string,
  options: Options & { readonly change?: string; readonly align?: boolean },
): Promise<number> {
  if (options.change === undefined && !options.align) {
    throw usage('convert needs --change OLD,NEW or --align');
  }
  const table = options.change === undefined ? undefined : changeTable(options.change);
  return rewriteMap(path, options, (map, domain) => {
    const changed = table ? changeStatuses(map, table, domain) : map;
    return options.align ? alignToSectors(changed, sectorBytesFrom(options)) : changed;
  });
}

/** OLD,NEW as `tr` reads them: the first mention of an old status counts, and the last new one stands
 * for all that are missing. */
function changeTable(text: string): StatusCode[] {
  const [old, young, ...more] = text.split(',');
  if (!old || !young || more.length > 0)
    throw usage(`--change ${text}: two lists are needed, as '*/,-'`);
  const table: StatusCode[] = [0, 1, 2, 3, 4];
  const codes = [...young].map((letter) => codeFrom('--change', letter));
  [...old].forEach((letter, index) => {
    const from = codeFrom('--change', letter);
    if (old.indexOf(letter) === index) table[from] = codes[Math.min(index, codes.length - 1)]!;
  });
  return table;
}

/** A status by its letter or its name. */
export function codeFrom(option: string, text: string): StatusCode {
  const byName = (statusNames as readonly string[]).indexOf(text);
  const code = byName >= 0 ? byName : text.length === 1 ? statusLetters.indexOf(text) : -1;
  if (code >= 0) return code as StatusCode;
  const known = statusNames.map((name, each) => `${statusLetters[each]} ${name}`).join(', ');
  throw usage(`${option}: '${text}' is no status (${known})`);
}

async function rewriteMap(
  path: string,
  options: Options,
  change: (map: ParsedMap, domain: Domain) => Runs,
): Promise<number> {
  const domain = domainFrom(options);
  const map = loadMap(path);
  requireInside(map, domain, path);
  await writeMap(map, change(map, domain), options);
  return 0;
}

/** `lastspin map shift FILE --by BYTES` */
export function mapShift(
  path: string,
  options: Options & { readonly by: string },
): Promise<number> {
  const isDown = options.by.startsWith('-');
  const distance = bytesFrom('--by', options.by.replace(/^[+-]/, ''), sectorBytesFrom(options));
  return rewriteMap(path, options, (map, domain) => {
    const shifted = shift(map, isDown ? -distance : distance, domain);
    if (shifted.starts.length === 0) throw usage(`nothing of ${nameOf(path)} is left above 0`);
    return exactShift(shifted, path);
  });
}

function exactShift(shifted: Runs, path: string): Runs {
  if ((shifted.starts.at(-1) ?? 0) <= Number.MAX_SAFE_INTEGER) return shifted;
  throw usage(`${nameOf(path)} would reach above 2^53 bytes`);
}

/** `lastspin map complete FILE` */
export async function mapComplete(
  path: string,
  options: OutputOptions & {
    readonly fill?: string;
    readonly size?: string;
    readonly sector?: string;
  },
): Promise<number> {
  const code = codeFrom('--fill', options.fill ?? '?');
  const end =
    options.size === undefined
      ? undefined
      : bytesFrom('--size', options.size, sectorBytesFrom(options));
  const fill = end === undefined ? { code } : { code, end };
  const map = exact(parseLooseMapFile(readBytes(path), nameOf(path), fill), nameOf(path));
  if (end !== undefined && map.end > end) {
    throw usage(`${nameOf(path)} reaches to byte ${map.end}, beyond --size ${options.size}`);
  }
  await writeMap(map, map, options);
  return 0;
}

/** `lastspin map annotate FILE` */
export async function mapAnnotate(
  path: string,
  options: Options & { readonly binary?: boolean },
): Promise<number> {
  const domain = domainFrom(options);
  const map = loadMap(path);
  requireInside(map, domain, path);
  const size = (bytes: number) => formatSize(bytes, options.binary === true).padStart(9);
  const describe = (position: number, bytes: number) => `at ${size(position)}  for ${size(bytes)}`;
  await writeMap(map, map, options, { domain, describe });
  return 0;
}

/** `lastspin map done FILE`: exit status 0 when everything in the domain is finished, 1 when not. */
export async function mapDone(
  path: string,
  options: DomainOptions & { readonly delete?: boolean; readonly quiet?: boolean },
): Promise<number> {
  const domain = domainFrom(options);
  const map = loadMap(path);
  requireInside(map, domain, path);
  const isDone = isFinished(map, domain);
  if (!options.quiet) await print(isDone ? 'finished\n' : 'not finished\n');
  if (!isDone) return exitNo;
  if (options.delete && path !== '-') deleteMap(path);
  return 0;
}

function deleteMap(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    throw new LastspinError('FILE_FAILED', `cannot delete ${path}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** `lastspin map diff A B`: exit status 0 when they are the same in the domain, 1 when not. */
export async function mapDiff(
  paths: readonly [string, string],
  options: DomainOptions & {
    readonly asDomain?: boolean;
    readonly quiet?: boolean;
    readonly json?: boolean;
  },
): Promise<number> {
  if (options.loose && !options.asDomain && options.domain === undefined) {
    throw usage('--loose goes with --as-domain or --domain');
  }
  const domain = domainFrom(options);
  const isLoose = options.loose === true && options.asDomain === true;
  const [first, second] = [loadMap(paths[0], isLoose), loadMap(paths[1], isLoose)];
  const found = textCollector();
  let differing = 0;
  const compared = forEachDifference(
    [first, second],
    domain,
    options.asDomain === true,
    (from, to, code, other) => {
      const comma = differing > 0 ? ',' : '';
      differing += to - from;
      if (options.quiet) return;
      const size = to === openEnd ? null : to - from;
      found.add(
        options.json
          ? `${comma}${JSON.stringify({ position: from, size, first: letterOf(code), second: letterOf(other) })}`
          : `${from}\t${size ?? 'open'}\t${letterOf(code) ?? 'nothing'}\t${letterOf(other) ?? 'nothing'}\n`,
      );
    },
  );
  if (compared === 0) throw usage('nothing to compare: the domain holds nothing of either map');
  const isJson = options.json && !options.quiet;
  const head = JSON.stringify({ schema: 'lastspin/map-diff/1', files: paths, compared, differing });
  if (isJson) await print(`${head.slice(0, -1)},"differences":[`);
  for (const piece of found.pieces()) await print(piece);
  if (isJson) await print(']}\n');
  return differing > 0 ? exitNo : 0;
}

function letterOf(code: number): string | null {
  return code === outside ? null : statusLetters[code]!;
}
