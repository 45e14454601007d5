/** Memory that the threads of the reading process share: slots that go from the reader to the writer and the
 * hasher and back, and the little that they tell each other besides. A slot is a reply's header with its data
 * behind it, so that one write sends both. */

import type { StretchHash } from '../segment-hasher.js';
import { readBytesMax, replyHeaderBytes } from './file-records.js';

/** The part of the WebAssembly interface that is used here, and that Node's types leave out. */
declare const WebAssembly: {
  Memory: new (size: {
    initial: number;
    maximum: number;
    shared: true;
  }) => { readonly buffer: SharedArrayBuffer };
};

/** Some are read into, some go to the parent or into the image, and some are hashed, which takes longest. */
export const slotCount = 8;
/** WebAssembly memory is the one kind that Node aligns to pages, as O_DIRECT asks; this is its
 * unit. */
const memoryPageBytes = 65536;
/** A slot's data begins on a page of its own; its header stands right before. */
const slotBytes = memoryPageBytes + readBytesMax;
/** Hashes that wait for a reply to travel with. A segment is far more than a slot holds, so that a slot ends at most
 * the stretch before it and, twice, its own; in the end there are those of the whole. With room for less, the hasher
 * would wait for a reply that the reader cannot make before the hasher goes on. */
const mailCount = 3 * slotCount + 8;
const mailBytes = 64;
const wordBytes = Int32Array.BYTES_PER_ELEMENT;
const placesAt = 2048;
const mailAt = 4096;

/** A slot or a letter: nobody's, or filled. */
const free = 0;
/** To a slot's reader instead of a length: there is no more. */
export const slotEnd = -1;
/** The hasher has nothing to do with this one. */
const notHashed = -2;
/** The hasher is to tell of the stretch that has begun. */
const tellBegun = -3;
const noImage = -1;

/** Sends one thing through a word of shared memory: blocks until the word is `free`, or is not. */
function waitWhile(words: Int32Array, at: number, isFree: boolean): number {
  for (;;) {
    const value = Atomics.load(words, at);
    if ((value === free) !== isFree) return value;
    Atomics.wait(words, at, value);
  }
}

function put(words: Int32Array, at: number, value: number): void {
  Atomics.store(words, at, value);
  Atomics.notify(words, at);
}

/** Memory for `createSlots`; made once, by the first thread. */
export function allocateSlots(): SharedArrayBuffer {
  const pages = 1 + (slotCount * slotBytes) / memoryPageBytes;
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer;
}

/** What waits for the hasher in a slot: data, or that somebody wants to know of the stretch that has begun. */
export type Unhashed = { readonly offsetBytes: number; readonly data: Uint8Array } | 'tell-begun';

/** An image that is open for writing. */
export interface ImageDescriptors {
  readonly buffered: number;
  /** The same file past the page cache (O_DIRECT), where its file system can. */
  readonly direct: number | undefined;
  /** Zeros are not written where it reads as zeros. */
  readonly isSparse?: boolean;
}

function descriptorIn(words: Int32Array, at: number): number | undefined {
  const descriptor = Atomics.load(words, at) + noImage;
  return descriptor === noImage ? undefined : descriptor;
}

/** A thread's view of the memory. */
export function createSlots(memory: SharedArrayBuffer) {
  const toSend = new Int32Array(memory, 0, slotCount);
  const toHash = new Int32Array(memory, slotCount * wordBytes, slotCount);
  const shared = new Int32Array(memory, 2 * slotCount * wordBytes, 3 + mailCount);
  const mail = shared.subarray(3);
  /** Where in the source and in the image each slot's data belongs. */
  const places = new Float64Array(memory, placesAt, slotCount);
  const dataAt = (slot: number) => memoryPageBytes + slot * slotBytes + memoryPageBytes;
  const letterAt = (letter: number) =>
    new Uint8Array(memory, mailAt + letter * mailBytes, mailBytes);
  let nextLetter = 0;

  return {
    /** Header and room for data. */
    at: (slot: number) =>
      new Uint8Array(memory, dataAt(slot) - replyHeaderBytes, replyHeaderBytes + readBytesMax),
    placeOf: (slot: number) => places[slot]!,

    /** Waits until nobody uses the slot. */
    takeFree(slot: number): void {
      waitWhile(toSend, slot, false);
      waitWhile(toHash, slot, false);
    },
    /** Hands a slot on, of `sendBytes` with its header, of which the hasher gets `hashBytes` of data; undefined
     * where there is no hasher. */
    fill(slot: number, sendBytes: number, offsetBytes = 0, hashBytes?: number): void {
      places[slot] = offsetBytes;
      if (hashBytes !== undefined) put(toHash, slot, hashBytes || notHashed);
      put(toSend, slot, sendBytes);
    },
    end(slot: number): void {
      put(toSend, slot, slotEnd);
    },

    /** Waits until there is something to send; its length, or `slotEnd`. */
    awaitFilled: (slot: number) => waitWhile(toSend, slot, true),
    wasSent: (slot: number) => put(toSend, slot, free),

    /** Waits for the hasher's turn; undefined where the slot is none of its own. */
    awaitUnhashed(slot: number): Unhashed | undefined {
      const hashBytes = waitWhile(toHash, slot, true);
      if (hashBytes === notHashed) return undefined;
      if (hashBytes === tellBegun) return 'tell-begun';
      return {
        offsetBytes: places[slot]!,
        data: new Uint8Array(memory, dataAt(slot), hashBytes),
      };
    },
    wasHashed: (slot: number) => put(toHash, slot, free),
    /** Has the hasher tell of what it was given, this slot being the next; waits until it has. */
    flushHasher(slot: number): void {
      put(toHash, slot, tellBegun);
      waitWhile(toHash, slot, false);
    },

    /** Leaves a hash for the next reply. */
    post({ offsetBytes, byteCount, sha256 }: StretchHash): void {
      waitWhile(mail, nextLetter, false);
      const letter = letterAt(nextLetter);
      new Float64Array(letter.buffer, letter.byteOffset, 2).set([offsetBytes, byteCount]);
      letter.set(sha256, 16);
      put(mail, nextLetter, 1);
      nextLetter = (nextLetter + 1) % mailCount;
    },
    /** The oldest hash that waits. */
    collect(): StretchHash | undefined {
      if (Atomics.load(mail, nextLetter) === free) return undefined;
      const letter = letterAt(nextLetter);
      const [offsetBytes = 0, byteCount = 0] = new Float64Array(
        letter.buffer,
        letter.byteOffset,
        2,
      );
      const sha256 = letter.slice(16, 48);
      put(mail, nextLetter, free);
      nextLetter = (nextLetter + 1) % mailCount;
      return { offsetBytes, byteCount, sha256 };
    },

    /** The image's descriptors, which are a process's and so every thread's. */
    get image(): ImageDescriptors | undefined {
      const [buffered, direct] = [descriptorIn(shared, 0), descriptorIn(shared, 1)];
      return buffered === undefined ? undefined : { buffered, direct, isSparse: shared[2] === 1 };
    },
    set image({ buffered, direct, isSparse }: ImageDescriptors) {
      shared[1] = (direct ?? noImage) - noImage;
      shared[2] = isSparse ? 1 : 0;
      Atomics.store(shared, 0, buffered - noImage);
    },
  };
}

export type Slots = ReturnType<typeof createSlots>;
