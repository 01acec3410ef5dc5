/** A plan as a person reads it: changes, steps with their commands, what that comes to, and a legend. */
import { hasChanges, missingSteps, type Plan, summarize } from '../plan/plan.js';
import type { Change, PlannedCommand, PlannedStep, StepAction } from '../plan/steps.js';
import { safeText } from '../tools/files.js';
import type { Paint } from './paint.js';
import { oneLine } from './stream.js';

const SIGNS: Readonly<Record<StepAction, string>> = {
  create: '+',
  update: '~',
  replace: '-/+',
  delete: '-',
  run: '>',
  none: ' ',
};

const LEGEND = '+ create   ~ update   - delete   -/+ replace   > run   ! refused';

/**
 * The lines of a plan. Manifests and agents may have written anything: only the colours are control characters.
 * `verbose` also lists the steps with nothing to do.
 */
export function planText(plan: Plan, paint: Paint, options: { readonly verbose: boolean }): string {
  const lines: string[] = [];
  const where = plan.isNew ? 'a new run' : `run ${plan.run.id} (${plan.runState ?? plan.run.state})`;
  lines.push(
    `${paint.bold(oneLine(plan.ticket))}  ${oneLine(plan.manifest)}`,
    `  ${where} in ${oneLine(plan.run.workspace)}`,
  );
  if (plan.resumeAt !== null) {
    lines.push(
      `  goes on at ${oneLine(plan.resumeAt.id)} (${plan.resumeAt.position} of ${plan.resumeAt.of})`,
    );
  }

  const shown = plan.steps.filter((step) => step.action !== 'none' || options.verbose);
  if (plan.changes.length > 0) {
    lines.push('', 'Changes:');
    for (const change of plan.changes) lines.push(`  ${changeLine(change, paint)}`);
  }
  if (shown.length > 0) {
    lines.push('', 'Steps:');
    for (const step of shown) lines.push(...stepLines(step, paint));
  }
  if (plan.refused.length > 0) {
    lines.push('', 'Refused:');
    for (const refusal of plan.refused) {
      lines.push(`  ${paint.red('!')} ${safeText(refusal.message)}`, `      ${safeText(refusal.wayOut)}`);
    }
  }
  for (const { message } of plan.warnings) lines.push('', `${paint.yellow('warning')}: ${oneLine(message)}`);
  lines.push('', verdict(plan));
  if (shown.length + plan.changes.length + plan.refused.length > 0) lines.push(paint.dim(LEGEND));
  return `${lines.join('\n')}\n`;
}

/** The sentence at the end of a plan. */
function verdict(plan: Plan): string {
  if (plan.problems.length > 0) return 'This plan cannot be carried out.';
  if (plan.refused.length > 0) return 'This plan is refused: see above. Nothing would be executed.';
  if (!hasChanges(plan)) {
    // What an operator asks for by hand is no wish of the manifest's.
    return plan.request === 'apply'
      ? 'No changes. Everything the manifest asks for is there.'
      : 'No steps: nothing is to be executed.';
  }
  const counts = summarize(plan);
  const parts = (['create', 'run', 'update', 'replace', 'delete'] as const)
    .filter((action) => counts[action] > 0)
    .map((action) => `${counts[action]} to ${action}`);
  const steps = parts.length === 0 ? 'nothing to execute, the changes are recorded' : parts.join(', ');
  const asked = missingSteps(plan).filter((step) => step.needsYes);
  const yes = asked.length === 0 ? '' : ` ${asked.map((step) => oneLine(step.id)).join(', ')}: needs --yes.`;
  return `Plan: ${steps}.${yes}`;
}

function changeLine(change: Change, paint: Paint): string {
  const sign =
    change.effect === 'refused'
      ? paint.red('!')
      : change.effect === 'restart'
        ? paint.yellow('-/+')
        : change.before === null
          ? paint.green('+')
          : change.after === null
            ? paint.red('-')
            : paint.yellow('~');
  const how = { in_place: 'in place', restart: 'by restart', refused: 'refused' }[change.effect];
  const values = `${brief(change.before)} -> ${brief(change.after)}`;
  return `${sign} ${oneLine(change.path)} (${change.source === 'world' ? 'drift' : how})  ${values}`;
}

function brief(value: string | null): string {
  if (value === null) return '(none)';
  const line = safeText(value).replace(/\s+/g, ' ').trim();
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

function stepLines(step: PlannedStep, paint: Paint): string[] {
  const colour = {
    create: paint.green,
    run: paint.green,
    update: paint.yellow,
    replace: paint.yellow,
    delete: paint.red,
    none: paint.dim,
  };
  const sign = colour[step.action](SIGNS[step.action].padEnd(3));
  const notes = [oneLine(step.reason), step.needsYes ? 'needs --yes' : '']
    .filter((note) => note !== '')
    .join('; ');
  return [
    `  ${sign} ${oneLine(step.id)}${notes === '' ? '' : paint.dim(`  (${notes})`)}`,
    ...step.commands.map((command) => paint.dim(`        $ ${safeText(commandLine(command))}`)),
  ];
}

/** A command as one could type it: argv quoted for a shell, a shell's text as it is. */
function commandLine(command: PlannedCommand): string {
  if (command.shell !== null) return command.shell.trimEnd().replace(/\n/g, '\n          ');
  return (command.argv ?? []).map(quote).join(' ');
}

function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
