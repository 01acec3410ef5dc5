import type { EventLine, Status } from './documents.js';
import type { Repo } from './repo.js';
import type { ManifestKeys, Rig } from './rig.js';

/** What a test of close begins with. */
export interface Ready {
  readonly status: Status;
  /** The source clones, by name. */
  readonly repos: Readonly<Record<string, Repo>>;
  /** The worktrees, by name. */
  readonly trees: Readonly<Record<string, Repo>>;
}

export interface ReadyOptions {
  /** Default: `api` alone. */
  readonly names?: readonly string[];
  readonly origin?: boolean;
  /** Laid over the manifest. */
  readonly keys?: ManifestKeys;
  /** A branch to make in each clone, on no origin. */
  readonly local?: string;
  /** Exit code of its verify; default 0. */
  readonly verified?: number;
  /** Committed in each worktree; default one new file. */
  readonly work?: Readonly<Record<string, string>>;
}

/**
 * A run that may close: a workspace only, work committed in each worktree, its one command criterion passed there.
 */
export async function ready(rig: Rig, options: ReadyOptions = {}): Promise<Ready> {
  const names = options.names ?? ['api'];
  const repos: Record<string, Repo> = {};
  for (const name of names) {
    const files = { 'README.md': `# ${name}\n`, 'shared.txt': 'one\ntwo\nthree\n' };
    const repo = await rig.repo(name, { files, origin: options.origin ?? false });
    if (options.local !== undefined) await repo.git('branch', '-q', options.local);
    repos[name] = repo;
  }
  rig.manifest({
    agents: [],
    repos: names.map((name) => ({ name, path: `../repos/${name}` })),
    done_criteria: [{ run: 'true' }],
    ...options.keys,
  });
  await rig.run('apply run.yaml');
  const trees: Record<string, Repo> = {};
  for (const { name, path } of (await rig.status()).repos) {
    const tree = rig.at(path);
    await tree.commit('Work', options.work ?? { 'work.txt': 'done\n' });
    trees[name] = tree;
  }
  await rig.run('verify run.yaml', { code: options.verified ?? 0 });
  return { status: await rig.status(), repos, trees };
}

/** One of several by name; fails where there is none. */
export function named<T>(all: Readonly<Record<string, T>>, name = 'api'): T {
  const found = all[name];
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
}

/** The failing gates of a close, by name. */
export function failing(lines: readonly EventLine[]): Record<string, string> {
  const gates = lines.filter((line) => line.type === 'gate' && line.ok === false);
  return Object.fromEntries(gates.map(({ name, reason }) => [String(name), String(reason)]));
}

/** Closes and gives the gates that do not hold; fails where all hold. */
export async function refused(rig: Rig): Promise<Record<string, string>> {
  const { lines } = await rig.events('close run.yaml', { code: 4 });
  return failing(lines);
}
