/** How much trouble a kind of drive may be given, as data. */
export interface TroublePolicy {
  /** How long a drive may take until it is ready after power-on, in ms. */
  readonly readyLimitMs: number;
  /** The same after a soft or hard reset: one that has not answered by then stays hung. */
  readonly resetLimitMs: number;
  /** How long a drive that was unplugged is waited for, where no switch of ours can bring it back. */
  readonly returnLimitMs: number;
  /** What an imager does by itself after the laptop fell silent, in ms of silence; 0 = never. A good
   * moment must not be cut short, but flash must not hang. */
  readonly silent: {
    readonly stopReadsMs: number;
    readonly unloadMs: number;
    readonly standbyMs: number;
    readonly offMs: number;
  };
  /** From the power's return to the first read of a first contact, half a second of it after ready at least: ready
   * is not usable. In a job it is half a second at most (`settleRestMs`). */
  readonly settleMs: number;
  /** How long power stays off in a cycle: spin-down, capacitors. */
  readonly offMs: number;
  /** Power cycles of one job. */
  readonly cyclesMax: number;
  /** Cycles in a row that gained no sector, before the job stops. */
  readonly gainlessCyclesMax: number;
  /** Failed spin-ups in a row before the job stops: clicking kills. */
  readonly failedSpinUpsMax: number;
  /** Rest, power off, between failed spin-ups. */
  readonly spinUpRestMs: number;
  /** After this many cycles within `coolDownWindowMs` the drive rests `coolDownMs`. */
  readonly coolDownCycles: number;
  readonly coolDownWindowMs: number;
  readonly coolDownMs: number;
  /** Deadline of a reference read; three times as long after a power cycle (recalibration). */
  readonly referenceTimeoutMs: number;
  /** A reference read slower than this crawls: the drive is unwell, wherever it reads. */
  readonly crawlMs: number;
  /** Deadline of a reference read after a rest: a drive that is busy with itself answers late, a hung one
   * never. */
  readonly patientTimeoutMs: number;
  /** Rest when the drive crawls, before it is asked again. */
  readonly stallRestMs: number;
  /** Temperatures at which the user is told, the drive rests parked, and rests without power; and how often it
   * is asked. Absent where it has no sensor. */
  readonly heat?: {
    readonly warnCelsius: number;
    readonly parkCelsius: number;
    readonly offCelsius: number;
    readonly everyMs: number;
  };
  /** Resets worth trying; a stick that hangs hears none of them and only loses time. */
  readonly resets: readonly ('abort' | 'soft' | 'hard')[];
  /** Share of what was read that is read again in the end, to find sectors that change. */
  readonly comparePercent: number;
  /** Rest that keeps a session shorter than the drive has been seen to last; 0 = none. */
  readonly sessionRestMs: number;
}

/** What hard drives are treated like, but for their platters' heat. */
const common: TroublePolicy = {
  readyLimitMs: 60_000,
  resetLimitMs: 5000,
  returnLimitMs: 600_000,
  silent: { stopReadsMs: 5000, unloadMs: 10_000, standbyMs: 600_000, offMs: 3_600_000 },
  settleMs: 3000,
  offMs: 10_000,
  cyclesMax: 30,
  gainlessCyclesMax: 3,
  failedSpinUpsMax: 2,
  spinUpRestMs: 600_000,
  coolDownCycles: 3,
  coolDownWindowMs: 600_000,
  coolDownMs: 600_000,
  referenceTimeoutMs: 5000,
  crawlMs: 1000,
  patientTimeoutMs: 60_000,
  stallRestMs: 60_000,
  resets: ['abort', 'soft', 'hard'],
  sessionRestMs: 0,
  comparePercent: 0,
};

/** Defaults by kind of drive, from bench practice. */
export const troublePolicies = {
  hdd: {
    ...common,
    heat: { warnCelsius: 45, parkCelsius: 52, offCelsius: 58, everyMs: 300_000 },
  },
  ssd: {
    ...common,
    heat: { warnCelsius: 60, parkCelsius: 70, offCelsius: 75, everyMs: 60_000 },
    silent: { stopReadsMs: 5000, unloadMs: 0, standbyMs: 0, offMs: 60_000 },
    settleMs: 2000,
    offMs: 5000,
    cyclesMax: 500,
    gainlessCyclesMax: 10,
    failedSpinUpsMax: 3,
    spinUpRestMs: 10_000,
    coolDownMs: 10_000,
    stallRestMs: 10_000,
  },
  flash: {
    ...common,
    silent: { stopReadsMs: 5000, unloadMs: 0, standbyMs: 0, offMs: 10_000 },
    readyLimitMs: 15_000,
    settleMs: 1000,
    offMs: 3000,
    cyclesMax: 200,
    gainlessCyclesMax: 10,
    failedSpinUpsMax: 3,
    spinUpRestMs: 30_000,
    coolDownMs: 30_000,
    // With a read's own 3 s the power is cut within 10 s.
    referenceTimeoutMs: 3000,
    crawlMs: 2000,
    patientTimeoutMs: 9000,
    stallRestMs: 5000,
    resets: ['abort'],
    sessionRestMs: 8000,
    comparePercent: 100,
  },
  /** A plain file: nothing spins, warms up or wears out; what stands behind it keeps its own times. */
  file: {
    ...common,
    settleMs: 0,
    offMs: 1000,
    cyclesMax: 200,
    gainlessCyclesMax: 20,
    spinUpRestMs: 5000,
    coolDownMs: 0,
    referenceTimeoutMs: 10_000,
    stallRestMs: 5000,
  },
} as const satisfies Record<string, TroublePolicy>;

export type DriveKind = keyof typeof troublePolicies;
