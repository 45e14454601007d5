import { mkdtempSync, realpathSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { type Plug, plugIntoPty, plugIntoTcp, type Serve } from '../../hardware-sim/plug.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { type Simulator, serveSimulator } from '../../hardware-sim/simulator.js';
import { imageDrive } from '../../src/cli/image.js';
import { realClock } from '../../src/clock.js';
import { falseClaims } from '../cli/false-claims.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Bench {
  readonly folder: string;
  readonly scenario: string;
  readonly image: string;
  readonly simulator: Simulator;
  readonly serve: Serve;
}

/** A healthy drive of 16 MiB behind an imager that outlives its plugs. */
async function createBench(): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const scenario = join(folder, 'small.yaml');
  // In life's own time, so that no stage of the watchdog comes sooner; but soon up to speed.
  const mechanics = { spinUpMs: 100 };
  writeFileSync(scenario, JSON.stringify({ seed: 3, sectorCount: 32_768, mechanics }));
  let serve: Serve = () => {};
  const simulator = await serveSimulator(loadScenario(scenario), realClock(), async (served) => {
    serve = served;
    return { address: '', close: async () => {} };
  });
  cleanups.push(() => simulator.close());
  return { folder, scenario, image: join(folder, 'case.img'), simulator, serve };
}

/** Images `spec` and lets `mishap` happen when a third of the drive was read. */
async function imageWith(bench: Bench, spec: string, mishap: () => Promise<void>): Promise<void> {
  const { drive } = bench.simulator;
  const read = drive.read.bind(drive);
  let happened: Promise<void> | undefined;
  drive.read = (request, nowMs) => {
    if (request.lba > drive.scenario.sectorCount / 3) happened ??= mishap();
    return read(request, nowMs);
  };
  const result = await imageDrive(spec, bench.image, { power: [] });
  expect(happened).toBeDefined();
  await happened;
  expect(result).toMatchObject({ ended: 'finished', sectors: { finished: 32_768 } });
  expect(falseClaims(bench.image, bench.scenario)).toEqual([]);
  expectReadOnce(bench);
}

/** What the drive itself counted. */
function expectReadOnce({ simulator }: Bench): void {
  const reads = simulator.drive.counters.sectorReads ?? new Uint16Array(0);
  expect(reads).toHaveLength(32_768);
  expect([...reads.entries()].filter(([, count]) => count !== 1)).toEqual([]);
}

describe('a link that goes away in the middle of a job costs nothing', () => {
  test('a port that comes back under another name', async () => {
    const bench = await createBench();
    const link = join(bench.folder, 'imager');
    const plugs: Plug[] = [await plugIntoPty(join(bench.folder, 'first'), bench.serve)];
    cleanups.push(() => Promise.all(plugs.map((plug) => plug.close())));
    symlinkSync(realpathSync(join(bench.folder, 'first')), link);
    const names: string[] = [];
    await imageWith(bench, `serial:${link}`, async () => {
      names.push(realpathSync(link));
      // The new one is made while the old one is still there, so that its name is another.
      plugs.push(await plugIntoPty(join(bench.folder, 'second'), bench.serve));
      await plugs[0]?.close();
      unlinkSync(link);
      symlinkSync(realpathSync(join(bench.folder, 'second')), link);
      names.push(realpathSync(link));
    });
    expect(new Set(names).size).toBe(2);
  });

  test('a server that is killed and started again', async () => {
    const bench = await createBench();
    let plug = await plugIntoTcp('127.0.0.1:0', bench.serve);
    cleanups.push(() => plug.close());
    await imageWith(bench, `tcp:${plug.address}`, async () => {
      await plug.close();
      plug = await plugIntoTcp(plug.address, bench.serve);
    });
  });
});
