import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { patternSector } from '../../hardware-sim/media.js';
import { parseMapFile, sectorMapOf } from '../../src/map/mapfile.js';
import { statuses, statusLetters } from '../../src/map/status.js';
import { cloneResultSchema } from '../../src/show/copy-result.js';
import type { ImageResult } from '../../src/show/result.js';
import { needsTool } from '../tools.js';
import { bootVm, needsVm, type Vm } from './vm.js';

const root = join(import.meta.dirname, '../..');
const node = `'${process.execPath}'`;
const lastspin = `${node} '${join(root, 'bin/lastspin.js')}'`;
const sectorBytes = 512;
const sectorCount = 6144;
const sizeBytes = sectorCount * sectorBytes;
/** What scsi_debug fails at (the one LBA that its sense data names right), and its knobs. */
const bad = { lba: 0x1234, count: 4 };
const knobs = '/sys/bus/pseudo/drivers/scsi_debug';
const mediumErrors = 2;
const ignored = 4;
/** What QEMU's disk fails at: an ABORTED COMMAND, never a medium error. */
const abortedLba = 2500;
/** What the disk that is cloned onto has more. */
const excessBytes = 1 << 20;

let vm: Vm;
let folder: string;
/** A disk of scsi_debug, one behind AHCI: `sg1`, `sdb` and the device's folder in /sys. */
interface Disk {
  readonly generic: string;
  readonly block: string;
  readonly device: string;
}
let debug: Disk;
let sata: Disk;
const byId = '/dev/disk/by-id/ata-SATADISK_SATA-1';

const content = Buffer.concat(
  Array.from({ length: sectorCount }, (_, lba) => patternSector(5, lba, sectorBytes)),
);

async function setUp(): Promise<void> {
  folder = mkdtempSync(join(tmpdir(), 'lastspin-sg-'));
  writeFileSync(join(folder, 'sata.img'), content);
  const fault = `[inject-error]\nevent = "read_aio"\nerrno = "5"\nsector = "${abortedLba}"\nonce = "off"\n`;
  writeFileSync(join(folder, 'sata.conf'), fault);
  const faulty = `blkdebug:${join(folder, 'sata.conf')}:${join(folder, 'sata.img')}`;
  const sataFile = `if=none,id=sata,format=raw,file=${faulty},rerror=report`;
  writeFileSync(join(folder, 'target.img'), Buffer.alloc(sizeBytes + excessBytes, 'old'));
  const targetFile = `if=none,id=target,format=raw,file=${join(folder, 'target.img')}`;
  const uasFile = 'driver=null-co,node-name=uas,size=1048576,read-zeroes=on';
  vm = await bootVm(
    [],
    [
      ...[
        '-drive',
        sataFile,
        '-device',
        'ide-hd,bus=ide.0,drive=sata,serial=SATA-1,model=SATADISK',
      ],
      ...['-drive', targetFile],
      ...['-device', 'ide-hd,bus=ide.1,drive=target,serial=TARGET-1,model=TARGETDISK'],
      ...['-blockdev', uasFile, '-device', 'usb-uas,id=uas,bus=xhci.0'],
      ...['-device', 'scsi-hd,bus=uas.0,scsi-id=0,lun=0,drive=uas,product=UASDISK'],
    ],
  );
  writeFileSync(join(vm.folder, 'content.img'), content);
  for (const module of ['sd_mod', 'sg', 'ahci', 'uas']) await vm.load(module);
  const place = `medium_error_start=${bad.lba} medium_error_count=${bad.count}`;
  await vm.load('scsi_debug', `dev_size_mb=${sizeBytes >> 20} delay=0 statistics=1 ${place}`);
  [debug, sata] = [await diskOf('scsi_debug'), await diskOf('SATADISK')];
  await vm.run(`dd if=/vm/content.img of=/dev/${debug.block} bs=1M oflag=direct conv=fsync`);
  await set({ opts: mediumErrors });
}

/** Waits for the disk with this model. */
async function diskOf(model: string): Promise<Disk> {
  const out = await vm.run(`
    for count in $(seq 100); do
      for device in /sys/class/scsi_generic/*/device; do
        grep -q ${model} $device/model 2>/dev/null && [ -e $device/block ] && [ -b /dev/$(ls $device/block) ] &&
          echo $(basename $(dirname $device)) $(ls $device/block) $(readlink -f $device) && exit
      done
      sleep 0.1
    done; exit 1`);
  const [generic = '', block = '', device = ''] = out.trim().split(' ');
  return { generic, block, device };
}

/** Turns knobs of scsi_debug. */
async function set(values: Readonly<Record<string, number>>): Promise<void> {
  const lines = Object.entries(values).map(([name, value]) => `echo ${value} > ${knobs}/${name}`);
  await vm.run(lines.join(' && '));
}

/** Runs `image` in the guest to its end. */
async function image(spec: string, name: string, options = ''): Promise<ImageResult> {
  const job = vm.start(
    `${lastspin} image ${spec} /vm/${name}.img --json ${options} 2>/vm/${name}.log`,
  );
  await job.ended;
  return resultOf(job.output(), name);
}

function resultOf(output: string, name: string): ImageResult {
  try {
    return JSON.parse(output) as ImageResult;
  } catch {
    throw new Error(`no result: ${output} ${logOf(name)}`);
  }
}

const logOf = (name: string) => readFileSync(join(vm.folder, `${name}.log`), 'utf8');

/** The map's runs as text, and the LBAs where the image does not hold what the map claims. */
function outcome(name: string) {
  const path = join(vm.folder, `${name}.map`);
  const map = sectorMapOf(
    parseMapFile(readFileSync(path), path),
    { sectorBytes, sectorCount },
    path,
  );
  const bytes = readFileSync(join(vm.folder, `${name}.img`));
  const wrong: number[] = [];
  for (let lba = 0; lba < sectorCount; lba++) {
    const [from, to] = [lba * sectorBytes, (lba + 1) * sectorBytes];
    if (map.valueAt(lba) !== statuses.finished) continue;
    if (!bytes.subarray(from, to).equals(content.subarray(from, to))) wrong.push(lba);
  }
  const runs = [...map.runs()].map((run) => `${run.lba}+${run.count} ${statusLetters[run.value]}`);
  return { runs, wrong };
}

/** All but these sectors, each of them with this status. */
function allBut(lba: number, count: number, letter: string) {
  const behind = lba + count;
  const runs = [`0+${lba} +`, `${lba}+${count} ${letter}`, `${behind}+${sectorCount - behind} +`];
  return { runs, wrong: [] };
}

const wholeButBad = allBut(bad.lba, bad.count, '-');
/** Deadlines are the drive's; this machine is twenty times slower than life, and not alone. */
const patient = '--read-timeout 20000 --retries 0';

describe.skipIf(needsVm())('drives of a real SCSI stack', () => {
  beforeAll(setUp);
  afterAll(async () => {
    await vm?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('sg: nothing but reading leaves even the last process; what is refused says why', tryPaths);

  test('errors are told apart, by SG_IO and by the block device, and the map is ddrescue’s', async () => {
    const ddrescue = `ddrescue -q -d -b ${sectorBytes}`;
    const compares = !needsTool('ddrescue');
    const [, other] = await Promise.all([
      image(`file:/dev/${debug.block}`, 'enodata', patient),
      image(`sg:${byId}`, 'aborted', patient),
      compares && vm.run(`${ddrescue} /dev/${debug.block} /vm/theirs.img /vm/theirs.map`),
    ]);
    expect(outcome('enodata')).toEqual(wholeButBad);
    expect(logOf('enodata')).not.toContain('unexplained');
    if (compares) expect(outcome('theirs')).toEqual(wholeButBad);
    // The SATA drive says by SAT who it is. What is no medium error is put to the question first.
    expect(other.drive).toMatchObject({ model: 'SATADISK', serial: 'SATA-1', sectorCount });
    expect(logOf('aborted')).toMatch(/unexplained error at LBA .*aborted command/);
    expect(logOf('aborted')).toContain('the place is to blame');
    expect(outcome('aborted')).toEqual(allBut(abortedLba, 1, '-'));
  });

  test('sg: a drive that hangs for a while, and is set offline by the kernel, loses its bad sectors only', async () => {
    await set({ ndelay: 5_000_000 });
    const job = vm.start(
      `${lastspin} image sg:/dev/${debug.block} /vm/hang.img --json --retries 0 2>/vm/hang.log`,
    );
    const counter = (name: string) => `$(($(cat ${debug.device}/${name})))`;
    const until = (name: string, count: string) =>
      `until [ ${counter(name)} -ge ${count} ]; do sleep 0.05; done`;
    // No command is answered until one was given up.
    await vm.run(`set -e
      requests=${counter('iorequest_cnt')}; timeouts=${counter('iotmo_cnt')}
      ${until('iorequest_cnt', '$((requests + 25))')}
      echo ${mediumErrors | ignored} > ${knobs}/opts; echo -1 > ${knobs}/every_nth
      ${until('iotmo_cnt', '$((timeouts + 1))')}
      echo 0 > ${knobs}/every_nth; echo ${mediumErrors} > ${knobs}/opts
      requests=${counter('iorequest_cnt')}
      ${until('iorequest_cnt', '$((requests + 15))')}
      echo offline > ${debug.device}/state`);
    await job.ended;
    await set({ delay: 0 });
    expect(resultOf(job.output(), 'hang').ended).toBe('finished');
    expect(logOf('hang')).toContain('no answer at LBA');
    expect(logOf('hang')).toContain('offline; it is asked to take the drive back');
    expect(outcome('hang')).toEqual(wholeButBad);
  });

  test('a clone straight onto a SATA disk holds what was read, and says where nothing was', async () => {
    const target = await diskOf('TARGETDISK');
    const options = `--case-files /vm/clone.map --overwrite TARGET-1 --fill marker --retries 0`;
    const job = vm.start(
      `${lastspin} clone sg:/dev/${debug.block} /dev/${target.block} --json ${options} 2>/vm/clone.log`,
    );
    expect(await job.ended, logOf('clone')).toBe(0);
    const result = cloneResultSchema.parse(JSON.parse(job.output()));
    expect(result).toMatchObject({ ended: 'finished', sectors: { bad: bad.count } });
    expect(result.target).toMatchObject({
      serial: 'TARGET-1',
      excess: { bytes: excessBytes, content: 'untouched' },
      gaps: { content: 'marker' },
    });
    const all = readFileSync(join(folder, 'target.img'));
    const held = all.subarray(0, sizeBytes);
    const before = Buffer.alloc(all.length, 'old').subarray(sizeBytes);
    expect(all.subarray(sizeBytes).equals(before)).toBe(true);
    const from = bad.lba * sectorBytes;
    const to = from + bad.count * sectorBytes;
    expect(held.toString('latin1', from, to)).toContain(`sector ${bad.lba} could not be read`);
    content.copy(held, from, from, to);
    expect(held.equals(content)).toBe(true);
  });

  test('file: a drive that answers no read (its motor is stopped) gets nothing marked', async () => {
    // Parked by the job before; through the block device nobody starts it again.
    const stopped = await image(`file:/dev/${debug.block}`, 'eio', '--preset ddrescue');
    expect(logOf('eio')).toMatch(/unexplained error at LBA .*EIO/);
    expect(stopped).toMatchObject({ ended: 'gave-up', sectors: { bad: 0, finished: 0 } });
  });
});

/** What needs no job: what leaves the last process, what is refused. */
async function tryPaths(): Promise<void> {
  writeFileSync(join(vm.folder, 'script.mjs'), script());
  const uas = await diskOf('UASDISK');
  const [tried, refused, onto] = [
    vm.start(`${node} /vm/script.mjs`),
    vm.start(`${lastspin} image sg:/dev/${uas.block} /vm/none.img`),
    vm.start(`${lastspin} image sg:/dev/${debug.generic} /dev/${debug.block}`),
  ];
  const statuses = [await tried.ended, await refused.ended, await onto.ended];
  expect(tried.output()).toBe(
    [
      'refused SCSI command 0x2a is not on the read-only list',
      'abort,hard good 512 true',
      // Key 3, and the LBA in INFORMATION.
      'f0000300001234 11',
      '',
    ].join('\n'),
  );
  expect(refused.output()).toContain('echo 46f4:0003:u | sudo tee');
  expect(onto.output()).toContain('is the drive itself');
  expect(statuses).toEqual([0, 1, 2]);
}

const script = () => `
  import { createSgLine } from '${root}/dist/src/drive/sg/line.js';
  import { spawnSender } from '${root}/dist/src/drive/sg/sender-process.js';
  import { openSgPath } from '${root}/dist/src/drive/sg/path.js';
  import { realClock } from '${root}/dist/src/clock.js';
  const clock = realClock();
  const paths = { node: '/dev/${sata.generic}', state: '/dev/null', scan: '/dev/null' };
  const line = createSgLine(() => spawnSender(paths), clock);
  const payload = Uint8Array.of(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0);
  const write = { operation: 'command', payload, dataBytes: 512, timeoutMs: 5000 };
  const { reply } = await line.ask(write, 60000);
  console.log(reply.kind, Buffer.from(reply.data).toString());
  line.close();
  const read = (lba) => ({
    cdb: Uint8Array.of(0x28, 0, 0, 0, lba >> 8, lba & 255, 0, 0, 1, 0),
    dataBytes: 512,
    timeoutMs: 10000,
  });
  const path = await openSgPath('/dev/${sata.generic}', clock);
  await path.reset('hard');
  const good = await path.send(read(0));
  console.log([...path.resets].join(), good.status, good.data.length, await path.isThere());
  await path.close();
  const other = await openSgPath('/dev/${debug.generic}', clock);
  const bad = await other.send(read(${bad.lba}));
  console.log(Buffer.from(bad.sense).toString('hex', 0, 7), bad.sense[12].toString(16));
  await other.close();
`;
