/** A cap on the rate of reading, and rests. Arithmetic only: the imager does the waiting. */
export interface ThrottleLimits {
  /** Averaged from read to read; 0 = no cap. */
  readonly bytesPerSecondMax: number;
  /** Time at work after which a rest is due; 0 = no rests. */
  readonly restEveryMs: number;
  readonly restMs: number;
}

export interface Throttle {
  configure(limits: ThrottleLimits, nowMs: number): void;
  /** How long the next read has to wait: for a rest that is due, and then for the cap. */
  before(nowMs: number): { readonly restMs: number; readonly delayMs: number };
  /** A read that began at `beganAtMs` brought so many bytes. */
  note(bytes: number, beganAtMs: number): void;
}

/** A throttle without limits. */
export function createThrottle(): Throttle {
  let limits: ThrottleLimits = { bytesPerSecondMax: 0, restEveryMs: 0, restMs: 0 };
  let nextReadAtMs = 0;
  let workedSinceMs = 0;
  return {
    configure(next, nowMs) {
      limits = next;
      nextReadAtMs = nowMs;
      workedSinceMs = nowMs;
    },
    before(nowMs) {
      const restDue = limits.restEveryMs > 0 && nowMs - workedSinceMs >= limits.restEveryMs;
      const restMs = restDue ? limits.restMs : 0;
      if (restDue) workedSinceMs = nowMs + restMs;
      return { restMs, delayMs: Math.max(0, nextReadAtMs - nowMs - restMs) };
    },
    note(bytes, beganAtMs) {
      if (limits.bytesPerSecondMax === 0) return;
      const earned = (bytes * 1000) / limits.bytesPerSecondMax;
      nextReadAtMs = Math.max(nextReadAtMs, beganAtMs) + earned;
    },
  };
}
