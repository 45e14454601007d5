import type { PowerState } from '../firmware-protocol/commands.js';

/** What can happen to the power of a drive. The first four are asked for, the others befall it. */
export type PowerInput =
  | 'on'
  | 'off'
  | 'cycle'
  | 'reset'
  | 'boot'
  | 'rail-up'
  | 'off-time-over'
  | 'drive-ready'
  | 'drive-silent'
  | 'drive-gone'
  | 'over-current';

/** `same`: nothing changes (for `on` while cooling: it is remembered). `refused`: told so. */
export type PowerCell = PowerState | 'same' | 'refused';

const inputs = [
  'on',
  'off',
  'cycle',
  'reset',
  'boot',
  'rail-up',
  'off-time-over',
  'drive-ready',
  'drive-silent',
  'drive-gone',
  'over-current',
] as const satisfies readonly PowerInput[];

// Short names, so that the table can be read as one.
const same = 'same';
const no = 'refused';
const off = 'off';
const cool = 'cooling';
const wait = 'on-not-ready';
const ramp = 'ramping';
const hung = 'hung';
const good = 'ready';
const trip = 'tripped';

type Row = readonly PowerCell[] & { readonly length: (typeof inputs)['length'] };

/** The power state table. An imager boots with the rail off whatever was before. From `unknown`
 * every way leads through a full off-time. A tripped rail comes back only after it was switched
 * off. */
// biome-ignore format: a table is read by its columns
const rows: Readonly<Record<PowerState, Row>> = {
  //               on    off   cycle reset boot  rail-up off-time ready silent gone  over-current
  unknown:        [cool, cool, cool, no,   off,  same,   same,    same, same,  same, same],
  off:            [ramp, same, cool, no,   off,  same,   same,    same, same,  same, same],
  ramping:        [same, cool, cool, no,   off,  wait,   same,    same, same,  same, trip],
  'on-not-ready': [same, cool, cool, wait, off,  same,   same,    good, hung,  same, trip],
  ready:          [same, cool, cool, wait, off,  same,   same,    same, hung,  wait, trip],
  hung:           [same, cool, cool, wait, off,  same,   same,    good, same,  wait, trip],
  cooling:        [same, same, same, no,   off,  same,   off,     same, same,  same, same],
  tripped:        [no,   cool, cool, no,   off,  same,   same,    same, same,  same, same],
};

/** The cell of the table for a state and an input. */
export function powerCell(state: PowerState, input: PowerInput): PowerCell {
  return rows[state][inputs.indexOf(input)] as PowerCell;
}
