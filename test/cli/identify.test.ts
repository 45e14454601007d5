import { createHash } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { patternSector } from '../../hardware-sim/media.js';
import { openImagerAt } from '../../src/cli/drives.js';
import { realClock } from '../../src/clock.js';
import type { ImagerDrive } from '../../src/drive/imager.js';
import { bringUp } from '../../src/job/bring-up.js';
import { troublePolicies } from '../../src/power/policy.js';
import { identifyResultSchema } from '../../src/show/identify.js';
import { run, startImager, temporaryFolder } from './cli.js';

/** A scenario file of its own. */
function scenario(text: string): string {
  const path = join(temporaryFolder(), 'drive.yaml');
  writeFileSync(path, `sectorCount: 16384\n${text}\n`);
  return `sim:${path}?scale=50`;
}

function lineOf(output: string, label: string): string {
  return output.split('\n').find((line) => line.startsWith(label.padEnd(13))) ?? '';
}

test.concurrent('who a drive is: one line for each thing that it tells', async () => {
  const found = await run(['identify', 'sim:healthy?scale=50']);
  expect(found.status, found.stderr).toBe(0);
  const { stdout } = found;
  expect(lineOf(stdout, 'model')).toMatch(/LASTSPIN HEALTHY$/);
  expect(lineOf(stdout, 'serial')).toMatch(/SIM-HEALTHY$/);
  expect(lineOf(stdout, 'kind')).toMatch(/hdd, 7200 turns a minute$/);
  expect(lineOf(stdout, 'capacity')).toMatch(/67\.1 MB \(67108864 bytes, 131072 sectors\)$/);
  expect(lineOf(stdout, 'sectors')).toMatch(/512 bytes logical, 4096 physical$/);
  expect(lineOf(stdout, 'security')).toMatch(/no password$/);
  expect(lineOf(stdout, 'hidden')).toMatch(/no sectors$/);
  expect(lineOf(stdout, 'temperature')).toMatch(/\d+ °C$/);
  expect(lineOf(stdout, 'SMART')).toMatch(/passed, 0 reallocated, 0 pending.* 1 power cycles/);
  expect(stdout).not.toMatch(/verdict|undefined|NaN/);
});

test.concurrent('with --no-smart nothing is said of SMART; hidden sectors are', async () => {
  const drive = scenario('identity: { model: HIDES, nativeSectorCount: 20000 }');
  const found = await run(['identify', drive, '--no-smart']);
  expect(found.status, found.stderr).toBe(0);
  expect(lineOf(found.stdout, 'SMART')).toBe('');
  expect(lineOf(found.stdout, 'hidden')).toMatch(
    /3616 sectors by a protected area, 0 by a configuration overlay; left as they are$/,
  );
});

test.concurrent('a file tells its size, says that it tells no more, and is not written', async () => {
  const path = join(temporaryFolder(), 'drive.img');
  writeFileSync(path, patternSector(1, 0, 512 * 4096));
  const before = { digest: digestOf(path), mtimeMs: statSync(path).mtimeMs };
  const found = await run(['identify', path, '--triage', '--json']);
  expect(found.status, found.stderr).toBe(0);
  const result = identifyResultSchema.parse(JSON.parse(found.stdout));
  expect(result).toMatchObject({ kind: 'file', capacityBytes: 2_097_152 });
  expect(result.untold).toMatch(/a file has no/);
  expect(result).not.toHaveProperty('smart');
  expect(result).not.toHaveProperty('security');
  expect(result.triage).toMatchObject({
    verdict: { decision: 'image', preset: 'adaptive' },
    next: `npx lastspin image ${path} case.img`,
  });
  expect(result.triage?.zones?.reads).toHaveLength(16);
  expect({ digest: digestOf(path), mtimeMs: statSync(path).mtimeMs }).toEqual(before);
});

function digestOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

test.concurrent.each([
  ['', 0, 'image', ''],
  [
    'faults: [{ kind: bad, lba: 4000, count: 4000, errorMs: 500 }]',
    0,
    'image with preset gentle',
    ' --preset gentle',
  ],
  ['identity: { locked: true }', 32, 'stop: it is locked', undefined],
  ['faults: [{ kind: spin-up, fails: 9 }]', 32, 'stop: cleanroom', undefined],
] as const)('--triage of a drive with %j ends with %i: %s', async (text, status, verdict, next) => {
  const drive = scenario(text);
  const found = await run(['identify', drive, '--triage']);
  expect(found.status, found.stderr).toBe(status);
  expect(lineOf(found.stdout, 'verdict').slice(13)).toBe(verdict);
  expect(lineOf(found.stdout, 'next').slice(13)).toBe(
    next === undefined ? '' : `npx lastspin image '${drive}' case.img${next}`,
  );
  expect(found.stdout).not.toMatch(/undefined|NaN/);
});

test.concurrent('each triage of a drive that was off starts it anew', async () => {
  const drive = await startImager('healthy', temporaryFolder(), 50);
  const first = await run(['identify', drive, '--triage', '--json']);
  expect(first.status, first.stderr).toBe(0);
  const second = await run(['identify', drive, '--triage', '--json', '--label', '67.1MB']);
  // Off again, so that it was started again; and counted by the drive itself.
  const [one, two] = [first, second].map(({ stdout }) =>
    identifyResultSchema.parse(JSON.parse(stdout)),
  );
  expect(one?.triage?.spinUp.powerOns).toBe(1);
  expect(two?.triage?.spinUp.powerOns).toBe(1);
  expect([one?.smart?.powerCycles, two?.smart?.powerCycles]).toEqual([1, 2]);
  expect(two?.triage?.capacity?.label).toEqual({ bytes: 67_100_000, from: 'user' });
});

test.concurrent('a drive that was off is parked and off again; one that was on is left on', async () => {
  const drive = await startImager('healthy', temporaryFolder(), 50);
  const link = drive.replace(/\?.*$/, '');
  const inspect = async <T>(look: (imager: ImagerDrive) => Promise<T>) => {
    const imager = await openImagerAt(link);
    try {
      return await look(imager);
    } finally {
      await imager.close();
    }
  };
  const powerState = () => inspect(async (imager) => (await imager.status()).powerState);
  const identified = () => run(['identify', drive]);

  expect((await identified()).status).toBe(0);
  expect(await powerState()).toBe('off');
  await inspect(async (imager) => {
    const { signal } = new AbortController();
    await bringUp(imager, [imager.power!], troublePolicies.hdd, realClock(), signal);
    const smart = await imager.commander!.smartData();
    // Power off retracts: the heads were not over the platters when it was cut.
    expect(smart).toMatchObject({
      value: { attributes: expect.arrayContaining([{ id: 192, value: 100, worst: 100, raw: 0 }]) },
    });
  });
  expect((await identified()).status).toBe(0);
  expect(await powerState()).toBe('ready');
});

test.concurrent.each([
  [['identify', 'sim:healthy', '--label', '1TB'], /--label goes with --triage/],
  [['identify', 'sim:healthy', '--triage', '--label', '1'], /a capacity with its unit/],
  [['identify', 'sim:no-such-drive'], /no scenario is called/],
])('%j is bad input', async (args, message) => {
  const found = await run(args);
  expect(found.status).toBe(2);
  expect(found.stderr).toMatch(message);
  expect(found.stdout).toBe('');
});
