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

/** Cycles the power with the first switch that works, in order, and returns it. `onFailure` is told of those
 * that do not. Throws what the last one said, or the signal's reason. */
export async function cycleWithFirst(
  powers: readonly Power[],
  offMs: number,
  signal: AbortSignal,
  onFailure: (power: Power, error: unknown) => void,
): Promise<Power> {
  let failure: unknown;
  for (const power of powers) {
    try {
      await power.cycle(offMs, signal);
      return power;
    } catch (error) {
      if (signal.aborted) throw error;
      onFailure(power, error);
      failure = error;
    }
  }
  throw failure;
}
