import type { Clock } from '../clock.js';
import type { Drive, DriveIdentity } from '../drive/drive.js';
import { LastspinError } from '../errors.js';
import type { TroublePolicy } from '../power/policy.js';
import type { Power } from '../power/power.js';

/** How often the drive is asked: the wait it adds is at most this. */
const pollMs = 250;

/** Powers the drive where it is off and waits until it says who it is. A drive that does not come up is
 * power-cycled as often as the policy allows.
 * Throws DRIVE_HUNG when it never answers, POWER_FAILED, or the signal's reason. */
export async function bringUp(
  drive: Drive,
  powers: readonly Power[],
  policy: TroublePolicy,
  clock: Clock,
  signal: AbortSignal,
): Promise<DriveIdentity> {
  const power = powers[0];
  const isOff = power?.canHold && (await drive.readiness()) === 'gone';
  if (isOff) await power.set(true, signal);
  // One that is on but does not answer is spinning up, or hangs since an earlier run.
  const limitMs = isOff || !power ? policy.readyLimitMs : policy.resetLimitMs;
  const identity = await poll(drive, limitMs, clock, signal);
  if (identity) return identity;
  for (let cycle = 0; power && cycle < policy.failedSpinUpsMax; cycle++) {
    await power.cycle(policy.offMs, signal);
    const revived = await poll(drive, policy.readyLimitMs, clock, signal);
    if (revived) return revived;
  }
  throw new LastspinError(
    'DRIVE_HUNG',
    `the drive does not become ready; check its power and cables${power ? '' : ', or give a power switch with --power'}`,
  );
}

async function poll(drive: Drive, limitMs: number, clock: Clock, signal: AbortSignal) {
  const untilMs = clock.now() + limitMs;
  for (;;) {
    const identity = await whoIsIt(drive, signal);
    if (identity || clock.now() >= untilMs) return identity;
    await clock.sleep(pollMs, signal);
  }
}

async function whoIsIt(drive: Drive, signal: AbortSignal): Promise<DriveIdentity | undefined> {
  const readiness = await drive.readiness();
  if (readiness === 'not-ready' || readiness === 'gone') return undefined;
  return drive.identify(signal);
}
