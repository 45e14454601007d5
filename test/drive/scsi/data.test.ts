import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as ata from '../../../src/drive/scsi/ata-data.js';
import * as scsi from '../../../src/drive/scsi/scsi-data.js';
import { identifyOf, playedPath, sign } from './played-path.js';

const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const page = (code: number, body: Uint8Array) =>
  Uint8Array.of(0, code, body.length >> 8, body.length & 0xff, ...body);

/** IDENTIFY DEVICE data with words changed. */
function identify(words: Readonly<Record<number, number>> = {}, signed = true): Uint8Array {
  const data = identifyOf(playedPath().drive);
  const view = new DataView(data.buffer);
  for (const [index, value] of Object.entries(words))
    view.setUint16(Number(index) * 2, value, true);
  if (signed) sign(data);
  return data;
}

describe('INQUIRY and its pages', () => {
  test('standard data', () => {
    const text = Buffer.from('ASMT    2115            0   ').toString('hex');
    expect(scsi.parseInquiry(bytes(`00 80 06 02 1f 00 00 00 ${text}`))).toEqual({
      deviceType: 0,
      isConnected: true,
      isRemovable: true,
      version: 6,
      vendor: 'ASMT',
      product: '2115',
      revision: '0',
    });
    expect(scsi.parseInquiry(new Uint8Array(35))).toBeUndefined();
    const absent = new Uint8Array(36);
    absent[0] = 0x7f;
    expect(scsi.parseInquiry(absent)).toMatchObject({ isConnected: false, deviceType: 0x1f });
  });

  test('a page is one only by its own code and length', () => {
    const serial = page(0x80, Buffer.from('  WX91A82\0\0'));
    expect(scsi.parseSerial(serial)).toBe('WX91A82');
    expect(scsi.parseSerial(page(0x83, Buffer.from('WX91A82')))).toBeUndefined();
    expect(scsi.parseSerial(page(0x80, Buffer.from('    ')))).toBeUndefined();
    expect(scsi.parsePages(page(0, Uint8Array.of(0, 0x80, 0x83)))).toEqual(
      new Set([0, 0x80, 0x83]),
    );
    expect(scsi.parsePages(new Uint8Array())).toEqual(new Set());
  });

  test('a world-wide name of the unit, not of its port', () => {
    const naa = '01 03 00 08 5000c500a1b2c3d4';
    const port = '61 93 00 08 5000c500ffffffff';
    expect(scsi.parseWorldWideName(page(0x83, bytes(`${port} ${naa}`)))).toBe('5000c500a1b2c3d4');
    expect(scsi.parseWorldWideName(page(0x83, bytes(port)))).toBeUndefined();
    expect(scsi.parseWorldWideName(page(0x83, bytes('01 03 00 08 5000')))).toBeUndefined();
    expect(
      scsi.parseWorldWideName(page(0x83, bytes('01 03 00 08 0000000000000000'))),
    ).toBeUndefined();
  });

  test('limits, rotation and the IDENTIFY data that a translator keeps', () => {
    expect(scsi.parseReadCountMax(page(0xb0, bytes('00 01 0008 00000800')))).toBe(0x800);
    expect(scsi.parseReadCountMax(page(0xb0, bytes('00 01 0008 00000000')))).toBeUndefined();
    expect(scsi.parseRotation(page(0xb1, bytes('1c20')))).toBe(7200);
    expect(scsi.parseRotation(page(0xb1, bytes('0001')))).toBe(1);
    const kept = page(0x89, Uint8Array.of(...new Uint8Array(56), ...identify()));
    expect(scsi.parseAtaInformation(kept)).toEqual(identify());
    expect(scsi.parseAtaInformation(kept.subarray(0, 500))).toBeUndefined();
  });
});

describe('capacities', () => {
  test('READ CAPACITY (10)', () => {
    const told = { sectorCount: 0x0001_0000, sectorBytes: 512 };
    expect(scsi.parseCapacity10(bytes('0000ffff 00000200'))).toEqual(told);
    expect(scsi.parseCapacity10(bytes('ffffffff 00000200'))).toBe('beyond');
    expect(scsi.parseCapacity10(bytes('00000000 00000000'))).toBeUndefined();
    expect(scsi.parseCapacity10(bytes('0000ffff'))).toBeUndefined();
  });

  test('READ CAPACITY (16), with the physical sector', () => {
    const body = '00000001d1c0beaf 00000200 00 03';
    expect(scsi.parseCapacity16(bytes(`${body}${'00'.repeat(18)}`))).toEqual({
      sectorCount: 0x1_d1c0_beb0,
      sectorBytes: 512,
      physicalSectorBytes: 4096,
    });
    expect(scsi.parseCapacity16(bytes(body.slice(0, 25)))).toEqual({
      sectorCount: 0x1_d1c0_beb0,
      sectorBytes: 512,
    });
    expect(scsi.parseCapacity16(new Uint8Array(32).fill(0xff))).toBeUndefined();
    expect(scsi.parseCapacity16(new Uint8Array(32))).toBeUndefined();
  });
});

describe('IDENTIFY DEVICE', () => {
  test('names, sizes and features', () => {
    expect(ata.parseIdentify(identify({ 82: 0x0441, 85: 0x0040, 206: 1, 169: 1 }))).toMatchObject({
      model: 'PLAYED DISK 1',
      serial: 'PD0001',
      firmware: 'F1',
      sectorCount: 100_000,
      sectorBytes: 512,
      physicalSectorBytes: 4096,
      rotation: 7200,
      hasLba48: true,
      hasSmart: true,
      hasLookAhead: true,
      isLookAheadOn: true,
      hasHostProtectedArea: true,
      hasSct: true,
      hasTrim: true,
      isChecked: true,
    });
  });

  test('a password: supported, enabled, locked, frozen, count expired, level', () => {
    const securityOf = (word: number) => ata.parseIdentify(identify({ 128: word }))?.security;
    expect(securityOf(0x0107)).toEqual({
      isSupported: true,
      isEnabled: true,
      isLocked: true,
      isFrozen: false,
      isCountExpired: false,
      isMaximumLevel: true,
    });
    expect(securityOf(0x0019)).toMatchObject({
      isLocked: false,
      isFrozen: true,
      isCountExpired: true,
    });
    expect(securityOf(0)).toMatchObject({ isSupported: false, isLocked: false });
    expect(securityOf(0xffff)).toMatchObject({ isSupported: false, isLocked: false });
  });

  test('sectors of 4,096 bytes; 28-bit drives; drives beyond 48-bit words', () => {
    const native = identify({ 106: 0x5000, 117: 2048, 118: 0 });
    expect(ata.parseIdentify(native)).toMatchObject({
      sectorBytes: 4096,
      physicalSectorBytes: 4096,
    });
    const short = identify({ 60: 0x5678, 61: 0x0123, 83: 0x4000 });
    expect(ata.parseIdentify(short)).toMatchObject({ sectorCount: 0x0123_5678, hasLba48: false });
    const wide = identify({ 69: 8, 230: 1, 231: 0, 232: 1, 233: 0 });
    expect(ata.parseIdentify(wide)?.sectorCount).toBe(2 ** 32 + 1);
    expect(ata.parseIdentify(identify({ 106: 0x600f }))?.physicalSectorBytes).toBe(512);
  });

  test('what is not whole, not ATA or nameless is nothing', () => {
    const broken = identify();
    broken[100]! ^= 1;
    expect(ata.parseIdentify(broken)).toBeUndefined();
    expect(ata.parseIdentify(identify().subarray(0, 511))).toBeUndefined();
    expect(ata.parseIdentify(identify({ 0: 0x8580 }))).toBeUndefined();
    expect(ata.parseIdentify(new Uint8Array(512))).toBeUndefined();
    const nameless = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [27 + n, 0x2020]));
    expect(ata.parseIdentify(identify(nameless))).toBeUndefined();
    const unsigned = identify({ 255: 0 }, false);
    expect(ata.parseIdentify(unsigned)).toMatchObject({ model: 'PLAYED DISK 1', isChecked: false });
  });
});

/** SMART data with attributes by id and raw value. */
function smartOf(attributes: readonly (readonly [number, number])[]): Uint8Array {
  const data = new Uint8Array(512);
  attributes.forEach(([id, raw], index) => {
    const at = 2 + index * 12;
    data.set([id, 0x33, 0, 100, 99], at);
    for (let byte = 0; byte < 6; byte++) data[at + 5 + byte] = Math.floor(raw / 2 ** (8 * byte));
  });
  data[0] = 16;
  sign(data);
  return data;
}

describe('SMART and its kin', () => {
  test('the attributes that count', () => {
    const data = smartOf([
      [5, 8],
      [9, 20_123],
      [12, 345],
      [194, 0x002d_0010_0000 + 38],
      [197, 16],
      [198, 4],
      [199, 2],
    ]);
    expect(ata.parseSmartData(data)).toMatchObject({
      reallocatedCount: 8,
      powerOnHours: 20_123,
      powerCycles: 345,
      temperatureCelsius: 38,
      pendingCount: 16,
      uncorrectableCount: 4,
      crcErrors: 2,
    });
    expect(ata.parseSmartData(data)?.attributes).toHaveLength(7);
    expect(ata.parseSmartData(smartOf([[190, 41]]))?.temperatureCelsius).toBe(41);
    const broken = smartOf([[5, 8]]);
    broken[5]! ^= 1;
    expect(ata.parseSmartData(broken)).toBeUndefined();
    expect(ata.parseSmartData(new Uint8Array(512))).toBeUndefined();
  });

  test('temperature of the SCT status', () => {
    const status = (celsius: number, version = 3) => {
      const data = new Uint8Array(512);
      data[0] = version;
      data[200] = celsius;
      return ata.parseSctCelsius(data);
    };
    expect(status(41)).toBe(41);
    expect(status(0xfb)).toBe(-5);
    expect(status(0x80)).toBeUndefined();
    expect(status(41, 9)).toBeUndefined();
  });

  test('registers: SMART status, native address, power mode', () => {
    const registers = { status: 0x50, error: 0, count: 0, lba: 0, isPartial: false };
    expect(ata.isSmartPassed({ ...registers, lba: 0xc24f00 })).toBe(true);
    expect(ata.isSmartPassed({ ...registers, lba: 0x2cf400 })).toBe(false);
    expect(ata.isSmartPassed(registers)).toBeUndefined();
    expect(ata.nativeCountOf({ ...registers, lba: 976_773_167 })).toBe(976_773_168);
    expect(ata.nativeCountOf({ ...registers, lba: 5, isPartial: true })).toBeUndefined();
    const modes = [0x00, 0x80, 0xff, 0x22].map((count) => ata.powerModeOf({ ...registers, count }));
    expect(modes).toEqual(['standby', 'idle', 'active', undefined]);
  });

  test('what the configuration overlay allows', () => {
    const data = new Uint8Array(512);
    new DataView(data.buffer).setUint32(6, 976_773_167, true);
    expect(ata.parseConfigurationCount(data)).toBe(976_773_168);
    expect(ata.parseConfigurationCount(new Uint8Array(512))).toBeUndefined();
  });
});

test('whatever bytes come, no parser throws and no number is impossible', () => {
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc.uint8Array({ minLength: 512, maxLength: 512 }),
    // Whole by its checksum, and garbage all the same.
    fc.uint8Array({ minLength: 512, maxLength: 512 }).map((data) => {
      data[0] = 0x40;
      data[1] = 0;
      data[510] = 0xa5;
      sign(data);
      return data;
    }),
    fc
      .tuple(fc.constantFrom(0, 0x80, 0x83, 0x89, 0xb0, 0xb1), fc.uint8Array({ maxLength: 300 }))
      .map(([code, body]) => page(code, body)),
  );
  const isCount = (value: number | undefined) =>
    value === undefined || (Number.isSafeInteger(value) && value >= 0);
  fc.assert(
    fc.property(garbage, (data) => {
      const identity = ata.parseIdentify(data);
      expect(isCount(identity?.sectorCount)).toBe(true);
      expect(identity === undefined || identity.physicalSectorBytes >= identity.sectorBytes).toBe(
        true,
      );
      for (const attribute of ata.parseSmartData(data)?.attributes ?? [])
        expect(isCount(attribute.raw)).toBe(true);
      expect(isCount(ata.parseConfigurationCount(data))).toBe(true);
      ata.parseSctCelsius(data);
      scsi.parseInquiry(data);
      scsi.parsePages(data);
      scsi.parseSerial(data);
      scsi.parseWorldWideName(data);
      scsi.parseRotation(data);
      scsi.parseAtaInformation(data);
      expect(isCount(scsi.parseReadCountMax(data))).toBe(true);
      expect(isCount(scsi.parseCapacity16(data)?.sectorCount)).toBe(true);
      scsi.parseCapacity10(data);
    }),
    { numRuns: 300 },
  );
});
