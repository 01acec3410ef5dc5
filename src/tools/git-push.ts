/** Pushing one branch to origin, never by force. */
import { ToolFailure } from './failure.js';
import { networkEnvironment, type RunOptions, run } from './git.js';

export interface PushBranch {
  readonly repo: string;
  /** Short name of the branch on origin. */
  readonly branch: string;
  /** The commit that it is to be at. */
  readonly commit: string;
  readonly signal?: AbortSignal | undefined;
  readonly onSpawn?: RunOptions['onSpawn'];
}

/**
 * Brings a branch of origin to a commit, where that loses nothing there. `already`: it was there. Nothing else is
 * pushed: no tags, no submodules.
 * @throws {ToolFailure} also where origin has the branch at other commits, which it then names.
 */
export async function pushBranch(wanted: PushBranch): Promise<'pushed' | 'already'> {
  const { repo, branch, commit, signal, onSpawn } = wanted;
  const ref = `refs/heads/${branch}`;
  const options = ['--porcelain', '--no-follow-tags', '--no-signed', '--no-recurse-submodules'];
  const args = ['push', ...options, 'origin', `${commit}:${ref}`];
  const env = await networkEnvironment(repo);
  try {
    const { stdout } = await run(repo, args, { env, signal, onSpawn });
    return /^=\t/m.test(stdout) ? 'already' : 'pushed';
  } catch (error) {
    if (!(error instanceof ToolFailure) || error.exitCode !== 1 || signal?.aborted) throw error;
    const { stdout } = await run(repo, ['ls-remote', '--', 'origin', ref], { env, signal });
    const there = stdout
      .split('\n')
      .find((line) => line.split('\t')[1] === ref)
      ?.split('\t')[0];
    if (there === commit) return 'already';
    if (there === undefined) throw error;
    throw new ToolFailure('git', error.args, repo, error.exitCode, error.stderr, {
      cause: error,
      summary: `origin has ${branch} at ${there.slice(0, 12)} and did not take ${commit.slice(0, 12)}; nothing there was overwritten`,
    });
  }
}
