/** The `status` and `runs` documents of `--json`, format_version 1. */
import type { CriterionState } from '../plan/evidence.js';
import type { RecordedRun } from '../plan/recorded.js';
import { agentStateJson } from './json.js';
import {
  type AgentView,
  isOpenQuestion,
  type RepoView,
  type RunLine,
  resumeStep,
  type StatusView,
} from './status-view.js';

/** The document of one run: see schemas/status.schema.json. */
export function statusDocument(view: StatusView) {
  const { run } = view;
  return {
    format_version: 1,
    kind: 'status',
    observed_at: time(view.observedAt),
    recorded: view.unrecorded === null,
    run: runFields(run),
    steps: run.steps.map((step) => ({
      id: step.id,
      kind: step.kind,
      state: step.state,
      attempts: step.attempts,
      started_at: time(step.startedAt),
      ended_at: time(step.endedAt),
      error: step.error,
    })),
    agents: view.agents.map(agentFields),
    guidance: view.guidance.map((asked) => ({
      id: asked.id,
      request_id: asked.requestId,
      agent: asked.agent,
      question: asked.question,
      context: asked.context ?? null,
      asked_at: time(asked.askedAt),
    })),
    criteria: view.criteria.map(criterionFields),
    repos: view.repos.map(repoFields),
    gates: view.gates.map(({ name, ok, reason }) => ({ name, ok, reason })),
    warnings: view.warnings.map(({ code, message, file }) => ({ code, message, file })),
    next: view.next && { argv: view.next.argv, text: view.next.text, why: view.next.why },
  };
}

/** The document of several runs: see schemas/runs.schema.json. */
export function runsDocument(lines: readonly RunLine[]) {
  return {
    format_version: 1,
    kind: 'runs',
    runs: lines.map(({ run, agentsAlive, criteriaPassed }) => ({
      ...runFields(run),
      agents_alive: agentsAlive,
      guidance_pending: run.guidance.filter(isOpenQuestion).length,
      criteria_passed: criteriaPassed,
      criteria_total: run.intent.criteria.length,
    })),
  };
}

/**
 * What of a status makes it another one than the last: everything but the passing of time, which a watch
 * would otherwise report every second.
 */
export function statusKey(view: StatusView): string {
  const { observed_at: _, ...document } = statusDocument(view);
  return JSON.stringify({
    ...document,
    run: { ...document.run, updated_at: null },
    agents: document.agents.map((agent) => ({
      ...agent,
      health_reason: null,
      last_output_at: null,
      last_progress_at: null,
    })),
  });
}

/** The same for a list of runs. */
export function runsKey(lines: readonly RunLine[]): string {
  return JSON.stringify(runsDocument(lines).runs.map((run) => ({ ...run, updated_at: null })));
}

function runFields(run: RecordedRun) {
  return {
    id: run.id,
    ticket: run.ticketId,
    title: run.intent.ticket.title,
    state: run.state,
    reason: run.reason,
    outcome: run.outcome,
    manifest: run.manifestPath,
    workspace: run.workspace,
    session: run.session,
    created_at: time(run.createdAt),
    updated_at: time(run.updatedAt),
    resume_at_step: resumeStep(run),
  };
}

function agentFields({ agent, live, restartsLeft, log }: AgentView) {
  return {
    name: agent.name,
    state: agentStateJson(agent.state),
    health: agent.health,
    health_reason: agent.healthReason,
    // A pid that is no longer the agent's may be anybody's.
    pid: live ? agent.pid : null,
    session_name: agent.sessionName,
    attempt: agent.attempt,
    restarts_left: restartsLeft,
    exit_code: agent.exitCode,
    signal: agent.signal,
    started_at: time(agent.startedAt),
    ended_at: time(agent.endedAt),
    last_output_at: time(agent.lastOutputAt),
    last_progress_at: time(agent.lastProgressAt),
    sentinel_dir: agent.sentinelDir,
    log,
    summary: agent.summary,
  };
}

function criterionFields(criterion: CriterionState) {
  return {
    id: criterion.id,
    kind: criterion.kind,
    text: criterion.text,
    repo: criterion.repo,
    state: criterion.state,
    void_reason: criterion.voidReason,
    commit: criterion.commit,
    exit_code: criterion.exitCode,
    duration_ms: criterion.durationMs,
    checked_at: time(criterion.checkedAt),
    log: criterion.log,
  };
}

function repoFields({ repo, worktree, delivery }: RepoView) {
  const dirty = worktree?.dirtyFiles ?? null;
  return {
    name: repo.name,
    path: repo.path,
    source: repo.source,
    branch: repo.branch,
    base_branch: repo.baseBranch,
    base_commit: repo.baseCommit,
    head: worktree?.head ?? null,
    ahead: worktree?.ahead ?? null,
    behind: worktree?.behind ?? null,
    clean: dirty === null ? null : dirty.length === 0,
    dirty_files: dirty ?? [],
    files_changed: worktree?.filesChanged ?? null,
    insertions: worktree?.insertions ?? null,
    deletions: worktree?.deletions ?? null,
    delivered: delivery?.state === 'done',
    pull_request: delivery?.url ?? null,
  };
}

function time(milliseconds: number): string;
function time(milliseconds: number | null): string | null;
function time(milliseconds: number | null): string | null {
  return milliseconds === null ? null : new Date(milliseconds).toISOString();
}
