/** The C side of the protocol's tables: what `firmware/core/messages.h` and `power-table.h` say, made
 * from the same tables that the TypeScript codecs follow from. Text only; `generate.mjs` writes it. */
import type { Fields } from './codec.js';
import {
  bootCauses,
  capabilityBits,
  commands,
  commandsMaxMax,
  events,
  faultBits,
  frameBytesMin,
  heatActions,
  helloMagic,
  notMeasured,
  parkKinds,
  powerActions,
  powerStates,
  protocolVersion,
  railFaults,
  readOutcomes,
  replyCodes,
  resetKinds,
  responseBit,
  sessionLiveMs,
  stopBits,
} from './commands.js';
import { type PowerInput, powerCell, powerInputs } from './power-table.js';

const doNotEdit = "/* Made from the protocol's tables by `npm run generate`: do not edit. */";

/** `rail5Millivolts` → `rail5_millivolts`, `power on` → `power_on`. */
function snake(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[^A-Za-z0-9]+/g, '_')
    .toLowerCase();
}

function constant(...words: string[]): string {
  return ['lastspin', ...words].map(snake).join('_').toUpperCase();
}

/** A number as C: with 16 bits an `int`, so that enumerations stay small on every machine. */
function literal(value: number): string {
  if (value < 0) return `(${value + 1} - 1)`;
  if (value <= 0x7fff) return value <= 9 ? `${value}` : `0x${value.toString(16)}`;
  return value <= 0xffff ? `0x${value.toString(16)}U` : `0x${value.toString(16)}UL`;
}

/** One enumeration; what does not fit an `int` of 16 bits becomes a macro. */
function constants(comment: string, prefix: string, values: Readonly<Record<string, number>>) {
  const all = Object.entries(values);
  const name = (key: string) => (prefix ? constant(prefix, key) : constant(key));
  const small = all.filter(([, value]) => value <= 0x7fff);
  const large = all.filter(([, value]) => value > 0x7fff);
  return [
    `/* ${comment} */`,
    ...(small.length === 0
      ? []
      : ['enum {', ...small.map(([key, value]) => `  ${name(key)} = ${literal(value)},`), '};']),
    ...large.map(([key, value]) => `#define ${name(key)} ${literal(value)}`),
    '',
  ];
}

const cTypes: Readonly<Record<string, string>> = {
  u8: 'uint8_t',
  u16: 'uint16_t',
  i16: 'int16_t',
  u32: 'uint32_t',
  u64: 'uint64_t',
  bytes: 'struct lastspin_bytes',
  text: 'struct lastspin_bytes',
};

function typed(fields: Fields): { name: string; type: string; cType: string }[] {
  return Object.entries(fields).map(([name, { type }]) => {
    const cType = cTypes[type];
    if (cType === undefined) throw new Error(`field ${name} is of type ${type}, unknown in C`);
    // Text is bytes that somebody shows: on the wire they are the same.
    return { name: snake(name), type: type === 'text' ? 'bytes' : type, cType };
  });
}

/** The struct of one body, and how it is taken from a message and put into one. */
function body(name: string, fields: Fields): string[] {
  const all = typed(fields);
  // A body without fields needs neither.
  if (all.length === 0) return [];
  const struct = `struct lastspin_${name}`;
  return [
    `${struct} {`,
    ...all.map((field) => `  ${field.cType} ${field.name};`),
    '};',
    '',
    `static inline bool lastspin_take_${name}(`,
    `    struct lastspin_cursor *from, ${struct} *value) {`,
    ...all.map((field) => `  value->${field.name} = lastspin_take_${field.type}(from);`),
    '  return !from->failed;',
    '}',
    '',
    `static inline bool lastspin_put_${name}(`,
    `    struct lastspin_writer *to, const ${struct} *value) {`,
    ...all.map((field) => `  lastspin_put_${field.type}(to, value->${field.name});`),
    '  return !to->failed;',
    '}',
    '',
  ];
}

function codes(): string[] {
  const commandCodes = Object.entries(commands).map(([name, { code }]) => [name, code]);
  const eventCodes = Object.entries(events).map(([name, { code }]) => [name, code]);
  return [
    ...constants('Requests; a response has bit 7 set (M-2).', 'code', {
      ...Object.fromEntries(commandCodes),
      responseBit,
    }),
    ...constants('Events (M-2).', 'event', Object.fromEntries(eventCodes)),
  ];
}

function numbers(): string[] {
  return [
    ...constants('The protocol.', '', {
      versionMajor: protocolVersion.major,
      versionMinor: protocolVersion.minor,
      frameBytesMin,
      commandsMaxMax,
      sessionLiveMs,
      helloMagic,
    }),
    ...constants('First byte of every response (M-3).', 'reply', replyCodes),
    ...constants('How a read ended.', 'outcome', readOutcomes),
    ...constants('Power states (P-2).', 'state', powerStates),
    ...constants('What an imager can do (C-6).', 'can', capabilityBits),
    ...constants('What an imager started from (P-1).', 'boot', bootCauses),
    ...constants('What is wrong with a rail.', 'rail', railFaults),
    ...constants('What an imager did about the heat.', 'heat', heatActions),
    ...constants('What stops a batch (R-6).', 'stop-on', stopBits),
    ...constants('What is known of a fault.', 'known', faultBits),
    ...constants('Resets.', 'reset', resetKinds),
    ...constants('Power.', 'power', powerActions),
    ...constants('Parking.', 'park', parkKinds),
    '/* What is not measured. */',
    `#define ${constant('no-temperature')} ${literal(notMeasured.temperature)}`,
    `#define ${constant('no-rail')} ${literal(notMeasured.rail)}`,
    `#define ${constant('no-activity')} ${literal(notMeasured.quietMs)}`,
    '',
  ];
}

/** `firmware/core/messages.h`: all numbers, and every body as a struct with its codec. */
function messagesHeader(): string {
  const bodies = [
    ...Object.entries(commands).flatMap(([name, { request, response }]) => [
      ...body(`${snake(name)}_request`, request.fields),
      ...body(`${snake(name)}_response`, response.fields),
    ]),
    ...Object.entries(events).flatMap(([name, event]) => body(snake(name), event.body.fields)),
  ];
  return [
    doNotEdit,
    '#ifndef LASTSPIN_MESSAGES_H',
    '#define LASTSPIN_MESSAGES_H',
    '',
    '#include "wire.h"',
    '',
    ...codes(),
    ...numbers(),
    ...bodies,
    '#endif',
    '',
  ].join('\n');
}

const states = Object.keys(powerStates) as (keyof typeof powerStates)[];

/** One line of the table. `TO(X)` is spelt out by whoever uses it: so a row fits a line. */
function row(input: PowerInput): string {
  const cells = states.map((state) => `TO(${snake(powerCell(state, input)).toUpperCase()})`);
  return `  { ${cells.map((cell) => cell.padEnd(16)).join(', ')} }, /* ${input} */`;
}

/** `firmware/core/power-table.h`: the power state table of P-2. */
function powerTableHeader(): string {
  const cells = new Set(powerInputs.flatMap((input) => states.map((s) => powerCell(s, input))));
  const others = [...cells].filter((cell) => !(cell in powerStates)).sort();
  // A cell that is a state has its number, so that entering it needs no translation.
  const values = {
    ...powerStates,
    ...Object.fromEntries(others.map((cell, at) => [cell, states.length + at])),
  };
  return [
    doNotEdit,
    '#ifndef LASTSPIN_POWER_TABLE_H',
    '#define LASTSPIN_POWER_TABLE_H',
    '',
    ...constants('Cells: a state is entered, or what else happens (P-2).', 'to', values),
    ...constants(
      'What is asked and what happens: the rows of P-2.',
      'input',
      Object.fromEntries(powerInputs.map((input, at) => [input, at])),
    ),
    `#define LASTSPIN_POWER_STATES ${states.length}`,
    `#define LASTSPIN_POWER_INPUTS ${powerInputs.length}`,
    '',
    '/* One row for each input, one cell for each state; TO(X) stands for LASTSPIN_TO_X. */',
    '#define LASTSPIN_POWER_TABLE \\',
    ...powerInputs.map((input, at) => `${row(input)}${at + 1 < powerInputs.length ? ' \\' : ''}`),
    '',
    '#endif',
    '',
  ].join('\n');
}

/** One letter for each field, as the fuzzers' maker of messages reads them. */
const letters: Readonly<Record<string, string>> = {
  u8: '1',
  u16: '2',
  i16: 'i',
  u32: '4',
  u64: '8',
  bytes: 'b',
  text: 'b',
};

/** A body that may be in a message, for the comparison of both decoders. */
export interface JudgedBody {
  /** With `responseBit` for a response. */
  readonly code: number;
  readonly name: string;
  readonly fields: Fields;
  /** Letters of its fields in wire order. */
  readonly letters: string;
}

/** Every body there is, in the order that both judges know. */
export function judgedBodies(): JudgedBody[] {
  const judged = (code: number, name: string, fields: Fields) => ({
    code,
    name: snake(name),
    fields,
    letters: Object.values(fields)
      .map(({ type }) => letters[type])
      .join(''),
  });
  return [
    ...Object.entries(commands).flatMap(([name, { code, request, response }]) => [
      judged(code, `${snake(name)}_request`, request.fields),
      judged(code | responseBit, `${snake(name)}_response`, response.fields),
    ]),
    ...Object.entries(events).map(([name, event]) => judged(event.code, name, event.body.fields)),
  ];
}

/** How C takes one body, notes its values, and puts it again. */
function judge({ name, fields }: JudgedBody): string[] {
  const all = typed(fields);
  if (all.length === 0) return [];
  return [
    `static bool judge_${name}(struct lastspin_cursor *from, struct lastspin_writer *to) {`,
    `  struct lastspin_${name} value;`,
    `  if (!lastspin_take_${name}(from, &value)) return false;`,
    ...all.map((field) => `  note_${field.type}(value.${field.name});`),
    `  return lastspin_put_${name}(to, &value);`,
    '}',
    '',
  ];
}

/** `firmware/fuzz/bodies.h`: every body for the judge and the fuzzer. */
function bodiesHeader(): string {
  const bodies = judgedBodies();
  const rows = bodies.map(({ code, name, fields, letters: types }) => {
    const judging = Object.keys(fields).length > 0 ? `judge_${name}` : 'judge_nothing';
    return `    {0x${code.toString(16)}, "${types}", ${judging}},`;
  });
  return [
    doNotEdit,
    '#ifndef LASTSPIN_BODIES_H',
    '#define LASTSPIN_BODIES_H',
    '',
    ...bodies.flatMap(judge),
    'static bool judge_nothing(struct lastspin_cursor *from, struct lastspin_writer *to) {',
    '  return !from->failed && !to->failed;',
    '}',
    '',
    'struct body {',
    '  uint8_t code;',
    '  const char *letters;',
    '  bool (*judge)(struct lastspin_cursor *from, struct lastspin_writer *to);',
    '};',
    '',
    'static const struct body bodies[] = {',
    ...rows,
    '};',
    `#define BODIES ${bodies.length}`,
    '',
    '#endif',
    '',
  ].join('\n');
}

/** All generated files: path below `firmware/` to text. */
export function headers(): Readonly<Record<string, string>> {
  return {
    'core/messages.h': messagesHeader(),
    'core/power-table.h': powerTableHeader(),
    'fuzz/bodies.h': bodiesHeader(),
  };
}
