/** Opens the links that have names on the command line. */
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import type { Clock } from '../clock.js';
import { serialTransport } from './links/serial.js';
import { type LinkSpec, parseLinkSpec } from './links/spec.js';
import { stdioTransport } from './links/stdio.js';
import { tcpTransport } from './links/tcp.js';
import { usbTransport } from './links/usb.js';
import type { Transport, Wire } from './links/wire.js';

export { type LinkSpec, parseLinkSpec } from './links/spec.js';
export type { Transport, Wire } from './links/wire.js';

/** A link that may be opened again after it dropped. */
export interface OpenedLink extends Link {
  /** Another link to the same imager, wherever it is by then; rejects while it is not there. Absent
   * where there is no same imager any more. */
  readonly reopen?: () => Promise<Link>;
  /** What the other end says to people, a line at a time, from the start on. */
  onNotice(handler: (line: string) => void): void;
}

/** The way to the imager that `spec` names. Nothing is opened yet. */
export function transportTo(spec: LinkSpec, clock: Clock): Transport {
  switch (spec.kind) {
    case 'serial':
      return serialTransport(spec, clock);
    case 'usb':
      return usbTransport(spec, clock);
    case 'tcp':
      return tcpTransport(spec, clock);
    case 'stdio':
      return stdioTransport(spec, clock);
  }
}

/** Opens the bytes alone, for whoever makes frames himself. Throws as `openLink`. */
export async function openWire(spec: string, clock: Clock): Promise<Wire> {
  return transportTo(parseLinkSpec(spec), clock).open();
}

/** Opens `serial:PATH[?baud=N]`, `usb:VID:PID[:SERIAL]`, `tcp:HOST:PORT` or `stdio:COMMAND`. Throws
 * DRIVE_UNKNOWN for another spelling, TOOL_MISSING without the package for USB, and
 * DRIVE_OPEN_FAILED with one line that says what, where and what to do. */
export async function openLink(spec: string, clock: Clock): Promise<OpenedLink> {
  return linkThrough(transportTo(parseLinkSpec(spec), clock), spec);
}

/** Opens a transport. `name`: what the link is called in messages. */
export async function linkThrough(transport: Transport, name: string): Promise<OpenedLink> {
  const wire = await transport.open();
  const reopen = async () => framed(await transport.open(), name);
  return Object.assign(framed(wire, name), {
    onNotice: (handler: (line: string) => void) => wire.onNotice?.(handler),
    ...(transport.canReopen && { reopen }),
  });
}

function framed(wire: Wire, name: string): Link {
  return framedLink(wire.stream, { name, close: () => wire.close() });
}
