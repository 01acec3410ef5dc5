/**
 * The YAML block at the head of a ticket's documents. Only single values of top-level keys are read, by a
 * reader of its own: its time is linear whatever somebody wrote there, and one bad key elsewhere in the
 * block hides nothing. What is written is plain or double-quoted, which every YAML parser reads alike.
 */

export interface SplitDocument {
  /** From the first `---` to the line end of the second one. */
  readonly head: string;
  /** Between the two `---` lines. */
  readonly frontmatter: string;
  /** Everything after the second `---` line. */
  readonly body: string;
}

/** Takes a document apart, or gives null where it has no frontmatter from line 1. */
export function splitDocument(text: string): SplitDocument | null {
  const open = /^\ufeff?---[ \t]*\r?\n/.exec(text);
  if (open === null) return null;
  const close = /^---[ \t]*(?:\r?\n|$)/gm;
  close.lastIndex = open[0].length;
  const end = close.exec(text);
  if (end === null) return null;
  const bodyStart = end.index + end[0].length;
  return {
    head: text.slice(0, bodyStart),
    frontmatter: text.slice(open[0].length, end.index),
    body: text.slice(bodyStart),
  };
}

/** Text on one line without control characters, line separators or halves of characters. */
export function oneLine(text: string): string {
  return text
    .replace(/\p{Cs}/gu, '\ufffd')
    .replace(/[\p{Cc}\u2028\u2029\ufeff\ufffe\uffff]+/gu, ' ')
    .trim();
}

/** Words that some YAML version reads as something other than a text. */
const NOT_A_TEXT = /^(?:null|true|false|yes|no|on|off|y|n)$/i;
const PLAIN = /^[A-Za-z](?:[A-Za-z0-9 _./()-]*[A-Za-z0-9_./()-])?$/;

/** A text as a YAML value on one line. */
export function yamlScalar(text: string): string {
  const line = oneLine(text);
  if (PLAIN.test(line) && !NOT_A_TEXT.test(line)) return line;
  // JSON's strings are YAML's double-quoted ones, for what oneLine lets through.
  return JSON.stringify(line);
}

/** A list of texts as the value of a key, the way docmgr writes it. Empty: `[]`. */
export function yamlList(items: readonly string[]): string {
  const lines = items.map(oneLine).filter((item) => item !== '');
  if (lines.length === 0) return ' []';
  return lines.map((item) => `\n    - ${yamlScalar(item)}`).join('');
}

/**
 * Value of a top-level key as text (`0123` stays `0123`); null where the key is missing or its value is no
 * single text (a list, a map, an alias, a tagged value, an open quote).
 */
export function topLevelScalar(yaml: string, key: string): string | null {
  const lines = yaml.split(/\r?\n/);
  const start = lines.findIndex((line) => keyOf(line) === key);
  const first = lines[start];
  if (first === undefined) return null;
  const value = first.slice(first.indexOf(':', key.length) + 1).trim();
  const rest = lines.slice(start + 1, start + 1 + continuationLength(lines, start));

  if (/^[[\]{}&*!@`%,]/.test(value)) return null;
  if (/^[|>]/.test(value)) return blockScalar(value, rest);
  if (/^["']/.test(value)) return quotedScalar(value, rest);
  if (value === '' || value.startsWith('#')) {
    // Nothing on the key's own line: the value may stand on the next ones.
    const next = rest.findIndex((line) => line.trim() !== '' && !line.trim().startsWith('#'));
    const line = rest[next]?.trim() ?? '';
    if (line === '') return '';
    if (/^(?:-(?:\s|$)|[[\]{}&*!@`%,|>])/.test(line) || /^[^"'#]*:(?:\s|$)/.test(line)) return null;
    if (/^["']/.test(line)) return quotedScalar(line, rest.slice(next + 1));
    return plainScalar([line, ...rest.slice(next + 1)]);
  }
  return plainScalar([value, ...rest]);
}

/** The document's text with one frontmatter key set to an already valid YAML value; all else stays as it is. */
export function setFrontmatterValue(text: string, key: string, yamlValue: string): string {
  const split = splitDocument(text);
  if (split === null) return text;
  const eol = split.head.includes('\r\n') ? '\r\n' : '\n';
  const lines = split.head.split(/\r?\n/);
  const start = lines.findIndex((line, index) => index > 0 && keyOf(line) === key);
  if (start >= 0) {
    lines.splice(start, 1 + continuationLength(lines, start), `${key}: ${yamlValue}`);
  } else {
    const end = lines.findIndex((line, index) => index > 0 && line.trimEnd() === '---');
    lines.splice(end, 0, `${key}: ${yamlValue}`);
  }
  return lines.join(eol) + split.body;
}

/** The key of a line that begins in column 1, or null. */
function keyOf(line: string): string | null {
  const match = /^(?:"([^"\\]*)"|'([^']*)'|([^\s#"'[\]{}&*!|>%@`,-][^:#]*?))\s*:(?:\s|$)/.exec(line);
  return match?.[1] ?? match?.[2] ?? match?.[3] ?? null;
}

/** How many lines after a key's own belong to its value. */
function continuationLength(lines: readonly string[], start: number): number {
  let length = 0;
  for (let index = start + 1; index < lines.length; index++) {
    const line = lines[index] ?? '';
    // Blank lines belong to the value only when more of it follows; a list may stand in column 1.
    if (line.trim() === '') continue;
    if (!/^(?:[ \t]|-(?:[ \t]|$))/.test(line)) break;
    length = index - start;
  }
  return length;
}

function plainScalar(lines: readonly string[]): string {
  const kept: string[] = [];
  for (const line of lines) {
    const text = line.trim();
    if (text.startsWith('#')) break;
    const comment = text.search(/\s#/);
    kept.push(comment < 0 ? text : text.slice(0, comment).trimEnd());
    if (comment >= 0) break;
  }
  const value = foldLines(kept);
  return /^(?:~|null|Null|NULL)$/.test(value) ? '' : value;
}

/** Blanks around line breaks, the breaks and the blank lines: what YAML folds in a text over several lines. */
const FOLDABLE = String.raw`[ \t]*\n[ \t\n]*`;

/** One line break is a blank, n blank lines are n line breaks. */
function fold(breaks: string): string {
  const count = breaks.split('\n').length - 1;
  return count === 1 ? ' ' : '\n'.repeat(count - 1);
}

function foldLines(lines: readonly string[]): string {
  return lines.join('\n').trimEnd().replace(new RegExp(FOLDABLE, 'g'), fold);
}

function quotedScalar(first: string, rest: readonly string[]): string | null {
  const text = [first, ...rest].join('\n');
  if (first.startsWith("'")) {
    const raw = /^'((?:[^']|'')*)'/.exec(text)?.[1];
    return (
      raw?.replace(new RegExp(`''|${FOLDABLE}`, 'g'), (found) => (found === "''" ? "'" : fold(found))) ?? null
    );
  }
  return /^"((?:[^"\\]|\\[\s\S])*)"/.exec(text)?.[1]?.replace(DOUBLE_QUOTED, unescaped) ?? null;
}

/** In a double-quoted text: an escaped line break, an escape, or what is folded. */
const DOUBLE_QUOTED = new RegExp(
  String.raw`\\\n[ \t]*|\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([\s\S]))|${FOLDABLE}`,
  'g',
);

const ESCAPES: Readonly<Record<string, string>> = {
  '0': '\0',
  a: '\x07',
  b: '\b',
  t: '\t',
  n: '\n',
  v: '\v',
  f: '\f',
  r: '\r',
  e: '\x1b',
  N: '\u0085',
  _: '\u00a0',
  L: '\u2028',
  P: '\u2029',
};

function unescaped(found: string, x?: string, u?: string, long?: string, other?: string): string {
  const hex = x ?? u ?? long;
  if (hex !== undefined) {
    const code = Number.parseInt(hex, 16);
    return code > 0x10ffff
      ? '\ufffd'
      : code > 0xffff
        ? String.fromCodePoint(code)
        : String.fromCharCode(code);
  }
  if (other !== undefined) return ESCAPES[other] ?? other;
  return found.startsWith('\\') ? '' : fold(found);
}

function blockScalar(header: string, lines: readonly string[]): string | null {
  const match = /^([|>])(?:([1-9])([+-])?|([+-])([1-9])?)?\s*(?:#.*)?$/.exec(header);
  if (match === null) return null;
  const firstText = lines.find((line) => line.trim() !== '') ?? '';
  const indent = Number(match[2] ?? match[5] ?? /^ */.exec(firstText)?.[0].length ?? 0);
  const content = lines.map((line) => line.slice(indent));
  const value = match[1] === '|' ? content.join('\n').trimEnd() : foldLines(content);
  return (match[3] ?? match[4]) === '-' ? value : `${value}\n`;
}
