/** What the simulated drive says of itself to IDENTIFY DEVICE. */
import type { SimulatedIdentity } from './drive.js';

/** Sectors per physical sector, rounded down to the power of two that the fields can say. */
export function physicalRatioPower(identity: SimulatedIdentity): number {
  return 2 ** Math.floor(Math.log2(identity.physicalSectorBytes / identity.sectorBytes));
}

/** IDENTIFY DEVICE data, 512 bytes (ACS-3). */
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

/** ATA strings hold two characters a word, the first in the high byte. */
function writeAtaText(data: Uint8Array, wordIndex: number, bytes: number, text: string): void {
  const padded = text.padEnd(bytes).slice(0, bytes);
  for (let at = 0; at < bytes; at++) {
    data[wordIndex * 2 + (at ^ 1)] = padded.charCodeAt(at) & 0x7f;
  }
}
