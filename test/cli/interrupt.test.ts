import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { imageResultSchema } from '../../src/show/result.js';
import { needsTool } from '../tools.js';
import { run, start, startImager, temporaryFolder } from './cli.js';
import { falseClaims } from './false-claims.js';

/** 16 MiB with worn spots, a slow zone and a spot that hangs: enough to be interrupted in. */
function smallScenario(folder: string): string {
  const path = join(folder, 'small.yaml');
  const faults = [
    { kind: 'bad', scattered: 6, count: 8, errorMs: 700 },
    { kind: 'slow', lba: 20_000, count: 1024, extraMs: 40 },
    { kind: 'hang', lba: 12_000, count: 8, until: 'power-cycle' },
  ];
  const drive = { seed: 5, sectorCount: 32_768, physicalSectorBytes: 4096, faults };
  writeFileSync(path, JSON.stringify(drive));
  return path;
}

/** An imager whose process can be killed: its plug is pulled, or its own power fails. */
async function startPulled(folder: string, scenario: string) {
  const pty = join(folder, 'imager');
  const simulator = start(['sim', scenario, '--pty', pty, '--scale', '50']);
  await simulator.saw(/^serial:/m);
  return { simulator, drive: `serial:${pty}?scale=50`, image: join(folder, 'case.img') };
}

describe('a job over a real port', () => {
  test('Ctrl-C saves, and the same command goes on to the end', async () => {
    const folder = temporaryFolder();
    const scenario = smallScenario(folder);
    const drive = await startImager(scenario, folder, 50);
    const image = join(folder, 'case.img');
    const first = start(['image', drive, image]);
    await first.saw(/trouble/);
    first.process.kill('SIGINT');
    const interrupted = await first.finished;
    expect(interrupted.status, interrupted.stderr).toBe(130);
    expect(interrupted.stdout).toContain('run the same command again');
    expect(falseClaims(image, scenario)).toEqual([]);
    const second = await run(['image', drive, image, '--json', '--strict']);
    expect(second.status, second.stderr).toBe(4);
    const result = imageResultSchema.parse(JSON.parse(second.stdout));
    expect(result.sectors.nonTried + result.sectors.nonTrimmed + result.sectors.nonScraped).toBe(0);
    expect(falseClaims(image, scenario)).toEqual([]);
    expect(existsSync(join(folder, 'case.lock'))).toBe(false);
  });

  test('killed without warning, again and again: no false claim, no torn map, and it still finishes', async () => {
    const folder = temporaryFolder();
    const scenario = smallScenario(folder);
    const drive = await startImager(scenario, folder, 50);
    const image = join(folder, 'case.img');
    for (const [n, marker] of [/pass 1:/, /finished/, /trouble/, /power cycled/].entries()) {
      const job = start(['image', drive, image]);
      await job.saw(marker);
      job.process.kill('SIGKILL');
      await job.finished;
      if (n > 0) expect(falseClaims(image, scenario)).toEqual([]);
    }
    const last = await run(['image', drive, image]);
    expect(last.status, last.stderr).toBe(0);
    expect(falseClaims(image, scenario)).toEqual([]);
  });

  test('an imager that is unplugged and not plugged in again: Ctrl-C saves, and a resume finishes', async () => {
    const folder = temporaryFolder();
    const scenario = smallScenario(folder);
    const { simulator, drive, image } = await startPulled(folder, scenario);
    const job = start(['image', drive, image]);
    await job.saw(/trouble/);
    simulator.process.kill('SIGKILL');
    await job.saw(/went away/);
    job.process.kill('SIGINT');
    const interrupted = await job.finished;
    expect(interrupted.status, interrupted.stderr).toBe(130);
    expect(falseClaims(image, scenario)).toEqual([]);
    const second = await run(['image', await startImager(scenario, folder, 50), image]);
    expect(second.status, second.stderr).toBe(0);
    expect(falseClaims(image, scenario)).toEqual([]);
  });

  test('an imager that loses its own power in the middle: the job goes on by itself', async () => {
    const folder = temporaryFolder();
    const scenario = smallScenario(folder);
    const { simulator, drive, image } = await startPulled(folder, scenario);
    const job = start(['image', drive, image]);
    await job.saw(/pass 1:/);
    simulator.process.kill('SIGKILL');
    await job.saw(/went away/);
    await startImager(scenario, folder, 50);
    const finished = await job.finished;
    expect(finished.status, finished.stderr).toBe(0);
    expect(falseClaims(image, scenario)).toEqual([]);
  });
});

test.skipIf(needsTool('ddrescuelog'))(
  'ddrescuelog reads the map at any moment of a job',
  async () => {
    const folder = temporaryFolder();
    const image = join(folder, 'case.img');
    const job = start(['image', 'sim:demo?scale=3', image]);
    await job.saw(/pass 1:/);
    let readings = 0;
    void job.finished.then(() => {
      readings = Number.NaN;
    });
    while (readings < 20) {
      execFileSync('ddrescuelog', ['-t', join(folder, 'case.map')], { stdio: 'pipe' });
      readings += 1;
    }
    job.process.kill('SIGINT');
    await job.finished;
    execFileSync('ddrescuelog', ['-t', join(folder, 'case.map')], { stdio: 'pipe' });
  },
);
