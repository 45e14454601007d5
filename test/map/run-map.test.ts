import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRunMap, type RunMap, runMapFrom } from '../../src/map/run-map.js';

const valueMax = 4;

describe('a run map', () => {
  it('is one run at first', () => {
    const map = createRunMap(100, 3);
    expect(map.runAt(50)).toEqual({ lba: 0, count: 100, value: 3 });
    expect(map.countOf(3)).toBe(100);
    expect(map.runCount).toBe(1);
  });

  it('joins equal neighbours on both sides', () => {
    const map = createRunMap(30);
    map.set({ lba: 0, count: 10 }, 4);
    map.set({ lba: 20, count: 10 }, 4);
    expect(map.runCount).toBe(3);
    map.set({ lba: 10, count: 10 }, 4);
    expect([...map.runs()]).toEqual([{ lba: 0, count: 30, value: 4 }]);
  });

  it('clips what it finds to the limits', () => {
    const map = createRunMap(100);
    map.set({ lba: 40, count: 20 }, 1);
    expect(map.next(0, 1)).toEqual({ lba: 40, count: 20 });
    expect(map.next(45, 1, 50)).toEqual({ lba: 45, count: 5 });
    expect(map.next(0, 1, 40)).toBeUndefined();
    expect(map.next(60, 1)).toBeUndefined();
    expect(map.previous(100, 1)).toEqual({ lba: 40, count: 20 });
    expect(map.previous(50, 1, 45)).toEqual({ lba: 45, count: 5 });
    expect(map.previous(100, 1, 60)).toBeUndefined();
    expect(map.previous(40, 1)).toBeUndefined();
    expect(map.next(100, 1)).toBeUndefined();
    expect(map.previous(0, 1)).toBeUndefined();
  });

  it('keeps a copy apart', () => {
    const map = createRunMap(10);
    const copy = map.clone();
    map.set({ lba: 2, count: 3 }, 4);
    expect(copy.countOf(4)).toBe(0);
    copy.set({ lba: 9, count: 1 }, 2);
    expect(map.countOf(2)).toBe(0);
  });

  it('takes places beyond 2^32', () => {
    const map = createRunMap(2 ** 45);
    map.set({ lba: 2 ** 44, count: 8 }, 4);
    expect(map.next(0, 4)).toEqual({ lba: 2 ** 44, count: 8 });
    expect(map.countOf(0)).toBe(2 ** 45 - 8);
  });

  it.each([
    [() => createRunMap(0)],
    [() => createRunMap(10, 256)],
    [() => createRunMap(10).set({ lba: 5, count: 6 }, 1)],
    [() => createRunMap(10).set({ lba: -1, count: 1 }, 1)],
    [() => createRunMap(10).set({ lba: 0.5, count: 1 }, 1)],
    [() => createRunMap(10).valueAt(10)],
    [() => runMapFrom(10, Float64Array.of(1), Uint8Array.of(0))],
    [() => runMapFrom(10, Float64Array.of(0, 5, 5), Uint8Array.of(0, 1, 2))],
    [() => runMapFrom(10, Float64Array.of(0, 10), Uint8Array.of(0, 1))],
  ])('refuses what lies outside the map: %s', (act) => {
    expect(act).toThrow(RangeError);
  });
});

describe('a run map against a plain array', () => {
  it('agrees after any changes, small and merging', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), changesOf(60, 40), (size, changes) => {
        const map = createRunMap(size);
        const model = new Uint8Array(size);
        for (const change of changes) apply(map, model, change);
        expectSame(map, model);
        expectFindsTheSame(map, model);
      }),
      { numRuns: 400 },
    );
  });

  it('agrees across many leaves that split, empty and join', () => {
    const size = 12_000;
    fc.assert(
      fc.property(changesOf(size, 60), fc.boolean(), (changes, startsFragmented) => {
        const model = new Uint8Array(size);
        if (startsFragmented) for (let i = 0; i < size; i++) model[i] = i % 3;
        const map = mapOf(model);
        for (const change of changes) apply(map, model, change);
        expectSame(map, model);
        fillEverySecond(map, model, changes[0]?.lba ?? 0);
        expectSame(map, model);
      }),
      { numRuns: 30 },
    );
  });

  it('loads from arrays as it would be built', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 3000, max: valueMax }), (model) => {
        const map = mapOf(model);
        expectSame(map, model);
        expectSame(map.clone(), model);
      }),
      { numRuns: 60 },
    );
  });

  it('keeps copies apart, whichever side changes', () => {
    const size = 3000;
    fc.assert(
      fc.property(changesOf(size, 20), changesOf(size, 20), (before, after) => {
        const model = Uint8Array.from({ length: size }, (_, index) => index % 3);
        const map = mapOf(model);
        for (const change of before) apply(map, model, change);
        const copy = map.clone();
        const copyModel = model.slice();
        const second = map.clone();
        const secondModel = model.slice();
        after.forEach((change, index) => {
          if (index % 2 === 0) apply(map, model, change);
          else apply(copy, copyModel, change);
        });
        expectSame(map, model);
        expectSame(copy, copyModel);
        expectSame(second, secondModel);
      }),
      { numRuns: 40 },
    );
  });

  it('finds nothing where nothing is left, also with values that share a mask bit', () => {
    const map = createRunMap(5000, 32);
    for (let lba = 0; lba < 5000; lba += 2) map.set({ lba, count: 1 }, 64);
    map.set({ lba: 4001, count: 1 }, 0);
    expect(map.next(0, 0)).toEqual({ lba: 4001, count: 1 });
    expect(map.previous(5000, 0)).toEqual({ lba: 4001, count: 1 });
    expect(map.previous(4001, 0)).toBeUndefined();
    expect(map.next(4002, 0)).toBeUndefined();
  });
});

interface Change {
  readonly lba: number;
  readonly count: number;
  readonly value: number;
  readonly only: number | undefined;
}

function changesOf(size: number, maxLength: number) {
  const change = fc.record({
    lba: fc.nat(size - 1),
    count: fc.oneof(fc.nat(8), fc.nat(size), fc.constant(1)),
    value: fc.nat(valueMax),
    only: fc.option(fc.nat(valueMax), { nil: undefined }),
  });
  return fc.array(change, { maxLength });
}

function apply(map: RunMap, model: Uint8Array, { lba, count, value, only }: Change): void {
  const from = Math.min(lba, map.size - 1);
  const extent = { lba: from, count: Math.min(count, map.size - from) };
  if (only === undefined) {
    map.set(extent, value);
    model.fill(value, from, from + extent.count);
    return;
  }
  map.setWhere(extent, only, value);
  for (let i = from; i < from + extent.count; i++) if (model[i] === only) model[i] = value;
}

/** Fragments a stretch to single sectors, then joins it again from a place in its middle. */
function fillEverySecond(map: RunMap, model: Uint8Array, from: number): void {
  for (let lba = from; lba < map.size; lba += 2) {
    map.set({ lba, count: 1 }, 4);
    model[lba] = 4;
  }
  for (let value = 0; value < 4; value++) {
    for (let piece = map.previous(map.size, value, from); piece !== undefined; ) {
      map.set(piece, 4);
      model.fill(4, piece.lba, piece.lba + piece.count);
      piece = map.previous(piece.lba, value, from);
    }
  }
}

function mapOf(model: Uint8Array): RunMap {
  return runMapFrom(
    model.length,
    Float64Array.from(model, (_, index) => index),
    model,
  );
}

function expectSame(map: RunMap, model: Uint8Array): void {
  const expected: { lba: number; count: number; value: number }[] = [];
  for (let i = 0; i < model.length; i++) {
    const last = expected.at(-1);
    if (last?.value === model[i]) last!.count += 1;
    else expected.push({ lba: i, count: 1, value: model[i]! });
  }
  const visited: typeof expected = [];
  map.forEachRun((lba, count, value) => {
    visited.push({ lba, count, value });
  });
  expect(visited).toEqual(expected);
  expect([...map.runs()]).toEqual(expected);
  expect(map.runCount).toBe(expected.length);
  for (let value = 0; value <= valueMax; value++) {
    expect(map.countOf(value)).toBe(model.filter((each) => each === value).length);
    expect(map.runsOf(value)).toBe(expected.filter((run) => run.value === value).length);
  }
}

function expectFindsTheSame(map: RunMap, model: Uint8Array): void {
  for (let from = 0; from <= model.length; from++) {
    for (const value of [0, 1, 4]) {
      const limit = (from * 7 + value) % (model.length + 1);
      expect(map.next(from, value, limit)).toEqual(nextIn(model, from, value, limit));
      expect(map.previous(from, value, limit)).toEqual(previousIn(model, from, value, limit));
    }
    if (from < model.length) expect(map.valueAt(from)).toBe(model[from]);
  }
}

function nextIn(model: Uint8Array, from: number, value: number, limit: number) {
  let lba = from;
  while (lba < limit && model[lba] !== value) lba++;
  let end = lba;
  while (end < limit && model[end] === value) end++;
  return end > lba ? { lba, count: end - lba } : undefined;
}

function previousIn(model: Uint8Array, before: number, value: number, limit: number) {
  let end = before;
  while (end > limit && model[end - 1] !== value) end--;
  let lba = end;
  while (lba > limit && model[lba - 1] === value) lba--;
  return end > lba ? { lba, count: end - lba } : undefined;
}
