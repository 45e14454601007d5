/** What SCSI devices say of themselves, made sense of. Bridges pad, cut and invent: what is not whole or not
 * possible comes out as undefined, and nothing here throws. */

/** Standard INQUIRY data (SPC-4). */
export interface InquiryData {
  /** PERIPHERAL DEVICE TYPE: 0 is a disk. */
  readonly deviceType: number;
  /** A device is connected there. */
  readonly isConnected: boolean;
  readonly isRemovable: boolean;
  /** VERSION: 5 is SPC-3, 6 SPC-4. */
  readonly version: number;
  readonly vendor: string;
  readonly product: string;
  readonly revision: string;
}

const inquiryBytesMin = 36;

export function parseInquiry(data: Uint8Array): InquiryData | undefined {
  if (data.length < inquiryBytesMin) return undefined;
  return {
    deviceType: data[0]! & 0x1f,
    isConnected: data[0]! >> 5 === 0,
    isRemovable: (data[1]! & 0x80) !== 0,
    version: data[2]!,
    vendor: textOf(data.subarray(8, 16)),
    product: textOf(data.subarray(16, 32)),
    revision: textOf(data.subarray(32, 36)),
  };
}

/** The payload of a page of vital product data (SPC-4): undefined where another page came, as from
 * bridges that answer every INQUIRY alike. */
export function pageOf(data: Uint8Array, page: number): Uint8Array | undefined {
  if (data.length < 4 || data[1] !== page) return undefined;
  return data.subarray(4, 4 + ((data[2]! << 8) | data[3]!));
}

/** VPD 00h: pages that the device has (SPC-4). */
export function parsePages(data: Uint8Array): ReadonlySet<number> {
  return new Set(pageOf(data, 0x00) ?? []);
}

/** VPD 80h: the unit's serial number (SPC-4). */
export function parseSerial(data: Uint8Array): string | undefined {
  const page = pageOf(data, 0x80);
  return (page && textOf(page)) || undefined;
}

/** VPD 83h: a name of the logical unit that is its own world-wide, in hex (SPC-4): NAA, else EUI-64. */
export function parseWorldWideName(data: Uint8Array): string | undefined {
  const page = pageOf(data, 0x83);
  if (!page) return undefined;
  const names = new Map<number, string>();
  for (let at = 0; at + 4 <= page.length; at += 4 + page[at + 3]!) {
    const isBinary = (page[at]! & 0x0f) === 1;
    const isOfUnit = (page[at + 1]! & 0x30) === 0;
    const name = page.subarray(at + 4, at + 4 + page[at + 3]!);
    if (!isBinary || !isOfUnit || name.length < 8 || name.length < page[at + 3]!) continue;
    if (name.every((byte) => byte === 0)) continue;
    names.set(page[at + 1]! & 0x0f, Buffer.from(name).toString('hex'));
  }
  return names.get(3) ?? names.get(2);
}

/** VPD B0h: most sectors of one transfer (SBC-3); undefined where there is no limit or none is told. */
export function parseReadCountMax(data: Uint8Array): number | undefined {
  const page = pageOf(data, 0xb0);
  if (!page || page.length < 8) return undefined;
  return new DataView(page.buffer, page.byteOffset).getUint32(4) || undefined;
}

/** VPD B1h: turns a minute, 1 for what does not turn (SBC-3). */
export function parseRotation(data: Uint8Array): number | undefined {
  const page = pageOf(data, 0xb1);
  if (!page || page.length < 2) return undefined;
  return (page[0]! << 8) | page[1]! || undefined;
}

/** VPD 89h: the IDENTIFY DEVICE data that a translator keeps (SAT-3). */
export function parseAtaInformation(data: Uint8Array): Uint8Array | undefined {
  const identify = pageOf(data, 0x89)?.subarray(56, 568);
  return identify?.length === 512 ? identify : undefined;
}

export interface Capacity {
  /** 0 where the device has none: no medium, or firmware that did not load. */
  readonly sectorCount: number;
  readonly sectorBytes: number;
  /** Where it was told. */
  readonly physicalSectorBytes?: number;
}

/** READ CAPACITY (10) parameter data (SBC-3). `beyond`: the device has more sectors than 32 bits
 * count, READ CAPACITY (16) tells. */
export function parseCapacity10(data: Uint8Array): Capacity | 'beyond' | undefined {
  if (data.length < 8) return undefined;
  const view = new DataView(data.buffer, data.byteOffset);
  const lastLba = view.getUint32(0);
  const sectorBytes = view.getUint32(4);
  if (lastLba === 0xffff_ffff) return 'beyond';
  if (lastLba === 0 && sectorBytes === 0) return undefined;
  return { sectorCount: lastLba + 1, sectorBytes };
}

/** READ CAPACITY (16) parameter data (SBC-3). */
export function parseCapacity16(data: Uint8Array): Capacity | undefined {
  if (data.length < 12) return undefined;
  const view = new DataView(data.buffer, data.byteOffset);
  const sectorCount = Number(view.getBigUint64(0) + 1n);
  const sectorBytes = view.getUint32(8);
  if (!Number.isSafeInteger(sectorCount * Math.max(1, sectorBytes)) || sectorBytes === 0)
    return undefined;
  const physicalLog = (data[13] ?? 0) & 0x0f;
  // Beyond 64 to one it is garbage.
  const isTold = data.length >= 16 && physicalLog <= 6;
  return {
    sectorCount,
    sectorBytes,
    ...(isTold && { physicalSectorBytes: sectorBytes * 2 ** physicalLog }),
  };
}

/** Text in ASCII, padded with spaces or NUL. What does not print becomes a question mark, so that the same
 * garbage stays the same name. */
export function textOf(bytes: Uint8Array): string {
  return [...bytes]
    .map((byte) =>
      byte === 0 ? ' ' : byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?',
    )
    .join('')
    .trim();
}
