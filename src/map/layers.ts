/** What several maps of one drive say of each stretch of it, side by side: which call it finished, and what is
 * known of the rest. No object per run. */

import { outside, type Runs, walk } from './algebra-runs.js';
import { statuses } from './status.js';

/** Most maps at once: the bits of a number. */
export const layersMax = 32;

/** Stretches from byte 0 to `end`, contiguous; stretch `i` is `[starts[i], starts[i + 1])`. */
export interface Layers {
  readonly length: number;
  readonly starts: Float64Array;
  /** Bit `m` is set where map `m` calls the stretch finished. */
  readonly holders: Uint32Array;
  /** Where nobody does, the most processed status that any map gives it; a stretch of which none speaks is
   * non-tried. Unread and unreadable so stay different: a sector that one attempt tried by itself in vain is
   * bad, whatever another left undone. */
  readonly codes: Uint8Array;
  readonly end: number;
}

/** Lays up to `layersMax` maps over each other, from byte 0 to `end`. What they say beyond that is left out. */
export function layersOf(maps: readonly Runs[], end: number): Layers {
  if (maps.length > layersMax) throw new RangeError(`${maps.length} maps`);
  const whole: Runs = {
    starts: Float64Array.of(0),
    codes: Uint8Array.of(statuses['non-tried']),
    end,
  };
  let starts = new Float64Array(1024);
  let holders = new Uint32Array(starts.length);
  let codes = new Uint8Array(starts.length);
  let length = 0;
  walk([...maps, whole], (from, _to, found) => {
    if (from >= end) return false;
    const mask = holdersOf(found, maps.length);
    const code = mask === 0 ? mostProcessed(found) : statuses.finished;
    if (length > 0 && holders[length - 1] === mask && codes[length - 1] === code) return;
    if (length === starts.length) {
      [starts, holders, codes] = [grown(starts), grown(holders), grown(codes)];
    }
    starts[length] = from;
    holders[length] = mask;
    codes[length] = code;
    length += 1;
    return;
  });
  return { length, starts, holders, codes, end };
}

/** Where stretch `index` ends. */
export function endOfLayer({ starts, length, end }: Layers, index: number): number {
  return index + 1 < length ? starts[index + 1]! : end;
}

function holdersOf(found: Uint8Array, count: number): number {
  let mask = 0;
  for (let map = 0; map < count; map++) if (found[map] === statuses.finished) mask |= 1 << map;
  return mask >>> 0;
}

function mostProcessed(found: Uint8Array): number {
  let most: number = statuses['non-tried'];
  for (const code of found) if (code !== outside && code > most) most = code;
  return most;
}

function grown<Numbers extends Float64Array | Uint32Array | Uint8Array>(numbers: Numbers): Numbers {
  const wider = new (numbers.constructor as new (length: number) => Numbers)(numbers.length * 2);
  wider.set(numbers);
  return wider;
}
