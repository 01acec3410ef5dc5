/** The workspace folder and the sentinel folders in it. */
import { cp, lstat, mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { clearTicketLeftovers } from '../../tickets/leftovers.js';
import { ToolFailure } from '../../tools/failure.js';
import { ensureRealFolder, isContent, isRealFolder, makeFolders } from '../../tools/files.js';
import { run } from '../../tools/git.js';
import { gitDirOf } from '../../tools/git-folder.js';
import { canonicalPath } from '../../tools/git-read.js';
import { listWorktrees } from '../../tools/git-worktree.js';
import { removeLeftovers } from '../../tools/temporary.js';
import { runFolder, shimFolder } from '../paths.js';
import { type StepContext, type StepHandler, StepRefused } from '../world.js';

export const workspaceCreate: StepHandler<'workspace.create'> = {
  async look(step) {
    const folders = [join(step.path, '.metawsm'), ...step.sentinelDirs];
    return (await Promise.all(folders.map(isRealFolder))).every(Boolean);
  },
  async do(step) {
    await makeFolders(step.path);
    for (const dir of [join(step.path, '.metawsm'), ...step.sentinelDirs]) {
      await ensureRealFolder(dir, { below: step.path });
    }
  },
};

export const workspaceRemove: StepHandler<'workspace.remove'> = {
  async look(step, ctx) {
    if ((await lstat(step.path).catch(() => null)) !== null) return false;
    await removeTraces(ctx);
    return true;
  },
  async do(step, ctx) {
    const { stateFolder } = ctx.world;
    const run = await ctx.run();
    const left = (await readdir(step.path)).filter((name) => name !== '.metawsm');
    const worktrees = run.repos.filter((repo) => left.includes(repo.name)).map((repo) => repo.path);
    if (worktrees.length > 0) {
      throw new StepRefused(
        `${worktrees.join(', ')} is still there`,
        'look at it, then run the command again',
      );
    }
    for (const agent of run.agents) removeLeftovers(agent.sentinelDir);
    removeLeftovers(join(step.path, '.metawsm'));
    // Notes that an agent left beside the worktrees, and its sentinels, are work too: they move, they are not removed.
    const keep = join(runFolder(stateFolder, run.id), 'workspace');
    for (const name of [...left, '.metawsm']) await moveInto(join(step.path, name), keep);
    for (const repo of run.repos) await followMoved(repo.source, step.path, keep);
    await rmdir(step.path);
    await removeTraces(ctx);
    if (left.length > 0) {
      ctx.world.reporter.emit({
        type: 'warning',
        runId: run.id,
        code: 'files_kept',
        message: `${left.join(', ')} lay in the workspace beside its worktrees and moved to ${keep}`,
        file: keep,
      });
    }
  },
};

/** Tells git where worktrees that an agent made beside its own are now: it would forget them, and then their commits. */
async function followMoved(source: string, workspace: string, keep: string): Promise<void> {
  const listed = await listWorktrees(source).catch((error: unknown) => {
    if (error instanceof ToolFailure) return [];
    throw error;
  });
  const top = `${await canonicalPath(workspace)}/`;
  for (const { path } of listed) {
    const now = join(keep, path.slice(top.length));
    if (!path.startsWith(top) || (await gitDirOf(path)) !== null || (await gitDirOf(now)) === null) continue;
    await run(source, ['worktree', 'repair', now], { okCodes: [0, 1] });
  }
}

/** What lies outside of the workspace: the day's folder goes with its last one; what a crash left of a ticket goes. */
async function removeTraces(ctx: StepContext): Promise<void> {
  const run = await ctx.run();
  removeLeftovers(shimFolder(ctx.world.stateFolder));
  await rmdir(dirname(run.workspace)).catch(() => undefined);
  if (run.intent.tickets.driver !== 'none' && run.ticketRoot !== null) {
    await clearTicketLeftovers(run.ticketRoot, run.ticketId);
  }
}

/** Move a file or folder, also to another file system; never over something that is there. */
export async function moveInto(from: string, folder: string): Promise<void> {
  if ((await lstat(from).catch(() => null)) === null) return;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const name = from.slice(from.lastIndexOf('/') + 1);
  let to = join(folder, name);
  for (let n = 2; (await lstat(to).catch(() => null)) !== null; n++) to = join(folder, `${name}-${n}`);
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await cp(from, to, {
      recursive: true,
      verbatimSymlinks: true,
      errorOnExist: true,
      force: false,
      filter: isContent,
    });
    await rm(from, { recursive: true, force: true });
  }
}
