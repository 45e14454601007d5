// Both decoders judge the same broken frames: TypeScript here, C in firmware-protocol/firmware/fuzz/judge.c,
// which makes the same bytes from the same seed. After each piece of a stream both must have accepted the
// same messages with the same fields, and refused as many frames for the same reasons.
import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { crc32 } from 'node:zlib';
import { judgedBodies } from '../dist/firmware-protocol/c-header.js';
import { MalformedMessage } from '../dist/firmware-protocol/codec.js';
import { responseBit } from '../dist/firmware-protocol/commands.js';
import { createFrameDecoder, encodeFrame, noDiscards } from '../dist/firmware-protocol/frame.js';
import { decodeHeader } from '../dist/firmware-protocol/message.js';
import { has, root, workFolder } from './tools.mjs';

// As in judge.c.
const casesPerBatch = 4096;
const frameBytesMax = 300;
const streamBytesMax = 16_384;
const messageBytesMax = 1500;

const bodies = judgedBodies();
const bodyByCode = new Map(bodies.map((body) => [body.code, body]));

/** Chance: the same sequence on both sides (xorshift, 32 bits). */
class Chance {
  constructor(seed) {
    this.state = seed >>> 0 || 1;
  }

  draw() {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    this.state >>>= 0;
    return this.state;
  }

  below(limit) {
    return this.draw() % limit;
  }

  /** Zeros are what frames are about. */
  byte() {
    const drawn = this.draw();
    return (drawn & 0x300) === 0 ? 0 : drawn & 0xff;
  }
}

/** Makes messages: most as the tables say, some cut, some longer, some of no sense at all. */
class MessageMaker {
  bytes = new Uint8Array(messageBytesMax);
  count = 0;

  constructor(chance) {
    this.chance = chance;
  }

  next() {
    const { chance } = this;
    const kind = chance.below(16);
    this.count = 0;
    if (kind === 0) this.putRandom(1 + chance.below(40));
    else this.putBody(bodies[chance.below(bodies.length)]);
    if (kind === 1) this.count = 1 + chance.below(this.count);
    if (kind === 2) this.putRandom(chance.below(20));
    return this.bytes.subarray(0, this.count);
  }

  putRandom(count) {
    for (let left = count; left > 0; left--) this.bytes[this.count++] = this.chance.byte();
  }

  putNumber(value, bytes) {
    for (let at = 0; at < bytes; at++) this.bytes[this.count++] = (value >>> (8 * at)) & 0xff;
  }

  putBytes() {
    const { chance } = this;
    const count = chance.below(16) === 0 ? chance.below(300) : chance.below(24);
    this.putNumber(count, 2);
    this.putRandom(count);
  }

  putField(letter) {
    const { chance } = this;
    if (letter === '1') this.putNumber(chance.draw(), 1);
    else if (letter === '2' || letter === 'i') this.putNumber(chance.draw(), 2);
    else if (letter === '4') this.putNumber(chance.draw(), 4);
    else if (letter === '8') {
      this.putNumber(chance.draw(), 4);
      // Mostly a number that exists (M-1).
      if (chance.below(8) === 0) this.putNumber(chance.draw(), 4);
      else this.putNumber(chance.draw() & 0x1fffff, 4);
    } else this.putBytes();
  }

  putBody({ code, letters }) {
    const { chance } = this;
    this.putNumber(code, 1);
    this.putNumber(chance.draw(), 4);
    if (code & responseBit) {
      if (chance.below(8) === 0) {
        this.putNumber(1 + chance.below(12), 1);
        this.putBytes();
        return;
      }
      this.putNumber(0, 1);
    }
    for (const letter of letters) this.putField(letter);
  }
}

/** Frames one behind the other, and what lines do to them. */
class Stream {
  bytes = new Uint8Array(streamBytesMax);
  count = 0;

  constructor(chance) {
    this.chance = chance;
  }

  add(frame) {
    this.bytes.set(frame, this.count);
    this.count += frame.length;
  }

  remove(at, wanted) {
    const count = Math.min(wanted, this.count - at);
    this.bytes.copyWithin(at, at + count, this.count);
    this.count -= count;
  }

  /** Makes room for `count` bytes at `at`. */
  open(at, count) {
    this.bytes.copyWithin(at + count, at, this.count);
    this.count += count;
  }

  flip() {
    const at = this.chance.below(this.count);
    this.bytes[at] ^= 1 << this.chance.below(8);
  }

  insert(at, count, byte) {
    this.open(at, count);
    for (let to = at; to < at + count; to++) this.bytes[to] = byte();
  }

  double(at) {
    const count = Math.min(1 + this.chance.below(16), this.count - at);
    this.open(at, count);
    this.bytes.copyWithin(at, at + count, at + 2 * count);
  }

  rotate(at) {
    const moved = this.bytes.slice(0, at);
    this.bytes.copyWithin(0, at, this.count);
    this.bytes.set(moved, this.count - at);
  }

  merge(from) {
    const zero = this.bytes.subarray(0, this.count).indexOf(0, from);
    if (zero !== -1) this.remove(zero, 1);
  }

  /** Nothing, or one thing, at one place. */
  break() {
    const { chance } = this;
    const kind = chance.below(12);
    const at = chance.below(this.count);
    if (kind === 3) this.flip();
    else if (kind === 4) this.remove(at, 1 + chance.below(8));
    else if (kind === 5) this.insert(at, 1 + chance.below(8), () => chance.byte());
    else if (kind === 6) this.double(at);
    else if (kind === 7) this.merge(at);
    else if (kind === 8) this.insert(at, 1 + chance.below(6), () => 0);
    else if (kind === 9) this.insert(at, chance.below(700), () => 1 + chance.below(255));
    else if (kind === 10) this.rotate(at);
    else if (kind === 11) for (let times = 0; times < 3; times++) this.flip();
  }
}

/** One batch of cases, and the digest of what this side makes of them. Nothing outlives it. */
class Judge {
  digest = 0x811c9dc5 | 0;
  counts = { frames: 0, messages: 0, malformed: 0 };
  discarded = noDiscards();

  constructor(seed, batch) {
    this.chance = new Chance(seed ^ Math.imul(batch + 1, 0x9e3779b1));
    this.maker = new MessageMaker(this.chance);
    this.stream = new Stream(this.chance);
    this.decoder = createFrameDecoder({
      frameBytesMax,
      discarded: this.discarded,
      onMessage: (message) => this.judgeMessage(message),
    });
  }

  /** Makes and judges one case; the digest so far. */
  runCase() {
    this.stream.count = 0;
    for (let count = 1 + this.chance.below(3); count > 0; count--) {
      this.stream.add(encodeFrame(this.maker.next()));
      this.counts.frames++;
    }
    this.stream.break();
    this.pushInPieces();
    return this.digest >>> 0;
  }

  /** The line that judge.c prints for a batch. */
  line(batch) {
    const { frames, messages, malformed } = this.counts;
    const { tooLong, badCobs, badCrc, tooShort } = this.discarded;
    const numbers = [frames, messages, malformed, tooLong, badCobs, badCrc, tooShort];
    return [batch, this.digest >>> 0, ...numbers].join(' ');
  }

  note(value) {
    this.digest = Math.imul(this.digest ^ value, 0x01000193);
  }

  noteBytes(bytes) {
    this.note(bytes.length);
    this.note(bytes.length > 0 ? crc32(bytes) : 0);
  }

  /** After each piece both sides must have come equally far. */
  pushInPieces() {
    const { chance, stream, discarded } = this;
    for (let at = 0; at < stream.count; ) {
      const count = Math.min(1 + chance.below(chance.below(2) === 0 ? 8 : 200), stream.count - at);
      this.decoder.push(stream.bytes.slice(at, at + count));
      at += count;
      this.note(at);
      this.note(this.counts.messages);
      this.note(discarded.tooLong);
      this.note(discarded.badCobs);
      this.note(discarded.badCrc);
      this.note(discarded.tooShort);
    }
  }

  judgeMessage(message) {
    this.counts.messages++;
    this.note(1);
    this.noteBytes(message);
    const header = unlessMalformed(() => decodeHeader(message));
    this.note(header ? header.id : 0);
    this.note(header ? 0 : 1);
    if (!header) this.counts.malformed++;
    else if (header.code & responseBit) this.judgeResponse(header);
    else this.judgeFields(header);
  }

  judgeResponse(header) {
    const { body } = header;
    const isThere = body.offset < body.view.byteLength;
    const reply = isThere ? body.view.getUint8(body.offset++) : 0;
    this.note(reply);
    if (!isThere) this.end(false);
    else if (reply === 0) this.judgeFields(header);
    else this.judgeReason(body);
  }

  judgeReason({ view, offset }) {
    const left = view.byteLength - offset;
    const count = left >= 2 ? view.getUint16(offset, true) : 0;
    const fits = left >= 2 + count;
    const reason = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
    this.noteBytes(new Uint8Array(reason).subarray(offset + 2, fits ? offset + 2 + count : offset));
    this.end(fits);
  }

  /** The values count only where all of them are there. */
  judgeFields({ code, body }) {
    const fields = Object.values(bodyByCode.get(code)?.fields ?? {});
    const read = unlessMalformed(() =>
      fields.map((field) => {
        const from = body.offset;
        return { type: field.type, from, value: field.read(body), end: body.offset };
      }),
    );
    for (const field of read ?? []) this.noteField(body.view, field);
    this.end(read !== undefined);
  }

  noteField(view, { type, from, value, end }) {
    if (type === 'bytes' || type === 'text') {
      // Text as it was on the line: what it looks like to people is not C's business.
      this.noteBytes(new Uint8Array(view.buffer, view.byteOffset + from + 2, end - from - 2));
    } else if (type === 'u64') {
      this.note((value % 0x1_0000_0000) | 0);
      this.note(Math.floor(value / 0x1_0000_0000));
    } else this.note(type === 'i16' ? value & 0xffff : value | 0);
  }

  end(isGood) {
    this.note(isGood ? 0 : 1);
    if (!isGood) this.counts.malformed++;
  }
}

function unlessMalformed(read) {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MalformedMessage)) throw error;
    return undefined;
  }
}

function judgeBatch(seed, batch) {
  const judge = new Judge(seed, batch);
  for (let at = 0; at < casesPerBatch; at++) judge.runCase();
  return judge;
}

/** The first case of a batch on which the two differ. */
function firstDifference(program, seed, batch) {
  const words = [String(seed), String(batch), '1', 'each'];
  const lines = execFileSync(program, words, { encoding: 'utf8' }).trim().split('\n');
  const judge = new Judge(seed, batch);
  return lines.findIndex((line, at) => `${at} ${judge.runCase()}` !== line);
}

/** Builds the C judge; needs make and a C compiler. Gives its path. */
export function buildJudge(folder = workFolder()) {
  const firmware = join(root, 'firmware-protocol/firmware');
  const program = join(folder, 'judge');
  execFileSync('make', ['-s', '-C', firmware, `OUT=${folder}`, program], { stdio: 'pipe' });
  return program;
}

/** Runs at least `frames` frames through both judges and compares them batch by batch. Throws at the first
 * difference, and names its batch and case. Gives all counts, and the seconds that this side took. */
export async function compareDecoders({ frames, seed = 1, program = buildJudge() }) {
  // Two frames a case on average; a little more makes up for chance.
  const batches = Math.ceil(frames / (2 * casesPerBatch) / 0.98);
  const child = spawn(program, [String(seed), '0', String(batches)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const total = { frames: 0, messages: 0, malformed: 0, ...noDiscards(), seconds: 0 };
  let batch = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const from = performance.now();
    const judge = judgeBatch(seed, batch);
    total.seconds += (performance.now() - from) / 1000;
    if (judge.line(batch) !== line) {
      child.kill();
      const where = `seed ${seed}, batch ${batch}, case ${firstDifference(program, seed, batch)}`;
      throw new Error(`${where}: C says "${line}", TypeScript "${judge.line(batch)}"`);
    }
    for (const [name, count] of Object.entries({ ...judge.counts, ...judge.discarded })) {
      total[name] += count;
    }
    batch++;
  }
  if (batch !== batches) throw new Error(`the C judge ended after ${batch} of ${batches} batches`);
  return total;
}

/** fuzz-frames [FRAMES [SEED]]: both decoders on 10 million broken frames. */
export async function fuzzFrames(frames = '10000000', seed = '1') {
  if (!has('make') || !has('cc')) throw new Error('needs make and a C compiler: gcc, make');
  const before = process.memoryUsage().rss;
  const total = await compareDecoders({ frames: Number(frames), seed: Number(seed) });
  const { seconds, ...counts } = total;
  for (const [name, count] of Object.entries(counts)) console.log(`${name.padEnd(10)} ${count}`);
  const rate = Math.round(counts.frames / seconds);
  console.log(`both agree on all; TypeScript ${rate} frames/s, making them included`);
  const grown = Math.round((process.memoryUsage().rss - before) / 2 ** 20);
  console.log(`memory grew by ${grown} MiB`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await fuzzFrames(...process.argv.slice(2));
}
