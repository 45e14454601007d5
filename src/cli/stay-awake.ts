/** Keeps the computer from going to sleep while a job runs. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Clock } from '../clock.js';

export interface Awake {
  /** The computer may sleep again. */
  end(): void;
}

/** A program that keeps the computer awake until its standard input ends, so that it ends with this process
 * however that ends; once it does, it says `awake`. */
interface Inhibitor {
  readonly command: string;
  readonly args: readonly string[];
}

/** In the order in which they are tried. */
const inhibitors: Partial<Record<NodeJS.Platform, readonly Inhibitor[]>> = {
  linux: ['idle:sleep:handle-lid-switch', 'idle:sleep'].map((what) => ({
    command: 'systemd-inhibit',
    args: [
      ...[`--what=${what}`, '--mode=block', '--who=lastspin', '--why=a failing drive is imaged'],
      ...['sh', '-c', 'echo awake; exec cat'],
    ],
  })),
  darwin: [{ command: 'caffeinate', args: ['-i', '-m', '-s', 'sh', '-c', 'echo awake; exec cat'] }],
  win32: [
    {
      command: 'powershell.exe',
      args: ['-NoProfile', '-NonInteractive', '-Command', windowsScript()],
    },
  ],
};

/** SetThreadExecutionState with ES_CONTINUOUS and ES_SYSTEM_REQUIRED holds as long as its thread lives. */
function windowsScript(): string {
  const call =
    '[DllImport("kernel32.dll")] public static extern uint SetThreadExecutionState(uint f);';
  return [
    `$k = Add-Type -MemberDefinition '${call}' -Name K -Namespace Lastspin -PassThru`,
    "if ($k::SetThreadExecutionState([uint32]'0x80000001') -ne 0) { 'awake' }",
    '[Console]::In.ReadToEnd() | Out-Null',
  ].join('; ');
}

/** Longest that a program may take to keep the computer awake. */
const startMaxMs = 30_000;

/** Keeps the computer awake until `end` is called, and says in one line where it cannot. The lid of a laptop is
 * included where the system lets us. */
export function stayAwake(
  clock: Clock,
  say: (line: string) => void,
  platform: NodeJS.Platform = process.platform,
): Awake {
  let hasEnded = false;
  let child: ChildProcess | undefined;
  let cancel = () => {};
  const attempt = (choices: readonly Inhibitor[], why: string) => {
    const [choice, ...others] = choices;
    if (hasEnded) return;
    if (!choice) {
      say(`this computer may go to sleep while the job runs; see that it does not (${why})`);
      return;
    }
    child = spawn(choice.command, choice.args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      // Ctrl-C is for this program.
      detached: platform !== 'win32',
      windowsHide: true,
    });
    cancel = watch(child, clock, (problem) => attempt(others, `${choice.command}: ${problem}`));
  };
  attempt(inhibitors[platform] ?? [], `nothing is known that keeps ${platform} awake`);
  return {
    end() {
      hasEnded = true;
      cancel();
      child?.stdin?.end();
    },
  };
}

/** Calls `failed` once, unless the program keeps the computer awake until it is told to end. It never keeps this
 * program running. */
function watch(child: ChildProcess, clock: Clock, failed: (problem: string) => void): () => void {
  let text = '';
  let isOver = false;
  const fail = (problem: string) => {
    if (isOver) return;
    isOver = true;
    cancelWait();
    child.kill();
    failed(problem);
  };
  const cancelWait = clock.after(startMaxMs, () => fail('no answer'));
  child.stdin?.on('error', () => {});
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
    if (text.includes('awake')) cancelWait();
  });
  child.on('error', (error: NodeJS.ErrnoException) => {
    fail(error.code === 'ENOENT' ? 'not installed' : error.message);
  });
  child.on('exit', (code) => fail(`ended with status ${code}`));
  child.unref();
  for (const pipe of [child.stdin, child.stdout]) (pipe as { unref?(): void } | null)?.unref?.();
  return () => {
    isOver = true;
    cancelWait();
  };
}
