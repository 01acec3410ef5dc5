/** One change of a repository's worktrees at a time, also between runs that share it. */
import { commonDirOf } from '../tools/git-read.js';
import type { StepContext } from './world.js';

/** Making a worktree of a large repository takes its time; runs that share it queue here. */
const REPO_LOCK_WAIT_MS = 10 * 60_000;

/**
 * Do something while no other metawsm of this state folder changes the repository at `source`. `fn` is given the
 * repository's common git folder; for a clone still to be made its path stands for it.
 */
export async function withRepoLock<T>(
  ctx: StepContext,
  source: string,
  fn: (commonDir: string) => Promise<T>,
): Promise<T> {
  const { store, signal } = ctx.world;
  const name = await commonDirOf(source).catch(() => source);
  const lock = await store.acquireLock(`repo:${name}`, { timeoutMs: REPO_LOCK_WAIT_MS, signal });
  try {
    return await fn(name);
  } finally {
    await lock.release();
  }
}
