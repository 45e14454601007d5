/** The board of docs/building-an-imager.md around the chip, with the committed firmware on it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import {
  type Bootloader,
  type Chip,
  createChip,
  cyclesPerMs,
  type PinLevel,
  paint,
  programFromHex,
  type ResetFlag,
  type RestartOptions,
} from './avr-chip.js';
import {
  createGate,
  createIna226,
  createRail,
  type Gate,
  type Rail,
  type RailLoad,
  type Sensor,
  type SensorState,
  thermistorVolts,
} from './avr-rails.js';

/** Where the HEX file and its symbols are: the committed ones, or those of a mutant (avr-mutants.mjs). */
const firmwareFolder =
  process.env.LASTSPIN_AVR_FOLDER ??
  join(import.meta.dirname, '../../firmware-protocol/firmware/avr');
export const baud = 115_200;

export type Celsius = Parameters<typeof thermistorVolts>[0];

export interface AvrBoardOptions {
  /** Without it the transistors lose their gates while the chip restarts. */
  readonly holdCapacitor?: boolean;
  readonly bootloader?: Bootloader;
  readonly sensor5?: SensorState;
  readonly sensor12?: SensorState;
  readonly celsius?: Celsius;
  readonly ram?: RestartOptions['ram'];
}

export interface AvrBoard {
  readonly chip: Chip;
  readonly nowMs: number;
  readonly gate5: Gate;
  readonly gate12: Gate;
  readonly rail5: Rail;
  readonly rail12: Rail;
  readonly sensor5: Sensor;
  readonly sensor12: Sensor;
  celsius: Celsius;
  readonly hold: PinLevel;
  readonly light: PinLevel;
  /** Called when the drive is to rest, and when not any more. */
  onHold: (hold: boolean, atMs: number) => void;
  /** A new end of the serial line; the one before goes silent, as a port does that closes. */
  openPort(): Duplex;
  /** Bytes on the line to the chip, whoever sends them. */
  send(bytes: Uint8Array): void;
  /** The drive's activity line goes low and high again. */
  blink(): void;
  restart(flag: ResetFlag, options?: RestartOptions): void;
  /** Lets time pass; returns early when a frame has come from the chip. */
  run(untilMs: number): void;
  /** Hands what the chip has sent to the port. */
  deliver(): void;
  /** Bytes of painted SRAM between the program's data and its stack that nothing has ever written. */
  untouchedBytes(): number;
  /** Where the firmware keeps a variable of its own. */
  addressOf(name: string): number;
}

function firmwareFile(name: string): string {
  return readFileSync(join(firmwareFolder, name), 'utf8');
}

/** A 3.5" drive: its motor takes four times what it takes later. */
function driveLoad(idleMilliamps: number, spinUpMilliamps: number): RailLoad {
  const rest = { overload: undefined, supply: 1, stuckOn: false };
  return { idleMilliamps, spinUpMilliamps, spinUpMs: 4000, ...rest };
}

/** A board that was just plugged in. */
export function createAvrBoard(options: AvrBoardOptions = {}): AvrBoard {
  const { holdCapacitor = true, bootloader = 'none', ram = 'noise' } = options;
  const now = () => chip.cycles / cyclesPerMs;
  const gate5 = createGate(holdCapacitor);
  const gate12 = createGate(holdCapacitor);
  const rail5 = createRail(gate5, 5000, driveLoad(700, 900));
  const rail12 = createRail(gate12, 12_000, driveLoad(500, 2000));
  const sensor5 = createIna226(rail5, now);
  const sensor12 = createIna226(rail12, now);
  sensor5.state = options.sensor5 ?? 'fitted';
  sensor12.state = options.sensor12 ?? 'fitted';
  const slaves = new Map([
    [0x40, sensor5.slave],
    [0x41, sensor12.slave],
  ]);
  let outgoing: number[] = [];
  let port: Duplex | undefined;
  let held: PinLevel = 'floating';

  const chip = createChip({
    program: programFromHex(firmwareFile('lastspin-avr.hex')),
    slaveAt: (address) => slaves.get(address),
    adcVolts: () => thermistorVolts(board.celsius),
    onPins() {
      gate5.setPin(chip.pin('D', 4), now());
      gate12.setPin(chip.pin('D', 5), now());
      const hold = chip.pin('D', 6);
      if (hold !== held) board.onHold(hold === 'high', now());
      held = hold;
    },
    onByte(byte, atCycle) {
      outgoing.push(byte);
      // Half a frame changes nothing at the other end.
      if (byte === 0) chip.pause(atCycle);
    },
  });

  const board: AvrBoard = {
    chip,
    get nowMs() {
      return now();
    },
    gate5,
    gate12,
    rail5,
    rail12,
    sensor5,
    sensor12,
    celsius: options.celsius ?? 30,
    get hold() {
      return chip.pin('D', 6);
    },
    get light() {
      return chip.pin('B', 5);
    },
    onHold() {},
    openPort() {
      const opened = new Duplex({
        read() {},
        write(bytes: Buffer, _encoding, done) {
          if (opened === port) chip.receive(bytes, baud);
          done();
        },
      });
      port = opened;
      return opened;
    },
    send: (bytes) => chip.receive(bytes, baud),
    blink() {
      chip.setPin('D', 2, false);
      chip.setPin('D', 2, true);
    },
    restart: (flag, how = {}) => chip.restart(flag, { bootloader, ...how }),
    run(untilMs) {
      // Up to and with that moment, whatever a division makes of it.
      chip.run(Math.floor(untilMs * cyclesPerMs) + 1);
      rail5.settle(now());
      rail12.settle(now());
    },
    deliver() {
      if (outgoing.length > 0 && port && !port.destroyed) port.push(Buffer.from(outgoing));
      outgoing = [];
    },
    untouchedBytes: () => longestRun(chip.data, paint),
    addressOf: (name) => addressOf(firmwareFile('lastspin-avr.symbols'), name),
  };
  chip.setPin('D', 2, true);
  board.restart('powerOn', { ram });
  return board;
}

function longestRun(bytes: Uint8Array, value: number): number {
  let longest = 0;
  let run = 0;
  for (const byte of bytes) {
    run = byte === value ? run + 1 : 0;
    longest = Math.max(longest, run);
  }
  return longest;
}

/** A line of the symbols is an address (data from 0x800000 on), a size and a name. */
function addressOf(symbols: string, name: string): number {
  const line = symbols.split('\n').find((entry) => entry.endsWith(` ${name}`));
  if (!line) throw new Error(`the firmware has no ${name}`);
  return Number.parseInt(line.slice(0, 8), 16) - 0x800000;
}
