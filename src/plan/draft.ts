/**
 * The run a manifest asks for, as if it were recorded already: a new one with freshly decided names, or the
 * recorded one with what the changed manifest adds, drops and edits. Pure.
 */
import type { AgentIntent, Intent, RepoIntent, SessionKind } from '../manifest/intent.js';
import { canonical, isInUse } from './diff.js';
import { decideCriterionRepos } from './evidence.js';
import { branchName, sessionName, workspaceName } from './names.js';
import type { RecordedAgent, RecordedRepo, RecordedRun } from './recorded.js';
import { selectorFor } from './selector.js';

/** What makes a new run itself; random and clock come from outside. */
export interface Identity {
  readonly runId: string;
  /** 8 characters of a-z0-9. */
  readonly token: string;
  /** YYYY-MM-DD of the workspace's parent folder. */
  readonly date: string;
  readonly now: number;
}

/** Decisions about the surroundings that a run keeps once it is created. */
export interface Surroundings {
  readonly autoSession: SessionKind;
  readonly ticketRoot: string | null;
  /** Where each repo's source clone is (or will be, for a url): repo name → absolute path. */
  readonly sources: Readonly<Record<string, string>>;
}

/** A run that does not exist yet. */
export function draftRun(intent: Intent, identity: Identity, surroundings: Surroundings): RecordedRun {
  const name = workspaceName(intent.ticket.id, identity.token);
  const workspace = join(intent.workspace.root, identity.date, name);
  const base: RecordedRun = {
    id: identity.runId,
    ticketId: intent.ticket.id,
    selector: selectorFor({ id: identity.runId, ticketId: intent.ticket.id }, true),
    manifestPath: intent.manifestPath,
    state: 'created',
    reason: null,
    detail: null,
    outcome: null,
    intent,
    workspace,
    token: identity.token,
    session: intent.session === 'auto' ? surroundings.autoSession : intent.session,
    ticketRoot: surroundings.ticketRoot,
    createdAt: identity.now,
    updatedAt: identity.now,
    repos: [],
    agents: [],
    steps: [],
    guidance: [],
    brief: null,
    evidence: [],
    deliveries: [],
    criterionRepos: {},
    fixAttempts: 0,
  };
  return withIntent(base, intent, surroundings);
}

/**
 * The recorded run as the given intent wants it: new repos and agents are added, dropped ones marked removed,
 * everything decided before is kept.
 */
export function withIntent(run: RecordedRun, intent: Intent, surroundings: Surroundings): RecordedRun {
  const session = intent.session === 'auto' ? run.session : intent.session;
  const repos = [
    ...run.repos.map((repo) => keptRepo(run, intent, repo, surroundings)),
    ...intent.repos
      .filter((repo) => !run.repos.some((known) => known.name === repo.name))
      .map((repo) => draftRepo(run, intent, repo, surroundings)),
  ];
  const kept = run.agents.map((agent) => {
    const wanted = intent.agents.find((a) => a.name === agent.name);
    if (wanted === undefined) return { ...agent, removed: true };
    // A default is kept as it was decided, as long as its repo is there.
    const dropped = repos.some((repo) => repo.removed && repo.path === agent.cwd);
    const cwd = wanted.cwd === null && !dropped ? agent.cwd : cwdOf(run, wanted, repos);
    return { ...agent, removed: false, cwd, session };
  });
  const alone = intent.agents.length === 1 && run.agents.length === 0;
  const added = intent.agents
    .filter((agent) => !run.agents.some((known) => known.name === agent.name))
    .map((agent) => draftAgent(run, agent, repos, session, alone));
  const criterionRepos = decideCriterionRepos(run.criterionRepos, intent);
  const { manifestPath } = intent;
  return { ...run, manifestPath, intent, session, repos, agents: [...kept, ...added], criterionRepos };
}

/** A repo that is known already, as the manifest wants it now. */
function keptRepo(
  run: RecordedRun,
  intent: Intent,
  repo: RecordedRepo,
  surroundings: Surroundings,
): RecordedRepo {
  const wanted = intent.repos.find((r) => r.name === repo.name);
  if (wanted === undefined) return { ...repo, removed: true };
  const kept = { ...repo, removed: false };
  if (isInUse(run, repo.name)) return kept;
  const source = knowsSource(run, wanted) ? repo.source : (surroundings.sources[repo.name] ?? repo.source);
  return { ...kept, source, baseBranch: wanted.baseBranch };
}

/** Whether a run has decided where a repo is, and the manifest says nothing else since. */
export function knowsSource(run: RecordedRun, wanted: RepoIntent): boolean {
  if (isInUse(run, wanted.name)) return true;
  const before = run.intent.repos.find((repo) => repo.name === wanted.name);
  return before !== undefined && canonical(before.source) === canonical(wanted.source);
}

function draftRepo(
  run: RecordedRun,
  intent: Intent,
  repo: RepoIntent,
  surroundings: Surroundings,
): RecordedRepo {
  return {
    name: repo.name,
    source: surroundings.sources[repo.name] ?? '',
    path: join(run.workspace, repo.name),
    branch: branchName(intent.workspace.branch, {
      workspace: baseName(run.workspace),
      ticket: intent.ticket.id,
      token: run.token,
      repo: repo.name,
    }),
    baseBranch: repo.baseBranch,
    baseRef: null,
    baseCommit: null,
    placed: {},
    configAtCreation: null,
    removed: false,
  };
}

/** The worktree that an agent names; without a name that of the only repo, else the workspace. */
function cwdOf(run: RecordedRun, agent: AgentIntent, repos: readonly RecordedRepo[]): string {
  const inUse = repos.filter((repo) => !repo.removed);
  const only = inUse.length === 1 ? inUse[0] : undefined;
  const named = agent.cwd === null ? only : repos.find((repo) => repo.name === agent.cwd);
  return named?.path ?? run.workspace;
}

function draftAgent(
  run: RecordedRun,
  agent: AgentIntent,
  repos: readonly RecordedRepo[],
  session: SessionKind,
  alone: boolean,
): RecordedAgent {
  return {
    name: agent.name,
    state: 'pending',
    health: 'none',
    healthReason: null,
    attempt: 0,
    session,
    sessionName: sessionName(baseName(run.workspace), agent.name),
    tmuxSocket: null,
    cwd: cwdOf(run, agent, repos),
    sentinelDir: alone
      ? join(run.workspace, '.metawsm')
      : join(run.workspace, '.metawsm', 'agents', agent.name),
    pid: null,
    pidStart: null,
    bootId: null,
    host: null,
    exitCode: null,
    signal: null,
    startedAt: null,
    endedAt: null,
    lastOutputAt: null,
    lastProgressAt: null,
    progress: null,
    stoppedAttempt: null,
    startsUsed: 0,
    freeStartFor: null,
    summary: null,
    completedAt: null,
    feedback: null,
    removed: false,
  };
}

/** Paths are joined by hand: this folder knows no operating system. */
function join(...parts: readonly string[]): string {
  return parts.map((part, index) => (index === 0 ? part.replace(/\/+$/, '') : part)).join('/');
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
