/** The program that holds a device for itself: `node holder.js NODE [SET…]`. It says how that went in one line
 * (`held`, or the system's name of the error). When its standard input ends, whoever started it was killed: it
 * makes each SET node writable again, as it was before it was set read-only, and lets go. It is no library.
 *
 * A device that is open exclusively (O_EXCL of open(2), without O_CREAT) cannot be mounted, nor can its
 * partitions; nor can they become swap, or part of a RAID or of LVM. It is opened in a process of its own,
 * since opening a drive that hangs may take minutes. */
import { execFileSync } from 'node:child_process';
import { constants, openSync, statSync, writeSync } from 'node:fs';
import { basename } from 'node:path';

const { O_RDONLY, O_EXCL, O_NONBLOCK } = constants;
/** Longest that a device may take to be set. */
const toolMaxMs = 10_000;

function hold(node: string): string {
  try {
    openSync(node, O_RDONLY | O_EXCL | O_NONBLOCK);
    return 'held';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error';
  }
}

/** Tells a device from another that has its name by now. */
function inodeOf(node: string): number | undefined {
  const folder = `/sys/class/block/${basename(node)}/`;
  return statSync(folder, { throwIfNoEntry: false })?.ino;
}

function giveBack(node: string): void {
  try {
    execFileSync('blockdev', ['--setrw', node], { stdio: 'ignore', timeout: toolMaxMs });
  } catch {
    // Nobody is left to be told.
  }
}

const [node = '', ...setNodes] = process.argv.slice(2);
const set = setNodes.map((each) => ({ node: each, inode: inodeOf(each) }));
const answer = hold(node);
writeSync(1, `${answer}\n`);
if (answer === 'held') {
  process.stdin.on('error', () => {});
  process.stdin.once('close', () => {
    for (const each of set) if (inodeOf(each.node) === each.inode) giveBack(each.node);
  });
  process.stdin.resume();
}
