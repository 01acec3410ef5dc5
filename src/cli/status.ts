/** `metawsm status [<sel>]`: reconcile and show. It records what it sees, and never starts, stops or removes. */
import { paint } from '../report/paint.js';
import { statusDocument, statusKey } from '../report/status-json.js';
import { statusText } from '../report/status-text.js';
import { waitsForOperator } from '../report/status-view.js';
import type { CommandContext } from './context.js';
import { EXIT } from './exit-codes.js';
import { exitCodeOf, selectOrHere } from './looking.js';
import { type CommandOptions, flag } from './options.js';
import type { StatusLook } from './status-look.js';
import type { Frame } from './watch.js';

export async function run(
  ctx: CommandContext,
  positionals: readonly string[],
  options: CommandOptions,
): Promise<number> {
  // What it takes to look is loaded while the record is opened.
  const looking = import('./status-look.js');
  const selected = await selectOrHere(ctx, positionals, options);
  if (selected === null) {
    const { openRuns } = await import('./runs.js');
    return openRuns(ctx, options);
  }
  const { store } = selected;
  try {
    const { StatusLooker } = await looking;
    const looker = new StatusLooker(ctx, store, selected.stateFolder);
    const look = async (): Promise<Frame> => frameOf(ctx, await looker.look(selected.run.id), options);
    if (flag(options, 'watch')) {
      const { watch } = await import('./watch.js');
      return await watch(ctx, look);
    }
    const frame = await look();
    ctx.stdout(frame.text);
    return frame.exitCode;
  } finally {
    await store.close();
  }
}

function frameOf(ctx: CommandContext, { view, busy }: StatusLook, options: CommandOptions): Frame {
  return {
    text: ctx.json
      ? `${JSON.stringify(statusDocument(view))}\n`
      : statusText(view, paint(ctx.color), { verbose: ctx.verbose }),
    key: statusKey(view),
    // While another process is at work on it, the state is about to change.
    last: !busy && waitsForOperator(view.run),
    exitCode: flag(options, 'exitCode') ? exitCodeOf(view.run.state) : EXIT.done,
  };
}
