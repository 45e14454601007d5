import type { Clock } from '../src/clock.js';
import { capabilityBits } from './commands.js';

export type WatchdogStage = 1 | 2 | 3 | 4;

/** Silence after which each stage is taken: 1 reads stop (the responder's part), 2 unload, 3
 * standby, 4 off; 0 = never. */
export interface WatchdogStages {
  readonly stopReadsMs: number;
  readonly unloadMs: number;
  readonly standbyMs: number;
  readonly offMs: number;
}

/** A hard drive's, until a laptop says otherwise (W-3). */
export const watchdogDefaults: WatchdogStages = {
  stopReadsMs: 5000,
  unloadMs: 10_000,
  standbyMs: 600_000,
  offMs: 3_600_000,
};

/** The stages for which an imager of these `capabilityBits` has something to act with; the others are
 * left out (W-1). */
export function withCapabilities(stages: WatchdogStages, capabilities: number): WatchdogStages {
  const only = (bit: number, afterMs: number) => ((capabilities & bit) === 0 ? 0 : afterMs);
  return {
    stopReadsMs: only(capabilityBits.read, stages.stopReadsMs),
    unloadMs: only(capabilityBits.park, stages.unloadMs),
    standbyMs: only(capabilityBits.park, stages.standbyMs),
    offMs: only(capabilityBits.power, stages.offMs),
  };
}

export interface Watchdog {
  configure(stages: WatchdogStages): void;
  /** The laptop was heard: silence starts anew, and all stages are ahead again. */
  heard(): void;
  /** Stops the timer. */
  close(): void;
}

/** Steps down by stages when nobody is heard. Starts with the first `heard`. One timer at most
 * waits, and hearing something costs no timer, since it happens with every message. */
export function createWatchdog(
  clock: Clock,
  initial: WatchdogStages,
  take: (stage: WatchdogStage) => void,
): Watchdog {
  let limits = limitsOf(initial);
  let heardAtMs = 0;
  let taken = 0;
  let cancel: (() => void) | undefined;

  const schedule = () => {
    const next = limits[taken];
    if (next === undefined) {
      cancel = undefined;
      return;
    }
    cancel = clock.after(Math.max(0, heardAtMs + next.afterMs - clock.now()), due);
  };
  const due = () => {
    const next = limits[taken];
    // The same sum as in `schedule`: told otherwise, rounding may leave a wait of nothing, for ever.
    if (next && clock.now() >= heardAtMs + next.afterMs) {
      taken++;
      take(next.stage);
    }
    schedule();
  };
  return {
    configure(stages) {
      cancel?.();
      limits = limitsOf(stages);
      taken = 0;
      heardAtMs = clock.now();
      schedule();
    },
    heard() {
      heardAtMs = clock.now();
      taken = 0;
      if (!cancel) schedule();
    },
    close() {
      cancel?.();
      limits = [];
    },
  };
}

function limitsOf(stages: WatchdogStages): { stage: WatchdogStage; afterMs: number }[] {
  const all = [
    { stage: 1, afterMs: stages.stopReadsMs },
    { stage: 2, afterMs: stages.unloadMs },
    { stage: 3, afterMs: stages.standbyMs },
    { stage: 4, afterMs: stages.offMs },
  ] as const;
  return all.filter(({ afterMs }) => afterMs > 0).sort((a, b) => a.afterMs - b.afterMs);
}
