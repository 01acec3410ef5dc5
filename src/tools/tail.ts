/** The end of a file that somebody else may still be writing. */
import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';

export interface FileEnd {
  /** The last bytes of the file. */
  readonly bytes: Buffer;
  /** How large the file is, in bytes. */
  readonly size: number;
}

/**
 * The last `maxBytes` of a regular file; null where there is none. A link, FIFO or device counts as none: nothing is
 * followed, nothing blocks, and nothing is thrown for what lies there.
 */
export async function readEnd(file: string, maxBytes: number): Promise<FileEnd | null> {
  const before = await lstat(file).catch(() => null);
  if (before === null || !before.isFile()) return null;
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(file, flags).catch(() => null);
  if (handle === null) return null;
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) return null;
    const length = Math.min(stats.size, maxBytes);
    const buffer = Buffer.alloc(length);
    let read = 0;
    while (read < length) {
      const { bytesRead } = await handle.read(buffer, read, length - read, stats.size - length + read);
      if (bytesRead === 0) break;
      read += bytesRead;
    }
    return { bytes: buffer.subarray(0, read), size: stats.size };
  } catch {
    return null;
  } finally {
    await handle.close();
  }
}
