/** A switch that is a command of the user's: a relay's own program, a smart plug's `curl`, a
 * script. */

import type { Clock } from '../clock.js';
import { LastspinError } from '../errors.js';
import type { Power } from './power.js';
import { oneLine, runScript } from './script.js';

/** What the command is told to do, in the environment variable LASTSPIN_POWER. */
type PowerAction = 'on' | 'off' | 'cycle';

export interface ExecPowerOptions {
  /** How long one call may take, over and above the off-time of a command that cycles by itself. */
  readonly timeoutMs?: number;
}

/** A relay answers within milliseconds, a plug in the network within seconds; a command that is
 * silent for a minute is not going to switch anything. */
const timeoutMsDefault = 60_000;
const placeholder = '{action}';

/** A switch that runs `sh -c COMMAND`.
 * With `{action}` in it the command is called with `off` and with `on` in its place, and the
 * rail can be held off. Without, one call is one whole power cycle, whose off-time is the
 * command's own affair. Either way LASTSPIN_POWER says which; nothing else is expanded.
 * Throws USAGE when `command` is empty, and so does `set` without `{action}`. `cycle` and `set` throw POWER_FAILED; when their signal
 * aborts they throw its reason, kill the command and leave the rail as it is, which may be off:
 * a drive is nowhere safer. */
export function execPower(command: string, clock: Clock, options: ExecPowerOptions = {}): Power {
  if (command.trim() === '') throw new LastspinError('USAGE', '--power exec: needs a command');
  const { timeoutMs = timeoutMsDefault } = options;
  const canHold = command.includes(placeholder);
  const name = `exec: ${command}`;
  const run = async (action: PowerAction, callTimeoutMs: number, signal?: AbortSignal) => {
    const script = command.replaceAll(placeholder, action);
    const env = { LASTSPIN_POWER: action };
    const problem = await runScript({ script, env, timeoutMs: callTimeoutMs }, clock, signal);
    if (problem === undefined) return;
    throw new LastspinError('POWER_FAILED', `power ${action} by ${oneLine(name)}: ${problem}`);
  };

  return {
    name,
    canHold,
    async cycle(offMs, signal) {
      if (!canHold) return await run('cycle', timeoutMs + offMs, signal);
      await run('off', timeoutMs, signal);
      await clock.sleep(offMs, signal);
      await run('on', timeoutMs, signal);
    },
    async set(on, signal) {
      if (canHold) return await run(on ? 'on' : 'off', timeoutMs, signal);
      throw new LastspinError(
        'USAGE',
        `${oneLine(name)} can only cycle: put ${placeholder} where on or off belongs`,
      );
    },
    async close() {},
  };
}
