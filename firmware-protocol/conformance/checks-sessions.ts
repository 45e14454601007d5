/** Clauses H, C and E: sessions, control commands and events. */
import { commands, frameBytesMin, powerStates, replyCodes } from '../commands.js';
import { encodeFrame } from '../frame.js';
import type { Bench } from './bench.js';
import type { Check } from './check.js';
import { bareMessage, unknownCode } from './checks-frames.js';
import { idleRequests } from './checks-messages.js';
import {
  type CommandName,
  type Message,
  type Response,
  type ResponseOf,
  replyName,
} from './messages.js';
import { silence, type Talk } from './talk.js';
import { CheckFailed, hex, must, notSeen } from './verdict.js';
import { ownFrameBytesMax } from './wire.js';

type Hello = ResponseOf<'hello'>;

const told = (answer: Response | undefined, talk: Talk) =>
  answer ? `${replyName(answer.reply)} '${answer.reason}'` : silence(talk.wire, 3000);

/** The answer to a HELLO, which must be `ok`. */
async function welcomed(talk: Talk, wants: string, change = {}): Promise<Hello> {
  const answer = await talk.sayHello(change);
  must(answer?.reply === replyCodes.ok, wants, told(answer, talk));
  return answer?.value as Hello;
}

const isDown = (state: number) => state === powerStates.off || state === powerStates.cooling;

/** A switch-on and a switch-off behind each other: repeating the first shows whether it is done
 * again. */
async function onThenOff(talk: Talk): Promise<{ id: number; powerState: number }> {
  const id = talk.commandId;
  const { powerState } = await talk.ok('power', { action: 1, offMs: 0, standbyFirst: 0 });
  await talk.ok('power', { action: 0, offMs: 0, standbyFirst: 0 });
  return { id, powerState };
}

/** Sends the switch-on of `onThenOff` once more; what it is answered. */
async function repeatOn(talk: Talk, id: number, withinMs: number): Promise<Response | undefined> {
  talk.sendRaw(talk.encode('power', { action: 1, offMs: 0, standbyFirst: 0 }, { id }));
  return talk.answer('power', id, withinMs);
}

async function mustBeDown(bench: Bench, wants: string): Promise<void> {
  await bench.clock.sleep(400);
  const { powerState } = await bench.talk.status();
  must(isDown(powerState), wants, `power state ${powerState}`);
}

// HELLO

async function helloInTime({ talk, clock }: Bench): Promise<undefined> {
  for (let times = 0; times < 3; times++) {
    const sentAtMs = clock.now();
    const answer = await talk.sayHello({}, 3000);
    must(answer?.reply === 0, 'HELLO is answered within 3 s', told(answer, talk));
    must(clock.now() - sentAtMs <= 3000, 'HELLO is answered within 3 s', 'later');
  }
}

async function agreedLength(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const own = bench.hello.frameBytesMax;
  must(own >= frameBytesMin, 'frameBytesMax is at least 256', `${own}`);
  for (const frameBytesMax of [0, frameBytesMin - 1]) {
    const answer = await talk.sayHello({ frameBytesMax });
    const wants = `messages of ${frameBytesMax} bytes are refused with limit`;
    must(answer?.reply === replyCodes.limit, wants, told(answer, talk));
  }
  for (const frameBytesMax of [frameBytesMin, frameBytesMin + 44, ownFrameBytesMax]) {
    const session = (talk.session + frameBytesMax) >>> 0;
    const hello = await welcomed(talk, 'HELLO is taken', { frameBytesMax, session });
    const wants = `frameBytesMax is the smaller of ${frameBytesMax} and ${own}`;
    must(hello.frameBytesMax === Math.min(frameBytesMax, own), wants, `${hello.frameBytesMax}`);
    if (frameBytesMax > 256 || !bench.can('read')) continue;
    const count = Math.min(8, bench.hello.readCountMax);
    // The wire says so when anything longer comes.
    await talk.needResult(talk.read({ count, timeoutMs: 30_000 }), 40_000);
  }
}

async function newSessionForgets(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  talk.commandId = 1000;
  const name = idleCommand(bench);
  if (bench.can('read')) await talk.needResult(talk.read({ count: 0 }));
  await talk.ok(name, idleRequests[name] as never);
  const next = await bench.fresh();
  const hello = await welcomed(next, 'a HELLO with another number is taken on the same link');
  must(
    hello.readIdNext === 0,
    'a new session begins with read 0',
    `readIdNext ${hello.readIdNext}`,
  );
  for (const id of [5, 1000]) {
    const message = next.encode(name, idleRequests[name] as never, { id }).subarray(0, 5);
    next.sendRaw(message);
    const answer = await next.answer(name, id);
    const wants = `command ${id} of a new session is a new one, whatever ${id} was before`;
    must(answer?.reply === replyCodes.malformed, wants, told(answer, next));
  }
}

/** A command that is offered and does nothing, with fields. */
function idleCommand(bench: Bench): 'power' | 'watchdog' | 'throttle' | 'limits' {
  const names = ['power', 'watchdog', 'throttle', 'limits'] as const;
  return names.find((name) => bench.can(name)) ?? notSeen('it offers no command that does nothing');
}

async function sessionGoesOn(bench: Bench): Promise<string | undefined> {
  const { talk } = bench;
  let reads = 0;
  if (bench.can('read')) {
    await talk.needResult(talk.read({ count: 0 }));
    reads = 1;
  }
  const id = bench.can('power') ? (await onThenOff(talk)).id : undefined;
  const goesOn = async (on: Talk, where: string) => {
    const hello = await welcomed(on, `HELLO with the same number ${where} is taken`);
    must(hello.readIdNext === reads, `reads go on ${where}`, `readIdNext ${hello.readIdNext}`);
    const came = `${bench.hello.bootId} became ${hello.bootId}`;
    must(hello.bootId === bench.hello.bootId, 'bootId stays without a restart', came);
    if (id === undefined) return;
    const answer = await repeatOn(on, id, 2000);
    must(answer?.reply === 0, `responses are still remembered ${where}`, told(answer, on));
    await mustBeDown(bench, `a command that was done is not done again ${where}`);
  };
  await goesOn(talk, 'on the same link');
  if (!bench.target.reopens) return 'the link cannot be opened again: only seen on the same link';
  await goesOn(await bench.reopen(talk), 'on a new link');
  return undefined;
}

async function takesOverWhenClosed(bench: Bench): Promise<undefined> {
  await bench.talk.status();
  const next = await bench.reopen();
  await welcomed(next, 'another session takes over at once when the link has closed');
}

async function secondClient(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const other = await bench.link();
  const first = await other.sayHello();
  const busy = 'HELLO on a second link is answered busy while a session is alive';
  must(first?.reply === replyCodes.busy, busy, told(first, other));
  await talk.status();
  await clock.sleep(4000);
  const second = await other.sayHello();
  must(
    second?.reply === replyCodes.busy,
    `${busy}, also after 4 s of silence`,
    told(second, other),
  );
  // Said at 4 s of the first session's silence; waits are its clock's, so 10 % more.
  await clock.sleep(1500 + bench.late(500));
  await welcomed(other, 'a second link takes over after 5 s of silence');
  talk.send('status', {});
  const answer = await talk.answer('status', talk.commandId - 1);
  const wants = 'what comes on the old link is answered helloFirst';
  must(answer?.reply === replyCodes.helloFirst, wants, told(answer, talk));
}

async function helloFirst(bench: Bench): Promise<undefined> {
  const talk = await bench.reopen();
  const names = Object.keys(idleRequests) as (keyof typeof idleRequests)[];
  for (const name of names) {
    const id = talk.commandId++;
    talk.sendRaw(talk.encode(name as CommandName, idleRequests[name] as never, { id }));
    const answer = await talk.answer(name, id, 3000);
    const wants = `${name} on a link without a session is answered helloFirst`;
    must(answer?.reply === replyCodes.helloFirst, wants, told(answer, talk));
  }
  const id = talk.commandId++;
  talk.sendRaw(bareMessage(unknownCode, id));
  const isAnswer = (m: Message) => m.kind === 'response' && m.id === id;
  const answer = (await talk.wire.next(isAnswer, 3000)) as Response | undefined;
  const wants = 'an unknown request on a link without a session is answered helloFirst';
  must(answer?.reply === replyCodes.helloFirst, wants, told(answer, talk));
}

async function helloLeavesPower(bench: Bench): Promise<string | undefined> {
  const { talk } = bench;
  const before = await talk.status();
  await talk.sayHello({ magic: 7 });
  await talk.sayHello({ major: 3 });
  await talk.sayHello({ frameBytesMax: 1 });
  await talk.sayHello();
  const next = await bench.fresh();
  await next.sayHello();
  const same = async (on: Talk, what: string) => {
    await bench.clock.sleep(300);
    const after = await on.status();
    const kept =
      isDown(after.powerState) === isDown(before.powerState) &&
      after.powerCycles === before.powerCycles;
    const came = `state ${before.powerState}, ${before.powerCycles} cycles became ${after.powerState}, ${after.powerCycles}`;
    must(kept, `${what} moves no rail`, came);
  };
  await same(next, 'HELLO');
  if (!bench.target.reopens) return 'the link cannot be opened again: its end was not tried';
  const reopened = await bench.reopen();
  await reopened.sayHello();
  await same(reopened, 'the end of a link');
  return undefined;
}

// Control commands

async function idsSkip(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const name = idleCommand(bench);
  for (const id of [10, 11, 5000, 0x7000_0000]) {
    const answer = await talk.ask(name, idleRequests[name] as never, { id });
    must(answer.reply === 0, `command ${id} is done: ids may skip`, told(answer, talk));
  }
}

async function doneOnce(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const { id, powerState } = await onThenOff(talk);
  const answer = await repeatOn(talk, id, 2000);
  must(answer?.reply === 0, 'the response to a copy is the remembered one', told(answer, talk));
  const again = (answer?.value as ResponseOf<'power'>).powerState;
  const wants = `the response to a copy is the remembered one, with state ${powerState}`;
  must(again === powerState, wants, `state ${again}`);
  await mustBeDown(bench, 'a copy of a command that was done is not done');
  for (let count = 0; count <= bench.hello.commandsMax; count++) {
    await talk.ok('power', idleRequests.power);
  }
  await repeatOn(talk, id, 500);
  await mustBeDown(bench, 'a copy of a command that was forgotten is not done');
}

async function statusIsFresh(bench: Bench): Promise<string | undefined> {
  const { talk, clock } = bench;
  const uptime = async () => {
    talk.sendRaw(bareMessage(commands.status.code, 77));
    const answer = await talk.answer('status', 77);
    must(answer?.reply === 0, 'a status with an id used before is answered', told(answer, talk));
    return (answer?.value as ResponseOf<'status'>).uptimeMs;
  };
  const first = await uptime();
  await clock.sleep(200);
  const second = await uptime();
  must(second > first, 'status is answered anew', `uptimeMs ${first} became ${second}`);
  if (!bench.can('power')) return 'no power: its room in the memory was not tried';
  await bench.rails('off');
  const { id } = await onThenOff(talk);
  for (let count = 0; count < 40; count++) await talk.status();
  const answer = await repeatOn(talk, id, 2000);
  must(answer?.reply === 0, 'forty statuses take no room in the memory', told(answer, talk));
  return undefined;
}

async function burst(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const name = idleCommand(bench);
  const { commandsMax, requestsMax, readCountMax } = bench.hello;
  must(commandsMax >= 1 && commandsMax <= 16, 'commandsMax is 1 to 16', `${commandsMax}`);
  const messages: Uint8Array[] = [];
  const ids = Array.from({ length: commandsMax }, () => talk.commandId++);
  for (const id of ids) messages.push(talk.encode(name, idleRequests[name] as never, { id }));
  const room = Math.floor(bench.hello.bufferBytes / (bench.drive()?.sectorBytes ?? 512));
  const reads = bench.can('read') ? Math.min(requestsMax, room) : 0;
  for (let id = 0; id < reads; id++) {
    const read = { ...idleRequests.read, batch: id, count: Math.min(1, readCountMax) };
    messages.push(talk.encode('read', read, { id }));
  }
  const statuses = [talk.commandId++, talk.commandId++];
  for (const id of statuses) messages.push(bareMessage(commands.status.code, id));
  for (const message of messages) talk.note(message);
  talk.wire.write(Buffer.concat(messages.map((message) => encodeFrame(message))));
  const all = `${commandsMax} commands, ${reads} reads and two statuses without a pause`;
  for (const id of ids) {
    must(
      (await talk.answer(name, id)) !== undefined,
      `${all} are all taken`,
      `no answer to ${name} ${id}`,
    );
  }
  for (const id of statuses) {
    must(
      (await talk.answer('status', id)) !== undefined,
      `${all} are all taken`,
      'a status was lost',
    );
  }
  for (let id = 0; id < reads; id++) {
    must((await talk.result(id)) !== undefined, `${all} are all taken`, `no answer to read ${id}`);
  }
}

async function driveTakesTurns(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const { requestsMax, readCountMax, bufferBytes } = bench.hello;
  const sectorBytes = bench.drive()?.sectorBytes ?? 512;
  const reads = Math.min(8, requestsMax);
  const count = Math.min(256, readCountMax, Math.floor(bufferBytes / sectorBytes / reads));
  if (reads < 3 || count < 1) notSeen(`it takes only ${reads} reads at a time`);
  const messages = Array.from({ length: reads }, (_, id) =>
    talk.encode(
      'read',
      { ...idleRequests.read, count, timeoutMs: 10_000, lba: id * count },
      { id },
    ),
  );
  const identify = talk.commandId++;
  messages.push(bareMessage(commands.identify.code, identify));
  for (const message of messages) talk.note(message);
  talk.wire.write(Buffer.concat(messages.map((message) => encodeFrame(message))));
  const isEnd = (m: Message) =>
    m.kind === 'response' && (m.name === 'identify' || (m.name === 'read' && m.id === reads - 1));
  const first = await talk.wire.next(isEnd, 30_000);
  const wants = 'identify is done before reads that wait';
  must(
    first?.kind === 'response' && first.name === 'identify',
    wants,
    first ? hex(first.raw) : 'nothing',
  );
  must(
    (await talk.wire.next(isEnd, 60_000)) !== undefined,
    'the reads are answered too',
    'nothing',
  );
}

async function eventsOnce(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const isEvent = (m: Message) => m.kind === 'event' && m.name !== 'data' && m.name !== 'fill';
  if (bench.can('read')) {
    for (let times = 0; times < 3; times++) {
      talk.read({}, 5);
      await clock.sleep(300);
    }
  } else if (bench.can('watchdog')) {
    const never = { unloadMs: 0, standbyMs: 0, offMs: 0 };
    await talk.ok('watchdog', { ...never, stopReadsMs: 300, offMs: 600 });
    await clock.sleep(1000);
    await talk.ok('watchdog', idleRequests.watchdog);
  } else notSeen('nothing that it offers brings an event');
  const ids = talk.wire.take(isEvent).map(({ id }) => id);
  const rises = ids.every((id, index) => index === 0 || id > ids[index - 1]!);
  if (!rises) throw new CheckFailed('the ids of events count them', `ids ${ids.join(', ')}`);
  if (ids.length === 0) notSeen('no event came');
}

export const sessionChecks: readonly Check[] = [
  {
    clauses: ['H-1'],
    title: 'HELLO is answered within three seconds, also when it is repeated',
    how: 'three HELLOs',
    run: helloInTime,
  },
  {
    clauses: ['H-4'],
    title: 'Both ends keep the smaller limit',
    rails: 'on',
    how: 'HELLOs that take 0, 255, 256, 300 and many bytes; reads at 256',
    run: agreedLength,
  },
  {
    clauses: ['H-5', 'H-7'],
    title: 'A new session knows nothing of the last one',
    rails: 'off',
    how: 'ids that were used before, in a session with another number on the same link',
    run: newSessionForgets,
  },
  {
    clauses: ['H-6'],
    title: 'HELLO with the same number goes on with the session',
    rails: 'off',
    how: 'read ids and remembered responses, on the same link and on a new one',
    run: sessionGoesOn,
  },
  {
    clauses: ['H-7'],
    title: 'A closed link leaves its place at once',
    needs: ['tells-end', 'reopen'],
    how: 'close, open, HELLO with another number',
    run: takesOverWhenClosed,
  },
  {
    clauses: ['H-7'],
    title:
      'A second program is refused while the first is alive, and served 5 s after it fell silent',
    needs: ['second-link'],
    how: 'HELLO on a second link at once, after 4 s and after more than 5 s',
    run: secondClient,
  },
  {
    clauses: ['H-8'],
    title: 'Nothing is done without a session',
    needs: ['tells-end', 'reopen'],
    rails: 'off',
    how: 'every request on a new link before its HELLO',
    run: helloFirst,
  },
  {
    clauses: ['H-9'],
    title: 'HELLO and the end of a link leave the rails on',
    needs: ['power'],
    rails: 'on',
    how: 'five kinds of HELLO, and a link that closes, with the rails on',
    run: helloLeavesPower,
  },
  {
    clauses: ['H-9'],
    title: 'HELLO and the end of a link leave the rails off',
    needs: ['power'],
    rails: 'off',
    how: 'the same with the rails off',
    run: helloLeavesPower,
  },
  {
    clauses: ['C-1'],
    title: 'Ids of commands may skip',
    rails: 'off',
    how: 'ids 10, 11, 5000 and more',
    run: idsSkip,
  },
  {
    clauses: ['C-3'],
    title: 'A command is done once',
    needs: ['power'],
    rails: 'off',
    how: 'on, off, and a copy of the first; again when it is forgotten',
    run: doneOnce,
  },
  {
    clauses: ['C-4'],
    title: 'Status is answered anew and takes no room',
    how: 'one id twice; forty statuses between a command and its copy',
    run: statusIsFresh,
  },
  {
    clauses: ['C-5'],
    title: 'Identify is done between two reads',
    needs: ['drive', 'read', 'identify'],
    rails: 'on',
    how: 'eight reads and an identify in one write',
    run: driveTakesTurns,
  },
  {
    clauses: ['C-7'],
    title: 'All that may be unanswered is taken without a pause',
    rails: 'off',
    how: 'commandsMax commands, requestsMax reads and two statuses in one write',
    run: burst,
  },
  {
    clauses: ['E-1'],
    title: 'Events are sent once, and their ids count them',
    rails: 'off',
    how: 'gaps, or stages of the watchdog; every event of the whole run',
    run: eventsOnce,
  },
];
