/** The human view of events: a stream of lines, the same at a terminal and in a log. */
import { safeText } from '../tools/files.js';
import type { Event, Reporter, RunSummary } from './events.js';
import { type Paint, paint } from './paint.js';
import { unreachable } from './unreachable.js';

/** Whether `CI` says so: set, and not to a word for no. */
export function isCi(env: Readonly<NodeJS.ProcessEnv>): boolean {
  return !['', '0', 'false'].includes((env.CI ?? '').toLowerCase());
}

/** `--no-color` and NO_COLOR say no; then FORCE_COLOR decides; then whether it is a terminal with colours. */
export function wantsColor(env: Readonly<NodeJS.ProcessEnv>, noColor: boolean, isTerminal: boolean): boolean {
  if (noColor || (env.NO_COLOR ?? '') !== '') return false;
  if (env.FORCE_COLOR !== undefined) return !['0', 'false'].includes(env.FORCE_COLOR);
  return isTerminal && env.TERM !== 'dumb' && !isCi(env);
}

/** `340ms`, `1.2s`, `2m05s`, `1h02m`. */
export function durationText(milliseconds: number): string {
  if (milliseconds < 1_000) return `${Math.max(0, Math.round(milliseconds))}ms`;
  if (milliseconds < 59_950) return `${(milliseconds / 1_000).toFixed(1)}s`;
  const seconds = Math.round(milliseconds / 1_000);
  const two = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3_600)}h${two(Math.floor((seconds % 3_600) / 60))}m`;
}

/** A text of any origin on one line: safe, and its line breaks as spaces. */
export function oneLine(text: string): string {
  return safeText(text)
    .replace(/\s*\n\s*/g, ' ')
    .trim();
}

/** The same, cut to at most `length` characters. */
export function shortened(text: string, length: number): string {
  const line = oneLine(text);
  return line.length > length ? `${line.slice(0, length - 1)}…` : line;
}

/** A text of any origin as lines, each behind two spaces. */
export function indented(text: string): string {
  return safeText(text)
    .trimEnd()
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n');
}

export interface HumanOptions {
  /** Results. */
  stdout(text: string): void;
  /** Progress and diagnostics. */
  stderr(text: string): void;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** Colours on stdout. */
  readonly color: boolean;
  /** Colours on stderr. */
  readonly colorStderr: boolean;
}

/** States of a run on the way to another one: told only with `--verbose`. */
const PASSING: readonly string[] = ['created', 'planning', 'stopping', 'closing'];

/**
 * Events for a person. Steps are not among them: the task tree shows those (`terminal.ts`). Warnings and
 * errors are always shown; the summary goes to stdout, everything else to stderr.
 */
export function humanReporter(options: HumanOptions): Reporter {
  const out = paint(options.color);
  const err = paint(options.colorStderr);
  return {
    emit(event) {
      if (event.type === 'summary') {
        for (const run of event.runs) {
          if (!options.quiet || run.exitCode !== 0) options.stdout(summaryText(run, out));
        }
        return;
      }
      const text = eventText(event, options, err);
      if (text !== null) options.stderr(`${text}\n`);
    },
  };
}

/** What stderr says about an event; null: nothing. */
function eventText(
  event: Exclude<Event, { type: 'summary' }>,
  { quiet, verbose }: HumanOptions,
  err: Paint,
): string | null {
  switch (event.type) {
    case 'error':
      return errorText(event, err);
    case 'warning': {
      const named = event.file === null || event.message.includes(event.file);
      const place = named ? '' : `${oneLine(event.file)}: `;
      return `${err.yellow('warning:')} ${place}${safeText(event.message)}`;
    }
    case 'note':
      return quiet ? null : safeText(event.text);
    case 'run': {
      if (quiet || (PASSING.includes(event.state) && !verbose)) return null;
      return `${event.runId} is ${event.state}${event.reason === null ? '' : ` (${event.reason})`}`;
    }
    case 'agent': {
      if (quiet || event.state === 'pending' || event.state === 'unknown') return null;
      // Its step in the tree says so, and this would end up between the lines of that.
      if ((event.state === 'starting' || event.state === 'running') && !verbose) return null;
      const exit = event.exitCode === null ? '' : `, exit code ${event.exitCode}`;
      return `agent ${oneLine(event.name)} is ${event.state}${exit}`;
    }
    case 'guidance': {
      if (quiet) return null;
      const agent = oneLine(event.agent);
      if (event.state !== 'pending') return `question ${event.id} of agent ${agent} is ${event.state}`;
      return `${err.yellow('?')} agent ${agent} asks (${event.id}):\n${indented(event.question)}`;
    }
    case 'criterion':
      // Commands have their own lines, in the task tree.
      if (quiet || event.kind === 'command') return null;
      return `criterion ${event.id} ${event.state}${event.detail === null ? '' : `: ${oneLine(event.detail)}`}`;
    // The gates are a table of their own.
    case 'gate':
    case 'version':
    case 'step':
      return null;
    default:
      return unreachable(event);
  }
}

/** Passes each event on to several reporters, in order. */
export function tee(...reporters: readonly Reporter[]): Reporter {
  return {
    emit(event) {
      for (const reporter of reporters) reporter.emit(event);
    },
  };
}

function errorText(event: Extract<Event, { type: 'error' }>, err: Paint): string {
  const step = event.stepId === null ? '' : `${oneLine(event.stepId)}: `;
  const lines = [`${err.red('metawsm:')} ${step}${safeText(event.message)}`];
  for (const line of event.logTail) lines.push(err.dim(indented(line)));
  if (event.hint !== null) lines.push(safeText(event.hint));
  return lines.join('\n');
}

/** How one run stands, for stdout, with a newline at the end. */
function summaryText(run: RunSummary, out: Paint): string {
  const state = run.state ?? 'not started';
  const reason = run.reason === null ? '' : ` (${run.reason})`;
  const facts = [
    run.runId,
    run.changed ? count(run.stepsDone, 'step done', 'steps done') : run.exitCode === 0 ? 'no changes' : null,
    run.stepsFailed > 0 ? count(run.stepsFailed, 'step failed', 'steps failed') : null,
    run.guidancePending > 0 ? count(run.guidancePending, 'open question', 'open questions') : null,
    run.criteriaPassed > 0 ? `${run.criteriaPassed} of ${run.criteriaTotal} criteria passed` : null,
  ].filter((fact) => fact !== null);
  const color = run.exitCode === 0 ? out.green : run.exitCode === 1 ? out.red : out.yellow;
  const lines = [
    `${out.bold(oneLine(run.ticket))}: ${color(state)}${reason}${facts.length === 0 ? '' : ` ${out.dim(`[${facts.join(', ')}]`)}`}`,
  ];
  if (run.workspace !== null) lines.push(`  workspace: ${oneLine(run.workspace)}`);
  if (run.next !== null) {
    lines.push(`  next: ${oneLine(run.next.text)} ${out.dim(`(${oneLine(run.next.why)})`)}`);
  }
  return `${lines.join('\n')}\n`;
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}
