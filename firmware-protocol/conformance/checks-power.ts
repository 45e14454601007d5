/** Clauses P and W, S-7, S-8: power, silence, and what an imager does by itself. */

import type { PowerState } from '../commands.js';
import {
  commands,
  events,
  notMeasured,
  powerStates,
  readOutcomes,
  replyCodes,
} from '../commands.js';
import { encodeFrame } from '../frame.js';
import { type PowerInput, powerCell } from '../power-table.js';
import { type Bench, untilStatus } from './bench.js';
import type { Check } from './check.js';
import { bareMessage, unknownCode } from './checks-frames.js';
import { idleRequests } from './checks-messages.js';
import { type EventBody, type EventMessage, type ResponseOf, replyName } from './messages.js';
import { greeting } from './talk.js';
import { must, notSeen } from './verdict.js';

type Status = ResponseOf<'status'>;
const stateName = (code: number) =>
  Object.entries(powerStates).find(([, value]) => value === code)?.[0] ?? `${code}`;
const isUp = (code: number) =>
  ['ramping', 'on-not-ready', 'ready', 'hung'].includes(stateName(code));
const isDown = (code: number) => ['off', 'cooling'].includes(stateName(code));

const power = (action: 0 | 1 | 2, offMs = 0, standbyFirst = 0) => ({ action, offMs, standbyFirst });

// The table

/** A request for each input that a laptop can give. */
const asked = {
  'power on': { name: 'power', request: power(1), need: 'power' },
  'power off': { name: 'power', request: power(0), need: 'power' },
  'power cycle': { name: 'power', request: power(2, 2500), need: 'power' },
  reset: { name: 'reset', request: { kind: 1 }, need: 'softReset' },
  read: { name: 'read', request: idleRequests.read, need: 'read' },
  identify: { name: 'identify', request: {}, need: 'identify' },
  passthrough: { name: 'passthrough', request: idleRequests.passthrough, need: 'passthrough' },
  park: { name: 'park', request: { kind: 1 }, need: 'park' },
  'any other command': { name: 'throttle', request: idleRequests.throttle, need: 'throttle' },
} as const;

/** Tries one cell of the table: what is asked, in a state in which the imager is. */
async function tryCell(bench: Bench, state: PowerState, ask: keyof typeof asked): Promise<void> {
  const { talk } = bench;
  const { name, request, need } = asked[ask];
  if (!bench.can(need)) return;
  const input: PowerInput =
    ask === 'identify' || ask === 'passthrough' ? 'identify, passthrough' : ask;
  const cell = powerCell(state, input);
  const what = `${ask} in ${state}`;
  if (name === 'read') {
    const result = await talk.needResult(talk.read({ batch: talk.readId, timeoutMs: 500 }));
    const isGone = result.reply === 0 && result.response.outcome === readOutcomes.gone;
    if (cell === 'gone')
      must(isGone, `${what} comes back gone`, `outcome ${result.response.outcome}`);
    return;
  }
  const answer = await talk.ask(name, request as never, { withinMs: 15_000 });
  const came = `${replyName(answer.reply)} '${answer.reason}'`;
  if (cell === 'noDrive' || cell === 'limit' || cell === 'busy') {
    must(answer.reply === replyCodes[cell], `${what} is answered ${cell}`, came);
  } else if (cell !== 'wait') {
    must(answer.reply === 0, `${what} is done`, came);
  }
  if (name !== 'power' || answer.reply !== 0) return;
  const { powerState } = answer.value as ResponseOf<'power'>;
  const next = cell in powerStates ? (cell as PowerState) : state;
  must(powerState === powerStates[next], `${what} leads to ${next}`, stateName(powerState));
}

async function stateIs(
  bench: Bench,
  wanted: PowerState,
  withinMs: number,
  why: string,
): Promise<void> {
  const is = (status: Status) => status.powerState === powerStates[wanted];
  const reached = await untilStatus(bench.clock, bench.talk, is, withinMs);
  const { powerState } = await bench.talk.status();
  must(reached, `${why}: ${wanted}`, stateName(powerState));
}

const withoutPower = [
  'reset',
  'read',
  'identify',
  'passthrough',
  'park',
  'any other command',
] as const;

async function cellsOff(bench: Bench): Promise<undefined> {
  for (const ask of withoutPower) await tryCell(bench, 'off', ask);
  await tryCell(bench, 'off', 'power off');
  await stateIs(bench, 'off', 0, 'nothing but power moves it');
  await tryCell(bench, 'off', 'power on');
  // Once more while the rails rise, or just after.
  const again = await bench.talk.ok('power', power(1));
  must(
    isUp(again.powerState),
    'power on while it rises changes nothing',
    stateName(again.powerState),
  );
  const { powerCycles } = await bench.talk.status();
  const isOn = (status: Status) =>
    isUp(status.powerState) && status.powerState !== powerStates.ramping;
  must(
    await untilStatus(bench.clock, bench.talk, isOn, 5000),
    'the rails come up',
    'they stay ramping',
  );
  const after = await bench.talk.status();
  const came = `powerCycles ${powerCycles} became ${after.powerCycles}`;
  must(after.powerCycles - powerCycles <= 1, 'two power on are one power cycle', came);
}

async function cellsOn(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const before = await talk.status();
  const answer = await talk.ok('power', power(1));
  const kept = isUp(answer.powerState) && answer.powerState !== powerStates.ramping;
  must(kept, 'power on with the rails on changes nothing', stateName(answer.powerState));
  const after = await talk.status();
  const came = `powerCycles ${before.powerCycles} became ${after.powerCycles}`;
  must(
    after.powerCycles === before.powerCycles,
    'power on with the rails on is no power cycle',
    came,
  );
  if (bench.can('softReset')) {
    await talk.ok('reset', { kind: 1 });
    const { powerState } = await talk.status();
    must(isUp(powerState), 'a reset leaves the rails on', stateName(powerState));
  }
  if (!bench.can('read')) {
    await bench.clock.sleep(1500);
    await stateIs(bench, 'on-not-ready', 0, 'an imager without `read` does not know the drive');
  }
}

async function cellsCooling(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const begin = async () => {
    await bench.rails('on');
    const { powerState } = await talk.ok('power', power(2, 2500));
    const came = stateName(powerState);
    must(
      powerState === powerStates.cooling,
      'power cycle with the rails on leads to cooling',
      came,
    );
  };
  await begin();
  for (const ask of withoutPower) await tryCell(bench, 'cooling', ask);
  for (const ask of ['power on', 'power cycle', 'power off'] as const) {
    await tryCell(bench, 'cooling', ask);
  }
  await stateIs(bench, 'off', 20_000, '`off` replaces what was to follow the off-time');
  await clock.sleep(500);
  await stateIs(bench, 'off', 0, '`off` replaces what was to follow the off-time');
  await begin();
  await talk.ok('power', power(0));
  await talk.ok('power', power(1));
  const isOn = (status: Status) => isUp(status.powerState);
  const came = await untilStatus(clock, talk, isOn, 20_000);
  must(came, '`on` in cooling is remembered for the end of the off-time', 'the rails stay off');
}

// Off-times

async function offTime(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const before = await talk.status();
  const offMs = 1500;
  const askedAtMs = clock.now();
  await talk.ok('power', power(2, offMs));
  const answeredMs = clock.now() - askedAtMs;
  const wants = 'power is answered when the action was begun, not when it is done';
  must(answeredMs < 1000 + bench.late(0), wants, `${Math.round(answeredMs)} ms`);
  let downAtMs: number | undefined;
  let upAtMs: number | undefined;
  while (clock.now() < askedAtMs + 20_000 && upAtMs === undefined) {
    const status = await talk.status();
    const nowMs = clock.now();
    if (isUp(status.powerState)) upAtMs = nowMs;
    const measured = [status.rail5Millivolts, status.rail12Millivolts].filter(
      (mv) => mv !== notMeasured.rail,
    );
    if (downAtMs === undefined && measured.length > 0 && measured.every((mv) => mv < 500))
      downAtMs = nowMs;
    await clock.sleep(20);
  }
  must(upAtMs !== undefined, 'a power cycle switches on again', 'the rails stay off for 20 s');
  const restMs = Math.round((upAtMs ?? 0) - (downAtMs ?? askedAtMs));
  const least = `offMs ${offMs} passes with the rails down`;
  must(restMs >= bench.early(offMs) - 40, least, `${restMs} ms`);
  const isOn = (status: Status) => status.powerCycles > before.powerCycles;
  await untilStatus(clock, talk, isOn, 5000);
  const { powerCycles } = await talk.status();
  const came = `${before.powerCycles} became ${powerCycles}`;
  must(
    powerCycles === before.powerCycles + 1,
    'powerCycles counts the times that the rails went up',
    came,
  );
}

async function standbyFirst(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const answer = await talk.ask('power', power(0, 0, 1), { withinMs: 20_000 });
  const came = replyName(answer.reply);
  must(answer.reply === 0, 'power off with standbyFirst is done, whatever the drive says', came);
  const off = await untilStatus(clock, talk, (status) => isDown(status.powerState), 5000);
  must(off, 'the rails go down behind the standby', 'they stay up');
}

async function railsMeasured(bench: Bench): Promise<string | undefined> {
  const { talk, clock } = bench;
  await clock.sleep(300);
  const up = await talk.status();
  const rails = [
    ['5 V', 5000, 'rail5Millivolts'],
    ['12 V', 12_000, 'rail12Millivolts'],
  ] as const;
  const measured = rails.filter(([, , field]) => up[field] !== notMeasured.rail);
  if (measured.length === 0) notSeen('no volts are measured');
  for (const [rail, millivolts, field] of measured) {
    must(up[field] >= millivolts * 0.9, `${rail} reaches 90 %`, `${up[field]} mV`);
  }
  await bench.rails('off');
  const down = await talk.status();
  for (const [rail, , field] of measured) {
    must(down[field] < 500, `${rail} is below 0.5 V when the state is off`, `${down[field]} mV`);
  }
  return 'the order and the 50 ms are too fast for a laptop to see';
}

// What must move nothing

/** Bytes that look like anything; the same in every run. */
function noise(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 0x2545_f491;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

async function nothingMoves(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const before = await talk.status();
  const action = isUp(before.powerState) ? 0 : 1;
  const message = talk.encode('power', power(action), { id: talk.commandId + 100 });
  const frame = encodeFrame(message);
  for (let bit = 0; bit < (frame.length - 1) * 8; bit += 3) {
    const flipped = Uint8Array.from(frame);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    talk.wire.write(flipped);
  }
  for (const code of [0x00, commands.power.code | 0x80, events.ready.code, 0x7f]) {
    const other = Uint8Array.from(message);
    other[0] = code;
    talk.sendRaw(other);
  }
  talk.sendRaw(message.subarray(0, message.length - 1));
  for (const code of [unknownCode, 0x0e, 0x2f]) {
    const other = Uint8Array.from(message);
    other[0] = code;
    talk.sendRaw(other);
  }
  talk.wire.write(noise(2048));
  talk.wire.write(Uint8Array.of(0));
  await clock.sleep(500);
  await talk.sayHello();
  const after = await talk.status();
  const kept =
    isUp(after.powerState) === isUp(before.powerState) && after.powerCycles === before.powerCycles;
  const came = `${stateName(before.powerState)} became ${stateName(after.powerState)}`;
  must(kept, 'noise, broken frames and unknown messages move no rail', came);
}

// Silence

interface Stage {
  readonly stage: number;
  readonly afterMs: number;
}

/** The stages that an imager takes: those for which it has something to do it with (W-1). */
function stagesOf(bench: Bench, times: Readonly<Record<1 | 2 | 3 | 4, number>>): readonly Stage[] {
  const offered = {
    1: bench.can('read'),
    2: bench.can('park'),
    3: bench.can('park'),
    4: bench.can('power'),
  };
  return ([1, 2, 3, 4] as const)
    .filter((stage) => offered[stage] && times[stage] > 0)
    .map((stage) => ({ stage, afterMs: times[stage] }));
}

const isStep = (m: { kind: string; name?: string | undefined }) =>
  m.kind === 'event' && m.name === 'steppedDown';

/** Says nothing valid for so long, and tells the stages that were announced meanwhile, with their times
 * since `sinceMs`. */
async function fallSilent(bench: Bench, forMs: number, sinceMs: number): Promise<readonly Stage[]> {
  const { talk, clock } = bench;
  const broken = encodeFrame(bareMessage(commands.status.code, 1));
  broken[broken.length - 2]! ^= 1;
  const endMs = clock.now() + forMs;
  while (clock.now() < endMs) {
    // What is no valid message is silence too.
    talk.wire.write(broken);
    await clock.sleep(Math.min(200, endMs - clock.now()));
  }
  // Where this computer was late, what it waits for may be too.
  await clock.sleep(bench.late(0));
  return talk.wire.take(isStep).map((message) => ({
    stage: ((message as EventMessage).value as EventBody<'steppedDown'>).stage,
    afterMs: Math.round(message.atMs - sinceMs),
  }));
}

function mustStep(bench: Bench, came: readonly Stage[], wanted: readonly Stage[]): void {
  const list = (stages: readonly Stage[]) =>
    stages.map(({ stage, afterMs }) => `${stage} at ${afterMs} ms`).join(', ') || 'nothing';
  const fits =
    came.length === wanted.length &&
    came.every(({ stage, afterMs }, index) => {
      const want = wanted[index]!;
      const inTime = afterMs >= bench.early(want.afterMs) && afterMs <= bench.late(want.afterMs);
      return stage === want.stage && inTime;
    });
  must(fits, `a silent laptop is answered by stages ${list(wanted)}`, list(came));
}

async function stages(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const wanted = stagesOf(bench, { 1: 600, 2: 1200, 3: 1800, 4: 2400 });
  if (wanted.length === 0) notSeen('it has nothing to do a stage with');
  const request = { stopReadsMs: 600, unloadMs: 1200, standbyMs: 1800, offMs: 2400 };
  await talk.ok('watchdog', request);
  const came = await fallSilent(bench, bench.late(2400) + 400, clock.now());
  mustStep(bench, came, wanted);
  const { powerState } = await talk.status();
  if (bench.can('power')) {
    must(isDown(powerState), 'the last stage switches off', stateName(powerState));
    await clock.sleep(400);
    const after = (await talk.status()).powerState;
    must(isDown(after), 'what was done is not undone by a message', stateName(after));
  }
  await talk.ok('watchdog', greeting.hardDriveStages);
}

async function heardStartsAnew(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  await talk.ok('watchdog', { stopReadsMs: 900, unloadMs: 1000, standbyMs: 1100, offMs: 1200 });
  for (let times = 0; times < 8; times++) {
    await clock.sleep(400);
    await talk.status();
  }
  const { powerState } = await talk.status();
  const steps = talk.wire.take(isStep).length;
  await talk.ok('watchdog', greeting.hardDriveStages);
  must(
    steps === 0 && isUp(powerState),
    'any valid message starts the time anew',
    `${steps} stages, ${stateName(powerState)}`,
  );
}

async function neverMeansNever(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  await talk.ok('watchdog', { stopReadsMs: 0, unloadMs: 0, standbyMs: 0, offMs: 0 });
  await clock.sleep(1500);
  const steps = talk.wire.take(isStep).length;
  await talk.ok('watchdog', greeting.hardDriveStages);
  must(steps === 0, '0 is never', `${steps} stages`);
}

async function silenceStopsReads(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  await talk.ok('power', power(1));
  for (let id = 0; id < 4; id++) talk.read({ timeoutMs: 30_000, batch: id }, id);
  await talk.ok('watchdog', { stopReadsMs: 500, unloadMs: 0, standbyMs: 0, offMs: 0 });
  const saidAtMs = clock.now();
  const came: number[] = [];
  let firstMs = Number.POSITIVE_INFINITY;
  for (let id = 0; id < 4; id++) {
    const result = await talk.needResult(id, 40_000, true);
    came.push(result.response.outcome ?? -1);
    firstMs = Math.min(firstMs, result.atMs - saidAtMs);
  }
  const step = await talk.event('steppedDown', 100);
  await talk.ok('watchdog', greeting.hardDriveStages);
  if (firstMs < bench.early(500)) notSeen('the drive was ready too soon');
  const waited = came.slice(1).every((outcome) => outcome === readOutcomes['not-attempted']);
  must(
    waited,
    'reads that wait when the stage comes are not attempted',
    `outcomes ${came.join(', ')}`,
  );
  must(step !== undefined, 'stepped-down is sent', 'nothing');
}

/** An imager that started longer ago may have been told other times by somebody else. */
const freshMs = 120_000;

async function hardDriveTimes(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const wanted = stagesOf(bench, { 1: 5000, 2: 10_000, 3: 0, 4: 0 });
  if (wanted.length === 0) notSeen('its first stage is an hour away');
  const { uptimeMs } = await talk.status();
  const came = await fallSilent(bench, bench.late(wanted.at(-1)!.afterMs) + 300, clock.now());
  if (uptimeMs > freshMs && came.length !== wanted.length) {
    notSeen('it may have been told other times; restart it and run this again');
  }
  mustStep(bench, came, wanted);
}

// Guards

async function overCurrent(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const tooMuch = {
    ...greeting.defaultLimits,
    rail5MilliampsMax: 0xffff,
    rail12MilliampsMax: 0xffff,
  };
  const refused = await talk.ask('limits', tooMuch);
  const wants = 'limits of 65 A are above what is safe: limit';
  must(refused.reply === replyCodes.limit, wants, replyName(refused.reply));
  const holds = await talk.ok('limits', { ...greeting.defaultLimits, rail5MilliampsMax: 777 });
  must(
    holds.rail5MilliampsMax === 777,
    'the response says what holds',
    `${holds.rail5MilliampsMax}`,
  );
  await talk.ok('limits', greeting.defaultLimits);
  const status = await talk.status();
  const drawn = [
    { rail: 5, field: 'rail5MilliampsMax', milliamps: status.rail5Milliamps },
    { rail: 12, field: 'rail12MilliampsMax', milliamps: status.rail12Milliamps },
  ].filter(({ milliamps }) => milliamps !== notMeasured.rail && milliamps >= 50);
  const [most] = drawn.sort((a, b) => b.milliamps - a.milliamps);
  if (!most) notSeen('nothing on the rails draws current');
  const limit = Math.floor(most.milliamps / 2);
  await talk.ok('limits', { ...greeting.defaultLimits, blankingMs: 1, [most.field]: limit });
  const tripped = (state: Status) => state.powerState === powerStates.tripped;
  if (!(await untilStatus(clock, talk, tripped, 500 + bench.late(0)))) {
    // A blanking that had begun may go on; the next one is short.
    await bench.rails('off');
    await talk.ok('power', power(1));
    const soon = await untilStatus(clock, talk, tripped, 2000 + bench.late(0));
    must(soon, `${most.milliamps} mA on ${most.rail} V above ${limit} trip`, 'the rails stay up');
  }
  const fault = (await talk.event('railFault', 500))?.value as EventBody<'railFault'> | undefined;
  const right = fault?.rail === most.rail && fault.fault === 1;
  must(right, `rail-fault tells of ${most.rail} V`, JSON.stringify(fault) ?? 'nothing');
  await tryCell(bench, 'tripped', 'power on');
  for (const ask of withoutPower) await tryCell(bench, 'tripped', ask);
  await tryCell(bench, 'tripped', 'power off');
  await talk.ok('limits', greeting.defaultLimits);
}

async function overHeat(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const { temperature } = await talk.status();
  if (temperature === notMeasured.temperature) notSeen('no temperature is measured now');
  const limits = {
    ...greeting.defaultLimits,
    parkTemperature: temperature - 90,
    offTemperature: temperature - 50,
  };
  await talk.ok('limits', limits);
  const tripped = (state: Status) => state.powerState === powerStates.tripped;
  const cut = await untilStatus(clock, talk, tripped, bench.late(10_000));
  must(cut, 'a drive above offTemperature is cut within 10 s', 'the rails stay up');
  const heat = talk.wire.take((m) => m.kind === 'event' && m.name === 'overTemperature');
  const actions = heat.map((m) => (m as EventMessage).value as EventBody<'overTemperature'>);
  must(
    actions.some(({ action }) => action === 2),
    'over-temperature tells of it',
    JSON.stringify(actions),
  );
  await talk.ok('power', power(0));
  const off = (state: Status) => state.powerState === powerStates.off;
  await untilStatus(clock, talk, off, 20_000);
  const answer = await talk.ask('power', power(1));
  const wants = 'power on above offTemperature is answered limit';
  must(answer.reply === replyCodes.limit, wants, replyName(answer.reply));
  await talk.ok('limits', greeting.defaultLimits);
  await talk.ok('power', power(1));
}

async function endOfInput(bench: Bench): Promise<undefined> {
  const { exited } = bench.target;
  bench.talk.wire.close();
  const ended = await Promise.race([
    exited?.().then(() => true),
    bench.clock.sleep(5000).then(() => false),
  ]);
  must(ended === true, 'the process ends when its input has', 'it runs on for 5 s');
}

/** Leaves limits as they are by themselves, however a check ended. */
function thenDefaults(run: (bench: Bench) => Promise<undefined>) {
  return async (bench: Bench): Promise<undefined> => {
    try {
      return await run(bench);
    } finally {
      const { talk } = bench;
      talk.send('limits', greeting.defaultLimits);
      await talk.answer('limits', talk.commandId - 1, 1000);
    }
  };
}

/** Runs before all others: they tell the imager other times. */
export const firstChecks: readonly Check[] = [
  {
    clauses: ['W-3'],
    title: 'An imager that was told nothing keeps the times of a hard drive',
    needs: ['watchdog'],
    rails: 'on',
    how: 'eleven seconds of silence after HELLO',
    run: hardDriveTimes,
  },
];

export const powerChecks: readonly Check[] = [
  {
    clauses: ['P-2'],
    title: 'Off: what is asked ends as the table says',
    needs: ['power'],
    rails: 'off',
    how: 'every command with the rails off, then on, twice',
    run: cellsOff,
  },
  {
    clauses: ['P-2'],
    title: 'On: what is asked ends as the table says',
    needs: ['power'],
    rails: 'on',
    how: 'on again, a reset',
    run: cellsOn,
  },
  {
    clauses: ['P-2'],
    title: 'Cooling: what is asked ends as the table says',
    needs: ['power'],
    rails: 'on',
    how: 'every command in an off-time; on, cycle and off replace each other',
    run: cellsCooling,
  },
  {
    clauses: ['P-3'],
    title: 'An off-time is kept, and counted',
    needs: ['power'],
    rails: 'on',
    how: 'a power cycle with offMs 1500',
    run: offTime,
  },
  {
    clauses: ['P-4'],
    title: 'standbyFirst does not keep the power on',
    needs: ['power'],
    rails: 'on',
    how: 'power off with standbyFirst',
    run: standbyFirst,
  },
  {
    clauses: ['P-5'],
    title: 'Both rails rise and fall',
    needs: ['power', 'sense'],
    rails: 'on',
    how: 'the volts of status, on and off; 12 V alone in any status of the whole run',
    run: railsMeasured,
  },
  {
    clauses: ['P-6'],
    title: 'Nothing else switches on',
    needs: ['power'],
    rails: 'off',
    how: 'power on in broken frames, as response, event and unknown request; 2 KB of noise',
    run: nothingMoves,
  },
  {
    clauses: ['P-6'],
    title: 'Nothing else switches off',
    needs: ['power'],
    rails: 'on',
    how: 'the same with power off and the rails on',
    run: nothingMoves,
  },
  {
    clauses: ['W-1', 'W-2'],
    title: 'A silent laptop is answered by stages',
    needs: ['watchdog'],
    rails: 'on',
    how: 'stages of 0.6 to 2.4 s, and nothing but broken frames',
    run: stages,
  },
  {
    clauses: ['W-1'],
    title: 'Any valid message starts the time anew',
    needs: ['watchdog', 'power'],
    rails: 'on',
    how: 'stages of about a second, a status every 0.4 s',
    run: heardStartsAnew,
  },
  {
    clauses: ['W-1'],
    title: 'A stage of 0 is never taken',
    needs: ['watchdog'],
    how: 'all stages 0, 1.5 s of silence',
    run: neverMeansNever,
  },
  {
    clauses: ['W-2'],
    title: 'Silence stops the reads that wait',
    needs: ['watchdog', 'power', 'read', 'drive'],
    rails: 'off',
    how: 'power on, four reads while the drive starts, a stage after 0.5 s',
    run: silenceStopsReads,
  },
  {
    clauses: ['S-7', 'P-2'],
    title: 'Too much current trips',
    needs: ['power', 'sense', 'limits'],
    rails: 'on',
    how: 'a limit of half of what is drawn, if need be from power on; every command when tripped',
    run: thenDefaults(overCurrent),
  },
  {
    clauses: ['S-8'],
    title: 'Too much heat trips',
    needs: ['power', 'temperature', 'limits'],
    rails: 'on',
    how: 'offTemperature 5 °C below what is measured',
    run: thenDefaults(overHeat),
  },
];

/** Runs behind all others: it ends the imager. */
export const lastChecks: readonly Check[] = [
  {
    clauses: ['T-5'],
    title: 'The process ends with its input',
    needs: ['process'],
    rails: 'off',
    how: 'its input is closed with the rails off',
    run: endOfInput,
  },
];
