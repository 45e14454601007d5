/** Clauses R: reads. Where no drive answers, reads come back gone, and much can be seen all the same. */
import { powerStates, readOutcomes, replyCodes, stopBits } from '../commands.js';
import { encodeFrame } from '../frame.js';
import { type Bench, untilStatus } from './bench.js';
import type { Check } from './check.js';
import { idleRequests } from './checks-messages.js';
import { type EventBody, type Message, type Response, replyName } from './messages.js';
import { type ReadResult, silence } from './talk.js';
import { hex, must, notSeen } from './verdict.js';

const outcomeName = (outcome: number) =>
  Object.entries(readOutcomes).find(([, code]) => code === outcome)?.[0] ?? `${outcome}`;

const toldOf = (result: ReadResult) =>
  result.reply === 0 ? outcomeName(result.response.outcome) : replyName(result.reply);

/** The size of each of so many reads that are unreleased together, as many sectors as are wanted or the
 * imager takes. */
function countOf(bench: Bench, wanted: number, reads = 1): number {
  const { readCountMax } = bench.hello;
  return Math.max(1, Math.min(wanted, readCountMax, Math.floor(roomOf(bench) / reads)));
}

/** Sectors that the imager's buffer holds. */
function roomOf(bench: Bench): number {
  return Math.floor(bench.hello.bufferBytes / (bench.drive()?.sectorBytes ?? 512));
}

const isPieceOf = (id: number) => (m: Message) =>
  m.kind === 'event' && (m.name === 'data' || m.name === 'fill') && m.id === id;
const isReadAnswer = (id?: number) => (m: Message) =>
  m.kind === 'response' && m.name === 'read' && (id === undefined || m.id === id);

async function idsCount(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  for (let id = 0; id < 3; id++) await talk.needResult(talk.read({ batch: id }));
  const { readIdNext } = await talk.status();
  must(readIdNext === 3, 'after the reads 0, 1 and 2 the next is 3', `readIdNext ${readIdNext}`);
  talk.read({ batch: 5 }, 5);
  await talk.quiet(isReadAnswer(5), 'a read that is not the next one is not taken');
  const after = (await talk.status()).readIdNext;
  must(after === 3, 'a read that is not the next one is not taken', `readIdNext ${after}`);
}

async function timesKept(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const count = countOf(bench, 64);
  const judge = (result: ReadResult, slowMs: number) => {
    const { outcome, elapsedMicros } = result.response;
    const came = `${outcomeName(outcome)} after ${elapsedMicros} µs with slowMs ${slowMs}`;
    const late = slowMs > 0 && elapsedMicros > slowMs * 1100;
    const early = slowMs === 0 || elapsedMicros < slowMs * 900;
    if (outcome === readOutcomes.good) must(!late, 'a read later than slowMs is slow', came);
    if (outcome === readOutcomes.slow) must(!early, 'a read not later than slowMs is good', came);
  };
  const { sectorCount } = bench.drive() ?? { sectorCount: 1 };
  for (const slowMs of [0, 1, 1, 60_000]) {
    const lba = slowMs === 1 ? Math.max(0, sectorCount - count) : 0;
    const sentAtMs = clock.now();
    const result = await talk.needResult(
      talk.read({ slowMs, count, lba, batch: talk.readId, releaseBelow: talk.readId }),
    );
    judge(result, slowMs);
    const tookMs = result.atMs - sentAtMs;
    const { elapsedMicros } = result.response;
    const came = `elapsedMicros ${elapsedMicros} of a read that took ${Math.round(tookMs)} ms`;
    must(elapsedMicros <= bench.late(tookMs) * 1000, "elapsedMicros is the drive's own time", came);
  }
}

async function deadline(bench: Bench): Promise<string | undefined> {
  const { talk, clock } = bench;
  await talk.ok('power', { action: 1, offMs: 0, standbyFirst: 0 });
  const sentAtMs = clock.now();
  const timeoutMs = 400;
  const id = talk.read({ timeoutMs });
  const result = await talk.needResult(id, 30_000);
  const tookMs = Math.round(result.atMs - sentAtMs);
  const wants = `a read with timeoutMs ${timeoutMs} comes back by then`;
  must(tookMs <= bench.late(timeoutMs), wants, `${toldOf(result)} after ${tookMs} ms`);
  const { outcome } = result.response;
  if (outcome !== readOutcomes.timeout) return `the drive was ready at once: ${toldOf(result)}`;
  must(tookMs >= bench.early(timeoutMs), 'a timeout comes when the time is over', `${tookMs} ms`);
  return undefined;
}

async function inOrder(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const reads = Math.min(4, bench.hello.requestsMax, roomOf(bench));
  const count = countOf(bench, 64, reads);
  const messages = Array.from({ length: reads }, (_, id) => {
    talk.read({ count, lba: (reads - id) * count, batch: id }, id);
    return id;
  });
  let next = 0;
  const isOfReads = (m: Message) => isReadAnswer()(m) || messages.some((id) => isPieceOf(id)(m));
  const ends = new Map<number, number>();
  while (next < reads) {
    const message = await talk.wire.next(isOfReads, 15_000);
    must(message !== undefined, 'reads are answered', silence(talk.wire, 15_000));
    const came = `${message?.kind} of read ${message?.id}`;
    must(message?.id === next, `read ${next} is answered before what follows`, came);
    if (message?.kind === 'response') {
      next++;
      continue;
    }
    const { offset, bytes, length } = message?.value as EventBody<'data'> & EventBody<'fill'>;
    const expected = ends.get(next) ?? 0;
    must(offset === expected, 'pieces come in order', `at ${offset}, where ${expected} was next`);
    ends.set(next, offset + (bytes?.length ?? length));
  }
  await talk.quiet(
    (m) => messages.some((id) => isPieceOf(id)(m)),
    'no piece comes behind its response',
  );
}

async function windowKept(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const { requestsMax } = bench.hello;
  const reads = Math.min(requestsMax, 256, roomOf(bench));
  for (let id = 0; id < reads; id++) {
    talk.read({ batch: id }, id);
    await talk.needResult(id);
  }
  if (reads < requestsMax) notSeen(`its window of ${requestsMax} reads was not filled`);
  talk.read({ batch: reads }, reads);
  await talk.quiet(
    isReadAnswer(reads),
    `read ${reads} is one more than requestsMax and is dropped`,
  );
  const { readIdNext } = await talk.status();
  must(readIdNext === reads, 'what is dropped uses up no id', `readIdNext ${readIdNext}`);
  const again = await talk.ask('resend', { readId: 0, offset: 0, length: 0 });
  must(again.reply === 0, 'a result that is not released is held', replyName(again.reply));
  talk.wire.clear();
  talk.read({ batch: reads, releaseBelow: reads }, reads);
  const result = await talk.needResult(reads);
  must(result.reply === 0, 'after a release there is room again', toldOf(result));
}

async function sums(bench: Bench): Promise<string | undefined> {
  const { talk } = bench;
  for (const wanted of [1, 7, 64]) {
    const count = countOf(bench, wanted);
    const { readId } = talk;
    const place = { count, lba: wanted, batch: readId, releaseBelow: readId };
    const id = talk.read({ ...place, timeoutMs: 30_000 });
    const result = await talk.needResult(id, 40_000);
    const { dataBytes } = result.response;
    const came = `${result.data.length} bytes came of ${dataBytes}`;
    // What else is wrong, the talk has said.
    if (result.reply === 0) must(result.data.length === dataBytes, 'all data comes', came);
    if (result.data.length === 0) return `no data came: ${toldOf(result)}`;
  }
  return undefined;
}

async function batchesStop(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const read = async (batch: number, releaseBelow = 0) => {
    const result = await talk.needResult(talk.read({ batch, releaseBelow }));
    return toldOf(result);
  };
  const wants = (batch: number, what: string, came: string, wanted: string) =>
    must(came === wanted, `a read of batch ${batch}, ${what}, comes back ${wanted}`, came);
  wants(7, 'with the rails off', await read(7), 'gone');
  wants(7, 'which has stopped', await read(7), 'not-attempted');
  wants(8, 'which has not stopped', await read(8), 'gone');
  wants(7, 'which has stopped', await read(7), 'not-attempted');
  const others = Math.min(bench.hello.requestsMax - 2, 200);
  for (let batch = 100; batch < 100 + others; batch++) {
    wants(batch, 'with the rails off', await read(batch, talk.readId), 'gone');
  }
  wants(7, 'one of the last requestsMax that stopped', await read(7, talk.readId), 'not-attempted');
}

async function slowStops(bench: Bench): Promise<string | undefined> {
  const { talk } = bench;
  const { sectorCount } = bench.drive() ?? { sectorCount: 1 };
  const count = countOf(bench, 64, 3);
  const lba = Math.max(0, sectorCount - count);
  const first = await talk.needResult(
    talk.read({ batch: 3, slowMs: 1, stopOn: stopBits.fault, count, lba }),
  );
  const second = await talk.needResult(
    talk.read({ batch: 3, slowMs: 1, stopOn: stopBits.slow, count }),
  );
  const third = await talk.needResult(talk.read({ batch: 3, count }));
  if (toldOf(first) === 'slow') {
    must(
      toldOf(second) !== 'not-attempted',
      'an outcome that stopOn does not name stops nothing',
      'not-attempted',
    );
  }
  if (toldOf(second) !== 'slow') return `the drive was too fast to be slow: ${toldOf(second)}`;
  must(toldOf(third) === 'not-attempted', 'what follows a stop is not attempted', toldOf(third));
  return undefined;
}

async function aborts(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const answer = await talk.ask('abort', { readIdBelow: 3 });
  must(
    answer.reply === 0,
    'abort is done when none of its reads is under way',
    replyName(answer.reply),
  );
  for (let id = 0; id < 3; id++) {
    const result = await talk.needResult(talk.read({ batch: id }));
    must(
      toldOf(result) === 'not-attempted',
      `read ${id} below readIdBelow is not attempted`,
      toldOf(result),
    );
  }
  const after = await talk.needResult(talk.read({ batch: 9 }));
  must(toldOf(after) !== 'not-attempted', 'read 3 is done again', toldOf(after));
}

/** How soon the end of a wait must show. */
const promptMs = 1500;

async function abortEndsWait(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  await talk.ok('power', { action: 1, offMs: 0, standbyFirst: 0 });
  talk.read({ timeoutMs: 30_000, batch: 0 }, 0);
  talk.read({ timeoutMs: 30_000, batch: 1 }, 1);
  await talk.status();
  if (talk.wire.take(isReadAnswer()).length > 0) notSeen('the drive was ready at once');
  const saidAtMs = clock.now();
  const answer = await talk.ask('abort', { readIdBelow: 2 });
  must(answer.reply === 0, 'abort is done', replyName(answer.reply));
  const first = await talk.needResult(0);
  const second = await talk.needResult(1);
  const tookMs = Math.round(Math.max(first.atMs, second.atMs) - saidAtMs);
  const came = `${toldOf(first)} and ${toldOf(second)} after ${tookMs} ms`;
  must(tookMs <= bench.late(promptMs), 'abort ends the wait for a read under way', came);
  if (['good', 'slow'].includes(toldOf(first))) notSeen('the drive was ready at once');
  const fits = toldOf(first) === 'timeout' && toldOf(second) === 'not-attempted';
  must(fits, 'the read under way becomes a timeout, the one behind it not-attempted', came);
}

async function takeoverEndsWait(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  await talk.ok('power', { action: 1, offMs: 0, standbyFirst: 0 });
  talk.read({ timeoutMs: 30_000 }, 0);
  await talk.status();
  const next = await bench.fresh();
  const saidAtMs = clock.now();
  const result = await next.needResult(next.read({ timeoutMs: 300 }), 30_000);
  const tookMs = Math.round(result.atMs - saidAtMs);
  const wants = "a new session ends the wait for the last one's read";
  must(tookMs <= bench.late(300 + promptMs), wants, `${toldOf(result)} after ${tookMs} ms`);
  const late = next.wire.take(isReadAnswer()).length;
  must(late === 0, 'nothing of the last session is sent any more', `${late} results`);
}

async function powerStopsReads(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const reads = Math.min(8, bench.hello.requestsMax, roomOf(bench));
  const count = countOf(bench, 64, reads);
  const messages: Uint8Array[] = [];
  for (let id = 0; id < reads; id++) {
    messages.push(
      talk.encode(
        'read',
        { ...idleRequests.read, timeoutMs: 30_000, count, batch: id, lba: id * count },
        { id },
      ),
    );
  }
  const power = talk.commandId++;
  messages.push(talk.encode('power', idleRequests.power, { id: power }));
  for (const message of messages) talk.note(message);
  talk.wire.write(Buffer.concat(messages.map((message) => encodeFrame(message))));
  const answer = await talk.answer('power', power, 10_000);
  must(answer?.reply === 0, 'power off does not wait for reads', silence(talk.wire, 10_000));
  const came: string[] = [];
  for (let id = 0; id < reads; id++) came.push(toldOf(await talk.needResult(id)));
  const stopped = came.slice(2).every((outcome) => outcome === 'not-attempted');
  must(stopped, 'reads that wait when the power is cut come back not-attempted', came.join(', '));
}

async function gaps(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const gapped = () => talk.wire.take((m) => m.kind === 'event' && m.name === 'gap');
  const settle = async () => {
    await talk.status();
    await clock.sleep(60);
  };
  talk.read({}, 5);
  await settle();
  const [first] = gapped();
  must(first !== undefined, 'a read above the next one is answered by gap', silence(talk.wire, 60));
  const { readIdNext } = first?.value as EventBody<'gap'>;
  must(readIdNext === 0, 'gap names the id that is waited for', `readIdNext ${readIdNext}`);
  // Well within 200 ms, however slow the line.
  for (const id of [6, 7, 8]) talk.read({}, id);
  await settle();
  if (clock.now() - (first?.atMs ?? 0) < 180) {
    const more = gapped();
    must(more.length === 0, 'gap is sent once, and not again for 200 ms', `${more.length} more`);
  }
  gapped();
  await clock.sleep(300);
  talk.read({}, 9);
  await settle();
  must(gapped().length > 0, 'gap is sent again after 200 ms while such reads come', 'nothing');
  await talk.quiet(isReadAnswer(), 'reads above the next one are dropped');
}

async function copiesAndUnknown(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const first = await talk.needResult(talk.read());
  talk.read({}, 0);
  const again = await talk.wire.next(isReadAnswer(0), 5000);
  must(
    again !== undefined,
    'a read that came before is answered with its response',
    silence(talk.wire, 5000),
  );
  const came = again?.raw ?? new Uint8Array();
  const same = Buffer.compare(came, first.raw) === 0;
  must(same, `the response to a copy is the held one, ${hex(first.raw)}`, hex(came));
  const pieces = talk.wire.take(isPieceOf(0)).length;
  must(
    pieces === 0,
    'a read that came before is answered with its response alone',
    `${pieces} pieces`,
  );
  for (const readId of [1, 0xffff_ffff]) {
    const answer = await talk.ask('resend', { readId, offset: 0, length: 0 });
    const wants = `a resend of read ${readId}, which is not held, is unknownRead`;
    must(answer.reply === replyCodes.unknownRead, wants, replyName(answer.reply));
  }
  const alone = await talk.ask('resend', { readId: 0, offset: 0, length: 0 });
  must(alone.reply === 0, 'a resend of a held read is done', replyName(alone.reply));
  await talk.status();
  const response = await talk.wire.next(isReadAnswer(0), 2000);
  must(
    response !== undefined,
    'a resend with length 0 brings the response',
    silence(talk.wire, 2000),
  );
}

async function resends(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const count = countOf(bench, 8);
  const first = await talk.needResult(talk.read({ count, lba: 40 }));
  const { dataBytes } = first.response;
  if (dataBytes === 0) notSeen(`the read brought no data: ${toldOf(first)}`);
  const offset = Math.floor(dataBytes / 3);
  const length = Math.floor(dataBytes / 2);
  const answer = await talk.ask('resend', { readId: 0, offset, length });
  must(answer.reply === 0, 'a resend of a held read is done', replyName(answer.reply));
  await talk.wire.next(isReadAnswer(0), 5000).then((message) => {
    must(message !== undefined, 'a resend ends with the response', silence(talk.wire, 5000));
  });
  let at = offset;
  for (const message of talk.wire.take(isPieceOf(0))) {
    const {
      offset: from,
      bytes,
      length: fill,
      byte,
    } = message.value as EventBody<'data'> & EventBody<'fill'>;
    const piece = bytes ?? new Uint8Array(Math.min(fill, dataBytes)).fill(byte);
    must(
      from === at,
      'a resend brings what was asked for, in order',
      `a piece at ${from} for ${at}`,
    );
    const right = Buffer.compare(piece, first.data.subarray(from, from + piece.length)) === 0;
    must(right, 'a resend brings the same bytes', `other bytes at ${from}`);
    at += piece.length;
  }
  must(at === offset + length, `a resend brings ${length} bytes`, `${at - offset} came`);
}

async function countsOfStatus(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  for (let id = 0; id < 4; id++) {
    await talk.needResult(talk.read({ batch: id }));
    const { readIdNext, readIdDone } = await talk.status();
    const came = `readIdNext ${readIdNext}, readIdDone ${readIdDone}`;
    const fits = readIdNext === id + 1 && readIdDone === id + 1;
    must(fits, `after the result of read ${id} both are ${id + 1}`, came);
  }
}

async function cutOff(bench: Bench): Promise<undefined> {
  const { talk, clock } = bench;
  const wait = Math.min(4, bench.hello.requestsMax, roomOf(bench));
  const count = countOf(bench, bench.hello.readCountMax, wait);
  talk.wire.pause();
  for (let id = 0; id < wait; id++) talk.read({ count, lba: id * count, timeoutMs: 20_000 }, id);
  await clock.sleep(1500);
  const next = await bench.reopen(talk);
  const answer = await next.sayHello();
  must(answer?.reply === 0, 'the session goes on on a new link', silence(next.wire, 3000));
  const pieces = new Map<number, number>();
  for (;;) {
    const message = await next.wire.next(
      (m) => isReadAnswer()(m) || (m.kind === 'event' && (m.name === 'data' || m.name === 'fill')),
      3000,
    );
    if (!message) break;
    if (message.kind === 'response') continue;
    const { offset, bytes, length } = message.value as EventBody<'data'> & EventBody<'fill'>;
    const expected = pieces.get(message.id) ?? 0;
    const wants = `read ${message.id} is sent whole on the new link`;
    must(offset === expected, wants, `a piece at ${offset} where ${expected} was next`);
    pieces.set(message.id, offset + (bytes?.length ?? length));
  }
  if (pieces.size === 0) notSeen('the line had swallowed all results before it was cut');
}

async function cannotBeDone(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const { readCountMax } = bench.hello;
  const short = talk.encode('read', idleRequests.read, { id: 2 }).subarray(0, 20);
  talk.read({ count: 0, batch: 0 }, 0);
  talk.read({ count: readCountMax < 0xffff_ffff ? readCountMax + 1 : 0, batch: 1 }, 1);
  talk.sendRaw(short);
  talk.read({ batch: 3 }, 3);
  const wanted: readonly (readonly number[])[] = [
    [replyCodes.limit, replyCodes.malformed],
    [replyCodes.limit],
    [replyCodes.malformed],
    [replyCodes.ok],
  ];
  for (const [id, replies] of wanted.entries()) {
    const message = (await talk.wire.next(isReadAnswer(), 15_000)) as Response | undefined;
    const wants = `read ${id} is answered in its turn by ${replies.map(replyName).join(' or ')}`;
    const came = message
      ? `read ${message.id}: ${replyName(message.reply)}`
      : silence(talk.wire, 15_000);
    must(message?.id === id && replies.includes(message.reply), wants, came);
  }
  const { readIdNext } = await talk.status();
  must(readIdNext === 4, 'a read that cannot be done uses up its id', `readIdNext ${readIdNext}`);
}

async function fills(bench: Bench): Promise<undefined> {
  const { talk } = bench;
  const count = countOf(bench, 128);
  const { sectorCount, sectorBytes } = bench.drive() ?? notSeen('no drive');
  let uniform = 0;
  for (const lba of [0, 256, 2048, Math.floor(sectorCount / 2), Math.max(0, sectorCount - count)]) {
    const wanted = Math.min(count, sectorCount - lba);
    if (wanted < 1) continue;
    const { data } = await talk.needResult(
      talk.read({ lba, count: wanted, batch: talk.readId, releaseBelow: talk.readId }),
    );
    for (let at = 0; at + sectorBytes <= data.length; at += sectorBytes) {
      const sector = data.subarray(at, at + sectorBytes);
      if (sector.every((byte) => byte === sector[0])) uniform++;
    }
  }
  // How they came, the talk has judged.
  if (uniform === 0) notSeen('no sector of one repeated byte was found on the drive');
}

async function readsWait(bench: Bench): Promise<string | undefined> {
  const { talk, clock } = bench;
  await bench.rails('off');
  await talk.ok('power', { action: 1, offMs: 0, standbyFirst: 0 });
  const result = await talk.needResult(talk.read({ timeoutMs: 30_000 }), 60_000);
  if (toldOf(result) === 'timeout') return 'the drive took more than 30 s';
  const good = ['good', 'slow', 'fault'].includes(toldOf(result));
  must(good, 'a read waits for a drive that gets ready', toldOf(result));
  const isReady = (status: { powerState: number }) => status.powerState === powerStates.ready;
  must(await untilStatus(clock, talk, isReady, 2000), 'a drive that answers is ready', 'it is not');
  return undefined;
}

const read = ['read'] as const;
const drive = ['read', 'drive'] as const;

export const readChecks: readonly Check[] = [
  {
    clauses: ['R-1'],
    title: 'Reads are taken by their ids, one after the other',
    needs: read,
    rails: 'off',
    how: 'reads 0, 1, 2 and then 5',
    run: idsCount,
  },
  {
    clauses: ['R-4'],
    title: 'At most requestsMax reads are unreleased',
    needs: read,
    rails: 'off',
    how: 'requestsMax reads without a release, one more, and one that releases',
    run: windowKept,
  },
  {
    clauses: ['R-5'],
    title: 'Counts and sums of a result fit each other',
    needs: read,
    rails: 'on',
    how: 'reads of 1, 7 and 64 sectors; every result of the whole run',
    run: sums,
  },
  {
    clauses: ['R-6'],
    title: 'A stop ends its batch and no other',
    needs: ['read', 'power'],
    rails: 'off',
    how: 'reads with the rails off, which come back gone, in many batches',
    run: batchesStop,
  },
  {
    clauses: ['R-7'],
    title: 'What is aborted is not attempted, also what is still to come',
    needs: read,
    rails: 'off',
    how: 'abort below 3, then reads 0 to 3',
    run: aborts,
  },
  {
    clauses: ['R-8'],
    title: 'A lost read is asked for',
    needs: read,
    rails: 'off',
    how: 'read 5 where 0 is next, more of them, and one after 300 ms',
    run: gaps,
  },
  {
    clauses: ['R-9'],
    title: 'Copies bring the response alone',
    needs: read,
    rails: 'off',
    how: 'read 0 twice, resends of what is held and of what is not',
    run: copiesAndUnknown,
  },
  {
    clauses: ['R-10'],
    title: 'Status tells which reads came and which results went',
    needs: read,
    rails: 'off',
    how: 'four reads, a status behind each result',
    run: countsOfStatus,
  },
  {
    clauses: ['R-12'],
    title: 'A read that cannot be done is answered in its turn',
    needs: read,
    rails: 'off',
    how: 'no sectors, too many sectors, a request cut short, and a right one behind them',
    run: cannotBeDone,
  },
  {
    clauses: ['R-2'],
    title: 'A read waits for the drive until its deadline',
    needs: ['read', 'power', 'drive'],
    rails: 'off',
    how: 'power on and at once a read with a deadline of 400 ms',
    run: deadline,
  },
  {
    clauses: ['R-7'],
    title: 'Abort ends the wait for a read under way',
    needs: ['read', 'power', 'drive'],
    rails: 'off',
    how: 'power on, two reads with deadlines of 30 s, and abort',
    run: abortEndsWait,
  },
  {
    clauses: ['H-7'],
    title: 'A new session ends the wait for the last one',
    needs: ['read', 'power', 'drive'],
    rails: 'off',
    how: 'power on, a read with a deadline of 30 s, a HELLO with another number and a read of 300 ms',
    run: takeoverEndsWait,
  },
  {
    clauses: ['P-2', 'P-7'],
    title: 'A read waits for a drive that gets ready, and shows that it is',
    needs: ['read', 'power', 'drive'],
    rails: 'off',
    how: 'power on and at once a read with a deadline of 30 s',
    run: readsWait,
  },
  {
    clauses: ['R-2'],
    title: 'Slow is what took longer than slowMs',
    needs: drive,
    rails: 'on',
    how: 'reads with slowMs 0, 1 and 60,000 and their elapsedMicros',
    run: timesKept,
  },
  {
    clauses: ['R-3'],
    title: 'Results come in the order of their reads, data first',
    needs: drive,
    rails: 'on',
    how: 'four reads of 64 sectors from the back to the front',
    run: inOrder,
  },
  {
    clauses: ['R-6'],
    title: 'Only an outcome that stopOn names stops a batch',
    needs: drive,
    rails: 'on',
    how: 'slow reads with and without the bit for slow',
    run: slowStops,
  },
  {
    clauses: ['R-9'],
    title: 'A part of a held result is sent again',
    needs: drive,
    rails: 'on',
    how: 'a third of a read from within it',
    run: resends,
  },
  {
    clauses: ['R-11'],
    title: 'A result that its link cut off is sent whole on the next',
    needs: ['read', 'drive', 'tells-end', 'reopen'],
    rails: 'on',
    how: 'large reads, nothing taken from the line, a new link',
    run: cutOff,
  },
  {
    clauses: ['R-13'],
    title: 'Sectors of one repeated byte travel as a fill',
    needs: drive,
    rails: 'on',
    how: 'reads in five places; every result of the whole run',
    run: fills,
  },
  {
    clauses: ['R-7', 'C-5'],
    title: 'Cutting the power stops the reads before it',
    needs: ['read', 'drive', 'power'],
    rails: 'on',
    how: 'eight reads and power off in one write',
    run: powerStopsReads,
  },
];
