/** A file layer in memory, for tests of whatever sits above it. Files are sparse: an image of a
 * terabyte costs what was written to it. */

import { LastspinError } from '../../src/errors.js';
import type { FileLayer, OpenFile } from '../../src/image/file-layer.js';

const pageBytes = 4096;

/** A file's content: pages by number, absent ones zero. */
export interface Content {
  size: number;
  readonly pages: Map<number, Uint8Array>;
}

export function emptyContent(): Content {
  return { size: 0, pages: new Map() };
}

export function copyContent(content: Content): Content {
  const pages = new Map<number, Uint8Array>();
  for (const [number, page] of content.pages) pages.set(number, page.slice());
  return { size: content.size, pages };
}

/** Fills `into` from a position; returns how many bytes the file has there. */
export function readContent(content: Content, into: Uint8Array, position: number): number {
  const count = Math.max(0, Math.min(into.length, content.size - position));
  for (let done = 0; done < count; ) {
    const within = (position + done) % pageBytes;
    const length = Math.min(pageBytes - within, count - done);
    const page = content.pages.get(Math.floor((position + done) / pageBytes));
    if (page === undefined) into.fill(0, done, done + length);
    else into.set(page.subarray(within, within + length), done);
    done += length;
  }
  return count;
}

export function writeContent(content: Content, data: Uint8Array, position: number): void {
  for (let done = 0; done < data.length; ) {
    const number = Math.floor((position + done) / pageBytes);
    const within = (position + done) % pageBytes;
    const length = Math.min(pageBytes - within, data.length - done);
    let page = content.pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(pageBytes);
      content.pages.set(number, page);
    }
    page.set(data.subarray(done, done + length), within);
    done += length;
  }
  content.size = Math.max(content.size, position + data.length);
}

export function truncateContent(content: Content, size: number): void {
  if (size < content.size) {
    const last = Math.floor(size / pageBytes);
    for (const number of content.pages.keys()) if (number > last) content.pages.delete(number);
    content.pages.get(last)?.fill(0, size % pageBytes);
  }
  content.size = size;
}

/** Memory as a file layer, with a look inside. */
export interface MemoryFiles extends FileLayer {
  /** The whole content of a file, as it is now. */
  content(path: string): Uint8Array;
  /** Puts a file there. */
  put(path: string, content: Uint8Array | string): void;
  paths(): string[];
  /** Room on the simulated disk, in bytes. Writes beyond it fail with IMAGE_SPACE. */
  setCapacity(bytes: number): void;
  /** The next operation of this kind fails with this error. */
  failNext(operation: 'write' | 'sync' | 'rename' | 'open', error: Error): void;
}

/** An empty disk of `capacityBytes`. */
export function memoryFiles(options: { capacityBytes?: number } = {}): MemoryFiles {
  const files = new Map<string, Content>();
  const failures = new Map<string, Error>();
  let capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;

  const failIfAsked = (operation: string) => {
    const error = failures.get(operation);
    failures.delete(operation);
    if (error !== undefined) throw error;
  };
  const usedBytes = () => {
    let pages = 0;
    for (const content of files.values()) pages += content.pages.size;
    return pages * pageBytes;
  };
  const find = (path: string, verb: string) => {
    const content = files.get(path);
    if (content === undefined) throw missing(path, verb);
    return content;
  };

  return {
    open: async (path, { create = false, exclusive = false, readOnly = false } = {}) => {
      failIfAsked('open');
      if (exclusive && files.has(path)) {
        throw new LastspinError('FILE_FAILED', `cannot open ${path}: it exists already`);
      }
      if ((create || exclusive) && !readOnly && !files.has(path)) files.set(path, emptyContent());
      const content = find(path, 'open');
      const roomFor = (data: Uint8Array, position: number) => {
        const first = Math.floor(position / pageBytes);
        const last = Math.floor((position + data.length - 1) / pageBytes);
        let added = 0;
        for (let page = first; page <= last; page++) if (!content.pages.has(page)) added += 1;
        return usedBytes() + added * pageBytes <= capacityBytes;
      };
      return openFile(content, {
        isAt: (other) => files.get(other) === content,
        beforeWrite: (data, position) => {
          failIfAsked('write');
          if (!roomFor(data, position)) {
            throw new LastspinError('IMAGE_SPACE', `cannot write ${path}: no space is left there`);
          }
        },
        beforeSync: () => failIfAsked('sync'),
      });
    },
    exists: async (path) => files.has(path),
    readAll: async (path) => wholeOf(find(path, 'read')),
    rename: async (from, to) => {
      failIfAsked('rename');
      files.set(to, find(from, 'replace'));
      files.delete(from);
    },
    remove: async (path) => {
      files.delete(path);
    },
    syncDirectory: async () => {},
    freeBytes: async () => Math.max(0, capacityBytes - usedBytes()),
    content: (path) => wholeOf(find(path, 'read')),
    put: (path, content) => {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
      const fresh = emptyContent();
      writeContent(fresh, bytes, 0);
      files.set(path, fresh);
    },
    paths: () => [...files.keys()].sort(),
    setCapacity: (bytes) => {
      capacityBytes = bytes;
    },
    failNext: (operation, error) => {
      failures.set(operation, error);
    },
  };
}

interface Hooks {
  beforeWrite(data: Uint8Array, position: number): void;
  beforeSync(): void;
  isAt(path: string): boolean;
}

function openFile(content: Content, hooks: Hooks): OpenFile {
  return {
    read: async (into, position) => readContent(content, into, position),
    write: async (data, position) => {
      hooks.beforeWrite(data, position);
      writeContent(content, data, position);
    },
    sync: async () => hooks.beforeSync(),
    size: async () => content.size,
    isAt: async (path) => hooks.isAt(path),
    allocatedBytes: async () => content.pages.size * pageBytes,
    truncate: async (size) => truncateContent(content, size),
    close: async () => {},
  };
}

export function wholeOf(content: Content): Uint8Array {
  const whole = new Uint8Array(content.size);
  readContent(content, whole, 0);
  return whole;
}

export function missing(path: string, verb: string): LastspinError {
  return new LastspinError('FILE_FAILED', `cannot ${verb} ${path}: no such file or directory`);
}
