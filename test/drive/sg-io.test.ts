import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  decodeRecord,
  decodeReplyHeader,
  encodeRecord,
  encodeReplyNumbers,
  replyHeaderBytes,
  sgPartsOf,
} from '../../src/drive/sg/records.js';
import {
  answerOf,
  dataBytesOf,
  decodeHeader,
  encodeHeader,
  headerBytes,
  ioctlSgGetReservedSize,
  ioctlSgIo,
  ioctlSgScsiReset,
  ioctlSgSetReservedSize,
  type SgResult,
  sgReset,
} from '../../src/drive/sg/sg-io.js';
import { needsHeader } from '../tools.js';

const addresses = {
  cdbAddress: 0x7f00_0000_1000n,
  dataAddress: 0x7f01_0203_0405n,
  senseAddress: 0x7f00_0000_2000n,
};

/** The same header filled in C, and the numbers of the system's own declarations. */
function fromC(): string[] {
  const program = `
    #include <stdio.h>
    #include <string.h>
    #include <scsi/sg.h>
    int main(void) {
      sg_io_hdr_t header;
      memset(&header, 0, sizeof header);
      header.interface_id = 'S';
      header.dxfer_direction = SG_DXFER_FROM_DEV;
      header.cmd_len = 16;
      header.mx_sb_len = 252;
      header.dxfer_len = 512;
      header.timeout = 3000;
      header.cmdp = (void *)0x7f0000001000;
      header.dxferp = (void *)0x7f0102030405;
      header.sbp = (void *)0x7f0000002000;
      for (size_t at = 0; at < sizeof header; at++) printf("%02x", ((unsigned char *)&header)[at]);
      printf(" %d %d %d %d", SG_IO, SG_SCSI_RESET, SG_SET_RESERVED_SIZE, SG_GET_RESERVED_SIZE);
      // TARGET and NO_ESCALATE are newer than the C library's copy of the header.
      printf(" %d %d %d 4 256", SG_SCSI_RESET_DEVICE, SG_SCSI_RESET_BUS, SG_SCSI_RESET_HOST);
    }`;
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-sg-'));
  try {
    const binary = join(folder, 'header');
    execFileSync('gcc', ['-x', 'c', '-', '-o', binary], { input: program });
    return execFileSync(binary, { encoding: 'utf8' }).split(' ');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('the header of SG_IO', () => {
  test('of a read, byte by byte', () => {
    const header = new Uint8Array(headerBytes).fill(0xee);
    encodeHeader({ cdbBytes: 10, dataBytes: 4096, timeoutMs: 10_000, ...addresses }, header);
    expect(hexOf(header)).toBe(
      [
        '53000000', // interface_id: 'S'
        'fdffffff', // dxfer_direction: SG_DXFER_FROM_DEV
        '0afc0000', // cmd_len, mx_sb_len, iovec_count
        '00100000', // dxfer_len
        '05040302017f0000', // dxferp
        '00100000007f0000', // cmdp
        '00200000007f0000', // sbp
        '10270000', // timeout
        '00000000', // flags
        '00000000', // pack_id
        '00000000', // padding
        '0000000000000000', // usr_ptr
        '00000000', // status, masked_status, msg_status, sb_len_wr
        '00000000', // host_status, driver_status
        '00000000', // resid
        '00000000', // duration
        '00000000', // info
        '00000000', // padding
      ].join(''),
    );
  });

  test.skipIf(needsHeader('scsi/sg.h', 'libc6-dev'))("is the system's own, in C", () => {
    const header = new Uint8Array(headerBytes);
    encodeHeader({ cdbBytes: 16, dataBytes: 512, timeoutMs: 3000, ...addresses }, header);
    const { device, bus, host, target, noEscalate } = sgReset;
    const numbers = [
      ...[ioctlSgIo, ioctlSgScsiReset, ioctlSgSetReservedSize, ioctlSgGetReservedSize],
      ...[device, bus, host, target, noEscalate],
    ];
    expect(fromC()).toEqual([hexOf(header), ...numbers.map(String)]);
  });

  test('of a command without data: no direction; no time is not for ever', () => {
    const header = new Uint8Array(headerBytes);
    encodeHeader({ cdbBytes: 6, dataBytes: 0, timeoutMs: 0, ...addresses }, header);
    const view = new DataView(header.buffer);
    expect([view.getInt32(4, true), view.getUint32(40, true)]).toEqual([-1, 1]);
  });

  test('says afterwards how it went', () => {
    const header = Buffer.alloc(headerBytes);
    header[64] = 2;
    header[67] = 18;
    header.writeUInt16LE(3, 68);
    header.writeUInt16LE(8, 70);
    header.writeInt32LE(512, 72);
    header.writeUInt32LE(4150, 76);
    expect(decodeHeader(header)).toEqual({
      status: 2,
      senseBytes: 18,
      hostStatus: 3,
      driverStatus: 8,
      residueBytes: 512,
      durationMs: 4150,
    });
  });

  test.each([
    [0, 4096],
    [512, 3584],
    [-8, 4096],
    [9999, 0],
  ])('a residue of %d leaves %d of 4096 bytes', (residueBytes, expected) => {
    expect(dataBytesOf({ ...well, residueBytes }, 4096)).toBe(expected);
  });
});

const well: SgResult = {
  status: 0,
  hostStatus: 0,
  driverStatus: 0,
  senseBytes: 0,
  residueBytes: 0,
  durationMs: 40,
};
const data = Uint8Array.of(1, 2);
const sense = Uint8Array.of(0x70);

/** What becomes of a command with a timeout of 1000 ms whose ioctl took 45 ms. */
function answerTo(result: Partial<SgResult>) {
  return answerOf({ ...well, ...result }, 1000, 45, data, sense);
}

describe('how a command ended', () => {
  test.each([
    [{}, 'done', 'good'],
    [{ status: 4 }, 'done', 'good'],
    [{ status: 2, driverStatus: 8 }, 'done', 'check'],
    [{ status: 8 }, 'done', 'busy'],
    [{ status: 0x28 }, 'done', 'busy'],
    [{ hostStatus: 1 }, 'gone', undefined],
    [{ hostStatus: 4 }, 'gone', undefined],
    // The kernel's own timeout: a good status that means nothing.
    [{ hostStatus: 3 }, 'timeout', undefined],
    [{ driverStatus: 6 }, 'timeout', undefined],
    [{ hostStatus: 5, durationMs: 1004 }, 'timeout', undefined],
    [{ hostStatus: 5 }, 'failed', undefined],
    [{ hostStatus: 7 }, 'failed', undefined],
    [{ hostStatus: 8, status: 2 }, 'failed', undefined],
    [{ hostStatus: 0x99 }, 'failed', undefined],
    // Older kernels say again what the sense data says, here a medium error.
    [{ hostStatus: 0x13, status: 2, driverStatus: 8 }, 'done', 'check'],
    [{ hostStatus: 0x13 }, 'failed', undefined],
    [{ driverStatus: 4 }, 'failed', undefined],
    [{ status: 0x18 }, 'failed', undefined],
    [{ status: 0x40 }, 'failed', undefined],
  ])('%j is %s %s', (result, kind, status) => {
    const answer = answerTo(result);
    expect(answer).toMatchObject(status ? { kind, status, data, sense } : { kind });
    expect('data' in answer).toBe(status !== undefined);
  });

  test("what the kernel waited before the command went out is not the drive's time", () => {
    expect(answerOf(well, 1000, 45, data, sense).elapsedMs).toBe(45);
    expect(answerOf(well, 1000, 9000, data, sense).elapsedMs).toBe(50);
  });
});

describe('records', () => {
  test('a request comes through whole', () => {
    const record = {
      operation: 'reset',
      id: 0xfffffffe,
      payload: Uint8Array.from({ length: 16 }, (_, index) => 255 - index),
      dataBytes: 1 << 20,
      timeoutMs: 10_000.5,
    } as const;
    expect(decodeRecord(encodeRecord(record))).toEqual(record);
  });

  test('a reply comes through with what SG_IO wrote', () => {
    const bytes = new Uint8Array(replyHeaderBytes);
    const parts = sgPartsOf(bytes);
    parts.header.fill(0xaa);
    parts.sense.fill(0xbb);
    const numbers = { kind: 'answer', id: 7, errno: 19, elapsedMs: 1.5, dataBytes: 4096 } as const;
    encodeReplyNumbers(numbers, bytes);
    expect(decodeReplyHeader(bytes)).toEqual({
      ...numbers,
      header: new Uint8Array(88).fill(0xaa),
      sense: new Uint8Array(252).fill(0xbb),
    });
  });
});
