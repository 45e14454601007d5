import { type Duplex, duplexPair } from 'node:stream';
import { expect, test } from 'vitest';
import { encodeFrame } from '../../firmware-protocol/frame.js';
import { framedLink } from '../../firmware-protocol/link.js';

function pair() {
  return duplexPair() as [Duplex, Duplex];
}

/** Lets streams hand on what they hold. */
const turns = async () => {
  for (let count = 0; count < 20; count++) await new Promise((resolve) => setImmediate(resolve));
};

test('messages arrive whole and in order, those before the first receiver too', async () => {
  const [near, far] = pair();
  const sender = framedLink(near);
  const receiver = framedLink(far);
  const sent = [1, 2, 300, 0, 70].map((length) => new Uint8Array(1 + length).fill(length & 0xff));
  for (const message of sent) sender.send(message);
  await turns();
  const got: Uint8Array[] = [];
  receiver.onMessage((message) => got.push(message));
  await turns();
  expect(got).toEqual(sent);
  expect(receiver.discarded).toEqual({ tooLong: 0, badCobs: 0, badCrc: 0, tooShort: 0 });
});

test('noise is counted and what follows it is received', async () => {
  const [near, far] = pair();
  const link = framedLink(far, { frameBytesMax: 300 });
  const got: Uint8Array[] = [];
  link.onMessage((message) => got.push(message));
  const broken = encodeFrame(Uint8Array.of(9, 9, 9));
  broken[2]! ^= 1;
  near.write(Uint8Array.of(5, 0));
  near.write(broken);
  near.write(new Uint8Array(5000).fill(3));
  near.write(Uint8Array.of(0));
  near.write(encodeFrame(Uint8Array.of(1, 2)));
  await turns();
  expect(got).toEqual([Uint8Array.of(1, 2)]);
  expect(link.discarded).toEqual({ tooLong: 1, badCobs: 1, badCrc: 1, tooShort: 0 });
});

test('drained waits until what was sent has left', async () => {
  const [near, far] = pair();
  const link = framedLink(near);
  link.send(new Uint8Array(200_000).fill(1));
  let drained = false;
  void link.drained().then(() => {
    drained = true;
  });
  await turns();
  expect(drained).toBe(false);
  far.resume();
  await turns();
  expect(drained).toBe(true);
});

test('the end is told once, with its reason, however often the stream tells it', async () => {
  const [near] = pair();
  let closes = 0;
  const link = framedLink(near, { close: () => closes++ });
  const ends: (Error | undefined)[] = [];
  link.onClose((error) => ends.push(error));
  const cause = new Error('EIO');
  near.emit('error', cause);
  near.emit('close');
  near.emit('close', new Error('bad file descriptor'));
  link.send(Uint8Array.of(1));
  link.close();
  await link.drained();
  expect(ends).toEqual([cause]);
  expect(closes).toBe(1);
});

test('an orderly close has no error, and the other end sees it go', async () => {
  const [near, far] = pair();
  const link = framedLink(near);
  const ends: (Error | undefined)[] = [];
  link.onClose((error) => ends.push(error));
  const other = framedLink(far);
  other.onMessage(() => {});
  const seen = new Promise<Error | undefined>((resolve) => other.onClose(resolve));
  link.close();
  near.end();
  expect(ends).toEqual([undefined]);
  far.destroy();
  expect(await seen).toBeInstanceOf(Error);
});

test('a peer that stops reading ends the link instead of filling memory', async () => {
  const [near] = pair();
  const link = framedLink(near);
  const ended = new Promise<Error | undefined>((resolve) => link.onClose(resolve));
  const message = new Uint8Array(1024 * 1024).fill(1);
  for (let count = 0; count < 20; count++) link.send(message);
  expect((await ended)?.message).toBe('the other end stopped reading');
});
