/** Where the ticket tree of a manifest is. */
import { readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { splitDocument, topLevelScalar } from './frontmatter.js';

export interface TicketsRoot {
  /** Absolute. */
  readonly root: string;
  /**
   * `declared`: in the manifest; `config`: by a `.ttmp.yaml`; `git`: `ttmp` at the top of the git repository;
   * `folder`: `ttmp` beside the manifest; `state`: in the state folder, because there is none of these.
   */
  readonly how: 'declared' | 'config' | 'git' | 'folder' | 'state';
}

/**
 * The declared root; else the one docmgr would use from the folder `from`, if it exists; else
 * `<state>/ttmp`, which need not exist yet. Looks at the file system only; all paths absolute.
 */
export function findTicketsRoot(where: {
  readonly declared: string | null;
  readonly stateFolder: string;
  readonly from: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}): TicketsRoot {
  if (where.declared !== null) return { root: where.declared, how: 'declared' };
  const found = docmgrRoot(where.from, where.env);
  if (isFolder(found.root)) return found;
  return { root: join(where.stateFolder, 'ttmp'), how: 'state' };
}

/** docmgr's rule, which names one folder whether it exists or not. */
function docmgrRoot(from: string, env: Readonly<Record<string, string | undefined>>): TicketsRoot {
  const config = configFile(from, env.DOCMGR_CONFIG ?? '');
  const configured = config === null ? null : rootKey(config);
  if (config !== null && configured !== null) {
    return { root: resolve(dirname(config), configured), how: 'config' };
  }
  const top = upward(from, isGitTop);
  if (top !== null) return { root: join(top, 'ttmp'), how: 'git' };
  return { root: join(from, 'ttmp'), how: 'folder' };
}

function configFile(from: string, override: string): string | null {
  if (override !== '') {
    const file = resolve(from, override);
    if (statSync(file, { throwIfNoEntry: false }) !== undefined) return file;
  }
  const folder = upward(from, (candidate) => isFile(join(candidate, '.ttmp.yaml')));
  return folder === null ? null : join(folder, '.ttmp.yaml');
}

/** The `root` of a config file; null where it has none, is empty or cannot be read: then the rule goes on. */
function rootKey(file: string): string | null {
  if (!isFile(file)) return null;
  try {
    const text = readFileSync(file, 'utf8');
    return topLevelScalar(splitDocument(text)?.frontmatter ?? text, 'root')?.trim() || null;
  } catch {
    return null;
  }
}

function isGitTop(folder: string): boolean {
  const git = join(folder, '.git');
  if (isFolder(git)) return true;
  if (!isFile(git)) return false;
  // A linked worktree or a submodule: a file that points to the git folder.
  const target = /^gitdir:\s*(.+?)\s*$/im.exec(readSafely(git))?.[1];
  if (target === undefined) return false;
  return (
    statSync(isAbsolute(target) ? target : join(folder, target), { throwIfNoEntry: false }) !== undefined
  );
}

function upward(from: string, holds: (folder: string) => boolean): string | null {
  for (let folder = from; ; folder = dirname(folder)) {
    if (holds(folder)) return folder;
    if (dirname(folder) === folder) return null;
  }
}

function readSafely(file: string): string {
  try {
    return readFileSync(file, 'utf8').slice(0, 4096);
  } catch {
    return '';
  }
}

function isFolder(path: string): boolean {
  return kindOf(path)?.isDirectory() ?? false;
}

function isFile(path: string): boolean {
  return kindOf(path)?.isFile() ?? false;
}

function kindOf(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    // A parent that may not be entered, a loop of links: not here.
    return undefined;
  }
}
