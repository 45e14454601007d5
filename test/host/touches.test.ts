import { describe, expect, test } from 'vitest';
import { blockDevices } from '../../src/host/block-devices.js';
import { touchesOf } from '../../src/host/touches.js';
import { accessRule, keepAwayRule } from '../../src/host/udev.js';
import { addUsbDisk, type PlayedHost, playedHost, withSataDisk } from './played-host.js';

function touchesIn(host: PlayedHost, name = 'sda') {
  const devices = blockDevices(host);
  return touchesOf(host, devices.get(name)!, devices);
}

function ruleFor(host: PlayedHost, name = 'sda') {
  const devices = blockDevices(host);
  return keepAwayRule(host, devices, devices.get(name)!);
}

describe('what could touch a drive', () => {
  test('nothing, as long as only harmless programs run', () => {
    const host = withSataDisk();
    host.run('bash', 'systemd-udevd', 'ModemManager');
    expect(touchesIn(host)).toEqual([]);
  });

  test('udisks, unless udev was told to keep it away', () => {
    const host = withSataDisk();
    host.run('bash', 'udisksd');
    expect(touchesIn(host)).toMatchObject([
      { about: '/dev/sda', what: 'is watched by udisks', rule: { text: ruleFor(host).rule } },
    ]);
    host.note('sda', 'UDISKS_IGNORE=0', 'ID_BUS=ata');
    expect(touchesIn(host)).toHaveLength(1);
    host.note('sda', 'ID_BUS=ata', 'UDISKS_IGNORE=1');
    expect(touchesIn(host)).toEqual([]);
  });

  test('smartd, whatever udev was told', () => {
    const host = withSataDisk();
    host.run('smartd');
    host.note('sda', 'UDISKS_IGNORE=1');
    expect(touchesIn(host)).toMatchObject([{ what: 'is watched by smartd' }]);
  });

  test.each([
    ['linux_raid_member', '64-md-raid-assembly.rules', 'RAID'],
    ['LVM2_member', '69-lvm.rules', 'LVM'],
    ['LVM2_member', '69-dm-lvm-metad.rules', 'LVM'],
  ])('%s, where %s is there', (contents, rules, name) => {
    const host = withSataDisk();
    host.note('sda2', `ID_FS_TYPE=${contents}`);
    expect(touchesIn(host)).toEqual([]);
    host.files.set(`/usr/lib/udev/rules.d/${rules}`, '');
    expect(touchesIn(host)).toMatchObject([
      { about: '/dev/sda2', what: expect.stringContaining(`a part of ${name}`) },
    ]);
    host.note('sda2', `ID_FS_TYPE=${contents}`, 'SYSTEMD_READY=0');
    expect(touchesIn(host)).toEqual([]);
  });

  test('a place that mounts it as soon as somebody looks', () => {
    const host = withSataDisk();
    host.files.set('/etc/fstab', '# old\nUUID=12-34 /old ext4 noauto,x-systemd.automount 0 0\n');
    host.links.set('/dev/disk/by-uuid/12-34', '/dev/sda1');
    expect(touchesIn(host)).toEqual([]);
    host.mounts.push('50 1 0:50 / /old rw - autofs systemd-1 rw,fd=51');
    expect(touchesIn(host)).toMatchObject([
      { about: '/dev/sda1', what: expect.stringContaining('/old') },
    ]);
  });

  test('what else goes on on the drive of a partition', () => {
    const host = withSataDisk();
    host.mount('sda2', '/');
    expect(touchesIn(host, 'sda1')).toMatchObject([
      { about: '/dev/sda1', what: 'is on a drive that is at work: /dev/sda2 is mounted at /' },
    ]);
  });
});

describe('the rule that keeps the system away', () => {
  test('a SATA drive, by the name that it has anywhere', () => {
    const { rule, link } = ruleFor(withSataDisk());
    expect(rule).toContain('ATTRS{wwid}=="t10.ATA     ST1000DM003-1CH162');
    expect(link).toBe('/dev/lastspin/ST1000DM003-1CH162_S1DABCDE');
    expect(rule).toContain('ENV{UDISKS_IGNORE}="1"');
    expect(rule).toContain('--setro');
    expect(ruleFor(withSataDisk(), 'sda2')).toEqual({ rule, link });
  });

  test('behind a USB adapter, by the adapter: there is no other name without asking the drive', () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16');
    const { rule, link } = ruleFor(host, 'sdb');
    const words =
      'ATTRS{idVendor}=="174c", ATTRS{idProduct}=="55aa", ATTRS{serial}=="DD564198838B6"';
    expect(rule.split('\n').every((line) => line.includes(words))).toBe(true);
    expect(link).toBe('/dev/lastspin/DD564198838B6');
  });

  test('a serial number cannot break out of the rule', () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16', { serial: 'x", RUN+="/bin/rm *' });
    const { rule, link } = ruleFor(host, 'sdb');
    expect(rule).toContain('ATTRS{serial}=="x?, RUN+=?/bin/rm ?"');
    expect(link).toBe('/dev/lastspin/x_RUN_bin_rm_');
  });

  test('what names nothing is known by its place', () => {
    const host = playedHost();
    host.add('xvda', { number: '202:0', directory: '/sys/devices/vbd-768/block/xvda' });
    host.links.set('/sys/devices/vbd-768/block/xvda/device', '../..');
    expect(ruleFor(host, 'xvda').rule).toContain('KERNELS=="vbd-768"');
  });

  test('access to an imager, for both of its nodes, and ModemManager away', () => {
    const lines = accessRule({ vendorId: '1209', productId: '0001' }).split('\n');
    expect(lines.map((line) => /SUBSYSTEM=="(\w+)"/.exec(line)?.[1])).toEqual(['usb', 'tty']);
    for (const line of lines) expect(line).toContain('ENV{ID_MM_DEVICE_IGNORE}="1"');
  });
});
