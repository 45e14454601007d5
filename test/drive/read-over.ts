import { expect } from 'vitest';
import type { Link } from '../../firmware-protocol/link.js';
import { realClock } from '../../src/clock.js';
import { openImager } from '../../src/drive/imager.js';
import { sectorsAt } from '../firmware-protocol/fake-imager.js';

/** Reads 40 times 8 sectors over a link to a fake imager, and checks each byte. */
export async function readOver(link: Link): Promise<void> {
  const drive = await openImager(link, realClock(), { session: 21 });
  await drive.identify();
  const reads = Array.from({ length: 40 }, (_, index) =>
    drive.read({
      extent: { lba: index * 8, count: 8 },
      timeoutMs: 1000,
      slowMs: 0,
      stopOn: { fault: false, slow: false, timeout: false },
      batch: 1,
    }),
  );
  const results = await Promise.all(reads);
  results.forEach((result, index) => {
    expect(result.data).toEqual(sectorsAt(index * 8, 8));
  });
  expect(drive.counters).toMatchObject({ framesDiscarded: 0, violations: 0 });
  await drive.close();
}
