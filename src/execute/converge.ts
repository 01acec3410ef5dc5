/** observe → plan → execute → record: what apply, resume, restart and iterate have in common. */
import { access } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Intent } from '../manifest/intent.js';
import type { Outcome } from '../plan/outcome.js';
import { missingSteps, type Plan, type Request } from '../plan/plan.js';
import type { Feedback, RecordedAgent, RecordedRun } from '../plan/recorded.js';
import type { PlannedStep, Refusal } from '../plan/steps.js';
import type { Lock } from '../state/locks.js';
import { lookAt, recordLook, type Warner } from './look.js';
import { isFinished, newIdentity, type Prepared, prepare } from './prepare.js';
import { type SavedPlan, sealsOf, staleReason } from './saved-plan.js';
import { BRIEF_CHANGES } from './steps/brief.js';
import { type Failure, type Rendering, runPlan } from './tasks.js';
import { StepFailed, StepRefused, type World } from './world.js';

/** How one command converges; what is asked of the operator and told to them is the caller's. */
export interface ConvergeOptions {
  /** Bases as they were last fetched: no remote is asked. */
  readonly offline: boolean;
  /** How many repos, and how many agents, at a time; null: all. */
  readonly concurrency: number | null;
  readonly rendering: Rendering;
  /** How long to wait for whoever holds the run; then `LockHeld` is thrown. */
  readonly lockTimeoutMs: number;
  readonly warner: Warner;
  /** Asked before steps that need an operator's word. */
  readonly confirm: (plan: Plan, steps: readonly PlannedStep[]) => Promise<boolean>;
  /** How to wait out a backoff, in milliseconds; by default until it is over or the operator interrupts. */
  readonly pause?: (ms: number) => Promise<void>;
  /** A plan that was saved: executed exactly so, or refused. */
  readonly saved?: SavedPlan;
  /** Told what is about to be executed. */
  readonly announce: (plan: Plan) => void;
}

/** How a request ended. What is `refused` or `impossible` executed nothing; an interrupt is thrown. */
export type Converged =
  /** Everything the manifest asks for is there: nothing was executed. */
  | { readonly kind: 'nothing'; readonly run: RecordedRun }
  /** `outcome`: what the look after it said, where there was one. */
  | { readonly kind: 'done'; readonly run: RecordedRun; readonly outcome?: Outcome }
  /** The first step that failed; `refused`: it found that it must not be done. */
  | {
      readonly kind: 'failed';
      readonly run: RecordedRun;
      readonly failure: Failure;
      readonly refused: boolean;
    }
  | {
      readonly kind: 'refused';
      readonly run: RecordedRun | null;
      readonly refusals: readonly Refusal[];
      readonly plan: Plan | null;
    }
  | { readonly kind: 'impossible'; readonly run: RecordedRun | null; readonly plan: Plan };

/** Make a manifest so: create its run or continue it. `newRun`: a new one in any case. */
export async function applyIntent(
  intent: Intent,
  world: World,
  options: ConvergeOptions & {
    readonly newRun: boolean;
    readonly confirmNewRun: (run: RecordedRun) => Promise<boolean>;
  },
): Promise<Converged> {
  let beside = false;
  let waited: Waited | null = null;
  for (;;) {
    world.signal.throwIfAborted();
    if (waited !== null) {
      const { id, intent: now } = await world.store.loadRun(waited.run.id);
      if (!isDeepStrictEqual(now, waited.run.intent)) {
        // Whoever applied something while this one waited knew more than it does.
        note(world, id, 'another apply changed the run meanwhile: going on with what that applied');
        return convergeRun(id, { kind: 'apply' }, world, options);
      }
    }
    const found = await world.store.resolveManifestRun(intent.manifestPath, intent.ticket.id, exists);
    const holder = found.kind === 'none' ? null : found.run;
    const conflict = found.kind === 'conflict' ? found.run : found.kind === 'run' ? found.conflict : null;
    // What is delivered and says the same needs no run, whoever has one for its ticket.
    if (!options.newRun && found.kind === 'run' && isFinished(found.run, intent)) {
      return { kind: 'nothing', run: found.run };
    }
    if (conflict !== null && !options.newRun) return refuseConflict(intent, conflict);
    if (options.newRun && holder !== null && holder.state !== 'closed' && !beside) {
      if (!(await options.confirmNewRun(holder))) {
        return {
          kind: 'refused',
          run: holder,
          plan: null,
          refusals: [
            {
              code: 'needs_yes',
              message: `run ${holder.id} of ${intent.ticket.id} is not closed (${holder.state}), and --new-run would start another beside it`,
              wayOut: `say --yes as well, or end the first with metawsm cleanup ${holder.selector}`,
            },
          ],
        };
      }
      beside = true;
    }
    const continued = options.newRun || holder === null || startsAnew(holder, intent) ? null : holder;
    const result = await converge(intent, continued, { kind: 'apply' }, world, options, options.newRun);
    if (result === 'again') continue;
    if (result.kind !== 'waited') return result;
    waited = result;
  }
}

/** A start had to wait for its backoff, and that is over. `run`: as it was recorded before. */
interface Waited {
  readonly kind: 'waited';
  readonly run: RecordedRun;
}

/** A closed run is continued by nothing; only a delivered one that still says the same needs no other. */
function startsAnew(run: RecordedRun, intent: Intent): boolean {
  return run.state === 'closed' && !isFinished(run, intent);
}

function refuseConflict(intent: Intent, run: RecordedRun): Converged {
  return {
    kind: 'refused',
    run,
    plan: null,
    refusals: [
      {
        code: 'ticket_taken',
        message: `ticket ${intent.ticket.id} has the open run ${run.id} of the manifest ${run.manifestPath}; this manifest is ${intent.manifestPath}`,
        wayOut: `apply that manifest, end its run with metawsm cleanup ${run.selector}, or say --new-run`,
      },
    ],
  };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/**
 * Meet a request for a recorded run (`resume`, `restart`, `iterate`, and apply while it waits), with the intent as it
 * was last applied.
 */
export async function convergeRun(
  runId: string,
  request: Request,
  world: World,
  options: ConvergeOptions,
): Promise<Converged> {
  for (;;) {
    world.signal.throwIfAborted();
    const run = await world.store.loadRun(runId);
    // Only a manifest asks for a new run in place of a closed one.
    if (request.kind === 'apply' && run.state === 'closed') return { kind: 'nothing', run };
    const result = await converge(null, run, request, world, options, false);
    if (result !== 'again' && result.kind !== 'waited') return result;
  }
}

/**
 * One pass under the run's lock, for what a manifest declares (null: for what was last applied). `again`: the ground
 * moved (another process created the run or closed it): look anew. So after a wait.
 */
async function converge(
  declared: Intent | null,
  known: RecordedRun | null,
  request: Request,
  world: World,
  options: ConvergeOptions,
  beside: boolean,
): Promise<Converged | Waited | 'again'> {
  const { store } = world;
  let lock: Lock | null = null;
  try {
    let recorded: RecordedRun | null = null;
    if (known !== null) {
      lock = await store.acquireLock(`run:${known.id}`, {
        timeoutMs: options.lockTimeoutMs,
        signal: world.signal,
      });
      recorded = await store.loadRun(known.id);
      // Somebody closed it while the lock was waited for.
      if (recorded.state === 'closed' && known.state !== 'closed') return 'again';
    }
    const wanted = declared ?? recorded?.intent;
    if (wanted === undefined) throw new Error('a run that is not recorded has no intent of its own');
    const prepared = await prepare(wanted, recorded, request, {
      stateFolder: world.stateFolder,
      env: world.env,
      now: world.now,
      offline: options.offline,
      signal: world.signal,
      identity: options.saved?.identity ?? newIdentity(world.now()),
    });
    const { plan } = prepared;
    if (options.saved !== undefined) {
      const stale = staleReason(options.saved.seals, await sealsOf(plan, recorded));
      if (stale !== null) return { kind: 'refused', run: recorded, refusals: [stale], plan };
    }
    if (prepared.looked !== null) {
      options.warner.tell(prepared.looked.recorded.id, plan.warnings);
      recorded = await recordLook(store, world.reporter, prepared.looked);
    } else options.warner.tell(plan.run.id, plan.warnings);

    const stop = await mayNotGoOn(prepared, recorded, options);
    if (stop?.kind === 'nothing') {
      // A manifest that was moved is known under its new path from now on.
      await store.saveIntent(stop.run.id, plan.run.intent);
      return { ...stop, run: await store.loadRun(stop.run.id) };
    }
    if (stop !== null) return stop;
    const waitMs = backoffOf(plan) - world.now();
    if (waitMs > 0) {
      // Waiting holds no lock: meanwhile a second terminal can stop the run.
      await lock?.release();
      lock = null;
      note(
        world,
        plan.run.id,
        `waiting ${(Math.ceil(waitMs / 100) / 10).toFixed(1)} s before an agent is started again`,
      );
      if (options.pause === undefined) await delay(waitMs, undefined, { signal: world.signal });
      else await options.pause(waitMs);
      return recorded === null ? 'again' : { kind: 'waited', run: recorded };
    }
    if (recorded === null) {
      const { run } = plan;
      const created = await store.createRun(run, { beside });
      if (created.kind === 'exists') return 'again';
      lock = created.lock;
    }
    options.announce(plan);
    await recordPlan(plan, request, world, recorded);
    const failures = await runPlan(plan, world, options);
    return await recordEnd(plan, failures, world, options);
  } finally {
    await lock?.release();
  }
}

async function mayNotGoOn(
  { plan }: Prepared,
  recorded: RecordedRun | null,
  options: ConvergeOptions,
): Promise<Converged | null> {
  if (plan.refused.length > 0) return { kind: 'refused', run: recorded, refusals: plan.refused, plan };
  if (plan.problems.length > 0) return { kind: 'impossible', run: recorded, plan };
  const missing = missingSteps(plan);
  if (recorded !== null && missing.length === 0 && plan.changes.length === 0 && !isStale(recorded)) {
    return { kind: 'nothing', run: recorded };
  }
  const asked = missing.filter((step) => step.needsYes);
  if (asked.length > 0 && !(await options.confirm(plan, asked))) {
    const refusals = asked.map((step) => ({
      code: 'needs_yes',
      message: `${step.id} (${step.reason}) needs an operator's word`,
      wayOut: 'look at what metawsm plan says of it, then apply with --yes',
    }));
    return { kind: 'refused', run: recorded, refusals, plan };
  }
  return null;
}

/** Nothing is missing, but the record still says that something is under way. */
function isStale(run: RecordedRun): boolean {
  return (
    run.state === 'created' ||
    run.state === 'planning' ||
    // Asked to go on with all agents done (cleanup --keep-workspaces) or alive (a stop that was cut off): an apply is
    // refused before.
    run.state === 'stopped' ||
    run.state === 'stopping' ||
    (run.state === 'paused' && run.reason === 'interrupted')
  );
}

/** The latest moment before which a start of the plan has to wait. */
function backoffOf(plan: Plan): number {
  return Math.max(
    0,
    ...missingSteps(plan).map(({ step }) => (step.kind === 'agent.start' ? step.notBefore : 0)),
  );
}

/** Before anything is executed: the intent, the new names and the steps, all at once. */
async function recordPlan(
  plan: Plan,
  request: Request,
  world: World,
  recorded: RecordedRun | null,
): Promise<void> {
  const { store } = world;
  const { run } = plan;
  await store.transaction(async () => {
    await store.saveIntent(run.id, run.intent);
    await recordNames(run, recorded, world);
    await recordAsked(run, request, world);
    for (const { step, action } of plan.steps) {
      // With the intent that it comes from: after a crash no comparison would show it again.
      if (step.kind !== 'brief.write' || action === 'none' || step.changed.length === 0) continue;
      await store.appendEvent(run.id, BRIEF_CHANGES, { changed: step.changed });
    }
    await store.planSteps(
      run.id,
      plan.steps
        .filter((planned) => planned.action !== 'none' || planned.recordedState !== null)
        .map((planned, index) => ({
          id: planned.id,
          kind: planned.step.kind,
          ordinal: index + 1,
          inputHash: planned.inputHash,
          again: planned.action !== 'none',
        })),
    );
    const starts = missingSteps(plan).some((planned) => planned.step.kind === 'agent.start');
    const state = (await store.loadRun(run.id)).state;
    const settled =
      state === 'running' || state === 'awaiting_guidance' || (state === 'completed' && !starts);
    if (!settled && (await store.transitionRun(run.id, 'running'))) {
      world.reporter.emit({ type: 'run', runId: run.id, state: 'running', reason: null });
    }
  });
}

/** What the plan decided about repos, agents and criteria, where that is new. */
async function recordNames(run: RecordedRun, recorded: RecordedRun | null, { store }: World): Promise<void> {
  for (const repo of run.repos) {
    const known = recorded?.repos.find((r) => r.name === repo.name);
    if (recorded !== null && known === undefined) await store.addRepo(run.id, repo);
    // One that comes back keeps its branch; its worktree is made again.
    else if (known?.removed && !repo.removed) await store.updateRepo(run.id, repo.name, { removed: false });
    const { source, baseBranch } = repo;
    // Until a branch was made in it, a repo is what the manifest says.
    if (known !== undefined) await store.updateRepo(run.id, repo.name, { source, baseBranch });
  }
  for (const agent of run.agents) {
    const known = recorded?.agents.find((a) => a.name === agent.name);
    if (recorded !== null && known === undefined) await store.addAgent(run.id, agent);
    else if (known?.removed && !agent.removed)
      await store.updateAgent(run.id, agent.name, { removed: false });
  }
  await store.saveCriterionRepos(run.id, run.criterionRepos);
}

/** What a restart or an iterate brings the agents: a full budget, what they are to be told, and fix attempts anew. */
async function recordAsked(run: RecordedRun, request: Request, { store, now }: World): Promise<void> {
  if (request.kind !== 'restart' && request.kind !== 'iterate') return;
  const named = run.agents.filter((agent) => request.agents === null || request.agents.includes(agent.name));
  for (const agent of named) {
    const patch =
      request.kind === 'restart'
        ? { startsUsed: 0, freeStartFor: null }
        : { feedback: moreFeedback(agent, request.feedback, now()) };
    await store.updateAgent(run.id, agent.name, patch);
  }
  // An operator who steps in gives the agents all their attempts back.
  const fixAttempts = request.kind === 'iterate' ? (request.fixAttempt ?? 0) : 0;
  await store.saveFixAttempts(run.id, fixAttempts);
}

/** What is to be said to an agent, after what it was not told yet. */
function moreFeedback(agent: RecordedAgent, text: string, at: number): Feedback {
  const { feedback } = agent;
  // Said again because a crash kept it from being delivered: it is the same word.
  if (feedback !== null && `\n\n${feedback.text}`.endsWith(`\n\n${text.trimEnd()}`)) return feedback;
  const before = feedback === null ? '' : `${feedback.text}\n\n`;
  return { mark: new Date(at).toISOString(), text: `${before}${text.trimEnd()}` };
}

/** After the tree: what failed is recorded, and what the world says now. */
async function recordEnd(
  plan: Plan,
  failures: readonly Failure[],
  world: World,
  options: ConvergeOptions,
): Promise<Converged> {
  const { store, reporter, stateFolder, env, now } = world;
  const runId = plan.run.id;
  if (world.signal.aborted) {
    const run = await store.loadRun(runId);
    const missing = run.steps.some((step) => step.state !== 'done' && step.state !== 'skipped');
    if (
      missing &&
      (await store.transitionRun(runId, 'paused', {
        reason: 'interrupted',
        detail: 'interrupted by the operator',
      }))
    ) {
      reporter.emit({ type: 'run', runId, state: 'paused', reason: 'interrupted' });
    }
    throw world.signal.reason;
  }
  const looked = await lookAt(await store.loadRun(runId), { stateFolder, env, now });
  options.warner.tell(runId, looked.outcome.warnings);
  let run = await recordLook(store, reporter, looked);
  const failure = failures[0];
  if (failure === undefined) return { kind: 'done', run, outcome: looked.outcome };

  const refused = failure.error instanceof StepRefused;
  if (run.state !== 'failed' && !refused) {
    const reason =
      failure.error instanceof StepFailed && failure.error.agentFailed ? 'agent_failed' : 'step_failed';
    const detail = failure.error instanceof Error ? failure.error.message : String(failure.error);
    if (await store.transitionRun(runId, 'failed', { reason, detail })) {
      reporter.emit({ type: 'run', runId, state: 'failed', reason });
    }
    run = await store.loadRun(runId);
  }
  return { kind: 'failed', run, failure, refused };
}

function note(world: World, runId: string, text: string): void {
  world.reporter.emit({ type: 'note', runId, text });
}
