import { readFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { headers } from '../../firmware-protocol/c-header.js';
import {
  capabilityBits,
  type PowerState,
  powerActions,
  powerStates,
  readOutcomes,
} from '../../firmware-protocol/commands.js';
import { type PowerInput, powerCell } from '../../firmware-protocol/power-table.js';
import { build, firmwareFolder, lacksCompiler } from './posix-build.js';
import { type Ran, Rig, type Said } from './rig.js';

describe('the generated headers', () => {
  test.each(Object.entries(headers()))('%s is what the tables say', (name, text) => {
    const committed = readFileSync(`${firmwareFolder}/${name}`, 'utf8');
    expect(committed === text, `${name} is out of date: npm run generate`).toBe(true);
  });
});

function load<T>(name: string): T[] {
  const path = new URL(`../../firmware-protocol/vectors/${name}`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8')) as T[];
}

const names = (ran: Ran) => ran.said.map((one) => one.name);
const rails = (ran: Ran) =>
  ran.acts.filter(({ kind }) => kind === 'rails').map(({ atMs, numbers }) => [atMs, numbers[0]]);
const railFaults = (ran: Ran) => ran.said.filter((one) => one.name === 'rail-fault');
const on = { action: powerActions.on, offMs: 0, standbyFirst: 0 };
const off = { action: powerActions.off, offMs: 0, standbyFirst: 0 };
const readOf = (more: Readonly<Record<string, number>> = {}) => ({
  batch: 1,
  lba: 8,
  count: 4,
  timeoutMs: 1000,
  slowMs: 0,
  stopOn: 0,
  releaseBelow: 0,
  ...more,
});

describe.skipIf(lacksCompiler())('the C core', () => {
  let program: string;
  let smallProgram: string;
  const rigs: Rig[] = [];
  beforeAll(() => {
    program = build('rig');
    smallProgram = build('rig', { defines: '-DRIG_FRAME_BYTES_MAX=64' });
  });
  afterEach(() => {
    for (const rig of rigs.splice(0)) rig.close();
  });
  function open(which = program): Rig {
    const rig = new Rig(which);
    rigs.push(rig);
    return rig;
  }
  async function started(): Promise<Rig> {
    const rig = open();
    await rig.start();
    return rig;
  }

  describe('on the golden vectors', () => {
    test('stuffs every frame as it is written down', async () => {
      const rig = open();
      for (const { message, frame } of load<{ message: string; frame: string }>('frames.json')) {
        expect(await rig.raw(`encode ${message}`)).toEqual([`frame ${frame}`]);
      }
    });

    test('takes every stream apart as it is written down', async () => {
      interface Stream {
        readonly name: string;
        readonly frameBytesMax: number;
        readonly stream: string;
        readonly messages: readonly string[];
        readonly discarded: Readonly<Record<string, number>>;
      }
      const programs = new Map([
        [300, open()],
        [64, open(smallProgram)],
      ]);
      for (const vector of load<Stream>('streams.json')) {
        const { tooLong, badCobs, badCrc, tooShort } = vector.discarded;
        expect(
          await programs.get(vector.frameBytesMax)!.raw(`stream ${vector.stream}`),
          vector.name,
        ).toEqual([
          ...vector.messages.map((message) => `message ${message}`),
          `discarded ${tooLong} ${badCobs} ${badCrc} ${tooShort}`,
        ]);
      }
    });

    test('takes every message apart and puts it together again', async () => {
      interface Message {
        readonly name: string;
        readonly message: string;
        readonly frame: string;
        readonly fields: Readonly<Record<string, number | string>>;
      }
      const rig = open();
      for (const vector of load<Message>('messages.json')) {
        const lines = await rig.raw(`fields ${vector.message}`);
        // Text stands for itself in the vectors, bytes as hex.
        const values = Object.values(vector.fields).map((value) =>
          typeof value === 'number' ? [`value ${value}`] : [`value x${value}`, textLine(value)],
        );
        expect(lines.at(-1), vector.name).toBe(`again ${vector.message}`);
        expect(lines.length, vector.name).toBe(values.length + 1);
        for (const [at, expected] of values.entries()) expect(expected).toContain(lines[at]);
        expect(await rig.raw(`encode ${vector.message}`)).toEqual([`frame ${vector.frame}`]);
      }
    });

    const textLine = (value: string) => `value x${Buffer.from(value).toString('hex')}`;
  });

  describe('power', () => {
    const states = Object.entries(powerStates) as [PowerState, number][];
    const actions = [
      ['power on', powerActions.on],
      ['power off', powerActions.off],
      ['power cycle', powerActions.cycle],
    ] as const satisfies readonly (readonly [PowerInput, number])[];

    test('P-2: every state answers every power command by the table', async () => {
      const rig = await started();
      for (const [state, number] of states) {
        for (const [input, action] of actions) {
          await rig.do(`state ${number}`);
          const request = { action, offMs: 60_000, standbyFirst: 0 };
          const answer = await rig.ask('power', request);
          const cell = powerCell(state, input);
          const expected =
            cell === 'limit' ? undefined : ((cell === 'same' ? state : cell) as PowerState);
          expect(answer.reply, `${input} in ${state}`).toBe(expected ? 'ok' : 'limit');
          if (expected) expect(answer.value.powerState).toBe(powerStates[expected]);
        }
      }
    });

    test('P-2: every state answers reset, park and identify by the table', async () => {
      for (const [state, number] of states) {
        const rig = await started();
        const ask = async (name: 'reset' | 'park' | 'identify', input: PowerInput) => {
          await rig.do(`state ${number}`);
          const request = name === 'identify' ? {} : { kind: 1 };
          const told = await rig.tell(name, request);
          const ran = await rig.run(0);
          const cell = powerCell(state, input);
          const reply = ran.said.find((one) => one.name === name)?.reply;
          const isDone = [...told.acts, ...ran.acts].some(({ kind }) => kind === name);
          const expected = { noDrive: 'noDrive', busy: 'busy' }[cell as string];
          expect(reply ?? 'none', `${name} in ${state}`).toBe(
            expected ?? (name === 'reset' ? 'ok' : 'none'),
          );
          expect(isDone).toBe(expected === undefined && cell !== 'wait');
          if (name === 'park' && isDone) await rig.do('parked 1');
        };
        await ask('reset', 'reset');
        await ask('park', 'park');
        await ask('identify', 'identify, passthrough');
      }
    });

    test('P-1: rails are as they were after a restart, and off after a loss of power', async () => {
      for (const [state, number] of states) {
        for (const [cause, what] of [
          [1, ''],
          [2, ''],
          [3, ''],
          [4, ''],
          [5, ''],
          [4, 'spoilt'],
          [4, 'lost'],
        ] as const) {
          const rig = await started();
          await rig.do(`state ${number}`);
          // Anything that is kept takes the state with it.
          await rig.ask('watchdog', { stopReadsMs: 1, unloadMs: 0, standbyMs: 0, offMs: 77_000 });
          const booted = await rig.do(`boot ${cause} ${what}`);
          const outlives = cause > 2 && what === '';
          const expected = powerCell(state, outlives ? 'restart' : 'boot') as PowerState;
          const isUp = expected === 'on-not-ready';
          expect(rails(booted), `${state}, cause ${cause} ${what}`).toEqual([[0, isUp ? 3 : 0]]);
          await rig.do('open 0');
          const hello = await rig.hello(1);
          expect(hello.value).toMatchObject({ bootCause: cause, bootId: outlives ? 101 : 100 });
          const { powerState } = await rig.status();
          // An off-time of nothing is over at once, and what was ramping goes on then.
          const after =
            expected === 'cooling' ? (state === 'ramping' ? 'ramping' : 'off') : expected;
          expect(powerState, `${state}, cause ${cause} ${what}`).toBe(powerStates[after]);
        }
      }
    });

    test('P-5, P-3: 5 V first, 12 V soon after; and the other way round', async () => {
      const rig = await started();
      await rig.run(100);
      await rig.say('power', on);
      expect(rails(await rig.run(50))).toEqual([[10, 3]]);
      expect(await rig.status()).toMatchObject({ powerState: 3, powerCycles: 1 });
      await rig.say('power', off);
      expect(rails(await rig.run(50))).toEqual([[10, 0]]);
      expect(await rig.status()).toMatchObject({ powerState: 1, powerCycles: 1 });
    });

    test('P-5: a rail that does not rise within 50 ms takes the other with it', async () => {
      const rig = await started();
      await rig.do('volts 5000 9000');
      await rig.say('power', on);
      const ran = await rig.run(200);
      expect(rails(ran)).toEqual([
        [10, 3],
        [60, 0],
      ]);
      expect(railFaults(ran).map((one) => one.value)).toEqual([
        { rail: 12, milliamps: 500, millivolts: 9000, fault: 2 },
      ]);
      expect(await rig.ask('power', on)).toMatchObject({ reply: 'limit' });
    });

    test('P-3: the off-time counts from both rails being down, and a rail that stays up is told of', async () => {
      const rig = await started();
      await rig.powerOn();
      await rig.do('volts 5000 300');
      await rig.say('power', { action: powerActions.cycle, offMs: 2000, standbyFirst: 0 });
      const stuck = await rig.run(6000);
      expect(railFaults(stuck).map((one) => one.value)).toMatchObject([{ rail: 5, fault: 3 }]);
      expect(railFaults(stuck)[0]!.atMs).toBe(5000);
      await rig.do('volts 400 300');
      // Seen down at once, at the first call.
      expect(rails(await rig.run(2050))).toEqual([
        [2000, 1],
        [2010, 3],
      ]);
    });

    test('P-2: in cooling, on is remembered, and off replaces it', async () => {
      const rig = await started();
      await rig.powerOn();
      const cycle = { action: powerActions.cycle, offMs: 1000, standbyFirst: 0 };
      await rig.say('power', cycle);
      await rig.run(500);
      await rig.ask('power', { ...off, offMs: 800 });
      expect(rails(await rig.run(3000))).toEqual([]);
      await rig.powerOn();
      await rig.say('power', { ...off, offMs: 1000 });
      await rig.run(500);
      await rig.ask('power', on);
      expect(rails(await rig.run(1000))).toHaveLength(2);
    });

    test('S-7: over-current cuts both rails at once, but not while the motor starts', async () => {
      const rig = await started();
      await rig.powerOn();
      await rig.do('amps 700 2500');
      // Blanked for 3 s from the rails being up.
      expect(railFaults(await rig.run(2900))).toEqual([]);
      const ran = await rig.run(200);
      expect(railFaults(ran).map((one) => one.value)).toMatchObject([{ rail: 12, fault: 1 }]);
      expect(rails(ran)).toEqual([[railFaults(ran)[0]!.atMs, 0]]);
      expect(await rig.status()).toMatchObject({ powerState: powerStates.tripped });
    });

    test("S-7: the imager's own maximum trips also while the motor starts", async () => {
      const rig = await started();
      await rig.powerOn();
      await rig.do('amps 700 4100');
      expect(rails(await rig.run(1))).toEqual([[0, 0]]);
      const tooMuch = { rail5MilliampsMax: 3001, rail12MilliampsMax: 0, blankingMs: 0 };
      const heat = { parkTemperature: -32_768, offTemperature: -32_768 };
      expect(await rig.ask('limits', { ...tooMuch, ...heat })).toMatchObject({ reply: 'limit' });
    });

    test('S-8: heat parks, then cuts, each told once until it has cooled by 3 degrees', async () => {
      const rig = await started();
      await rig.powerOn();
      await rig.do('heat 500');
      const parked = await rig.run(10);
      expect(parked.acts).toMatchObject([{ kind: 'park', numbers: [2] }]);
      expect(parked.said.map((one) => one.value)).toEqual([{ temperature: 500, action: 1 }]);
      await rig.do('parked 1');
      await rig.do('heat 475');
      await rig.run(10);
      await rig.do('heat 505');
      expect((await rig.run(10)).said).toEqual([]);
      await rig.do('heat 600');
      const cut = await rig.run(10);
      expect(rails(cut)).toEqual([[0, 0]]);
      expect(cut.said.map((one) => one.value)).toEqual([{ temperature: 600, action: 2 }]);
      await rig.ask('power', off);
      await rig.run(100);
      expect(await rig.ask('power', on)).toMatchObject({ reply: 'limit' });
    });

    test('P-4: the heads are parked before the cut, which waits two seconds at most', async () => {
      const rig = await started();
      await rig.powerOn();
      const id = await rig.say('power', { ...off, standbyFirst: 1 });
      const begun = await rig.run(500);
      expect(begun.acts).toMatchObject([{ kind: 'park', atMs: 0, numbers: [2] }]);
      await rig.do('parked 1');
      const cut = await rig.run(20);
      expect(rails(cut)).toMatchObject([
        [0, 1],
        [10, 0],
      ]);
      expect(cut.said).toMatchObject([{ name: 'power', id, value: { powerState: 6 } }]);
      await rig.powerOn();
      await rig.say('power', { ...off, standbyFirst: 1 });
      expect(rails(await rig.run(3000))[0]).toEqual([2000, 1]);
    });

    test('P-2, P-4: a trip while a cycle waits for the heads leaves the drive off', async () => {
      const rig = await started();
      await rig.powerOn();
      const cycle = { action: powerActions.cycle, offMs: 1000, standbyFirst: 1 };
      const id = await rig.say('power', cycle);
      await rig.run(100);
      await rig.do('amps 700 4100');
      const tripped = await rig.run(500);
      expect(rails(tripped)).toEqual([[0, 0]]);
      await rig.do('amps 0 0');
      await rig.do('parked 1');
      const later = await rig.run(10_000);
      expect(rails(later).filter(([, up]) => up !== 0)).toEqual([]);
      const answers = [...tripped.said, ...later.said].filter((one) => one.name === 'power');
      expect(answers).toMatchObject([{ id, reply: 'ok' }]);
      expect((await rig.status()).powerState).toBe(powerStates.off);
    });
  });

  describe('a silent laptop (W)', () => {
    test('is answered by stages, and reads that wait come back', async () => {
      const rig = await started();
      await rig.powerOn();
      await rig.ask('watchdog', {
        stopReadsMs: 1000,
        unloadMs: 2000,
        standbyMs: 3000,
        offMs: 5000,
      });
      await rig.say('read', readOf({ timeoutMs: 60_000 }), { id: 0 });
      await rig.say('read', readOf(), { id: 1 });
      const quiet = await rig.run(1500);
      expect(quiet.said).toMatchObject([{ name: 'stepped-down', atMs: 1000 }]);
      // W-2: the one under way keeps its deadline, and comes first.
      await rig.do('done 0 4 7');
      const outcomes = (await rig.run(0)).said.filter((one) => one.name === 'read');
      expect(outcomes.map((one) => one.value.outcome)).toEqual([
        readOutcomes.good,
        readOutcomes['not-attempted'],
      ]);
      const stages = await rig.run(500);
      expect(stages.acts).toMatchObject([{ kind: 'park', numbers: [1] }]);
      await rig.do('parked 1');
      expect((await rig.run(1000)).acts).toMatchObject([{ kind: 'park', numbers: [2] }]);
      await rig.do('parked 1');
      expect(rails(await rig.run(3000))).toEqual([
        [2000, 1],
        [2010, 0],
      ]);
    });

    test('W-3: starts with the first HELLO, and keeps its times over a restart', async () => {
      const rig = open();
      await rig.do('boot 1');
      await rig.do('open 0');
      await rig.hello(1);
      await rig.powerOn();
      await rig.ask('watchdog', { stopReadsMs: 0, unloadMs: 0, standbyMs: 0, offMs: 5000 });
      await rig.run(4000);
      await rig.do('boot 3');
      await rig.do('open 0');
      expect(rails(await rig.run(4990))).toEqual([]);
      expect(rails(await rig.run(30))).toHaveLength(2);
    });

    test('W-3: rests that were asked for outlive a restart too', async () => {
      const rig = await started();
      await rig.powerOn();
      await rig.ask('throttle', { bytesPerSecondMax: 0, restEveryMs: 1000, restMs: 500 });
      await rig.do('boot 3');
      await rig.do('open 0');
      await rig.hello(2);
      await rig.run(1100);
      await rig.do('ready');
      await rig.run(0);
      await rig.say('read', readOf(), { id: 0 });
      expect((await rig.run(0)).said).toMatchObject([{ name: 'resting', value: { restMs: 500 } }]);
    });

    test('W-1: what has an answer starts the time anew', async () => {
      const rig = await started();
      await rig.powerOn();
      await rig.ask('watchdog', { stopReadsMs: 0, unloadMs: 0, standbyMs: 0, offMs: 1000 });
      for (let times = 0; times < 5; times++) {
        expect(rails(await rig.run(900))).toEqual([]);
        await rig.status();
      }
      // Noise is nobody.
      await rig.run(900);
      await rig.do('rx 0 0011223300');
      expect(rails(await rig.run(200))).toHaveLength(2);
    });
  });

  describe('sessions and commands', () => {
    test('H-7: another program waits until the first has been silent for 5 s', async () => {
      const rig = await started();
      await rig.do('open 1');
      await rig.run(4000);
      expect(await rig.hello(2, 1)).toMatchObject({ reply: 'busy' });
      await rig.status();
      await rig.run(4999);
      expect(await rig.hello(2, 1)).toMatchObject({ reply: 'busy' });
      await rig.run(1);
      expect(await rig.hello(2, 1)).toMatchObject({ reply: 'ok' });
      expect(await rig.ask('status')).toMatchObject({ reply: 'helloFirst' });
    });

    test('C-3: a copy is answered again and not done again; one that was forgotten is dropped', async () => {
      const rig = await started();
      await rig.ask('power', on, { id: 10 });
      await rig.run(50);
      await rig.ask('power', off, { id: 11 });
      await rig.run(50);
      // The first again: answered as it was, and the rails stay down.
      expect(await rig.ask('power', on, { id: 10 })).toMatchObject({ value: { powerState: 2 } });
      expect(rails(await rig.run(50))).toEqual([]);
      for (const id of [12, 13, 14]) await rig.ask('throttle', noThrottle, { id });
      await rig.say('power', on, { id: 10 });
      expect(await rig.run(50)).toEqual({ acts: [], said: [] });
    });

    const noThrottle = { bytesPerSecondMax: 0, restEveryMs: 0, restMs: 0 };

    test('C-6, V-3: what is not offered and what is not known are said to be', async () => {
      const rig = await started();
      expect(
        await rig.ask('passthrough', { timeoutMs: 1, cdb: new Uint8Array(6), lengthMax: 0 }),
      ).toMatchObject({ reply: 'unsupported' });
      const bits = capabilityBits.watchdog;
      await rig.do(`can ${bits}`);
      expect(await rig.ask('power', on)).toMatchObject({ reply: 'unsupported' });
      expect(await rig.ask('read', readOf(), { id: 0 })).toMatchObject({ reply: 'unsupported' });
      // Request 0x30, id 9.
      const [frame = ''] = await rig.raw('encode 3009000000');
      await rig.do(`rx 0 ${frame.slice('frame '.length)}`);
      expect((await rig.run(0)).said).toMatchObject([{ name: 'code 176', id: 9 }]);
    });
  });

  describe('reads', () => {
    async function ready(): Promise<Rig> {
      const rig = await started();
      await rig.powerOn();
      return rig;
    }
    /** What came of a read: its response, and its data put together from the pieces. */
    function resultOf(ran: Ran, id: number): { response: Said; data: Buffer } {
      const response = ran.said.find((one) => one.name === 'read' && one.id === id)!;
      const data = Buffer.alloc(Number(response.value.dataBytes ?? 0), 0xee);
      for (const { name, id: of, value } of ran.said) {
        if (of !== id) continue;
        const at = Number(value.offset);
        if (name === 'data') data.set(value.bytes as Uint8Array, at);
        if (name === 'fill') data.fill(Number(value.byte), at, at + Number(value.length));
      }
      return { response, data };
    }

    test('R-3, R-5, R-13: pieces and fills, then the response', async () => {
      const rig = await ready();
      await rig.say('read', readOf(), { id: 0 });
      expect((await rig.run(0)).acts).toMatchObject([{ kind: 'read', numbers: [8, 4, 1000] }]);
      await rig.do('done 0 4 9');
      const ran = await rig.run(0);
      const { response, data } = resultOf(ran, 0);
      expect(response.value).toMatchObject({ outcome: 0, goodCount: 4, lba: 8, dataBytes: 2048 });
      expect(crc32(data)).toBe(response.value.dataCrc);
      expect(names(ran).at(-1)).toBe('read');
      expect(names(ran).filter((name) => name === 'fill')).toHaveLength(2);
    });

    test('R-8, R-9: a gap is told of, and told again; a copy costs no second command', async () => {
      const rig = await ready();
      await rig.say('read', readOf(), { id: 1 });
      expect((await rig.run(0)).said).toMatchObject([{ name: 'gap', value: { readIdNext: 0 } }]);
      await rig.say('read', readOf(), { id: 1 });
      expect((await rig.run(199)).said).toEqual([]);
      await rig.run(1);
      await rig.say('read', readOf(), { id: 1 });
      expect(names(await rig.run(0))).toEqual(['gap']);
      await rig.say('read', readOf(), { id: 0 });
      await rig.run(0);
      await rig.do('done 0 4 9');
      await rig.run(0);
      await rig.say('read', readOf(), { id: 0 });
      const again = await rig.run(0);
      expect(again.acts).toEqual([]);
      expect(names(again)).toEqual(['read']);
      const id = await rig.say('resend', { readId: 0, offset: 600, length: 100 });
      const resent = await rig.run(0);
      expect(resent.said.map(({ name, id: of }) => [name, of])).toEqual([
        ['data', 0],
        ['read', 0],
        ['resend', id],
      ]);
      await rig.say('read', readOf({ releaseBelow: 1 }), { id: 1 });
      const gone = await rig.ask('resend', { readId: 0, offset: 0, length: 1 });
      expect(gone).toMatchObject({ reply: 'unknownRead' });
    });

    test('R-4: reads beyond what was offered are dropped and use up no id', async () => {
      const rig = await ready();
      for (let id = 0; id < 3; id++) await rig.say('read', readOf({ count: 12 }), { id });
      // Two of them ask for 12 KiB; with the third they would ask for more than 16.
      expect(await rig.status()).toMatchObject({ readIdNext: 2 });
    });

    test('R-6: a stop ends its batch, also for reads still to arrive', async () => {
      const rig = await ready();
      const stopping = readOf({ stopOn: 1 });
      await rig.say('read', stopping, { id: 0 });
      await rig.say('read', stopping, { id: 1 });
      await rig.run(0);
      await rig.do('done 2 1 9');
      await rig.say('read', stopping, { id: 2 });
      await rig.say('read', readOf({ batch: 2 }), { id: 3 });
      const ran = await rig.run(0);
      expect(ran.said.filter((one) => one.name === 'read').map((one) => one.value.outcome)).toEqual(
        [readOutcomes.fault, readOutcomes['not-attempted'], readOutcomes['not-attempted']],
      );
      expect(ran.acts).toMatchObject([{ kind: 'read' }]);
    });

    test('R-2, P-7: a deadline is kept; a drive still busy 2 s later is hung, until it answers', async () => {
      const rig = await ready();
      await rig.say('read', readOf({ timeoutMs: 700 }), { id: 0 });
      const late = await rig.run(3000);
      expect(late.acts.map(({ kind, atMs }) => [kind, atMs])).toEqual([
        ['read', 0],
        ['give-up', 700],
      ]);
      expect(late.said.map(({ name, atMs }) => [name, atMs])).toEqual([
        ['read', 700],
        ['hung', 2700],
      ]);
      expect(await rig.status()).toMatchObject({ powerState: 5, driveBusy: 1 });
      // The next one waits for it in vain.
      await rig.say('read', readOf({ timeoutMs: 300 }), { id: 1 });
      expect((await rig.run(300)).acts).toEqual([]);
      await rig.do('done 0 4 9');
      const back = await rig.run(0);
      expect(names(back)).toEqual(['ready']);
      expect(await rig.status()).toMatchObject({ powerState: 4, driveBusy: 0 });
    });

    test('R-7: a cut ends what is under way, and what waits is not attempted', async () => {
      const rig = await ready();
      for (const id of [0, 1]) await rig.say('read', readOf({ batch: id }), { id });
      await rig.run(10);
      await rig.say('power', off);
      const ran = await rig.run(50);
      expect(ran.said.filter((one) => one.name === 'read').map((one) => one.value.outcome)).toEqual(
        [readOutcomes.timeout, readOutcomes['not-attempted']],
      );
      await rig.say('read', readOf({ batch: 5 }), { id: 2 });
      const dark = await rig.run(0);
      expect(dark.said.map((one) => one.value.outcome)).toEqual([readOutcomes.gone]);
    });

    test('R-11: a result that its link cut off is sent whole on the next', async () => {
      const rig = await ready();
      await rig.say('read', readOf(), { id: 0 });
      await rig.run(0);
      await rig.do('done 0 4 9');
      await rig.do('room 100');
      expect(names(await rig.run(6))).toContain('data');
      await rig.do('close 0');
      await rig.run(5);
      await rig.do('open 1');
      const request = { magic: 0x4e50534c, major: 1, minor: 0, frameBytesMax: 256, session: 1 };
      const hello = await rig.say('hello', request, { link: 1 });
      const ran = await rig.run(100);
      expect(ran.said[0]).toMatchObject({ name: 'hello', id: hello, value: { readIdNext: 1 } });
      const { response, data } = resultOf(ran, 0);
      expect(crc32(data)).toBe(response.value.dataCrc);
      expect(ran.acts).toEqual([]);
    });

    test('R-9: a piece on its way keeps its bytes though its read is released', async () => {
      const rig = await ready();
      await rig.say('read', readOf(), { id: 0 });
      await rig.run(0);
      await rig.do('done 0 4 9');
      const first = resultOf(await rig.run(0), 0);
      await rig.do('room 50');
      await rig.say('resend', { readId: 0, offset: 840, length: 180 });
      await rig.run(1);
      await rig.say('read', readOf({ releaseBelow: 1, count: 16 }), { id: 1 });
      await rig.run(0);
      await rig.do('done 0 16 77');
      await rig.do('room 60000');
      const piece = (await rig.run(0)).said.find((one) => one.name === 'data');
      expect(piece).toMatchObject({ id: 0, value: { offset: 840 } });
      expect(first.data.subarray(840, 1020).equals(piece!.value.bytes as Uint8Array)).toBe(true);
    });

    test('R-10: status counts a result as sent only when its response is out', async () => {
      const rig = await ready();
      await rig.say('read', readOf(), { id: 0 });
      await rig.run(0);
      await rig.do('done 0 4 9');
      await rig.do('room 100');
      await rig.run(2);
      await rig.say('status', {});
      const ran = await rig.run(100);
      const status = ran.said.find((one) => one.name === 'status')!;
      const isBefore = ran.said.indexOf(status) < ran.said.findIndex((one) => one.name === 'read');
      expect(status.value).toMatchObject({ readIdNext: 1, readIdDone: 0 });
      expect(isBefore).toBe(true);
      await rig.do('room 10000');
      expect(await rig.status()).toMatchObject({ readIdDone: 1 });
    });

    test('throttle: rests between reads, and keeps to the rate', async () => {
      const rig = await ready();
      await rig.ask('throttle', { bytesPerSecondMax: 20_480, restEveryMs: 1000, restMs: 500 });
      for (let id = 0; id < 3; id++) await rig.say('read', readOf(), { id });
      const starts: number[] = [];
      let now = 0;
      for (let times = 0; times < 400; times++) {
        const { acts } = await rig.run(5);
        for (const { kind, atMs } of acts) {
          if (kind !== 'read') continue;
          starts.push(now + atMs);
          await rig.do('done 0 4 9');
        }
        now += 5;
      }
      // 2,048 bytes at 20,480 a second.
      expect(starts).toHaveLength(3);
      expect(starts[1]! - starts[0]!).toBeGreaterThanOrEqual(100);
      await rig.say('read', readOf({ releaseBelow: 3 }), { id: 3 });
      const rest = await rig.run(600);
      expect(rest.said[0]).toMatchObject({ name: 'resting', value: { restMs: 500 } });
      expect(rest.acts.map(({ kind, atMs }) => [kind, atMs])).toEqual([
        ['hold', 0],
        ['park', 1],
        ['hold', 500],
      ]);
    });
  });
});
