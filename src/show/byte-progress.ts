import type { Clock } from '../clock.js';
import { formatBytes, formatDuration, formatShare } from './format.js';
import type { Terminal } from './terminal.js';

/** How far something is that goes through so many bytes. */
export interface ByteProgress {
  readonly show: (doneBytes: number) => void;
  end(): void;
}

const redrawIntervalMs = 250;
const lineIntervalMs = 10_000;

/** One line that is redrawn; without a terminal, a line every ten seconds, the first after as many. */
export function createByteProgress(
  terminal: Terminal,
  clock: Clock,
  { verb, totalBytes }: { readonly verb: string; readonly totalBytes: number },
): ByteProgress {
  const startedAtMs = clock.now();
  let shownAtMs = startedAtMs;
  let isDrawn = false;
  return {
    show(doneBytes) {
      const nowMs = clock.now();
      if (nowMs - shownAtMs < (terminal.live ? redrawIntervalMs : lineIntervalMs)) return;
      shownAtMs = nowMs;
      const elapsedMs = nowMs - startedAtMs;
      const rate = (doneBytes * 1000) / elapsedMs;
      const leftMs = ((totalBytes - doneBytes) * 1000) / Math.max(1, rate);
      const line = `${verb} ${formatShare(doneBytes, totalBytes)} of ${formatBytes(totalBytes)}, ${formatBytes(rate)}/s, ${formatDuration(leftMs)} left`;
      terminal.write(
        terminal.live ? `\r\x1b[K${line.slice(0, terminal.columns - 1)}` : `${line}\n`,
      );
      isDrawn = true;
    },
    end() {
      if (isDrawn && terminal.live) terminal.write('\r\x1b[K');
    },
  };
}
