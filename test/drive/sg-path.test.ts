import { afterEach, describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { realClock } from '../../src/clock.js';
import { abandonedCountMax } from '../../src/drive/io-process.js';
import type { ScsiCommand } from '../../src/drive/scsi/path.js';
import { senseOf } from '../../src/drive/scsi/sense.js';
import {
  kernelRecoveryMs,
  openSgPath,
  resetTimeoutMs,
  type SgPath,
  type SgPathOptions,
} from '../../src/drive/sg/path.js';
import type { SgRecord } from '../../src/drive/sg/records.js';
import { spawnSender } from '../../src/drive/sg/sender-process.js';
import {
  type PlayedDevice,
  type PlayedPart,
  type PlayedSender,
  playSender,
  sas,
  sata,
  sysfsWith,
  usbDisk,
} from './sg-played.js';

const read: ScsiCommand = {
  cdb: Uint8Array.of(0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0),
  dataBytes: 4096,
  timeoutMs: 10_000,
};
const data = Uint8Array.from({ length: 4096 }, (_, index) => index & 0xff);

const opened: SgPath[] = [];
afterEach(async () => {
  for (const path of opened.splice(0)) await path.close();
});

/** A path to `/dev/sg2` in virtual time; each process plays the next part, the last one again and again. */
function play(parts: readonly PlayedPart[], devices: PlayedDevice[] = [sata]) {
  const clock = createVirtualClock();
  const senders: PlayedSender[] = [];
  const options: SgPathOptions = {
    sysfs: {
      read: (path) => sysfsWith(...devices).read(path),
      realpath: (path) => sysfsWith(...devices).realpath(path),
      list: (path) => sysfsWith(...devices).list(path),
    },
    lookUp: (path) => ({ path, kind: 'character', major: 21, minor: 2 }),
    spawn(paths) {
      const part = parts[Math.min(senders.length, parts.length - 1)];
      const sender = playSender(paths, part ?? {});
      senders.push(sender);
      return sender.child;
    },
  };
  const notices: string[] = [];
  return {
    clock,
    senders,
    devices,
    notices,
    async open() {
      const path = await clock.run(openSgPath(`/dev/${devices[0]!.generic}`, clock, options));
      path.onNotice?.((notice) => notices.push(notice));
      opened.push(path);
      return path;
    },
  };
}

const operations = ({ asked }: PlayedSender) => asked.map(({ operation }) => operation);

describe('commands', () => {
  test('go to the process as they are, and come back with data and sense', async () => {
    const sense = Uint8Array.of(0xf0, 0, 3, 0, 0, 0x12, 0x34, 10);
    const answers = [{ status: 2, sense, data: data.subarray(0, 512) }, { data }];
    const played = play([{ serve: () => answers.shift() }]);
    const path = await played.open();
    expect(path).toMatchObject({
      name: 'sg:/dev/sg2',
      blockPath: '/dev/sdb',
      transferBytesMax: 1 << 20,
    });
    const check = await played.clock.run(path.send(read));
    const good = await played.clock.run(path.send(read));
    expect(good).toEqual({
      kind: 'done',
      status: 'good',
      data: Buffer.from(data),
      sense: new Uint8Array(0),
      elapsedMs: 2,
    });
    // Still as it came.
    expect(check).toMatchObject({
      kind: 'done',
      status: 'check',
      sense,
      data: Buffer.from(data.subarray(0, 512)),
    });
    expect(played.senders[0]!.asked[0]).toMatchObject({
      operation: 'command',
      payload: read.cdb,
      dataBytes: 4096,
      timeoutMs: 10_000,
    });
    expect(played.senders).toHaveLength(1);
  });

  test('wait for each other', async () => {
    const seen: SgRecord[] = [];
    const played = play([{ serve: (record) => void seen.push(record) }]);
    const path = await played.open();
    void path.send(read);
    void path.send(read);
    await played.clock.advance(100);
    expect(seen).toHaveLength(1);
  });

  test("the kernel's own timeout is one, and the process stays", async () => {
    const played = play([{ serve: () => ({ hostStatus: 3 }) }]);
    const path = await played.open();
    expect(await played.clock.run(path.send(read))).toMatchObject({ kind: 'timeout' });
    expect(played.senders[0]!.isKilled).toBe(false);
  });

  test('one that does not come back is left behind with its process', async () => {
    const hang: PlayedPart = { serve: () => undefined, isImmortal: true };
    const played = play([hang, { serve: () => ({ data }) }]);
    const path = await played.open();
    const [hung, next] = [path.send(read), path.send(read)];
    expect(await played.clock.run(hung)).toEqual({
      kind: 'timeout',
      elapsedMs: 10_000 + kernelRecoveryMs,
    });
    expect(await played.clock.run(next)).toMatchObject({ kind: 'done', status: 'good' });
    expect(played.senders.map(({ isKilled }) => isKilled)).toEqual([true, false]);
  });

  test('beyond so many processes that hang, nothing is started any more', async () => {
    const played = play([{ serve: () => undefined, isImmortal: true }]);
    const path = await played.open();
    for (let count = 0; count < abandonedCountMax; count++)
      expect(await played.clock.run(path.send(read))).toMatchObject({ kind: 'timeout' });
    expect(await played.clock.run(path.send(read))).toMatchObject({ kind: 'gone' });
    expect(played.senders).toHaveLength(abandonedCountMax);
  });

  test('an abort ends what is under way and what waits', async () => {
    const played = play([{ serve: () => undefined }, { serve: () => ({ data }) }]);
    const path = await played.open();
    const both = [path.send(read), path.send(read)];
    await played.clock.advance(700);
    await path.reset('abort');
    const why = 'the command was given up';
    expect(await Promise.all(both)).toEqual([
      { kind: 'failed', why, elapsedMs: 700 },
      { kind: 'failed', why, elapsedMs: 0 },
    ]);
    expect(await played.clock.run(path.send(read))).toMatchObject({ status: 'good' });
  });

  test.each([
    [19, 'gone', undefined],
    [6, 'gone', undefined],
    [12, 'failed', 'the kernel does not take the command (ENOMEM)'],
  ])('error %d of ioctl is %s', async (errno, kind, why) => {
    const played = play([{ serve: () => ({ errno }) }]);
    const path = await played.open();
    expect(await played.clock.run(path.send(read))).toEqual({
      kind,
      ...(why && { why }),
      elapsedMs: 2,
    });
  });

  test("the kernel's filter makes a device that does not know the command, and is told of once", async () => {
    const played = play([{ serve: () => ({ errno: 1 }) }]);
    const path = await played.open();
    for (let count = 0; count < 2; count++) {
      const answer = await played.clock.run(path.send(read));
      expect(answer).toMatchObject({ kind: 'done', status: 'check' });
      expect(senseOf(answer.kind === 'done' ? answer.sense : data)?.sense).toEqual({
        key: 5,
        asc: 0x20,
        ascq: 0,
      });
    }
    expect(played.notices).toEqual([expect.stringContaining('ATA commands are for root')]);
  });

  test('what the process refuses is no answer of the drive', async () => {
    const played = play([{ serve: () => ({ refused: 'SCSI command 0x2a is not on the list' }) }]);
    const path = await played.open();
    await expect(played.clock.run(path.send(read))).rejects.toMatchObject({
      code: 'DEVICE_REFUSED',
      message: 'SCSI command 0x2a is not on the list',
    });
  });

  test('a process that ends by itself is a broken path, and the next command starts another', async () => {
    const played = play([{ serve: () => undefined }, { serve: () => ({ data }) }]);
    const path = await played.open();
    const sent = path.send(read);
    await played.clock.advance(1);
    played.senders[0]!.die();
    await expect(sent).rejects.toMatchObject({ code: 'LINK_CLOSED' });
    expect(await played.clock.run(path.send(read))).toMatchObject({ status: 'good' });
  });
});

describe('resets', () => {
  const kindsOf = (record: SgRecord | undefined) => [
    ...new Uint16Array(new Uint8Array(record?.payload ?? []).buffer),
  ];

  test('of a SCSI device: its own, then its target and bus, never the host adapter', async () => {
    const played = play([{}], [sas]);
    const path = await played.open();
    expect([...path.resets]).toEqual(['abort', 'soft', 'hard']);
    await played.clock.run(path.reset('soft'));
    await played.clock.run(path.reset('hard'));
    const [soft, hard] = played.senders[0]!.asked;
    expect([soft, hard].map(kindsOf)).toEqual([[0x101], [0x104, 0x102]]);
  });

  test('behind a USB adapter: the port', async () => {
    const played = play([{}], [usbDisk('1', 6, 'sg2')]);
    const path = await played.open();
    expect([...path.resets]).toEqual(['abort', 'hard']);
    await played.clock.run(path.reset('hard'));
    expect(kindsOf(played.senders[0]!.asked[0])).toEqual([0x104, 0x102]);
  });

  test('behind libata: the link, by another look at the port', async () => {
    const played = play([{}]);
    const path = await played.open();
    expect([...path.resets]).toEqual(['abort', 'hard']);
    await played.clock.run(path.reset('hard'));
    expect(operations(played.senders[0]!)).toEqual(['scan-host']);
    expect(played.senders[0]!.paths.scan).toBe(
      '/sys/devices/pci0000:00/0000:00:1f.2/ata1/host2/scsi_host/host2/scan',
    );
    // The device may have been found anew under its old name.
    await played.clock.run(path.send(read));
    expect(played.senders).toHaveLength(2);
  });

  test('are none for whoever is not root', async () => {
    const hello = { state: 'open', transferBytes: 131_072, mayReset: false } as const;
    const path = await play([{ hello }]).open();
    expect([...path.resets]).toEqual(['abort']);
    expect(path.transferBytesMax).toBe(131_072);
  });

  test.each([
    [5, 'EIO'],
    [11, 'the kernel is still at its own error handling'],
  ])('that fail by %d say why', async (errno, why) => {
    const played = play([{ serve: () => ({ errno }) }], [sas]);
    const path = await played.open();
    await expect(played.clock.run(path.reset('soft'))).rejects.toMatchObject({
      code: 'DEVICE_REFUSED',
      message: `sg:/dev/sg2: the soft reset did not bear: ${why}`,
    });
  });

  test('that do not end are left behind', async () => {
    const played = play([{ serve: () => undefined }], [sas]);
    const path = await played.open();
    await expect(played.clock.run(path.reset('hard'))).rejects.toThrow('it does not end');
    expect(played.clock.now()).toBe(resetTimeoutMs + kernelRecoveryMs);
    expect(played.senders[0]!.isKilled).toBe(true);
  });
});

describe('a device that went away', () => {
  const gone: PlayedPart = { serve: () => ({ errno: 19 }) };

  test('is found under another name', async () => {
    const played = play([gone, { serve: () => ({ data }) }], [usbDisk('1', 6, 'sg2')]);
    const path = await played.open();
    expect(await played.clock.run(path.send(read))).toMatchObject({ kind: 'gone' });
    played.devices.splice(0);
    expect(await path.isThere()).toBe(false);
    played.devices.push(usbDisk('1', 7, 'sg4'));
    expect(await path.isThere()).toBe(true);
    expect(await played.clock.run(path.send(read))).toMatchObject({ status: 'good' });
    expect(played.senders.map(({ paths }) => paths.node)).toEqual(['/dev/sg2', '/dev/sg4']);
    expect(played.notices).toEqual(['sg:/dev/sg2 is /dev/sg4 now']);
  });

  test('and came back under its old name is opened anew, once', async () => {
    const played = play([gone, { serve: () => ({ data }) }]);
    const path = await played.open();
    await played.clock.run(path.send(read));
    expect([await path.isThere(), await path.isThere()]).toEqual([true, true]);
    await played.clock.run(path.send(read));
    await path.isThere();
    await played.clock.run(path.send(read));
    expect(played.senders).toHaveLength(2);
  });

  test('whose node is not there yet is still gone', async () => {
    const played = play([gone, { hello: { state: 'refused', errno: 2 } }]);
    const path = await played.open();
    await played.clock.run(path.send(read));
    await path.isThere();
    expect(await played.clock.run(path.send(read))).toMatchObject({ kind: 'gone' });
  });

  test('by word of the kernel alone is taken back, not more often than every ten seconds', async () => {
    const device = { ...sata, attributes: { ...sata.attributes, state: 'offline\n' } };
    const played = play([gone], [device]);
    const path = await played.open();
    await played.clock.run(path.send(read));
    expect(await played.clock.run(path.isThere())).toBe(false);
    expect(await played.clock.run(path.isThere())).toBe(false);
    await played.clock.advance(10_000);
    played.devices[0] = sata;
    expect(await played.clock.run(path.isThere())).toBe(true);
    expect(played.senders.flatMap(operations)).toEqual(['command', 'go-online']);
    expect(played.senders[1]!.paths.state).toBe(`${sata.device}/state`);
    expect(played.notices).toHaveLength(1);
  });
});

describe('opening', () => {
  const opening = (part: PlayedPart) => play([part]).open();

  test.each([
    [{ state: 'no-library', why: 'no koffi' }, 'TOOL_MISSING', /npm install koffi.*no koffi/],
    [{ state: 'refused', errno: 13 }, 'DRIVE_OPEN_FAILED', /use `sudo`, or join its group/],
    [{ state: 'refused', errno: 6 }, 'DRIVE_OPEN_FAILED', /cannot be opened \(ENXIO\)/],
    [{ state: 'other-kind' }, 'DRIVE_OPEN_FAILED', /no \/dev\/sg node/],
  ] as const)('%j is %s', async (hello, code, message) => {
    await expect(opening({ hello })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test.each([
    ['', 'DRIVE_UNKNOWN'],
    ['/dev/no-such-node', 'DRIVE_OPEN_FAILED'],
    ['/dev/null', 'DRIVE_UNKNOWN'],
    [import.meta.filename, 'DRIVE_UNKNOWN'],
  ])("the system's own '%s' is %s", async (path, code) => {
    await expect(openSgPath(path, realClock())).rejects.toMatchObject({ code });
  });
});

describe('the sending process itself', () => {
  test.each([
    ['/dev/null', { code: 'DRIVE_OPEN_FAILED', message: expect.stringContaining('no /dev/sg') }],
    ['/dev/no-such-node', { message: expect.stringContaining('ENOENT') }],
  ])('opens nothing but nodes: %s', async (node, error) => {
    const opening = openSgPath(node, realClock(), {
      sysfs: sysfsWith(sata),
      lookUp: () => ({ path: '/dev/sg2', kind: 'character', major: 21, minor: 2 }),
      spawn: (paths) => spawnSender({ ...paths, node }),
    });
    await expect(opening).rejects.toMatchObject(error);
  });
});
