import { describe, expect, test } from 'vitest';
import { refuseDestinationOn, refuseInUse } from '../../src/cli/source-guard.js';
import { isLastspinError } from '../../src/errors.js';
import { blockDevices } from '../../src/host/block-devices.js';
import { usesOf } from '../../src/host/uses.js';
import { addUsbDisk, type PlayedHost, playedHost, withSataDisk } from './played-host.js';

const virtual = '/sys/devices/virtual/block';

function usesIn(host: PlayedHost, name = 'sda') {
  const devices = blockDevices(host);
  return usesOf(host, devices.get(name)!, devices);
}

/** `sda2` carries a RAID, on which there is LVM with one volume. */
function withStack(): PlayedHost {
  const host = withSataDisk();
  host.add('md0', { number: '9:0', directory: `${virtual}/md0`, madeOf: ['sda2'] });
  host.add('dm-3', {
    number: '253:3',
    directory: `${virtual}/dm-3`,
    madeOf: ['md0'],
    attributes: { 'dm/name': 'big--group-home', 'dm/uuid': 'LVM-abc' },
  });
  return host;
}

describe('what uses a drive', () => {
  test('nothing', () => {
    expect(usesIn(withSataDisk())).toEqual([]);
    expect(() => refuseInUse('/dev/sda', withSataDisk())).not.toThrow();
  });

  test('a mounted partition, also in a place with a blank', () => {
    const host = withSataDisk();
    host.mount('sda2', '/media/My Disk');
    expect(usesIn(host)).toEqual([
      { what: '/dev/sda2 is mounted at /media/My Disk', free: ["umount '/media/My Disk'"] },
    ]);
    expect(usesIn(host, 'sda1')).toEqual([]);
    for (const spec of ['/dev/sda', 'file:/dev/sda', '/dev/sda2']) {
      expect(() => refuseInUse(spec, host), spec).toThrow('/dev/sda2 is mounted at /media/My Disk');
    }
  });

  test('the same by its SCSI generic node', () => {
    const host = withSataDisk();
    addUsbDisk(host, 'sdb', '8:16');
    host.mount('sdb', '/mnt');
    expect(() => refuseInUse('sg:/dev/sg3', host)).toThrow('/dev/sdb is mounted at /mnt');
    expect(() => refuseInUse('usb-bot:174c:55aa', host)).not.toThrow();
  });

  test('swap', () => {
    const host = withSataDisk();
    host.files.set('/proc/swaps', 'Filename Type Size\n/dev/sda1 partition 1 0 -2\n');
    expect(usesIn(host)).toEqual([
      { what: '/dev/sda1 is swap space', free: ['swapoff /dev/sda1'] },
    ]);
  });

  test('a RAID with LVM on it that is mounted: freed from the top', () => {
    const host = withStack();
    host.mount('dm-3', '/home');
    const [use] = usesIn(host);
    expect(use?.what).toContain('/dev/sda2 is part of /dev/md0 (RAID)');
    expect(use?.what).toContain('/dev/dm-3 is mounted at /home');
    expect(use?.free).toEqual(['umount /home', 'vgchange -an big-group', 'mdadm --stop /dev/md0']);
  });

  test.each([
    ['CRYPT-LUKS2-1', 'cryptsetup close secret'],
    ['mpath-1', 'multipath -f secret'],
    ['', 'dmsetup remove secret'],
  ])('device mapper of kind %j', (uuid, command) => {
    const host = withSataDisk();
    const attributes = { 'dm/name': 'secret', 'dm/uuid': uuid };
    host.add('dm-0', {
      number: '253:0',
      directory: `${virtual}/dm-0`,
      madeOf: ['sda'],
      attributes,
    });
    expect(usesIn(host)).toMatchObject([{ free: [command] }]);
  });

  test('a loop device over it, and the second device of a btrfs', () => {
    const host = withSataDisk();
    const attributes = { 'loop/backing_file': '/dev/sda1\n' };
    host.add('loop0', { number: '7:0', directory: `${virtual}/loop0`, attributes });
    host.add('sdz1', { number: '65:145', directory: `${virtual}/sdz1` });
    host.mounts.push('40 1 0:44 / /data rw - btrfs /dev/sdz1 rw,space_cache');
    for (const name of ['sdz1', 'sda2'])
      host.files.set(`/sys/fs/btrfs/id/devices/${name}/size`, '');
    expect(usesIn(host).map(({ what }) => what)).toEqual([
      '/dev/sda1 is part of /dev/loop0 (loop device)',
      '/dev/sda2 is mounted at /data',
    ]);
  });
});

describe('an image on the source', () => {
  const refuses = (host: PlayedHost, source: string, path: string) => {
    try {
      refuseDestinationOn(source, [path], host);
      return false;
    } catch (error) {
      if (isLastspinError(error, 'USAGE')) return true;
      throw error;
    }
  };

  test('on a partition of it, on the disk of it, beside it on the same disk', () => {
    const host = withSataDisk();
    host.mount('sda2', '/data');
    expect(refuses(host, '/dev/sda', '/data/case.img')).toBe(true);
    expect(refuses(host, '/dev/sda1', '/data/case.img')).toBe(true);
    expect(refuses(host, '/dev/sda1', '/dev/sda')).toBe(true);
    expect(refuses(host, '/dev/sda', '/dev/sda2')).toBe(true);
    expect(refuses(host, '/dev/sda', '/elsewhere/case.img')).toBe(false);
  });

  test('on another drive', () => {
    const host = withSataDisk();
    addUsbDisk(host, 'sdb', '8:16');
    host.mount('sdb', '/data');
    expect(refuses(host, '/dev/sda', '/data/case.img')).toBe(false);
    expect(refuses(host, '/dev/sdb', '/data/case.img')).toBe(true);
  });

  test('on a stack that stands on it', () => {
    const host = withStack();
    host.mount('dm-3', '/home');
    expect(refuses(host, '/dev/sda', '/home/case.img')).toBe(true);
    expect(refuses(host, '/dev/md0', '/home/case.img')).toBe(true);
    expect(refuses(host, '/dev/dm-3', '/dev/sda2')).toBe(true);
  });

  test('on a loop device whose file lies on it; but a file may be imaged beside itself', () => {
    const host = withSataDisk();
    const attributes = { 'loop/backing_file': '/data/disk.img\n' };
    host.add('loop0', { number: '7:0', directory: `${virtual}/loop0`, attributes });
    host.mount('sda2', '/data');
    host.mount('loop0', '/mnt');
    expect(refuses(host, '/dev/sda', '/mnt/case.img')).toBe(true);
    expect(refuses(host, '/dev/loop0', '/data/case.img')).toBe(false);
  });

  test('on a file system without a device of its own: btrfs, an overlay', () => {
    const host = withSataDisk();
    host.mounts.push('40 1 0:44 / /data rw - btrfs /dev/sda2 rw');
    host.fileSystems.set('/data', '0:44');
    expect(refuses(host, '/dev/sda', '/data/case.img')).toBe(true);
    host.mounts.push('41 1 0:45 / /over rw - overlay overlay rw,upperdir=/data/up,workdir=/data/w');
    host.fileSystems.set('/over', '0:45');
    expect(refuses(host, '/dev/sda', '/over/case.img')).toBe(true);
    expect(refuses(playedHost(), '/dev/sda', '/over/case.img')).toBe(false);
  });
});
