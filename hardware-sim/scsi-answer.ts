/** What a SCSI command comes to, and sense data in the formats of SPC-4 clause 4.5. */

export interface ScsiAnswer {
  /** SAM-5 status: 0 GOOD, 2 CHECK CONDITION. */
  readonly scsiStatus: number;
  readonly sense: Uint8Array;
  readonly data: Uint8Array;
  /** Infinity: no answer ever comes. */
  readonly elapsedMs: number;
}

export interface SenseCodes {
  readonly key: number;
  readonly asc: number;
  readonly ascq: number;
}

export const nothing = new Uint8Array(0);
/** A command that touches no platter. */
export const quickMs = 1;

export function good(data: Uint8Array, elapsedMs = quickMs): ScsiAnswer {
  return { scsiStatus: 0, sense: nothing, data, elapsedMs };
}

/** CHECK CONDITION with a key and a code. */
export function failed(key: number, asc: number, ascq = 0): ScsiAnswer {
  return check(fixedSense({ key, asc, ascq }));
}

export function check(
  sense: Uint8Array,
  elapsedMs = quickMs,
  data: Uint8Array = nothing,
): ScsiAnswer {
  return { scsiStatus: 2, sense, data, elapsedMs };
}

/** Fixed format, with the LBA in INFORMATION where there is one (SPC-4; SBC-3). */
export function fixedSense({ key, asc, ascq }: SenseCodes, lba?: number): Uint8Array {
  const sense = new Uint8Array(18);
  sense.set([0x70, 0, key, 0, 0, 0, 0, 10]);
  sense.set([asc, ascq], 12);
  if (lba === undefined || lba > 0xffff_ffff) return sense;
  sense[0] = 0xf0;
  new DataView(sense.buffer).setUint32(3, lba);
  return sense;
}

export interface AtaRegisters {
  readonly status: number;
  readonly error: number;
  readonly lba: number;
  readonly count: number;
  /** A 48-bit command. */
  readonly extend: boolean;
}

/** Descriptor format with the ATA Status Return descriptor (SAT-3). */
export function ataSense({ key, asc, ascq }: SenseCodes, ata: AtaRegisters): Uint8Array {
  const sense = new Uint8Array(22);
  sense.set([0x72, key, asc, ascq, 0, 0, 0, 14, 9, 12, ata.extend ? 1 : 0, ata.error]);
  const lbaByte = (index: number) => Math.floor(ata.lba / 256 ** index) & 0xff;
  sense[12] = ata.extend ? (ata.count >> 8) & 0xff : 0;
  sense[13] = ata.count & 0xff;
  sense.set([lbaByte(3), lbaByte(0), lbaByte(4), lbaByte(1), lbaByte(5), lbaByte(2)], 14);
  sense.set([0x40, ata.status], 20);
  return sense;
}
