import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { reportLines, reportOf } from '../../firmware-protocol/conformance/report.js';
import { runConformance } from '../../firmware-protocol/conformance/run.js';
import { type Clock, realClock } from '../../src/clock.js';
import { openWire } from '../../src/drive/links.js';
import { needsTool } from '../tools.js';

/** The reference firmware before the suite: the AVR's binary on an emulated board, in its time, and the
 * POSIX port as a process, in ours. */

const root = join(import.meta.dirname, '../..');
const firmware = join(root, 'firmware-protocol/firmware');

/** What this needs of the emulated board's bench. */
interface AvrBench {
  readonly board: { openPort(): Duplex };
  readonly clock: Clock;
  run<T>(until: Promise<T>): Promise<T>;
}

const avrBench = join(root, 'test/firmware/avr-bench.ts');

describe.skipIf(!existsSync(avrBench))('the firmware on an AVR board', () => {
  test('keeps every clause that can be seen on its line', async () => {
    const { createBench } = (await import(avrBench)) as { createBench(): AvrBench };
    const bench = createBench();
    const target = {
      name: 'avr',
      linksMax: 1,
      reopens: true,
      tellsEnd: false,
      async open() {
        const stream = bench.board.openPort();
        return { stream, close: () => void stream.destroy() };
      },
    };
    const run = runConformance({ target, clock: bench.clock, session: 77 });
    const report = reportOf(await bench.run(run));
    expect(report.failed, reportLines(report).join('\n')).toBe(0);
    expect(report.passed).toBeGreaterThanOrEqual(40);
  });
});

/** Clauses whose checks wait for nothing but the line. */
const quick = [
  ...['F-2', 'F-3', 'F-6', 'M', 'V', 'H-2', 'H-3', 'H-4', 'H-5', 'C-1', 'C-5', 'C-6', 'C-7'],
  ...['R-1', 'R-3', 'R-4', 'R-5', 'R-6', 'R-9', 'R-10', 'R-12', 'R-13'],
];

describe.skipIf(!existsSync(join(firmware, 'posix')) || needsTool('make') || needsTool('cc'))(
  'the POSIX port of the firmware',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'lastspin-conformance-'));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test('keeps every clause that is seen at once', async () => {
      execFileSync('make', ['-s', '-C', firmware, `OUT=${folder}`, `${folder}/lastspin-imager`]);
      const image = join(folder, 'disk.img');
      // Zeros in the front, where fills are looked for; something else behind.
      writeFileSync(
        image,
        new Uint8Array(4 << 20).fill(0x35, 1 << 20).map((b, at) => (b ? at : 0)),
      );
      const power = "--discharge 20 --power 'true {action}'";
      const clock = realClock();
      const command = `stdio:exec ${folder}/lastspin-imager ${power} ${image}`;
      const target = {
        name: 'posix',
        linksMax: 1,
        reopens: false,
        tellsEnd: true,
        open: () => openWire(command, clock),
      };
      const run = await runConformance({ target, clock, session: 78, only: quick });
      const report = reportOf(run, quick);
      expect(report.failed, reportLines(report).join('\n')).toBe(0);
      expect(report.passed).toBeGreaterThanOrEqual(24);
    });
  },
);
