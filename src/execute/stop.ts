/** Stop and cleanup: plans of recorded steps like apply's, with the run's way through its last states. */
import { type CleanupOptions, compileCleanup, compileStop, type OperateInput } from '../plan/operate.js';
import { missingSteps, type Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { Converged } from './converge.js';
import { type Looked, lookAt, recordLook } from './look.js';
import type { Look } from './observe.js';
import { digest } from './prepare.js';
import { type Rendering, runPlan } from './tasks.js';
import { StepRefused, type World } from './world.js';

/** How one of these commands works: how its steps are shown, and how long it waits for whoever holds the run. */
export interface OperateOptions {
  readonly rendering: Rendering;
  readonly lockTimeoutMs: number;
}

/** The plan of a stop. Looks, changes nothing. */
export async function planStop(
  run: RecordedRun,
  agents: readonly string[] | null,
  look: Look,
): Promise<Plan> {
  return compileStop(operateInput(await lookAt(run, look)), agents);
}

/** The plan of a cleanup. Looks, changes nothing. */
export async function planCleanup(run: RecordedRun, options: CleanupOptions, look: Look): Promise<Plan> {
  return compileCleanup(operateInput(await lookAt(run, { ...look, onlyHere: 'all' })), options);
}

function operateInput({ recorded, observed, outcome }: Looked): OperateInput {
  return { recorded, observed, outcome, hash: digest };
}

/** End agents (`null`: all of them, and the run is stopped then). */
export async function stopAgents(
  runId: string,
  agents: readonly string[] | null,
  world: World,
  options: OperateOptions,
): Promise<Converged> {
  return operate(runId, world, options, async (looked) => {
    const plan = compileStop(operateInput(looked), agents);
    const living = looked.outcome.agents.filter((agent) => agent.live || agent.verdict === 'starting');
    const restLives = living.some((agent) => agents !== null && !agents.includes(agent.name));
    // A run that is done and where nothing lives has nothing to stop, at most sessions to close.
    const settled =
      living.length === 0 &&
      ['completed', 'stopped'].includes(looked.outcome.run?.state ?? looked.recorded.state);
    const nothing = settled && missingSteps(plan).length === 0;
    return { plan, nothing, end: restLives || settled ? null : 'stopped' };
  });
}

/** Stop the agents, remove the workspace, keep the branches. */
export async function cleanUp(
  runId: string,
  cleanup: CleanupOptions,
  world: World,
  options: OperateOptions,
): Promise<Converged> {
  return operate(runId, world, options, async (first) => {
    const { stateFolder, env, now } = world;
    const looked = await lookAt(first.recorded, { stateFolder, env, now, onlyHere: 'all' });
    const plan = compileCleanup(operateInput(looked), cleanup);
    if (cleanup.keepWorkspaces) {
      const done = ['stopped', 'closed'].includes(looked.recorded.state) && missingSteps(plan).length === 0;
      return { plan, nothing: done, end: 'stopped' };
    }
    const nothing = looked.recorded.state === 'closed' && missingSteps(plan).length === 0;
    return { plan, nothing, end: 'closed' };
  });
}

interface Operation {
  readonly plan: Plan;
  /** It is so already. */
  readonly nothing: boolean;
  /** The state that the run ends in; null: it stays in the one that reconciling gives it. */
  readonly end: 'stopped' | 'closed' | null;
}

/** One pass under the run's lock, which is `stopping` meanwhile. */
async function operate(
  runId: string,
  world: World,
  options: OperateOptions,
  decide: (looked: Looked) => Promise<Operation>,
): Promise<Converged> {
  const { store, reporter, stateFolder, env, now, signal } = world;
  const lock = await store.acquireLock(`run:${runId}`, { timeoutMs: options.lockTimeoutMs, signal });
  try {
    const looked = await lookAt(await store.loadRun(runId), { stateFolder, env, now });
    const run = await recordLook(store, reporter, looked);
    const operation = await decide(looked);
    const { plan } = operation;
    if (plan.refused.length > 0) return { kind: 'refused', run, refusals: plan.refused, plan };
    if (operation.nothing) return { kind: 'nothing', run };

    const closed = run.state === 'closed';
    // After everything that the run has: they are its newest steps, unless they are to be finished.
    let newest = Math.max(0, ...run.steps.map((step) => step.ordinal));
    const ordinalOf = (id: string): number => {
      const row = run.steps.find((step) => step.id === id);
      if (row !== undefined && (row.state !== 'done' || run.state === 'stopping')) return row.ordinal;
      newest += 1;
      return newest;
    };
    const passed = await store.transaction(async () => {
      const moved = !closed && operation.end !== null && (await store.transitionRun(runId, 'stopping'));
      await store.planSteps(
        runId,
        missingSteps(plan).map((planned) => ({
          id: planned.id,
          kind: planned.step.kind,
          ordinal: ordinalOf(planned.id),
          inputHash: planned.inputHash,
          again: true,
        })),
        'keep',
      );
      return moved;
    });
    // Told once it is recorded.
    if (passed) reporter.emit({ type: 'run', runId, state: 'stopping', reason: null });
    const failures = await runPlan(plan, world, { rendering: options.rendering, concurrency: null });
    signal.throwIfAborted();
    const failure = failures[0];
    if (failure !== undefined) {
      const refused = failure.error instanceof StepRefused;
      return { kind: 'failed', run: await store.loadRun(runId), failure, refused };
    }
    if (operation.end === null) {
      const after = await lookAt(await store.loadRun(runId), { stateFolder, env, now });
      return { kind: 'done', run: await recordLook(store, reporter, after) };
    }
    if (!closed) await endAs(operation.end, runId, world);
    return { kind: 'done', run: await store.loadRun(runId) };
  } finally {
    await lock.release();
  }
}

async function endAs(state: 'stopped' | 'closed', runId: string, world: World): Promise<void> {
  const changed = await world.store.transitionRun(
    runId,
    state,
    state === 'closed' ? { outcome: 'abandoned' } : {},
  );
  if (changed) world.reporter.emit({ type: 'run', runId, state, reason: null });
}
