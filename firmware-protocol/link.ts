/** Carries whole messages between two ends. A message handed to `onMessage` is exactly what the other
 * end sent (its frame's CRC held); some may be lost, and then nothing is said. */
export interface Link {
  /** Queues one message. Never throws: a link that cannot send closes. */
  send(message: Uint8Array): void;
  /** Resolves when what was sent has left, so that a sender can keep its queue short. */
  drained(): Promise<void>;
  onMessage(handler: (message: Uint8Array) => void): void;
  /** Called once when the link ends; `error` is absent after an orderly `close`. */
  onClose(handler: (error?: Error) => void): void;
  close(): void;
  /** What line noise cost so far; nothing vanishes uncounted. */
  readonly discarded: Readonly<Record<'tooLong' | 'badCobs' | 'badCrc' | 'tooShort', number>>;
}
