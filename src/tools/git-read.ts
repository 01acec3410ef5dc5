/** Looks at one repository. None of them writes anything, not even git's index. */
import { realpath, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { lastLines } from './failure.js';
import { look, patiently, run } from './git.js';
import { isThere } from './git-folder.js';

export type GitOperation = 'rebase' | 'am' | 'merge' | 'cherry-pick' | 'revert' | 'bisect';

/** Where a path is, to git. */
export interface RepoPlace {
  readonly exists: boolean;
  readonly isRepo: boolean;
  /** Why git does not accept what looks like a repository (unsafe owner, broken), in git's words; else null. */
  readonly problem: string | null;
  readonly bare: boolean;
  /** The top of the worktree that holds the path, real path; null in a bare repository or inside `.git`. */
  readonly topLevel: string | null;
  /** The path is this top itself, or the bare repository itself. */
  readonly isTop: boolean;
  /** The worktree's own git folder, real path. */
  readonly gitDir: string | null;
  /** The git folder that all worktrees of the repository share, real path: the repository's identity. */
  readonly commonDir: string | null;
  readonly shallow: boolean;
}

/** What a path is to git. */
export interface RepoDescription extends RepoPlace {
  /** null: nothing is committed yet. */
  readonly head: string | null;
  /** What is in progress in this worktree. */
  readonly operation: GitOperation | null;
  readonly hasOrigin: boolean;
  /** As configured, before `url.*.insteadOf`. */
  readonly originUrl: string | null;
}

/** @throws {ToolFailure} where git is missing or was killed; what is wrong with the path is part of the answer. */
export async function describeRepo(path: string): Promise<RepoDescription> {
  const place = await locateRepo(path);
  if (place.gitDir === null) {
    return { ...place, head: null, operation: null, hasOrigin: false, originUrl: null };
  }
  const [head, origin, operation] = await Promise.all([
    commitOf(path, 'HEAD'),
    run(path, ['config', '--get', 'remote.origin.url'], { okCodes: [0, 1] }),
    operationIn(place.gitDir),
  ]);
  const originUrl = origin.exitCode === 0 ? origin.stdout.replace(/\n$/, '') : null;
  return { ...place, head, operation, hasOrigin: originUrl !== null, originUrl };
}

/** The same without what is in the repository, by one call of git. @throws {ToolFailure} as `describeRepo` does. */
export async function locateRepo(path: string): Promise<RepoPlace> {
  const none: RepoPlace = {
    exists: false,
    isRepo: false,
    problem: null,
    bare: false,
    topLevel: null,
    isTop: false,
    gitDir: null,
    commonDir: null,
    shallow: false,
  };
  const found = await stat(path).catch(() => null);
  if (found === null) return none;
  if (!found.isDirectory()) return { ...none, exists: true };
  const here = await realpath(path);
  // --show-cdup prints nothing where there is no worktree; --show-toplevel would fail.
  const asked = await run(
    here,
    [
      'rev-parse',
      '--path-format=absolute',
      '--is-bare-repository',
      '--is-shallow-repository',
      '--git-dir',
      '--git-common-dir',
      '--show-cdup',
    ],
    { okCodes: [0, 128] },
  );
  if (asked.exitCode !== 0) {
    const plain = /not a git repository/.test(asked.stderr);
    return { ...none, exists: true, problem: plain ? null : lastLines(asked.stderr, 3) };
  }
  const lines = asked.stdout.split('\n').slice(0, -1);
  const [bareText, shallowText, gitDirText, commonDirText, cdup] = lines;
  if (gitDirText === undefined || commonDirText === undefined || lines.length > 5) {
    return { ...none, exists: true, problem: 'the path of the repository contains a line break' };
  }
  const bare = bareText === 'true';
  const [gitDir, commonDir] = await Promise.all([realpath(gitDirText), realpath(commonDirText)]);
  const topLevel = bare || cdup === undefined ? null : resolve(here, cdup);
  return {
    exists: true,
    isRepo: true,
    problem: null,
    bare,
    topLevel,
    isTop: bare ? gitDir === here : topLevel === here,
    gitDir,
    commonDir,
    shallow: shallowText === 'true',
  };
}

/** The git folder that all worktrees of a repository share, real path. @throws {ToolFailure} where it is no repository. */
export async function commonDirOf(repo: string): Promise<string> {
  const out = await look(repo, ['rev-parse', '--path-format=absolute', '--git-common-dir']);
  return realpath(out.replace(/\n$/, ''));
}

/** The commit that a full ref name (`refs/…`), `HEAD` or a commit id stands for, or null where there is none. */
export async function commitOf(repo: string, ref: string): Promise<string | null> {
  const { exitCode, stdout } = await run(repo, ['rev-parse', '--quiet', '--verify', `${ref}^{commit}`], {
    okCodes: [0, 1, 128],
  });
  return exitCode === 0 ? stdout.trim() : null;
}

export interface BranchInfo {
  /** null: there is no such branch. */
  readonly commit: string | null;
  /** The worktree that has it checked out, or null. */
  readonly checkedOutAt: string | null;
  /** Who made its newest commit, and when (ISO date), for a person. */
  readonly lastAuthor: string | null;
  readonly lastDate: string | null;
}

/** A local branch. @throws {ToolFailure} where `repo` is no repository. */
export async function branchInfo(repo: string, branch: string): Promise<BranchInfo> {
  const ref = `refs/heads/${branch}`;
  const format = '%(refname)%00%(objectname)%00%(worktreepath)%00%(authorname)%00%(authordate:iso-strict)%00';
  const { stdout } = await patiently(() => run(repo, ['for-each-ref', `--format=${format}`, ref]));
  // Asked for `a`, git also names `a/b`.
  const fields = stdout.split('\0').map((field) => field.replace(/^\n/, ''));
  for (let at = 0; at + 4 < fields.length; at += 5) {
    if (fields[at] !== ref) continue;
    return {
      commit: fields[at + 1] || null,
      checkedOutAt: fields[at + 2] || null,
      lastAuthor: fields[at + 3] || null,
      lastDate: fields[at + 4] || null,
    };
  }
  return { commit: null, checkedOutAt: null, lastAuthor: null, lastDate: null };
}

/** What is in progress, judged by the files that git keeps for it in a worktree's git folder. */
export async function operationIn(gitDir: string): Promise<GitOperation | null> {
  const marks: readonly (readonly [string, GitOperation])[] = [
    ['rebase-merge', 'rebase'],
    [join('rebase-apply', 'applying'), 'am'],
    ['rebase-apply', 'rebase'],
    ['MERGE_HEAD', 'merge'],
    ['CHERRY_PICK_HEAD', 'cherry-pick'],
    ['REVERT_HEAD', 'revert'],
    ['BISECT_LOG', 'bisect'],
  ];
  const there = await Promise.all(marks.map(([file]) => isThere(join(gitDir, file))));
  return marks[there.indexOf(true)]?.[1] ?? null;
}

/** The real path, also of what does not exist yet: the real path of its nearest existing folder, and the rest. */
export async function canonicalPath(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch {
    const parent = dirname(absolute);
    return parent === absolute ? absolute : join(await canonicalPath(parent), absolute.slice(parent.length));
  }
}
