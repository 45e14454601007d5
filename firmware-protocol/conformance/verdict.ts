/** How a check ends, other than well. */

/** An imager that broke a clause. */
export class CheckFailed extends Error {
  /** What the clause asks for. */
  readonly wants: string;
  /** What came instead. */
  readonly came: string;
  /** Which of the check's clauses; all of them where absent. */
  readonly clause: string | undefined;

  constructor(wants: string, came: string, clause?: string) {
    super(`${wants}; ${came}`);
    this.wants = wants;
    this.came = came;
    this.clause = clause;
  }
}

/** A clause that could not be seen here; the message says why. */
export class NotSeen extends Error {}

/** Fails the check unless `holds`. */
export function must(holds: boolean, wants: string, came: string, clause?: string): void {
  if (!holds) throw new CheckFailed(wants, came, clause);
}

/** Ends a check that has nothing to see. */
export function notSeen(why: string): never {
  throw new NotSeen(why);
}

/** How long an answer may take for which no clause names a time. */
export const answerMs = 5000;

/** Something that an imager did against a clause, whenever it was seen. */
export interface Violation {
  readonly clause: string;
  /** What came, in one line. */
  readonly came: string;
}

/** Up to 48 bytes, to be read by people. */
export function hex(bytes: Uint8Array): string {
  const shown = [...bytes.subarray(0, 48)].map((byte) => byte.toString(16).padStart(2, '0'));
  return shown.join(' ') + (bytes.length > 48 ? ` … (${bytes.length} bytes)` : '');
}
