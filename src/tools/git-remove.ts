/** Removing a worktree, once the caller has made sure that nothing is lost. */
import { chmod, lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ToolFailure } from './failure.js';
import { look, run } from './git.js';
import { commitOf } from './git-read.js';
import { worktreeState } from './git-worktree.js';

export interface RemoveWorktree {
  readonly source: string;
  readonly path: string;
  /**
   * Remove it with its untracked files, placed files and submodules, at which git refuses otherwise. Only after
   * looking (`onlyHere`) or saving (`backupWorktree`).
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
  if (before.state === 'missing') return { removed: false, saved: null };
  if (before.state === 'foreign') {
    throw new ToolFailure('git', args, source, null, '', {
      summary: `${path} is ${before.occupant}, no worktree of this repository; it is left alone`,
    });
  }
  if (before.state === 'prunable') {
    const saved = await keepLostHead(source, before.head);
    await run(source, ['worktree', 'remove', '--force', path]);
    return { removed: true, saved };
  }
  try {
    await run(source, args);
  } catch (error) {
    // git forgets the worktree even where it could not delete all files (still written to, read-only folders).
    const after = await worktreeState(source, path, '');
    if (!wanted.force || (after.state !== 'missing' && after.state !== 'foreign')) throw error;
    await removeFolder(path);
  }
  return { removed: true, saved: null };
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
  if ((await look(source, args)).trim() === '0') return null;
  const ref = `refs/metawsm/lost/${head.slice(0, 12)}`;
  await run(source, ['update-ref', ref, head]);
  return ref;
}
