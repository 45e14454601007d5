/** The program that holds a device for itself: `node holder.js NODE`. It says how that went in one line (`held`, or
 * the system's name of the error) and lets go when its standard input ends. It is no library.
 *
 * A device that is open exclusively (O_EXCL of open(2), without O_CREAT) cannot be mounted, nor can its
 * partitions; nor can they become swap, or part of a RAID or of LVM. It is opened in a process of its own,
 * since opening a drive that hangs may take minutes. */
import { constants, openSync, writeSync } from 'node:fs';

const { O_RDONLY, O_EXCL, O_NONBLOCK } = constants;

function hold(node: string): string {
  try {
    openSync(node, O_RDONLY | O_EXCL | O_NONBLOCK);
    return 'held';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error';
  }
}

const answer = hold(process.argv[2] ?? '');
writeSync(1, `${answer}\n`);
if (answer === 'held') process.stdin.resume();
