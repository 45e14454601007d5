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
  /** What the switch says unasked, one line each: over-current, a link that dropped. */
  onNotice?(handler: (notice: string) => void): void;
  close(): Promise<void>;
}

/** Several switches for one drive, in order: the first that works is used. */
export interface Switches {
  /** Off and on; says by which. Throws what the last one said where none works, or the signal's reason. */
  cycle(offMs: number, signal: AbortSignal): Promise<Power>;
  /** Holds the rail on or off, by a switch that can; says by which. Does nothing where none can. Throws like
   * `cycle`. */
  hold(on: boolean, signal: AbortSignal): Promise<Power | undefined>;
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
  return {
    async cycle(offMs, signal) {
      const used = await withFirst(order, (power) => power.cycle(offMs, signal), signal, onFailure);
      if (heldOff && heldOff !== used) await heldOff.set(true, signal);
      heldOff = undefined;
      return used;
    },
    async hold(on, signal) {
      const holders = order.filter((power) => power.canHold);
      if (holders.length === 0) return undefined;
      const tried = heldOff ? [heldOff, ...holders.filter((power) => power !== heldOff)] : holders;
      const used = await withFirst(tried, (power) => power.set(on, signal), signal, onFailure);
      heldOff = on ? undefined : used;
      return used;
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
