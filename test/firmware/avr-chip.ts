/** An ATmega328P by avr8js, with what avr8js leaves out of a restart, of sleep and of the serial line
 * put right: see the comments. Time is the chip's cycles, which go on through every restart. */
import {
  ADCMuxInputType,
  AVRADC,
  AVRClock,
  AVREEPROM,
  AVRIOPort,
  AVRTimer,
  AVRTWI,
  AVRUSART,
  AVRWatchdog,
  adcConfig,
  avrInstruction,
  CPU,
  EEPROMMemoryBackend,
  PinState,
  portBConfig,
  portCConfig,
  portDConfig,
  timer1Config,
  twiConfig,
  usart0Config,
  watchdogConfig,
} from 'avr8js';

export const chipHz = 16_000_000;
export const cyclesPerMs = chipHz / 1000;

/** Bits of MCUSR. */
export const resetFlags = { powerOn: 1, resetLine: 2, brownOut: 4, watchdog: 8 } as const;
export type ResetFlag = keyof typeof resetFlags;

/** SUT fuses of a Nano or Uno: 65 ms from the end of a reset to the first instruction, whatever the
 * reset was (datasheet, system control: the delay counter). */
const startUpMs = 65;

const registersEnd = 0x20;
const ioEnd = 0x100;
const ramBytes = 2048;
const mcusr = 0x54;
const smcr = 0x53;
const sleepEnable = 1;
const sleepOpcode = 0x9588;
const seiOpcode = 0x9478;
/** `rjmp .-2`: a loop of itself. */
const hangOpcode = 0xcfff;
const dataOverrun = 0x08;
/** Two bytes wait in the receiver and a third in its shift register. */
const receiverBytes = 3;
const bitsPerByte = 10;

/** A byte that no program writes over a whole stretch by itself. */
export const paint = 0xc5;

export type PinLevel = 'low' | 'high' | 'floating';
export type PortName = 'B' | 'D';

/** A slave on the bus. `undefined` from `read` or false from the others: nobody answers. */
export interface I2cSlave {
  /** Whether the slave holds the data line low, so that the bus stands still: from its address on, or from
   * the stop on. */
  readonly stuck: boolean;
  readonly stuckAtStop: boolean;
  select(write: boolean): boolean;
  write(byte: number): boolean;
  read(): number;
}

export interface ChipOptions {
  /** Flash, as 16-bit words. */
  readonly program: Uint16Array;
  /** What the bus has at an address, at this moment. */
  readonly slaveAt: (address: number) => I2cSlave | undefined;
  /** Voltage at an ADC channel, at this moment. */
  readonly adcVolts: (channel: number) => number;
  /** Called after every change of an output, and at restarts. */
  readonly onPins: () => void;
  /** A byte has left the chip completely at `atCycle`. */
  readonly onByte: (byte: number, atCycle: number) => void;
}

/** One life of the chip: from a restart to the next. avr8js's own `reset` keeps I/O registers, pending
 * conversions and the busy flags of its parts; a new one has nothing to forget. */
function createLife(options: ChipOptions, eeprom: EEPROMMemoryBackend, atCycle: number) {
  const { program } = options;
  const cpu = new CPU(program, ramBytes);
  cpu.cycles = atCycle;
  const clock = new AVRClock(cpu, chipHz);
  const timer = new AVRTimer(cpu, timer1Config);
  const portB = new AVRIOPort(cpu, portBConfig);
  const portC = new AVRIOPort(cpu, portCConfig);
  const portD = new AVRIOPort(cpu, portDConfig);
  const adc = new AVRADC(cpu, adcConfig);
  const usart = new AVRUSART(cpu, usart0Config, chipHz);
  const twi = new AVRTWI(cpu, twiConfig, chipHz);
  new AVRWatchdog(cpu, watchdogConfig, clock);
  new AVREEPROM(cpu, eeprom);
  skipIdleCounts(cpu, timer);
  connectBus(cpu, twi, options.slaveAt);
  adc.onADCRead = (input) => {
    const volts = input.type === ADCMuxInputType.SingleEnded ? options.adcVolts(input.channel) : 0;
    const value = Math.min(1023, Math.max(0, Math.floor((volts / adc.referenceVoltage) * 1024)));
    cpu.addClockEvent(() => adc.completeADCRead(value), adc.sampleCycles);
  };
  for (const port of [portB, portD]) port.addListener(options.onPins);
  usart.onByteTransmit = (byte) =>
    options.onByte(byte, cpu.cycles + (bitsPerByte * chipHz) / usart.baudRate);
  return { cpu, usart, ports: { B: portB, C: portC, D: portD } };
}

/** avr8js wakes for every count of a timer. Nothing sees the counts between two matches, since
 * reading the counter brings it up to date: so it wakes for the next match only. */
function skipIdleCounts(cpu: CPU, timer: AVRTimer): void {
  const inside = timer as unknown as {
    count: () => void;
    divider: number;
    lastCycle: number;
    tcnt: number;
    ocrA: number;
    ocrB: number;
    TOP: number;
  };
  const add = cpu.addClockEvent.bind(cpu);
  cpu.addClockEvent = (callback, cycles) => {
    const { divider, lastCycle, tcnt, ocrA, ocrB, TOP } = inside;
    if (callback !== inside.count || divider === 0 || TOP === 0) return add(callback, cycles);
    const countsTo = (match: number) => (match > tcnt ? match - tcnt : match - tcnt + TOP + 1);
    const counts = Math.min(countsTo(ocrA), countsTo(ocrB), TOP + 1 - tcnt);
    return add(callback, lastCycle + counts * divider - cpu.cycles);
  };
}

/** The bus with the time that its bits take. avr8js's own parts answer at once, and a transfer that
 * was given up leaves its bus busy for ever. */
function connectBus(cpu: CPU, twi: AVRTWI, slaveAt: ChipOptions['slaveAt']): void {
  const inside = twi as unknown as { busy: boolean };
  let slave: I2cSlave | undefined;
  let transfer = 0;
  const after = (bits: number, complete: () => void) => {
    const mine = transfer;
    const cycles = Math.round((bits * chipHz) / twi.sclFrequency);
    cpu.addClockEvent(() => {
      if (mine === transfer) complete();
    }, cycles);
  };
  const isStuck = () => slave?.stuck === true;
  twi.eventHandler = {
    start: () => after(1, () => twi.completeStart()),
    stop() {
      const isHeld = slave?.stuckAtStop;
      slave = undefined;
      if (!isHeld) after(1, () => twi.completeStop());
    },
    connectToSlave(address, write) {
      slave = slaveAt(address);
      if (isStuck()) return;
      after(9, () => twi.completeConnect(slave?.select(write) ?? false));
    },
    writeByte(value) {
      if (!isStuck()) after(9, () => twi.completeWrite(slave?.write(value) ?? false));
    },
    readByte() {
      if (!isStuck()) after(9, () => twi.completeRead(slave?.read() ?? 0xff));
    },
  };
  const { TWCR, TWSR } = twiConfig;
  const enable = 0x04;
  const idle = 0xf8;
  cpu.data[TWCR] = 0;
  // The status is not the program's to write.
  const prescaler = 0x03;
  cpu.writeHooks[TWSR] = (value, old) => {
    cpu.data[TWSR] = (old & ~prescaler) | (value & prescaler);
    return true;
  };
  const write = cpu.writeHooks[TWCR]!;
  cpu.writeHooks[TWCR] = (value, ...rest) => {
    if (!(value & enable)) {
      // Silicon forgets the transfer.
      transfer++;
      inside.busy = false;
      slave = undefined;
      cpu.data[TWSR] = (cpu.data[TWSR]! & prescaler) | idle;
    }
    return write(value, ...rest);
  };
}

type Life = ReturnType<typeof createLife>;

export interface Chip {
  readonly cycles: number;
  /** SRAM and registers, by data address. */
  readonly data: Uint8Array;
  /** Since the first power-on. */
  readonly restarts: number;
  /** When the program began to run after the last restart. */
  readonly startedAtCycle: number;
  /** Runs until `untilCycle` or a call of `pause`, whichever comes first. */
  run(untilCycle: number): void;
  /** Makes `run` return at `atCycle` at the latest. */
  pause(atCycle: number): void;
  pin(port: PortName, index: number): PinLevel;
  setPin(port: PortName, index: number, high: boolean): void;
  /** Puts bytes on the receive line, one after the other at `baud`, from now or behind what is on it
   * already. */
  receive(bytes: Uint8Array, baud: number): void;
  /** Takes the chip through a reset. SRAM and registers stay but at `powerOn`, where SRAM comes up with
   * `fill`. */
  restart(flag: ResetFlag, options?: RestartOptions): void;
  /** The program goes round on the spot from now to the next restart, interrupts as they are. */
  hang(): void;
}

export type Bootloader = 'none' | 'optiboot' | 'old';

export interface RestartOptions {
  /** SRAM after a power-on; noise unless told. `kept`: it was off too short to forget. `painted`: all
   * `paint`, so that one sees later what was never written. */
  readonly ram?: 'noise' | 'kept' | 'painted';
  /** How long reset is held, before the chip's own start-up time. */
  readonly heldMs?: number;
  /** What stands before the program and clears MCUSR. Optiboot waits a second after the reset line, and
   * passes the flags in r2; older ones leave anything there. */
  readonly bootloader?: Bootloader;
}

/** Made before its first power: call `restart('powerOn')`. */
export function createChip(options: ChipOptions): Chip {
  const { program } = options;
  const eeprom = new EEPROMMemoryBackend(1024);
  const incoming: { readonly byte: number; readonly atCycle: number }[] = [];
  const receiver: number[] = [];
  const inputs = new Map<string, { port: PortName; index: number; high: boolean }>();
  let life: Life = createLife(options, eeprom, 0);
  let restarts = -1;
  let startsAt = 0;
  let pauseAt = Number.POSITIVE_INFINITY;
  let bitten = false;
  let overrun = false;
  let hung: { readonly pc: number; readonly opcode: number } | undefined;

  /** The next byte on the line, when its stop bit has come. */
  function armReceiver(): void {
    const first = incoming[0];
    if (first) life.cpu.addClockEvent(takeByte, first.atCycle - life.cpu.cycles);
  }

  function takeByte(): void {
    const { usart } = life;
    const { byte } = incoming.shift()!;
    if (!usart.rxEnable) receiver.length = 0;
    else if (receiver.length === receiverBytes) overrun = true;
    else if (receiver.push(byte) === 1) usart.writeByte(byte, true);
    armReceiver();
  }

  /** avr8js holds one byte, knows no overrun, and forgets that byte when the transmitter's interrupt is
   * switched: here is the rest of silicon's receiver. */
  function connectReceiver({ cpu, usart }: Life): void {
    receiver.length = 0;
    overrun = false;
    const { UDR, UCSRA, UCSRB } = usart0Config;
    const read = cpu.readHooks[UDR]!;
    cpu.readHooks[UDR] = (address) => {
      const value = read(address);
      receiver.shift();
      if (receiver[0] !== undefined) usart.writeByte(receiver[0], true);
      cpu.data[UCSRA] = (cpu.data[UCSRA]! & ~dataOverrun) | (overrun ? dataOverrun : 0);
      overrun = false;
      return value;
    };
    const write = cpu.writeHooks[UCSRB]!;
    cpu.writeHooks[UCSRB] = (...how) => {
      const done = write(...how);
      if (receiver[0] !== undefined) usart.writeByte(receiver[0], true);
      return done;
    };
  }

  function begin(flag: ResetFlag, how: RestartOptions): void {
    const { ram = 'noise', heldMs = 0, bootloader = 'none' } = how;
    const before = life.cpu;
    if (hung) program[hung.pc] = hung.opcode;
    hung = undefined;
    bitten = false;
    const waitsMs = bootloader !== 'none' && flag === 'resetLine' ? 1000 : 0;
    // Until then it runs nothing, and all pins float.
    startsAt = before.cycles + (heldMs + startUpMs + waitsMs) * cyclesPerMs;
    life = createLife(options, eeprom, before.cycles);
    const { cpu, ports } = life;
    for (const { port, index, high } of inputs.values()) ports[port].setPin(index, high);
    cpu.data.set(before.data.subarray(0, registersEnd));
    cpu.data.set(before.data.subarray(ioEnd), ioEnd);
    if (flag === 'powerOn' && ram === 'noise') fillWithNoise(cpu.data, restarts + 2);
    if (flag === 'powerOn' && ram === 'painted') cpu.data.fill(paint, ioEnd);
    cpu.data[mcusr] = bootloader === 'none' ? resetFlags[flag] : 0;
    if (bootloader === 'optiboot') cpu.data[2] = resetFlags[flag];
    if (bootloader === 'old') cpu.data[2] = 0x5a;
    // The watchdog of avr8js calls this; what else it does is for a life that is over.
    cpu.reset = () => {
      bitten = true;
    };
    restarts++;
    connectReceiver(life);
    armReceiver();
  }

  function restart(flag: ResetFlag, how: RestartOptions = {}): void {
    begin(flag, how);
    options.onPins();
  }

  /** SLEEP is a NOP to avr8js. Asleep, time jumps to the next event until an interrupt was taken. */
  function sleep(untilCycle: number): void {
    const { cpu } = life;
    const asleep = cpu.pc;
    const wake = asleep + 1;
    cpu.pc = wake;
    cpu.cycles++;
    cpu.tick();
    while (cpu.pc === wake && cpu.cycles < Math.min(untilCycle, pauseAt) && !bitten) {
      const next = nextEventOf(cpu) ?? untilCycle;
      cpu.cycles = Math.max(cpu.cycles, Math.min(next, untilCycle, pauseAt));
      cpu.tick();
    }
    if (cpu.pc === wake) cpu.pc = asleep;
  }

  function step(untilCycle: number): void {
    const { cpu } = life;
    // Silicon takes no interrupt between SEI and the instruction behind it.
    if (program[cpu.pc] === seiOpcode) avrInstruction(cpu);
    if (program[cpu.pc] === sleepOpcode && cpu.data[smcr]! & sleepEnable) {
      sleep(untilCycle);
    } else {
      avrInstruction(cpu);
      cpu.tick();
    }
  }

  return {
    get cycles() {
      return life.cpu.cycles;
    },
    get data() {
      return life.cpu.data;
    },
    get startedAtCycle() {
      return startsAt;
    },
    get restarts() {
      return restarts;
    },
    run(untilCycle) {
      pauseAt = Number.POSITIVE_INFINITY;
      while (life.cpu.cycles < untilCycle && life.cpu.cycles < pauseAt) {
        if (life.cpu.cycles < startsAt) life.cpu.cycles = Math.min(startsAt, untilCycle, pauseAt);
        else step(untilCycle);
        if (bitten) restart('watchdog');
      }
    },
    pause(atCycle) {
      pauseAt = Math.min(pauseAt, atCycle);
    },
    pin(port, index) {
      const state = life.ports[port].pinState(index);
      if (state === PinState.High) return 'high';
      return state === PinState.Low ? 'low' : 'floating';
    },
    setPin(port, index, high) {
      inputs.set(`${port}${index}`, { port, index, high });
      life.ports[port].setPin(index, high);
    },
    receive(bytes, baud) {
      const byteCycles = (bitsPerByte * chipHz) / baud;
      let atCycle = Math.max(life.cpu.cycles, incoming.at(-1)?.atCycle ?? 0);
      const isIdle = incoming.length === 0;
      for (const byte of bytes) {
        atCycle += byteCycles;
        incoming.push({ byte, atCycle });
      }
      if (isIdle) armReceiver();
    },
    restart,
    hang() {
      const { pc } = life.cpu;
      hung = { pc, opcode: program[pc]! };
      program[pc] = hangOpcode;
    },
  };
}

/** When a sleeping chip has something to do. */
function nextEventOf(cpu: CPU): number | undefined {
  const inside = cpu as unknown as { readonly nextClockEvent: { readonly cycles: number } | null };
  return inside.nextClockEvent?.cycles;
}

/** SRAM after a power-on: anything. A small generator, so that a test is the same each time. */
function fillWithNoise(data: Uint8Array, seed: number): void {
  let state = seed * 0x9e3779b1;
  for (let at = ioEnd; at < data.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[at] = state >>> 24;
  }
}

/** The words of an Intel HEX file. Throws on a record that it does not know or whose sum is wrong. */
export function programFromHex(text: string): Uint16Array {
  const bytes = new Uint8Array(32 * 1024).fill(0xff);
  for (const line of text.split(/\r?\n/)) {
    if (line === '') continue;
    const record = Buffer.from(line.slice(1), 'hex');
    const sum = record.reduce((total, byte) => total + byte, 0) & 0xff;
    if (line[0] !== ':' || sum !== 0) throw new Error(`not a HEX record: ${line}`);
    const count = record[0]!;
    if (record[3] === 0) bytes.set(record.subarray(4, 4 + count), record.readUInt16BE(1));
    else if (record[3] !== 1 && record[3] !== 3) throw new Error(`HEX record of type ${record[3]}`);
  }
  return new Uint16Array(bytes.buffer);
}
