import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import type { ReadRequest } from '../../src/drive/drive.js';
import { createControl } from '../../src/job/control.js';
import type { JobEvent } from '../../src/job/events.js';
import { statuses } from '../../src/map/status.js';
import type { HeadMapData } from '../../src/plan/head-map-schema.js';
import type { Pass } from '../../src/plan/pass.js';
import { memoryFiles } from '../image/memory-files.js';
import { imageInWorld, type Outcome, type WorldOptions } from './world.js';

const sectorCount = 40_000;
const bandSectors = 2000;
const mechanics = { heads: 4, bandSectors };
const base: ScenarioInput = { seed: 3, sectorCount, physicalSectorBytes: 4096, mechanics };
const headOf = (lba: number) => Math.floor(lba / bandSectors) % 4;

function given(change: Partial<HeadMapData> = {}): HeadMapData {
  const order = [0, 1, 2, 3];
  const zones = [{ from: 0, to: sectorCount, order, bandSectors: order.map(() => bandSectors) }];
  return { heads: 4, dead: [], zones, bands: [], ...change };
}

/** Only the first copy row, as changed. */
const rows =
  (...changes: Partial<Pass>[]) =>
  ([copy]: readonly Pass[]) =>
    changes.map((change) => ({ ...copy!, ...change }));

const readsOf = ({ events }: Outcome) =>
  events.filter((event): event is JobEvent & { kind: 'read' } => event.kind === 'read');

/** A run, and what it asked the drive to read. */
async function runWith(options: WorldOptions): Promise<Outcome & { requests: ReadRequest[] }> {
  const requests: ReadRequest[] = [];
  const outcome = await imageInWorld(base, {
    ...options,
    wrap: (inner) => ({
      ...inner,
      get capabilities() {
        return inner.capabilities;
      },
      read(request) {
        requests.push(request);
        return inner.read(request);
      },
    }),
  });
  return { ...outcome, requests };
}

describe('a job with a head map', () => {
  test('reads the good heads first, with what each row says of single heads', async () => {
    const cap = 400_000;
    const outcome = await runWith({
      heads: given({ weak: [2] }),
      edit: rows(
        { heads: 'good' },
        {
          heads: 'weak',
          perHead: [{ head: 2, readCount: 64, timeoutMs: 321, bytesPerSecondMax: cap }],
        },
      ),
    });
    const { requests, state } = outcome;
    expect(state.plan.map.countOf(statuses.finished)).toBe(sectorCount);
    const weak = requests.filter(({ extent }) => headOf(extent.lba) === 2);
    expect(requests.slice(-weak.length)).toEqual(weak);
    expect(weak.every(({ extent, timeoutMs }) => extent.count <= 64 && timeoutMs === 321)).toBe(
      true,
    );
    const others = requests.filter((request) => !weak.includes(request));
    expect(others.every(({ extent }) => headOf(extent.lba + extent.count - 1) !== 2)).toBe(true);
    expect(others.at(-1)).toMatchObject({ timeoutMs: 1000 });
    const slow = readsOf(outcome).filter(({ lba }) => headOf(lba) === 2);
    const quick = readsOf(outcome).filter(({ lba }) => headOf(lba) !== 2);
    const rate = (reads: readonly { atMs: number; count: number }[]) =>
      (reads.slice(1).reduce((sum, { count }) => sum + count, 0) * 512_000) /
      (reads.at(-1)!.atMs - reads[0]!.atMs);
    expect(rate(slow)).toBeGreaterThan(cap * 0.95);
    expect(rate(slow)).toBeLessThan(cap * 1.03);
    expect(rate(quick)).toBeGreaterThan(cap * 5);
  });

  test('has it on record before the first read, and keeps it; another one can take its place', async () => {
    const files = memoryFiles();
    const edit = rows({ heads: [0, 1] }, { heads: 'good' });
    const first = await imageInWorld(base, { files, edit, heads: given(), interruptAfter: 20 });
    const [started, heads] = first.events;
    expect(started!.kind).toBe('started');
    expect(heads).toMatchObject({ kind: 'heads-given', heads: given() });
    // Rows by number need no second telling.
    const options = { files, drive: first.drive, startMs: first.elapsedMs, edit };
    const second = await imageInWorld(base, { ...options, interruptAfter: 40 });
    expect(second.state.plan.learned.given!.data).toEqual(given());
    expect(second.state.plan.passIndex).toBe(0);
    expect(readsOf(second)[0]!.lba).toBeGreaterThan(0);
    const dead = given({ dead: [1] });
    const third = await imageInWorld(base, { ...options, startMs: second.elapsedMs, heads: dead });
    expect(third.end.how).toBe('finished');
    // What the row names by number is read all the same, nothing else of that head is.
    expect(third.state.plan.map.countOf(statuses.finished)).toBe(sectorCount);
    await expect(
      imageInWorld(base, { ...options, startMs: third.elapsedMs, heads: null }),
    ).rejects.toMatchObject({ code: 'USAGE' });
  });

  test('rows by number without one are refused before anything is written', async () => {
    const files = memoryFiles();
    const refused = imageInWorld(base, { files, edit: rows({}, { heads: [7] }) });
    await expect(refused).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/row 2 .*head 7, but no head map .*--heads FILE/),
    });
    expect(await files.exists('case.map')).toBe(false);
    const wrong = imageInWorld(base, { files, heads: given(), edit: rows({ heads: [7] }) });
    await expect(wrong).rejects.toMatchObject({
      message: expect.stringMatching(/the head map has 4 heads/),
    });
  });

  test('nobody can tune a row to heads that no map has', async () => {
    const control = createControl();
    const answers: Promise<{ done: boolean; text: string }>[] = [];
    await imageInWorld(base, {
      control,
      onEvent(event) {
        if (event.kind !== 'pass-started' || event.index > 0) return;
        for (const heads of [[1], 'good'])
          answers.push(control.request({ kind: 'tune', changes: { heads } }));
      },
    });
    const [byNumber, byWord] = await Promise.all(answers);
    expect(byNumber).toMatchObject({ done: false, text: expect.stringContaining('no head map') });
    expect(byWord).toMatchObject({ done: true });
  });
});
