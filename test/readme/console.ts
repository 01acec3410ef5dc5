/** Console blocks of a Markdown file: their commands, and whether what was printed is what the text shows. */

/** One `$ ` line, with the lines that are shown below it. */
export interface Shown {
  readonly command: string;
  /** `…` stands for anything; `^C` on a line of its own: here Ctrl-C is pressed. */
  readonly expected: readonly string[];
}

/** The commands of every console block, by the heading that the block stands under; '' before the first one. */
export function consoleBlocks(markdown: string): ReadonlyMap<string, readonly Shown[]> {
  const sections = new Map<string, Shown[]>();
  let heading = '';
  let fence: string | null = null;
  for (const line of markdown.split('\n')) {
    const mark = /^```(.*)$/.exec(line);
    if (mark !== null) {
      fence = fence === null ? (mark[1] ?? '') : null;
      continue;
    }
    if (fence === null) heading = /^##+ (.*)$/.exec(line)?.[1] ?? heading;
    if (fence !== 'console') continue;
    const section = sections.get(heading) ?? [];
    sections.set(heading, section);
    if (line.startsWith('$ ')) section.push({ command: line.slice(2), expected: [] });
    else (section.at(-1)?.expected as string[] | undefined)?.push(line);
  }
  return sections;
}

/** The other fenced blocks of one language. */
export function fencedBlocks(markdown: string, language: string): readonly string[] {
  return [...markdown.matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter((block) => block[1] === language)
    .map((block) => block[2] ?? '');
}

/** What differs from run to run, in what is shown as in what is printed. */
const VARIABLE: readonly (readonly [RegExp, string])[] = [
  [/\brun-\d{8}-\d{6}-[a-z0-9]{4}\b/g, 'run-#'],
  [/\b([a-z]+-1)-[a-z0-9]{8}\b/g, '$1-#'],
  [/\b\d{4}-\d{2}-\d{2}\b/g, 'DATE'],
  [/\b(?=[0-9a-f]*\d)[0-9a-f]{7,40}\b/g, '#'],
  // The time of a slow step, which a quick one does not have.
  [/^(✔ .*) \(\d[\dhms.]*\)$/, '$1'],
  [/\b\d+(m\d\d|h\d\d|\.\d)?(s|m|ms)\b/g, 'TIME'],
  // Columns are as wide as their widest cell.
  [/ {2,}/g, '  '],
];

/** A line as it is compared: without what varies, without white space at its end. */
function plain(line: string): string {
  return VARIABLE.reduce((text, [pattern, word]) => text.replace(pattern, word), line).trimEnd();
}

/** Whether the printed lines are the shown ones. `…` in a line is any text; alone on a line, any number of lines. */
export function matches(printed: string, expected: readonly string[]): boolean {
  const lines = expected.map(plain).map((line) => {
    if (line === '…') return '(?:.*\\n)*?';
    return `${line.split('…').map(escaped).join('.*')}\\n`;
  });
  // git draws its progress, line over line, where it is slow.
  const text = printed
    .replace(/\n*$/, '')
    .split(/\r?\n|\r/)
    .map(plain)
    .join('\n');
  return new RegExp(`^${lines.join('')}$`).test(text === '' ? '' : `${text}\n`);
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
