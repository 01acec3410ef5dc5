/** The ticket, the run's brief among its documents, and its copy in the first repo's worktree. */
import { join } from 'node:path';
import { renderBrief } from '../../tickets/brief.js';
import { copyTicketFolder, newTicketFiles } from '../../tickets/copy.js';
import { ticketDriver } from '../../tickets/index.js';
import type { TicketDriver } from '../../tickets/ticket.js';
import { briefInput } from '../brief-input.js';
import type { StepContext, StepHandler } from '../world.js';

async function driverOf(ctx: StepContext): Promise<TicketDriver> {
  const run = await ctx.run();
  return ticketDriver(run.intent.tickets.driver, run.ticketRoot, ctx.world.env);
}

export const ticketCreate: StepHandler<'ticket.create'> = {
  async look(step, ctx) {
    return (await (await driverOf(ctx)).find(step.ticket)) !== null;
  },
  async do(step, ctx) {
    const { ticket: id, title, topics } = step;
    await (await driverOf(ctx)).create({ id, title, topics }, new Date(ctx.world.now()));
  },
};

export const ticketBrief: StepHandler<'ticket.brief'> = {
  // Writing it again with the same text changes nothing, so there is nothing to look for first.
  async look() {
    return false;
  },
  async do(step, ctx) {
    const { world } = ctx;
    const run = await ctx.run();
    const written = await (await driverOf(ctx)).writeBrief(
      {
        ticketId: step.ticket,
        title: step.title,
        topics: run.intent.ticket.topics,
        body: renderBrief(briefInput(run)),
      },
      run.brief?.ticketDocumentHash ?? null,
      new Date(world.now()),
    );
    if (written.result === 'kept') {
      world.reporter.emit({
        type: 'warning',
        runId: run.id,
        code: 'brief_edited',
        message: `${written.path} was edited by hand and is kept as it is; the agents read the new brief in their workspace`,
        file: written.path,
      });
      return;
    }
    await world.store.saveBrief(run.id, { ticketDocument: written.path, ticketDocumentHash: written.hash });
  },
};

export const ticketCopy: StepHandler<'ticket.copy'> = {
  async look() {
    return false;
  },
  async do(step, ctx) {
    const { world } = ctx;
    const run = await ctx.run();
    const folder = await (await driverOf(ctx)).find(run.ticketId);
    const repo = run.repos.find((r) => r.name === step.repo);
    if (folder === null || run.ticketRoot === null || repo === undefined) return;
    const copy = {
      ticketFolder: folder,
      ticketsRoot: run.ticketRoot,
      worktree: step.path,
      relativeRoot: step.relative,
      placed: repo.placed,
    };
    const fresh = await newTicketFiles(copy);
    await world.store.updateRepo(run.id, step.repo, { placed: { ...repo.placed, ...fresh } });
    const copied = await copyTicketFolder(copy);
    await world.store.updateRepo(run.id, step.repo, { placed: { ...repo.placed, ...copied.placed } });
    for (const path of copied.kept) {
      world.reporter.emit({
        type: 'warning',
        runId: run.id,
        code: 'ticket_file_kept',
        message: `${path} in the worktree of ${step.repo} holds something else than the ticket's file and is left alone`,
        file: join(step.path, path),
      });
    }
  },
};
