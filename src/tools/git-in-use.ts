/** Whether a branch is in use without being checked out. Nothing here writes. */
import { join } from 'node:path';
import { gitDirOf, isThere, readGitFile } from './git-folder.js';
import { commonDirOf, operationIn } from './git-read.js';
import { type ListedWorktree, listWorktrees } from './git-worktree.js';

/** Why a branch that is not checked out is still in use: a rebase or a bisect of it. null: it is not. */
export async function inUse(repo: string, branch: string): Promise<string | null> {
  const commonDir = await commonDirOf(repo);
  for (const worktree of await listWorktrees(repo)) {
    if (worktree.bare) continue;
    const gitDir = await folderOf(worktree, commonDir);
    if (gitDir === null) continue;
    for (const file of [
      join('rebase-merge', 'head-name'),
      join('rebase-apply', 'head-name'),
      'BISECT_START',
    ]) {
      const text = (await readGitFile(join(gitDir, file)))?.toString('utf8') ?? '';
      if (text.trim().replace(/^refs\/heads\//, '') !== branch) continue;
      const operation = (await operationIn(gitDir)) ?? 'rebase';
      return `a ${operation} of ${branch} is in progress in ${worktree.path}; end it first`;
    }
  }
  return null;
}

async function folderOf(worktree: ListedWorktree, commonDir: string): Promise<string | null> {
  const own = await gitDirOf(worktree.path);
  if (own !== null) return own;
  // A main worktree whose git folder was put elsewhere.
  return (await isThere(worktree.path)) ? commonDir : null;
}
