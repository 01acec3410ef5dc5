/** The plans of stop and cleanup: the same machine, other steps. Pure. */
import { type DraftStep, finish } from './identity.js';
import type { Observed } from './observed.js';
import type { Outcome } from './outcome.js';
import type { Plan } from './plan.js';
import type { RecordedAgent, RecordedRepo, RecordedRun } from './recorded.js';
import type { Refusal } from './steps.js';

/** A run as it was looked at, for a plan that no manifest takes part in. */
export interface OperateInput {
  readonly recorded: RecordedRun;
  readonly observed: Observed;
  readonly outcome: Outcome;
  readonly hash: (text: string) => string;
}

/** End agents. `agents` null: all of them; the run then ends in `stopped`. */
export function compileStop(input: OperateInput, agents: readonly string[] | null): Plan {
  const { recorded, outcome } = input;
  const refused: Refusal[] = [];
  if (recorded.state === 'closing' || recorded.state === 'closed') refused.push(endedRefusal(recorded));
  const drafts = activeAgents(recorded)
    .filter((agent) => agents === null || agents.includes(agent.name))
    // Also the session of one that ended, which was kept for reading.
    .map((agent) => stopStep(recorded, agent, outcome, 'stopped by the operator', agent.tmuxSocket !== null));
  return operatePlan('stop', input, drafts, refused);
}

export interface CleanupOptions {
  /** Save work that exists nowhere else under a backup ref, then remove it. */
  readonly force: boolean;
  /** Stop the agents and leave the workspace. */
  readonly keepWorkspaces: boolean;
}

/** Stop the agents and remove the workspace; branches stay. Refused while a worktree holds what exists nowhere else. */
export function compileCleanup(input: OperateInput, options: CleanupOptions): Plan {
  const { recorded, observed, outcome } = input;
  const refused: Refusal[] = [];
  if (recorded.state === 'closing') refused.push(endedRefusal(recorded));
  const drafts: DraftStep[] = activeAgents(recorded).map((agent) =>
    // A closed run has no session any more.
    stopStep(recorded, agent, outcome, 'cleanup', recorded.state !== 'closed'),
  );
  if (options.keepWorkspaces) return operatePlan('cleanup', input, drafts, refused);
  // What a closed run made is gone: what stands in its place now is somebody else's.
  if (recorded.state === 'closed') return operatePlan('cleanup', input, drafts, refused);

  // Agents that are at work may leave more until they are stopped: --force saves that, too.
  const atWork = outcome.agents.some(({ live, verdict }) => live || verdict === 'starting');
  for (const repo of recorded.repos) {
    const worktree = observed.repos[repo.name]?.worktree;
    const here = worktree?.state === 'ready';
    const work = worktree?.onlyHere ?? [];
    if (here && work.length > 0 && !options.force) {
      refused.push({
        code: 'work_would_be_lost',
        message: `${repo.path} holds what exists nowhere else: ${work.join('; ')}`,
        wayOut: `commit or move it away, or metawsm cleanup ${recorded.selector} --force, which saves it under refs/metawsm/backup/${recorded.id}/${repo.name} first`,
      });
    }
    if (worktree?.state === 'foreign') {
      refused.push(foreignRefusal(repo, observed.repos[repo.name]?.commonDir != null));
    }
    const cut = wasCut(recorded, `worktree.remove/${repo.name}`);
    if (!here && worktree?.state !== 'prunable' && !cut) continue;
    drafts.push({
      step: {
        kind: 'worktree.remove',
        repo: repo.name,
        source: repo.source,
        path: repo.path,
        branch: repo.branch,
        backup:
          here && (work.length > 0 || (options.force && atWork))
            ? `refs/metawsm/backup/${recorded.id}/${repo.name}`
            : null,
      },
      action: 'delete',
      reason: here ? 'its branch stays' : cut ? 'it was interrupted' : 'its folder is gone; git is told',
    });
  }
  if (observed.workspace.exists || wasCut(recorded, 'workspace.remove')) {
    drafts.push({
      step: { kind: 'workspace.remove', path: recorded.workspace },
      action: 'delete',
      reason: '',
    });
  }
  return operatePlan('cleanup', input, drafts, refused);
}

function activeAgents(run: RecordedRun): readonly RecordedAgent[] {
  return run.agents.filter((agent) => !agent.removed);
}

/** Whether a step was begun and not recorded as done: whatever of it is there, it has to be finished. */
function wasCut(run: RecordedRun, id: string): boolean {
  return run.steps.some((step) => step.id === id && step.state !== 'done' && step.state !== 'skipped');
}

function stopStep(
  run: RecordedRun,
  agent: RecordedAgent,
  outcome: Outcome,
  why: string,
  closeSession: boolean,
): DraftStep {
  const seen = outcome.agents.find((a) => a.name === agent.name);
  const live = seen?.live === true || seen?.verdict === 'starting';
  const session = closeSession && agent.attempt > 0;
  const cut = wasCut(run, `agent.stop/${agent.name}`);
  return {
    step: { kind: 'agent.stop', agent: agent.name, sessionName: agent.sessionName },
    action: live || session || cut ? 'delete' : 'none',
    reason: live ? why : cut ? 'it was interrupted' : session ? 'its session is closed' : 'it does not run',
  };
}

function foreignRefusal(repo: RecordedRepo, sourceIsThere: boolean): Refusal {
  return sourceIsThere
    ? {
        code: 'foreign_worktree',
        message: `${repo.path} is not the worktree that metawsm made`,
        wayOut: 'look whose it is and move it away',
      }
    : {
        code: 'repo_missing',
        message: `${repo.path} cannot be looked at: its source clone ${repo.source} is not there`,
        wayOut: `put the clone back (one that was moved: git worktree repair there), or move ${repo.path} away`,
      };
}

function endedRefusal(run: RecordedRun): Refusal {
  return run.state === 'closing'
    ? {
        code: 'run_closing',
        message: `run ${run.id} is being closed`,
        wayOut: `metawsm close ${run.selector} continues it`,
      }
    : {
        code: 'run_closed',
        message: `run ${run.id} is closed (${run.outcome ?? 'ended'})`,
        wayOut: 'metawsm apply starts a new run',
      };
}

function operatePlan(
  request: 'stop' | 'cleanup',
  input: OperateInput,
  drafts: readonly DraftStep[],
  refused: readonly Refusal[],
): Plan {
  const { recorded, outcome, observed } = input;
  const context = { run: recorded, recorded, hash: input.hash };
  return {
    request,
    manifest: recorded.manifestPath,
    ticket: recorded.ticketId,
    run: recorded,
    isNew: false,
    runState: outcome.run?.state ?? recorded.state,
    steps: refused.length > 0 ? [] : drafts.map((draft) => finish(draft, context)),
    changes: [],
    refused,
    problems: observed.problems,
    warnings: outcome.warnings,
    resumeAt: null,
  };
}
