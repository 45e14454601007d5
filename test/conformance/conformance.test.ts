import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { probes } from '../../firmware-protocol/conformance/checks-safety.js';
import { clauses, partly } from '../../firmware-protocol/conformance/clauses.js';
import {
  type ConformanceResult,
  conformanceResultSchema,
  reportLines,
  reportOf,
} from '../../firmware-protocol/conformance/report.js';
import { checks } from '../../firmware-protocol/conformance/run.js';
import { judgeReadOnly } from '../../firmware-protocol/read-only.js';
import { mutants } from './mutants.js';
import { createRig, examine } from './rig.js';

const root = join(import.meta.dirname, '../..');
const failedOf = (report: ConformanceResult) =>
  report.clauses.filter(({ verdict }) => verdict === 'failed').map(({ clause }) => clause);
const ofVerdict = (report: ConformanceResult, wanted: string) =>
  report.clauses.filter(({ verdict }) => verdict === wanted).map(({ clause }) => clause);

/** Clauses that nobody can see from outside; the report says why. */
const untested = ['M-6', 'C-2', 'L-1', 'L-2', 'L-3', 'L-4', 'L-5', 'P-1', 'T-2', 'T-3', 'T-4'];

describe('an imager that is right passes', () => {
  test('with everything and a drive', async () => {
    const report = reportOf(await examine(createRig({ target: { exited: async () => {} } })));
    expect(failedOf(report)).toEqual([]);
    expect(ofVerdict(report, 'untested')).toEqual(untested);
    expect(ofVerdict(report, 'not-seen')).toEqual(['C-6']);
    expect(ofVerdict(report, 'not-offered')).toEqual([]);
    expect(report.leftOn).toBeNull();
    expect(conformanceResultSchema.parse(report)).toEqual(report);
    expect(reportLines(report).at(-1)).toBe(
      '65 clauses passed, 0 failed, 12 were not seen or not offered.',
    );
  });

  test('with power alone', async () => {
    const report = reportOf(await examine(createRig({ kind: 'power-only' })));
    expect(failedOf(report)).toEqual([]);
    const reads = clauses.map(({ id }) => id).filter((id) => id.startsWith('R-'));
    expect(ofVerdict(report, 'not-offered')).toEqual([
      'C-5',
      ...reads,
      'P-7',
      ...['S-1', 'S-2', 'S-3', 'S-4', 'S-5', 'S-6'],
    ]);
    expect(ofVerdict(report, 'passed')).toContain('C-6');
  });

  test('without a drive', async () => {
    const report = reportOf(await examine(createRig({ kind: 'no-drive' })));
    expect(failedOf(report)).toEqual([]);
    expect(ofVerdict(report, 'not-seen')).toContain('R-13');
    expect(ofVerdict(report, 'passed')).toEqual(
      expect.arrayContaining(['R-1', 'R-4', 'R-6', 'R-7', 'R-8', 'R-9', 'R-10', 'R-12', 'S-1']),
    );
  });

  test('on a serial line, which tells it of no end', async () => {
    const target = { linksMax: 1, tellsEnd: false };
    const report = reportOf(await examine(createRig({ target })));
    if (process.env.SHOW) console.log(reportLines(report).join('\n'));
    expect(failedOf(report)).toEqual([]);
    expect(ofVerdict(report, 'not-seen')).toEqual(
      expect.arrayContaining(['F-8', 'H-8', 'R-11', 'T-5']),
    );
  });

  test('also through a filter that does nothing', async () => {
    const same = (bytes: Uint8Array) => bytes;
    const filter = { bytesToDevice: same, bytesToLaptop: same };
    expect(failedOf(reportOf(await examine(createRig({ filter }))))).toEqual([]);
  });
});

describe('an imager that breaks a clause is caught by the check of that clause', () => {
  test.each(
    mutants.map((mutant) => [`${mutant.clause}: it ${mutant.does}`, mutant] as const),
  )('%s', async (_name, { clause, also = [], filter, ...options }) => {
    const rig = createRig({ ...options, ...(filter && { filter: filter() }) });
    const report = reportOf(await examine(rig, { only: [clause] }), [clause]);
    if (process.env.SHOW) console.log(reportLines(report).join('\n'));
    expect(failedOf(report)).toEqual([clause, ...also]);
  });
});

describe('the suite', () => {
  test('knows every clause of PROTOCOL.md, in its order', () => {
    const page = readFileSync(join(root, 'firmware-protocol/PROTOCOL.md'), 'utf8');
    const ids = [...page.matchAll(/^- \*\*([A-Z]-\d+)\*\*/gm)].map((match) => match[1]);
    expect(clauses.map(({ id }) => id)).toEqual(ids);
  });

  test('has a check and a mutant for every clause but those that cannot be seen', () => {
    const lacking = (has: (id: string) => boolean) =>
      clauses.map(({ id }) => id).filter((id) => !has(id));
    expect(lacking((id) => checks.some((check) => check.clauses.includes(id)))).toEqual(untested);
    expect(lacking((id) => mutants.some(({ clause }) => clause === id))).toEqual(untested);
    expect(clauses.filter(({ untested }) => untested).map(({ id }) => id)).toEqual(untested);
    for (const id of Object.keys(partly)) expect(untested).not.toContain(id);
  });

  test('goes by the read-only list', () => {
    const allowed = (cdb: Uint8Array) => judgeReadOnly(cdb).allowed;
    expect(probes.off.filter(({ cdb }) => allowed(cdb)).map(({ what }) => what)).toEqual([]);
    expect(probes.on.filter(({ cdb }) => !allowed(cdb)).map(({ what }) => what)).toEqual([]);
  });

  test('sends nothing that could write, erase or set, even if it were carried out', () => {
    // FORMAT, REASSIGN, WRITE (6), ERASE, WRITE BUFFER, UPDATE, WRITE LONG, CHANGE DEFINITION, WRITE SAME,
    // SANITIZE, LOG SELECT, OPC, CLOSE TRACK, ACCESS CONTROL OUT, WRITE SAME (16), ZBC OUT, SERVICE ACTION
    // OUT, MAINTENANCE OUT, SECURITY PROTOCOL OUT, SET OUT.
    const never = [
      0x04, 0x07, 0x0a, 0x19, 0x2c, 0x3b, 0x3d, 0x3f, 0x40, 0x41, 0x48, 0x4c, 0x54, 0x5b, 0x87,
      0x93, 0x94, 0x9f, 0xa4, 0xa9, 0xac, 0xb5, 0xbb, 0xbd, 0xbf,
    ];
    const ataNever = (command: number) =>
      (command >= 0x30 && command <= 0x3f) ||
      [0x06, 0x45, 0x5e, 0x5f, 0x61, 0x92, 0x93, 0xb1, 0xb4, 0xc5, 0xca, 0xcb, 0xcd, 0xce].includes(
        command,
      ) ||
      (command >= 0xf1 && command <= 0xf7) ||
      command === 0xf9 ||
      command === 0xe8 ||
      command === 0xeb;
    const zeroLength: Readonly<Record<number, readonly [number, number]>> = {
      42: [7, 9],
      46: [7, 9],
      81: [7, 9],
      66: [7, 9],
      85: [7, 9],
      21: [4, 5],
      138: [10, 14],
      139: [10, 14],
      142: [10, 14],
      156: [10, 14],
      137: [13, 14],
      170: [6, 10],
      174: [6, 10],
    };
    for (const { what, cdb } of [...probes.off, ...probes.on]) {
      const opcode = cdb[0];
      if (opcode === undefined) continue;
      expect(never, what).not.toContain(opcode);
      expect(opcode, what).toBeLessThan(0xc0);
      const length = zeroLength[opcode];
      if (length)
        expect(
          [...cdb.subarray(...length)].every((byte) => byte === 0),
          what,
        ).toBe(true);
      const ata = opcode === 0x85 ? cdb[14] : opcode === 0xa1 ? cdb[9] : undefined;
      if (ata === undefined) continue;
      expect(ataNever(ata), what).toBe(false);
      if (ata === 0xb0) expect([0xd0, 0xd5, 0xda], what).toContain(cdb[opcode === 0x85 ? 4 : 3]);
    }
  });

  test('the published schema of `conformance --json` is the one that results are made by', () => {
    const published = readFileSync(join(root, 'docs/conformance-result.schema.json'), 'utf8');
    expect(JSON.parse(published)).toEqual(z.toJSONSchema(conformanceResultSchema));
  });
});
