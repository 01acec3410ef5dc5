/** A run's status as a person reads it: one compact page. Whatever an agent wrote is made safe. */
import type { CriterionState } from '../plan/evidence.js';
import type { AgentState, RunState, StepState } from '../plan/lifecycle.js';
import type {
  RecordedDelivery,
  RecordedGuidance,
  RecordedRepo,
  RecordedRun,
  RecordedStep,
} from '../plan/recorded.js';
import type { Paint } from './paint.js';
import { type AgentView, type RepoView, resumeStep, type StatusView } from './status-view.js';
import { durationText, indented, oneLine, shortened } from './stream.js';
import { unreachable } from './unreachable.js';

/** How many uncommitted files of a repo are named. */
const FILES_SHOWN = 5;
/** How much of a summary a page shows. */
const SUMMARY_SHOWN = 2_000;

/** The page, with a newline at the end. `verbose` also shows steps that are all done. */
export function statusText(view: StatusView, paint: Paint, options: { readonly verbose: boolean }): string {
  const { run } = view;
  const title = run.intent.ticket.title === run.ticketId ? '' : `  ${oneLine(run.intent.ticket.title)}`;
  const lines = [`${paint.bold(oneLine(run.ticketId))}${title}`, ...headLines(view, paint)];
  const section = (name: string, rows: readonly string[]): void => {
    if (rows.length > 0) lines.push('', `${name}:`, ...rows);
  };
  if (!isFinished(run) || options.verbose) {
    section(
      'Steps',
      run.steps.flatMap((step) => stepLines(step, view.observedAt, paint)),
    );
  }
  const names = widest(view.agents.map(({ agent }) => agent.name));
  section(
    'Agents',
    view.agents.flatMap((agent) => agentLines(agent, names, view.observedAt, paint)),
  );
  const several = view.agents.length > 1;
  section(
    'Questions',
    view.guidance.flatMap((asked) => questionLines(asked, several, view.observedAt, paint)),
  );
  section(
    'Criteria',
    view.criteria.flatMap((criterion) =>
      criterionLines(criterion, view.repos.length > 1, view.observedAt, paint),
    ),
  );
  const repos = widest(view.repos.map(({ repo }) => repo.name));
  section(
    'Repos',
    view.repos.flatMap((repo) => repoLines(repo, repos, run, paint)),
  );

  // Of those that hold nothing need be said, and of evidence the criteria say it.
  const shut = view.gates.filter(({ ok, name }) => !ok && !name.endsWith('_evidence'));
  section(
    'Gates of close that do not hold',
    shut.map(({ name, reason }) => `  ${paint.red('✖')} ${name}  ${oneLine(reason)}`),
  );

  if (view.warnings.length > 0) lines.push('');
  for (const { message, file } of view.warnings) {
    const place = file === null || message.includes(file) ? '' : `${oneLine(file)}: `;
    lines.push(`${paint.yellow('warning:')} ${place}${oneLine(message)}`);
  }
  if (view.next !== null) {
    lines.push(
      '',
      `next: ${paint.bold(oneLine(view.next.text))}`,
      paint.dim(`      ${oneLine(view.next.why)}`),
    );
  }
  return `${lines.join('\n')}\n`;
}

function headLines(view: StatusView, paint: Paint): string[] {
  const { run } = view;
  const reason = run.outcome ?? run.reason;
  const state = `${stateColor(run.state, paint)(run.state)}${reason === null ? '' : ` (${reason})`}`;
  const step = resumeStep(run);
  const lines = [
    `  run        ${run.id}, ${agoText(view.observedAt - run.createdAt)} old`,
    `  state      ${state}${run.detail === null ? '' : `: ${oneLine(run.detail)}`}`,
  ];
  if (step !== null) lines.push(`  at step    ${oneLine(step)}`);
  const done = run.steps.filter(({ state }) => state === 'done').length;
  if (isFinished(run)) lines.push(`  steps      ${done} of ${run.steps.length} done`);
  lines.push(`  workspace  ${oneLine(run.workspace)}`);
  lines.push(`  manifest   ${oneLine(view.manifest)}${view.manifestGone ? ' (not there any more)' : ''}`);
  if (view.unrecorded !== null) lines.push(`  ${paint.yellow('not recorded')}: ${oneLine(view.unrecorded)}`);
  return lines;
}

/** Nothing of the run's steps is left to look at; where a step is, all of them are listed. */
function isFinished(run: RecordedRun): boolean {
  return run.steps.every((step) => step.state === 'done' || step.state === 'skipped');
}

const STEP_SIGNS: Readonly<Record<StepState, string>> = {
  pending: '·',
  running: '❯',
  done: '✔',
  failed: '✖',
  skipped: '↓',
};

function stepLines(step: RecordedStep, now: number, paint: Paint): string[] {
  const color = {
    pending: paint.dim,
    running: paint.yellow,
    done: paint.green,
    failed: paint.red,
    skipped: paint.dim,
  };
  const took =
    step.startedAt === null || step.state === 'pending'
      ? null
      : durationText((step.state === 'running' ? now : (step.endedAt ?? now)) - step.startedAt);
  const facts = [
    step.state === 'done' ? null : step.state,
    step.attempts > 1 ? `${step.attempts} attempts` : null,
    took,
  ].filter((fact) => fact !== null);
  const note = facts.length === 0 ? '' : paint.dim(`  ${facts.join(', ')}`);
  const lines = [`  ${color[step.state](STEP_SIGNS[step.state])} ${oneLine(step.id)}${note}`];
  if (step.error !== null && step.state !== 'done') lines.push(further(step.error, 4));
  return lines;
}

function agentLines(view: AgentView, width: number, now: number, paint: Paint): string[] {
  const { agent, live, restartsLeft } = view;
  const health = agent.health === 'none' || agent.health === agent.state ? '' : `, ${agent.health}`;
  const since = live ? agent.startedAt : agent.endedAt;
  const facts = [
    `${agentColor(agent.state, paint)(agent.state === 'pending' ? 'not started yet' : agent.state)}${health}`,
    agent.attempt === 0 ? null : `attempt ${agent.attempt}`,
    live && agent.pid !== null ? `pid ${agent.pid}` : null,
    since === null ? null : live ? `for ${agoText(now - since)}` : `ended ${agoText(now - since)} ago`,
    !live && agent.signal !== null ? agent.signal : null,
    !live && agent.exitCode !== null ? `exit code ${agent.exitCode}` : null,
    live && agent.lastOutputAt !== null ? `last output ${agoText(now - agent.lastOutputAt)} ago` : null,
    agent.state === 'completed'
      ? null
      : `${restartsLeft} ${restartsLeft === 1 ? 'restart' : 'restarts'} left`,
  ].filter((fact) => fact !== null);
  const lines = [`  ${oneLine(agent.name).padEnd(width)}  ${facts.join(', ')}`];
  const more = width + 4;
  if (agent.healthReason !== null) lines.push(further(agent.healthReason, more));
  if (agent.summary !== null && agent.summary !== '')
    lines.push(further(`"${clipped(agent.summary)}"`, more));
  return lines;
}

function questionLines(asked: RecordedGuidance, several: boolean, now: number, paint: Paint): string[] {
  const who = several ? ` of ${oneLine(asked.agent)}` : '';
  const state = asked.state === 'answered' ? ', answered but not delivered yet' : '';
  const since = paint.dim(`asked ${agoText(now - asked.askedAt)} ago${state}`);
  const lines = [`  ${paint.yellow('?')} ${asked.id}${who}  ${since}`, indented(indented(asked.question))];
  if (asked.context !== null && asked.context !== undefined) {
    const context = typeof asked.context === 'string' ? asked.context : JSON.stringify(asked.context);
    if (context !== '') lines.push(paint.dim(`    context: ${shortened(context, 300)}`));
  }
  return lines;
}

const CRITERION_SIGNS: Readonly<Record<CriterionState['state'], string>> = {
  unverified: '·',
  passed: '✔',
  failed: '✖',
  void: '○',
};

function criterionLines(criterion: CriterionState, several: boolean, now: number, paint: Paint): string[] {
  const { id, kind, state } = criterion;
  const color = { unverified: paint.dim, passed: paint.green, failed: paint.red, void: paint.yellow }[state];
  const where = kind === 'worded' ? '' : several ? ` in ${criterion.repo ?? 'the workspace'}` : '';
  const text = kind === 'command' ? `$ ${shortened(criterion.text, 200)}` : oneLine(criterion.text);
  const at = criterion.commit === null ? '' : ` at ${criterion.commit.slice(0, 8)}`;
  const since = criterion.checkedAt === null ? '' : `${at}, ${agoText(now - criterion.checkedAt)} ago`;
  const lines = [
    `  ${color(CRITERION_SIGNS[state])} ${id}  ${text}${where}  ${color(state)}${paint.dim(since)}`,
  ];
  if (criterion.voidReason !== null) lines.push(further(criterion.voidReason, 8));
  if (state === 'failed' && criterion.detail !== null) {
    const log = criterion.log === null ? '' : `; its output is in ${criterion.log}`;
    lines.push(further(`${criterion.detail}${log}`, 8));
  }
  return lines;
}

function repoLines(
  { repo, worktree, delivery }: RepoView,
  width: number,
  run: RecordedRun,
  paint: Paint,
): string[] {
  const facts = [`${oneLine(repo.branch)} from ${oneLine(repo.baseBranch)}`];
  const more: string[] = [];
  if (worktree !== null && worktree.state === 'ready') {
    if (worktree.branch !== repo.branch) {
      const now = worktree.branch === null ? 'no branch' : oneLine(worktree.branch);
      facts.push(paint.yellow(`but ${now} is checked out`));
    }
    if (worktree.ahead !== null) {
      facts.push(`${worktree.ahead} ahead${worktree.behind ? `, ${worktree.behind} behind` : ''}`);
    }
    if (worktree.filesChanged) {
      const files = worktree.filesChanged === 1 ? '1 file' : `${worktree.filesChanged} files`;
      facts.push(
        `${files} ${paint.green(`+${worktree.insertions ?? 0}`)} ${paint.red(`-${worktree.deletions ?? 0}`)}`,
      );
    }
    const dirty = worktree.dirtyFiles;
    if (dirty !== null && dirty.length === 0) facts.push('clean');
    if (dirty !== null && dirty.length > 0) {
      facts.push(paint.yellow(`${dirty.length} uncommitted`));
      const rest = dirty.length - FILES_SHOWN;
      const names = dirty.slice(0, FILES_SHOWN).map((file) => shortened(file, 100));
      more.push(`${names.join(', ')}${rest > 0 ? `, and ${rest} more` : ''}`);
    }
  } else if (repo.removed) {
    facts.push('worktree removed');
  } else if (run.steps.some((step) => step.id === `worktree.create/${repo.name}` && step.state === 'done')) {
    facts.push(
      paint.yellow(worktree?.state === 'foreign' ? 'its worktree is something else now' : 'worktree gone'),
    );
  } else {
    facts.push('no worktree yet');
  }
  if (delivery !== null) facts.push(...deliveryFacts(delivery, repo, run, paint));
  return [
    `  ${oneLine(repo.name).padEnd(width)}  ${facts.join(', ')}`,
    ...more.map((line) => paint.dim(' '.repeat(width + 4) + line)),
  ];
}

/** What close did with a repo so far. */
function deliveryFacts(
  delivery: RecordedDelivery,
  repo: RecordedRepo,
  run: RecordedRun,
  paint: Paint,
): string[] {
  if (delivery.url !== null) return [paint.green(oneLine(delivery.url))];
  if (delivery.state === 'done') return [paint.green(`delivered to ${oneLine(repo.baseBranch)}`)];
  return delivery.kind === 'none' && run.state === 'closed' ? ['branch kept, not delivered'] : [];
}

/** How long ago, in the two largest units: `4s`, `3m05s`, `2h10m`, `3d4h`. */
export function agoText(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1_000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 86_400) return durationText(seconds * 1_000);
  return `${Math.floor(seconds / 86_400)}d${Math.floor((seconds % 86_400) / 3_600)}h`;
}

/** The colour of a run's state. */
export function stateColor(state: RunState, paint: Paint): (text: string) => string {
  switch (state) {
    case 'running':
    case 'completed':
      return paint.green;
    case 'failed':
      return paint.red;
    case 'awaiting_guidance':
    case 'paused':
    case 'stopping':
    case 'stopped':
      return paint.yellow;
    case 'created':
    case 'planning':
    case 'closing':
    case 'closed':
      return (text) => text;
    default:
      return unreachable(state);
  }
}

function agentColor(state: AgentState, paint: Paint): (text: string) => string {
  switch (state) {
    case 'running':
    case 'completed':
      return paint.green;
    case 'failed':
    case 'dead':
      return paint.red;
    case 'exited':
    case 'stopped':
    case 'unknown':
      return paint.yellow;
    case 'pending':
    case 'starting':
      return (text) => text;
    default:
      return unreachable(state);
  }
}

/** A text of any origin with all its lines behind `margin` spaces. */
function further(text: string, margin: number): string {
  const space = ' '.repeat(margin - 2);
  return indented(text)
    .split('\n')
    .map((line) => `${space}${line}`)
    .join('\n');
}

/** A summary may be as long as its file; `--json` has all of it. */
function clipped(text: string): string {
  return text.length > SUMMARY_SHOWN ? `${text.slice(0, SUMMARY_SHOWN)}…` : text;
}

function widest(names: readonly string[]): number {
  return Math.max(0, ...names.map((name) => name.length));
}
