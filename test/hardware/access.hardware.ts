import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { doctorResultSchema } from '../../src/show/devices.js';
import { imageResultSchema } from '../../src/show/result.js';
import { needsTool } from '../tools.js';
import { bootVm, needsVm, type Vm } from './vm.js';

const lastspin = `'${process.execPath}' '${join(import.meta.dirname, '../../bin/lastspin.js')}'`;

let vm: Vm;

/** Runs a command that may fail: its status and what it printed. */
async function tried(command: string): Promise<{ status: number; output: string }> {
  const started = vm.start(command);
  return { status: await started.ended, output: started.output() };
}

const settle = 'udevadm settle --timeout=30';
const take = 'for disk in /sys/class/block/sd?; do echo 1 > $disk/device/delete; done';
const scan = "for host in /sys/class/scsi_host/host*/scan; do echo '- - -' > $host; done";
// The kernel looks for disks behind a program's back.
const giveBack = `${scan}; until [ -e /dev/sd? ]; do sleep 0.1; done; ${settle}`;
/** Whatever the kernel calls the disk this time: a name that somebody still holds is not given out again. */
const link = 'ln -sf /dev/$(cd /sys/class/block; echo sd?) /dev/it';

describe.skipIf(needsVm())('keeping a real system off a drive', () => {
  beforeAll(async () => {
    vm = await bootVm([]);
    await vm.load('sd_mod');
    await vm.load('dm-mod');
    await vm.load('scsi_debug', 'dev_size_mb=8 delay=0');
    await vm.run(`${settle}; mknod /dev/mapper/control c 10 236 2>/dev/null; ls -l /dev/sda`);
  });
  afterAll(() => vm?.stop());

  test.skipIf(needsTool('dmsetup'))(
    'a device mapper on it: refused, and how to free it',
    async () => {
      // Meanwhile: its size is told by ioctl where there is no /sys.
      const identify = `${lastspin} identify /dev/sda --json`;
      const told = vm.start(`unshare -m sh -c 'mount -t tmpfs none /sys && ${identify}'`);
      await vm.run("dmsetup create --noudevsync held --table '0 2048 linear /dev/sda 0'");
      const { status, output } = await tried(`${lastspin} image /dev/sda /vm/held.img`);
      await vm.run('dmsetup remove --noudevsync held');
      expect(await told.ended, told.output()).toBe(0);
      expect(told.output()).toMatch(/"sectorCount": ?16384\b/);
      expect(status, output).toBe(1);
      expect(output).toContain('/dev/sda is part of /dev/dm-0 (device mapper)');
      expect(output).toContain('dmsetup remove held');
    },
  );

  test('the rule that doctor prints: read-only before anybody is told, and under a lasting name', async () => {
    const { output } = await tried(`${lastspin} doctor /dev/sda --json 2>/dev/null`);
    const { keepAwayRule } = doctorResultSchema.parse(JSON.parse(output));
    writeFileSync(join(vm.folder, 'rule'), `${keepAwayRule?.text}\n`);
    await vm.run(`cp /vm/rule '${keepAwayRule?.path}'; udevadm control --reload; ${take}; sleep 1`);
    await vm.run(giveBack);
    expect(await vm.run('cat /sys/class/block/sda/ro')).toBe('1\n');
    expect(await vm.run('cat /run/udev/data/b8:0')).toContain('E:UDISKS_IGNORE=1');
    expect(await vm.run('cat /run/udev/data/b8:0')).not.toContain('ID_FS');
    expect((await vm.run(`readlink -f '${keepAwayRule?.link}'`)).trim()).toBe('/dev/sda');
    await vm.run(`rm '${keepAwayRule?.path}'; udevadm control --reload; blockdev --setrw /dev/sda`);
  });

  test('a job that is killed gives it back', async () => {
    const options = '--os-may-touch --kind ssd --max-rate 500000';
    const job = vm.start(`exec ${lastspin} image /dev/sda /vm/killed.img ${options}`);
    while (!/pass 1/.test(job.output())) await vm.run('sleep 0.2');
    expect(await vm.run('cat /sys/class/block/sda/ro')).toBe('1\n');
    await vm.run("pkill -9 -f 'image /dev/sda /vm/killed.img'");
    await job.ended;
    await vm.run("timeout 20 sh -c 'until grep -q 0 /sys/class/block/sda/ro; do sleep 0.2; done'");
    // Nobody holds it either.
    await vm.run('blockdev --rereadpt /dev/sda');
  });

  test('a drive that goes away in the middle is kept again as it comes back, and given back', async () => {
    writeFileSync(join(vm.folder, 'switch'), `[ $1 = off ] || { ${giveBack}; ${link}; }\n`);
    const options =
      "--os-may-touch --kind ssd --max-rate 2000000 --json --power 'exec:sh /vm/switch {action}'";
    await vm.run(link);
    const job = vm.start(`${lastspin} image /dev/it /vm/kept.img ${options}`);
    while (!/pass 1/.test(job.output())) await vm.run('sleep 0.2');
    expect(await vm.run('cat /sys/class/block/sda/ro')).toBe('1\n');
    await vm.run(`${take}; rm /dev/it`);
    expect(await job.ended, job.output()).toBe(0);
    const line = job
      .output()
      .split('\n')
      .find((each) => each.startsWith('{'));
    const { hostAttached, sectors, powerCycles } = imageResultSchema.parse(JSON.parse(line ?? ''));
    expect(hostAttached).toMatchObject({ isReadOnly: true, isHeld: true });
    expect(powerCycles).toBeGreaterThan(0);
    expect(sectors.finished).toBe(sectors.total);
    expect(readFileSync(join(vm.folder, 'kept.img')).length).toBe(8 << 20);
    expect(await vm.run('cat /sys/class/block/sd?/ro')).toBe('0\n');
  });
});
