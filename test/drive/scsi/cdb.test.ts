import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { judgeReadOnly } from '../../../firmware-protocol/read-only.js';
import * as cdb from '../../../src/drive/scsi/cdb.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('commands, byte for byte', () => {
  test.each([
    ['TEST UNIT READY', cdb.testUnitReady(), '000000000000'],
    ['REQUEST SENSE', cdb.requestSense(), '03000000fc00'],
    ['INQUIRY', cdb.inquiry(), '120000002400'],
    ['INQUIRY, page 80h', cdb.inquiryPage(0x80, 252), '12018000fc00'],
    ['INQUIRY, page 89h', cdb.inquiryPage(0x89, 572), '120189023c00'],
    ['READ CAPACITY (10)', cdb.readCapacity10(), '25000000000000000000'],
    ['READ CAPACITY (16)', cdb.readCapacity16(), '9e100000000000000000000000200000'],
    ['MODE SENSE (6)', cdb.modeSense6(0x08), '1a080800c000'],
    ['MODE SENSE (10)', cdb.modeSense10(0x08), '5a08080000000000fc00'],
    ['START', cdb.startStopUnit(true), '1b0000000100'],
    ['STOP', cdb.startStopUnit(false), '1b0000000000'],
    ['READ (10)', cdb.read10({ lba: 0x01020304, count: 0x0506 }), '28000102030400050600'],
    [
      'READ (16)',
      cdb.read16({ lba: 0x0102030405, count: 0x060708 }),
      '88000000000102030405000607080000',
    ],
  ])('%s', (_, bytes, expected) => {
    expect(hex(bytes)).toBe(expected);
  });

  const extent = { lba: 0x0102030405, count: 0x0607 };
  const near = { lba: 0x0a0b0c0d, count: 0x08 };
  const { ata } = cdb;
  test.each([
    [
      'IDENTIFY DEVICE',
      ata.identifyDevice(),
      '85080e00000001000000000000 40ec00',
      'a1080e000100000040ec0000',
    ],
    [
      'SMART READ DATA',
      ata.smartReadData(),
      '85080e00d0000100000 04f00c240b000',
      'a1080ed001004fc240b00000',
    ],
    [
      'SMART READ LOG E0h',
      ata.sctStatus(),
      '85080e00d500010 0e0004f00c240b000',
      'a1080ed501e04fc240b00000',
    ],
    [
      'SMART RETURN STATUS',
      ata.smartReturnStatus(),
      '85062000da00000000004f00c240b000',
      'a10620da00004fc240b00000',
    ],
    [
      'READ NATIVE MAX ADDRESS',
      ata.readNativeMaxAddress(),
      '850620000000000000000000004 0f800',
      'a1062000000000 0040f80000',
    ],
    [
      'READ NATIVE MAX ADDRESS EXT',
      ata.readNativeMaxAddressExt(),
      '85072000000000000000000000402700',
      undefined,
    ],
    [
      'DEVICE CONFIGURATION IDENTIFY',
      ata.deviceConfigurationIdentify(),
      '85080e00c20001000000000000 40b100',
      'a1080ec20100000040b10000',
    ],
    [
      'CHECK POWER MODE',
      ata.checkPowerMode(),
      '8506200000000000000000000040e500',
      'a106200000000000 40e50000',
    ],
    [
      'STANDBY IMMEDIATE',
      ata.standbyImmediate(),
      '8506000000000000000000000040e000',
      'a1060000000000 0040e00000',
    ],
    [
      'IDLE IMMEDIATE, unload',
      ata.idleImmediate(true),
      '85060000440000004c004e005540e100',
      'a1060044004c4e5540e10000',
    ],
    [
      'look-ahead off',
      ata.setLookAhead(false),
      '8506000055000000000000000040ef00',
      'a10600550000000040ef0000',
    ],
    [
      'look-ahead on',
      ata.setLookAhead(true),
      '85060000aa000000000000000040ef00',
      'a10600aa0000000040ef0000',
    ],
    ['READ DMA EXT', ata.readDmaExt(extent), '850d1e000006070205010400034025 00', undefined],
    ['READ SECTORS EXT', ata.readSectorsExt(extent), '85091e00000607020501040003402400', undefined],
    [
      'READ DMA',
      ata.readDma(near),
      '850c1e000000080 00d000c000b4ac800',
      'a10c1e00080d0c0b4ac80000',
    ],
    [
      'READ SECTORS, no retry',
      ata.readSectorsWithoutRetry(near),
      '85081e00000008000d000c000b4a2100',
      'a1081e00080d0c0b4a210000',
    ],
  ])('%s in both pass-throughs', (_, command, sixteen, twelve) => {
    expect(hex(cdb.ataPassThrough(command, 16))).toBe(sixteen.replaceAll(' ', ''));
    if (twelve) expect(hex(cdb.ataPassThrough(command, 12))).toBe(twelve.replaceAll(' ', ''));
    expect(judgeReadOnly(cdb.ataPassThrough(command, 16))).toEqual({ allowed: true });
    if (twelve) expect(judgeReadOnly(cdb.ataPassThrough(command, 12)).allowed).toBe(true);
  });
});

test('every read that fits is on the list, and names its extent', () => {
  const extents = fc.record({
    lba: fc.integer({ min: 0, max: 2 ** 48 }),
    count: fc.integer({ min: 1, max: 2 ** 17 }),
  });
  fc.assert(
    fc.property(extents, (extent) => {
      const all = [
        ...(cdb.fitsRead10(extent) ? [cdb.read10(extent)] : []),
        cdb.read16(extent),
        ...(cdb.fitsLba28(extent) ? [cdb.ataPassThrough(cdb.ata.readDma(extent), 12)] : []),
        ...(cdb.fitsLba48(extent) ? [cdb.ataPassThrough(cdb.ata.readDmaExt(extent), 16)] : []),
      ];
      for (const bytes of all) expect(judgeReadOnly(bytes).allowed).toBe(true);
      const view = new DataView(cdb.read16(extent).buffer);
      expect(Number(view.getBigUint64(2))).toBe(extent.lba);
      expect(view.getUint32(10)).toBe(extent.count);
    }),
  );
});
