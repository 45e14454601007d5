/** SCSI commands that the simulated drive and its bridge answer besides reads. */
import type { SimulatedDrive, SimulatedIdentity } from './drive.js';
import { physicalRatioPower } from './identify-data.js';
import { answerSat } from './sat.js';
import { failed, good, nothing, type ScsiAnswer } from './scsi-answer.js';

export { identifyData } from './identify-data.js';
export type { ScsiAnswer } from './scsi-answer.js';

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
    case 0xa1: // ATA PASS-THROUGH (12)
      return answerSat(drive, identity, cdb, nowMs);
    default:
      return failed(0x05, 0x20);
  }
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

/** Standard INQUIRY data, 36 bytes (SPC-4). */
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

function writeText(data: Uint8Array, offset: number, bytes: number, text: string): void {
  const padded = text.padEnd(bytes).slice(0, bytes);
  for (let at = 0; at < bytes; at++) data[offset + at] = padded.charCodeAt(at) & 0x7f;
}
