/** ioctl(2) through the optional package koffi. A call returns when the driver does: only for processes that may
 * be abandoned. */
import { createRequire } from 'node:module';
import { endianness } from 'node:os';

export interface Ioctl {
  /** Returns the error number, 0 where there was none. `argument` is what the kernel reads or writes. */
  call(descriptor: number, request: number, argument: Uint8Array): number;
  addressOf(bytes: Uint8Array): bigint;
}

/** Throws where koffi is not installed or does not load, and on processors where numbers or pointers look
 * otherwise. */
export function loadIoctl(): Ioctl {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  if (koffi.sizeof('void *') !== 8 || endianness() !== 'LE')
    throw new Error('ioctl is known here for 64-bit little-endian processors only');
  // The C library that node itself runs on.
  const ioctl = koffi
    .load(null)
    .func('int ioctl(int descriptor, unsigned long request, uintptr_t argument)') as (
    descriptor: number,
    request: number,
    argument: bigint,
  ) => number;
  const addressOf = (bytes: Uint8Array) => BigInt(koffi.address(bytes));
  return {
    addressOf,
    call: (descriptor, request, argument) =>
      ioctl(descriptor, request, addressOf(argument)) < 0 ? koffi.errno() : 0,
  };
}

/** What the kernel keeps of a block device's size; asking for it sends the device nothing. */
export interface DeviceSize {
  readonly sizeBytes: number;
  /** Logical and physical sector. */
  readonly sectorBytes: number;
  readonly physicalSectorBytes: number;
}

/** BLKGETSIZE64, BLKSSZGET and BLKPBSZGET (include/uapi/linux/fs.h), as most processors number them; the first
 * differs on mips, powerpc and sparc, which do not come here. */
const sizeRequests = { size: 0x8008_1272, sector: 0x1268, physical: 0x127b } as const;

/** Asks the open block device `descriptor`. Undefined where the kernel does not answer: not Linux, or no block
 * device. */
export function sizeByIoctl({ call }: Ioctl, descriptor: number): DeviceSize | undefined {
  const numbers = Buffer.alloc(16);
  const asked = [
    call(descriptor, sizeRequests.size, numbers.subarray(0, 8)),
    call(descriptor, sizeRequests.sector, numbers.subarray(8, 12)),
    call(descriptor, sizeRequests.physical, numbers.subarray(12, 16)),
  ];
  if (asked.some((errno) => errno !== 0)) return undefined;
  return {
    sizeBytes: Number(numbers.readBigUInt64LE(0)),
    sectorBytes: numbers.readUInt32LE(8),
    physicalSectorBytes: numbers.readUInt32LE(12),
  };
}
