/** `metawsm restart`: start the agents afresh, with a new restart budget. */
import { convergeByHand } from './by-hand.js';
import type { CommandModule } from './commands.js';
import { namedAgents } from './operate.js';

export const run: CommandModule['run'] = (ctx, positionals, options) =>
  convergeByHand(ctx, positionals, options, (run) => ({
    kind: 'restart',
    agents: namedAgents(run, options),
  }));
