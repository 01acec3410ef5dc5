/** Delivery: merges in every repo or in none, or pushed branches with pull requests. */
import type { RecordedDelivery, RecordedRun } from '../../plan/recorded.js';
import type { Merge, StepOf } from '../../plan/steps.js';
import { ToolFailure } from '../../tools/failure.js';
import { createPr, existingPr } from '../../tools/gh.js';
import { createMerge, planMerge, type ReadyMerge } from '../../tools/git-merge.js';
import { type BaseMove, moveBase, rollbackBase } from '../../tools/git-move.js';
import { pushBranch } from '../../tools/git-push.js';
import { commitOf } from '../../tools/git-read.js';
import { childOf, freeRefs, gitStillRuns } from '../child.js';
import { pullRequestBody } from '../pull-request.js';
import { withRepoLock } from '../repo-lock.js';
import { type StepContext, StepFailed, type StepHandler, StepRefused, StepStuck } from '../world.js';

export const deliverMerge: StepHandler<'deliver.merge'> = {
  async look(step, ctx) {
    await gitStillRuns(ctx);
    for (const { source, base } of step.merges) await freeRefs(ctx, source, [`refs/heads/${base}`]);
    const { deliveries } = await ctx.run();
    return deliveries.length > 0 && deliveries.every((delivery) => delivery.state === 'done');
  },
  /** All merges are computed and recorded before any ref moves; then each moves from where it was found, or all go back. */
  async do(step, ctx) {
    const planned = await planAll(step, ctx);
    const moved: { readonly merge: Merge; readonly delivery: RecordedDelivery }[] = [];
    for (const { merge, delivery } of planned) {
      const result = await withRepoLock(ctx, merge.source, () =>
        moveBase(moveOf(merge, delivery, ctx)).catch((error: unknown) => failedMove(merge, error)),
      );
      if (result.kind === 'refused' || result.kind === 'failed') {
        await takeBack(ctx, moved, { merge, delivery }, result);
        return;
      }
      moved.push({ merge, delivery });
      await ctx.world.store.saveDelivery(ctx.runId, { ...delivery, state: 'done', at: ctx.world.now() });
      for (const path of result.checkouts) {
        ctx.world.reporter.emit({
          type: 'note',
          runId: ctx.runId,
          text: `${merge.base} is checked out at ${path}, which moved along`,
        });
      }
    }
  },
};

interface PlannedMerge {
  readonly merge: Merge;
  readonly delivery: RecordedDelivery;
}

/** The recorded plan of every repo's merge; made now where a crash came before it was complete. */
async function planAll(step: StepOf<'deliver.merge'>, ctx: StepContext): Promise<PlannedMerge[]> {
  const run = await ctx.run();
  const rows = step.merges.map((merge) => ({ merge, row: deliveryOf(run, merge.repo) }));
  // Moved already, or about to be, before a crash: the same commits again.
  if (rows.every(({ row }) => row.state === 'planned' || row.state === 'done')) {
    return rows.map(({ merge, row }) => ({ merge, delivery: row }));
  }
  const ready: { readonly merge: Merge; readonly row: RecordedDelivery; readonly plan: ReadyMerge }[] = [];
  const problems: string[] = [];
  for (const { merge, row } of rows) {
    const plan = await planMerge({
      repo: merge.source,
      base: merge.base,
      branch: merge.branch,
      head: row.head,
      ticket: run.ticketId,
    });
    if (plan.kind !== 'ready') problems.push(plan.problem);
    else {
      const inTheWay = plan.checkouts.flatMap(({ path, problem, overlaps }) => [
        ...(problem === null ? [] : [problem]),
        ...(overlaps.length === 0
          ? []
          : [`uncommitted work in ${path} is in the way: ${overlaps.join(', ')}`]),
      ]);
      problems.push(...inTheWay.map((text) => `repo ${merge.repo}: ${text}`));
      ready.push({ merge, row, plan });
    }
  }
  if (problems.length > 0) {
    const before = rows.filter(({ row }) => row.state === 'done').map(({ merge }) => merge.repo);
    // After a rollback that did not go all the way some may be delivered.
    const how =
      before.length === 0 ? 'nothing was delivered' : `only ${before.join(', ')} is delivered so far`;
    throw new StepRefused(`${how}: ${problems.join('; ')}`, 'put that right, then close again');
  }
  const planned: PlannedMerge[] = [];
  for (const { merge, row, plan } of ready) {
    const after = await createMerge(merge.source, plan);
    planned.push({
      merge,
      delivery: {
        ...row,
        state: 'planned',
        ref: `refs/heads/${merge.base}`,
        before: plan.from,
        after,
        at: ctx.world.now(),
      },
    });
  }
  await ctx.world.store.transaction(async () => {
    for (const { delivery } of planned) await ctx.world.store.saveDelivery(ctx.runId, delivery);
  });
  return planned;
}

function deliveryOf(run: RecordedRun, repo: string): RecordedDelivery {
  const found = run.deliveries.find((delivery) => delivery.repo === repo);
  if (found === undefined) throw new Error(`run ${run.id} has no delivery of repo ${repo}`);
  return found;
}

function moveOf(merge: Merge, delivery: RecordedDelivery, ctx: StepContext): BaseMove {
  return {
    repo: merge.source,
    base: merge.base,
    from: delivery.before,
    to: delivery.after ?? '',
    why: `deliver ${merge.branch} (${ctx.runId})`,
    onSpawn: childOf(ctx).onSpawn,
  };
}

/** Why a base did not move. `failed`: git itself failed, which says nothing about anybody's work. */
interface NotMoved {
  readonly kind: 'refused' | 'failed';
  readonly problem: string;
}

function failedMove(merge: Merge, error: unknown): { readonly kind: 'failed'; readonly problem: string } {
  if (!(error instanceof ToolFailure)) throw error;
  return { kind: 'failed', problem: `repo ${merge.repo}: ${error.message}` };
}

/** One repo could not be moved: the others go back where they are still ours. Always throws. */
async function takeBack(
  ctx: StepContext,
  moved: readonly PlannedMerge[],
  not: PlannedMerge,
  why: NotMoved,
): Promise<never> {
  const stuck: string[] = [];
  const { store, now } = ctx.world;
  for (const { merge, delivery } of moved) {
    const result = await withRepoLock(ctx, merge.source, () => rollbackBase(moveOf(merge, delivery, ctx)));
    if (result.kind === 'refused') stuck.push(`${merge.repo}: ${result.problem}`);
    else await store.saveDelivery(ctx.runId, { ...delivery, state: 'rolled_back', at: now() });
  }
  // An earlier try may have been killed over its files: those go back, too.
  const { merge, delivery } = not;
  if ((await commitOf(merge.source, `refs/heads/${merge.base}`)) === delivery.before) {
    const result = await withRepoLock(ctx, merge.source, () => rollbackBase(moveOf(merge, delivery, ctx)));
    if (result.kind === 'refused') stuck.push(`${merge.repo}: ${result.problem}`);
  }
  const run = await ctx.run();
  for (const row of run.deliveries.filter((d) => d.state === 'planned')) {
    await store.saveDelivery(ctx.runId, { ...row, state: 'rolled_back', at: now() });
  }
  if (stuck.length > 0) {
    throw new StepStuck(
      `${why.problem}; and what was delivered before could not be taken back: ${stuck.join('; ')}`,
      'put these repositories right by hand, then close again',
    );
  }
  const back =
    moved.length === 0
      ? ''
      : `; ${moved.map((each) => each.merge.repo).join(', ')} went back to where it was`;
  const message = `nothing was delivered: ${why.problem}${back}`;
  if (why.kind === 'failed') throw new StepFailed(message, 'put that right, then close again');
  throw new StepRefused(message, 'look at what changed, then close again');
}

export const deliverPush: StepHandler<'deliver.push'> = {
  async look() {
    return false;
  },
  async do(step, ctx) {
    const row = deliveryOf(await ctx.run(), step.repo);
    await pushBranch({ repo: step.source, branch: step.branch, commit: row.head, ...childOf(ctx) });
    await ctx.world.store.saveDelivery(ctx.runId, {
      ...row,
      ref: `refs/remotes/origin/${step.branch}`,
      after: row.head,
      at: ctx.world.now(),
    });
  },
};

export const deliverPullRequest: StepHandler<'deliver.pull-request'> = {
  async look() {
    return false;
  },
  async do(step, ctx) {
    const { world, runId } = ctx;
    const run = await ctx.run();
    const row = deliveryOf(run, step.repo);
    const { env, signal } = world;
    const where = { cwd: step.source, env, signal };
    const found = await existingPr({ ...where, branch: step.branch, base: step.base });
    // One that somebody closed without merging is no delivery.
    const url =
      (found?.state === 'CLOSED' ? undefined : found?.url) ??
      (await createPr({
        ...where,
        head: step.branch,
        base: step.base,
        title: step.title,
        body: pullRequestBody(run, step.repo),
      }));
    await world.store.saveDelivery(runId, { ...row, state: 'done', url, at: world.now() });
  },
};
