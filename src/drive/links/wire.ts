import type { Duplex } from 'node:stream';

/** An open byte stream to an imager. */
export interface Wire {
  readonly stream: Duplex;
  /** Ends the stream in the way that its kind needs. May be called again. */
  close(): void;
  /** What the other end says to people, a line at a time, from the start on. */
  onNotice?(handler: (line: string) => void): void;
}

/** A way to an imager. */
export interface Transport {
  /** Opens it: the first time what was named, later the same device wherever it is by then.
   * Rejects with DRIVE_OPEN_FAILED in one line that says what, where and what to do. */
  open(): Promise<Wire>;
  /** Whether opening it again reaches the imager that was there before. */
  readonly canReopen: boolean;
}
