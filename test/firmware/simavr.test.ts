/** The AVR firmware in simavr, an emulator that shares nothing with avr8js: what works in both is not an
 * emulator's luck. Real time, so nothing here asks for more than an order of events. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Caller, createCaller } from '../../firmware-protocol/caller.js';
import {
  bootCauses,
  commands,
  powerActions,
  powerStates,
} from '../../firmware-protocol/commands.js';
import { framedLink } from '../../firmware-protocol/link.js';
import { realClock } from '../../src/clock.js';
import { needsHeader, needsTool } from '../tools.js';

const cannot =
  needsTool('gcc') ||
  needsHeader('simavr/sim_avr.h', 'libsimavr-dev') ||
  needsHeader('libelf.h', 'libelf-dev');
const hex = join(import.meta.dirname, '../../firmware-protocol/firmware/avr/lastspin-avr.hex');
const folder = mkdtempSync(join(tmpdir(), 'lastspin-simavr-'));
const runner = join(folder, 'runner');
const clock = realClock();

/** Lines of standard error, and a wait for the next that says something. */
function linesOf(child: ChildProcess) {
  const lines: string[] = [];
  const waiters = new Set<() => void>();
  let rest = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop()!;
    lines.push(...parts);
    for (const look of waiters) look();
  });
  return {
    lines,
    async next(line: string): Promise<void> {
      const from = lines.length;
      await new Promise<void>((resolve, reject) => {
        const cancel = clock.after(20_000, () => reject(new Error(`no “${line}” but ${lines}`)));
        const look = () => {
          if (!lines.slice(from).includes(line)) return;
          waiters.delete(look);
          cancel();
          resolve();
        };
        waiters.add(look);
      });
    },
  };
}

beforeAll(() => {
  if (cannot) return;
  const source = join(import.meta.dirname, 'simavr/runner.c');
  execFileSync('gcc', [
    '-O2',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-o',
    runner,
    source,
    '-lsimavr',
    '-lelf',
  ]);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.skipIf(cannot)(
  'simavr: HELLO, on, off, and what a watchdog and a reset leave on',
  async () => {
    const child = spawn(runner, [hex], { stdio: ['pipe', 'pipe', 'pipe'] });
    try {
      const gates = linesOf(child);
      let port: Duplex | undefined;
      child.stdout.on('data', (bytes: Buffer) => port?.push(bytes));
      // As a port that is closed and opened again, with the same line behind it.
      const open = (session: number) => {
        const opened = new Duplex({
          read() {},
          write: (bytes: Buffer, _encoding, done) => child.stdin.write(bytes, done),
        });
        port = opened;
        const close = () => {
          if (port === opened) port = undefined;
        };
        return createCaller(framedLink(opened, { name: 'simavr', close }), clock, { session });
      };
      const power = (of: Caller, action: keyof typeof powerActions) =>
        of.call(commands.power, { action: powerActions[action], offMs: 0, standbyFirst: 0 });
      const isUp = async (of: Caller) => {
        const ofStatus = async () => (await of.call(commands.status, {})).powerState;
        while ((await ofStatus()) === powerStates.ramping) await clock.sleep(20);
        expect(await ofStatus()).toBe(powerStates['on-not-ready']);
      };
      const caller = await open(1);
      expect(caller.agreed).toMatchObject({ bootCause: bootCauses.powerOn, commandsMax: 4 });
      expect((await caller.call(commands.status, {})).powerState).toBe(powerStates.off);

      const on = gates.next('gates high high');
      await power(caller, 'on');
      await on;
      const off = gates.next('gates low low');
      await power(caller, 'off');
      await off;
      const onAgain = gates.next('gates high high');
      await power(caller, 'on');
      await onAgain;

      let last = caller;
      await isUp(caller);
      gates.lines.length = 0;
      for (const [signal, cause] of [
        ['SIGUSR1', bootCauses.watchdog],
        ['SIGUSR2', bootCauses.resetLine],
      ] as const) {
        await isUp(last);
        const { bootId } = last.agreed;
        const restarted = gates.next('restarted');
        const back = gates.next('gates high high');
        child.kill(signal);
        await restarted;
        await back;
        last.close();
        last = await open(cause + 10);
        expect(last.agreed.bootCause).toBe(cause);
        expect(last.agreed.bootId).not.toBe(bootId);
        await isUp(last);
      }
      last.close();
      // Let go and driven again: low in between would be a drive that lost its power.
      const kept = ['gates floating floating', 'gates high high'];
      expect(gates.lines.filter((text) => text !== 'restarted')).toEqual([...kept, ...kept]);
    } finally {
      child.kill();
    }
  },
);
