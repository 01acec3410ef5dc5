/** `metawsm runs`: the history. Also what `status` shows when no run is named. */
import { isOpen } from '../plan/lifecycle.js';
import { paint } from '../report/paint.js';
import { runsText } from '../report/runs-text.js';
import { runsDocument, runsKey } from '../report/status-json.js';
import { type RunLine, waitsForOperator } from '../report/status-view.js';
import { type RunQuery, Store } from '../state/store.js';
import type { CommandContext } from './context.js';
import { EXIT, worst } from './exit-codes.js';
import { exitCodeOf, runLine } from './looking.js';
import { type CommandOptions, flag, text } from './options.js';
import { refuseInsideWorkspace, stateFolderOf, storeOptions, typedPath } from './world.js';

export async function run(
  ctx: CommandContext,
  _positionals: readonly string[],
  options: CommandOptions,
): Promise<number> {
  await refuseInsideWorkspace(ctx);
  const ticket = text(options, 'ticket');
  const most = flag(options, 'all') ? null : 20;
  // One more, to know of it.
  const query = { ...(ticket === null ? {} : { ticket }), limit: most === null ? null : most + 1 };
  const found = await withRuns(ctx, (find) => find(query));
  const lines = found.slice(0, most ?? found.length);
  ctx.stdout(shown(ctx, lines, ticket === null ? 'no runs yet' : `no runs of ticket ${ticket}`));
  if (lines.length < found.length && !ctx.json && !ctx.quiet) {
    ctx.stderr(`there are more, older ones: --all lists them, too\n`);
  }
  return EXIT.done;
}

/** `metawsm status` without a name: the runs that are not closed, newest first. */
export async function openRuns(ctx: CommandContext, options: CommandOptions): Promise<number> {
  return withRuns(ctx, async (find) => {
    const look = async () => {
      const all = await find({ limit: null });
      const lines = all.filter((line) => isOpen(line.run.state));
      return {
        text: shown(ctx, lines, all.length === 0 ? 'no runs yet' : 'no open runs'),
        key: runsKey(lines),
        last: lines.every((line) => waitsForOperator(line.run)),
        exitCode: flag(options, 'exitCode')
          ? worst(lines.map((line) => exitCodeOf(line.run.state)))
          : EXIT.done,
      };
    };
    if (flag(options, 'watch')) {
      const { watch } = await import('./watch.js');
      return watch(ctx, look);
    }
    const frame = await look();
    ctx.stdout(frame.text);
    return frame.exitCode;
  });
}

/** Opens the record for `use`; where there is none, no run is found and nothing is made. */
async function withRuns<T>(
  ctx: CommandContext,
  use: (find: (query: RunQuery) => Promise<RunLine[]>) => Promise<T>,
): Promise<T> {
  const { path } = await stateFolderOf(ctx, null);
  const store = await Store.openForLook(path, storeOptions(ctx));
  if (store === null) return use(async () => []);
  try {
    return await use(async (query) =>
      Promise.all((await store.findRuns(query)).map((found) => runLine(found, path))),
    );
  } finally {
    await store.close();
  }
}

function shown(ctx: CommandContext, lines: readonly RunLine[], none: string): string {
  if (ctx.json) return `${JSON.stringify(runsDocument(lines))}\n`;
  if (lines.length === 0) return `${none}\n`;
  return runsText(lines, paint(ctx.color), {
    now: ctx.now(),
    manifestOf: (path) => typedPath(ctx, path),
  });
}
