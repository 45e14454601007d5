// Both decoders judge the same broken frames: TypeScript here, C in firmware-protocol/firmware/fuzz/judge.c,
// which makes the same bytes from the same seed. After each piece of a stream both must have accepted the same
// messages with the same fields, and refused as many frames for the same reasons.
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

const casesPerBatch = 4096;
const frameBytesMax = 300;
const streamBytesMax = 16_384;
const messageBytesMax = 1500;

const bodies = judgedBodies();
const bodyByCode = new Map(bodies.map((body) => [body.code, body]));

/** All that one batch needs; nothing outlives it. */
function createJudge(seed, batch) {
  let state = (seed ^ Math.imul(batch + 1, 0x9e3779b1)) >>> 0 || 1;
  let digest = 0x811c9dc5 | 0;
  const stream = new Uint8Array(streamBytesMax);
  let streamBytes = 0;
  const message = new Uint8Array(messageBytesMax);
  let messageBytes = 0;
  const counts = { frames: 0, messages: 0, malformed: 0 };
  const discarded = noDiscards();
  const decoder = createFrameDecoder({ frameBytesMax, discarded, onMessage: judgeMessage });

  // Chance: the same sequence on both sides (xorshift, 32 bits).
  function draw() {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  }
  const below = (limit) => draw() % limit;
  function drawByte() {
    const drawn = draw();
    return (drawn & 0x300) === 0 ? 0 : drawn & 0xff;
  }

  function note(value) {
    digest = Math.imul(digest ^ value, 0x01000193);
  }

  // Making frames.
  function putNumber(value, bytes) {
    for (let at = 0; at < bytes; at++) message[messageBytes++] = (value >>> (8 * at)) & 0xff;
  }
  function putBytes() {
    const count = below(16) === 0 ? below(300) : below(24);
    putNumber(count, 2);
    for (let at = 0; at < count; at++) message[messageBytes++] = drawByte();
  }
  function putField(letter) {
    if (letter === '1') putNumber(draw(), 1);
    else if (letter === '2' || letter === 'i') putNumber(draw(), 2);
    else if (letter === '4') putNumber(draw(), 4);
    else if (letter === '8') {
      putNumber(draw(), 4);
      if (below(8) === 0) putNumber(draw(), 4);
      else putNumber(draw() & 0x1fffff, 4);
    } else putBytes();
  }
  function makeBody({ code, letters }) {
    putNumber(code, 1);
    putNumber(draw(), 4);
    if (code & responseBit) {
      if (below(8) === 0) {
        putNumber(1 + below(12), 1);
        putBytes();
        return;
      }
      putNumber(0, 1);
    }
    for (const letter of letters) putField(letter);
  }
  function makeMessage() {
    const kind = below(16);
    messageBytes = 0;
    if (kind === 0) {
      for (let count = 1 + below(40); count > 0; count--) message[messageBytes++] = drawByte();
      return;
    }
    makeBody(bodies[below(bodies.length)]);
    if (kind === 1) messageBytes = 1 + below(messageBytes);
    if (kind === 2) {
      for (let count = below(20); count > 0; count--) message[messageBytes++] = drawByte();
    }
  }
  function addFrame() {
    const frame = encodeFrame(message.subarray(0, messageBytes));
    stream.set(frame, streamBytes);
    streamBytes += frame.length;
  }

  // Breaking them.
  function removeBytes(at, wanted) {
    const count = Math.min(wanted, streamBytes - at);
    stream.copyWithin(at, at + count, streamBytes);
    streamBytes -= count;
  }
  function openGap(at, count) {
    stream.copyWithin(at + count, at, streamBytes);
    streamBytes += count;
  }
  function flip() {
    const at = below(streamBytes);
    stream[at] ^= 1 << below(8);
  }
  function insertBytes(at, kind, count) {
    openGap(at, count);
    for (let to = at; to < at + count; to++) {
      if (kind === 5) stream[to] = drawByte();
      else stream[to] = kind === 8 ? 0 : 1 + below(255);
    }
  }
  function doubleBytes(at) {
    const count = Math.min(1 + below(16), streamBytes - at);
    openGap(at, count);
    stream.copyWithin(at, at + count, at + 2 * count);
  }
  function rotate(at) {
    const moved = stream.slice(0, at);
    stream.copyWithin(0, at, streamBytes);
    stream.set(moved, streamBytes - at);
  }
  function breakStream() {
    const kind = below(12);
    const at = below(streamBytes);
    if (kind === 3) flip();
    else if (kind === 4) removeBytes(at, 1 + below(8));
    else if (kind === 5) insertBytes(at, kind, 1 + below(8));
    else if (kind === 6) doubleBytes(at);
    else if (kind === 7) {
      const zero = stream.subarray(0, streamBytes).indexOf(0, at);
      if (zero !== -1) removeBytes(zero, 1);
    } else if (kind === 8) insertBytes(at, kind, 1 + below(6));
    else if (kind === 9) insertBytes(at, kind, below(700));
    else if (kind === 10) rotate(at);
    else if (kind === 11) for (let times = 0; times < 3; times++) flip();
  }

  // Judging.
  function noteBytes(bytes) {
    note(bytes.length);
    note(bytes.length > 0 ? crc32(bytes) : 0);
  }
  function noteField(type, reader) {
    const from = reader.offset;
    return (value) => {
      if (type === 'bytes' || type === 'text') {
        const { view } = reader;
        const count = reader.offset - from - 2;
        noteBytes(new Uint8Array(view.buffer, view.byteOffset + from + 2, count));
      } else if (type === 'u64') {
        note((value % 0x1_0000_0000) | 0);
        note(Math.floor(value / 0x1_0000_0000));
      } else note(type === 'i16' ? value & 0xffff : value | 0);
    };
  }
  /** False where the message is too short for the body. The values count only where all are there. */
  function judgeFields(fields, reader) {
    const notes = [];
    try {
      for (const field of Object.values(fields)) {
        const take = noteField(field.type, reader);
        const value = field.read(reader);
        const end = reader.offset;
        notes.push(() => {
          const now = reader.offset;
          reader.offset = end;
          take(value);
          reader.offset = now;
        });
      }
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      return false;
    }
    for (const noteValue of notes) noteValue();
    return true;
  }
  function judgeBody(code, body) {
    let good = true;
    if (code & responseBit) {
      good = body.offset < body.view.byteLength;
      const reply = good ? body.view.getUint8(body.offset++) : 0;
      note(reply);
      if (good && reply !== 0) {
        judgeReason(body);
        return;
      }
    }
    const known = bodyByCode.get(code);
    if (good && known) good = judgeFields(known.fields, body);
    note(good ? 0 : 1);
    if (!good) counts.malformed++;
  }
  function judgeReason(body) {
    const { view, offset } = body;
    const left = view.byteLength - offset;
    const count = left >= 2 ? view.getUint16(offset, true) : 0;
    const fits = left >= 2 + count;
    noteBytes(new Uint8Array(view.buffer, view.byteOffset + offset + 2, fits ? count : 0));
    note(fits ? 0 : 1);
    if (!fits) counts.malformed++;
  }
  function judgeMessage(bytes) {
    counts.messages++;
    note(1);
    note(bytes.length);
    note(crc32(bytes));
    let header;
    try {
      header = decodeHeader(bytes);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
    }
    note(header ? header.id : 0);
    note(header ? 0 : 1);
    if (header) judgeBody(header.code, header.body);
    else counts.malformed++;
  }
  function pushInPieces() {
    for (let at = 0; at < streamBytes; ) {
      const count = Math.min(1 + below(below(2) === 0 ? 8 : 200), streamBytes - at);
      decoder.push(stream.slice(at, at + count));
      at += count;
      note(at);
      note(counts.messages);
      note(discarded.tooLong);
      note(discarded.badCobs);
      note(discarded.badCrc);
      note(discarded.tooShort);
    }
  }

  return {
    runCase() {
      streamBytes = 0;
      for (let count = 1 + below(3); count > 0; count--) {
        makeMessage();
        addFrame();
        counts.frames++;
      }
      breakStream();
      pushInPieces();
      return digest >>> 0;
    },
    /** The line that judge.c prints for a batch. */
    line(batchNumber) {
      const { tooLong, badCobs, badCrc, tooShort } = discarded;
      const { frames, messages, malformed } = counts;
      const why = [tooLong, badCobs, badCrc, tooShort];
      return [batchNumber, digest >>> 0, frames, messages, malformed, ...why].join(' ');
    },
    counts,
    discarded,
  };
}

function judgeBatch(seed, batch) {
  const judge = createJudge(seed, batch);
  for (let at = 0; at < casesPerBatch; at++) judge.runCase();
  return judge;
}

/** The first case of a batch on which the two differ. */
function firstDifference(program, seed, batch) {
  const words = [String(seed), String(batch), '1', 'each'];
  const lines = execFileSync(program, words, { encoding: 'utf8' }).trim().split('\n');
  const judge = createJudge(seed, batch);
  for (const [at, line] of lines.entries()) {
    if (`${at} ${judge.runCase()}` !== line) return at;
  }
  return undefined;
}

/** Builds the C judge; needs make and a C compiler. */
export function buildJudge(folder = workFolder()) {
  const firmware = join(root, 'firmware-protocol/firmware');
  const program = join(folder, 'judge');
  execFileSync('make', ['-s', '-C', firmware, `OUT=${folder}`, program], { stdio: 'pipe' });
  return program;
}

/** Runs at least `frames` frames through both judges and compares them batch by batch. Throws at the first
 * difference, and names its batch and case. Gives all counts, and the seconds that this side took. */
export async function compareDecoders({ frames, seed = 1, program = buildJudge() }) {
  // Two frames a case on average; the last batches make up for what chance leaves over.
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
      const at = firstDifference(program, seed, batch);
      throw new Error(
        `seed ${seed}, batch ${batch}, case ${at}: C says "${line}", TypeScript "${judge.line(batch)}"`,
      );
    }
    for (const [name, count] of Object.entries({ ...judge.counts, ...judge.discarded })) {
      total[name] += count;
    }
    batch++;
  }
  if (batch !== batches) throw new Error(`the C judge ended after ${batch} of ${batches} batches`);
  return total;
}

/** fuzz-frames [FRAMES] [--seed N]: both decoders on 10 million broken frames. */
export async function fuzzFrames(wanted = '10000000', ...words) {
  if (!has('make') || !has('cc'))
    throw new Error('needs make and a C compiler (apt-get install gcc make)');
  const seed = words[0] === '--seed' ? Number(words[1]) : 1;
  const heapBefore = process.memoryUsage().rss;
  const total = await compareDecoders({ frames: Number(wanted), seed });
  const grownBytes = process.memoryUsage().rss - heapBefore;
  const { seconds, ...counts } = total;
  for (const [name, count] of Object.entries(counts)) console.log(`${name.padEnd(10)} ${count}`);
  console.log(
    `both agree on all; TypeScript ${Math.round(counts.frames / seconds)} frames/s, making them included`,
  );
  console.log(`memory grew by ${Math.round(grownBytes / 2 ** 20)} MiB`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await fuzzFrames(...process.argv.slice(2));
}
