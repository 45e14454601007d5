import { inspectDevice } from '../drive/file-inspect.js';
import { listSerialPorts } from '../drive/links/serial-ports.js';
import { reasonOf } from '../errors.js';
import { type BlockDevice, blockDevices } from '../host/block-devices.js';
import { type HostFiles, thisHost } from '../host/host.js';
import {
  type Inventory,
  idsOf,
  inventoryOf,
  roleOf,
  type SerialPort,
  type SgNode,
  transportOf,
  type UsbDevice,
  type UsbInterface,
  usbDeviceOf,
  usbSpec,
} from '../host/inventory.js';
import { usesOf } from '../host/uses.js';
import { type DevicesResult, formatDevices, type ListedDevice } from '../show/devices.js';
import { openImagerAt } from './drives.js';

export interface DevicesOptions {
  readonly json?: boolean;
  /** Asks ports whether an imager answers. Opening a port may reset the board behind it. */
  readonly probe?: boolean;
}

/** `lastspin devices`: what is plugged in, what it is taken for, and what to type for it. */
export async function devices(options: DevicesOptions): Promise<number> {
  const isLinux = process.platform === 'linux';
  const inventory = isLinux ? inventoryOf(thisHost) : await inventoryByLibraries();
  const listed = listDevices(thisHost, inventory);
  const result: DevicesResult = {
    schema: 'lastspin/devices-result/1',
    devices: options.probe ? await probed(listed) : listed,
    notListed: isLinux ? [] : notListed(process.platform),
  };
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatDevices(result));
  return 0;
}

/** What /sys does not tell elsewhere. */
export function notListed(platform: NodeJS.Platform): string[] {
  const lister = platform === 'darwin' ? "'diskutil list'" : "'Get-PhysicalDisk'";
  return [
    `disks are not listed on ${platform}: ${lister} shows them; file: reads block devices, and sg: works, on Linux only`,
    'kernel drivers, and what is in use, are not told here',
  ];
}

/** Everything that could be a drive, an imager or a switch. */
export function listDevices(host: HostFiles, inventory: Inventory): ListedDevice[] {
  const all = blockDevices(host);
  return [
    ...inventory.ports.map(listPort),
    ...inventory.usb.flatMap((device) => listUsb(device, inventory.usb)),
    ...inventory.disks.map((disk) => listDisk(host, disk, all, inventory)),
    ...inventory.sgNodes.flatMap((node) => (node.disk ? [] : [listSg(node)])),
  ];
}

const nothing = {
  model: null,
  serial: null,
  usbIds: null,
  usbLocation: null,
  sizeBytes: null,
  sectorBytes: null,
  physicalSectorBytes: null,
  isReadOnly: null,
  usedFor: [],
  drive: [],
  power: [],
  notes: [],
} as const satisfies Partial<ListedDevice>;

function usbFacts(device: UsbDevice) {
  return {
    model: device.product ?? null,
    serial: device.serial ?? null,
    usbIds: idsOf(device),
    usbLocation: device.location,
  };
}

/** CH340, which most LCUS relay boards have, as have many others. */
const relayPort = '1a86:7523';

function listPort({ path, lastingName, usb }: SerialPort): ListedDevice {
  const isImager = usb !== undefined && roleOf(usb) === 'imager';
  const isRelay = usb !== undefined && idsOf(usb) === relayPort;
  return {
    ...nothing,
    kind: 'serial',
    name: path,
    ...(usb && usbFacts(usb)),
    takenFor: isImager ? "an imager's serial port" : 'serial port',
    drive: [`serial:${lastingName ?? path}`],
    power: isRelay ? [`lcus:${lastingName ?? path}:1`] : [],
    notes: [
      ...(isImager ? [] : ['an imager may be behind it; --probe asks, which may reset the board']),
      ...(isRelay ? ['a relay board (LCUS) or anything else with a CH340'] : []),
    ],
  };
}

function listUsb(device: UsbDevice, all: readonly UsbDevice[]): ListedDevice[] {
  const role = roleOf(device);
  if (!role) return [];
  const base = { ...nothing, ...usbFacts(device), kind: 'usb' as const, name: device.location };
  const power = hubPorts(device, all);
  switch (role) {
    case 'imager':
      return [{ ...base, takenFor: role, drive: [usbSpec('usb', device)], power }];
    case 'bulk-only adapter':
      return [
        {
          ...base,
          takenFor: 'USB drive or adapter',
          drive: [usbSpec('usb-bot', device)],
          power,
        },
      ];
    case 'UAS adapter':
      return [
        {
          ...base,
          takenFor: 'USB drive or adapter on UAS',
          power,
          notes: ["UAS takes failing drives offline; 'lastspin doctor' says how to do without"],
        },
      ];
    case 'relay board':
      return [
        { ...base, takenFor: role, power: ['hid:1'], notes: ['a HID relay board (dcttech)'] },
      ];
    case 'hub': {
      const note = `whether it switches its ports is not told here; one is hub:${device.location}.N`;
      return [{ ...base, takenFor: role, notes: [note] }];
    }
  }
}

/** A device below a hub may be switched there. */
function hubPorts({ location }: UsbDevice, all: readonly UsbDevice[]): string[] {
  const parent = location.slice(0, location.lastIndexOf('.'));
  return all.some((each) => each.location === parent && roleOf(each) === 'hub')
    ? [`hub:${location}`]
    : [];
}

function listDisk(
  host: HostFiles,
  disk: BlockDevice,
  all: ReadonlyMap<string, BlockDevice>,
  { usb, sgNodes }: Inventory,
): ListedDevice {
  const inspection = inspectDevice(deviceNumber(disk.number), false, host);
  const found = inspection.state === 'open' ? inspection.path : undefined;
  const bridge = usbDeviceOf(usb, host.realpath(`${disk.directory}/device`) ?? disk.directory);
  const uses = usesOf(host, disk, all);
  const sg = sgNodes.find((node) => node.disk === disk.name);
  const isBulkOnly = bridge !== undefined && roleOf(bridge) === 'bulk-only adapter';
  const specs = [
    `file:${disk.node}`,
    ...(sg ? [`sg:${sg.node}`] : []),
    ...(isBulkOnly ? [usbSpec('usb-bot', bridge)] : []),
  ];
  return {
    ...nothing,
    kind: 'disk',
    name: disk.node,
    takenFor: `disk (${transportOf(disk)})`,
    model: found?.model ?? null,
    serial: found?.serial || null,
    usbIds: bridge ? idsOf(bridge) : null,
    usbLocation: bridge?.location ?? null,
    sizeBytes: disk.sizeBytes,
    sectorBytes: found?.sectorBytes ?? null,
    physicalSectorBytes: found?.physicalSectorBytes ?? null,
    isReadOnly: disk.isReadOnly,
    usedFor: uses.map(({ what }) => what),
    drive: uses.length > 0 ? [] : specs,
    power: bridge ? hubPorts(bridge, usb) : [],
    notes: disk.sizeBytes === 0 ? ['no medium, or it does not tell its size'] : [],
  };
}

/** A SCSI device of which the kernel made no disk. */
function listSg({ node, model }: SgNode): ListedDevice {
  return {
    ...nothing,
    kind: 'scsi',
    name: node,
    takenFor: 'drive without a block device',
    model,
    drive: [`sg:${node}`],
  };
}

/** The number as stat has it (glibc's gnu_dev_makedev, for numbers that occur). */
function deviceNumber(number: string): number {
  const [major = 0, minor = 0] = number.split(':').map(Number);
  return (minor % 256) + major * 256 + Math.floor(minor / 256) * 2 ** 20;
}

/** Asks every serial port and every imager on USB who it is, one after the other. */
async function probed(listed: readonly ListedDevice[]): Promise<ListedDevice[]> {
  const asked: ListedDevice[] = [];
  for (const device of listed) {
    const spec = device.drive.find((each) => /^(?:serial|usb):/.test(each));
    asked.push(spec ? await probe(device, spec) : device);
  }
  return asked;
}

async function probe(device: ListedDevice, spec: string): Promise<ListedDevice> {
  try {
    const imager = await openImagerAt(spec);
    const { firmware, canRead } = imager;
    await imager.close();
    const takenFor = canRead ? 'imager' : 'imager that only switches power';
    const specs = canRead ? { drive: device.drive } : { drive: [], power: [spec] };
    return { ...device, takenFor, ...specs, notes: [`it answers: ${firmware}`] };
  } catch (error) {
    return { ...device, notes: [`no imager answers: ${reasonOf(error)}`] };
  }
}

/** What the libraries see on other systems. */
async function inventoryByLibraries(): Promise<Inventory> {
  const usb = await usbByLibrary();
  const ports = (await listSerialPorts()).map(({ path, vendorId, productId, serialNumber }) => ({
    path,
    usb: {
      vendorId,
      productId,
      ...(serialNumber && { serial: serialNumber }),
      location: '',
      class: 0,
      interfaces: [],
    },
  }));
  return { usb, ports, disks: [], sgNodes: [] };
}

/** Descriptors that the system holds already; nothing is opened. */
async function usbByLibrary(): Promise<UsbDevice[]> {
  try {
    const { usb } = await import('usb');
    return usb.getDeviceList().map((device) => {
      const { idVendor, idProduct, bDeviceClass } = device.deviceDescriptor;
      const id = (number: number) => number.toString(16).padStart(4, '0');
      return {
        vendorId: id(idVendor),
        productId: id(idProduct),
        location: `${device.busNumber}-${(device.portNumbers ?? []).join('.')}`,
        class: bDeviceClass,
        interfaces: interfacesOf(() => device.configDescriptor?.interfaces ?? []),
      };
    });
  } catch {
    return [];
  }
}

interface Descriptor {
  readonly bInterfaceClass: number;
  readonly bInterfaceSubClass: number;
  readonly bInterfaceProtocol: number;
}

/** The first setting of each interface; none where the system keeps them to itself. */
function interfacesOf(read: () => readonly (readonly Descriptor[])[]): UsbInterface[] {
  try {
    return read().flatMap(([first]) =>
      first
        ? [
            {
              class: first.bInterfaceClass,
              subClass: first.bInterfaceSubClass,
              protocol: first.bInterfaceProtocol,
            },
          ]
        : [],
    );
  } catch {
    return [];
  }
}
