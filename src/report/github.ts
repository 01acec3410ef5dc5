/** The table that GitHub Actions shows under a job. */
import { appendFile, stat } from 'node:fs/promises';
import type { RunSummary } from './events.js';
import { shortened } from './stream.js';

const LONGEST_CELL = 300;

/**
 * Appends a table of the runs to `$GITHUB_STEP_SUMMARY`, where that is set. A file that cannot be written is
 * no reason to fail: the answer is then a sentence for a warning, else null.
 */
export async function appendStepSummary(
  env: Readonly<NodeJS.ProcessEnv>,
  runs: readonly RunSummary[],
): Promise<string | null> {
  const file = env.GITHUB_STEP_SUMMARY ?? '';
  if (file === '' || runs.length === 0) return null;
  try {
    await appendFile(file, stepSummary(runs));
    return null;
  } catch (error) {
    return `cannot write the step summary ${file}: ${(error as Error).message}`;
  }
}

/** GitHub takes 1 MiB from one step, and shows nothing of a step that says more. */
const MOST_SUMMARY_BYTES = 1024 * 1024;

/**
 * Appends a report to `$GITHUB_STEP_SUMMARY`, where that is set. `render` makes it as short as it has to be; null:
 * that is impossible. The answer is a sentence for a warning, or null.
 */
export async function appendReport(
  env: Readonly<NodeJS.ProcessEnv>,
  render: (mostBytes: number) => string | null,
): Promise<string | null> {
  const file = env.GITHUB_STEP_SUMMARY ?? '';
  if (file === '') return null;
  try {
    const there = await stat(file).then(
      ({ size }) => size,
      () => 0,
    );
    const text = render(MOST_SUMMARY_BYTES - there - 1);
    if (text === null) return `the step summary ${file} has no room for the report`;
    await appendFile(file, `${text}\n`);
    return null;
  } catch (error) {
    return `cannot write the step summary ${file}: ${(error as Error).message}`;
  }
}

/** The Markdown of the table. */
export function stepSummary(runs: readonly RunSummary[]): string {
  const rows = runs.map((run) =>
    [
      run.ticket,
      run.runId ?? '',
      run.reason === null ? (run.state ?? 'not started') : `${run.state} (${run.reason})`,
      run.stepsFailed === 0 ? `${run.stepsDone} done` : `${run.stepsDone} done, ${run.stepsFailed} failed`,
      String(run.guidancePending),
      `${run.criteriaPassed} of ${run.criteriaTotal}`,
      run.error?.message ?? run.next?.text ?? '',
    ]
      .map(cell)
      .join(' | '),
  );
  const head = ['Ticket', 'Run', 'State', 'Steps', 'Open questions', 'Criteria', 'Next'];
  return [
    '### metawsm',
    '',
    `| ${head.join(' | ')} |`,
    `|${' --- |'.repeat(head.length)}`,
    ...rows.map((row) => `| ${row} |`),
    '',
    '',
  ].join('\n');
}

/** A text of any origin that says nothing to Markdown or HTML. */
function cell(text: string): string {
  return shortened(text, LONGEST_CELL).replace(/[&<>|`*_~[\]\\$#!@"'()]|(?<=:)\/\//g, (found) =>
    [...found].map((character) => `&#${character.charCodeAt(0)};`).join(''),
  );
}
