import { expect, test } from 'vitest';
import { isReadOnly, judgeReadOnly } from '../../firmware-protocol/read-only.js';

const cdbBytesOf = (opcode: number) => [6, 10, 10, 16, 16, 12, 10, 10][opcode >> 5]!;

/** SCSI commands that are allowed with all other bytes zero. */
const plainScsi = [0x00, 0x03, 0x08, 0x12, 0x1a, 0x1b, 0x25, 0x28, 0x4d, 0x5a, 0x88, 0xa0, 0xa8];

const ataIn = [
  0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x29, 0x2f, 0x47, 0xa1, 0xc4, 0xc8, 0xc9, 0xe4, 0xec,
];
const ataNonData = [0x27, 0x40, 0x41, 0x42, 0xe0, 0xe1, 0xe5, 0xf8];

interface Task {
  readonly command: number;
  readonly features?: number;
  readonly lbaMid?: number;
  readonly lbaHigh?: number;
  readonly protocol: number;
  /** Third byte: T_DIR, T_LENGTH. */
  readonly transfer: number;
}

const fromDevice = 0x0e;
const toDevice = 0x06;

function passThrough16(task: Task): Uint8Array {
  const cdb = new Uint8Array(16);
  cdb.set([0x85, task.protocol << 1, task.transfer]);
  cdb[4] = task.features ?? 0;
  cdb[10] = task.lbaMid ?? 0;
  cdb[12] = task.lbaHigh ?? 0;
  cdb[14] = task.command;
  return cdb;
}

function passThrough12(task: Task): Uint8Array {
  const cdb = new Uint8Array(12);
  cdb.set([0xa1, task.protocol << 1, task.transfer, task.features ?? 0]);
  cdb[6] = task.lbaMid ?? 0;
  cdb[7] = task.lbaHigh ?? 0;
  cdb[9] = task.command;
  return cdb;
}

const both = [passThrough12, passThrough16];

test('of 256 SCSI commands only those on the list pass', () => {
  const passed = [];
  for (let opcode = 0; opcode < 256; opcode++) {
    const cdb = new Uint8Array(cdbBytesOf(opcode));
    cdb[0] = opcode;
    if (isReadOnly(cdb)) passed.push(opcode);
  }
  expect(passed).toEqual(plainScsi);
});

test('of 256 ATA commands, by each protocol and direction, only those that read pass', () => {
  for (const wrap of both) {
    for (let protocol = 0; protocol < 16; protocol++) {
      for (const transfer of [0, fromDevice, toDevice]) {
        const passed = [];
        for (let command = 0; command < 256; command++) {
          if (isReadOnly(wrap({ command, protocol, transfer }))) passed.push(command);
        }
        const reads = transfer === fromDevice && [4, 6, 10].includes(protocol);
        const nonData = transfer === 0 && protocol === 3;
        expect(passed).toEqual(reads ? ataIn : nonData ? ataNonData : []);
      }
    }
  }
});

/** Subcommands that pass, of all 256. */
function subcommands(task: Task): number[] {
  const passed = [];
  for (let features = 0; features < 256; features++) {
    const verdicts = both.map((wrap) => isReadOnly(wrap({ ...task, features })));
    expect(verdicts[0]).toBe(verdicts[1]);
    if (verdicts[0]) passed.push(features);
  }
  return passed;
}

test('SMART passes only to read data, thresholds, a log or the status, with its signature', () => {
  const smart = { command: 0xb0, lbaMid: 0x4f, lbaHigh: 0xc2 };
  expect(subcommands({ ...smart, protocol: 4, transfer: fromDevice })).toEqual([0xd0, 0xd1, 0xd5]);
  expect(subcommands({ ...smart, protocol: 3, transfer: 0 })).toEqual([0xda]);
  expect(subcommands({ ...smart, protocol: 5, transfer: toDevice })).toEqual([]);
  expect(subcommands({ ...smart, lbaMid: 0, protocol: 4, transfer: fromDevice })).toEqual([]);
});

test('DEVICE CONFIGURATION passes only to identify, SET FEATURES only for look-ahead', () => {
  expect(subcommands({ command: 0xb1, protocol: 4, transfer: fromDevice })).toEqual([0xc2]);
  expect(subcommands({ command: 0xb1, protocol: 3, transfer: 0 })).toEqual([]);
  expect(subcommands({ command: 0xef, protocol: 3, transfer: 0 })).toEqual([0x55, 0xaa]);
});

test('fields that turn a reading command into another are refused', () => {
  expect(isReadOnly(Uint8Array.of(0x1b, 0, 0, 0, 0x02, 0))).toBe(false); // eject
  expect(isReadOnly(Uint8Array.of(0x4d, 0x01, 0, 0, 0, 0, 0, 0, 0, 0))).toBe(false); // save
  const serviceAction = new Uint8Array(16);
  for (let action = 0; action < 32; action++) {
    serviceAction.set([0x9e, action]);
    expect(isReadOnly(serviceAction)).toBe(action === 0x10);
  }
});

test('a command of the wrong length is refused, and every refusal is one line', () => {
  expect(isReadOnly(new Uint8Array())).toBe(false);
  expect(isReadOnly(new Uint8Array(10))).toBe(false);
  expect(isReadOnly(Uint8Array.of(0x28, 0, 0, 0, 0, 0))).toBe(false);
  const verdict = judgeReadOnly(passThrough16({ command: 0x30, protocol: 5, transfer: toDevice }));
  expect(verdict).toEqual({
    allowed: false,
    reason: 'ATA command 0x30 is not on the read-only list',
  });
});
