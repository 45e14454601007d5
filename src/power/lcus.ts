/** LCUS relay boards, one to eight relays behind a CH340 serial chip: 9600 baud, 8N1. */

import type { Duplex } from 'node:stream';
import type { Clock } from '../clock.js';
import { LastspinError, reasonOf } from '../errors.js';
import type { RelayBoard } from './relay.js';

export const lcusBaudRate = 9600;

/** A0, relay, 1 or 0, and the sum of the three modulo 256 (LC Technology's description of the board). */
export function lcusCommand(relay: number, attracted: boolean): Uint8Array {
  const action = attracted ? 1 : 0;
  return Uint8Array.of(0xa0, relay, action, (0xa0 + relay + action) & 0xff);
}

/** What boards of several relays take for a question. The zeros complete a command for boards that do not know
 * it and always take four bytes: they would take the start of the next command for its rest. */
export const lcusQuery: Uint8Array = Uint8Array.of(0xff, 0, 0, 0);

const relaysMax = 8;

/** Two answers are about: a byte 00 or 01 for each relay, or text as `CH1:OFF \r\nCH2:ON \r\n`. Undefined for
 * anything else, and for silence. */
export function parseLcusStates(bytes: Uint8Array): readonly boolean[] | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.every((byte) => byte <= 1))
    return bytes.length <= relaysMax ? [...bytes].map((byte) => byte === 1) : undefined;
  const text = Buffer.from(bytes).toString('latin1');
  const found = [...text.matchAll(/CH\s*(\d):?\s*(ON|OFF)/gi)];
  const inOrder = found.every(([, number], at) => Number(number) === at + 1);
  if (found.length === 0 || !inOrder) return undefined;
  return found.map(([, , state = '']) => state.toUpperCase() === 'ON');
}

/** An open serial port. */
export interface SerialLine {
  readonly stream: Duplex;
  close(): void;
}

/** A relay takes up to 10 ms to move, and boards tell of it only then. */
const settleMs = 50;
/** Text for eight relays takes 90 ms at 9600 baud. */
const answerMs = 300;

/** The board at the port that `open` opens. The port stays open, so that no other program switches meanwhile,
 * and is opened again where it went away. A board that answers no question once is not asked again.
 * Throws what `open` throws; `move` throws POWER_FAILED. */
export async function openLcusBoard(
  name: string,
  open: () => Promise<SerialLine>,
  clock: Clock,
): Promise<RelayBoard> {
  let line: OpenLine | undefined = watched(await open());
  let tells = true;

  async function lineNow(): Promise<OpenLine> {
    if (line && !line.isGone()) return line;
    line?.close();
    line = undefined;
    line = watched(await open());
    return line;
  }

  return {
    async move(relay, attracted) {
      const command = lcusCommand(relay, attracted);
      try {
        // A cable that was pulled shows at the first write.
        await (await lineNow()).send(command).catch(async () => (await lineNow()).send(command));
      } catch (error) {
        const message = `relay ${relay} of ${name}: ${reasonOf(error)}`;
        throw new LastspinError('POWER_FAILED', message, { cause: error });
      }
      await clock.sleep(settleMs);
    },
    async states() {
      if (!tells) return undefined;
      const states = parseLcusStates(await (await lineNow()).ask(lcusQuery, clock));
      tells = states !== undefined;
      return states;
    },
    async close() {
      line?.close();
      line = undefined;
    },
  };
}

type OpenLine = ReturnType<typeof watched>;

function watched({ stream, close }: SerialLine) {
  let received = Buffer.alloc(0);
  let gone: Error | undefined;
  stream.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
  });
  stream.on('error', (error) => {
    gone ??= error;
  });
  stream.on('close', () => {
    gone ??= new Error('the port is gone; was it unplugged?');
  });
  const send = (bytes: Uint8Array) =>
    new Promise<void>((resolve, reject) => {
      if (gone) return reject(gone);
      stream.write(bytes, (error) => {
        if (!error) return resolve();
        gone ??= error;
        reject(error);
      });
    });
  return {
    isGone: () => gone !== undefined,
    send,
    async ask(question: Uint8Array, clock: Clock): Promise<Uint8Array> {
      received = Buffer.alloc(0);
      await send(question);
      await clock.sleep(answerMs);
      return received;
    },
    close,
  };
}
