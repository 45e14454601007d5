import { expect, test } from 'vitest';
import { capabilityBits } from '../../../firmware-protocol/commands.js';
import { type ImagerDevice, ReplyError } from '../../../firmware-protocol/device.js';
import { createResponder, serveImager } from '../../../firmware-protocol/responder.js';
import { createSimulatedDrive } from '../../../hardware-sim/drive.js';
import { createSimulatedImager } from '../../../hardware-sim/imager.js';
import { linkPair } from '../../../hardware-sim/noisy-link.js';
import { loadScenario } from '../../../hardware-sim/scenario.js';
import { createVirtualClock } from '../../../hardware-sim/virtual-clock.js';
import { type ImagerDrive, openImager } from '../../../src/drive/imager.js';
import { createFakeImager, createLine } from '../../firmware-protocol/fake-imager.js';
import { fixedSense } from './played-path.js';

test('a drive behind a simulated imager is asked as one behind a bridge', async () => {
  const clock = createVirtualClock();
  const drive = createSimulatedDrive(loadScenario('case-a'));
  const [near, far] = linkPair(clock);
  const device = createSimulatedImager(drive, clock);
  createResponder(device, clock).attach(far);
  await clock.run(
    (async () => {
      const imager = await openImager(near, clock, { session: 5, name: 'sim:case-a' });
      const commander = imager.commander!;
      expect((await commander.identifyDevice()).kind).toBe('gone');
      await imager.power!.set(true);
      await clock.sleep(60_000);
      const identity = await imager.identify();
      const answer = await commander.identifyDevice();
      expect(answer).toMatchObject({ kind: 'good', value: { serial: identity?.serial } });
      expect(await commander.capacity10()).toMatchObject({ kind: 'good' });
      expect(await commander.smartData()).toMatchObject({
        kind: 'good',
        value: { powerCycles: 1 },
      });
      expect(await commander.smartStatus()).toMatchObject({ value: { passed: true } });
      expect(await commander.nativeCount(true)).toMatchObject({ value: identity?.sectorCount });
      expect(await commander.nativeCount(false)).toMatchObject({ value: identity?.sectorCount });
      expect(await commander.configurationCount()).toMatchObject({ value: identity?.sectorCount });
      expect(await commander.powerMode()).toMatchObject({ value: 'active' });
      expect(await commander.sctCelsius()).toMatchObject({ kind: 'good' });
      expect(await commander.smartLog(0x06)).toMatchObject({
        kind: 'fault',
        report: { ata: { error: 0x04 } },
      });
      await expect(commander.send(Uint8Array.of(0x04, 0, 0, 0, 0, 0), 0, 100)).rejects.toThrow(
        /^not sent to sim:case-a: /,
      );
      await imager.close();
      device.close();
    })(),
  );
});

type Passed = Awaited<ReturnType<ImagerDevice['passthrough']>>;

/** What becomes of a question to the drive when the imager passes it on like that. */
async function asked(passthrough: () => Promise<Passed>, capabilities?: number) {
  const clock = createVirtualClock();
  const device = createFakeImager(clock);
  Object.assign(device, { passthrough, ...(capabilities !== undefined && { capabilities }) });
  const line = createLine(clock);
  serveImager(line.device, device, clock);
  const ask = async (imager: ImagerDrive) => {
    const answer = await imager.commander?.testUnitReady();
    await imager.close();
    return answer;
  };
  return clock.run(openImager(line.laptop, clock, { session: 5 }).then(ask));
}

const nothing = new Uint8Array();
const passed = (changes: Partial<Passed>) => async (): Promise<Passed> => ({
  outcome: 'good',
  scsiStatus: 0,
  sense: nothing,
  data: nothing,
  elapsedMicros: 1500,
  ...changes,
});

test('each way in which a passed-on command ends', async () => {
  expect(await asked(passed({}))).toMatchObject({ kind: 'good', elapsedMs: 1.5 });
  const sense = fixedSense(2, 4, 1);
  expect(await asked(passed({ outcome: 'fault', scsiStatus: 2, sense }))).toMatchObject({
    kind: 'fault',
    report: { sense: { key: 2, asc: 4, ascq: 1 } },
  });
  expect(await asked(passed({ outcome: 'timeout' }))).toMatchObject({ kind: 'timeout' });
  expect(await asked(passed({ outcome: 'gone' }))).toMatchObject({ kind: 'gone' });
  expect(await asked(passed({ outcome: 'fault', scsiStatus: 8 }))).toMatchObject({ kind: 'busy' });
  const noDrive = async () => {
    throw new ReplyError('noDrive', 'no drive');
  };
  expect(await asked(noDrive)).toMatchObject({ kind: 'gone' });
  const refused = async () => {
    throw new ReplyError('refused', 'not on my list');
  };
  expect(await asked(refused)).toMatchObject({
    kind: 'failed',
    why: expect.stringContaining('not on my list'),
  });
  expect(await asked(passed({}), capabilityBits.identify | capabilityBits.read)).toBeUndefined();
});
