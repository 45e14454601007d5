import { describe, expect, test } from 'vitest';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { identifyData, inquiryData } from '../../hardware-sim/passthrough.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { kindFromIdentify } from '../../src/drive/kind.js';
import { chooseKind } from '../../src/job/kind.js';

function identityOf(scenario: string) {
  const drive = createSimulatedDrive(loadScenario(scenario));
  drive.powerOn(0);
  return drive.identify(60_000)!;
}

describe('what kind of drive it is by its own word', () => {
  test.each([
    ['case-a', 'hdd'],
    ['case-c', 'ssd'],
  ])('%s: %s by the rotation in IDENTIFY', (scenario, kind) => {
    expect(kindFromIdentify(identifyData(identityOf(scenario)))).toBe(kind);
  });

  test('a stick by its removable media in INQUIRY, and a fixed disk by nothing there', () => {
    expect(kindFromIdentify(inquiryData(identityOf('case-d')))).toBe('flash');
    expect(kindFromIdentify(inquiryData(identityOf('case-a')))).toBeUndefined();
  });

  test('data that is not whole, unknown or absent says nothing', () => {
    const broken = identifyData(identityOf('case-c'));
    broken[20]! ^= 1;
    expect(kindFromIdentify(broken)).toBeUndefined();
    expect(kindFromIdentify(new Uint8Array(512))).toBeUndefined();
    expect(kindFromIdentify(new Uint8Array(0))).toBeUndefined();
    expect(kindFromIdentify(new Uint8Array(300))).toBeUndefined();
  });

  test('a card says that it is one', () => {
    const card = new Uint8Array(512);
    card.set([0x8a, 0x84]);
    expect(kindFromIdentify(card)).toBe('flash');
  });
});

describe('the kind that policies follow', () => {
  const unknown = {
    model: 'M',
    serial: 'S',
    firmware: 'F',
    sectorCount: 1,
    sectorBytes: 512,
    physicalSectorBytes: 512,
  };
  const ssd = { ...unknown, kind: 'ssd' } as const;

  test('is the user’s word, then what an earlier run went by, then the path’s, then the drive’s own', () => {
    expect(chooseKind({ asked: 'flash', saved: 'ssd', opened: 'hdd', identity: ssd })).toBe(
      'flash',
    );
    expect(chooseKind({ saved: 'flash', opened: 'hdd', identity: ssd })).toBe('flash');
    expect(chooseKind({ opened: 'hdd', identity: ssd })).toBe('hdd');
    expect(chooseKind({ identity: ssd })).toBe('ssd');
    expect(chooseKind({ identity: unknown })).toBe('hdd');
  });

  test('a plain file stays one, and a drive is none because an earlier run read a file', () => {
    expect(chooseKind({ saved: 'hdd', opened: 'file', identity: unknown })).toBe('file');
    expect(chooseKind({ saved: 'file', identity: ssd })).toBe('ssd');
  });
});
