import type { CommandContext } from './context.js';

/** Placeholder until the command exists. */
export async function run(_ctx: CommandContext, _positionals: readonly string[]): Promise<number> {
  throw new Error('not built yet');
}
