/** `apply --wait`: look again and again until the run is done, asks, fails or is stopped. Holds the lock for a look only. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Outcome } from '../plan/outcome.js';
import type { RecordedRun } from '../plan/recorded.js';
import { type Converged, type ConvergeOptions, convergeRun } from './converge.js';
import { type Looked, lookAt, recordLook } from './look.js';
import type { World } from './world.js';

export interface WaitOptions extends ConvergeOptions {
  /** null: no limit. */
  readonly timeoutMs: number | null;
}

/** How a wait ended. An interrupt is thrown. */
export type Waited =
  /** The run is where the operator is needed, or done. */
  | { readonly kind: 'settled'; readonly run: RecordedRun; readonly outcome: Outcome }
  | { readonly kind: 'timeout'; readonly run: RecordedRun; readonly outcome: Outcome }
  /** Starting an agent again did not work, or is not allowed any more. */
  | { readonly kind: 'converged'; readonly result: Converged };

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 2_000;

/**
 * Wait for a run. Starts an agent that died again, within its budget, as the run is recorded then: somebody may have
 * applied a changed manifest, or begun another run, since the wait began.
 */
export async function waitUntilSettled(runId: string, world: World, options: WaitOptions): Promise<Waited> {
  const end = options.timeoutMs === null ? Number.POSITIVE_INFINITY : performance.now() + options.timeoutMs;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 1.4, LONGEST_PAUSE_MS)) {
    const { run, outcome } = await lookOnce(runId, world, options);
    if (isSettled(run, outcome)) return { kind: 'settled', run, outcome };
    if (needsStart(run, outcome)) {
      const pauseUntil = async (ms: number): Promise<void> => {
        const left = end - performance.now();
        await delay(Math.min(ms, Math.max(0, left)), undefined, { signal: world.signal });
        if (ms >= left) throw new WaitOver();
      };
      const converging = convergeRun(runId, { kind: 'apply' }, world, { ...options, pause: pauseUntil });
      const converged = await converging.catch((error: unknown) => {
        if (error instanceof WaitOver) return null;
        throw error;
      });
      if (converged === null) return { kind: 'timeout', run, outcome };
      if (converged.kind !== 'nothing' && converged.kind !== 'done')
        return { kind: 'converged', result: converged };
      pause = FIRST_PAUSE_MS;
      continue;
    }
    const left = end - performance.now();
    if (left <= 0) return { kind: 'timeout', run, outcome };
    await delay(Math.min(pause, left), undefined, { signal: world.signal });
  }
}

/** One look under the run's lock. */
async function lookOnce(
  runId: string,
  world: World,
  options: ConvergeOptions,
): Promise<{ run: RecordedRun; outcome: Outcome }> {
  const { store, reporter, stateFolder, env, now, signal } = world;
  const lock = await store.acquireLock(`run:${runId}`, { timeoutMs: options.lockTimeoutMs, signal });
  try {
    const looked: Looked = await lookAt(await store.loadRun(runId), { stateFolder, env, now });
    options.warner.tell(runId, looked.outcome.warnings);
    const run = await recordLook(store, reporter, looked);
    return { run, outcome: looked.outcome };
  } finally {
    await lock.release();
  }
}

function isSettled(run: RecordedRun, outcome: Outcome): boolean {
  switch (run.state) {
    case 'running':
      // Nobody is left to wait for: the rest was stopped by an operator.
      return stoppedRest(outcome);
    case 'created':
    case 'planning':
      return false;
    case 'failed':
      return !needsStart(run, outcome);
    default:
      return true;
  }
}

function stoppedRest(outcome: Outcome): boolean {
  return (
    outcome.agents.some((agent) => agent.verdict === 'stopped') &&
    outcome.agents.every((agent) => agent.verdict === 'stopped' || agent.verdict === 'completed')
  );
}

/** An agent that ended and that apply may start again by itself. */
function needsStart(run: RecordedRun, outcome: Outcome): boolean {
  if (run.state !== 'running' && run.state !== 'failed') return false;
  if (run.state === 'failed' && run.reason === 'step_failed') return false;
  return outcome.agents.some(
    ({ verdict }) =>
      verdict === 'answer_unread' || verdict === 'failed' || verdict === 'dead' || verdict === 'not_started',
  );
}

/** The wait's time is up: a backoff must not outlast it. */
class WaitOver extends Error {
  override readonly name = 'WaitOver';
}
