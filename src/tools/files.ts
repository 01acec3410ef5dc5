/**
 * Files that somebody else may have touched: read without following links or blocking, written so that a
 * reader sees the old or the new content and nothing between.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { BigIntStats, Stats } from 'node:fs';
import { constants } from 'node:fs';
import { type FileHandle, link, lstat, mkdir, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { removeLeftovers, temporaryName } from './temporary.js';

/** Limit of manifests and sentinel files. */
export const MAX_DOCUMENT_BYTES = 1024 * 1024;

export type ReadResult =
  | { readonly kind: 'absent' }
  /** `mtime` in milliseconds since the epoch. */
  | { readonly kind: 'file'; readonly bytes: Buffer; readonly mtime: number }
  /** `reason` goes on from the file's name: "is a symbolic link". */
  | { readonly kind: 'problem'; readonly reason: string };

/** Something that is not what it should be lies where metawsm wants to write; the message is for a person. */
export class PathRefused extends Error {
  override readonly name = 'PathRefused';

  constructor(
    readonly path: string,
    /** Goes on from the path: "is a symbolic link". */
    readonly reason: string,
  ) {
    super(`${path} ${reason}`);
  }

  /** What to do about it; null: the reason says it. */
  get hint(): string | null {
    return this.reason.startsWith('is ') ? 'move it away, then run the same command again' : null;
  }
}

/**
 * Reads a regular file of at most `maxBytes`. A link, FIFO, folder, socket or device is a problem; it never
 * blocks and never throws for what lies there. Links in the folders above are followed: the caller checks
 * those that it does not trust.
 */
export async function readRegular(file: string, maxBytes: number): Promise<ReadResult> {
  // Looked at before it is opened: opening a device can have an effect, and the reason is known in words.
  const before = await lstat(file).catch(asCode);
  if (typeof before === 'string') return absentOr(before);
  if (!before.isFile()) return { kind: 'problem', reason: `is ${nature(before)}` };

  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(file, flags).catch(asCode);
  if (typeof handle === 'string') return absentOr(handle);
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) return { kind: 'problem', reason: `is ${nature(stats)}` };
    if (stats.size > maxBytes) return { kind: 'problem', reason: tooLarge(maxBytes) };
    // One byte more than allowed, for a file that grows meanwhile.
    const bytes = await readAt(handle, 0, Math.min(maxBytes + 1, Math.max(stats.size + 65_536, 65_536)));
    if (bytes.length > maxBytes) return { kind: 'problem', reason: tooLarge(maxBytes) };
    return { kind: 'file', bytes, mtime: Math.trunc(stats.mtimeMs) };
  } catch (error) {
    return { kind: 'problem', reason: cannotRead(asCode(error)) };
  } finally {
    await handle.close();
  }
}

/**
 * Replaces a file in one step: a new file beside it, flushed, renamed over it, the folder flushed. A link at
 * the target's name is replaced, not followed. Without `mode` the file has 0644 less the umask. Throws
 * `PathRefused` when the parent is not a real folder or a folder lies at the target's name.
 */
export async function writeAtomic(
  file: string,
  data: string | Uint8Array,
  options: { readonly mode?: number } = {},
): Promise<void> {
  const folder = dirname(file);
  await requireRealFolder(folder);
  const target = await lstat(file).catch(asCode);
  if (typeof target !== 'string' && target.isDirectory()) throw new PathRefused(file, 'is a folder');

  const temporary = await writeTemporary(file, data, options);
  try {
    await rename(temporary, file);
  } catch (error) {
    await unlink(temporary).catch(asCode);
    throw error;
  }
  await syncFolder(folder);
}

/** A new file beside `file` with its next content, flushed. What a crash left of earlier ones is removed. */
async function writeTemporary(
  file: string,
  data: string | Uint8Array,
  options: { readonly mode?: number },
): Promise<string> {
  removeLeftovers(dirname(file), basename(file));
  const temporary = temporaryName(file);
  const handle = await open(
    temporary,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    options.mode ?? 0o644,
  );
  try {
    try {
      await handle.writeFile(data);
      if (options.mode !== undefined) await handle.chmod(options.mode);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return temporary;
  } catch (error) {
    await unlink(temporary).catch(asCode);
    throw error;
  }
}

/**
 * Writes a file that must not exist yet, in one step. `false`: something lies at its name by now, and it stays.
 * Throws `PathRefused` when the parent is not a real folder.
 */
export async function writeExclusive(file: string, data: string | Uint8Array): Promise<boolean> {
  await requireRealFolder(dirname(file));
  const prepared = await writeTemporary(file, data, {});
  try {
    return (await moveExclusive(prepared, file)) === 'moved';
  } finally {
    await unlink(prepared).catch(asCode);
  }
}

/** Hex digest. A text is taken as UTF-8. */
export function sha256(textOrBytes: string | Uint8Array): string {
  return createHash('sha256').update(textOrBytes).digest('hex');
}

/** Whether a real folder, not a link to one, lies at a path. */
export async function isRealFolder(path: string): Promise<boolean> {
  const stats = await lstat(path).catch(asCode);
  return typeof stats !== 'string' && stats.isDirectory();
}

/**
 * Makes a folder where it is missing, its parents too. Throws `PathRefused` when something else lies there.
 * With `below` every folder between that one and `path` must be a real one, so that a swapped parent does
 * not lead elsewhere; `below` itself is trusted.
 */
export async function ensureRealFolder(
  path: string,
  options: { readonly below?: string; readonly mode?: number } = {},
): Promise<void> {
  const mode = options.mode ?? 0o755;
  for (const folder of options.below === undefined ? [path] : foldersBelow(options.below, path)) {
    await mkdir(folder, { recursive: options.below === undefined, mode }).catch((error: unknown) => {
      // Recursive mkdir says EEXIST or ENOTDIR for a file in the way; the look below gives the words.
      if (!['EEXIST', 'ENOTDIR'].includes(asCode(error))) throw error;
    });
    await requireRealFolder(folder);
  }
}

/** Makes a folder and its parents. Throws the system's error for the folder that could not be made. */
export async function makeFolders(path: string, mode = 0o755): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode });
  } catch (error) {
    // On a read-only file system Node says ENOENT here, of whatever is missing last.
    if (asCode(error) !== 'ENOENT') throw error;
    for (let folder = path; ; folder = dirname(folder)) {
      const reason = await mkdir(folder, { mode }).then(
        () => null,
        (failed: unknown) => failed,
      );
      if (reason === null) return makeFolders(path, mode);
      if (asCode(reason) !== 'ENOENT' || dirname(folder) === folder) throw reason;
    }
  }
}

/**
 * The first path from `below` (excluded) down to `path` (included) that is not a real folder, or null.
 * `absent` stands for a folder that is not there at all.
 */
export async function firstUnrealFolder(
  below: string,
  path: string,
): Promise<{ readonly path: string; readonly reason: 'absent' | (string & {}) } | null> {
  for (const folder of foldersBelow(below, path)) {
    const stats = await lstat(folder).catch(asCode);
    if (typeof stats === 'string') {
      return { path: folder, reason: isAbsence(stats) ? 'absent' : cannotRead(stats) };
    }
    if (!stats.isDirectory()) return { path: folder, reason: `is ${nature(stats)}, not a folder` };
  }
  return null;
}

/** Whether a path is something to copy: not the pipe or socket of a program, which holds nothing. */
export async function isContent(path: string): Promise<boolean> {
  const found = await lstat(path);
  return !found.isFIFO() && !found.isSocket();
}

/**
 * Moves a file whose target must not exist yet, within one file system. Right where others may create the
 * *target* at any time. A move that a crash cut short (both names, one file) is finished.
 */
export async function moveExclusive(from: string, to: string): Promise<'moved' | 'exists' | 'absent'> {
  const error = await link(from, to).then(() => null, asCode);
  if (error !== null) {
    const [source, target] = await Promise.all([identity(from), identity(to)]);
    if (source === null) return 'absent';
    if (target !== null) {
      if (from === to || source !== target) return 'exists';
    } else if (['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(error)) {
      // No hard links here (or a folder): the last look and the rename are as close as they can be.
      await rename(from, to);
      return 'moved';
    } else {
      throw new Error(`cannot move ${from} to ${to}: ${error}`);
    }
  }
  await unlink(from).catch((reason: unknown) => {
    if (!isAbsence(asCode(reason))) throw reason;
  });
  await syncFolder(dirname(to));
  return 'moved';
}

/**
 * Moves a file to a name, in place of what lies there, within one file system. Throws `PathRefused` when a folder
 * lies there.
 */
export async function moveOver(from: string, to: string): Promise<void> {
  const target = await lstat(to).catch(asCode);
  if (typeof target !== 'string' && target.isDirectory()) throw new PathRefused(to, 'is a folder');
  await rename(from, to);
  await syncFolder(dirname(to));
}

/**
 * Takes what lies at `from` at this moment, whatever it is, into a folder under a name that nothing has yet:
 * `<stamp>-<name>`, with a random part. Right where others may replace the *source* at any time. Gives the
 * new path, or null when nothing was there.
 */
export async function moveToFresh(from: string, folder: string, stamp: string): Promise<string | null> {
  await requireRealFolder(folder);
  const to = join(folder, `${stamp}-${randomBytes(4).toString('hex')}-${basename(from)}`);
  const error = await rename(from, to).then(() => null, asCode);
  if (error !== null) {
    if (isAbsence(error)) return null;
    throw new Error(`cannot move ${from} to ${to}: ${error}`);
  }
  await syncFolder(folder);
  return to;
}

/**
 * The last `count` lines of a regular file, read from its last `maxBytes` only; without the line ends, not
 * made safe for a terminal. None when the file is absent or not a regular file.
 */
export async function tailLines(file: string, count: number, maxBytes = 65_536): Promise<string[]> {
  if (count <= 0) return [];
  const before = await lstat(file).catch(asCode);
  if (typeof before === 'string' || !before.isFile()) return [];
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(file, flags).catch(asCode);
  if (typeof handle === 'string') return [];
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) return [];
    const start = Math.max(0, stats.size - maxBytes);
    const text = (await readAt(handle, start, maxBytes)).toString('utf8');
    const lines = text.split(/\r?\n/);
    if (lines.at(-1) === '') lines.pop();
    // The first line is cut somewhere; it stays only where it is all there is.
    if (start > 0 && lines.length > 1) lines.shift();
    return lines.slice(-count);
  } catch {
    return [];
  } finally {
    await handle.close();
  }
}

const ESC = '\u001b';
/** Whole terminal sequences: CSI, strings (OSC, DCS, SOS, PM, APC) with their end, two-character ones. */
const TERMINAL_SEQUENCE = new RegExp(
  [
    `(?:${ESC}\\[|\u009b)[0-?]*[ -/]*[@-~]`,
    `(?:${ESC}[\\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007${ESC}\u009c]*(?:\u0007|${ESC}\\\\|\u009c)`,
    `${ESC}[ -/]+[0-~]`,
    `${ESC}[0-Z\\\\^-~]`,
  ].join('|'),
  'g',
);
/** Control characters but newline and tab, line separators, marks that turn the reading direction, invisible tags. */
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Cs}/gu;

/**
 * A text of unknown origin, made safe to print: terminal sequences are taken out, other control characters,
 * direction marks and invisible characters are shown as escapes. Newlines and tabs stay; a lone carriage
 * return becomes a newline.
 */
export function safeText(text: string): string {
  return text
    .replace(TERMINAL_SEQUENCE, '')
    .replace(/\r\n?/g, '\n')
    .replace(UNSAFE, (character) => {
      const code = character.codePointAt(0) ?? 0;
      if (code >= 0xd800 && code <= 0xdfff) return '\ufffd';
      if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`;
      return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, '0')}`;
    });
}

/** What a path that is not a regular file is, with its article. */
function nature(stats: Stats): string {
  if (stats.isSymbolicLink()) return 'a symbolic link';
  if (stats.isDirectory()) return 'a folder';
  if (stats.isFIFO()) return 'a FIFO';
  if (stats.isSocket()) return 'a socket';
  if (stats.isFile()) return 'a file';
  return 'a device';
}

async function requireRealFolder(folder: string): Promise<void> {
  const stats = await lstat(folder).catch(asCode);
  if (typeof stats === 'string') {
    throw new PathRefused(folder, isAbsence(stats) ? 'does not exist' : cannotRead(stats));
  }
  if (!stats.isDirectory()) throw new PathRefused(folder, `is ${nature(stats)}, not a folder`);
}

/** Every folder under `below` on the way to `path`, outermost first. */
function foldersBelow(below: string, path: string): string[] {
  const way = relative(below, path);
  if (way === '') return [];
  if (isAbsolute(way) || way === '..' || way.startsWith(`..${sep}`)) {
    throw new Error(`${path} is not below ${below}`);
  }
  const parts = way.split(sep);
  return parts.map((_, index) => join(below, ...parts.slice(0, index + 1)));
}

async function readAt(handle: FileHandle, start: number, limit: number): Promise<Buffer> {
  const buffer = Buffer.alloc(limit);
  let length = 0;
  while (length < limit) {
    const { bytesRead } = await handle.read(buffer, length, limit - length, start + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

/** Flushes a folder's entries. Not every file system can, and then there is nothing more to do. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY).catch(asCode);
  if (typeof handle === 'string') return;
  await handle.sync().catch(asCode);
  await handle.close();
}

async function identity(path: string): Promise<string | null> {
  const stats: BigIntStats | string = await lstat(path, { bigint: true }).catch(asCode);
  return typeof stats === 'string' ? null : `${stats.dev}:${stats.ino}`;
}

function asCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

/** ENOTDIR: a parent is a file, so that nothing can be there. */
function isAbsence(code: string): boolean {
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function absentOr(code: string): ReadResult {
  return isAbsence(code) ? { kind: 'absent' } : { kind: 'problem', reason: cannotRead(code) };
}

function cannotRead(code: string): string {
  if (code === 'ELOOP') return 'is a symbolic link';
  if (code === 'EACCES' || code === 'EPERM') return 'cannot be read: permission denied';
  return `cannot be read: ${code}`;
}

function tooLarge(maxBytes: number): string {
  const mib = maxBytes / (1024 * 1024);
  return `is larger than ${Number.isInteger(mib) ? `${mib} MiB` : `${maxBytes} bytes`}`;
}
