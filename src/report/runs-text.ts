/** Runs as a table for a person. */
import type { Paint } from './paint.js';
import { agoText, stateColor } from './status-text.js';
import { isOpenQuestion, type RunLine } from './status-view.js';
import { oneLine } from './stream.js';

/** One cell: its text, and how it is painted once it has its width. */
type Cell = readonly [text: string, color: (text: string) => string];

const HEADINGS = ['RUN', 'TICKET', 'STATE', 'AGENTS', 'CRITERIA', 'AGE', 'MANIFEST', 'TITLE'];

/** The table with its headings. `now` in milliseconds; `manifestOf` gives a path as one would type it. */
export function runsText(
  lines: readonly RunLine[],
  paint: Paint,
  options: { readonly now: number; readonly manifestOf: (path: string) => string },
): string {
  const plain = (text: string): string => text;
  const rows: Cell[][] = lines.map(({ run, agentsAlive, criteriaPassed }) => {
    const why = run.outcome ?? run.reason;
    const questions = run.guidance.filter(isOpenQuestion).length;
    const asks = questions === 0 ? '' : `, ${questions} ${questions === 1 ? 'question' : 'questions'}`;
    const agents = run.agents.filter((agent) => !agent.removed).length;
    const { title } = run.intent.ticket;
    return [
      [run.id, plain],
      [oneLine(run.ticketId), paint.bold],
      [`${run.state}${why === null ? '' : ` (${why})`}${asks}`, stateColor(run.state, paint)],
      [agents === 0 ? '-' : `${agentsAlive}/${agents} alive`, plain],
      [`${criteriaPassed}/${run.intent.criteria.length}`, plain],
      [agoText(options.now - run.createdAt), plain],
      [oneLine(options.manifestOf(run.manifestPath)), plain],
      [title === run.ticketId ? '' : oneLine(title), plain],
    ];
  });
  const table = [HEADINGS.map((text): Cell => [text, paint.dim]), ...rows];
  const widths = HEADINGS.map((_, column) => Math.max(...table.map((row) => row[column]?.[0].length ?? 0)));
  return table
    .map((row) =>
      row
        .map(([text, color], column) => color(text) + ' '.repeat((widths[column] ?? 0) - text.length))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}
