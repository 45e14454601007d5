/** What the words after `--power` mean. */

import { LastspinError } from '../errors.js';

/** Which contact of a relay the drive's supply goes through: `no` is open while the relay is at rest, `nc`
 * closed. */
export type Contact = 'no' | 'nc';

/** Relays of one board that switch one drive together: numbers from 1, in the order of switching on. */
export interface RelayChoice {
  readonly relays: readonly number[];
  readonly contact: Contact;
}

export type PowerSpec =
  | { readonly kind: 'none' }
  | { readonly kind: 'imager' }
  | { readonly kind: 'manual' }
  /** An imager beside the drive's adapter, by the name of its link. */
  | { readonly kind: 'link' }
  | { readonly kind: 'exec'; readonly command: string }
  | ({ readonly kind: 'lcus'; readonly path: string } & RelayChoice)
  | ({ readonly kind: 'hid'; readonly serial?: string } & RelayChoice)
  | { readonly kind: 'hub'; readonly port: PortLocation };

/** A port of a USB hub. */
export interface PortLocation {
  /** The hub's bus. */
  readonly bus: number;
  /** The hub's place: ports from the root hub on; empty for the root hub itself. */
  readonly hub: readonly number[];
  /** From 1. */
  readonly port: number;
}

const links = ['serial', 'tcp', 'usb', 'stdio'];
/** LCUS boards have up to eight relays, dcttech's too. */
const relayMax = 8;
const known =
  'known are imager, serial:, tcp:, usb:, stdio:, hub:1-1.4, lcus:PORT:RELAY, hid:SERIAL:RELAY, exec:COMMAND, manual and none';

/** Throws USAGE for what is no switch, and for one that is not named completely. */
export function parsePowerSpec(spec: string): PowerSpec {
  if (spec === 'none' || spec === 'imager' || spec === 'manual') return { kind: spec };
  const colon = spec.indexOf(':');
  const rest = spec.slice(colon + 1);
  const scheme = spec.slice(0, Math.max(0, colon));
  if (links.includes(scheme)) return { kind: 'link' };
  switch (scheme) {
    case 'exec':
      return { kind: 'exec', command: rest };
    case 'lcus':
      return parseLcus(spec, rest);
    case 'hid':
      return parseHid(spec, rest);
    case 'hub':
      return { kind: 'hub', port: parseLocation(spec, rest) };
    default:
      throw new LastspinError('USAGE', `unknown power switch '${spec}'; ${known}`);
  }
}

function unclear(spec: string, why: string): LastspinError {
  return new LastspinError('USAGE', `cannot make sense of --power ${spec}: ${why}`);
}

function parseLcus(spec: string, rest: string): PowerSpec {
  const { name, relays } = splitRelays(rest);
  const choice = choiceOf(spec, relays);
  // Of `COM3` alone the port would be the relay.
  if (name && choice) return { kind: 'lcus', path: name, ...choice };
  throw unclear(
    spec,
    'as in lcus:/dev/ttyUSB0:1, or lcus:/dev/ttyUSB0:1,2 for two relays together',
  );
}

function parseHid(spec: string, rest: string): PowerSpec {
  const { name, relays } = splitRelays(rest);
  const choice = choiceOf(spec, relays);
  if (choice) return { kind: 'hid', ...(name && { serial: name }), ...choice };
  throw unclear(spec, 'as in hid:BITFT:1, or hid:1 where there is only one board');
}

/** `NAME:1,2?wired=nc`; a name may hold colons. */
function splitRelays(rest: string): { name: string; relays: string } {
  const at = rest.lastIndexOf(':');
  return { name: rest.slice(0, Math.max(0, at)), relays: rest.slice(at + 1) };
}

function choiceOf(spec: string, text: string): RelayChoice | undefined {
  const [list = '', query = ''] = text.split('?', 2);
  if (!/^\d+(,\d+)*$/.test(list)) return undefined;
  const relays = list.split(',').map(Number);
  if (relays.some((relay) => relay < 1 || relay > relayMax))
    throw unclear(spec, `relays are numbered from 1 to ${relayMax}`);
  if (new Set(relays).size < relays.length) throw unclear(spec, 'a relay is named twice');
  return { relays, contact: contactOf(spec, query) };
}

function contactOf(spec: string, query: string): Contact {
  const options = new URLSearchParams(query);
  for (const name of options.keys()) {
    if (name !== 'wired') throw unclear(spec, `a relay has no option '${name}', only 'wired'`);
  }
  const wired = (options.get('wired') ?? 'no').toLowerCase();
  if (wired === 'no' || wired === 'nc') return wired;
  throw unclear(spec, 'wired=no or wired=nc: the contact that the drive hangs on');
}

/** `1-1.4`: bus 1, port 1 of its root hub, port 4 of the hub there. As `lsusb -t` and /sys count. */
function parseLocation(spec: string, rest: string): PortLocation {
  const [, bus, chain = ''] = /^(\d+)-(\d+(?:\.\d+)*)$/.exec(rest) ?? [];
  const ports = chain.split('.').map(Number);
  const port = ports.at(-1);
  if (bus !== undefined && port !== undefined && ports.every((each) => each >= 1 && each <= 255))
    return { bus: Number(bus), hub: ports.slice(0, -1), port };
  throw unclear(spec, 'as in hub:1-1.4, the place of the drive below its hub as in /sys/bus/usb');
}

/** `1-1.4`. */
export function nameOfPort({ bus, hub, port }: PortLocation): string {
  return `${bus}-${[...hub, port].join('.')}`;
}
