/** Merging two commits in the object store alone: no ref, no index and no file of a worktree changes. */
import { join } from 'node:path';
import { lastLines } from './failure.js';
import { run } from './git.js';
import { commonDirOf } from './git-read.js';
import { withScratchFolder } from './scratch.js';

/** Added to git's environment. */
export type GitEnv = Readonly<Record<string, string>>;

export type MergedTrees =
  | { readonly kind: 'clean'; readonly tree: string }
  /** The files that need a person. `drivers`: the configured merge drivers, which were not run. */
  | {
      readonly kind: 'conflict';
      readonly files: readonly string[];
      readonly drivers: readonly string[];
    }
  /** Histories without a common commit, or objects that are missing: git's own words. */
  | { readonly kind: 'impossible'; readonly reason: string };

/** The value of this variable replaces the command of every configured merge driver. */
const NO_DRIVER = 'METAWSM_MERGE_DRIVER';

/**
 * Three-way merge of two commits. Merge drivers of the configuration do not run: where one would have to decide,
 * its file counts as a conflict. Writes the merged tree's objects, where `env` says or into the repository.
 * @throws {ToolFailure} where git is killed or missing.
 */
export async function mergeTrees(
  repo: string,
  ours: string,
  theirs: string,
  env: GitEnv = {},
): Promise<MergedTrees> {
  const drivers = await mergeDrivers(repo);
  // Not with -c: a driver's name may hold a `=`, and only --config-env looks for the last one.
  const off = drivers.map((name) => `--config-env=merge.${name}.driver=${NO_DRIVER}`);
  // Normalising would run the filters of the configuration.
  const args = [...off, '-c', 'merge.renormalize=false', 'merge-tree', '--write-tree', '--name-only', '-z'];
  const { exitCode, stdout, stderr } = await run(repo, [...args, ours, theirs], {
    env: { ...env, [NO_DRIVER]: 'false' },
    okCodes: [0, 1, 128],
  });
  const [tree = '', ...rest] = stdout.split('\0');
  if (exitCode > 1 || !/^[0-9a-f]{40,64}$/.test(tree)) {
    return {
      kind: 'impossible',
      reason: lastLines(stderr, 3) || `git merge-tree ended with exit ${exitCode}`,
    };
  }
  if (exitCode === 0) return { kind: 'clean', tree };
  // An empty field ends the names; git's messages follow.
  const end = rest.indexOf('');
  return { kind: 'conflict', files: [...new Set(rest.slice(0, Math.max(0, end)))].sort(), drivers };
}

/** Names of the merge drivers that the configuration defines as commands. */
async function mergeDrivers(repo: string): Promise<readonly string[]> {
  const args = ['config', '--name-only', '-z', '--get-regexp', '^merge\\..*\\.driver$'];
  const { stdout } = await run(repo, args, { okCodes: [0, 1] });
  const names = stdout.split('\0').filter((key) => key !== '');
  return [...new Set(names.map((key) => key.slice('merge.'.length, -'.driver'.length)))];
}

/**
 * Calls `work` with an environment in which git finds all objects of the repository and writes new ones into a
 * temporary folder, which is then removed: a look leaves no trace.
 */
export async function withScratchObjects<T>(repo: string, work: (env: GitEnv) => Promise<T>): Promise<T> {
  const real = join(await commonDirOf(repo), 'objects');
  return withScratchFolder((folder) =>
    work({
      GIT_OBJECT_DIRECTORY: folder,
      // A list with colons between; a quoted entry may hold one itself.
      GIT_ALTERNATE_OBJECT_DIRECTORIES: `"${real.replace(/["\\]/g, '\\$&')}"`,
    }),
  );
}

/** Whether `ancestor` is `commit` or one that led to it. */
export async function isAncestor(repo: string, ancestor: string, commit: string): Promise<boolean> {
  const { exitCode } = await run(repo, ['merge-base', '--is-ancestor', ancestor, commit], {
    okCodes: [0, 1],
  });
  return exitCode === 0;
}
