import { expect, test } from 'vitest';
import { createCaller } from '../../firmware-protocol/caller.js';
import {
  capabilityBits,
  commands,
  helloMagic,
  protocolVersion,
} from '../../firmware-protocol/commands.js';
import { encodeOk, encodeRefusal } from '../../firmware-protocol/message.js';
import { serveImager } from '../../firmware-protocol/responder.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { createFakeImager, createLine } from './fake-imager.js';

const ok = {
  ...protocolVersion,
  capabilities: capabilityBits.read,
  frameBytesMax: 1024,
  bufferBytes: 4096,
  requestsMax: 1,
  readCountMax: 1,
  readIdNext: 0,
  bootId: 1,
  firmware: '',
  commandsMax: 16,
  bootCause: 1,
  sessionCount: 1,
};

/** What opening ends with when the other end answers each message with `answer`. */
async function openAgainst(answer: (message: Uint8Array) => Uint8Array | undefined) {
  const clock = createVirtualClock();
  const line = createLine(clock);
  line.device.onMessage((message) => {
    const reply = answer(message);
    if (reply) line.device.send(reply);
  });
  const error = await clock
    .run(createCaller(line.laptop, clock, { session: 1, name: 'serial:/dev/ttyX' }))
    .then(
      (caller) => caller.close(),
      (reason: unknown) => reason,
    );
  return { error, elapsedMs: clock.now() };
}

const hello = (change: Partial<Record<Exclude<keyof typeof ok, 'firmware'>, number>>, id: number) =>
  encodeOk(commands.hello.code, id, commands.hello.response, { ...ok, ...change });
const idOf = (message: Uint8Array) => new DataView(message.buffer).getUint32(1, true);

test('a port that says nothing is no imager after three seconds', async () => {
  const { error, elapsedMs } = await openAgainst(() => undefined);
  expect(error).toMatchObject({
    code: 'NOT_AN_IMAGER',
    message: 'serial:/dev/ttyX is no imager: it does not answer',
  });
  expect(elapsedMs).toBe(3000);
});

test('a port that echoes is no imager, and the message says so', async () => {
  const { error } = await openAgainst((message) => message);
  expect(error).toMatchObject({
    code: 'NOT_AN_IMAGER',
    message: 'serial:/dev/ttyX is no imager: it only sends back what it is sent',
  });
});

test('an imager of another major version is PROTOCOL_VERSION, however it says so', async () => {
  const refusal = await openAgainst((message) =>
    encodeRefusal(commands.hello.code, idOf(message), 'version', 'this imager speaks version 2.0'),
  );
  const grant = await openAgainst((message) => hello({ major: 2 }, idOf(message)));
  for (const { error } of [refusal, grant]) {
    expect(error).toMatchObject({ code: 'PROTOCOL_VERSION' });
    expect((error as Error).message).toContain('version 2.0');
    expect((error as Error).message).not.toContain('\n');
  }
});

test('the imager refuses a laptop of another major version', async () => {
  const clock = createVirtualClock();
  const line = createLine(clock);
  serveImager(line.device, createFakeImager(clock), clock);
  const replies: Uint8Array[] = [];
  line.laptop.onMessage((message) => replies.push(message));
  const request = { magic: helloMagic, major: 2, minor: 0, frameBytesMax: 1024, session: 1 };
  const message = new Uint8Array(5 + commands.hello.request.size(request));
  message[0] = commands.hello.code;
  commands.hello.request.write(new DataView(message.buffer), 5, request);
  line.laptop.send(message);
  await clock.advance(10);
  expect(replies[0]?.[5]).toBe(8);
});

test.each([
  ['messages longer than ours', { frameBytesMax: 1_000_000 }],
  ['messages too short for anything', { frameBytesMax: 16 }],
  ['no request at all', { requestsMax: 0 }],
  ['no room for data', { bufferBytes: 0 }],
])('an imager that agrees to %s is refused', async (_name, change) => {
  const { error } = await openAgainst((message) => hello(change, idOf(message)));
  expect(error).toMatchObject({ code: 'NOT_AN_IMAGER' });
});

test('an imager that only switches power needs no room for reads', async () => {
  const change = { capabilities: capabilityBits.power, requestsMax: 0, bufferBytes: 0 };
  const { error } = await openAgainst((message) => hello(change, idOf(message)));
  expect(error).toBeUndefined();
});

test('whatever an imager claims to hold, the laptop keeps to its own limits', async () => {
  const clock = createVirtualClock();
  const line = createLine(clock);
  const huge = { bufferBytes: 0xffff_ffff, requestsMax: 0xffff, readCountMax: 0xffff_ffff };
  line.device.onMessage((message) => line.device.send(hello(huge, idOf(message))));
  const caller = await clock.run(createCaller(line.laptop, clock, { session: 1 }));
  expect(caller.agreed.bufferBytes).toBeLessThanOrEqual(64 * 1024 * 1024);
  expect(caller.agreed.requestsMax).toBeLessThanOrEqual(256);
  caller.close();
});
