/** Clauses M and V: messages and versions. */
import { capabilityFor, commands, replyCodes, responseBit } from '../commands.js';
import type { Bench } from './bench.js';
import type { Check } from './check.js';
import { bareMessage, someTraffic } from './checks-frames.js';
import { type CommandName, type Message, type Response, replyName } from './messages.js';
import { greeting, silence, type Talk } from './talk.js';
import { CheckFailed, must, notSeen } from './verdict.js';

async function traffic({ talk }: Bench): Promise<undefined> {
  await someTraffic(talk);
}

/** A request of every command that does nothing where it is done. */
export const idleRequests = {
  identify: {},
  read: {
    batch: 0,
    lba: 0,
    count: 1,
    timeoutMs: 1000,
    slowMs: 0,
    stopOn: 0,
    releaseBelow: 0,
  },
  resend: { readId: 0, offset: 0, length: 0 },
  abort: { readIdBelow: 0 },
  power: { action: 0, offMs: 0, standbyFirst: 0 },
  park: { kind: 1 },
  throttle: { bytesPerSecondMax: 0, restEveryMs: 0, restMs: 0 },
  passthrough: { timeoutMs: 1000, cdb: new Uint8Array(6), lengthMax: 0 },
  watchdog: greeting.hardDriveStages,
  limits: greeting.defaultLimits,
  reset: { kind: 1 },
  status: {},
} as const;

async function idsComeBack({ talk }: Bench): Promise<undefined> {
  for (const id of [0, 7, 0x8000_0000, 0xffff_ffff]) {
    talk.sendRaw(bareMessage(commands.status.code, id));
    const answer = await talk.answer('status', id);
    const wants = `a status with id ${id} is answered by code 0x8a with that id`;
    must(answer !== undefined, wants, silence(talk.wire, 5000));
  }
}

async function refusals({ talk }: Bench): Promise<undefined> {
  await talk.sayHello({ magic: 1 });
  await talk.sayHello({ major: 2 });
  await someTraffic(talk);
}

async function refusedDoesNothing(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const before = await talk.status();
  for (const request of [
    { action: 3, offMs: 0, standbyFirst: 0 },
    { action: 255, offMs: 0, standbyFirst: 0 },
  ]) {
    await talk.ask('power', request);
  }
  const short = talk.encode('power', { action: 1, offMs: 0, standbyFirst: 0 }).subarray(0, 6);
  talk.sendRaw(short);
  await talk.answer('power', talk.commandId++);
  await clock.sleep(300);
  const after = await talk.status();
  const came = `state ${before.powerState} became ${after.powerState}, ${before.powerCycles} power cycles ${after.powerCycles}`;
  const same = after.powerState === before.powerState && after.powerCycles === before.powerCycles;
  must(same, 'a request that is refused does nothing', came);
}

/** Sends a request and wants one of these replies. */
async function wantReply(
  talk: Talk,
  name: CommandName,
  message: Uint8Array,
  wanted: readonly (keyof typeof replyCodes)[],
  what: string,
): Promise<void> {
  talk.sendRaw(message);
  const id = new DataView(message.buffer, message.byteOffset).getUint32(1, true);
  const answer = await talk.answer(name, id);
  const came = answer ? replyName(answer.reply) : silence(talk.wire, 5000);
  const fits = wanted.some((reply) => replyCodes[reply] === answer?.reply);
  must(fits, `${what} is answered ${wanted.join(' or ')}`, came);
}

async function malformed(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const names = (Object.keys(idleRequests) as (keyof typeof idleRequests)[]).filter(
    (name) => name !== 'read' && Object.keys(idleRequests[name]).length > 0,
  );
  for (const name of names) {
    const message = talk.encode(name, idleRequests[name] as never);
    talk.commandId++;
    await wantReply(
      talk,
      name,
      message.subarray(0, -1),
      repliesTo(bench, name),
      `a ${name} cut short`,
    );
  }
  const hello = talk.encode('hello', {
    magic: 0x4e50_534c,
    major: 1,
    minor: 0,
    frameBytesMax: 4096,
    session: talk.session,
  });
  await wantReply(talk, 'hello', hello.subarray(0, -1), ['malformed'], 'a HELLO cut short');
  const meaningless = [
    ['power', { action: 3, offMs: 0, standbyFirst: 0 }],
    ['park', { kind: 0 }],
    ['park', { kind: 3 }],
    ['reset', { kind: 0 }],
    ['reset', { kind: 3 }],
  ] as const;
  for (const [name, request] of meaningless) {
    const message = talk.encode(name, request as never);
    talk.commandId++;
    await wantReply(talk, name, message, repliesTo(bench, name), `a ${name} without a meaning`);
  }
}

/** `unsupported` is right as well where the imager has no such command. */
function repliesTo(bench: Bench, name: CommandName): readonly (keyof typeof replyCodes)[] {
  const offered = canDo(bench, name, { kind: 1 }) && canDo(bench, name, { kind: 2 });
  return offered ? ['malformed'] : ['malformed', 'unsupported'];
}

/** Whether the imager says that it does such a request (C-6). */
function canDo(bench: Bench, name: CommandName, request: unknown): boolean {
  const capability = capabilityFor(name, request);
  return capability === undefined || bench.can(capability);
}

async function dropped({ talk }: Bench): Promise<undefined> {
  const id = 0x5eed_0002;
  for (const code of [0x00, 0x41, 0x7f, 0x87, 0x8a, 0xff]) talk.sendRaw(bareMessage(code, id));
  for (let length = 1; length < 5; length++) {
    talk.sendRaw(bareMessage(commands.status.code, id).subarray(0, length));
  }
  const wants = 'a message that is too short, or that only an imager sends, is not answered';
  await talk.quiet((m) => m.kind === 'response' && (m.id === id || m.name !== 'status'), wants);
}

async function laterMinor({ talk }: Bench): Promise<undefined> {
  for (const minor of [1, 200]) {
    const answer = await talk.sayHello({ minor });
    const came = answer ? replyName(answer.reply) : silence(talk.wire, 3000);
    must(answer?.reply === 0, `a laptop of version 1.${minor} is served`, came);
  }
}

async function laterFields(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const trailing = Uint8Array.of(1, 2, 3, 4, 5);
  const names = (['status', 'power', 'watchdog', 'throttle', 'limits'] as const).filter((name) =>
    canDo(bench, name, {}),
  );
  for (const name of names) {
    const answer = await talk.ask(name, idleRequests[name] as never, { trailing });
    const came = `${replyName(answer.reply)} '${answer.reason}'`;
    must(answer.reply === 0, `a ${name} with five bytes behind its fields is done`, came);
  }
}

async function unknownCodes({ talk }: Bench): Promise<undefined> {
  for (let code = 0x0e; code < 0x30; code++) {
    const id = talk.commandId++;
    talk.sendRaw(bareMessage(code, id));
    const isAnswer = (m: Message) =>
      m.kind === 'response' && m.id === id && m.code === (code | responseBit);
    const answer = (await talk.wire.next(isAnswer, 2000)) as Response | undefined;
    const came = answer ? replyName(answer.reply) : silence(talk.wire, 2000);
    const wants = `request code 0x${code.toString(16)} is answered unknownCommand`;
    must(answer?.reply === replyCodes.unknownCommand, wants, came);
  }
}

async function otherMajor({ talk }: Bench): Promise<undefined> {
  const answer = await talk.sayHello({ major: 2, minor: 7, frameBytesMax: 0, session: 0 });
  const came = answer ? replyName(answer.reply) : silence(talk.wire, 3000);
  const wants = 'a HELLO of version 2.7 is answered `version`, whatever its later fields say';
  must(answer?.reply === replyCodes.version, wants, came);
}

async function unsupported(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const names = Object.keys(idleRequests) as (keyof typeof idleRequests)[];
  const requests: readonly (readonly [CommandName, unknown])[] = [
    ...names.map((name) => [name, idleRequests[name]] as const),
    ['reset', { kind: 2 }],
  ];
  const lacking = requests.filter(([name, request]) => !canDo(bench, name, request));
  if (lacking.length === 0) notSeen('it offers every command');
  for (const [name, request] of lacking) {
    const id = name === 'read' ? talk.readId++ : talk.commandId++;
    await wantReply(talk, name, talk.encode(name, request as never, { id }), ['unsupported'], name);
  }
}

async function ownVersion({ talk }: Bench): Promise<undefined> {
  for (const major of [0, 2, 255]) {
    const answer = await talk.sayHello({ major });
    const came = answer
      ? `${replyName(answer.reply)} '${answer.reason}'`
      : silence(talk.wire, 3000);
    must(answer?.reply === replyCodes.version, `version ${major} is answered \`version\``, came);
    must(/\b1(\.\d+)?\b/.test(answer?.reason ?? ''), "and its text names the imager's own", came);
  }
}

async function otherMagic({ talk }: Bench): Promise<undefined> {
  for (const magic of [0, 0x4e50_534d, 0x4c53_504e]) {
    const answer = await talk.sayHello({ magic });
    if (!answer) throw new CheckFailed('a wrong magic is answered', silence(talk.wire, 3000));
    const wants = `magic 0x${magic.toString(16)} is answered malformed`;
    must(answer.reply === replyCodes.malformed, wants, replyName(answer.reply));
  }
}

export const messageChecks: readonly Check[] = [
  {
    clauses: ['M-1'],
    title: 'Numbers and texts are as they should be',
    how: 'every message of the whole run, by the tables',
    run: traffic,
  },
  {
    clauses: ['M-2'],
    title: 'A response has the code and the id of its request',
    how: 'status with the ids 0, 7, 2^31 and 2^32 - 1; every response of the whole run',
    run: idsComeBack,
  },
  {
    clauses: ['M-3'],
    title: 'A response is a reply code, then its fields',
    how: 'every response of the whole run',
    run: traffic,
  },
  {
    clauses: ['M-4'],
    title: 'A refusal says why, in at most 80 characters',
    how: 'HELLOs of another magic and version, an unknown request; every refusal of the whole run',
    run: refusals,
  },
  {
    clauses: ['M-4'],
    title: 'A request that is refused does nothing',
    needs: ['power'],
    rails: 'off',
    how: '`power` with actions that do not exist, and cut short; then the rails',
    run: refusedDoesNothing,
  },
  {
    clauses: ['M-5'],
    title: 'What is too short or has no meaning is malformed',
    rails: 'off',
    how: 'every request without its last byte; kinds and actions that do not exist',
    run: malformed,
  },
  {
    clauses: ['M-5'],
    title: 'What is no request is dropped',
    how: 'messages of one to four bytes, responses and events of its own',
    run: dropped,
  },
  {
    clauses: ['V-1'],
    title: 'A laptop of a later minor version is served',
    how: 'HELLO of 1.1 and of 1.200',
    run: laterMinor,
  },
  {
    clauses: ['V-2'],
    title: 'Bytes behind the last field are ignored',
    rails: 'off',
    how: 'requests with five bytes more',
    run: laterFields,
  },
  {
    clauses: ['V-3'],
    title: 'Unknown requests are answered unknownCommand',
    how: 'the codes 0x0e to 0x2f',
    run: unknownCodes,
  },
  {
    clauses: ['V-4'],
    title: 'A HELLO of another major version is known as one',
    how: 'a HELLO of 2.7 whose later fields make no sense in version 1',
    run: otherMajor,
  },
  {
    clauses: ['V-5'],
    title: 'No code and no bit without a meaning',
    how: 'every message of the whole run',
    run: traffic,
  },
  {
    clauses: ['H-2'],
    title: 'Another magic is malformed',
    how: 'three HELLOs',
    run: otherMagic,
  },
  {
    clauses: ['H-3'],
    title: 'Another major version is told the own one',
    how: 'HELLO of version 0, 2 and 255',
    run: ownVersion,
  },
  {
    clauses: ['C-6'],
    title: 'What is not offered is unsupported',
    rails: 'off',
    how: 'every command whose bit is not set',
    run: unsupported,
  },
];
