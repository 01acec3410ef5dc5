/** Removing a worktree, once the caller has made sure that nothing is lost. */
import { chmod, lstat, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ToolFailure } from './failure.js';
import { run } from './git.js';
import { isThere } from './git-folder.js';
import { commitOf, commonDirOf } from './git-read.js';
import { worktreeState } from './git-worktree.js';

export interface RemoveWorktree {
  readonly source: string;
  readonly path: string;
  /**
   * Remove it with its untracked files, placed files and submodules, and where it is locked, at all of which git
   * refuses otherwise. Only after looking (`onlyHere`) or saving (`backupWorktree`).
   */
  readonly force: boolean;
}

export interface RemovedWorktree {
  /** false: it was gone already. */
  readonly removed: boolean;
  /** The ref that keeps commits which only the registration of a lost folder held. */
  readonly saved: string | null;
}

/**
 * Removes a worktree and git's entry for it; the branch stays. Gone is fine, somebody else's folder is an error.
 * @throws {ToolFailure}
 */
export async function removeWorktree(wanted: RemoveWorktree): Promise<RemovedWorktree> {
  const { source, path } = wanted;
  const args = ['worktree', 'remove', ...(wanted.force ? ['--force'] : []), path];
  const before = await worktreeState(source, path, '');
  const aside = asideOf(path);
  if (before.state === 'missing') {
    await removeFolder(aside);
    return { removed: false, saved: null };
  }
  if (before.state === 'foreign') {
    throw new ToolFailure('git', args, source, null, '', {
      summary: `${path} is ${before.occupant}, no worktree of this repository; it is left alone`,
    });
  }
  // A lock, which an agent may have set, keeps nothing that the look or the backup before did not.
  if (wanted.force && before.locked !== null) await run(source, ['worktree', 'unlock', path]);
  if (before.state === 'prunable') {
    const saved = await keepLostHead(source, before.head);
    await run(source, ['worktree', 'remove', '--force', path]);
    await removeFolder(aside);
    return { removed: true, saved };
  }
  try {
    // Moved aside as a whole first: a crash then leaves nothing half-deleted, which would look like an agent's work.
    if (wanted.force && (await moveAside(path))) {
      await run(source, args);
      await removeFolder(aside);
      return { removed: true, saved: null };
    }
    await run(source, args);
  } catch (error) {
    // git forgets the worktree even where it could not delete all files (still written to, read-only folders).
    const after = await worktreeState(source, path, '');
    if (!wanted.force || (after.state !== 'missing' && after.state !== 'foreign')) throw error;
    await removeFolder(path);
  }
  return { removed: true, saved: null };
}

/** From the folder of an entry to its `gitdir` file git needs far less. */
const ENTRY_PAUSE_MS = 100;

/**
 * Where nothing is left of a worktree but what a crash kept from being deleted: the folder that was moved aside, and
 * git's entries that do not say where they belong, which git itself neither lists nor removes. Only entries named after the worktree's folder, under the caller's lock.
 */
export async function removeBrokenEntries(source: string, path: string): Promise<void> {
  await removeFolder(asideOf(path));
  const entries = join(await commonDirOf(source), 'worktrees');
  const named = new RegExp(`^${basename(path).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\d*$`);
  const broken = async (names: readonly string[]): Promise<string[]> => {
    const found = await Promise.all(
      names.map(async (name) => ((await isThere(join(entries, name, 'gitdir'))) ? [] : [name])),
    );
    return found.flat();
  };
  const first = await broken((await readdir(entries).catch(() => [])).filter((name) => named.test(name)));
  if (first.length === 0) return;
  await pause(ENTRY_PAUSE_MS);
  for (const name of await broken(first)) await removeFolder(join(entries, name));
  await rmdir(entries).catch(() => undefined);
}

/** Where a worktree that is being removed lies: beside its place, so in the workspace. */
export function asideOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.metawsm-removed`);
}

/** Takes a worktree from its place in one step. Whether that could be done. */
export async function moveAside(path: string): Promise<boolean> {
  const aside = asideOf(path);
  await removeFolder(aside);
  return rename(path, aside).then(
    () => true,
    () => false,
  );
}

/** Deletes a folder with all that is in it, also where folders in it are read-only. Links are not followed. */
export async function removeFolder(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  } catch {
    await makeWritable(path);
    await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

async function makeWritable(folder: string): Promise<void> {
  const found = await lstat(folder).catch(() => null);
  if (!found?.isDirectory()) return;
  await chmod(folder, found.mode | 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(folder, entry.name));
  }
}

/** Keeps commits that only a lost worktree's HEAD holds. Gives the ref, or null where none is needed. */
export async function keepLostHead(source: string, head: string | null): Promise<string | null> {
  if (head === null || (await commitOf(source, head)) === null) return null;
  const args = [
    'rev-list',
    '--count',
    head,
    '--not',
    '--branches',
    '--tags',
    '--remotes',
    '--glob=refs/metawsm',
  ];
  if ((await run(source, args)).stdout.trim() === '0') return null;
  const ref = `refs/metawsm/lost/${head.slice(0, 12)}`;
  await run(source, ['update-ref', ref, head]);
  return ref;
}
