/**
 * Files to the byte. git stores what its attributes make of a file (line endings, `$Id$`), and a checkout does not
 * always make the same bytes of that again. Where it would not, a backup keeps the bytes themselves.
 */
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './git.js';

/** An entry of the index, its path as the bytes that it has on disk, one a character. */
interface Entry {
  readonly mode: string;
  readonly id: string;
  readonly path: string;
}

/**
 * Replaces, in the index that `env` names, what a checkout would not bring back as it lies in the worktree. Only of
 * files that differ from `tree`, which is what they are held against, and none that a filter or an encoding is for:
 * what those make of a file is meant. `settings` go before git's command.
 */
export async function keepBytes(
  path: string,
  tree: string | null,
  settings: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const changed = await changedSince(path, tree, env);
  if (changed.length === 0) return;
  const { stdout } = await run(path, [...settings, 'hash-object', '--no-filters', '--stdin-paths'], {
    env,
    input: changed.map((entry) => `${quoted(entry.path)}\n`).join(''),
  });
  const raw = stdout.split('\n');
  const converted = changed.flatMap((entry, at) => {
    const id = raw[at];
    return id === undefined || id === '' || id === entry.id ? [] : [{ ...entry, raw: id }];
  });
  const meant = await withDriver(path, converted, env);
  for (const entry of converted) {
    const name = Buffer.from(entry.path, 'latin1').toString('utf8');
    // Such a name is no argument.
    if (meant.has(entry.path) || Buffer.from(name).toString('latin1') !== entry.path) continue;
    const args = [...settings, 'cat-file', '--filters', `--path=${name}`, entry.id];
    const [back, there] = await Promise.all([run(path, args, { env }), readFile(join(path, name))]);
    if (back.bytes.equals(there)) continue;
    await run(path, [...settings, 'hash-object', '-w', '--no-filters', '--stdin'], { env, input: there });
    await run(path, [...settings, 'update-index', '-z', '--index-info'], {
      env,
      input: `${entry.mode} ${entry.raw}\t${name}\0`,
    });
  }
}

/** Regular files of the index that the tree has otherwise or not at all. */
async function changedSince(
  path: string,
  tree: string | null,
  env: Readonly<Record<string, string>>,
): Promise<readonly Entry[]> {
  const against = tree ?? (await run(path, ['hash-object', '-t', 'tree', '--stdin'])).stdout.trim();
  const args = ['diff-index', '--cached', '--raw', '--no-abbrev', '-z', '--no-renames', against];
  const { bytes } = await run(path, args, { env });
  const fields = bytes.toString('latin1').split('\0');
  const entries: Entry[] = [];
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [, mode = '', , id = ''] = (fields[at] ?? '').slice(1).split(' ');
    const entry = { mode, id, path: fields[at + 1] ?? '' };
    // In a sparse checkout one may be in the index alone.
    if (mode.startsWith('100') && (await isFile(path, entry.path))) entries.push(entry);
  }
  return entries;
}

async function isFile(worktree: string, path: string): Promise<boolean> {
  const file = Buffer.from(`${Buffer.from(worktree).toString('latin1')}/${path}`, 'latin1');
  return lstat(file).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** Those that a filter or an encoding is for. */
async function withDriver(
  path: string,
  entries: readonly Entry[],
  env: Readonly<Record<string, string>>,
): Promise<ReadonlySet<string>> {
  if (entries.length === 0) return new Set();
  const input = Buffer.from(entries.map((entry) => `${entry.path}\0`).join(''), 'latin1');
  const args = ['check-attr', '-z', '--stdin', 'filter', 'working-tree-encoding'];
  const fields = (await run(path, args, { env, input })).bytes.toString('latin1').split('\0');
  const found = new Set<string>();
  for (let at = 0; at + 2 < fields.length; at += 3) {
    if (!['unspecified', 'unset'].includes(fields[at + 2] ?? '')) found.add(fields[at] ?? '');
  }
  return found;
}

/** A path as git reads it from a line. */
function quoted(path: string): string {
  const escaped = path.replace(
    /[^ !#-[\]-~]/g,
    (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`,
  );
  return `"${escaped}"`;
}
