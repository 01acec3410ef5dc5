/** What an agent may have changed in a repo's git configuration, and what that must not do. */
import type { RecordedRepo } from '../plan/recorded.js';
import {
  type ConfigSnapshot,
  configSnapshot,
  type DangerousChange,
  dangerousChanges,
} from '../tools/git-config.js';
import type { StatusOptions } from '../tools/git-status.js';

/** How a repo's worktree is looked at: what metawsm put there is no change, and no filter runs that came later. */
export function lookOptions(repo: RecordedRepo): StatusOptions {
  return { placed: repo.placed, config: repo.configAtCreation as ConfigSnapshot | null };
}

/**
 * What of the repo's git configuration runs a program or redirects and was changed since its worktree was made.
 * `at`: the worktree, or the source clone where that is gone.
 */
export async function changedConfig(repo: RecordedRepo, at: string): Promise<readonly DangerousChange[]> {
  const before = repo.configAtCreation as ConfigSnapshot | null;
  if (before === null) return [];
  const changes = dangerousChanges(before, await configSnapshot(at));
  // What the worktree had for itself is not to be found elsewhere.
  return at === repo.path ? changes : changes.filter(({ change }) => change !== 'removed');
}
