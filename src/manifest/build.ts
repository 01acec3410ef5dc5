import { dirname } from 'node:path';
import { trustCodex } from './codex.js';
import { parseDuration } from './duration.js';
import { type Env, type Expanded, expandPath, expandUrl } from './expand.js';
import type { AgentIntent, Criterion, Intent, RepoIntent, RepoSource } from './intent.js';
import type { Agent, Criterion as DeclaredCriterion, Manifest, Repo } from './manifest.generated.js';

/** The intent of a manifest without findings. `manifestPath` is absolute; paths in it start at its folder. */
export function intentOf(manifest: Manifest, manifestPath: string, env: Env): Intent {
  const folder = dirname(manifestPath);
  const { intake, policy, ticket, tickets, workspace } = manifest;
  const path = (text: string) => expanded(expandPath(text, env, folder));
  return {
    intentVersion: 1,
    manifestPath,
    ticket:
      typeof ticket === 'string'
        ? { id: ticket, title: ticket, topics: [] }
        : { id: ticket.id, title: ticket.title ?? ticket.id, topics: ticket.topics },
    repos: manifest.repos.map((repo) => repoIntent(repo, manifest.base_branch, env, folder)),
    workspace: { root: path(workspace.root), branch: workspace.branch },
    intake: {
      goal: intake.goal,
      scope: intake.scope,
      constraints: intake.constraints,
      answers: intake.answers.map(({ question, answer }) => ({ question, answer })),
      mergeIntent: intake.merge_intent,
    },
    criteria: manifest.done_criteria.map(criterion),
    agents: (manifest.agents ?? (manifest.agent === undefined ? [] : [manifest.agent])).map(agentIntent),
    session: manifest.session,
    tickets: { driver: tickets.driver, root: tickets.root === undefined ? null : path(tickets.root) },
    policy: {
      stepRetries: policy.step_retries,
      startGraceMs: milliseconds(policy.start_grace),
      restartBudget: policy.restart_budget,
      fixAttempts: policy.fix_attempts,
      health: {
        idleMs: milliseconds(policy.health.idle),
        activityStalledMs: milliseconds(policy.health.activity_stalled),
        progressStalledMs: milliseconds(policy.health.progress_stalled),
      },
    },
  };
}

function repoIntent(repo: Repo, baseBranch: string, env: Env, folder: string): RepoIntent {
  if (typeof repo === 'string') {
    return { name: repo, source: { kind: 'registry' }, baseBranch, copy: [], link: [], setup: [] };
  }
  let source: RepoSource = { kind: 'registry' };
  if (repo.path !== undefined) source = { kind: 'path', path: expanded(expandPath(repo.path, env, folder)) };
  else if (repo.url !== undefined) source = { kind: 'url', url: expanded(expandUrl(repo.url, env, folder)) };
  const { name, copy, link, setup } = repo;
  return { name, source, baseBranch: repo.base_branch ?? baseBranch, copy, link, setup };
}

function criterion(declared: DeclaredCriterion): Criterion {
  if (typeof declared === 'string') return { kind: 'worded', text: declared.trim() };
  const { run, repo = null, timeout } = declared;
  return { kind: 'command', run, repo, timeoutMs: milliseconds(timeout) };
}

function agentIntent(agent: Agent): AgentIntent {
  return {
    name: agent.name ?? 'agent',
    command: trustCodex(agent.command),
    env: { ...agent.env },
    cwd: agent.cwd ?? null,
    completeOn: agent.complete_on,
  };
}

function expanded(result: Expanded): string {
  if (!result.ok) throw new Error(`unchecked value in a manifest: ${result.message}`);
  return result.value;
}

function milliseconds(text: string): number {
  const ms = parseDuration(text);
  if (ms === null) throw new Error(`unchecked duration in a manifest: ${text}`);
  return ms;
}
