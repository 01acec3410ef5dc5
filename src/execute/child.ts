/** The program that a step runs, kept in the record, so that a metawsm that comes after a crash does not meet it. */
import { setTimeout as delay } from 'node:timers/promises';
import { removeDeadLocks } from '../tools/git-locks.js';
import { probe, processStart, terminateTree } from '../tools/process.js';
import type { StepContext } from './world.js';

/** Options for a git call of a step: interrupted with it, and recorded while it runs. */
export function childOf(ctx: StepContext): {
  readonly signal: AbortSignal;
  readonly onSpawn: (pid: number) => Promise<void>;
} {
  const { world, runId, planned } = ctx;
  return {
    signal: world.signal,
    onSpawn: async (pid) => {
      const pidStart = processStart(pid);
      if (pidStart !== null) await world.store.stepChild(runId, planned.id, { pid, pidStart });
    },
  };
}

/** How long a git that a killed metawsm left may go on before it is ended. */
const LEFTOVER_WAIT_MS = 10_000;

/**
 * Wait for the git of an earlier, killed metawsm that still works on this step, and end it when it does not
 * come to an end: two of them at once would get in each other's way.
 */
export async function gitStillRuns(ctx: StepContext): Promise<void> {
  const row = (await ctx.run()).steps.find((step) => step.id === ctx.planned.id);
  const child = row?.child ?? null;
  if (child === null) return;
  const end = performance.now() + LEFTOVER_WAIT_MS;
  for (let wait = 5; probe(child) === 'alive'; wait = Math.min(wait * 2, 200)) {
    if (performance.now() > end || ctx.world.signal.aborted) {
      await terminateTree(child, { graceMs: 500 });
      return;
    }
    await delay(wait);
  }
}

/**
 * Remove the locks at which a git of an earlier, killed metawsm left the refs that this step changes: nobody holds
 * them any more, and every git fails at them. Call it where no git of the step still runs.
 */
export async function freeRefs(ctx: StepContext, repo: string, refs: readonly string[]): Promise<void> {
  const run = await ctx.run();
  const row = run.steps.find((step) => step.id === ctx.planned.id);
  if (row === undefined || row.attempts === 0) return;
  for (const file of await removeDeadLocks(repo, { refs, since: run.createdAt })) {
    ctx.output(`${file} was left by a git that was killed, and is removed`);
  }
}
