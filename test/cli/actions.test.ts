import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import {
  createActions,
  type EndedDrive,
  type EndedJob,
  type Ending,
  parseAction,
} from '../../src/cli/actions.js';
import { exitStatusWith } from '../../src/cli/image.js';
import { realClock } from '../../src/clock.js';
import { nodeFiles } from '../../src/image/node-files.js';
import { casePaths } from '../../src/job/case-files.js';
import { checkEventLog } from '../../src/job/replay.js';
import { imageResultSchema } from '../../src/show/result.js';
import { run, start, temporaryFolder } from './cli.js';

const paths = casePaths('case.img');
const jobEnded = (ending: Ending): EndedJob => ({ ending, why: 'because', paths });
const silent = () => {};

/** A drive with a switch, and what was done to them. */
function playedDrive({ canHold = true, parks = true, fails = '' } = {}) {
  const done: string[] = [];
  const at = {
    drive: {
      capabilities: { park: parks },
      readiness: async () => 'ready',
      park: async (kind: string) => void done.push(`park ${kind}`),
    },
    powers: [
      {
        name: 'played',
        canHold,
        set: async (on: boolean) => {
          done.push(on ? 'on' : 'off');
          if (fails) throw new Error(fails);
        },
      },
    ],
  } as unknown as EndedDrive;
  return { at, done };
}

describe('--then', () => {
  test.each<[string, string, readonly Ending[]]>([
    ['park', 'park', ['finished', 'stopped', 'gave-up', 'failed']],
    ['finished:power-off', 'power-off', ['finished']],
    ['gave-up,failed:desktop', 'desktop', ['gave-up', 'failed']],
    ['stopped:exec:echo a:b  c', 'exec:echo …', ['stopped']],
    ['exec:true', 'exec:true', ['finished', 'stopped', 'gave-up', 'failed']],
    [
      'webhook:https://hooks.example/T0/SECRET?k=1',
      'webhook:https://hooks.example/…',
      ['finished', 'stopped', 'gave-up', 'failed'],
    ],
    [
      'webhook:http://me:word@host:81',
      'webhook:http://host:81/',
      ['finished', 'stopped', 'gave-up', 'failed'],
    ],
  ])('%s', (text, name, after) => {
    const action = parseAction(text);
    expect(action.name).toBe(name);
    expect([...action.after]).toEqual(after);
  });

  test.each([
    ['', /'' is no action/],
    ['dance', /'dance' is no action; known are park, power-off, verify, report, exec:COMMAND/],
    ['toString', /'toString' is no action/],
    ['exec:', /exec needs a COMMAND/],
    ['exec', /exec needs a COMMAND/],
    ['park:now', /park takes nothing/],
    ['soon:park', /'soon' is no action/],
    ['finished,park', /'finished,' is no action/],
    ['webhook:ftp://host/SECRET', /needs an http or https address/],
    ['webhook:SECRET', /needs an http or https address/],
  ])('%s is refused', (text, message) => {
    expect(() => parseAction(text)).toThrow(message);
    expect(() => parseAction(text)).not.toThrow(/SECRET/);
  });

  test('a drive is parked and switched off first, whatever was typed; only after the ends named', async () => {
    const clock = createVirtualClock();
    const actions = createActions(
      ['exec:true', 'finished:power-off', 'park', 'gave-up:park'],
      clock,
      silent,
    );
    const { at, done } = playedDrive();
    expect(await actions.atDrive(jobEnded('finished'), at)).toEqual([
      { action: 'park', ok: true },
      { action: 'power-off', ok: true },
    ]);
    // Once as wanted, once before the power goes: the second costs a parked drive nothing.
    expect(done).toEqual(['park standby', 'park standby', 'off']);
    expect(await actions.atDrive(jobEnded('stopped'), at)).toEqual([{ action: 'park', ok: true }]);
    expect(await actions.atDrive(jobEnded('gave-up'), at)).toHaveLength(2);
  });

  test('a power-off that no switch can do is refused before anything is powered', () => {
    const actions = createActions(['power-off'], realClock(), silent);
    expect(() => actions.checkPowers(playedDrive({ canHold: false }).at.powers)).toThrow(
      /no switch here can leave the power off/,
    );
    actions.checkPowers(playedDrive().at.powers);
    createActions(['park'], realClock(), silent).checkPowers([]);
  });

  test('what fails is an outcome, and the rest is done all the same', async () => {
    const actions = createActions(['park', 'power-off'], createVirtualClock(), silent);
    const { at } = playedDrive({ parks: false, fails: 'the relay sticks' });
    expect(await actions.atDrive(jobEnded('finished'), at)).toEqual([
      { action: 'park', ok: false, why: 'the path to the drive has no command for it' },
      { action: 'power-off', ok: false, why: 'the relay sticks' },
    ]);
  });

  test('nothing takes longer than it may, even what does not listen', async () => {
    const clock = createVirtualClock();
    const actions = createActions(['park', 'power-off'], clock, silent);
    const { at, done } = playedDrive();
    Object.assign(at.drive, { park: () => new Promise(() => {}) });
    const outcomes = await clock.run(actions.atDrive(jobEnded('finished'), at));
    expect(outcomes[0]).toEqual({ action: 'park', ok: false, why: 'no end within 30 s' });
    expect(outcomes[1]?.ok).toBe(true);
    expect(done).toEqual(['off']);
    // The power waits fifteen more for the heads, and no longer.
    expect(clock.now()).toBe(45_000);
  });

  test('a command finds in its environment how the job ended', async () => {
    const folder = temporaryFolder();
    const out = join(folder, 'said');
    const command = `exec:printf '%s|%s|%s' "$LASTSPIN_ENDED" "$LASTSPIN_WHY" "$LASTSPIN_IMAGE" > ${out}`;
    const actions = createActions([command, 'exec:echo no >&2; exit 3'], realClock(), silent);
    expect(await actions.afterwards(jobEnded('gave-up'))).toEqual([
      { action: 'exec:printf …', ok: true },
      { action: 'exec:echo …', ok: false, why: 'exit code 3, saying: no' },
    ]);
    expect(readFileSync(out, 'utf8')).toBe(`gave-up|because|${join(process.cwd(), 'case.img')}`);
  });

  test('Ctrl-C ends the action under way and leaves out the rest', async () => {
    const stop = new AbortController();
    const actions = createActions(['exec:sleep 600', 'exec:true'], realClock(), silent);
    const running = actions.afterwards(jobEnded('finished'), stop.signal);
    stop.abort();
    expect(await running).toEqual([
      { action: 'exec:sleep …', ok: false, why: 'interrupted' },
      { action: 'exec:true', ok: false, why: 'interrupted' },
    ]);
  });

  test('without notify-send a bubble is left out, which is said once, at the start', async () => {
    const said: string[] = [];
    const env = { PATH: temporaryFolder() };
    const actions = createActions(['desktop'], realClock(), (line) => said.push(line), env);
    expect(await actions.afterwards(jobEnded('finished'))).toEqual([]);
    expect(said).toEqual([expect.stringMatching(/there is no notify-send here/)]);
  });
});

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

interface Asked {
  readonly url: string;
  readonly method: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Answers each request by its path: a status, or where to go instead; `/silent` never. */
async function serve(answers: Record<string, number | string>) {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece) => {
      body += piece;
    });
    request.on('end', () => {
      const { url = '', method = '', headers } = request;
      asked.push({ url, method, headers, body });
      const answer = answers[url];
      if (typeof answer === 'number') response.writeHead(answer).end('words');
      if (typeof answer === 'string') response.writeHead(307, { location: answer }).end();
    });
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return { asked, host: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const post = (url: string, clock = realClock()) =>
  createActions([`webhook:${url}`], clock, silent).afterwards(jobEnded('failed'));

describe('a webhook', () => {
  test('gets a POST of what came of the job, and its login data as a header', async () => {
    const { asked, host } = await serve({ '/T0/SECRET': 204 });
    const [outcome] = await post(`http://me:w%20rd@${host}/T0/SECRET`);
    expect(outcome).toEqual({ action: `webhook:http://${host}/…`, ok: true });
    expect(asked[0]).toMatchObject({ method: 'POST', url: '/T0/SECRET' });
    expect(asked[0]!.headers['content-type']).toBe('application/json');
    expect(asked[0]!.headers.authorization).toBe(
      `Basic ${Buffer.from('me:w rd').toString('base64')}`,
    );
    expect(JSON.parse(asked[0]!.body)).toMatchObject({ ended: 'failed', why: 'because' });
  });

  test('that answers by a failure, or not at all, is a line without its words', async () => {
    const { host } = await serve({ '/SECRET': 500 });
    expect((await post(`http://${host}/SECRET`))[0]).toMatchObject({
      ok: false,
      why: 'answered by HTTP 500',
    });
    const [closed] = await post('http://127.0.0.1:1/SECRET');
    expect(closed).toMatchObject({ ok: false, why: expect.stringMatching(/^no answer/) });
    expect(JSON.stringify(closed)).not.toContain('SECRET');
  });

  test('is followed three times to elsewhere, with the same words and without the login data', async () => {
    const far = await serve({ '/end': 200 });
    const { asked, host } = await serve({
      '/a': '/b',
      '/b': `http://${far.host}/end`,
      '/round': '/round',
      '/out': 'file:///etc/passwd',
    });
    expect((await post(`http://me:word@${host}/a`))[0]?.ok).toBe(true);
    expect(asked.map(({ headers }) => headers.authorization !== undefined)).toEqual([true, true]);
    expect(far.asked[0]).toMatchObject({ method: 'POST' });
    expect(far.asked[0]!.headers.authorization).toBeUndefined();
    expect((await post(`http://${host}/round`))[0]?.why).toBe('redirected more than 3 times');
    expect((await post(`http://${host}/out`))[0]?.why).toMatch(/not followed/);
  });

  test('has ten seconds', async () => {
    const { asked, host } = await serve({});
    // Its time stands still until the request has come.
    const timers: { readonly delayMs: number; readonly callback: () => void }[] = [];
    const clock = {
      ...realClock(),
      after: (delayMs: number, callback: () => void) => {
        timers.push({ delayMs, callback });
        return () => {};
      },
    };
    const posting = post(`http://${host}/silent`, clock);
    await expect.poll(() => asked.length).toBe(1);
    expect(timers[0]?.delayMs).toBe(10_000);
    timers[0]?.callback();
    expect((await posting)[0]).toMatchObject({ ok: false, why: 'no end within 10 s' });
  });
});

describe('image --then', () => {
  test('after a job: the image is free, the result says what was done, a failure is a line', async () => {
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    writeFileSync(at('source.bin'), Buffer.alloc(512 * 64, 7));
    const { asked, host } = await serve({ '/SECRET': 200 });
    const finished = await run([
      ...['image', at('source.bin'), at('case.img'), '--json'],
      ...['--then', `exec:test ! -e ${at('case.lock')} && echo $LASTSPIN_FINISHED > ${at('said')}`],
      ...['--then', 'finished:exec:exit 9', '--then', 'stopped:exec:touch never'],
      ...['--then', `webhook:http://${host}/SECRET`, '--then', 'park'],
    ]);
    expect(finished.status, finished.stderr).toBe(0);
    const result = imageResultSchema.parse(JSON.parse(finished.stdout));
    expect(result.actions).toEqual([
      { action: 'park', ok: false, why: 'the path to the drive has no command for it' },
      { action: 'exec:test …', ok: true },
      { action: 'exec:exit …', ok: false, why: 'exit code 9' },
      { action: `webhook:http://${host}/…`, ok: true },
    ]);
    expect(readFileSync(at('said'), 'utf8')).toBe('64\n');
    expect(JSON.parse(asked[0]!.body)).toMatchObject({ ended: 'finished', sectors: { total: 64 } });
    expect(finished.stderr).toContain('lastspin: then exec:exit …: failed: exit code 9');
    expect(finished.stderr).not.toContain('SECRET');
  });

  test('verify and report come before what is typed before them, and are on record', async () => {
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    writeFileSync(at('source.bin'), Buffer.alloc(512 * 64, 7));
    const finished = await run([
      ...[
        'image',
        at('source.bin'),
        at('case.img'),
        '--json',
        '--examiner',
        'Zoë',
        '--hash',
        'md5',
      ],
      ...['--then', `exec:cp ${at('case.report.txt')} ${at('copy')}`],
      ...['--then', 'report', '--then', 'verify'],
    ]);
    expect(finished.status, finished.stderr).toBe(0);
    expect(imageResultSchema.parse(JSON.parse(finished.stdout)).actions).toEqual([
      { action: 'verify', ok: true, told: 'unchanged', verdict: 'unchanged' },
      { action: 'report', ok: true, told: at('case.report.txt') },
      { action: 'exec:cp …', ok: true },
    ]);
    const report = readFileSync(at('copy'), 'utf8');
    expect(report).toMatch(/examiner +Zoë\n/);
    expect(report).toMatch(/verify +unchanged\n/);
    expect(report).toMatch(/ended +finished\n/);
    expect(report).toMatch(/read +64 sectors, 32\.8 kB, 100 %\n/);
    expect(report).toMatch(/md5 +[0-9a-f]{32} \(.*case\.img\.md5\)/);
    expect(report).toContain(at('case.events.ndjson'));
    const lines = readFileSync(at('case.events.ndjson'), 'utf8').trimEnd().split('\n');
    const acted = lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === 'acted');
    expect(acted).toMatchObject([
      { action: 'verify', ok: true, told: 'unchanged' },
      { action: 'report', ok: true },
    ]);
    // The report names the last line that there was when it was written.
    expect(report).toContain(`line ${acted[0].n}: ${acted[0].hash}\n`);
    expect((await checkEventLog(nodeFiles(), casePaths(at('case.img')))).findings).toEqual([]);
    const again = await run(['image', at('source.bin'), at('case.img')]);
    expect(again.status, again.stderr).toBe(0);
    expect((await checkEventLog(nodeFiles(), casePaths(at('case.img')))).findings).toEqual([]);
    expect((await run(['verify', at('case.img')])).status).toBe(0);
  });

  test('verify finds what was changed under a job: exit status 4, and it is said where', async () => {
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    // Two stretches: the job looks back at the longer one itself.
    const fromBytes = 64 << 20;
    writeFileSync(at('source.bin'), '');
    truncateSync(at('source.bin'), fromBytes);
    appendFileSync(at('source.bin'), Buffer.alloc(1 << 20, 7));
    const job = start([
      ...['image', at('source.bin'), at('case.img'), '--json', '--max-rate', '40000000'],
      ...['--prioritize', '131072-133119'],
      ...['--then', 'report', '--then', 'verify', '--then', 'exec:true'],
    ]);
    const byteOf = () => {
      if (!existsSync(at('case.img'))) return undefined;
      const into = Buffer.alloc(1);
      const image = openSync(at('case.img'), 'r');
      readSync(image, into, 0, 1, fromBytes + (1 << 20) - 1);
      closeSync(image);
      return into[0];
    };
    await expect.poll(byteOf).toBe(7);
    const image = openSync(at('case.img'), 'r+');
    writeSync(image, 'X', fromBytes);
    closeSync(image);
    const finished = await job.finished;
    expect(finished.status, finished.stderr).toBe(4);
    const { ended, actions } = imageResultSchema.parse(JSON.parse(finished.stdout));
    expect(ended).toBe('finished');
    const why = expect.stringMatching(/^changed: 2048 sectors .*, at LBA 131072 to 133119$/);
    expect(actions.slice(0, 2)).toEqual([
      { action: 'verify', ok: false, why, verdict: 'changed' },
      { action: 'report', ok: true, told: at('case.report.txt') },
    ]);
    expect(readFileSync(at('case.report.txt'), 'utf8')).toMatch(/verify +failed: changed: 2048/);
    expect(finished.stderr).toMatch(/then verify: failed: changed: 2048 sectors/);
  });

  test('an image in parts is verified too, and the report names its parts', async () => {
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    writeFileSync(at('source.bin'), Buffer.alloc(512 * 64, 7));
    const args = ['--split', '20kB', '--then', 'verify', '--then', 'report', '--json'];
    const finished = await run(['image', at('source.bin'), at('case.img'), ...args]);
    expect(finished.status, finished.stderr).toBe(0);
    expect(imageResultSchema.parse(JSON.parse(finished.stdout)).actions).toEqual([
      { action: 'verify', ok: true, told: 'unchanged', verdict: 'unchanged' },
      { action: 'report', ok: true, told: at('case.report.txt') },
    ]);
    const report = readFileSync(at('case.report.txt'), 'utf8');
    expect(report).toContain(`  ${at('case.img.001')}\n  ${at('case.img.002')}\n`);
  });

  test.each([
    ['finished', 'unchanged', 10, true, 0],
    ['finished', 'cannot-tell', 10, true, 0],
    ['finished', 'changed', 10, false, 4],
    ['finished', 'unchanged', 9, false, 0],
    ['finished', 'unchanged', 9, true, 4],
    ['interrupted', 'changed', 9, true, 130],
    ['gave-up', 'changed', 9, true, 32],
  ] as const)('%s and %s, %i of 10 read, --strict %s: exit status %i, of a clone as well', (ended, verdict, finished, isStrict, status) => {
    const domain = { total: 10, finished, unread: 10 - finished };
    expect(exitStatusWith({ ended, domain, actions: [{}, { verdict }] }, isStrict)).toBe(status);
  });

  test('what cannot be told is said, and is no change', async () => {
    const folder = temporaryFolder();
    const source = join(folder, 'source.bin');
    writeFileSync(source, Buffer.alloc(512 * 64, 7));
    const args = ['--no-hash', '--then', 'verify', '--json'];
    const finished = await run(['image', source, join(folder, 'case.img'), ...args]);
    expect(finished.status, finished.stderr).toBe(0);
    expect(imageResultSchema.parse(JSON.parse(finished.stdout)).actions).toMatchObject([
      { action: 'verify', ok: false, verdict: 'cannot-tell' },
    ]);
  });

  test('a simulated drive is parked and its power left off', async () => {
    const folder = temporaryFolder();
    const drive = 'sim:healthy?scale=1000';
    const args = ['--range', '0-1000', '--then', 'exec:true', '--then', 'power-off', '--json'];
    const finished = await run(['image', drive, join(folder, 'case.img'), ...args]);
    expect(finished.status, finished.stderr).toBe(0);
    const { actions, powerLeftOff } = imageResultSchema.parse(JSON.parse(finished.stdout));
    expect(powerLeftOff).toMatchObject({ isCertain: true });
    expect(actions).toEqual([
      { action: 'power-off', ok: true },
      { action: 'exec:true', ok: true },
    ]);
  });

  test.each([
    ['--then', 'dance', /'dance' is no action/],
    ['--then', 'power-off', /no switch here can leave the power off/],
  ])('%s %s where that cannot be: exit status 2, and nothing is made', async (option, text, message) => {
    const folder = temporaryFolder();
    const source = join(folder, 'source.bin');
    writeFileSync(source, Buffer.alloc(512 * 64));
    const refused = await run(['image', source, join(folder, 'case.img'), option, text]);
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toMatch(message);
    expect(existsSync(join(folder, 'case.img'))).toBe(false);
  });

  test('a job that fails tells of it', async () => {
    const folder = temporaryFolder();
    const said = join(folder, 'said');
    const image = join(folder, 'case.img');
    const job = start([
      ...['image', 'sim:demo?scale=3', image],
      ...['--then', `failed:exec:echo "$LASTSPIN_ENDED $LASTSPIN_WHY" > ${said}`],
      ...['--then', 'failed:report'],
    ]);
    await job.saw(/pass 1:/);
    writeFileSync(image, 'cut');
    expect(await job.finished).toMatchObject({ status: 2 });
    expect(readFileSync(said, 'utf8')).toMatch(/^failed .*case\.img/);
    const report = readFileSync(join(folder, 'case.report.txt'), 'utf8');
    expect(report).toMatch(/ended +failed: .*case\.img/);
    expect(report).toMatch(/\nLBA never tried\n {2}\d+ to \d+ \(\d+\)\n/);
  });

  test('Ctrl-C twice leaves at once', async () => {
    const folder = temporaryFolder();
    const image = join(folder, 'case.img');
    const pid = join(folder, 'pid');
    const then = `exec:echo $$ > ${pid}; echo; exec sleep 60`;
    const job = start(['image', 'sim:demo?scale=3', image, '--then', then]);
    await job.saw(/pass 1:/);
    job.process.kill('SIGINT');
    await expect.poll(() => existsSync(pid)).toBe(true);
    job.process.kill('SIGINT');
    expect(await job.finished).toMatchObject({ status: 130, stdout: '' });
    process.kill(Number(readFileSync(pid, 'utf8')), 'SIGKILL');
  });
});
