import { describe, expect, test } from 'vitest';
import { inspectDevice, type Sysfs } from '../../src/drive/file-inspect.js';

const rdevOf = { '8:0': 0x800, '8:1': 0x801, '259:300': 0x11_032c };

/** A /sys of links and attributes. */
function sysfsOf(links: Record<string, string>, attributes: Record<string, string>): Sysfs {
  return {
    read: (path) => attributes[path],
    realpath: (path) => links[path],
  };
}

const bus = '/sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0';
const disk = `${bus}/block/sda`;
const queue = {
  [`${disk}/queue/logical_block_size`]: '512\n',
  [`${disk}/queue/physical_block_size`]: '4096\n',
  [`${disk}/queue/max_sectors_kb`]: '1280\n',
  [`${disk}/queue/max_segments`]: '168\n',
};
const sata = {
  [`${disk}/size`]: '1953525168\n',
  [`${disk}/device/vendor`]: 'ATA     \n',
  [`${disk}/device/model`]: 'WDC WD10EZEX-08W\n',
  [`${disk}/device/rev`]: '1A01\n',
  [`${disk}/device/vpd_pg80`]: '\0\x80\0\x14     WD-WCC6Y0000001',
  ...queue,
};

describe('what /sys tells of a block device', () => {
  test('a SATA drive: its model, the serial of its own page, what goes as one command', () => {
    const links = { '/sys/dev/block/8:0': disk };
    expect(inspectDevice(rdevOf['8:0'], true, sysfsOf(links, sata))).toEqual({
      state: 'open',
      path: {
        isDirect: true,
        model: 'WDC WD10EZEX-08W',
        serial: 'WD-WCC6Y0000001',
        firmware: '1A01',
        sizeBytes: 1_953_525_168 * 512,
        sectorBytes: 512,
        physicalSectorBytes: 4096,
        readBytesMax: 168 * 4096,
      },
    });
  });

  test('a partition: its own size, the drive that it is on', () => {
    const partition = `${disk}/sda1`;
    const sysfs = sysfsOf(
      { '/sys/dev/block/8:1': partition },
      { ...sata, [`${partition}/size`]: '2048\n', [`${partition}/partition`]: '1\n' },
    );
    expect(inspectDevice(rdevOf['8:1'], true, sysfs)).toMatchObject({
      path: {
        model: 'WDC WD10EZEX-08W',
        serial: 'WD-WCC6Y0000001-part1',
        sizeBytes: 2048 * 512,
        physicalSectorBytes: 4096,
      },
    });
  });

  test('an NVMe drive, its minor number above 255', () => {
    const nvme = '/sys/devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1';
    const sysfs = sysfsOf(
      { '/sys/dev/block/259:300': nvme },
      {
        [`${nvme}/size`]: '1000215216\n',
        [`${nvme}/device/model`]: 'Samsung SSD 970 EVO 500GB               \n',
        [`${nvme}/device/serial`]: 'S466NX0K000000A     \n',
        [`${nvme}/device/firmware_rev`]: '2B2QEXE7\n',
      },
    );
    expect(inspectDevice(rdevOf['259:300'], true, sysfs)).toMatchObject({
      path: {
        model: 'Samsung SSD 970 EVO 500GB',
        serial: 'S466NX0K000000A',
        firmware: '2B2QEXE7',
      },
    });
  });

  describe('a USB stick without a page of its own', () => {
    const hub = '/sys/devices/pci0000:00/0000:00:14.0/usb1';
    const stick = `${hub}/1-4`;
    const unit = `${stick}/1-4:1.0/host6/target6:0:0/6:0:0:0`;
    const links = {
      '/sys/dev/block/8:0': `${unit}/block/sda`,
      [`${unit}/block/sda/device`]: unit,
    };
    const attributes = {
      [`${unit}/block/sda/size`]: '120164352\n',
      [`${unit}/block/sda/device/vendor`]: 'SanDisk \n',
      [`${unit}/block/sda/device/model`]: 'Ultra           \n',
      [`${stick}/idVendor`]: '0781\n',
      [`${hub}/idVendor`]: '1d6b\n',
      [`${hub}/serial`]: '0000:00:14.0\n',
    };

    test('has the serial of its USB device', () => {
      const sysfs = sysfsOf(links, { ...attributes, [`${stick}/serial`]: '4C530001\n' });
      expect(inspectDevice(rdevOf['8:0'], true, sysfs)).toMatchObject({
        path: { model: 'SanDisk Ultra', serial: '4C530001' },
      });
    });

    test('has none where that has none, and not its hub’s', () => {
      expect(inspectDevice(rdevOf['8:0'], true, sysfsOf(links, attributes))).toMatchObject({
        path: { model: 'SanDisk Ultra', serial: '' },
      });
    });
  });

  test('the size of the device itself goes before that of /sys', () => {
    const sysfs = sysfsOf({ '/sys/dev/block/8:0': disk }, sata);
    const told = { sizeBytes: 8 << 20, sectorBytes: 4096, physicalSectorBytes: 8192 };
    expect(inspectDevice(rdevOf['8:0'], true, sysfs, told)).toMatchObject({
      path: { model: 'WDC WD10EZEX-08W', ...told },
    });
  });

  test('where there is no /sys only the size that the device itself tells, or nothing at all', () => {
    const sysfs = sysfsOf({}, {});
    const told = { sizeBytes: 8 << 20, sectorBytes: 512, physicalSectorBytes: 4096 };
    expect(inspectDevice(rdevOf['8:0'], false, sysfs, told)).toMatchObject({
      state: 'open',
      path: { model: 'block device', serial: '', isDirect: false, ...told },
    });
    expect(inspectDevice(rdevOf['8:0'], true, sysfs)).toEqual({ state: 'no-size' });
  });
});
