/** One creator of a ticket, or of a document in it, at a time: in this process and in others. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** A creator needs milliseconds (a second with docmgr): one that is older than this was ended by a crash. */
const STALE_MS = 30_000;

/**
 * Runs `create` with an exclusive folder below the tickets root, whose name begins with `_` so that neither
 * metawsm nor docmgr ever sees a ticket in it. `create` gets a fresh folder in there to build in. Leftovers
 * of a creator that crashed are taken away.
 *
 * A creator that was only asleep finds its folder gone: then what it renames is gone too, `create` fails
 * with ENOENT and is run again, and looks anew.
 */
export async function withCreationLock<T>(
  root: string,
  id: string,
  create: (buildFolder: string) => Promise<T>,
): Promise<T> {
  await mkdir(root, { recursive: true });
  const lock = join(root, `_metawsm-new-${id}`);
  for (let attempt = 1; ; attempt++) {
    await acquire(root, lock);
    const own = join(lock, randomBytes(6).toString('hex'));
    try {
      await mkdir(own);
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

async function acquire(root: string, lock: string): Promise<void> {
  for (;;) {
    try {
      await mkdir(lock);
      return;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    const since = await stat(lock).then(
      (stats) => stats.mtimeMs,
      () => null,
    );
    if (since !== null && Math.abs(Date.now() - since) > STALE_MS) {
      await rename(lock, join(root, `_metawsm-stale-${randomBytes(6).toString('hex')}`)).catch(
        () => undefined,
      );
      await removeStale(root);
    } else {
      await delay(15);
    }
  }
}

async function removeStale(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    if (name.startsWith('_metawsm-stale-')) await rm(join(root, name), { recursive: true, force: true });
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
