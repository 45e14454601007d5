/** A path with a played drive behind it: a SCSI target that holds a pattern, fails where it is told to, and
 * remembers every command that reached it. */
import { judgeReadOnly } from '../../../firmware-protocol/read-only.js';
import { identifyData } from '../../../hardware-sim/passthrough.js';
import type { Clock } from '../../../src/clock.js';
import type { ResetKind } from '../../../src/drive/drive.js';
import type { ScsiAnswer, ScsiCommand, ScsiPath } from '../../../src/drive/scsi/path.js';

export interface PlayedDrive {
  model: string;
  serial: string;
  sectorCount: number;
  sectorBytes: number;
  physicalSectorBytes: number;
  isRemovable: boolean;
  version: number;
  /** ATA PASS-THROUGH forms that are taken. */
  ataForms: readonly number[];
  /** READ CAPACITY names one sector too many. */
  isCountOffByOne: boolean;
  /** Pages of vital product data. */
  pages: ReadonlyMap<number, Uint8Array>;
  /** IDENTIFY DEVICE data is changed by this before it goes out. */
  editIdentify: (data: Uint8Array) => void;
  /** Answers before the drive does; undefined leaves it to the drive. */
  intercept: (command: ScsiCommand, index: number) => ScsiAnswer | undefined;
  elapsedMs: number;
}

export interface PlayedPath extends ScsiPath {
  readonly drive: PlayedDrive;
  readonly sent: ScsiCommand[];
  readonly resetsDone: ResetKind[];
  closed: boolean;
  there: boolean;
}

const defaults: PlayedDrive = {
  model: 'PLAYED DISK 1',
  serial: 'PD0001',
  sectorCount: 100_000,
  sectorBytes: 512,
  physicalSectorBytes: 4096,
  isRemovable: false,
  version: 6,
  ataForms: [16, 12],
  isCountOffByOne: false,
  pages: new Map(),
  editIdentify: () => {},
  intercept: () => undefined,
  elapsedMs: 3,
};

/** With a clock, commands take the time that they say. */
export function playedPath(
  changes: Partial<PlayedDrive> = {},
  path: Partial<Pick<ScsiPath, 'bridge' | 'transferBytesMax' | 'resets'>> = {},
  clock?: Clock,
): PlayedPath {
  const drive = { ...defaults, ...changes };
  const played: PlayedPath = {
    name: 'played:0',
    transferBytesMax: 1024 * 1024,
    resets: new Set(['abort', 'soft', 'hard']),
    ...path,
    drive,
    sent: [],
    resetsDone: [],
    closed: false,
    there: true,
    async send(command) {
      played.sent.push(command);
      const answered = drive.intercept(command, played.sent.length - 1) ?? answer(drive, command);
      await clock?.sleep(answered.elapsedMs);
      return answered;
    },
    async reset(kind) {
      played.resetsDone.push(kind);
    },
    isThere: async () => played.there,
    async close() {
      played.closed = true;
    },
  };
  return played;
}

export function good(data: Uint8Array = new Uint8Array(), elapsedMs = 3): ScsiAnswer {
  return { kind: 'done', status: 'good', data, sense: new Uint8Array(), elapsedMs };
}

export function check(sense: Uint8Array, data: Uint8Array = new Uint8Array()): ScsiAnswer {
  return { kind: 'done', status: 'check', data, sense, elapsedMs: 3 };
}

/** Sense in fixed format, with INFORMATION where `lba` is given. */
export function fixedSense(key: number, asc = 0, ascq = 0, lba?: number): Uint8Array {
  const sense = new Uint8Array(18);
  sense.set([lba === undefined ? 0x70 : 0xf0, 0, key, 0, 0, 0, 0, 10]);
  if (lba !== undefined) new DataView(sense.buffer).setUint32(3, lba);
  sense.set([asc, ascq], 12);
  return sense;
}

/** Sense in descriptor format with an ATA status return descriptor (SAT-3), 48 bits. */
export function ataSense(
  [key, asc, ascq]: readonly [number, number, number],
  { status, error, lba, count = 0 }: { status: number; error: number; lba: number; count?: number },
): Uint8Array {
  const byte = (index: number) => Math.floor(lba / 2 ** (8 * index)) & 0xff;
  const descriptor = [0x09, 0x0c, 1, error, count >> 8, count & 0xff];
  const address = [byte(3), byte(0), byte(4), byte(1), byte(5), byte(2)];
  return Uint8Array.of(0x72, key, asc, ascq, 0, 0, 0, 14, ...descriptor, ...address, 0x40, status);
}

/** What sector `lba` holds. */
export function sectorOf(lba: number, sectorBytes = 512): Uint8Array {
  const sector = new Uint8Array(sectorBytes).fill(lba % 251);
  new DataView(sector.buffer).setUint32(0, lba);
  return sector;
}

export function sectorsOf(lba: number, count: number, sectorBytes = 512): Uint8Array {
  const data = new Uint8Array(count * sectorBytes);
  for (let n = 0; n < count; n++) data.set(sectorOf(lba + n, sectorBytes), n * sectorBytes);
  return data;
}

const illegal = check(fixedSense(0x05, 0x20));

function answer(drive: PlayedDrive, { cdb, dataBytes }: ScsiCommand): ScsiAnswer {
  if (!judgeReadOnly(cdb).allowed)
    throw new Error(`the drive was sent ${Buffer.from(cdb).toString('hex')}`);
  const bytes = (data: Uint8Array) => good(data.subarray(0, dataBytes), drive.elapsedMs);
  const view = new DataView(cdb.buffer, cdb.byteOffset);
  switch (cdb[0]) {
    case 0x00:
    case 0x1b:
      return good();
    case 0x12:
      return cdb[1]! & 1 ? pageOf(drive, cdb[2]!, dataBytes) : bytes(inquiryOf(drive));
    case 0x25:
      return bytes(capacity10(drive));
    case 0x9e:
      return bytes(capacity16(drive));
    case 0x28:
      return readOf(drive, view.getUint32(2), view.getUint16(7));
    case 0x88:
      return readOf(drive, Number(view.getBigUint64(2)), view.getUint32(10));
    case 0x85:
      return drive.ataForms.includes(16) ? ataOf(drive, cdb, 14, dataBytes) : illegal;
    case 0xa1:
      return drive.ataForms.includes(12) ? ataOf(drive, cdb, 9, dataBytes) : illegal;
    default:
      return illegal;
  }
}

function readOf(drive: PlayedDrive, lba: number, count: number): ScsiAnswer {
  if (lba + count > drive.sectorCount) return check(fixedSense(0x05, 0x21));
  return good(sectorsOf(lba, count, drive.sectorBytes), drive.elapsedMs);
}

function ataOf(
  drive: PlayedDrive,
  cdb: Uint8Array,
  commandAt: number,
  dataBytes: number,
): ScsiAnswer {
  const command = cdb[commandAt];
  switch (command) {
    case 0xec:
      return good(identifyOf(drive).subarray(0, dataBytes));
    case 0x25: {
      const lba = [8, 10, 12, 7, 9, 11].reduce((sum, at, n) => sum + cdb[at]! * 2 ** (8 * n), 0);
      return readOf(drive, lba, (cdb[5]! << 8) | cdb[6]!);
    }
    case 0x21:
    case 0xc8: {
      const [first, device] = commandAt === 14 ? [8, 13] : [5, 8];
      const step = commandAt === 14 ? 2 : 1;
      const lba = [0, 1, 2].reduce((sum, n) => sum + cdb[first! + n * step]! * 2 ** (8 * n), 0);
      const count = commandAt === 14 ? cdb[6]! : cdb[4]!;
      return readOf(drive, lba + (cdb[device!]! & 0x0f) * 2 ** 24, count);
    }
    case 0xe0:
    case 0xe1:
    case 0xef:
      return good();
    default:
      return check(fixedSense(0x0b));
  }
}

export function identifyOf(drive: PlayedDrive): Uint8Array {
  const { model, serial, sectorCount, sectorBytes, physicalSectorBytes } = drive;
  const data = identifyData({
    model,
    serial,
    firmware: 'F1',
    sectorCount,
    sectorBytes,
    physicalSectorBytes,
    rotational: true,
    removable: false,
  });
  drive.editIdentify(data);
  sign(data);
  return data;
}

/** Puts the checksum right. */
export function sign(data: Uint8Array): void {
  data[511] = 0;
  data[511] = -data.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function inquiryOf({ model, isRemovable, version }: PlayedDrive): Uint8Array {
  const data = new Uint8Array(36);
  data.set([0, isRemovable ? 0x80 : 0, version, 2, 31]);
  data.set(Buffer.from(`BRIDGE  ${model.padEnd(16).slice(0, 16)}0100`), 8);
  return data;
}

function pageOf(drive: PlayedDrive, page: number, dataBytes: number): ScsiAnswer {
  const body = page === 0 ? Uint8Array.from([0, ...drive.pages.keys()]) : drive.pages.get(page);
  if (!body) return check(fixedSense(0x05, 0x24));
  const data = Uint8Array.of(0, page, body.length >> 8, body.length & 0xff, ...body);
  return good(data.subarray(0, dataBytes));
}

function capacity10({ sectorCount, sectorBytes, isCountOffByOne }: PlayedDrive): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, Math.min(sectorCount - (isCountOffByOne ? 0 : 1), 0xffff_ffff));
  view.setUint32(4, sectorBytes);
  return new Uint8Array(view.buffer);
}

function capacity16({ sectorCount, sectorBytes, physicalSectorBytes }: PlayedDrive): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(0, BigInt(sectorCount - 1));
  view.setUint32(8, sectorBytes);
  view.setUint8(13, Math.log2(physicalSectorBytes / sectorBytes));
  return new Uint8Array(view.buffer);
}
