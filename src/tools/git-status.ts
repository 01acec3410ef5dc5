/** What has changed in a worktree. Nothing here writes. */
import { createHash } from 'node:crypto';
import { constants, lstat, open, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ToolFailure } from './failure.js';
import { run } from './git.js';
import type { ConfigSnapshot } from './git-config.js';
import { ALL_FILTERS, type FiltersOff, filtersOff, mayHoldRepositories } from './git-filters.js';
import { gitDirOf } from './git-folder.js';
import { commitOf, type GitOperation, operationIn } from './git-read.js';
import { isTemporary } from './temporary.js';

/** What metawsm put into a worktree: path relative to it → sha256 of the content, or `link:<target>`. */
export type Placed = Readonly<Record<string, string>>;

export interface WorktreeStatus {
  /** null: nothing is committed yet. */
  readonly head: string | null;
  /** null: detached. */
  readonly branch: string | null;
  readonly operation: GitOperation | null;
  /** All of the following lists together, each path once, without what metawsm placed and without `.metawsm/`. */
  readonly dirtyFiles: readonly string[];
  /** Tracked files with changes, staged or not, and submodules. */
  readonly changed: readonly string[];
  readonly conflicted: readonly string[];
  readonly untracked: readonly string[];
  /** Untracked folders that are git repositories of their own, without the trailing slash. */
  readonly nested: readonly string[];
  /** Changes whenever HEAD or what `git status` says changes. */
  readonly fingerprint: string;
}

export interface StatusOptions {
  /** What metawsm put there; it is no change as long as it is still the same. */
  readonly placed?: Placed;
  /**
   * The repository's configuration as it was before an agent could change it: filters that it gained since do not
   * run. null: none that it defines does. Left out: all of them run.
   */
  readonly config?: ConfigSnapshot | null;
}

/** What turns off the filters that are not trusted, in the worktree and in what is checked out inside of it. */
export async function untrustedOff(path: string, options: StatusOptions): Promise<FiltersOff> {
  if (options.config === undefined) return ALL_FILTERS;
  const inside = (await mayHoldRepositories(path)) ? await submodules(path) : [];
  return filtersOff(
    path,
    options.config,
    inside.map((name) => join(path, name)),
  );
}

/**
 * What `git status` says of a worktree, without what metawsm put there itself. Looks without taking a lock.
 * @throws {ToolFailure} where the path is no worktree.
 */
export async function worktreeStatus(path: string, options: StatusOptions = {}): Promise<WorktreeStatus> {
  const gitDir = await gitDirOf(path);
  // Without it git would climb up and tell about whatever repository lies around the folder.
  if (gitDir === null) {
    const summary = 'this is no worktree (it has no .git)';
    throw new ToolFailure('git', ['status'], path, null, '', { summary });
  }
  const off = await untrustedOff(path, options);
  const args = [
    'status',
    '--porcelain=v2',
    '-z',
    '--branch',
    '--untracked-files=all',
    '--ignore-submodules=none',
    '--no-renames',
  ];
  // Directly, so that a git which never ends is ended with those that it started in submodules.
  const out = (await run(path, [...off.args, ...args], { env: off.env })).stdout;
  const placed = options.placed ?? {};
  const lists = { changed: [], conflicted: [], untracked: [], nested: [] } as Record<ListName, string[]>;
  let head: string | null = null;
  let branch: string | null = null;
  for (const record of out.split('\0')) {
    if (record.startsWith('# branch.oid ')) head = nullIf(record.slice(13), '(initial)');
    if (record.startsWith('# branch.head ')) branch = nullIf(record.slice(14), '(detached)');
    const entry = entryOf(record);
    if (entry === null || isOwn(entry.path)) continue;
    if (entry.maybePlaced && (await isStillPlaced(path, entry.path, placed))) continue;
    lists[entry.list].push(entry.path);
  }
  return {
    head,
    branch,
    operation: await operationIn(gitDir),
    dirtyFiles: [...lists.changed, ...lists.conflicted, ...lists.untracked, ...lists.nested],
    ...lists,
    fingerprint: createHash('sha256').update(out).digest('hex'),
  };
}

type ListName = 'changed' | 'conflicted' | 'untracked' | 'nested';

interface Entry {
  readonly path: string;
  readonly list: ListName;
  /** Nothing of it is staged, so its file alone decides whether it is what metawsm placed. */
  readonly maybePlaced: boolean;
}

/** One record of porcelain v2; null for headers. Paths may contain spaces, so fields are counted from the left. */
function entryOf(record: string): Entry | null {
  const rest = (fields: number) => record.split(' ').slice(fields).join(' ');
  switch (record[0]) {
    case '1':
      return { path: rest(8), list: 'changed', maybePlaced: record[2] === '.' };
    case 'u':
      return { path: rest(10), list: 'conflicted', maybePlaced: false };
    case '?':
      return record.endsWith('/')
        ? { path: record.slice(2, -1), list: 'nested', maybePlaced: false }
        : { path: record.slice(2), list: 'untracked', maybePlaced: true };
    default:
      return null;
  }
}

function nullIf(text: string, none: string): string | null {
  return text === none ? null : text;
}

/** How the name of a copy ends until it is whole. */
export const COPY_SUFFIX = '.metawsm-copy';

/** metawsm's own folder at the top of a worktree, and copies of its own that were not finished. */
export function isOwn(path: string): boolean {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return (
    path === '.metawsm' ||
    path.startsWith('.metawsm/') ||
    // What a crash left of a copy on its way to its name.
    isTemporary(name) ||
    name.endsWith(COPY_SUFFIX)
  );
}

/** Whether a file or link is still what metawsm put there. */
export async function isStillPlaced(worktree: string, path: string, placed: Placed): Promise<boolean> {
  const recorded = Object.hasOwn(placed, path) ? placed[path] : undefined;
  return recorded !== undefined && recorded === (await fingerprintOf(join(worktree, path)));
}

/** `link:<target>` of a link (never followed), the sha256 of a regular file's content, null of anything else. */
export async function fingerprintOf(file: string): Promise<string | null> {
  try {
    const found = await lstat(file);
    if (found.isSymbolicLink()) return `link:${await readlink(file)}`;
    if (!found.isFile()) return null;
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const hash = createHash('sha256');
    for await (const chunk of handle.createReadStream()) hash.update(chunk as Buffer);
    return hash.digest('hex');
  } catch {
    return null;
  }
}

export interface DiffStat {
  /** Commits of HEAD that the base lacks, and the other way round. */
  readonly ahead: number;
  readonly behind: number;
  /** Committed changes since HEAD and the base parted. */
  readonly filesChanged: number;
  readonly insertions: number;
  readonly deletions: number;
}

/** HEAD against a base commit; what is not committed does not count. null: HEAD has no commit. @throws {ToolFailure} */
export async function diffStat(path: string, base: string): Promise<DiffStat | null> {
  const diff = (range: readonly string[]) =>
    run(path, ['diff', '--shortstat', '--no-ext-diff', '--no-textconv', '--find-renames', ...range, '--'], {
      okCodes: [0, 128],
    });
  const [counts, sinceParting] = await Promise.all([
    run(path, ['rev-list', '--left-right', '--count', `${base}...HEAD`, '--']).catch(
      async (error: unknown) => {
        // On a branch that was deleted, or on a new one that begins from nothing.
        if ((await commitOf(path, 'HEAD')) === null) return null;
        throw error;
      },
    ),
    diff([`${base}...HEAD`]),
  ]);
  if (counts === null) return null;
  // Histories that have nothing in common have no point where they parted.
  const stat = sinceParting.exitCode === 0 ? sinceParting : await diff([base, 'HEAD']);
  const [behind = 0, ahead = 0] = counts.stdout.trim().split('\t').map(Number);
  const number = (pattern: RegExp) => Number(pattern.exec(stat.stdout)?.[1] ?? 0);
  return {
    ahead,
    behind,
    filesChanged: number(/(\d+) files? changed/),
    insertions: number(/(\d+) insertion/),
    deletions: number(/(\d+) deletion/),
  };
}

/** Paths of the checked out submodules, all levels. */
export async function submodules(path: string): Promise<readonly string[]> {
  const { stdout } = await run(path, ['ls-files', '--stage', '-z']);
  const links = stdout
    .split('\0')
    .filter((record) => record.startsWith('160000 '))
    .map((record) => record.slice(record.indexOf('\t') + 1));
  const found: string[] = [];
  for (const name of new Set(links)) {
    if ((await gitDirOf(join(path, name))) === null) continue;
    found.push(name, ...(await submodules(join(path, name))).map((inner) => join(name, inner)));
  }
  return found;
}
