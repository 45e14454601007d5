import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { capabilityBits } from '../../firmware-protocol/commands.js';
import { framedLink } from '../../firmware-protocol/link.js';
import { createResponder } from '../../firmware-protocol/responder.js';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { createSimulatedImager } from '../../hardware-sim/imager.js';
import { type Plug, plugIntoTcp } from '../../hardware-sim/plug.js';
import { defineScenario } from '../../hardware-sim/scenario.js';
import { realClock } from '../../src/clock.js';
import { run, temporaryFolder } from './cli.js';

const plugs: Plug[] = [];
afterEach(async () => {
  for (const plug of plugs.splice(0)) await plug.close();
});

/** A board with two relays beside an adapter: no reads, no parking. `onRail` is told when the rail moves;
 * `asked` counts what it was asked, and what beyond its means. */
async function startBoard(onRail: (up: boolean) => void) {
  const clock = realClock();
  const drive = createSimulatedDrive(defineScenario({ sectorCount: 8, power: { rampMs: 5 } }));
  const { power, sense, watchdog, limits } = capabilityBits;
  const board = createSimulatedImager(drive, clock, {
    firmware: 'board 1.0',
    capabilities: power | sense | watchdog | limits,
    bufferBytes: 0,
    requestsMax: 0,
    readCountMax: 0,
    commandsMax: 2,
  });
  const { powerOn, powerOff } = drive;
  Object.assign(drive, {
    powerOn(nowMs: number) {
      powerOn(nowMs);
      onRail(true);
    },
    powerOff(nowMs: number) {
      powerOff(nowMs);
      onRail(false);
    },
  });
  const refused: string[] = [];
  for (const name of ['read', 'identify', 'park', 'passthrough', 'reset', 'throttle'] as const) {
    Object.assign(board, {
      [name]: async () => {
        refused.push(name);
        throw new Error(name);
      },
    });
  }
  const stages: number[] = [];
  const { watchdog: setStages } = board;
  board.watchdog = (wanted) => {
    stages.push(wanted.offMs);
    return setStages(wanted);
  };
  const responder = createResponder(board, clock);
  const plug = await plugIntoTcp('0', (duplex) => responder.attach(framedLink(duplex)));
  plugs.push(plug);
  return { spec: `tcp:${plug.address}`, board, refused, stages, responder };
}

test('data from a file, power from a board of its own: switched on first, cycled where a row says so', async () => {
  const folder = temporaryFolder();
  const source = join(folder, 'disk.bin');
  const contents = Buffer.alloc(64 * 512, 'disk');
  writeFileSync(`${source}.off`, contents);
  const rails: boolean[] = [];
  const { spec, board, refused, stages, responder } = await startBoard((up) => {
    rails.push(up);
    if (up && !existsSync(source)) renameSync(`${source}.off`, source);
  });
  const preset = join(folder, 'cycled.yaml');
  writeFileSync(
    preset,
    [
      'title: cycled',
      'rows:',
      '  - { name: all, phase: copy, readCount: 8, before: power-cycle }',
      '',
    ].join('\n'),
  );
  const image = join(folder, 'case.img');
  const finished = await run([
    'image',
    source,
    image,
    '--power',
    spec,
    '--preset',
    preset,
    '--json',
  ]);
  expect(finished.status, finished.stderr).toBe(0);
  expect(JSON.parse(finished.stdout)).toMatchObject({ powerCycles: 1 });
  expect(readFileSync(image)).toEqual(contents);
  expect(rails.filter((up) => up)).toHaveLength(2);
  expect(board.status().powerCycles).toBe(2);
  // What a board cannot do it was not asked for; what it can, the silence of the laptop, it was told.
  expect(refused).toEqual([]);
  expect(responder.violations).toBe(0);
  expect(stages.at(-1)).toBe(3_600_000);
  board.close();
});

test('a board that cannot switch power is refused as a switch', async () => {
  const folder = temporaryFolder();
  const { spec, board } = await startBoard(() => {});
  Object.assign(board, { capabilities: capabilityBits.sense });
  writeFileSync(join(folder, 'disk.bin'), Buffer.alloc(512));
  const finished = await run(
    ['image', join(folder, 'disk.bin'), join(folder, 'case.img')].concat(['--power', spec]),
  );
  expect(finished.status).toBe(2);
  expect(finished.stderr).toContain(`--power ${spec}: this imager cannot switch power`);
  board.close();
});

test('a board that only switches power is refused as a drive at once', async () => {
  const folder = temporaryFolder();
  const { spec, board } = await startBoard(() => {});
  Object.assign(board, { capabilities: capabilityBits.power });
  const finished = await run(['image', spec, join(folder, 'case.img')]);
  expect(finished.status).toBe(2);
  expect(finished.stderr).toMatch(/reads no drive; name it with --power/);
  board.close();
});

test('an imager that is named twice is refused before anything is opened', async () => {
  const image = join(temporaryFolder(), 'case.img');
  for (const [drive, powers, how] of [
    ['tcp:127.0.0.1:1', ['tcp:127.0.0.1:1'], /the drive's own imager is --power imager/],
    ['sim:demo', ['serial:/dev/none', 'serial:/dev/none'], /name it once/],
  ] as const) {
    const { status, stderr } = await run([
      'image',
      drive,
      image,
      ...powers.flatMap((power) => ['--power', power]),
    ]);
    expect([status, stderr.trim().split('\n').length]).toEqual([2, 1]);
    expect(stderr).toMatch(how);
  }
});
