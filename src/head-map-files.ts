/** Head map files: which head reads which sectors, written by hand or by another tool. */
import { readFileSync } from 'node:fs';
import { LastspinError, reasonOf } from './errors.js';
import { overlapsOf } from './plan/head-map.js';
import {
  type HeadMapData,
  type HeadMapFile,
  type HeadMapProblem,
  headMapJsonSchema,
  headMapOf,
  headMapProblems,
  headMapSchema,
} from './plan/head-map-schema.js';
import { type Checked, type PlacedProblem, problemsOf, readYaml } from './yaml-input.js';

interface DriveSize {
  readonly sectorCount: number;
  readonly sectorBytes: number;
}

/** Reads a head map file and checks what can be checked without the drive. The result makes the head map of a
 * drive. Both throw HEADS_INVALID with one line: file, line, column, field, what is wrong. */
export function loadHeadMap(path: string): (drive: DriveSize) => HeadMapData {
  const text = textOf(path);
  const refuse = ({ line, column, sentence }: PlacedProblem): never => {
    throw new LastspinError('HEADS_INVALID', `${path}:${line}:${column}: ${sentence}`);
  };
  const file = parseHeadMap(text);
  if ('problems' in file) refuse(file.problems[0]!);
  return (drive) => {
    const result = parseHeadMap(text, drive);
    return 'value' in result ? result.value : refuse(result.problems[0]!);
  };
}

/** Checks the text of a head map file, for any drive. Never throws for what it says. */
export function parseHeadMap(text: string): Parsed<HeadMapFile>;
/** The same for one drive, and the head map that it makes. */
export function parseHeadMap(text: string, drive: DriveSize): Parsed<HeadMapData>;
export function parseHeadMap(text: string, drive?: DriveSize): Parsed<HeadMapFile | HeadMapData> {
  return readYaml<HeadMapFile | HeadMapData>(text, (value) => {
    const checked = check(value);
    return 'value' in checked && drive ? forDrive(checked.value, drive) : checked;
  });
}

type Parsed<T> = { readonly value: T } | { readonly problems: readonly PlacedProblem[] };

function check(value: unknown): Checked<HeadMapFile> {
  const parsed = headMapSchema.safeParse(value, { reportInput: true });
  if (!parsed.success)
    return { problems: problemsOf(parsed.error.issues, value, headMapJsonSchema()) };
  return orProblems(parsed.data, headMapProblems(parsed.data));
}

function forDrive(file: HeadMapFile, drive: DriveSize): Checked<HeadMapData> {
  const result = headMapOf(file, drive);
  if ('problems' in result) return result;
  return orProblems(result.value, overlapsOf(result.value, drive.sectorCount));
}

function orProblems<T>(value: T, problems: readonly HeadMapProblem[]): Checked<T> {
  return problems.length > 0 ? { problems } : { value };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new LastspinError('FILE_FAILED', `${path}: cannot be read: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}
