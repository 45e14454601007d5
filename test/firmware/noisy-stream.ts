/** A byte stream with noise on it: what a bad cable does, to bytes and not to frames. One seed, one
 * history of what happens to which byte. */
import { Duplex, Transform } from 'node:stream';
import { createRandom } from '../../hardware-sim/random.js';

export interface NoiseCounts {
  flipped: number;
  dropped: number;
  doubled: number;
  inserted: number;
  /** Zeros that were lost: two frames became one. */
  merged: number;
}

export interface Noise {
  readonly seed: number;
  /** Bytes between two troubles, on average. */
  readonly everyBytes: number;
}

/** A stream that passes bytes on and does something to one of them now and then. */
export function noisyTransform({ seed, everyBytes }: Noise, counts: NoiseCounts): Transform {
  const random = createRandom(seed);
  const draw = () => 1 + random.below(2 * everyBytes);
  let untilNext = draw();
  return new Transform({
    transform(bytes: Buffer, _encoding, done) {
      const out: Buffer[] = [];
      let from = 0;
      while (bytes.length - from >= untilNext) {
        const at = from + untilNext - 1;
        out.push(bytes.subarray(from, at), trouble(bytes[at]!));
        from = at + 1;
        untilNext = draw();
      }
      untilNext -= bytes.length - from;
      out.push(bytes.subarray(from));
      done(null, Buffer.concat(out));
    },
  });

  function trouble(byte: number): Buffer {
    switch (random.below(4)) {
      case 0:
        counts.flipped++;
        return Buffer.of(byte ^ (1 << random.below(8)));
      case 1:
        if (byte === 0) counts.merged++;
        else counts.dropped++;
        return Buffer.alloc(0);
      case 2:
        counts.doubled++;
        return Buffer.of(byte, byte);
      default:
        counts.inserted++;
        return Buffer.of(byte, random.below(256), random.below(256), random.below(256));
    }
  }
}

/** `inner` behind a line that has noise both ways. */
export function noisyDuplex(
  inner: { readonly readable: NodeJS.ReadableStream; readonly writable: NodeJS.WritableStream },
  noise: Noise,
  counts: NoiseCounts,
): Duplex {
  const out = noisyTransform(noise, counts);
  const back = noisyTransform({ ...noise, seed: noise.seed + 1 }, counts);
  out.pipe(inner.writable);
  inner.readable.pipe(back);
  return Duplex.from({ writable: out, readable: back });
}
