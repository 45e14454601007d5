import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import { createResponder, type Responder } from '../../firmware-protocol/responder.js';
import { plugIntoTcp } from '../../hardware-sim/plug.js';
import { type Clock, realClock } from '../clock.js';
import { type Agent, createAgent } from '../drive/agent.js';
import { openLink } from '../drive/links.js';
import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import { execPower } from '../power/exec.js';
import type { Power } from '../power/power.js';
import { newSession, openDrive } from './drives.js';
import { onInterrupt } from './interrupt.js';
import { guardSource, refuseInUse } from './source-guard.js';
import { version } from './version.js';

export interface AgentOptions {
  readonly port: string;
  readonly baud: number;
  readonly power?: string;
  /** Until the drive's rails are down after its switch, in milliseconds. */
  readonly discharge: number;
  /** A file in which the power's state outlives the agent; it must not outlive the board's own power. */
  readonly state?: string;
}

/** How often a port that went away is tried again. */
const reopenMs = 1000;
/** How often the switch is looked at while it switches off. */
const lookMs = 250;

/** `lastspin agent DRIVE --port PATH`: this computer is the imager, until interrupted. One line on stderr
 * says so, once a laptop can connect. On standard input and output its end is the end. */
export async function agent(spec: string, options: AgentOptions): Promise<number> {
  const clock = realClock();
  const power = powerOf(options.power, clock);
  refuseInUse(spec);
  const opened = await openDrive(spec);
  // Nobody may sit before a board, and a laptop may be about to ask: said, not asked.
  const guard = await guardSource(opened.path, { osMayTouch: true, setReadOnly: true, say });
  const { state } = options;
  const interrupt = onInterrupt(
    `lastspin: the agent ends${state ? '; the drive keeps its power' : ''}`,
  );
  const device = createAgent(opened.drive, power ?? opened.power, opened.clock, {
    bootId: newSession(),
    firmware: `lastspin agent ${version}`,
    dischargeMs: options.discharge,
    ...(state !== undefined && { wasOn: wasOn(state), keep: (isOn) => keep(state, isOn) }),
  });
  const responder = createResponder(device, clock);
  try {
    await serve(options, responder, clock, interrupt.signal);
    // Nobody watches over the drive from here on, unless the next start is to find it as it is; on standard
    // input and output nobody can come back (T-5).
    if (state === undefined || options.port === '-') await switchOff(device, clock);
  } finally {
    device.close();
    interrupt.dispose();
    await opened.close();
    await guard.close();
    await power?.close();
  }
  return 0;
}

/** Longest that a switch may take when the agent ends. */
const switchOffMaxMs = 30_000;

async function switchOff(device: Agent, clock: Clock): Promise<void> {
  const untilMs = clock.now() + switchOffMaxMs;
  if (device.isPowering) await device.switchOff().catch(() => {});
  while (device.isPowering && clock.now() < untilMs) await clock.sleep(lookMs);
  if (device.isPowering) say('the switch did not do what it was told: look after the drive');
}

function wasOn(path: string): boolean {
  return existsSync(path) && readFileSync(path, 'utf8').trim() === 'on';
}

/** Replaces the record in one step. */
function keep(path: string, isOn: boolean): void {
  try {
    writeFileSync(`${path}.new`, isOn ? 'on\n' : 'off\n');
    renameSync(`${path}.new`, path);
  } catch (error) {
    say(`cannot keep the state in ${path}: ${reasonOf(error)}`);
  }
}

function powerOf(spec: string | undefined, clock: Clock): Power | undefined {
  if (spec === undefined) return undefined;
  const power = spec.startsWith('exec:') ? execPower(spec.slice('exec:'.length), clock) : undefined;
  if (power?.canHold) return power;
  throw new LastspinError(
    'USAGE',
    `--power ${spec}: an agent needs exec:COMMAND with {action} in it`,
  );
}

async function serve(
  { port, baud }: AgentOptions,
  responder: Responder,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  if (port === '-') {
    const link = framedLink(Duplex.from({ readable: process.stdin, writable: process.stdout }));
    responder.attach(link);
    await Promise.race([aborted, closed(link)]);
    link.close();
    process.stdin.pause();
  } else if (port.startsWith('tcp:')) {
    const plug = await plugIntoTcp(port.slice('tcp:'.length), (duplex) =>
      responder.attach(framedLink(duplex)),
    );
    say(`serving on tcp:${plug.address}`);
    await aborted;
    await plug.close();
  } else {
    await serveSerial(`serial:${port}?baud=${baud}`, responder, clock, signal);
  }
}

/** Serves a serial device for as long as the agent lives, however often its other end goes away. */
async function serveSerial(
  spec: string,
  responder: Responder,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  let isFirst = true;
  while (!signal.aborted) {
    const link = await openLink(spec, clock).catch((error: unknown) => {
      // The first time it is a mistake of whoever typed it; later an unplugged cable.
      if (isFirst || !isLastspinError(error, 'DRIVE_OPEN_FAILED')) throw error;
      return undefined;
    });
    if (link) {
      if (isFirst) say(`serving on ${spec}`);
      isFirst = false;
      responder.attach(link);
      const close = () => link.close();
      signal.addEventListener('abort', close, { once: true });
      await closed(link);
      signal.removeEventListener('abort', close);
    }
    if (!signal.aborted) await clock.sleep(reopenMs, signal).catch(() => {});
  }
}

function closed(link: Link): Promise<void> {
  return new Promise((resolve) => link.onClose(() => resolve()));
}

function say(line: string): void {
  process.stderr.write(`lastspin: ${line}\n`);
}
