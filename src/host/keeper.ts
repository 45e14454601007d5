/** Keeps the operating system from writing to a drive that hangs on this computer, for as long as a job runs: set
 * read-only (BLKROSET), and held open exclusively so that nothing can mount or assemble it. No write blocker:
 * the kernel still reads from the drive by itself, and may write to it before it is set read-only. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../clock.js';
import { LastspinError, reasonOf } from '../errors.js';
import {
  type BlockDevice,
  type BlockDevices,
  blockDevices,
  deviceAt,
  withPartitions,
} from './block-devices.js';
import type { Finding } from './finding.js';
import { type HostFiles, thisHost } from './host.js';
import { matchOf } from './udev.js';
import { usesOf } from './uses.js';

export interface Keeper {
  /** Whether the drive is read-only for the operating system, by us or by somebody before. */
  readonly isReadOnly: boolean;
  /** Whether nobody else can mount or assemble it. Both have held since the start, coming back aside. */
  readonly isHeld: boolean;
  /** What could not be had at the start. */
  readonly findings: readonly Finding[];
  /** Lets go of the drive, and makes it writable again where it was. */
  close(): Promise<void>;
}

/** How a device was held. `busy`: something else holds it. */
export type Hold =
  | { readonly kind: 'held'; release(): Promise<void> }
  | { readonly kind: 'busy' }
  | { readonly kind: 'failed'; readonly why: string };

/** What is done to devices; for tests. */
export interface KeeperTools {
  /** Undefined when it was done, else why not, as a phrase. */
  setReadOnly(node: string, isReadOnly: boolean, clock: Clock): Promise<string | undefined>;
  /** `setNodes` were set read-only: they are made writable again where this program is killed meanwhile. */
  hold(node: string, clock: Clock, setNodes: readonly string[]): Promise<Hold>;
}

export interface KeeperOptions {
  readonly setReadOnly: boolean;
  readonly clock: Clock;
  /** What happens later, in a line for people. */
  readonly onNotice: (line: string) => void;
  readonly host?: HostFiles;
  readonly tools?: KeeperTools;
}

/** How often it is looked whether the drive went or came. A drive is away for seconds; until it is held again the
 * system has its way. */
const lookMs = 250;
/** Longest that a device may take to be opened or set. */
const toolMaxMs = 10_000;

/** Keeps the operating system off the block device at `path`, also when it went away and came back. Undefined
 * where there is none in /sys. Throws DRIVE_OPEN_FAILED when something else holds it exclusively. */
export async function keepSystemOff(
  path: string,
  options: KeeperOptions,
): Promise<Keeper | undefined> {
  const { host = thisHost, clock, onNotice } = options;
  const first = deviceAt(host, blockDevices(host), path);
  if (!first) return undefined;
  const find = finderOf(host, path, first);
  let current = await take(first, options);
  if (current.holding.kind === 'busy') {
    await giveBack(current, options);
    throw busy(host, first);
  }
  const findings = findingsOf(current, options);
  let { isReadOnly } = current;
  let isHeld = current.holding.kind === 'held';
  let turn = Promise.resolve();
  let stopWatch = () => {};
  const look = async () => {
    const now = find();
    if (keyOf(host, now) === current.key) return;
    await letGo(current);
    // Of one that is gone the flag has gone too.
    current = now ? await take(now, options) : { ...nothing, key: keyOf(host, undefined) };
    if (!now) return;
    isReadOnly &&= current.isReadOnly;
    isHeld &&= current.holding.kind === 'held';
    for (const line of troubleOf(host, current, options)) onNotice(line);
  };
  const watch = () => {
    stopWatch = clock.after(lookMs, () => {
      turn = look()
        .catch((error) => onNotice(`the drive is not watched over: ${reasonOf(error)}`))
        .finally(watch);
    });
  };
  watch();
  return {
    get isReadOnly() {
      return isReadOnly;
    },
    get isHeld() {
      return isHeld;
    },
    findings,
    async close() {
      stopWatch();
      await turn;
      stopWatch();
      await letGo(current);
      if (keyOf(host, find()) === current.key) await giveBack(current, options);
    },
  };
}

/** A device that was taken, as far as it could be. */
interface Taken {
  readonly key: string;
  readonly device?: BlockDevice;
  /** Nodes that were writable before. */
  readonly setNodes: readonly string[];
  readonly isReadOnly: boolean;
  /** Why it is not read-only, unless nobody wanted that. */
  readonly whyWritable?: string;
  readonly holding: Hold;
}

const nothing: Taken = {
  key: '',
  setNodes: [],
  isReadOnly: false,
  holding: { kind: 'failed', why: 'it is gone' },
};

async function take(device: BlockDevice, options: KeeperOptions): Promise<Taken> {
  const { host = thisHost, tools = systemTools, clock } = options;
  const key = keyOf(host, device);
  const devices = blockDevices(host);
  const setNodes: string[] = [];
  let whyWritable: string | undefined;
  // Partitions too: before Linux 5.11 they did not follow their disk.
  for (const each of options.setReadOnly ? withPartitions(devices, latest(devices, device)) : []) {
    if (each.isReadOnly) continue;
    const why = await tools.setReadOnly(each.node, true, clock);
    if (why === undefined) setNodes.push(each.node);
    else whyWritable ??= why;
  }
  const isReadOnly = latest(blockDevices(host), device).isReadOnly;
  return {
    key,
    device,
    setNodes,
    isReadOnly,
    ...(whyWritable !== undefined && !isReadOnly && { whyWritable }),
    holding: await tools.hold(device.node, clock, setNodes),
  };
}

function latest(devices: BlockDevices, device: BlockDevice): BlockDevice {
  return devices.get(device.name) ?? device;
}

async function letGo({ holding }: Taken): Promise<void> {
  if (holding.kind === 'held') await holding.release();
}

async function giveBack({ setNodes }: Taken, options: KeeperOptions): Promise<void> {
  const { tools = systemTools, onNotice } = options;
  for (const node of setNodes) {
    const why = await tools.setReadOnly(node, false, options.clock);
    if (why !== undefined)
      onNotice(`${node} is still read-only (blockdev --setrw ${node}): ${why}`);
  }
}

function findingsOf(
  { device, isReadOnly, whyWritable = 'the kernel did not take it', holding }: Taken,
  options: KeeperOptions,
): Finding[] {
  if (!device) return [];
  const { node } = device;
  const findings: Finding[] = [];
  if (!isReadOnly && options.setReadOnly) {
    findings.push({
      about: node,
      what: `is not read-only for the operating system: ${whyWritable}`,
      why: 'a mount, a RAID or a slip of the pen could write to it',
      mend: `run 'sudo blockdev --setro ${node}', or this as root`,
    });
  }
  if (holding.kind === 'failed') {
    findings.push({
      about: node,
      what: `cannot be held exclusively: ${holding.why}`,
      why: 'something could mount it while it is read',
      mend: 'run as root, or switch off what mounts drives by itself',
    });
  }
  return findings;
}

/** What is wrong with a drive that came back. */
function troubleOf(host: HostFiles, taken: Taken, options: KeeperOptions): string[] {
  if (!taken.device) return [];
  if (taken.holding.kind !== 'busy')
    return findingsOf(taken, options).map(({ about, what }) => `${about} ${what}`);
  const uses = usesOf(host, taken.device).map(({ what }) => what);
  const what = uses.join('; ') || `${taken.device.node} is held by another program`;
  return [`the operating system took the drive as it came back: ${what}`];
}

function busy(host: HostFiles, device: BlockDevice): LastspinError {
  const [use] = usesOf(host, device);
  const what = use?.what ?? `${device.node} is in use: another program holds it exclusively`;
  const free = use?.free.join(' && ') ?? `'sudo fuser -v ${device.node}' names it`;
  return new LastspinError('DRIVE_OPEN_FAILED', `${what}; ${free}`);
}

/** Looks for the device at its path, else wherever a drive like it is. */
function finderOf(host: HostFiles, path: string, first: BlockDevice) {
  const match = matchOf(host, first);
  const isKnown = !first.disk && !match.isOfPlace;
  return (): BlockDevice | undefined => {
    const devices = blockDevices(host);
    const there = deviceAt(host, devices, path);
    if (there || !isKnown) return there;
    const alike = [...devices.values()].filter(
      (device) => !device.disk && matchOf(host, device).words === match.words,
    );
    return alike.length === 1 ? alike[0] : undefined;
  };
}

/** Names, numbers and paths are given out again; a sequence number is not. */
function keyOf(host: HostFiles, device: BlockDevice | undefined): string {
  if (!device) return 'gone';
  const inode = device.sequence ?? host.realpath(`/sys/dev/block/${device.number}`);
  return `${device.number} ${device.directory} ${inode}`;
}

const systemTools: KeeperTools = {
  async setReadOnly(node, isReadOnly, clock) {
    const option = isReadOnly ? '--setro' : '--setrw';
    // A process, since it opens the device. It is left behind where that takes for ever.
    return await new Promise((resolve) => {
      const child = execFile('blockdev', [option, node], (error, _, said) => {
        cancel();
        resolve(error ? whyOf(error, said) : undefined);
      });
      const cancel = clock.after(toolMaxMs, () => {
        child.kill('SIGKILL');
        child.unref();
        resolve('it does not open');
      });
    });
  },
  async hold(node, clock, setNodes) {
    const child = startHolder(node, setNodes);
    const answer = await firstLine(child, clock);
    if (answer === 'held') return { kind: 'held', release: () => release(child, clock) };
    child.kill('SIGKILL');
    return answer === 'EBUSY' ? { kind: 'busy' } : { kind: 'failed', why: answer };
  },
};

function whyOf(error: Error & { code?: string | number | null }, said: string): string {
  if (error.code === 'ENOENT') return 'the program blockdev is missing (util-linux)';
  return reasonOf(said.trim().replace(/^blockdev: /, '') || error);
}

function startHolder(node: string, setNodes: readonly string[]): ChildProcess {
  const here = import.meta.url.endsWith('.ts') ? '../../dist/src/host/holder.js' : './holder.js';
  const script = fileURLToPath(new URL(here, import.meta.url));
  if (!existsSync(script)) {
    const message = `the program that holds drives is missing (${script}): run \`npm run build\``;
    throw new LastspinError('DRIVE_OPEN_FAILED', message);
  }
  return spawn(process.execPath, [script, node, ...setNodes], {
    stdio: ['pipe', 'pipe', 'ignore'],
    // Ctrl-C is for this program, which still wants the drive held.
    detached: true,
    env: { ...process.env, NODE_OPTIONS: '' },
  });
}

/** What the holder says, or why it says nothing. From then on it does not keep this program running. */
async function firstLine(child: ChildProcess, clock: Clock): Promise<string> {
  const line = await new Promise<string>((resolve) => {
    let text = '';
    const cancel = clock.after(toolMaxMs, () => resolve('it does not open'));
    const end = (answer: string) => {
      cancel();
      resolve(answer);
    };
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      if (text.includes('\n')) end(text.trim());
    });
    child.on('error', (error) => end(reasonOf(error)));
    child.on('exit', (code) => end(text.trim() || `the holding process ended with ${code}`));
  });
  child.stdin?.on('error', () => {});
  child.stdout?.destroy();
  child.unref();
  (child.stdin as { unref?(): void } | null)?.unref?.();
  return line;
}

/** Its end is waited for: until then nobody else can have the device. */
async function release(child: ChildProcess, clock: Clock): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    const cancel = clock.after(toolMaxMs, resolve);
    child.once('exit', () => {
      cancel();
      resolve();
    });
    child.ref();
    child.kill('SIGKILL');
  });
}
