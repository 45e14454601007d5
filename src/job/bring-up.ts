import type { Clock } from '../clock.js';
import type { Drive, DriveIdentity } from '../drive/drive.js';
import { LastspinError, reasonOf } from '../errors.js';
import type { TroublePolicy } from '../power/policy.js';
import { createSwitches, describeLeftOff, type Power, type Switches } from '../power/power.js';

/** How often the drive is asked: the wait it adds is at most this. */
const pollMs = 250;

/** Powers the drive where it is off and waits until it says who it is. One that is on but does not answer
 * is power-cycled. A drive that does not spin up rests with the power off before it is tried again, as
 * often as the policy allows, and is left without power in the end: clicking kills. `say` is told of each.
 * Throws DRIVE_HUNG when it never answers, POWER_FAILED, or the signal's reason. */
export async function bringUp(
  drive: Drive,
  powers: readonly Power[],
  policy: TroublePolicy,
  clock: Clock,
  signal: AbortSignal,
  say: (line: string) => void = () => {},
): Promise<DriveIdentity> {
  const switches = createSwitches(powers, (failed, error) =>
    say(`power switch failed: ${failed.name}: ${reasonOf(error)}`),
  );
  try {
    return await bringUpBy(switches, drive, powers, policy, clock, signal, say);
  } catch (error) {
    const leftOff = await switches.leftOff();
    if (leftOff) say(describeLeftOff(leftOff));
    throw error;
  }
}

async function bringUpBy(
  switches: Switches,
  drive: Drive,
  powers: readonly Power[],
  policy: TroublePolicy,
  clock: Clock,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<DriveIdentity> {
  const power = powers.find((each) => each.canHold) ?? powers[0];
  const isOff = power?.canHold === true && (await drive.readiness()) === 'gone';
  if (!isOff) {
    // It may be spinning up, or hang since an earlier run.
    const limitMs = power ? policy.resetLimitMs : policy.readyLimitMs;
    const identity = await poll(drive, limitMs, clock, signal, power);
    if (identity) return identity;
  }
  async function switchOn(attempt: number): Promise<Power | undefined> {
    if (isOff && attempt === 0) return await switches.hold(true, signal);
    say('the drive does not answer: its power is cycled');
    return await switches.cycle(policy.offMs, signal);
  }
  for (let attempt = 0; power && attempt < policy.failedSpinUpsMax; attempt++) {
    if (attempt > 0) {
      say(
        `the drive did not become ready; it rests ${policy.spinUpRestMs / 60_000} min before one more try`,
      );
      await switches.hold(false, signal);
      await clock.sleep(policy.spinUpRestMs, signal);
    }
    const used = await switchOn(attempt);
    const identity = await poll(drive, policy.readyLimitMs, clock, signal, power);
    if (identity) return identity;
    if (used?.mayOnlyReset && switches.putLast(used))
      say(`${used.name} may only reset the port: another switch goes first`);
  }
  // Every further turn of a drive that clicks costs data.
  await switches.hold(false, signal);
  const advice = power ? '' : ', or give a power switch with --power';
  throw new LastspinError(
    'DRIVE_HUNG',
    `the drive does not become ready; check its power and cables${advice}`,
  );
}

/** Asks until the drive says who it is, for `limitMs`. Power that goes once the drive had it was not the drive's
 * doing (an imager that started again): it is given again, once, and the time begins anew. */
async function poll(
  drive: Drive,
  limitMs: number,
  clock: Clock,
  signal: AbortSignal,
  power: Power | undefined,
) {
  let untilMs = clock.now() + limitMs;
  let hadPower = false;
  let isTriedAgain = false;
  for (;;) {
    const readiness = await drive.readiness();
    const isAskable = readiness !== 'not-ready' && readiness !== 'gone';
    const identity = isAskable ? await drive.identify(signal) : undefined;
    if (identity || clock.now() >= untilMs) return identity;
    if (hadPower && readiness === 'gone' && power?.canHold && !isTriedAgain) {
      isTriedAgain = true;
      // Refused where the rails tripped: then it waits, and is cycled as ever.
      await power.set(true, signal).catch(() => {});
      untilMs = clock.now() + limitMs;
    }
    hadPower ||= readiness !== 'gone';
    await clock.sleep(pollMs, signal);
  }
}
