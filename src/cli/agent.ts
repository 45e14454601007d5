import { Duplex } from 'node:stream';
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import { createResponder, type Responder } from '../../firmware-protocol/responder.js';
import { plugIntoTcp } from '../../hardware-sim/plug.js';
import { type Clock, realClock } from '../clock.js';
import { type Agent, createAgent } from '../drive/agent.js';
import { openLink } from '../drive/links.js';
import { isLastspinError, LastspinError } from '../errors.js';
import { execPower } from '../power/exec.js';
import type { Power } from '../power/power.js';
import { newSession, openDrive } from './drives.js';
import { onInterrupt } from './interrupt.js';
import { version } from './version.js';

export interface AgentOptions {
  readonly port: string;
  readonly baud: number;
  readonly power?: string;
  /** Until the drive's rails are down after its switch, in milliseconds. */
  readonly discharge: number;
}

/** How often a port that went away is tried again. */
const reopenMs = 1000;
/** How often the power of a drive is looked at whose laptop is gone. */
const lookMs = 250;

/** `lastspin agent DRIVE --port PATH`: this computer is the imager, until interrupted. One line on stderr
 * says so, once a laptop can connect. On standard input and output its end is the end. */
export async function agent(spec: string, options: AgentOptions): Promise<number> {
  const clock = realClock();
  const power = powerOf(options.power, clock);
  const opened = await openDrive(spec);
  const interrupt = onInterrupt('lastspin: the agent ends; the drive keeps its power');
  const device = createAgent(opened.drive, power ?? opened.power, opened.clock, {
    bootId: newSession(),
    firmware: `lastspin agent ${version}`,
    dischargeMs: options.discharge,
  });
  const responder = createResponder(device, clock);
  try {
    await serve(options, responder, clock, interrupt.signal);
    if (options.port === '-') await untilOff(device, clock, interrupt.signal);
  } finally {
    device.close();
    interrupt.dispose();
    await opened.close();
    await power?.close();
  }
  return 0;
}

/** T-5: whoever powers a drive watches over it until silence has switched it off. */
async function untilOff(device: Agent, clock: Clock, signal: AbortSignal): Promise<void> {
  while (device.isPowering && !signal.aborted) await clock.sleep(lookMs, signal).catch(() => {});
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
