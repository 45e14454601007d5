import { expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import type { Drive, DriveReadiness } from '../../src/drive/drive.js';
import { bringUp } from '../../src/job/bring-up.js';
import { troublePolicies } from '../../src/power/policy.js';
import type { Power } from '../../src/power/power.js';

test('an imager that starts again while the drive spins up is no failed spin-up', async () => {
  const clock = createVirtualClock();
  const said: string[] = [];
  let readiness: DriveReadiness = 'gone';
  let times = 0;
  const power: Power = {
    name: 'imager',
    canHold: true,
    cycle: async () => void said.push('cycle'),
    async set(on) {
      said.push(on ? 'on' : 'off');
      readiness = on ? 'not-ready' : 'gone';
      // The first time the imager restarts, and its rails are off.
      const next: DriveReadiness = times++ === 0 ? 'gone' : 'ready';
      if (on)
        clock.after(4000, () => {
          readiness = next;
        });
    },
    close: async () => {},
  };
  const identity = { model: 'M', serial: 'S', firmware: 'F', sectorCount: 8, sectorBytes: 512 };
  const drive = {
    readiness: async () => readiness,
    identify: async () => (readiness === 'ready' ? identity : undefined),
  } as unknown as Drive;
  const { signal } = new AbortController();
  const found = await clock.run(
    bringUp(drive, [power], troublePolicies.hdd, clock, signal, (line) => said.push(line)),
  );
  expect(found.serial).toBe('S');
  expect(said).toEqual(['on', 'on']);
  expect(clock.now()).toBeLessThan(10_000);
});

test('a switch that may only reset a port goes last once it has not brought the drive up', async () => {
  const clock = createVirtualClock();
  const done: string[] = [];
  let isUp = false;
  const powerOf = (name: string, works: boolean): Power => ({
    name,
    canHold: true,
    ...(!works && { mayOnlyReset: true }),
    async cycle() {
      done.push(`${name} cycle`);
      isUp = works;
    },
    set: async (on) => void done.push(`${name} ${on ? 'on' : 'off'}`),
    close: async () => {},
  });
  const identity = { model: 'M', serial: 'S', firmware: 'F', sectorCount: 8, sectorBytes: 512 };
  const drive = {
    readiness: async (): Promise<DriveReadiness> => (isUp ? 'ready' : 'not-ready'),
    identify: async () => (isUp ? identity : undefined),
  } as unknown as Drive;
  const powers = [powerOf('hub', false), powerOf('manual', true)];
  const said: string[] = [];
  const { signal } = new AbortController();
  await clock.run(
    bringUp(drive, powers, troublePolicies.hdd, clock, signal, (line) => said.push(line)),
  );
  expect(done).toEqual(['hub cycle', 'manual off', 'manual cycle']);
  expect(said.join()).toMatch(/hub may only reset the port: another switch goes first/);
});
