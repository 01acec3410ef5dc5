/** How the task tree is shown for a command line. */
import type { Rendering } from '../execute/tasks.js';
import { listrOptions } from '../report/terminal.js';
import type { CommandContext } from './context.js';

export function renderingOf(ctx: CommandContext): Rendering {
  const { renderer, rendererOptions } = listrOptions({
    json: ctx.json,
    quiet: ctx.quiet,
    verbose: ctx.verbose,
    isTerminal: ctx.isTerminal.stderr,
    color: ctx.colorStderr,
    stderr: ctx.stderr,
  });
  return { renderer, rendererOptions };
}
