import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  caseNameOf,
  fittingBytes,
  lookAtTarget,
  refuseOwnSerial,
  refuseTarget,
  refuseWithoutWord,
  remarksOn,
  requireOverwrite,
  requireSameTarget,
  type Target,
} from '../../src/cli/target-guard.js';
import { blockDevices } from '../../src/host/block-devices.js';
import { addUsbDisk, type PlayedHost, withSataDisk } from './played-host.js';

const virtual = '/sys/devices/virtual/block';

/** The computer's disk `sda` with the system on its first partition, and `sdb` behind an adapter. */
function laptop(): PlayedHost {
  const host = withSataDisk();
  host.mount('sda1', '/');
  addUsbDisk(host, 'sdb', '8:16');
  host.add('sdc', { number: '8:32', directory: `${virtual}/sdc` });
  return host;
}

const device = (host: PlayedHost, name: string) => blockDevices(host).get(name)!;
const spared = { files: ['/cases/case.map'] };

describe('a target is not overwritten', () => {
  test.each<[string, string, (host: PlayedHost) => void, RegExp]>([
    [
      'when it is mounted',
      '/dev/sdb',
      (host) => host.mount('sdb', '/mnt'),
      /mounted at \/mnt; free it first: umount/,
    ],
    ['when the system is on it', '/dev/sda', () => {}, /\/dev\/sda1 is mounted at \//],
    [
      'when the system is on its disk',
      '/dev/sda2',
      () => {},
      /the running system is on its disk \(\/\)/,
    ],
    [
      'when something is made of it',
      '/dev/sdb',
      (host) => host.add('md0', { number: '9:0', directory: `${virtual}/md0`, madeOf: ['sdb'] }),
      /part of \/dev\/md0 \(RAID\)/,
    ],
    [
      'when it is swap space',
      '/dev/sdb',
      (host) => host.files.set('/proc/swaps', 'Filename Type\n/dev/sdb partition 1 0 -2\n'),
      /swap space/,
    ],
    [
      'when the case is on its disk',
      '/dev/sdd2',
      (host) => {
        host.add('sdd', { number: '8:48', directory: `${virtual}/sdd` });
        for (const partition of [1, 2])
          host.add(`sdd${partition}`, {
            number: `8:${48 + partition}`,
            directory: `${virtual}/sdd`,
            partition,
          });
        host.mount('sdd1', '/cases');
      },
      /\/cases\/case\.map is on its disk/,
    ],
    [
      'when it is read-only',
      '/dev/sdd',
      (host) => host.add('sdd', { number: '8:48', directory: `${virtual}/sdd`, isReadOnly: true }),
      /set read-only/,
    ],
  ])('%s', (_what, path, prepare, why) => {
    const host = laptop();
    prepare(host);
    expect(() => refuseTarget(path, spared, host)).toThrow(why);
  });

  test('when it is the drive, its disk, a partition of it, or a neighbour of that', () => {
    const host = laptop();
    host.add('sdc1', { number: '8:33', directory: `${virtual}/sdc`, partition: 1 });
    host.add('sdc2', { number: '8:34', directory: `${virtual}/sdc`, partition: 2 });
    for (const [source, target] of [
      ['sdc', 'sdc'],
      ['sdc', 'sdc1'],
      ['sdc1', 'sdc'],
      ['sdc1', 'sdc2'],
    ] as const) {
      const sources = [device(host, source)];
      const act = () => refuseTarget(`/dev/${target}`, { ...spared, sources }, host);
      expect(act, `${source} onto ${target}`).toThrow(/it is the drive itself, or on one disk/);
    }
    refuseTarget('/dev/sdc', { ...spared, sources: [device(host, 'sdb')] }, host);
  });

  test('when it has the serial number of the drive that answers by another way', () => {
    const drive = { serial: 'WD-1', model: 'x', firmware: '', sectorCount: 9, sectorBytes: 512 };
    const found = { ...drive, physicalSectorBytes: 512 };
    const withSerial = (serial: string) => targetOf({ serial });
    expect(() => refuseOwnSerial(withSerial('WD-1'), found)).toThrow(
      /serial number of the drive itself/,
    );
    expect(() => refuseOwnSerial(withSerial('WD-1-part2'), found)).toThrow(/itself/);
    refuseOwnSerial(withSerial('WD-2'), found);
    refuseOwnSerial(withSerial(''), { ...found, serial: '' });
  });
});

function targetOf(change: Partial<Target['identity']> = {}, path = '/dev/sdb'): Target {
  const identity = {
    model: 'WDC WD10',
    serial: 'WD-1',
    sizeBytes: 1e9,
    sectorBytes: 512,
    ...change,
  };
  return { path, identity, word: identity.serial || path };
}

describe('the go-ahead', () => {
  const ask = async () => true;

  test('is the serial number, or a yes at the terminal; no other word', async () => {
    const target = targetOf();
    refuseWithoutWord(target, { overwrite: 'WD-1' });
    refuseWithoutWord(target, { ask });
    for (const overwrite of ['yes', '', '/dev/sdb', 'wd-1'])
      expect(() => refuseWithoutWord(target, { overwrite, ask })).toThrow(/with --overwrite WD-1/);
    expect(() => refuseWithoutWord(target, {})).toThrow(/all data on \/dev\/sdb would be lost/);
    refuseWithoutWord(targetOf({ serial: '' }), { overwrite: '/dev/sdb' });
  });

  test('comes after both were named', async () => {
    const said: string[] = [];
    const asked: string[] = [];
    const refusing = {
      say: (line: string) => said.push(line),
      ask: async (question: string) => {
        asked.push(question);
        return false;
      },
    };
    await expect(
      requireOverwrite(targetOf(), 'sg:/dev/sg2, ST1000 S1, 1.00 TB', refusing),
    ).rejects.toThrow(/not overwritten without a yes/);
    expect(said.join('\n')).toMatch(/ST1000 S1.*\n.*WDC WD10 WD-1, 1\.00 GB .*will be overwritten/);
    expect(asked).toEqual(['Overwrite /dev/sdb (WD-1)?']);
  });
});

describe('what a target has room for', () => {
  test('too little is refused unless it may be truncated, and then it is said', () => {
    expect(fittingBytes(targetOf(), 1e9, false)).toBe(1e9);
    expect(() => fittingBytes(targetOf(), 1e9 + 512, false)).toThrow(/512 too few.*--truncate/);
    expect(fittingBytes(targetOf(), 2e9, true)).toBe(1e9);
    expect(remarksOn(targetOf(), { sizeBytes: 1e9 + 512, sectorBytes: 512 })).toEqual([
      expect.stringMatching(/truncated: the last 512 of 1000000512 bytes/),
    ]);
    expect(remarksOn(targetOf(), { sizeBytes: 1e9, sectorBytes: 4096 })).toEqual([
      expect.stringMatching(/sectors of 512 bytes, the drive of 4096.*partition table/),
    ]);
  });

  test('its case is named by it', () => {
    expect(caseNameOf(targetOf({ model: 'WDC  WD10/EZ' }))).toBe('WDC_WD10_EZ_WD-1');
    expect(caseNameOf(targetOf({ model: 'block device', serial: '' }, '/dev/loop3'))).toBe('loop3');
    expect(caseNameOf(targetOf({ model: 'file', serial: '/a/b c' }))).toBe('b_c');
  });
});

test('a target that another has taken the place of is noticed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-target-'));
  const path = join(folder, 'target');
  writeFileSync(path, new Uint8Array(4096));
  const target = await lookAtTarget(path);
  await requireSameTarget(target);
  writeFileSync(path, new Uint8Array(8192));
  await expect(requireSameTarget(target)).rejects.toThrow(
    /8192 bytes\): before, it was .*4096 bytes/,
  );
  rmSync(folder, { recursive: true });
});
