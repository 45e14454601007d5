/** Preset files: the bundled ones by name, a user's own by path. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LastspinError, reasonOf } from './errors.js';
import { type Preset, presetJsonSchema, presetSchema } from './plan/preset-schema.js';
import { type Checked, type PlacedProblem, problemsOf, readYaml } from './yaml-input.js';

/** A preset file, read but not checked. */
export interface PresetText {
  /** For messages: the file's name. */
  readonly name: string;
  readonly text: string;
}

/** Loads a preset. A bare name (`standard`) is a bundled one; anything else is a path to a YAML file.
 * Throws PRESET_INVALID with one line: file, line, column, field, what is wrong. */
export function loadPreset(pathOrName: string): Preset {
  const { name, text } = readPreset(pathOrName);
  const result = parsePreset(text);
  if ('value' in result) return result.value;
  throw invalid(sentenceOf(name, result.problems[0]!));
}

/** Checks the text of a preset file. Never throws for what it says. */
export function parsePreset(
  text: string,
): { readonly value: Preset } | { readonly problems: readonly PlacedProblem[] } {
  return readYaml(text, check);
}

/** `mine.yaml:7:5: rows[2].onFault: expected one of skip, leave, go-on`. */
export function sentenceOf(name: string, { line, column, sentence }: PlacedProblem): string {
  return `${name}:${line}:${column}: ${sentence}`;
}

/** The text of a preset file, found as `loadPreset` finds it. Throws PRESET_INVALID. */
export function readPreset(pathOrName: string): PresetText {
  const path = presetPath(pathOrName);
  try {
    return { name: basename(path), text: readFileSync(path, 'utf8') };
  } catch (error) {
    throw new LastspinError('PRESET_INVALID', `${path}: cannot be read: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** Names of the bundled presets, sorted. */
export function bundledPresets(): string[] {
  return readdirSync(bundledDirectory())
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -'.yaml'.length))
    .sort();
}

function check(value: unknown): Checked<Preset> {
  const parsed = presetSchema.safeParse(value, { reportInput: true });
  if (!parsed.success)
    return { problems: problemsOf(parsed.error.issues, value, presetJsonSchema()) };
  return { value: parsed.data };
}

function invalid(message: string): LastspinError {
  return new LastspinError('PRESET_INVALID', message);
}

/** A bare name is a bundled preset; whatever looks like a path, or is a file here, is a path. */
function presetPath(pathOrName: string): string {
  if (/[/\\]|\.ya?ml$/.test(pathOrName)) return pathOrName;
  const bundled = join(bundledDirectory(), `${pathOrName}.yaml`);
  if (existsSync(bundled)) return bundled;
  if (existsSync(pathOrName)) return pathOrName;
  const names = bundledPresets().join(', ');
  throw invalid(`no preset is called '${pathOrName}'; bundled: ${names}; or give a path`);
}

/** `presets` at the package's root, whether this runs from source or from `dist`. */
function bundledDirectory(): string {
  const below = fileURLToPath(import.meta.url);
  for (let directory = dirname(below); ; directory = dirname(directory)) {
    const candidate = join(directory, 'presets', 'standard.yaml');
    if (existsSync(candidate)) return dirname(candidate);
    if (directory === dirname(directory)) throw invalid(`no presets above ${below}`);
  }
}
