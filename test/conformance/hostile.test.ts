import { expect, test } from 'vitest';
import { commands, events } from '../../firmware-protocol/commands.js';
import { reportLines, reportOf } from '../../firmware-protocol/conformance/report.js';
import { encodeFrame } from '../../firmware-protocol/frame.js';
import { encodeMessage, encodeRefusal } from '../../firmware-protocol/message.js';
import { createRandom } from '../../hardware-sim/random.js';
import { createRig, createStranger, examine, type Filter } from './rig.js';

const idOf = (message: Uint8Array) =>
  new DataView(message.buffer, message.byteOffset).getUint32(1, true);

test('nothing on the line is no imager', async () => {
  const nobody = createStranger(() => {});
  await expect(examine(nobody)).rejects.toMatchObject({
    code: 'NOT_AN_IMAGER',
    message: expect.stringContaining('nothing answers a HELLO'),
  });
  expect(nobody.clock.now()).toBeLessThan(10_000);
});

test('a device that says something else is no imager, and what it said is told', async () => {
  const modem = createStranger((_message, say) => say(Buffer.from('\r\nERROR\r\n\0')));
  await expect(examine(modem)).rejects.toMatchObject({
    code: 'NOT_AN_IMAGER',
    message: expect.stringContaining('bytes came, but no answer to a HELLO'),
  });
});

test('an imager of another version, and one that serves somebody, are told apart', async () => {
  const refusing = (reply: 'version' | 'busy', why: string) =>
    createStranger((message, say) =>
      say(encodeFrame(encodeRefusal(commands.hello.code, idOf(message), reply, why))),
    );
  await expect(examine(refusing('version', 'this one speaks 2.0'))).rejects.toMatchObject({
    code: 'PROTOCOL_VERSION',
    message: expect.stringContaining('2.0'),
  });
  await expect(examine(refusing('busy', 'a job runs'))).rejects.toMatchObject({
    code: 'DEVICE_REFUSED',
    message: expect.stringContaining('end the program that uses it'),
  });
});

test('a line whose rails are on is left alone, unless it is forced', async () => {
  const powered = () => {
    const rig = createRig({ device: (device) => void device.power('on', 0, false) });
    return rig;
  };
  const first = powered();
  await first.clock.advance(10_000);
  await expect(examine(first)).rejects.toMatchObject({
    code: 'DEVICE_REFUSED',
    message: expect.stringContaining('--force'),
  });
  const second = powered();
  await second.clock.advance(10_000);
  const { leftOn } = await examine(second, { force: true, only: ['F-5'] });
  expect(leftOn).toBeUndefined();
});

test('the power is off at the end, and the guards are as they were', async () => {
  let off: (() => string) | undefined;
  const rig = createRig({
    device(device) {
      off = () => device.status().powerState;
    },
  });
  const { clock, target } = rig;
  await examine({ clock, target, close: () => {} }, { only: ['P-3'] });
  expect(off?.()).toBe('off');
  rig.close();
});

test('an imager that falls silent ends the run early, and says that the power may be on', async () => {
  let messages = 0;
  const filter: Filter = { toLaptop: (message) => (++messages > 300 ? [] : [message]) };
  const rig = createRig({ filter });
  const report = reportOf(await examine(rig));
  expect(report.leftOn).toContain('no session');
  const late = report.checks.filter(({ note }) => note === 'the imager answers no HELLO any more');
  expect(late.length).toBeGreaterThan(5);
  expect(rig.clock.now()).toBeLessThan(600_000);
  expect(reportLines(report).join('\n')).toContain('the power may still be on');
});

test('an imager that goes away ends the run', async () => {
  let messages = 0;
  const filter: Filter = {
    toLaptop(message, line) {
      if (++messages > 100) line.cutLaptop();
      return [message];
    },
  };
  const rig = createRig({ filter, target: { reopens: false } });
  const report = reportOf(await examine(rig));
  expect(report.leftOn).toContain('the link is gone');
});

test('an imager that babbles is cut short', async () => {
  const event = encodeMessage(events.data.code, 0, events.data.body, {
    offset: 0,
    bytes: Uint8Array.of(1),
  });
  let messages = 0;
  const filter: Filter = {
    // Of what was not asked for, far more than anybody could mean.
    toLaptop: (message) => (++messages > 50 ? [message, ...Array(2000).fill(event)] : [message]),
  };
  const report = reportOf(await examine(createRig({ filter }), { only: ['M-2'] }));
  expect(report.failed).toBeGreaterThan(0);
});

test.each([1, 2, 3, 4])('whatever comes, the run ends with a report: seed %i', async (seed) => {
  const random = createRandom(seed);
  let messages = 0;
  const spoiled = (message: Uint8Array) => {
    const draw = random.next();
    if (++messages < 20 || draw < 0.7) return [message];
    if (draw < 0.75) return [];
    if (draw < 0.8) return [message, message];
    const copy = Uint8Array.from(message);
    copy[Math.floor(random.next() * copy.length)] = Math.floor(random.next() * 256);
    return [draw < 0.85 ? copy.subarray(0, Math.ceil(random.next() * copy.length)) : copy];
  };
  const rig = createRig({ filter: { toLaptop: spoiled, toDevice: spoiled } });
  const report = reportOf(await examine(rig));
  expect(report.failed).toBeGreaterThan(5);
  expect(reportLines(report).join('\n')).not.toMatch(/[^\P{Cc}\n]/u);
});

test('what an imager calls itself moves no cursor', async () => {
  const rig = createRig({ imager: { firmware: '\u001b[2Jevil\u0007' } });
  const lines = reportLines(reportOf(await examine(rig, { only: ['F-5'] }), ['F-5']));
  expect(lines.join('\n')).not.toMatch(/[^\P{Cc}\n]/u);
  expect(lines[0]).toContain('evil');
});

test('words that name no clause are refused before anything is opened', async () => {
  const rig = createRig();
  await expect(examine(rig, { only: ['R-99'] })).rejects.toMatchObject({ code: 'USAGE' });
});
