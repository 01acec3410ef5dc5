/** What changed in a manifest since it was last applied, and what each change may do to a run. Pure. */
import type { AgentIntent, Criterion, Intent, RepoIntent } from '../manifest/intent.js';
import type { RecordedRun } from './recorded.js';
import type { Refusal } from './steps.js';

/** One edited place of the manifest. */
export interface ManifestChange {
  /** Such as `/intake/goal` or `/repos/api`. */
  readonly path: string;
  readonly effect: 'in_place' | 'restart' | 'refused';
  readonly before: string | null;
  readonly after: string | null;
  /** Set for refused changes. */
  readonly refusal: Refusal | null;
}

/** Whether a run works on a repo: a branch was made in it. Before that its place and its base may still be chosen. */
export function isInUse(run: RecordedRun, name: string): boolean {
  return run.repos.some((repo) => repo.name === name && repo.baseCommit !== null);
}

/** What changed from what was applied of a run to what is declared now. */
export function changesOf(run: RecordedRun, intent: Intent): readonly ManifestChange[] {
  return diffIntents(run.intent, intent, (name) => isInUse(run, name), run.selector);
}

/** What changed from `before` to `after`, in the order of the manifest. `selector`: what the run of `before` is called. */
export function diffIntents(
  before: Intent,
  after: Intent,
  inUse: (repo: string) => boolean = () => true,
  selector: string = before.ticket.id,
): readonly ManifestChange[] {
  const changes: ManifestChange[] = [];
  const wayOut = newRun(selector);
  const add = (path: string, effect: 'in_place' | 'restart', a: unknown, b: unknown): void => {
    if (!same(a, b)) changes.push({ path, effect, before: show(a), after: show(b), refusal: null });
  };
  const refuse = (path: string, code: string, a: unknown, b: unknown): void => {
    if (same(a, b)) return;
    const message = `${path} changed from ${show(a)} to ${show(b)}, which a run in progress cannot follow`;
    changes.push({
      path,
      effect: 'refused',
      before: show(a),
      after: show(b),
      refusal: { code, message, wayOut },
    });
  };

  refuse('/ticket/id', 'ticket_changed', before.ticket.id, after.ticket.id);
  add('/ticket/title', 'in_place', before.ticket.title, after.ticket.title);
  add('/ticket/topics', 'in_place', before.ticket.topics, after.ticket.topics);
  changes.push(...diffRepos(before.repos, after.repos, inUse, wayOut));
  refuse('/workspace/root', 'workspace_changed', before.workspace.root, after.workspace.root);
  refuse('/workspace/branch', 'workspace_changed', before.workspace.branch, after.workspace.branch);
  add('/intake/goal', 'in_place', before.intake.goal, after.intake.goal);
  add('/intake/scope', 'in_place', before.intake.scope, after.intake.scope);
  add('/intake/constraints', 'in_place', before.intake.constraints, after.intake.constraints);
  add('/intake/answers', 'in_place', before.intake.answers, after.intake.answers);
  add('/intake/merge_intent', 'in_place', before.intake.mergeIntent, after.intake.mergeIntent);
  changes.push(...diffCriteria(before.criteria, after.criteria));
  changes.push(...diffAgents(before.agents, after.agents, wayOut));
  add('/session', 'restart', before.session, after.session);
  refuse('/tickets/driver', 'tickets_changed', before.tickets.driver, after.tickets.driver);
  refuse('/tickets/root', 'tickets_changed', before.tickets.root, after.tickets.root);
  const [was, is] = limitsThatDiffer(before.policy, after.policy);
  add('/policy', 'in_place', was, is);
  return changes;
}

/** The limits that differ, in the manifest's words: all of them side by side would hide which. */
function limitsThatDiffer(before: Intent['policy'], after: Intent['policy']): readonly [string, string] {
  const [was, is] = [before, after].map(({ health, ...limits }) => Object.entries({ ...limits, ...health }));
  const told = (entries: typeof was, others: typeof was): string =>
    (entries ?? [])
      .filter(([key, value]) => !others?.some(([k, v]) => k === key && v === value))
      .map(([key, value]) => {
        const name = key.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
        return `${name}: ${key.endsWith('Ms') ? durationWord(value) : value}`;
      })
      .join(', ');
  return [told(was, is), told(is, was)];
}

function newRun(selector: string): string {
  return `put the old value back, or end this run with metawsm cleanup ${selector} and apply again, or apply with --new-run`;
}

function diffRepos(
  before: readonly RepoIntent[],
  after: readonly RepoIntent[],
  inUse: (repo: string) => boolean,
  wayOut: string,
): ManifestChange[] {
  const changes: ManifestChange[] = [];
  for (const old of before) {
    const now = after.find((repo) => repo.name === old.name);
    const path = `/repos/${old.name}`;
    const used = inUse(old.name);
    if (now === undefined) {
      const renamed = after.find(
        (repo) =>
          used &&
          same(repo.source, old.source) &&
          old.source.kind !== 'registry' &&
          !before.some((b) => b.name === repo.name),
      );
      if (renamed !== undefined) {
        changes.push(
          refused(
            path,
            'repo_renamed',
            old.name,
            renamed.name,
            `repo ${old.name} was renamed to ${renamed.name}; its worktree and branch keep the old name`,
            wayOut,
          ),
        );
      } else {
        changes.push({ path, effect: 'in_place', before: old.name, after: null, refusal: null });
      }
      continue;
    }
    if (!used) {
      for (const [key, a, b] of [
        ['path', sourceText(old.source), sourceText(now.source)],
        ['base_branch', old.baseBranch, now.baseBranch],
      ] as const) {
        if (same(a, b)) continue;
        changes.push({ path: `${path}/${key}`, effect: 'in_place', before: a, after: b, refusal: null });
      }
    }
    if (used && !same(old.source, now.source)) {
      changes.push(
        refused(
          `${path}/path`,
          'repo_moved',
          sourceText(old.source),
          sourceText(now.source),
          `repo ${old.name} is in use and was given another source`,
          wayOut,
        ),
      );
    }
    if (used && old.baseBranch !== now.baseBranch) {
      changes.push(
        refused(
          `${path}/base_branch`,
          'base_branch_changed',
          old.baseBranch,
          now.baseBranch,
          `repo ${old.name} is branched from ${old.baseBranch} already; the manifest now says ${now.baseBranch}`,
          wayOut,
        ),
      );
    }
    for (const key of ['copy', 'link', 'setup'] as const) {
      if (!same(old[key], now[key])) {
        changes.push({
          path: `${path}/${key}`,
          effect: 'in_place',
          before: show(old[key]),
          after: show(now[key]),
          refusal: null,
        });
      }
    }
  }
  for (const repo of after) {
    if (before.some((b) => b.name === repo.name)) continue;
    const wasRenamed = changes.some((c) => c.refusal?.code === 'repo_renamed' && c.after === repo.name);
    if (!wasRenamed)
      changes.push({
        path: `/repos/${repo.name}`,
        effect: 'in_place',
        before: null,
        after: repo.name,
        refusal: null,
      });
  }
  return changes;
}

function diffAgents(
  before: readonly AgentIntent[],
  after: readonly AgentIntent[],
  wayOut: string,
): ManifestChange[] {
  const changes: ManifestChange[] = [];
  for (const old of before) {
    const path = `/agents/${old.name}`;
    const now = after.find((agent) => agent.name === old.name);
    if (now === undefined) {
      const renamed = after.find(
        (a) => same({ ...a, name: '' }, { ...old, name: '' }) && !before.some((b) => b.name === a.name),
      );
      changes.push(
        renamed === undefined
          ? { path, effect: 'in_place', before: old.name, after: null, refusal: null }
          : refused(
              path,
              'agent_renamed',
              old.name,
              renamed.name,
              `agent ${old.name} was renamed to ${renamed.name}`,
              wayOut,
            ),
      );
      continue;
    }
    for (const key of ['command', 'env', 'cwd'] as const) {
      if (same(old[key], now[key])) continue;
      // Values of env stay out of every output: they may hold secrets.
      const hidden = key === 'env';
      changes.push({
        path: `${path}/${key}`,
        effect: 'restart',
        before: hidden ? envNames(old.env, old.env) : show(old[key]),
        after: hidden ? envNames(now.env, old.env) : show(now[key]),
        refusal: null,
      });
    }
    if (old.completeOn !== now.completeOn) {
      changes.push({
        path: `${path}/complete_on`,
        effect: 'in_place',
        before: old.completeOn,
        after: now.completeOn,
        refusal: null,
      });
    }
  }
  for (const agent of after) {
    if (before.some((b) => b.name === agent.name)) continue;
    const wasRenamed = changes.some((c) => c.refusal?.code === 'agent_renamed' && c.after === agent.name);
    if (!wasRenamed)
      changes.push({
        path: `/agents/${agent.name}`,
        effect: 'in_place',
        before: null,
        after: agent.name,
        refusal: null,
      });
  }
  return changes;
}

/** The names of variables, with those marked that have another value than before. */
function envNames(env: AgentIntent['env'], before: AgentIntent['env']): string {
  const named = Object.keys(env).sort();
  return named
    .map((name) => (name in before && before[name] !== env[name] ? `${name} (changed)` : name))
    .join(' ');
}

function diffCriteria(before: readonly Criterion[], after: readonly Criterion[]): ManifestChange[] {
  const gone = before.filter((c) => !after.some((d) => same(c, d)));
  const fresh = after.filter((c) => !before.some((d) => same(c, d)));
  return [
    ...gone.map((c) => ({
      path: '/done_criteria',
      effect: 'in_place' as const,
      before: criterionText(c),
      after: null,
      refusal: null,
    })),
    ...fresh.map((c) => ({
      path: '/done_criteria',
      effect: 'in_place' as const,
      before: null,
      after: criterionText(c),
      refusal: null,
    })),
  ];
}

function refused(
  path: string,
  code: string,
  before: string | null,
  after: string | null,
  message: string,
  wayOut: string,
): ManifestChange {
  return { path, effect: 'refused', before, after, refusal: { code, message, wayOut } };
}

/** Deep equality of plain JSON data, whatever the order of keys. */
function same(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b);
}

/** JSON with sorted keys: the same data gives the same text. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}

/** A criterion in the manifest's words. */
function criterionText(criterion: Criterion): string {
  if (criterion.kind === 'worded') return criterion.text;
  const { run, repo, timeoutMs } = criterion;
  const where = repo === null ? '' : `, repo: ${repo}`;
  return `run: ${show(run)}${where}, timeout: ${durationWord(timeoutMs)}`;
}

/** A duration as a manifest would say it, in the largest unit that leaves no rest. */
function durationWord(milliseconds: number): string {
  for (const [unit, size] of [
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ] as const) {
    if (milliseconds > 0 && milliseconds % size === 0) return `${milliseconds / size}${unit}`;
  }
  return `${milliseconds}ms`;
}

function sourceText(source: RepoIntent['source']): string {
  switch (source.kind) {
    case 'path':
      return source.path;
    case 'url':
      return source.url;
    case 'registry':
      return 'wsm’s registry';
  }
}

function show(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  return typeof value === 'string' ? value : canonical(value);
}
