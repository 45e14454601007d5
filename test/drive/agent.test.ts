import { describe, expect, test } from 'vitest';
import type { DeviceEvent } from '../../firmware-protocol/device.js';
import { createResponder } from '../../firmware-protocol/responder.js';
import type { WatchdogStages } from '../../firmware-protocol/watchdog.js';
import { linkPair } from '../../hardware-sim/noisy-link.js';
import { createVirtualClock, type VirtualClock } from '../../hardware-sim/virtual-clock.js';
import { createAgent } from '../../src/drive/agent.js';
import type { Drive, ReadRequest, ReadResult } from '../../src/drive/drive.js';
import { type ImagerDrive, openImager } from '../../src/drive/imager.js';
import { LastspinError } from '../../src/errors.js';
import type { Power } from '../../src/power/power.js';

const sectorBytes = 512;

/** A drive of this computer whose every answer a test may change, and a relay that only notes. */
function createBench(
  options: {
    readonly relay?: boolean;
    readonly park?: boolean;
    readonly wasOn?: boolean;
    readonly stages?: WatchdogStages;
  } = {},
) {
  const clock = createVirtualClock();
  const log: string[] = [];
  let present = true;
  let failures = 0;
  let parks = true;
  let answer: (request: ReadRequest) => Promise<Partial<ReadResult>> = async () => ({});
  const drive: Drive = {
    capabilities: {
      resets: new Set(['abort', 'hard']),
      power: false,
      park: options.park ?? true,
      readCountMax: 128,
      inFlightMax: 1,
      inFlightBytesMax: 1 << 20,
    },
    identify: async () =>
      present
        ? {
            model: 'BOARD',
            serial: 'S',
            firmware: 'F',
            sectorCount: 1000,
            sectorBytes,
            physicalSectorBytes: 4096,
          }
        : undefined,
    async read(request) {
      log.push(`read ${request.extent.lba}+${request.extent.count} in ${request.timeoutMs}`);
      await clock.sleep(5);
      const { count, lba } = request.extent;
      const goodCount = count;
      const data = new Uint8Array(goodCount * sectorBytes).fill(lba);
      return { kind: 'good', goodCount, data, elapsedMs: 5, ...(await answer(request)) };
    },
    reset: async (kind) => void log.push(`reset ${kind}`),
    readiness: async () => (present ? 'ready' : 'not-ready'),
    async park(kind) {
      if (!parks) throw new LastspinError('DEVICE_REFUSED', 'the drive does not park');
      log.push(`park ${kind}`);
    },
    close: async () => {},
  };
  const relay: Power = {
    name: 'relay',
    canHold: true,
    cycle: async () => {},
    async set(on) {
      log.push(`${clock.now()} ${on ? 'on' : 'off'}`);
      await clock.sleep(50);
      if (failures-- > 0) throw new LastspinError('POWER_FAILED', 'the relay does not answer');
      present = on;
    },
    close: async () => {},
  };
  const agent = createAgent(drive, options.relay ? relay : undefined, clock, {
    bootId: 3,
    firmware: 'agent',
    record: { isOn: options.wasOn ?? true, ...(options.stages && { stages: options.stages }) },
    keep: ({ isOn, stages }) => log.push(`keep ${isOn}${stages ? ` ${stages.offMs}` : ''}`),
  });
  const responder = createResponder(agent, clock);
  const [near, far] = linkPair(clock, {});
  responder.attach(far);
  return {
    clock,
    log,
    agent,
    answerWith: (next: typeof answer) => {
      answer = next;
    },
    breakSwitch: (times: number) => {
      failures = times;
    },
    breakPark: () => {
      parks = false;
    },
    setPresent: (is: boolean) => {
      present = is;
    },
    open: () => openImager(near, clock, { session: 9 }),
  };
}
type Bench = ReturnType<typeof createBench>;

async function withImager<T>(bench: Bench, act: (imager: ImagerDrive) => Promise<T>): Promise<T> {
  return bench.clock.run(
    (async () => {
      const imager = await bench.open();
      await imager.identify();
      const result = await act(imager);
      await imager.close();
      bench.agent.close();
      return result;
    })(),
  );
}

const request = (lba: number, count = 8): ReadRequest => ({
  extent: { lba, count },
  timeoutMs: 2000,
  slowMs: 0,
  stopOn: { fault: true, slow: false, timeout: true },
  batch: lba,
});

describe('an agent', () => {
  test('reads through its drive, one command a read, with the deadline of the laptop', async () => {
    const bench = createBench();
    const results = await withImager(bench, (imager) =>
      Promise.all([0, 8, 16].map((lba) => imager.read(request(lba)))),
    );
    expect(results.map(({ kind, data }) => `${kind} ${data[0]} ${data.length}`)).toEqual([
      'good 0 4096',
      'good 8 4096',
      'good 16 4096',
    ]);
    expect(bench.log).toEqual(['read 0+8 in 2000', 'read 8+8 in 2000', 'read 16+8 in 2000']);
  });

  test('says a medium error where the system says ENODATA, and nothing where it says EIO', async () => {
    const bench = createBench();
    bench.answerWith(async ({ extent }) => ({
      kind: 'fault',
      goodCount: 0,
      data: new Uint8Array(),
      fault: { errno: extent.lba === 0 ? 'ENODATA' : 'EIO' },
    }));
    const faults = await withImager(bench, async (imager) => [
      (await imager.read(request(0))).fault,
      (await imager.read(request(8))).fault,
    ]);
    expect(faults).toEqual([{ sense: { key: 3, asc: 0x11, ascq: 0 } }, {}]);
  });

  test('a path to the drive that breaks is a drive that is gone', async () => {
    const bench = createBench();
    const result = await withImager(bench, (imager) => {
      bench.answerWith(async () => {
        bench.setPresent(false);
        throw new LastspinError('LINK_CLOSED', 'the reader died');
      });
      return imager.read(request(0));
    });
    expect(result.kind).toBe('gone');
  });

  test('offers what its drive and its switch can, and no more', async () => {
    const bare = createBench({ park: false });
    const capabilities = await withImager(bare, async (imager) => {
      expect(imager.power).toBeUndefined();
      await expect(imager.park()).rejects.toMatchObject({ code: 'DEVICE_REFUSED' });
      return imager.capabilities;
    });
    expect(capabilities).toMatchObject({ power: false, park: false });
    expect([...capabilities.resets].sort()).toEqual(['abort', 'hard']);
  });

  test('cycles the power by its relay, the off-time counted from when it is off', async () => {
    const bench = createBench({ relay: true });
    await withImager(bench, async (imager) => {
      await imager.power?.cycle(3000);
      expect((await imager.read(request(0))).kind).toBe('good');
      expect((await imager.status()).powerCycles).toBe(1);
    });
    const moments = bench.log.filter((line) => / o(n|ff)$/.test(line));
    expect(moments.map((line) => line.split(' ')[1])).toEqual(['off', 'on']);
    const [offAt, onAt] = moments.map((line) => Number(line.split(' ')[0]));
    // Nobody measures the rails: 50 ms for the switch, two seconds for what is charged (P-3).
    expect(onAt! - offAt!).toBe(5050);
  });

  test('switches off until the switch has done it, and cuts what does not come on', async () => {
    const bench = createBench({ relay: true });
    const events: DeviceEvent[] = [];
    await withImager(bench, async (imager) => {
      imager.onEvent((event) => events.push(event));
      bench.breakSwitch(2);
      await imager.power?.set(false);
      await bench.clock.sleep(10_000);
      const switched = () => bench.log.filter((line) => / o(n|ff)$/.test(line));
      expect(switched().map((line) => line.split(' ')[1])).toEqual(['off', 'off', 'off']);
      expect((await imager.status()).powerState).toBe('off');
      expect(bench.agent.isPowering).toBe(false);
      bench.breakSwitch(1);
      await expect(imager.power?.set(true)).rejects.toMatchObject({ code: 'POWER_FAILED' });
      expect((await imager.status()).powerState).toBe('tripped');
      expect(events).toMatchObject([{ kind: 'rail-fault', fault: 'noRise' }]);
      await bench.clock.sleep(1000);
      const later = switched().slice(3);
      expect(later.map((line) => line.split(' ')[1])).toEqual(['on', 'off']);
      await imager.power?.cycle(100);
      expect(bench.agent.isPowering).toBe(true);
    });
  });

  test('starts with the power off, unless a record says that it was on', async () => {
    const fresh = createBench({ relay: true, wasOn: false });
    await withImager(fresh, async (imager) => {
      expect((await imager.read(request(0))).kind).toBe('gone');
      await fresh.clock.sleep(3000);
      expect((await imager.status()).powerState).toBe('off');
    });
    expect(fresh.log).toEqual(['keep false', '0 off']);
    const kept = createBench({ relay: true });
    await withImager(kept, async (imager) => {
      expect((await imager.read(request(0))).kind).toBe('good');
    });
    expect(kept.log).toEqual(['read 0+8 in 2000']);
  });

  test('W-3: steps down after a restart too, though no laptop ever comes', async () => {
    const { clock, agent, log } = createBench({ relay: true });
    await clock.run(clock.sleep(3_700_000).then(() => agent.close()));
    expect(log.slice(-2)).toEqual(['keep false', '3600000 off']);
    expect(agent.status().powerState).toBe('off');
  });

  test('W-3: stages that a laptop set are on record, and hold after a restart', async () => {
    const stages = { stopReadsMs: 5000, unloadMs: 0, standbyMs: 0, offMs: 10_000 };
    const before = createBench({ relay: true });
    await withImager(before, (imager) => imager.watchdog(stages));
    expect(before.log).toEqual(['keep true 10000']);
    const { clock, agent, log } = createBench({ relay: true, stages });
    await clock.run(clock.sleep(60_000).then(() => agent.close()));
    expect(log.slice(-2)).toEqual(['keep false 10000', '10000 off']);
  });

  test('P-2: a drive that comes up is waited for before it is asked who it is', async () => {
    const bench = createBench({ relay: true, wasOn: false });
    await withImager(bench, async (imager) => {
      await bench.clock.sleep(5000);
      await imager.power?.set(true);
      expect(await imager.identify()).toBeDefined();
    });
  });

  test('has nothing under way when it is closed, though its switch never worked', async () => {
    const { clock, agent, log, breakSwitch } = createBench({ relay: true, wasOn: false });
    breakSwitch(1000);
    await clock.run(
      (async () => {
        await clock.sleep(1500);
        agent.close();
        log.length = 0;
        await clock.sleep(60_000);
      })(),
    );
    expect(log).toEqual([]);
  });

  test('a drive that does not park is a refusal, and the agent serves on', async () => {
    const bench = createBench();
    await withImager(bench, async (imager) => {
      bench.breakPark();
      await expect(imager.park('standby')).rejects.toMatchObject({ code: 'DEVICE_REFUSED' });
      expect((await imager.read(request(0))).kind).toBe('good');
    });
  });

  test('is asked to switch off: parks, cuts, and tells when that is done', async () => {
    const bench = createBench({ relay: true });
    await withImager(bench, async () => {
      expect(bench.agent.isPowering).toBe(true);
      await bench.agent.switchOff();
      while (bench.agent.isPowering) await bench.clock.sleep(10);
    });
    expect(bench.log.map((line) => line.replace(/^\d+ /, ''))).toEqual([
      'park standby',
      'keep false',
      'off',
    ]);
  });

  test('a read without power is gone, and never reaches the drive', async () => {
    const bench = createBench({ relay: true });
    await withImager(bench, async (imager) => {
      await imager.power?.set(false);
      bench.log.length = 0;
      expect((await imager.read(request(0))).kind).toBe('gone');
      expect(bench.log).toEqual([]);
    });
  });

  test('a drive that answers nothing for long is hung, one that answers again is ready', async () => {
    const bench = createBench();
    const notices: string[] = [];
    await withImager(bench, async (imager) => {
      imager.onEvent(({ kind }) => notices.push(kind));
      bench.answerWith(async () => ({ kind: 'timeout', goodCount: 0, data: new Uint8Array() }));
      bench.setPresent(false);
      expect((await imager.read(request(0))).kind).toBe('timeout');
      await bench.clock.sleep(2500);
      expect((await imager.status()).powerState).toBe('hung');
      bench.setPresent(true);
      bench.answerWith(async () => ({}));
      expect((await imager.read(request(8))).kind).toBe('good');
      expect((await imager.status()).powerState).toBe('ready');
    });
    expect(notices).toEqual(['hung', 'ready']);
  });

  test('steps down when the laptop falls silent: heads off, standby, power off, in time', async () => {
    const bench = createBench({ relay: true });
    const { clock, agent, log } = bench;
    const seen: [number, DeviceEvent['kind']][] = [];
    await clock.run(
      (async () => {
        const imager = await bench.open();
        await imager.identify();
        await imager.watchdog({ stopReadsMs: 1000, unloadMs: 2000, standbyMs: 3000, offMs: 4000 });
        await imager.close();
        const { onEvent } = agent;
        agent.onEvent = (event) => {
          seen.push([Math.round(clock.now() / 100), event.kind]);
          onEvent(event);
        };
        await clock.sleep(10_000);
        agent.close();
      })(),
    );
    expect(log.filter((line) => !/^(read|keep)/.test(line))).toEqual([
      'park unload',
      'park standby',
      expect.stringMatching(/^40\d\d off$/),
    ]);
    expect(seen.map(([at]) => at)).toEqual([10, 20, 30, 40]);
    expect(agent.status().powerState).toBe('off');
  });

  test('rests as the throttle says, with the heads off the platters', async () => {
    const bench = createBench();
    await withImager(bench, async (imager) => {
      await imager.throttle({ bytesPerSecondMax: 0, restEveryMs: 50, restMs: 1000 });
      const fromMs = bench.clock.now();
      for (let lba = 0; lba < 160; lba += 8) await imager.read(request(lba));
      expect(bench.clock.now() - fromMs).toBeGreaterThan(1000);
    });
    expect(bench.log).toContain('park unload');
  });
});

test('nothing that an agent does keeps a clock going for ever', async () => {
  const bench = createBench({ relay: true });
  const clock: VirtualClock = bench.clock;
  await withImager(bench, async () => {});
  await clock.advance(100_000);
  expect(clock.pending()).toBe(0);
});
