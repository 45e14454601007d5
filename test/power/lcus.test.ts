import { Duplex } from 'node:stream';
import { SerialPortMock } from 'serialport';
import { afterEach, describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { serialTransport } from '../../src/drive/links/serial.js';
import { lcusBaudRate, lcusCommand, openLcusBoard, parseLcusStates } from '../../src/power/lcus.js';
import { relayPower } from '../../src/power/relay.js';
import type { RelayChoice } from '../../src/power/spec.js';
import { type BoardOptions, createBoard } from './lcus-board.js';

const MockBinding = SerialPortMock.binding;
afterEach(() => MockBinding.reset());

const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (words: string) => Buffer.from(words, 'latin1');

describe('the bytes of LCUS boards', () => {
  test('as its maker prints them', () => {
    expect(lcusCommand(1, true)).toEqual(bytes(0xa0, 1, 1, 0xa2));
    expect(lcusCommand(1, false)).toEqual(bytes(0xa0, 1, 0, 0xa1));
    expect(lcusCommand(8, true)).toEqual(bytes(0xa0, 8, 1, 0xa9));
  });

  test.each([
    ['a byte a relay', bytes(1, 0, 0, 1), [true, false, false, true]],
    ['one relay', bytes(0), [false]],
    ['text', text('CH1:OFF \r\nCH2:ON \r\n'), [false, true]],
    ['text, spaced', text('CH1: ON\r\nCH2: OFF\r\n'), [true, false]],
    ['silence', bytes(), undefined],
    ['nine relays', bytes(1, 1, 1, 1, 1, 1, 1, 1, 1), undefined],
    ['an echo of the question', bytes(0xff, 0, 0, 0), undefined],
    ['text with a hole', text('CH1:OFF \r\nCH3:ON \r\n'), undefined],
  ])('states: %s', (_name, answer, states) => {
    expect(parseLcusStates(answer)).toEqual(states);
  });
});

/** The board behind a stream that can be unplugged. */
function linesTo(board: ReturnType<typeof createBoard>) {
  const opened: Duplex[] = [];
  const open = async () => {
    const stream: Duplex = new Duplex({
      read() {},
      write(data: Buffer, _encoding, done) {
        const answer = board.take(data);
        if (answer) stream.push(answer);
        done();
      },
    });
    opened.push(stream);
    return { stream, close: () => void stream.destroy() };
  };
  return { open, opened };
}

async function powerOf(options: BoardOptions, choice: Partial<RelayChoice> = {}) {
  const clock = createVirtualClock();
  const board = createBoard(options);
  const lines = linesTo(board);
  const power = relayPower(
    'lcus:/dev/x:1',
    await openLcusBoard('/dev/x', lines.open, clock),
    { relays: [1], contact: 'no', ...choice },
    clock,
  );
  return { clock, board, lines, power };
}

describe('a switch of LCUS relays', () => {
  test.each([
    'bytes',
    'text',
    'nothing',
  ] as const)('cycles a board that answers %s', async (answers) => {
    const { clock, board, power } = await powerOf({ answers });
    const fromMs = clock.now();
    await clock.run(power.cycle(5000));
    expect(board.moves).toEqual(['1 0', '1 1']);
    expect(clock.now() - fromMs).toBeGreaterThanOrEqual(5000);
    expect(await clock.run(power.isOn!())).toBe(answers === 'nothing' ? undefined : true);
  });

  test('5 V and 12 V: on in order, off the other way round', async () => {
    const { clock, board, power } = await powerOf({}, { relays: [2, 1] });
    await clock.run(power.cycle(100));
    expect(board.moves).toEqual(['1 0', '2 0', '2 1', '1 1']);
  });

  test('wired to the contact that is closed at rest: on is let go', async () => {
    const { clock, board, power } = await powerOf({}, { contact: 'nc' });
    await clock.run(power.set(false));
    expect(board.states).toEqual([true, false]);
    expect(await clock.run(power.isOn!())).toBe(false);
    await clock.run(power.set(true));
    expect(board.states).toEqual([false, false]);
    expect(await clock.run(power.isOn!())).toBe(true);
  });

  test('a relay that does not move is a failure', async () => {
    const { clock, power } = await powerOf({ stuck: 1 });
    await expect(clock.run(power.set(true))).rejects.toMatchObject({
      code: 'POWER_FAILED',
      message: 'power on by lcus:/dev/x:1: relay 1 did not move',
    });
  });

  test('so is one that the board does not have', async () => {
    const { clock, power } = await powerOf({ relays: 2 }, { relays: [4] });
    await expect(clock.run(power.set(true))).rejects.toThrow('the board has no relay 4');
  });

  test('a cable that was pulled is looked for again', async () => {
    const { clock, board, lines, power } = await powerOf({});
    await clock.run(power.set(true));
    lines.opened[0]!.destroy(new Error('the port hung up'));
    await clock.run(power.set(false));
    expect(board.states[0]).toBe(false);
    expect(lines.opened).toHaveLength(2);
  });

  test('an abort in the off-time leaves it off', async () => {
    const { clock, board, power } = await powerOf({});
    const abort = new AbortController();
    const cycling = clock.run(power.cycle(60_000, abort.signal));
    clock.after(1000, () => abort.abort(new Error('stopped')));
    await expect(cycling).rejects.toThrow('stopped');
    expect(board.moves).toEqual(['1 0']);
  });
});

test("through serialport, at the board's own rate", async () => {
  const clock = createVirtualClock();
  MockBinding.createPort('/dev/mock', { echo: false, record: true });
  let baudRate = 0;
  const transport = serialTransport({ path: '/dev/mock', baudRate: lcusBaudRate }, clock, {
    list: async () => [],
    async open(path, rate) {
      baudRate = rate;
      const port = new SerialPortMock({ path, baudRate: rate, autoOpen: false });
      await new Promise<void>((resolve, reject) => {
        port.open((error) => (error ? reject(error) : resolve()));
      });
      opened.push(port);
      return port;
    },
  });
  const opened: SerialPortMock[] = [];
  const board = await openLcusBoard('/dev/mock', transport.open, clock);
  await clock.run(board.move(2, true));
  expect(baudRate).toBe(9600);
  expect([...opened[0]!.port!.recording]).toEqual([0xa0, 2, 1, 0xa3]);
  await board.close();
  await expect.poll(() => opened[0]!.isOpen).toBe(false);
});
