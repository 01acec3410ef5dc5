/** Making a worktree, whole or not at all. One at a time per repository: the caller's lock. */
import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ToolFailure } from './failure.js';
import { networkEnvironment, type RunOptions, run } from './git.js';
import { isThere } from './git-folder.js';
import { branchInfo, canonicalPath, commonDirOf } from './git-read.js';
import { asideOf, keepLostHead, moveAside, removeFolder } from './git-remove.js';
import { holdsOnlyOurGitFile, isUnfinished, worktreeState } from './git-worktree.js';

export interface AddWorktree {
  readonly source: string;
  /** The common git folder of `source`, where the caller knows it. */
  readonly commonDir?: string;
  readonly path: string;
  readonly branch: string;
  /** Where the new branch starts. Not used where `existing`. */
  readonly commit: string;
  /** The branch is the run's own and exists: check it out, do not create it. */
  readonly existing: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onSpawn?: RunOptions['onSpawn'];
}

export interface AddedWorktree {
  /** false: it was there already, on its branch. */
  readonly made: boolean;
  /** The commit that is checked out. */
  readonly head: string;
  /** Where the removed registration of a lost folder held commits that are on no branch: the ref that keeps them now. */
  readonly saved: string | null;
}

const TRIES = 5;

/**
 * Makes the worktree with its branch, or finds it made. What this call made and could not finish is removed again;
 * what was there before never is. Afterwards submodules are initialised.
 * @throws {ToolFailure} where git fails, and where the path or the branch is somebody else's (it says whose).
 */
export async function addWorktree(wanted: AddWorktree): Promise<AddedWorktree> {
  const { source, path, branch } = wanted;
  const args = wanted.existing
    ? ['worktree', 'add', path, branch]
    : ['worktree', 'add', '--no-track', '-b', branch, path, wanted.commit];
  const refuse = (summary: string) => new ToolFailure('git', args, source, null, '', { summary });

  const commonDir = wanted.commonDir ?? (await commonDirOf(source));
  const [before, network] = await Promise.all([
    worktreeState(source, path, branch, commonDir),
    networkEnvironment(source),
  ]);
  if (before.state === 'foreign') {
    throw refuse(`${path} is taken by ${before.occupant}, which is left alone; move it away`);
  }
  if (before.state === 'ready' && !before.onBranch) {
    const on = before.branch === null ? 'a detached HEAD' : `the branch ${before.branch}`;
    throw refuse(`${path} is a worktree on ${on}, not on ${branch}; check out ${branch} there, or remove it`);
  }
  if (before.state === 'ready') {
    if (isUnfinished(before)) {
      throw refuse(`${path} is a worktree that was never finished; git worktree remove -f -f ${path}`);
    }
    await initSubmodules(path, wanted);
    return { made: false, head: before.head ?? '', saved: null };
  }
  let saved: string | null = null;
  if (before.state === 'prunable') {
    if (before.locked !== null) {
      throw refuse(`${path} is gone, and its registration is locked; git worktree unlock ${path}`);
    }
    saved = await keepLostHead(source, before.head);
    await run(source, ['worktree', 'remove', '--force', path]);
  }
  const owner = await branchInfo(source, branch);
  if (!wanted.existing && owner.commit !== null) {
    const where = owner.checkedOutAt === null ? '' : `, checked out at ${owner.checkedOutAt}`;
    const last = `last commit ${owner.commit.slice(0, 12)} by ${owner.lastAuthor} on ${owner.lastDate}`;
    throw refuse(`the branch ${branch} exists already (${last}${where}); rename it or choose another name`);
  }
  if (wanted.existing && owner.commit === null) throw refuse(`the branch ${branch} is gone`);
  if (owner.checkedOutAt !== null && owner.checkedOutAt !== (await canonicalPath(path))) {
    throw refuse(`the branch ${branch} is checked out at ${owner.checkedOutAt}; check out another one there`);
  }
  await addWithRetries(wanted, args, network);
  await initSubmodules(path, wanted);
  const after = await worktreeState(source, path, branch, commonDir);
  if (after.state !== 'ready' || !after.onBranch || after.head === null) {
    throw refuse(`git made no worktree on ${branch} (found: ${after.state})`);
  }
  return { made: true, head: after.head, saved };
}

/** `env`: a lazily fetched (partial) clone and LFS may need the network. */
async function addWithRetries(
  wanted: AddWorktree,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const { source, path, branch } = wanted;
  const folderWasThere = await isThere(path);
  for (let tried = 1; ; tried += 1) {
    try {
      await run(source, args, { env, signal: wanted.signal, onSpawn: wanted.onSpawn });
      return;
    } catch (error) {
      const stderr = error instanceof ToolFailure ? error.stderr : '';
      // Somebody made that very branch or folder since we looked: it is not ours to remove.
      if (/already (exists|checked out|used by)/.test(stderr)) throw error;
      await discardHalfMade({
        source,
        path,
        branch,
        branchExisted: wanted.existing,
        commit: wanted.commit,
        keepEmptyFolder: folderWasThere,
      });
      if (tried === TRIES || !isLockError(stderr) || wanted.signal?.aborted) throw error;
      await pause(50 * 2 ** tried * (0.5 + Math.random()), undefined, { signal: wanted.signal });
    }
  }
}

/** Another git held a lock; such an error goes away by itself. The texts are untranslated (`run` sees to it). */
function isLockError(stderr: string): boolean {
  return /\.lock'|failed to read .*commondir|could not lock|cannot lock|unable to lock|failed to lock/i.test(
    stderr,
  );
}

/** Submodules that are not checked out yet are, all levels; those that are stay as they are. */
async function initSubmodules(
  path: string,
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly onSpawn?: RunOptions['onSpawn'];
  },
): Promise<void> {
  if (!(await isThere(join(path, '.gitmodules')))) return;
  const { stdout } = await run(path, ['submodule', 'status', '--recursive']);
  if (!/^-/m.test(stdout)) return;
  const env = await networkEnvironment(path);
  await run(path, ['submodule', 'update', '--init', '--recursive'], {
    env,
    signal: options.signal,
    onSpawn: options.onSpawn,
  });
}

export interface DiscardHalfMade {
  readonly source: string;
  readonly path: string;
  readonly branch: string;
  /** The branch was there before the run began to make the worktree: it stays. */
  readonly branchExisted: boolean;
  /** Where the new branch started. It is deleted only while it still points there. */
  readonly commit: string;
  /** The folder was there (empty) before. */
  readonly keepEmptyFolder?: boolean;
}

/** Removes what a failed or killed `git worktree add` of this run left: registration, folder and new branch. */
export async function discardHalfMade(half: DiscardHalfMade): Promise<void> {
  const { source, path, branch } = half;
  const state = await worktreeState(source, path, branch);
  if (state.state === 'ready' || state.state === 'prunable') {
    // As a whole: half of it, deleted by a git that is killed in turn, could not be told from somebody's folder.
    if (state.state === 'ready') await moveAside(path);
    // Twice: also where git's own "initializing" lock is left.
    await run(source, ['worktree', 'remove', '--force', '--force', path], { okCodes: [0, 128, 255] });
    const left = await worktreeState(source, path, branch);
    // Deleted from git's record, but not all of the files.
    if (left.state === 'foreign') await removeFolder(path);
    await removeFolder(asideOf(path));
  } else if (state.state === 'foreign' && (await holdsOnlyOurGitFile(source, path))) {
    await removeFolder(path);
  }
  // What is left can only be an empty folder; rmdir removes nothing else.
  if (!half.keepEmptyFolder) await rmdir(path).catch(() => {});
  if (half.branchExisted) return;
  const owner = await branchInfo(source, branch);
  if (owner.commit !== half.commit || owner.checkedOutAt !== null) return;
  await run(source, ['update-ref', '--no-deref', '-d', `refs/heads/${branch}`, half.commit]);
}
