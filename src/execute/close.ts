/** Closing a run: all gates first, then recorded steps that a crash cannot make happen twice. */
import { compileClose, deliveryKind } from '../plan/close.js';
import type { Gate } from '../plan/gates.js';
import type { Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import { describeRepo } from '../tools/git-read.js';
import { fetchBase } from '../tools/git-remote.js';
import type { Converged } from './converge.js';
import { type GatesSeen, lookAtGates } from './gates.js';
import { type Looked, lookAt, recordLook } from './look.js';
import type { Look } from './observe.js';
import { digest } from './prepare.js';
import type { OperateOptions } from './stop.js';
import { runPlan } from './tasks.js';
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
  const looked = await lookAt(run, look);
  const { gates, heads } = await judged(looked);
  return { plan: compile(looked, heads, gates), gates };
}

/** Close a run, or go on closing one that was cut off. */
export async function closeRun(runId: string, world: World, options: CloseOptions): Promise<Converged> {
  const { store, reporter, stateFolder, env, now, signal } = world;
  const lock = await store.acquireLock(`run:${runId}`, { timeoutMs: options.lockTimeoutMs, signal });
  try {
    const before = await store.loadRun(runId);
    if (before.state === 'closed') return closedAlready(before);
    if (before.state !== 'closing') await fetchBases(before, world);
    const looked = await lookAt(before, { stateFolder, env, now });
    const run = await recordLook(store, reporter, looked);
    const current = { ...looked, recorded: run };
    const { gates, heads } = await judged(current);
    options.gates(gates);
    const plan = compile(current, heads, gates);
    if (plan.refused.length > 0) {
      if (run.state === 'closing') await backToCompleted(world, run);
      return { kind: 'refused', run: await store.loadRun(runId), refusals: plan.refused, plan };
    }
    await store.transaction(async () => {
      if (await store.transitionRun(runId, 'closing')) {
        reporter.emit({ type: 'run', runId, state: 'closing', reason: null });
      }
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
    });
    const failures = await runPlan(plan, world, { rendering: options.rendering, concurrency: null });
    signal.throwIfAborted();
    const [failure] = failures;
    if (failure !== undefined) {
      const refused = failure.error instanceof StepRefused;
      const after = await store.loadRun(runId);
      // Nothing of it is delivered: the run is what it was, and its gates are judged anew next time.
      if (refused && !isUnderWay(after)) await backToCompleted(world, after);
      return { kind: 'failed', run: await store.loadRun(runId), failure, refused };
    }
    if (await store.transitionRun(runId, 'closed', { outcome: 'delivered' })) {
      reporter.emit({ type: 'run', runId, state: 'closed', reason: null });
    }
    return { kind: 'done', run: await store.loadRun(runId) };
  } finally {
    await lock.release();
  }
}

function closedAlready(run: RecordedRun): Converged {
  if (run.outcome === 'delivered') return { kind: 'nothing', run };
  return {
    kind: 'refused',
    run,
    plan: null,
    refusals: [
      {
        code: 'run_abandoned',
        message: `run ${run.id} was closed without delivering (cleanup)`,
        wayOut: 'its branches are kept: merge them by hand, or apply the manifest again',
      },
    ],
  };
}

/** Delivery began, or the last look is behind it: only going on makes sense. */
function isUnderWay(run: RecordedRun): boolean {
  return run.deliveries.some((delivery) => delivery.state === 'done' || delivery.state === 'planned');
}

/** The gates, where they still count: not for a delivery that is under way. */
async function judged(looked: Looked): Promise<GatesSeen> {
  const { recorded } = looked;
  const checked =
    recorded.state === 'closing' &&
    recorded.steps.some((step) => step.id === 'close.check' && step.state === 'done');
  if (!checked) return lookAtGates(looked);
  return { gates: [], heads: Object.fromEntries(recorded.deliveries.map(({ repo, head }) => [repo, head])) };
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
  if (await world.store.transitionRun(run.id, 'completed')) {
    world.reporter.emit({ type: 'run', runId: run.id, state: 'completed', reason: null });
  }
}

/** The bases as origin has them now: what somebody pushed meanwhile counts. */
async function fetchBases(run: RecordedRun, world: World): Promise<void> {
  if (deliveryKind(run.intent) !== 'merge') return;
  for (const repo of run.repos.filter((r) => !r.removed)) {
    if (!(await describeRepo(repo.source)).hasOrigin) continue;
    await fetchBase(repo.source, repo.baseBranch, { signal: world.signal }).catch((error: unknown) => {
      world.signal.throwIfAborted();
      const message = error instanceof Error ? error.message : String(error);
      world.reporter.emit({
        type: 'warning',
        runId: run.id,
        code: 'fetch_failed',
        message: `repo ${repo.name}: ${repo.baseBranch} could not be fetched, what was last fetched counts: ${message}`,
        file: null,
      });
    });
  }
}
