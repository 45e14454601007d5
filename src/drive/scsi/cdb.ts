/** Command descriptor blocks of the commands that are sent to a drive: only bytes, no opinion. What may be
 * sent is the matter of the read-only list (firmware-protocol/read-only.ts). */

import type { Extent } from '../../map/extent.js';

/** Fixed commands of six bytes. */
function six(opcode: number, length = 0, byte1 = 0, byte2 = 0): Uint8Array {
  return Uint8Array.of(opcode, byte1, byte2, 0, length, 0);
}

/** TEST UNIT READY (SPC-4). */
export const testUnitReady = (): Uint8Array => six(0x00);

/** REQUEST SENSE, fixed format (SPC-4). */
export const requestSense = (): Uint8Array => six(0x03, senseBytesMax);

/** Most sense data that any device sends (SPC-4). */
export const senseBytesMax = 252;

/** Standard INQUIRY data (SPC-4). Many a bridge hangs when asked for more than 36 bytes. */
export const inquiry = (): Uint8Array => six(0x12, inquiryBytes);
export const inquiryBytes = 36;

/** INQUIRY for a page of vital product data (SPC-4). Its length has 16 bits. */
export function inquiryPage(page: number, bytes: number): Uint8Array {
  return Uint8Array.of(0x12, 1, page, bytes >> 8, bytes & 0xff, 0);
}

/** READ CAPACITY (10) (SBC-3). */
export function readCapacity10(): Uint8Array {
  const cdb = new Uint8Array(10);
  cdb[0] = 0x25;
  return cdb;
}
export const readCapacity10Bytes = 8;

/** READ CAPACITY (16) (SBC-3). */
export function readCapacity16(): Uint8Array {
  const cdb = new Uint8Array(16);
  cdb.set([0x9e, 0x10]);
  cdb[13] = readCapacity16Bytes;
  return cdb;
}
export const readCapacity16Bytes = 32;

/** MODE SENSE (6) and (10) of one page, current values, without block descriptors (SPC-4). */
export function modeSense6(page: number): Uint8Array {
  return Uint8Array.of(0x1a, 0x08, page & 0x3f, 0, modeSense6Bytes, 0);
}
export const modeSense6Bytes = 192;
export function modeSense10(page: number): Uint8Array {
  return Uint8Array.of(0x5a, 0x08, page & 0x3f, 0, 0, 0, 0, 0, modeSense10Bytes, 0);
}
export const modeSense10Bytes = 252;

/** START STOP UNIT (SBC-3) without power conditions; it never loads or ejects. Returns when done. */
export const startStopUnit = (start: boolean): Uint8Array => six(0x1b, start ? 1 : 0);

/** Whether READ (10) can name the extent. */
export function fitsRead10({ lba, count }: Extent): boolean {
  return lba + count <= 2 ** 32 && count <= 0xffff;
}

/** READ (10) (SBC-3) of an extent that fits. */
export function read10({ lba, count }: Extent): Uint8Array {
  const view = new DataView(new ArrayBuffer(10));
  view.setUint8(0, 0x28);
  view.setUint32(2, lba);
  view.setUint16(7, count);
  return new Uint8Array(view.buffer);
}

/** READ (16) (SBC-3). */
export function read16({ lba, count }: Extent): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint8(0, 0x88);
  view.setBigUint64(2, BigInt(lba));
  view.setUint32(10, count);
  return new Uint8Array(view.buffer);
}

/** Which ATA PASS-THROUGH carries a command. The shorter one has no room for 48-bit addresses. */
export type AtaForm = 12 | 16;

/** An ATA command without data or with data from the drive, in the words of ACS-3. */
export interface AtaCommand {
  readonly command: number;
  readonly features?: number;
  /** The COUNT field; with data, so many sectors or pieces of 512 bytes come. */
  readonly count?: number;
  readonly lba?: number;
  readonly device?: number;
  readonly transfer: 'none' | 'pio-in' | 'dma-in';
  /** A command of the 48-bit set: form 16 only. */
  readonly extended?: boolean;
  /** Asks for the registers afterwards, also where nothing went wrong (CK_COND). */
  readonly wantsRegisters?: boolean;
  /** COUNT is in the drive's sectors, where these are not of 512 bytes (T_TYPE). */
  readonly inDriveSectors?: boolean;
}

/** PROTOCOL of SAT-3 table 138. */
const protocols = { none: 3, 'pio-in': 4, 'dma-in': 6 } as const;
const checkCondition = 0x20;
const driveSectors = 0x10;
const fromDevice = 0x08;
const inPieces = 0x04;
const lengthInCount = 0x02;
/** The LBA bit of the DEVICE register. */
const lbaMode = 0x40;

/** ATA PASS-THROUGH (12) or (16) (SAT-3). Addresses of 28 bits end in the DEVICE field. */
export function ataPassThrough(command: AtaCommand, form: AtaForm): Uint8Array {
  const { transfer, features = 0, count = 0, lba = 0, extended = false } = command;
  const at = (byte: number) => Math.floor(lba / 2 ** (8 * byte)) & 0xff;
  const device = (command.device ?? lbaMode) | (extended ? 0 : at(3) & 0x0f);
  const flags =
    (command.wantsRegisters ? checkCondition : 0) |
    (transfer === 'none' ? 0 : fromDevice | inPieces | lengthInCount) |
    (transfer !== 'none' && command.inDriveSectors ? driveSectors : 0);
  const protocol = protocols[transfer] << 1;
  if (form === 12) {
    const tail = [features, count & 0xff, at(0), at(1), at(2), device, command.command, 0, 0];
    return Uint8Array.of(0xa1, protocol, flags, ...tail);
  }
  const high = (value: number) => (extended ? value : 0);
  return Uint8Array.of(
    ...[0x85, protocol | high(1), flags],
    ...[high(features >> 8), features & 0xff, high(count >> 8), count & 0xff],
    ...[high(at(3)), at(0), high(at(4)), at(1), high(at(5)), at(2)],
    ...[device, command.command, 0],
  );
}

const smart = (features: number, more: Partial<AtaCommand>): AtaCommand => ({
  command: 0xb0,
  features,
  lba: smartSignature,
  transfer: 'pio-in',
  count: 1,
  ...more,
});
/** LBA mid and high of every SMART command (ACS-3). */
const smartSignature = 0xc2_4f_00;

/** LBA of IDLE IMMEDIATE with the unload feature (ACS-3): `UNL`. */
const unloadSignature = 0x55_4e_4c;

/** What a drive is asked through the pass-through, by the clauses of ACS-3 unless another is named. */
export const ata = {
  /** 7.12. */
  identifyDevice: (): AtaCommand => ({ command: 0xec, transfer: 'pio-in', count: 1 }),
  /** 7.48. */
  smartReadData: (): AtaCommand => smart(0xd0, {}),
  /** 7.48; obsolete, and still answered. */
  smartReadThresholds: (): AtaCommand => smart(0xd1, {}),
  /** 7.48. */
  smartReadLog: (address: number, count: number): AtaCommand =>
    smart(0xd5, { lba: smartSignature | address, count }),
  /** 7.48: the registers tell. */
  smartReturnStatus: (): AtaCommand =>
    smart(0xda, { transfer: 'none', count: 0, wantsRegisters: true }),
  /** Clause 8: the SCT status is this log. */
  sctStatus: (): AtaCommand => ata.smartReadLog(0xe0, 1),
  /** Host Protected Area (ACS-2); obsolete in ACS-3, and still answered. */
  readNativeMaxAddress: (): AtaCommand => ({
    command: 0xf8,
    transfer: 'none',
    wantsRegisters: true,
  }),
  /** The same for 48-bit addresses. */
  readNativeMaxAddressExt: (): AtaCommand => ({
    command: 0x27,
    transfer: 'none',
    extended: true,
    wantsRegisters: true,
  }),
  /** Device Configuration Overlay (ACS-2); obsolete in ACS-3. */
  deviceConfigurationIdentify: (): AtaCommand => ({
    command: 0xb1,
    features: 0xc2,
    transfer: 'pio-in',
    count: 1,
  }),
  /** 7.3. */
  checkPowerMode: (): AtaCommand => ({ command: 0xe5, transfer: 'none', wantsRegisters: true }),
  /** 7.50. */
  standbyImmediate: (): AtaCommand => ({ command: 0xe0, transfer: 'none' }),
  /** 7.15; with the unload feature, the heads leave the platters. */
  idleImmediate: (unload: boolean): AtaCommand => ({
    command: 0xe1,
    transfer: 'none',
    ...(unload && { features: 0x44, lba: unloadSignature }),
  }),
  /** 7.45: read look-ahead. */
  setLookAhead: (on: boolean): AtaCommand => ({
    command: 0xef,
    features: on ? 0xaa : 0x55,
    transfer: 'none',
  }),
  /** 7.22. */
  readDmaExt: ({ lba, count }: Extent): AtaCommand => ({
    command: 0x25,
    transfer: 'dma-in',
    extended: true,
    inDriveSectors: true,
    lba,
    count,
  }),
  /** 7.29. */
  readSectorsExt: ({ lba, count }: Extent): AtaCommand => ({
    ...ata.readDmaExt({ lba, count }),
    command: 0x24,
    transfer: 'pio-in',
  }),
  /** 7.21. */
  readDma: ({ lba, count }: Extent): AtaCommand => ({
    command: 0xc8,
    transfer: 'dma-in',
    inDriveSectors: true,
    lba,
    count,
  }),
  /** READ SECTORS without retries (ATA-3); obsolete since ATA-5, and there is no 48-bit one. */
  readSectorsWithoutRetry: ({ lba, count }: Extent): AtaCommand => ({
    ...ata.readDma({ lba, count }),
    command: 0x21,
    transfer: 'pio-in',
  }),
} as const;

/** Whether a command of the 28-bit set can name the extent. A COUNT of 0, which means 256 to a drive, is
 * nothing to many a bridge. */
export function fitsLba28({ lba, count }: Extent): boolean {
  return lba + count <= 2 ** 28 && count <= 0xff;
}

/** Whether a command of the 48-bit set can. */
export function fitsLba48({ lba, count }: Extent): boolean {
  return lba + count <= 2 ** 48 && count <= 0xffff;
}
