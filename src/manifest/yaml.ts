import type * as Yaml from 'yaml';
import { type Finding, label, type Path, quote } from './diagnostic.js';
import type { TextProblem } from './read.js';

/** Limits that no honest manifest comes near (400 repos are 7,204 tokens) and that keep hostile ones cheap. */
const MAX_TOKENS = 20_000;
const MAX_OPEN_BRACKETS = 50;
const MAX_INDICATORS_PER_LINE = 50;
const MAX_SPACES = 200;
const MAX_VALUES = 20_000;

/** The only places where a number is meant; everywhere else `007` and `3.10` are text as written. */
const WHOLE_NUMBERS = /^\/(version|policy\/(step_retries|restart_budget|fix_attempts))$/;

/** The places where a plain `~`, which is null in YAML, means the home folder. */
const HOME = /^\/(repos\/\d+\/(path|url)|(workspace|tickets)\/root|(agent|agents\/\d+)\/env\/[^/]*)$/;

export interface ParsedManifest {
  /** What the text is invalid for as YAML. */
  readonly problems: readonly TextProblem[];
  /** Invalid values, found while reading the nodes. */
  readonly findings: readonly Finding[];
  /** The data, for the checks; undefined when there is none that they could look at. */
  readonly value: Record<string, unknown> | undefined;
  /** Where a place is in the text, from 1; a missing one is where its nearest ancestor is. */
  readonly locate: (path: Path, at: 'key' | 'value') => { line: number; column: number };
}

/** YAML text as plain data. Never throws. */
export async function parseManifestText(text: string): Promise<ParsedManifest> {
  // Loaded here, so that commands that read no manifest do not pay for it.
  const yaml = await import('yaml');
  const excess = tooMuch(text, yaml);
  if (excess !== null) return unusable([excess]);

  const doc = yaml.parseDocument(text, {
    stringKeys: true,
    prettyErrors: false,
    // 'silent' would also keep it silent about further documents.
    logLevel: 'error',
    // Without these, scalars stay the text that was written: no 007 → 7, no 1e3 → 1000, no yes/true riddles.
    customTags: (tags) =>
      tags.filter((tag) => typeof tag === 'string' || !/:(int|float|bool)$/.test(tag.tag)),
  });
  const placeAt = placesIn(text);
  const problems = [...doc.errors, ...doc.warnings].map((error) => ({
    ...placeAt(error.pos[0]),
    ...syntaxProblem(error, text),
  }));
  if (doc.directives?.yaml.explicit === true && doc.directives.yaml.version !== '1.2') {
    const message = `YAML ${doc.directives.yaml.version} is not supported`;
    problems.push({ line: 1, column: 1, message, suggestion: 'remove the %YAML line' });
  }
  const fatal = doc.errors.some((error) => error.code !== 'DUPLICATE_KEY' && error.code !== 'MULTIPLE_DOCS');
  if (fatal || (problems.length > 0 && !yaml.isMap(doc.contents))) return unusable(problems);
  if (!yaml.isMap(doc.contents)) {
    const isEmpty = doc.contents === null || (yaml.isScalar(doc.contents) && doc.contents.value === null);
    const message = isEmpty ? 'the manifest is empty' : 'the manifest is not a map';
    const place = isEmpty ? { line: 1, column: 1 } : placeAt(doc.contents?.range?.[0] ?? 0);
    return unusable([{ ...place, message, suggestion: 'write keys and values, beginning with version: 1' }]);
  }
  const reader = new Reader(yaml);
  const value = reader.read(doc.contents, []) as Record<string, unknown>;
  return {
    problems,
    findings: reader.findings,
    value: reader.isHopeless ? undefined : value,
    locate: (path, at) => placeAt(offsetOf(path, at, reader.places)),
  };
}

/** Line and column, from 1, of an offset. (The parser's own counter misses some lines after an error.) */
function placesIn(text: string): (offset: number) => { line: number; column: number } {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
  };
}

function unusable(problems: readonly TextProblem[]): ParsedManifest {
  return { problems, findings: [], value: undefined, locate: () => ({ line: 1, column: 1 }) };
}

/** Where a document is too much for the parser, which takes minutes or aborts Node on some of 1 MiB. */
function tooMuch(text: string, yaml: typeof Yaml): TextProblem | null {
  let line = 1;
  let column = 1;
  let tokens = 0;
  let open = 0;
  let onLine = 0;
  const problem = (what: string): TextProblem => ({
    line,
    column,
    message: `too complex: ${what}`,
    suggestion: 'write it with less nesting, and long texts as block scalars (|)',
  });
  for (const token of new yaml.Lexer().lex(text)) {
    tokens += 1;
    if (token === '[' || token === '{') open += 1;
    else if (token === ']' || token === '}') open -= 1;
    else if (token === '-' || token === '?' || token === ':') onLine += 1;
    if (tokens > MAX_TOKENS) return problem(`more than ${MAX_TOKENS} parts`);
    if (open > MAX_OPEN_BRACKETS) return problem(`more than ${MAX_OPEN_BRACKETS} brackets open at once`);
    if (onLine > MAX_INDICATORS_PER_LINE) {
      return problem(`more than ${MAX_INDICATORS_PER_LINE} of - ? : on one line`);
    }
    if (token.length > MAX_SPACES && /^ +$/.test(token))
      return problem(`more than ${MAX_SPACES} spaces in a row`);
    // Control marks of the lexer (start of a document, of a scalar, flow end) are not text.
    if (token.length === 1 && token < ' ' && token !== '\n' && token !== '\t') continue;
    const lastBreak = token.lastIndexOf('\n');
    if (lastBreak < 0) column += token.length;
    else {
      line += token.split('\n').length - 1;
      column = token.length - lastBreak;
      onLine = 0;
    }
  }
  return null;
}

function syntaxProblem(error: Yaml.YAMLError, text: string): { message: string; suggestion: string | null } {
  const line = text.slice(error.pos[0], error.pos[1]).split('\n')[0] ?? '';
  switch (error.code) {
    case 'DUPLICATE_KEY': {
      const key = /^[\w.-]+/.exec(text.slice(error.pos[0]))?.[0];
      return {
        message: key === undefined ? 'duplicate key' : `duplicate key ${quote(key)}`,
        suggestion: 'each key may stand only once in a map',
      };
    }
    case 'MULTIPLE_DOCS':
      return { message: 'several YAML documents', suggestion: 'write each manifest in a file of its own' };
    case 'TAB_AS_INDENT':
      return { message: 'a tab as indentation', suggestion: 'indent with spaces' };
    case 'TAG_RESOLVE_FAILED':
      return {
        message: `unknown tag ${quote(line.trim())}`,
        suggestion: 'remove it: a manifest needs no tags',
      };
    case 'NON_STRING_KEY':
      return { message: 'a key that is not text', suggestion: 'write the key as plain text' };
    default: {
      const message = error.message.split('\n')[0] ?? 'unreadable';
      return { message: `not valid YAML: ${message}`, suggestion: 'correct the YAML here or just before' };
    }
  }
}

/** Offsets of the key and the value at each place; by JSON text of the path. */
interface Place {
  readonly key: number;
  readonly value: number;
}

/** Turns nodes into plain data and remembers where everything was. */
class Reader {
  readonly findings: Finding[] = [];
  readonly places = new Map<string, Place>();
  /** The data is incomplete in a way that would only lead to wrong messages. */
  isHopeless = false;
  private readonly anchors = new Map<string, Yaml.Node>();
  private readonly open = new Set<Yaml.Node>();
  private values = 0;

  constructor(private readonly yaml: typeof Yaml) {}

  read(node: Yaml.Node | null, path: Path, key?: number): unknown {
    const start = node?.range?.[0] ?? key ?? 0;
    this.places.set(JSON.stringify(path), { key: key ?? start, value: start });
    this.values += 1;
    if (this.values > MAX_VALUES) {
      if (!this.isHopeless) {
        this.report(path, 'the aliases make too much of the manifest', 'write out what is meant');
      }
      this.isHopeless = true;
      return undefined;
    }
    return this.readInside(node, path, start);
  }

  private readInside(node: Yaml.Node | null, path: Path, start: number): unknown {
    const { isAlias, isMap, isScalar, isSeq } = this.yaml;
    if (isAlias(node)) {
      const target = this.anchors.get(node.source);
      if (target === undefined) {
        this.report(path, `unknown alias *${node.source}`, `write an anchor &${node.source} before it`);
        this.isHopeless = true;
        return undefined;
      }
      if (this.open.has(target)) {
        this.report(path, `the alias *${node.source} contains itself`, 'write out what is meant');
        this.isHopeless = true;
        return undefined;
      }
      return this.readInside(target, path, start);
    }
    if (isScalar(node)) {
      if (node.anchor !== undefined) this.anchors.set(node.anchor, node);
      return this.scalar(node, path);
    }
    if (!isMap(node) && !isSeq(node)) return null;
    if (node.anchor !== undefined) this.anchors.set(node.anchor, node);
    this.open.add(node);
    const result = isMap(node) ? this.map(node, path) : this.list(node, path);
    this.open.delete(node);
    return result;
  }

  private map(node: Yaml.YAMLMap, path: Path): Record<string, unknown> {
    // No prototype, so that a key such as __proto__ is a key like any other.
    const result: Record<string, unknown> = Object.create(null);
    for (const pair of node.items) {
      const keyNode = pair.key as Yaml.Node | null;
      if (!this.yaml.isScalar(keyNode)) continue;
      const key = String(keyNode.value ?? '');
      if (keyNode.anchor !== undefined) this.anchors.set(keyNode.anchor, keyNode);
      if (Object.hasOwn(result, key)) continue;
      result[key] = this.read(pair.value as Yaml.Node | null, [...path, key], keyNode.range?.[0]);
    }
    return result;
  }

  private list(node: Yaml.YAMLSeq, path: Path): unknown[] {
    return node.items.map((item, index) => this.read(item as Yaml.Node | null, [...path, index]));
  }

  private scalar(node: Yaml.Scalar, path: Path): unknown {
    const { value } = node;
    const place = path.map((part) => `/${part}`).join('');
    if (value === null && node.source === '~' && HOME.test(place)) return '~';
    if (typeof value !== 'string') return value;
    if (node.type === 'PLAIN' && /^-?\d{1,15}$/.test(value) && WHOLE_NUMBERS.test(place))
      return Number(value);
    // Escapes in double quotes can make what the file itself may not hold.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
    if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]|\p{Cs}/u.test(value)) {
      this.report(path, `${label(path)} has a control character`, 'remove it: a manifest is plain text');
    }
    return value;
  }

  private report(path: Path, message: string, suggestion: string): void {
    this.findings.push({ path, at: 'value', message, suggestion });
  }
}

function offsetOf(path: Path, at: 'key' | 'value', places: ReadonlyMap<string, Place>): number {
  const own = places.get(JSON.stringify(path));
  if (own !== undefined) return at === 'key' ? own.key : own.value;
  for (let length = path.length - 1; length > 0; length -= 1) {
    // A missing place is shown at the key of the map that lacks it.
    const ancestor = places.get(JSON.stringify(path.slice(0, length)));
    if (ancestor !== undefined) return ancestor.key;
  }
  return places.get('[]')?.value ?? 0;
}
