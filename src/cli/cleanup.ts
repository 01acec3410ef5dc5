/** `metawsm cleanup`: stop the agents, remove the workspace, keep the branches. */
import { cleanUp, planCleanup } from '../execute/stop.js';
import type { CommandModule } from './commands.js';
import { operateOn } from './operate.js';
import { flag } from './options.js';
import { renderingOf } from './rendering.js';

export const run: CommandModule['run'] = (ctx, positionals, options) => {
  const cleanup = { force: flag(options, 'force'), keepWorkspaces: flag(options, 'keepWorkspaces') };
  return operateOn(ctx, positionals, options, {
    plan: (run, look) => planCleanup(run, cleanup, look),
    perform: (run, world) =>
      cleanUp(run.id, cleanup, world, {
        rendering: renderingOf(ctx),
        lockTimeoutMs: ctx.globals.lockTimeoutMs,
      }),
  });
};
