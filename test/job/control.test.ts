import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { Drive, ReadRequest } from '../../src/drive/drive.js';
import { type ControlAnswer, type ControlRequest, createControl } from '../../src/job/control.js';
import type { JobEvent } from '../../src/job/events.js';
import type { JobState } from '../../src/job/state.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { countsWithin } from '../../src/plan/domain.js';
import { crashingFiles, randomOf } from '../image/crashing-files.js';
import { memoryFiles } from '../image/memory-files.js';
import { presetRows } from '../presets.js';
import { falsehoods, imageInWorld, type Outcome, type WorldOptions } from './world.js';

const base: ScenarioInput = { seed: 3, sectorCount: 40_000, physicalSectorBytes: 4096 };
const none = () => false;
const groups = Math.ceil(40_000 / 128);

type When = (event: JobEvent, state: JobState) => boolean;
const afterReads =
  (count: number): When =>
  (_event, state) =>
    state.totals.reads >= count;
const on =
  (kind: JobEvent['kind']): When =>
  (event) =>
    event.kind === kind;

interface Order {
  readonly when: When;
  readonly ask: ControlRequest;
  /** How long after its moment it is asked. */
  readonly afterMs?: number;
}

/** Runs a job in which each order is given once, at its moment and not before the ones before it. */
async function withOrders(
  input: ScenarioInput,
  orders: readonly Order[],
  options: WorldOptions = {},
): Promise<Outcome & { answers: ControlAnswer[]; reads: ReadRequest[] }> {
  const control = createControl();
  const answers: ControlAnswer[] = [];
  const reads: ReadRequest[] = [];
  let next = 0;
  let later: ((delayMs: number, callback: () => void) => void) | undefined;
  const outcome = await imageInWorld(input, {
    ...options,
    control,
    clocked: (clock) => {
      later = (delayMs, callback) => void clock.after(delayMs, callback);
    },
    wrap: (drive: Drive) => {
      const inner = options.wrap?.(drive) ?? drive;
      return {
        ...inner,
        get capabilities() {
          return inner.capabilities;
        },
        read: (request) => {
          reads.push(request);
          return inner.read(request);
        },
      };
    },
    onEvent: (event, state) => {
      const order = orders[next];
      if (!order?.when(event, state)) return;
      next += 1;
      later?.(order.afterMs ?? 0, () => {
        void control.request(order.ask).then((answer) => answers.push(answer));
      });
    },
  });
  return { ...outcome, answers, reads };
}

const kindsOf = (outcome: Outcome) => outcome.events.map((event) => event.kind);
const eventOf = <K extends JobEvent['kind']>(outcome: Outcome, kind: K) =>
  outcome.events.find((event): event is JobEvent & { kind: K } => event.kind === kind);

describe('a change while the job runs', () => {
  test('many requests during one power cycle leave no listeners behind', async () => {
    const warnings: string[] = [];
    const onWarning = ({ name }: Error) => warnings.push(name);
    process.on('warning', onWarning);
    const control = createControl();
    const answers: ControlAnswer[] = [];
    const ask = async (request: ControlRequest) => answers.push(await control.request(request));
    let later: ((delayMs: number, callback: () => void) => void) | undefined;
    let isAsked = false;
    await imageInWorld(base, {
      control,
      clocked: (clock) => {
        later = (delayMs, callback) => void clock.after(delayMs, callback);
      },
      onEvent: (event, state) => {
        if (!isAsked && state.totals.reads >= 20) {
          isAsked = true;
          void ask({ kind: 'power-cycle' });
        }
        if (event.kind !== 'trouble') return;
        for (let n = 1; n <= 20; n++) later?.(100 * n, () => void ask({ kind: 'resume' }));
      },
    });
    await new Promise(setImmediate);
    process.off('warning', onWarning);
    expect(answers).toHaveLength(21);
    expect(warnings).toEqual([]);
  });

  test('pause: nothing is read until resume, the heads are parked, and hours of it cost nothing', async () => {
    // Longer than any stage of what an imager does by itself.
    const pauseMs = 3 * 3_600_000;
    const plain = await imageInWorld(base);
    const outcome = await withOrders(base, [
      { when: afterReads(20), ask: { kind: 'pause' } },
      { when: on('paused'), ask: { kind: 'resume' }, afterMs: pauseMs },
    ]);
    expect(outcome.answers.map(({ text }) => text)).toEqual(['paused', 'resumed']);
    const [paused, resumed] = [eventOf(outcome, 'paused')!, eventOf(outcome, 'resumed')!];
    expect(resumed.atMs - paused.atMs).toBeGreaterThanOrEqual(pauseMs);
    const between = outcome.events.slice(
      outcome.events.indexOf(paused) + 1,
      outcome.events.indexOf(resumed),
    );
    expect(between).toEqual([]);
    expect(await falsehoods(outcome, none)).toEqual([]);
    expect(outcome.elapsedMs - (resumed.atMs - paused.atMs)).toBeLessThan(plain.elapsedMs + 30_000);
    expect(outcome.drive.counters.spinUps).toBe(2);
    expect(outcome.state.totals).toMatchObject({ failingReads: 0, resets: 0, powerCycles: 0 });
    // One more than without: the reference that waits for the spindle.
    expect(outcome.drive.counters.reads).toBe(groups + 1);
  });

  test('a short pause parks nothing', async () => {
    const outcome = await withOrders(base, [
      { when: afterReads(20), ask: { kind: 'pause' } },
      { when: on('paused'), ask: { kind: 'resume' }, afterMs: 5000 },
    ]);
    expect(outcome.drive.counters).toMatchObject({ spinUps: 1, reads: groups });
  });

  test('step on: the row ends, and the rows behind it read what it did not', async () => {
    const outcome = await withOrders(base, [{ when: afterReads(20), ask: { kind: 'step-on' } }]);
    expect(eventOf(outcome, 'stepped-on')).toMatchObject({ index: 0 });
    const started = outcome.events.flatMap((event) =>
      event.kind === 'pass-started' ? [event.index] : [],
    );
    // Rows that find nothing are not begun; the one for whatever is left takes it.
    expect(started).toEqual([0, 4]);
    expect(await falsehoods(outcome, none)).toEqual([]);
    expect(outcome.drive.counters.reads).toBe(groups);
  });

  test('step on ends the rest before a row at once', async () => {
    const outcome = await withOrders(
      base,
      [
        { when: afterReads(20), ask: { kind: 'step-on' } },
        { when: on('pass-ended'), ask: { kind: 'step-on' }, afterMs: 60_000 },
      ],
      {
        edit: (rows) =>
          rows.map((row, n) =>
            n === 4 ? { ...row, before: { kind: 'rest', restMs: 3_600_000 } } : row,
          ),
      },
    );
    expect(outcome.answers[1]).toMatchObject({ done: true });
    expect(outcome.elapsedMs).toBeLessThan(300_000);
  });

  test('tune: a parameter of the row under way holds from the next read on', async () => {
    const outcome = await withOrders(base, [
      { when: afterReads(20), ask: { kind: 'tune', changes: { readCount: 64, timeoutMs: 777 } } },
    ]);
    expect(outcome.answers).toEqual([
      { done: true, text: 'row 1 (good areas): readCount 128 → 64, timeoutMs 1000 → 777' },
    ]);
    expect(new Set(outcome.reads.slice(60, -1).map((read) => read.extent.count))).toEqual(
      new Set([64]),
    );
    expect(outcome.reads.at(-1)!.timeoutMs).toBe(777);
    expect(await falsehoods(outcome, none)).toEqual([]);
  });

  test('tune: a parameter inside another, of a later row', async () => {
    const outcome = await withOrders(base, [
      { when: afterReads(20), ask: { kind: 'tune', row: 3, changes: { 'skip.maxCount': 999 } } },
    ]);
    expect(outcome.state.plan.passes[2]!.skip.maxCount).toBe(999);
  });

  test('jump: reading goes on there, and what was jumped over follows in the same row', async () => {
    const outcome = await withOrders(base, [
      { when: afterReads(20), ask: { kind: 'jump', lba: 30_000 } },
    ]);
    const at = outcome.events.findIndex((event) => event.kind === 'jumped');
    expect(outcome.events.slice(at).find((event) => event.kind === 'read')).toMatchObject({
      lba: 30_000,
    });
    const kinds = kindsOf(outcome);
    expect(kinds.indexOf('went-back')).toBeLessThan(kinds.indexOf('pass-ended'));
    expect(await falsehoods(outcome, none)).toEqual([]);
    // One group was cut in two by the jump.
    expect(outcome.drive.counters.reads).toBe(groups + 1);
  });

  test('jump, where the row chooses by itself: that place next, whatever it brings, and nothing is forgotten', async () => {
    const faults: ScenarioInput['faults'] = [
      { kind: 'bad', lba: 10_000, count: 16, errorMs: 300 },
      { kind: 'slow', lba: 30_000, count: 4000, extraMs: 900 },
    ];
    const isRead =
      (lba: number): When =>
      (_event, { plan }) =>
        plan.map.valueAt(lba) === statuses.finished;
    const lba = 32_008;
    const rows = presetRows('adaptive', { sectorCount: 40_000, physicalCount: 8 });
    const outcome = await withOrders(
      { ...base, faults },
      [{ when: isRead(39_999), ask: { kind: 'jump', lba } }],
      { edit: () => rows },
    );
    expect(outcome.answers).toEqual([{ done: true, text: `jumped to LBA ${lba}` }]);
    const at = outcome.events.findIndex((event) => event.kind === 'jumped');
    const after = outcome.events.slice(at);
    const next = after.find((event) => event.kind === 'read' && event.role === 'pass');
    expect(next).toMatchObject({ lba });
    expect(await falsehoods(outcome, (at) => at >= 10_000 && at < 10_016)).toEqual([]);
  });

  test('exclude: nothing there is read any more', async () => {
    const ranges = [{ lba: 10_000, count: 20_000 }];
    const outcome = await withOrders(base, [
      { when: afterReads(20), ask: { kind: 'exclude', ranges } },
    ]);
    expect(outcome.answers).toEqual([{ done: true, text: '20000 sectors are excluded' }]);
    const at = (lba: number) => outcome.drive.counters.sectorReads![lba];
    expect([at(9999), at(10_000), at(29_999), at(30_000)]).toEqual([1, 0, 0, 1]);
    expect(outcome.state.plan.map.countOf(statuses['non-tried'])).toBe(20_000);
  });

  test('stop: the map is saved', async () => {
    const outcome = await withOrders(base, [{ when: afterReads(20), ask: { kind: 'stop' } }]);
    expect(outcome.end.how).toBe('interrupted');
    expect(outcome.answers).toEqual([{ done: true, text: 'stopping, the map is being saved' }]);
  });
});

describe('a power cycle that is asked for', () => {
  test('comes at once, and reading goes on where it was', async () => {
    const outcome = await withOrders(base, [
      { when: afterReads(20), ask: { kind: 'power-cycle' } },
    ]);
    expect(outcome.state.totals.powerCycles).toBe(1);
    expect(outcome.drive.counters.emergencyUnloads).toBe(0);
    expect(await falsehoods(outcome, none)).toEqual([]);
    expect(outcome.drive.counters.reads).toBe(groups + 1);
  });

  test('does not wait for a read that hangs, and loses nothing that came before', async () => {
    const hang: ScenarioInput = {
      ...base,
      faults: [{ kind: 'hang', lba: 20_000, count: 8, until: 'power-cycle' }],
    };
    const slowly: WorldOptions = {
      edit: (rows) => rows.map((row) => ({ ...row, timeoutMs: 15_000 })),
    };
    const hung = (_event: JobEvent, state: JobState) =>
      state.plan.map.countOf(statuses.finished) >= 19_968;
    const outcome = await withOrders(
      hang,
      [{ when: hung, ask: { kind: 'power-cycle' }, afterMs: 100 }],
      slowly,
    );
    const asked = eventOf(outcome, 'trouble')!;
    const last = outcome.events[outcome.events.indexOf(asked) - 2]!;
    expect(asked).toMatchObject({ asked: true });
    expect(asked.atMs - last.atMs).toBeLessThan(3000);
    expect(await falsehoods(outcome, (lba) => lba >= 20_000 && lba < 20_008)).toEqual([]);
    expect(outcome.state.totals.powerCycles).toBe(2);
  });

  test('does not wait for a rest, nor for a reference that hangs', async () => {
    const dead: ScenarioInput = {
      ...base,
      faults: [
        {
          kind: 'stall',
          lba: 12_000,
          count: 8,
          lastsMs: 3_600_000,
          readMs: 4000,
          until: 'power-cycle',
          times: 1,
        },
      ],
    };
    for (const kind of ['trouble', 'rested'] as const) {
      const outcome = await withOrders(dead, [
        { when: on(kind), ask: { kind: 'power-cycle' }, afterMs: 1500 },
      ]);
      const at = outcome.events.findIndex((event) => event.kind === 'trouble' && event.asked);
      const asked = outcome.events[at]!;
      const cycled = outcome.events.slice(at).find((event) => event.kind === 'power-cycled')!;
      expect(cycled.atMs - asked.atMs).toBeLessThan(20_000);
      expect(await falsehoods(outcome, none)).toEqual([]);
    }
  });

  test('works in a pause too, and the drive is then left alone again', async () => {
    const outcome = await withOrders(base, [
      { when: afterReads(20), ask: { kind: 'pause' } },
      { when: on('paused'), ask: { kind: 'power-cycle' }, afterMs: 3000 },
      { when: on('ready'), ask: { kind: 'resume' }, afterMs: 600_000 },
    ]);
    const kinds = kindsOf(outcome);
    const between = kinds.slice(kinds.indexOf('paused') + 1, kinds.indexOf('resumed'));
    expect(between.filter((kind) => kind !== 'noticed')).toEqual([
      'trouble',
      'power-cycled',
      'ready',
    ]);
    expect(await falsehoods(outcome, none)).toEqual([]);
  });

  test('is refused where there is no switch', async () => {
    const outcome = await withOrders(
      base,
      [{ when: afterReads(20), ask: { kind: 'power-cycle' } }],
      { noPower: true },
    );
    expect(outcome.answers).toEqual([
      { done: false, text: 'there is no power switch; give one with --power' },
    ]);
  });
});

test('what makes no sense is refused in one line, and changes nothing', async () => {
  const asks: ControlRequest[] = [
    { kind: 'resume' },
    { kind: 'tune', row: 99, changes: { timeoutMs: 5 } },
    { kind: 'tune', row: 1, changes: {} },
    { kind: 'tune', row: 1, changes: { direction: 'backward' } },
    { kind: 'tune', row: 2, changes: { timeoutMs: -5 } },
    { kind: 'tune', row: 2, changes: { deadline: 5 } },
    { kind: 'jump', lba: 40_000 },
    { kind: 'jump', lba: 1.5 },
    { kind: 'exclude', ranges: [] },
    { kind: 'exclude', ranges: [{ lba: 0, count: 40_001 }] },
    { kind: 'exclude', ranges: [{ lba: 0, count: 40_000 }] },
  ];
  const orders = asks.map((ask) => ({ when: afterReads(20), ask }));
  const outcome = await withOrders(base, orders);
  expect(outcome.answers).toHaveLength(asks.length);
  for (const answer of outcome.answers) {
    expect(answer).toMatchObject({ done: false });
    expect(answer.text).not.toContain('\n');
  }
  expect(kindsOf(outcome).filter((kind) => kind === 'rows-changed' || kind === 'excluded')).toEqual(
    [],
  );
  const control = createControl();
  expect(await control.request({ kind: 'pause' })).toMatchObject({ done: false });
});

describe('what was changed', () => {
  const ranges = [{ lba: 12_000, count: 1000 }];
  const orders: Order[] = [
    { when: afterReads(15), ask: { kind: 'tune', changes: { readCount: 64 } } },
    { when: afterReads(15), ask: { kind: 'tune', row: 5, changes: { timeoutMs: 4321 } } },
    { when: afterReads(20), ask: { kind: 'exclude', ranges } },
    { when: afterReads(25), ask: { kind: 'jump', lba: 20_000 } },
  ];
  const faults: ScenarioInput['faults'] = [{ kind: 'bad', lba: 30_000, count: 16, errorMs: 300 }];
  const input = { ...base, faults };
  const scope = createRunMap(40_000, 1);
  for (const range of ranges) scope.set(range, 0);

  function check(outcome: Outcome): void {
    const { plan } = outcome.state;
    expect(outcome.end.how).toBe('finished');
    expect([...plan.scope.runs()]).toEqual([...scope.runs()]);
    expect(plan.passes.map((row) => row.readCount)[0]).toBe(64);
    expect(plan.passes[4]!.timeoutMs).toBe(4321);
    expect(countsWithin(plan.map, scope)).toEqual([0, 0, 0, 16, 38_984]);
    expect(plan.map.countOf(statuses['non-tried'])).toBe(1000);
  }

  test('reaches the same final map in one go', async () => {
    check(await withOrders(input, orders));
  });

  test.each([
    80, 100, 150, 200, 250, 300, 330, 400,
  ])('and when it is interrupted after %i reads and run again', async (interruptAfter) => {
    const files = memoryFiles();
    const first = await withOrders(input, orders, { files, interruptAfter });
    expect(first.end.how).toBe('interrupted');
    check(await imageInWorld(input, { files }));
  });

  test('and when the power fails: what the journal has is in force again', async () => {
    const whole = crashingFiles(randomOf(0));
    await withOrders(input, orders, { files: whole });
    let kept = 0;
    for (let n = 4; n < 20; n += 3) {
      const files = crashingFiles(randomOf(n));
      files.crashAt(Math.floor((n * whole.operations) / 20));
      const first = await withOrders(input, orders, { files }).catch(() => undefined);
      if (first) continue;
      let isKept = false;
      const second = await imageInWorld(input, {
        files: files.reboot(),
        opened: ({ state }) => {
          isKept = state.plan.passes[0]!.readCount === 64;
          expect(state.paused).toBe(false);
        },
      });
      expect(second.end.how).toBe('finished');
      if (!isKept) continue;
      kept += 1;
      expect(second.state.plan.passes[0]!.readCount).toBe(64);
    }
    expect(kept).toBeGreaterThan(1);
  });

  test('a pause does not outlive its run', async () => {
    const files = memoryFiles();
    const first = await withOrders(
      input,
      [
        { when: afterReads(20), ask: { kind: 'pause' } },
        { when: on('paused'), ask: { kind: 'stop' }, afterMs: 1000 },
      ],
      { files },
    );
    expect(first.end.how).toBe('interrupted');
    expect((await imageInWorld(input, { files })).end.how).toBe('finished');
  });

  test('rows of another preset are in force when they are given; an exclusion stays', async () => {
    const files = memoryFiles();
    await withOrders(input, orders, { files, interruptAfter: 60 });
    const outcome = await imageInWorld(input, {
      files,
      edit: (rows) => rows.map((row) => ({ ...row, timeoutMs: 2000 })),
    });
    expect(outcome.state.plan.passes[0]).toMatchObject({ readCount: 128, timeoutMs: 2000 });
    expect(outcome.drive.counters.sectorReads![12_500]).toBe(0);
  });
});

describe('a domain', () => {
  const scope = createRunMap(40_000, 0);
  scope.set({ lba: 10_000, count: 5000 }, 1);
  const inside = (lba: number) => lba >= 10_000 && lba < 15_000;
  const faults: ScenarioInput['faults'] = [
    { kind: 'bad', lba: 12_000, count: 16, errorMs: 300 },
    { kind: 'hang', lba: 13_000, count: 8, until: 'power-cycle' },
    { kind: 'hang', lba: 2000, count: 8, until: 'power-cycle' },
  ];
  const input = { ...base, faults };
  const outsideReads = ({ drive }: Outcome) =>
    drive.counters.sectorReads!.reduce((sum, reads, lba) => (inside(lba) ? sum : sum + reads), 0);

  test('is read and nothing else is, references included; the rest stays untried', async () => {
    const outcome = await imageInWorld(input, { scope });
    expect(outsideReads(outcome)).toBe(0);
    const counts = countsWithin(outcome.state.plan.map, scope);
    expect(counts).toEqual([0, 0, 0, 24, 4976]);
    expect(outcome.state.plan.map.countOf(statuses['non-tried'])).toBe(35_000);
  });

  test('stays the one of the first run unless another is given', async () => {
    const files = memoryFiles();
    await imageInWorld(input, { files, scope, interruptAfter: 10 });
    const second = await imageInWorld(input, { files });
    expect(outsideReads(second)).toBe(0);
    const wider = createRunMap(40_000, 0);
    wider.set({ lba: 20_000, count: 1000 }, 1);
    const notices: string[] = [];
    const third = await imageInWorld(input, {
      files,
      scope: wider,
      opened: (rescue) => notices.push(...rescue.notices),
    });
    expect(notices).toEqual([
      'this run has another domain than the last one: the new one is in force',
    ]);
    expect(third.drive.counters.reads).toBe(9);
    expect(third.state.plan.map.countOf(statuses.finished)).toBe(4976 + 1000);
  });
});
