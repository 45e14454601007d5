import { execFileSync } from 'node:child_process';
import { statfsSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { LastspinError, reasonOf } from '../errors.js';
import { type BlockDevice, blockDevices, deviceAt } from '../host/block-devices.js';
import type { Finding } from '../host/finding.js';
import { type HostFiles, thisHost } from '../host/host.js';
import {
  type Inventory,
  idsOf,
  inventoryOf,
  isNamed,
  roleOf,
  type SerialPort,
  type UsbDevice,
  usbDeviceOf,
} from '../host/inventory.js';
import { runningPrograms, touchesOf } from '../host/touches.js';
import {
  accessRule,
  accessRulePath,
  keepAwayRule,
  keepAwayRulePath,
  udevProperties,
} from '../host/udev.js';
import { usesOf } from '../host/uses.js';
import { type DoctorResult, formatDoctor } from '../show/devices.js';
import { formatBytes } from '../show/format.js';
import { checkDriveSpec } from './drives.js';
import { hostPathOf } from './source-guard.js';

/** What this process knows of its surroundings beside files. */
export interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly nodeVersion: string;
  readonly user: string;
  readonly isRoot: boolean;
  /** Why an optional package does not work; absent where it does. */
  readonly packageProblems: Readonly<Record<string, string>>;
  /** What is wrong with a program that is needed: `is missing`; absent where nothing is. */
  readonly toolProblems: Readonly<Record<string, string>>;
  /** Free space of the current folder. */
  readonly freeBytes: number;
}

export interface DoctorOptions {
  readonly json?: boolean;
}

/** `lastspin doctor [DRIVE]`: what stands in the way, why it matters, what mends it. Returns 1 when anything
 * does. */
export async function doctor(spec: string | undefined, options: DoctorOptions): Promise<number> {
  if (spec !== undefined) refuseNonsense(thisHost, spec);
  const result = diagnose(thisHost, await surroundings(), spec);
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : formatDoctor(result));
  return result.findings.length > 0 ? 1 : 0;
}

/** Throws DRIVE_UNKNOWN for what can be no drive. What is not there yet may become one. */
function refuseNonsense(host: HostFiles, spec: string): void {
  checkDriveSpec(spec);
  const path = hostPathOf(spec, host);
  const found = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
  if (!found || found.isBlockDevice()) return;
  const isSg = spec.startsWith('sg:');
  const name = host
    .realpath(path ?? '')
    ?.split('/')
    .at(-1);
  if (isSg ? host.list('/sys/class/scsi_generic').includes(name ?? '') : found.isFile()) return;
  const what = isSg ? 'is no SCSI device' : 'is neither a block device nor a file';
  throw new LastspinError('DRIVE_UNKNOWN', `${path} ${what}: there is no drive to look at`);
}

/** What stands in the way of `spec`, or of all that is plugged in. Nothing is opened. */
export function diagnose(
  host: HostFiles,
  around: Surroundings,
  spec: string | undefined,
): DoctorResult {
  const isLinux = around.platform === 'linux';
  const here = [
    ...nodeFindings(around),
    ...packageFindings(around),
    ...toolFindings(around),
    ...limitFindings(host),
  ];
  const about = isLinux ? deviceFindings(host, around, spec) : [];
  const { freeBytes, nodeVersion, packageProblems } = around;
  const works = ['koffi', 'usb'].filter((name) => packageProblems[name] === undefined);
  return {
    schema: 'lastspin/doctor-result/1',
    findings: [...here, ...about],
    keepAwayRule: isLinux && spec !== undefined ? keepAwayRuleFor(host, spec) : null,
    well: [
      `Node ${nodeVersion}`,
      ...works.map((name) => `the package ${name}`),
      `${formatBytes(freeBytes)} free in this folder`,
    ],
    notChecked: isLinux
      ? []
      : [
          `permissions, kernel drivers, programs that touch drives: ${around.platform} does not tell`,
        ],
  };
}

/** The rule for a drive of this computer that is not kept away from the system yet. */
function keepAwayRuleFor(host: HostFiles, spec: string): DoctorResult['keepAwayRule'] {
  const path = hostPathOf(spec, host);
  const devices = blockDevices(host);
  const disk = path === undefined ? undefined : deviceAt(host, devices, path);
  if (!disk || udevProperties(host, 'b', disk.number).get('UDISKS_IGNORE') === '1') return null;
  const { rule, link } = keepAwayRule(host, devices, disk);
  return { path: keepAwayRulePath, text: rule, link };
}

/** The oldest Node that package.json allows. */
const nodeOldest = [20, 19] as const;

function nodeFindings({ nodeVersion }: Surroundings): Finding[] {
  const [major = 0, minor = 0] = nodeVersion.replace(/^v/, '').split('.').map(Number);
  const isOld = major < nodeOldest[0] || (major === nodeOldest[0] && minor < nodeOldest[1]);
  if (!isOld) return [];
  const wanted = nodeOldest.join('.');
  return [
    {
      about: `Node ${nodeVersion}`,
      what: 'is too old',
      why: `nothing is tested below ${wanted}`,
      mend: `install Node ${wanted} or newer`,
    },
  ];
}

const packageUses: Readonly<Record<string, { readonly needed: string; readonly version: number }>> =
  {
    koffi: { needed: 'sg: and simulated serial ports need it', version: 3 },
    usb: { needed: 'usb:, usb-bot:, hub: and hid: need it', version: 2 },
  };

function packageFindings({ packageProblems }: Surroundings): Finding[] {
  return Object.entries(packageProblems).map(([name, problem]) => ({
    about: `the package ${name}`,
    what: `does not work: ${problem}`,
    why: packageUses[name]?.needed ?? 'it is optional',
    mend: `npm install ${name}@${packageUses[name]?.version ?? 'latest'}`,
  }));
}

interface Tool {
  readonly name: string;
  /** Arguments with which it does nothing, and ends well where it works. */
  readonly trial?: readonly string[];
  readonly why: string;
  readonly mend: string;
}

const tools: Partial<Record<NodeJS.Platform, readonly Tool[]>> = {
  linux: [
    {
      name: 'blockdev',
      why: 'a drive on this computer cannot be set read-only without it',
      mend: 'sudo apt-get install util-linux',
    },
    {
      name: 'systemd-inhibit',
      trial: ['--what=idle', '--who=lastspin', '--why=trial', 'true'],
      why: 'without it the computer may go to sleep while a job runs',
      mend: 'switch sleep off while a job runs, or install systemd',
    },
  ],
  darwin: [
    {
      name: 'caffeinate',
      why: 'without it the computer may go to sleep while a job runs',
      mend: 'switch sleep off while a job runs',
    },
  ],
};

function toolFindings({ platform, toolProblems }: Surroundings): Finding[] {
  return (tools[platform] ?? []).flatMap(({ name, why, mend }) => {
    const what = toolProblems[name];
    return what === undefined ? [] : [{ about: name, what, why, mend }];
  });
}

/** A reading process takes a handful of descriptors, and some may have to be abandoned. */
const openFilesMin = 256;

function limitFindings(host: HostFiles): Finding[] {
  const limits = host.read('/proc/self/limits') ?? '';
  const openFiles = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? openFilesMin);
  if (openFiles >= openFilesMin) return [];
  return [
    {
      about: 'this shell',
      what: `allows ${openFiles} open files`,
      why: 'a process that hangs in a read keeps its own, and a new one needs more',
      mend: `ulimit -n ${openFilesMin * 4}`,
    },
  ];
}

function deviceFindings(
  host: HostFiles,
  around: Surroundings,
  spec: string | undefined,
): Finding[] {
  const all = inventoryOf(host);
  const chosen = spec === undefined ? all : chosenOf(host, all, spec);
  if (chosen === undefined) return [absent(spec ?? '')];
  return [
    ...chosen.ports.flatMap((port) => portFindings(host, around, port)),
    ...chosen.usb.flatMap((device) => usbFindings(host, device)),
    ...chosen.disks.flatMap((disk) => diskFindings(host, around, disk, spec)),
    ...chosen.sgNodes.flatMap(({ node }) => nodeFindingsOf(host, around, node, 'read-write')),
  ];
}

function absent(spec: string): Finding {
  return {
    about: spec,
    what: 'is not there',
    why: 'there is nothing to read',
    mend: "plug it in and switch it on; 'lastspin devices' lists what is there",
  };
}

/** What of all that is plugged in DRIVE needs; undefined where it is not there. What is not plugged in at all
 * (`tcp:`, `sim:`, a file) needs nothing. */
function chosenOf(host: HostFiles, all: Inventory, spec: string): Inventory | undefined {
  const none: Inventory = { usb: [], ports: [], disks: [], sgNodes: [] };
  const [, scheme = '', rest = spec] = /^([a-z-]+):(.*)$/.exec(spec) ?? [];
  if (scheme === 'serial') {
    const path = host.realpath(rest.split('?', 1)[0] ?? '');
    if (path === undefined) return undefined;
    const port = all.ports.find((each) => each.path === path) ?? { path };
    return { ...none, ports: [port] };
  }
  if (scheme === 'usb' || scheme === 'usb-bot') {
    const usb = all.usb.filter((device) => isNamed(device, rest));
    return usb.length > 0 ? { ...none, usb } : undefined;
  }
  const path = hostPathOf(spec, host);
  if (path === undefined) return none;
  if (host.realpath(path) === undefined) return undefined;
  const disk = deviceAt(host, blockDevices(host), path);
  if (!disk) return none;
  const bridge = usbDeviceOf(all.usb, host.realpath(`${disk.directory}/device`) ?? disk.directory);
  const sgNodes = all.sgNodes.filter((node) => scheme === 'sg' && node.disk === disk.name);
  // The node of libusb is not needed to read through the kernel.
  const usb = bridge && roleOf(bridge) === 'UAS adapter' ? [bridge] : [];
  return { ...none, usb, disks: [disk], sgNodes };
}

function portFindings(host: HostFiles, around: Surroundings, port: SerialPort): Finding[] {
  const { path, usb } = port;
  const rule = usb && { path: accessRulePath, text: accessRule(usb) };
  const findings = nodeFindingsOf(host, around, path, 'read-write').map((finding) => ({
    ...finding,
    ...(rule && { mend: `${finding.mend}, or a udev rule`, rule }),
  }));
  const running = runningPrograms(host);
  const properties = port.number ? udevProperties(host, 'c', port.number) : new Map();
  if (running.has('ModemManager') && properties.get('ID_MM_DEVICE_IGNORE') !== '1') {
    findings.push({
      about: path,
      what: 'may be opened by ModemManager when it is plugged in',
      why: 'it talks to an imager as if that were a modem',
      mend: rule
        ? 'a udev rule, or sudo systemctl stop ModemManager'
        : 'sudo systemctl stop ModemManager',
      ...(rule && { rule }),
    });
  }
  if (running.has('brltty')) {
    findings.push({
      about: path,
      what: 'may be taken by brltty, which looks for braille displays on such ports',
      why: 'the port then disappears as soon as it is plugged in',
      mend: 'sudo systemctl stop brltty-udev, or remove brltty',
    });
  }
  return findings;
}

function usbFindings(host: HostFiles, device: UsbDevice): Finding[] {
  const role = roleOf(device);
  const about = `USB ${idsOf(device)} at ${device.location}`;
  if (role === undefined || role === 'hub') return [];
  const findings: Finding[] = [];
  if (device.node && host.mayOpen(device.node, 'read-write') === false) {
    findings.push({
      about,
      what: 'may not be opened by you',
      why: `libusb needs ${device.node}`,
      mend: 'run as root, or a udev rule',
      rule: { path: accessRulePath, text: accessRule(device) },
    });
  }
  if (role === 'UAS adapter') findings.push(uasFinding(about, device));
  const driver = device.interfaces.find((each) => each.driver && each.class === 0xff)?.driver;
  if (role === 'imager' && driver) {
    findings.push({
      about,
      what: `has the kernel driver ${driver} on its interface`,
      why: 'no program can open it meanwhile',
      mend: `sudo modprobe -r ${driver}`,
    });
  }
  return findings;
}

function uasFinding(about: string, device: UsbDevice): Finding {
  const quirk = `${idsOf(device)}:u`;
  return {
    about,
    what: 'is driven by UAS',
    why: 'UAS takes a device offline when a command hangs, and usb-bot: cannot use it',
    mend: `echo ${quirk} | sudo tee /sys/module/usb_storage/parameters/quirks, then plug it in again; to keep it, 'options usb-storage quirks=${quirk}' in /etc/modprobe.d/lastspin.conf`,
  };
}

function diskFindings(
  host: HostFiles,
  around: Surroundings,
  disk: BlockDevice,
  spec: string | undefined,
): Finding[] {
  const devices = blockDevices(host);
  const uses = usesOf(host, disk, devices);
  // This computer's own disks are in nobody's way, unless one is asked about.
  if (uses.length > 0 && spec === undefined) return [];
  const inUse = uses.map(({ what, free }) => ({
    about: disk.node,
    what: `is in use: ${what}`,
    why: 'what is in use is not imaged',
    mend: `sudo ${free.join(' && sudo ')}`,
  }));
  return [
    ...inUse,
    ...nodeFindingsOf(host, around, disk.node, 'read'),
    ...(around.isRoot || disk.isReadOnly ? [] : [rootFinding(disk)]),
    ...touchesOf(host, disk, devices),
    ...spaceFindings(around, disk, spec),
  ];
}

/** Only root sets a device read-only. */
function rootFinding({ node }: BlockDevice): Finding {
  return {
    about: node,
    what: 'cannot be set read-only by you',
    why: 'the operating system could write to it while it is imaged',
    mend: `run 'sudo blockdev --setro ${node}' each time that it was plugged in, or image as root`,
  };
}

function spaceFindings(
  { freeBytes }: Surroundings,
  { node, sizeBytes }: BlockDevice,
  spec: string | undefined,
): Finding[] {
  if (spec === undefined || freeBytes >= sizeBytes) return [];
  return [
    {
      about: 'this folder',
      what: `has ${formatBytes(freeBytes)} free`,
      why: `an image of ${node} takes ${formatBytes(sizeBytes)}`,
      mend: 'image into a folder on a larger disk',
    },
  ];
}

/** Whether this user may open a node, and if not, which group may. */
function nodeFindingsOf(
  host: HostFiles,
  { user }: Surroundings,
  node: string,
  how: 'read' | 'read-write',
): Finding[] {
  if (host.mayOpen(node, how) !== false) return [];
  const group = groupName(host, host.groupOf(node));
  const join = `sudo usermod -aG ${group} ${user}, then log in again`;
  return [
    {
      about: node,
      what: 'may not be opened by you',
      why: 'there is no permission to read it',
      // The group root is nobody's to join.
      mend: group === undefined || group === 'root' ? 'run as root' : join,
    },
  ];
}

function groupName(host: HostFiles, group: number | undefined): string | undefined {
  const lines = host.read('/etc/group')?.split('\n') ?? [];
  return lines.map((line) => line.split(':')).find((fields) => Number(fields[2]) === group)?.[0];
}

async function surroundings(): Promise<Surroundings> {
  const { platform, version } = process;
  const { bavail, bsize } = statfsSync('.');
  const problems = (tools[platform] ?? []).map((tool) => [tool.name, problemOfTool(tool)]);
  return {
    platform,
    nodeVersion: version,
    user: userInfo().username,
    isRoot: process.getuid?.() === 0,
    packageProblems: {
      ...(await problemOf('koffi', tryKoffi)),
      ...(await problemOf('usb', () => import('usb'))),
    },
    toolProblems: Object.fromEntries(problems.filter(([, problem]) => problem !== undefined)),
    freeBytes: bavail * bsize,
  };
}

async function problemOf(name: string, load: () => Promise<unknown>) {
  try {
    await load();
    return {};
  } catch (error) {
    return { [name]: reasonOf(error) };
  }
}

/** Loads it, and calls something whose answer is known: a package for another system may load and fail. */
async function tryKoffi(): Promise<void> {
  const { default: koffi } = await import('koffi');
  if (process.platform === 'win32') return;
  const getpid = koffi.load(null).func('int getpid()') as () => number;
  if (getpid() !== process.pid) throw new Error('it does not fit this system (ABI)');
}

/** Longest that the trial of a program may take. */
const trialMaxMs = 5000;

function problemOfTool({ name, trial }: Tool): string | undefined {
  try {
    execFileSync('sh', ['-c', 'command -v -- "$1"', 'sh', name], { stdio: 'ignore' });
  } catch {
    return 'is missing';
  }
  try {
    if (trial) execFileSync(name, trial, { stdio: 'ignore', timeout: trialMaxMs });
    return undefined;
  } catch {
    return 'does not work here';
  }
}
