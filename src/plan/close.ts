/** The plan of close: the last look, delivery, the ticket, the worktrees. Pure. */
import type { Intent } from '../manifest/intent.js';
import { deliveryKind, noneReason } from './delivery.js';
import { type DraftStep, finish, stepId } from './identity.js';
import type { OperateInput } from './operate.js';
import type { Plan } from './plan.js';
import type { RecordedRepo, RecordedRun, RecordedStep } from './recorded.js';
import type { Step } from './steps.js';

/**
 * The steps that close a run whose gates hold at `heads` (repo name → commit). One that was cut short (state
 * `closing`) goes on with what is not done.
 */
export function compileClose(input: OperateInput, heads: Readonly<Record<string, string>>): Plan {
  const { recorded, observed, outcome } = input;
  const goesOn = recorded.state === 'closing';
  const kind = deliveryKind(recorded.intent);
  // One whose worktree this close has removed already still belongs to it; one that the manifest dropped does not.
  const repos = recorded.repos.filter(
    (repo) => recorded.intent.repos.some(({ name }) => name === repo.name) && (!repo.removed || goesOn),
  );
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
    return {
      step,
      action: done ? 'none' : removes ? 'delete' : 'run',
      reason: done ? '' : reasonOf(step, recorded.intent),
    };
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

/** Steps that leave something behind that a later close could not take back. */
const LASTING: readonly Step['kind'][] = [
  'deliver.push',
  'deliver.pull-request',
  'ticket.close',
  'worktree.remove',
  'branch.delete',
  'workspace.remove',
];

/** Whether a close has done, or is about to do, what only going on makes whole. */
export function isUnderWay(run: RecordedRun, plan: Plan): boolean {
  if (run.deliveries.some(({ state }) => state === 'planned' || state === 'done')) return true;
  return plan.steps.some(
    ({ id, step }) =>
      LASTING.includes(step.kind) && run.steps.some((row) => row.id === id && row.state === 'done'),
  );
}

/** The rows of a close that came to nothing: they wait for nobody. */
export function abandonedSteps(run: RecordedRun): readonly RecordedStep[] {
  const kinds: readonly string[] = ['agent.stop', 'close.check', 'deliver.merge', ...LASTING];
  return run.steps.filter(
    ({ kind, state }) => kinds.includes(kind) && state !== 'done' && state !== 'skipped',
  );
}

function reasonOf(step: Step, intent: Intent): string {
  switch (step.kind) {
    case 'agent.stop':
      return 'its session is closed';
    case 'close.check':
      return 'is it still what was checked?';
    case 'deliver.merge':
      return 'in every repo or in none; nothing is pushed';
    case 'worktree.remove':
      switch (deliveryKind(intent)) {
        case 'merge':
          return '';
        case 'pull_request':
          return `branch ${step.branch} stays`;
        case 'none':
          return `branch ${step.branch} stays, nothing is delivered: ${noneReason(intent)}`;
      }
      break;
    case 'branch.delete':
      return 'once its base holds it';
    default:
      return '';
  }
}
