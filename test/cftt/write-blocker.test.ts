/** What NIST asks of write blockers, asked of the imager path (HWB) and of what is done about drives of this computer
 * (SWB). Lists of commands are written out here: nothing is taken from the list that the product goes by. */

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { createCaller } from '../../firmware-protocol/caller.js';
import { commands } from '../../firmware-protocol/commands.js';
import { decodeHeader, encodeMessage } from '../../firmware-protocol/message.js';
import { serveImager } from '../../firmware-protocol/responder.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { createCommander } from '../../src/drive/scsi/commander.js';
import { createScsiDrive } from '../../src/drive/scsi/drive.js';
import { statuses } from '../../src/map/status.js';
import { type Running, run, start, temporaryFolder } from '../cli/cli.js';
import {
  ataSense,
  check,
  fixedSense,
  good,
  identifyOf,
  type PlayedDrive,
  playedPath,
  sectorsOf,
} from '../drive/scsi/played-path.js';
import { createFakeImager, createLine } from '../firmware-protocol/fake-imager.js';
import { claimsIn } from './claim.js';
import { cmp, loopDevice, mib, needsLoop, platters, sha256sum } from './drives.js';
import { type UsbJob, usbJob } from './usb-job.js';

const bytes = Array.from({ length: 256 }, (_, value) => value);
const hex = (value: number) => value.toString(16).padStart(2, '0');

/** SCSI commands that only read or ask (SPC-4, SBC-3); of START STOP UNIT what spins. */
const scsiReading = [
  ...[0x00, 0x03, 0x08, 0x12, 0x1a, 0x1b, 0x25, 0x28, 0x4d, 0x5a, 0x88, 0x9e, 0xa0, 0xa8],
];
/** ATA commands that only read, ask, or put the drive to rest (ACS-3). */
const ataReading = [
  ...[0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x27, 0x29, 0x2f, 0x40, 0x41, 0x42, 0x47, 0xa1],
  ...[0xb0, 0xb1, 0xc4, 0xc8, 0xc9, 0xe0, 0xe1, 0xe4, 0xe5, 0xec, 0xef, 0xf8],
];
const scsiModifying = {
  'FORMAT UNIT': 0x04,
  'REASSIGN BLOCKS': 0x07,
  'WRITE (6)': 0x0a,
  'MODE SELECT (6)': 0x15,
  ERASE: 0x19,
  'WRITE (10)': 0x2a,
  'WRITE AND VERIFY (10)': 0x2e,
  'WRITE BUFFER': 0x3b,
  'WRITE LONG (10)': 0x3f,
  'WRITE SAME (10)': 0x41,
  UNMAP: 0x42,
  SANITIZE: 0x48,
  'LOG SELECT': 0x4c,
  'MODE SELECT (10)': 0x55,
  'PERSISTENT RESERVE OUT': 0x5f,
  'EXTENDED COPY': 0x83,
  'COMPARE AND WRITE': 0x89,
  'WRITE (16)': 0x8a,
  'WRITE AND VERIFY (16)': 0x8e,
  'WRITE SAME (16)': 0x93,
  'WRITE (12)': 0xaa,
  'SECURITY PROTOCOL OUT': 0xb5,
} as const;
const ataModifying = {
  'DATA SET MANAGEMENT (TRIM)': 0x06,
  'WRITE SECTORS': 0x30,
  'WRITE SECTORS EXT': 0x34,
  'WRITE DMA EXT': 0x35,
  'SET MAX ADDRESS EXT': 0x37,
  'WRITE MULTIPLE EXT': 0x39,
  'WRITE LOG EXT': 0x3f,
  'WRITE UNCORRECTABLE EXT': 0x45,
  'FORMAT TRACK': 0x50,
  'WRITE FPDMA QUEUED': 0x61,
  'DOWNLOAD MICROCODE': 0x92,
  'SANITIZE DEVICE': 0xb4,
  'WRITE MULTIPLE': 0xc5,
  'WRITE DMA': 0xca,
  'WRITE BUFFER': 0xe8,
  'SECURITY SET PASSWORD': 0xf1,
  'SECURITY ERASE UNIT': 0xf4,
  'SET MAX ADDRESS': 0xf9,
} as const;

/** By the group in the top three bits (SPC-4); where a group has no length, several. */
function lengthsOf(opcode: number): readonly number[] {
  const byGroup = [[6], [10], [10], [6, 10, 12, 16, 32], [16], [12], [6, 10, 16], [6, 10, 16]];
  return byGroup[opcode >> 5]!;
}

const scsiOf = (opcode: number): Uint8Array[] =>
  lengthsOf(opcode).map((length) => {
    const cdb = new Uint8Array(length);
    cdb[0] = opcode;
    // READ CAPACITY (16) is the one service action that is let through.
    if (opcode === 0x9e) cdb[1] = 0x10;
    return cdb;
  });

/** An ATA command in both pass-throughs, by protocols of each direction, with and without data, either way. */
function ataOf(command: number): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (const protocol of [0, 3, 4, 5, 6, 10, 12, 15])
    for (const transfer of [0x00, 0x06, 0x0e])
      for (const features of command === 0xb0 || command === 0xef || command === 0xb1
        ? bytes
        : [0]) {
        const [long, short] = [new Uint8Array(16), new Uint8Array(12)];
        long.set([0x85, protocol << 1, transfer]);
        short.set([0xa1, protocol << 1, transfer, features]);
        [long[4], long[10], long[12], long[14]] = [features, 0x4f, 0xc2, command];
        [short[6], short[7], short[9]] = [0x4f, 0xc2, command];
        all.push(long, short);
      }
  return all;
}

const everyCdb = [
  ...bytes.filter((opcode) => opcode !== 0x85 && opcode !== 0xa1).flatMap(scsiOf),
  ...bytes.flatMap(ataOf),
];

/** What a command is, for lists: `2a`, or `ata 35`. */
function nameOf(cdb: Uint8Array): string {
  if (cdb[0] === 0x85) return `ata ${hex(cdb[14]!)}`;
  return cdb[0] === 0xa1 ? `ata ${hex(cdb[9]!)}` : hex(cdb[0]!);
}

const reading = new Set([
  ...scsiReading.map(hex),
  ...ataReading.map((command) => `ata ${hex(command)}`),
]);

/** Of commands with subcommands, those that change nothing that outlasts the power. */
const subcommands: Record<string, readonly number[]> = {
  'ata b0': [0xd0, 0xd1, 0xd5, 0xda],
  'ata b1': [0xc2],
  'ata ef': [0x55, 0xaa],
};

/** Throws unless what got through only reads; returns how many of each kind did. */
function expectOnlyReading(passed: readonly Uint8Array[]): string {
  const names = new Set(passed.map(nameOf));
  for (const name of names) expect(reading).toContain(name);
  for (const code of Object.values(scsiModifying)) expect(names).not.toContain(hex(code));
  for (const code of Object.values(ataModifying)) expect(names).not.toContain(`ata ${hex(code)}`);
  for (const cdb of passed) {
    const allowed = subcommands[nameOf(cdb)];
    if (allowed) expect(allowed).toContain(cdb[0] === 0x85 ? cdb[4] : cdb[3]);
    // Data to the drive: T_LENGTH without T_DIR.
    if (cdb[0] === 0x85 || cdb[0] === 0xa1)
      expect([cdb[2]! & 0x03, cdb[2]! & 0x08]).not.toEqual([2, 0]);
  }
  const ata = [...names].filter((name) => name.startsWith('ata'));
  return `${names.size - ata.length} of 254 SCSI operation codes and ${ata.length} of 256 ATA commands pass, all of which only read`;
}

const blockedText = `${Object.keys(scsiModifying).length} SCSI and ${Object.keys(ataModifying).length} ATA commands that modify, by name: none passes`;

describe('commands blocked', () => {
  claimsIn('HWB', 'LAPTOP')('HWB-01', async ({ said }) => {
    const path = playedPath({ intercept: () => good() });
    const commander = createCommander(path, createVirtualClock());
    for (const cdb of everyCdb) {
      const error = await commander.send(cdb, 512, 1000).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (error !== undefined) expect(error).toMatchObject({ code: 'DEVICE_REFUSED' });
    }
    said.push(`the laptop’s end, ${everyCdb.length} commands`);
    said.push(expectOnlyReading(path.sent.map(({ cdb }) => cdb)));
    said.push(blockedText);
  });

  claimsIn('HWB', 'IMAGER')('HWB-01', async ({ said }) => {
    const reached: Uint8Array[] = [];
    const clock = createVirtualClock();
    const none = new Uint8Array();
    const device = createFakeImager(clock, {
      passthrough: async ({ cdb }) => {
        reached.push(cdb.slice());
        return { outcome: 'good', scsiStatus: 0, sense: none, data: none, elapsedMicros: 1 };
      },
    });
    const line = createLine(clock);
    serveImager(line.device, device, clock);
    const { code, request } = commands.passthrough;
    // The laptop's own gate is passed by: messages go straight onto the line.
    await clock.run(
      (async () => {
        const laptop = await createCaller(line.laptop, clock, { session: 5 });
        for (const [index, cdb] of everyCdb.entries()) {
          const message = { timeoutMs: 1000, cdb, lengthMax: 0 };
          line.laptop.send(encodeMessage(code, 0x10_0000 + index, request, message));
          await clock.sleep(2);
        }
        laptop.close();
      })(),
    );
    said.push(`the imager’s end, by a laptop that sends anything, ${everyCdb.length} commands`);
    said.push(expectOnlyReading(reached));
    said.push(blockedText);
  });

  claimsIn('HWB', 'PROTOCOL')('HWB-01', async ({ said }) => {
    const carrying = Object.values(commands).filter(({ request }) =>
      Object.values(request.fields).some(({ type }) => type === 'bytes'),
    );
    const names = Object.keys(commands).sort();
    expect(names).toEqual([
      ...['abort', 'hello', 'identify', 'limits', 'park', 'passthrough', 'power', 'read'],
      ...['resend', 'reset', 'status', 'throttle', 'watchdog'],
    ]);
    expect(carrying.map(({ name }) => name)).toEqual(['passthrough']);
    const known = new Set(Object.values(commands).map((command) => command.code));
    const clock = createVirtualClock();
    const device = createFakeImager(clock);
    const line = createLine(clock);
    serveImager(line.device, device, clock);
    const answers: number[] = [];
    await clock.run(
      (async () => {
        const laptop = await createCaller(line.laptop, clock, { session: 5 });
        line.laptop.onMessage((message) => answers.push(decodeHeader(message).code));
        const unknown = bytes.filter((code) => code !== 0 && code < 0x40 && !known.has(code));
        for (const code of unknown) {
          const message = new Uint8Array(600).fill(0x55);
          message.set([code, code, 0, 0, 1]);
          line.laptop.send(message);
          await clock.sleep(5);
        }
        expect(answers).toEqual(unknown.map((code) => code | 0x80));
        laptop.close();
      })(),
    );
    expect([device.done, device.reads]).toEqual([[], []]);
    said.push(
      `of ${names.length} messages to the imager none carries data for the drive; ${answers.length} unknown ones are refused and reach nothing`,
    );
  });
});

/** A drive on which everything is tried: aborts, resets, power cycles, retries. */
const bad = [{ lba: 3000, count: 5 }] as const;
let ill: UsbJob;
let folder: string;
let source: string;
beforeAll(async () => {
  folder = temporaryFolder();
  source = platters(join(folder, 'platters'), 41, 16_384 * 512);
  ill = await usbJob({
    sectorCount: 16_384,
    contents: { file: source },
    identity: { model: 'ACME ILL', serial: 'W-1', firmware: '3.2' },
    faults: [
      ...bad.map((hole) => ({ kind: 'bad' as const, ...hole, errorMs: 200 })),
      { kind: 'slow', lba: 2000, count: 300, extraMs: 40 },
      { kind: 'hang', lba: 6000, until: 'soft-reset', times: 1 },
      { kind: 'hang', lba: 9000, until: 'power-cycle', times: 1 },
    ],
  });
});

describe('a job over USB on a drive that fails and hangs', () => {
  const claim = claimsIn('HWB', 'USB');
  claim('HWB-01', ({ said }) => {
    expect(ill.end).toMatchObject({ how: 'finished' });
    expect(ill.drive.counters.powerOns).toBeGreaterThan(1);
    expect(ill.sent).toHaveLength(ill.disk.counters.commands);
    expectOnlyReading(ill.sent);
    expect(ill.dataOut).toEqual([]);
    expect(ill.disk.counters.writesRefused).toBe(0);
    const names = [...new Set(ill.sent.map(nameOf))].sort();
    said.push(
      `${ill.sent.length} commands on the wire, resets and a power cycle included: ${names.join(', ')}; no data for the drive`,
    );
  });
  claim('HWB-02', ({ said }) => {
    const image = join(folder, 'usb.img');
    writeFileSync(image, ill.image);
    let at = 0;
    for (const { lba, count } of [...bad, { lba: 16_384, count: 0 }]) {
      const stretch = { from: [at * 512, at * 512] as const, byteCount: (lba - at) * 512 };
      expect(cmp(source, image, stretch)).toBe('');
      at = lba + count;
    }
    expect(ill.state.plan.map.countOf(statuses.finished)).toBe(16_384 - 5);
    said.push(`cmp finds no difference in the ${16_384 - 5} sectors that can be read`);
  });
  claim('HWB-04', ({ said }) => {
    const lost = [...ill.state.plan.map.runs()].filter(
      ({ value }) => value === statuses['bad-sector'],
    );
    expect(lost.map(({ lba, count }) => ({ lba, count }))).toEqual(bad);
    const told = ill.events.flatMap((event) =>
      event.kind === 'read' && event.outcome === 'fault' && event.sense ? [event] : [],
    );
    expect(told.length).toBeGreaterThan(0);
    for (const { sense } of told) expect(sense).toEqual({ key: 3, asc: 0x11, ascq: 0 });
    said.push('LBA 3000-3004 bad in the map; sense 03/11/00 in the event of every failing read');
  });
});

describe('reads allowed', () => {
  claimsIn('HWB', 'READS')('HWB-02', async ({ said }) => {
    const clock = createVirtualClock();
    const path = playedPath({ sectorCount: 5_000_000_000, sectorBytes: 512 });
    const drive = createScsiDrive(path, clock);
    await clock.run(
      (async () => {
        await drive.identify();
        const places = [0, 1, 0xffff_fff0, 0x1_0000_0000, 4_999_999_999 - 128];
        for (const lba of places)
          for (const count of [1, 7, 128]) {
            const stopOn = { fault: false, slow: false, timeout: false };
            const extent = { lba, count };
            const result = await drive.read({
              extent,
              timeoutMs: 9000,
              slowMs: 0,
              stopOn,
              batch: 0,
            });
            expect(result.kind).toBe('good');
            expect(Buffer.compare(result.data, sectorsOf(lba, count))).toBe(0);
          }
      })(),
    );
    said.push('reads of 1, 7 and 128 sectors at both ends of a 2.5 TB drive and about LBA 2^32');
  });
});

const told: readonly Partial<PlayedDrive>[] = [
  { model: 'ACME 1', serial: 'A-1', sectorCount: 1000, physicalSectorBytes: 512 },
  { model: 'ACME 4K', serial: 'A-2', sectorCount: 976_773_168, physicalSectorBytes: 4096 },
  { model: 'ACME BIG', serial: 'A-3', sectorCount: 35_156_656_128, physicalSectorBytes: 4096 },
  {
    ...{ model: 'ACME 4KN', serial: 'A-4', sectorCount: 2_929_721_344 },
    ...{ sectorBytes: 4096, physicalSectorBytes: 4096 },
  },
];

describe('information unmodified', () => {
  claimsIn('HWB', 'IDENTITY')('HWB-03', async ({ said }) => {
    for (const changes of told) {
      const clock = createVirtualClock();
      const path = playedPath(changes);
      const drive = createScsiDrive(path, clock);
      const identity = await clock.run(drive.identify());
      expect(identity).toMatchObject(changes);
      const commander = createCommander(path, clock);
      const cdb = new Uint8Array(16);
      cdb.set([0x85, 0x08, 0x0e]);
      [cdb[6], cdb[14]] = [1, 0xec];
      const answer = await clock.run(commander.send(cdb, 512, 1000));
      const data = answer.kind === 'good' ? answer.value.data : new Uint8Array();
      expect(Buffer.compare(data, identifyOf(path.drive))).toBe(0);
    }
    said.push(
      `model, serial number, capacity and sector sizes of ${told.length} drives (1000 sectors to 18 TB, 512 and 4096 bytes) as they told them; IDENTIFY DEVICE byte by byte`,
    );
  });
});

/** Sense data as drives send it, and what of it must be told. */
const senses = [
  ['medium error', fixedSense(3, 0x11, 0, 5), { key: 3, asc: 0x11, ascq: 0 }],
  ['id not found', fixedSense(3, 0x14, 1, 5), { key: 3, asc: 0x14, ascq: 1 }],
  ['hardware error', fixedSense(4, 0x44), { key: 4, asc: 0x44, ascq: 0 }],
  ['illegal request', fixedSense(5, 0x21), { key: 5, asc: 0x21, ascq: 0 }],
  ['aborted command', fixedSense(0x0b, 0x47, 3), { key: 0x0b, asc: 0x47, ascq: 3 }],
  [
    'ATA registers, UNC',
    ataSense([3, 0x11, 4], { status: 0x51, error: 0x40, lba: 5 }),
    { key: 3, asc: 0x11, ascq: 4 },
  ],
] as const;

describe('errors returned', () => {
  claimsIn('HWB', 'SENSE')('HWB-04', async ({ said }) => {
    for (const [, data, sense] of senses) {
      const clock = createVirtualClock();
      const isRead = (cdb: Uint8Array) => cdb[0] === 0x28 || cdb[0] === 0x88;
      const path = playedPath({
        ataForms: [],
        intercept: ({ cdb }) => (isRead(cdb) ? check(data) : undefined),
      });
      const drive = createScsiDrive(path, clock);
      const result = await clock.run(
        (async () => {
          await drive.identify();
          const stopOn = { fault: false, slow: false, timeout: false };
          const extent = { lba: 0, count: 8 };
          return drive.read({ extent, timeoutMs: 9000, slowMs: 0, stopOn, batch: 0 });
        })(),
      );
      expect(result).toMatchObject({ kind: 'fault', fault: { sense } });
      if (sense.key === 3) expect(result.fault?.lba).toBe(5);
    }
    said.push(`${senses.map(([what]) => what).join(', ')}: key, ASC, ASCQ and failing LBA as sent`);
  });
});

/** The processes below one, itself included. */
function familyOf(pid: number): number[] {
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const [, parent] = /\) \S+ (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'latin1')) ?? [];
        return Number(parent) === pid;
      } catch {
        return false;
      }
    });
  return [pid, ...children.flatMap((child) => familyOf(Number(child)))];
}

/** Flags of every descriptor that a process and its children have on a file. */
function flagsOn(pid: number, path: string): number[] {
  return familyOf(pid).flatMap((each) => {
    try {
      return readdirSync(`/proc/${each}/fd`)
        .filter((name) => readlinkSync(`/proc/${each}/fd/${name}`) === path)
        .map((name) => {
          const text = readFileSync(`/proc/${each}/fdinfo/${name}`, 'latin1');
          return Number.parseInt(/^flags:\s+(\d+)/m.exec(text)?.[1] ?? 'NaN', 8);
        });
    } catch {
      return [];
    }
  });
}

const attempt = (command: string, ...args: string[]) =>
  spawnSync(command, args, { encoding: 'utf8' });

describe.skipIf(needsLoop())('a block device of this computer, while it is imaged', () => {
  const claim = claimsIn('SWB', 'BLOCK');
  let job: Running;
  let device: string;
  let other: string;
  let swbSource: string;
  let before: string;
  beforeAll(async () => {
    const own = temporaryFolder();
    swbSource = platters(join(own, 'platters'), 42, 2 * mib);
    const otherFile = join(own, 'other');
    writeFileSync(otherFile, '');
    truncateSync(otherFile, mib);
    [device, other] = [loopDevice(swbSource), loopDevice(otherFile)];
    before = sha256sum(swbSource);
    const image = ['image', device, join(own, 'case.img'), '--max-rate', '20000'];
    job = start([...image, '--preset', 'standard']);
    await job.saw(/pass 1:/);
  });
  afterAll(async () => {
    job.process.kill('SIGINT');
    await job.finished;
  });

  const write = (to: string) =>
    attempt('dd', 'if=/dev/urandom', `of=${to}`, 'bs=4096', 'count=1', 'conv=fsync,notrunc');

  claim('SWB-01', (finding) => {
    const { status, stderr } = write(device);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/not permitted|Read-only/);
    expect(attempt('mount', device, temporaryFolder()).status).not.toBe(0);
    expect(attempt('mke2fs', '-q', '-F', device).status).not.toBe(0);
    const flags = flagsOn(job.process.pid!, device);
    expect(flags.length).toBeGreaterThan(0);
    for (const each of flags) expect(each & 0o3).toBe(0);
    expect(sha256sum(swbSource)).toBe(before);
    finding.said.push('dd, mount and mke2fs are refused by the kernel; SHA-256 as before');
    finding.said.push('the tool itself has the device open for reading only');
    finding.qualified =
      'by the kernel’s read-only flag and an exclusive hold: root can lift the flag (blockdev --setrw), and commands past the block layer are not seen by it; the tool says isWriteBlocked: false';
  });
  claim('SWB-02', ({ said }) => {
    expect(cmp(device, swbSource)).toBe('');
    expect(attempt('blockdev', '--getsize64', device).stdout.trim()).toBe(String(2 * mib));
    said.push('cmp reads all of it meanwhile, and blockdev its size');
  });
  claim('SWB-03', async ({ said }) => {
    expect(write(other).status).toBe(0);
    job.process.kill('SIGINT');
    expect((await job.finished).status).toBe(130);
    expect(attempt('blockdev', '--getro', device).stdout.trim()).toBe('0');
    expect(sha256sum(swbSource)).toBe(before);
    expect(write(device).status).toBe(0);
    said.push('another device takes writes meanwhile; the source is writable again afterwards');
  });
});

describe.skipIf(process.platform !== 'linux')('a plain file', () => {
  claimsIn('SWB', 'FILE')('SWB-01', async ({ said }) => {
    const own = temporaryFolder();
    const path = platters(join(own, 'platters'), 43, 2 * mib);
    const before = sha256sum(path);
    const job = start(['image', path, join(own, 'case.img'), '--max-rate', '20000']);
    await job.saw(/pass 1:/);
    const flags = flagsOn(job.process.pid!, path);
    expect(flags.length).toBeGreaterThan(0);
    for (const each of flags) expect(each & 0o3).toBe(0);
    job.process.kill('SIGINT');
    await job.finished;
    expect(await run(['identify', path, '--triage'])).toMatchObject({ status: 0 });
    expect(sha256sum(path)).toBe(before);
    said.push('every descriptor on it, of the tool and its processes, is open for reading only');
  });
});
