/** What is done once a job has ended: `image --then ACTION`. */

import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { type Clock, delayMaxMs } from '../clock.js';
import type { Drive } from '../drive/drive.js';
import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import type { Case, CasePaths } from '../job/case.js';
import type { Verdict } from '../job/verify.js';
import { createSwitches, type LeftOff, type Power } from '../power/power.js';
import { runScript } from '../power/script.js';
import { formatShare } from '../show/format.js';
import type { ImageResult } from '../show/result.js';
import { formatVerdict } from '../show/verify-result.js';
import { writeReport } from './case-report.js';
import { verifyCase } from './verify.js';
import { postJson, webhookName } from './webhook.js';

/** How a job may end, in the words of `--then`. */
export const endings = ['finished', 'stopped', 'gave-up', 'failed'] as const;
export type Ending = (typeof endings)[number];

/** What came of an action. */
export interface ActionOutcome {
  /** As it may be shown: without what an address or a command may hold in secret. */
  readonly action: string;
  readonly ok: boolean;
  /** Where it failed. */
  readonly why?: string;
  /** What it found or made. */
  readonly told?: string;
  /** Of `verify`. */
  readonly verdict?: Verdict;
}

/** A job that has ended, as actions see it. */
export interface EndedJob {
  readonly ending: Ending;
  readonly why: string;
  readonly paths: CasePaths;
  /** Absent when it failed. */
  readonly result?: ImageResult;
}

/** The drive and its switches, while they are still open. */
export interface EndedDrive {
  readonly drive: Drive;
  readonly powers: readonly Power[];
  /** Told when the drive was left without power. */
  onLeftOff?(leftOff: LeftOff): void;
}

/** The image while it is still locked, all of it on the disk, and what the job knows of it. */
export interface EndedImage {
  /** What can be said of it, however the job ended. */
  readonly facts: ImageResult;
  readonly rescue: Case;
  /** When this run began, wall clock in ms since 1970. */
  readonly begunAtMs: number;
  /** What was said on the way, one line each. */
  readonly notices: readonly string[];
}

interface ActionContext {
  readonly job: EndedJob;
  readonly argument: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly at?: EndedDrive;
  readonly image?: EndedImage;
  /** What came of the actions before. */
  readonly before: readonly ActionOutcome[];
}

/** One kind of action. */
interface ActionKind {
  /** Done while the drive is open, then while the image is locked, in the order of the table, whatever order was
   * typed: a drive that is done must not spin while a server does not answer, and nobody may write to an image that
   * is looked at. The rest follows when both are closed, as typed. */
  readonly of: 'drive' | 'image' | 'rest';
  /** What stands behind the colon; absent where nothing may. */
  readonly takes?: string;
  readonly limitMs: number;
  /** How it is shown. */
  name?(argument: string): string;
  /** Throws USAGE. */
  check?(argument: string): void;
  /** Returns what more there is to say. Throws what went wrong. */
  run(context: ActionContext): Promise<Partial<ActionOutcome>> | Promise<void>;
}

/** All kinds. Those of the drive and of the image stand first, in the order in which they are done. */
const kinds: Readonly<Record<string, ActionKind>> = {
  park: { of: 'drive', limitMs: 30_000, run: park },
  'power-off': { of: 'drive', limitMs: 60_000, run: powerOff },
  verify: { of: 'image', limitMs: delayMaxMs, run: verifyMade },
  report: { of: 'image', limitMs: 600_000, run: report },
  exec: {
    of: 'rest',
    takes: 'COMMAND',
    limitMs: 3_600_000,
    name: (command) =>
      `exec:${command.trim().split(/\s+/, 1)[0]}${/\s/.test(command.trim()) ? ' …' : ''}`,
    run: execute,
  },
  webhook: {
    of: 'rest',
    takes: 'URL',
    limitMs: 10_000,
    name: (url) => `webhook:${webhookName(url)}`,
    check: (url) => void webhookName(url),
    run: ({ job, argument, signal }) => postJson(argument, bodyOf(job), signal),
  },
  desktop: { of: 'rest', limitMs: 10_000, run: notifyDesktop },
};

/** An action that was asked for. */
export interface WantedAction {
  readonly kind: string;
  readonly argument: string;
  readonly name: string;
  /** Ends of the job after which it is wanted. */
  readonly after: ReadonlySet<Ending>;
}

const grammar = `${Object.entries(kinds)
  .map(([name, { takes }]) => (takes ? `${name}:${takes}` : name))
  .join(', ')}; before it, when: ${endings.join(', ')}, as finished:park`;

/** Reads one `--then`. Throws USAGE. */
export function parseAction(text: string): WantedAction {
  const [, when = '', action = ''] = /^((?:(?:finished|stopped|gave-up|failed)[,:])*)(.*)$/s.exec(
    text,
  )!;
  if (when !== '' && !when.endsWith(':')) throw usage(`'${when}' is no action`);
  const after = when.split(/[,:]/).filter((word) => word !== '') as Ending[];
  const colon = action.indexOf(':');
  const kind = colon < 0 ? action : action.slice(0, colon);
  const argument = colon < 0 ? '' : action.slice(colon + 1);
  const known = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  if (!known) throw usage(`'${kind}' is no action`);
  if (known.takes && argument.trim() === '') throw usage(`${kind} needs a ${known.takes}`);
  if (!known.takes && colon >= 0) throw usage(`${kind} takes nothing behind a colon`);
  known.check?.(argument);
  const name = known.name?.(argument) ?? kind;
  return { kind, argument, name, after: new Set(after.length > 0 ? after : endings) };
}

function usage(what: string): LastspinError {
  return new LastspinError('USAGE', `--then: ${what}; known are ${grammar}`);
}

/** An action as it may be kept on record: with when it is wanted, without what an address or a command may hold in
 * secret. */
function recordedName({ name, after }: WantedAction): string {
  return after.size < endings.length ? `${[...after].join(',')}:${name}` : name;
}

/** The actions of a job. */
export interface Actions {
  /** What was asked for, in the order typed, as it may be kept on record. */
  readonly names: readonly string[];
  /** Before the drive is powered. Throws USAGE for a power-off that no switch can do. */
  checkPowers(powers: readonly Power[]): void;
  /** What is to be done to the drive. Never throws. */
  atDrive(job: EndedJob, at: EndedDrive): Promise<readonly ActionOutcome[]>;
  /** What is to be done with the image, each told of as soon as it is done. The signal as in `afterwards`. Never
   * throws, unless `onOutcome` does. */
  atImage(
    job: EndedJob,
    image: EndedImage,
    before: readonly ActionOutcome[],
    onOutcome: (outcome: ActionOutcome) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void>;
  /** The rest, once drive and image are closed. A signal that aborts meanwhile ends the one under way and leaves out
   * the others. Never throws. */
  afterwards(job: EndedJob, signal?: AbortSignal): Promise<readonly ActionOutcome[]>;
}

/** Reads every `--then`, before anything is opened. `say` is told of actions that this computer cannot do.
 * Throws USAGE. */
export function createActions(
  texts: readonly string[],
  clock: Clock,
  say: (line: string) => void,
  env: NodeJS.ProcessEnv = process.env,
): Actions {
  const typed = texts.map(parseAction);
  const wanted = typed.filter(({ kind }) => {
    if (kind !== 'desktop' || hasTool('notify-send', env)) return true;
    say('--then desktop: there is no notify-send here (Debian: libnotify-bin); it is left out');
    return false;
  });
  const order = Object.keys(kinds);
  const rank = ({ kind }: WantedAction) => order.indexOf(kind);
  const those = (of: ActionKind['of']) => wanted.filter(({ kind }) => kinds[kind]!.of === of);
  const ofDrive = those('drive').sort((one, other) => rank(one) - rank(other));
  const ofImage = those('image').sort((one, other) => rank(one) - rank(other));
  const others = those('rest');

  async function runAll(
    actions: readonly WantedAction[],
    job: EndedJob,
    context: RunContext & { onOutcome?(outcome: ActionOutcome): Promise<void> },
  ): Promise<ActionOutcome[]> {
    const outcomes: ActionOutcome[] = [];
    for (const action of actions) {
      if (!action.after.has(job.ending)) continue;
      const before = [...(context.before ?? []), ...outcomes];
      const outcome = await runOne(action, job, clock, { ...context, before });
      outcomes.push(outcome);
      await context.onOutcome?.(outcome);
    }
    return outcomes;
  }

  return {
    names: typed.map(recordedName),
    checkPowers(powers) {
      const isWanted = wanted.some(({ kind }) => kind === 'power-off');
      if (!isWanted || powers.some(({ canHold }) => canHold)) return;
      throw new LastspinError(
        'USAGE',
        '--then power-off: no switch here can leave the power off; give one with --power',
      );
    },
    atDrive: (job, at) => runAll(ofDrive, job, { at }),
    async atImage(job, image, before, onOutcome, signal) {
      await runAll(ofImage, job, { image, before, onOutcome, signal });
    },
    afterwards: (job, signal) => runAll(others, job, { signal }),
  };
}

type RunContext = Partial<Pick<ActionContext, 'at' | 'image' | 'before'>> & {
  readonly signal?: AbortSignal | undefined;
};

/** Runs one action for no longer than it may take; its failure is an outcome. */
async function runOne(
  { kind, argument, name }: WantedAction,
  job: EndedJob,
  clock: Clock,
  { at, image, before = [], signal }: RunContext,
): Promise<ActionOutcome> {
  const { limitMs, run } = kinds[kind]!;
  const end = new AbortController();
  const onAbort = () => end.abort(new Error('interrupted'));
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  const forget = clock.after(limitMs, () =>
    end.abort(new Error(`no end within ${limitMs / 1000} s`)),
  );
  // Not all that is done listens to a signal.
  const ended = new Promise<never>((_, reject) => {
    const fail = () => reject(end.signal.reason);
    if (end.signal.aborted) fail();
    else end.signal.addEventListener('abort', fail, { once: true });
  });
  try {
    end.signal.throwIfAborted();
    const known = { job, argument, clock, before, signal: end.signal };
    const news = await Promise.race([
      run({ ...known, ...(at && { at }), ...(image && { image }) }),
      ended,
    ]);
    return { action: name, ok: true, ...news };
  } catch (error) {
    return { action: name, ok: false, why: reasonOf(error) };
  } finally {
    ended.catch(() => {});
    forget();
    signal?.removeEventListener('abort', onAbort);
  }
}

/** STANDBY: the heads off the platters, the spindle down. Once more does no harm to a drive that was parked. */
async function park({ at }: ActionContext): Promise<void> {
  if (!at?.drive.capabilities.park) throw new Error('the path to the drive has no command for it');
  if ((await at.drive.readiness()) === 'gone') throw new Error('the drive is gone');
  await at.drive.park('standby');
}

/** By the first switch that can, heads first: an emergency unload wears like a hundred normal ones. */
async function powerOff({ at, clock, signal }: ActionContext): Promise<void> {
  if (!at) return;
  const parkLimit = new AbortController();
  await Promise.race([
    parkQuietly(at.drive),
    clock.sleep(parkLimitMs, parkLimit.signal).catch(() => {}),
  ]);
  parkLimit.abort();
  const switches = createSwitches(at.powers, () => {});
  try {
    const used = await switches.hold(false, signal);
    if (!used) throw new Error('no switch can leave the power off');
  } finally {
    const leftOff = await switches.leftOff();
    if (leftOff) at.onLeftOff?.(leftOff);
  }
}

/** How long a drive may take to park before its power is cut all the same. */
const parkLimitMs = 15_000;

async function parkQuietly(drive: Drive): Promise<void> {
  if (!drive.capabilities.park) return;
  try {
    if ((await drive.readiness()) === 'ready') await drive.park('standby');
  } catch {
    // What does not park is parked by losing its power.
  }
}

/** All that `lastspin verify` does. Its time is no drive's: that rests. */
async function verifyMade({ job, signal, image }: ActionContext): Promise<Partial<ActionOutcome>> {
  if (!image) throw new Error('there is no image');
  const result = await verifyCase(job.paths, { signal });
  const { verdict } = result;
  const text = formatVerdict(result);
  return verdict === 'unchanged' ? { verdict, told: text } : { verdict, ok: false, why: text };
}

/** Everything at a glance, as a text file beside the image. */
async function report({ job, image, before }: ActionContext): Promise<Partial<ActionOutcome>> {
  if (!image) throw new Error('there is no image');
  await writeReport(job, image, before);
  return { told: job.paths.report };
}

async function execute({ job, argument, clock, signal }: ActionContext): Promise<void> {
  // It is ended from outside.
  const script = { script: argument, env: environmentOf(job), timeoutMs: delayMaxMs };
  const problem = await runScript(script, clock, signal);
  if (problem !== undefined) throw new Error(problem);
}

/** What a command finds in its environment. Counts are sectors. */
export function environmentOf({ ending, why, paths, result }: EndedJob): Record<string, string> {
  const counts: Record<string, number> = result
    ? {
        LASTSPIN_SECTOR_BYTES: result.drive.sectorBytes,
        LASTSPIN_SECTORS: result.sectors.total,
        LASTSPIN_FINISHED: result.sectors.finished,
        LASTSPIN_BAD: result.sectors.bad,
        LASTSPIN_UNREAD: result.domain.unread,
      }
    : {};
  return {
    LASTSPIN_ENDED: ending,
    LASTSPIN_WHY: why,
    LASTSPIN_IMAGE: resolve(paths.image),
    LASTSPIN_MAP: resolve(paths.map),
    ...Object.fromEntries(Object.entries(counts).map(([name, value]) => [name, String(value)])),
  };
}

/** The result as `--json` prints it; of a job that failed, that it did. */
function bodyOf({ ending, why, paths, result }: EndedJob): unknown {
  const { image, map } = paths;
  return result ?? { schema: 'lastspin/image-failed/1', ended: ending, why, image, map };
}

/** A bubble on the desktop of whoever sits there, also when the job runs by sudo: then it is theirs, not root's. */
async function notifyDesktop({ job, signal }: ActionContext): Promise<void> {
  const { SUDO_UID: uid, SUDO_GID: gid, DBUS_SESSION_BUS_ADDRESS: bus } = process.env;
  const isForOther = uid !== undefined && gid !== undefined && bus === undefined;
  const other = isForOther && {
    uid: Number(uid),
    gid: Number(gid),
    env: { ...process.env, DBUS_SESSION_BUS_ADDRESS: `unix:path=/run/user/${uid}/bus` },
  };
  const text = [`lastspin: ${job.ending}`, textOf(job)];
  const child = spawn('notify-send', ['--app-name=lastspin', '--', ...text], {
    stdio: 'ignore',
    signal,
    ...other,
  });
  await new Promise<void>((done, fail) => {
    child.on('error', fail);
    child.on('exit', (code) =>
      code === 0 ? done() : fail(new Error(`notify-send: exit code ${code}`)),
    );
  });
}

function textOf({ paths, result, why }: EndedJob): string {
  if (!result) return `${paths.image}: ${why}`;
  const { finished, total, bad } = result.sectors;
  return `${paths.image}: ${formatShare(finished, total)} finished, ${bad} bad sectors`;
}

function hasTool(name: string, { PATH = '' }: NodeJS.ProcessEnv): boolean {
  return PATH.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return folder !== '';
    } catch {
      return false;
    }
  });
}

/** How a job ended that threw. */
export function failureOf(error: unknown): string {
  const code = isLastspinError(error) ? ` (${error.code})` : '';
  return `${reasonOf(error)}${code}`;
}
