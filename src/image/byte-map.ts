import type { ParsedMap } from '../map/mapfile.js';
import { type RunMap, runMapBuilder } from '../map/run-map.js';
import { statuses } from '../map/status.js';

/** Status by byte of an image of `sizeBytes`: of what a map file does not speak of nothing was read, and what it says
 * of bytes behind the image's end is left out. Throws RangeError where the size is 0. */
export function statusByByte({ starts, codes, end }: ParsedMap, sizeBytes: number): RunMap {
  const builder = runMapBuilder(sizeBytes);
  if (starts.length === 0 || starts[0]! > 0) builder.append(0, statuses['non-tried']);
  for (let i = 0; i < starts.length && starts[i]! < sizeBytes; i++) {
    builder.append(starts[i]!, codes[i]!);
  }
  if (starts.length > 0 && end < sizeBytes) builder.append(end, statuses['non-tried']);
  return builder.finish();
}

/** Where the last byte that a map file calls finished ends. */
export function claimedBytes({ starts, codes, end }: ParsedMap): number {
  const last = codes.lastIndexOf(statuses.finished);
  return last < 0 ? 0 : (starts[last + 1] ?? end);
}
