/** Looking at the worktrees of a repository. Nothing here writes. */
import { lstat, readdir, realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { patiently, run } from './git.js';
import { gitDirOf, readGitFile } from './git-folder.js';
import { canonicalPath, commonDirOf } from './git-read.js';

/** A worktree as git has it registered. */
export interface ListedWorktree {
  readonly path: string;
  /** null: nothing is committed in it yet, or it is the bare repository itself. */
  readonly head: string | null;
  /** Short name of its branch; null: detached or bare. */
  readonly branch: string | null;
  readonly bare: boolean;
  /** The reason (may be empty) where it is locked. */
  readonly locked: string | null;
}

export async function listWorktrees(repo: string): Promise<readonly ListedWorktree[]> {
  const { stdout: out } = await patiently(() => run(repo, ['worktree', 'list', '--porcelain', '-z']));
  return out
    .split('\0\0')
    .map((record) => new Map(record.split('\0').map(keyAndValue)))
    .filter((fields) => fields.has('worktree'))
    .map((fields) => {
      const head = fields.get('HEAD') ?? '';
      return {
        path: fields.get('worktree') ?? '',
        head: /^0*$/.test(head) ? null : head,
        branch: fields.get('branch')?.replace(/^refs\/heads\//, '') ?? null,
        bare: fields.has('bare'),
        locked: fields.get('locked') ?? null,
      };
    });
}

function keyAndValue(line: string): [string, string] {
  const space = line.indexOf(' ');
  return space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
}

export interface WorktreeState {
  /**
   * `ready`: registered with git at this path and on disk; `missing`: nothing (or an empty folder) is there and git
   * knows nothing; `prunable`: git knows it, the folder is gone; `foreign`: something else is there.
   */
  readonly state: 'ready' | 'missing' | 'prunable' | 'foreign';
  /** The branch it is on now; null: detached, or not a worktree. */
  readonly branch: string | null;
  readonly head: string | null;
  /** It is ready, and on the branch that was asked for. */
  readonly onBranch: boolean;
  readonly locked: string | null;
  /** Where foreign: what is there, in a few words. */
  readonly occupant: string | null;
}

/**
 * `knownCommonDir`: the common git folder of `source`, where the caller knows it.
 * @throws {ToolFailure} where `source` is no repository.
 */
export async function worktreeState(
  source: string,
  path: string,
  branch: string,
  knownCommonDir?: string,
): Promise<WorktreeState> {
  const [at, commonDir, listed] = await Promise.all([
    canonicalPath(path),
    knownCommonDir ?? commonDirOf(source),
    listWorktrees(source),
  ]);
  const entry = listed.find((each) => each.path === at && !each.bare);
  const found = await lstat(at).catch(() => null);
  const known = {
    branch: entry?.branch ?? null,
    head: entry?.head ?? null,
    onBranch: false,
    locked: entry?.locked ?? null,
    occupant: null,
  };
  if (found === null) return { state: entry === undefined ? 'missing' : 'prunable', ...known };
  if (entry !== undefined && found.isDirectory() && (await belongsTo(commonDir, at))) {
    return { state: 'ready', ...known, onBranch: entry.branch === branch };
  }
  if (found.isDirectory() && (await readdir(at)).length === 0) {
    return { state: entry === undefined ? 'missing' : 'prunable', ...known };
  }
  const nothing = { branch: null, head: null, onBranch: false, locked: null };
  return { state: 'foreign', ...nothing, occupant: await occupantOf(at, commonDir) };
}

/** Whether the folder's `.git` file and the repository's entry for it name each other. */
async function belongsTo(commonDir: string, path: string): Promise<boolean> {
  if (!(await lstat(join(path, '.git')).catch(() => null))?.isFile()) return false;
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return false;
  try {
    const [real, back] = await Promise.all([realpath(gitDir), readGitFile(join(gitDir, 'gitdir'))]);
    if (back === null || dirname(real) !== join(commonDir, 'worktrees')) return false;
    return (await canonicalPath(resolve(real, back.toString('utf8').trim()))) === join(path, '.git');
  } catch {
    return false;
  }
}

async function occupantOf(path: string, commonDir: string): Promise<string> {
  const found = await lstat(path);
  if (found.isSymbolicLink()) return 'a symbolic link';
  if (!found.isDirectory()) return 'a file';
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return `a folder with ${(await readdir(path)).length} entries`;
  const shared = await commonDirOf(path).catch(() => null);
  if (shared === null) return 'a worktree whose repository is gone';
  if (shared === commonDir) return 'a checkout of this repository that is not the run’s worktree';
  return `a checkout of another repository (${shared})`;
}

export interface HalfMade {
  readonly reason: string;
}

/**
 * Whether a `git worktree add` for this path was killed before its end. Ask only where the record says that the run
 * was making it, and that no git of it still runs. null: nothing is there, or the worktree is whole.
 */
export async function halfMadeWorktree(
  source: string,
  path: string,
  branch: string,
): Promise<HalfMade | null> {
  const state = await worktreeState(source, path, branch);
  // git holds this lock from the first file to the last; an index.lock may as well be that of an agent at work.
  if (isUnfinished(state)) return { reason: 'git had not finished making it' };
  if (state.state === 'foreign' && (await holdsOnlyOurGitFile(source, path))) {
    return { reason: 'only its .git file is there' };
  }
  return null;
}

/** git itself locks a worktree with this reason while it makes it. */
export function isUnfinished(state: WorktreeState): boolean {
  return state.locked === 'initializing';
}

/**
 * The rest of a killed `git worktree add`: a folder with nothing but a `.git` file that names an entry of ours, or
 * does not yet say anything.
 */
export async function holdsOnlyOurGitFile(source: string, path: string): Promise<boolean> {
  const entries = await readdir(path).catch(() => []);
  if (entries.length !== 1 || entries[0] !== '.git') return false;
  const file = await lstat(join(path, '.git')).catch(() => null);
  if (file?.isFile() && file.size === 0) return true;
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return false;
  return (await canonicalPath(dirname(gitDir))) === join(await commonDirOf(source), 'worktrees');
}
