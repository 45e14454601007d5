import { describe, expect, test } from 'vitest';
import type { DriveIdentity } from '../../src/drive/drive.js';
import { casePaths } from '../../src/job/case.js';
import { createJobState } from '../../src/job/state.js';
import { createRunMap } from '../../src/map/run-map.js';
import { statuses } from '../../src/map/status.js';
import { createPlanState } from '../../src/plan/state.js';
import { troublePolicies } from '../../src/power/policy.js';
import { formatReport, noticeOf, type ReportFacts } from '../../src/show/report.js';
import { imageResult } from '../../src/show/result.js';

const drive: DriveIdentity = {
  ...{ model: 'ST1000', serial: 'Z1\u001b[2J', firmware: 'CC1' },
  ...{ sectorCount: 10_000, sectorBytes: 512, physicalSectorBytes: 4096 },
};

/** A drive of which sectors 5000 to 5399 were tried, every other one unreadable, and all before that read. */
function facts(more: Partial<ReportFacts> = {}): ReportFacts {
  const map = createRunMap(drive.sectorCount);
  map.set({ lba: 0, count: 5400 }, statuses.finished);
  for (let lba = 5000; lba < 5400; lba += 2) map.set({ lba, count: 1 }, statuses['bad-sector']);
  map.set({ lba: 6000, count: 8 }, statuses['non-scraped']);
  const plan = createPlanState({
    ...{ sectorCount: drive.sectorCount, sectorBytes: 512, physicalCount: 8, passes: [], map },
  });
  const state = createJobState(plan, troublePolicies.hdd);
  Object.assign(state.totals, { reads: 900, failingReads: 200, resets: 3, powerCycles: 2 });
  const end = { how: 'gave-up', why: 'it hangs' } as const;
  return {
    ...{ version: '1.2.3', ending: 'gave-up', why: 'it hangs', map },
    result: imageResult(end, state, {
      ...{ drive, kind: 'hdd', paths: casePaths('case.img'), elapsedMs: 61_000 },
      ...{ hostAttached: null, wholeHashes: [], hiddenSectors: null },
      logEnd: { n: 41, hash: 'ab'.repeat(32) },
    }),
    caseData: { number: '17', note: 'fell\nfrom\ta table' },
    ...{ begunAtMs: Date.UTC(2026, 0, 2, 3), endedAtMs: Date.UTC(2026, 0, 2, 4) },
    onRecordSince: '2026-01-01T00:00:00.000Z',
    lastLine: { n: 41, hash: 'ab'.repeat(32) },
    hashed: { stretches: 3, sectors: 5200 },
    sums: [{ algorithm: 'sha1', digest: 'cd'.repeat(20), file: 'case.img.sha1' }],
    files: ['/cases/case.img', '/cases/case.map'],
    notices: ['the journal was torn', 'the journal was torn'],
    ...more,
  };
}

/** The rows below a title. */
function section(text: string, title: string): string[] {
  const found = text.split('\n\n').find((each) => each.startsWith(title));
  return found?.trimEnd().split('\n').slice(1) ?? [];
}

describe('a report', () => {
  const text = formatReport(facts());

  test('says whose, which drive, when, and how it ended', () => {
    expect(text.split('\n').slice(0, 2)).toEqual([
      'case.img: what was read',
      'written by lastspin 1.2.3, 2026-01-02T04:00:00.000Z',
    ]);
    expect(section(text, 'Case')).toEqual([
      '  case             17',
      '  note             fell',
      '                   from a table',
    ]);
    expect(section(text, 'Drive').slice(0, 4)).toEqual([
      '  model            ST1000',
      '  serial           Z1\ufffd[2J',
      '  firmware         CC1',
      '  size             5.12 MB: 10000 sectors of 512 bytes',
    ]);
    expect(section(text, 'Job')).toEqual([
      '  ended            gave up: it hangs',
      '  on record since  2026-01-01T00:00:00.000Z',
      '  this run began   2026-01-02T03:00:00.000Z',
      '  and ended        2026-01-02T04:00:00.000Z, after 1 min 01 s of reading',
      '  reads            900, 200 failing, over all runs',
      '  resets           3',
      '  power cycles     2',
    ]);
  });

  test('keeps unread and unreadable apart, and has all areas or says how many more there are', () => {
    expect(section(text, 'Sectors')).toEqual([
      '  read             5200 sectors, 2.66 MB, 52.00 %',
      '  unreadable       200 sectors, 102 kB, 2.00 %',
      '  not read yet     4600 sectors, 2.36 MB, 46.00 %',
    ]);
    const bad = section(text, 'LBA unreadable');
    expect(bad).toHaveLength(101);
    expect(bad.slice(0, 2)).toEqual(['  5000 to 5000 (1)', '  5002 to 5002 (1)']);
    expect(bad.at(-1)).toBe('  and 100 more areas with 100 sectors');
    expect(section(text, 'LBA not read yet')).toEqual(['  6000 to 6007 (8)']);
    expect(section(text, 'LBA never tried')).toEqual([
      '  5400 to 5999 (600)',
      '  6008 to 9999 (3992)',
    ]);
  });

  test('names the hashes and files that there are, and says a thing once', () => {
    expect(section(text, 'Hashes')).toEqual([
      `  sha1             ${'cd'.repeat(20)} (case.img.sha1)`,
      '  of stretches     3, SHA-256, of 5200 sectors',
      `  event log        line 41: ${'ab'.repeat(32)}`,
    ]);
    expect(section(text, 'Files')).toEqual(['  /cases/case.img', '  /cases/case.map']);
    expect(section(text, 'Notices')).toEqual(['  the journal was torn']);
    const many = Array.from({ length: 130 }, (_, n) => `notice ${n}`);
    expect(section(formatReport(facts({ notices: many })), 'Notices').at(-1)).toBe('  and 30 more');
  });

  test('leaves out what there is nothing to say of', () => {
    const bare = formatReport(
      facts({ caseData: {}, notices: [], sums: [], hashed: undefined, onRecordSince: undefined }),
    );
    expect(bare).not.toMatch(/^(Case|Notices|When it had ended)$|sha1|stretches|on record/m);
  });

  test('takes from the events what imager, disk and switches said', () => {
    expect(noticeOf({ kind: 'noticed', text: 'hot', atMs: 1 })).toBe('imager: hot');
    expect(noticeOf({ kind: 'power-failed', power: 'hub', why: 'no', atMs: 1 })).toMatch(/hub.*no/);
    expect(noticeOf({ kind: 'paused', atMs: 1 })).toBeUndefined();
  });
});
