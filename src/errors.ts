/** Every failure of the host or of the link that a user may see, as one table. Drive faults are not
 * here: they are values (`src/drive/drive.ts`). A bug is an `assert`, and exits 3. */

interface ErrorKind {
  /** Exit status, after GNU ddrescue: 1 environment, 2 bad input; 32 hung beyond policy; 130 Ctrl-C. */
  readonly exitCode: 1 | 2 | 32 | 130;
}

const kinds = {
  USAGE: { exitCode: 2 },
  INTERRUPTED: { exitCode: 130 },
  DRIVE_UNKNOWN: { exitCode: 2 },
  DRIVE_OPEN_FAILED: { exitCode: 1 },
  DRIVE_CHANGED: { exitCode: 2 },
  DRIVE_HUNG: { exitCode: 32 },
  FIRMWARE_FAILED: { exitCode: 32 },
  NOT_AN_IMAGER: { exitCode: 1 },
  PROTOCOL_VERSION: { exitCode: 1 },
  LINK_CLOSED: { exitCode: 1 },
  LINK_TIMEOUT: { exitCode: 1 },
  DEVICE_REFUSED: { exitCode: 1 },
  POWER_FAILED: { exitCode: 1 },
  IMAGE_EXISTS: { exitCode: 2 },
  IMAGE_LOCKED: { exitCode: 1 },
  IMAGE_SPACE: { exitCode: 1 },
  IMAGE_WRITE_FAILED: { exitCode: 1 },
  IMAGE_MISMATCH: { exitCode: 2 },
  MAP_INVALID: { exitCode: 2 },
  MAP_MISMATCH: { exitCode: 2 },
  JOURNAL_DAMAGED: { exitCode: 2 },
  HASHES_INVALID: { exitCode: 2 },
  FILE_FAILED: { exitCode: 1 },
  SCENARIO_INVALID: { exitCode: 2 },
  PRESET_INVALID: { exitCode: 2 },
  HEADS_INVALID: { exitCode: 2 },
  TOOL_MISSING: { exitCode: 1 },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof kinds;

/** The one error class. `message` is a single line for the user: what, where, what to do. */
export class LastspinError extends Error {
  override readonly name = 'LastspinError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  get exitCode(): number {
    return kinds[this.code].exitCode;
  }
}

/** Narrows an unknown error to ours, optionally to one code. */
export function isLastspinError(error: unknown, code?: ErrorCode): error is LastspinError {
  return error instanceof LastspinError && (code === undefined || error.code === code);
}

/** What an unknown thrown value says, in one line, for use inside our own messages. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n', 1)[0] ?? '';
}
