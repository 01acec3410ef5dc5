/** What `status` and `runs` show: one result, of which the page and the document are two views. Pure. */
import { type CriterionState, criteriaStates } from '../plan/evidence.js';
import type { Gate } from '../plan/gates.js';
import type { Observed, ObservedWorktree, Warning } from '../plan/observed.js';
import type { Outcome } from '../plan/outcome.js';
import type {
  RecordedAgent,
  RecordedDelivery,
  RecordedGuidance,
  RecordedRepo,
  RecordedRun,
} from '../plan/recorded.js';
import type { NextCommand } from './events.js';
import { unreachable } from './unreachable.js';

export interface StatusView {
  /** Milliseconds since the epoch, as all times here. */
  readonly observedAt: number;
  /** Why this look was not recorded, as a clause; null: it was. */
  readonly unrecorded: string | null;
  readonly run: RecordedRun;
  /** The manifest's path as one would type it here. */
  readonly manifest: string;
  /** The manifest file is not there any more; the record counts. */
  readonly manifestGone: boolean;
  readonly agents: readonly AgentView[];
  /** Questions without a delivered answer, oldest first. */
  readonly guidance: readonly RecordedGuidance[];
  readonly criteria: readonly CriterionState[];
  readonly repos: readonly RepoView[];
  /** What close asks for, of a run that it may be asked of; else none. */
  readonly gates: readonly Gate[];
  readonly warnings: readonly Warning[];
  readonly next: NextCommand | null;
}

export interface AgentView {
  readonly agent: RecordedAgent;
  /** Its own process lives, or may live. */
  readonly live: boolean;
  readonly restartsLeft: number;
  /** Log of its newest attempt; null: never started. */
  readonly log: string | null;
}

export interface RepoView {
  readonly repo: RecordedRepo;
  /** null: it was not looked at. */
  readonly worktree: ObservedWorktree | null;
  /** How far close is with it; null: it has not begun. */
  readonly delivery: RecordedDelivery | null;
}

/** A run in the list of runs. */
export interface RunLine {
  readonly run: RecordedRun;
  /** As seen now, not as recorded. */
  readonly agentsAlive: number;
  /** The same. */
  readonly criteriaPassed: number;
}

/** What the outcome of a look is turned into a view with. */
export interface ViewInput {
  /** With the look recorded, or (`asObserved`) as it would be. */
  readonly run: RecordedRun;
  /** null: nobody looked, as at a closed run. */
  readonly observed: Observed | null;
  readonly outcome: Outcome | null;
  readonly gates: readonly Gate[];
  readonly observedAt: number;
  readonly unrecorded: string | null;
  readonly manifest: string;
  readonly manifestGone: boolean;
  readonly warnings: readonly Warning[];
  readonly next: NextCommand | null;
  readonly logOf: (agent: RecordedAgent) => string;
}

/** Put together what is shown. */
export function statusView(input: ViewInput): StatusView {
  const { run, observed, outcome } = input;
  const { intent } = run;
  const wanted = new Set(intent.repos.map((repo) => repo.name));
  return {
    observedAt: input.observedAt,
    unrecorded: input.unrecorded,
    run,
    manifest: input.manifest,
    manifestGone: input.manifestGone,
    agents: run.agents
      .filter((agent) => !agent.removed)
      .map((agent) => ({
        agent,
        live: outcome?.agents.find(({ name }) => name === agent.name)?.live ?? false,
        restartsLeft: Math.max(0, intent.policy.restartBudget - agent.startsUsed),
        log: agent.attempt === 0 ? null : input.logOf(agent),
      })),
    guidance: run.guidance.filter(isOpenQuestion),
    criteria: outcome?.criteria ?? criteriaStates(run, null),
    // Those that the manifest dropped are history; those of a closed run are what it was about.
    repos: run.repos
      .filter((repo) => wanted.has(repo.name))
      .map((repo) => ({
        repo,
        worktree: observed?.repos[repo.name]?.worktree ?? null,
        delivery: run.deliveries.find((delivery) => delivery.repo === repo.name) ?? null,
      })),
    gates: input.gates,
    warnings: input.warnings,
    next: input.next,
  };
}

/** The run as a look would be recorded, for when it cannot be: another process is at work. */
export function asObserved(run: RecordedRun, outcome: Outcome): RecordedRun {
  const known = run.guidance.map(
    (g): RecordedGuidance => (outcome.withdrawn.includes(g.id) ? { ...g, state: 'withdrawn' } : g),
  );
  const asked = outcome.newGuidance.map(
    (fresh, index): RecordedGuidance => ({
      ...fresh,
      // The id that it will be recorded under.
      id: `g${run.guidance.length + index + 1}`,
      state: 'pending',
      answer: null,
      answeredAt: null,
    }),
  );
  return {
    ...run,
    ...(outcome.run ?? {}),
    agents: run.agents.map((agent) => ({
      ...agent,
      ...outcome.agents.find(({ name }) => name === agent.name)?.patch,
    })),
    guidance: [...known, ...asked],
  };
}

/** A question whose answer was not delivered yet. */
export function isOpenQuestion(guidance: RecordedGuidance): boolean {
  return guidance.state === 'pending' || guidance.state === 'answered';
}

/** Where a run goes on: its first step that is not done; null: there is none, or it is closed. */
export function resumeStep(run: RecordedRun): string | null {
  if (run.state === 'closed') return null;
  return run.steps.find((step) => step.state !== 'done' && step.state !== 'skipped')?.id ?? null;
}

/** Whether a run waits for its operator, so that watching it shows nothing new by itself. */
export function waitsForOperator(run: RecordedRun): boolean {
  switch (run.state) {
    case 'created':
    case 'planning':
    case 'running':
    case 'stopping':
    case 'closing':
      return false;
    case 'awaiting_guidance':
    case 'paused':
    case 'failed':
    case 'completed':
    case 'stopped':
    case 'closed':
      return true;
    default:
      return unreachable(run.state);
  }
}
