/** A switch that is a person. */

import type { Clock } from '../clock.js';
import type { Power } from './power.js';

export interface Person {
  /** Resolves when the request was answered; rejects with the signal's reason. */
  ask(request: string, signal?: AbortSignal): Promise<void>;
  tell(line: string): void;
}

/** Asks for the plug to be pulled and pushed in. The off-time counts from the answer. */
export function manualPower(person: Person, clock: Clock): Power {
  /** When the plug was pulled; undefined while it is in. */
  let offAtMs: number | undefined;

  async function pull(signal?: AbortSignal): Promise<void> {
    if (offAtMs !== undefined) return;
    await person.ask("pull the plug of the drive's power, then press Enter", signal);
    offAtMs = clock.now();
  }

  async function plugIn(signal?: AbortSignal): Promise<void> {
    await person.ask("plug the drive's power in, then press Enter", signal);
    offAtMs = undefined;
  }

  return {
    name: 'manual',
    canHold: true,
    async cycle(offMs, signal) {
      await pull(signal);
      const leftMs = (offAtMs ?? clock.now()) + offMs - clock.now();
      if (leftMs > 0) {
        person.tell(`leave it unplugged: ${Math.ceil(leftMs / 1000)} s to go`);
        await clock.sleep(leftMs, signal);
      }
      await plugIn(signal);
    },
    set: (on, signal) => (on ? plugIn(signal) : pull(signal)),
    isOn: async () => undefined,
    close: async () => {},
  };
}
