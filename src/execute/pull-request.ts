/** The text of a pull request: what was asked for, and the evidence that it was done. */
import { criteriaStates } from '../plan/evidence.js';
import type { RecordedRun } from '../plan/recorded.js';
import { safeText } from '../tools/files.js';

/** Title of every pull request of a run. */
export function pullRequestTitle(run: RecordedRun): string {
  const { id, title } = run.intent.ticket;
  const text = title === id ? id : `${id}: ${title}`;
  return safeText(text).replace(/\s+/g, ' ').trim();
}

/** Its body, in Markdown. Everything that an agent wrote stands in code, where it is only text. */
export function pullRequestBody(run: RecordedRun, repo: string): string {
  const { intake } = run.intent;
  const row = run.deliveries.find((delivery) => delivery.repo === repo);
  const states = criteriaStates(run, null);
  const lines = states.map((state) => {
    const at = state.commit === null ? '' : ` at ${state.commit.slice(0, 12)}`;
    return `| ${code(state.text)} | ${state.kind === 'command' ? 'command' : 'words'} | ${state.state}${at} |`;
  });
  return [
    quoted(intake.goal),
    '## Scope',
    quoted(intake.scope),
    '## Constraints',
    quoted(intake.constraints),
    '## Evidence',
    ['| criterion | kind | result |', '| --- | --- | --- |', ...lines].join('\n'),
    `Run \`${run.id}\`, commit \`${row?.head ?? ''}\`.`,
  ].join('\n\n');
}

function quoted(text: string): string {
  return safeText(text)
    .trim()
    .split('\n')
    .map((line) => `> ${line}`)
    .join('\n');
}

function code(text: string): string {
  const line = safeText(text).replace(/\s+/g, ' ').replaceAll('|', '\\|').trim();
  const fence = line.includes('`') ? '``' : '`';
  return `${fence}${line}${fence}`;
}
