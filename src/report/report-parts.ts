/** What the page of a report is put together from. `content`, `html` and `more` are HTML, all else is text. */
import { htmlText as esc } from './report-escape.js';
import type { LogEnd } from './report-model.js';
import type { Tone } from './report-timeline.js';
import { logNote } from './report-words.js';

/** A part of the page with its heading; empty parts of the content are left out. */
export function section(id: string, name: string, content: readonly string[]): string {
  return `<section aria-labelledby="${id}">\n<h2 id="${id}">${esc(name)}</h2>\n${content.filter((part) => part !== '').join('\n')}\n</section>`;
}

/** A table that becomes a list of cards where the page is narrow: the roles keep it a table for screen readers. */
export function table(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly Cell[] | Row)[],
): string {
  const cells = (row: readonly Cell[]): string =>
    row
      .map((cell, index) => {
        const label = head[index] ?? '';
        const name = cell.label === false || label === '' ? '' : ` data-label="${esc(label)}"`;
        return `<td role="cell"${name}${cell.tight ? ' class="tight"' : ''}>${cell.html}</td>`;
      })
      .join('');
  const line = (row: readonly Cell[] | Row): string => {
    if (!('cells' in row)) return `<tr role="row">${cells(row)}</tr>`;
    if (row.more === '') return `<tr role="row">${cells(row.cells)}</tr>`;
    return `<tr role="row" class="goes-on">${cells(row.cells)}</tr>\n<tr role="row"><td role="cell" colspan="${head.length}" aria-colspan="${head.length}">${row.more}</td></tr>`;
  };
  return `<table role="table">
<caption>${esc(caption)}</caption>
<thead role="rowgroup"><tr role="row">${head.map((name) => `<th role="columnheader" scope="col">${esc(name)}</th>`).join('')}</tr></thead>
<tbody role="rowgroup">
${rows.map(line).join('\n')}
</tbody>
</table>`;
}

export interface Row {
  readonly cells: readonly Cell[];
  /** What takes the whole width below the cells. */
  readonly more: string;
}

export interface Cell {
  readonly html: string;
  /** Not broken into lines. */
  readonly tight?: boolean;
  /** false: needs no name where the table is a list of cards. */
  readonly label?: boolean;
}

/** A state in its colour, with its sign. */
export function state(sign: string, tone: Tone, word: string): string {
  return `<span class="state ${tone}"><span aria-hidden="true">${sign}</span> ${esc(word)}</span>`;
}

/** A text to the letter. Scrolls by itself where it is long, so it takes the focus. */
export function pre(text: string, name: string): string {
  return `<pre tabindex="0" role="region" aria-label="${esc(name)}">${esc(text)}</pre>`;
}

/** The end of a log, folded in. */
export function log(title: string, end: LogEnd): string {
  const note = logNote(end);
  if (end.text === null || end.text === '') return `<p class="soft small">${esc(title)}: ${esc(note)}</p>`;
  const more = note === '' ? '' : ` <span class="soft">(${esc(note)})</span>`;
  return `<details><summary>${esc(title)}${more}</summary>${pre(end.text, title)}</details>`;
}
