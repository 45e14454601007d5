/** Which serial ports there are, and what USB device each belongs to. */
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { UsbIdentity } from './identity.js';

/** A serial port of a USB device. */
export interface SeenPort extends UsbIdentity {
  readonly path: string;
}

/** A tty is at most this deep below its USB device: device, interface, port, tty. */
const sysfsDepthMax = 4;

/** Ports of USB devices. Linux's own records come first: they need neither udev nor a process, and
 * tell the interface and the place of a port. Never rejects. */
export async function listSerialPorts(): Promise<readonly SeenPort[]> {
  if (process.platform === 'linux') {
    const ports = portsInSysfs('/sys/class/tty', '/dev');
    if (ports.length > 0) return ports;
  }
  try {
    const { SerialPort } = await import('serialport');
    // It asks udevadm on Linux, which small systems do not have.
    return (await SerialPort.list()).flatMap(seenPort);
  } catch {
    return [];
  }
}

/** What serialport lists, as far as it belongs to a USB device. */
export function seenPort(port: {
  readonly path: string;
  readonly vendorId?: string | undefined;
  readonly productId?: string | undefined;
  readonly serialNumber?: string | undefined;
  readonly locationId?: string | undefined;
  readonly pnpId?: string | undefined;
}): SeenPort[] {
  const { path, vendorId, productId, serialNumber, locationId, pnpId } = port;
  if (!vendorId || !productId) return [];
  const id = (hex: string) => hex.replace(/^0x/i, '').toLowerCase().padStart(4, '0');
  // `...-if00` of udev, `...&MI_00\...` of Windows.
  const interfaceNumber = /(?:-if|&MI_)([0-9a-f]{2})/i.exec(pnpId ?? '')?.[1];
  return [
    {
      path,
      vendorId: id(vendorId),
      productId: id(productId),
      ...(serialNumber && { serialNumber }),
      ...(locationId && { location: locationId }),
      ...(interfaceNumber && { interfaceNumber }),
    },
  ];
}

/** The ports below Linux's `/sys/class/tty` that belong to USB devices. Empty where there is no such
 * folder. `devices`: where their nodes are. */
export function portsInSysfs(classes: string, devices: string): SeenPort[] {
  return namesIn(classes).flatMap((name) => {
    const identity = identityAbove(join(classes, name, 'device'));
    return identity ? [{ path: join(devices, name), ...identity }] : [];
  });
}

/** Climbs from a tty to its USB device. */
function identityAbove(link: string): UsbIdentity | undefined {
  let folder = realPath(link);
  let interfaceNumber: string | undefined;
  for (let depth = 0; folder !== undefined && depth < sysfsDepthMax; depth++) {
    interfaceNumber ??= lineOf(join(folder, 'bInterfaceNumber'));
    const vendorId = lineOf(join(folder, 'idVendor'));
    const productId = lineOf(join(folder, 'idProduct'));
    if (vendorId && productId) {
      const serialNumber = lineOf(join(folder, 'serial'));
      return { vendorId, productId, serialNumber, interfaceNumber, location: basename(folder) };
    }
    folder = dirname(folder);
  }
  return undefined;
}

/** udev's lasting name for a port, of those in `folder`, as far as there is one. */
export function lastingName(path: string, folder = '/dev/serial/by-id'): string | undefined {
  const target = realPath(path);
  if (target === undefined) return undefined;
  return namesIn(folder)
    .map((name) => join(folder, name))
    .find((link) => realPath(link) === target);
}

/** Where a path really leads; undefined where there is nothing. */
export function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function lineOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}
