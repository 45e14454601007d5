import { randomInt } from 'node:crypto';
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import type { Link } from '../../firmware-protocol/link.js';
import { createResponder } from '../../firmware-protocol/responder.js';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { createSimulatedImager } from '../../hardware-sim/imager.js';
import { linkPair } from '../../hardware-sim/noisy-link.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { type Clock, realClock } from '../clock.js';
import type { Drive, ParkKind } from '../drive/drive.js';
import { openFileDrive } from '../drive/file.js';
import { type ImagerDrive, type ImagerStatus, openImager } from '../drive/imager.js';
import { parseLinkSpec, parseUsbName } from '../drive/links/spec.js';
import { openLink } from '../drive/links.js';
import { createScsiDrive, type ScsiDriveOptions } from '../drive/scsi/drive.js';
import type { Questions } from '../drive/scsi/examine.js';
import type { ScsiPath } from '../drive/scsi/path.js';
import { openSgPath } from '../drive/sg/path.js';
import { openUsbBot } from '../drive/usb-bot/path.js';
import { LastspinError } from '../errors.js';
import { type Guard, guardSilence } from '../job/kind.js';
import type { DriveKind } from '../power/policy.js';
import type { Power } from '../power/power.js';

/** A drive that was opened by its name on the command line. */
export interface OpenedDrive {
  readonly drive: Drive;
  /** What the path to the drive knows of its kind; undefined where only the drive itself can tell. */
  readonly kind?: DriveKind;
  /** The imager that looks after the drive when this computer falls silent, where there is one. */
  readonly guard?: Guard;
  /** The imager's own switch, where it has one. */
  readonly power?: Power;
  /** The time that the drive lives in: real, unless a simulated one is scaled. */
  readonly clock: Clock;
  /** The file or device behind it, where it is one of this computer's. */
  readonly path?: string;
  /** Where the drive is reached by a link: tells when that is lost, and when it is back. */
  onLineNotice?(handler: (notice: string) => void): void;
  /** The way to ask the drive more than who it is, after `identify`; absent where the path passes nothing on. */
  questions?(): Questions;
  /** What the imager measures, where there is one. */
  status?(): Promise<ImagerStatus>;
  /** No cache of an operating system stands before it: what comes fast came fast from the drive. Where it is
   * not said, an imager that passes on the drive's own words is taken for one. */
  readonly isDirect?: boolean;
  close(): Promise<void>;
}

export interface OpenOptions {
  readonly physicalSectorBytes?: number;
}

/** Throws DRIVE_UNKNOWN for what names no drive, whatever is plugged in. */
export function checkDriveSpec(spec: string): void {
  const [, scheme, rest = spec] = /^([a-z-]+):(.*)$/s.exec(spec) ?? [];
  switch (scheme) {
    case 'stdio':
      parseLinkSpec(spec);
      return;
    case 'serial':
    case 'usb':
    case 'tcp':
      parseLinkSpec(takeScale(spec).name);
      return;
    case 'usb-bot':
      parseUsbName(spec, rest, 'usb-bot');
      return;
    case 'sim':
      refuseEmpty(spec, rest, 'sim: wants a scenario, as in sim:demo');
      return;
    case 'sg':
      refuseEmpty(spec, rest, 'sg: wants a node or disk, as in sg:/dev/sg2');
      return;
    case 'file':
    case undefined:
      refuseEmpty(spec, rest, 'give a block device or a file, as in /dev/sdb');
      return;
    default:
      throw new LastspinError(
        'DRIVE_UNKNOWN',
        `unknown kind of drive '${scheme}:' in ${spec}; known are serial:, usb:, tcp:, stdio:, sim:, sg:, usb-bot:, file: and a bare path`,
      );
  }
}

function refuseEmpty(spec: string, rest: string, example: string): void {
  if (rest !== '') return;
  throw new LastspinError('DRIVE_UNKNOWN', `'${spec}' names no drive: ${example}`);
}

/** Opens DRIVE: `serial:`, `usb:`, `tcp:`, `stdio:`, `sim:SCENARIO`, `sg:NODE`, `usb-bot:VID:PID`, `file:PATH`
 * or a bare path. The links to imagers, but `stdio:`, and `sim:` take `?scale=N`, for a simulated drive that
 * lives N times faster than a real one.
 * Throws DRIVE_UNKNOWN, DRIVE_OPEN_FAILED, NOT_AN_IMAGER, PROTOCOL_VERSION, SCENARIO_INVALID, and
 * USAGE for an imager that only switches power. */
export async function openDrive(spec: string, options: OpenOptions = {}): Promise<OpenedDrive> {
  checkDriveSpec(spec);
  const scheme = /^([a-z-]+):/.exec(spec)?.[1];
  switch (scheme) {
    case 'serial':
    case 'usb':
    case 'tcp':
    case 'stdio':
      return openThroughLink(spec);
    case 'sim':
      return openSimulated(spec.slice('sim:'.length));
    case 'sg':
      return openSg(spec.slice('sg:'.length), options);
    case 'usb-bot':
      return openAdapterDrive(spec, options);
    case 'file':
      return openPath(spec.slice('file:'.length), options);
    default:
      return openPath(spec, options);
  }
}

/** The link keeps real time, whatever time the drive behind it lives in. */
async function openThroughLink(spec: string): Promise<OpenedDrive> {
  // A command may hold any character.
  const { name, scale } = spec.startsWith('stdio:') ? { name: spec, scale: 1 } : takeScale(spec);
  const imager = await openImagerAt(name);
  if (!imager.canRead) {
    await imager.close();
    const what = `${name} reads no drive`;
    throw new LastspinError(
      'USAGE',
      `${what}; name it with --power, and the drive's own adapter as DRIVE`,
    );
  }
  return openedImager(imager, realClock(scale));
}

/** Opens the imager at the link called `name`, and keeps it: a link that drops is opened again. Throws what
 * `openLink` and `openImager` throw. */
export async function openImagerAt(name: string): Promise<ImagerDrive> {
  const clock = realClock();
  const link = await openLink(name, clock);
  const watch = watchOf(link);
  const { reopen } = link;
  const relink = reopen && (async () => watch.follow(await reopen()));
  const imager = await openImager(link, clock, {
    session: newSession(),
    name,
    ...(relink && { relink }),
  });
  const { onNotice, park } = imager;
  return Object.assign(imager, {
    onNotice(handler: (notice: string) => void) {
      onNotice?.(handler);
      link.onNotice((line) => handler(`the imager says: ${line}`));
    },
    // Whoever ends a job does not wait ten minutes for a plug.
    async park(kind?: ParkKind) {
      if (watch.isGone()) throw new LastspinError('LINK_CLOSED', `the link to ${name} is gone`);
      await park(kind);
    },
  });
}

/** Whether the last of several links, one after the other, has gone. */
function watchOf(first: Link) {
  let current = first;
  let isGone = false;
  const follow = (link: Link) => {
    current = link;
    isGone = false;
    link.onClose(() => {
      if (current === link) isGone = true;
    });
    return link;
  };
  follow(first);
  return { follow, isGone: () => isGone };
}

/** Splits `scale=N` from the options of a DRIVE. */
function takeScale(spec: string): { name: string; scale: number } {
  const [name = '', query = ''] = spec.split('?', 2);
  const options = new URLSearchParams(query);
  const scale = Number(options.get('scale') ?? '1');
  if (!(scale > 0 && scale <= 100_000))
    throw new LastspinError('DRIVE_UNKNOWN', `scale in ${spec} must be a number above 0`);
  options.delete('scale');
  return { name: options.size > 0 ? `${name}?${options}` : name, scale };
}

async function openedImager(imager: ImagerDrive, clock: Clock): Promise<OpenedDrive> {
  // Until the drive has said what it is.
  await guardSilence(imager, 'hdd');
  return {
    drive: imager,
    guard: imager,
    clock,
    questions: () => imager.questions(),
    status: () => imager.status(),
    onLineNotice: (handler) => imager.onLineNotice(handler),
    ...(imager.power && { power: imager.power }),
    close: () => imager.close(),
  };
}

/** A drive above a path that takes SCSI commands. `device` is the block device of this computer that is the
 * same drive, where there is one. */
export function openedScsi(
  path: ScsiPath,
  clock: Clock,
  { physicalSectorBytes }: OpenOptions,
  options: ScsiDriveOptions & { readonly device?: string } = {},
): OpenedDrive {
  const { device, ...own } = options;
  const physical = physicalSectorBytes === undefined ? {} : { physicalSectorBytes };
  const drive = createScsiDrive(path, clock, { ...own, ...physical });
  return {
    drive,
    clock,
    isDirect: true,
    questions: () => drive.questions(),
    ...(device !== undefined && { path: device }),
    close: () => drive.close(),
  };
}

/** Below it the kernel resets on its own, and each of its resets costs more than waiting. */
const sgTimeoutMsMin = 10_000;

async function openSg(node: string, options: OpenOptions): Promise<OpenedDrive> {
  const clock = realClock();
  const path = await openSgPath(node, clock);
  const { blockPath, serial } = path;
  return openedScsi(path, clock, options, {
    timeoutMsMin: sgTimeoutMsMin,
    ...(serial !== undefined && { serial }),
    ...(blockPath !== undefined && { device: blockPath }),
  });
}

/** A reset of the adapter is dearer than waiting. */
const usbBotTimeoutMsMin = 8000;

async function openAdapterDrive(spec: string, options: OpenOptions): Promise<OpenedDrive> {
  const clock = realClock();
  const name = parseUsbName(spec, spec.slice('usb-bot:'.length), 'usb-bot');
  const path = await openUsbBot(name, clock);
  const { serialNumber } = path;
  return openedScsi(path, clock, options, {
    timeoutMsMin: usbBotTimeoutMsMin,
    ...(serialNumber !== undefined && { serial: serialNumber }),
  });
}

async function openSimulated(spec: string): Promise<OpenedDrive> {
  const { name, scale } = takeScale(spec);
  const clock = realClock(scale);
  const drive = createSimulatedDrive(await loadScenario(name));
  const [near, far] = linkPair(clock);
  const simulated = createSimulatedImager(drive, clock);
  createResponder(simulated, clock).attach(far);
  const imager = await openImager(near, clock, { session: newSession(), name: `sim:${spec}` });
  const opened = await openedImager(imager, clock);
  return {
    ...opened,
    async close() {
      await opened.close();
      simulated.close();
    },
  };
}

async function openPath(path: string, options: OpenOptions): Promise<OpenedDrive> {
  const clock = realClock();
  const drive = await openFileDrive(path, clock, options);
  return { drive, kind: kindOfPath(path), clock, path, close: () => drive.close() };
}

/** Whether a block device spins, as Linux knows it. */
function kindOfPath(path: string): DriveKind {
  if (!statSync(path).isBlockDevice()) return 'file';
  try {
    const name = basename(realpathSync(path));
    return readFileSync(`/sys/class/block/${name}/queue/rotational`, 'utf8').trim() === '0'
      ? 'ssd'
      : 'hdd';
  } catch {
    return 'hdd'; // The gentlest defaults where nobody knows.
  }
}

/** Tells this run of a laptop or an imager from an earlier one; drawn anew so that nothing held for another
 * run is taken for ours. */
export function newSession(): number {
  return randomInt(1, 2 ** 32);
}
