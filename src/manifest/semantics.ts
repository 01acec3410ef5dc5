import { BRANCH_PLACEHOLDERS, fillBranch, isValidBranchName } from './branch.js';
import { type Finding, label, type Path, quote } from './diagnostic.js';
import { MAX_DURATION_MS, parseDuration } from './duration.js';
import { ENV_NAME, type Env, type Expanded, expandEnvValue, expandPath, expandUrl } from './expand.js';
import { didYouMean } from './nearest.js';
import { inList } from './shape.js';
import { agentsOf, at, type Entry, isMap, list, reposOf, ticketId } from './view.js';

/**
 * What a schema cannot say about a manifest. Each check looks at data that may be invalid in other ways, skips what
 * is not of the right type (the schema's findings say so), and reads nothing but the manifest.
 */
export function semanticFindings(manifest: Record<string, unknown>, env: Env, folder: string): Finding[] {
  const context: Context = { manifest, env, folder, repos: reposOf(manifest), agents: agentsOf(manifest) };
  return CHECKS.flatMap((check) => [...check(context)]);
}

/** What is allowed, but probably not meant. */
export function semanticWarnings(manifest: Record<string, unknown>): Finding[] {
  return WARNINGS.flatMap((check) => [...check(manifest)]);
}

interface Context {
  readonly manifest: Record<string, unknown>;
  readonly env: Env;
  readonly folder: string;
  readonly repos: readonly Entry[];
  readonly agents: readonly Entry[];
}

type Check = (context: Context) => Iterable<Finding>;

const CHECKS: readonly Check[] = [
  repoNames,
  repoSources,
  repoFiles,
  agentNames,
  references,
  branches,
  mergeIntent,
  criteriaOnce,
  commandsNotBlank,
  environments,
  paths,
  durations,
];

function* repoNames({ repos }: Context) {
  const seen = new Map<string, string>();
  for (const { name, namePath } of repos) {
    if (name === null) continue;
    const earlier = seen.get(name.toLowerCase());
    if (earlier === name)
      yield wrong(namePath, `the repo name ${quote(name)} is used twice`, 'give each its own name');
    else if (earlier !== undefined) {
      const message = `the repo names ${quote(earlier)} and ${quote(name)} differ only in case`;
      yield wrong(namePath, message, 'give each a folder name of its own');
    } else seen.set(name.toLowerCase(), name);
  }
}

function* repoSources({ repos, env, folder }: Context) {
  const seen = new Map<string, string>();
  for (const { path, name, fields } of repos) {
    for (const key of ['path', 'url'] as const) {
      const text = fields[key];
      if (key === 'url' && fields.path !== undefined) continue; // one too many is reported
      if (typeof text !== 'string' || text.trim() === '') continue;
      const place = [...path, key];
      const source = key === 'path' ? expandPath(text, env, folder) : expandUrl(text, env, folder);
      if (!source.ok) {
        yield wrong(place, source.message, source.suggestion);
        continue;
      }
      const identity = withoutSlashes(source.value).replace(/\.git$/, '');
      const earlier = seen.get(identity);
      if (earlier !== undefined) {
        const message = `${label(place)} is the git repository of ${earlier} again`;
        yield wrong(place, message, 'list each git repository once');
      } else seen.set(identity, name === null ? label(path) : quote(name));
    }
  }
}

/** What is copied or linked comes from inside the repo and is not git's or metawsm's own. */
function* repoFiles({ repos }: Context) {
  for (const { path, fields } of repos) {
    const copied = new Set<unknown>(list(fields.copy).map(plainGlob));
    for (const key of ['copy', 'link'] as const) {
      for (const [index, glob] of list(fields[key]).entries()) {
        if (typeof glob !== 'string' || glob.trim() === '') continue;
        const place = [...path, key, index];
        const parts = glob.split('/').filter((part) => part !== '.' && part !== '');
        if (glob.startsWith('/') || /^~(\/|$)/.test(glob) || /(^|[/{,\\])\.\.($|[/},\\])/.test(glob)) {
          yield wrong(place, `${label(place)} ${quote(glob)} leaves the repo`, 'name files inside the repo');
        } else if (parts.length === 0) {
          yield wrong(
            place,
            `${label(place)} ${quote(glob)} is the repo itself`,
            'name files inside the repo',
          );
        } else if (/^\.(git|metawsm)$/i.test(parts[0] ?? '')) {
          const message = `${label(place)} ${quote(glob)} is not the operator's to place`;
          yield wrong(place, message, 'git and metawsm make that folder themselves');
        } else if (key === 'link' && copied.has(plainGlob(glob))) {
          yield wrong(place, `${quote(glob)} is both copied and linked`, 'keep one of them');
        }
      }
    }
  }
}

function plainGlob(glob: unknown): unknown {
  return typeof glob === 'string' ? withoutSlashes(glob.replace(/^(\.\/)+/, '')) : glob;
}

/** Without the slashes at its end. (As a pattern this would take quadratic time.) */
function withoutSlashes(text: string): string {
  let end = text.length;
  while (text[end - 1] === '/') end -= 1;
  return text.slice(0, end);
}

function* agentNames({ manifest, agents }: Context) {
  const seen = new Set<string>();
  for (const { name, namePath, path } of agents) {
    if (name === null) {
      const isMissing = path[0] === 'agents' && isMap(list(manifest.agents)[Number(path[1])]);
      if (isMissing && at(manifest, namePath) === undefined) {
        yield {
          path,
          at: 'key' as const,
          message: `${label(path)} has no name`,
          suggestion: 'add the key name',
        };
      }
    } else if (seen.has(name)) {
      yield wrong(namePath, `the agent name ${quote(name)} is used twice`, 'give each its own name');
    } else seen.add(name);
  }
}

/** Repos that agents and criteria name must exist. */
function* references({ manifest, repos, agents }: Context) {
  const names = repos.flatMap(({ name }) => (name === null ? [] : [name]));
  // A repo whose own name is wrong was reported; what names it would only be reported twice.
  const isComplete = names.length === repos.length;
  const places = [
    ...agents.map(({ path }) => [...path, 'cwd']),
    ...list(manifest.done_criteria).map((_, index) => ['done_criteria', index, 'repo']),
  ];
  for (const path of places) {
    const wanted = at(manifest, path);
    if (typeof wanted !== 'string' || wanted.trim() === '' || names.includes(wanted)) continue;
    if (!isComplete && names.length === 0) continue;
    const suggestion = didYouMean(wanted, names) ?? `the repos are ${inList(names, 'and')}`;
    yield wrong(path, `${label(path)} names no repo: ${quote(wanted)}`, suggestion);
  }
}

function* branches({ manifest, repos }: Context) {
  const bases = [['base_branch'], ...repos.map(({ path }) => [...path, 'base_branch'])];
  for (const path of bases) {
    const base = at(manifest, path);
    if (typeof base !== 'string' || base.trim() === '' || base === 'HEAD' || isValidBranchName(base))
      continue;
    const message = `${label(path)} ${quote(base)} is no branch name that git accepts`;
    yield wrong(path, message, 'write the name of a branch, or HEAD');
  }
  const path = ['workspace', 'branch'];
  const template = at(manifest, path);
  if (typeof template !== 'string' || template.trim() === '') return;
  const placeholders = BRANCH_PLACEHOLDERS.map((name) => `{${name}}`);
  const unknown = [...template.matchAll(/\{[^{}]*\}/g)]
    .map(([text]) => text)
    .filter((t) => !placeholders.includes(t));
  for (const text of [...new Set(unknown)].slice(0, 20)) {
    const near = didYouMean(text, placeholders);
    const message = `${label(path)} has an unknown placeholder ${quote(text)}`;
    yield wrong(path, message, near ?? `the placeholders are ${inList(placeholders, 'and')}`);
  }
  if (unknown.length > 0) return;
  yield* filledBranch(template, manifest, repos);
}

/** The branch is looked at as it will be: what is random is as long as it will be. */
function* filledBranch(template: string, manifest: Record<string, unknown>, repos: readonly Entry[]) {
  const any: Pick<Entry, 'name' | 'fields'> = { name: null, fields: {} };
  const path = ['workspace', 'branch'];
  // A wrong id or name is reported at its own place, and not through the branch that it would make.
  const ticket = ticketId(manifest) ?? 'ticket';
  const token = 'abcd1234';
  const workspace = `${ticket.toLowerCase().replace(/[^a-z0-9-]/g, '-')}-${token}`;
  const reported = new Set<string>();
  for (const { name, fields } of repos.length > 0 ? repos : [any]) {
    const branch = fillBranch(template, { workspace, ticket, token, repo: safeName(name) });
    if (reported.has(branch)) continue;
    const base = fields.base_branch ?? manifest.base_branch;
    if (!isValidBranchName(branch)) {
      const message = `${label(path)} ${quote(template)} yields ${quote(branch)}, which git refuses as a branch`;
      yield wrong(path, message, 'write a branch name such as task/{workspace}');
      reported.add(branch);
    } else if (branch === base) {
      const message = `${label(path)} yields the base branch ${quote(branch)} itself`;
      yield wrong(path, message, 'name a branch of its own, such as task/{workspace}');
      reported.add(branch);
    }
  }
}

function safeName(name: string | null): string {
  return name !== null && /^[\w.-]+$/.test(name) && isValidBranchName(name) ? name : 'repo';
}

/** Merging needs a local clone that keeps its branches, and a branch to merge into. */
function* mergeIntent({ manifest, repos }: Context) {
  const path = ['intake', 'merge_intent'];
  if (at(manifest, path) !== 'merge') return;
  const suggestion = 'use merge_intent: pull_request, none or default';
  for (const { path: repoPath, fields } of repos) {
    const repo = label(repoPath);
    if (fields.url !== undefined) {
      yield wrong(
        path,
        `merge_intent merge, but ${repo} has a url and no local clone to merge in`,
        suggestion,
      );
    } else if ((fields.base_branch ?? manifest.base_branch) === 'HEAD') {
      yield wrong(path, `merge_intent merge, but the base of ${repo} is HEAD and no branch`, suggestion);
    }
  }
}

function* criteriaOnce({ manifest, repos }: Context) {
  const seen = new Map<string, number>();
  for (const [index, criterion] of list(manifest.done_criteria).entries()) {
    const key = criterionKey(criterion, repos);
    if (key === null) continue;
    const earlier = seen.get(key);
    if (earlier === undefined) seen.set(key, index);
    else {
      const path = ['done_criteria', index];
      yield wrong(path, `${label(path)} says the same as done_criteria[${earlier}]`, 'remove one of them');
    }
  }
}

/** What makes two criteria the same: words but for white space, or the command and where it runs. */
function criterionKey(criterion: unknown, repos: readonly Entry[]): string | null {
  const squeeze = (text: string) => text.trim().replace(/\s+/g, ' ');
  if (typeof criterion === 'string') return criterion.trim() === '' ? null : `words ${squeeze(criterion)}`;
  if (!isMap(criterion)) return null;
  const { run } = criterion;
  const isCommand = typeof run === 'string' ? run.trim() !== '' : list(run).length > 0;
  if (!isCommand) return null;
  const repo = criterion.repo ?? (repos.length === 1 ? repos[0]?.name : null) ?? null;
  return `command ${JSON.stringify([typeof run === 'string' ? squeeze(run) : run, repo])}`;
}

function* commandsNotBlank({ manifest, repos, agents }: Context) {
  const places: Path[] = [
    ...repos.flatMap(({ path, fields }) => list(fields.setup).map((_, index) => [...path, 'setup', index])),
    ...list(manifest.done_criteria).map((_, index) => ['done_criteria', index, 'run']),
    ...agents.map(({ path }) => [...path, 'command']),
  ];
  for (const path of places) {
    const program = list(at(manifest, path))[0];
    if (typeof program === 'string' && program.trim() === '') {
      yield wrong([...path, 0], `${label(path)} names no program`, 'begin the list with the program to run');
    }
  }
}

function* environments({ agents, env }: Context) {
  for (const { path, fields } of agents) {
    for (const [name, value] of Object.entries(isMap(fields.env) ? fields.env : {})) {
      const place = [...path, 'env', name];
      const key = (message: string, suggestion: string) => ({
        path: place,
        at: 'key' as const,
        message,
        suggestion,
      });
      if (!ENV_NAME.test(name)) {
        yield key(
          `${quote(name)} cannot be the name of an environment variable`,
          'use letters, digits and _, not beginning with a digit',
        );
      }
      if (typeof value !== 'string') continue;
      const expanded: Expanded = expandEnvValue(value, env);
      if (!expanded.ok) yield wrong(place, expanded.message, expanded.suggestion);
    }
  }
}

function* paths({ manifest, env, folder }: Context) {
  for (const path of [
    ['workspace', 'root'],
    ['tickets', 'root'],
  ]) {
    const text = at(manifest, path);
    if (typeof text !== 'string' || text.trim() === '') continue;
    const expanded = expandPath(text, env, folder);
    if (!expanded.ok) yield wrong(path, expanded.message, expanded.suggestion);
  }
}

function* durations({ manifest }: Context) {
  const places: { path: Path; mayBeZero: boolean }[] = [
    { path: ['policy', 'start_grace'], mayBeZero: true },
    ...['idle', 'activity_stalled', 'progress_stalled'].map((key) => ({
      path: ['policy', 'health', key],
      mayBeZero: false,
    })),
    ...list(manifest.done_criteria).map((_, index) => ({
      path: ['done_criteria', index, 'timeout'],
      mayBeZero: false,
    })),
  ];
  for (const { path, mayBeZero } of places) {
    const text = at(manifest, path);
    const ms = typeof text === 'string' ? parseDuration(text) : null;
    if (ms === null) continue;
    if (ms > MAX_DURATION_MS) yield wrong(path, `${label(path)} is too long: ${text}`, 'use at most 596h');
    else if (ms === 0 && !mayBeZero)
      yield wrong(path, `${label(path)} is no time at all`, 'use at least 1ms');
  }
}

/** What metawsm sets for an agent itself, over whatever the manifest says. */
const OWN_VARIABLE =
  /^METAWSM_(RUN_ID|TICKET|AGENT|ATTEMPT|WORKSPACE|SENTINEL_DIR|BRIEF|MANIFEST_DIR|STATE_DIR)$/;

const WARNINGS: readonly ((manifest: Record<string, unknown>) => Iterable<Finding>)[] = [
  function* passwordInUrl(manifest) {
    for (const { path, fields } of reposOf(manifest)) {
      const authority = typeof fields.url === 'string' ? (fields.url.split('/', 3)[2] ?? '') : '';
      const user = authority.slice(0, Math.max(authority.lastIndexOf('@'), 0));
      if (!user.includes(':')) continue;
      const place = [...path, 'url'];
      yield wrong(
        place,
        `${label(place)} holds a password, which is stored with the run`,
        "use git's credential helper",
      );
    }
  },
  function* ownVariables(manifest) {
    for (const { path, fields } of agentsOf(manifest)) {
      for (const name of Object.keys(isMap(fields.env) ? fields.env : {}).filter((n) =>
        OWN_VARIABLE.test(n),
      )) {
        const message = `the environment variable ${name} is metawsm's own: the agent gets metawsm's value`;
        yield { path: [...path, 'env', name], at: 'key', message, suggestion: 'remove it' };
      }
    }
  },
  function* unusedTicketsRoot(manifest) {
    if (at(manifest, ['tickets', 'driver']) === 'none' && at(manifest, ['tickets', 'root']) !== undefined) {
      yield wrong(['tickets', 'root'], 'tickets.root is not used with driver none', 'remove it');
    }
  },
];

function wrong(path: Path, message: string, suggestion: string): Finding {
  return { path, at: 'value', message, suggestion };
}
