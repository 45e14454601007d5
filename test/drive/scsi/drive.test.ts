import { describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../../hardware-sim/virtual-clock.js';
import { isMediumError, type ReadRequest } from '../../../src/drive/drive.js';
import { createScsiDrive, type ScsiDriveOptions } from '../../../src/drive/scsi/drive.js';
import type { ScsiAnswer } from '../../../src/drive/scsi/path.js';
import { isLastspinError } from '../../../src/errors.js';
import {
  ataSense,
  check,
  fixedSense,
  good,
  identifyOf,
  type PlayedDrive,
  type PlayedPath,
  playedPath,
  sectorsOf,
} from './played-path.js';

const stopOn = { fault: true, slow: false, timeout: true };

function request(lba: number, count: number, more: Partial<ReadRequest> = {}): ReadRequest {
  return { extent: { lba, count }, timeoutMs: 1000, slowMs: 0, stopOn, batch: 1, ...more };
}

const hex = ({ sent }: PlayedPath) => sent.map(({ cdb }) => Buffer.from(cdb).toString('hex'));
const opcodes = ({ sent }: PlayedPath) => sent.map(({ cdb }) => cdb[0]);

/** Runs `body` over a played drive, in virtual time. */
function over<T>(
  path: PlayedPath,
  body: (drive: ReturnType<typeof createScsiDrive>) => Promise<T>,
  options: ScsiDriveOptions = {},
): Promise<T> {
  const clock = createVirtualClock();
  return clock.run(body(createScsiDrive(path, clock, options)));
}

/** A drive that was identified; its path remembers only what comes after. */
function known<T>(
  path: PlayedPath,
  body: (drive: ReturnType<typeof createScsiDrive>) => Promise<T>,
  options: ScsiDriveOptions = {},
): Promise<T> {
  return over(
    path,
    async (drive) => {
      expect(await drive.identify()).toBeDefined();
      path.sent.length = 0;
      return body(drive);
    },
    options,
  );
}

/** Answers reads of an extent that holds `lba` by `answer`. */
function failsAt(lba: number, answer: () => ScsiAnswer): PlayedDrive['intercept'] {
  return ({ cdb }) => {
    if (cdb[0] !== 0x28) return undefined;
    const view = new DataView(cdb.buffer, cdb.byteOffset);
    const first = view.getUint32(2);
    return lba >= first && lba < first + view.getUint16(7) ? answer() : undefined;
  };
}

const read10s = (path: PlayedPath) => path.sent.filter(({ cdb }) => cdb[0] === 0x28).length;

describe('who is there', () => {
  test('a drive behind a bridge with SAT is named by its own words', async () => {
    const path = playedPath();
    expect(await over(path, (drive) => drive.identify())).toEqual({
      model: 'PLAYED DISK 1',
      serial: 'PD0001',
      firmware: 'F1',
      sectorCount: 100_000,
      sectorBytes: 512,
      physicalSectorBytes: 4096,
      kind: 'hdd',
    });
    expect(opcodes(path)).toEqual([0x12, 0x25, 0x85]);
  });

  test('the shorter pass-through where the bridge has only that, and no longer one after', async () => {
    const path = playedPath({ ataForms: [12] });
    await known(path, async (drive) => {
      expect(drive.profile?.ata?.serial).toBe('PD0001');
      expect(await drive.tune?.({ lookAhead: false })).toBeUndefined();
      expect(opcodes(path)).toEqual([0xa1]);
    });
  });

  test('a bridge without SAT is named by its own name and the pages it has', async () => {
    const pages = new Map([[0x80, Buffer.from('  XY12  ')]]);
    const path = playedPath({ ataForms: [], pages });
    expect(await over(path, (drive) => drive.identify())).toEqual({
      model: 'BRIDGE PLAYED DISK 1',
      serial: 'XY12',
      firmware: '0100',
      sectorCount: 100_000,
      sectorBytes: 512,
      physicalSectorBytes: 4096,
    });
  });

  test('a page with the drive’s IDENTIFY data names the drive where nothing passes through', async () => {
    const source = playedPath();
    const kept = Uint8Array.of(...new Uint8Array(56), ...identifyOf(source.drive));
    const path = playedPath({ ataForms: [], pages: new Map([[0x89, kept]]) });
    await known(path, async (drive) => {
      expect(drive.profile).toMatchObject({ passesAta: false, identity: { serial: 'PD0001' } });
    });
  });

  test('a stick is not asked for pages through USB, and has its plug’s serial number', async () => {
    const path = playedPath(
      { ataForms: [], isRemovable: true },
      { bridge: { vendorId: 0x0781, productId: 0x5567 } },
    );
    const identity = await over(path, (drive) => drive.identify(), { serial: '4C53' });
    expect(identity).toMatchObject({ serial: '4C53', kind: 'flash', physicalSectorBytes: 512 });
    expect(hex(path).filter((cdb) => cdb.startsWith('1201'))).toEqual([]);
    expect(opcodes(path)).not.toContain(0x9e);
  });

  test('more than 2 TiB by READ CAPACITY (16), read by READ (16)', async () => {
    const path = playedPath({ sectorCount: 2 ** 32 + 1000 });
    await known(path, async (drive) => {
      expect(drive.profile?.identity.sectorCount).toBe(2 ** 32 + 1000);
      const result = await drive.read(request(2 ** 32 + 10, 4));
      expect(result.data).toEqual(sectorsOf(2 ** 32 + 10, 4));
      await drive.read(request(2 ** 32 - 4, 4));
      expect(opcodes(path)).toEqual([0x88, 0x28]);
    });
  });

  test('a bridge that counts one sector too many is corrected by the drive, and says so', async () => {
    const notices: string[] = [];
    await known(playedPath({ isCountOffByOne: true }), async (drive) => {
      expect(drive.profile?.identity.sectorCount).toBe(100_000);
      drive.onNotice?.((notice) => notices.push(notice));
    });
    expect(notices).toEqual([
      'the adapter names 1 sectors more than the drive has: they are left out',
    ]);
  });

  test('a bridge known for that is corrected where nobody else tells', async () => {
    const bridge = { vendorId: 0x067b, productId: 0x3507 };
    const path = playedPath({ isCountOffByOne: true }, { bridge });
    await known(path, async (drive) => {
      expect(drive.profile?.identity.sectorCount).toBe(100_000);
      expect(drive.profile?.passesAta).toBe(false);
    });
    const right = playedPath({}, { bridge });
    await known(right, async (drive) => {
      expect(drive.profile?.identity.sectorCount).toBe(100_000);
    });
  });

  test.each([
    ['an abort', 0x0b],
    ['a refusal', 0x05],
  ] as const)('a drive that meets IDENTIFY with %s later is silent, not another drive', async (_, key) => {
    const path = playedPath();
    await known(path, async (drive) => {
      path.drive.intercept = ({ cdb }) => (cdb[0] === 0x85 ? check(fixedSense(key)) : undefined);
      for (let n = 0; n < 4; n++) expect(await drive.identify()).toBeUndefined();
      path.drive.intercept = () => undefined;
      expect(await drive.identify()).toMatchObject({ serial: 'PD0001' });
    });
  });

  test('a bridge that hangs on ATA commands is reset, and soon not asked again', async () => {
    const path = playedPath({
      isRemovable: true,
      intercept: ({ cdb, timeoutMs }) =>
        cdb[0] === 0x85 ? { kind: 'timeout', elapsedMs: timeoutMs } : undefined,
    });
    await over(path, async (drive) => {
      expect(await drive.identify()).toBeUndefined();
      expect(await drive.identify()).toMatchObject({ model: 'BRIDGE PLAYED DISK 1' });
      expect(path.resetsDone).toEqual(['abort', 'abort']);
      path.sent.length = 0;
      await drive.identify();
      expect(opcodes(path)).not.toContain(0x85);
    });
  });

  test('IDENTIFY data that is not whole is not believed', async () => {
    const path = playedPath({
      intercept: ({ cdb }) => {
        if (cdb[0] !== 0x85) return undefined;
        const broken = identifyOf(playedPath().drive);
        broken[60]! ^= 1;
        return good(broken);
      },
    });
    expect(
      await over(path, async (drive) => [await drive.identify(), await drive.identify()]),
    ).toEqual([undefined, expect.objectContaining({ model: 'BRIDGE PLAYED DISK 1' })]);
  });

  test('no ATA command goes to an optical drive, whose A1h blanks a disc', async () => {
    const path = playedPath({ ataForms: [12, 16] });
    const { send } = path;
    path.send = async (command) => {
      const answer = await send.call(path, command);
      if (command.cdb[0] === 0x12 && command.cdb[1] === 0 && answer.kind === 'done')
        answer.data[0] = 5;
      return answer;
    };
    await over(path, (drive) => drive.identify());
    expect(opcodes(path)).not.toContain(0x85);
    expect(opcodes(path)).not.toContain(0xa1);
  });

  test('what is not a drive, and sectors that cannot be, are refused in one line', async () => {
    const scanner = playedPath({
      intercept: ({ cdb }) =>
        cdb[0] === 0x12 ? good(Uint8Array.of(6, ...new Uint8Array(35))) : undefined,
    });
    await expect(over(scanner, (drive) => drive.identify())).rejects.toThrow(
      /^played:0 is no drive:/,
    );
    const odd = playedPath({ sectorBytes: 65_536, sectorCount: 100 });
    await expect(over(odd, (drive) => drive.identify())).rejects.toThrow(
      /sector size of 65536 bytes/,
    );
  });

  test('nobody answers, or comes back under another name', async () => {
    const path = playedPath({ intercept: () => ({ kind: 'gone', elapsedMs: 0 }) });
    path.there = false;
    await over(path, async (drive) => {
      expect(await drive.identify()).toBeUndefined();
      expect(await drive.readiness()).toBe('gone');
      path.isThere = async () => {
        path.drive.intercept = () => undefined;
        return true;
      };
      expect(await drive.readiness()).toBe('ready');
      expect(await drive.identify()).toBeDefined();
    });
  });

  test('another sector size after a power cycle is taken over', async () => {
    const path = playedPath();
    await known(path, async (drive) => {
      Object.assign(path.drive, { sectorBytes: 4096, sectorCount: 12_500, ataForms: [16] });
      expect(await drive.identify()).toMatchObject({ sectorBytes: 4096, sectorCount: 12_500 });
      expect((await drive.read(request(3, 2))).data).toEqual(sectorsOf(3, 2, 4096));
      expect(drive.capabilities.readCountMax).toBe(256);
    });
  });
});

describe('reads', () => {
  test('what was asked for, by READ (10), in order', async () => {
    const path = playedPath();
    await known(path, async (drive) => {
      const results = await Promise.all([70, 500, 86].map((lba) => drive.read(request(lba, 16))));
      expect(results.map(({ kind, goodCount }) => [kind, goodCount])).toEqual(
        Array(3).fill(['good', 16]),
      );
      expect(results[1]!.data).toEqual(sectorsOf(500, 16));
      expect(hex(path)).toEqual([
        '28000000004600001000',
        '2800000001f400001000',
        '28000000005600001000',
      ]);
    });
  });

  test('a medium error names its LBA; nothing of the data is taken', async () => {
    const answer = () => check(fixedSense(3, 0x11, 0, 75), sectorsOf(70, 16));
    const path = playedPath({ intercept: failsAt(75, answer) });
    await known(path, async (drive) => {
      const result = await drive.read(request(70, 16));
      expect(result).toMatchObject({ kind: 'fault', goodCount: 0, fault: { lba: 75 } });
      expect(result.data).toHaveLength(0);
      expect(isMediumError(result.fault!)).toBe(true);
    });
  });

  test('a stop ends its batch, and only that', async () => {
    const path = playedPath({ intercept: failsAt(75, () => check(fixedSense(3, 0x11))) });
    await known(path, async (drive) => {
      const reads = [request(60, 8), request(70, 8), request(80, 8), request(90, 8, { batch: 2 })];
      const results = await Promise.all(reads.map((each) => drive.read(each)));
      expect(results.map(({ kind }) => kind)).toEqual(['good', 'fault', 'not-attempted', 'good']);
      expect(read10s(path)).toBe(3);
    });
  });

  test('slow is what took longer than it should', async () => {
    const path = playedPath({ elapsedMs: 400 });
    await known(path, async (drive) => {
      expect(await drive.read(request(0, 8, { slowMs: 300 }))).toMatchObject({
        kind: 'slow',
        goodCount: 8,
      });
      expect(await drive.read(request(0, 8, { slowMs: 400 }))).toMatchObject({ kind: 'good' });
    });
  });

  test('the deadline is the row’s, but never below the path’s floor', async () => {
    const path = playedPath();
    const deadline = async (drive: ReturnType<typeof createScsiDrive>, timeoutMs: number) => {
      await drive.read(request(0, 8, { timeoutMs }));
      return path.sent.at(-1)?.timeoutMs;
    };
    await known(
      path,
      async (drive) => {
        expect([await deadline(drive, 1000), await deadline(drive, 30_000)]).toEqual([
          8000, 30_000,
        ]);
      },
      { timeoutMsMin: 8000 },
    );
  });

  test.each([
    [
      'a short answer',
      good(sectorsOf(70, 7)),
      { kind: 'fault', fault: { path: '3584 of 4096 bytes came' } },
    ],
    [
      'a lost command',
      { kind: 'failed', why: 'phase error', elapsedMs: 5 },
      { kind: 'fault', fault: { path: 'phase error' } },
    ],
    ['no answer', { kind: 'timeout', elapsedMs: 1000 }, { kind: 'timeout', elapsedMs: 1000 }],
    ['an empty bus', { kind: 'gone', elapsedMs: 0 }, { kind: 'gone' }],
    ['a dock without its drive', check(fixedSense(2, 0x3a)), { kind: 'gone' }],
    [
      'a drive that spins up',
      check(fixedSense(2, 4, 1)),
      { kind: 'fault', fault: { sense: { key: 2, asc: 4, ascq: 1 } } },
    ],
    [
      'an aborted command',
      check(fixedSense(0x0b, 0x47)),
      { kind: 'fault', fault: { sense: { key: 0x0b } } },
    ],
    ['no sense at all', check(new Uint8Array()), { kind: 'fault', fault: { sense: { key: 0 } } }],
    [
      'an address beyond the end',
      check(fixedSense(5, 0x21)),
      { kind: 'fault', fault: { sense: { key: 5, asc: 0x21 } } },
    ],
    [
      'another medium',
      check(fixedSense(6, 0x28)),
      { kind: 'fault', fault: { sense: { key: 6, asc: 0x28 } } },
    ],
  ] as const)('%s marks no sector', async (_, answer, expected) => {
    const path = playedPath({ intercept: failsAt(72, () => answer as ScsiAnswer) });
    await known(path, async (drive) => {
      const result = await drive.read(request(70, 8));
      expect(result).toMatchObject({ ...expected, goodCount: 0 });
      expect(result.data).toHaveLength(0);
      expect(result.fault !== undefined && isMediumError(result.fault)).toBe(false);
    });
  });

  test('a recovered error is a good read, and what predicts failure is said', async () => {
    const notices: string[] = [];
    const answers = [0x17, 0x5d].map((asc) => check(fixedSense(1, asc), sectorsOf(70, 8)));
    const path = playedPath({ intercept: failsAt(70, () => answers.shift()!) });
    await known(path, async (drive) => {
      drive.onNotice?.((notice) => notices.push(notice));
      expect((await drive.read(request(70, 8))).data).toEqual(sectorsOf(70, 8));
      expect(notices).toEqual([]);
      expect(await drive.read(request(70, 8))).toMatchObject({ kind: 'good' });
    });
    expect(notices).toEqual(['the drive predicts that it will fail soon']);
  });

  test('a drive that was reset by itself is asked again, told so, and set as before', async () => {
    let pending = 0;
    const notices: string[] = [];
    const path = playedPath({
      intercept: ({ cdb }) =>
        cdb[0] === 0x28 && pending-- > 0 ? check(fixedSense(6, 0x29)) : undefined,
    });
    await known(path, async (drive) => {
      drive.onNotice?.((notice) => notices.push(notice));
      expect(await drive.tune?.({ lookAhead: false })).toBeUndefined();
      pending = 2;
      expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'good' });
      await drive.read(request(8, 8));
      const lookAheadOff = '8506000055000000000000000040ef00';
      expect(hex(path).filter((cdb) => cdb === lookAheadOff)).toHaveLength(2);
      expect(notices).toEqual(['the drive was reset, or lost its power, by itself']);
      pending = 9;
      expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'fault' });
    });
  });

  test('an error of an earlier command blames nothing of this one, which is sent again', async () => {
    const deferred = fixedSense(3, 0x11, 0, 72);
    deferred[0] = 0xf1;
    let pending = 1;
    const path = playedPath({
      intercept: failsAt(72, () => (pending-- > 0 ? check(deferred) : good(sectorsOf(70, 8)))),
    });
    await known(path, async (drive) => {
      expect(await drive.read(request(70, 8))).toMatchObject({ kind: 'good', goodCount: 8 });
      expect(read10s(path)).toBe(2);
    });
  });

  test('another medium is not read on silently', async () => {
    let changed = 1;
    const path = playedPath({
      intercept: ({ cdb }) =>
        cdb[0] === 0x28 && changed-- > 0 ? check(fixedSense(6, 0x28)) : undefined,
    });
    await known(path, async (drive) => {
      expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'fault' });
      expect(read10s(path)).toBe(1);
    });
  });

  test('a busy device is asked again within the deadline, and then gave no answer', async () => {
    let busy = 4;
    const path = playedPath({
      intercept: ({ cdb }) =>
        cdb[0] === 0x28 && busy-- > 0
          ? {
              kind: 'done',
              status: 'busy',
              data: new Uint8Array(),
              sense: new Uint8Array(),
              elapsedMs: 0,
            }
          : undefined,
    });
    await known(path, async (drive) => {
      expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'good' });
      busy = Infinity;
      expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'timeout' });
      expect(path.sent.at(-1)?.timeoutMs).toBeLessThanOrEqual(200);
    });
  });

  test('no more than a transfer holds, and than a known bridge bears', async () => {
    const genesys = { vendorId: 0x05e3, productId: 0x0702 };
    await known(playedPath({}, { bridge: genesys }), async (drive) => {
      expect(drive.capabilities.readCountMax).toBe(64);
    });
    const limited = playedPath({
      ataForms: [],
      pages: new Map([[0xb0, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 128)]]),
    });
    await known(limited, async (drive) => {
      expect(drive.capabilities.readCountMax).toBe(128);
      expect(drive.capabilities.inFlightBytesMax).toBe(4 * 128 * 512);
    });
  });
});

describe('reads by ATA commands', () => {
  const byAta = { readBy: 'ata' } as const;

  test('READ DMA EXT, and the registers say what failed and where', async () => {
    const path = playedPath({
      intercept: ({ cdb }) =>
        cdb[0] === 0x85 && cdb[14] === 0x25 && cdb[8] === 70
          ? check(ataSense([3, 0x11, 4], { status: 0x51, error: 0x40, lba: 75 }))
          : undefined,
    });
    await known(
      path,
      async (drive) => {
        expect((await drive.read(request(500, 16))).data).toEqual(sectorsOf(500, 16));
        const { fault } = await drive.read(request(70, 16));
        expect(fault).toMatchObject({ lba: 75, ata: { status: 0x51, error: 0x40 } });
        expect(opcodes(path)).toEqual([0x85, 0x85]);
      },
      byAta,
    );
  });

  test('a locked-out or aborted command marks nothing', async () => {
    const path = playedPath({
      intercept: ({ cdb }) =>
        cdb[14] === 0x25
          ? check(ataSense([0x0b, 0, 0], { status: 0x51, error: 0x04, lba: 70 }))
          : undefined,
    });
    await known(
      path,
      async (drive) => {
        const { fault } = await drive.read(request(70, 16));
        expect(isMediumError(fault!)).toBe(false);
      },
      byAta,
    );
  });

  test('READ DMA where only the shorter form passes, READ (10) where it does not reach', async () => {
    const path = playedPath({ ataForms: [12] });
    await known(
      path,
      async (drive) => {
        expect((await drive.read(request(500, 255))).data).toEqual(sectorsOf(500, 255));
        expect((await drive.read(request(500, 256))).data).toEqual(sectorsOf(500, 256));
        expect(opcodes(path)).toEqual([0xa1, 0x28]);
      },
      byAta,
    );
  });

  test('not where the bridge’s sectors are not the drive’s', async () => {
    const path = playedPath();
    const { send } = path;
    // A bridge that shows 4,096 bytes of a drive with 512.
    path.send = async (command) => {
      const answer = await send.call(path, command);
      if (command.cdb[0] === 0x25 && answer.kind === 'done')
        answer.data.set([0, 0, 0x30, 0xd3, 0, 0, 0x10, 0]);
      return answer;
    };
    await known(
      path,
      async (drive) => {
        expect(drive.profile?.identity).toMatchObject({ sectorBytes: 4096, sectorCount: 12_500 });
        await drive.read(request(3, 2));
        expect(opcodes(path)).toEqual([0x28]);
        expect(path.sent[0]?.dataBytes).toBe(8192);
      },
      byAta,
    );
  });

  test('without retries below 128 GiB, and said where that cannot be', async () => {
    const path = playedPath();
    await known(path, async (drive) => {
      expect(await drive.tune?.({ driveRetries: false })).toBeUndefined();
      expect((await drive.read(request(500, 8))).data).toEqual(sectorsOf(500, 8));
      await drive.read(request(500, 300));
      expect(await drive.tune?.({ driveRetries: true })).toBeUndefined();
      await drive.read(request(500, 8));
      expect(path.sent.map(({ cdb }) => (cdb[0] === 0x85 ? cdb[14] : cdb[0]))).toEqual([
        0x21, 0x28, 0x28,
      ]);
    });
    await known(playedPath({ sectorCount: 2 ** 28 + 8 }), async (drive) => {
      expect(await drive.tune?.({ driveRetries: false })).toMatch(/larger than 128 GiB$/);
    });
    await known(playedPath({ ataForms: [] }), async (drive) => {
      expect(await drive.tune?.({ lookAhead: false })).toBe(
        'the adapter passes no ATA commands through',
      );
    });
  });
});

describe('a locked drive', () => {
  const lockedBy = (path: PlayedPath, body: () => Promise<unknown>) =>
    body().then(
      () => expect.unreachable(),
      (error: unknown) => {
        expect(isLastspinError(error, 'DEVICE_REFUSED')).toBe(true);
        expect((error as Error).message).toMatch(
          /is locked by a password: nothing can be read, and nothing is marked bad/,
        );
        expect(read10s(path)).toBeLessThanOrEqual(1);
      },
    );

  test('is not read at all: its bridge may call refused reads medium errors', async () => {
    const path = playedPath({
      editIdentify: (data) => data.set([0x07, 0], 256),
      intercept: failsAt(70, () => check(fixedSense(3, 0x11))),
    });
    await known(path, (drive) => lockedBy(path, () => drive.read(request(70, 8))));
    expect(read10s(path)).toBe(0);
  });

  test.each([0x20, 0x74])('says so by DATA PROTECT, %i', async (asc) => {
    const path = playedPath({
      ataForms: [],
      intercept: failsAt(70, () => check(fixedSense(7, asc, 0x71))),
    });
    await known(path, (drive) => lockedBy(path, () => drive.read(request(70, 8))));
  });
});

describe('state', () => {
  test.each([
    ['ready', good(), 'ready'],
    ['spinning up', check(fixedSense(2, 4, 1)), 'not-ready'],
    ['without a medium', check(fixedSense(2, 0x3a)), 'gone'],
    ['hung', { kind: 'timeout', elapsedMs: 5000 }, 'not-ready'],
    ['off the bus', { kind: 'gone', elapsedMs: 0 }, 'gone'],
    ['ill', check(fixedSense(4, 0x44)), 'unknown'],
    ['lost on the way', { kind: 'failed', why: 'phase error', elapsedMs: 0 }, 'unknown'],
  ] as const)('a drive that is %s', async (_, answer, expected) => {
    const path = playedPath({
      intercept: ({ cdb }) => (cdb[0] === 0 ? (answer as ScsiAnswer) : undefined),
    });
    path.there = false;
    expect(await over(path, (drive) => drive.readiness())).toBe(expected);
  });

  test('a motor that waits to be started is', async () => {
    const path = playedPath({
      intercept: ({ cdb }) => (cdb[0] === 0 ? check(fixedSense(2, 4, 2)) : undefined),
    });
    expect(await over(path, (drive) => drive.readiness())).toBe('not-ready');
    expect(hex(path)).toEqual(['000000000000', '1b0000000100']);
  });

  test('parking: by the drive’s own commands, else by its motor, never by ejecting', async () => {
    const own = playedPath({ editIdentify: (data) => data.set([0, 0x60], 168) });
    await known(own, async (drive) => {
      expect(drive.capabilities.park).toBe(true);
      await drive.park();
      await drive.park('unload');
      expect(own.sent.map(({ cdb }) => [cdb[14], cdb[4]])).toEqual([
        [0xe0, 0],
        [0xe1, 0x44],
      ]);
    });
    const plain = playedPath({ ataForms: [] });
    await known(plain, async (drive) => {
      await expect(drive.park('unload')).rejects.toThrow(/passes no ATA commands/);
      await drive.park();
      await drive.read(request(0, 8));
      expect(hex(plain)).toEqual(['1b0000000000', '1b0000000100', '28000000000000000800']);
    });
    const stick = playedPath({ ataForms: [], isRemovable: true });
    await known(stick, async (drive) => {
      expect(drive.capabilities.park).toBe(false);
      await expect(drive.park()).rejects.toThrow(/it would be ejected$/);
      expect(stick.sent).toEqual([]);
    });
  });

  /** A drive that is stopped and started as a SAS drive is, and says so. */
  function stoppable() {
    let isStopped = false;
    const unready = check(fixedSense(2, 4, 2));
    const path = playedPath(
      {
        ataForms: [],
        intercept({ cdb }) {
          if (cdb[0] === 0x1b) isStopped = (cdb[4]! & 1) === 0;
          return isStopped && (cdb[0] === 0 || cdb[0] === 0x28) ? unready : undefined;
        },
      },
      { resets: new Set(['hard']) },
    );
    path.reset = async () => {};
    const stop = () => {
      isStopped = true;
    };
    return Object.assign(path, { stop });
  }

  test('a motor that somebody else stopped is started by the read, which is asked once more', async () => {
    const path = stoppable();
    await known(path, async (drive) => {
      path.stop();
      expect(await drive.read(request(0, 8))).toMatchObject({ kind: 'good', goodCount: 8 });
      const read = '28000000000000000800';
      expect(hex(path)).toEqual([read, '1b0000000100', read]);
    });
  });

  test('asking whether it is ready leaves a parked motor alone; a reset wants it back', async () => {
    const path = stoppable();
    await known(path, async (drive) => {
      await drive.park();
      expect(await drive.readiness()).toBe('not-ready');
      expect(hex(path)).toEqual(['1b0000000000', '000000000000']);
      await drive.reset('hard');
      expect(await drive.readiness()).toBe('not-ready');
      expect(await drive.readiness()).toBe('ready');
    });
  });

  test('so does one that left meanwhile: it comes back stopped, as its power finds it', async () => {
    const path = stoppable();
    await known(path, async (drive) => {
      await drive.park();
      const { send } = path;
      path.send = async () => ({ kind: 'gone', elapsedMs: 1 });
      path.there = false;
      expect(await drive.readiness()).toBe('gone');
      Object.assign(path, { send, there: true });
      expect(await drive.readiness()).toBe('not-ready');
      expect(await drive.readiness()).toBe('ready');
    });
  });

  test('an abort leaves what waits unattempted; resets are the path’s', async () => {
    const path = playedPath({}, { resets: new Set(['abort', 'hard']) });
    await known(path, async (drive) => {
      expect([...drive.capabilities.resets]).toEqual(['abort', 'hard']);
      let release: (answer: ScsiAnswer) => void = () => {};
      const { send } = path;
      path.send = (command) =>
        command.cdb[0] === 0x28
          ? new Promise((resolve) => {
              release = resolve;
            })
          : send.call(path, command);
      path.reset = async () => release({ kind: 'failed', why: 'aborted', elapsedMs: 9 });
      const never = { stopOn: { fault: false, slow: false, timeout: false } };
      const reads = [0, 8, 16].map((lba) => drive.read(request(lba, 8, never)));
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
      await drive.reset('abort');
      const kinds = (await Promise.all(reads)).map(({ kind }) => kind);
      expect(kinds.slice(1)).toEqual(['not-attempted', 'not-attempted']);
    });
  });

  test('closing closes the path', async () => {
    const path = playedPath();
    await over(path, (drive) => drive.close());
    expect(path.closed).toBe(true);
  });
});

describe('what lies beyond reading', () => {
  const registers = (lba: number, count = 0) =>
    check(ataSense([1, 0, 0x1d], { status: 0x50, error: 0, lba, count }));

  test('hidden capacity, power mode, temperature and SMART, each only where it is had', async () => {
    const smart = new Uint8Array(512);
    smart.set([16, 0, 12, 0, 0, 100, 100, 77], 0);
    smart[511] = -smart.reduce((sum, byte) => sum + byte, 0) & 0xff;
    const sct = new Uint8Array(512);
    sct[0] = 3;
    sct[200] = 39;
    const path = playedPath({
      editIdentify: (data) => {
        const view = new DataView(data.buffer);
        view.setUint16(82 * 2, 0x0401, true);
        view.setUint16(206 * 2, 1, true);
      },
      intercept: ({ cdb }) => {
        if (cdb[0] !== 0x85) return undefined;
        if (cdb[14] === 0x27) return registers(199_999);
        if (cdb[14] === 0xe5) return registers(0, 0xff);
        if (cdb[14] === 0xb0 && cdb[4] === 0xd0) return good(smart);
        if (cdb[14] === 0xb0 && cdb[4] === 0xd5) return good(sct);
        if (cdb[14] === 0xb0 && cdb[4] === 0xda) return registers(0xc24f00);
        return undefined;
      },
    });
    await known(path, async (drive) => {
      const found = { nativeSectorCount: 200_000, powerMode: 'active', temperatureCelsius: 39 };
      expect(await drive.examine()).toEqual(found);
      expect(path.sent.some(({ cdb }) => cdb[4] === 0xd0)).toBe(false);
      expect(await drive.examine({ smart: true })).toMatchObject({
        ...found,
        isSmartPassed: true,
        smart: { powerCycles: 77 },
      });
      expect(await drive.powerCycleCount()).toBe(77);
      expect(await drive.temperatureCelsius()).toBe(39);
    });
    await known(playedPath({ ataForms: [] }), async (drive) => {
      expect(await drive.examine({ smart: true })).toEqual({});
      expect(await drive.powerCycleCount()).toBeUndefined();
    });
  });
});
