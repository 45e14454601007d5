import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  bundledScenarios,
  defineScenario,
  loadScenario,
  parseScenario,
} from '../../hardware-sim/scenario.js';
import { faultSchema, scenarioJsonSchema } from '../../hardware-sim/schema.js';
import { isLastspinError } from '../../src/errors.js';

const directory = mkdtempSync(join(tmpdir(), 'scenario-'));
afterAll(() => rmSync(directory, { recursive: true }));

function messageOf(text: string): string {
  try {
    parseScenario(text, { name: 'demo.yaml', directory });
  } catch (error) {
    if (isLastspinError(error, 'SCENARIO_INVALID')) return error.message;
    throw error;
  }
  throw new Error('the scenario was accepted');
}

const faults = (row: string) =>
  `seed: 1\nsectorCount: 1000\nfaults:\n  - { kind: bad, lba: 1 }\n  ${row}`;

describe('one line says what is wrong and where', () => {
  test.each([
    ['sectorCount: 10\nseeed: 3', "demo.yaml:2: seeed: unknown word; did you mean 'seed'?"],
    ['seed: 3', 'demo.yaml:1: sectorCount: is missing'],
    ['sectorCount: many', 'demo.yaml:1: sectorCount: expected a number'],
    ['sectorCount: 1.5', 'demo.yaml:1: sectorCount: expected a whole number'],
    ['sectorCount: 0', 'demo.yaml:1: sectorCount: must be above 0'],
    [
      'sectorCount: 9\ncontents: patern',
      'demo.yaml:2: contents: expected one of pattern, zeros or a section with words of its own',
    ],
    [
      'sectorCount: 9\ncontents:\n  fil: a.img',
      "demo.yaml:3: contents.fil: unknown word; did you mean 'file'?",
    ],
    [
      'contents: { file: none.img }',
      `demo.yaml:1: contents.file: no such file: ${join(directory, 'none.img')}`,
    ],
    [
      'sectorCount: 9\nmechanics:\n  head: 4',
      "demo.yaml:3: mechanics.head: unknown word; did you mean 'heads'?",
    ],
    [
      'sectorCount: 9\npower: { rail12: { limitMilliamp: 3 } }',
      "demo.yaml:2: power.rail12.limitMilliamp: unknown word; did you mean 'limitMilliamps'?",
    ],
    [
      'sectorCount: 9\nphysicalSectorBytes: 1000',
      'demo.yaml:2: physicalSectorBytes: must be a multiple of sectorBytes (512)',
    ],
    ['sectorCount: 9\nseed: 1\nseed: 2', 'demo.yaml:3: Map keys must be unique'],
    [
      'sectorCount: [',
      'demo.yaml:1: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
    ['- 1', 'demo.yaml:1: expected a section with words of its own'],
    ['', 'demo.yaml:1: sectorCount: is missing'],
    [
      faults('- { kind: bda, lba: 1 }'),
      'demo.yaml:5: faults[1].kind: expected one of bad, slow, hang, stall, vanish, wrong, spin-up, clicks, alias',
    ],
    [faults('- { lba: 1 }'), 'demo.yaml:5: faults[1].kind: is missing'],
    [faults('- { kind: bad, lba: x }'), 'demo.yaml:5: faults[1].lba: expected a number'],
    [
      faults('- { kind: bad, lbaa: 5 }'),
      "demo.yaml:5: faults[1].lbaa: unknown word; did you mean 'lba'?",
    ],
    [faults('- { kind: slow, lba: 5 }'), 'demo.yaml:5: faults[1].extraMs: is missing'],
    [
      faults('- { kind: bad }'),
      'demo.yaml:5: faults[1]: needs exactly one of lba, scattered, head, everywhere',
    ],
    [
      faults('- { kind: bad, lba: 1, head: 2 }'),
      'demo.yaml:5: faults[1]: needs exactly one of lba, scattered, head, everywhere',
    ],
    [
      faults('- { kind: bad, head: 4 }'),
      'demo.yaml:5: faults[1].head: the drive has 4 heads, from 0',
    ],
    [
      faults('- { kind: bad, head: 1, count: 3 }'),
      'demo.yaml:5: faults[1].count: does not go with head',
    ],
    [
      faults('- { kind: bad, lba: 998, count: 3 }'),
      'demo.yaml:5: faults[1].lba: ends beyond the drive (1000 sectors)',
    ],
    [
      faults('- { kind: bad, lba: 9, pitch: 3 }'),
      'demo.yaml:5: faults[1]: pitch and repeats go together',
    ],
    [
      faults('- { kind: bad, lba: 9, readChance: 2 }'),
      'demo.yaml:5: faults[1].readChance: must be at most 1',
    ],
    [
      faults('- { kind: bad, everywhere: yes }'),
      'demo.yaml:5: faults[1].everywhere: expected true',
    ],
    [
      faults('- { kind: hang, lba: 9, until: reset }'),
      'demo.yaml:5: faults[1].until: expected one of soft-reset, hard-reset, power-cycle',
    ],
    [
      faults('- { kind: stall, lba: 9, lastsMs: 1, readMs: [1, x] }'),
      'demo.yaml:5: faults[1].readMs[1]: expected a number',
    ],
    [
      faults('- { kind: stall, lba: 9, lastsMs: 1, readMs: x }'),
      'demo.yaml:5: faults[1].readMs: expected a number or [least, most]',
    ],
  ])('%j', (text, message) => {
    expect(messageOf(text)).toBe(message);
  });

  test('a scenario in code has no line', () => {
    expect(() => defineScenario({ sectorCount: 8, faults: [{ kind: 'bad', lba: 9 }] })).toThrow(
      'scenario: faults[0].lba: ends beyond the drive (8 sectors)',
    );
  });

  test('a name that nobody knows lists the ones there are', () => {
    expect(() => loadScenario('nonesuch')).toThrow(
      /no scenario is called 'nonesuch'; bundled: .*demo/,
    );
    expect(() => loadScenario('./nonesuch.yaml')).toThrow('./nonesuch.yaml: cannot be read');
  });
});

test('the size of the drive follows from its contents when it is not given', () => {
  writeFileSync(join(directory, 'disk.img'), new Uint8Array(1300));
  writeFileSync(join(directory, 'disk.yaml'), 'contents: { file: disk.img }');
  const scenario = loadScenario(join(directory, 'disk.yaml'));
  expect(scenario.sectorCount).toBe(3);
  expect(scenario.contents).toEqual({ file: join(directory, 'disk.img'), bytes: 1300 });
});

test('every bundled scenario loads by its name', () => {
  const names = bundledScenarios();
  for (const name of ['healthy', 'demo', 'weak-head', 'hang', 'slow', 'flaky', 'stall']) {
    expect(names).toContain(name);
  }
  for (const name of names) expect(loadScenario(name).sectorCount).toBeGreaterThan(0);
});

describe('README.md', () => {
  const readme = readFileSync(join(import.meta.dirname, '../../hardware-sim/README.md'), 'utf8');
  test('its example is a scenario, and its defaults are the defaults', () => {
    const example = /```yaml\n([\s\S]*?)```/.exec(readme)?.[1] ?? '';
    const { mechanics, power, temperature } = parseScenario(example, { name: 'README', directory });
    const plain = defineScenario({ sectorCount: 1 });
    expect({ mechanics, power, temperature }).toEqual({
      mechanics: plain.mechanics,
      power: plain.power,
      temperature: plain.temperature,
    });
  });
  test('it tells of every word of every fault', () => {
    const told = new Set([...readme.matchAll(/`([\w-]+)(?:: [^`]+)?`/g)].map((match) => match[1]));
    for (const { shape } of faultSchema.options) {
      for (const word of [shape.kind.value, ...Object.keys(shape)]) {
        expect(told.has(word) || word === 'kind', `README.md leaves out ${word}`).toBe(true);
      }
    }
  });
});

test('the schema is there for editors', () => {
  const schema = scenarioJsonSchema();
  expect(Object.keys(schema.properties as object)).toContain('faults');
});
