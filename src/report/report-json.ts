/** The `report` document of `--json`, format_version 1. */
import type { Check, LogEnd, Report, ReportCriterion, ReportRepo } from './report-model.js';

/** See schemas/report.schema.json. */
export function reportDocument(report: Report) {
  const { run, timeline } = report;
  const { intake, ticket } = run.intent;
  return {
    format_version: 1,
    kind: 'report',
    generated_at: time(report.generatedAt),
    headline: report.headline.text,
    run: {
      id: run.id,
      ticket: run.ticketId,
      title: ticket.title,
      topics: ticket.topics,
      state: run.state,
      reason: run.reason,
      detail: run.detail,
      outcome: run.outcome,
      manifest: run.manifestPath,
      workspace: run.workspace,
      session: run.session,
      created_at: time(run.createdAt),
      updated_at: time(run.updatedAt),
    },
    intake: {
      goal: intake.goal,
      scope: intake.scope,
      constraints: intake.constraints,
      answers: intake.answers.map(({ question, answer }) => ({ question, answer })),
      merge_intent: intake.mergeIntent,
    },
    criteria: report.criteria.map(criterionFields),
    guidance: run.guidance.map((asked) => ({
      id: asked.id,
      agent: asked.agent,
      attempt: asked.attempt,
      state: asked.state,
      question: asked.question,
      context: asked.context,
      answer: asked.answer,
      asked_at: time(asked.askedAt),
      answered_at: time(asked.answeredAt),
    })),
    agents: report.agents.map(({ agent, log }) => ({
      name: agent.name,
      state: agent.state,
      attempt: agent.attempt,
      exit_code: agent.exitCode,
      signal: agent.signal,
      summary: agent.summary,
      started_at: time(agent.startedAt),
      ended_at: time(agent.endedAt),
      log: logFields(log),
    })),
    steps: run.steps.map((step) => ({
      id: step.id,
      kind: step.kind,
      state: step.state,
      attempts: step.attempts,
      started_at: time(step.startedAt),
      ended_at: time(step.endedAt),
      error: step.error,
    })),
    repos: report.repos.map(repoFields),
    gates: report.gates.map(({ name, ok, reason }) => ({ name, ok, reason })),
    timeline: timeline.moments.map(({ at, kind, text }) => ({ at: time(at), kind, text })),
    warnings: report.warnings.map(({ code, message, file }) => ({ code, message, file })),
  };
}

function criterionFields(criterion: ReportCriterion) {
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
    detail: criterion.detail,
    checks: criterion.checks.map(checkFields),
    checks_left_out: criterion.checksLeftOut,
  };
}

function checkFields(check: Check) {
  return {
    state: check.state,
    checked_at: time(check.checkedAt),
    duration_ms: check.durationMs,
    exit_code: check.exitCode,
    detail: check.detail,
    heads: check.heads,
    dirty: check.dirty,
    log: logFields(check.log),
  };
}

function logFields(log: LogEnd | null) {
  return log && { text: log.text, bytes_left_out: log.leftOut };
}

function repoFields({ repo, head, from, dirtyFiles, history, note, delivery }: ReportRepo) {
  return {
    name: repo.name,
    source: repo.source,
    branch: repo.branch,
    base_branch: repo.baseBranch,
    base_commit: repo.baseCommit,
    head,
    seen_in: from,
    dirty_files: dirtyFiles,
    files_changed: history?.filesChanged ?? null,
    insertions: history?.insertions ?? null,
    deletions: history?.deletions ?? null,
    commit_count: history?.commitCount ?? null,
    commits: (history?.commits ?? []).map((commit) => ({
      commit: commit.commit,
      subject: commit.subject,
      author: commit.author,
      at: time(commit.at),
    })),
    files: (history?.files ?? []).map(({ path, insertions, deletions }) => ({ path, insertions, deletions })),
    note,
    delivery: delivery && {
      kind: delivery.kind,
      state: delivery.state,
      head: delivery.head,
      ref: delivery.ref,
      before: delivery.before,
      after: delivery.after,
      url: delivery.url,
      at: time(delivery.at),
    },
  };
}

function time(milliseconds: number): string;
function time(milliseconds: number | null): string | null;
function time(milliseconds: number | null): string | null {
  return milliseconds === null ? null : new Date(milliseconds).toISOString();
}
