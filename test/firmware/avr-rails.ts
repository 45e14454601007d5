/** What hangs on the chip's pins, as a small model in milliseconds: gates with their hold capacitors, two
 * rails with a drive on them, an INA226 on each, a thermistor. */
import type { I2cSlave, PinLevel } from './avr-chip.js';

/** A level from `atMs` on. */
export interface Edge<T> {
  readonly atMs: number;
  readonly level: T;
}

/** The values of docs/building-an-imager.md: 470 Ohm in series, 2.2 uF to ground, 1 MOhm pull-down; a
 * small N-MOSFET that conducts above 2 V. */
const highVolts = 5;
const thresholdVolts = 2;
const driveTauMs = 1.03;
const holdTauMs = 2200;
/** The pull-down and the gate alone, where the capacitor was left out. */
const bareTauMs = 0.01;

/** One output of the chip and the transistor that it switches. */
export interface Gate {
  /** What the pin said. */
  readonly pin: readonly Edge<PinLevel>[];
  /** Whether the transistor conducted. */
  readonly conducts: readonly Edge<boolean>[];
  readonly isOn: boolean;
  setPin(level: PinLevel, nowMs: number): void;
  /** Brings the transistor up to now. */
  settle(nowMs: number): void;
}

/** A capacitor that the pin charges and empties, or the pull-down alone while the pin floats. */
export function createGate(hasHold: boolean): Gate {
  const pin: Edge<PinLevel>[] = [{ atMs: 0, level: 'floating' }];
  const conducts: Edge<boolean>[] = [{ atMs: 0, level: false }];
  let volts = 0;
  let sinceMs = 0;

  function settle(nowMs: number): void {
    const { level } = pin.at(-1)!;
    const target = level === 'high' ? highVolts : 0;
    const heldTauMs = level === 'floating' ? holdTauMs : driveTauMs;
    const tauMs = hasHold ? heldTauMs : bareTauMs;
    const next = target + (volts - target) * Math.exp(-(nowMs - sinceMs) / tauMs);
    const is = next > thresholdVolts;
    if (is !== conducts.at(-1)!.level) {
      const tookMs = tauMs * Math.log((volts - target) / (thresholdVolts - target));
      conducts.push({ atMs: sinceMs + tookMs, level: is });
    }
    volts = next;
    sinceMs = nowMs;
  }

  return {
    pin,
    conducts,
    get isOn() {
      return conducts.at(-1)!.level;
    },
    settle,
    setPin(level, nowMs) {
      settle(nowMs);
      if (level !== pin.at(-1)!.level) pin.push({ atMs: nowMs, level });
    },
  };
}

/** What is plugged into a rail, and what is wrong with it. */
export interface RailLoad {
  idleMilliamps: number;
  /** In the first `spinUpMs` after the rail has risen. */
  spinUpMilliamps: number;
  spinUpMs: number;
  /** A short or a motor that is stuck, from a moment on. */
  overload: { readonly milliamps: number; readonly fromMs: number } | undefined;
  /** How much of its volts the supply has: 0 where it is not plugged in. */
  supply: number;
  /** The switch has failed and conducts always. */
  stuckOn: boolean;
}

export interface Rail {
  readonly load: RailLoad;
  /** Brings the rail up to `nowMs`, but never back. */
  settle(nowMs: number): void;
  /** As of the last `settle`, as the others. */
  readonly millivolts: number;
  readonly milliamps: number;
  /** Since when the rail is below 0.5 V; undefined while it is not. */
  readonly downSinceMs: number | undefined;
}

const riseMs = 8;
/** The drive's capacitors empty through it. */
const fallTauMs = 60;
const downMillivolts = 500;
const sliceMs = 0.25;

/** A rail behind a gate: rises in a straight line, falls as a capacitor does. */
export function createRail(gate: Gate, nominalMillivolts: number, load: RailLoad): Rail {
  let millivolts = 0;
  let atMs = 0;
  let upSinceMs: number | undefined;
  let downSinceMs: number | undefined = 0;

  function targetAt(ms: number): number {
    const isOn = load.stuckOn || gate.conducts.findLast((edge) => edge.atMs <= ms)!.level;
    return isOn ? nominalMillivolts * load.supply : 0;
  }

  function slice(endMs: number): void {
    const deltaMs = endMs - atMs;
    const target = targetAt(atMs);
    if (target >= millivolts) {
      millivolts = Math.min(target, millivolts + (nominalMillivolts / riseMs) * deltaMs);
    } else {
      millivolts = target + (millivolts - target) * Math.exp(-deltaMs / fallTauMs);
    }
    atMs = endMs;
    upSinceMs = millivolts >= nominalMillivolts * 0.9 ? (upSinceMs ?? endMs) : undefined;
    downSinceMs = millivolts < downMillivolts ? (downSinceMs ?? endMs) : undefined;
  }

  return {
    load,
    settle(nowMs) {
      gate.settle(Math.max(nowMs, atMs));
      const lastEdgeMs = gate.conducts.at(-1)!.atMs;
      while (atMs < nowMs) {
        const isStill = Math.abs(targetAt(atMs) - millivolts) < 0.5 && lastEdgeMs <= atMs;
        slice(isStill ? nowMs : Math.min(nowMs, atMs + sliceMs));
      }
    },
    get millivolts() {
      return millivolts;
    },
    get milliamps() {
      if (millivolts < nominalMillivolts / 2) return 0;
      const { overload } = load;
      const extra = overload && atMs >= overload.fromMs ? overload.milliamps : 0;
      const spinsUp = upSinceMs === undefined || atMs - upSinceMs < load.spinUpMs;
      return extra + (spinsUp ? load.spinUpMilliamps : load.idleMilliamps);
    },
    get downSinceMs() {
      return downSinceMs;
    },
  };
}

/** How a sensor is: fitted and well, not there, or holding the bus, at once or when it was asked. */
export type SensorState = 'fitted' | 'missing' | 'stuck' | 'stuck-at-stop';

export interface Sensor {
  state: SensorState;
  readonly configuration: number;
  readonly slave: I2cSlave;
}

/** INA226 (Texas Instruments SBOS547): conversion times and averages by bits of the configuration. */
const conversionMicros = [140, 204, 332, 588, 1100, 2116, 4156, 8244] as const;
const averages = [1, 4, 16, 64, 128, 256, 512, 1024] as const;
const configurationReset = 0x4127;
/** 2.5 uV over 10 mOhm. */
const milliampsPerCount = 0.25;
const millivoltsPerCount = 1.25;

/** Shunt and bus, one after the other, averaged. */
function conversionMs(configuration: number): number {
  const bus = conversionMicros[(configuration >> 6) & 7]!;
  const shunt = conversionMicros[(configuration >> 3) & 7]!;
  return ((bus + shunt) * averages[(configuration >> 9) & 7]!) / 1000;
}

/** The sensor of a rail, over 10 mOhm. What is read from it is its last whole conversion. */
export function createIna226(rail: Rail, now: () => number): Sensor {
  let state: SensorState = 'fitted';
  let configuration = configurationReset;
  let pointer = 0;
  let bytesIn: number[] = [];
  let bytesOut = 0;

  function registerValue(): number {
    const everyMs = conversionMs(configuration);
    rail.settle(Math.floor(now() / everyMs) * everyMs);
    switch (pointer) {
      case 0:
        return configuration;
      case 1:
        return Math.min(0x7fff, Math.round(rail.milliamps / milliampsPerCount));
      case 2:
        return Math.round(rail.millivolts / millivoltsPerCount);
      case 0xfe:
        return 0x5449;
      case 0xff:
        return 0x2260;
      default:
        return 0;
    }
  }

  const isThere = () => state === 'fitted' || state === 'stuck-at-stop';
  const slave: I2cSlave = {
    get stuck() {
      return state === 'stuck';
    },
    get stuckAtStop() {
      return state === 'stuck-at-stop';
    },
    select(write) {
      bytesOut = 0;
      if (write) bytesIn = [];
      return isThere();
    },
    write(byte) {
      if (bytesIn.push(byte) === 1) pointer = byte;
      if (bytesIn.length === 3 && pointer === 0) configuration = (bytesIn[1]! << 8) | bytesIn[2]!;
      return isThere();
    },
    read: () => (bytesOut++ === 0 ? registerValue() >> 8 : registerValue() & 0xff),
  };
  return {
    slave,
    get configuration() {
      return configuration;
    },
    get state() {
      return state;
    },
    set state(next: SensorState) {
      // It comes back as it comes out of its box.
      if (next === 'fitted' && state !== 'fitted') configuration = configurationReset;
      state = next;
    },
  };
}

/** Volts at 10 kOhm (25 degrees, B = 3950) to ground below 10 kOhm to 5 V; a wire may be broken or
 * shorted. */
export function thermistorVolts(celsius: number | 'open' | 'shorted'): number {
  if (celsius === 'open') return 5;
  // Wires have some resistance.
  if (celsius === 'shorted') return 0.03;
  const ohms = 10_000 * Math.exp(3950 * (1 / (celsius + 273.15) - 1 / 298.15));
  return (5 * ohms) / (ohms + 10_000);
}
