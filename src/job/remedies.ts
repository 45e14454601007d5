import { isLastspinError, reasonOf } from '../errors.js';
import type { Pass } from '../plan/pass.js';
import { cycleWithFirst } from '../power/power.js';
import { refuseOther } from './identity.js';
import type { JobParts, Note } from './parts.js';
import { type JobState, progressOf } from './state.js';

/** What can be done about a drive besides reading. Each is noted as an event when it is done. */
export interface Remedies {
  reset(kind: 'abort' | 'soft' | 'hard'): Promise<void>;
  /** Polls until the drive answers, and makes sure that it is the same one.
   * Says whether it did. Throws DRIVE_CHANGED when another drive answers. */
  awaitReady(limitMs: number): Promise<boolean>;
  /** Asks a drive that seems to answer who it is: one that came back without its firmware reads nothing
   * that is worth having. Throws DRIVE_CHANGED, FIRMWARE_FAILED. */
  checkIdentity(): Promise<void>;
  /** Cuts and restores the power with the first switch that works. Throws POWER_FAILED when none does. */
  cyclePower(offMs: number): Promise<void>;
  rest(restMs: number, why: string, powerOff: boolean): Promise<void>;
  /** Power off and on where there is a switch, ready, settled: says whether the drive is back. */
  revive(): Promise<boolean>;
  /** Leaves the drive without power where a switch can hold it off. */
  powerOff(): Promise<void>;
  /** What a row wants done before its first read. */
  prepare(pass: Pass): Promise<void>;
}

/** How often readiness is asked for while a drive comes back: the wait it adds is at most this. */
const readinessPollMs = 250;
/** A rest at least this long parks the heads. */
const parkRestMs = 10_000;

export function createRemedies(
  parts: JobParts,
  state: JobState,
  note: Note,
  signal: AbortSignal,
): Remedies {
  const { drive, powers, clock } = parts;

  /** STANDBY first where the drive still answers: an emergency unload wears like a hundred normal ones. */
  async function parkIfReady(): Promise<void> {
    if (!drive.capabilities.park) return;
    if ((await drive.readiness()) !== 'ready') return;
    await drive.park().catch((error: unknown) => {
      // A drive that refuses to park is parked by losing its power.
      if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
    });
  }

  async function awaitReady(limitMs: number): Promise<boolean> {
    const fromMs = clock.now();
    for (;;) {
      const readiness = await drive.readiness();
      const askable = readiness === 'ready' || readiness === 'unknown';
      const identity = askable ? await drive.identify(signal) : undefined;
      const waitedMs = clock.now() - fromMs;
      if (identity) refuseOther(parts.identity, identity);
      if (identity || waitedMs >= limitMs) {
        note({ kind: 'ready', ok: identity !== undefined, waitedMs });
        return identity !== undefined;
      }
      await clock.sleep(readinessPollMs, signal);
    }
  }

  async function cyclePower(offMs: number): Promise<void> {
    await parkIfReady();
    const gained = progressOf(state) > state.progressAtCycle;
    await cycleWithFirst(powers, offMs, signal, (power, error) => {
      note({ kind: 'power-failed', power: power.name, why: reasonOf(error) });
    });
    note({ kind: 'power-cycled', gained });
  }

  async function rest(restMs: number, why: string, powerOff: boolean): Promise<void> {
    const holder = powerOff ? powers.find((power) => power.canHold) : undefined;
    if (restMs >= parkRestMs) await parkIfReady();
    if (holder) await holder.set(false, signal);
    await clock.sleep(restMs, signal);
    note({ kind: 'rested', restMs, why });
  }

  async function revive(): Promise<boolean> {
    const { offMs, readyLimitMs, resetLimitMs, settleMs } = state.policy;
    if (powers.length > 0) await cyclePower(offMs);
    const isBack = await awaitReady(powers.length > 0 ? readyLimitMs : resetLimitMs);
    if (isBack) await rest(settleMs, 'the drive settles', false);
    return isBack;
  }

  return {
    async reset(kind) {
      let ok = true;
      try {
        await drive.reset(kind);
      } catch (error) {
        // A rung that does not bear: the next one is stronger. A broken link is another matter.
        if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
        ok = false;
      }
      note({ kind: 'reset', reset: kind, ok });
    },
    awaitReady,
    async checkIdentity() {
      if ((await drive.readiness()) !== 'ready') return;
      const identity = await drive.identify(signal);
      if (identity) refuseOther(parts.identity, identity);
    },
    cyclePower,
    rest,
    revive,
    async powerOff() {
      const holder = powers.find((power) => power.canHold);
      if (!holder) return;
      await parkIfReady();
      await holder.set(false, signal);
      note({ kind: 'powered-off' });
    },
    async prepare({ before, name }) {
      if (before.kind === 'rest') await rest(before.restMs, `before ${name}`, false);
      if (before.kind === 'power-cycle' && powers.length > 0) await revive();
    },
  };
}
