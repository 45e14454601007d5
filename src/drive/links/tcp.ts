/** TCP: one connection is one link (PROTOCOL.md T-4). */
import { connect, type Socket } from 'node:net';
import type { Clock } from '../../clock.js';
import { LastspinError, reasonOf } from '../../errors.js';
import type { Transport } from './wire.js';

const connectTimeoutMs = 5000;

/** The imager that listens at `host` and `port`; opened again it is another connection. */
export function tcpTransport(
  { host, port }: { readonly host: string; readonly port: number },
  clock: Clock,
): Transport {
  return {
    canReopen: true,
    async open() {
      const socket = await connectTo(host, port, clock);
      return { stream: socket, close: () => void socket.destroy() };
    },
  };
}

function connectTo(host: string, port: number, clock: Clock): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // No delay: a small request behind a small answer would wait for its acknowledgement.
    const opening = connect({ host, port, noDelay: true, keepAlive: true });
    const cancel = clock.after(connectTimeoutMs, () => {
      opening.destroy(new Error(`no answer within ${connectTimeoutMs / 1000} s`));
    });
    const onError = (error: Error) => {
      cancel();
      reject(connectFailure(host, port, error));
    };
    opening.once('error', onError);
    opening.once('connect', () => {
      cancel();
      opening.off('error', onError);
      resolve(opening);
    });
  });
}

function connectFailure(host: string, port: number, error: Error): LastspinError {
  const code = (error as NodeJS.ErrnoException).code;
  const why =
    code === 'ECONNREFUSED'
      ? 'nothing listens there; is the imager on?'
      : code === 'ENOTFOUND' || code === 'EAI_AGAIN'
        ? 'no such host'
        : reasonOf(error);
  return new LastspinError('DRIVE_OPEN_FAILED', `cannot connect to ${host} port ${port}: ${why}`, {
    cause: error,
  });
}
