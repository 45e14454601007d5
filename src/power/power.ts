/** A switch for the drive's power. A path without a switch has none of these. */
export interface Power {
  /** For messages: what switches, for example `imager` or `exec: touch /tmp/power`. */
  readonly name: string;
  /** Whether the rail can be left off: some switches can only cycle. */
  readonly canHold: boolean;
  /** Off, at least `offMs` with the rail down, on. Returns when power is back, not when the drive is
   * ready. Throws POWER_FAILED. */
  cycle(offMs: number, signal?: AbortSignal): Promise<void>;
  set(on: boolean, signal?: AbortSignal): Promise<void>;
  /** Whether the rail is up, as the switch itself tells; undefined where it does not. */
  isOn?(): Promise<boolean | undefined>;
  /** Many a hub says that a port is off and leaves its voltage on: a cycle is then no more than a reset of the
   * port, and counts as one until the drive's own count of power cycles has risen. */
  readonly mayOnlyReset?: boolean;
  /** A cycle that has begun goes on to its end although nobody waits for it any more. */
  readonly cyclesByItself?: boolean;
  /** What a person types or does to switch it on; absent where nothing does but the job itself. */
  readonly onBy?: string;
  /** What the switch says unasked, one line each: over-current, a link that dropped. */
  onNotice?(handler: (notice: string) => void): void;
  close(): Promise<void>;
}

/** A drive that is left without power. */
export interface LeftOff {
  /** The switch's name. */
  readonly by: string;
  /** False: it was being switched when that was cut short. */
  readonly isCertain: boolean;
  /** `Power.onBy`. */
  readonly onBy?: string;
}

/** In one line for people. */
export function describeLeftOff({ by, isCertain, onBy }: LeftOff): string {
  const state = isCertain ? 'is off' : 'may be off, a switch was interrupted';
  return `the drive's power ${state} (${by}); on again: ${onBy ?? 'run the same command'}`;
}

/** Several switches for one drive, in order: the first that works is used. */
export interface Switches {
  /** Off and on; says by which. Throws what the last one said where none works, or the signal's reason. */
  cycle(offMs: number, signal: AbortSignal): Promise<Power>;
  /** Holds the rail on or off, by a switch that can; says by which. Does nothing where none can. Throws like
   * `cycle`. */
  hold(on: boolean, signal: AbortSignal): Promise<Power | undefined>;
  /** Who left the drive without power, or may have; undefined where nobody did. Asks the switch where it tells. */
  leftOff(): Promise<LeftOff | undefined>;
  /** From now on this one is used where all others fail. Says whether that changed the order. */
  putLast(power: Power): boolean;
}

/** `onFailure` is told of each switch that does not work. */
export function createSwitches(
  powers: readonly Power[],
  onFailure: (power: Power, error: unknown) => void,
): Switches {
  let order = powers;
  /** The one that holds the rail off: no other can bring it back. */
  let heldOff: Power | undefined;
  /** The one that was between off and on last, until it was through. */
  let between: Power | undefined;
  return {
    async cycle(offMs, signal) {
      signal.throwIfAborted();
      const cycle = async (power: Power) => {
        between = power.cyclesByItself ? undefined : power;
        await power.cycle(offMs, signal);
        between = undefined;
      };
      const used = await withFirst(order, cycle, signal, onFailure);
      if (heldOff && heldOff !== used) await heldOff.set(true, signal);
      heldOff = undefined;
      return used;
    },
    async hold(on, signal) {
      const holders = order.filter((power) => power.canHold);
      if (holders.length === 0) return undefined;
      signal.throwIfAborted();
      const set = async (power: Power) => {
        between = power;
        await power.set(on, signal);
        between = undefined;
      };
      const tried = heldOff ? [heldOff, ...holders.filter((power) => power !== heldOff)] : holders;
      const used = await withFirst(tried, set, signal, onFailure);
      heldOff = on ? undefined : used;
      return used;
    },
    async leftOff() {
      const power = heldOff ?? between;
      if (!power) return undefined;
      const { name, onBy } = power;
      const isOn = await power.isOn?.().catch(() => undefined);
      if (isOn === true) return undefined;
      const isCertain = isOn === false || power === heldOff;
      return { by: name, isCertain, ...(onBy !== undefined && { onBy }) };
    },
    putLast(power) {
      if (order.at(-1) === power) return false;
      order = [...order.filter((each) => each !== power), power];
      return true;
    },
  };
}

async function withFirst(
  powers: readonly Power[],
  use: (power: Power) => Promise<void>,
  signal: AbortSignal,
  onFailure: (power: Power, error: unknown) => void,
): Promise<Power> {
  let failure: unknown;
  for (const power of powers) {
    try {
      await use(power);
      return power;
    } catch (error) {
      if (signal.aborted) throw error;
      onFailure(power, error);
      failure = error;
    }
  }
  throw failure;
}
