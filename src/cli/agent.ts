import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import { createResponder, type Responder } from '../../firmware-protocol/responder.js';
import { plugIntoTcp } from '../../hardware-sim/plug.js';
import { type Clock, realClock } from '../clock.js';
import { type Agent, type AgentRecord, createAgent } from '../drive/agent.js';
import { streamOf } from '../drive/links/stdio.js';
import { openLink } from '../drive/links.js';
import { isLastspinError, LastspinError, reasonOf } from '../errors.js';
import { execPower } from '../power/exec.js';
import type { Power } from '../power/power.js';
import { newSession, type OpenedDrive, openDrive } from './drives.js';
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
  const keeps = options.state ? '; the drive keeps its power' : '';
  const interrupt = onInterrupt(`lastspin: the agent ends${keeps}`);
  try {
    const opened = await openDrive(spec);
    try {
      await guardAndServe(opened, power ?? opened.power, options, clock, interrupt.signal);
    } finally {
      await opened.close();
    }
  } finally {
    interrupt.dispose();
    await power?.close();
  }
  return 0;
}

async function guardAndServe(
  opened: OpenedDrive,
  power: Power | undefined,
  options: AgentOptions,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  // Nobody may sit before a board, and a laptop may be about to ask: said, not asked.
  const guard = await guardSource(opened.path, { osMayTouch: true, setReadOnly: true, say });
  const { state } = options;
  const device = createAgent(opened.drive, power, opened.clock, {
    bootId: newSession(),
    firmware: `lastspin agent ${version}`,
    dischargeMs: options.discharge,
    ...(state !== undefined && { record: recordIn(state), keep: (record) => keep(state, record) }),
  });
  try {
    await serve(options, createResponder(device, clock), clock, signal);
  } finally {
    // Nobody watches over the drive from here on, unless the next start is to find it as it is; on standard
    // input and output nobody can come back (T-5).
    if (state === undefined || options.port === '-') await switchOff(device, clock);
    device.close();
    await guard.close();
  }
}

/** Longest that a switch may take when the agent ends. */
const switchOffMaxMs = 30_000;

async function switchOff(device: Agent, clock: Clock): Promise<void> {
  const untilMs = clock.now() + switchOffMaxMs;
  if (device.isPowering) await device.switchOff().catch(() => {});
  while (device.isPowering && clock.now() < untilMs) await clock.sleep(lookMs);
  if (device.isPowering) say('the switch did not do what it was told: look after the drive');
}

const stageMs = z.number().int().min(0).max(0xffff_ffff);
const recordSchema = z.object({
  isOn: z.boolean(),
  stages: z
    .object({ stopReadsMs: stageMs, unloadMs: stageMs, standbyMs: stageMs, offMs: stageMs })
    .exactOptional(),
});

/** What an earlier start left; nothing where that makes no sense, which means off. */
function recordIn(path: string): AgentRecord | undefined {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined;
  }
}

/** Replaces the record in one step. */
function keep(path: string, record: AgentRecord): void {
  try {
    writeFileSync(`${path}.new`, `${JSON.stringify(record)}\n`);
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
    const link = framedLink(streamOf(process.stdin, process.stdout));
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
