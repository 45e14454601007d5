/** A USB connector as Linux's /sys shows it: its two halves, and what hangs there. */

import { statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { hexId } from '../drive/links/identity.js';
import { lineOf, thisHost } from '../host/host.js';
import type { HubPort } from '../power/hub.js';
import { nameOfPort, type PortLocation, parsePowerSpec } from '../power/spec.js';

/** Where the kernel tells of itself; copies of these in tests. */
export interface KernelFolders {
  readonly sys: string;
  readonly proc: string;
}

export const realKernel: KernelFolders = { sys: '/sys', proc: '/proc' };

/** The port and, where the connector has one, its other half on the USB 3 or USB 2 side. Empty where the kernel
 * knows no such port. */
export function connectorAt(
  location: PortLocation,
  { sys }: KernelFolders = realKernel,
): readonly HubPort[] {
  const folder = portFolder(location, sys);
  if (!exists(folder)) return [];
  const other = locationOf(basename(thisHost.realpath(join(folder, 'peer')) ?? ''));
  return [location, ...(other ? [other] : [])].map((each) => {
    const path = join(portFolder(each, sys), 'disable');
    return {
      location: each,
      ...(thisHost.mayOpen(path, 'read-write') && {
        tellSystem: (isOff: boolean) => writeFile(path, isOff ? '1' : '0'),
      }),
    };
  });
}

function portFolder({ bus, hub, port }: PortLocation, sys: string): string {
  const place = hub.length === 0 ? `${bus}-0` : `${bus}-${hub.join('.')}`;
  const name = hub.length === 0 ? `usb${bus}-port${port}` : `${place}-port${port}`;
  return join(sys, 'bus/usb/devices', `${place}:1.0`, name);
}

/** `2-1-port4` or, of a root hub, `usb2-port4`. */
function locationOf(portName: string): PortLocation | undefined {
  const [, root, bus, chain, port] = /^(?:usb(\d+)|(\d+)-([\d.]+))-port(\d+)$/.exec(portName) ?? [];
  if (port === undefined) return undefined;
  const hub = chain === undefined ? [] : chain.split('.').map(Number);
  return { bus: Number(root ?? bus), hub, port: Number(port) };
}

/** What must keep its power. */
export interface MustStay {
  /** Files that are written, or will be. */
  readonly files: readonly string[];
  /** DRIVE and POWER as they were given: those that are links to an imager or a board. */
  readonly links: readonly string[];
}

/** Why the port must not be switched: something else that is needed hangs below it. Undefined where nothing
 * does. */
export function whyKeepPower(
  ports: readonly PortLocation[],
  { files, links }: MustStay,
  kernel: KernelFolders = realKernel,
): string | undefined {
  const places = new Set(ports.map(nameOfPort));
  const isBelow = (path: string) => path.split('/').some((name) => places.has(name));
  for (const file of files)
    if (disksOfFile(file, kernel).some(isBelow)) return `${file} lies on a disk below that port`;
  const mounted = mountsOf(kernel).find((mount) => disksOf(mount.device, kernel).some(isBelow));
  if (mounted) return `what is mounted at ${mounted.folder} lies on a disk below that port`;
  for (const link of links)
    if (devicesOfLink(link, kernel).some(isBelow)) return `${link} hangs below that port`;
  return undefined;
}

/** The places in /sys of the disks that a file is or will be on. */
function disksOfFile(path: string, kernel: KernelFolders): string[] {
  const found = [path, dirname(path)]
    .map((each) => statSync(each, { throwIfNoEntry: false }))
    .find((each) => each !== undefined);
  if (!found) return [];
  const device = nameOfDevice(found.isBlockDevice() ? found.rdev : found.dev);
  return disksOf(device, kernel);
}

/** Major and minor number as glibc packs them into a dev_t: `8:1`. */
function nameOfDevice(device: number): string {
  const bits = BigInt(device);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n);
  const minor = (bits & 0xffn) | ((bits >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

const stackedMax = 16;

/** The places in /sys of a block device and of all that it is made of: partitions' disks, members of md and
 * device-mapper, files behind loop devices. */
function disksOf(device: string, kernel: KernelFolders, depth = 0): string[] {
  if (depth > stackedMax) return [];
  const deeper = (each: string) => disksOf(each, kernel, depth + 1);
  // btrfs and others have a number of their own; what is mounted tells where they lie.
  if (device.startsWith('0:')) {
    const mount = mountsOf(kernel).find((each) => each.number === device);
    return mount && mount.device !== device ? deeper(mount.device) : [];
  }
  const place = thisHost.realpath(join(kernel.sys, 'dev/block', device));
  if (place === undefined) return [];
  const members = thisHost
    .list(join(place, 'slaves'))
    .flatMap((name) => lineOf(thisHost, join(place, 'slaves', name, 'dev')) ?? []);
  const file = lineOf(thisHost, join(place, 'loop/backing_file'));
  return [
    place,
    ...members.flatMap(deeper),
    ...(file === undefined ? [] : disksOfFile(file, kernel)),
  ];
}

interface Mount {
  /** As the kernel numbers it; what stands for it where that is none of a disk. */
  readonly number: string;
  readonly device: string;
  readonly folder: string;
}

/** By proc(5): ID, parent, major:minor, root, folder, options, …, `-`, type, source. */
function mountsOf({ proc }: KernelFolders): Mount[] {
  const lines = Buffer.from(thisHost.read(join(proc, 'self/mountinfo')) ?? '', 'latin1')
    .toString()
    .split('\n');
  return lines.flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , number, , folder] = before.split(' ');
    const source = after.split(' ')[1] ?? '';
    if (number === undefined || folder === undefined) return [];
    return [{ number, folder: unescaped(folder), device: deviceOf(number, unescaped(source)) }];
  });
}

function deviceOf(number: string, source: string): string {
  if (!number.startsWith('0:') || !source.startsWith('/dev/')) return number;
  const found = statSync(source, { throwIfNoEntry: false });
  return found?.isBlockDevice() ? nameOfDevice(found.rdev) : number;
}

/** Blanks and the like are written as `\040`. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** The places in /sys of the devices that a link to an imager or a board of relays goes through. */
function devicesOfLink(link: string, { sys }: KernelFolders): string[] {
  const port = /^serial:([^?]+)/.exec(link)?.[1] ?? pathOfRelays(link);
  if (port !== undefined) {
    const name = basename(thisHost.realpath(port) ?? port);
    const place = thisHost.realpath(join(sys, 'class/tty', name, 'device'));
    return place === undefined ? [] : [place];
  }
  const [, vendor, product] = /^usb:([0-9a-f]{1,4}):([0-9a-f]{1,4})/i.exec(link) ?? [];
  const isRelay = link.startsWith('hid:');
  if (!isRelay && (vendor === undefined || product === undefined)) return [];
  const id = (hex = '') => hexId(Number.parseInt(hex, 16));
  const wanted = isRelay ? '16c0:05df' : `${id(vendor)}:${id(product)}`;
  const devices = join(sys, 'bus/usb/devices');
  return thisHost.list(devices).flatMap((name) => {
    const ids = `${lineOf(thisHost, join(devices, name, 'idVendor'))}:${lineOf(thisHost, join(devices, name, 'idProduct'))}`;
    return ids === wanted ? (thisHost.realpath(join(devices, name)) ?? []) : [];
  });
}

function pathOfRelays(link: string): string | undefined {
  if (!link.startsWith('lcus:')) return undefined;
  const spec = parsePowerSpec(link);
  return spec.kind === 'lcus' ? spec.path : undefined;
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
