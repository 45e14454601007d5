import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Caller, type CallerRead, createCaller } from '../../firmware-protocol/caller.js';
import { commands, parkKinds, powerActions, stopBits } from '../../firmware-protocol/commands.js';
import { encodeMessage, encodeRefusal } from '../../firmware-protocol/message.js';
import { serveImager } from '../../firmware-protocol/responder.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { isLastspinError } from '../../src/errors.js';
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

test('on a line that loses a tenth of everything each read reaches the drive once, with right data', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 }), async (seed) => {
      let state = seed;
      const lossy: Passes = (message) => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return state / 2 ** 32 < 0.1 && kindOf(message) !== 'hello' ? undefined : message;
      };
      const { clock, device, caller } = connect(lossy);
      const lbas = Array.from({ length: 30 }, (_, index) => index * 8);
      await clock.run(
        (async () => {
          const laptop = await caller();
          const results = await Promise.all(lbas.map((lba) => laptop.read(readOf(lba))));
          laptop.close();
          results.forEach((result, index) => {
            expect(result.data).toEqual(sectorsAt(lbas[index]!, 8));
          });
          expect(device.reads.map(({ lba }) => lba)).toEqual(lbas);
        })(),
      );
    }),
    { numRuns: 8 },
  );
});

test.each([
  ['fault', stopBits.fault],
  ['slow', stopBits.slow],
  ['timeout', stopBits.timeout],
] as const)('a %s that stopOn names ends its batch, also for reads that come later', async (outcome, bit) => {
  const { clock, device, caller } = connect();
  device.outcomes.set(8, { outcome });
  await clock.run(
    (async () => {
      const laptop = await caller();
      const lbas = [0, 8, 16, 24];
      const early = lbas.map((lba) => laptop.read(readOf(lba, { stopOn: bit })));
      const other = laptop.read(readOf(80, { batch: 2, stopOn: bit }));
      const outcomes = (await Promise.all(early)).map((result) => result.outcome);
      expect(outcomes).toEqual(['good', outcome, 'not-attempted', 'not-attempted']);
      expect((await other).outcome).toBe('good');
      expect((await laptop.read(readOf(32, { stopOn: bit }))).outcome).toBe('not-attempted');
      expect(device.reads.map(({ lba }) => lba)).toEqual([0, 8, 80]);
      laptop.close();
    })(),
  );
});

test('an outcome that stopOn does not name lets the batch go on', async () => {
  const { clock, device, caller } = connect();
  device.outcomes.set(0, { outcome: 'fault' });
  await clock.run(
    (async () => {
      const laptop = await caller();
      const reads = [0, 8].map((lba) => laptop.read(readOf(lba, { stopOn: stopBits.timeout })));
      const outcomes = (await Promise.all(reads)).map(({ outcome }) => outcome);
      expect(outcomes).toEqual(['fault', 'good']);
      laptop.close();
    })(),
  );
});

test('abort ends a hung read, and nothing that was asked before it reaches the drive', async () => {
  for (const lostRead of [undefined, 2, 3]) {
    let readsSeen = 0;
    const { clock, device, caller } = connect((message) => {
      const isLost = kindOf(message) === 'read' && readsSeen++ === lostRead;
      return isLost ? undefined : message;
    });
    device.hangs.add(8);
    await clock.run(
      (async () => {
        const laptop = await caller();
        const lbas = Array.from({ length: 12 }, (_, index) => index * 8);
        const reads = lbas.map((lba) => laptop.read(readOf(lba)));
        await clock.sleep(20);
        await laptop.abort();
        const outcomes = (await Promise.all(reads)).map(({ outcome }) => outcome);
        expect(outcomes).toEqual(['good', 'timeout', ...new Array(10).fill('not-attempted')]);
        expect(device.reads.map(({ lba }) => lba)).toEqual([0, 8]);
        expect((await laptop.read(readOf(200))).outcome).toBe('good');
        laptop.close();
      })(),
    );
  }
});

test('the window never asks for more than the imager can hold', async () => {
  let unreleased = 0;
  let most = 0;
  const { clock, device, caller } = connect(undefined, { bufferBytes: 20 * sectorBytes });
  const read = device.read;
  device.read = async (request) => {
    unreleased += request.count;
    most = Math.max(most, unreleased);
    return read(request);
  };
  await clock.run(
    (async () => {
      const laptop = await caller();
      const reads = Array.from({ length: 20 }, async (_, index) => {
        await laptop.read(readOf(index * 8));
        unreleased -= 8;
      });
      await Promise.all(reads);
      laptop.close();
    })(),
  );
  expect(most).toBeLessThanOrEqual(20);
});

test('a second program is refused while the first is alive, and disturbs nothing', async () => {
  const { clock, device, responder, caller } = connect();
  await clock.run(
    (async () => {
      const first = await caller();
      const otherLine = createLine(clock);
      responder.attach(otherLine.device);
      const second = createCaller(otherLine.laptop, clock, { session: 99, name: 'tcp:x' });
      await expect(second).rejects.toMatchObject({
        code: 'DEVICE_REFUSED',
        message: 'tcp:x is in use by another program; stop that one first',
      });
      expect(clock.now()).toBeGreaterThan(5000);
      expect((await first.read(readOf(0))).outcome).toBe('good');
      expect(device.reads.map(({ lba }) => lba)).toEqual([0]);
      first.close();
    })(),
  );
});

test('a program that fell silent is taken over: its reads are not done for the second', async () => {
  let deaf = false;
  const { clock, device, line, responder, caller } = connect((message) =>
    deaf ? undefined : message,
  );
  device.hangs.add(0);
  await clock.run(
    (async () => {
      const first = await caller();
      const reads = [0, 8, 16].map((lba) => first.read(readOf(lba)).catch((error) => error.code));
      await clock.sleep(20);
      deaf = true;
      const otherLine = createLine(clock);
      responder.attach(otherLine.device);
      const second = await createCaller(otherLine.laptop, clock, { session: 99 });
      expect((await second.read(readOf(800))).data).toEqual(sectorsAt(800, 8));
      expect(await Promise.all(reads)).toEqual(['LINK_TIMEOUT', 'LINK_TIMEOUT', 'LINK_TIMEOUT']);
      expect(device.reads.map(({ lba }) => lba)).toEqual([0, 800]);
      second.close();
      line.cut();
    })(),
  );
});

test('a link that drops is opened again and the session goes on, nothing done twice', async () => {
  for (const dropAtMs of [1, 3, 4, 5, 7, 9, 15, 21, 30]) {
    const { clock, device, line, responder } = connect(undefined, { readMs: 5 });
    const relink = async () => {
      const next = createLine(clock);
      responder.attach(next.device);
      return next.laptop;
    };
    await clock.run(
      (async () => {
        const laptop = await createCaller(line.laptop, clock, { session: 5, relink });
        clock.after(dropAtMs, () => line.cut());
        const lbas = Array.from({ length: 12 }, (_, index) => index * 8);
        const parked = laptop.call(commands.park, { kind: parkKinds.standby });
        const results = await Promise.all(lbas.map((lba) => laptop.read(readOf(lba))));
        await parked;
        results.forEach((result, index) => {
          expect(result.data).toEqual(sectorsAt(lbas[index]!, 8));
        });
        expect(device.reads.map(({ lba }) => lba)).toEqual(lbas);
        expect(device.done).toEqual(['park standby']);
        expect(laptop.counters.relinks).toBe(1);
        laptop.close();
      })(),
    );
  }
});

/** Reads one after the other until each came; what comes back not attempted is asked for again. */
async function readAll(laptop: Caller, lbas: readonly number[]): Promise<void> {
  for (const lba of lbas) {
    let result = await laptop.read(readOf(lba));
    while (result.outcome === 'not-attempted') result = await laptop.read(readOf(lba));
    expect(result.data).toEqual(sectorsAt(lba, 8));
  }
}

test('an imager that restarts, link or no link, gets a new session that is set up as the old one was', async () => {
  for (const how of ['with its link', 'on an open link', 'while the link is down'] as const) {
    for (const atMs of [1, 2, 3, 6, 11]) {
      const { clock, device, line, responder } = connect(undefined, { readMs: 5 });
      const notices: string[] = [];
      const relink = async () => {
        const next = createLine(clock);
        responder.attach(next.device);
        return next.laptop;
      };
      const restart = () => {
        Object.assign(device, { bootId: device.bootId + 1, bootCause: 'watchdog' });
        responder.forget();
      };
      await clock.run(
        (async () => {
          const laptop: Caller = await createCaller(line.laptop, clock, {
            session: 5,
            relink,
            restore: () =>
              laptop.call(commands.watchdog, {
                stopReadsMs: 77,
                unloadMs: 0,
                standbyMs: 0,
                offMs: 0,
              }) as Promise<never>,
          });
          laptop.onNotice((notice) => notices.push(notice.kind));
          clock.after(atMs, () => {
            if (how !== 'while the link is down') restart();
            if (how !== 'on an open link') line.cut();
            if (how === 'while the link is down') clock.after(500, restart);
          });
          const lbas = Array.from({ length: 12 }, (_, index) => index * 8);
          const early = lbas.map((lba) => laptop.read(readOf(lba)));
          const results = await Promise.all(early);
          const missing = lbas.filter((_, index) => results[index]?.outcome !== 'good');
          results.forEach(({ outcome, data }, index) => {
            if (outcome === 'good') expect(data).toEqual(sectorsAt(lbas[index]!, 8));
            else expect(outcome).toBe('not-attempted');
          });
          expect(missing.length).toBeGreaterThan(0);
          await readAll(laptop, missing);
          expect(device.done).toEqual(['watchdog 77']);
          expect(notices).toContain('restarted');
          expect(laptop.counters).toMatchObject({ restarts: 1, violations: 0 });
          laptop.close();
        })(),
      );
    }
  }
});

test('nothing is read while a session is set up, though setting up the one before ends meanwhile', async () => {
  const { clock, device, line, responder } = connect();
  const restart = () => {
    Object.assign(device, { bootId: device.bootId + 1 });
    responder.forget();
  };
  const setUp: (() => void)[] = [];
  await clock.run(
    (async () => {
      const laptop = await createCaller(line.laptop, clock, {
        session: 5,
        restore: () => new Promise((resolve) => setUp.push(resolve)),
      });
      for (const count of [1, 2]) {
        restart();
        while (setUp.length < count) await clock.sleep(100);
      }
      let isRead = false;
      const read = laptop.read(readOf(0)).then(() => {
        isRead = true;
      });
      setUp[0]!();
      await clock.sleep(1000);
      expect(isRead).toBe(false);
      setUp[1]!();
      await read;
      laptop.close();
    })(),
  );
});

test('a refusal from before a restart that comes late ends no session that is there', async () => {
  const { clock, device, line, responder, caller } = connect();
  await clock.run(
    (async () => {
      const laptop = await caller();
      await readAll(laptop, [0, 8]);
      Object.assign(device, { bootId: device.bootId + 1 });
      responder.forget();
      await readAll(laptop, [16, 24, 32]);
      const late = encodeRefusal(commands.status.code, 1, 'helloFirst', 'no session on this link');
      line.device.send(late);
      await readAll(laptop, [40, 48]);
      expect(device.reads.map(({ lba }) => lba)).toEqual([0, 8, 16, 24, 32, 40, 48]);
      expect(laptop.counters.restarts).toBe(1);
      laptop.close();
    })(),
  );
});

test('a session that cannot be set up again after a restart ends, and is closed without a word', async () => {
  for (const closeAtMs of [undefined, 3000]) {
    const { clock, device, line, responder } = connect();
    let ended: unknown;
    const relink = async () => {
      // The imager that comes back never answers `watchdog`.
      const next = createLine(clock, (message) =>
        kindOf(message) === 'watchdog' ? undefined : message,
      );
      responder.attach(next.device);
      return next.laptop;
    };
    await clock.run(
      (async () => {
        const stages = { stopReadsMs: 77, unloadMs: 0, standbyMs: 0, offMs: 0 };
        const laptop: Caller = await createCaller(line.laptop, clock, {
          session: 5,
          relink,
          restore: async () => void (await laptop.call(commands.watchdog, stages)),
        });
        laptop.onClose((error) => {
          ended = error;
        });
        Object.assign(device, { bootId: device.bootId + 1 });
        responder.forget();
        line.cut();
        if (closeAtMs === undefined) {
          await clock.sleep(30_000);
          expect(ended).toMatchObject({ code: 'LINK_TIMEOUT' });
        } else {
          await clock.sleep(closeAtMs);
          laptop.close();
          await clock.sleep(1000);
          expect(ended).toBeUndefined();
        }
        expect(device.reads).toEqual([]);
      })(),
    );
  }
});

test('what another program told the imager while the link was down does not hold when it is back', async () => {
  const { clock, device, line, responder } = connect();
  const plug = () => {
    const next = createLine(clock);
    responder.attach(next.device);
    return next.laptop;
  };
  const stages = (stopReadsMs: number) => ({ stopReadsMs, unloadMs: 0, standbyMs: 0, offMs: 0 });
  let isBack = false;
  const relink = async () => {
    if (!isBack) throw new Error('not there');
    return plug();
  };
  await clock.run(
    (async () => {
      const laptop: Caller = await createCaller(line.laptop, clock, {
        session: 5,
        relink,
        restore: async () => void (await laptop.call(commands.watchdog, stages(77))),
      });
      await laptop.call(commands.watchdog, stages(77));
      line.cut();
      const other = await createCaller(plug(), clock, { session: 6 });
      await other.call(commands.watchdog, stages(5));
      other.close();
      isBack = true;
      await clock.sleep(5000);
      expect(device.done).toEqual(['watchdog 77', 'watchdog 5', 'watchdog 77']);
      laptop.close();
    })(),
  );
});

test('of the commands that were out when the imager restarted, those that move something are refused', async () => {
  const { clock, device, responder, caller } = connect();
  let identified = 0;
  const { identify } = device;
  device.identify = () => (identified++ === 0 ? new Promise(() => {}) : identify());
  device.hangs.add(0);
  device.reset = () => new Promise(() => {});
  await clock.run(
    (async () => {
      const laptop = await caller();
      clock.after(5, () => {
        responder.forget();
        device.identify = identify;
      });
      const read = laptop.read(readOf(0));
      const aborted = laptop.abort();
      const reset = laptop.call(commands.reset, { kind: 2 }).catch((error) => error);
      expect((await laptop.call(commands.identify, {})).model).toBe('FAKE');
      expect(await reset).toMatchObject({ code: 'DEVICE_REFUSED', cause: { reply: 'busy' } });
      await aborted;
      // As the abort left it, or lost with the session.
      expect(['timeout', 'not-attempted']).toContain((await read).outcome);
      laptop.close();
    })(),
  );
});

test('silence stops the reads that wait; one under way keeps its deadline', async () => {
  const { clock, device, caller } = connect(undefined, { readMs: 100 });
  await clock.run(
    (async () => {
      const laptop = await caller();
      const reads = [0, 8, 16].map((lba) => laptop.read(readOf(lba)));
      await clock.sleep(20);
      device.onEvent({ kind: 'stepped-down', stage: 1 });
      const outcomes = (await Promise.all(reads)).map(({ outcome }) => outcome);
      expect(outcomes).toEqual(['good', 'not-attempted', 'not-attempted']);
      expect((await laptop.read(readOf(24))).outcome).toBe('good');
      laptop.close();
    })(),
  );
});

test('an imager that restarts at every read ends the session', async () => {
  const { clock, device, responder, caller } = connect();
  device.read = async () => {
    responder.forget();
    return { outcome: 'gone', goodCount: 0, elapsedMicros: 1, data: new Uint8Array() };
  };
  await clock.run(
    (async () => {
      const laptop = await caller();
      const outcomes: string[] = [];
      for (let tries = 0; tries < 9 && outcomes.at(-1) !== 'LINK_CLOSED'; tries++) {
        const read = laptop.read(readOf(0));
        outcomes.push(
          await read.then(
            (result) => result.outcome,
            (error) => error.code,
          ),
        );
      }
      expect(outcomes).toEqual(['not-attempted', 'not-attempted', 'LINK_CLOSED']);
    })(),
  );
});

test('an imager that restarts while nothing is read goes on being served', async () => {
  const { clock, responder, caller } = connect();
  await clock.run(
    (async () => {
      const laptop = await caller();
      for (let restart = 0; restart < 5; restart++) {
        responder.forget();
        await clock.sleep(5000);
      }
      expect(laptop.counters.restarts).toBe(5);
      expect((await laptop.read(readOf(0))).outcome).toBe('good');
      laptop.close();
    })(),
  );
});

test('a line on which no long frame comes through still brings every read, in small pieces', async () => {
  const { clock, device, caller } = connect((message) =>
    message.length > 600 ? undefined : message,
  );
  await clock.run(
    (async () => {
      const laptop = await caller();
      const reads = [0, 8].map((lba) => laptop.read(readOf(lba)));
      const results = await Promise.all(reads);
      expect(results.map(({ data }) => data)).toEqual([sectorsAt(0, 8), sectorsAt(8, 8)]);
      expect(device.reads.map(({ lba }) => lba)).toEqual([0, 8]);
      laptop.close();
    })(),
  );
});

test('sectors of one byte travel as a fill, whatever is beside them', async () => {
  const { clock, device, line, caller } = connect();
  let bytes = 0;
  line.laptop.onMessage(() => {});
  const send = line.device.send;
  Object.assign(line.device, {
    send(message: Uint8Array) {
      bytes += message.length;
      send(message);
    },
  });
  const mixed = sectorsAt(0, 8);
  mixed.fill(0, 2 * sectorBytes, 5 * sectorBytes);
  mixed.fill(0xff, 5 * sectorBytes, 6 * sectorBytes);
  mixed.fill(7, 0, 1);
  device.read = async () => ({ outcome: 'good', goodCount: 8, elapsedMicros: 1, data: mixed });
  await clock.run(
    (async () => {
      const laptop = await caller();
      bytes = 0;
      expect((await laptop.read(readOf(0))).data).toEqual(mixed);
      expect(bytes).toBeLessThan(4 * sectorBytes + 200);
      laptop.close();
    })(),
  );
});

test('a line that goes dead is noticed by its beats and ends in LINK_TIMEOUT', async () => {
  let dead = false;
  const { clock, caller } = connect((message) => (dead ? undefined : message));
  await clock.run(
    (async () => {
      const laptop = await caller();
      const closed = new Promise((resolve) => laptop.onClose(resolve));
      dead = true;
      await expect(laptop.read(readOf(0))).rejects.toMatchObject({ code: 'LINK_TIMEOUT' });
      expect(isLastspinError(await closed, 'LINK_TIMEOUT')).toBe(true);
    })(),
  );
});

test('an imager that answers but never finishes a read is taken for stuck', async () => {
  const { clock, device, caller } = connect();
  device.read = () => new Promise(() => {});
  await clock.run(
    (async () => {
      const laptop = await caller();
      const read = laptop.read(readOf(0, { timeoutMs: 1000 }));
      await expect(read).rejects.toMatchObject({ code: 'LINK_TIMEOUT' });
      expect(clock.now()).toBeGreaterThan(300_000);
    })(),
  );
});

test('a link without a session is told to say hello, and a read is not done', async () => {
  const { clock, device, line } = connect();
  const got: string[] = [];
  line.laptop.onMessage((message) => got.push(`${kindOf(message)} ${message[5]}`));
  line.laptop.send(Uint8Array.of(commands.abort.code, 1, 0, 0, 0, 0, 0, 0, 0));
  line.laptop.send(Uint8Array.of(commands.read.code, 0, 0, 0, 0));
  await clock.advance(100);
  expect(got).toEqual(['abort response 10', 'read response 10']);
  expect(device.reads).toEqual([]);
});

test('a refused command says why, with its reply code', async () => {
  const { clock, device, caller } = connect(undefined, { capabilities: 0b11 });
  await clock.run(
    (async () => {
      const laptop = await caller();
      const reset = laptop.call(commands.reset, { kind: 1 });
      await expect(reset).rejects.toMatchObject({
        code: 'DEVICE_REFUSED',
        cause: { reply: 'unsupported' },
      });
      const tooLong = laptop.read(readOf(0, { count: 129, sectorBytes: 1 }));
      await expect(tooLong).rejects.toMatchObject({ cause: { reply: 'limit' } });
      expect((await laptop.read(readOf(8))).outcome).toBe('good');
      expect(device.reads).toHaveLength(1);
      laptop.close();
    })(),
  );
});

test('a write command is refused by both ends and never reaches the drive', async () => {
  const { clock, device, line, caller } = connect();
  await clock.run(
    (async () => {
      const laptop = await caller();
      const cdb = Uint8Array.of(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0); // WRITE (10)
      const request = { timeoutMs: 1000, cdb, lengthMax: 0 };
      const sentBefore = line.count();
      await expect(laptop.call(commands.passthrough, request)).rejects.toMatchObject({
        code: 'DEVICE_REFUSED',
        cause: { reply: 'refused' },
      });
      expect(line.count()).toBe(sentBefore);

      const { code, request: codec } = commands.passthrough;
      line.laptop.send(encodeMessage(code, 0xffff, codec, request));
      const inquiry = { ...request, cdb: Uint8Array.of(0x12, 0, 0, 0, 36, 0) };
      await laptop.call(commands.passthrough, inquiry);
      expect(device.done).toEqual(['passthrough 18']);
      laptop.close();
    })(),
  );
});

test('a command given up by its caller does not stop the others', async () => {
  const { clock, caller } = connect();
  await clock.run(
    (async () => {
      const laptop = await caller();
      const given = new AbortController();
      const identify = laptop.call(commands.identify, {}, { signal: given.signal });
      given.abort(new Error('enough'));
      await expect(identify).rejects.toThrow('enough');
      expect((await laptop.call(commands.identify, {})).model).toBe('FAKE');
      laptop.close();
    })(),
  );
});

test('what befalls the drive comes as an event', async () => {
  const { clock, device, caller } = connect();
  await clock.run(
    (async () => {
      const laptop = await caller();
      const seen: unknown[] = [];
      laptop.onEvent((event) => seen.push(event));
      const sent = [
        { kind: 'hung' },
        { kind: 'gone' },
        { kind: 'ready', afterMs: 7000 },
        { kind: 'rail-fault', rail: 12, milliamps: 4000, millivolts: 9000, fault: 'overCurrent' },
        { kind: 'over-temperature', celsius: 58.5, action: 'off' },
        { kind: 'resting', restMs: 60_000 },
        { kind: 'stepped-down', stage: 2 },
      ] as const;
      for (const event of sent) device.onEvent(event);
      await clock.sleep(10);
      expect(seen).toEqual(sent);
      laptop.close();
    })(),
  );
});
