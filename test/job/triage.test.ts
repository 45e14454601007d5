import { describe, expect, test } from 'vitest';
import { createResponder } from '../../firmware-protocol/responder.js';
import { createSimulatedDrive, type SimulatedDrive } from '../../hardware-sim/drive.js';
import { createSimulatedImager } from '../../hardware-sim/imager.js';
import { linkPair } from '../../hardware-sim/noisy-link.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import type { ScenarioInput } from '../../hardware-sim/schema.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import type { ReadRequest } from '../../src/drive/drive.js';
import { openImager } from '../../src/drive/imager.js';
import { createScsiDrive } from '../../src/drive/scsi/drive.js';
import { chooseKind } from '../../src/job/kind.js';
import { type Triage, type TriageParts, triage, zonePlaces } from '../../src/job/triage.js';
import { type DriveKind, troublePolicies } from '../../src/power/policy.js';
import { check, fixedSense, type PlayedDrive, playedPath } from '../drive/scsi/played-path.js';

type Changes = Partial<Pick<TriageParts, 'labelBytes' | 'isSmartWanted'>> & {
  readonly kind?: DriveKind;
  /** The drive is on and ready when it is found. */
  readonly isOn?: boolean;
  /** Its switch is one that may only reset a port. */
  readonly byPort?: boolean;
};

interface Outcome extends Triage {
  readonly drive: SimulatedDrive;
  readonly requests: readonly ReadRequest[];
  readonly firstReadAtMs: number;
  /** Opcodes of what was passed through to the drive; ATA commands as `ata b0 d0`. */
  readonly asked: readonly string[];
  readonly isPowered: boolean;
}

/** First contact with a simulated drive behind a simulated imager, over the protocol, in virtual time. */
async function contact(input: ScenarioInput, changes: Changes = {}): Promise<Outcome> {
  const clock = createVirtualClock();
  const drive = createSimulatedDrive(defineScenario(input));
  const device = createSimulatedImager(drive, clock);
  const requests: ReadRequest[] = [];
  let firstReadAtMs = Number.NaN;
  const asked: string[] = [];
  const { passthrough } = device;
  device.passthrough = (request) => {
    const { cdb } = request;
    asked.push(cdb[0] === 0x85 ? `ata ${hex(cdb[14])} ${hex(cdb[4])}` : hex(cdb[0]));
    return passthrough(request);
  };
  const [near, far] = linkPair(clock);
  createResponder(device, clock).attach(far);
  const { kind: askedKind, isOn, byPort, ...more } = changes;

  async function session(): Promise<Outcome> {
    const imager = await openImager(near, clock, { session: 7 });
    if (isOn) {
      await imager.power!.set(true);
      await clock.sleep(20_000);
    }
    const { read } = imager;
    const found = await triage({
      drive: Object.assign(imager, {
        read(request: ReadRequest) {
          if (requests.length === 0) firstReadAtMs = clock.now();
          requests.push(request);
          return read(request);
        },
      }),
      powers: [{ ...imager.power!, ...(byPort && { mayOnlyReset: true }) }],
      clock,
      signal: new AbortController().signal,
      policy: troublePolicies[askedKind ?? 'hdd'],
      kindOf: (identity) =>
        identity ? chooseKind({ asked: askedKind, identity }) : (askedKind ?? 'hdd'),
      questions: () => imager.questions(),
      status: () => imager.status(),
      isSmartWanted: true,
      say: () => {},
      ...more,
    });
    const isPowered = drive.condition(clock.now()).kind !== 'off';
    await imager.close();
    device.close();
    return { ...found, drive, requests, firstReadAtMs, asked, isPowered };
  }
  const outcome = await clock.run(session());
  // Whatever the drive is like: few reads, none twice, not for long.
  const places = outcome.requests.map(({ extent }) => extent.lba);
  expect(outcome.requests.length).toBeLessThanOrEqual(16);
  expect(outcome.drive.counters.reads).toBeLessThanOrEqual(16);
  expect(new Set(places).size).toBe(places.length);
  expect(outcome.requests.every(({ extent }) => extent.count <= 128)).toBe(true);
  expect(outcome.elapsedMs).toBeLessThanOrEqual(180_000);
  expect(outcome.drive.counters.softResets + outcome.drive.counters.hardResets).toBe(0);
  return outcome;
}

const hex = (byte = 0) => byte.toString(16).padStart(2, '0');
const sectorCount = 131_072;
const smartRead = 'ata b0 d0';

describe('first contact', () => {
  test('a healthy hard drive: started once, measured, read in sixteen places, SMART last', async () => {
    const found = await contact({ sectorCount });
    expect(found.verdict).toMatchObject({ decision: 'image', preset: 'adaptive' });
    const { spinUp, zones } = found.findings;
    expect(spinUp).toMatchObject({ isReady: true, powerOns: 1, isTripped: false });
    expect(spinUp.readyAfterMs).toBeGreaterThanOrEqual(3900);
    expect(spinUp.readyAfterMs).toBeLessThanOrEqual(4300);
    expect(spinUp.rails).toEqual([
      { volts: 5, peakMilliamps: 600, lastMilliamps: 350 },
      { volts: 12, peakMilliamps: 1800, lastMilliamps: 350 },
    ]);
    expect(zones?.reads.map(({ outcome }) => outcome)).toEqual(Array(16).fill('good'));
    expect(found.requests[0]?.extent.lba).toBe(0);
    expect(found.requests.at(-1)?.extent).toEqual({ lba: sectorCount - 128, count: 128 });
    expect(found.smart).toMatchObject({ powerCycles: 1, pendingCount: 0 });
    expect(found.findings.isSmartPassed).toBe(true);
    expect(found.hidden).toEqual({
      nativeSectorCount: sectorCount,
      configurationSectorCount: sectorCount,
    });
    expect(found.asked).toEqual(['ata 27 00', 'ata b1 c2', 'ata b0 da', smartRead]);
    expect(found.isPowered).toBe(true);
    expect(found.drive.counters).toMatchObject({ powerOns: 1, emergencyUnloads: 0 });
  });

  test('one that is on already is not switched, and nothing is said of its start', async () => {
    const found = await contact({ sectorCount }, { isOn: true });
    expect(found.findings.spinUp).toMatchObject({ isReady: true, powerOns: 0, rails: [] });
    expect(found.findings.spinUp.readyAfterMs).toBeUndefined();
    expect(found.drive.counters.powerOns).toBe(1);
    expect(found.verdict.decision).toBe('image');
  });

  test('a reset of its port is no power-on: when it began to start is not known', async () => {
    const found = await contact({ sectorCount, mechanics: { spinUpMs: 200 } }, { byPort: true });
    const { spinUp } = found.findings;
    expect(spinUp).toMatchObject({ isReady: true, powerOns: 0, portResets: 1, rails: [] });
    expect(spinUp.readyAfterMs).toBeUndefined();
    expect(found.verdict.decision).toBe('image');
    // It may have been one.
    expect(found.firstReadAtMs).toBeGreaterThanOrEqual(3000);
    const dead = await contact(
      { sectorCount, faults: [{ kind: 'spin-up', fails: 9 }] },
      { byPort: true },
    );
    expect(dead.verdict).toMatchObject({ what: 'it does not become ready' });
    expect(dead.verdict.reasons.join()).toMatch(/nothing here is known to cut its power/);
    expect(dead.findings.spinUp.isLeftOff).toBeUndefined();
  });

  test('ready is not usable: a drive that starts quickly settles before it is read', async () => {
    const quick = await contact({ sectorCount, mechanics: { spinUpMs: 200 } });
    expect(quick.firstReadAtMs).toBeGreaterThanOrEqual(3000);
    const slow = await contact({ sectorCount, mechanics: { spinUpMs: 9000 } });
    expect(slow.firstReadAtMs).toBeGreaterThanOrEqual(9500);
    expect(slow.firstReadAtMs).toBeLessThan(10_500);
  });

  test('SMART is left alone where it is not wanted', async () => {
    const found = await contact({ sectorCount }, { isSmartWanted: false });
    expect(found.asked).toEqual(['ata 27 00', 'ata b1 c2']);
    expect(found.verdict.decision).toBe('image');
  });

  test('a weak head: some places are bad, and it is to be read gently', async () => {
    const found = await contact({
      sectorCount,
      faults: [{ kind: 'bad', head: 2, errorMs: 2000 }],
    });
    expect(found.verdict).toMatchObject({ decision: 'image', preset: 'gentle' });
    const bad = found.findings.zones!.reads.filter(({ outcome }) => outcome === 'bad');
    expect(bad.length).toBeGreaterThanOrEqual(2);
    expect(bad.length).toBeLessThanOrEqual(8);
    expect(bad[0]?.detail).toMatch(/^medium error 03\/11\/00/);
  });

  test('a drive that hangs: three places without an answer end it, and SMART is not asked', async () => {
    const found = await contact({
      sectorCount,
      faults: [{ kind: 'hang', lba: 65_536, count: 65_536, until: 'power-cycle' }],
    });
    const outcomes = found.findings.zones!.reads.map(({ outcome }) => outcome);
    expect(outcomes.filter((each) => each === 'timeout')).toHaveLength(3);
    expect(outcomes.at(-1)).toBe('timeout');
    expect(found.findings.zones!.leftOut).toBe(16 - outcomes.length);
    expect(found.asked.filter((each) => each.startsWith('ata b0'))).toEqual([]);
    expect(found.smart).toBeUndefined();
    expect(found.verdict).toMatchObject({ decision: 'image', preset: 'gentle' });
  });

  test('a drive that hangs wherever it is read stops', async () => {
    const found = await contact({
      sectorCount,
      faults: [{ kind: 'hang', everywhere: true, until: 'power-cycle' }],
    });
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'cleanroom' });
    expect(found.drive.counters.powerOns).toBe(1);
  });

  test('no place reads: stop', async () => {
    const found = await contact({ sectorCount, faults: [{ kind: 'bad', everywhere: true }] });
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'cleanroom' });
    expect(found.findings.zones!.reads).toHaveLength(16);
  });

  test('a drive that leaves the bus is not asked any more', async () => {
    const found = await contact({
      sectorCount,
      faults: [{ kind: 'vanish', lba: 65_536, count: 65_536, returns: 'power-cycle' }],
    });
    expect(found.findings.zones!.reads.at(-1)?.outcome).toBe('gone');
    expect(found.requests.length).toBeLessThan(16);
    expect(found.asked.filter((each) => each.startsWith('ata b0'))).toEqual([]);
    expect(found.verdict).toMatchObject({ decision: 'image', preset: 'gentle' });
  });

  test('a locked drive is locked, not bad: nothing of it is read', async () => {
    const found = await contact({ sectorCount, identity: { locked: true } });
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'it is locked' });
    expect(found.drive.counters.reads).toBe(0);
    expect(found.asked).toEqual([]);
  });

  test('a lock that IDENTIFY does not tell of is a refusal, not bad sectors', async () => {
    const found = await contact({
      sectorCount,
      faults: [{ kind: 'bad', everywhere: true, error: 'abort', errorMs: 1 }],
    });
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'it refuses to read' });
  });

  test.each([
    [{ model: 'SATAFIRM   S11', sectorCount: 40_960 }, undefined],
    [{ sectorCount: 40_960 }, 64e9],
    [{ model: 'ACME 1TB', sectorCount: 16_384 }, undefined],
  ])('a controller without its firmware is not read: %j', async (alias, labelBytes) => {
    const found = await contact(
      { sectorCount, faults: [{ kind: 'alias', ...alias }] },
      labelBytes === undefined ? {} : { labelBytes },
    );
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'its firmware has failed' });
    expect(found.drive.counters.reads).toBe(0);
    expect(found.asked).toEqual([]);
  });

  test('a shrunken drive is not read, unless what it hides explains it', async () => {
    const labelBytes = 2 * sectorCount * 512;
    const small = await contact({ sectorCount }, { labelBytes });
    expect(small.verdict).toMatchObject({ what: 'it is smaller than its label' });
    expect(small.drive.counters.reads).toBe(0);
    for (const word of ['nativeSectorCount', 'configurationSectorCount']) {
      const hidden = await contact(
        { sectorCount, identity: { [word]: 2 * sectorCount } },
        { labelBytes },
      );
      expect(hidden.hidden).toMatchObject({ [word]: 2 * sectorCount });
      expect(hidden.verdict).toMatchObject({ decision: 'image', preset: 'adaptive' });
      expect(hidden.verdict.reasons.join()).toMatch(/67108864 bytes are hidden/);
      // Looked at, and left as it was.
      expect(hidden.asked.filter((each) => !/^ata (27|b1|b0) /.test(each))).toEqual([]);
    }
  });

  test('a drive that never becomes ready is started once, and left off', async () => {
    const found = await contact({ sectorCount, faults: [{ kind: 'spin-up', fails: 9 }] });
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'cleanroom' });
    expect(found.verdict.reasons.join()).toMatch(/not ready within 60 s.*10 min/s);
    expect(found.identity).toBeUndefined();
    expect(found.drive.counters).toMatchObject({ powerOns: 1, reads: 0 });
    expect(found.isPowered).toBe(false);
  });

  test('a stick gets the starts that its kind is allowed', async () => {
    const stick = { sectorCount, identity: { removable: true } };
    const faults = [{ kind: 'spin-up', fails: 2 }] as const;
    const found = await contact({ ...stick, faults: [...faults] }, { kind: 'flash' });
    expect(found.drive.counters.powerOns).toBe(3);
    expect(found.findings.spinUp.readyAfterMs).toBeLessThanOrEqual(4300);
    expect(found.verdict).toMatchObject({ decision: 'image', preset: 'flash' });
  });

  test('a motor that does not turn: its current does not fall', async () => {
    const stuck = [{ kind: 'spin-up', fails: 9, stuck: true }] as const;
    const rail12 = { limitMilliamps: 2500 };
    const held = await contact({ sectorCount, power: { rail12 }, faults: [...stuck] });
    expect(held.verdict).toMatchObject({ what: 'cleanroom' });
    expect(held.verdict.reasons.join()).toMatch(/1800 mA on 12 V at the end/);
    const tripped = await contact({ sectorCount, faults: [...stuck] });
    expect(tripped.findings.spinUp.isTripped).toBe(true);
    expect(tripped.verdict.reasons.join()).toMatch(/over-current: 1800 mA on 12 V/);
    // Nobody waits for a drive without power.
    expect(tripped.elapsedMs).toBeLessThan(15_000);
    expect(tripped.isPowered).toBe(false);
  });

  test('slow zones: three places that take long tell of a head', async () => {
    const found = await contact({
      sectorCount,
      faults: [{ kind: 'slow', lba: 65_536, count: 30_000, extraMs: 2 }],
    });
    expect(found.findings.zones!.reads.every(({ outcome }) => outcome === 'good')).toBe(true);
    expect(found.verdict).toMatchObject({ decision: 'image', preset: 'adaptive' });
    const slower = await contact({
      sectorCount,
      physicalSectorBytes: 4096,
      faults: [{ kind: 'slow', lba: 65_536, count: 30_000, extraMs: 50 }],
    });
    expect(slower.verdict).toMatchObject({ decision: 'image', preset: 'gentle' });
  });

  test('a drive that crawls everywhere ends in time', async () => {
    const stall = { kind: 'stall', everywhere: true, lastsMs: 1e9, readMs: 9500 } as const;
    const found = await contact({ sectorCount, faults: [stall] });
    expect(found.findings.zones!.reads.every(({ outcome }) => outcome === 'good')).toBe(true);
    expect(found.verdict.reasons.join()).toMatch(/crawls wherever/);
    const late = await contact(
      {
        sectorCount,
        identity: { removable: true },
        faults: [stall, { kind: 'spin-up', fails: 2 }],
      },
      { kind: 'flash' },
    );
    expect(late.findings.zones!.leftOut).toBeGreaterThan(0);
  });

  test.each([
    ['ssd', { mechanics: { rotationMs: 0 } }],
    ['flash', { identity: { removable: true }, mechanics: { rotationMs: 0 } }],
  ] as const)('by its kind: %s', async (preset, more) => {
    const found = await contact({ sectorCount, ...more });
    expect(found.findings.kind).toBe(preset);
    expect(found.verdict).toMatchObject({ decision: 'image', preset });
    // A stick knows no ATA commands: none is sent.
    if (preset === 'flash') expect(found.asked).toEqual([]);
  });

  test('zeros are told of and are no fault', async () => {
    const found = await contact({ sectorCount, contents: 'zeros' });
    expect(found.findings.zones!.reads.every(({ isBlank }) => isBlank)).toBe(true);
    expect(found.verdict).toMatchObject({ decision: 'image', preset: 'adaptive' });
  });
});

describe('places', () => {
  test.each([
    [1, 2048],
    [127, 2048],
    [128, 2048],
    [129, 2048],
    [2047, 2048],
    [2048, 2048],
    [2049, 2048],
    [100_000, 8],
    [7_814_037_168, 2048],
    [2 ** 48, 1],
  ])('of %i sectors, in reads of %i: inside, apart, first and last', (sectors, readCountMax) => {
    const places = zonePlaces(sectors, readCountMax);
    expect(places.length).toBeGreaterThanOrEqual(1);
    expect(places.length).toBeLessThanOrEqual(16);
    expect(places[0]?.lba).toBe(0);
    let end = 0;
    for (const { lba, count } of places) {
      expect(lba).toBeGreaterThanOrEqual(end);
      expect(count).toBeGreaterThan(0);
      expect(count).toBeLessThanOrEqual(Math.min(128, readCountMax));
      end = lba + count;
    }
    expect(end).toBeLessThanOrEqual(sectors);
    if (places.length > 1) expect(end).toBe(sectors);
  });

  test('no head takes them all, however its bands lie', () => {
    for (
      let bandSectors = 1000;
      bandSectors < 3_000_000;
      bandSectors = Math.ceil(bandSectors * 1.1)
    ) {
      const heads = zonePlaces(1_953_525_168, 2048).map(
        ({ lba }) => Math.floor(lba / bandSectors) % 4,
      );
      for (const head of [0, 1, 2, 3])
        expect(heads.filter((each) => each === head).length, `${bandSectors}`).toBeLessThan(12);
    }
  });
});

describe('behind an adapter', () => {
  async function throughAdapter(changes: Partial<PlayedDrive>) {
    const clock = createVirtualClock();
    const path = playedPath(changes, {}, clock);
    const drive = createScsiDrive(path, clock);
    const found = await clock.run(
      triage({
        drive,
        powers: [],
        clock,
        signal: new AbortController().signal,
        policy: troublePolicies.hdd,
        kindOf: (identity) => (identity ? chooseKind({ identity }) : 'hdd'),
        questions: () => drive.questions(),
        isSmartWanted: true,
        say: () => {},
      }),
    );
    const reads = path.sent.filter(({ cdb }) => cdb[0] === 0x28 || cdb[0] === 0x88);
    expect(reads.length).toBeLessThanOrEqual(16);
    return { ...found, reads, path };
  }

  test('a drive is judged as behind an imager, but for what nobody measures', async () => {
    const found = await throughAdapter({});
    expect(found.verdict).toMatchObject({ decision: 'image', preset: 'adaptive' });
    expect(found.findings.spinUp).toMatchObject({ powerOns: 0, rails: [] });
    expect(found.reads).toHaveLength(16);
  });

  test('a lock that only reads tell of', async () => {
    const found = await throughAdapter({
      intercept: ({ cdb }) => (cdb[0] === 0x28 ? check(fixedSense(0x07, 0x74, 0x71)) : undefined),
    });
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'it refuses to read' });
    expect(found.verdict.reasons.join()).toMatch(/locked by a password/);
  });

  test('a read without an answer is ended before the next; nothing stronger is done', async () => {
    const found = await throughAdapter({
      intercept: ({ cdb, timeoutMs }) =>
        cdb[0] === 0x28 ? { kind: 'timeout', elapsedMs: timeoutMs } : undefined,
    });
    expect(found.reads).toHaveLength(3);
    expect(found.path.resetsDone).toEqual(['abort', 'abort', 'abort']);
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'cleanroom' });
  });

  test('a drive that falls silent when asked for SMART is not asked again', async () => {
    const found = await throughAdapter({
      intercept: ({ cdb, timeoutMs }) =>
        cdb[0] === 0x85 && cdb[14] === 0xb0 && cdb[4] !== 0xd5
          ? { kind: 'timeout', elapsedMs: timeoutMs }
          : undefined,
    });
    const smart = found.path.sent.filter(({ cdb }) => cdb[14] === 0xb0 && cdb[4] !== 0xd5);
    expect(smart).toHaveLength(1);
    expect(found.verdict.decision).toBe('image');
  });

  test('silence without a switch is no verdict on the platters', async () => {
    const found = await throughAdapter({
      intercept: ({ timeoutMs }) => ({ kind: 'timeout', elapsedMs: timeoutMs }),
    });
    expect(found.verdict).toMatchObject({ decision: 'stop', what: 'it does not become ready' });
  });

  test('IDENTIFY data that is garbage is never believed, whatever it is', async () => {
    let state = 12_345;
    const random = () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return state >>> 16;
    };
    for (let round = 0; round < 60; round++) {
      const found = await throughAdapter({
        editIdentify: (data) => {
          const isAll = round % 3 === 0;
          for (let n = 0; n < (isAll ? 512 : 12); n++)
            data[isAll ? n : random() % 512] = random() & 0xff;
          // Half of it passes its checksum.
          if (round % 2 === 0) data[510] = 0xa5;
          data[511] = 0;
          data[511] = -data.reduce((sum, byte) => sum + byte, 0) & 0xff;
        },
      });
      expect(['image', 'stop']).toContain(found.verdict.decision);
      expect(found.verdict.reasons.length).toBeGreaterThan(0);
      for (const { cdb } of found.reads) {
        const view = new DataView(cdb.buffer, cdb.byteOffset);
        expect(view.getUint32(2) + view.getUint16(7)).toBeLessThanOrEqual(100_000);
      }
    }
  });
});
