/** When `--then` does what it was told. */

import type { Case } from '../job/case.js';
import type { CasePaths } from '../job/case-files.js';
import type { JobEvent } from '../job/events.js';
import type { JobEnd } from '../job/job.js';
import type { LeftOff } from '../power/power.js';
import { formatOutcome } from '../show/format.js';
import { noticeOf } from '../show/report.js';
import type { ImageResult } from '../show/result.js';
import type { Progress } from '../show/terminal.js';
import {
  type ActionOutcome,
  type Actions,
  type EndedDrive,
  type EndedJob,
  failureOf,
} from './actions.js';
import type { Interrupt } from './interrupt.js';

/** Different notices that a report can have. */
const noticesMax = 1000;

/** What `--then` wants, at the moments when it can be done. */
export interface Afterwards {
  /** The job has ended: what is to be done to the drive, on record. Says where that left it without power. */
  atDrive(
    end: { readonly how: JobEnd['how'] | 'failed'; readonly why: string },
    at: EndedDrive,
    rescue: Case,
  ): Promise<LeftOff | undefined>;
  /** What is noteworthy of it is in the report. */
  take(event: JobEvent): void;
  /** The image is on the disk, and still locked: what is to be done with it, on record. `error`: the job failed by
   * it. */
  atImage(facts: ImageResult, rescue: Case, begunAtMs: number, error?: unknown): Promise<void>;
  /** Drive and image are closed: the rest. The result knows of all. */
  ended(result: ImageResult): Promise<ImageResult>;
  /** Does nothing where no job had begun, or it ended otherwise. */
  failed(error: unknown): Promise<void>;
}

export function createAfterwards(
  actions: Actions,
  paths: CasePaths,
  { signal }: Interrupt,
  progress: Progress,
): Afterwards {
  const done: ActionOutcome[] = [];
  const notices = new Set<string>();
  let job: EndedJob | undefined;
  // Who interrupted the job wants what follows it; who interrupts that does not.
  const signalNow = () => (signal.aborted ? undefined : signal);
  const finish = async (ended: EndedJob) => {
    for (const outcome of await actions.afterwards(ended, signalNow())) {
      progress.say(`lastspin: then ${outcome.action}: ${formatOutcome(outcome)}`);
      done.push(outcome);
    }
  };
  const record = async (outcomes: readonly ActionOutcome[], { recorder, state }: Case) => {
    for (const outcome of outcomes) {
      const event: JobEvent = { kind: 'acted', ...outcome, atMs: state.atMs };
      recorder.record(event, state);
      progress.onEvent(event, state);
    }
    done.push(...outcomes);
    // What failed the job may be the disk that this would go to; it is said all the same.
    if (outcomes.length > 0) await recorder.checkpoint(state).catch(() => {});
  };
  return {
    take(event) {
      const notice = noticeOf(event);
      if (notice !== undefined && notices.size < noticesMax) notices.add(notice);
    },
    async atDrive({ how, why }, at, rescue) {
      job = { ending: how === 'interrupted' ? 'stopped' : how, why, paths };
      let leftOff: LeftOff | undefined;
      const onLeftOff = (found: LeftOff) => {
        leftOff = found;
      };
      await record(await actions.atDrive(job, { ...at, onLeftOff }), rescue);
      return leftOff;
    },
    async atImage(facts, rescue, begunAtMs, error) {
      if (!job) return;
      if (error !== undefined) job = { ...job, ending: 'failed', why: failureOf(error) };
      const image = { facts, rescue, begunAtMs, notices: [...rescue.notices, ...notices] };
      const onOutcome = (outcome: ActionOutcome) => record([outcome], rescue);
      await actions.atImage(job, image, [...done], onOutcome, signalNow());
    },
    async ended(result) {
      const known = { ...result, actions: [...done] };
      if (job) await finish({ ...job, result: known });
      job = undefined;
      return { ...result, actions: [...done] };
    },
    async failed(error) {
      if (job) await finish({ ...job, ending: 'failed', why: failureOf(error) });
    },
  };
}
