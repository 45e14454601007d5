/** Relay boards: what is the same for all of them. */

import type { Clock } from '../clock.js';
import { LastspinError } from '../errors.js';
import type { Power } from './power.js';
import type { RelayChoice } from './spec.js';

/** A board of relays, whatever its bytes. */
export interface RelayBoard {
  /** Attracts the relay or lets it go. Throws POWER_FAILED. */
  move(relay: number, attracted: boolean): Promise<void>;
  /** Whether each relay is attracted, from the first on; undefined where the board does not tell. */
  states(): Promise<readonly boolean[] | undefined>;
  close(): Promise<void>;
}

/** A switch made of relays. They are switched on in the order given and off the other way round, so that the
 * 12 V of a drive are never there alone when its 5 V come first. Where the board tells, it is asked
 * whether they moved. An abort in the off-time leaves them off: a drive is nowhere safer. */
export function relayPower(
  name: string,
  board: RelayBoard,
  { relays, contact }: RelayChoice,
  clock: Clock,
): Power {
  const attractedFor = (on: boolean) => on === (contact === 'no');

  async function set(on: boolean): Promise<void> {
    for (const relay of on ? relays : relays.toReversed())
      await board.move(relay, attractedFor(on));
    const states = await board.states();
    const stuck = relays.find((relay) => states && states[relay - 1] !== attractedFor(on));
    if (stuck === undefined || !states) return;
    const why =
      stuck > states.length ? `the board has no relay ${stuck}` : `relay ${stuck} did not move`;
    throw new LastspinError('POWER_FAILED', `power ${on ? 'on' : 'off'} by ${name}: ${why}`);
  }

  return {
    name,
    canHold: true,
    async cycle(offMs, signal) {
      signal?.throwIfAborted();
      await set(false);
      await clock.sleep(offMs, signal);
      await set(true);
    },
    async set(on, signal) {
      signal?.throwIfAborted();
      await set(on);
    },
    async isOn() {
      const states = await board.states();
      if (!states || relays.some((relay) => states[relay - 1] === undefined)) return undefined;
      return relays.every((relay) => states[relay - 1] === attractedFor(true));
    },
    close: () => board.close(),
  };
}
