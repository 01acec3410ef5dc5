/** The repo registry of wsm (workspace-manager): a JSON file in the user's configuration folder. Only read. */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

export type RegistryLookup = { readonly path: string } | { readonly problem: string };

/** More is no registry. */
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * Finds a repo's clone by its name. What is wrong is a sentence that names the file, with similar names where
 * there are any.
 */
export async function lookupRegistry(
  name: string,
  env: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform = process.platform,
): Promise<RegistryLookup> {
  const files = registryFiles(env, platform);
  for (const file of files) {
    const text = await readFile(file).catch((error: NodeJS.ErrnoException) => error);
    if (text instanceof Error) {
      if (text.code === 'ENOENT' || text.code === 'ENOTDIR') continue;
      return { problem: `wsm's registry ${file} cannot be read (${text.code ?? text.message})` };
    }
    return text.length > MAX_BYTES
      ? { problem: `wsm's registry ${file} is too large` }
      : lookIn(file, text.toString('utf8'), name);
  }
  const where = files.join(' nor ');
  return {
    problem: `${name} has neither path nor url, and wsm has no registry (no ${where}; wsm discover DIR writes it)`,
  };
}

/** Where the registry may be, the likeliest first. */
function registryFiles(
  env: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform,
): readonly string[] {
  const home = env.HOME || homedir();
  const chosen = env.XDG_CONFIG_HOME && isAbsolute(env.XDG_CONFIG_HOME) ? [env.XDG_CONFIG_HOME] : [];
  const folders =
    platform === 'darwin'
      ? [join(home, 'Library', 'Application Support'), ...chosen]
      : [chosen[0] ?? join(home, '.config')];
  return folders.map((folder) => join(folder, 'workspace-manager', 'registry.json'));
}

function lookIn(file: string, text: string, name: string): RegistryLookup {
  const repos = parse(text);
  if (repos === null) return { problem: `wsm's registry ${file} is not what wsm writes` };
  const paths = [...new Set(repos.filter((repo) => repo.name === name).map((repo) => repo.path))];
  const [path] = paths;
  if (path === undefined) {
    const near = nearNames(
      name,
      repos.map((repo) => repo.name),
    );
    const hint = near.length > 0 ? `; it has ${near.join(', ')}` : '';
    return { problem: `wsm's registry ${file} has no repo named ${name}${hint}` };
  }
  if (paths.length > 1) {
    return {
      problem: `wsm's registry ${file} has several repos named ${name}: ${paths.join(', ')}; give its path in the manifest`,
    };
  }
  if (!isAbsolute(path))
    return { problem: `wsm's registry ${file} has no absolute path for ${name}: ${path}` };
  return { path };
}

interface RegisteredRepo {
  readonly name: string;
  readonly path: string;
}

function parse(text: string): readonly RegisteredRepo[] | null {
  try {
    const { repositories } = JSON.parse(text) as { repositories?: unknown };
    if (repositories === null) return [];
    if (!Array.isArray(repositories)) return null;
    return repositories.filter(isRegisteredRepo);
  } catch {
    return null;
  }
}

function isRegisteredRepo(value: unknown): value is RegisteredRepo {
  if (typeof value !== 'object' || value === null) return false;
  const { name, path } = value as Record<string, unknown>;
  return typeof name === 'string' && typeof path === 'string';
}

/** At most five names that were perhaps meant. */
function nearNames(name: string, names: readonly string[]): readonly string[] {
  const wanted = name.toLowerCase();
  return [...new Set(names)]
    .map((each) => ({ each, distance: nearness(wanted, each.toLowerCase()) }))
    .filter(({ distance }) => distance <= Math.max(1, Math.floor(wanted.length / 3)))
    .sort((a, b) => a.distance - b.distance || (a.each < b.each ? -1 : 1))
    .slice(0, 5)
    .map(({ each }) => each);
}

function nearness(wanted: string, other: string): number {
  if (wanted.length > 2 && (other.includes(wanted) || wanted.includes(other))) return 1;
  return editDistance(wanted, other);
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
