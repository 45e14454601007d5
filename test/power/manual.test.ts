import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { personAt } from '../../src/cli/ask.js';
import { manualPower } from '../../src/power/manual.js';

describe('a switch that is a person', () => {
  function setUp() {
    const clock = createVirtualClock();
    const said: string[] = [];
    const person = {
      async ask(request: string, signal?: AbortSignal) {
        said.push(request);
        // It takes a while to crawl under the desk.
        await clock.sleep(30_000, signal);
      },
      tell: (line: string) => said.push(line),
    };
    return { clock, said, power: manualPower(person, clock) };
  }

  test('is asked to pull the plug, to wait, to push it in', async () => {
    const { clock, said, power } = setUp();
    await clock.run(power.cycle(10_000));
    expect(said).toEqual([
      "pull the plug of the drive's power, then press Enter",
      'leave it unplugged: 10 s to go',
      "plug the drive's power in, then press Enter",
    ]);
    expect(clock.now()).toBe(70_000);
  });

  test('is not asked to pull a plug that is out; the time counts from then', async () => {
    const { clock, said, power } = setUp();
    await clock.run(power.set(false));
    await clock.advance(8000);
    await clock.run(power.cycle(10_000));
    expect(said.filter((line) => line.startsWith('pull'))).toHaveLength(1);
    expect(said).toContain('leave it unplugged: 2 s to go');
  });

  test('an abort ends the wait', async () => {
    const { clock, power } = setUp();
    const abort = new AbortController();
    clock.after(10, () => abort.abort(new Error('stopped')));
    await expect(clock.run(power.cycle(10_000, abort.signal))).rejects.toThrow('stopped');
  });
});

describe('the person at the terminal', () => {
  const tty = { isTTY: true } as const;
  function terminal() {
    const input = Object.assign(new PassThrough(), tty);
    const said: string[] = [];
    return { input, said, person: personAt(input, tty, (line) => said.push(line)) };
  }

  test('answers with Enter', async () => {
    const { input, said, person } = terminal();
    const asked = person.ask('pull the plug');
    input.write('\r');
    await asked;
    expect(said).toEqual(['>> pull the plug']);
    expect(input.listenerCount('data')).toBe(0);
    expect(input.isPaused()).toBe(true);
  });

  test('an Enter that ends what was typed for something else is no answer', async () => {
    const { input, person } = terminal();
    let answered = false;
    const asked = person.ask('pull the plug').then(() => {
      answered = true;
    });
    input.write('j1000');
    input.write('\r');
    await new Promise((resolve) => setImmediate(resolve));
    expect(answered).toBe(false);
    input.write('\n');
    await asked;
  });

  test('Ctrl-C ends the question', async () => {
    const { person } = terminal();
    const abort = new AbortController();
    const asked = person.ask('pull the plug', abort.signal);
    abort.abort(new Error('stopped'));
    await expect(asked).rejects.toThrow('stopped');
  });

  test('without a terminal there is nobody', () => {
    const input = Object.assign(new PassThrough(), { isTTY: false });
    expect(() => personAt(input, tty, () => {})).toThrow(
      '--power manual: nobody to ask; it needs a terminal',
    );
  });
});
