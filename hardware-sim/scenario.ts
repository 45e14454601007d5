/** Scenario files: YAML, checked against `schema.ts`, with errors that name line and field. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LastspinError, reasonOf } from '../src/errors.js';
import { type Checked, type Problem, problemsOf, readYaml, sentenceOf } from '../src/yaml-input.js';
import {
  type FaultRow,
  isPlaced,
  type ScenarioFile,
  type ScenarioInput,
  scenarioJsonSchema,
  scenarioSchema,
} from './schema.js';

/** A checked scenario: every default filled in, sizes that fit each other, the image file found. */
export interface Scenario extends Omit<ScenarioFile, 'contents'> {
  /** For messages: the file's name, or what it was called. */
  readonly name: string;
  readonly sectorCount: number;
  readonly physicalSectorBytes: number;
  readonly contents: 'pattern' | 'zeros' | { readonly file: string; readonly bytes: number };
}

interface Source {
  /** For messages, and `Scenario.name`. */
  readonly name: string;
  /** What paths in the file are relative to. */
  readonly directory: string;
}

/** ATA has 48 bits for an LBA. */
const sectorCountMax = 2 ** 48;
/** Repeated and scattered places are expanded in memory, 16 bytes each. */
const placeCountMax = 1_000_000;

/** Loads a scenario. A bare name (`demo`) is a bundled one; anything else is a path to a YAML file.
 * Throws SCENARIO_INVALID with one line: file, line, field, what is wrong. */
export function loadScenario(pathOrName: string): Scenario {
  const path = scenarioPath(pathOrName);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new LastspinError('SCENARIO_INVALID', `${path}: cannot be read: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  return parseScenario(text, { name: basename(path), directory: dirname(resolve(path)) });
}

/** Names of the bundled scenarios, sorted. */
export function bundledScenarios(): string[] {
  return readdirSync(bundledDirectory())
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -'.yaml'.length))
    .sort();
}

/** Parses the text of a scenario file. Throws SCENARIO_INVALID as `loadScenario` does. */
export function parseScenario(text: string, source: Source): Scenario {
  const result = readYaml(text, (value) => check(value, source));
  if ('value' in result) return result.value;
  const { line, sentence } = result.problems[0]!;
  throw invalid(`${source.name}:${line}: ${sentence}`);
}

/** A scenario written in code instead of a file. Throws SCENARIO_INVALID. */
export function defineScenario(input: ScenarioInput, name = 'scenario'): Scenario {
  const result = check(input, { name, directory: '.' });
  if ('value' in result) return result.value;
  throw invalid(`${name}: ${sentenceOf(result.problems[0]!)}`);
}

function invalid(message: string): LastspinError {
  return new LastspinError('SCENARIO_INVALID', message);
}

function check(value: unknown, source: Source): Checked<Scenario> {
  const parsed = scenarioSchema.safeParse(value, { reportInput: true });
  if (!parsed.success) {
    return { problems: problemsOf(parsed.error.issues, value, scenarioJsonSchema()) };
  }
  const file = parsed.data;
  const contents = contentsOf(file, source);
  if ('message' in contents) return { problems: [contents] };
  const sectorCount = file.sectorCount ?? Math.ceil(contents.bytes / file.sectorBytes);
  const physicalSectorBytes = file.physicalSectorBytes ?? file.sectorBytes;
  const scenario: Scenario = {
    ...file,
    name: source.name,
    sectorCount,
    physicalSectorBytes,
    contents: contents.contents,
  };
  const problem = sizeProblem(scenario) ?? faultsProblem(scenario);
  return problem ? { problems: [problem] } : { value: scenario };
}

function contentsOf(
  file: ScenarioFile,
  source: Source,
): { contents: Scenario['contents']; bytes: number } | Problem {
  if (typeof file.contents === 'string') {
    if (file.sectorCount === undefined) return { path: ['sectorCount'], message: 'is missing' };
    return { contents: file.contents, bytes: 0 };
  }
  const path = resolve(source.directory, file.contents.file);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) return { path: ['contents', 'file'], message: `no such file: ${path}` };
  if (stat.size === 0) return { path: ['contents', 'file'], message: `the file is empty: ${path}` };
  return { contents: { file: path, bytes: stat.size }, bytes: stat.size };
}

function sizeProblem(scenario: Scenario): Problem | undefined {
  const { sectorBytes, physicalSectorBytes, sectorCount } = scenario;
  if (sectorCount > sectorCountMax) {
    return { path: ['sectorCount'], message: 'must be at most 2^48, the limit of ATA' };
  }
  for (const word of ['nativeSectorCount', 'configurationSectorCount'] as const) {
    if ((scenario.identity[word] ?? sectorCount) >= sectorCount) continue;
    return { path: ['identity', word], message: `must be at least sectorCount (${sectorCount})` };
  }
  if (physicalSectorBytes % sectorBytes !== 0) {
    return {
      path: ['physicalSectorBytes'],
      message: `must be a multiple of sectorBytes (${sectorBytes})`,
    };
  }
  return undefined;
}

function faultsProblem(scenario: Scenario): Problem | undefined {
  for (const [index, row] of scenario.faults.entries()) {
    const problem = faultProblem(row, scenario);
    if (problem) return { ...problem, path: ['faults', index, ...problem.path] };
  }
  return undefined;
}

function faultProblem(row: FaultRow, scenario: Scenario): Problem | undefined {
  if (!isPlaced(row)) return undefined;
  const chosen = (['lba', 'scattered', 'head', 'everywhere'] as const).filter(
    (word) => row[word] !== undefined,
  );
  if (chosen.length !== 1) {
    return { path: [], message: 'needs exactly one of lba, scattered, head, everywhere' };
  }
  const [word] = chosen;
  for (const extra of ['count', 'pitch', 'repeats'] as const) {
    const allowed = word === 'lba' || (word === 'scattered' && extra === 'count');
    if (row[extra] !== undefined && !allowed) {
      return { path: [extra], message: `does not go with ${word}` };
    }
  }
  if ((row.pitch === undefined) !== (row.repeats === undefined)) {
    return { path: [], message: 'pitch and repeats go together' };
  }
  if (row.head !== undefined && row.head >= scenario.mechanics.heads) {
    return { path: ['head'], message: `the drive has ${scenario.mechanics.heads} heads, from 0` };
  }
  const places = row.repeats ?? row.scattered ?? 1;
  if (places > placeCountMax) return { path: [], message: `more than ${placeCountMax} places` };
  const count = row.count ?? 1;
  const end = row.lba === undefined ? count : row.lba + (places - 1) * (row.pitch ?? 0) + count;
  if (word === 'lba' && end > scenario.sectorCount) {
    return { path: ['lba'], message: `ends beyond the drive (${scenario.sectorCount} sectors)` };
  }
  return undefined;
}

/** A bare name is a bundled scenario; whatever looks like a path, or is a file here, is a path. */
function scenarioPath(pathOrName: string): string {
  if (/[/\\]|\.ya?ml$/.test(pathOrName)) return pathOrName;
  const bundled = join(bundledDirectory(), `${pathOrName}.yaml`);
  if (existsSync(bundled)) return bundled;
  if (existsSync(pathOrName)) return pathOrName;
  const names = bundledScenarios().join(', ');
  throw invalid(`no scenario is called '${pathOrName}'; bundled: ${names}; or give a path`);
}

/** `hardware-sim/scenarios` at the package's root, whether this runs from source or from `dist`. */
function bundledDirectory(): string {
  const below = fileURLToPath(import.meta.url);
  for (let directory = dirname(below); ; directory = dirname(directory)) {
    const candidate = join(directory, 'hardware-sim', 'scenarios');
    if (existsSync(candidate)) return candidate;
    if (directory === dirname(directory)) {
      throw new LastspinError('SCENARIO_INVALID', `no hardware-sim/scenarios above ${below}`);
    }
  }
}
