/** Two ends of a line in memory. What passes is real frames, so that noise can do to them what it
 * does on a wire. One seed, one history. */
import { createFrameDecoder, encodeFrame, noDiscards } from '../firmware-protocol/frame.js';
import { frameBytesMaxDefault, type Link } from '../firmware-protocol/link.js';
import type { Clock } from '../src/clock.js';
import { createRandom, hash, type Random } from './random.js';

/** What may happen to a frame on its way, each row with its own `chance` (0 to 1):
 * - `drop`: it is lost; `duplicate`: it comes twice;
 * - `flip`: one bit of it changes; `truncate`: it loses its rear, but not its end mark;
 * - `lose`: some of its bytes are lost; `insert`: bytes that nobody sent come before it;
 * - `merge`: it loses its end mark, and so runs into the next one;
 * - `reorder`: it comes `delayMs` later, what follows does not;
 * - `delay`: it and what follows come `delayMs` later. */
export type NoiseRow = {
  readonly chance: number;
  /** Only in one direction: to the first end of the pair, or to the second. */
  readonly towards?: Side;
} & (
  | { readonly kind: 'drop' | 'duplicate' | 'flip' | 'truncate' | 'lose' | 'insert' | 'merge' }
  | { readonly kind: 'delay' | 'reorder'; readonly delayMs: number }
);

/** A timer this late is made up for; a line that was idle longer starts anew. */
const lateMsMax = 20;

export type Side = 'near' | 'far';

export interface LinkPairOptions {
  readonly seed?: number;
  readonly noise?: readonly NoiseRow[];
  /** Speed of the line; without it bytes take no time. */
  readonly bytesPerSecond?: number;
  /** Longest message that either end takes. */
  readonly frameBytesMax?: number;
  /** Sees what leaves each line, noise and all. */
  readonly onBytes?: (towards: Side, bytes: Uint8Array) => void;
}

/** The two ends of a line, `near` first. Closing one closes the other, as a pulled plug does. */
export function linkPair(clock: Clock, options: LinkPairOptions = {}): [near: Link, far: Link] {
  const near = createEnd(options, 'near');
  const far = createEnd(options, 'far');
  const toFar = createLine(clock, options, 'far', far.receive);
  const toNear = createLine(clock, options, 'near', near.receive);
  const cut = (by: End, other: End) => {
    toFar.close();
    toNear.close();
    by.finish();
    other.finish(new Error('closed by the other end'));
  };
  return [near.link(toFar, () => cut(near, far)), far.link(toNear, () => cut(far, near))];
}

interface Line {
  send(frame: Uint8Array): void;
  drained(): Promise<void>;
  close(): void;
}

interface End {
  receive(bytes: Uint8Array): void;
  finish(error?: Error): void;
  link(line: Line, close: () => void): Link;
}

function createEnd(options: LinkPairOptions, side: Side): End {
  const discarded = noDiscards();
  const closeHandlers: ((error?: Error) => void)[] = [];
  const early: Uint8Array[] = [];
  let handler: ((message: Uint8Array) => void) | undefined;
  let ended: { readonly error?: Error } | undefined;
  const decoder = createFrameDecoder({
    frameBytesMax: options.frameBytesMax ?? frameBytesMaxDefault,
    onMessage(message) {
      if (handler) handler(message);
      else early.push(message);
    },
    discarded,
  });
  return {
    receive(bytes) {
      options.onBytes?.(side, bytes);
      if (!ended) decoder.push(bytes);
    },
    finish(error) {
      if (ended) return;
      ended = error ? { error } : {};
      for (const each of closeHandlers) each(error);
    },
    link: (line, close) => ({
      discarded,
      send(message) {
        if (!ended) line.send(encodeFrame(message));
      },
      drained: line.drained,
      onMessage(next) {
        handler = next;
        for (const message of early.splice(0)) next(message);
      },
      onClose(each) {
        if (ended) each(ended.error);
        else closeHandlers.push(each);
      },
      close,
    }),
  };
}

/** One direction. Keeps the order but for what `reorder` strikes. */
function createLine(
  clock: Clock,
  options: LinkPairOptions,
  towards: Side,
  deliver: (bytes: Uint8Array) => void,
): Line {
  const { bytesPerSecond } = options;
  const noise = (options.noise ?? []).filter((row) => (row.towards ?? towards) === towards);
  const random = createRandom(hash(options.seed ?? 0, towards === 'near' ? 1 : 2));
  const waiting: { readonly atMs: number; readonly bytes: Uint8Array }[] = [];
  let sentAtMs = 0;
  let arrivesAtMs = 0;
  let scheduled = false;
  let cancel = () => {};
  let closed = false;

  const deliverDue = () => {
    scheduled = false;
    for (let first = waiting[0]; first && first.atMs <= clock.now(); first = waiting[0]) {
      waiting.shift();
      deliver(first.bytes);
    }
    schedule();
  };
  const schedule = () => {
    const first = waiting[0];
    if (!first || scheduled || closed) return;
    scheduled = true;
    const delayMs = first.atMs - clock.now();
    if (delayMs <= 0) queueMicrotask(deliverDue);
    else cancel = clock.after(delayMs, deliverDue);
  };
  /** Something comes before what was waited for. */
  const reschedule = () => {
    cancel();
    scheduled = false;
    schedule();
  };
  return {
    send(frame) {
      const nowMs = clock.now();
      const lineMs = bytesPerSecond === undefined ? 0 : (frame.length * 1000) / bytesPerSecond;
      sentAtMs = Math.max(sentAtMs, nowMs) + lineMs;
      const { pieces, delayMs, lateMs } =
        noise.length > 0 ? disturb(frame, noise, random) : quiet(frame);
      arrivesAtMs = Math.max(arrivesAtMs, sentAtMs + delayMs);
      const atMs = arrivesAtMs + lateMs;
      const behind = waiting.findIndex((other) => other.atMs > atMs);
      const place = behind === -1 ? waiting.length : behind;
      waiting.splice(place, 0, ...pieces.map((bytes) => ({ atMs, bytes })));
      if (place === 0) reschedule();
      else schedule();
    },
    drained: () =>
      sentAtMs <= clock.now() ? Promise.resolve() : clock.sleep(sentAtMs - clock.now()),
    close() {
      closed = true;
      waiting.length = 0;
      cancel();
    },
  };
}

function quiet(frame: Uint8Array) {
  return { pieces: [frame], delayMs: 0, lateMs: 0 };
}

/** What arrives in place of a frame. Every row is drawn for every frame, so that adding a row
 * leaves what the others do to a frame as it was. */
function disturb(frame: Uint8Array, noise: readonly NoiseRow[], random: Random) {
  let bytes = frame;
  let copies = 1;
  let delayMs = 0;
  let lateMs = 0;
  for (const row of noise) {
    const strikes = random.next() < row.chance;
    const where = random.next();
    if (!strikes) continue;
    switch (row.kind) {
      case 'drop':
        copies = 0;
        break;
      case 'duplicate':
        copies *= 2;
        break;
      case 'flip':
        bytes = flipped(bytes, Math.floor(where * bytes.length * 8));
        break;
      case 'truncate':
        bytes = truncated(bytes, Math.floor(where * (bytes.length - 1)));
        break;
      case 'merge':
        if (bytes.at(-1) === 0) bytes = bytes.subarray(0, -1);
        break;
      case 'lose':
        bytes = withoutSome(bytes, where);
        break;
      case 'insert':
        bytes = withNoise(bytes, where, random);
        break;
      case 'delay':
        delayMs += row.delayMs;
        break;
      case 'reorder':
        lateMs += row.delayMs;
        break;
    }
  }
  return { pieces: Array.from({ length: copies }, () => bytes), delayMs, lateMs };
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  if (bytes.length === 0) return bytes;
  const copy = bytes.slice();
  const at = bit >> 3;
  copy[at] = (copy[at] as number) ^ (1 << (bit & 7));
  return copy;
}

/** Most bytes that `lose` takes and `insert` brings at once. */
const burstBytesMax = 40;

function withoutSome(bytes: Uint8Array, where: number): Uint8Array {
  const from = Math.floor(where * bytes.length);
  const count = 1 + Math.floor((where * 7919) % burstBytesMax);
  return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + count)]);
}

function withNoise(bytes: Uint8Array, where: number, random: Random): Uint8Array {
  const count = 1 + Math.floor(where * burstBytesMax);
  const burst = Uint8Array.from({ length: count }, () => Math.floor(random.next() * 256));
  return Buffer.concat([burst, bytes]);
}

function truncated(bytes: Uint8Array, length: number): Uint8Array {
  const copy = bytes.slice(0, length + 1);
  copy[length] = 0;
  return copy;
}

/** `link` with its sending slowed to `bytesPerSecond`, as on a serial line. */
export function pacedLink(link: Link, clock: Clock, bytesPerSecond: number): Link {
  const waiting: Uint8Array[] = [];
  let freeAtMs = 0;
  let idle = true;
  const sendNext = () => {
    const message = waiting.shift();
    idle = message === undefined;
    if (!message) return;
    link.send(message);
    // Counted from when the line should have been free: late timers do not add up.
    freeAtMs =
      Math.max(freeAtMs, clock.now() - lateMsMax) + (message.length * 1000) / bytesPerSecond;
    clock.after(Math.max(0, freeAtMs - clock.now()), sendNext);
  };
  return {
    ...link,
    discarded: link.discarded,
    send(message) {
      waiting.push(message.slice());
      if (idle) sendNext();
    },
    async drained() {
      while (!idle) await clock.sleep(Math.max(1, freeAtMs - clock.now()));
      await link.drained();
    },
  };
}
