import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createRandom } from '../../hardware-sim/random.js';
import { nodeFiles } from '../../src/image/node-files.js';
import { recallState } from '../../src/job/case-files.js';
import { statuses } from '../../src/map/status.js';
import { needsTool } from '../tools.js';
import { run, start, temporaryFolder } from './cli.js';

const hasNoJudge = needsTool('ddrescuelog');
const killsWanted = 10;

/** Sectors that map and journal together call finished, of which the image must hold every byte. */
async function claimedIn(folder: string, source: Buffer): Promise<number> {
  const recalled = await recallState(nodeFiles(), join(folder, 'case.map'));
  expect(recalled).toBeDefined();
  const image = readFileSync(join(folder, 'case.img'));
  let claimed = 0;
  for (const { lba, count, value } of recalled!.state.plan.map.runs()) {
    if (value !== statuses.finished) continue;
    claimed += count;
    const [from, to] = [lba * 512, (lba + count) * 512];
    expect(image.subarray(from, to).equals(source.subarray(from, to)), `LBA ${lba}`).toBe(true);
  }
  return claimed;
}

/** `npm run bench -- sigkill` does this on a drive that fails, and counts what is read twice. */
test('killed at ten random instants while its reading process writes the image: nothing false, nothing torn', async () => {
  const folder = temporaryFolder();
  const source = Buffer.alloc(24 * 2 ** 20);
  for (let at = 0; at < source.length; at += 4) source.writeUInt32LE((at * 2654435761) >>> 0, at);
  writeFileSync(join(folder, 'source.bin'), source);
  const [drive, image] = [join(folder, 'source.bin'), join(folder, 'case.img')];
  const random = createRandom(7);
  let claimed = 0;
  for (let kills = 0; kills < killsWanted; kills++) {
    const job = start(['image', drive, image, '--max-rate', '4000000']);
    await job.saw(/pass \d/);
    await new Promise((resolve) => setTimeout(resolve, random.below(500)));
    job.process.kill('SIGKILL');
    await job.finished;
    if (!hasNoJudge) execFileSync('ddrescuelog', ['-t', join(folder, 'case.map')]);
    const now = await claimedIn(folder, source);
    expect(now).toBeGreaterThanOrEqual(claimed);
    claimed = now;
  }
  const last = await run(['image', drive, image]);
  expect(last.status, last.stderr).toBe(0);
  expect(await claimedIn(folder, source)).toBe(source.length / 512);
});
