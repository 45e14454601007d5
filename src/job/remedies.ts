import type { DriveSettings, ParkKind } from '../drive/drive.js';
import { isLastspinError, reasonOf } from '../errors.js';
import type { Pass } from '../plan/pass.js';
import { settleRestMs } from '../power/ladder.js';
import { createSwitches, type LeftOff, type Power } from '../power/power.js';
import { refuseOther } from './identity.js';
import type { JobParts, Note } from './parts.js';
import { createProof } from './power-proof.js';
import { roundMs } from './recorded.js';
import { type JobState, progressOf } from './state.js';

/** What can be done about a drive besides reading. Each is noted as an event when it is done. */
export interface Remedies {
  reset(kind: 'abort' | 'soft' | 'hard'): Promise<void>;
  /** Polls until the drive answers, and makes sure that it is the same one.
   * Says whether it did. Throws DRIVE_CHANGED when another drive answers. */
  awaitReady(limitMs: number): Promise<boolean>;
  /** The drive is off its bus, and with it what it was told: somebody must plug it in. */
  hold(limitMs: number): void;
  /** Asks a drive that seems to answer who it is: one that came back without its firmware reads nothing
   * that is worth having. Throws DRIVE_CHANGED, FIRMWARE_FAILED. */
  checkIdentity(): Promise<void>;
  /** Cuts and restores the power with the first switch that works. Throws POWER_FAILED when none does. */
  cyclePower(offMs: number, why: string): Promise<void>;
  /** Asks the drive for its count of power cycles where that settles what an unproven switch does: once before
   * the first cycle, once after it, and only a drive that is well. */
  countCycles(): Promise<void>;
  rest(restMs: number, why: string, powerOff: boolean): Promise<void>;
  takeTemperature(): Promise<void>;
  /** A rest of a drive that is too hot, and back to where it can be read. */
  cool(restMs: number, why: string, powerOff: boolean): Promise<void>;
  /** Power off and on where there is a switch, ready, settled: says whether the drive is back. */
  revive(why: string): Promise<boolean>;
  /** A rest during a row: heads off the platters, spindle on. */
  restParked(restMs: number, why: string): Promise<void>;
  /** Whether the drive's own settings are other ones than the row wants. */
  mustTune(pass: Pass): boolean;
  /** Sets the drive's look-ahead and retries as the row wants them, as far as the drive lets us. */
  tuneDrive(pass: Pass): Promise<void>;
  /** Leaves the drive without power where a switch can hold it off. Ends with `signal`, nothing else ends it. */
  powerOff(signal: AbortSignal): Promise<void>;
  /** Who left the drive without power, or may have. */
  leftOff(): Promise<LeftOff | undefined>;
  /** What a row wants done before its first read. */
  prepare(pass: Pass): Promise<void>;
  /** Sends nothing, but parks the drive when that lasts. Ends only with the signal. */
  idle(): Promise<void>;
  /** Heads off the platters and spindle down, where the drive still answers. */
  park(): Promise<void>;
  /** Whether a power cycle is under way. */
  isCycling(): boolean;
  /** Whether the heads were parked and no read has fetched them since: it takes as long as a spin-up. */
  isParked(): boolean;
  wasWoken(): void;
}

/** How often readiness is asked for while a drive comes back: the wait it adds is at most this. */
const readinessPollMs = 250;
const settingNames = ['lookAhead', 'driveRetries'] as const;
/** A rest at least this long parks the heads. */
const parkRestMs = 10_000;

/** `currentSignal` ends what takes long, whenever that is asked for. */
export function createRemedies(
  parts: JobParts,
  state: JobState,
  note: Note,
  currentSignal: () => AbortSignal,
): Remedies {
  const { drive, powers, clock } = parts;
  let cycling = false;
  let parked = false;
  const switches = createSwitches(powers, (power, error) =>
    note({ kind: 'power-failed', power: power.name, why: reasonOf(error) }),
  );
  const proof = createProof(parts, note, (power) => switches.putLast(power));
  /** The switch of the last cycle where it may have done no more than reset the port, until that has helped. */
  let unhelpful: Power | undefined;
  /** What was set since the drive last forgot its settings, and what it does not let us set. */
  let inForce: DriveSettings = {};
  const refused = new Set<keyof DriveSettings>();

  /** STANDBY first where the drive still answers: an emergency unload wears like a hundred normal ones. */
  async function parkIfReady(kind: ParkKind): Promise<void> {
    if (!drive.capabilities.park) return;
    if ((await drive.readiness()) !== 'ready') return;
    parked = true;
    await drive.park(kind).catch((error: unknown) => {
      // A drive that refuses to park is parked by losing its power.
      if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
    });
  }

  /** A setting that an earlier row changed and this one does not name goes back to on, as drives come. */
  function settingsToChange(pass: Pass): [keyof DriveSettings, boolean][] {
    return settingNames.flatMap((name): [keyof DriveSettings, boolean][] => {
      const wanted = pass[name] ?? (inForce[name] === undefined ? undefined : true);
      if (wanted === undefined || wanted === inForce[name] || refused.has(name)) return [];
      return [[name, wanted]];
    });
  }

  async function tuneDrive(pass: Pass): Promise<void> {
    for (const [name, value] of settingsToChange(pass)) {
      const why = drive.tune ? await drive.tune({ [name]: value }) : 'its path has no such command';
      if (why === undefined) inForce = { ...inForce, [name]: value };
      else refused.add(name);
      const outcome = why === undefined ? { ok: true } : { ok: false, why };
      note({ kind: 'drive-tuned', setting: name, value, ...outcome });
    }
  }

  /** What did not bring the drive back has perhaps not cut its power: the next switch goes first. */
  function putUnhelpfulLast(): void {
    const power = unhelpful;
    unhelpful = undefined;
    if (!power || !proof.isOpenFor(power) || !switches.putLast(power)) return;
    const why = 'the drive did not come back; it may only reset the port, so it is tried last now';
    note({ kind: 'power-failed', power: power.name, why });
  }

  async function awaitReady(limitMs: number): Promise<boolean> {
    const signal = currentSignal();
    const fromMs = clock.now();
    for (;;) {
      const readiness = await drive.readiness();
      const askable = readiness === 'ready' || readiness === 'unknown';
      const identity = askable ? await drive.identify(signal) : undefined;
      const waitedMs = clock.now() - fromMs;
      if (identity) refuseOther(parts.identity, identity);
      if (identity || waitedMs >= limitMs) {
        note({ kind: 'ready', ok: identity !== undefined, waitedMs: roundMs(waitedMs), limitMs });
        if (!identity) putUnhelpfulLast();
        else if (state.trouble.why === undefined) unhelpful = undefined;
        return identity !== undefined;
      }
      await clock.sleep(readinessPollMs, signal);
    }
  }

  async function cyclePower(offMs: number, why: string): Promise<void> {
    cycling = true;
    try {
      await parkIfReady('standby');
      putUnhelpfulLast();
      const gainedCount = progressOf(state) - state.progressAtCycle;
      const used = await switches.cycle(offMs, currentSignal());
      parked = false;
      inForce = {};
      note({
        kind: 'power-cycled',
        gained: gainedCount > 0,
        gainedCount,
        ...(proof.isOpenFor(used) && { unproven: true }),
        why,
        power: used.name,
        offMs,
        attempt: state.totals.powerCycles + state.totals.portResets + 1,
      });
      proof.cycled(used);
      unhelpful = proof.isOpenFor(used) ? used : undefined;
    } finally {
      cycling = false;
    }
  }

  async function rest(restMs: number, why: string, powerOff: boolean): Promise<void> {
    const signal = currentSignal();
    if (restMs >= parkRestMs) await parkIfReady('standby');
    if (powerOff) await switches.hold(false, signal);
    await clock.sleep(restMs, signal);
    note({ kind: 'rested', restMs, why });
  }

  async function takeTemperature(): Promise<void> {
    const fromMs = clock.now();
    const celsius = await drive.temperature?.();
    const elapsedMs = roundMs(clock.now() - fromMs);
    note({
      kind: 'temperature',
      ...(celsius !== undefined && { celsius }),
      elapsedMs,
      ...(parked && { wasParked: true }),
    });
  }

  async function cool(restMs: number, why: string, powerOff: boolean): Promise<void> {
    let isHeldOff = powerOff && powers.some((power) => power.canHold);
    await rest(restMs, why, powerOff).catch(async (error: unknown) => {
      if (!isHeldOff || !isLastspinError(error, 'POWER_FAILED')) throw error;
      // A switch that fails is no reason to leave a hot drive as it is.
      isHeldOff = false;
      await rest(restMs, why, false);
    });
    if (!isHeldOff || (await revive(why))) return;
    const silent = 'the drive does not come back after it cooled down';
    note({ kind: 'trouble', why: silent, from: 'power' });
  }

  async function revive(why: string): Promise<boolean> {
    const { offMs, readyLimitMs, resetLimitMs } = state.policy;
    if (powers.length > 0) await cyclePower(offMs, why);
    const isBack = await awaitReady(powers.length > 0 ? readyLimitMs : resetLimitMs);
    if (isBack) await rest(settleRestMs(state.policy), 'the drive settles', false);
    return isBack;
  }

  /** By the stages at which an imager would do so too. */
  async function idle(): Promise<void> {
    const signal = currentSignal();
    const { unloadMs, standbyMs } = state.policy.silent;
    if (unloadMs > 0) {
      await clock.sleep(unloadMs, signal);
      await parkIfReady('unload');
    }
    if (standbyMs > 0) {
      await clock.sleep(Math.max(0, standbyMs - unloadMs), signal);
      await parkIfReady('standby');
    }
    await new Promise((_, reject) => {
      const end = () => reject(signal.reason);
      if (signal.aborted) end();
      else signal.addEventListener('abort', end, { once: true });
    });
  }

  return {
    async restParked(restMs, why) {
      await parkIfReady('unload');
      await clock.sleep(restMs, currentSignal());
      note({ kind: 'rested', restMs, why });
    },
    mustTune: (pass) => settingsToChange(pass).length > 0,
    tuneDrive,
    isCycling: () => cycling,
    isParked: () => parked,
    park: () => parkIfReady('standby'),
    wasWoken: () => {
      parked = false;
    },
    idle,
    async reset(kind) {
      let ok = true;
      try {
        await drive.reset(kind);
      } catch (error) {
        // A rung that does not bear: the next one is stronger. A broken link is another matter.
        if (!isLastspinError(error, 'DEVICE_REFUSED')) throw error;
        ok = false;
      }
      // Settings of the drive are volatile (ACS-3, SET FEATURES).
      if (kind !== 'abort') inForce = {};
      const { why } = state.trouble;
      note({ kind: 'reset', reset: kind, ok, ...(why !== undefined && { why }) });
    },
    hold(limitMs) {
      parked = false;
      inForce = {};
      note({ kind: 'held', limitMs });
    },
    countCycles() {
      unhelpful = undefined;
      return proof.count();
    },
    awaitReady,
    async checkIdentity() {
      if ((await drive.readiness()) !== 'ready') return;
      const identity = await drive.identify(currentSignal());
      if (identity) refuseOther(parts.identity, identity);
    },
    cyclePower,
    rest,
    takeTemperature,
    cool,
    revive,
    async powerOff(signal) {
      if (!powers.some((power) => power.canHold)) return;
      await parkIfReady('standby');
      await switches.hold(false, signal);
    },
    leftOff: switches.leftOff,
    async prepare({ before, name }) {
      if (before.kind === 'rest') await rest(before.restMs, `before ${name}`, false);
      if (before.kind === 'power-cycle' && powers.length > 0) await revive(`before ${name}`);
    },
  };
}
