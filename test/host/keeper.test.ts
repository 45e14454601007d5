import { describe, expect, test } from 'vitest';
import { createVirtualClock } from '../../hardware-sim/virtual-clock.js';
import { type GuardOptions, guardSource } from '../../src/cli/source-guard.js';
import { type KeeperTools, keepSystemOff } from '../../src/host/keeper.js';
import { addUsbDisk, type PlayedHost, playedHost, withSataDisk } from './played-host.js';

/** Tools that act on the played system, and say what they did. */
function toolsOn(host: PlayedHost, held = new Set<string>()) {
  const done: string[] = [];
  const tools: KeeperTools = {
    async setReadOnly(node, isReadOnly) {
      done.push(`${isReadOnly ? 'ro' : 'rw'} ${node}`);
      const folder = host.realpath(`/sys/class/block/${node.slice('/dev/'.length)}`);
      host.files.set(`${folder}/ro`, isReadOnly ? '1' : '0');
      return undefined;
    },
    async hold(node) {
      if (held.has(node)) return { kind: 'busy' };
      done.push(`hold ${node}`);
      return { kind: 'held', release: async () => void done.push(`release ${node}`) };
    },
  };
  return { done, tools };
}

function keeperOn(host: PlayedHost, path: string, more: { tools?: KeeperTools } = {}) {
  const clock = createVirtualClock();
  const played = toolsOn(host);
  const said: string[] = [];
  const keeping = keepSystemOff(path, {
    setReadOnly: true,
    clock,
    host,
    tools: played.tools,
    onNotice: (line) => said.push(line),
    ...more,
  });
  return { ...played, clock, said, keeping };
}

describe('keeping the system off a drive', () => {
  test('the disk and its partitions are read-only until the end; what was so before stays so', async () => {
    const host = withSataDisk();
    host.files.set(`${host.realpath('/sys/class/block/sda2')}/ro`, '1');
    const { done, keeping } = keeperOn(host, '/dev/sda');
    const keeper = await keeping;
    expect(keeper).toMatchObject({ isReadOnly: true, isHeld: true, findings: [] });
    expect(done.splice(0)).toEqual(['ro /dev/sda', 'ro /dev/sda1', 'hold /dev/sda']);
    await keeper!.close();
    expect(done).toEqual(['release /dev/sda', 'rw /dev/sda', 'rw /dev/sda1']);
  });

  test('no block device, no keeper', async () => {
    expect(await keeperOn(playedHost(), '/dev/sda').keeping).toBeUndefined();
  });

  test('what somebody else holds is refused, and left as it was', async () => {
    const host = withSataDisk();
    const busy = toolsOn(host, new Set(['/dev/sda']));
    await expect(keeperOn(host, '/dev/sda', busy).keeping).rejects.toThrow(
      'another program holds it exclusively',
    );
    expect(busy.done).toEqual([
      'ro /dev/sda',
      'ro /dev/sda1',
      'ro /dev/sda2',
      'rw /dev/sda',
      'rw /dev/sda1',
      'rw /dev/sda2',
    ]);
  });

  test('where neither can be had it says why', async () => {
    const tools: KeeperTools = {
      setReadOnly: async () => 'permission denied',
      hold: async () => ({ kind: 'failed', why: 'EACCES' }),
    };
    const keeper = await keeperOn(withSataDisk(), '/dev/sda', { tools }).keeping;
    expect(keeper).toMatchObject({ isReadOnly: false, isHeld: false });
    expect(keeper?.findings.map(({ what }) => what)).toEqual([
      'is not read-only for the operating system: permission denied',
      'cannot be held exclusively: EACCES',
    ]);
    await keeper?.close();
  });

  test('a drive that went away is let go at once, and kept again under its new name', async () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16');
    const { done, keeping, clock, said } = keeperOn(host, '/dev/sdb');
    const keeper = await keeping;
    done.length = 0;
    host.remove('sdb');
    await clock.advance(300);
    expect(done.splice(0)).toEqual(['release /dev/sdb']);
    addUsbDisk(host, 'sdc', '8:32', { sequence: 10 });
    await clock.advance(300);
    expect(done.splice(0)).toEqual(['ro /dev/sdc', 'hold /dev/sdc']);
    await keeper?.close();
    expect(done).toEqual(['release /dev/sdc', 'rw /dev/sdc']);
    expect([keeper?.isReadOnly, keeper?.isHeld, said]).toEqual([true, true, []]);
    expect(clock.pending()).toBe(0);
  });

  test('a drive that went and came between two looks is a new one', async () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16');
    const { done, keeping, clock } = keeperOn(host, '/dev/sdb');
    const keeper = await keeping;
    await clock.advance(1000);
    done.length = 0;
    host.remove('sdb');
    addUsbDisk(host, 'sdb', '8:16', { sequence: 10 });
    await clock.advance(300);
    expect(done).toEqual(['release /dev/sdb', 'ro /dev/sdb', 'hold /dev/sdb']);
    await keeper?.close();
  });

  test('another drive at the port is left alone', async () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16');
    const { done, keeping, clock } = keeperOn(host, '/dev/sdb');
    const keeper = await keeping;
    host.remove('sdb');
    addUsbDisk(host, 'sdc', '8:32', { serial: 'another' });
    await clock.advance(300);
    done.length = 0;
    await clock.advance(300);
    await keeper?.close();
    expect(done).toEqual([]);
  });

  test('what was mounted as it came back is told', async () => {
    const host = playedHost();
    addUsbDisk(host, 'sdb', '8:16');
    const { keeping, clock, said } = keeperOn(
      host,
      '/dev/sdb',
      toolsOn(host, new Set(['/dev/sdc'])),
    );
    const keeper = await keeping;
    host.remove('sdb');
    addUsbDisk(host, 'sdc', '8:32', { sequence: 10 });
    host.mount('sdc', '/media/x');
    await clock.advance(300);
    await keeper?.close();
    expect(said).toEqual([
      'the operating system took the drive as it came back: /dev/sdc is mounted at /media/x',
    ]);
    expect(keeper?.isHeld).toBe(false);
  });
});

describe('the go-ahead', () => {
  function guardOn(host: PlayedHost, options: Partial<GuardOptions> = {}) {
    const said: string[] = [];
    const guarding = guardSource('/dev/sda', {
      osMayTouch: false,
      setReadOnly: true,
      say: (line) => said.push(line),
      clock: createVirtualClock(),
      host,
      tools: toolsOn(host).tools,
      ...options,
    });
    return { said, guarding };
  }

  test('is not asked for where the system cannot touch the drive', async () => {
    const { said, guarding } = guardOn(withSataDisk());
    const guard = await guarding;
    expect(guard.attached()).toEqual({
      device: '/dev/sda',
      isReadOnly: true,
      isHeld: true,
      mayBeTouchedBy: [],
      isWriteBlocked: false,
    });
    expect(said).toEqual([]);
    await guard.close();
  });

  test('an imager, or a file, is not the system’s: nothing is asked and nothing recorded', async () => {
    const options = { osMayTouch: false, setReadOnly: true, say: () => {}, host: withSataDisk() };
    expect((await guardSource(undefined, options)).attached()).toBeNull();
    expect((await guardSource('/home/me/old.img', options)).attached()).toBeNull();
  });

  test('where it can, the job says what mends it and does not begin', async () => {
    const host = withSataDisk();
    host.run('udisksd');
    const { said, guarding } = guardOn(host);
    await expect(guarding).rejects.toThrow(/udisks.*--os-may-touch/);
    expect(said.join()).toContain('systemctl mask --runtime --now udisks2');
    expect(said.join()).toContain("'lastspin doctor /dev/sda' prints the rule");
    expect(host.read('/sys/class/block/sda/ro')).toBe('0');
  });

  test.each([
    ['the option', { osMayTouch: true }],
    ['a yes', { ask: async () => true }],
  ])('by %s it goes on, and that is recorded', async (_, options) => {
    const host = withSataDisk();
    host.run('smartd');
    const guard = await guardOn(host, options).guarding;
    expect(guard.attached()?.mayBeTouchedBy).toEqual(['/dev/sda is watched by smartd']);
    await guard.close();
  });

  test('a no is a no', async () => {
    const host = withSataDisk();
    host.run('smartd');
    await expect(guardOn(host, { ask: async () => false }).guarding).rejects.toThrow('smartd');
  });

  test('what the user does not want set read-only needs no other word', async () => {
    const guard = await guardOn(withSataDisk(), { setReadOnly: false }).guarding;
    expect(guard.attached()).toMatchObject({ isReadOnly: false, isHeld: true, mayBeTouchedBy: [] });
    await guard.close();
  });
});
