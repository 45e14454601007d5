/** A laptop at the board's serial line, in the board's time: a clock whose timers fall due as the chip's
 * cycles pass. */

import { type Caller, createCaller } from '../../firmware-protocol/caller.js';
import type { DeviceEvent } from '../../firmware-protocol/device.js';
import { framedLink, type Link } from '../../firmware-protocol/link.js';
import { type Clock, sleepBy } from '../../src/clock.js';
import { type ImagerDrive, openImager } from '../../src/drive/imager.js';
import { type AvrBoard, type AvrBoardOptions, createAvrBoard } from './avr-board.js';

/** What nothing answers within this much virtual time is taken for a deadlock. */
const waitMsMax = 30 * 60_000;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Lets what was handed to streams and promises have its effects. */
async function settle(): Promise<void> {
  for (let count = 0; count < 3; count++) await turn();
}

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
}

export type TimedEvent = DeviceEvent & { readonly atMs: number };

export interface Bench {
  readonly board: AvrBoard;
  readonly clock: Clock;
  /** Lets time pass until `until` settles, and returns or throws what it became. */
  run<T>(until: Promise<T>): Promise<T>;
  /** Lets time pass. */
  advance(deltaMs: number): Promise<void>;
  /** Lets time pass up to a moment of the board's clock. */
  advanceTo(atMs: number): Promise<void>;
  /** Lets time pass until `reached`; throws when that takes longer than `withinMs`. */
  until(reached: () => boolean, withinMs: number): Promise<void>;
  /** The port, opened. */
  link(): Link;
  /** The production client on the port. */
  open(session?: number): Promise<ImagerDrive>;
  /** The production caller alone, for what a drive has no words for. */
  call(session?: number): Promise<Caller>;
  /** Everything that these were told unasked, and when. */
  readonly events: TimedEvent[];
  /** Lets the firmware's own clock, but nothing else, jump ahead. */
  skip(byMs: number): void;
}

export function createBench(options: AvrBoardOptions = {}): Bench {
  const board = createAvrBoard(options);
  const timers = new Set<Timer>();
  const events: TimedEvent[] = [];
  const after: Clock['after'] = (delayMs, callback) => {
    const timer = { atMs: board.nowMs + Math.max(0, delayMs), callback };
    timers.add(timer);
    return () => timers.delete(timer);
  };
  const clock: Clock = {
    now: () => board.nowMs,
    after,
    sleep: (delayMs, signal) => sleepBy(after, delayMs, signal),
  };

  /** One step: up to the next timer, the next frame, or `untilMs`. */
  async function step(untilMs: number): Promise<void> {
    let next = untilMs;
    for (const { atMs } of timers) next = Math.min(next, atMs);
    if (next > board.nowMs) board.run(next);
    board.deliver();
    for (const timer of timers) {
      if (timer.atMs > board.nowMs || !timers.delete(timer)) continue;
      timer.callback();
    }
    await settle();
  }

  async function advanceTo(atMs: number): Promise<void> {
    await settle();
    while (board.nowMs < atMs) await step(atMs);
  }

  async function until(reached: () => boolean, withinMs: number): Promise<void> {
    const endMs = board.nowMs + withinMs;
    await settle();
    while (!reached()) {
      if (board.nowMs >= endMs) throw new Error(`not reached within ${withinMs} ms`);
      await step(Math.min(endMs, board.nowMs + 1));
    }
  }

  async function run<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    const endMs = board.nowMs + waitMsMax;
    await settle();
    while (!settled) {
      if (board.nowMs >= endMs) throw new Error(`nothing came within ${waitMsMax} ms`);
      await step(endMs);
    }
    return promise;
  }

  const link = () => framedLink(board.openPort(), { name: 'avr' });
  const note = (event: DeviceEvent) => events.push({ ...event, atMs: board.nowMs });
  return {
    board,
    clock,
    events,
    run,
    advance: (deltaMs) => advanceTo(board.nowMs + deltaMs),
    advanceTo,
    until,
    link,
    async open(session = 1) {
      const drive = await run(openImager(link(), clock, { session }));
      drive.onEvent(note);
      return drive;
    },
    async call(session = 1) {
      const caller = await run(createCaller(link(), clock, { session }));
      caller.onEvent(note);
      return caller;
    },
    skip(byMs) {
      const { data } = board.chip;
      const view = new DataView(data.buffer);
      const at = board.addressOf('elapsed_ms');
      view.setUint32(at, (view.getUint32(at, true) + byMs) >>> 0, true);
    },
  };
}
