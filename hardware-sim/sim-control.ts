/** A Unix socket by which a test or a script does to a simulated device what a hand or a relay would. */
import { createServer } from 'node:net';
import { reasonOf } from '../src/errors.js';
import { cannotServe } from './plug.js';

export type Deeds = Readonly<Record<string, () => void | Promise<void>>>;

/** Answers each line that is the name of a deed with `ok` when it is done, and with a line that begins with
 * `error:` when it failed. One after the other. Throws FILE_FAILED where the socket cannot be made. */
export async function openControl(path: string, deeds: Deeds): Promise<{ close(): Promise<void> }> {
  let last: Promise<unknown> = Promise.resolve();
  const act = async (line: string): Promise<string> => {
    const deed = deeds[line];
    if (!deed) return `error: '${line}' is none of ${Object.keys(deeds).join(', ')}`;
    try {
      await deed();
      return 'ok';
    } catch (error) {
      return `error: ${reasonOf(error)}`;
    }
  };
  const server = createServer((socket) => {
    let held = '';
    socket.on('error', () => {});
    socket.setEncoding('utf8').on('data', (text: string) => {
      const lines = (held + text).split('\n');
      held = lines.pop() ?? '';
      for (const line of lines) {
        last = last.then(() => act(line.trim())).then((answer) => socket.write(`${answer}\n`));
      }
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotServe(path, error)));
    server.listen(path, resolve);
  });
  return {
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
