/** `metawsm stop`: end the agents. */
import { planStop, stopAgents } from '../execute/stop.js';
import type { CommandModule } from './commands.js';
import { namedAgents, operateOn } from './operate.js';
import { renderingOf } from './rendering.js';

export const run: CommandModule['run'] = (ctx, positionals, options) =>
  operateOn(ctx, positionals, options, {
    plan: (run, look) => planStop(run, namedAgents(run, options), look),
    perform: (run, world) =>
      stopAgents(run.id, namedAgents(run, options), world, {
        rendering: renderingOf(ctx),
        lockTimeoutMs: ctx.globals.lockTimeoutMs,
      }),
  });
