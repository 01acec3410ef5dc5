/** Saving what a worktree holds before it is removed. The worktree itself, its index and its branch stay as they are. */
import { cp, mkdir, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ToolFailure } from './failure.js';
import { isContent } from './files.js';
import { run } from './git.js';
import type { ConfigSnapshot } from './git-config.js';
import { keepBytes } from './git-exact.js';
import { gitDirOf, isThere, readGitFile } from './git-folder.js';
import {
  clearFlags,
  flaggedFiles,
  hiddenChanges,
  innerWorktrees,
  type StrayModule,
  splitNul,
  unpushedCommits,
  unsavedCommits,
  withIndexCopy,
} from './git-only-here.js';
import { commitOf } from './git-read.js';
import {
  isOwn,
  isStillPlaced,
  type Placed,
  type StatusOptions,
  submodules,
  untrustedOff,
  worktreeStatus,
} from './git-status.js';

/** Filters and line endings as configured, but no warning about them stops a backup. */
const KEEP_GOING = [
  '-c',
  'core.safecrlf=false',
  '-c',
  'core.untrackedCache=false',
  '-c',
  'add.ignoreErrors=false',
];

export interface BackupWorktree {
  readonly source: string;
  readonly path: string;
  /** Wanted name, such as `refs/metawsm/backup/<run>/<repo>`. Where it is taken: `…-2`, `…-3`. */
  readonly ref: string;
  /** Left out as long as they are still what metawsm put there. */
  readonly placed?: Placed;
  /** As in `StatusOptions`: files of a filter that is not trusted are saved as they are on disk. */
  readonly config?: ConfigSnapshot | null;
}

export interface Backup {
  readonly ref: string;
  readonly commit: string;
  /** The shell command that brings it back as a worktree at the same path. */
  readonly restore: string;
}

/**
 * Saves a worktree as a commit on top of its HEAD: its tree is the worktree with untracked files, without ignored,
 * placed and `.metawsm/` ones. What is staged and differs from both is its second parent. The same content is
 * saved only once.
 * @throws {ToolFailure} where anything of it cannot be saved.
 */
export async function backupWorktree(wanted: BackupWorktree): Promise<Backup> {
  const { source, path } = wanted;
  const head = await commitOf(path, 'HEAD');
  const headTree = head === null ? null : await treeOf(path, head);
  const off = await untrustedOff(path, wanted);
  const { tree, staged } = await withIndexCopy(path, async (index) => {
    const env = { ...off.env, ...index };
    // It compares the files once more, and runs filters over them.
    const writeTree = [...off.args, 'write-tree'];
    // Fails where there are conflicts, and then there is no such tree.
    const asStaged = await run(path, writeTree, { env, okCodes: [0, 128] });
    await addAll(path, wanted.placed ?? {}, [...off.args, ...KEEP_GOING], env);
    await keepBytes(path, headTree, off.args, env);
    const all = await run(path, writeTree, { env });
    return { tree: all.stdout.trim(), staged: asStaged.exitCode === 0 ? asStaged.stdout.trim() : null };
  });
  const identity = await commitIdentity(path);
  const commitTree = async (of: string, message: string, parents: readonly string[]) => {
    const args = ['commit-tree', of, ...parents.flatMap((parent) => ['-p', parent]), '-m', message];
    return (await run(path, args, { env: identity })).stdout.trim();
  };
  const onTop = head === null ? [] : [head];
  const parents = [...onTop];
  if (staged !== null && staged !== tree && staged !== headTree) {
    parents.push(await commitTree(staged, `metawsm backup of what was staged in ${path}`, onTop));
  }
  const commit = await commitTree(tree, `metawsm backup of ${path}`, parents);
  const saved = await createRef(path, wanted.ref, commit);
  const argv = ['git', '-C', source, 'worktree', 'add', '--detach', path, saved.ref];
  return { ...saved, restore: argv.map(quoted).join(' ') };
}

/** Brings the index of `env` to what is in the worktree. */
async function addAll(
  path: string,
  placed: Placed,
  settings: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const flagged = await flaggedFiles(path);
  if (flagged.length > 0) await clearFlags(path, flagged, settings, env);
  await run(path, [...settings, 'add', '--update', '--', '.'], { env });
  const others = await run(path, [...settings, 'ls-files', '--others', '--exclude-standard', '-z'], {
    env,
  });
  const wanted: Buffer[] = [];
  for (const name of splitNul(others.bytes)) {
    const text = name.toString('utf8');
    // A trailing slash is a repository of its own: it is archived, not added.
    if (text.endsWith('/') || isOwn(text) || (await isStillPlaced(path, text, placed))) continue;
    wanted.push(name, Buffer.of(0));
  }
  if (wanted.length === 0) return;
  await run(path, [...settings, 'update-index', '--add', '--remove', '-z', '--stdin'], {
    env,
    input: Buffer.concat(wanted),
  });
}

/** Makes the ref, or the next free `-2`, `-3`; one that already holds the same is taken as it is. */
async function createRef(
  path: string,
  wanted: string,
  commit: string,
): Promise<{ readonly ref: string; readonly commit: string }> {
  const content = await contentOf(path, commit);
  for (let number = 1; ; number += 1) {
    const ref = number === 1 ? wanted : `${wanted}-${number}`;
    const there = await commitOf(path, ref);
    if (there !== null) {
      if ((await contentOf(path, there)) === content) return { ref, commit: there };
      continue;
    }
    try {
      // The empty old value: only if it still does not exist.
      await run(path, ['update-ref', ref, commit, '']);
      return { ref, commit };
    } catch (error) {
      if ((await commitOf(path, ref)) === null) throw error;
    }
  }
}

/** What two backups of the same state have in common: the tree, HEAD, and the tree of what was staged. */
async function contentOf(path: string, commit: string): Promise<string> {
  const { stdout } = await run(path, ['rev-list', '--parents', '--max-count=1', commit]);
  const [, head = '', staged] = stdout.trim().split(' ');
  const stagedTree = staged === undefined ? '' : await treeOf(path, staged);
  return [await treeOf(path, commit), head, stagedTree].join(' ');
}

async function treeOf(path: string, commit: string): Promise<string> {
  return (await run(path, ['rev-parse', '--verify', `${commit}^{tree}`])).stdout.trim();
}

/**
 * The environment for a commit of metawsm's own: empty where git knows who the caller is, else
 * `metawsm <metawsm@localhost>`.
 */
async function commitIdentity(cwd: string): Promise<Readonly<Record<string, string>>> {
  const known = async (role: string) => {
    // Without this git invents an identity from the machine's name.
    const args = ['-c', 'user.useConfigOnly=true', 'var', `GIT_${role}_IDENT`];
    return (await run(cwd, args, { okCodes: [0, 1, 128] })).exitCode === 0;
  };
  const env: Record<string, string> = {};
  for (const role of ['AUTHOR', 'COMMITTER']) {
    if (await known(role)) continue;
    env[`GIT_${role}_NAME`] = 'metawsm';
    env[`GIT_${role}_EMAIL`] = 'metawsm@localhost';
  }
  return env;
}

/**
 * The repositories inside a worktree that a backup commit cannot hold: untracked ones, and submodules with changes
 * or with commits that none of their remotes has. Paths relative to the worktree.
 */
export async function repositoriesInside(
  path: string,
  options: StatusOptions = {},
): Promise<readonly string[]> {
  const found = [...(await worktreeStatus(path, options)).nested];
  for (const name of await submodules(path)) {
    const inside = join(path, name);
    // What configures filters in there, nobody knew before the agent came.
    const { dirtyFiles } = await worktreeStatus(inside, { config: null });
    const hidden = await hiddenChanges(inside, { config: null });
    if (dirtyFiles.length + hidden.length > 0 || (await unpushedCommits(inside)) > 0) found.push(name);
  }
  const inner = (await innerWorktrees(path, options)).map(({ name }) => name);
  return [...found, ...inner.filter((name) => !found.includes(name))];
}

/** Keeps the commits that only an operation in progress or refs of the worktree's own hold. Gives the refs. */
export async function keepOwnCommits(path: string): Promise<readonly string[]> {
  const refs: string[] = [];
  for (const commit of await unsavedCommits(path)) {
    const ref = `refs/metawsm/lost/${commit.slice(0, 12)}`;
    await run(path, ['update-ref', ref, commit]);
    refs.push(ref);
  }
  return refs;
}

/** Copies the git folder of a submodule that is checked out no more into `folder`, as a bare repository. */
export async function archiveModule(module: StrayModule, folder: string): Promise<string> {
  const destination = await freeName(join(folder, `${module.name.replaceAll('/', '__')}.git`));
  await mkdir(folder, { recursive: true });
  const temporary = join(folder, `.${basename(destination)}.archiving`);
  await rm(temporary, { recursive: true, force: true });
  await cp(module.gitDir, temporary, COPY);
  const config = ['config', '--file', join(temporary, 'config')];
  await run('/', [...config, '--unset-all', 'core.worktree'], { okCodes: [0, 5] });
  await run('/', [...config, 'core.bare', 'true']);
  await rename(temporary, destination);
  return destination;
}

/** Whole, links as links, and without what is no content: the pipes and sockets of programs. */
const COPY = {
  recursive: true,
  verbatimSymlinks: true,
  preserveTimestamps: true,
  errorOnExist: true,
  filter: isContent,
};

/**
 * Copies a repository that lies inside a worktree (an untracked one, or a submodule) into `folder`, with its
 * history, so that it stands there on its own. It appears whole or not at all, never over another one; gives its
 * path.
 * @throws {ToolFailure} where there is nothing to copy.
 */
export async function archiveNested(worktree: string, nestedPath: string, folder: string): Promise<string> {
  const from = join(worktree, nestedPath);
  const gitDir = await gitDirOf(from);
  if (gitDir === null) {
    const summary = `${from} is no repository`;
    throw new ToolFailure('archive', [nestedPath, folder], worktree, null, '', { summary });
  }
  const destination = await freeName(join(folder, nestedPath.replaceAll('/', '__')));
  await mkdir(dirname(destination), { recursive: true });
  const temporary = join(dirname(destination), `.${basename(destination)}.archiving`);
  await rm(temporary, { recursive: true, force: true });
  try {
    await cp(from, temporary, COPY);
    const dotGit = join(temporary, '.git');
    if (gitDir !== join(from, '.git')) {
      await rm(dotGit);
      await cp(gitDir, dotGit, COPY);
      await standAlone(await realpath(gitDir), dotGit, temporary);
    }
    await rename(temporary, destination);
    return destination;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** The path, or the first of `-2`, `-3` … at which nothing is. */
async function freeName(path: string): Promise<string> {
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? path : `${path}-${number}`;
    if (!(await isThere(candidate))) return candidate;
  }
}

/** Makes a copied git folder independent of where it was: a submodule's, or a linked worktree's. */
async function standAlone(original: string, copy: string, worktree: string): Promise<void> {
  const shared = await readGitFile(join(copy, 'commondir'));
  if (shared === null) {
    // Not from within: git would follow the setting that is to go.
    const args = ['config', '--file', join(copy, 'config'), '--unset-all', 'core.worktree'];
    await run('/', args, { okCodes: [0, 5] });
    return;
  }
  // A linked worktree keeps sharing the objects of its repository; a ref there keeps its commits from being pruned.
  await writeFile(join(copy, 'commondir'), `${resolve(original, shared.toString('utf8').trim())}\n`);
  await rm(join(copy, 'gitdir'), { force: true });
  const head = await commitOf(worktree, 'HEAD');
  if (head !== null) await run(worktree, ['update-ref', `refs/metawsm/lost/${head.slice(0, 12)}`, head]);
}

/** A word as a POSIX shell takes it literally. */
function quoted(word: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
