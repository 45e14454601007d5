/** The power state table (PROTOCOL.md P-2) as data: what an imager answers and where its state goes, for
 * everything that is asked or happens. Kept by the simulated imager and the agent; a test holds the
 * page against it. */
import type { PowerState, ReplyCode } from './commands.js';
import { ReplyError } from './device.js';

/** What is asked of an imager, and what happens to it. */
export type PowerInput = keyof typeof rows;

/** A state: it is entered. `same`: nothing changes. `done`, `wait` (for the drive, until its deadline),
 * `gone`: how a command ends that moves no state. The rest are reply codes: nothing is done. */
export type PowerCell =
  | PowerState
  | 'same'
  | 'done'
  | 'wait'
  | 'gone'
  | Extract<ReplyCode, 'noDrive' | 'limit' | 'busy'>;

const columns: readonly PowerState[] = [
  'unknown',
  'off',
  'ramping',
  'on-not-ready',
  'ready',
  'hung',
  'cooling',
  'tripped',
];

type Row = readonly [
  PowerCell,
  PowerCell,
  PowerCell,
  PowerCell,
  PowerCell,
  PowerCell,
  PowerCell,
  PowerCell,
];

// Short names, so that the table can be read as one.
const same = 'same';
const none = 'noDrive';
const cool = 'cooling';
const wait = 'on-not-ready';
const ramp = 'ramping';
const trip = 'tripped';

/** An imager boots with the rails off whatever was before, and restarts as it was. From `unknown` every
 * way leads through a full off-time. Tripped rails come back only after they were switched off. */
// biome-ignore format: a table is read by its columns
const rows = {
  //                        unknown off   ramping  not-ready ready   hung    cooling tripped
  'power on':              [cool,   ramp,  same,   same,     same,   same,   same,   'limit'],
  'power off':             [cool,   same,  cool,   cool,     cool,   cool,   same,   cool],
  'power cycle':           [cool,   cool,  cool,   cool,     cool,   cool,   same,   cool],
  reset:                   [none,   none,  none,   wait,     wait,   wait,   none,   none],
  read:                    ['gone', 'gone','wait', 'wait',   'done', 'wait', 'gone', 'gone'],
  'identify, passthrough': [none,   none,  'wait', 'wait',   'done', 'wait', none,   none],
  park:                    [none,   none,  none,   'done',   'done', 'busy', none,   none],
  'any other command':     ['done', 'done','done', 'done',   'done', 'done', 'done', 'done'],
  'HELLO, link closes':    [same,   same,  same,   same,     same,   same,   same,   same],
  boot:                    ['off',  'off', 'off',  'off',    'off',  'off',  'off',  'off'],
  restart:                 ['off',  'off', cool,   wait,     wait,   wait,   cool,   trip],
  'rail-up':               [same,   same,  wait,   same,     same,   same,   same,   same],
  'rail-failed':           [same,   same,  trip,   trip,     trip,   trip,   same,   same],
  'off-time-over':         [same,   same,  same,   same,     same,   same,   'off',  same],
  'drive-ready':           [same,   same,  same,   'ready',  same,   'ready',same,   same],
  'drive-silent':          [same,   same,  same,   'hung',   'hung', same,   same,   same],
  'drive-gone':            [same,   same,  same,   same,     wait,   wait,   same,   same],
  'over-current':          [same,   same,  trip,   trip,     trip,   trip,   same,   same],
  'over-heat':             [same,   same,  trip,   trip,     trip,   trip,   same,   same],
  silence:                 [same,   same,  cool,   cool,     cool,   cool,   same,   same],
} as const satisfies Record<string, Row>;

export const powerInputs = Object.keys(rows) as PowerInput[];

/** The cell of the table for a state and an input. */
export function powerCell(state: PowerState, input: PowerInput): PowerCell {
  return rows[input][columns.indexOf(state)] as PowerCell;
}

/** Whether a cell is a state to enter. */
function isPowerState(cell: PowerCell): cell is PowerState {
  return (columns as readonly PowerCell[]).includes(cell);
}

/** The state that an input enters, or undefined where it changes nothing. Throws ReplyError where the
 * table refuses. */
export function nextPowerState(state: PowerState, input: PowerInput): PowerState | undefined {
  const cell = powerCell(state, input);
  if (cell === 'limit') throw new ReplyError('limit', 'the rails tripped: switch off first');
  if (cell === 'noDrive') throw new ReplyError('noDrive', `the drive has no power (${state})`);
  if (cell === 'busy') throw new ReplyError('busy', 'the drive does not answer');
  return isPowerState(cell) ? cell : undefined;
}
