import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { reportLines, reportOf } from '../../firmware-protocol/conformance/report.js';
import { runConformance } from '../../firmware-protocol/conformance/run.js';
import { realClock } from '../../src/clock.js';
import { openWire } from '../../src/drive/links.js';
import { createBench } from '../firmware/avr-bench.js';
import { build, lacksCompiler, scratchFolder } from '../firmware/posix-build.js';

/** The reference firmware before the suite: the AVR's binary on an emulated board, in its time, and the
 * POSIX port as a process, in ours. */

test('the firmware on an AVR board keeps every clause that can be seen on its line', async () => {
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

/** Clauses whose checks wait for nothing but the line. */
const quick = [
  ...['F-2', 'F-3', 'F-6', 'M', 'V', 'H-2', 'H-3', 'H-4', 'H-5', 'C-1', 'C-5', 'C-6', 'C-7'],
  ...['R-1', 'R-3', 'R-4', 'R-5', 'R-6', 'R-9', 'R-10', 'R-12', 'R-13'],
];

test.skipIf(lacksCompiler())('the POSIX port keeps every clause that is seen at once', async () => {
  const imager = build('lastspin-imager');
  const image = join(scratchFolder(), 'disk.img');
  // Zeros in the front, where fills are looked for; something else behind.
  writeFileSync(
    image,
    new Uint8Array(4 << 20).map((_byte, at) => (at < 1 << 20 ? 0 : at * 7)),
  );
  const clock = realClock();
  const command = `stdio:exec ${imager} --discharge 20 --power 'true {action}' ${image}`;
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
