/** A virtual machine whose kernel has the USB and serial drivers that a test machine may lack: QEMU
 * without hardware acceleration, Debian's kernel, the host's own file system read-only. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { realClock } from '../../src/clock.js';

const clock = realClock();
const root = join(import.meta.dirname, '../..');
/** Kept between runs: unpacking a kernel takes longer than booting it. */
const cache = join(root, 'node_modules/.cache/lastspin-vm');
/** What a virtual machine is made with, and the Debian packages that bring it. */
const tools: Readonly<Record<string, string>> = {
  'qemu-system-x86_64': 'qemu-system-x86',
  busybox: 'busybox-static',
  cpio: 'cpio',
  modprobe: 'kmod',
  '/lib/systemd/systemd-udevd': 'udev',
};
/** Loaded before the first command. */
const modules = ['virtio_pci', '9pnet_virtio', '9p', 'overlay', 'xhci_pci', 'cdc-acm'];
/** Loaded when a test asks for them. */
const modulesOnDemand = [
  ...[
    'sd_mod',
    'sg',
    'usb-storage',
    'uas',
    'ahci',
    'scsi_debug',
    'ftdi_sio',
    'vhci-hcd',
    'nls_ascii',
  ],
  ...['loop', 'md-mod', 'raid1', 'dm-mod', 'ext4', 'hid-generic', 'usbhid'],
];
const pollMs = 50;

/** Whether there can be no virtual machine here; then it says why, in a line. */
export function needsVm(): boolean {
  const missing = Object.keys(tools).filter((tool) => !has(tool));
  const packages = missing.map((tool) => tools[tool]).join(' ');
  if (missing.length > 0) return skip(`apt-get install ${packages}`);
  try {
    kernelFolder();
    return false;
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    return skip(`no Debian kernel is to be had: ${why}`);
  }
}

function has(tool: string): boolean {
  try {
    run('sh', ['-c', 'command -v -- "$1"', 'sh', tool]);
    return true;
  } catch {
    return false;
  }
}

function skip(reason: string): true {
  const message = `no virtual machine with a real USB stack: ${reason}`;
  if (process.env.REQUIRE_TOOLS === '1') throw new Error(message);
  console.warn(`skipped: ${message}`);
  return true;
}

function run(command: string, args: readonly string[], cwd = '/'): string {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A folder with Debian's kernel as `vmlinuz`, and the modules that the guest needs in the order of
 * their needs. Nothing is installed. */
function kernelFolder(): string {
  // Another list of modules is another folder.
  const folder = join(cache, `kernel-${modules.length}-${modulesOnDemand.join('-')}`);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'unpacking-'));
  try {
    const depends = run('apt-cache', ['depends', 'linux-image-amd64']);
    const name = /Depends: (\S+)/.exec(depends)?.[1];
    if (!name) throw new Error('apt-cache knows no linux-image-amd64');
    run('apt-get', ['download', name], work);
    const archive = readdirSync(work).find((file) => file.endsWith('.deb')) ?? '';
    run('dpkg-deb', ['--extract', archive, 'tree'], work);
    takeParts(join(work, 'tree'), join(work, 'kernel'));
    renameSync(join(work, 'kernel'), folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

/** Of 400 MB a twentieth. */
function takeParts(tree: string, kernel: string): void {
  const version = readdirSync(join(tree, 'lib/modules'))[0] ?? '';
  run('depmod', ['-b', tree, version]);
  mkdirSync(join(kernel, 'modules'), { recursive: true });
  cpSync(join(tree, 'boot', `vmlinuz-${version}`), join(kernel, 'vmlinuz'));
  const filesOf = (module: string) => {
    const depends = ['-d', tree, '-S', version, '--show-depends', module];
    const paths = [...run('modprobe', depends).matchAll(/^insmod (\S+)/gm)].map(
      ([, path = '']) => path,
    );
    for (const path of paths) cpSync(path, join(kernel, 'modules', basename(path)));
    return paths.map((path) => basename(path));
  };
  writeFileSync(join(kernel, 'modules/order'), [...new Set(modules.flatMap(filesOf))].join('\n'));
  for (const module of modulesOnDemand) {
    writeFileSync(join(kernel, `modules/${module}.order`), filesOf(module).join('\n'));
  }
}

/** The first file system: busybox, the modules, and the first program. */
function makeInitrd(kernel: string, folder: string): string {
  const tree = join(folder, 'initrd');
  for (const name of ['bin', 'dev', 'proc', 'sys', 'system', 'lower', 'upper']) {
    mkdirSync(join(tree, name), { recursive: true });
  }
  cpSync('/bin/busybox', join(tree, 'bin/busybox'));
  cpSync(join(import.meta.dirname, 'guest-init.sh'), join(tree, 'init'));
  cpSync(join(kernel, 'modules'), join(tree, 'modules'), { recursive: true });
  const initrd = join(folder, 'initrd.cpio');
  run('sh', ['-c', `chmod +x init && find . | cpio -o -H newc --quiet > '${initrd}'`], tree);
  return initrd;
}

export interface GuestCommand {
  /** Resolves with the exit status. */
  readonly ended: Promise<number>;
  /** What it printed so far. */
  output(): string;
}

export interface Vm {
  /** A folder that both see: here on the host, `/vm` in the guest. */
  readonly folder: string;
  /** Where QEMU waits for the USB device `name`. */
  socketOf(name: string): string;
  start(command: string): GuestCommand;
  /** Runs a command to its end, and returns what it printed. Throws when it fails. */
  run(command: string): Promise<string>;
  /** Loads a kernel module of `modulesOnDemand` and what it needs; `options` as for modprobe. */
  load(module: string, options?: string): Promise<void>;
  /** A command of QEMU's monitor (`device_del x`), and what it printed: it pulls and pushes plugs. */
  monitor(command: string): Promise<string>;
  stop(): Promise<void>;
}

/** Boots, with a USB port for each of `devices`, played over usbredir, and whatever `more` gives QEMU: each an
 * argument, with `$FOLDER` for a folder of the host's that ends with the machine. Resolves when commands
 * are taken. */
export async function bootVm(
  devices: readonly string[],
  more: readonly string[] = [],
): Promise<Vm> {
  const folder = mkdtempSync(join(tmpdir(), 'lastspin-vm-'));
  const shared = join(folder, 'shared');
  mkdirSync(shared);
  const kernel = kernelFolder();
  const socketOf = (name: string) => join(folder, `${name}.sock`);
  const usb = devices.flatMap((name) => [
    ...['-chardev', `socket,id=${name},path=${socketOf(name)},server=on,wait=off`],
    ...['-device', `usb-redir,chardev=${name},bus=xhci.0`],
  ]);
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...['-M', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '1024'],
      ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
      ...['-kernel', join(kernel, 'vmlinuz'), '-initrd', makeInitrd(kernel, folder)],
      '-append',
      'console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on',
      ...['-serial', `file:${join(folder, 'console.log')}`, '-device', 'virtio-rng-pci'],
      ...sharing('host', '/', ',readonly=on,multidevs=remap'),
      ...sharing('shared', shared, ''),
      ...['-device', 'qemu-xhci,id=xhci', ...usb],
      ...['-monitor', `unix:${join(folder, 'monitor.sock')},server=on,wait=off`],
      ...more.map((argument) => argument.replaceAll('$FOLDER', folder)),
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  // A run that is ended leaves no machine behind.
  process.once('exit', () => qemu.kill('SIGKILL'));
  const vm = createVm(qemu, { folder, shared, kernel }, socketOf);
  await vm.run('true');
  return vm;
}

/** QEMU's monitor prints a prompt when a command has ended. */
async function askMonitor(path: string, command: string): Promise<string> {
  const socket = connect(path);
  try {
    let text = '';
    for await (const piece of socket.setEncoding('utf8')) {
      text += piece;
      const prompts = text.split('(qemu) ').length - 1;
      if (prompts === 1 && text.endsWith('(qemu) ')) socket.write(`${command}\n`);
      if (prompts > 1 && text.endsWith('(qemu) ')) break;
    }
    return text;
  } finally {
    socket.destroy();
  }
}

function sharing(tag: string, path: string, more: string): string[] {
  const folder = `local,id=${tag},path=${path},security_model=none${more}`;
  return ['-fsdev', folder, '-device', `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`];
}

function createVm(
  qemu: ChildProcess,
  {
    folder,
    shared,
    kernel,
  }: { readonly folder: string; readonly shared: string; readonly kernel: string },
  socketOf: (name: string) => string,
): Vm {
  let commandCount = 0;
  let ended: string | undefined;
  const gone = new Promise<void>((resolve) => {
    qemu.once('exit', (status) => {
      ended = `QEMU ended with status ${status}`;
      resolve();
    });
  });
  const textOf = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8') : '');

  function start(command: string): GuestCommand {
    const path = join(shared, String(commandCount++));
    writeFileSync(`${path}.draft`, command);
    renameSync(`${path}.draft`, `${path}.command`);
    const untilEnded = async () => {
      while (!existsSync(`${path}.status`)) {
        if (ended) throw new Error(`${ended}: ${textOf(join(folder, 'console.log'))}`);
        await clock.sleep(pollMs);
      }
      return Number(textOf(`${path}.status`));
    };
    const ending = untilEnded();
    // What nobody waits for ends with the machine.
    ending.catch(() => {});
    return { ended: ending, output: () => textOf(`${path}.output`) };
  }

  async function runToEnd(command: string): Promise<string> {
    const started = start(command);
    const status = await started.ended;
    if (status !== 0) throw new Error(`${command}: status ${status}: ${started.output()}`);
    return started.output();
  }

  return {
    folder: shared,
    socketOf,
    start,
    run: runToEnd,
    async load(module, options = '') {
      // What is there already is no failure; but the module itself must be.
      const names = textOf(join(kernel, `modules/${module}.order`)).split('\n');
      const name = module.replaceAll('-', '_');
      const lines = names.map((file, at) => {
        const own = at === names.length - 1 ? options : '';
        return `insmod '${join(kernel, 'modules', file)}' ${own} 2>/dev/null`;
      });
      await runToEnd(`${lines.join('; ')}; [ -e /sys/module/${name} ]`);
    },
    monitor: (command) => askMonitor(join(folder, 'monitor.sock'), command),
    async stop() {
      qemu.kill('SIGKILL');
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
