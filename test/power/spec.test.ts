import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isLastspinError } from '../../src/errors.js';
import { nameOfPort, parsePowerSpec } from '../../src/power/spec.js';

describe('the words after --power', () => {
  test.each([
    ['none', { kind: 'none' }],
    ['imager', { kind: 'imager' }],
    ['manual', { kind: 'manual' }],
    ['serial:/dev/ttyACM0', { kind: 'link' }],
    ['stdio:ssh board imager', { kind: 'link' }],
    ['exec:relay {action}', { kind: 'exec', command: 'relay {action}' }],
    ['lcus:/dev/ttyUSB0:1', { kind: 'lcus', path: '/dev/ttyUSB0', relays: [1], contact: 'no' }],
    ['lcus:COM3:2,1', { kind: 'lcus', path: 'COM3', relays: [2, 1], contact: 'no' }],
    [
      'lcus:/dev/serial/by-path/a:b:8?wired=nc',
      { kind: 'lcus', path: '/dev/serial/by-path/a:b', relays: [8], contact: 'nc' },
    ],
    ['hid:BITFT:1', { kind: 'hid', serial: 'BITFT', relays: [1], contact: 'no' }],
    ['hid:1,2', { kind: 'hid', relays: [1, 2], contact: 'no' }],
    ['hub:1-1.4', { kind: 'hub', port: { bus: 1, hub: [1], port: 4 } }],
    ['hub:2-3', { kind: 'hub', port: { bus: 2, hub: [], port: 3 } }],
  ])('%s', (spec, meaning) => {
    expect(parsePowerSpec(spec)).toEqual(meaning);
  });

  test.each([
    ['relay:1', /unknown power switch 'relay:1'; known are imager, /],
    ['', /unknown power switch ''/],
    ['lcus:/dev/ttyUSB0', /as in lcus:\/dev\/ttyUSB0:1/],
    ['lcus:1', /as in lcus:/],
    ['lcus:/dev/ttyUSB0:9', /numbered from 1 to 8/],
    ['lcus:/dev/ttyUSB0:0', /numbered from 1 to 8/],
    ['lcus:/dev/ttyUSB0:1,1', /named twice/],
    ['lcus:/dev/ttyUSB0:1?wired=off', /wired=no or wired=nc/],
    ['hid:X:1?active=low', /no option 'active', only 'wired'/],
    ['hid:BITFT', /as in hid:BITFT:1/],
    ['hub:1', /as in hub:1-1\.4/],
    ['hub:1-0', /as in hub:1-1\.4/],
    ['hub:usb1', /as in hub:1-1\.4/],
  ])('%j is refused', (spec, why) => {
    expect(() => parsePowerSpec(spec)).toThrow(why);
  });

  test('whatever is typed is a switch or a USAGE in one line', () => {
    const start = fc.constantFrom('', 'lcus:', 'hid:', 'hub:', 'exec:', 'no');
    fc.assert(
      fc.property(start, fc.string(), (scheme, rest) => {
        try {
          parsePowerSpec(scheme + rest);
        } catch (error) {
          return isLastspinError(error, 'USAGE');
        }
        return true;
      }),
    );
  });

  test('a port is called as it was named', () => {
    const spec = parsePowerSpec('hub:3-1.2.4');
    expect(spec.kind === 'hub' && nameOfPort(spec.port)).toBe('3-1.2.4');
  });
});
