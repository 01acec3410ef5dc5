/** Closing a run: all gates first, then recorded steps that a crash cannot make happen twice. */
import { abandonedSteps, compileClose, isUnderWay } from '../plan/close.js';
import { deliveryKind, deliverySentence } from '../plan/delivery.js';
import type { Gate } from '../plan/gates.js';
import type { Plan } from '../plan/plan.js';
import type { RecordedRepo, RecordedRun } from '../plan/recorded.js';
import type { Refusal } from '../plan/steps.js';
import { ToolFailure } from '../tools/failure.js';
import { fetchBase, resolveBase } from '../tools/git-remote.js';
import type { Converged } from './converge.js';
import { judgeGates } from './gates.js';
import { type Looked, lookAt, recordLook } from './look.js';
import type { Look } from './observe.js';
import { digest } from './prepare.js';
import { pullRequestProblems } from './pull-request.js';
import type { OperateOptions } from './stop.js';
import { runPlan } from './tasks.js';
import { changedConfig } from './trust.js';
import { StepRefused, type World } from './world.js';

export interface CloseOptions extends OperateOptions {
  /** Told the gates as they were judged, before anything is done. */
  readonly gates: (gates: readonly Gate[]) => void;
}

/** What close would do, and its gates. Looks, changes nothing. */
export async function planClose(
  run: RecordedRun,
  look: Look,
): Promise<{ readonly plan: Plan; readonly gates: readonly Gate[] }> {
  const looked = await lookAt(run, { ...look, onlyHere: 'all' });
  if (run.state === 'closed') {
    const refused = run.outcome === 'delivered' ? [] : [abandoned(run)];
    return { plan: { ...compile(looked, {}, []), steps: [], refused }, gates: [] };
  }
  const { gates, heads } = await judgeGates(looked);
  const plan = compile(looked, heads, gates);
  return { plan: await withProblems(plan, look.env), gates };
}

/** Close a run, or go on closing one that was cut off. */
export async function closeRun(runId: string, world: World, options: CloseOptions): Promise<Converged> {
  const { store, reporter, stateFolder, env, now, signal } = world;
  const lock = await store.acquireLock(`run:${runId}`, { timeoutMs: options.lockTimeoutMs, signal });
  try {
    const before = await store.loadRun(runId);
    if (before.state === 'closed') return closedAlready(before);
    if (before.state !== 'closing') await fetchBases(before, world);
    const looked = await lookAt(before, { stateFolder, env, now, onlyHere: 'all' });
    const run = await recordLook(store, reporter, looked);
    const current = { ...looked, recorded: run };
    const { gates, heads } = await judgeGates(current);
    options.gates(gates);
    const plan = await withProblems(compile(current, heads, gates), env, signal);
    if (plan.refused.length > 0) {
      if (run.state === 'closing') await backToCompleted(world, run);
      return { kind: 'refused', run: await store.loadRun(runId), refusals: plan.refused, plan };
    }
    if (plan.problems.length > 0) return { kind: 'impossible', run, plan };
    const begun = await store.transaction(async () => {
      const moved = await store.transitionRun(runId, 'closing');
      // What it was closed by can be read for good, also once there is nothing left to look at.
      if (gates.length > 0) await store.appendEvent(runId, 'gates', { gates });
      await store.planSteps(
        runId,
        plan.steps.map((planned, index) => ({
          id: planned.id,
          kind: planned.step.kind,
          ordinal: run.steps.length + index + 1,
          inputHash: planned.inputHash,
          again: planned.action !== 'none',
        })),
        'keep',
      );
      return moved;
    });
    // Told once it is recorded.
    if (begun) reporter.emit({ type: 'run', runId, state: 'closing', reason: null });
    const failures = await runPlan(plan, world, { rendering: options.rendering, concurrency: null });
    signal.throwIfAborted();
    const [failure] = failures;
    if (failure !== undefined) {
      const refused = failure.error instanceof StepRefused;
      const after = await store.loadRun(runId);
      // It left nothing behind: the run is what it was, and its gates are judged anew next time.
      if (!isUnderWay(after, plan)) await backToCompleted(world, after);
      return { kind: 'failed', run: await store.loadRun(runId), failure, refused };
    }
    if (await store.transitionRun(runId, 'closed', { outcome: 'delivered' })) {
      reporter.emit({ type: 'run', runId, state: 'closed', reason: null });
    }
    const closed = await store.loadRun(runId);
    for (const delivery of closed.deliveries) {
      const text = deliverySentence(closed, delivery);
      if (text !== null) reporter.emit({ type: 'note', runId, text });
    }
    return { kind: 'done', run: closed };
  } finally {
    await lock.release();
  }
}

function abandoned(run: RecordedRun): Refusal {
  return {
    code: 'run_abandoned',
    message: `run ${run.id} was closed without delivering (cleanup)`,
    wayOut: 'its branches are kept: merge them by hand, or apply the manifest again',
  };
}

function closedAlready(run: RecordedRun): Converged {
  if (run.outcome === 'delivered') return { kind: 'nothing', run };
  return { kind: 'refused', run, plan: null, refusals: [abandoned(run)] };
}

function compile(looked: Looked, heads: Readonly<Record<string, string>>, gates: readonly Gate[]): Plan {
  const { recorded, observed, outcome } = looked;
  const plan = compileClose({ recorded, observed, outcome, hash: digest }, heads);
  const failing = gates.filter((gate) => !gate.ok).map((gate) => gate.name);
  if (failing.length === 0) return plan;
  const message = `${failing.length} of ${gates.length} gates ${failing.length === 1 ? 'does' : 'do'} not hold: ${failing.join(', ')}`;
  const refusal = { code: 'gates', message, wayOut: 'each gate says what would open it; then close again' };
  return { ...plan, steps: [], refused: [refusal] };
}

async function backToCompleted(world: World, run: RecordedRun): Promise<void> {
  if (run.state !== 'closing') return;
  const { store } = world;
  const changed = await store.transaction(async () => {
    for (const { id, error, log } of abandonedSteps(run)) {
      await store.stepEnded(run.id, id, { state: 'skipped', error, log });
    }
    return store.transitionRun(run.id, 'completed');
  });
  if (changed) {
    world.reporter.emit({ type: 'run', runId: run.id, state: 'completed', reason: null });
  }
}

/** The bases as origin has them now: what somebody pushed meanwhile counts. */
async function fetchBases(run: RecordedRun, world: World): Promise<void> {
  if (deliveryKind(run.intent) !== 'merge') return;
  await Promise.all(
    run.repos
      .filter((repo) => !repo.removed)
      .map(async (repo) => {
        const problem = await fetched(repo, world.signal).catch((error: unknown) => {
          if (!(error instanceof ToolFailure) || world.signal.aborted) throw error;
          return error.message;
        });
        if (problem === null) return;
        world.reporter.emit({
          type: 'warning',
          runId: run.id,
          code: 'fetch_failed',
          message: `repo ${repo.name}: ${repo.baseBranch} could not be fetched, what was last fetched counts: ${problem}`,
          file: null,
        });
      }),
  );
}

/** Why the base could not be fetched; null: it was, or is on no origin. */
async function fetched(repo: RecordedRepo, signal: AbortSignal): Promise<string | null> {
  const { source, baseBranch } = repo;
  // A gate that fails: until then nothing that the agent configured is to run, an ssh command for instance.
  if ((await changedConfig(repo, source)).length > 0) return null;
  const base = await resolveBase(source, baseBranch, { offline: false, signal });
  if ('unreachable' in base) return base.unreachable;
  if ('problem' in base || base.from === 'local') return null;
  await fetchBase(source, baseBranch, { signal });
  return null;
}

/** What stands against carrying the plan out, found before its first step; not of a plan that is refused anyway. */
async function withProblems(plan: Plan, env: NodeJS.ProcessEnv, signal?: AbortSignal): Promise<Plan> {
  if (plan.refused.length > 0) return plan;
  const problems = await pullRequestProblems(plan, env, signal);
  return { ...plan, problems: [...plan.problems, ...problems] };
}
