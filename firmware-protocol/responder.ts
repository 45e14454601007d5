/** The device end of the protocol: decodes, dispatches, keeps sessions (PROTOCOL.md clauses H,
 * C). */
import type { Clock } from '../src/clock.js';
import { bytesMax, type Codec, MalformedMessage, type Reader } from './codec.js';
import {
  bootCauses,
  type Command,
  capabilityBits,
  capabilityFor,
  commands,
  type EventKind,
  events,
  frameBytesMin,
  heatActions,
  helloMagic,
  notMeasured,
  parkKinds,
  powerActions,
  powerStates,
  protocolVersion,
  railFaults,
  resetKinds,
  scsiOutcomes,
  sessionLiveMs,
} from './commands.js';
import { type DeviceEvent, type DeviceLimits, type ImagerDevice, ReplyError } from './device.js';
import type { Link } from './link.js';
import {
  decodeHeader,
  encodeMessage,
  encodeOk,
  encodeRefusal,
  type Header,
  headerBytes,
  toUnsigned,
} from './message.js';
import { judgeReadOnly } from './read-only.js';
import { createLane, createReadQueue, type Lane, type ReadQueue } from './read-queue.js';

export interface Responder {
  /** Serves this link too; its first HELLO decides whether it reclaims the session or takes
   * over. */
  attach(link: Link): void;
  /** Messages that came whole but that no right laptop sends. */
  readonly violations: number;
  /** As after a restart of the imager: no session, nothing held. */
  forget(): void;
}

type RequestOf<C> = C extends Command<infer Req, unknown> ? Req : never;
type ResponseOf<C> = C extends Command<unknown, infer Res> ? Res : never;
type Commands = typeof commands;
type Handlers = {
  readonly [K in Exclude<keyof Commands, 'hello' | 'read'>]: (
    request: RequestOf<Commands[K]>,
    session: Session,
  ) => Promise<ResponseOf<Commands[K]>>;
};

interface Session {
  readonly number: number;
  readonly frameBytesMax: number;
  readonly reads: ReadQueue;
  /** Resends go one after the other. */
  readonly resendLane: Lane;
  resendsWaiting: number;
  link: Link | undefined;
  eventId: number;
  /** Responses by id; undefined while the command is under way (C-3). */
  readonly answered: Map<number, Uint8Array | undefined>;
  /** Ids up to this one have been forgotten: such a message is an old copy. */
  forgottenId: number;
  /** When anything valid last came, in the clock's time. */
  heardAtMs: number;
}

/** A laptop asks again for at most a window of reads at once; more is noise. */
const resendsWaitingMax = 64;

interface State {
  readonly device: ImagerDevice;
  readonly clock: Clock;
  /** The drive's commands, one after the other. */
  lane: Lane;
  readonly handlers: Handlers;
  session: Session | undefined;
  /** Opened since the start. */
  sessionCount: number;
  violations: number;
}

function sendEvent<T>(session: Session, event: EventKind<T>, value: T): void {
  const id = session.eventId;
  session.eventId = (id + 1) >>> 0;
  session.link?.send(encodeMessage(event.code, id, event.body, value));
}

function announce(session: Session, event: DeviceEvent): void {
  switch (event.kind) {
    case 'hung':
      sendEvent(session, events.hung, {});
      break;
    case 'gone':
      sendEvent(session, events.gone, {});
      break;
    case 'ready':
      sendEvent(session, events.ready, { afterMs: toUnsigned(event.afterMs, 32) });
      break;
    case 'rail-fault':
      sendEvent(session, events.railFault, {
        rail: event.rail,
        milliamps: toUnsigned(event.milliamps, 16),
        millivolts: toUnsigned(event.millivolts, 16),
        fault: railFaults[event.fault],
      });
      break;
    case 'over-temperature':
      sendEvent(session, events.overTemperature, {
        temperature: deciCelsius(event.celsius),
        action: heatActions[event.action],
      });
      break;
    case 'resting':
      sendEvent(session, events.resting, { restMs: toUnsigned(event.restMs, 32) });
      break;
    case 'stepped-down':
      sendEvent(session, events.steppedDown, { stage: event.stage });
      break;
  }
}

function deciCelsius(celsius: number | undefined): number {
  if (celsius === undefined) return notMeasured.temperature;
  return Math.min(32_767, Math.max(-32_767, Math.round(celsius * 10)));
}

function railOf(rail: { readonly millivolts: number; readonly milliamps: number } | undefined) {
  if (!rail) return { millivolts: notMeasured.rail, milliamps: notMeasured.rail };
  const limited = (value: number) => Math.min(toUnsigned(value, 16), notMeasured.rail - 1);
  return { millivolts: limited(rail.millivolts), milliamps: limited(rail.milliamps) };
}

function statusOf(state: State, session: Session): ResponseOf<Commands['status']> {
  const status = state.device.status();
  const rail5 = railOf(status.rail5);
  const rail12 = railOf(status.rail12);
  const linkDiscards = Object.values(session.link?.discarded ?? {});
  return {
    powerState: powerStates[status.powerState],
    driveBusy: status.driveBusy ? 1 : 0,
    temperature: deciCelsius(status.temperatureCelsius),
    rail5Millivolts: rail5.millivolts,
    rail5Milliamps: rail5.milliamps,
    rail12Millivolts: rail12.millivolts,
    rail12Milliamps: rail12.milliamps,
    uptimeMs: toUnsigned(status.uptimeMs, 53),
    readIdNext: session.reads.idNext,
    readIdDone: session.reads.sentBelow,
    powerCycles: toUnsigned(status.powerCycles, 32),
    framesDiscarded: toUnsigned(
      linkDiscards.reduce((sum, count) => sum + count, 0),
      32,
    ),
    quietMs:
      status.quietMs === undefined
        ? notMeasured.quietMs
        : Math.min(toUnsigned(status.quietMs, 32), notMeasured.quietMs - 1),
  };
}

/** C-6. Throws ReplyError for what the device does not offer. */
function needCapability(device: ImagerDevice, name: keyof Commands, request: unknown): void {
  const bit = capabilityFor(name, request);
  if (bit !== undefined && (device.capabilities & capabilityBits[bit]) === 0) {
    throw new ReplyError('unsupported', `this imager has no ${bit}`);
  }
}

/** The name of a wire value, or a refusal. */
function nameOf<T extends string>(names: Readonly<Record<T, number>>, value: number): T {
  const found = (Object.keys(names) as T[]).find((name) => names[name] === value);
  if (found === undefined) throw new ReplyError('malformed', `${value} has no meaning here`);
  return found;
}

/** Reads that were to follow must not run into a drive whose state changed under them. */
function stopReads(session: Session): Promise<void> {
  return session.reads.abort(session.reads.idNext);
}

function createHandlers(state: () => State, device: ImagerDevice): Handlers {
  const lane: Lane = (work) => state().lane(work);
  return {
    identify(_request) {
      return lane(() => device.identify());
    },
    async resend(request, session) {
      if (session.resendsWaiting >= resendsWaitingMax) throw new ReplyError('busy', 'resending');
      session.resendsWaiting++;
      try {
        await session.resendLane(() => session.reads.resend(request));
      } finally {
        session.resendsWaiting--;
      }
      return {};
    },
    async abort({ readIdBelow }, session) {
      await session.reads.abort(readIdBelow);
      return {};
    },
    async reset(request, session) {
      const kind = nameOf(resetKinds, request.kind);
      await stopReads(session);
      await device.reset(kind);
      return {};
    },
    async power({ action, offMs, standbyFirst }, session) {
      const name = nameOf(powerActions, action);
      if (name !== 'on') await stopReads(session);
      const powerState = await device.power(name, offMs, standbyFirst !== 0);
      return { powerState: powerStates[powerState] };
    },
    async park(request) {
      const kind = nameOf(parkKinds, request.kind);
      await lane(() => device.park(kind));
      return {};
    },
    async throttle(request) {
      await device.throttle(request);
      return {};
    },
    status: async (_request, session) => statusOf(state(), session),
    passthrough: (request, session) => passThrough(device, lane, request, session),
    async watchdog(request) {
      await device.watchdog(request);
      return {};
    },
    async limits(request) {
      return wireLimits(await device.limits(wantedLimits(request)));
    },
  };
}

function wantedLimits(request: RequestOf<Commands['limits']>): Partial<DeviceLimits> {
  const whole = (value: number) => (value === 0 ? undefined : value);
  const celsius = (value: number) => (value === notMeasured.temperature ? undefined : value / 10);
  return {
    rail5MilliampsMax: whole(request.rail5MilliampsMax),
    rail12MilliampsMax: whole(request.rail12MilliampsMax),
    blankingMs: whole(request.blankingMs),
    parkCelsius: celsius(request.parkTemperature),
    offCelsius: celsius(request.offTemperature),
  };
}

function wireLimits(limits: DeviceLimits): ResponseOf<Commands['limits']> {
  return {
    rail5MilliampsMax: toUnsigned(limits.rail5MilliampsMax ?? 0, 16),
    rail12MilliampsMax: toUnsigned(limits.rail12MilliampsMax ?? 0, 16),
    blankingMs: toUnsigned(limits.blankingMs ?? 0, 16),
    parkTemperature: deciCelsius(limits.parkCelsius),
    offTemperature: deciCelsius(limits.offCelsius),
  };
}

async function passThrough(
  device: ImagerDevice,
  lane: Lane,
  request: RequestOf<Commands['passthrough']>,
  session: Session,
): Promise<ResponseOf<Commands['passthrough']>> {
  const verdict = judgeReadOnly(request.cdb);
  if (!verdict.allowed) throw new ReplyError('refused', verdict.reason);
  const none = new Uint8Array();
  const empty = { ...noPassthrough, sense: none, data: none };
  const emptyBytes = headerBytes + 1 + commands.passthrough.response.size(empty);
  const room = Math.min(session.frameBytesMax - emptyBytes - senseBytesMax, bytesMax);
  if (request.lengthMax > room) throw new ReplyError('limit', `at most ${room} bytes`);
  const result = await lane(() => device.passthrough(request));
  return {
    outcome: scsiOutcomes[result.outcome],
    scsiStatus: toUnsigned(result.scsiStatus, 8),
    sense: result.sense.subarray(0, senseBytesMax),
    data: result.data.subarray(0, request.lengthMax),
    elapsedMicros: toUnsigned(result.elapsedMicros, 53),
  };
}

const noPassthrough = { outcome: 0, scsiStatus: 0, elapsedMicros: 0 };
/** SPC-4: sense data is no longer than this. */
const senseBytesMax = 252;

const namesByCode = new Map<number, keyof Commands>(
  Object.entries(commands).map(([name, command]) => [command.code, name as keyof Commands]),
);

function violation(state: State): void {
  state.violations++;
}

function receive(state: State, link: Link, message: Uint8Array): void {
  let header: Header;
  try {
    header = decodeHeader(message);
  } catch {
    violation(state);
    return;
  }
  const { code, id } = header;
  // Responses and events are the device's to send: here they are an echo of it.
  if (code === 0 || code >= events.data.code) {
    violation(state);
    return;
  }
  const name = namesByCode.get(code);
  const { session } = state;
  if (name === 'hello') {
    answerHello(state, link, header);
    return;
  }
  if (!session || session.link !== link) {
    link.send(encodeRefusal(code, id, 'helloFirst', 'no session on this link'));
    return;
  }
  heard(state, session);
  if (name === undefined) {
    link.send(encodeRefusal(code, id, 'unknownCommand', `command ${code}`));
  } else if (name === 'read') {
    receiveRead(state, link, session, header);
  } else {
    void answer(state, session, name, header);
  }
}

function heard(state: State, session: Session): void {
  session.heardAtMs = state.clock.now();
  state.device.heard();
}

/** The value of a body, or undefined where it is too short. */
function decodeBody<T>(body: Reader, codec: Codec<T>): T | undefined {
  try {
    return codec.read(body);
  } catch (error) {
    if (error instanceof MalformedMessage) return undefined;
    throw error;
  }
}

function receiveRead(state: State, link: Link, session: Session, { code, id, body }: Header): void {
  if ((state.device.capabilities & capabilityBits.read) === 0) {
    link.send(encodeRefusal(code, id, 'unsupported', 'this imager has no read'));
    return;
  }
  const request = decodeBody(body, commands.read.request);
  if (request) session.reads.accept(id, request);
  else session.reads.acceptMalformed(id);
}

function answerHello(state: State, link: Link, { code, id, body }: Header): void {
  const { device } = state;
  const request = decodeBody(body, commands.hello.request);
  const refusal = request
    ? (refusalOfHello(request) ?? refusalOfSecondClient(state, link, request.session))
    : new ReplyError('malformed', 'cut short');
  if (!request || refusal) {
    if (refusal) link.send(encodeRefusal(code, id, refusal.reply, refusal.message));
    return;
  }
  const session = openSession(state, link, {
    number: request.session,
    frameBytesMax: Math.min(request.frameBytesMax, device.frameBytesMax),
  });
  heard(state, session);
  link.send(
    encodeOk(code, id, commands.hello.response, {
      ...protocolVersion,
      capabilities: device.capabilities >>> 0,
      frameBytesMax: session.frameBytesMax,
      bufferBytes: device.bufferBytes,
      requestsMax: device.requestsMax,
      readCountMax: device.readCountMax,
      readIdNext: session.reads.idNext,
      bootId: device.bootId >>> 0,
      firmware: device.firmware,
      commandsMax: device.commandsMax,
      bootCause: bootCauses[device.bootCause],
      sessionCount: state.sessionCount,
    }),
  );
  session.reads.sendTo(link);
}

function refusalOfHello(request: RequestOf<Commands['hello']>): ReplyError | undefined {
  if (request.magic !== helloMagic) return new ReplyError('malformed', 'not a HELLO');
  const { major, minor } = protocolVersion;
  if (request.major !== major) {
    return new ReplyError('version', `this imager speaks version ${major}.${minor}`);
  }
  if (request.frameBytesMax < frameBytesMin) {
    return new ReplyError('limit', `messages of ${frameBytesMin} bytes must fit`);
  }
  return undefined;
}

/** H-7: a second program must not disturb a job that is alive. */
function refusalOfSecondClient(
  { session, clock }: State,
  link: Link,
  number: number,
): ReplyError | undefined {
  if (!session?.link || session.link === link || session.number === number) return undefined;
  if (clock.now() - session.heardAtMs >= sessionLiveMs) return undefined;
  return new ReplyError('busy', 'another program uses this imager');
}

/** The session of that number: the one there is, on a new link (H-6), or a new one in its place
 * (H-7). */
function openSession(
  state: State,
  link: Link,
  { number, frameBytesMax }: Pick<Session, 'number' | 'frameBytesMax'>,
): Session {
  const current = state.session;
  if (current?.number === number && current.frameBytesMax === frameBytesMax) {
    current.link = link;
    return current;
  }
  if (current) {
    current.reads.retire();
    // Its late answers would be taken for the new session's.
    current.link = undefined;
  }
  const session: Session = {
    number,
    frameBytesMax,
    link,
    resendLane: createLane(),
    resendsWaiting: 0,
    eventId: 0,
    answered: new Map(),
    forgottenId: 0,
    heardAtMs: state.clock.now(),
    reads: createReadQueue({
      device: state.device,
      lane: state.lane,
      frameBytesMax,
      now: state.clock.now,
      violation: () => violation(state),
      sayGap: (readIdNext) => sendEvent(session, events.gap, { readIdNext }),
    }),
  };
  state.session = session;
  state.sessionCount = (state.sessionCount + 1) >>> 0;
  return session;
}

/** Does a command once, however often its request arrives (C-2 to C-4). */
async function answer(
  state: State,
  session: Session,
  name: keyof Handlers,
  header: Header,
): Promise<void> {
  const { id } = header;
  // C-4: a status changes nothing and is worth more fresh; it takes no room in the memory.
  if (name === 'status') {
    const response = await perform(state, session, name, header);
    session.link?.send(response);
    return;
  }
  if (session.answered.has(id)) {
    const response = session.answered.get(id);
    if (response) session.link?.send(response);
    return;
  }
  if (id <= session.forgottenId) {
    violation(state);
    return;
  }
  session.answered.set(id, undefined);
  const response = await perform(state, session, name, header);
  session.answered.set(id, response);
  forgetOldest(session, state.device.commandsMax);
  session.link?.send(response);
}

/** Forgets by id, not by arrival: on a line that reorders, what came last may be the oldest. */
function forgetOldest(session: Session, commandsMax: number): void {
  const done = [...session.answered].filter(([, response]) => response !== undefined);
  const tooMany = session.answered.size - commandsMax;
  if (tooMany <= 0) return;
  const ids = done.map(([id]) => id).sort((a, b) => a - b);
  for (const id of ids.slice(0, tooMany)) {
    session.answered.delete(id);
    session.forgottenId = Math.max(session.forgottenId, id);
  }
}

async function perform(
  state: State,
  session: Session,
  name: keyof Handlers,
  { code, id, body }: Header,
): Promise<Uint8Array> {
  // The table ties each handler to its codecs; TypeScript cannot follow that through a name.
  const command = commands[name] as unknown as Command<unknown, unknown>;
  const handler = state.handlers[name] as (request: unknown, of: Session) => Promise<unknown>;
  const request = decodeBody(body, command.request);
  if (request === undefined) return encodeRefusal(code, id, 'malformed', `a ${name} cut short`);
  try {
    needCapability(state.device, name, request);
    const value = await handler(request, session);
    const response = encodeOk(code, id, command.response, value);
    if (response.length <= session.frameBytesMax) return response;
    return encodeRefusal(code, id, 'limit', `the answer has ${response.length} bytes`);
  } catch (error) {
    if (error instanceof ReplyError) return encodeRefusal(code, id, error.reply, error.message);
    throw error;
  }
}

/** The device end of the protocol. It outlives its links: what a laptop had asked for when its link
 * dropped is still there when it comes back with the same session number. Takes over
 * `device.onEvent`. */
export function createResponder(device: ImagerDevice, clock: Clock): Responder {
  const state: State = {
    device,
    clock,
    lane: createLane(),
    handlers: createHandlers(() => state, device),
    session: undefined,
    sessionCount: 0,
    violations: 0,
  };
  device.onEvent = (event) => {
    const { session } = state;
    if (!session) return;
    // W-2: a laptop that fell silent must find its reads stopped, not done.
    if (event.kind === 'stepped-down') session.reads.stopWaiting();
    announce(session, event);
  };
  return {
    attach(link) {
      link.onMessage((message) => receive(state, link, message));
      link.onClose(() => {
        const { session } = state;
        if (session?.link !== link) return;
        session.link = undefined;
        session.reads.sendTo(undefined);
      });
    },
    get violations() {
      return state.violations;
    },
    forget() {
      state.session?.reads.retire();
      state.session = undefined;
      state.lane = createLane();
    },
  };
}

/** `createResponder`, attached to its first link. */
export function serveImager(link: Link, device: ImagerDevice, clock: Clock): Responder {
  const responder = createResponder(device, clock);
  responder.attach(link);
  return responder;
}
