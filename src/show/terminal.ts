import { styleText } from 'node:util';
import type { Clock } from '../clock.js';
import { endedBeforeVerdict, type JobEvent } from '../job/events.js';
import type { JobState } from '../job/state.js';
import type { FullTarget } from '../job/target.js';
import type { Extent } from '../map/extent.js';
import { statuses } from '../map/status.js';
import type { HeadMapData } from '../plan/head-map-schema.js';
import { describeLeftOff } from '../power/power.js';
import { formatBytes, formatDuration, formatOutcome, formatShare, formatStrip } from './format.js';

/** Where progress is written; stderr in real life. */
export interface Terminal {
  write(text: string): void;
  /** Whether lines can be redrawn in place. */
  readonly live: boolean;
  readonly columns: number;
  readonly colors: boolean;
}

export interface Progress {
  onEvent(event: JobEvent, state: JobState): void;
  /** A line for the user, above the picture. */
  say(line: string): void;
  /** A line below the picture, where one is drawn; empty for none. */
  footer(text: string): void;
  /** Leaves the last picture standing. */
  end(): void;
}

/** Redraws a few lines at most four times a second; without a terminal, one line every ten seconds. */
const redrawIntervalMs = 250;
const lineIntervalMs = 10_000;
/** A strip longer than this says no more. */
const stripCellsMax = 120;
/** The rate shown is that of about the last five seconds. */
const rateWindowMs = 5000;

/** Shows a job while it runs, from its events alone. `clock` is the wall, whatever time the job keeps. */
export function createProgress(terminal: Terminal, clock: Clock): Progress {
  let drawnLines = 0;
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  let lastGoodAtMs: number | undefined;
  let lastReadLba = 0;
  let footerText = '';
  let lastState: JobState | undefined;
  const samples: { atMs: number; finished: number }[] = [];

  const paint = (style: Parameters<typeof styleText>[0], text: string) =>
    terminal.colors ? styleText(style, text) : text;

  function erase(): void {
    if (drawnLines > 0) terminal.write(`\x1b[${drawnLines}A\x1b[J`);
    drawnLines = 0;
  }

  function say(line: string): void {
    erase();
    terminal.write(`${line}\n`);
    // The picture stood below; without one there is nothing to draw again.
    if (terminal.live) drawnAtMs = Number.NEGATIVE_INFINITY;
  }

  function bytesPerSecond(state: JobState): number {
    const finished = state.plan.map.countOf(statuses.finished);
    samples.push({ atMs: state.atMs, finished });
    while (samples.length > 2 && state.atMs - samples[0]!.atMs > rateWindowMs) samples.shift();
    const first = samples[0]!;
    const elapsedMs = Math.max(1, state.atMs - first.atMs);
    return ((finished - first.finished) * state.plan.sectorBytes * 1000) / elapsedMs;
  }

  function draw(state: JobState): void {
    const nowMs = clock.now();
    if (nowMs - drawnAtMs < (terminal.live ? redrawIntervalMs : lineIntervalMs)) return;
    drawnAtMs = nowMs;
    const lines = terminal.live ? picture(state) : [oneLine(state)];
    erase();
    for (const line of lines) terminal.write(`${line}\n`);
    if (terminal.live) drawnLines = lines.length;
  }

  function oneLine(state: JobState): string {
    const { plan, totals } = state;
    const { map } = plan;
    const pass = plan.passes[plan.passIndex];
    return [
      ...(state.paused ? ['paused'] : []),
      pass ? `pass ${plan.passIndex + 1}/${plan.passes.length} ${pass.name}` : 'done',
      `${formatShare(map.countOf(statuses.finished), map.size)} finished`,
      `${formatBytes(bytesPerSecond(state))}/s`,
      `LBA ${lastReadLba}`,
      `bad ${map.countOf(statuses['bad-sector'])}`,
      `power cycles ${totals.powerCycles}`,
      ...(state.heat.celsius === undefined ? [] : [`${Math.round(state.heat.celsius)} °C`]),
      lastGoodAtMs === undefined
        ? 'no good read yet'
        : `last good read ${formatDuration(state.atMs - lastGoodAtMs)} ago`,
    ].join('  ');
  }

  function picture(state: JobState): string[] {
    const { map } = state.plan;
    const legend = [
      ['+', 'finished', statuses.finished],
      ['?', 'non-tried', statuses['non-tried']],
      ['*', 'non-trimmed', statuses['non-trimmed']],
      ['/', 'non-scraped', statuses['non-scraped']],
      ['-', 'bad', statuses['bad-sector']],
    ] as const;
    // A line that wraps would be two, and the next picture would not cover it.
    const width = Math.max(1, terminal.columns - 1);
    const strip = formatStrip(map, Math.min(width - 1, stripCellsMax));
    const counts = legend
      .map(([letter, name, status]) => {
        const sectors = map.countOf(status);
        return `${letter} ${name} ${formatBytes(sectors * state.plan.sectorBytes)}`;
      })
      .join('   ');
    return [
      ` ${[...strip].map(paintStatus).join('')}`,
      paintLetters(` ${counts}`.slice(0, width)),
      ` ${oneLine(state)}`.slice(0, width),
      // Of a long input its end matters.
      ...(footerText ? [` ${footerText.slice(-(width - 1))}`] : []),
    ];
  }

  /** Colours the legend's letters, which stand alone between blanks. */
  function paintLetters(line: string): string {
    return line.replace(/(?<= )[+?*/-](?= )/g, paintStatus);
  }

  function paintStatus(letter: string): string {
    const styles = { '+': 'green', '?': 'gray', '*': 'yellow', '/': 'blue', '-': 'red' } as const;
    return paint(styles[letter as keyof typeof styles], letter);
  }

  function redraw(): void {
    drawnAtMs = Number.NEGATIVE_INFINITY;
    if (terminal.live && lastState) draw(lastState);
  }

  return {
    say(line) {
      say(line);
      redraw();
    },
    footer(text) {
      footerText = text;
      redraw();
    },
    onEvent(event, state) {
      lastState = state;
      if (event.kind === 'read') {
        lastReadLba = event.lba;
        if (event.goodCount > 0) lastGoodAtMs = event.atMs;
      }
      if (event.kind === 'started') lastGoodAtMs = undefined;
      const line = describeEvent(event, state);
      if (line) say(paint(line.style, line.text));
      draw(state);
    },
    end() {
      lastState = undefined;
      drawnLines = 0;
    },
  };
}

/** A power cycle, what the one before was worth, and how many more there may be. */
function describeCycle(
  { gainedCount = 0, unproven }: Extract<JobEvent, { kind: 'power-cycled' }>,
  { trouble, policy, plan }: JobState,
): string {
  const what = unproven ? 'port reset (until the drive counts more)' : 'power cycled';
  const gained = formatBytes(gainedCount * plan.sectorBytes);
  const { cycles, cyclesGainless } = trouble;
  const stop =
    cyclesGainless > 0
      ? `; ${cyclesGainless} in a row for nothing, the job stops at ${policy.gainlessCyclesMax}`
      : '';
  return `${what}, ${cycles} of at most ${policy.cyclesMax}; ${gained} since the last one${stop}`;
}

/** What a drive's temperature is worth telling. */
function describeHeat(
  celsius: number | undefined,
  { policy: { heat }, heat: { isRefused } }: JobState,
) {
  if (heat && celsius !== undefined && celsius >= heat.warnCelsius) {
    const text = `the drive is at ${Math.round(celsius)} °C; it is to rest at ${heat.parkCelsius} °C: cool it`;
    return { style: 'yellow' as const, text };
  }
  if (!isRefused || celsius === undefined) return undefined;
  return {
    style: 'yellow' as const,
    text: 'the drive was slow to tell its temperature: it is not asked again',
  };
}

/** The decisions worth a line of their own. */
function describeEvent(
  event: JobEvent,
  state: JobState,
): { style: 'cyan' | 'yellow' | 'red' | 'green'; text: string } | undefined {
  switch (event.kind) {
    case 'started':
      return {
        style: 'cyan',
        text: `${event.resumed ? 'resuming' : 'imaging'} ${event.drive} to ${event.image}`,
      };
    case 'pass-started':
      return { style: 'cyan', text: `pass ${event.index + 1}: ${event.name}` };
    case 'trouble':
      return { style: 'yellow', text: `trouble: ${event.why}` };
    case 'reset':
      return {
        style: 'yellow',
        text: `${event.reset === 'abort' ? 'abort' : `${event.reset} reset`}${event.ok ? '' : ' refused'}`,
      };
    case 'power-cycled':
      return { style: 'red', text: describeCycle(event, state) };
    case 'temperature':
      return describeHeat(event.celsius, state);
    case 'power-proven':
      return event.cuts
        ? { style: 'green', text: `${event.power} cuts the power: the drive counted the cycle` }
        : {
            style: 'red',
            text: `${event.power} does not cut the power: the drive counted no cycle; use another switch`,
          };
    case 'powered-off':
      return { style: 'red', text: describeLeftOff(event) };
    case 'power-failed':
      return { style: 'red', text: `power switch failed: ${event.power}: ${event.why}` };
    case 'held':
      return {
        style: 'red',
        text: `held: the drive is not there; plug it in again within ${formatDuration(event.limitMs)} and the job goes on, or end it with Ctrl-C: the map is saved`,
      };
    case 'ready':
      return event.ok
        ? { style: 'green', text: `drive ready after ${formatDuration(event.waitedMs)}` }
        : { style: 'red', text: `drive not ready after ${formatDuration(event.waitedMs)}` };
    case 'rested':
      return event.restMs > 0
        ? { style: 'yellow', text: `rested ${formatDuration(event.restMs)}: ${event.why}` }
        : undefined;
    case 'blamed':
      // Who presses Ctrl-C shall not read that the drive is to blame.
      if (event.why === endedBeforeVerdict)
        return {
          style: 'yellow',
          text: `nothing is marked for the last failing reads: ${event.why}`,
        };
      return { style: 'yellow', text: `${verdicts[event.on]}: ${event.why}` };
    case 'noticed':
      return { style: 'yellow', text: `imager: ${event.text}` };
    case 'gave-up':
      return { style: 'red', text: `gave up: ${event.why}` };
    case 'acted':
      return {
        style: event.ok ? 'green' : 'red',
        text: `then ${event.action}: ${formatOutcome(event)}`,
      };
    case 'target-full':
      return { style: 'red', text: describeFull(event) };
    case 'target-again':
      return {
        style: 'green',
        text: `there is room again after ${formatDuration(event.waitedMs)}: going on`,
      };
    case 'paused':
      return { style: 'yellow', text: 'paused' };
    case 'resumed':
      return { style: 'cyan', text: 'resumed' };
    case 'drive-tuned': {
      const what = `${settingNames[event.setting]} ${event.value ? 'on' : 'off'}`;
      return event.ok
        ? { style: 'cyan', text: what }
        : { style: 'yellow', text: `${what}: the drive cannot: ${event.why}` };
    }
    case 'rows-changed':
      return { style: 'cyan', text: `changed: ${event.what}` };
    case 'jumped':
      return { style: 'cyan', text: `jumped to LBA ${event.lba}` };
    case 'went-back':
      return { style: 'cyan', text: `back to what the jump left: LBA ${event.lba}+${event.count}` };
    case 'heads-given':
      return {
        style: 'cyan',
        text: event.heads ? describeHeads(event.heads) : 'the head map is forgotten',
      };
    case 'excluded':
      return { style: 'yellow', text: `excluded: ${event.ranges.map(formatRange).join(', ')}` };
    case 'stepped-on':
      return { style: 'cyan', text: `pass ${event.index + 1} is ended` };
    case 'doubted':
      return { style: 'red', text: `doubtful data: ${event.why}` };
    case 'image-changed':
      return { style: 'yellow', text: `to be read again: ${event.why}` };
    case 'varied':
      return {
        style: 'yellow',
        text: `LBA ${event.lba} reads differently: ${event.versions} versions, ${event.agreeing} readings agree`,
      };
    case 'physical-learned':
      return { style: 'cyan', text: physicalText(event.count) };
    case 'compared':
    case 'filled':
    case 'hashed':
    case 'read':
    case 'pass-ended':
    case 'priced':
    case 'classified':
    case 'ended':
      return undefined;
  }
}

/** What a full disk lacks, for people. */
export function describeFull({ path, neededBytes, freeBytes }: FullTarget): string {
  return `no room for ${path}: it needs ${formatBytes(neededBytes)} more, ${formatBytes(freeBytes)} are free; the drive rests, and the job goes on by itself when there is room`;
}

/** `head map: 4 heads, weak 2`. */
function describeHeads({ title, heads, weak, dead }: HeadMapData): string {
  const said = [
    `head map: ${title ? `${title}, ` : ''}${heads} heads`,
    weak ? `weak ${weak.join(', ') || 'none'}` : 'which are weak is found by reading',
    ...(dead.length > 0 ? [`dead ${dead.join(', ')}`] : []),
  ];
  return said.join(', ');
}

const settingNames = { lookAhead: 'look-ahead', driveRetries: "the drive's own retries" };

function physicalText(count: number): string {
  return count > 1
    ? `bad sectors come in aligned groups of ${count}: from here on ${count} are read at once`
    : 'bad sectors come singly after all: those called bad are tried again one by one';
}

/** First and last LBA. */
function formatRange({ lba, count }: Extent): string {
  return `LBA ${lba}-${lba + count - 1}`;
}

const verdicts = {
  place: 'the drive is well, the place is to blame',
  hang: 'the place hung the drive',
  drive: 'the drive was to blame, reading on in place',
};
