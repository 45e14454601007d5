import { describe, expect, test } from 'vitest';
import {
  createTrouble,
  foldTrouble,
  nextTroubleStep,
  type Reach,
  settleRestMs,
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
  /** Says that it is ready while it reads nothing. */
  liar = false,
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
      fold({ kind: 'power-cycled', gained: false });
    }
    if (step.kind === 'await-ready') fold({ kind: 'ready', ok: well || liar, waitedMs: 0 });
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
      ['abort', 'reference', 'soft', 'await-ready', 'hard', 'await-ready', 'reference', 'blame'],
      'hang',
    ],
    [
      'power',
      [
        'abort',
        'reference',
        'soft',
        'await-ready',
        'hard',
        'await-ready',
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

  test('one that is silent though it says that it is ready rests before its power is cut', () => {
    const { steps, last } = climb('hard', 'power', everything, createTrouble(), 0, true);
    expect(kinds(steps)).toEqual([
      'hard',
      'await-ready',
      'reference',
      'rest',
      'reference',
      'power-cycle',
      'await-ready',
      'rest',
      'reference',
      'blame',
    ]);
    expect(steps[3]).toMatchObject({ restMs: policy.stallRestMs, powerOff: false });
    expect(steps[4]).toMatchObject({ timeoutMs: policy.patientTimeoutMs });
    expect(last).toMatchObject({ on: 'hang' });
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

  test('without a switch a drive that is off its bus is waited for, longer than for any reset', () => {
    const trouble = createTrouble();
    const fold = (event: TroubleEvent) => foldTrouble(trouble, event, 0, policy);
    fold(reference('gone'));
    fold({ kind: 'trouble', why: 'it left', from: 'hard' });
    const alone: Reach = { resets: new Set(), power: false };
    const step = () => nextTroubleStep(trouble, alone, policy, 0);
    const limitMs = policy.returnLimitMs;
    expect(step()).toEqual({ kind: 'hold', limitMs });
    fold({ kind: 'held', limitMs });
    expect(step()).toEqual({ kind: 'await-ready', limitMs });
    fold({ kind: 'ready', ok: true, waitedMs: 1000 });
    // It has been without power: it settles before it is read.
    expect(step()).toMatchObject({ kind: 'rest', restMs: settleRestMs(policy) });
    fold({ kind: 'trouble', why: 'it left', from: 'hard' });
    fold({ kind: 'held', limitMs });
    fold({ kind: 'ready', ok: false, waitedMs: limitMs });
    expect(step()).toMatchObject({ kind: 'give-up', why: expect.stringContaining('it left; ') });
    // A budget that is spent is another matter than a plug.
    fold({ kind: 'trouble', why: 'it left', from: 'hard' });
    const spent = nextTroubleStep(trouble, { ...alone, powerRefused: 'spent' }, policy, 0);
    expect(spent).toMatchObject({ kind: 'give-up', why: expect.stringContaining('spent') });
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

describe('errors in a row', () => {
  const read = { kind: 'read', role: 'pass' } as const;
  const good: TroubleEvent = { ...read, outcome: 'good', goodCount: 8, elapsedMs: 5 };
  const failing = (elapsedMs: number): TroubleEvent => ({
    ...read,
    outcome: 'fault',
    cause: 'medium',
    goodCount: 0,
    elapsedMs,
  });

  function suspicionAfter(events: readonly TroubleEvent[]): string | undefined {
    const trouble = createTrouble();
    for (const event of events) foldTrouble(trouble, event, 0, policy);
    return suspicionOf(trouble);
  }
  const slow = (count: number) => Array.from({ length: count }, () => failing(900));
  const fast = (count: number) => Array.from({ length: count }, () => failing(1));

  test('sixty-four are suspicious however long each took, and sixty-three are not', () => {
    expect(suspicionAfter(slow(63))).toBeUndefined();
    expect(suspicionAfter(slow(64))).toBe('64 errors in a row');
  });

  test('are counted anew after a sector that was read', () => {
    expect(suspicionAfter([...slow(63), good, ...slow(63)])).toBeUndefined();
    expect(suspicionAfter([...fast(7), good, ...fast(7)])).toBeUndefined();
  });

  test('are counted anew after a verdict', () => {
    expect(suspicionAfter([...slow(64), { kind: 'blamed', on: 'place' }])).toBeUndefined();
    expect(suspicionAfter([...fast(8), { kind: 'blamed', on: 'place' }])).toBeUndefined();
  });

  test('are no longer fast ones in a row after one that took its time', () => {
    expect(suspicionAfter([...fast(7), failing(900), ...fast(7)])).toBeUndefined();
  });
});

describe('budgets', () => {
  const powerOnly: Reach = { resets: new Set(), power: true };

  /** Trouble that a power cycle ends, as often as told, each long after the one before. */
  function cycled(count: number, gained: (n: number) => boolean) {
    const trouble = createTrouble();
    let nowMs = 0;
    for (let n = 0; n < count; n++) {
      const fold = (event: TroubleEvent) => foldTrouble(trouble, event, nowMs, policy);
      nowMs += policy.coolDownWindowMs;
      fold({ kind: 'trouble', why: 'test', from: 'hard' });
      fold({ kind: 'power-cycled', gained: gained(n) });
      fold({ kind: 'ready', ok: true, waitedMs: 0 });
      fold({ kind: 'rested', restMs: policy.settleMs, why: '' });
      fold(reference('good'));
      fold({ kind: 'blamed', on: 'hang' });
    }
    nowMs += policy.coolDownWindowMs;
    foldTrouble(trouble, { kind: 'trouble', why: 'test', from: 'hard' }, nowMs, policy);
    return nextTroubleStep(trouble, powerOnly, policy, nowMs)!;
  }

  test('thirty power cycles end the job even though each of them gained sectors', () => {
    expect(cycled(29, () => true).kind).toBe('power-cycle');
    expect(cycled(30, () => true)).toMatchObject({
      kind: 'give-up',
      why: 'the budget of 30 power cycles is spent',
    });
  });

  test('cycles without gain are counted in a row: one that gains starts anew', () => {
    expect(cycled(5, (n) => n === 2).kind).toBe('power-cycle');
    expect(cycled(6, (n) => n === 2)).toMatchObject({
      kind: 'give-up',
      why: '3 power cycles in a row gained nothing',
    });
  });

  test('failed spin-ups are counted in a row: one that succeeds starts anew', () => {
    const trouble = createTrouble();
    const fold = (event: TroubleEvent) => foldTrouble(trouble, event, 0, policy);
    const spinUp = (ok: boolean) => {
      fold({ kind: 'trouble', why: 'test', from: 'hard' });
      fold({ kind: 'power-cycled', gained: true });
      fold({ kind: 'ready', ok, waitedMs: 0 });
    };
    spinUp(false);
    spinUp(true);
    spinUp(false);
    expect(next(trouble)).toMatchObject({ kind: 'rest', restMs: policy.spinUpRestMs });
    spinUp(false);
    expect(next(trouble).kind).toBe('give-up');
  });

  test('a drive that crawls for good rests, is cycled once, rests on, and is given up', () => {
    const trouble = createTrouble();
    const fold = (event: TroubleEvent) => foldTrouble(trouble, event, 0, policy);
    const steps: TroubleStep[] = [];
    fold({ kind: 'trouble', why: 'test', from: 'none' });
    for (let step = next(trouble); step.kind !== 'give-up'; step = next(trouble)) {
      if (steps.push(step) > 100) throw new Error('the rests do not end');
      if (step.kind === 'reference') fold(reference('good', 4000));
      if (step.kind === 'rest') fold({ kind: 'rested', restMs: step.restMs, why: step.why });
      if (step.kind === 'power-cycle') fold({ kind: 'power-cycled', gained: false });
      if (step.kind === 'await-ready') fold({ kind: 'ready', ok: true, waitedMs: 0 });
    }
    const taken = kinds(steps).filter((kind) => kind !== 'reference' && kind !== 'await-ready');
    expect(taken.slice(0, 2)).toEqual(['rest', 'power-cycle']);
    // One of them lets the drive settle after the cycle.
    expect(taken.filter((kind) => kind === 'rest')).toHaveLength(12);
    expect(taken.filter((kind) => kind === 'power-cycle')).toHaveLength(1);
    expect(next(trouble)).toMatchObject({ why: expect.stringContaining('crawls everywhere') });
  });
});

function next(trouble: Trouble): TroubleStep {
  return nextTroubleStep(trouble, everything, policy, 0)!;
}
