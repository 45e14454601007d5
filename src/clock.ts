/** The only source of time. Real in the command line, virtual in tests and rehearsals, so that one
 * seed replays a whole rescue. */
export interface Clock {
  /** Milliseconds, monotonic, from an arbitrary start. */
  now(): number;
  /** Resolves after `delayMs`; rejects with `signal.reason` when the signal aborts first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
  /** Calls back after `delayMs` unless the returned function is called first. */
  after(delayMs: number, callback: () => void): () => void;
}

/** Wall clock: milliseconds since 1970, UTC. For people and for the record; nothing is decided by it. */
export function wallMs(): number {
  return Date.now();
}

/** The longest delay that a timer holds, almost 25 days; beyond it `setTimeout` fires at once. */
export const delayMaxMs = 2 ** 31 - 1;

/** Wall-clock time. `scale` > 1 runs that many times faster than life (a simulator's option). */
export function realClock(scale = 1): Clock {
  const after = (delayMs: number, callback: () => void) => {
    const timer = setTimeout(callback, Math.min(delayMs / scale, delayMaxMs));
    return () => clearTimeout(timer);
  };
  return {
    now: () => performance.now() * scale,
    after,
    sleep: (delayMs, signal) => sleepBy(after, delayMs, signal),
  };
}

/** `sleep` built on `after`; shared with the virtual clock. */
export function sleepBy(
  after: Clock['after'],
  delayMs: number,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
