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
  const first = await run(['image', drive, image, '--case', '17', '--note', 'ein Müsterchen "x"']);
  expect(first, first.stderr).toMatchObject({ status: 0 });
  const second = await run(['image', drive, image, '--examiner', 'Zoë']);
  expect(second, second.stderr).toMatchObject({ status: 0 });
  const log = join(folder, 'case.events.ndjson');
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  const runs = lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === 'run');
  expect(runs).toMatchObject([
    { resumed: false, source: drive, image, options: { setro: true } },
    { resumed: true, case: { number: '17', note: 'ein Müsterchen "x"', examiner: 'Zoë' } },
  ]);
  expect(await check(image)).toMatchObject({ runCount: 2, findings: [] });
  for (const line of [2, 3, 7, lines.length]) {
    const byHand = execFileSync('sh', ['-c', byHandScript(log, line)], { encoding: 'utf8' });
    expect(`${byHand.slice(0, 64)}`).toBe(JSON.parse(lines[line - 1]!).hash);
  }
  const failed = lines.findIndex((line) => line.includes('"outcome":"fault"'));
  const forged = lines.with(failed, lines[failed]!.replace('"fault"', '"good"'));
  writeFileSync(log, `${forged.join('\n')}\n`);
  expect((await check(image)).findings).toMatchObject([
    { kind: 'chain', isBad: true, line: failed + 1 },
  ]);
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
