/** The ticket's folder as the agent sees it: a copy in the worktree, where the repo itself would have it. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { ensureRealFolder, PathRefused } from '../tools/files.js';
import { isTemporary, removeLeftovers, temporaryName } from '../tools/temporary.js';

export interface TicketCopy {
  /** Absolute; inside `ticketsRoot`. */
  readonly ticketFolder: string;
  readonly ticketsRoot: string;
  readonly worktree: string;
  /** Where the repo holds the tickets root, relative to the repo's top: the same place in the worktree. */
  readonly relativeRoot: string;
  /** What metawsm placed into this worktree before: path relative to it (with `/`) → content hash or link target. */
  readonly placed: Readonly<Record<string, string>>;
}

export interface TicketCopied {
  /** Every file of the ticket that is now in the worktree with the ticket's content: path relative to the worktree → sha256. */
  readonly placed: Readonly<Record<string, string>>;
  /** Paths relative to the worktree that hold something else than metawsm placed there, and were left alone. */
  readonly kept: readonly string[];
}

/**
 * Copies the regular files of the ticket's folder. A file in the worktree is only replaced when it is what
 * metawsm placed there before. Links are neither copied nor followed, on both sides. Copying again after a
 * crash gives the same record.
 */
export async function copyTicketFolder(copy: TicketCopy): Promise<TicketCopied> {
  const target = join(copy.worktree, copy.relativeRoot, below(copy.ticketsRoot, copy.ticketFolder));
  below(copy.worktree, target);
  const placed: Record<string, string> = {};
  const kept: string[] = [];
  await copyFolder(copy.ticketFolder, target);
  return { placed, kept };

  async function copyFolder(from: string, to: string): Promise<void> {
    const entries = (await readdir(from, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
    try {
      await ensureRealFolder(to, { below: copy.worktree });
    } catch (error) {
      // A file or a link of the agent's has the folder's name: it stays.
      if (!(error instanceof PathRefused)) throw error;
      kept.push(slashed(relative(copy.worktree, to)));
      return;
    }
    for (const entry of entries) {
      if (isSkipped(entry.name)) continue;
      if (entry.isDirectory()) await copyFolder(join(from, entry.name), join(to, entry.name));
      else if (entry.isFile()) await copyOne(join(from, entry.name), join(to, entry.name));
    }
  }

  async function copyOne(from: string, to: string): Promise<void> {
    const name = slashed(relative(copy.worktree, to));
    const there = await contentHash(to);
    const wanted = await contentHash(from);
    if (wanted === 'absent' || wanted === 'other') return;
    if (there !== wanted) {
      if (there !== 'absent' && (there === 'other' || there !== copy.placed[name])) {
        kept.push(name);
        return;
      }
      placed[name] = await replaceFile(from, to);
      return;
    }
    placed[name] = wanted;
  }
}

/**
 * What `copyTicketFolder` would place where nothing is yet. Recorded before it begins, it tells metawsm's own files
 * from an agent's work also when a crash keeps the rest from being recorded.
 */
export async function newTicketFiles(copy: TicketCopy): Promise<TicketCopied['placed']> {
  const target = join(copy.worktree, copy.relativeRoot, below(copy.ticketsRoot, copy.ticketFolder));
  const placed: Record<string, string> = {};
  const entries = await readdir(copy.ticketFolder, { withFileTypes: true, recursive: true });
  for (const entry of entries) {
    const from = join(entry.parentPath, entry.name);
    const way = below(copy.ticketFolder, from);
    if (!entry.isFile() || way.split(sep).some(isSkipped)) continue;
    const to = join(target, way);
    if ((await contentHash(to).catch(() => 'other')) !== 'absent') continue;
    const hash = await contentHash(from);
    if (hash !== 'absent' && hash !== 'other') placed[slashed(relative(copy.worktree, to))] = hash;
  }
  return placed;
}

/** A file on its way to its name is none yet. */
function isSkipped(name: string): boolean {
  return isTemporary(name) || name.startsWith('.metawsm-') || name === '.git';
}

/** sha256 of a regular file; `other`: a link, a folder, or anything else. */
async function contentHash(path: string): Promise<string> {
  const handle = await openRegular(path);
  if (typeof handle === 'string') return handle;
  try {
    const hash = createHash('sha256');
    for await (const chunk of handle.createReadStream({ autoClose: false })) hash.update(chunk as Buffer);
    return hash.digest('hex');
  } finally {
    await handle.close();
  }
}

/** Copies through a new file beside the target and a rename; the hash is of what was written. */
async function replaceFile(from: string, to: string): Promise<string> {
  const source = await openRegular(from);
  if (typeof source === 'string') throw new Error(`${from} changed while it was copied`);
  removeLeftovers(dirname(to), basename(to));
  const temporary = temporaryName(to);
  try {
    const { mode } = await source.stat();
    const target = await open(temporary, 'wx', mode & 0o777);
    const hash = createHash('sha256');
    try {
      for await (const chunk of source.createReadStream({ autoClose: false })) {
        hash.update(chunk as Buffer);
        await target.writeFile(chunk as Buffer);
      }
    } finally {
      await target.close();
    }
    await rename(temporary, to);
    return hash.digest('hex');
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  } finally {
    await source.close();
  }
}

async function openRegular(path: string): Promise<FileHandle | 'absent' | 'other'> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error) {
    if (found.code === 'ENOENT') return 'absent';
    throw found;
  }
  if (!found.isFile()) return 'other';
  // It may be something else by now: no link is followed, no pipe waited for.
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  return 'other';
}

/** The way from a folder down to a path in it. */
function below(folder: string, path: string): string {
  const way = relative(resolve(folder), resolve(path));
  if (way === '' || way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way)) {
    throw new Error(`${path} is not inside ${folder}`);
  }
  return way;
}

function slashed(path: string): string {
  return path.split(sep).join('/');
}
