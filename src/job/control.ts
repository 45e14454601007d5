import { type Extent, endOf } from '../map/extent.js';
import { domainCount } from '../plan/domain.js';
import { headProblem } from '../plan/head-rows.js';
import { changeRow, describeChanges, type RowChanges } from '../plan/row-change.js';
import type { JobEventBody } from './events.js';
import type { Note } from './parts.js';
import type { JobState } from './state.js';

/** The one interface to a job that runs, for keys in a terminal and for a page. */

/** What may be asked of a job. */
export type ControlRequest =
  /** Nothing is sent to the drive until `resume`; its heads are parked when that lasts. */
  | { readonly kind: 'pause' }
  | { readonly kind: 'resume' }
  /** Ends the row under way; what it did not reach stays for the rows behind it. */
  | { readonly kind: 'step-on' }
  /** New values of a row's parameters (`changeRow`). `row` counts from 1; absent: the one under way. */
  | { readonly kind: 'tune'; readonly row?: number; readonly changes: RowChanges }
  /** The row under way goes on at this LBA, and comes back to what it went over before it ends. */
  | { readonly kind: 'jump'; readonly lba: number }
  /** Takes ranges out of the domain. */
  | { readonly kind: 'exclude'; readonly ranges: readonly Extent[] }
  /** At once, whatever the budget says: a read under way gets another second, then it is aborted. */
  | { readonly kind: 'power-cycle' }
  | { readonly kind: 'stop' };

/** What became of a request: `text` is one line, what was done or why it was not. */
export interface ControlAnswer {
  readonly done: boolean;
  readonly text: string;
}

export interface JobControl {
  /** Asks the job for something. Reads under way finish first, so that an answer may take as long as one of
   * them. Every change becomes an event of the job. Never rejects. */
  request(request: ControlRequest): Promise<ControlAnswer>;
  /** For the job: from now on `take` gets the requests, until the returned function is called. */
  connect(take: (request: ControlRequest) => Promise<ControlAnswer>): () => void;
}

/** A control for one job after another. While none runs, every request is answered with that. */
export function createControl(): JobControl {
  let taker: ((request: ControlRequest) => Promise<ControlAnswer>) | undefined;
  return {
    request: async (request) => (taker ? taker(request) : refused('no job is running')),
    connect(take) {
      taker = take;
      return () => {
        if (taker === take) taker = undefined;
      };
    },
  };
}

const stopping = 'stopping, the map is being saved';

function refused(text: string): ControlAnswer {
  return { done: false, text };
}

/** How the job stands, beside its state. */
export interface Circumstances {
  readonly hasPower: boolean;
  /** A power cycle is under way. */
  readonly isCycling: boolean;
  /** The job waits for room on the image's disk. */
  readonly isFull?: boolean;
}

export type Verdict =
  | { readonly events: readonly JobEventBody[]; readonly text: string }
  | { readonly why: string };

/** What a request means for a job in this state. Pure. */
export function verdictOn(
  state: JobState,
  request: ControlRequest,
  circumstances: Circumstances,
): Verdict {
  const { plan } = state;
  switch (request.kind) {
    case 'pause':
      if (state.paused) return { why: 'the job is paused already' };
      return { events: [{ kind: 'paused' }], text: 'paused' };
    case 'resume':
      if (!state.paused) return { why: 'the job is not paused' };
      return { events: [{ kind: 'resumed' }], text: 'resumed' };
    case 'step-on': {
      const pass = plan.passes[plan.passIndex];
      if (!pass || plan.endWanted) return { why: 'no row is under way that could be ended' };
      const index = plan.passIndex;
      return { events: [{ kind: 'stepped-on', index }], text: `row ${index + 1} is ended` };
    }
    case 'tune':
      return tune(state, request.changes, request.row);
    case 'jump':
      return jump(state, request.lba);
    case 'exclude':
      return exclude(state, request.ranges);
    case 'power-cycle':
      return cycle(circumstances);
    case 'stop':
      return { events: [], text: stopping };
  }
}

function tune({ plan }: JobState, changes: RowChanges, rowNumber?: number): Verdict {
  const index = rowNumber === undefined ? plan.passIndex : rowNumber - 1;
  const row = plan.passes[index];
  if (!row) return { why: `there is no row ${index + 1}; rows are 1 to ${plan.passes.length}` };
  if (index < plan.passIndex) return { why: `row ${index + 1} has ended` };
  if (Object.keys(changes).length === 0) return { why: 'nothing to change was named' };
  const fixed = ['phase', 'direction'].find((name) => Object.hasOwn(changes, name));
  if (fixed && index === plan.passIndex && plan.passStarted)
    return { why: `the ${fixed} of the row under way is fixed; step on, or tune a later row` };
  const changed = changeRow(row, changes);
  if ('why' in changed) return { why: `row ${index + 1}: ${changed.why}` };
  const passes = plan.passes.with(index, changed.row);
  const why = headProblem(passes, plan.learned.given);
  if (why !== undefined) return { why };
  const what = `row ${index + 1} (${row.name}): ${describeChanges(row, changes)}`;
  return { events: [{ kind: 'rows-changed', passes, what }], text: what };
}

function jump({ plan }: JobState, lba: number): Verdict {
  const pass = plan.passes[plan.passIndex];
  if (!isLba(lba, plan.sectorCount))
    return { why: `LBA ${lba} is not on the drive; it ends with ${plan.sectorCount - 1}` };
  if (!pass || !plan.passStarted) return { why: 'no row is under way that could jump' };
  if (plan.scope.valueAt(lba) === 0) return { why: `LBA ${lba} is outside the domain` };
  return { events: [{ kind: 'jumped', lba }], text: `jumped to LBA ${lba}` };
}

function exclude({ plan }: JobState, ranges: readonly Extent[]): Verdict {
  const { scope, sectorCount } = plan;
  if (ranges.length === 0) return { why: 'no range was named' };
  const wrong = ranges.find(
    (range) =>
      !isLba(range.lba, sectorCount) || range.count < 1 || !isLba(endOf(range) - 1, sectorCount),
  );
  if (wrong) return { why: `no range of this drive; it ends with LBA ${sectorCount - 1}` };
  const left = scope.clone();
  for (const range of ranges) left.set(range, 0);
  if (domainCount(left) === domainCount(scope)) return { why: 'all of that is excluded already' };
  if (domainCount(left) === 0) return { why: 'nothing would be left to read; stop instead' };
  const sectors = domainCount(scope) - domainCount(left);
  return { events: [{ kind: 'excluded', ranges }], text: `${sectors} sectors are excluded` };
}

function cycle({ hasPower, isCycling, isFull }: Circumstances): Verdict {
  if (!hasPower) return { why: 'there is no power switch; give one with --power' };
  if (isCycling) return { why: 'the power is being cycled' };
  if (isFull) return { why: "the image's disk is full, the drive rests; make room first" };
  const why = 'a power cycle was asked for';
  return {
    events: [{ kind: 'trouble', why, from: 'power', asked: true }],
    text: 'the power is cycled now',
  };
}

function isLba(lba: number, sectorCount: number): boolean {
  return Number.isSafeInteger(lba) && lba >= 0 && lba < sectorCount;
}

/** Where requests wait until the job gets to them. */
export interface Desk {
  take(request: ControlRequest): Promise<ControlAnswer>;
  has(...kinds: readonly ControlRequest['kind'][]): boolean;
  isEmpty(): boolean;
  /** Decides on all that wait, notes what follows, and answers. */
  answerAll(circumstances: Circumstances): void;
  /** Calls back at every request and `stir`, until the returned function is called. */
  onStir(callback: () => void): () => void;
  /** Something else than a request is to be looked at. */
  stir(): void;
  /** Answers what still waits: the job has ended. */
  close(): void;
}

/** A desk for one job; `stop` ends it. */
export function createDesk(state: JobState, note: Note, stop: () => void): Desk {
  let waiting: { request: ControlRequest; answer: (answer: ControlAnswer) => void }[] = [];
  const stirred = new Set<() => void>();

  function stir(): void {
    for (const callback of [...stirred]) callback();
  }

  function answerOne(request: ControlRequest, circumstances: Circumstances): ControlAnswer {
    const verdict = verdictOn(state, request, circumstances);
    if ('why' in verdict) return refused(verdict.why);
    for (const event of verdict.events) note(event);
    return { done: true, text: verdict.text };
  }

  return {
    take(request) {
      if (request.kind === 'stop') {
        stop();
        return Promise.resolve({ done: true, text: stopping });
      }
      return new Promise((answer) => {
        waiting.push({ request, answer });
        stir();
      });
    },
    stir,
    has: (...kinds) => waiting.some(({ request }) => kinds.includes(request.kind)),
    isEmpty: () => waiting.length === 0,
    answerAll(circumstances) {
      const now = waiting;
      waiting = [];
      for (const { request, answer } of now) answer(answerOne(request, circumstances));
    },
    onStir(callback) {
      stirred.add(callback);
      return () => stirred.delete(callback);
    },
    close() {
      for (const { answer } of waiting) answer(refused('the job has ended'));
      waiting = [];
    },
  };
}
