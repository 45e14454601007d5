import { expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';

test('time jumps from timer to timer, in order, and only inside run', async () => {
  const clock = createVirtualClock();
  const seen: string[] = [];
  clock.after(20, () => seen.push(`b at ${clock.now()}`));
  clock.after(10, () => seen.push(`a at ${clock.now()}`));
  clock.after(20, () => seen.push(`c at ${clock.now()}`));
  expect(clock.now()).toBe(0);
  await clock.run(clock.sleep(20));
  expect(seen).toEqual(['a at 10', 'b at 20', 'c at 20']);
});

test('what follows from a timer happens before the next one', async () => {
  const clock = createVirtualClock();
  const seen: string[] = [];
  clock.sleep(5).then(async () => {
    await Promise.resolve();
    seen.push('reaction');
  });
  clock.after(5, () => seen.push('next timer'));
  await clock.run(clock.sleep(6));
  expect(seen).toEqual(['reaction', 'next timer']);
});

test('a cancelled timer does not fire, and an aborted sleep rejects with the reason', async () => {
  const clock = createVirtualClock();
  const cancel = clock.after(5, () => expect.unreachable());
  cancel();
  cancel();
  const controller = new AbortController();
  const sleep = clock.sleep(100, controller.signal);
  clock.after(10, () => controller.abort(new Error('enough')));
  await expect(clock.run(sleep)).rejects.toThrow('enough');
  expect(clock.now()).toBe(10);
  expect(clock.pending()).toBe(0);
});

test('waiting for nothing is a deadlock, said clearly', async () => {
  const clock = createVirtualClock(7);
  await expect(clock.run(new Promise(() => {}))).rejects.toThrow('deadlock at 7 ms');
});

test('advance passes a span of time with all that falls into it', async () => {
  const clock = createVirtualClock();
  let ticks = 0;
  const tick = () => {
    ticks++;
    clock.after(10, tick);
  };
  clock.after(10, tick);
  await clock.advance(35);
  expect(ticks).toBe(3);
  expect(clock.now()).toBe(35);
});

test('time stands still while real work is held', async () => {
  const clock = createVirtualClock();
  let workEndedAt = -1;
  const work = new Promise<void>((resolve) => {
    setImmediate(() => setImmediate(() => setImmediate(() => setImmediate(resolve))));
  });
  clock.after(1000, () => {});
  const held = clock.hold(work).then(() => {
    workEndedAt = clock.now();
  });
  await clock.run(held);
  expect(workEndedAt).toBe(0);
});

test('many cancelled deadlines leave no trace', async () => {
  const clock = createVirtualClock();
  const reads = async () => {
    for (let read = 0; read < 20_000; read++) {
      const cancel = clock.after(60_000, () => expect.unreachable());
      await clock.sleep(0.1);
      cancel();
    }
  };
  await clock.run(reads());
  expect(clock.pending()).toBe(0);
  expect(clock.now()).toBeCloseTo(2000, 3);
});

test('a second run at the same time is a mistake', async () => {
  const clock = createVirtualClock();
  const first = clock.run(clock.sleep(1));
  await expect(clock.run(clock.sleep(1))).rejects.toThrow('already under way');
  await first;
});
