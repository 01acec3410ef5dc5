/** Which listr2 renderer shows the task tree, when. This file loads listr2; `stream.ts` does not. */
import {
  DefaultRenderer,
  ListrDefaultRendererLogLevels as Level,
  type ListrDefaultRendererOptions,
  ListrLogger,
  type ListrRendererFactory,
  ListrTaskEventType,
  type ListrTaskObject,
  ListrTaskState,
  ProcessOutput,
} from 'listr2';
import { safeText } from '../tools/files.js';
import { type Paint, paint } from './paint.js';
import { durationText, indented, oneLine } from './stream.js';

export interface ListrView {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** stderr is a terminal that may be animated (not CI). */
  readonly isTerminal: boolean;
  /** Colours on stderr. */
  readonly color: boolean;
  /** Gets the lines where nothing is animated. */
  stderr(text: string): void;
}

/** What a root `Listr` is made with. */
export interface ListrRendering {
  readonly renderer: ListrRendererFactory;
  readonly rendererOptions: Record<PropertyKey, unknown>;
  /** listr2's own listener would end the process with 127 at once. */
  readonly registerSignalListeners: false;
}

/**
 * A live tree on stderr at a terminal, one line per step elsewhere, failures only with `--quiet`, nothing
 * with `--json`. stdout is never written to.
 */
export function listrOptions(view: ListrView): ListrRendering {
  if (view.json) return rendering(SilentTree, {});
  if (view.isTerminal && !view.quiet && !view.verbose && canAnimate()) {
    return rendering(LiveTree, liveOptions(paint(view.color)));
  }
  return rendering(LineTree, { view, palette: paint(view.color) } satisfies LineOptions);
}

function rendering(renderer: unknown, rendererOptions: object): ListrRendering {
  return {
    renderer: renderer as ListrRendererFactory,
    rendererOptions: rendererOptions as Record<PropertyKey, unknown>,
    registerSignalListeners: false,
  };
}

/** Not on a dumb terminal, and not on one of 0 columns, where each character would get a line of its own. */
function canAnimate(): boolean {
  return process.env.TERM !== 'dumb' && (process.stderr.columns ?? 0) > 0 && process.stdout.columns !== 0;
}

function liveOptions(palette: Paint): ListrDefaultRendererOptions {
  const { red, green, yellow, dim } = palette;
  return {
    // Both: what else is printed to stderr waits until the tree is done. stdout is left alone.
    logger: new ListrLogger({
      useIcons: true,
      processOutput: new ProcessOutput(process.stderr, process.stderr),
    }),
    // listr2's own colours follow stdout.
    color: {
      [Level.SKIPPED_WITH_COLLAPSE]: dim,
      [Level.SKIPPED_WITHOUT_COLLAPSE]: dim,
      [Level.PENDING]: yellow,
      [Level.COMPLETED]: green,
      [Level.COMPLETED_WITH_FAILED_SUBTASKS]: red,
      [Level.COMPLETED_WITH_FAILED_SISTER_TASKS]: dim,
      [Level.RETRY]: yellow,
      [Level.ROLLING_BACK]: red,
      [Level.ROLLED_BACK]: red,
      [Level.FAILED]: red,
      [Level.FAILED_WITH_FAILED_SUBTASKS]: red,
      [Level.WAITING]: dim,
      [Level.PAUSED]: yellow,
    } as NonNullable<ListrDefaultRendererOptions['color']>,
    icon: {
      [Level.COMPLETED_WITH_FAILED_SUBTASKS]: '✖',
      [Level.FAILED_WITH_FAILED_SUBTASKS]: '✖',
      [Level.SKIPPED_WITHOUT_COLLAPSE]: '↓',
    } as NonNullable<ListrDefaultRendererOptions['icon']>,
    // Their colours would be taken for somebody's escape sequences, below.
    suffixRetries: false,
    collapseSubtasks: false,
    collapseSkips: false,
    collapseErrors: false,
    // A timer without `format` makes listr2 throw, and then the step has failed.
    timer: { condition: (duration: number) => duration >= 1_000, field: durationText, format: () => plain },
    pausedTimer: { condition: true, field: durationText, format: () => plain },
  } as ListrDefaultRendererOptions;
}

function plain(text: string): string {
  return text;
}

/** The default renderer on stderr, with no control characters but its own. */
class LiveTree extends DefaultRenderer {
  static override nonTTY = true;

  protected override format(message: string, icon: string, level: number): string[] {
    return super.format(safeText(message), icon, level);
  }
}

class SilentTree {
  static readonly nonTTY = true;
  static readonly rendererOptions = {};
  static readonly rendererTaskOptions = {};
  render(): void {}
  end(): void {}
}

/** An error that trying again does not help. listr2 does so all the same, but that is not told. */
export class Hopeless extends Error {
  override readonly name = 'Hopeless';
}

interface LineOptions {
  readonly view: ListrView;
  readonly palette: Paint;
}

/** One line for each step when it has ended; with `--verbose` also its start and what it prints. */
class LineTree {
  static readonly nonTTY = true;
  static readonly rendererOptions = {};
  static readonly rendererTaskOptions = {};

  constructor(
    private readonly tasks: readonly ListrTaskObject<unknown>[],
    private readonly options: LineOptions,
  ) {}

  render(): void {
    this.watch(this.tasks);
  }

  end(): void {}

  private watch(tasks: readonly ListrTaskObject<unknown>[]): void {
    for (const task of tasks) this.watchOne(task);
  }

  private watchOne(task: ListrTaskObject<unknown>): void {
    const { view, palette } = this.options;
    const title = (): string => oneLine(task.title ?? '');
    const say = (line: string): void => view.stderr(`${line}\n`);
    let tryingAgain = 0;
    let hopeless = false;

    task.on(ListrTaskEventType.SUBTASK, (subtasks) => this.watch(subtasks));
    task.on(ListrTaskEventType.STATE, (state) => {
      if (!task.hasTitle() || view.quiet) return;
      if (state === ListrTaskState.STARTED && view.verbose) say(`${palette.yellow('❯')} ${title()}`);
      if (state === ListrTaskState.COMPLETED && !task.hasSubtasks()) {
        const took = task.message.duration ?? 0;
        const time = took < 1_000 ? '' : palette.dim(` (${durationText(took)})`);
        say(`${palette.green('✔')} ${title()}${time}`);
      }
    });
    task.on(ListrTaskEventType.OUTPUT, (output) => {
      if (view.verbose && !view.quiet) say(palette.dim(indented(output)));
    });
    task.on(ListrTaskEventType.MESSAGE, (message) => {
      if (!task.hasTitle()) return;
      // listr2 tells the retry first, then the error that it is for.
      if (message.retry) {
        hopeless = message.retry.error instanceof Hopeless;
        tryingAgain = hopeless ? 0 : (message.retry.count ?? 1);
      } else if (message.error !== undefined && hopeless) hopeless = false;
      else if (message.error !== undefined) {
        if (task.subtasks?.some((subtask) => subtask.hasFailed())) return;
        const text = [title(), oneLine(message.error)].filter(Boolean).join(': ');
        if (tryingAgain > 0) {
          if (!view.quiet) say(`${palette.yellow('⚠')} ${text} (trying again)`);
        } else say(`${palette.red('✖')} ${text}`);
        tryingAgain = 0;
      } else if (message.skip !== undefined && !view.quiet) {
        const why = message.skip === task.title ? '' : `: ${oneLine(message.skip)}`;
        say(`${palette.dim('↓')} ${title()}${why}`);
      }
    });
  }
}
