import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { scenarioJsonSchema } from '../../hardware-sim/schema.js';
import { headMapJsonSchema } from '../../src/plan/head-map-schema.js';
import { presetJsonSchema } from '../../src/plan/preset-schema.js';
import {
  cloneResultSchema,
  fillResultSchema,
  restoreResultSchema,
} from '../../src/show/copy-result.js';
import { devicesResultSchema, doctorResultSchema } from '../../src/show/devices.js';
import { exportResultSchema, importResultSchema } from '../../src/show/exchange.js';
import { identifyResultSchema } from '../../src/show/identify.js';
import { mergeResultSchema } from '../../src/show/merge-result.js';
import { powerResultSchema } from '../../src/show/power-result.js';
import { rehearsalResultSchema } from '../../src/show/rehearsal.js';
import { imageResultSchema } from '../../src/show/result.js';
import { verifyResultSchema } from '../../src/show/verify-result.js';

const published = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../docs', name), 'utf8'));

test('the published schema of `image --json` is the one that results are made by', () => {
  expect(published('image-result.schema.json')).toEqual(z.toJSONSchema(imageResultSchema));
});

test('the published schema of `identify --json` is the one that results are made by', () => {
  expect(published('identify-result.schema.json')).toEqual(z.toJSONSchema(identifyResultSchema));
});

test('the published schema of scenario files is the one that they are checked by', () => {
  expect(published('scenario.schema.json')).toEqual(scenarioJsonSchema());
});

test('the published schema of preset files is the one that they are checked by', () => {
  expect(published('preset.schema.json')).toEqual(presetJsonSchema());
});

test('the published schema of `rehearse --json` is the one that results are made by', () => {
  expect(published('rehearsal-result.schema.json')).toEqual(z.toJSONSchema(rehearsalResultSchema));
});

test('the published schema of `power --json` is the one that results are made by', () => {
  expect(published('power-result.schema.json')).toEqual(z.toJSONSchema(powerResultSchema));
});

test('the published schema of `merge --json` is the one that results are made by', () => {
  expect(published('merge-result.schema.json')).toEqual(z.toJSONSchema(mergeResultSchema));
});

test('the published schema of head map files is the one that they are checked by', () => {
  expect(published('head-map.schema.json')).toEqual(headMapJsonSchema());
});

test.each([
  ['devices', devicesResultSchema],
  ['doctor', doctorResultSchema],
  ['verify', verifyResultSchema],
  ['clone', cloneResultSchema],
  ['restore', restoreResultSchema],
  ['fill', fillResultSchema],
])('the published schema of `%s --json` is the one that results are made by', (name, schema) => {
  expect(published(`${name}-result.schema.json`)).toEqual(z.toJSONSchema(schema));
});

test.each([
  ['export', exportResultSchema],
  ['import', importResultSchema],
] as const)('the published schema of `%s --json` is the one that results are made by', (name, schema) => {
  expect(published(`${name}-result.schema.json`)).toEqual(z.toJSONSchema(schema));
});
