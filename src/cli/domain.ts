import { existsSync, readFileSync } from 'node:fs';
import { LastspinError, reasonOf } from '../errors.js';
import { domainOf, domainOfRanges, parseRanges } from '../map/domain-map.js';
import type { SectorSize } from '../map/mapfile.js';
import { parseLooseMapFile } from '../map/mapfile-loose.js';
import type { RunMap } from '../map/run-map.js';
import { createScope, domainCount, prioritiesMax } from '../plan/domain.js';

/** What to read, as the command line says it. Each is repeatable. */
export interface DomainOptions {
  /** Domain maps: nothing else is read, the first is read first. */
  readonly domain?: readonly string[];
  /** Maps or ranges that are read before the rest. */
  readonly prioritize?: readonly string[];
  /** Nothing but these ranges is read. */
  readonly range?: readonly string[];
  /** Maps, lists of ranges or ranges that are never read. */
  readonly exclude?: readonly string[];
}

/** A part of a drive, once its size is known. */
export type Part = (drive: SectorSize) => RunMap;

/** Reads every file that the options name, before a drive is powered for them. The result makes the domain
 * for a drive; undefined where no option says anything of it.
 * Throws MAP_INVALID, FILE_FAILED, USAGE; the result throws MAP_MISMATCH and USAGE. */
export function readDomain(options: DomainOptions): Part | undefined {
  const domains = (options.domain ?? []).map(partOfMap);
  const priorities = (options.prioritize ?? []).map((spec) => partOf(spec, '--prioritize'));
  const ranges = (options.range ?? []).map((text) => partOfRange(text, '--range'));
  const excluded = (options.exclude ?? []).map((spec) => partOf(spec, '--exclude'));
  if (domains.length + priorities.length + ranges.length + excluded.length === 0) return undefined;
  if (domains.length + priorities.length > prioritiesMax) {
    throw new LastspinError('USAGE', `${prioritiesMax} domains and priorities are the most`);
  }
  return (drive) => {
    const scope = createScope({
      sectorCount: drive.sectorCount,
      domains: domains.map((part) => part(drive)),
      priorities: priorities.map((part) => part(drive)),
      ranges: ranges.map((part) => part(drive)),
      excluded: excluded.map((part) => part(drive)),
    });
    if (domainCount(scope) > 0) return scope;
    throw new LastspinError('USAGE', 'domain, ranges and exclusions leave nothing to read');
  };
}

/** A range where it is one and no file is called so; else a file. */
function partOf(spec: string, option: string): Part {
  if (/^\d/.test(spec) && !existsSync(spec)) return partOfRange(spec, option);
  const bytes = bytesOf(spec);
  return isMap(bytes) ? mapPart(bytes, spec) : rangesPart(bytes.toString('utf8'), spec);
}

function partOfMap(path: string): Part {
  return mapPart(bytesOf(path), path);
}

function partOfRange(text: string, option: string): Part {
  return rangesPart(text, option);
}

function mapPart(bytes: Uint8Array, name: string): Part {
  const parsed = parseLooseMapFile(bytes, name);
  return (drive) => domainOf(parsed, drive, name);
}

function rangesPart(text: string, name: string): Part {
  const ranges = parseRanges(text, name);
  return (drive) => domainOfRanges(ranges, drive, name);
}

function bytesOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new LastspinError('FILE_FAILED', `${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Whether the first line that says anything is a map file's status line: a position and a status. */
function isMap(bytes: Buffer): boolean {
  const lines = bytes.toString('latin1', 0, 64 * 1024).split(/\r?\n/);
  const first = lines.find((line) => line.trim() !== '' && !line.trimStart().startsWith('#'));
  return first !== undefined && /^\s*(0x)?[0-9a-f]+\s+[?*/+\-FG](\s+\d+)?\s*$/i.test(first);
}
