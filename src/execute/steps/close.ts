/** The last steps of a run: the last look, the ticket, the branches. */

import { deliveryKind } from '../../plan/delivery.js';
import type { RecordedDelivery, RecordedRun } from '../../plan/recorded.js';
import { ticketDriver } from '../../tickets/index.js';
import { safeText } from '../../tools/files.js';
import { isDelivered } from '../../tools/git-merge.js';
import { deleteBranch } from '../../tools/git-move.js';
import { branchInfo, commitOf } from '../../tools/git-read.js';
import { worktreeStatus } from '../../tools/git-status.js';
import { freeRefs } from '../child.js';
import { withRepoLock } from '../repo-lock.js';
import { changedConfig, lookOptions } from '../trust.js';
import { type StepHandler, StepRefused } from '../world.js';

export const closeCheck: StepHandler<'close.check'> = {
  async look() {
    return false;
  },
  /** Until now the agents could work on: what is delivered must be what was checked. */
  async do(step, ctx) {
    const run = await ctx.run();
    const elsewhere = new Map<string, string>();
    for (const repo of run.repos.filter((r) => !r.removed)) {
      const expected = step.heads[repo.name];
      const { head, branch, dirtyFiles } = await worktreeStatus(repo.path, lookOptions(repo));
      if (expected === undefined || head !== expected) {
        throw new StepRefused(
          `HEAD of repo ${repo.name} moved from ${expected?.slice(0, 12)} to ${head?.slice(0, 12)} while it was being closed`,
          `metawsm verify ${run.selector} checks it there, then close again`,
        );
      }
      if (dirtyFiles.length > 0) {
        throw new StepRefused(
          `repo ${repo.name} has uncommitted changes again: ${dirtyFiles.slice(0, 5).join(', ')}`,
          'commit or remove them, then verify and close again',
        );
      }
      const [changed] = await changedConfig(repo, repo.path);
      if (changed !== undefined) {
        throw new StepRefused(
          `${safeText(changed.key)} of the git configuration of repo ${repo.name} was ${changed.change} while it was being closed`,
          'close again says how to put it back',
        );
      }
      // The agent went on, on another branch: that is where the checked work is found then.
      if ((await commitOf(repo.path, `refs/heads/${repo.branch}`)) !== head)
        elsewhere.set(repo.name, branch === null ? head : `refs/heads/${branch}`);
    }
    const { store, now } = ctx.world;
    await store.transaction(async () => {
      for (const [repo, head] of Object.entries(step.heads)) {
        const kind = deliveryKind(run.intent);
        await store.saveDelivery(run.id, {
          repo,
          kind,
          state: 'checked',
          head,
          ref: kind === 'none' ? (elsewhere.get(repo) ?? null) : null,
          before: null,
          after: null,
          url: null,
          at: now(),
        });
      }
    });
  },
};

export const ticketClose: StepHandler<'ticket.close'> = {
  async look() {
    return false;
  },
  async do(step, ctx) {
    const run = await ctx.run();
    const driver = ticketDriver(run.intent.tickets.driver, run.ticketRoot, ctx.world.env);
    if ((await driver.find(step.ticket)) === null) return;
    await driver.close(step.ticket, changelogEntry(run), new Date(ctx.world.now()));
  },
};

/** What the ticket's changelog says about a delivered run: the same text each time. */
function changelogEntry(run: RecordedRun): string {
  const how = run.deliveries.map(deliveryLine);
  return [`Run ${run.id} delivered`, ...how.map((line) => `- ${line}`)].join('\n');
}

/** One repo's delivery in a sentence. */
function deliveryLine(delivery: RecordedDelivery): string {
  const { repo, kind, head } = delivery;
  const commit = head.slice(0, 12);
  if (kind === 'pull_request')
    return `${repo}: ${commit} in ${delivery.url ?? 'its base already, without a pull request'}`;
  if (kind === 'merge')
    return `${repo}: ${commit} merged into ${delivery.ref?.replace(/^refs\/heads\//, '') ?? 'its base'}, now ${delivery.after?.slice(0, 12)}`;
  return `${repo}: ${commit} left on its branch`;
}

export const branchDelete: StepHandler<'branch.delete'> = {
  async look(step, ctx) {
    await freeRefs(ctx, step.source, [`refs/heads/${step.branch}`]);
    return (await branchInfo(step.source, step.branch)).commit === null;
  },
  async do(step, ctx) {
    const { commit } = await branchInfo(step.source, step.branch);
    if (commit === null) return;
    const delivered = await isDelivered(step.source, commit, step.base);
    const kept = (why: string): void =>
      ctx.world.reporter.emit({
        type: 'note',
        runId: ctx.runId,
        text: `branch ${step.branch} of ${step.repo} is kept: ${why}`,
      });
    if (delivered === null) {
      kept(`it holds commits that ${step.base} does not`);
      return;
    }
    const deleted = await withRepoLock(ctx, step.source, () =>
      deleteBranch(step.source, step.branch, commit),
    );
    if (deleted.kind === 'refused') kept(deleted.problem);
  },
};
