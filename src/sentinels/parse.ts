/** From the bytes of a sentinel file to its value, or to the reason why it has none. Pure. */
import type { SentinelKind, SentinelValue } from '../plan/observed.js';
import { safeText } from '../tools/files.js';
import {
  guidanceRequest,
  guidanceResponse,
  implementationComplete,
  type ShapeError,
  type Validator,
  validationResult,
} from './validators.generated.js';

export type Parsed<T> =
  | { readonly kind: 'valid'; readonly value: T }
  /** `reason` goes on from the file's name. `unfinished`: it may be complete a moment later. */
  | { readonly kind: 'problem'; readonly reason: string; readonly unfinished: boolean };

const VALIDATORS: Readonly<Record<SentinelKind, Validator>> = {
  'guidance-request': guidanceRequest,
  'guidance-response': guidanceResponse,
  'implementation-complete': implementationComplete,
  'validation-result': validationResult,
};

/** Deeper JSON cannot be written again: `JSON.stringify` would exhaust the stack. */
const MAX_DEPTH = 200;

const TEXT_FIELDS = [
  'run_id',
  'agent',
  'request_id',
  'guidance_id',
  'question',
  'answer',
  'answered_at',
  'summary',
  'status',
] as const;

/** The value of a sentinel file: known fields only, a numeric `attempt` as a number. */
export function parseSentinel(kind: SentinelKind, bytes: Uint8Array): Parsed<SentinelValue> {
  const parsed = parseJson(bytes);
  if (parsed.kind === 'problem') return parsed;
  return sentinelValue(kind, parsed.value);
}

/** Check a value against the schema of its kind and take the known fields. */
export function sentinelValue(kind: SentinelKind, json: unknown): Parsed<SentinelValue> {
  const shape = shapeProblem(VALIDATORS[kind], json);
  if (shape !== null) return { kind: 'problem', reason: shape, unfinished: false };
  const source = json as Readonly<Record<string, unknown>>;
  const value: Record<string, unknown> = {};
  for (const field of TEXT_FIELDS) {
    const text = own(source, field);
    if (typeof text !== 'string') continue;
    // SQLite, argv and terminals all end or garble a text at a NUL.
    if (text.includes('\0')) {
      return { kind: 'problem', reason: `has a NUL character in ${field}`, unfinished: false };
    }
    value[field] = text.replace(/\p{Cs}/gu, '\ufffd');
  }
  const attempt = own(source, 'attempt');
  if (typeof attempt === 'number' || typeof attempt === 'string') value.attempt = Number(attempt);
  if (Object.hasOwn(source, 'context')) value.context = source.context;
  for (const field of ['done_criteria', 'checks', 'heads']) {
    const held = own(source, field);
    if (held !== undefined && held !== null) value[field] = held;
  }
  return { kind: 'valid', value: value as SentinelValue };
}

/** UTF-8 JSON (a byte order mark is allowed) that is not nested too deep. */
export function parseJson(bytes: Uint8Array): Parsed<unknown> {
  const problem = (reason: string, unfinished = false) => ({ kind: 'problem', reason, unfinished }) as const;
  if (bytes.includes(0)) return problem('contains NUL bytes');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // A character may be cut in two where the writing stopped.
    return problem('is not UTF-8', true);
  }
  if (text.trim() === '') return problem('is empty', true);
  const { deepest, open } = nesting(text);
  if (deepest > MAX_DEPTH) return problem(`is nested more than ${MAX_DEPTH} levels deep`);
  try {
    return { kind: 'valid', value: JSON.parse(text) as unknown };
  } catch {
    return problem(open > 0 ? 'is not complete JSON' : 'is not valid JSON', true);
  }
}

/** What is wrong with a value's shape, as one sentence part, or null. */
export function shapeProblem(validator: Validator, json: unknown): string | null {
  if (validator(json)) return null;
  const words = (validator.errors ?? []).slice(0, 3).map(inWords);
  return `is not as its schema says: ${words.length > 0 ? words.join('; ') : 'it does not match'}`;
}

function inWords(error: ShapeError): string {
  const where = error.instancePath === '' ? 'the document' : error.instancePath.slice(1).replaceAll('/', '.');
  if (error.keyword === 'required') return `"${String(error.params.missingProperty)}" is missing`;
  const what =
    error.keyword === 'pattern' && error.params.pattern === '\\S'
      ? 'must not be blank'
      : error.keyword === 'type'
        ? `must be ${[error.params.type].flat().join(' or ')}`
        : error.keyword === 'enum'
          ? `must be ${(error.params.allowedValues as readonly unknown[]).join(' or ')}`
          : (error.message ?? 'is wrong');
  return safeText(`${where} ${what}`).slice(0, 200);
}

/** How deep a JSON text is nested, and how many maps, lists and strings are open where it ends. */
function nesting(text: string): { deepest: number; open: number } {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (inString) {
      if (character === '\\') index += 1;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '[' || character === '{') deepest = Math.max(deepest, ++depth);
    else if (character === ']' || character === '}') depth -= 1;
  }
  return { deepest, open: depth + (inString ? 1 : 0) };
}

function own(source: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(source, key) ? source[key] : undefined;
}
