import { expect, test } from 'vitest';
import { type CallerRead, createCaller } from '../../firmware-protocol/caller.js';
import { commands, powerActions, stopBits } from '../../firmware-protocol/commands.js';
import { createResponder, serveImager } from '../../firmware-protocol/responder.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import {
  createFakeImager,
  createLine,
  type Direction,
  kindOf,
  sectorBytes,
  sectorsAt,
} from './fake-imager.js';

type Passes = (message: Uint8Array, index: number, to: Direction) => Uint8Array | undefined;

/** A laptop and an imager on a line. */
function connect(passes?: Passes, options: Parameters<typeof createFakeImager>[1] = {}) {
  const clock = createVirtualClock();
  const device = createFakeImager(clock, options);
  const line = createLine(clock, passes);
  const responder = serveImager(line.device, device, clock);
  const caller = () => createCaller(line.laptop, clock, { session: 0x1234 });
  return { clock, device, line, responder, caller };
}

function readOf(lba: number, options: Partial<CallerRead> = {}): CallerRead {
  return {
    sectorBytes,
    batch: 1,
    lba,
    count: 8,
    timeoutMs: 1000,
    slowMs: 0,
    stopOn: 0,
    ...options,
  };
}

test('reads come back whole, in order, each having reached the drive once', async () => {
  const { clock, device, caller } = connect();
  await clock.run(
    (async () => {
      const laptop = await caller();
      const order: number[] = [];
      const lbas = Array.from({ length: 40 }, (_, index) => index * 8);
      const results = await Promise.all(
        lbas.map(async (lba) => {
          const result = await laptop.read(readOf(lba));
          order.push(lba);
          return result;
        }),
      );
      expect(order).toEqual(lbas);
      results.forEach((result, index) => {
        expect(result.outcome).toBe('good');
        expect(result.data).toEqual(sectorsAt(lbas[index]!, 8));
      });
      expect(device.reads.map(({ lba }) => lba)).toEqual(lbas);
      expect(laptop.counters).toMatchObject({ violations: 0, repetitions: 0 });
      laptop.close();
    })(),
  );
});

/** A short rescue with everything in it that must not be done twice. */
async function rescue({ clock, device, caller }: ReturnType<typeof connect>) {
  return clock.run(
    (async () => {
      const laptop = await caller();
      await laptop.call(commands.identify, {});
      const first = [0, 8, 16, 24].map((lba) =>
        laptop.read(readOf(lba, { stopOn: stopBits.fault })),
      );
      const results = await Promise.all(first);
      await laptop.call(commands.power, {
        action: powerActions.cycle,
        offMs: 100,
        standbyFirst: 0,
      });
      const second = [40, 48].map((lba) => laptop.read(readOf(lba, { batch: 2 })));
      results.push(...(await Promise.all(second)));
      laptop.close();
      return {
        outcomes: results.map(({ outcome, goodCount, data }) => ({ outcome, goodCount, data })),
        reads: device.reads.map(({ lba }) => lba),
        done: device.done,
      };
    })(),
  );
}

test('whichever single message is lost, nothing is read or switched twice and all data is right', async () => {
  const withFault = (passes?: Passes) => {
    const session = connect(passes);
    session.device.outcomes.set(16, {
      outcome: 'fault',
      goodCount: 3,
      sense: { key: 3, asc: 17, ascq: 0 },
    });
    return session;
  };
  const undisturbed = withFault();
  const expected = await rescue(undisturbed);
  expect(expected.outcomes.map(({ outcome }) => outcome)).toEqual([
    'good',
    'good',
    'fault',
    'not-attempted',
    'good',
    'good',
  ]);
  expect(expected.outcomes[2]?.data).toEqual(sectorsAt(16, 3));
  expect(expected.done).toEqual(['power cycle 100']);
  const messages = undisturbed.line.count();
  expect(messages).toBeGreaterThan(30);
  for (let lost = 0; lost < messages; lost++) {
    const session = withFault((message, index) => (index === lost ? undefined : message));
    expect(await rescue(session), `message ${lost} lost`).toEqual(expected);
  }
});

test('whichever single message comes twice, the outcome is the same', async () => {
  const expected = await rescue(connect());
  for (const twice of ['read', 'power', 'read response', 'event 64', 'identify', 'hello']) {
    const session = connect();
    const { laptop } = session.line;
    const send = laptop.send;
    Object.assign(laptop, {
      send(message: Uint8Array) {
        send(message);
        if (kindOf(message) === twice) send(message);
      },
    });
    const { device } = session.line;
    const sendBack = device.send;
    Object.assign(device, {
      send(message: Uint8Array) {
        sendBack(message);
        if (kindOf(message) === twice) sendBack(message);
      },
    });
    expect(await rescue(session), `${twice} twice`).toEqual(expected);
  }
});
