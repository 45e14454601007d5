import { LastspinError } from '../../errors.js';
import type { UsbName } from './usb.js';

/** A link by its name on the command line. Vendor and product are numbers of 16 bits. */
export type LinkSpec =
  | { readonly kind: 'serial'; readonly path: string; readonly baudRate: number }
  | {
      readonly kind: 'usb';
      readonly vendorId: number;
      readonly productId: number;
      readonly serialNumber?: string;
    }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'stdio'; readonly command: string };

/** What the reference firmware speaks; a port over USB does not care. */
const baudRateDefault = 115_200;
const baudRateMax = 12_000_000;

const parsers: Readonly<Record<string, (spec: string, rest: string) => LinkSpec>> = {
  serial: parseSerial,
  usb: parseUsb,
  tcp: parseTcp,
  stdio: parseStdio,
};

/** What `serial:PATH[?baud=N]`, `usb:VID:PID[:SERIAL]`, `tcp:HOST:PORT` or `stdio:COMMAND` means.
 * Throws DRIVE_UNKNOWN on anything else. */
export function parseLinkSpec(spec: string): LinkSpec {
  const colon = spec.indexOf(':');
  const parse = parsers[spec.slice(0, Math.max(0, colon))];
  if (parse) return parse(spec, spec.slice(colon + 1));
  throw unknown(spec, 'a link is serial:PATH, usb:VID:PID, tcp:HOST:PORT or stdio:COMMAND');
}

function unknown(spec: string, why: string): LastspinError {
  return new LastspinError('DRIVE_UNKNOWN', `cannot make sense of '${spec}': ${why}`);
}

function parseSerial(spec: string, rest: string): LinkSpec {
  const [path = '', query = ''] = rest.split('?', 2);
  if (path === '') throw unknown(spec, 'the port is missing, as in serial:/dev/ttyACM0');
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys()) {
    if (name !== 'baud') throw unknown(spec, `a serial port has no option '${name}', only 'baud'`);
  }
  const baud = parameters.get('baud') ?? String(baudRateDefault);
  const baudRate = Number(baud);
  if (!/^\d+$/.test(baud) || baudRate < 1 || baudRate > baudRateMax) {
    throw unknown(spec, `the baud rate is a number from 1 to ${baudRateMax}`);
  }
  return { kind: 'serial', path, baudRate };
}

function parseUsb(spec: string, rest: string): LinkSpec {
  return { kind: 'usb', ...parseUsbName(spec, rest, 'usb') };
}

/** VID:PID[:SERIAL], in hex as `lsusb` shows it, behind `scheme:`. Throws DRIVE_UNKNOWN. */
export function parseUsbName(spec: string, rest: string, scheme: string): UsbName {
  const match = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})(?::(.+))?$/i.exec(rest);
  const [, vendor, product, serialNumber] = match ?? [];
  if (vendor === undefined || product === undefined) {
    const example = `${scheme}:1209:0001`;
    throw unknown(spec, `as in ${example} or ${example}:SERIAL, as lsusb shows it`);
  }
  return {
    vendorId: Number.parseInt(vendor, 16),
    productId: Number.parseInt(product, 16),
    ...(serialNumber !== undefined && { serialNumber }),
  };
}

function parseTcp(spec: string, rest: string): LinkSpec {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(rest);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw unknown(spec, 'as in tcp:192.168.1.20:7070 or tcp:[fe80::1]:7070');
  }
  return { kind: 'tcp', host, port };
}

function parseStdio(spec: string, rest: string): LinkSpec {
  const command = rest.trim();
  if (command === '') throw unknown(spec, "the command is missing, as in 'stdio:ssh board imager'");
  return { kind: 'stdio', command };
}
