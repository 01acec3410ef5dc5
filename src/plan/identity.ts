/** What a step is called, what determines it, and how a draft of it is completed. Pure. */
import { commandsOf } from './commands.js';
import { canonical } from './diff.js';
import type { RecordedRun } from './recorded.js';
import type { PlannedStep, Step, StepAction, StepId } from './steps.js';

/** A step on its way into the plan. */
export interface DraftStep {
  readonly step: Step;
  readonly action: StepAction;
  readonly reason: string;
  readonly needsYes?: boolean;
}

/** What completing a step needs to know. */
export interface FinishInput {
  readonly run: RecordedRun;
  readonly recorded: RecordedRun | null;
  readonly hash: (text: string) => string;
}

/** Complete a step with its id, hash, commands and what is recorded of it. */
export function finish(draft: DraftStep, input: FinishInput): PlannedStep {
  const { step } = draft;
  const id = stepId(step);
  const row = input.recorded?.steps.find((recorded) => recorded.id === id);
  return {
    id,
    step,
    action: draft.action,
    recordedState: row?.state ?? null,
    repo: 'repo' in step ? step.repo : null,
    agent: 'agent' in step ? step.agent : null,
    reason: draft.reason,
    needsYes: draft.needsYes ?? false,
    commands: commandsOf(step, input.run, draft.action),
    // What is left as it is stays recorded as it was done: it differs until it is done anew.
    inputHash:
      draft.action === 'none' && row !== undefined
        ? row.inputHash
        : input.hash(canonical(stepKey(step, input.run))),
  };
}

/** The stable id of a step: its kind, then what tells it from others of its kind. */
export function stepId(step: Step): StepId {
  switch (step.kind) {
    case 'setup.run':
      return `${step.kind}/${step.repo}/${step.index}`;
    case 'agent.start':
    case 'agent.stop':
      return `${step.kind}/${step.agent}`;
    case 'workspace.create':
    case 'workspace.remove':
    case 'ticket.create':
    case 'ticket.brief':
    case 'brief.write':
    case 'close.check':
    case 'deliver.merge':
    case 'ticket.close':
      return step.kind;
    default:
      return `${step.kind}/${step.repo}`;
  }
}

/** What determines a step: when it changes, a recorded step is no longer the same one. */
export function stepKey(step: Step, run: RecordedRun): unknown {
  const { intent } = run;
  const brief = {
    intake: { ...intent.intake, mergeIntent: null },
    criteria: intent.criteria,
    title: intent.ticket.title,
    topics: intent.ticket.topics,
  };
  switch (step.kind) {
    case 'ticket.create':
      return { kind: step.kind, ticket: step.ticket };
    case 'ticket.brief':
      return { kind: step.kind, title: step.title, brief };
    case 'ticket.copy':
      return { kind: step.kind, path: step.path, brief };
    case 'brief.write': {
      const repos = run.repos.filter((r) => !r.removed).map((r) => [r.name, r.path, r.branch]);
      const agents = run.agents.filter((a) => !a.removed).map((a) => [a.name, a.sentinelDir]);
      return { kind: step.kind, brief, repos, agents };
    }
    case 'worktree.create':
      return {
        kind: step.kind,
        source: step.source,
        path: step.path,
        branch: step.branch,
        baseBranch: step.baseBranch,
      };
    case 'agent.start':
      return { kind: step.kind, command: step.command, env: step.env, cwd: step.cwd, session: step.session };
    case 'agent.stop':
      return { kind: step.kind, agent: step.agent };
    default:
      return step;
  }
}
