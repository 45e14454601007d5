import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { formatPower, powerResultSchema } from '../../src/show/power-result.js';
import { run, start, temporaryFolder } from './cli.js';

describe('lastspin power', () => {
  test('switches an imager: status, on, cycle, off', async () => {
    const simulator = start(['sim', 'healthy', '--tcp', '0', '--scale', '100']);
    const [link = ''] = await simulator.saw(/^tcp:\S+/m);
    const power = async (...words: string[]) => {
      const finished = await run(['power', link, ...words]);
      expect(finished.status, finished.stderr).toBe(0);
      return finished.stdout;
    };
    expect(await power('status')).toMatch(/^tcp:\S+: off {2}5 V: .* 0 power cycles .*\n$/);
    expect(await power('on')).toMatch(/: switched on, now (on-not-ready|ready) {2}5 V: /);
    const cycled = JSON.parse(await power('cycle', '--off-time', '2000', '--json'));
    expect(powerResultSchema.parse(cycled)).toMatchObject({
      link,
      action: 'cycle',
      power: 'on',
      offMs: 2000,
      mayOnlyReset: false,
      imager: { powerCycles: 2 },
    });
    expect(await power('off')).toMatch(/: switched off, now (off|cooling)/);
  });

  test('switches by a command, which does not tell', async () => {
    const log = join(temporaryFolder(), 'log');
    const off = await run(['power', `exec:echo {action} >> ${log}`, 'off']);
    expect(off.stdout).toBe(
      `exec:echo {action} >> ${log}: switched off; it does not tell whether it did\n`,
    );
    const cycled = await run(['power', `exec:echo cycle >> ${log}`, 'cycle']);
    expect(cycled.stdout).toBe(`exec:echo cycle >> ${log}: power cycled\n`);
    expect(readFileSync(log, 'utf8')).toBe('off\ncycle\n');
  });

  test.each([
    [['exec:true', 'toggle'], 2, /'toggle' is no action; it is on, off, cycle or status/],
    [['exec:true', 'off'], 2, /exec: true can only cycle: put \{action\} where on or off belongs/],
    [['imager', 'off'], 2, /'imager' is no switch by itself; name the switch itself/],
    [['none', 'off'], 2, /'none' is no switch by itself/],
    [['relay:1', 'off'], 2, /unknown power switch 'relay:1'/],
    [['manual', 'cycle'], 2, /--power manual: nobody to ask; it needs a terminal/],
    [
      ['hub:99-1.1', 'cycle'],
      2,
      /--power hub:99-1.1: there is no such port; 'lsusb -t' lists them/,
    ],
    [['lcus:/dev/no-such-port:1', 'off'], 1, /there is no such port; is it plugged in\?/],
  ])('%j', async (words, status, why) => {
    const finished = await run(['power', ...words]);
    expect(finished.status).toBe(status);
    expect(finished.stderr).toMatch(why);
    expect(finished.stderr.trim().split('\n')).toHaveLength(1);
    expect(finished.stdout).toBe('');
  });
});

test('a switch that cannot be opened ends the job before the drive is touched', async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'disk.bin'), Buffer.alloc(512));
  const image = join(folder, 'case.img');
  const power = ['--power', 'exec:true', '--power', 'lcus:/dev/no-such-port:1'];
  const finished = await run(['image', join(folder, 'disk.bin'), image, ...power]);
  expect(finished.status).toBe(1);
  expect(finished.stderr).toMatch(/cannot open \/dev\/no-such-port/);
  expect(existsSync(image)).toBe(false);
});

test('a port that may only be reset is said to be one', () => {
  const result = {
    schema: 'lastspin/power-result/1',
    link: 'hub:1-1.4',
    action: 'cycle',
    power: 'on',
    offMs: 10_000,
    mayOnlyReset: true,
  } as const;
  expect(formatPower(result)).toBe(
    "hub:1-1.4: port reset, off for 10.0 s; a power cycle only if the drive's own count of them rose\n",
  );
});
