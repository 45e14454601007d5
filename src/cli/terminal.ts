import type { WriteStream } from 'node:tty';
import type { Terminal } from '../show/terminal.js';

/** A stream as a place for progress. Colours follow NO_COLOR and the terminal. */
export function terminalOf(stream: NodeJS.WriteStream | WriteStream): Terminal {
  const live = stream.isTTY === true;
  return {
    write: (text) => void stream.write(text),
    live,
    get columns() {
      return stream.columns ?? 80;
    },
    colors: live && stream.hasColors() && !process.env.NO_COLOR,
  };
}
