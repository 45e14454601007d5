import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { Codec } from '../../firmware-protocol/codec.js';
import {
  bootCauses,
  capabilityBits,
  commands,
  events,
  powerStates,
  railFaults,
  readOutcomes,
  replyCodes,
} from '../../firmware-protocol/commands.js';
import { powerCell, powerInputs } from '../../firmware-protocol/power-table.js';
import { needsTool } from '../tools.js';

const page = readFileSync(new URL('../../firmware-protocol/PROTOCOL.md', import.meta.url), 'utf8');

/** The text from a heading to the next one of any level. */
function section(heading: string): string {
  const from = page.indexOf(`\n${heading}\n`);
  if (from === -1) throw new Error(`PROTOCOL.md has no '${heading}'`);
  const rest = page.slice(from + heading.length + 2);
  const end = rest.search(/^#/m);
  return end === -1 ? rest : rest.slice(0, end);
}

/** The cells of the table rows of a text, its head and rule left out. */
function rows(text: string): string[][] {
  const lines = text.split('\n').map((line) => line.trim());
  const cells = lines
    .filter((line) => line.startsWith('|') && !/^[|\s-]+$/.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  return cells.slice(1);
}

const fieldsOf = (codec: Codec<never>) =>
  Object.entries(codec.fields).map(([name, field]) => [name, field.type]);
const fieldsIn = (text: string) => rows(text).map(([name, type]) => [name, type]);
const hex = (code: number) => `0x${code.toString(16).padStart(2, '0')}`;

test.each(Object.values(commands))('the page and the table agree on $name', (command) => {
  const text = section(`### ${hex(command.code)} ${command.name}`);
  const [before = '', response = ''] = text.split('Response:');
  expect(fieldsIn(before)).toEqual(fieldsOf(command.request as Codec<never>));
  expect(fieldsIn(response)).toEqual(fieldsOf(command.response as Codec<never>));
});

test.each(Object.values(events))('the page and the table agree on the event $name', (event) => {
  const text = section(`### ${hex(event.code)} ${event.name}`);
  expect(fieldsIn(text)).toEqual(fieldsOf(event.body as Codec<never>));
});

test('the page names no message that the tables do not have', () => {
  const headings = [...page.matchAll(/^### (0x\S+ \S+)$/gm)].map((match) => match[1]);
  const known = [...Object.values(commands), ...Object.values(events)];
  expect(headings).toEqual(known.map(({ code, name }) => `${hex(code)} ${name}`));
});

test.each([
  ['Reply codes', replyCodes],
  ['Outcomes of reads', readOutcomes],
  ['Power states', powerStates],
  ['Capability bits', capabilityBits],
  ['Boot causes', bootCauses],
  ['Rail faults', railFaults],
])('%s are numbered alike', (heading, numbers) => {
  const named = rows(section(`### ${heading}`)).map(([name, value]) => [name, Number(value)]);
  expect(named).toEqual(Object.entries(numbers));
});

test('the power table is the one that our imagers keep', () => {
  const text = section('## P. Power and the drive on it');
  const head = text.split('\n').find((line) => /\| input\s+\|/.test(line)) ?? '';
  const states = head
    .split('|')
    .slice(2, -1)
    .map((cell) => cell.trim());
  expect(states).toEqual(Object.keys(powerStates));
  const cells = rows(text);
  expect(cells.map(([input]) => input)).toEqual(powerInputs);
  for (const [input, ...row] of cells) {
    expect(row, input).toEqual(states.map((state) => powerCell(state as never, input as never)));
  }
});

const withoutPython = needsTool('python3');
test.skipIf(withoutPython)(
  'the examples and golden frames are what the page says, by another program',
  () => {
    const script = fileURLToPath(
      new URL('../../firmware-protocol/vectors/make.py', import.meta.url),
    );
    const run = spawnSync('python3', [script, '--check'], { encoding: 'utf8' });
    expect(run.stderr).toBe('');
    expect(run.status).toBe(0);
  },
);

test('clauses are numbered in order, without gaps or doubles', () => {
  const seen = new Map<string, number>();
  for (const match of page.matchAll(/^- \*\*([A-Z])-(\d+)\*\*/gm)) {
    const letter = match[1]!;
    const number = Number(match[2]);
    expect(number, `${letter}-${number}`).toBe((seen.get(letter) ?? 0) + 1);
    seen.set(letter, number);
  }
  expect([...seen.keys()].join('')).toBe('FMVHCRLPEWST');
});
