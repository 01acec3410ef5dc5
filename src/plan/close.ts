/** The plan of close: the last look, delivery, the ticket, the worktrees. Pure. */
import type { Intent } from '../manifest/intent.js';
import { type DraftStep, finish, stepId } from './identity.js';
import type { OperateInput } from './operate.js';
import type { Plan } from './plan.js';
import type { RecordedRepo, RecordedRun } from './recorded.js';
import type { Step } from './steps.js';

/** What close does with the branches of a run that asks for `intent.intake.mergeIntent`. */
export function deliveryKind(intent: Intent): 'merge' | 'pull_request' | 'none' {
  const { mergeIntent } = intent.intake;
  if (mergeIntent !== 'default') return mergeIntent;
  // A clone in the state folder has no base that anybody looks at, and HEAD is no branch to merge into.
  const nowhere = intent.repos.some((repo) => repo.source.kind === 'url' || repo.baseBranch === 'HEAD');
  return nowhere ? 'none' : 'merge';
}

/**
 * The steps that close a run whose gates hold at `heads` (repo name → commit). One that was cut short (state
 * `closing`) goes on with what is not done.
 */
export function compileClose(input: OperateInput, heads: Readonly<Record<string, string>>): Plan {
  const { recorded, observed, outcome } = input;
  const goesOn = recorded.state === 'closing';
  const kind = deliveryKind(recorded.intent);
  const repos = recorded.repos.filter((repo) => !repo.removed || goesOn);
  const steps: Step[] = [
    ...recorded.agents
      .filter((agent) => !agent.removed && agent.attempt > 0)
      .map((agent): Step => ({ kind: 'agent.stop', agent: agent.name, sessionName: agent.sessionName })),
    { kind: 'close.check', heads },
    ...deliverySteps(recorded, repos, kind),
    ...(recorded.intent.tickets.driver === 'none'
      ? []
      : [{ kind: 'ticket.close', ticket: recorded.ticketId } as const]),
    ...repos.flatMap((repo): Step[] => [
      {
        kind: 'worktree.remove',
        repo: repo.name,
        source: repo.source,
        path: repo.path,
        branch: repo.branch,
        backup: null,
      },
      ...(kind === 'merge'
        ? [
            {
              kind: 'branch.delete',
              repo: repo.name,
              source: repo.source,
              branch: repo.branch,
              base: repo.baseBranch,
            } as const,
          ]
        : []),
    ]),
    { kind: 'workspace.remove', path: recorded.workspace },
  ];
  const drafts = steps.map((step): DraftStep => {
    const done = goesOn && recorded.steps.find((row) => row.id === stepId(step))?.state === 'done';
    const removes =
      step.kind.endsWith('.remove') || step.kind === 'agent.stop' || step.kind === 'branch.delete';
    return { step, action: done ? 'none' : removes ? 'delete' : 'run', reason: done ? '' : reasonOf(step) };
  });
  return {
    request: 'close',
    manifest: recorded.manifestPath,
    ticket: recorded.ticketId,
    run: recorded,
    isNew: false,
    runState: outcome.run?.state ?? recorded.state,
    steps: drafts.map((draft) => finish(draft, { run: recorded, recorded, hash: input.hash })),
    changes: [],
    refused: [],
    problems: observed.problems,
    warnings: outcome.warnings,
    resumeAt: null,
  };
}

function deliverySteps(
  run: RecordedRun,
  repos: readonly RecordedRepo[],
  kind: 'merge' | 'pull_request' | 'none',
): Step[] {
  switch (kind) {
    case 'none':
      return [];
    case 'merge':
      return [
        {
          kind: 'deliver.merge',
          merges: repos.map(({ name, source, branch, baseBranch }) => ({
            repo: name,
            source,
            branch,
            base: baseBranch,
          })),
        },
      ];
    case 'pull_request': {
      const { id, title } = run.intent.ticket;
      return repos.flatMap(({ name, source, branch, baseBranch }): Step[] => [
        { kind: 'deliver.push', repo: name, source, branch },
        {
          kind: 'deliver.pull-request',
          repo: name,
          source,
          branch,
          base: baseBranch,
          title: title === id ? id : `${id}: ${title}`,
        },
      ]);
    }
  }
}

function reasonOf(step: Step): string {
  switch (step.kind) {
    case 'agent.stop':
      return 'its session is closed';
    case 'close.check':
      return 'is it still what was checked?';
    case 'deliver.merge':
      return 'in every repo or in none; nothing is pushed';
    case 'branch.delete':
      return 'once its base holds it';
    default:
      return '';
  }
}
