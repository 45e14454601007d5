import { describe, expect, test } from 'vitest';
import { listDevices, notListed } from '../../src/cli/devices.js';
import { diagnose, type Surroundings } from '../../src/cli/doctor.js';
import { inventoryOf } from '../../src/host/inventory.js';
import {
  devicesResultSchema,
  doctorResultSchema,
  formatDevices,
  formatDoctor,
} from '../../src/show/devices.js';
import { addUsbDisk, type PlayedHost, playedHost, withSataDisk } from '../host/played-host.js';
import { run } from './cli.js';

const pci = '/sys/devices/pci0000:00/0000:00:14.0/usb1';

/** A USB device with one interface (`class/subClass/protocol` in hex), and a port where `tty` names one. */
function addUsb(
  host: PlayedHost,
  location: string,
  ids: string,
  usbInterface: string,
  tty?: string,
) {
  const folder = `${pci}/${location}`;
  const [idVendor = '', idProduct = ''] = ids.split(':');
  const [bInterfaceClass = '', bInterfaceSubClass = '', bInterfaceProtocol = ''] =
    usbInterface.split('/');
  const attributes = {
    idVendor,
    idProduct,
    serial: 'SN1',
    bDeviceClass: '00',
    busnum: '1',
    devnum: '9',
  };
  const ofInterface = { bInterfaceClass, bInterfaceSubClass, bInterfaceProtocol };
  for (const [name, text] of Object.entries(attributes)) host.files.set(`${folder}/${name}`, text);
  for (const [name, text] of Object.entries(ofInterface)) {
    host.files.set(`${folder}/${location}:1.0/${name}`, text);
  }
  host.links.set(`/sys/bus/usb/devices/${location}`, folder);
  host.links.set(`/sys/bus/usb/devices/${location}:1.0`, `${folder}/${location}:1.0`);
  host.files.set('/dev/bus/usb/001/009', '');
  if (!tty) return;
  host.files.set(`${folder}/${location}:1.0/${tty}/tty/${tty}/dev`, '188:0\n');
  host.links.set(`/sys/class/tty/${tty}`, `${folder}/${location}:1.0/${tty}/tty/${tty}`);
  host.files.set(`/dev/${tty}`, '');
}

function listed(host: PlayedHost) {
  const devices = listDevices(host, inventoryOf(host));
  devicesResultSchema.parse({ schema: 'lastspin/devices-result/1', devices, notListed: [] });
  return devices;
}

describe('what is plugged in', () => {
  test('an adapter below a hub: the disk by three ways, the port that may be switched', () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16');
    const byName = new Map(listed(host).map((device) => [device.name, device]));
    expect(byName.get('/dev/sdb')).toMatchObject({
      takenFor: 'disk (USB)',
      model: 'ASMT USB3.0 Bridge',
      serial: 'DD564198838B6',
      sizeBytes: 4096 * 512,
      usbIds: '174c:55aa',
      drive: ['file:/dev/sdb', 'sg:/dev/sg3', 'usb-bot:174c:55aa:DD564198838B6'],
      power: ['hub:1-1.4'],
    });
    expect(byName.get('1-1.4')?.drive).toEqual(['usb-bot:174c:55aa:DD564198838B6']);
    expect(byName.get('1-1')?.takenFor).toBe('hub');
  });

  test('what is known of a bridge is said', () => {
    const host = playedHost();
    addUsb(host, '1-2', '152d:2338', '08/06/50');
    expect(listed(host)).toMatchObject([
      { drive: ['usb-bot:152d:2338:SN1'], notes: [expect.stringContaining('no ATA commands')] },
    ]);
  });

  test('on UAS there is no usb-bot', () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16', { driver: 'uas' });
    const devices = listed(host);
    expect(devices.flatMap(({ drive }) => drive)).toEqual(['file:/dev/sdb', 'sg:/dev/sg3']);
    expect(devices.find(({ name }) => name === '1-1.4')?.notes.join()).toContain('UAS');
  });

  test('a disk in use is nothing to type for', () => {
    const host = withSataDisk();
    host.mount('sda2', '/');
    expect(listed(host)).toMatchObject([
      { takenFor: 'disk (SATA)', usedFor: ['/dev/sda2 is mounted at /'], drive: [] },
    ]);
  });

  test('an imager, a relay board, a port of anything', () => {
    const host = playedHost();
    addUsb(host, '1-2', '1209:0001', 'ff/4c/01', 'ttyACM0');
    addUsb(host, '1-3', '1a86:7523', 'ff/01/02', 'ttyUSB0');
    addUsb(host, '1-5', '16c0:05df', '03/00/00');
    addUsb(host, '1-6', '046d:c31c', '03/01/01');
    host.links.set('/dev/serial/by-id/usb-CH340-if00', '../../ttyUSB0');
    const devices = listed(host);
    expect(
      devices.map(({ name, takenFor, drive, power }) => [name, takenFor, drive, power]),
    ).toEqual([
      ['/dev/ttyACM0', "an imager's serial port", ['serial:/dev/ttyACM0'], []],
      [
        '/dev/ttyUSB0',
        'serial port',
        ['serial:/dev/serial/by-id/usb-CH340-if00'],
        ['lcus:/dev/serial/by-id/usb-CH340-if00:1'],
      ],
      ['1-2', 'imager', ['usb:1209:0001:SN1'], []],
      ['1-5', 'relay board', [], ['hid:1']],
    ]);
  });

  test('for people: a line, then what to type', () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16');
    const devices = listed(host);
    const text = formatDevices({ schema: 'lastspin/devices-result/1', devices, notListed: [] });
    expect(text).toMatch(/^\/dev\/sdb +disk \(USB\), ASMT USB3.0 Bridge DD564198838B6, 2.10 MB/m);
    expect(text).toMatch(/^ +DRIVE {2}usb-bot:174c:55aa/m);
  });

  test('elsewhere what is not listed is said', () => {
    expect(notListed('darwin').join()).toContain('diskutil list');
    expect(notListed('win32').join()).toContain('Get-PhysicalDisk');
  });
});

const well: Surroundings = {
  platform: 'linux',
  nodeVersion: 'v20.20.2',
  user: 'ana',
  isRoot: true,
  packageProblems: {},
  toolProblems: {},
  freeBytes: 2e12,
};

function problems(host: PlayedHost, spec?: string, around: Partial<Surroundings> = {}) {
  const result = diagnose(host, { ...well, ...around }, spec);
  doctorResultSchema.parse(result);
  return result.findings.map(({ about, what }) => `${about} ${what}`);
}

describe('what stands in the way', () => {
  test('nothing', () => {
    expect(problems(withSataDisk())).toEqual([]);
    expect(problems(withSataDisk(), '/dev/sda')).toEqual([]);
    expect(problems(playedHost(), 'tcp:192.168.7.2:7117')).toEqual([]);
  });

  test('what this program runs on', () => {
    const around: Partial<Surroundings> = {
      nodeVersion: 'v18.20.1',
      packageProblems: { koffi: 'Cannot find package' },
      toolProblems: { 'systemd-inhibit': 'is missing' },
    };
    const host = playedHost();
    host.files.set('/proc/self/limits', 'Max open files            64    1024   files\n');
    expect(problems(host, undefined, around)).toEqual([
      'Node v18.20.1 is too old',
      'the package koffi does not work: Cannot find package',
      'systemd-inhibit is missing',
      'this shell allows 64 open files',
    ]);
  });

  test('a port: the group, the rule, ModemManager and brltty', () => {
    const host = playedHost();
    addUsb(host, '1-2', '1209:0001', '02/02/01', 'ttyACM0');
    host.denied.set('/dev/ttyACM0', 20);
    host.files.set('/etc/group', 'root:x:0:\ndialout:x:20:\n');
    host.run('ModemManager', 'brltty');
    const { findings } = diagnose(host, well, 'serial:/dev/ttyACM0?baud=3000000');
    expect(findings.map(({ what }) => what.split(' ').slice(0, 4).join(' '))).toEqual([
      'may not be opened',
      'may be opened by',
      'may be taken by',
    ]);
    expect(findings[0]).toMatchObject({
      mend: 'sudo usermod -aG dialout ana, then log in again, or a udev rule',
      rule: { path: '/etc/udev/rules.d/70-lastspin.rules' },
    });
    host.files.set('/run/udev/data/c188:0', 'E:ID_MM_DEVICE_IGNORE=1\n');
    expect(problems(host)).toHaveLength(2);
  });

  test('an adapter: its node, UAS', () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16', { driver: 'uas' });
    host.denied.set('/dev/bus/usb/001/007', 0);
    expect(problems(host, 'usb-bot:174C:55aa')).toEqual([
      'USB 174c:55aa at 1-1.4 may not be opened by you',
      'USB 174c:55aa at 1-1.4 is driven by UAS',
    ]);
    expect(problems(host, 'usb-bot:174c:55aa:another')).toEqual([
      'usb-bot:174c:55aa:another is not there',
    ]);
  });

  test('a disk: in use, watched, no permission, no room', () => {
    const host = withSataDisk();
    host.run('udisksd');
    host.denied.set('/dev/sda', 6);
    host.files.set('/etc/group', 'disk:x:6:\n');
    const around = { isRoot: false, freeBytes: 1e9 };
    expect(problems(host, '/dev/sda', around)).toEqual([
      '/dev/sda may not be opened by you',
      '/dev/sda cannot be set read-only by you',
      '/dev/sda is watched by udisks',
      'this folder has 1.00 GB free',
    ]);
    host.mount('sda1', '/data');
    expect(problems(host, '/dev/sda')[0]).toContain('in use: /dev/sda1 is mounted at /data');
    // Unasked, this computer's own disk is nobody's business.
    expect(problems(host)).toEqual([]);
  });

  test('the rule for a drive is printed once, and no more when it is in force', () => {
    const host = withSataDisk();
    host.run('udisksd');
    const text = formatDoctor(diagnose(host, well, '/dev/sda'));
    expect(text.match(/59-lastspin\.rules/g)).toHaveLength(1);
    host.note('sda', 'UDISKS_IGNORE=1');
    expect(diagnose(host, well, '/dev/sda')).toMatchObject({ findings: [], keepAwayRule: null });
  });

  test('what is not there, and what another system does not tell', () => {
    expect(problems(playedHost(), 'serial:/dev/ttyUSB7')).toEqual([
      'serial:/dev/ttyUSB7 is not there',
    ]);
    expect(problems(playedHost(), '/dev/sdq')).toEqual(['/dev/sdq is not there']);
    const mac = diagnose(withSataDisk(), { ...well, platform: 'darwin' }, '/dev/disk2');
    expect(mac).toMatchObject({ findings: [], notChecked: [expect.stringContaining('darwin')] });
  });
});

describe('on this machine', () => {
  test('both commands answer, whatever is plugged in', async () => {
    const [devices, doctor] = await Promise.all([
      run(['devices', '--json']),
      run(['doctor', '--json']),
    ]);
    expect(devices.status, devices.stderr).toBe(0);
    devicesResultSchema.parse(JSON.parse(devices.stdout));
    const { findings } = doctorResultSchema.parse(JSON.parse(doctor.stdout));
    expect(doctor.status).toBe(findings.length > 0 ? 1 : 0);
  });

  test.each([
    ['', /'' names no drive: give a block device or a file/],
    ['file:', /'file:' names no drive/],
    ['floppy:0', /unknown kind of drive 'floppy:'/],
    ['usb-bot:nonsense', /cannot make sense of 'usb-bot:nonsense'/],
    ['serial:', /the port is missing/],
    ['tcp:nowhere', /as in tcp:/],
    ['sg:', /sg: wants a node or disk/],
    ['sg:/dev/null', /\/dev\/null is no SCSI device/],
    ['/dev', /\/dev is neither a block device nor a file/],
  ])('what is no drive is bad input: %j', async (spec, why) => {
    const { status, stdout, stderr } = await run(['doctor', spec]);
    expect(stderr).toMatch(why);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });

  test('a drive that is not there: why, and exit status 1', async () => {
    const { status, stdout } = await run(['doctor', 'serial:/dev/no-such-port']);
    expect(status).toBe(1);
    expect(stdout).toContain('serial:/dev/no-such-port is not there');
  });
});
