import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMediumError } from '../../../src/drive/drive.js';
import { faultOf, parseSense, type SenseReport, senseOf } from '../../../src/drive/scsi/sense.js';

const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const extent = { lba: 0x800, count: 0x80 };

describe('sense in fixed format', () => {
  test('a medium error with the LBA, as a USB disk sent it', () => {
    const sense = bytes('f0 00 03 00 00 08 40 0a 00 00 00 00 11 00 00 00 00 00');
    expect(parseSense(sense)).toEqual({
      sense: { key: 3, asc: 0x11, ascq: 0 },
      isDeferred: false,
      information: 0x840,
    });
    expect(faultOf(senseOf(sense), extent)).toEqual({
      lba: 0x840,
      sense: { key: 3, asc: 0x11, ascq: 0 },
    });
  });

  test('INFORMATION that is not marked as valid is none', () => {
    const sense = bytes('70 00 03 00 00 08 40 0a 00 00 00 00 11 00 00 00 00 00');
    expect(parseSense(sense)?.information).toBeUndefined();
  });

  test('cut short it says less, and its own length is kept to', () => {
    expect(parseSense(bytes('70 00'))).toBeUndefined();
    expect(parseSense(bytes('70 00 03'))?.sense).toEqual({ key: 3, asc: 0, ascq: 0 });
    expect(parseSense(bytes('f0 00 03 00 00'))?.information).toBeUndefined();
    const stated = bytes('70 00 05 00 00 00 00 04 00 00 00 00 20 00 00 00 00 00');
    expect(parseSense(stated)?.sense).toEqual({ key: 5, asc: 0, ascq: 0 });
  });

  test('a deferred error is one', () => {
    expect(parseSense(bytes('71 00 03 00 00 00 00 0a 00 00 00 00 11 00'))?.isDeferred).toBe(true);
  });

  test('registers of an ATA command, as libata sends them', () => {
    const sense = bytes('70 00 0b 04 41 40 01 0a 00 40 08 00 00 00 00 00 00 00');
    expect(parseSense(sense)?.ata).toBeUndefined();
    const report = senseOf(sense, true);
    expect(report.ata).toEqual({
      error: 0x04,
      status: 0x41,
      count: 1,
      lba: 0x840,
      isPartial: false,
    });
    const fault = faultOf(report, extent);
    // An abort has no place, whatever the registers hold.
    expect(fault).toEqual({ ata: { status: 0x41, error: 0x04 } });
    expect(isMediumError(fault)).toBe(false);
  });

  test('INFORMATION of an aborted command, which is where libata saw it begin, is no failing LBA', () => {
    const aborted = bytes('f0 00 0b 00 00 08 00 0a 00 00 00 00 00 00 00 00 00 00');
    expect(parseSense(aborted)?.information).toBe(0x800);
    expect(faultOf(senseOf(aborted), extent).lba).toBeUndefined();
    const hardware = bytes('f0 00 04 00 00 08 01 0a 00 00 00 00 44 00 00 00 00 00');
    expect(faultOf(senseOf(hardware), extent).lba).toBe(0x801);
    const guard = bytes('f0 00 0b 00 00 08 02 0a 00 00 00 00 10 01 00 00 00 00');
    expect(faultOf(senseOf(guard), extent).lba).toBe(0x802);
  });

  test('of a long address its lower half, completed from the request', () => {
    const far = { lba: 0x1_00ff_fff0, count: 0x20 };
    const sense = bytes('70 00 03 40 51 40 01 0a e0 05 00 00 11 04 00 00 00 00');
    const report = senseOf(sense, true);
    expect(report.ata).toMatchObject({ isPartial: true, lba: 5 });
    expect(faultOf(report, far).lba).toBe(0x1_0100_0005);
  });
});

describe('sense in descriptor format', () => {
  /** What our own USB disk sent for READ DMA EXT, LBA 840h. */
  const unc = bytes('72 03 11 04 00 00 00 0e 09 0c 01 40 00 80 00 40 00 08 00 00 40 51');

  test('UNC with the LBA in the ATA return descriptor', () => {
    expect(parseSense(unc)).toEqual({
      sense: { key: 3, asc: 0x11, ascq: 4 },
      isDeferred: false,
      ata: { error: 0x40, status: 0x51, count: 0x80, lba: 0x840, isPartial: false },
    });
    const fault = faultOf(senseOf(unc), extent);
    expect(fault).toMatchObject({ lba: 0x840, ata: { status: 0x51, error: 0x40 } });
    expect(isMediumError(fault)).toBe(true);
  });

  test('all 48 bits of an address, and the 28 of a short command', () => {
    const long = bytes('72 03 11 04 00 00 00 0e 09 0c 01 40 00 80 44 11 55 22 66 33 40 51');
    expect(parseSense(long)?.ata?.lba).toBe(0x665544332211);
    const short = bytes('72 03 11 04 00 00 00 0e 09 0c 00 40 00 80 44 11 55 22 66 33 47 51');
    expect(parseSense(short)?.ata?.lba).toBe(0x7332211);
  });

  test('UNC behind a mute “aborted command” still marks the sector', () => {
    const muted = bytes('72 0b 00 00 00 00 00 0e 09 0c 01 40 00 80 00 40 00 08 00 00 40 51');
    const fault = faultOf(senseOf(muted), extent);
    expect(fault.sense).toBeUndefined();
    expect(isMediumError(fault)).toBe(true);
  });

  test('an information descriptor, and one that is cut off', () => {
    const whole = bytes('72 03 11 00 00 00 00 0c 00 0a 80 00 00 00 00 00 00 00 08 41');
    expect(parseSense(whole)?.information).toBe(0x841);
    expect(parseSense(whole.subarray(0, 18))?.information).toBeUndefined();
    const huge = bytes('72 03 11 00 00 00 00 0c 00 0a 80 00 ff ff ff ff ff ff ff ff');
    expect(parseSense(huge)?.information).toBeUndefined();
  });
});

test('a failing LBA is believed only inside the request', () => {
  const at = (information: number): SenseReport => ({
    sense: { key: 3, asc: 0x11, ascq: 0 },
    isDeferred: false,
    information,
  });
  expect(faultOf(at(0x7ff), extent).lba).toBeUndefined();
  expect(faultOf(at(0x800), extent).lba).toBe(0x800);
  expect(faultOf(at(0x87f), extent).lba).toBe(0x87f);
  expect(faultOf(at(0x880), extent).lba).toBeUndefined();
});

test('whatever bytes come, nothing throws, and no LBA lies outside the request', () => {
  const anySense = fc
    .tuple(fc.constantFrom(0x70, 0x71, 0x72, 0x73, 0xf0, 0xf2, 0x00, 0x7f), fc.uint8Array())
    .map(([code, rest]) => Uint8Array.of(code, ...rest));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array(), anySense), fc.boolean(), (sense, isAta) => {
      const report = senseOf(sense, isAta);
      expect(report.sense.key).toBeLessThan(16);
      const { lba = extent.lba } = faultOf(report, extent);
      expect(lba >= extent.lba && lba < extent.lba + extent.count).toBe(true);
    }),
  );
});
