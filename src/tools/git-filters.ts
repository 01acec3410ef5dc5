/**
 * Filter drivers are programs that git runs over the files it compares or takes in, also for a mere `git status`,
 * and an agent can configure some in the repository that it works in. Those are turned off here by name.
 */
import { join } from 'node:path';
import { sha256 } from './files.js';
import { run } from './git.js';
import type { ConfigSnapshot } from './git-config.js';
import { gitDirOf, readGitFile, sharedDirOf } from './git-folder.js';

/** What goes before git's command, and into its environment. */
export interface FiltersOff {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export const ALL_FILTERS: FiltersOff = { args: [], env: {} };

/** Empty: the value that turns a key off. Always set, because git refuses a variable that is missing. */
const EMPTY = 'METAWSM_NO_FILTER';
const FALSE = 'METAWSM_NOT_REQUIRED';

/**
 * Turns off the drivers that the repository's own configuration defines otherwise than `trusted` has them (null:
 * all that it defines), and all that the repositories `inside` define. What git reads for the user or the machine
 * stays on: that is the operator's.
 * @throws {ToolFailure} where the configuration cannot be read.
 */
export async function filtersOff(
  path: string,
  trusted: ConfigSnapshot | null,
  inside: readonly string[] = [],
): Promise<FiltersOff> {
  const found = await Promise.all([
    untrusted(path, trusted),
    ...inside.map((repository) => untrusted(repository, null)),
  ]);
  const names = [...new Set(found.flat())];
  if (names.length === 0) return ALL_FILTERS;
  // Not with -c: a driver's name may hold a `=`, and only --config-env looks for the last one.
  const args = names.flatMap((name) => [
    ...['clean', 'smudge', 'process'].map((key) => `--config-env=filter.${name}.${key}=${EMPTY}`),
    `--config-env=filter.${name}.required=${FALSE}`,
  ]);
  return { args, env: { [EMPTY]: '', [FALSE]: 'false' } };
}

async function untrusted(path: string, trusted: ConfigSnapshot | null): Promise<readonly string[]> {
  if (!(await mayDefineFilters(path))) return [];
  const args = ['config', '--show-scope', '-z', '--get-regexp', '^filter\\.'];
  const { stdout } = await run(path, args, { okCodes: [0, 1] });
  const known = new Set(
    (trusted?.files ?? []).flatMap(({ entries }) => entries.map(({ key, hash }) => `${hash} ${key}`)),
  );
  const names: string[] = [];
  const fields = stdout.split('\0');
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [scope, record = ''] = [fields[at], fields[at + 1]];
    if (scope !== 'local' && scope !== 'worktree') continue;
    const end = record.indexOf('\n');
    const key = end < 0 ? record : record.slice(0, end);
    const value = end < 0 ? null : record.slice(end + 1);
    if (known.has(`${sha256(value ?? '\0true')} ${key}`)) continue;
    names.push(key.slice('filter.'.length, Math.max('filter.'.length, key.lastIndexOf('.'))));
  }
  return names;
}

/** Whether it is worth asking git: most repositories define no filter and include nothing. */
async function mayDefineFilters(path: string): Promise<boolean> {
  const gitDir = await gitDirOf(path);
  if (gitDir === null) return false;
  const commonDir = await sharedDirOf(gitDir);
  const files = [
    join(commonDir, 'config'),
    join(commonDir, 'config.worktree'),
    join(gitDir, 'config.worktree'),
  ];
  const texts = await Promise.all(files.map(readGitFile));
  return texts.some((text) => text !== null && /filter|include/i.test(text.toString('utf8')));
}

/**
 * Whether a worktree may have submodules checked out, into which git descends: read from its index without asking
 * git. It may say yes where there are none, never no where there are.
 */
export async function mayHoldRepositories(path: string): Promise<boolean> {
  const gitDir = await gitDirOf(path);
  const index = gitDir === null ? null : await readGitFile(join(gitDir, 'index'));
  if (index === null) return false;
  // The mode of an entry that stands for a commit; `link`: the entries are in another file.
  return index.includes(Buffer.from([0, 0, 0xe0, 0])) || index.includes('link');
}
