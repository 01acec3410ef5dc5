/** What has changed in a worktree, and what of it exists nowhere else. Nothing here writes. */
import { createHash } from 'node:crypto';
import { constants, copyFile, lstat, open, readdir, readlink, realpath, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { ToolFailure } from './failure.js';
import { run } from './git.js';
import type { ConfigSnapshot } from './git-config.js';
import { ALL_FILTERS, type FiltersOff, filtersOff, mayHoldRepositories } from './git-filters.js';
import { gitDirOf, isThere, readGitFile } from './git-folder.js';
import { commitOf, type GitOperation, operationIn } from './git-read.js';
import { listWorktrees } from './git-worktree.js';
import { withScratchFolder } from './scratch.js';
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

/**
 * What would be lost with the worktree, one sentence each; empty: nothing. Branches, tags and stashes stay in the
 * repository, and ignored files do not count.
 * @throws {ToolFailure} where the path is no worktree.
 */
export async function onlyHere(path: string, options: StatusOptions = {}): Promise<readonly string[]> {
  const [status, hidden, lost, submodules, inner] = await Promise.all([
    worktreeStatus(path, options),
    hiddenChanges(path, options),
    lostCommits(path),
    submoduleWork(path),
    innerWorktrees(path, options),
  ]);
  const sentences: string[] = [];
  if (status.operation !== null) sentences.push(`a ${status.operation} is in progress`);
  const list = (names: readonly string[], one: string, many: string) => {
    if (names.length > 0)
      sentences.push(`${names.length} ${names.length === 1 ? one : many}: ${some(names)}`);
  };
  list(status.changed, 'uncommitted change', 'uncommitted changes');
  list(status.conflicted, 'unresolved conflict', 'unresolved conflicts');
  list(status.untracked, 'untracked file', 'untracked files');
  list(status.nested, 'repository of its own', 'repositories of their own');
  list(hidden, 'change that git was told to overlook', 'changes that git was told to overlook');
  if (lost > 0) {
    sentences.push(
      `${lost} ${lost === 1 ? 'commit' : 'commits'} on no branch (HEAD is ${status.head?.slice(0, 12)})`,
    );
  }
  const worktrees = inner
    .filter((each) => !status.nested.includes(each.name))
    .map(({ name, work }) => `a worktree of its own, ${shown(name)}: ${work.join('; ')}`);
  return [...sentences, ...submodules, ...worktrees];
}

/** Commits that only this worktree's HEAD, its own refs and its operation in progress hold. */
async function lostCommits(path: string): Promise<number> {
  const head = await commitOf(path, 'HEAD');
  const held = [...(head === null ? [] : [head]), ...(await ownCommits(path))];
  if (held.length === 0) return 0;
  const { stdout } = await run(path, ['rev-list', '--count', ...held, '--not', ...ELSEWHERE]);
  return Number(stdout.trim());
}

/** What holds commits when a worktree is gone, as words for `git rev-list`. */
const ELSEWHERE = ['--branches', '--tags', '--remotes', '--glob=refs/metawsm'];

/** Where git notes commits of an operation in progress that need be nowhere else. */
const NOTED_IN = [
  'MERGE_AUTOSTASH',
  join('rebase-merge', 'autostash'),
  join('rebase-merge', 'orig-head'),
  join('rebase-apply', 'autostash'),
  join('rebase-apply', 'orig-head'),
];

/** Commits that a worktree holds beside its HEAD: by refs of its own, and by an operation in progress. */
async function ownCommits(path: string): Promise<readonly string[]> {
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return [];
  const { stdout } = await run(path, ['rev-parse', '--glob=refs/worktree', '--glob=refs/rewritten']);
  const noted = await Promise.all(NOTED_IN.map((file) => readGitFile(join(gitDir, file))));
  const ids: string[] = [stdout, ...noted].join('\n').match(/^[0-9a-f]{40,64}$/gm) ?? [];
  if ((await commitOf(path, 'HEAD')) === null) ids.push(...(await lastHead(gitDir)));
  const there = await Promise.all([...new Set(ids)].map((id) => commitOf(path, id)));
  return there.filter((id) => id !== null);
}

/** Where HEAD was, when its branch has no commit any more. */
async function lastHead(gitDir: string): Promise<readonly string[]> {
  const log = (await readGitFile(join(gitDir, 'logs', 'HEAD')))?.toString('utf8') ?? '';
  const ids = [...log.matchAll(/^[0-9a-f]+ ([0-9a-f]+) /gm)].map(([, id = '']) => id);
  return ids.filter((id) => !/^0*$/.test(id)).slice(-1);
}

/** Of these commits those that would be lost with the worktree and with its HEAD. */
export async function unsavedCommits(path: string): Promise<readonly string[]> {
  const own = await ownCommits(path);
  const lost = await Promise.all(
    own.map(async (commit) => {
      const { stdout } = await run(path, ['rev-list', '--max-count=1', commit, '--not', ...ELSEWHERE]);
      return stdout.trim() === '' ? [] : [commit];
    }),
  );
  return lost.flat();
}

export interface InnerWorktree {
  /** Relative to the worktree that it lies in. */
  readonly name: string;
  /** As `onlyHere` says it. */
  readonly work: readonly string[];
}

/** Worktrees of the same repository inside of this one, also in ignored folders, with what only they hold. */
export async function innerWorktrees(
  path: string,
  options: StatusOptions = {},
): Promise<readonly InnerWorktree[]> {
  const top = `${await realpath(path)}/`;
  const found: InnerWorktree[] = [];
  for (const { path: at, bare } of await listWorktrees(path)) {
    if (bare || !at.startsWith(top) || (await gitDirOf(at)) === null) continue;
    // What metawsm put into the outer one is not in here.
    const work = await onlyHere(at, { ...options, placed: {} });
    if (work.length > 0) found.push({ name: at.slice(top.length), work });
  }
  return found;
}

/** Changed files with `assume-unchanged` or `skip-worktree` set: `git status` does not name them. */
export async function hiddenChanges(path: string, options: StatusOptions): Promise<readonly string[]> {
  const flagged = await flaggedFiles(path);
  if (flagged.length === 0) return [];
  const off = await untrustedOff(path, options);
  return withIndexCopy(path, async (index) => {
    const env = { ...off.env, ...index };
    await clearFlags(path, flagged, off.args, env);
    const { bytes } = await run(path, [...off.args, 'diff', '--name-only', '-z', '--no-ext-diff'], { env });
    const wanted = new Set(flagged.map(String));
    return splitNul(bytes)
      .map(String)
      .filter((name) => wanted.has(name) && !isOwn(name));
  });
}

/**
 * Files on disk that git was told to take as unchanged. In a sparse checkout the absent ones do not count. To the
 * byte: names need not be UTF-8.
 */
export async function flaggedFiles(path: string): Promise<readonly Buffer[]> {
  const { bytes } = await run(path, ['ls-files', '-v', '-z']);
  const flagged = splitNul(bytes)
    .filter((record) => /^[a-zS] /.test(record.toString('latin1')))
    .map((record) => record.subarray(2));
  const there = await Promise.all(
    flagged.map((name) => isThere(Buffer.concat([Buffer.from(`${path}/`), name]))),
  );
  return flagged.filter((_, index) => there[index]);
}

/** The fields of an output with `-z`, to the byte. */
export function splitNul(bytes: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let from = 0; from < bytes.length; ) {
    const to = bytes.indexOf(0, from);
    const end = to < 0 ? bytes.length : to;
    parts.push(bytes.subarray(from, end));
    from = end + 1;
  }
  return parts;
}

/** Takes both flags from files, in the index that `env` names. `settings` go before git's command. */
export async function clearFlags(
  path: string,
  files: readonly Buffer[],
  settings: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  for (const flag of ['--no-assume-unchanged', '--no-skip-worktree']) {
    const input = Buffer.concat(files.flatMap((name) => [name, Buffer.of(0)]));
    await run(path, [...settings, 'update-index', flag, '-z', '--stdin'], { env, input });
  }
}

/** Calls `work` with the environment of a copy of the worktree's index, which is then removed. */
export async function withIndexCopy<T>(
  path: string,
  work: (env: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  return withScratchFolder(async (folder) => {
    const index = join(folder, 'index');
    const gitDir = await gitDirOf(path);
    const env = { GIT_INDEX_FILE: index };
    if (gitDir !== null && (await isThere(join(gitDir, 'index')))) {
      await copyFile(join(gitDir, 'index'), index);
      // An index older than all files makes git compare their contents instead of trusting their times.
      await utimes(index, 1, 1);
    } else {
      await run(path, ['read-tree', 'HEAD'], { env });
    }
    return await work(env);
  });
}

/** Commits in submodules that no remote of theirs has: their repositories go with the worktree. */
async function submoduleWork(path: string): Promise<readonly string[]> {
  const sentences: string[] = [];
  for (const name of await submodules(path)) {
    const count = await unpushedCommits(join(path, name));
    if (count > 0) {
      sentences.push(`${count} ${count === 1 ? 'commit' : 'commits'} in the submodule ${shown(name)} only`);
    }
    const hidden = await hiddenChanges(join(path, name), { config: null });
    if (hidden.length > 0)
      sentences.push(
        `changes in the submodule ${shown(name)} that git was told to overlook: ${some(hidden)}`,
      );
  }
  for (const { name, commits } of await strayModules(path)) {
    sentences.push(
      `${commits} ${commits === 1 ? 'commit' : 'commits'} of the submodule ${shown(name)} only, which is checked out no more`,
    );
  }
  return sentences;
}

export interface StrayModule {
  readonly name: string;
  readonly gitDir: string;
  /** How many no remote of it has. */
  readonly commits: number;
}

/** Submodules that are checked out no more, and of which git still keeps commits with the worktree's own data. */
export async function strayModules(path: string): Promise<readonly StrayModule[]> {
  const gitDir = await gitDirOf(path);
  // Those of the main worktree stay.
  if (gitDir === null || !(await isThere(join(gitDir, 'commondir')))) return [];
  const modules = await modulesIn(join(gitDir, 'modules'), '');
  if (modules.length === 0) return [];
  const used = await Promise.all(
    (await submodules(path)).map(async (name) => realpath((await gitDirOf(join(path, name))) ?? path)),
  );
  const found: StrayModule[] = [];
  for (const module of modules) {
    if (used.includes(await realpath(module.gitDir))) continue;
    const commits = await unpushedCommits(module.gitDir, BY_ITSELF);
    if (commits > 0) found.push({ ...module, commits });
  }
  return found;
}

/** For a git folder whose worktree is gone: git would look for that. */
const BY_ITSELF = ['--git-dir=.', '--work-tree=.'];

/** Git folders below a folder of submodules: a name may hold slashes, and a submodule have some of its own. */
async function modulesIn(folder: string, prefix: string): Promise<{ name: string; gitDir: string }[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const found: { name: string; gitDir: string }[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const gitDir = join(folder, entry.name);
    const name = `${prefix}${entry.name}`;
    if (!(await isThere(join(gitDir, 'HEAD')))) found.push(...(await modulesIn(gitDir, `${name}/`)));
    else found.push({ name, gitDir }, ...(await modulesIn(join(gitDir, 'modules'), `${name}/`)));
  }
  return found;
}

/** How many commits of a repository, stashed ones too, no remote of it has. */
export async function unpushedCommits(repo: string, settings: readonly string[] = []): Promise<number> {
  // A pattern: without one git would look for refs below that name.
  const refs = ['HEAD', '--branches', '--tags', '--glob=refs/stas[h]', '--not', '--remotes'];
  const args = [...settings, 'rev-list', '--count', ...refs, '--'];
  const { exitCode, stdout } = await run(repo, args, { okCodes: [0, 128] });
  return exitCode === 0 ? Number(stdout.trim()) : 0;
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

function some(names: readonly string[]): string {
  const more = names.length > 20 ? `, and ${names.length - 20} more` : '';
  return names.slice(0, 20).map(shown).join(', ') + more;
}

/** A file name as a person can read it, also one with line breaks or quotes. */
function shown(name: string): string {
  return /[\p{C}"]/u.test(name) ? JSON.stringify(name) : name;
}
