import type { Clock } from '../clock.js';
import { formatBytes, formatDuration, formatShare } from './format.js';
import type { Terminal } from './terminal.js';

/** Redrawn in place, or a line now and then. */
const redrawIntervalMs = 250;
const lineIntervalMs = 10_000;

export interface CopyProgress {
  /** What is done now, up to how many bytes. */
  begin(verb: string, totalBytes: number): void;
  at(bytes: number): void;
  say(line: string): void;
  end(): void;
}

/** Shows how far a copy is: share, rate, and how long it will take. */
export function createCopyProgress(terminal: Terminal, clock: Clock): CopyProgress {
  let verb = '';
  let total = 0;
  let begunAtMs = 0;
  let shownAtMs = 0;
  let isDrawn = false;

  function erase(): void {
    if (isDrawn) terminal.write('\r\x1b[K');
    isDrawn = false;
  }

  function lineOf(bytes: number, nowMs: number): string {
    const elapsedMs = nowMs - begunAtMs;
    const rate = (bytes * 1000) / Math.max(1, elapsedMs);
    const leftMs = bytes > 0 ? ((total - bytes) * elapsedMs) / bytes : 0;
    return `${verb} ${formatShare(bytes, total)} of ${formatBytes(total)}  ${formatBytes(rate)}/s  ${formatDuration(leftMs)} left`;
  }

  return {
    begin(what, totalBytes) {
      verb = what;
      total = totalBytes;
      begunAtMs = clock.now();
      shownAtMs = begunAtMs;
    },
    at(bytes) {
      const nowMs = clock.now();
      if (nowMs - shownAtMs < (terminal.live ? redrawIntervalMs : lineIntervalMs)) return;
      shownAtMs = nowMs;
      erase();
      const line = lineOf(bytes, nowMs);
      terminal.write(terminal.live ? line.slice(0, terminal.columns - 1) : `${line}\n`);
      isDrawn = terminal.live;
    },
    say(line) {
      erase();
      terminal.write(`lastspin: ${line}\n`);
    },
    end: erase,
  };
}
