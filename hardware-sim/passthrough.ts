/** SCSI commands that the simulated drive and its bridge answer besides reads, and the IDENTIFY
 * data behind them. */
import { type AtaQuestion, type AtaTold, answerQuestion, registersSense } from './ata-questions.js';
import type { SimulatedDrive, SimulatedIdentity } from './drive.js';

export interface ScsiAnswer {
  /** SAM-5 status: 0 GOOD, 2 CHECK CONDITION. */
  readonly scsiStatus: number;
  readonly sense: Uint8Array;
  readonly data: Uint8Array;
  readonly elapsedMs: number;
}

const nothing = new Uint8Array(0);
/** A command that touches no platter. */
const quickMs = 1;

/** Answers one SCSI command; the caller has checked that it only reads. What is not simulated ends
 * as INVALID COMMAND OPERATION CODE, as with a real bridge; a hung drive that still answers
 * aborts. */
export function answerScsi(drive: SimulatedDrive, cdb: Uint8Array, nowMs: number): ScsiAnswer {
  const identity = drive.identify(nowMs);
  if (!identity) return failed(0x0b, 0);
  switch (cdb[0]) {
    case 0x00: // TEST UNIT READY
      return good(nothing);
    case 0x12: // INQUIRY
      return inquiry(cdb, identity);
    case 0x25: // READ CAPACITY (10)
      return good(readCapacity10(identity));
    case 0x9e: // SERVICE ACTION IN (16): READ CAPACITY (16)
      return good(readCapacity16(identity));
    case 0x85: // ATA PASS-THROUGH (16)
      return answerAta(drive, identity, taskOf16(cdb), nowMs);
    case 0xa1: // ATA PASS-THROUGH (12)
      return answerAta(drive, identity, taskOf12(cdb), nowMs);
    default:
      return failed(0x05, 0x20);
  }
}

/** What an ATA PASS-THROUGH carries. */
interface AtaTask extends AtaQuestion {
  readonly isExtended: boolean;
}

/** SAT-3 12.2.3. */
function taskOf16(cdb: Uint8Array): AtaTask {
  const at = (index: number) => cdb[index] ?? 0;
  const lba = at(8) | (at(10) << 8) | (at(12) << 16);
  return { command: at(14), features: at(4), lba, isExtended: (at(1) & 1) === 1 };
}

/** SAT-3 12.2.2. */
function taskOf12(cdb: Uint8Array): AtaTask {
  const at = (index: number) => cdb[index] ?? 0;
  const lba = at(5) | (at(6) << 8) | (at(7) << 16);
  return { command: at(9), features: at(3), lba, isExtended: false };
}

/** A stick or card behind its own controller knows no ATA commands. */
function answerAta(
  drive: SimulatedDrive,
  identity: SimulatedIdentity,
  task: AtaTask,
  nowMs: number,
): ScsiAnswer {
  switch (task.command) {
    case 0xec: // IDENTIFY DEVICE
      return identity.removable ? failed(0x05, 0x20) : good(identifyData(identity));
    case 0xe0: // STANDBY IMMEDIATE
      return { ...good(nothing), elapsedMs: drive.standby(nowMs) };
    case 0xe1: // IDLE IMMEDIATE
      return { ...good(nothing), elapsedMs: drive.unload(nowMs) };
    case 0xef: // SET FEATURES: look-ahead on or off; the read-only list has no other
      drive.setLookAhead(task.features === 0xaa);
      return good(nothing);
    default:
      return identity.removable
        ? failed(0x05, 0x20)
        : told(answerQuestion(drive, identity, task, nowMs), task);
  }
}

function told(answer: AtaTold | undefined, { isExtended }: AtaTask): ScsiAnswer {
  if (!answer) return failed(0x05, 0x20);
  if ('data' in answer) return good(answer.data);
  const sense = registersSense(answer.registers, isExtended);
  return { scsiStatus: 2, sense, data: nothing, elapsedMs: quickMs };
}

function good(data: Uint8Array): ScsiAnswer {
  return { scsiStatus: 0, sense: nothing, data, elapsedMs: quickMs };
}

/** CHECK CONDITION with sense in fixed format (SPC-4 4.5.3). */
function failed(key: number, asc: number): ScsiAnswer {
  const sense = new Uint8Array(18);
  sense.set([0x70, 0, key, 0, 0, 0, 0, 10]);
  sense[12] = asc;
  return { scsiStatus: 2, sense, data: nothing, elapsedMs: quickMs };
}

function inquiry(cdb: Uint8Array, identity: SimulatedIdentity): ScsiAnswer {
  const vital = ((cdb[1] as number) & 1) !== 0;
  if (!vital) return good(inquiryData(identity));
  if (cdb[2] === 0x00) return good(Uint8Array.of(0, 0x00, 0, 2, 0x00, 0x80));
  if (cdb[2] !== 0x80) return failed(0x05, 0x24);
  const data = new Uint8Array(24);
  data.set([0, 0x80, 0, 20]);
  writeText(data, 4, 20, identity.serial);
  return good(data);
}

/** Standard INQUIRY data, 36 bytes (SPC-4 6.6.2). */
export function inquiryData(identity: SimulatedIdentity): Uint8Array {
  const data = new Uint8Array(36);
  data.set([0, identity.removable ? 0x80 : 0, 6, 2, data.length - 5]);
  writeText(data, 8, 8, identity.removable ? 'USB' : 'ATA');
  writeText(data, 16, 16, identity.model);
  writeText(data, 32, 4, identity.firmware);
  return data;
}

function readCapacity10(identity: SimulatedIdentity): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, Math.min(identity.sectorCount - 1, 0xffff_ffff));
  view.setUint32(4, identity.sectorBytes);
  return new Uint8Array(view.buffer);
}

function readCapacity16(identity: SimulatedIdentity): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(0, BigInt(identity.sectorCount - 1));
  view.setUint32(8, identity.sectorBytes);
  view.setUint8(13, Math.log2(physicalRatioPower(identity)));
  return new Uint8Array(view.buffer);
}

/** Sectors per physical sector, rounded down to the power of two that the fields can say. */
function physicalRatioPower(identity: SimulatedIdentity): number {
  return 2 ** Math.floor(Math.log2(identity.physicalSectorBytes / identity.sectorBytes));
}

/** IDENTIFY DEVICE data, 512 bytes (ACS-3 7.12.7). */
export function identifyData(identity: SimulatedIdentity): Uint8Array {
  const data = new Uint8Array(512);
  const view = new DataView(data.buffer);
  const word = (index: number, value: number) => view.setUint16(index * 2, value, true);
  writeAtaText(data, 10, 20, identity.serial);
  writeAtaText(data, 23, 8, identity.firmware);
  writeAtaText(data, 27, 40, identity.model);
  word(0, 0x0040);
  word(49, 0x0300); // LBA and DMA
  const lba28 = Math.min(identity.sectorCount, 0x0fff_ffff);
  view.setUint32(60 * 2, lba28, true);
  word(80, 0x01f0); // ATA/ATAPI-4 to ACS
  word(82, 0x0443); // SMART, security, look-ahead, host protected area
  word(83, 0x4c00); // 48-bit addresses, configuration overlay
  word(85, identity.locked ? 0x0443 : 0x0441);
  word(86, 0x0400);
  view.setBigUint64(100 * 2, BigInt(identity.sectorCount), true);
  const ratioLog = Math.log2(physicalRatioPower(identity));
  const longSectors = identity.sectorBytes !== 512;
  word(106, 0x4000 | (ratioLog > 0 ? 0x2000 | ratioLog : 0) | (longSectors ? 0x1000 : 0));
  if (longSectors) view.setUint32(117 * 2, identity.sectorBytes / 2, true);
  word(128, identity.locked ? 0x0007 : 0x0001); // security: supported, enabled, locked
  word(206, 0x0001); // SCT
  word(217, identity.rotational ? 7200 : 1);
  data[510] = 0xa5;
  data[511] = -data.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return data;
}

function writeText(data: Uint8Array, offset: number, bytes: number, text: string): void {
  const padded = text.padEnd(bytes).slice(0, bytes);
  for (let at = 0; at < bytes; at++) data[offset + at] = padded.charCodeAt(at) & 0x7f;
}

/** ATA strings hold two characters a word, the first in the high byte. */
function writeAtaText(data: Uint8Array, wordIndex: number, bytes: number, text: string): void {
  const padded = text.padEnd(bytes).slice(0, bytes);
  for (let at = 0; at < bytes; at++) {
    data[wordIndex * 2 + (at ^ 1)] = padded.charCodeAt(at) & 0x7f;
  }
}
