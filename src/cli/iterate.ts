/** `metawsm iterate`: hand feedback to the agents and start them again. */
import { MAX_DOCUMENT_BYTES } from '../tools/files.js';
import { convergeByHand } from './by-hand.js';
import type { CommandModule } from './commands.js';
import { wrongUsage } from './errors.js';
import { namedAgents } from './operate.js';
import { text } from './options.js';

export const run: CommandModule['run'] = async (ctx, positionals, options) => {
  const feedback = text(options, 'feedback');
  if (feedback === null) throw wrongUsage('iterate', 'no feedback is given: say --feedback TEXT');
  if (feedback.trim() === '') throw wrongUsage('iterate', 'the feedback is empty');
  if (feedback.includes('\0')) throw wrongUsage('iterate', 'the feedback holds a NUL character');
  if (Buffer.byteLength(feedback) > MAX_DOCUMENT_BYTES / 2) {
    throw wrongUsage('iterate', 'the feedback is larger than 512 KiB');
  }
  return convergeByHand(ctx, positionals, options, (selected) => ({
    kind: 'iterate',
    agents: namedAgents(selected, options),
    feedback,
    fixAttempt: null,
  }));
};
