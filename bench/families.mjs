// Freshly drawn drives of our own simulator, family by family, rehearsed with our planner and with ddrescue's rows.
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { families as all, drawInput, drawScenario } from './draws.mjs';
import { paths, rehearseOn, truthOf } from './simulated.mjs';
import { head, mean, parseWords, ratioWithInterval, row, sum } from './tools.mjs';

/** Above this a rehearsal is cut: a plan that runs so long is wrong. */
const durationMaxMs = 14 * 24 * 3_600_000;

/** One drive, all presets: what crosses from a worker. */
function rehearseAll({ family, seed, path, presets, retries }) {
  const scenario = drawScenario(family, seed);
  const truth = truthOf(scenario);
  const rowFilter = retries.includes(family) ? undefined : ({ phase }) => phase !== 'retry';
  const scores = {};
  for (const preset of presets) {
    const from = performance.now();
    const { state, ...score } = rehearseOn(scenario, truth, preset, paths[path], {
      rowFilter,
      durationMaxMs,
      // Alone, ddrescue would fill the map of a hung drive with errors.
      peerAsksWhy: family === 'hang',
    });
    scores[preset] = { ...score, wall: (performance.now() - from) / 1000 };
  }
  const { lostPhysicals } = truth;
  return { family, seed, path, lostPhysicals, scores };
}

if (!isMainThread) parentPort.on('message', (task) => parentPort.postMessage(rehearseAll(task)));

/** Rehearses tasks on all cores; results in the order of the tasks. */
async function onAllCores(tasks) {
  const results = [];
  let next = 0;
  const lane = () =>
    new Promise((resolve, reject) => {
      const worker = new Worker(fileURLToPath(import.meta.url));
      let at;
      const give = () => {
        at = next++;
        if (at < tasks.length) worker.postMessage(tasks[at]);
        else worker.terminate().then(resolve);
      };
      worker.on('message', (result) => {
        results[at] = result;
        give();
      });
      worker.on('error', (error) => {
        const { family, seed, path } = tasks[at];
        reject(new Error(`${family} ${seed} ${path}: ${error.stack}`));
      });
      give();
    });
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), tasks.length) }, lane));
  return results;
}

/** The tasks that the words of the command line ask for. */
function tasksOf(words, presets, pathNames, retries) {
  const { plain, options } = parseWords(words, ['each']);
  const howMany = Number(plain[0] ?? 50);
  const first = Number(options.first ?? 1);
  const names = options.only?.split(',') ?? Object.keys(all);
  const unknown = names.find((name) => !all[name]);
  if (unknown)
    throw new Error(`no such family: ${unknown}; there are ${Object.keys(all).join(', ')}`);
  const chosen = options.path?.split(',') ?? pathNames;
  const wrong = chosen.find((name) => !paths[name]);
  if (wrong) throw new Error(`no such path: ${wrong}; there are ${Object.keys(paths).join(', ')}`);
  const own = options.preset ? [options.preset, ...presets.slice(1)] : presets;
  const tasks = [];
  for (const family of names)
    for (const path of chosen)
      for (let seed = first; seed < first + howMany; seed++)
        tasks.push({ family, seed, path, presets: own, retries });
  if (options.save) {
    mkdirSync(options.save, { recursive: true });
    // JSON is YAML.
    for (const { family, seed } of tasks)
      writeFileSync(
        join(options.save, `${family}-${seed}.yaml`),
        JSON.stringify(drawInput(family, seed), null, 1),
      );
  }
  return { tasks, howMany, first, own, each: options.each === true };
}

/** Families that are rehearsed with our retries, as the default preset has them: sectors come there at some try, or
 * are kept away from until then. */
const retried = ['flaky', 'hang'];

const measures = {
  'time until 99 %': (score) => score.until[0.99]?.seconds,
  // One more on both sides: none at all is no division by zero.
  'failing until 99 %': (score) => score.until[0.99] && score.until[0.99].failing + 1,
  'failing reads': (score) => score.failing + 1,
  'total time': (score) => score.seconds,
  delivered: (score) => score.delivered,
};

/** Ours divided by the peer's, where both have the number. */
function ratioOf(result, measure, [ours, peer]) {
  const [mine, theirs] = [measure(result.scores[ours]), measure(result.scores[peer])];
  return mine === undefined || theirs === undefined ? undefined : mine / theirs;
}

const ratiosOf = (results, measure, pair) =>
  results.map((result) => ratioOf(result, measure, pair)).filter((ratio) => ratio !== undefined);

function cell(ratios, digits) {
  const found = ratioWithInterval(ratios);
  if (!found) return '–';
  const [middle, least, most] = [found.mean, found.least, found.most].map((n) => n.toFixed(digits));
  return found.count > 1 ? `${middle} (${least}–${most})` : middle;
}

const digitsOf = (name) => (name === 'delivered' ? 5 : 2);

function printEach(results) {
  console.log('');
  head(
    'drive',
    'path',
    'unreadable',
    'preset',
    'ended',
    'delivered',
    'failing',
    's',
    'until 50 %',
    'until 99 %',
    'failing until 99 %',
    'reads',
    'power cycles',
    'left',
    'wall s',
  );
  for (const { family, seed, path, lostPhysicals, scores } of results)
    for (const [preset, score] of Object.entries(scores))
      row(
        `${family} ${seed}`,
        path,
        lostPhysicals,
        preset,
        score.how,
        `${(100 * score.delivered).toFixed(4)} %`,
        score.failing,
        score.seconds.toFixed(1),
        score.until[0.5]?.seconds.toFixed(1) ?? 'never',
        score.until[0.99]?.seconds.toFixed(1) ?? 'never',
        score.until[0.99]?.failing ?? 'never',
        score.reads,
        score.powerCycles,
        score.leftCount,
        score.wall.toFixed(2),
      );
}

/** The drives on which we do worst beside the peer, and how to have them again. */
function printWorst(results, pair) {
  console.log(
    '\nWorst drives, each with its ratio; again with `npm run bench -- families 1 --each --only FAMILY --path PATH --first SEED`.\n',
  );
  const names = Object.keys(measures);
  head('family', 'path', ...names);
  for (const group of grouped(results)) {
    const cells = names.map((name) => {
      const ranked = group
        .map((result) => ({ seed: result.seed, ratio: ratioOf(result, measures[name], pair) }))
        .filter(({ ratio }) => ratio !== undefined)
        .sort((a, b) => (name === 'delivered' ? a.ratio - b.ratio : b.ratio - a.ratio));
      return ranked
        .slice(0, 3)
        .map(({ seed, ratio }) => `${ratio.toFixed(digitsOf(name))} (${seed})`)
        .join(', ');
    });
    row(group[0].family, group[0].path, ...cells);
  }
}

/** Results by family and path, in their order. */
function grouped(results) {
  const groups = new Map();
  for (const result of results) {
    const key = `${result.family} ${result.path}`;
    groups.set(key, [...(groups.get(key) ?? []), result]);
  }
  return [...groups.values()];
}

/** families [N=50] [--first SEED] [--only FAMILY,…] [--path imager,device] [--preset NAME] [--each] [--save FOLDER] */
export async function families(...words) {
  const { tasks, howMany, first, own, each } = tasksOf(
    words,
    ['adaptive', 'ddrescue'],
    ['imager', 'device'],
    retried,
  );
  const [ours, peer] = own;
  console.log(
    `\nOwn simulator, ${howMany} drives a family (seeds ${first} to ${first + howMany - 1}), rehearsed. ${ours} divided by ${peer}'s rows: geometric mean (95 % confidence interval). Path imager: the failing LBA is reported; device: it is not. Failing reads count one more on both sides. Our retries only on ${retried.join(' and ')}, which are left out of the failing reads and total time of all.\n`,
  );
  const results = await onAllCores(tasks);
  const names = Object.keys(measures).filter((name) => name !== 'delivered');
  head(
    ...['family', 'path', ...names],
    ...['delivered less on (at worst)', 'unfinished', '99 % never (ours / peer)'],
  );
  const groups = grouped(results);
  for (const group of groups) printGroup(group[0].family, group, names, own);
  for (const path of new Set(results.map((result) => result.path)))
    printGroup(
      '**all**',
      results.filter((result) => result.path === path),
      names,
      own,
    );
  printWorst(results, own);
  if (each) printEach(results);
}

/** What retries cost says nothing of a family among others. */
const isCompared = (name, { family }) =>
  !retried.includes(family) || !['failing reads', 'total time'].includes(name);

function printGroup(label, group, names, pair) {
  const [ours, peer] = pair;
  const compared = (name) =>
    label === '**all**' ? group.filter((result) => isCompared(name, result)) : group;
  const missing = group
    .map(({ scores }) => scores[peer].delivered - scores[ours].delivered)
    .filter((share) => share > 1e-9);
  const worst = missing.length > 0 ? ` (${(100 * Math.max(...missing)).toFixed(4)} %)` : '';
  row(
    label,
    group[0].path,
    ...names.map((name) => cell(ratiosOf(compared(name), measures[name], pair), 2)),
    `${missing.length} of ${group.length}${worst}`,
    group.filter(({ scores }) => scores[ours].how !== 'finished').length,
    pair.map((name) => group.filter(({ scores }) => !scores[name].until[0.99]).length).join(' / '),
  );
}

/** limit [N=50] …: as `families`. Failing reads without retries, for each physical sector that cannot be read. */
export async function limit(...words) {
  const { tasks, howMany, first, own, each } = tasksOf(
    words,
    ['adaptive', 'ddrescue'],
    ['imager'],
    [],
  );
  console.log(
    `\nOwn simulator, ${howMany} drives a family (seeds ${first} to ${first + howMany - 1}), the failing LBA is reported, no retries: failing reads for each physical sector that stays unread; target: ≤ 1.05.\n`,
  );
  const results = await onAllCores(tasks);
  head(
    'family',
    ...own.flatMap((preset) => [`${preset}: all drives`, 'mean of drives', 'worst drive (seed)']),
  );
  for (const group of grouped(results)) printLimit(group[0].family, group, own);
  const named = results.filter(({ family }) => family !== hanging);
  if (named.length > 0) printLimit(`**all but ${hanging}**`, named, own);
  if (each) printEach(results);
}

/** While a drive hangs, every read fails and none names an LBA. */
const hanging = 'hang';

function printLimit(label, group, presets) {
  const unreadOf = ({ scores, lostPhysicals }, preset) =>
    Math.max(lostPhysicals, scores[preset].badPhysicals);
  const shareOf = (result, preset) =>
    result.scores[preset].failing / Math.max(1, unreadOf(result, preset));
  const damaged = group.filter(({ lostPhysicals }) => lostPhysicals > 0);
  const cells = presets.flatMap((preset) => {
    const unread = sum(group.map((result) => unreadOf(result, preset)));
    const failing = sum(group.map(({ scores }) => scores[preset].failing));
    const worst = group.reduce((a, b) => (shareOf(b, preset) > shareOf(a, preset) ? b : a));
    return [
      (failing / unread).toFixed(3),
      mean(damaged.map((result) => shareOf(result, preset))).toFixed(3),
      `${shareOf(worst, preset).toFixed(3)} (${worst.seed})`,
    ];
  });
  row(label, ...cells);
}
