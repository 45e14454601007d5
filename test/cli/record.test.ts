import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodeFiles } from '../../src/image/node-files.js';
import { casePaths } from '../../src/job/case.js';
import { checkEventLog } from '../../src/job/replay.js';
import { run, startImager, temporaryFolder } from './cli.js';

const check = (image: string) => checkEventLog(nodeFiles(), casePaths(image));

test('a failing drive: two runs, one chain, checked by other tools as the page on it says', async () => {
  const folder = temporaryFolder();
  const image = join(folder, 'case.img');
  const drive = await startImager('demo', folder, 1000);
  const first = await run([
    ...['image', drive, image, '--case', '17', '--note', 'ein Müsterchen "x"'],
    ...['--then', 'stopped:exec:mail --password SECRET', '--then', 'failed,stopped:park'],
    ...['--then', 'gave-up:webhook:https://me:SECRET@hooks.example/T0/SECRET'],
  ]);
  expect(first, first.stderr).toMatchObject({ status: 0 });
  const second = await run(['image', drive, image, '--examiner', 'Zoë']);
  expect(second, second.stderr).toMatchObject({ status: 0 });
  const log = join(folder, 'case.events.ndjson');
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  const runs = lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === 'run');
  const actions = [
    'stopped:exec:mail …',
    'failed,stopped:park',
    'gave-up:webhook:https://hooks.example/…',
  ];
  expect(runs).toMatchObject([
    { resumed: false, source: drive, image, options: { setro: true, actions } },
    { resumed: true, case: { number: '17', note: 'ein Müsterchen "x"', examiner: 'Zoë' } },
  ]);
  expect(runs[1].options).not.toHaveProperty('actions');
  expect(readFileSync(log, 'utf8')).not.toContain('SECRET');
  expect(await check(image)).toMatchObject({ runCount: 2, findings: [] });
  for (const line of [2, 3, 7, lines.length]) {
    const byHand = execFileSync('sh', ['-c', byHandScript(log, line)], { encoding: 'utf8' });
    expect(`${byHand.slice(0, 64)}`).toBe(JSON.parse(lines[line - 1]!).hash);
  }
  const [noted] = /(?<=^log +\d+ lines, to be noted: )[0-9a-f]{64}$/m.exec(first.stdout)!;
  const verified = await run(['verify', image, '--log-hash', `${noted.slice(0, 20)} `]);
  expect(verified, verified.stderr).toMatchObject({ status: 0 });
  expect(verified.stdout).toMatch(
    /^log .*events\.ndjson:\d+: this line has the hash .* came after/m,
  );
  const failed = lines.findIndex((line) => line.includes('"outcome":"fault"'));
  const forged = lines.with(failed, lines[failed]!.replace('"fault"', '"good"'));
  writeFileSync(log, `${forged.join('\n')}\n`);
  expect((await check(image)).findings).toMatchObject([
    { kind: 'chain', isBad: true, line: failed + 1 },
  ]);
  const changed = await run(['verify', image]);
  expect(changed).toMatchObject({ status: 4, stdout: expect.stringMatching(/^changed: log\n/) });
  expect(changed.stdout).toContain(`changed: ${log}:${failed + 1}: it is not as it was written`);
});

test('a noted hash that can be none is refused', async () => {
  for (const hash of ['9c1f22aa01b34d5', 'g'.repeat(16), '0'.repeat(65)]) {
    const refused = await run(['verify', 'case.img', '--log-hash', hash]);
    expect(refused).toMatchObject({ status: 2, stderr: expect.stringContaining('16 to 64') });
  }
});

/** As docs/record.md has it, with `sed` for what a computer without `jq` lacks. */
function byHandScript(log: string, line: number): string {
  const hashOf = 's/.*"hash":"\\([0-9a-f]*\\)"}$/\\1/';
  return `former=$(sed -n ${line - 1}p '${log}' | sed '${hashOf}')
    printf %s%s "$former" "$(sed -n ${line}p '${log}' | sed 's/,"hash":"[0-9a-f]*"}$/}/')" | sha256sum`;
}

test('case data that is no line is refused before anything is opened', async () => {
  const image = join(temporaryFolder(), 'case.img');
  const long = await run(['image', 'file:/nowhere', image, '--case', 'x'.repeat(201)]);
  expect(long).toMatchObject({ status: 2, stderr: expect.stringContaining('--case has 201') });
  const control = await run(['image', 'file:/nowhere', image, '--examiner', 'a\u0007b']);
  expect(control).toMatchObject({ status: 2, stderr: expect.stringContaining('control') });
});
