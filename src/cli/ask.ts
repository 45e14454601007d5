import type { Readable } from 'node:stream';
import { LastspinError } from '../errors.js';
import type { Person } from '../power/manual.js';

const escapeKey = '\x1b';

/** Whoever sits at the terminal. A job's own keys go on working meanwhile: an Enter counts as the answer only
 * where nothing was typed before it. Throws USAGE without a terminal. */
export function personAt(
  input: Readable & { readonly isTTY?: boolean },
  output: { readonly isTTY?: boolean },
  say: (line: string) => void,
): Person {
  if (!input.isTTY || !output.isTTY)
    throw new LastspinError('USAGE', '--power manual: nobody to ask; it needs a terminal');
  return {
    tell: say,
    async ask(request, signal) {
      signal?.throwIfAborted();
      say(`>> ${request}`);
      const wasFlowing = input.readableFlowing === true;
      await new Promise<void>((resolve, reject) => {
        const listener = onEnter(() => end(resolve));
        const onAbort = () => end(() => reject(signal?.reason));
        const end = (settle: () => void) => {
          input.off('data', listener);
          signal?.removeEventListener('abort', onAbort);
          if (!wasFlowing) input.pause();
          settle();
        };
        input.on('data', listener);
        signal?.addEventListener('abort', onAbort, { once: true });
        input.resume();
      });
    },
  };
}

function onEnter(answered: () => void): (bytes: Buffer | string) => void {
  let hasTyped = false;
  return (bytes) => {
    for (const key of bytes.toString()) {
      const isEnter = key === '\r' || key === '\n';
      if (isEnter && !hasTyped) return answered();
      hasTyped = !isEnter && key !== escapeKey;
    }
  };
}
