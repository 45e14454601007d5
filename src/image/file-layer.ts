/** The one door to the disk that holds image, map and journal. A crash simulator replaces it in
 * tests; the production code above it runs unmodified. Positions and sizes are bytes. */
export interface FileLayer {
  /** Opens for reading and writing. `create` makes a missing file; `exclusive` refuses an existing
   * one. `held`: a device that nobody else may mount or hold meanwhile. */
  open(
    path: string,
    options?: { create?: boolean; exclusive?: boolean; readOnly?: boolean; held?: boolean },
  ): Promise<OpenFile>;
  exists(path: string): Promise<boolean>;
  /** Whole content; for maps and journals, never for images. */
  readAll(path: string): Promise<Uint8Array>;
  /** Atomic replacement of `to`. */
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes names in the directory of `path` durable. */
  syncDirectory(path: string): Promise<void>;
  /** Bytes that may still be written beside `path`. */
  freeBytes(path: string): Promise<number>;
}

/** What the system says of a file, to be compared with what it said before. Numbers are decimal digits. */
export interface FileStamp {
  readonly sizeBytes: number;
  /** When its content was last changed, in ns since 1970. */
  readonly modifiedNs: string;
  readonly device: string;
  readonly inode: string;
}

export interface OpenFile {
  read(into: Uint8Array, position: number): Promise<number>;
  /** Writes all of `data` or throws. */
  write(data: Uint8Array, position: number): Promise<void>;
  /** Data and size are durable when this resolves. */
  sync(): Promise<void>;
  size(): Promise<number>;
  /** Whether `path` still leads to this file; true where nobody can tell. */
  isAt?(path: string): Promise<boolean>;
  /** Whether another disk is there now, or none, where the file's directory was when it was opened. */
  isUnmounted?(): Promise<boolean>;
  /** Absent or undefined where nobody can tell. */
  stamp?(): Promise<FileStamp | undefined>;
  /** Tells this file from every other that is there now; absent where nobody can tell. */
  identity?(): Promise<string>;
  /** Bytes really allocated, which a sparse file has fewer of. */
  allocatedBytes(): Promise<number>;
  truncate(size: number): Promise<void>;
  /** Keeps room on the disk for the first `size` bytes, which read as before. Returns why not, where it cannot;
   * absent where nothing could. */
  reserve?(size: number): Promise<string | undefined>;
  close(): Promise<void>;
}
