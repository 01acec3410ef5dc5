/** One creator of a ticket, or of a document in it, at a time: in this process and in others. */
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { writerName, writerOf } from '../tools/temporary.js';

/**
 * A creator needs milliseconds (a second with docmgr): one on another machine, where it cannot be looked for,
 * that is older than this was ended by a crash.
 */
const STALE_MS = 30_000;
const LOCK = '_metawsm-new-';
const PREPARED = '_metawsm-take-';

/**
 * Runs `create` with an exclusive folder below the tickets root, whose name begins with `_` so that neither
 * metawsm nor docmgr ever sees a ticket in it. `create` gets a fresh folder in there to build in. Leftovers
 * of a creator that crashed are taken away.
 *
 * The lock is a folder that holds one folder, named after its owner. It is taken by renaming a prepared one to
 * its name, which succeeds where nothing or an empty folder is; a dead owner's folder is removed from it. A
 * creator that was wrongly taken for dead finds its folder gone: then what it renames is gone too, `create`
 * fails with ENOENT and is run again, and looks anew.
 */
export async function withCreationLock<T>(
  root: string,
  id: string,
  create: (buildFolder: string) => Promise<T>,
): Promise<T> {
  await mkdir(root, { recursive: true });
  const lock = join(root, LOCK + id);
  for (let attempt = 1; ; attempt++) {
    const own = await acquire(root, lock);
    try {
      return await create(own);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || attempt >= 5) throw error;
    } finally {
      await rm(own, { recursive: true, force: true });
      // Not empty: somebody took it over and is at work in it.
      await rmdir(lock).catch(() => undefined);
    }
  }
}

/** Takes away what a crash left of the making of this ticket; what somebody is making stays. */
export async function clearCreationLock(root: string, id: string): Promise<void> {
  const lock = join(root, LOCK + id);
  await removeDead(lock);
  await rmdir(lock).catch(() => undefined);
  await removePrepared(root);
}

/** Takes the lock and gives the own folder in it. */
async function acquire(root: string, lock: string): Promise<string> {
  await removePrepared(root);
  const name = writerName();
  const prepared = join(root, PREPARED + name);
  await mkdir(join(prepared, name), { recursive: true });
  try {
    for (;;) {
      try {
        await rename(prepared, lock);
        return join(lock, name);
      } catch (error) {
        if (!['ENOTEMPTY', 'EEXIST'].includes(codeOf(error) ?? '')) throw error;
      }
      if (!(await removeDead(lock))) await delay(15);
    }
  } catch (error) {
    await rm(prepared, { recursive: true, force: true });
    throw error;
  }
}

/** Whether something of a dead owner was in the lock. Each owner's name is used once, so no other's is hit. */
async function removeDead(lock: string): Promise<boolean> {
  let removed = false;
  for (const name of await readdir(lock).catch(() => [])) {
    const path = join(lock, name);
    const owner = writerOf(name);
    if (owner === 'alive' || (owner === 'unknown' && !(await isOld(lock)))) continue;
    await rm(path, { recursive: true, force: true });
    removed = true;
  }
  return removed;
}

async function removePrepared(root: string): Promise<void> {
  for (const name of await readdir(root).catch(() => [])) {
    if (!name.startsWith(PREPARED) || writerOf(name.slice(PREPARED.length)) !== 'dead') continue;
    await rm(join(root, name), { recursive: true, force: true });
  }
}

async function isOld(path: string): Promise<boolean> {
  const since = await stat(path).then(
    (stats) => stats.mtimeMs,
    () => null,
  );
  return since !== null && Math.abs(Date.now() - since) > STALE_MS;
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
