/** SMART data of the simulated drive: 512 bytes with a checksum, as drives give it (ACS-3 7.48.6; the
 * attribute table is that of SFF-8035i, which drives still keep to). */
import type { SimulatedDrive } from './drive.js';

interface Attribute {
  readonly id: number;
  readonly raw: number;
  /** The normalised value. */
  readonly value: number;
}

export function smartData(drive: SimulatedDrive, nowMs: number): Uint8Array {
  const { failingReads, powerOns, emergencyUnloads } = drive.counters;
  const celsius = Math.round(drive.temperatureCelsius(nowMs));
  const attributes: Attribute[] = [
    { id: 5, raw: 0, value: 100 }, // reallocated sectors
    { id: 9, raw: Math.floor(nowMs / 3_600_000), value: 100 }, // hours with power
    { id: 12, raw: powerOns, value: 100 }, // power cycles
    { id: 192, raw: emergencyUnloads, value: 100 },
    { id: 194, raw: celsius, value: 100 - celsius },
    { id: 197, raw: failingReads, value: 100 }, // pending sectors
    { id: 198, raw: failingReads, value: 100 }, // uncorrectable sectors
    { id: 199, raw: 0, value: 200 }, // errors of the cable
  ];
  const data = page();
  attributes.forEach(({ id, raw, value }, index) => {
    const entry = new DataView(data.buffer, 2 + 12 * index, 12);
    entry.setUint8(0, id);
    entry.setUint16(1, 0x0032, true); // kept up to date, counts events
    entry.setUint8(3, value);
    entry.setUint8(4, value);
    entry.setUint32(5, raw, true);
  });
  return withChecksum(data);
}

/** No attribute has a threshold that it could fall below. */
export function smartThresholds(): Uint8Array {
  return withChecksum(page());
}

function page(): Uint8Array {
  const data = new Uint8Array(512);
  data[0] = 0x10; // revision
  return data;
}

/** All bytes add up to zero. */
function withChecksum(data: Uint8Array): Uint8Array {
  data[511] = -data.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return data;
}
