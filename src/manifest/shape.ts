import { type Finding, label, type Path, quote } from './diagnostic.js';
import { didYouMean, nearest } from './nearest.js';
import { places, type ShapeError, manifest as validate } from './validator.generated.js';
import { at as valueAt } from './view.js';

/** Keys that will mean something once they work, by the place of their map. */
const RESERVED: Readonly<Record<string, readonly string[]>> = {
  '': ['extends', 'hooks', 'ports', 'agent_profiles'],
  '/agent': ['runner', 'prompt', 'model', 'options'],
  '/agents/*': ['runner', 'prompt', 'model', 'options'],
  '/workspace': ['driver'],
};

/**
 * What the schema finds wrong with a manifest's data, in words. Fills the schema's defaults into `value`.
 * Afterwards, when there are no findings, `value` is a `Manifest`.
 */
export function shapeFindings(value: Record<string, unknown>): Finding[] {
  if (validate(value)) return [];
  const errors = validate.errors ?? [];
  const mistyped = mistypedKeys(errors);
  const findings: Finding[] = [];
  for (const error of errors) {
    const path = pathOf(error.instancePath, value);
    const finding = inWords(error, path, valueAt(value, path), mistyped);
    if (finding !== null) findings.push(finding);
  }
  return findings;
}

/** `<place>/<key>` of every known key that an unknown key beside it was probably meant to be. */
function mistypedKeys(errors: readonly ShapeError[]): ReadonlySet<string> {
  const meant = errors.flatMap((error) => {
    if (error.keyword !== 'additionalProperties') return [];
    const keys = places[templateOf(error.instancePath)]?.keys ?? [];
    const key = nearest(String(error.params.additionalProperty), keys);
    return key === null ? [] : [`${error.instancePath}/${key}`];
  });
  return new Set(meant);
}

function inWords(
  error: ShapeError,
  path: Path,
  value: unknown,
  mistyped: ReadonlySet<string>,
): Finding | null {
  const at = (message: string, suggestion: string | null): Finding => ({
    path,
    at: 'value',
    message,
    suggestion,
  });
  const place = templateOf(error.instancePath);
  const name = label(path);
  switch (error.keyword) {
    case 'additionalProperties':
      return unknownKey(String(error.params.additionalProperty), path, place);
    case 'required': {
      const key = String(error.params.missingProperty);
      // `anyOf` says it for agent and agents together; a mistyped key was reported as one.
      if (error.schemaPath.includes('/anyOf/') || mistyped.has(`${error.instancePath}/${key}`)) return null;
      const message = path.length === 0 ? `${key} is missing` : `${name} has no ${key}`;
      return { path, at: 'key', message, suggestion: `add the key ${key}` };
    }
    case 'anyOf':
      if (mistyped.has('/agent') || mistyped.has('/agents')) return null;
      return at('neither agent nor agents is given', 'add the key agent (agents: [] makes a workspace only)');
    case 'not':
      return path.length === 0
        ? { ...at('both agent and agents are given', 'keep one of them'), path: ['agents'], at: 'key' }
        : {
            ...at(`${name} has both path and url`, 'keep path for a local clone, url to clone one'),
            path: [...path, 'url'],
            at: 'key',
          };
    case 'type':
      if (error.instancePath === '/version') return null; // `const` says what it must be
      return wrongType([error.params.type].flat().map(String), path, value, name);
    case 'const':
      return path[0] === 'version'
        ? at(`version is ${describe(value)}, which is not known`, 'write version: 1 (a plain number)')
        : at(`${name} is ${describe(value)}`, `write ${String(error.params.allowedValue)}`);
    case 'enum': {
      const allowed = (error.params.allowedValues as readonly unknown[]).map(String);
      if (typeof value !== 'string') return null; // its type was reported
      return at(
        `${name} cannot be ${describe(value)}`,
        didYouMean(value, allowed) ?? `it can be ${inList(allowed)}`,
      );
    }
    case 'pattern': {
      const hint = places[place]?.hint ?? null;
      const isBlank = typeof value === 'string' && value.trim() === '';
      return at(isBlank ? `${name} is blank` : `${name} is ${describe(value)}, which is not valid`, hint);
    }
    case 'minItems':
      return at(`${name} is an empty list`, 'list at least one');
    case 'minimum':
      return at(`${name} is ${describe(value)}`, `it must be ${String(error.params.limit)} or more`);
    case 'maximum':
      return at(`${name} is ${describe(value)}`, `it must be ${String(error.params.limit)} or less`);
    default:
      return at(`${name} is not valid: ${error.message ?? error.keyword}`, null);
  }
}

function unknownKey(key: string, path: Path, place: string): Finding {
  const known = places[place]?.keys ?? [];
  const where = path.length === 0 ? '' : ` in ${label(path)}`;
  const finding = (message: string, suggestion: string): Finding => ({
    path: [...path, key],
    at: 'key',
    message,
    suggestion,
  });
  if (RESERVED[place]?.includes(key)) {
    return finding(`the key ${quote(key)}${where} is reserved for a later version`, 'remove it');
  }
  if (key === '<<') return finding(`merge keys (<<)${where} are not supported`, 'write out what is meant');
  return finding(
    `unknown key ${quote(key)}${where}`,
    didYouMean(key, known) ?? `the keys here are ${inList(known, 'and')}`,
  );
}

function wrongType(allowed: readonly string[], path: Path, value: unknown, name: string): Finding {
  const words: Readonly<Record<string, string>> = {
    string: 'text',
    object: 'a map of keys and values',
    array: 'a list',
    integer: 'a whole number',
  };
  const expected = inList(allowed.map((type) => words[type] ?? type));
  const isQuoted = allowed.length === 1 && allowed[0] === 'integer' && /^\d{1,15}$/.test(String(value));
  const suggestion = `write ${expected}${isQuoted ? ' without quotes' : ''}`;
  const message =
    value === null ? `${name} has no value` : `${name} is ${describe(value)} and not ${expected}`;
  return { path, at: value === null ? 'key' : 'value', message, suggestion };
}

function describe(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  return typeof value === 'string' ? quote(value) : String(value);
}

/** `a, b or c`. */
export function inList(words: readonly string[], joint = 'or'): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} ${joint} ${words.at(-1)}`;
}

/** A JSON pointer as a path in `value`: an index is a number only in a list. */
function pathOf(pointer: string, value: unknown): Path {
  const path: (string | number)[] = [];
  let current = value;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    const step = Array.isArray(current) ? Number(key) : key;
    path.push(step);
    current = valueAt(current, [step]);
  }
  return path;
}

/** The place of a JSON pointer in `places`: what is not a known key is one of many (`*`). */
function templateOf(pointer: string): string {
  let template = '';
  for (const part of pointer.split('/').slice(1)) {
    const known = places[template]?.keys.includes(part) === true;
    template += known ? `/${part}` : '/*';
  }
  return template;
}
