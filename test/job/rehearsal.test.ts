import { describe, expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { defineScenario, loadScenario, type Scenario } from '../../hardware-sim/scenario.js';
import { powerOnRehearsed, rehearsedDrive } from '../../src/cli/rehearsed-drive.js';
import type { Drive } from '../../src/drive/drive.js';
import type { JobEvent } from '../../src/job/events.js';
import type { JobEnd } from '../../src/job/job.js';
import { type RehearsalParts, rehearse } from '../../src/job/rehearsal.js';
import { createJobState, type JobState } from '../../src/job/state.js';
import type { Pass } from '../../src/plan/pass.js';
import { createPlanState } from '../../src/plan/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import { presetRows } from '../presets.js';
import { imageInWorld } from './world.js';

function rowsFor({ sectorCount, sectorBytes, physicalSectorBytes }: Scenario, preset: string) {
  const physicalCount = physicalSectorBytes / sectorBytes;
  return presetRows(preset, { sectorCount, sectorBytes, physicalCount, retries: 1 });
}

interface Rehearsal {
  readonly end: JobEnd;
  readonly state: JobState;
  readonly events: readonly JobEvent[];
  readonly counters: ReturnType<typeof createSimulatedDrive>['counters'];
}

function rehearseOn(
  scenario: Scenario,
  passes: readonly Pass[],
  options: Partial<RehearsalParts> = {},
): Rehearsal {
  const { sectorCount, sectorBytes, physicalSectorBytes } = scenario;
  const drive = createSimulatedDrive(scenario, { media: 'none' });
  const physicalCount = physicalSectorBytes / sectorBytes;
  const plan = createPlanState({ sectorCount, sectorBytes, physicalCount, passes });
  const state = createJobState(plan, troublePolicies.hdd);
  state.atMs = powerOnRehearsed(drive, state.policy).readyMs!;
  const events: JobEvent[] = [];
  const end = rehearse(state, {
    drive: rehearsedDrive(drive),
    identity: drive.identify(state.atMs)!,
    reach: { resets: new Set(['abort', 'soft', 'hard']), power: true },
    onEvent: (event) => void events.push(event),
    ...options,
  });
  return { end, state, events, counters: drive.counters };
}

/** What was read, with what came of it, in order; what a real job took back unread did not happen. */
function readsOf(events: readonly JobEvent[]): string[] {
  return events.flatMap((event) => {
    if (event.kind !== 'read' || event.outcome === 'not-attempted') return [];
    const { role, lba, count, outcome, goodCount, faultLba } = event;
    return [`${role} ${lba}+${count} ${outcome} ${goodCount} ${faultLba ?? ''}`];
  });
}

const stepKinds = [
  'trouble',
  'reset',
  'ready',
  'power-cycled',
  'blamed',
  'pass-started',
  'gave-up',
];

function stepsOf(events: readonly JobEvent[]): string[] {
  return events.flatMap((event) => (stepKinds.includes(event.kind) ? [event.kind] : []));
}

const oneAtATime = (drive: Drive): Drive => ({
  ...drive,
  capabilities: { ...drive.capabilities, inFlightMax: 1 },
});

describe('a rehearsal makes the reads of the real job', () => {
  test.each([
    // Reads ahead of what it knows: a sweep comes to the same.
    { name: 'demo', preset: 'standard' },
    { name: 'hang', preset: 'ddrescue' },
    // Clicks: ten minutes off, twice.
    { name: 'case-a', preset: 'standard' },
    { name: 'case-c-alias', preset: 'standard' },
    // The order of these follows from every single read, so none may be under way meanwhile.
    { name: 'demo', preset: 'adaptive', wrap: oneAtATime },
  ])('$preset on $name', async ({ name, preset, wrap }) => {
    const scenario = loadScenario(name);
    const rows = rowsFor(scenario, preset);
    const real = await imageInWorld(
      { seed: scenario.seed },
      { drive: createSimulatedDrive(scenario), edit: () => rows, ...(wrap && { wrap }) },
    );
    const rehearsed = rehearseOn(scenario, rows);
    expect(readsOf(rehearsed.events)).toEqual(readsOf(real.events));
    expect(readsOf(rehearsed.events).length).toBeGreaterThan(500);
    expect(stepsOf(rehearsed.events)).toEqual(stepsOf(real.events));
    expect(rehearsed.end).toEqual(real.end);
    const { map } = rehearsed.state.plan;
    expect([...map.runs()]).toEqual([...real.state.plan.map.runs()]);
    const { resets, powerCycles } = real.state.totals;
    expect(rehearsed.state.totals).toEqual(real.state.totals);
    // What a real job adds is asking, at intervals, whether the drive is ready, and a supply that ramps.
    const addedMs = real.elapsedMs - rehearsed.state.atMs;
    expect(addedMs).toBeGreaterThanOrEqual(0);
    expect(addedMs).toBeLessThan(500 * (1 + resets + powerCycles));
  });
});

const big = defineScenario({
  seed: 3,
  sectorCount: 3_000_017,
  physicalSectorBytes: 4096,
  faults: [
    { kind: 'bad', scattered: 12, count: 60, errorMs: 800 },
    { kind: 'bad', lba: 1_000_000, count: 64, pitch: 3000, repeats: 30, errorMs: 800 },
    { kind: 'slow', lba: 2_000_000, count: 100_000, extraMs: 40 },
  ],
});

test.each([
  'standard',
  'ddrescue',
  'gentle',
])('%s in strides comes to what it does read by read', (preset) => {
  const rows = rowsFor(big, preset);
  const single = rehearseOn(big, rows);
  const strides = rehearseOn(big, rows, { inStrides: true });
  expect(strides.end).toEqual(single.end);
  expect([...strides.state.plan.map.runs()]).toEqual([...single.state.plan.map.runs()]);
  expect(strides.state.totals).toEqual(single.state.totals);
  expect(strides.state.totals.reads).toBe(single.counters.reads);
  expect(strides.counters).toEqual(single.counters);
  expect(strides.state.atMs).toBeCloseTo(single.state.atMs, 3);
});

test('healthy stretches come many reads at a time, unless a row goes by what each read told', () => {
  const countReads = (preset: string) => {
    const { state, events } = rehearseOn(big, rowsFor(big, preset), { inStrides: true });
    return { made: state.totals.reads, told: readsOf(events).length };
  };
  const standard = countReads('standard');
  expect(standard.told).toBeLessThan(standard.made / 4);
  const adaptive = countReads('adaptive');
  expect(adaptive.told).toBe(adaptive.made);
});

test('a rehearsal ends when its time is over', () => {
  const rows = rowsFor(big, 'standard');
  for (const inStrides of [false, true]) {
    const { end, state } = rehearseOn(big, rows, { durationMaxMs: 9000, inStrides });
    expect(end.how).toBe('interrupted');
    expect(state.atMs).toBeGreaterThanOrEqual(9000);
    expect(state.atMs).toBeLessThan(12_000);
  }
});
