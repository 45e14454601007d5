import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Clock, realClock, sleepBy } from '../../src/clock.js';
import { execPower } from '../../src/power/exec.js';

let directory: string;
let log: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'exec-power-'));
  log = join(directory, 'log');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Time that stands still but for sleeps, which pass at once and are written down. */
function sleepingClock(): Clock & { readonly sleptMs: number[] } {
  const sleptMs: number[] = [];
  return {
    sleptMs,
    now: () => 0,
    after: realClock().after,
    sleep: async (delayMs) => void sleptMs.push(delayMs),
  };
}

const logged = async () => (await readFile(log, 'utf8')).trim().split('\n');

describe('a power switch that is a command', () => {
  test('without {action} one call is one whole cycle', async () => {
    const clock = sleepingClock();
    const power = execPower(`echo "$LASTSPIN_POWER" >> ${log}`, clock);
    expect(power.canHold).toBe(false);
    await power.cycle(5000);
    expect(await logged()).toEqual(['cycle']);
    expect(clock.sleptMs).toEqual([]);
  });

  test('without {action} it cannot hold the rail, and says what to do', async () => {
    const power = execPower('true', realClock());
    await expect(power.set(false)).rejects.toMatchObject({
      code: 'USAGE',
      message: 'exec: true can only cycle: put {action} where on or off belongs',
    });
  });

  test('with {action} a cycle is off, the off-time, on', async () => {
    const clock = sleepingClock();
    const power = execPower(`echo {action} {action} "$LASTSPIN_POWER" >> ${log}`, clock);
    expect(power.canHold).toBe(true);
    await power.cycle(5000);
    expect(await logged()).toEqual(['off off off', 'on on on']);
    expect(clock.sleptMs).toEqual([5000]);
  });

  test('with {action} the rail can be held off', async () => {
    const power = execPower(`echo {action} >> ${log}`, realClock());
    await power.set(false);
    expect(await logged()).toEqual(['off']);
  });

  test('nothing but {action} is expanded', async () => {
    const power = execPower(`echo '{other} $HOME {action}' >> ${log}`, realClock());
    await power.set(true);
    expect(await logged()).toEqual(['{other} $HOME on']);
  });

  test('a command that fails is quoted in one line', async () => {
    const power = execPower('echo one; echo two >&2; exit 3', realClock());
    await expect(power.cycle(0)).rejects.toMatchObject({
      code: 'POWER_FAILED',
      message: expect.stringMatching(
        /^power cycle by exec: .* exit code 3, saying: (one two|two one)$/,
      ),
    });
  });

  test('a command that fails to switch off is not asked to switch on', async () => {
    const power = execPower(`echo {action} >> ${log}; exit 1`, realClock());
    await expect(power.cycle(0)).rejects.toMatchObject({ code: 'POWER_FAILED' });
    expect(await logged()).toEqual(['off']);
  });

  test('a command that never ends is killed with all it started', async () => {
    const power = execPower(`sh -c 'echo $$ >> ${log}; exec sleep 1000'; true`, realClock(), {
      timeoutMs: 300,
    });
    await expect(power.cycle(0)).rejects.toMatchObject({
      code: 'POWER_FAILED',
      message: expect.stringContaining('no end within 0.3 s'),
    });
    await expectGone(Number((await logged())[0]));
  });

  test('a program left in the background does not hold the switch up', async () => {
    const power = execPower(`sleep 1000 & echo $! >> ${log}`, realClock());
    await power.cycle(0);
    process.kill(Number((await logged())[0]), 'SIGKILL');
  });

  test('an abort ends the command with its own reason', async () => {
    const power = execPower('sleep 1000', realClock());
    const reason = new Error('stopped by the user');
    const abort = new AbortController();
    const cycled = power.cycle(0, abort.signal);
    abort.abort(reason);
    await expect(cycled).rejects.toBe(reason);
  });

  test('an abort during the off-time leaves the rail off', async () => {
    const abort = new AbortController();
    const clock: Clock = {
      ...realClock(),
      sleep: (delayMs, signal) => {
        abort.abort(new Error('stopped'));
        return sleepBy(realClock().after, delayMs, signal);
      },
    };
    const power = execPower(`echo {action} >> ${log}`, clock);
    await expect(power.cycle(5000, abort.signal)).rejects.toThrow('stopped');
    expect(await logged()).toEqual(['off']);
  });

  test('an empty command is refused', () => {
    expect(() => execPower(' ', realClock())).toThrow('--power exec: needs a command');
  });
});

/** A killed process may take a moment to go, and stays as a zombie where nobody reaps orphans. */
async function expectGone(pid: number): Promise<void> {
  await expect.poll(() => isRunning(pid)).toBe(false);
}

async function isRunning(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return !/\) Z /.test(state);
}
