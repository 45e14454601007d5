/** Played parts of Linux for tests of `sg:`: a /sys with devices in it, and the process that sends
 * commands. */
import type { ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { dirname } from 'node:path';
import { PassThrough } from 'node:stream';
import type { SgSysfs } from '../../src/drive/sg/nodes.js';
import {
  decodeRecord,
  encodeReplyNumbers,
  type Hello,
  helloId,
  replyHeaderBytes,
  requestBytes,
  type SgRecord,
  type SgReplyHeader,
  sgPartsOf,
} from '../../src/drive/sg/records.js';
import type { SenderPaths } from '../../src/drive/sg/sender-process.js';

export interface PlayedDevice {
  /** `sg2`. */
  readonly generic: string;
  readonly device: string;
  /** `sdb`, with its numbers. */
  readonly block?: { readonly name: string; readonly number: string };
  readonly attributes?: Readonly<Record<string, string>>;
  /** The USB device above, and the driver of its interface. */
  readonly usb?: Readonly<Record<'idVendor' | 'idProduct' | 'serial' | 'driver', string>>;
}

/** A /sys with these devices. */
export function sysfsWith(...devices: PlayedDevice[]): SgSysfs {
  const texts = new Map<string, string>();
  const links = new Map<string, string>();
  const lists = new Map<string, string[]>([
    ['/sys/class/scsi_generic', devices.map(({ generic }) => generic)],
  ]);
  for (const { generic, device, block, attributes, usb } of devices) {
    links.set(`/sys/class/scsi_generic/${generic}/device`, device);
    lists.set(`${device}/scsi_generic`, [generic]);
    const all = { type: '0\n', state: 'running\n', ...attributes };
    for (const [name, text] of Object.entries(all)) texts.set(`${device}/${name}`, text);
    if (block) {
      const folder = `${device}/block/${block.name}`;
      lists.set(`${device}/block`, [block.name]);
      links.set(`/sys/dev/block/${block.number}`, folder);
      links.set(`${folder}/device`, device);
    }
    if (usb) {
      const face = dirname(dirname(dirname(device)));
      links.set(`${face}/driver`, `/sys/bus/usb/drivers/${usb.driver}`);
      for (const name of ['idVendor', 'idProduct', 'serial'] as const)
        texts.set(`${dirname(face)}/${name}`, `${usb[name]}\n`);
    }
  }
  return {
    read: (path) => texts.get(path),
    realpath: (path) => links.get(path),
    list: (path) => lists.get(path) ?? [],
  };
}

export const pci = '/sys/devices/pci0000:00';
export const sata: PlayedDevice = {
  generic: 'sg2',
  device: `${pci}/0000:00:1f.2/ata1/host2/target2:0:0/2:0:0:0`,
  block: { name: 'sdb', number: '8:16' },
  attributes: { wwid: 'naa.5000000000000001\n', vendor: 'ATA     \n', model: 'DRIVE\n' },
};
export const sas: PlayedDevice = {
  generic: 'sg2',
  device: `${pci}/0000:01:00.0/host5/port-5:0/end_device-5:0/target5:0:0/5:0:0:0`,
};
export const usbBridge = {
  idVendor: '174c',
  idProduct: '55aa',
  serial: '123456789',
  driver: 'usb-storage',
};
export const usbDisk = (port: string, host: number, generic: string): PlayedDevice => ({
  generic,
  device: `${pci}/0000:00:14.0/usb2/2-${port}/2-${port}:1.0/host${host}/target${host}:0:0/${host}:0:0:0`,
  attributes: { vendor: 'DOCK\n', model: 'WDC\n' },
  usb: usbBridge,
});

/** What the kernel says of a command; what is left out is as after a good one. */
export interface PlayedResult {
  readonly errno?: number;
  readonly status?: number;
  readonly hostStatus?: number;
  readonly sense?: Uint8Array;
  readonly data?: Uint8Array;
  readonly refused?: string;
}

/** How a sending process behaves. */
export interface PlayedPart {
  readonly hello?: Hello;
  /** Undefined: it hangs. */
  serve?(record: SgRecord): PlayedResult | undefined;
  /** Killing it does not end it. */
  readonly isImmortal?: boolean;
}

/** A process that plays `part`, and what it was asked. */
export interface PlayedSender {
  readonly paths: SenderPaths;
  readonly asked: SgRecord[];
  readonly child: ChildProcess;
  isKilled: boolean;
  /** Ends by itself. */
  die(): void;
}

const open: Hello = { state: 'open', transferBytes: 1 << 20, mayReset: true };

export function playSender(paths: SenderPaths, part: PlayedPart): PlayedSender {
  const pipe = () => Object.assign(new PassThrough(), { ref: () => {}, unref: () => {} });
  const [requests, replies] = [pipe(), pipe()];
  const child = Object.assign(new EventEmitter(), {
    stdio: [null, null, null, requests, replies],
    exitCode: null as number | null,
    signalCode: null,
    unref: () => {},
    kill() {
      played.isKilled = true;
      if (!part.isImmortal) setImmediate(() => child.emit('exit', null, 'SIGKILL'));
      return true;
    },
  });
  const played: PlayedSender = {
    paths,
    asked: [],
    child: child as unknown as ChildProcess,
    isKilled: false,
    die: () => void child.emit('close', 1, null),
  };
  requests.on('data', (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; at += requestBytes) {
      const record = decodeRecord(bytes.subarray(at));
      played.asked.push(record);
      const result = (part.serve ?? (() => ({})))(record);
      if (result) replies.write(replyOf(record.id, result));
    }
  });
  replies.write(helloReply(part.hello ?? open));
  return played;
}

function helloReply(hello: Hello): Uint8Array {
  const data = Buffer.from(JSON.stringify(hello));
  return bytesOf({ kind: 'hello', id: helloId, errno: 0, elapsedMs: 0 }, data);
}

function replyOf(id: number, result: PlayedResult): Uint8Array {
  const { errno = 0, sense = new Uint8Array(0), refused } = result;
  const data = refused ? Buffer.from(refused) : (result.data ?? new Uint8Array(0));
  const bytes = bytesOf({ kind: refused ? 'refused' : 'answer', id, errno, elapsedMs: 2 }, data);
  const { header, sense: senseInto } = sgPartsOf(bytes);
  senseInto.set(sense);
  header[64] = result.status ?? 0;
  header[67] = sense.length;
  header[68] = result.hostStatus ?? 0;
  return bytes;
}

function bytesOf(
  numbers: Pick<SgReplyHeader, 'kind' | 'id' | 'errno' | 'elapsedMs'>,
  data: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(replyHeaderBytes + data.length);
  encodeReplyNumbers({ ...numbers, dataBytes: data.length }, bytes);
  bytes.set(data, replyHeaderBytes);
  return bytes;
}
