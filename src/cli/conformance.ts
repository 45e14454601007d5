import { spawn } from 'node:child_process';
import { duplexPair } from 'node:stream';
import type { OpenLine, Target } from '../../firmware-protocol/conformance/bench.js';
import { reportLines, reportOf } from '../../firmware-protocol/conformance/report.js';
import { runConformance } from '../../firmware-protocol/conformance/run.js';
import { framedLink } from '../../firmware-protocol/link.js';
import { createResponder } from '../../firmware-protocol/responder.js';
import { createSimulatedDrive } from '../../hardware-sim/drive.js';
import { createSimulatedImager } from '../../hardware-sim/imager.js';
import { pacedLink } from '../../hardware-sim/noisy-link.js';
import { loadScenario } from '../../hardware-sim/scenario.js';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { type Clock, realClock } from '../clock.js';
import { streamOf } from '../drive/links/stdio.js';
import { parseLinkSpec, transportTo } from '../drive/links.js';
import { LastspinError } from '../errors.js';
import { newSession } from './drives.js';
import { onInterrupt } from './interrupt.js';

export interface ConformanceOptions {
  readonly clause?: readonly string[];
  readonly force?: boolean;
  readonly json?: boolean;
}

/** What is examined, the time that it lives in, and how the examination is run in that time. */
interface Subject {
  readonly target: Target;
  readonly clock: Clock;
  run<T>(work: Promise<T>): Promise<T>;
  close(): void;
}

/** `lastspin conformance IMAGER`: tries every clause of PROTOCOL.md that can be seen from outside. Returns 1
 * when one failed. */
export async function conformance(spec: string, options: ConformanceOptions): Promise<number> {
  const subject = spec.startsWith('sim:') ? simulated(spec) : real(spec);
  const { clause: only } = options;
  const interrupt = onInterrupt('lastspin: switching off; once more to leave at once');
  process.stderr.write(
    `lastspin: the power of ${spec} is switched and what hangs on it is read; nothing is written\n`,
  );
  try {
    const result = await subject.run(
      runConformance({
        target: subject.target,
        clock: subject.clock,
        session: newSession(),
        force: options.force === true,
        ...(only && { only }),
        signal: interrupt.signal,
        onCheck: ({ clauses, title }, index, count) =>
          process.stderr.write(`${index + 1}/${count} ${clauses.join(' ')} ${title}\n`),
      }),
    );
    const report = reportOf(result, only);
    process.stdout.write(
      options.json ? `${JSON.stringify(report)}\n` : `${reportLines(report).join('\n')}\n`,
    );
    return report.failed > 0 ? 1 : 0;
  } finally {
    interrupt.dispose();
    subject.close();
  }
}

/** A simulated imager, in time that passes as fast as it can. */
function simulated(spec: string): Subject {
  const scenario = loadScenario(spec.slice('sim:'.length));
  const clock = createVirtualClock();
  const imager = createSimulatedImager(createSimulatedDrive(scenario), clock);
  const responder = createResponder(imager, clock);
  return {
    clock,
    run: clock.run,
    close: () => imager.close(),
    target: {
      name: spec,
      linksMax: 2,
      reopens: true,
      tellsEnd: true,
      async open() {
        const [near, far] = duplexPair();
        const { linkBytesPerSecond } = scenario;
        const link = framedLink(far);
        responder.attach(
          linkBytesPerSecond === undefined ? link : pacedLink(link, clock, linkBytesPerSecond),
        );
        near.on('close', () => far.destroy());
        return { stream: near, close: () => void near.destroy() };
      },
    },
  };
}

function real(spec: string): Subject {
  const clock = realClock();
  const base = { clock, run: <T>(work: Promise<T>) => work, close: () => {} };
  const parsed = parseLinkSpec(spec);
  if (parsed.kind === 'stdio') {
    const child = processTarget(spec, parsed.command);
    return { ...base, target: child.target, close: child.end };
  }
  const transport = transportTo(parsed, clock);
  const isTcp = parsed.kind === 'tcp';
  return {
    ...base,
    target: {
      name: spec,
      linksMax: isTcp ? 2 : 1,
      reopens: transport.canReopen,
      tellsEnd: isTcp,
      open: () => transport.open(),
    },
  };
}

/** A process as imager. Started here and not as drives are, since its end is looked at too (T-5). */
function processTarget(name: string, command: string) {
  const child = spawn(command, {
    shell: true,
    detached: true,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  child.stdin.on('error', () => {});
  const line: OpenLine = {
    stream: streamOf(child.stdout, child.stdin),
    close() {
      child.stdin.end();
      child.stdout.resume();
    },
  };
  const target: Target = {
    name,
    linksMax: 1,
    reopens: false,
    tellsEnd: true,
    exited: () => exited,
    async open() {
      if (child.exitCode !== null) {
        throw new LastspinError('DRIVE_OPEN_FAILED', `'${command}' ended with ${child.exitCode}`);
      }
      return line;
    },
  };
  return { target, end: () => endGroup(child.pid, child.exitCode) };
}

function endGroup(pid: number | undefined, exitCode: number | null): void {
  if (pid === undefined || exitCode !== null) return;
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, 'SIGTERM');
  } catch {
    // It has ended by itself.
  }
}
