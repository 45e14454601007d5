import type { DriveIdentity } from '../drive/drive.js';
import { askHidden, askSmart } from '../drive/scsi/examine.js';
import { LastspinError, reasonOf } from '../errors.js';
import { bringUp } from '../job/bring-up.js';
import { isFirmwareFailed } from '../job/identity.js';
import { chooseKind } from '../job/kind.js';
import { type Triage, triage } from '../job/triage.js';
import type { Verdict } from '../plan/first-contact.js';
import { type DriveKind, troublePolicies } from '../power/policy.js';
import type { Power } from '../power/power.js';
import { shellWord } from '../show/format.js';
import {
  formatIdentify,
  type Identified,
  type IdentifyResult,
  identifyResult,
  isUsual,
} from '../show/identify.js';
import { onInterrupt } from './interrupt.js';
import { openPowered, type PoweredDrive } from './powers.js';
import { refuseInUse } from './source-guard.js';

export interface IdentifyOptions {
  readonly power: readonly string[];
  readonly triage?: boolean;
  /** The capacity on the drive's label, in bytes. */
  readonly label?: number;
  /** Instead of what the drive says of itself. */
  readonly kind?: DriveKind;
  /** False: SMART is not asked. */
  readonly smart?: boolean;
  readonly json?: boolean;
}

const exitStop = 32;

/** `lastspin identify DRIVE`: says who the drive is, with `--triage` also what to do about it. Returns the exit
 * status: 32 where the verdict is to stop. */
export async function identify(spec: string, options: IdentifyOptions): Promise<number> {
  if (options.label !== undefined && !options.triage)
    throw new LastspinError('USAGE', '--label goes with --triage');
  const result = await identifyDrive(spec, options);
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatIdentify(result));
  return result.triage?.verdict.decision === 'stop' ? exitStop : 0;
}

async function identifyDrive(spec: string, options: IdentifyOptions): Promise<IdentifyResult> {
  // An adapter would be taken away from under a mounted drive.
  refuseInUse(spec);
  const interrupt = onInterrupt('lastspin: stopping (again: leave at once)');
  try {
    const opened = await openPowered(spec, options.power, { signal: interrupt.signal });
    try {
      opened.drive.onNotice?.(say);
      return await leaveAsItWas(opened, () =>
        options.triage
          ? firstContact(spec, opened, options, interrupt.signal)
          : ask(spec, opened, options, interrupt.signal),
      );
    } finally {
      await opened.close();
    }
  } catch (error) {
    if (error !== interrupt.signal.reason) throw error;
    throw new LastspinError('INTERRUPTED', 'interrupted');
  } finally {
    interrupt.dispose();
  }
}

/** A drive that was off before is parked and off again afterwards, however it went. */
async function leaveAsItWas<T>(opened: PoweredDrive, act: () => Promise<T>): Promise<T> {
  const { drive, powers, wasAbsent } = opened;
  const power = powers.find(({ canHold }) => canHold);
  const wasOff = power && (wasAbsent || (await drive.readiness()) === 'gone');
  try {
    return await act();
  } finally {
    if (wasOff) await switchOff(opened, power);
  }
}

async function switchOff({ drive }: PoweredDrive, power: Power): Promise<void> {
  try {
    // One that hangs or is off by now does not park.
    if ((await drive.readiness()) === 'ready' && drive.capabilities.park)
      await drive.park().catch(() => {});
    await power.set(false);
  } catch (error) {
    say(`the drive was off before and is left on: ${reasonOf(error)}`);
  }
}

/** Who the drive is and what it says of itself, SMART last. */
async function ask(
  source: string,
  opened: PoweredDrive,
  options: IdentifyOptions,
  signal: AbortSignal,
): Promise<IdentifyResult> {
  const { drive, powers, clock } = opened;
  const policy = troublePolicies[options.kind ?? opened.kind ?? 'hdd'];
  const identity = await bringUp(drive, powers, policy, clock, signal, say);
  const kind = kindOf(opened, options, identity);
  if (isFirmwareFailed(identity))
    say('the drive answers as its controller does without its firmware: --triage says more');
  const { ata, commander } = opened.questions?.() ?? {};
  const hidden = ata && commander ? await askHidden(commander, ata) : {};
  const temperatureCelsius = await drive.temperature?.();
  const maySmart = ata && commander && options.smart !== false;
  return identifyResult({
    source,
    kind,
    identity,
    ...(ata && { ata }),
    hidden,
    ...(temperatureCelsius !== undefined && { temperatureCelsius }),
    ...(maySmart && (await askSmart(commander, ata))),
    ...untoldBy(opened),
  });
}

async function firstContact(
  source: string,
  opened: PoweredDrive,
  options: IdentifyOptions,
  signal: AbortSignal,
): Promise<IdentifyResult> {
  const { drive, powers, clock, status, questions } = opened;
  const found = await triage({
    drive,
    powers,
    clock,
    signal,
    policy: troublePolicies[options.kind ?? opened.kind ?? 'hdd'],
    kindOf: (identity) => kindOf(opened, options, identity),
    questions: () => questions?.() ?? {},
    ...(status && { status }),
    ...(options.label !== undefined && { labelBytes: options.label }),
    isSmartWanted: options.smart !== false,
    say,
  });
  const { identity, findings, smart, temperatureCelsius } = found;
  const ata = identity && questions?.().ata;
  return identifyResult({
    source,
    kind: findings.kind,
    ...(identity && { identity, ...untoldBy(opened) }),
    ...(ata && { ata }),
    hidden: found.hidden,
    ...(temperatureCelsius !== undefined && { temperatureCelsius }),
    ...(findings.isSmartPassed !== undefined && { isSmartPassed: findings.isSmartPassed }),
    ...(smart && { smart }),
    triage: triageResult(source, found, options),
  });
}

function triageResult(
  source: string,
  { findings, verdict, elapsedMs }: Triage,
  options: IdentifyOptions,
): NonNullable<Identified['triage']> {
  const { spinUp, capacity, zones } = findings;
  const next = nextCommand(source, verdict, options);
  return {
    spinUp: { ...spinUp, rails: [...spinUp.rails] },
    ...(capacity && { capacity }),
    ...(zones && { zones }),
    verdict,
    ...(next !== undefined && { next }),
    elapsedMs: Math.round(elapsedMs),
  };
}

/** The job that the verdict asks for, as one types it. */
function nextCommand(
  source: string,
  verdict: Verdict,
  { power, kind }: IdentifyOptions,
): string | undefined {
  if (verdict.decision === 'stop') return undefined;
  return [
    ...['npx', 'lastspin', 'image', source, 'case.img'],
    ...power.flatMap((each) => ['--power', each]),
    ...(kind ? ['--kind', kind] : []),
    ...(isUsual(verdict) ? [] : ['--preset', verdict.preset]),
  ]
    .map(shellWord)
    .join(' ');
}

function kindOf(
  { kind }: PoweredDrive,
  options: IdentifyOptions,
  identity: DriveIdentity | undefined,
): DriveKind {
  if (!identity) return options.kind ?? kind ?? 'hdd';
  return chooseKind({ asked: options.kind, opened: kind, identity });
}

/** Why there are so few lines. */
function untoldBy({ kind, questions, guard }: PoweredDrive): { untold?: string } {
  const { ata, commander } = questions?.() ?? {};
  if (ata && commander) return {};
  if (kind === 'file') return { untold: 'a file has no security state, temperature or SMART' };
  const what = 'security state, hidden sectors and SMART';
  if (!questions)
    return { untold: `through a block device nothing is asked of the drive: no ${what}` };
  if (ata) return { untold: `no commands pass through to the drive: no hidden sectors, no SMART` };
  const where = guard ? 'the imager passes on' : 'the adapter passes on';
  return { untold: `${where} no ATA identity, or the drive has none: no ${what}` };
}

/** A line for the user that is no result. */
function say(line: string): void {
  process.stderr.write(`lastspin: ${line}\n`);
}
