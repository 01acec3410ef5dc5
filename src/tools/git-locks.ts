/** What a killed git leaves: lock files that nobody holds any more, and at which every later git fails. */
import { lstat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { commonDirOf } from './git-read.js';

export interface DeadLocks {
  /** Full names of the refs that the killed git was to change. */
  readonly refs: readonly string[];
  /** It cannot have made a lock before this moment, in milliseconds since the epoch. */
  readonly since: number;
}

/** A git that lives holds such a lock for a moment; one that is still the same after this time is nobody's. */
const HELD_MS = 2000;

/**
 * Removes the locks of these refs, and that of the packed refs, which are from between `since` and the start of this
 * process. Only for a caller that knows that its git was killed over them. Without such a lock it takes no time.
 * @returns the files that were removed.
 */
export async function removeDeadLocks(repo: string, { refs, since }: DeadLocks): Promise<readonly string[]> {
  const commonDir = await commonDirOf(repo);
  const files = [...refs, 'packed-refs'].map((name) => join(commonDir, `${name}.lock`));
  const removed = await Promise.all(files.map((file) => removeIfDead(file, since)));
  return files.filter((_, index) => removed[index]);
}

async function removeIfDead(file: string, since: number): Promise<boolean> {
  const first = await identityOf(file);
  // File systems that keep whole seconds only round the time down.
  if (first === null || first.mtimeMs < since - 1000 || first.mtimeMs > performance.timeOrigin) return false;
  const end = performance.now() + HELD_MS;
  while (performance.now() < end) {
    await pause(100);
    if ((await identityOf(file))?.id !== first.id) return false;
  }
  return unlink(file).then(
    () => true,
    () => false,
  );
}

async function identityOf(file: string): Promise<{ readonly id: string; readonly mtimeMs: number } | null> {
  const found = await lstat(file).catch(() => null);
  if (found === null || !found.isFile()) return null;
  return { id: `${found.dev} ${found.ino} ${found.mtimeMs} ${found.size}`, mtimeMs: found.mtimeMs };
}
