/** What every USB device answers (USB 2.0, chapter 9): descriptors, status, halts. */
import type { Setup } from './usb-device.js';

export const directionIn = 0x80;
/** Largest packet of a bulk endpoint at high speed. */
export const packetBytes = 512;
export const noBytes = Buffer.alloc(0);

export interface StandardParts {
  readonly device: Buffer;
  readonly configuration: Buffer;
  readonly strings: readonly string[];
  isHalted(endpoint: number): boolean;
  halt(endpoint: number): void;
  clearHalt(endpoint: number): void;
}

/** Answers standard requests; undefined for all others. */
export function createStandardRequests(parts: StandardParts) {
  let configured = 1;

  function descriptorOf(value: number): Buffer | 'stall' {
    const [type, index] = [value >> 8, value & 0xff];
    if (type === 1) return parts.device;
    if (type === 2) return parts.configuration;
    if (type === 3) return stringDescriptor(parts.strings, index);
    if (type === 6) return qualifierOf(parts.device);
    return 'stall';
  }

  function feature(isSet: boolean, { requestType, index }: Setup): Buffer {
    // Of an endpoint there is one: its halt.
    if (requestType === 0x02 && isSet) parts.halt(index);
    if (requestType === 0x02 && !isSet) parts.clearHalt(index);
    return noBytes;
  }

  return (setup: Setup): Buffer | 'stall' | undefined => {
    switch ((setup.requestType << 8) | setup.request) {
      case 0x8000: // GET_STATUS of device, interface, endpoint
      case 0x8100:
        return Buffer.from([0, 0]);
      case 0x8200:
        return Buffer.from([parts.isHalted(setup.index) ? 1 : 0, 0]);
      case 0x0001: // CLEAR_FEATURE
      case 0x0201:
        return feature(false, setup);
      case 0x0003: // SET_FEATURE
      case 0x0203:
        return feature(true, setup);
      case 0x8006:
        return descriptorOf(setup.value);
      case 0x8008:
        return Buffer.from([configured]);
      case 0x0009:
        configured = setup.value;
        return noBytes;
      case 0x810a: // GET_INTERFACE
        return Buffer.from([0]);
      case 0x010b: // SET_INTERFACE
        return noBytes;
      default:
        return undefined;
    }
  };
}

export interface Ids {
  readonly vendorId: number;
  readonly productId: number;
}

/** `deviceClass`: class, subclass and protocol. */
export function deviceDescriptor(
  { vendorId, productId }: Ids,
  deviceClass: readonly [number, number, number],
): Buffer {
  const bytes = Buffer.from([18, 1, 0, 2, ...deviceClass, 64, 0, 0, 0, 0, 0, 1, 1, 2, 3, 1]);
  bytes.writeUInt16LE(vendorId, 8);
  bytes.writeUInt16LE(productId, 10);
  return bytes;
}

export function configurationDescriptor(
  interfaceCount: number,
  parts: readonly (readonly number[])[],
): Buffer {
  const body = parts.flat();
  const length = 9 + body.length;
  const header = [9, 2, length & 0xff, length >> 8, interfaceCount, 1, 0, 0x80, 50];
  return Buffer.from([...header, ...body]);
}

/** The descriptors of a pair of bulk endpoints, out and in. */
export function bulkPair(address: number): number[] {
  const bulk = (each: number) => [7, 5, each, 2, packetBytes & 0xff, packetBytes >> 8, 0];
  return [...bulk(address), ...bulk(address | directionIn)];
}

/** `1209:0001` */
export function idsOf({ vendorId, productId }: Ids): string {
  const hex = (id: number) => id.toString(16).padStart(4, '0');
  return `${hex(vendorId)}:${hex(productId)}`;
}

function qualifierOf(device: Buffer): Buffer {
  return Buffer.concat([Buffer.from([10, 6]), device.subarray(2, 8), Buffer.from([1, 0])]);
}

function stringDescriptor(strings: readonly string[], index: number): Buffer | 'stall' {
  if (index === 0) return Buffer.from([4, 3, 0x09, 0x04]);
  const text = strings[index - 1];
  if (text === undefined) return 'stall';
  const encoded = Buffer.from(text, 'utf16le');
  return Buffer.concat([Buffer.from([2 + encoded.length, 3]), encoded]);
}
