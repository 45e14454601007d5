/** Room on the disk that a file is to fill, kept for it by the file system. */

import { execFile } from 'node:child_process';

/** Has the file system keep room for the first `sizeBytes` of an open file, without writing to it: `fallocate` of
 * util-linux, which fails where the file system has no such thing. What the file holds stays. Returns why not. */
export function reserveSpace(descriptor: number, sizeBytes: number): Promise<string | undefined> {
  // By the descriptor: whatever has the file's name by now is left alone.
  const file = `/proc/${process.pid}/fd/${descriptor}`;
  return new Promise((resolve) => {
    execFile('fallocate', ['-l', `${sizeBytes}`, file], (error, _stdout, stderr) => {
      if (!error) return resolve(undefined);
      if (error.code === 'ENOENT') return resolve('there is no fallocate here (util-linux)');
      const said = stderr.trim().split(': ').at(-1) || 'fallocate failed';
      resolve(said === 'Operation not supported' ? 'its file system cannot' : said);
    });
  });
}
