/** The worktrees in which a branch is checked out, and whether they can be moved with it. Nothing here writes. */
import { copyFile, lstat, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { lastLines } from './failure.js';
import { run } from './git.js';
import { gitDirOf, isThere } from './git-folder.js';
import type { GitEnv } from './git-merge-tree.js';
import { worktreeStatus } from './git-status.js';
import { listWorktrees } from './git-worktree.js';
import { withScratchFolder } from './scratch.js';

/** A worktree that has the base checked out. */
export interface BaseCheckout {
  readonly path: string;
  /** Why it cannot be moved whatever is in it, for a person; null: nothing stands against it. */
  readonly problem: string | null;
  /**
   * Files with work that no commit holds (changed, untracked, ignored) where the move would write. A file that is
   * already what the move would make of it is none.
   */
  readonly overlaps: readonly string[];
}

/** A file that differs between two trees. Mode 000000: not there. */
export interface FileChange {
  readonly path: string;
  readonly oldMode: string;
  readonly oldId: string;
  readonly newMode: string;
  readonly newId: string;
}

/** What a checkout has to be brought to before it moves, or what stands against moving it. */
export interface CheckoutLook extends BaseCheckout {
  /** Index entries to set first: the file is already what one of the two ends has, and the index says the other. */
  readonly settle: readonly IndexEntry[];
}

export interface IndexEntry {
  readonly path: string;
  readonly mode: string;
  /** All zeros, as long as ids are there, where the path is to leave the index. */
  readonly id: string;
}

/** As a mode: there is no such file. */
const NOT_THERE = '000000';
const SUBMODULE = '160000';

/**
 * Each worktree in which the branch is checked out, and whether it can be moved from commit `from` to `to` (a commit
 * or a tree) as `git merge --ff-only` would, losing nothing.
 * @throws {ToolFailure}
 */
export async function checkoutsOf(
  repo: string,
  base: string,
  from: string | null,
  to: string,
  env: GitEnv = {},
): Promise<readonly BaseCheckout[]> {
  const looks = await lookAtCheckouts(repo, base, from, to, env);
  return looks.map(({ path, problem, overlaps }) => ({ path, problem, overlaps }));
}

/** As `checkoutsOf`, with what the move itself needs to know. */
export async function lookAtCheckouts(
  repo: string,
  base: string,
  from: string | null,
  to: string,
  env: GitEnv = {},
): Promise<readonly CheckoutLook[]> {
  const looks: CheckoutLook[] = [];
  for (const worktree of await listWorktrees(repo)) {
    if (worktree.bare || worktree.branch !== base) continue;
    const { path } = worktree;
    const look = (problem: string | null): CheckoutLook => ({ path, problem, overlaps: [], settle: [] });
    if (!(await isThere(join(path, '.git')))) {
      // A folder that is gone for good has no files to move; a locked one comes back.
      if (worktree.locked === null) continue;
      looks.push(look(`${base} is checked out in ${path}, which is locked and not there now`));
    } else if (from === null) {
      looks.push(look(`${base} is checked out in ${path} without any commit`));
    } else if (from === to) {
      looks.push(look(null));
    } else {
      looks.push(await lookAt(path, from, to, env));
    }
  }
  return looks;
}

async function lookAt(path: string, from: string, to: string, env: GitEnv): Promise<CheckoutLook> {
  const none: CheckoutLook = { path, problem: null, overlaps: [], settle: [] };
  const status = await worktreeStatus(path);
  if (status.operation !== null) {
    return { ...none, problem: `a ${status.operation} is in progress in ${path}; end it first` };
  }
  if (status.conflicted.length > 0) {
    return { ...none, problem: `there are unresolved conflicts in ${path}; resolve them first` };
  }
  const gitDir = await gitDirOf(path);
  if (gitDir !== null && (await isThere(join(gitDir, 'index.lock')))) {
    const lock = join(gitDir, 'index.lock');
    return { ...none, problem: `another git is at work in ${path}; where none is, remove ${lock}` };
  }
  const changes = await changesBetween(path, from, to, env);
  const touched = await touchedWork(path, changes, [
    ...status.changed,
    ...status.untracked,
    ...status.nested.map((name) => `${name}/`),
  ]);
  const { settle, overlaps } = await settlable(path, changes, touched, from, to, env);
  if (overlaps.length > 0) return { ...none, overlaps };
  return { ...none, settle, problem: await gitsObjection(path, from, to, settle, env) };
}

/** The files that differ between two commits or trees, file by file. */
async function changesBetween(
  repo: string,
  from: string,
  to: string,
  env: GitEnv = {},
): Promise<readonly FileChange[]> {
  const args = ['diff-tree', '-r', '--raw', '--no-abbrev', '-z', '--no-renames', '--ignore-submodules=none'];
  const { stdout } = await run(repo, [...args, from, to], { env });
  const fields = stdout.split('\0');
  const changes: FileChange[] = [];
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [oldMode = '', newMode = '', oldId = '', newId = ''] = (fields[at] ?? '').slice(1).split(' ');
    changes.push({ path: fields[at + 1] ?? '', oldMode, oldId, newMode, newId });
  }
  return changes;
}

/** What of the uncommitted work lies where the change writes or deletes, ignored files included. */
async function touchedWork(
  path: string,
  changes: readonly FileChange[],
  uncommitted: readonly string[],
): Promise<readonly string[]> {
  const byPath = new Map(changes.map((change) => [change.path, change]));
  const written = changes.filter((change) => change.newMode !== NOT_THERE);
  const folders = new Set(written.flatMap((change) => parentsOf(change.path)));
  const touched = new Set<string>();
  for (const name of uncommitted) {
    const bare = name.replace(/\/$/, '');
    const change = byPath.get(bare);
    // Git moves the pointer of a submodule and leaves what is checked out in it alone.
    if (change?.oldMode === SUBMODULE && change.newMode === SUBMODULE) continue;
    const becomesFile = parentsOf(bare).some((parent) => {
      const mode = byPath.get(parent)?.newMode;
      return mode !== undefined && mode !== NOT_THERE;
    });
    if (change !== undefined || becomesFile) touched.add(bare);
    else if (folders.has(bare) && !(await isFolder(join(path, bare)))) touched.add(bare);
  }
  // What git was told to ignore is named by no status, and git would write over it.
  const gone = new Set(changes.filter((change) => change.newMode === NOT_THERE).map((change) => change.path));
  const known = new Set(uncommitted);
  const seen = new Map<string, 'absent' | 'folder' | 'other'>();
  for (const change of written) {
    if (change.oldMode !== NOT_THERE || known.has(change.path)) continue;
    const there = await firstInTheWay(path, change.path, seen);
    if (there === null || gone.has(there.path)) continue;
    if (!there.folder) touched.add(there.path);
    else for (const name of await untrackedBelow(path, there.path)) touched.add(name);
  }
  return [...touched].sort();
}

/** What is at a path, or at a parent of it that is no folder. Links are not followed. */
async function firstInTheWay(
  root: string,
  name: string,
  seen: Map<string, 'absent' | 'folder' | 'other'>,
): Promise<{ readonly path: string; readonly folder: boolean } | null> {
  for (const path of [...parentsOf(name), name]) {
    let kind = seen.get(path);
    if (kind === undefined) {
      const found = await lstat(join(root, path)).catch(() => null);
      kind = found === null ? 'absent' : found.isDirectory() ? 'folder' : 'other';
      seen.set(path, kind);
    }
    if (kind === 'absent') return null;
    if (kind === 'other') return { path, folder: false };
  }
  return { path: name, folder: true };
}

/** Untracked files in a folder, ignored ones too. */
async function untrackedBelow(path: string, folder: string): Promise<readonly string[]> {
  const args = ['--literal-pathspecs', 'ls-files', '--others', '-z', '--', folder];
  const { stdout } = await run(path, args);
  return names(stdout).map((name) => name.replace(/\/$/, ''));
}

/**
 * Parts touched files into real overlaps and those that are already as one end of the move has them, with the index
 * saying the other: what a move that was cut off leaves, and what a person has who made the same change.
 */
async function settlable(
  path: string,
  changes: readonly FileChange[],
  touched: readonly string[],
  from: string,
  to: string,
  env: GitEnv,
): Promise<{ readonly settle: readonly IndexEntry[]; readonly overlaps: readonly string[] }> {
  const byPath = new Map(changes.map((change) => [change.path, change]));
  const candidates = touched.filter((name) => byPath.has(name));
  const settle: IndexEntry[] = [];
  const overlaps = touched.filter((name) => !byPath.has(name));
  if (candidates.length === 0) return { settle, overlaps };
  const [index, unlikeNew, unlikeOld] = await Promise.all([
    indexEntries(path, candidates),
    differing(path, candidates, changes, 'new', to, env),
    differing(path, candidates, changes, 'old', from, env),
  ]);
  for (const name of candidates) {
    const change = byPath.get(name);
    if (change === undefined) continue;
    const before = { path: name, mode: change.oldMode, id: change.oldId };
    const after = { path: name, mode: change.newMode, id: change.newId };
    const now = index.get(name) ?? { path: name, mode: NOT_THERE, id: '' };
    const known = isSame(now, before) || isSame(now, after);
    if (known && !unlikeNew.has(name)) settle.push(after);
    else if (known && !unlikeOld.has(name)) settle.push(before);
    else overlaps.push(name);
  }
  return { settle, overlaps: overlaps.sort() };
}

/** Whether an entry says that the path is not in the index. */
export function isAbsent(entry: IndexEntry): boolean {
  return entry.mode === NOT_THERE;
}

function isSame(a: IndexEntry, b: IndexEntry): boolean {
  return a.mode === b.mode && (a.mode === NOT_THERE || a.id === b.id);
}

async function indexEntries(
  path: string,
  wanted: readonly string[],
): Promise<ReadonlyMap<string, IndexEntry>> {
  const set = new Set(wanted);
  const { stdout } = await run(path, ['ls-files', '--stage', '-z']);
  const entries = new Map<string, IndexEntry>();
  for (const record of names(stdout)) {
    const tab = record.indexOf('\t');
    const [mode = '', id = ''] = record.slice(0, tab).split(' ');
    const name = record.slice(tab + 1);
    if (set.has(name)) entries.set(name, { path: name, mode, id });
  }
  return entries;
}

/** Those of the files that are not on disk as one end of the change has them, by content, kind and mode. */
async function differing(
  path: string,
  files: readonly string[],
  changes: readonly FileChange[],
  end: 'old' | 'new',
  tree: string,
  env: GitEnv,
): Promise<ReadonlySet<string>> {
  const absent = new Set(
    changes
      .filter((change) => (end === 'old' ? change.oldMode : change.newMode) === NOT_THERE)
      .map((change) => change.path),
  );
  const different = new Set<string>();
  for (const name of files) if (absent.has(name) && (await isThere(join(path, name)))) different.add(name);
  const present = files.filter((name) => !absent.has(name));
  if (present.length === 0) return different;
  await withScratchFolder(async (folder) => {
    const withIndex = { ...env, GIT_INDEX_FILE: join(folder, 'index') };
    await run(path, ['read-tree', '--no-sparse-checkout', tree], { env: withIndex });
    // The names may be too many for one command line.
    for (let at = 0; at < present.length; at += 200) {
      const args = ['--literal-pathspecs', 'diff', '--name-only', '-z', '--no-renames', '--no-ext-diff'];
      const some = present.slice(at, at + 200);
      const { stdout } = await run(
        path,
        [...args, '--no-textconv', '--ignore-submodules=none', '--', ...some],
        {
          env: withIndex,
        },
      );
      for (const name of names(stdout)) different.add(name);
    }
  });
  return different;
}

/** What git itself has against the move, tried on a copy of the index; null: nothing. */
async function gitsObjection(
  path: string,
  from: string,
  to: string,
  settle: readonly IndexEntry[],
  env: GitEnv,
): Promise<string | null> {
  return withScratchFolder(async (folder) => {
    const index = join(folder, 'index');
    const gitDir = await gitDirOf(path);
    const original = gitDir === null ? null : join(gitDir, 'index');
    if (original === null || !(await isThere(original))) return `${path} has no index`;
    const { mtimeMs } = await stat(original);
    await copyFile(original, index);
    // Never younger than the original: git trusts the times of files that are older than the index.
    await utimes(index, Math.floor(mtimeMs / 1000), Math.floor(mtimeMs / 1000));
    const withIndex = { ...env, GIT_INDEX_FILE: index };
    await setEntries(path, settle, withIndex);
    await run(path, ['update-index', '-q', '--refresh'], { env: withIndex, okCodes: [0, 1] });
    const { exitCode, stderr } = await run(path, [...moveArgs('-n'), from, to], {
      env: withIndex,
      okCodes: [0, 128],
    });
    return exitCode === 0 ? null : `git cannot move what is checked out in ${path}: ${lastLines(stderr, 5)}`;
  });
}

/** The command that brings a checkout from one commit to another, as `git merge --ff-only` does it. */
export function moveArgs(...extra: readonly string[]): readonly string[] {
  return ['read-tree', ...extra, '-m', '-u', '--no-recurse-submodules'];
}

/** Sets index entries without touching a file. */
export async function setEntries(
  path: string,
  entries: readonly IndexEntry[],
  env: GitEnv = {},
): Promise<void> {
  if (entries.length === 0) return;
  const lines = entries.map(
    ({ path: name, mode, id }) => `${mode === NOT_THERE ? '0' : mode} ${id}\t${name}\0`,
  );
  await run(path, ['update-index', '-z', '--index-info'], { env, input: lines.join('') });
}

async function isFolder(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null))?.isDirectory() ?? false;
}

/** `a`, `a/b` of `a/b/c`. */
function parentsOf(path: string): readonly string[] {
  const parts = path.split('/');
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'));
}

function names(output: string): readonly string[] {
  return output.split('\0').filter((name) => name !== '');
}
