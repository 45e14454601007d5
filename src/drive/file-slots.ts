/** Memory that the threads of the reading process share: slots that go from the reader to the writer and the
 * hasher and back, and the little that they tell each other besides. A slot is a reply's header with its data
 * behind it, so that one write sends both. */

import type { SegmentHash } from '../segment-hasher.js';
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
/** Hashes that wait for a reply to travel with. A segment is far more than all slots hold, so that there is
 * never more than one and the next, and in the end those of the whole. */
const mailCount = 8;
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

/** What waits for the hasher in a slot. */
export interface Unhashed {
  readonly offsetBytes: number;
  readonly data: Uint8Array;
}

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
      return {
        offsetBytes: places[slot]!,
        data: new Uint8Array(memory, dataAt(slot), hashBytes),
      };
    },
    wasHashed: (slot: number) => put(toHash, slot, free),
    /** Waits until the hasher has nothing left. */
    awaitHashed(): void {
      for (let slot = 0; slot < slotCount; slot++) waitWhile(toHash, slot, false);
    },

    /** Leaves a hash for the next reply. */
    post({ index, sha256 }: SegmentHash): void {
      waitWhile(mail, nextLetter, false);
      const letter = letterAt(nextLetter);
      new Float64Array(letter.buffer, letter.byteOffset, 1)[0] = index;
      letter.set(sha256, 8);
      put(mail, nextLetter, 1);
      nextLetter = (nextLetter + 1) % mailCount;
    },
    /** The oldest hash that waits. */
    collect(): SegmentHash | undefined {
      if (Atomics.load(mail, nextLetter) === free) return undefined;
      const letter = letterAt(nextLetter);
      const index = new Float64Array(letter.buffer, letter.byteOffset, 1)[0]!;
      const sha256 = letter.slice(8, 40);
      put(mail, nextLetter, free);
      nextLetter = (nextLetter + 1) % mailCount;
      return { index, sha256 };
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
