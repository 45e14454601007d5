/** The bench that checks work at: links to the imager under examination, sessions on them, its power and
 * what is known of the drive on it. Every wait has an end. */
import type { Duplex } from 'node:stream';
import type { Clock } from '../../src/clock.js';
import { LastspinError } from '../../src/errors.js';
import { capabilityBits, commands, powerStates } from '../commands.js';
import { describe, type EventBody, type Message, type ResponseOf } from './messages.js';
import { createTalk, greeting, type Sent, type Talk } from './talk.js';
import { CheckFailed, NotSeen, type Violation } from './verdict.js';
import { openWire, type Wire } from './wire.js';

/** An open byte stream, and how its kind is closed. */
export interface OpenLine {
  readonly stream: Duplex;
  close(): void;
}

/** An imager, as its transport lets it be reached. */
export interface Target {
  /** As on the command line. */
  readonly name: string;
  /** Opens one more link. */
  open(): Promise<OpenLine>;
  /** Links that can be open at once. */
  readonly linksMax: number;
  /** Whether a link that was closed can be opened again to the same imager. */
  readonly reopens: boolean;
  /** Whether the imager hears of the beginning and the end of a link: a serial line does not tell. */
  readonly tellsEnd: boolean;
  /** On a process: resolves when it has ended (T-5). */
  readonly exited?: () => Promise<void>;
}

export type Capability = keyof typeof capabilityBits;
/** What a check cannot do without. `drive`: a drive that answers, with power where the imager has it
 * to give. */
export type Need = Capability | 'drive' | 'second-link' | 'reopen' | 'tells-end' | 'process';

export interface DriveFound {
  readonly sectorCount: number;
  readonly sectorBytes: number;
}

export interface Bench {
  readonly clock: Clock;
  readonly target: Target;
  /** What the imager said of itself at first. */
  readonly hello: ResponseOf<'hello'>;
  readonly violations: readonly Violation[];
  /** A session of its own number on the main link. */
  fresh(): Promise<Talk>;
  /** One more link, without a HELLO. Closed when the check ends. */
  link(): Promise<Talk>;
  /** Closes the main link and opens it again, without a HELLO; the session's number and ids are kept
   * where `from` is given. */
  reopen(from?: Talk): Promise<Talk>;
  /** The session that the check began with. */
  talk: Talk;
  can(need: Capability): boolean;
  /** What is on the port, once it was looked for. */
  drive(): DriveFound | undefined;
  /** Looks for it, once; may leave it switched on. */
  findDrive(): Promise<DriveFound | undefined>;
  /** A time that a deadline of `ms` may take here, at most: 10 %, and what the line takes. */
  late(ms: number): number;
  /** ... and at least. */
  early(ms: number): number;
  rails(wanted: 'off' | 'on'): Promise<void>;
  say(clause: string, came: string): void;
}

/** How long a drive may take to get ready. */
const driveReadyMs = 30_000;
const railsMs = 20_000;
const pollMs = 100;
const greetingTries = 6;
const onStates: readonly number[] = [
  powerStates.ramping,
  powerStates['on-not-ready'],
  powerStates.ready,
  powerStates.hung,
];

export interface BenchOptions {
  readonly clock: Clock;
  readonly target: Target;
  /** The first session's number; the next ones count up from it. */
  readonly session: number;
}

interface State extends BenchOptions {
  readonly violations: Violation[];
  /** All that was sent of late, since an answer may come when its check is over. */
  readonly sent: Sent[];
  /** The last messages each way, for the report. */
  traced: Sent[];
  came: Message[];
  main: Talk | undefined;
  readonly extra: Set<Wire>;
  session: number;
  hello: ResponseOf<'hello'> | undefined;
  roundTripMs: number;
  /** How late this computer's own timers came since the check began: what it sees may be as late. */
  lateMs: number;
  cancelMeter: () => void;
  /** Undefined: not looked for yet. */
  drive: DriveFound | 'none' | undefined;
  eventId: number | undefined;
}

/** What one clause broke is told once, and more of it counted. */
const violationsPerClauseMax = 3;

function say(state: State, violation: Violation): void {
  const same = state.violations.filter(({ clause }) => clause === violation.clause);
  if (same.length < violationsPerClauseMax) state.violations.push(violation);
}

/** What every message must keep, whatever it is about. */
function observe(state: State, message: Message): void {
  state.came = [...state.came.slice(1 - tracedMax), message];
  if (message.kind === 'event') {
    if (message.name === 'data' || message.name === 'fill') observePiece(state, message);
    else observeEvent(state, message);
    return;
  }
  const asked = state.sent.some(
    ({ code, id }) => id === message.id && (code | 0x80) === message.code,
  );
  if (!asked)
    say(state, { clause: 'M-2', came: `a response nobody asked for: ${describe(message)}` });
  if (message.name === 'status' && message.value) {
    observeRails(state, message.value as ResponseOf<'status'>);
  }
}

/** While they are switched on: on their way down 12 V may be the last to fall. */
function observeRails(state: State, status: ResponseOf<'status'>): void {
  const { powerState, rail5Millivolts, rail12Millivolts } = status;
  const isSwitchedOn = onStates.includes(powerState) && powerState !== powerStates.ramping;
  if (!isSwitchedOn || rail12Millivolts === 0xffff) return;
  if (rail12Millivolts < 6000 || rail5Millivolts > 2500) return;
  const came = `12 V alone: ${rail12Millivolts} mV beside ${rail5Millivolts} mV`;
  say(state, { clause: 'P-5', came });
}

function observePiece(state: State, message: Message): void {
  const isRead = ({ code, id }: Sent) => code === commands.read.code && id === message.id;
  if (state.sent.some(isRead)) return;
  say(state, { clause: 'R-3', came: `data that nobody asked for: ${describe(message)}` });
}

function observeEvent(state: State, message: Message): void {
  const last = state.eventId;
  state.eventId = message.id;
  if (last !== undefined && message.id <= last && last !== 0xffff_ffff) {
    const came = `an event with id ${message.id} behind one with ${last}: ${describe(message)}`;
    say(state, { clause: 'E-1', came });
  }
}

const tracedMax = 4;
/** More sends than this are not told apart any more. */
const sentMax = 4096;

async function openLine(state: State): Promise<Wire> {
  let line: OpenLine;
  try {
    line = await state.target.open();
  } catch (error) {
    if (state.hello === undefined || !(error instanceof Error)) throw error;
    throw new NotSeen(`the link could not be opened again: ${error.message}`);
  }
  return openWire(line, {
    clock: state.clock,
    onViolation: (violation) => say(state, violation),
    onMessage: (message) => observe(state, message),
  });
}

function talkOn(state: State, wire: Wire, from?: Talk): Talk {
  return createTalk({
    wire,
    clock: state.clock,
    session: from?.session ?? nextSession(state),
    commandId: from?.commandId ?? 1,
    readId: from?.readId ?? 0,
    slackMs: () => slackMs(state),
    sectorBytes: () => (typeof state.drive === 'object' ? state.drive.sectorBytes : undefined),
    say: (clause, came) => say(state, { clause, came }),
    onSent(sent) {
      state.sent.push(sent);
      state.traced = [...state.traced.slice(1 - tracedMax), sent];
      if (state.sent.length > sentMax) state.sent.shift();
    },
    onSession() {
      state.eventId = undefined;
    },
  });
}

function nextSession(state: State): number {
  state.session = (state.session + 1) >>> 0;
  return state.session;
}

function slackMs(state: State): number {
  return 30 + 2 * state.roundTripMs + state.lateMs;
}

const meterMs = 50;

/** Notices when this computer is too busy to be on time, so that no imager is blamed for it. */
function meterLateness(state: State): void {
  const dueAtMs = state.clock.now() + meterMs;
  state.cancelMeter = state.clock.after(meterMs, () => {
    state.lateMs = Math.max(state.lateMs, state.clock.now() - dueAtMs);
    meterLateness(state);
  });
}

/** Before the first check: finds an imager, and that nothing hangs on it that has power. */
export interface Introduced {
  readonly bench: Bench;
  /** What the checks' failures are told with: the last messages each way. */
  readonly trace: () => { readonly sent: readonly Sent[]; readonly came: readonly Message[] };
  /** Between two checks: forgets what came, closes what was opened beside the main link. */
  readonly clean: () => void;
  /** Leaves the power off and everything as an imager has it by itself; says why where it cannot. */
  readonly finish: () => Promise<string | undefined>;
}

/** Opens IMAGER and says HELLO. `refuse` is told what makes it unwise to go on. Throws
 * NOT_AN_IMAGER, PROTOCOL_VERSION, DEVICE_REFUSED, and what opening throws. */
export async function introduce(options: BenchOptions, force: boolean): Promise<Introduced> {
  const state: State = {
    ...options,
    violations: [],
    sent: [],
    traced: [],
    came: [],
    main: undefined,
    extra: new Set(),
    hello: undefined,
    roundTripMs: 0,
    lateMs: 0,
    cancelMeter: () => {},
    drive: undefined,
    eventId: undefined,
  };
  const talk = talkOn(state, await openLine(state));
  state.main = talk;
  meterLateness(state);
  try {
    state.hello = await firstHello(state, talk);
    await lookAtRails(state, talk, force);
  } catch (error) {
    state.cancelMeter();
    talk.wire.close();
    throw error;
  }
  const bench = createBench(state, talk);
  return {
    bench,
    trace: () => ({ sent: state.traced, came: state.came }),
    clean: () => clean(state),
    finish: () => finish(state, bench),
  };
}

async function firstHello(state: State, talk: Talk): Promise<ResponseOf<'hello'>> {
  for (let tries = 0; tries < greetingTries; tries++) {
    const answer = await talk.sayHello({}, 1000);
    if (answer?.reply === 0) return answer.value as ResponseOf<'hello'>;
    if (!answer) continue;
    const said = `${state.target.name}: ${describe(answer)}`;
    if (answer.reply === 8) throw new LastspinError('PROTOCOL_VERSION', said);
    if (answer.reply === 6)
      throw new LastspinError('DEVICE_REFUSED', `${said}; end the program that uses it first`);
    throw new LastspinError('NOT_AN_IMAGER', said);
  }
  const { name } = state.target;
  const { wire } = talk;
  const what = wire.ended
    ? `${wire.ended} before it answered a HELLO`
    : wire.bytesReceived === 0
      ? 'nothing answers a HELLO; is it an imager, and is its rate right?'
      : `${wire.bytesReceived} bytes came, but no answer to a HELLO (H-1)`;
  const wrong = state.violations[0];
  const detail = wrong ? `; ${wrong.clause}: ${wrong.came}` : '';
  throw new LastspinError('NOT_AN_IMAGER', `${name}: ${what}${detail}`);
}

async function lookAtRails(state: State, talk: Talk, force: boolean): Promise<void> {
  const times: number[] = [];
  for (let count = 0; count < 5; count++) {
    const sentAtMs = state.clock.now();
    const status = await talk.tryStatus();
    if (!status)
      throw new LastspinError('NOT_AN_IMAGER', `${state.target.name}: no answer to a status`);
    times.push(state.clock.now() - sentAtMs);
    if (!onStates.includes(status.powerState) || force) continue;
    const switches = ((state.hello?.capabilities ?? 0) & capabilityBits.power) !== 0;
    const what = switches
      ? 'the rails are on, and a run switches them; unplug what matters and switch off'
      : 'a drive has power, and a run reads it; unplug it if it matters';
    throw new LastspinError('DEVICE_REFUSED', `${state.target.name}: ${what}, or add --force`);
  }
  state.roundTripMs = times.sort((a, b) => a - b)[2] ?? 0;
}

function createBench(state: State, first: Talk): Bench {
  const bench: Bench = {
    clock: state.clock,
    target: state.target,
    hello: state.hello as ResponseOf<'hello'>,
    violations: state.violations,
    talk: first,
    fresh: () => fresh(state, bench),
    async link() {
      const talk = talkOn(state, await openLine(state));
      state.extra.add(talk.wire);
      return talk;
    },
    async reopen(from) {
      bench.talk.wire.close();
      await state.clock.sleep(20);
      bench.talk = talkOn(state, await openLine(state), from);
      state.main = bench.talk;
      return bench.talk;
    },
    can: (need) => (bench.hello.capabilities & capabilityBits[need]) !== 0,
    drive: () => (typeof state.drive === 'object' ? state.drive : undefined),
    async findDrive() {
      if (state.drive === undefined) state.drive = (await findDrive(state, bench)) ?? 'none';
      return bench.drive();
    },
    late: (ms) => ms * 1.1 + slackMs(state),
    early: (ms) => ms * 0.9 - slackMs(state),
    rails: (wanted) => switchRails(state, bench, wanted),
    say: (clause, came) => say(state, { clause, came }),
  };
  return bench;
}

async function fresh(state: State, bench: Bench): Promise<Talk> {
  let wire = state.main?.wire;
  if (!wire || wire.ended) {
    wire?.close();
    if (!state.target.reopens) throw new NotSeen(`the link is gone: ${wire?.ended ?? ''}`);
    wire = await openLine(state);
  }
  wire.clear();
  const talk = talkOn(state, wire);
  state.main = talk;
  bench.talk = talk;
  for (let tries = 0; tries < 3; tries++) {
    const answer = await talk.sayHello({}, 1000);
    if (answer?.reply === 0) return talk;
    // H-7: a session on a link that has not told of its end is there for 5 s more.
    if (answer?.reply === 6) await state.clock.sleep(5600);
  }
  throw new NotSeen(`no session is to be had: ${wire.ended ?? 'HELLO is not answered by ok'}`);
}

function clean(state: State): void {
  for (const wire of state.extra) wire.close();
  state.extra.clear();
  state.traced = [];
  state.came = [];
  state.lateMs = 0;
}

/** Polls the status until it is as wanted; false when the time is up. */
export async function untilStatus(
  clock: Clock,
  talk: Talk,
  wanted: (status: ResponseOf<'status'>) => boolean,
  withinMs: number,
): Promise<boolean> {
  const endMs = clock.now() + withinMs;
  for (;;) {
    const status = await talk.status();
    if (wanted(status)) return true;
    if (clock.now() >= endMs) return false;
    await clock.sleep(pollMs);
  }
}

async function switchRails(state: State, bench: Bench, wanted: 'off' | 'on'): Promise<void> {
  if (!bench.can('power')) return;
  const { talk } = bench;
  const { powerState } = await talk.status();
  if (wanted === 'off') {
    if (powerState === powerStates.off) return;
    await talk.ok('power', { action: 0, offMs: 0, standbyFirst: 0 });
    const isOff = (status: ResponseOf<'status'>) => status.powerState === powerStates.off;
    if (await untilStatus(state.clock, talk, isOff, railsMs)) return;
  } else {
    if (powerState === powerStates.tripped) await switchRails(state, bench, 'off');
    await talk.ok('power', { action: 1, offMs: 0, standbyFirst: 0 });
    const drive = typeof state.drive === 'object';
    const isOn = (status: ResponseOf<'status'>) =>
      drive
        ? status.powerState === powerStates.ready
        : onStates.includes(status.powerState) && status.powerState !== powerStates.ramping;
    if (await untilStatus(state.clock, talk, isOn, drive ? driveReadyMs : railsMs)) return;
  }
  say(state, { clause: 'P-2', came: `the rails do not go ${wanted}` });
  throw new NotSeen(`the rails do not go ${wanted}`);
}

/** Whether a drive answers, and how large it is. Leaves it switched on. */
async function findDrive(state: State, bench: Bench): Promise<DriveFound | undefined> {
  if (!bench.can('read') || !bench.can('identify')) return undefined;
  await bench.rails('on');
  const endMs = state.clock.now() + driveReadyMs;
  do {
    const answer = await bench.talk.ask('identify', {}, { withinMs: driveReadyMs });
    if (answer.reply === 0) {
      const { sectorCount, sectorBytes } = answer.value as ResponseOf<'identify'>;
      return sectorCount > 0 && sectorBytes > 0 ? { sectorCount, sectorBytes } : undefined;
    }
    await state.clock.sleep(1000);
  } while (state.clock.now() < endMs);
  return undefined;
}

/** What must be said when the power could not be switched off. */
async function finish(state: State, bench: Bench): Promise<string | undefined> {
  clean(state);
  // T-5 has ended it, with the power off.
  if (state.target.exited && state.main?.wire.ended) {
    state.cancelMeter();
    return undefined;
  }
  try {
    const talk = await fresh(state, bench);
    if (bench.can('limits')) await talk.ask('limits', greeting.defaultLimits);
    if (bench.can('throttle'))
      await talk.ask('throttle', { bytesPerSecondMax: 0, restEveryMs: 0, restMs: 0 });
    if (bench.can('watchdog')) await talk.ask('watchdog', greeting.hardDriveStages);
    await switchRails(state, bench, 'off');
    return undefined;
  } catch (error) {
    if (!(error instanceof NotSeen || error instanceof CheckFailed)) throw error;
    return bench.can('power') ? error.message : undefined;
  } finally {
    state.cancelMeter();
    state.main?.wire.close();
  }
}

/** An event's body, for a message that is known to be it. */
export function bodyOf<N extends 'gap' | 'steppedDown' | 'railFault' | 'ready' | 'overTemperature'>(
  message: Message | undefined,
  _name: N,
): EventBody<N> | undefined {
  return message?.value as EventBody<N> | undefined;
}
