/** `metawsm resume`: go on from the recorded step and start the agents that neither live nor completed. */
import { convergeByHand } from './by-hand.js';
import type { CommandModule } from './commands.js';

export const run: CommandModule['run'] = (ctx, positionals, options) =>
  convergeByHand(ctx, positionals, options, () => ({ kind: 'resume' }));
