import { type Clock, sleepBy } from '../src/clock.js';

export interface VirtualClock extends Clock {
  /** Lets time pass, timer by timer, until `until` settles, and returns or throws what it became.
   * Throws when nothing is left that could settle it: no timer, nothing held. One run at a time. */
  run<T>(until: Promise<T>): Promise<T>;
  /** Lets `deltaMs` pass with every timer that falls into it, and what follows from each. */
  advance(deltaMs: number): Promise<void>;
  /** Time stands still while `promise`, some real input or output, is pending. */
  hold<T>(promise: Promise<T>): Promise<T>;
  /** Timers that are waiting. */
  pending(): number;
}

interface DueTimer {
  readonly atMs: number;
  readonly callback: () => void;
}

interface Timer {
  readonly atMs: number;
  readonly order: number;
  callback: (() => void) | undefined;
}

/** Cancelled timers are swept when they are this many, and half of all. */
const sweepCountMin = 1024;
/** Event-loop turns after which the reactions to a timer have run. Two, so that what itself waits a
 * turn (a stream's end) is seen as well. */
const turnsToSettle = 2;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function settle(): Promise<void> {
  for (let count = 0; count < turnsToSettle; count++) await turn();
}

/** A clock in which time passes only inside `run` and `advance`, and then in jumps from timer to
 * timer: a discrete-event simulation. Starts at `startMs`. Timers of one instant fire in the order
 * in which they were set, each after the reactions to the one before. */
export function createVirtualClock(startMs = 0): VirtualClock {
  const timers = createTimerHeap();
  let nowMs = startMs;
  let running = false;
  let heldCount = 0;
  let release: (() => void) | undefined;

  const after: Clock['after'] = (delayMs, callback) =>
    timers.add(nowMs + Math.max(0, delayMs), callback);

  const quiet = async () => {
    await settle();
    while (heldCount > 0) {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      await settle();
    }
  };
  const fire = (timer: DueTimer) => {
    nowMs = Math.max(nowMs, timer.atMs);
    timer.callback();
  };
  const alone = async <T>(body: () => Promise<T>): Promise<T> => {
    if (running) throw new Error('virtual clock: run or advance is already under way');
    running = true;
    try {
      return await body();
    } finally {
      running = false;
    }
  };

  const run = async <T>(until: Promise<T>): Promise<T> => {
    let settled = false;
    const done = () => {
      settled = true;
    };
    until.then(done, done);
    await alone(async () => {
      for (;;) {
        await quiet();
        if (settled) return;
        const timer = timers.take();
        if (!timer) {
          throw new Error(`virtual clock: deadlock at ${nowMs} ms: no timer, and still waiting`);
        }
        fire(timer);
      }
    });
    return until;
  };

  const advance = (deltaMs: number) =>
    alone(async () => {
      const endMs = nowMs + deltaMs;
      await quiet();
      for (let at = timers.nextAtMs(); at !== undefined && at <= endMs; at = timers.nextAtMs()) {
        fire(timers.take() as DueTimer);
        await quiet();
      }
      nowMs = endMs;
    });

  const hold = async <T>(promise: Promise<T>): Promise<T> => {
    heldCount++;
    try {
      return await promise;
    } finally {
      if (--heldCount === 0) release?.();
    }
  };

  return {
    now: () => nowMs,
    after,
    sleep: (delayMs, signal) => sleepBy(after, delayMs, signal),
    run,
    advance,
    hold,
    pending: timers.count,
  };
}

/** A binary heap of timers, earliest first. Cancelled ones stay until they come up or are swept,
 * since nearly every deadline is cancelled. */
function createTimerHeap() {
  let heap: Timer[] = [];
  let added = 0;
  let cancelled = 0;

  const dropCancelled = () => {
    while (heap[0] && !heap[0].callback) {
      removeFirst(heap);
      cancelled--;
    }
  };
  const cancel = (timer: Timer) => {
    if (!timer.callback) return;
    timer.callback = undefined;
    if (++cancelled < sweepCountMin || cancelled * 2 < heap.length) return;
    // A sorted array is a heap.
    heap = heap.filter((kept) => kept.callback).sort((a, b) => (isBefore(a, b) ? -1 : 1));
    cancelled = 0;
  };

  return {
    /** Returns the function that cancels the timer. */
    add(atMs: number, callback: () => void): () => void {
      const timer: Timer = { atMs, order: added++, callback };
      heap.push(timer);
      siftUp(heap, timer);
      return () => cancel(timer);
    },
    /** The earliest timer, taken out, so that cancelling it later does nothing. */
    take(): DueTimer | undefined {
      dropCancelled();
      const callback = heap[0]?.callback;
      if (!callback) return undefined;
      const timer = removeFirst(heap);
      timer.callback = undefined;
      return { atMs: timer.atMs, callback };
    },
    nextAtMs(): number | undefined {
      dropCancelled();
      return heap[0]?.atMs;
    },
    count: () => heap.length - cancelled,
  };
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Moves a timer, just put at the end, to its place. */
function siftUp(heap: Timer[], timer: Timer): void {
  let at = heap.length - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const other = heap[parent] as Timer;
    if (!isBefore(timer, other)) break;
    heap[at] = other;
    at = parent;
  }
  heap[at] = timer;
}

/** Takes the first timer out and lets the last one sink from its place. */
function removeFirst(heap: Timer[]): Timer {
  const first = heap[0] as Timer;
  const last = heap.pop() as Timer;
  if (heap.length === 0) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    const right = heap[child + 1];
    if (right && isBefore(right, heap[child] as Timer)) child++;
    const other = heap[child] as Timer;
    if (!isBefore(other, last)) break;
    heap[at] = other;
    at = child;
  }
  heap[at] = last;
  return first;
}
