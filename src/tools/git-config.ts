/**
 * The part of git's configuration that a repository carries itself, as data, and what of a change to it makes git run
 * a program or go somewhere else. Values may hold secrets: they are kept as hashes, and in clear only where they are
 * needed to be put back and cannot be a secret.
 */
import { constants } from 'node:fs';
import { access, lstat, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { sha256 } from './files.js';
import { run } from './git.js';
import { gitDirOf, sharedDirOf } from './git-folder.js';
import { commonDirOf } from './git-read.js';

export interface ConfigEntry {
  /** As git prints it: section and variable in lower case. */
  readonly key: string;
  /** Hash of the value. */
  readonly hash: string;
  /** The value itself where the key runs a program or redirects and it looks like no secret; else null. */
  readonly value: string | null;
}

/** A configuration file. Paths are absolute. */
export interface ConfigFile {
  readonly path: string;
  /** All entries, in order. */
  readonly entries: readonly ConfigEntry[];
}

export interface HookFile {
  readonly path: string;
  /** Hash of the content; of the target's name for a link. */
  readonly hash: string;
}

/** Plain data: it can be stored as JSON and compared later. */
export interface ConfigSnapshot {
  /** The repository's file, those of the main and the given worktree, and what they include, at any depth. */
  readonly files: readonly ConfigFile[];
  /** Executable files in the repository's `hooks` folder, without git's samples. */
  readonly hooks: readonly HookFile[];
}

export interface SnapshotOptions {
  /** How values are hashed. Default: sha256; a keyed hash keeps short secrets from being guessed. */
  readonly hash?: (text: string) => string;
}

/** Deeper includes, such as a file that includes itself, are not followed. */
const MAX_INCLUDES = 200;

/**
 * Looks at the configuration of a repository or of one of its worktrees. What git reads for the user or the machine
 * is no part of it.
 * @throws {ToolFailure} where it is no repository, or a file is no configuration.
 */
export async function configSnapshot(repo: string, options: SnapshotOptions = {}): Promise<ConfigSnapshot> {
  const hash = options.hash ?? sha256;
  // Without git where that is possible: with a changed configuration it may not find its own folder.
  const own = await gitDirOf(repo);
  const commonDir = own === null ? await commonDirOf(repo) : await realpath(await sharedDirOf(own));
  const gitDir = own ?? commonDir;
  const wanted = [...new Set([join(commonDir, 'config'), ...configsOf(commonDir), ...configsOf(gitDir)])];
  const files: ConfigFile[] = [];
  const seen = new Set<string>();
  for (let path = wanted.shift(); path !== undefined; path = wanted.shift()) {
    if (seen.has(path) || seen.size >= MAX_INCLUDES) continue;
    seen.add(path);
    const read = await readConfig(path, hash);
    if (read === null) continue;
    files.push({ path, entries: read.entries });
    wanted.push(...read.includes);
  }
  return { files, hooks: await hooksIn(join(commonDir, 'hooks'), hash) };
}

function configsOf(gitDir: string): readonly string[] {
  return [join(gitDir, 'config.worktree')];
}

/** One file, without what it includes; null where there is none. */
async function readConfig(
  path: string,
  hash: (text: string) => string,
): Promise<{ readonly entries: readonly ConfigEntry[]; readonly includes: readonly string[] } | null> {
  // git would wait for ever at a FIFO.
  if (!(await stat(path).catch(() => null))?.isFile()) return null;
  // Not from within: git would look at the repository around it, too.
  const { stdout } = await run('/', ['config', '--file', path, '--no-includes', '--list', '-z']);
  const entries: ConfigEntry[] = [];
  const includes: string[] = [];
  for (const record of stdout.split('\0')) {
    if (record === '') continue;
    const end = record.indexOf('\n');
    const key = end < 0 ? record : record.slice(0, end);
    // `key` alone means true, which `key =` does not.
    const value = end < 0 ? null : record.slice(end + 1);
    entries.push({ key, hash: hash(value ?? '\0true'), value: isRestorable(key, value) ? value : null });
    if (value !== null && /^include(if\..*)?\.path$/s.test(key)) includes.push(includePath(path, value));
  }
  return { entries, includes };
}

function includePath(from: string, value: string): string {
  if (value === '~' || value.startsWith('~/')) return join(process.env.HOME || homedir(), value.slice(1));
  return isAbsolute(value) ? value : resolve(dirname(from), value);
}

async function hooksIn(folder: string, hash: (text: string) => string): Promise<readonly HookFile[]> {
  const hooks: HookFile[] = [];
  for (const name of (await readdir(folder).catch(() => [])).sort()) {
    if (name.endsWith('.sample')) continue;
    const path = join(folder, name);
    const found = await lstat(path).catch(() => null);
    const target = await stat(path).catch(() => null);
    if (found === null || !target?.isFile() || !(await isExecutable(path))) continue;
    const content = await readFile(path).catch(() => null);
    hooks.push({ path, hash: hash(content === null ? 'unreadable' : content.toString('base64')) });
  }
  return hooks;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** A command, as argv and as a shell takes it. */
export interface RestoreCommand {
  readonly argv: readonly string[];
  readonly text: string;
}

export interface DangerousChange {
  /** A configuration key, or `hook <name>`. */
  readonly key: string;
  readonly file: string;
  readonly change: 'added' | 'changed' | 'removed';
  /** What puts it back, in order. */
  readonly restore: readonly RestoreCommand[];
  /** Why the commands are not the whole way back; null: they are. */
  readonly note: string | null;
}

/** What was added, changed or removed since, of all that runs a program or redirects. Never shows a value it found. */
export function dangerousChanges(before: ConfigSnapshot, after: ConfigSnapshot): readonly DangerousChange[] {
  const changes: DangerousChange[] = [];
  const old = new Map(before.files.map((file) => [file.path, file.entries]));
  const now = new Map(after.files.map((file) => [file.path, file.entries]));
  for (const file of new Set([...now.keys(), ...old.keys()])) {
    const was = byKey(old.get(file) ?? []);
    const is = byKey(now.get(file) ?? []);
    // A file that is gone, or no longer included, has no key to put back: the include says it.
    const gone = !now.has(file);
    for (const key of new Set([...was.keys(), ...is.keys()])) {
      if (!isDangerous(key)) continue;
      const change = entryChange(file, key, was.get(key) ?? [], is.get(key) ?? []);
      if (change === null) continue;
      changes.push(gone ? { ...change, restore: [], note: `${file} is not read any more` } : change);
    }
  }
  return [...changes, ...hookChanges(before.hooks, after.hooks)];
}

function byKey(entries: readonly ConfigEntry[]): ReadonlyMap<string, readonly ConfigEntry[]> {
  const found = new Map<string, ConfigEntry[]>();
  for (const entry of entries) {
    const there = found.get(entry.key);
    if (there === undefined) found.set(entry.key, [entry]);
    else there.push(entry);
  }
  return found;
}

function entryChange(
  file: string,
  key: string,
  was: readonly ConfigEntry[],
  is: readonly ConfigEntry[],
): DangerousChange | null {
  // The order of several values counts as well.
  if (was.length === is.length && was.every((entry, index) => entry.hash === is[index]?.hash)) return null;
  const change = was.length === 0 ? 'added' : is.length === 0 ? 'removed' : 'changed';
  const config = (...args: readonly string[]) => command(['git', 'config', '--file', file, ...args]);
  const unset = is.length === 0 ? [] : [config('--unset-all', key)];
  const values = was.map((entry) => entry.value);
  if (values.some((value) => value === null)) {
    const note = `the former value of ${key} was not recorded, because it may be a secret`;
    return { key, file, change, restore: [config('--edit')], note };
  }
  const again = values.map((value) => config('--add', key, value ?? ''));
  return { key, file, change, restore: [...unset, ...again], note: null };
}

function hookChanges(before: readonly HookFile[], after: readonly HookFile[]): readonly DangerousChange[] {
  const old = new Map(before.map((hook) => [hook.path, hook.hash]));
  const now = new Map(after.map((hook) => [hook.path, hook.hash]));
  const changes: DangerousChange[] = [];
  for (const file of new Set([...now.keys(), ...old.keys()])) {
    if (old.get(file) === now.get(file)) continue;
    const key = `hook ${file.slice(file.lastIndexOf('/') + 1)}`;
    if (!old.has(file)) {
      changes.push({ key, file, change: 'added', restore: [command(['rm', file])], note: null });
    } else if (!now.has(file)) {
      const note = 'what it did was not recorded';
      changes.push({ key, file, change: 'removed', restore: [], note });
    } else {
      const note = 'what it did before was not recorded: this only turns it off';
      changes.push({ key, file, change: 'changed', restore: [command(['chmod', '-x', file])], note });
    }
  }
  return changes;
}

/** Keys that make git run a program, read more configuration, or talk to another place. `*` may hold dots. */
const DANGEROUS = [
  'alias.*',
  'branch.*.pushremote',
  'browser.*.cmd',
  'core.alternaterefscommand',
  'core.askpass',
  'core.attributesfile',
  'core.editor',
  'core.excludesfile',
  'core.fsmonitor',
  'core.gitproxy',
  'core.hookspath',
  'core.pager',
  'core.sshcommand',
  'core.worktree',
  'credential.*',
  'diff.*.command',
  'diff.*.textconv',
  'diff.external',
  'difftool.*',
  'filter.*',
  'gpg.*program',
  'gpg.ssh.defaultkeycommand',
  'guitool.*.cmd',
  'hook.*',
  'http.*cookiefile',
  'http.*extraheader',
  'http.*proxy',
  'http.*sslcainfo',
  'http.*sslcapath',
  'http.*sslverify',
  'http.*curloptresolve',
  'include.*',
  'includeif.*',
  'init.templatedir',
  'interactive.difffilter',
  'lfs.*',
  'man.*.cmd',
  'merge.*.driver',
  'mergetool.*',
  'pager.*',
  'protocol.*',
  'receive.procreceiverefs',
  'remote.*.fetch',
  'remote.*.mirror',
  'remote.*.proxy',
  'remote.*.push',
  'remote.*.pushurl',
  'remote.*.receivepack',
  'remote.*.uploadpack',
  'remote.*.url',
  'remote.*.vcs',
  'remote.pushdefault',
  'sendemail.*cmd',
  'sendemail.smtpserver',
  'sequence.editor',
  'submodule.*.update',
  'tar.*.command',
  'trailer.*.cmd',
  'trailer.*.command',
  'uploadpack.*',
  'url.*',
  'web.browser',
].map((pattern) => new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`, 's'));

/** Whether a key, as git prints it, runs a program or redirects. */
export function isDangerous(key: string): boolean {
  return DANGEROUS.some((pattern) => pattern.test(key));
}

/** Keys that exist to hold passwords, tokens, or headers and addresses with them. */
const SECRET = /^(credential|http|lfs)\.|\.extraheader$|proxy$/s;

function isRestorable(key: string, value: string | null): boolean {
  if (value === null || !isDangerous(key) || SECRET.test(key)) return false;
  // A password in a url, or a token in a command.
  return !/:\/\/[^/@\s]+@|token|password|passwd|secret|api[-_]?key|bearer|authorization/i.test(value);
}

function command(argv: readonly string[]): RestoreCommand {
  return { argv, text: argv.map(quoted).join(' ') };
}

/** A word as a POSIX shell takes it literally. */
function quoted(word: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
