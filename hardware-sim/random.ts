/** Seeded chance. Everything that looks random in the simulator is a function of the scenario's
 * seed and of what is asked, not of the order of the questions: the third try of a sector ends the
 * same way whatever was read before it, so that two strategies meet the same drive. */

/** Mixes one 32-bit word into a hash (the rounds of MurmurHash3, which is in the public domain). */
function mixWord(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  let h = hash ^ Math.imul(k, 0x1b873593);
  h = (h << 13) | (h >>> 19);
  return (Math.imul(h, 5) + 0xe6546b64) | 0;
}

/** A 32-bit unsigned hash of a seed and up to three numbers; `lba` may exceed 32 bits. */
export function hash(seed: number, topic: number, lba = 0, attempt = 0): number {
  let h = mixWord(seed | 0, topic | 0);
  h = mixWord(h, lba | 0);
  h = mixWord(h, Math.floor(lba / 0x1_0000_0000) | 0);
  h = mixWord(h, attempt | 0);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The same hash as a fraction, 0 <= x < 1. */
export function fraction(seed: number, topic: number, lba = 0, attempt = 0): number {
  return hash(seed, topic, lba, attempt) / 0x1_0000_0000;
}

export interface Random {
  /** 0 <= x < 1. */
  next(): number;
  /** A whole number, 0 <= x < `below`. */
  below(below: number): number;
}

/** A sequence of numbers for what has no place of its own, such as noise on a line. */
export function createRandom(seed: number): Random {
  let drawn = 0;
  const next = () => fraction(seed, 0x5eed, drawn++);
  return { next, below: (below) => Math.floor(next() * below) };
}
