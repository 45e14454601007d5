/** dcttech's relay boards: HID devices 16c0:05df that call themselves USBRelay1 to USBRelay8. */

import type { Clock } from '../clock.js';
import { LastspinError } from '../errors.js';
import type { RelayBoard } from './relay.js';
import { type ControlPipe, openPipe, type Setup, type UsbAccess } from './usb.js';

const ids = { vendor: 0x16c0, product: 0x05df } as const;

/** HID 1.11 clause 7.2, but to the device and not to its interface: the board takes both, and the system asks
 * no driver to let go of an interface that nobody addresses. Feature report. */
const setReport: Setup = { requestType: 0x20, request: 0x09, value: 0x0300, index: 0 };
const getReport: Setup = { requestType: 0xa0, request: 0x01, value: 0x0301, index: 0 };
const reportBytes = 8;

/** FF attracts a relay, FD lets it go. */
export function hidCommand(relay: number, attracted: boolean): Uint8Array {
  return Uint8Array.of(attracted ? 0xff : 0xfd, relay, 0, 0, 0, 0, 0, 0);
}

/** The report that tells of a board: five letters of its own, and a bit a relay in its last byte. Undefined for
 * what is none. */
export function parseHidReport(
  bytes: Uint8Array,
): { readonly serial: string; readonly mask: number } | undefined {
  const mask = bytes[reportBytes - 1];
  if (bytes.length !== reportBytes || mask === undefined) return undefined;
  const serial = Buffer.from(bytes.subarray(0, 5)).toString('latin1').replace(/\0.*$/s, '');
  return /^[\x20-\x7e]*$/.test(serial) ? { serial, mask } : undefined;
}

/** How many relays a board of that name has; undefined where it is another product of the same shared ids. */
export function relaysOf(productName: string): number | undefined {
  const count = /^USBRelay([1-8])$/.exec(productName.trim())?.[1];
  return count === undefined ? undefined : Number(count);
}

interface Found {
  readonly pipe: ControlPipe;
  readonly serial: string;
  readonly mask: number;
  readonly count: number;
}

/** The board of that serial number, or the only one. It is looked for at every call, wherever it is plugged in
 * then; its own driver stays. Throws POWER_FAILED. */
export async function openHidBoard(
  name: string,
  serial: string | undefined,
  usb: UsbAccess,
  clock: Clock,
): Promise<RelayBoard> {
  const withBoard = async <T>(use: (board: Found) => Promise<T>): Promise<T> => {
    const board = await findBoard(name, serial, usb, clock);
    try {
      return await use(board);
    } finally {
      board.pipe.close();
    }
  };
  const statesOf = ({ mask, count }: Found) =>
    Array.from({ length: count }, (_, at) => ((mask >> at) & 1) === 1);
  await withBoard(async () => {});
  return {
    move: (relay, attracted) =>
      withBoard(async ({ pipe, count }) => {
        if (relay <= count) return await pipe.write(setReport, hidCommand(relay, attracted));
        throw new LastspinError('POWER_FAILED', `${name}: the board has no relay ${relay}`);
      }),
    states: () => withBoard(async (board) => statesOf(board)),
    async close() {},
  };
}

async function findBoard(
  name: string,
  serial: string | undefined,
  usb: UsbAccess,
  clock: Clock,
): Promise<Found> {
  const boards = await seeBoards(name, usb, clock);
  const fitting = boards.filter((board) => serial === undefined || board.serial === serial);
  const [found] = fitting;
  for (const board of boards) if (fitting.length !== 1 || board !== found) board.pipe.close();
  if (found && fitting.length === 1) return found;
  const choice = boards.map((board) => `hid:${board.serial}`).join(', ');
  const why =
    boards.length === 0
      ? 'there is no relay board (16c0:05df); is it plugged in?'
      : `${fitting.length === 0 ? 'there is none of that serial number' : 'there are several'}: ${choice}`;
  throw new LastspinError('POWER_FAILED', `${name}: ${why}`);
}

/** All boards, open. */
async function seeBoards(name: string, usb: UsbAccess, clock: Clock): Promise<Found[]> {
  const seen: Found[] = [];
  const pipes: ControlPipe[] = [];
  try {
    for (const device of usb.getDeviceList()) {
      const { idVendor, idProduct } = device.deviceDescriptor;
      if (idVendor !== ids.vendor || idProduct !== ids.product) continue;
      const pipe = openPipe(name, device, usb, clock);
      pipes.push(pipe);
      const board = await look(pipe);
      if (board) seen.push(board);
      else pipe.close();
    }
  } catch (error) {
    for (const pipe of pipes) pipe.close();
    throw error;
  }
  return seen;
}

async function look(pipe: ControlPipe): Promise<Found | undefined> {
  const count = relaysOf(await pipe.productName());
  if (count === undefined) return undefined;
  const report = parseHidReport(await pipe.read(getReport, reportBytes));
  return report && { pipe, count, ...report };
}
