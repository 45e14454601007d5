import type { Bench, Need } from './bench.js';

/** One thing that is tried on an imager, for the clauses that it shows. */
export interface Check {
  readonly clauses: readonly string[];
  /** What a right imager does. */
  readonly title: string;
  readonly needs?: readonly Need[];
  /** How the rails stand when it begins, where the imager switches them; either way where absent. */
  readonly rails?: 'off' | 'on';
  /** What is done to see it. */
  readonly how: string;
  /** Ends well, or throws CheckFailed or NotSeen. `bench.talk` is a session of its own. What is returned
   * is a part that could not be seen. */
  run(bench: Bench): Promise<string | undefined>;
}
