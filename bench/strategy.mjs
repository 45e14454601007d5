// Lastspin and GNU ddrescue on the oracle drive, which was written independently and counts for itself.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  geometricMean,
  has,
  head,
  lastspin,
  median,
  parseWords,
  root,
  row,
  run,
  sum,
  workFolder,
} from './tools.mjs';

const oracle = join(root, '../shared/oracle-drive');
const allNames = [
  'p0-healthy',
  'p1-weakhead',
  'p2-scratch',
  'p3-scattered',
  'p4-slow',
  'p5-flaky',
  'p6-hang',
  'p7-512n',
];
/** Where sectors come at some try: neither tool is held back there. */
const retryName = 'p5-flaky';
const hangName = 'p6-hang';
const ddrescueLimitMs = 1_500_000;
/** A drive that hangs more often than this is given up. */
const cyclesMax = 200;

/** What ddrescue is started with; at its end it returns how it ended. */
function ddrescue({ physical, source, image, map }, extra = []) {
  const args = ['-d', '-q', '-b', String(physical), ...extra, source, image, map];
  return run('ddrescue', args, { timeout: ddrescueLimitMs }).status;
}

/** ddrescue as somebody runs it on a drive that hangs, with a switch in its power line: it stops at an error,
 * and when a sector that was read before no longer comes, the power is cycled and ddrescue goes on with its map.
 * At the end once more, for what failed only because the drive hung. */
function ddrescueAndPower(drive) {
  for (const extra of [[], ['-r', '1']])
    for (let cycles = 0; cycles < cyclesMax; ) {
      const status = ddrescue(drive, ['-e', '+0', ...extra]);
      if (status === 0 || status === null) break;
      if (answers(drive)) continue;
      cutPower(drive.power);
      cycles++;
    }
}

/** Whether a sector comes that came before. */
function answers({ source, map, physical }) {
  const text = existsSync(map) ? readFileSync(map, 'utf8') : '';
  const found = /^(0x[0-9A-F]+)\s+0x[0-9A-F]+\s+\+$/m.exec(text);
  if (!found) return false;
  const skip = Number(found[1]) / physical;
  const args = [`if=${source}`, 'of=/dev/null', `bs=${physical}`, `skip=${skip}`, 'count=1'];
  return spawnSync('dd', [...args, 'iflag=direct']).status === 0;
}

function cutPower(file) {
  if (!existsSync(file)) writeFileSync(file, '');
  const now = new Date();
  utimesSync(file, now, now);
}

function lastspinImage({ name, physical, source, image, power }, preset) {
  const args = ['image', `file:${source}`, image, '--physical-sector', String(physical)];
  args.push('--power', `exec:touch '${power}'`);
  if (name !== retryName) args.push('--retries', '0');
  if (preset) args.push('--preset', preset);
  return run(process.execPath, [...lastspin, ...args]);
}

const tools = {
  ddrescue: (drive) => (drive.name === hangName ? ddrescueAndPower(drive) : ddrescue(drive)),
  lastspin: (drive, preset) => lastspinImage(drive, preset),
};

/** Plugs the drive in, lets the tool image it, and scores what came of it. */
function measure(name, tool, { scale, preset }) {
  const scenario = join(oracle, 'scenarios', `${name}.scn`);
  const folder = join(workFolder(), `${name}-${tool}`);
  const inside = (file) => join(folder, file);
  const physical = 512 * Number(/^physical (\d+)/m.exec(readFileSync(scenario, 'utf8'))[1]);
  const files = { image: inside('out.img'), map: inside('out.map'), power: inside('power') };
  run(join(oracle, 'run-drive.sh'), [scenario, folder, scale]);
  try {
    tools[tool]({ name, physical, source: inside('source'), ...files }, preset);
    const args = [scenario, inside('reads.csv'), files.image, files.map];
    const scored = run(join(oracle, 'score.py'), args);
    if (scored.status !== 0) throw new Error(`${name}, ${tool}: no score: ${scored.stderr}`);
    return plain(JSON.parse(scored.stdout));
  } finally {
    run(join(oracle, 'stop-drive.sh'), [folder]);
    rmSync(folder, { recursive: true, force: true });
  }
}

function plain(score) {
  const until = (share, what) => score.until[share]?.[what];
  return {
    delivered: score.delivered_pct,
    wrong: score.wrong_sectors,
    failing: score.failing_reads,
    seconds: score.model_s,
    seconds50: until('50', 's'),
    seconds99: until('99', 's'),
    failing99: until('99', 'failing'),
    cycles: score.power_cycles,
  };
}

/** The middle of each number over several runs, and how far runs lie apart, as a share of it. */
function middle(scores) {
  const score = {};
  for (const key of Object.keys(scores[0])) {
    const known = scores.map((each) => each[key]).filter((value) => value !== undefined);
    // What some run never reached is known only where most reached it.
    score[key] = known.length * 2 > scores.length ? median(known) : undefined;
  }
  const apart = (key) => {
    const known = scores.map((each) => each[key]).filter((value) => value !== undefined);
    return known.length > 1 ? (Math.max(...known) - Math.min(...known)) / median(known) : 0;
  };
  score.noise = { seconds: apart('seconds'), seconds99: apart('seconds99') };
  return score;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function printScore(name, tool, score) {
  const or = (value) => value ?? 'never';
  row(
    name,
    tool,
    `${score.delivered} %`,
    score.wrong,
    score.failing,
    score.seconds,
    or(score.seconds50),
    or(score.seconds99),
    or(score.failing99),
    score.cycles,
    percent(score.noise.seconds),
    percent(score.noise.seconds99),
  );
}

/** The hanging spots of a scenario. */
const hangCount = (name) =>
  readFileSync(join(oracle, 'scenarios', `${name}.scn`), 'utf8').match(/^hang /gm)?.length ?? 0;

/** Ours divided by ddrescue's, by scenario; what either never reached is left out and named. */
function ratios(scores, names, key) {
  const found = [];
  for (const name of names) {
    const [ours, peer] = [scores[name]?.lastspin[key], scores[name]?.ddrescue[key]];
    if (ours !== undefined && peer > 0) found.push({ name, ratio: ours / peer });
  }
  return found;
}

const damaged = allNames.filter((name) => /^p[1-57]/.test(name));
const counted = allNames.filter((name) => /^p[1-47]/.test(name));
const timed = allNames.filter((name) => /^p[0-47]/.test(name));
/** What somebody who knew all that can be learned would reach, as the issue has it. */
const idealRatio = 0.65;

function printTargets(scores) {
  const target = (what, value, limit, isMet) =>
    row(what, value, limit, value === '–' ? '–' : isMet ? 'met' : '**missed**');
  const atMost = (what, value, limit) =>
    target(what, value?.toFixed(3) ?? '–', `≤ ${limit}`, value <= limit);
  const meanOf = (key, names) => {
    const found = ratios(scores, names, key);
    const known = names.filter((name) => scores[name]).length;
    const label = found.length === names.length ? '' : ` (${found.length} of ${known} that ran)`;
    const mean = found.length > 0 ? geometricMean(found.map(({ ratio }) => ratio)) : undefined;
    return { label, mean, isWhole: found.length === names.length };
  };
  console.log('\nThe targets: ours divided by ddrescue’s.\n');
  head('target', 'measured', 'limit', '');
  const time = meanOf('seconds99', damaged);
  const failing = meanOf('failing99', damaged);
  atMost(`time until 99 %, geometric mean over p1–p5, p7${time.label}`, time.mean, 0.8);
  atMost(`failing reads until 99 %, same mean${failing.label}`, failing.mean, 0.75);
  const ran = counted.filter((name) => scores[name]);
  const total = (tool) => sum(ran.map((name) => scores[name][tool].failing));
  atMost(
    `failing reads in all over p1–p4, p7, sums`,
    ran.length > 0 ? total('lastspin') / total('ddrescue') : undefined,
    0.85,
  );
  const all = meanOf('failing', counted);
  atMost(`failing reads in all, geometric mean${all.label}`, all.mean, 0.85);
  for (const { name, ratio } of ratios(scores, timed, 'seconds'))
    atMost(`total time, ${name}`, ratio, 1);
  for (const { ratio } of ratios(scores, ['p1-weakhead'], 'seconds50'))
    atMost('time until 50 %, p1-weakhead', ratio, 0.1);
  for (const [name, { lastspin: ours, ddrescue: peer }] of Object.entries(scores)) {
    const least = name === retryName ? 99.99 : name === hangName ? 99.9 : peer.delivered;
    const isMet = ours.delivered >= Math.max(least, peer.delivered) && ours.wrong === 0;
    const beside = `${ours.delivered} % (ddrescue ${peer.delivered} %)`;
    target(`delivered, ${name}, nothing wrong`, beside, `≥ ${least} %, never lower`, isMet);
  }
  if (scores[hangName]) {
    const { lastspin: ours, ddrescue: peer } = scores[hangName];
    const spots = hangCount(hangName);
    const beside = `${(ours.cycles / spots).toFixed(2)} (ddrescue ${(peer.cycles / spots).toFixed(2)})`;
    target(`power cycles a hanging spot, ${hangName}`, beside, '≤ 2', ours.cycles <= 2 * spots);
  }
  printNearness({ 'time until 99 %': time, 'failing reads until 99 %': failing });
}

function printNearness(means) {
  for (const [what, { mean, isWhole }] of Object.entries(means)) {
    if (!isWhole) continue;
    const way = (1 - mean) / (1 - idealRatio);
    console.log(
      `\nAn ideal learner would reach about ${idealRatio} of ddrescue's ${what}; ours is ${mean.toFixed(3)}: ${(100 * way).toFixed(0)} % of the way.`,
    );
  }
}

function printNoise(scores, repeat) {
  if (repeat < 2)
    return console.log('\nOne run each: nothing is known of the noise; --repeat N tells.');
  for (const tool of Object.keys(tools)) {
    const worst = (key) =>
      Object.entries(scores)
        .map(([name, score]) => ({ name, noise: score[tool].noise[key] }))
        .reduce((a, b) => (b.noise > a.noise ? b : a));
    const [time, share] = [worst('seconds'), worst('seconds99')];
    console.log(
      `\nNoise of ${tool} (most minus least, of the median of ${repeat}): at worst ${percent(time.noise)} of the total time (${time.name}), ${percent(share.noise)} of the time until 99 % (${share.name}).`,
    );
  }
}

/** strategy [SCENARIO…] [--scale 20] [--repeat 1] [--preset NAME] */
export function strategy(...words) {
  if (!existsSync(oracle) || !has('nbdkit') || !has('nbdfuse') || !has('ddrescue'))
    return console.log(
      'strategy: skipped, it needs ../shared/oracle-drive, nbdkit, nbdfuse and ddrescue',
    );
  const { plain: wanted, options } = parseWords(words);
  const names = wanted.length > 0 ? wanted : allNames;
  const unknown = names.find((name) => !allNames.includes(name));
  if (unknown) throw new Error(`no such scenario: ${unknown}; there are ${allNames.join(', ')}`);
  const scale = options.scale ?? '20';
  const repeat = Number(options.repeat ?? 1);
  console.log(
    `\nOracle drive, ${scale} times faster than life; model seconds and failing reads by the drive's own count; ${repeat > 1 ? `medians of ${repeat} runs` : 'one run each'}. ddrescue -d -b PHYSICAL (on ${hangName} in a loop that cycles the power); lastspin ${options.preset ?? 'with its default preset'}, --retries 0 but on ${retryName}.\n`,
  );
  head(
    ...['scenario', 'tool', 'delivered', 'wrong', 'failing reads', 'model s', 'until 50 %'],
    ...['until 99 %', 'failing until 99 %', 'power cycles', 'noise of s', 'noise until 99 %'],
  );
  const scores = {};
  for (const name of names) {
    const runs = { ddrescue: [], lastspin: [] };
    // Turn by turn, so that what else the machine does falls on both.
    for (let each = 0; each < repeat; each++)
      for (const tool of Object.keys(tools))
        runs[tool].push(measure(name, tool, { scale, preset: options.preset }));
    scores[name] = {};
    for (const tool of Object.keys(tools)) {
      scores[name][tool] = middle(runs[tool]);
      printScore(name, tool, scores[name][tool]);
    }
  }
  printTargets(scores);
  printNoise(scores, repeat);
}
