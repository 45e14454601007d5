/** YAML files that people write (scenarios, presets), and what is wrong with one in a line that names the
 * field: `faults[2].lba: expected a number`. */
import { type Document, isMap, isScalar, LineCounter, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import { reasonOf } from './errors.js';

export interface Problem {
  readonly path: readonly PropertyKey[];
  /** `path` leads to a key that does not belong there, not to a value. */
  readonly isKey?: true;
  readonly message: string;
}

/** A problem and where in the text it is; line and column count from 1. */
export interface PlacedProblem {
  readonly line: number;
  readonly column: number;
  readonly sentence: string;
}

/** What a check makes of a parsed document: the value wanted, or why not, the likeliest cause first. */
export type Checked<T> = { readonly value: T } | { readonly problems: readonly Problem[] };

/** Parses YAML and checks it. Never throws for what the text says. */
export function readYaml<T>(
  text: string,
  check: (value: unknown) => Checked<T>,
): { readonly value: T } | { readonly problems: readonly PlacedProblem[] } {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const placed = (offset: number, sentence: string): PlacedProblem => {
    const { line, col } = lineCounter.linePos(offset);
    return { line, column: col, sentence };
  };
  if (document.errors.length > 0) {
    return { problems: document.errors.map((error) => placed(error.pos[0], reasonOf(error))) };
  }
  let value: unknown;
  try {
    value = document.toJS() ?? {};
  } catch (error) {
    // An alias (*name) of nothing, or aliases of aliases that would fill the memory.
    return { problems: [placed(offsetOfLostAlias(document), reasonOf(error))] };
  }
  const checked = check(value);
  if ('value' in checked) return checked;
  return {
    problems: checked.problems.map((problem) =>
      placed(offsetOf(document, problem), sentenceOf(problem)),
    ),
  };
}

function offsetOfLostAlias(document: Document): number {
  let offset = 0;
  visit(document, {
    Alias(_key, alias) {
      if (alias.resolve(document)) return;
      offset = alias.range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return offset;
}

type Issue = z.core.$ZodIssue;

/** Every problem that a failed check found, in words. A word nobody knows comes before a word that is
 * missing: usually the one is the other, mistyped. `value` is what was checked, `schema` by what. */
export function problemsOf(
  issues: readonly Issue[],
  value: unknown,
  schema: Readonly<Record<string, unknown>>,
): Problem[] {
  const unknownFirst = [
    ...issues.filter((issue) => issue.code === 'unrecognized_keys'),
    ...issues.filter((issue) => issue.code !== 'unrecognized_keys'),
  ];
  return unknownFirst.flatMap((issue) => {
    if (issue.code !== 'unrecognized_keys') return [problemOf([issue], value, schema)];
    return issue.keys.map((key) => problemOf([{ ...issue, keys: [key] }], value, schema));
  });
}

/** The first problem worth telling. */
function problemOf(issues: readonly Issue[], value: unknown, schema: JsonSchema): Problem {
  const issue = issues.find((each) => each.code === 'unrecognized_keys') ?? issues[0];
  if (!issue) throw new Error('a failed check without an issue');
  const { path } = issue;
  switch (issue.code) {
    case 'unrecognized_keys': {
      const key = issue.keys[0] as string;
      const message = `unknown word${didYouMean(key, wordsAt(path, value, schema))}`;
      return { path: [...path, key], isKey: true, message };
    }
    case 'invalid_type':
      return { path, message: missingOr(issue.input, `expected ${nounOf(issue.expected)}`) };
    case 'invalid_value':
      return { path, message: missingOr(issue.input, `expected ${listed(issue.values)}`) };
    case 'too_small':
      return { path, message: tooSmall(issue) };
    case 'too_big':
      return { path, message: `must be at most ${issue.maximum}` };
    case 'not_multiple_of':
      return { path, message: `must be a multiple of ${issue.divisor}` };
    case 'invalid_union':
      return unionProblem(issue, value, schema);
    default:
      return { path, message: issue.message };
  }
}

/** `faults[2].lba: expected a number`. */
export function sentenceOf(problem: Problem): string {
  let field = '';
  for (const part of problem.path) {
    if (typeof part === 'number') field += `[${part}]`;
    else field += field === '' ? String(part) : `.${String(part)}`;
  }
  return field === '' ? problem.message : `${field}: ${problem.message}`;
}

/** Where in the text a problem is: its key, its value, or what would have to hold it. */
function offsetOf(document: Document, problem: Problem): number {
  const parent = document.getIn(problem.path.slice(0, -1), true);
  if (problem.isKey && isMap(parent)) {
    const pair = parent.items.find(({ key }) => isScalar(key) && key.value === problem.path.at(-1));
    if (pair && isScalar(pair.key) && pair.key.range) return pair.key.range[0];
  }
  for (let length = problem.path.length; length >= 0; length--) {
    const node = document.getIn(problem.path.slice(0, length), true);
    const range = (node as { range?: readonly number[] } | undefined)?.range;
    if (range) return range[0] as number;
  }
  return 0;
}

/** Of the alternatives that failed, the one that the value's own shape chose. */
function unionProblem(
  issue: Issue & { code: 'invalid_union' },
  value: unknown,
  schema: JsonSchema,
): Problem {
  const { path } = issue;
  if (issue.discriminator !== undefined) {
    const kind = (issue.input as Record<string, unknown> | undefined)?.[issue.discriminator];
    return { path, message: missingOr(kind, `expected ${listed(optionsOf(issue))}`) };
  }
  const inner = issue.errors.find((each) => each.some((deep) => deep.path.length > 0));
  const chosen = inner ?? (isPlainObject(issue.input) ? issue.errors.at(-1) : undefined);
  if (chosen) {
    const deep = chosen.map((each) => ({ ...each, path: [...path, ...each.path] }) as Issue);
    return problemOf(deep, value, schema);
  }
  const shapes = issue.errors.flatMap((each) => (each[0] ? [shapeOf(each[0])] : []));
  return { path, message: missingOr(issue.input, `expected ${shapes.join(' or ')}`) };
}

function optionsOf(issue: Issue & { code: 'invalid_union' }): readonly unknown[] {
  return 'options' in issue && issue.options ? issue.options : [];
}

function shapeOf(issue: Issue): string {
  if (issue.code === 'invalid_value') return listed(issue.values);
  if (issue.code === 'invalid_type') return nounOf(issue.expected);
  return problemOf([issue], undefined, {}).message.replace(/^expected /, '');
}

function tooSmall({ origin, inclusive, minimum }: Issue & { code: 'too_small' }): string {
  if (origin === 'string') return 'must not be empty';
  if (origin === 'array')
    return `must have at least ${minimum} ${minimum === 1 ? 'entry' : 'entries'}`;
  return `must be ${inclusive ? 'at least' : 'above'} ${minimum}`;
}

function missingOr(input: unknown, message: string): string {
  return input === undefined ? 'is missing' : message;
}

function nounOf(expected: string): string {
  const nouns: Record<string, string> = {
    int: 'a whole number',
    number: 'a number',
    string: 'a text',
    boolean: 'true or false',
    array: 'a list',
    tuple: '[least, most]',
    object: 'a section with words of its own',
  };
  return nouns[expected] ?? expected;
}

function listed(values: readonly unknown[]): string {
  return values.length === 1 ? String(values[0]) : `one of ${values.join(', ')}`;
}

function isPlainObject(value: unknown): value is { readonly kind?: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema> & { kind?: JsonSchema }>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly const?: unknown;
}

/** The words that the schema knows at a place; of alternatives that have a `kind`, those of the value's. */
function wordsAt(path: readonly PropertyKey[], value: unknown, root: JsonSchema): string[] {
  let schema: JsonSchema | undefined = root;
  let here = value;
  for (const part of path) {
    here = (here as Record<PropertyKey, unknown> | undefined)?.[part];
    schema = typeof part === 'number' ? schema?.items : schema?.properties?.[String(part)];
    const kind = isPlainObject(here) ? here.kind : undefined;
    const alternatives: readonly JsonSchema[] = schema?.oneOf ?? schema?.anyOf ?? [];
    schema =
      alternatives.find((each) => each.properties?.kind?.const === kind && each.properties) ??
      schema;
  }
  return Object.keys(schema?.properties ?? {});
}

function didYouMean(word: string, known: readonly string[]): string {
  const lower = word.toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(lower, candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best === undefined ? '' : `; did you mean '${best}'?`;
}

/** Insertions, deletions and replacements that make one word the other. */
function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const replace = (previous[j - 1] as number) + (from[i - 1] === to[j - 1] ? 0 : 1);
      row.push(Math.min(replace, (previous[j] as number) + 1, (row[j - 1] as number) + 1));
    }
    previous = row;
  }
  return previous[to.length] as number;
}
