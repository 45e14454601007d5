/** dcttech's relay board as a USB device, played: a HID interface that the system's own driver takes. */
import type { UsbDevice } from '../../hardware-sim/usb-device.js';

/** Two relays; `masks` has every state that it was switched to. */
export function createRelayDevice(serial: string) {
  const masks: number[] = [];
  let mask = 0;
  const none = Buffer.alloc(0);

  function control(requestType: number, request: number, value: number, sent: Buffer) {
    switch ((requestType << 8) | request) {
      case 0x8006:
        return descriptorOf(value);
      case 0x8106:
        return value >> 8 === 0x22 ? reportDescriptor : 'stall';
      case 0x8000:
      case 0x8100:
        return Buffer.from([0, 0]);
      case 0x0009:
      case 0x010b:
      case 0x210a: // SET_IDLE
        return none;
      case 0xa001: // GET_REPORT of the device, as its firmware answers it
      case 0xa101:
        return Buffer.concat([Buffer.from(serial, 'latin1'), Buffer.from([0, 0, mask])]);
      case 0x2009:
      case 0x2109: {
        const bit = 1 << ((sent[1] ?? 1) - 1);
        if (sent[0] === 0xff) mask |= bit;
        else if (sent[0] === 0xfd) mask &= ~bit;
        else return 'stall';
        masks.push(mask);
        return none;
      }
      default:
        return 'stall';
    }
  }

  const played = {
    name: '16c0:05df',
    device,
    configuration,
    control(setup, length, sent = none) {
      const { requestType, request, value } = setup;
      const answer = control(requestType, request, value, sent);
      return answer === 'stall' ? answer : answer.subarray(0, length);
    },
    bulkIn: (_endpoint, _length, answer) => {
      answer('stall', none);
      return () => {};
    },
    bulkOut: (_endpoint, _bytes, answer) => answer('stall'),
    attach() {},
    detach() {},
    reset() {},
    stall() {},
    haltsCleared: 0,
  } satisfies UsbDevice & { reset(): void };
  return { device: played as UsbDevice, masks };
}

const packetBytes = 8;
const device = Buffer.from([
  ...[18, 1, 0x10, 1, 0, 0, 0, 64, 0xc0, 0x16, 0xdf, 0x05, 0, 1, 1, 2, 0, 1],
]);

function descriptorOf(value: number): Buffer | 'stall' {
  const [type, index] = [value >> 8, value & 0xff];
  if (type === 1) return device;
  if (type === 2) return configuration;
  if (type !== 3) return 'stall';
  if (index === 0) return Buffer.from([4, 3, 0x09, 0x04]);
  const text = Buffer.from(index === 1 ? 'www.dcttech.com' : 'USBRelay2', 'utf16le');
  return Buffer.concat([Buffer.from([2 + text.length, 3]), text]);
}

/** One feature report of eight bytes, of a vendor's own page. */
const reportDescriptor = Buffer.from([
  ...[0x06, 0x00, 0xff, 0x09, 0x01, 0xa1, 0x01, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08],
  ...[0x95, packetBytes, 0x09, 0x00, 0xb2, 0x02, 0x01, 0xc0],
]);

const configuration = Buffer.from([
  ...[9, 2, 34, 0, 1, 1, 0, 0x80, 50],
  ...[9, 4, 0, 0, 1, 3, 0, 0, 0],
  ...[9, 0x21, 0x01, 1, 0, 1, 0x22, reportDescriptor.length, 0],
  ...[7, 5, 0x81, 3, packetBytes, 0, 10],
]);
