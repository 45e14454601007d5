import { existsSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import {
  createSimulatedDrive,
  type Damage,
  type SimulatedDrive,
} from '../../hardware-sim/drive.js';
import {
  bundledScenarios,
  defineScenario,
  loadScenario,
  type Scenario,
} from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { openEnd } from '../map/algebra.js';
import type { ParsedMap } from '../map/mapfile.js';
import { statuses } from '../map/status.js';
import type { DriveKind } from '../power/policy.js';
import { loadMap, nameOf, startOf, usage } from './map-files.js';

/** What a rehearsal's drive depends on besides its scenario or map. */
export interface SourceOptions {
  readonly kind?: DriveKind;
  readonly seed?: number;
  readonly physicalSector?: number;
  /** Whether errors name the failing LBA; absent: as the scenario says, and on a map they do. */
  readonly failingLba?: 'yes' | 'no';
  /** Of a map: what `?` is taken for; absent: good. */
  readonly untried?: 'good' | 'bad';
  /** Of a map: milliseconds of a read that fails; absent: `errorTimeMs`. */
  readonly errorTime?: number;
}

const errorTimeMs = 700;

/** A drive to rehearse on, as often as wanted. */
export interface RehearsalSource {
  readonly name: string;
  readonly from: 'scenario' | 'map';
  readonly kind: DriveKind;
  readonly scenario: Scenario;
  readonly failingLba: 'yes' | 'no' | 'as-scenario';
  /** What was decided where a map does not tell; undefined of a scenario. */
  readonly decided?: { readonly untried: 'good' | 'bad'; readonly errorTimeMs: number };
  /** What is taken for granted, a line each. */
  readonly notices: readonly string[];
  /** The same drive each time, never powered. */
  createDrive(): SimulatedDrive;
}

/** Loads SCENARIO (a bundled name, a YAML file) or MAP (a ddrescue map file, `-` for standard input).
 * Throws SCENARIO_INVALID, MAP_INVALID, FILE_FAILED, USAGE. */
export function loadSource(spec: string, options: SourceOptions): RehearsalSource {
  return isScenario(spec) ? scenarioSource(spec, options) : mapSource(spec, options);
}

/** A YAML file, a bundled scenario, or a file whose first word is one of YAML's; all else is a map. */
function isScenario(spec: string): boolean {
  if (/\.ya?ml$/.test(spec)) return true;
  if (spec === '-') return false;
  if (!/[/\\]/.test(spec) && bundledScenarios().includes(spec)) return true;
  if (!existsSync(spec)) {
    const names = bundledScenarios().join(', ');
    throw usage(`no scenario and no map file is called '${spec}'; bundled scenarios: ${names}`);
  }
  if (statSync(spec).isDirectory())
    throw usage(`${spec} is a folder; a scenario or a map is needed`);
  return /^(?:\s*(?:#.*)?\r?\n)*[A-Za-z]+\s*:/.test(startText(spec));
}

/** The beginning of a file as text; nothing of what cannot be read, which loading complains of. */
function startText(path: string): string {
  try {
    return new TextDecoder().decode(startOf(path));
  } catch {
    return '';
  }
}

function scenarioSource(spec: string, options: SourceOptions): RehearsalSource {
  const loaded = loadScenario(spec);
  const { failingLba } = options;
  const faults = loaded.faults.map((fault) =>
    fault.kind === 'bad' && failingLba ? { ...fault, reportsLba: failingLba === 'yes' } : fault,
  );
  const scenario = { ...loaded, faults, seed: options.seed ?? loaded.seed };
  const isMadeUp = faults.some(({ kind }) => kind === 'wrong');
  return {
    name: loaded.name.replace(/\.ya?ml$/, ''),
    from: 'scenario',
    kind: options.kind ?? kindOf(scenario),
    scenario,
    failingLba: failingLba ?? 'as-scenario',
    notices: [
      ...(options.untried !== undefined || options.errorTime !== undefined
        ? [
            '--untried and --error-time are for maps; the scenario says what is bad, and for how long',
          ]
        : []),
      ...(isMadeUp
        ? ['a rehearsal has no data: that this drive makes data up is not noticed']
        : []),
    ],
    createDrive: () => createSimulatedDrive(scenario, { media: 'none' }),
  };
}

/** As such a drive says of itself (`src/drive/kind.ts`). */
function kindOf({ identity, mechanics }: Scenario): DriveKind {
  if (identity.removable) return 'flash';
  return mechanics.rotationMs > 0 ? 'hdd' : 'ssd';
}

/** Maps count in bytes; drives are taken to have sectors of this size. */
const sectorBytes = 512;
/** Most logical sectors of a physical one, as for `image`. */
const physicalCountMax = 64;
/** ATA has 48 bits for an LBA. */
const sectorCountMax = 2 ** 48;

/** What does not turn: the numbers of the bundled SSD and stick. */
const stillMechanics = {
  heads: 1,
  seekMinMs: 0,
  seekMaxMs: 0,
  rotationMs: 0,
  recalibrationMs: 0,
} as const;
const mechanicsOf: Readonly<Record<DriveKind, ScenarioInput['mechanics']>> = {
  hdd: {},
  ssd: {
    ...stillMechanics,
    outerBytesPerSecond: 400e6,
    innerBytesPerSecond: 400e6,
    spinUpMs: 500,
  },
  flash: {
    ...stillMechanics,
    outerBytesPerSecond: 25e6,
    innerBytesPerSecond: 25e6,
    spinUpMs: 1200,
  },
  file: {},
};

function mapSource(path: string, options: SourceOptions): RehearsalSource {
  const { kind = 'hdd', physicalSector = sectorBytes, failingLba = 'yes' } = options;
  const name = nameOf(path);
  const map = loadMap(path);
  const scenario = defineScenario(
    {
      seed: options.seed ?? 1,
      sectorCount: sectorCountOf(map, name),
      sectorBytes,
      physicalSectorBytes: checkedPhysical(physicalSector),
      mechanics: mechanicsOf[kind],
    },
    basename(name),
  );
  const { untried = 'good', errorTime = errorTimeMs } = options;
  const damage = damageOf(map, untried, {
    kind: 'bad',
    errorMs: errorTime,
    readChance: 0,
    error: 'uncorrectable',
    reportsLba: failingLba === 'yes',
    spreadChance: 0,
  });
  return {
    name: basename(name),
    from: 'map',
    kind,
    scenario,
    failingLba,
    decided: { untried, errorTimeMs: errorTime },
    notices: noticesOf(map, untried),
    createDrive: () => createSimulatedDrive(scenario, { media: 'none', damage }),
  };
}

function sectorCountOf({ starts, end }: ParsedMap, name: string): number {
  if (starts.length === 0) throw usage(`${name} is empty: there is no drive to rehearse on`);
  if (end === openEnd)
    throw usage(`${name} has no end: the size of the drive is not known; see 'map complete'`);
  const count = Math.ceil(end / sectorBytes);
  if (count <= sectorCountMax) return count;
  throw usage(`${name} ends at byte ${end}: no drive is that large`);
}

function checkedPhysical(bytes: number): number {
  const count = bytes / sectorBytes;
  if (Number.isInteger(count) && count >= 1 && count <= physicalCountMax) return bytes;
  throw usage(`--physical-sector ${bytes} is not 1 to 64 times ${sectorBytes} bytes`);
}

/** The sectors that a map's unread areas touch; of areas that meet, one range. */
function damageOf(map: ParsedMap, untried: 'good' | 'bad', fault: Damage['fault']): Damage {
  const { starts, codes, end } = map;
  const froms: number[] = [];
  const ends: number[] = [];
  for (let index = 0; index < starts.length; index++) {
    if (isGood(codes[index]!, untried)) continue;
    const from = Math.floor(starts[index]! / sectorBytes);
    const to = Math.ceil((starts[index + 1] ?? end) / sectorBytes);
    if (from <= (ends.at(-1) ?? -1)) ends[ends.length - 1] = to;
    else {
      froms.push(from);
      ends.push(to);
    }
  }
  return { fault, froms: Float64Array.from(froms), ends: Float64Array.from(ends) };
}

function isGood(code: number, untried: 'good' | 'bad'): boolean {
  return code === statuses.finished || (code === statuses['non-tried'] && untried === 'good');
}

/** What a map leaves open and the rehearsal decides. */
function noticesOf({ starts, codes, end }: ParsedMap, untried: 'good' | 'bad'): string[] {
  const bytesOf = (...wanted: readonly number[]) => {
    let sum = 0;
    for (let index = 0; index < starts.length; index++) {
      if (wanted.includes(codes[index]!)) sum += (starts[index + 1] ?? end) - starts[index]!;
    }
    return sum;
  };
  const open = bytesOf(statuses['non-trimmed'], statuses['non-scraped']);
  const untriedBytes = bytesOf(statuses['non-tried']);
  return [
    ...(open > 0
      ? [`${open} bytes are * or / in the map: not known to be bad, taken for unreadable`]
      : []),
    ...(untriedBytes > 0
      ? [`${untriedBytes} bytes are ? in the map, taken for ${untriedNames[untried]} (--untried)`]
      : []),
  ];
}

const untriedNames = { good: 'good', bad: 'unreadable' };
