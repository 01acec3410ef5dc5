/**
 * From (manifest, recorded, observed) to the ordered steps that are missing: the one place that decides. Pure.
 * Apply, resume, restart, iterate, stop and cleanup are requests to the same machine; resuming is planning again with
 * fewer steps left.
 */
import type { Intent } from '../manifest/intent.js';
import { decideAgents } from './agents.js';
import { deliveryKind, noneReason } from './delivery.js';
import { desiredSteps } from './desired.js';
import { changesOf, diffIntents, type ManifestChange } from './diff.js';
import { type DraftStep, finish } from './identity.js';
import type { RunState } from './lifecycle.js';
import type { Observed, Problem, Warning } from './observed.js';
import type { Outcome } from './outcome.js';
import type { RecordedRun } from './recorded.js';
import { refusalForState } from './refusals.js';
import type { Change, PlannedStep, Refusal, StepAction, StepId } from './steps.js';

/** What an operator asked for. */
export type Request =
  | { readonly kind: 'apply' }
  /** Start the agents that neither live nor completed, whatever stopped them. */
  | { readonly kind: 'resume' }
  /** Start agents afresh; `agents` null: all of them. */
  | { readonly kind: 'restart'; readonly agents: readonly string[] | null }
  /** Hand feedback to agents and start them again; `agents` null: all of them. */
  | {
      readonly kind: 'iterate';
      readonly agents: readonly string[] | null;
      readonly feedback: string;
      /** Which time it is that failed criteria are handed back; null: an operator speaks. */
      readonly fixAttempt: number | null;
    };

/** All that the decision depends on. */
export interface PlanInput {
  readonly request: Request;
  /** The run as the manifest wants it (`draft.ts`): a draft where nothing is recorded yet. */
  readonly run: RecordedRun;
  /** The run as it is recorded; null: it would be a new one. */
  readonly recorded: RecordedRun | null;
  readonly observed: Observed;
  /** What the look means for the recorded run; null for a new one. */
  readonly outcome: Outcome | null;
  /** A short digest of a text; injected, because this folder knows no crypto. */
  readonly hash: (text: string) => string;
}

/** A decision as data: it is shown, saved and executed just so. */
export interface Plan {
  readonly request: Request['kind'] | 'stop' | 'cleanup' | 'close';
  readonly manifest: string;
  readonly ticket: string;
  /** What the steps refer to: the recorded run with what the manifest adds, or the draft of a new one. */
  readonly run: RecordedRun;
  readonly isNew: boolean;
  /** As reconciled at this look; null for a new run. */
  readonly runState: RunState | null;
  /** Every step in order, also those with nothing to do (`none`). */
  readonly steps: readonly PlannedStep[];
  readonly changes: readonly Change[];
  readonly refused: readonly Refusal[];
  readonly problems: readonly Problem[];
  readonly warnings: readonly Warning[];
  /** Steps of this run that were recorded and not finished: where it goes on. */
  readonly resumeAt: { readonly id: StepId; readonly position: number; readonly of: number } | null;
}

/** Whether anything would be executed or recorded anew. */
export function hasChanges(plan: Plan): boolean {
  return plan.isNew || plan.changes.length > 0 || missingSteps(plan).length > 0;
}

/** The steps that would be executed, in order. */
export function missingSteps(plan: Plan): readonly PlannedStep[] {
  return plan.steps.filter((step) => step.action !== 'none');
}

/** How many steps of each action a plan has, as `summary` in its JSON. */
export function summarize(plan: Plan): Record<Exclude<StepAction, 'none'> | 'refused', number> {
  const count = (action: StepAction): number => plan.steps.filter((step) => step.action === action).length;
  return {
    create: count('create'),
    update: count('update'),
    replace: count('replace'),
    delete: count('delete'),
    run: count('run'),
    refused: plan.refused.length,
  };
}

/** Compile the plan. */
export function compile(input: PlanInput): Plan {
  const { run, recorded, observed, outcome, request } = input;
  const manifestChanges = recorded === null ? [] : changesOf(recorded, run.intent);
  const state = outcome?.run?.state ?? recorded?.state ?? null;
  const refused: Refusal[] = [];
  for (const change of manifestChanges) if (change.refusal !== null) refused.push(change.refusal);
  const stateRefusal = recorded === null ? null : refusalForState(request, recorded, outcome);
  if (stateRefusal !== null) refused.push(stateRefusal);
  if (request.kind === 'iterate' && run.agents.every((agent) => agent.removed)) {
    refused.push({
      code: 'no_agents',
      message: `run ${run.id} has no agent that feedback could be handed to`,
      wayOut: `work in ${run.workspace}, then metawsm verify ${run.selector}`,
    });
  }

  const warnings: Warning[] = [...(outcome?.warnings ?? observed.warnings)];
  const base = {
    request: request.kind,
    manifest: run.manifestPath,
    ticket: run.ticketId,
    run,
    isNew: recorded === null,
    runState: state,
    warnings,
  };
  // A change that must not be made stops everything: no step of such a plan is ever executed.
  if (refused.length > 0) {
    const changes = manifestChanges.map((change) => toChange(change, []));
    return { ...base, steps: [], changes, refused, problems: [], resumeAt: null };
  }
  const begun = recorded?.steps.some((row) => row.state === 'pending' || row.state === 'running') ?? false;
  if (request.kind === 'apply' && state === 'completed' && manifestChanges.length === 0 && !begun) {
    return { ...base, steps: [], changes: [], refused, problems: observed.problems, resumeAt: null };
  }

  const drift: Change[] = [];
  const desired = desiredSteps(input, manifestChanges, drift, warnings);
  const agents = decideAgents(input, manifestChanges, state);
  refused.push(...agents.refused, ...desired.refused);
  warnings.push(...agents.warnings);
  drift.push(...agents.drift);
  const drafts = [...desired.steps, ...agents.steps];
  const steps = (recorded === null ? drafts.map((draft) => withFate(draft, run.intent)) : drafts).map(
    (draft) => finish(draft, input),
  );
  const changes = [
    ...manifestChanges.map((change) => toChange(change, stepsTouchedBy(change, steps))),
    ...drift,
  ];
  return {
    ...base,
    steps: refused.length > 0 ? [] : steps,
    changes,
    refused,
    problems: observed.problems,
    resumeAt: refused.length > 0 ? null : resumePoint(recorded, steps),
  };
}

/** Where `default` cannot mean a merge, the plan of a new run says so at each branch that it makes. */
function withFate(draft: DraftStep, intent: Intent): DraftStep {
  if (draft.step.kind !== 'worktree.create' || draft.reason !== '') return draft;
  if (intent.intake.mergeIntent !== 'default' || deliveryKind(intent) !== 'none') return draft;
  return { ...draft, reason: `close will not merge it: ${noneReason(intent)}` };
}

function toChange(change: ManifestChange, stepIds: readonly StepId[]): Change {
  const { path, effect, before, after } = change;
  return { source: 'manifest', path, effect, before, after, stepIds };
}

function stepsTouchedBy(change: ManifestChange, steps: readonly PlannedStep[]): StepId[] {
  const missing = steps.filter((step) => step.action !== 'none');
  const [, area, name] = change.path.split('/');
  switch (area) {
    case 'repos':
      return missing.filter((step) => step.repo === name).map((step) => step.id);
    case 'agents':
      return missing.filter((step) => step.agent === name).map((step) => step.id);
    case 'session':
      return missing.filter((step) => step.agent !== null).map((step) => step.id);
    case 'intake':
    case 'ticket':
    case 'done_criteria':
      return missing
        .filter((step) => step.id === 'brief.write' || step.id === 'ticket.brief')
        .map((step) => step.id);
    default:
      return [];
  }
}

/** Where a run that was cut short goes on: the first step to be done, among all it has. */
function resumePoint(
  recorded: RecordedRun | null,
  steps: readonly PlannedStep[],
): { id: StepId; position: number; of: number } | null {
  if (recorded === null) return null;
  const index = steps.findIndex((step) => step.action !== 'none');
  const first = steps[index];
  const cut = steps.some(
    ({ action, recordedState }) => action !== 'none' && recordedState !== null && recordedState !== 'done',
  );
  if (first === undefined || !cut) return null;
  return { id: first.id, position: index + 1, of: steps.length };
}

/** Whether two intents ask for the same: nothing changed in the manifest. */
export function sameIntent(a: Intent, b: Intent): boolean {
  return diffIntents(a, b).length === 0;
}
