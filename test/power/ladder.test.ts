import { describe, expect, test } from 'vitest';
import {
  createTrouble,
  foldTrouble,
  nextTroubleStep,
  type Reach,
  suspicionOf,
  type Trouble,
  type TroubleEvent,
  type TroubleStep,
} from '../../src/power/ladder.js';
import { troublePolicies } from '../../src/power/policy.js';

const policy = troublePolicies.hdd;
const everything: Reach = { resets: new Set(['abort', 'soft', 'hard']), power: true };
const noPower: Reach = { resets: new Set(['abort', 'soft', 'hard']), power: false };

/** What revives the drive, as far as the ladder can see. */
type Cure = 'nothing needed' | 'abort' | 'soft' | 'hard' | 'power' | 'never';
const strength: readonly Cure[] = ['nothing needed', 'abort', 'soft', 'hard', 'power', 'never'];

function reference(
  outcome: string,
  elapsedMs = 20,
  cause?: 'medium' | 'unexplained',
): TroubleEvent {
  const goodCount = outcome === 'good' ? 1 : 0;
  return {
    kind: 'read',
    role: 'reference',
    outcome,
    goodCount,
    elapsedMs,
    ...(cause && { cause }),
  };
}

/** Climbs until a verdict or the end, and returns the kinds of steps taken. */
function climb(
  from: 'none' | 'abort' | 'hard',
  cure: Cure,
  reach = everything,
  trouble = createTrouble(),
  startMs = 0,
) {
  let nowMs = startMs;
  let applied: Cure = 'nothing needed';
  const steps: TroubleStep[] = [];
  const fold = (event: TroubleEvent) => foldTrouble(trouble, event, nowMs, policy);
  fold({ kind: 'trouble', why: 'test', from });
  for (let guard = 0; guard < 100; guard++) {
    const step = nextTroubleStep(trouble, reach, policy, nowMs)!;
    steps.push(step);
    const well = strength.indexOf(applied) >= strength.indexOf(cure);
    if (step.kind === 'blame' || step.kind === 'give-up') {
      if (step.kind === 'blame') fold({ kind: 'blamed', on: step.on });
      return { steps, trouble, last: step, nowMs };
    }
    if (step.kind === 'reference') fold(reference(well ? 'good' : 'timeout'));
    if (step.kind === 'reset') {
      applied = step.reset;
      fold({ kind: 'reset', reset: step.reset, ok: true });
    }
    if (step.kind === 'power-cycle') {
      applied = 'power';
      nowMs += step.offMs;
      fold({ kind: 'power-cycled', ok: true, gained: false });
    }
    if (step.kind === 'await-ready')
      fold({ kind: 'ready', ok: cure !== 'never' || applied !== 'power', waitedMs: 0 });
    if (step.kind === 'rest') {
      nowMs += step.restMs;
      fold({ kind: 'rested', restMs: step.restMs, why: step.why });
    }
  }
  throw new Error('the ladder does not end');
}

const kinds = (steps: readonly TroubleStep[]) =>
  steps.map((step) => (step.kind === 'reset' ? step.reset : step.kind));

describe('the ladder', () => {
  test('an unexplained error on a healthy drive costs one reference read, and the place is to blame', () => {
    const { steps, last } = climb('none', 'nothing needed');
    expect(kinds(steps)).toEqual(['reference', 'blame']);
    expect(last).toMatchObject({ on: 'place' });
  });

  test('after silence the command is aborted before the reference is read', () => {
    expect(kinds(climb('abort', 'abort').steps)).toEqual(['abort', 'reference', 'blame']);
  });

  test.each([
    ['soft', ['abort', 'reference', 'soft', 'await-ready', 'reference', 'blame'], 'hang'],
    [
      'hard',
      [
        'abort',
        'reference',
        'soft',
        'await-ready',
        'reference',
        'hard',
        'await-ready',
        'reference',
        'blame',
      ],
      'hang',
    ],
    [
      'power',
      [
        'abort',
        'reference',
        'soft',
        'await-ready',
        'reference',
        'hard',
        'await-ready',
        'reference',
        'power-cycle',
        'await-ready',
        'rest',
        'reference',
        'blame',
      ],
      'hang',
    ],
  ] as const)('a drive that only %s revives climbs to it rung by rung', (cure, expected, on) => {
    const { steps, last } = climb('abort', cure);
    expect(kinds(steps)).toEqual(expected);
    expect(last).toMatchObject({ kind: 'blame', on });
  });

  test('rungs that the path does not have are left out', () => {
    const { steps } = climb('none', 'power', { resets: new Set(), power: true });
    expect(kinds(steps)).toEqual([
      'reference',
      'power-cycle',
      'await-ready',
      'rest',
      'reference',
      'blame',
    ]);
  });

  test('without a power switch a hung drive ends the job and the message says what is missing', () => {
    const { last } = climb('abort', 'power', noPower);
    expect(last).toMatchObject({ kind: 'give-up', why: expect.stringContaining('--power') });
  });

  test('two failed spin-ups, ten minutes apart with the power off, end the job: clicking kills', () => {
    const { steps, last } = climb('hard', 'never');
    expect(kinds(steps).filter((kind) => kind === 'power-cycle')).toHaveLength(2);
    expect(steps.find((step) => step.kind === 'rest')).toMatchObject({
      restMs: 600_000,
      powerOff: true,
    });
    expect(last.kind).toBe('give-up');
  });

  test('power cycles that gain nothing end the job', () => {
    const trouble = createTrouble();
    let nowMs = 0;
    const ends: string[] = [];
    for (let n = 0; n < 5; n++) {
      const climbed = climb('hard', 'power', { resets: new Set(), power: true }, trouble, nowMs);
      nowMs = climbed.nowMs + policy.coolDownWindowMs;
      ends.push(climbed.last.kind);
    }
    expect(ends.slice(0, 4)).toEqual(['blame', 'blame', 'blame', 'give-up']);
  });

  test('a third cycle within ten minutes is followed by ten minutes off before the next', () => {
    const trouble = createTrouble();
    const steps: TroubleStep[] = [];
    for (let n = 0; n < 4; n++) {
      trouble.cyclesGainless = 0;
      steps.push(
        ...climb('hard', 'power', { resets: new Set(), power: true }, trouble, n * 1000).steps,
      );
    }
    const rests = steps.filter((step) => step.kind === 'rest' && step.powerOff);
    expect(rests).toEqual([expect.objectContaining({ restMs: 600_000 })]);
  });

  test('a reference that crawls blames the drive: it rests before it is asked again', () => {
    const trouble = createTrouble();
    const fold = (event: TroubleEvent) => foldTrouble(trouble, event, 0, policy);
    fold({ kind: 'trouble', why: 'test', from: 'none' });
    fold(reference('good', 4000));
    expect(next(trouble)).toMatchObject({ kind: 'reference', attempt: 1 });
    fold(reference('good', 4000));
    expect(next(trouble)).toMatchObject({ kind: 'rest', restMs: policy.stallRestMs });
    fold({ kind: 'rested', restMs: policy.stallRestMs, why: '' });
    expect(next(trouble).kind).toBe('reference');
    fold(reference('good', 10));
    expect(next(trouble)).toMatchObject({ kind: 'blame', on: 'drive' });
  });

  test('a reference that has gone bad itself is not held against the drive', () => {
    const trouble = createTrouble();
    const fold = (event: TroubleEvent) => foldTrouble(trouble, event, 0, policy);
    fold({ kind: 'trouble', why: 'test', from: 'none' });
    fold(reference('fault', 900, 'medium'));
    expect(next(trouble)).toMatchObject({ kind: 'reference', attempt: 1 });
  });

  test('eight medium errors in a row, each faster than a turn of the platter, are suspicious', () => {
    const trouble = createTrouble();
    for (let n = 0; n < 8; n++) {
      expect(suspicionOf(trouble)).toBeUndefined();
      foldTrouble(
        trouble,
        {
          kind: 'read',
          role: 'pass',
          outcome: 'fault',
          cause: 'medium',
          goodCount: 0,
          elapsedMs: 1,
        },
        0,
        policy,
      );
    }
    expect(suspicionOf(trouble)).toContain('faster than the platter');
  });
});

function next(trouble: Trouble): TroubleStep {
  return nextTroubleStep(trouble, everything, policy, 0)!;
}
