import { readFileSync } from 'node:fs';
import type { ReadStream } from 'node:tty';
import { reasonOf } from '../errors.js';
import type { ControlRequest, JobControl } from '../job/control.js';
import { domainOfRanges, parseRanges } from '../map/domain-map.js';
import type { Extent } from '../map/extent.js';
import type { SectorSize } from '../map/mapfile.js';
import type { RowChanges } from '../plan/row-change.js';

/** Keys for a job that runs in a terminal. */

export interface KeyOptions {
  readonly control: JobControl;
  readonly drive: SectorSize;
  isPaused(): boolean;
  /** Shows the line below the progress. */
  footer(text: string): void;
  say(line: string): void;
  /** What Ctrl-C does where keys are no signals. */
  interrupt(): void;
}

const hint = 'p pause  n next step  j jump  x exclude  t tune  c power-cycle  q stop  ? help';
const help = [
  'p  pause, and resume: nothing is sent to the drive meanwhile',
  'n  end this step now; what it did not reach stays for the steps behind it',
  'j  jump to an LBA; what lies between is read at the end of the step',
  'x  exclude: LBA, LBA-LBA, LBA+COUNT or 1GB-2GB is not read any more',
  't  tune: timeoutMs=500 skip.maxCount=8192, or row 3 readCount=64 for a later step; none unsets',
  'c  power-cycle now',
  'q  stop, as Ctrl-C; the map is saved',
] as const;

interface Prompt {
  readonly question: string;
  readonly request: (text: string, drive: SectorSize) => ControlRequest;
  typed: string;
}

const keys = { ctrlC: '\x03', ctrlZ: '\x1a', escape: '\x1b', backspace: '\x7f', ctrlH: '\b' };

/** Listens to a terminal in raw mode until the returned function is called, which brings the terminal back to
 * what it was, as does the end of the process. A job in the background leaves the terminal alone. */
export function attendKeys(input: ReadStream, options: KeyOptions): () => void {
  const { control, footer, say } = options;
  let prompt: Prompt | undefined;
  let isStopping = false;

  const show = () => footer(prompt ? `${prompt.question}${prompt.typed}` : hint);

  async function ask(request: ControlRequest): Promise<void> {
    const answer = await control.request(request);
    // What was done is shown as an event.
    if (!answer.done) say(answer.text);
  }

  function open(question: string, request: Prompt['request']): void {
    prompt = { question, request, typed: '' };
    show();
  }

  function command(key: string): void {
    switch (key) {
      case 'p':
        return void ask({ kind: options.isPaused() ? 'resume' : 'pause' });
      case 'n':
        return void ask({ kind: 'step-on' });
      case 'c':
        return void ask({ kind: 'power-cycle' });
      case 'j':
        open('jump to LBA: ', (text) => ({ kind: 'jump', lba: parseLba(text) }));
        return;
      case 'x':
        open('exclude (LBA-LBA): ', (text, drive) => ({
          kind: 'exclude',
          ranges: parseExclusion(text, drive),
        }));
        return;
      case 't':
        open('tune (timeoutMs=500, row 3 readCount=64): ', parseTuning);
        return;
      case 'q':
        if (!isStopping) options.interrupt();
        isStopping = true;
        return;
      case '?':
        for (const line of help) say(line);
        return;
    }
  }

  function edit(current: Prompt, key: string): void {
    if (key === '\r' || key === '\n') {
      prompt = undefined;
      show();
      try {
        if (current.typed.trim() !== '')
          void ask(current.request(current.typed.trim(), options.drive));
      } catch (error) {
        say(reasonOf(error));
      }
      return;
    }
    if (key === keys.escape) prompt = undefined;
    else if (key === keys.backspace || key === keys.ctrlH)
      current.typed = current.typed.slice(0, -1);
    else if (key >= ' ') current.typed += key;
    show();
  }

  function onData(bytes: Buffer): void {
    const text = bytes.toString('utf8');
    // Arrows and the like.
    if (text.length > 1 && text.startsWith(keys.escape)) return;
    for (const key of text) {
      if (key === keys.ctrlC) {
        isStopping = true;
        options.interrupt();
      } else if (key === keys.ctrlZ) terminal.suspend();
      else if (prompt) edit(prompt, key);
      else command(key);
    }
  }

  const terminal = rawTerminal(input, onData);
  show();
  return () => {
    footer('');
    terminal.dispose();
  };
}

/** Holds the terminal in raw mode while this process is in the foreground. */
function rawTerminal(input: ReadStream, onData: (bytes: Buffer) => void) {
  let isRaw = false;
  const take = () => {
    if (isRaw || !isForeground()) return;
    input.setRawMode(true);
    input.resume();
    isRaw = true;
  };
  const giveBack = () => {
    if (!isRaw) return;
    isRaw = false;
    input.setRawMode(false);
    input.pause();
  };
  input.on('data', onData);
  input.pause();
  process.on('exit', giveBack);
  process.on('SIGCONT', take);
  take();
  return {
    /** What Ctrl-Z does where keys are signals. */
    suspend() {
      giveBack();
      process.kill(0, 'SIGTSTP');
    },
    dispose() {
      giveBack();
      input.off('data', onData);
      process.off('exit', giveBack);
      process.off('SIGCONT', take);
    },
  };
}

/** Whether this process may use its terminal: one in the background is stopped by the system when it tries.
 * By proc(5): the process group, and the foreground group of the terminal. */
function isForeground(): boolean {
  if (process.platform !== 'linux') return true;
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return group === foreground;
  } catch {
    return true;
  }
}

/** A whole number, decimal or 0x.
 * Throws an Error with one line for what is none, like the others below. */
export function parseLba(text: string): number {
  if (/^(\d+|0x[0-9a-f]+)$/i.test(text)) return Number(text);
  throw new Error(`'${text}' is no LBA: a whole number is needed`);
}

function parseExclusion(text: string, drive: SectorSize): Extent[] {
  const name = 'what was typed';
  const domain = domainOfRanges(parseRanges(text, name), drive, name);
  return [...domain.runs()].filter((run) => run.value === 1);
}

/** `timeoutMs=500 skip.maxCount=8192`, with `row 3` before it for another row than the one under way. A list
 * has commas; `none` unsets. */
export function parseTuning(text: string): ControlRequest {
  const [, number, rest = ''] = /^(?:row\s+(\d+)\s+)?(.*)$/i.exec(text) ?? [];
  const changes: Record<string, unknown> = {};
  for (const word of rest.trim().split(/\s+/)) {
    const [, name, value] = /^([A-Za-z.]+)=(.+)$/.exec(word) ?? [];
    if (name === undefined || value === undefined)
      throw new Error(`'${word}' is no NAME=VALUE, like timeoutMs=500`);
    changes[name] = parsedValue(name, value);
  }
  const tuned = changes as RowChanges;
  return number === undefined
    ? { kind: 'tune', changes: tuned }
    : { kind: 'tune', row: Number(number), changes: tuned };
}

function parsedValue(name: string, text: string): unknown {
  if (text === 'none' && name !== 'before.kind') return null;
  if (name === 'ranges') return text.split(',').map(rangeOf);
  if (name === 'resets') return text.split(',');
  if (name === 'heads' && /^\d/.test(text)) return text.split(',').map(Number);
  if (text === 'true' || text === 'false') return text === 'true';
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

function rangeOf(text: string): Extent {
  const [, first, last] = /^(\d+)-(\d+)$/.exec(text) ?? [];
  if (first === undefined || last === undefined) throw new Error(`'${text}' is no LBA-LBA`);
  return { lba: Number(first), count: Number(last) - Number(first) + 1 };
}
