/** One thing that is wrong with a manifest, at its place. */
export interface Diagnostic {
  /** The file as the operator named it. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
  /** JSON pointer to the place; empty for the whole file. */
  readonly path: string;
  /** What is wrong. */
  readonly message: string;
  /** What would be right; null when there is nothing to add. */
  readonly suggestion: string | null;
}

/** Keys and indexes that lead from the root of a manifest to a place in it. */
export type Path = readonly (string | number)[];

/** A problem at a place in the manifest's data, before it has a line and a column. */
export interface Finding {
  readonly path: Path;
  /** Whether the key or the value is to be shown. */
  readonly at: 'key' | 'value';
  readonly message: string;
  readonly suggestion: string | null;
}

/** `file:line:col: what is wrong; what would be right`, on one line. */
export function formatDiagnostic(problem: Diagnostic): string {
  const tail = problem.suggestion === null ? '' : `; ${problem.suggestion}`;
  return printable(`${problem.file}:${problem.line}:${problem.column}: ${problem.message}${tail}`);
}

/** Diagnostics in the order of the file, each once. */
export function inOrder(problems: readonly Diagnostic[]): Diagnostic[] {
  const seen = new Set<string>();
  return [...problems]
    .sort((a, b) => a.line - b.line || a.column - b.column)
    .filter((problem) => {
      const key = JSON.stringify(problem);
      return !seen.has(key) && seen.add(key);
    });
}

/** A text in quotes for a message: shortened, and without anything that a terminal would act on. */
export function quote(text: string): string {
  const chars = [...text];
  const shown = chars.length > 80 ? `${chars.slice(0, 77).join('')}...` : text;
  return `"${printable(shown.replaceAll('\\', '\\\\').replaceAll('"', '\\"'))}"`;
}

/** A place in words: `repos[0].name`. */
export function label(path: Path): string {
  const words = path
    .map((part) => {
      if (typeof part === 'number') return `[${part}]`;
      return /^[A-Za-z_][\w-]{0,60}$/.test(part) ? `.${part}` : `[${quote(part)}]`;
    })
    .join('');
  return words === '' ? 'the manifest' : words.replace(/^\./, '');
}

/** A JSON pointer. */
export function pointer(path: Path): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** Escapes control characters, bidirectional overrides, line separators and broken surrogates. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (char) => {
    if (char === '\n') return '\\n';
    if (char === '\t') return '\\t';
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
