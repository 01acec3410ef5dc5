/**
 * Reads the command line. cac declares and matches the commands; node:util parseArgs reads the values to the
 * letter, because cac turns `007` into 7 and loses a lone `-`.
 */
import { parseArgs } from 'node:util';
import { MAX_DURATION_MS, parseDuration } from '../manifest/duration.js';
import { didYouMean } from '../manifest/nearest.js';
import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, type OptionSpec, optionsOf } from './commands.js';
import type { Globals } from './context.js';
import { CommandError } from './errors.js';
import { EXIT } from './exit-codes.js';
import { declareCommands, usageLine } from './help.js';
import type { CommandOptions } from './options.js';

export type Parsed =
  | {
      readonly kind: 'run';
      readonly command: CommandSpec;
      readonly positionals: readonly string[];
      readonly options: CommandOptions;
      readonly globals: Globals;
    }
  /** null: the whole program's. */
  | { readonly kind: 'help'; readonly command: CommandSpec | null }
  | { readonly kind: 'version' };

const DEFAULT_LOCK_TIMEOUT_MS = 10_000;

/** The flags that every command line understands beside the table's. */
const HELP_AND_VERSION: readonly OptionSpec[] = [
  { flags: '-h, --help', description: 'Show this help' },
  { flags: '--version', description: 'Print the version' },
];

/** Every option of every command: what takes a value must be known before the command is. */
const ALL_OPTIONS = [...HELP_AND_VERSION, ...COMMANDS.flatMap(optionsOf), ...GLOBAL_OPTIONS];

/** Whether `--json` is among the options of a command line, right or wrong. */
export function wantsJson(words: readonly string[]): boolean {
  return tokenize(words, ALL_OPTIONS).some((token) => token.kind === 'option' && token.name === 'json');
}

/** Throws a `CommandError` with exit code 64 that says what is wrong with the words, and how it is right. */
export function parseCommandLine(words: readonly string[]): Parsed {
  const tokens = tokenize(words, ALL_OPTIONS);
  const given = new Set(tokens.map((token) => (token.kind === 'option' ? token.name : null)));
  const plain = tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : []));
  const [word, ...rest] = plain;

  if (given.has('version')) {
    // A word that is no command is wrong whatever stands beside it.
    if (word !== undefined && word !== 'help') match(word);
    return { kind: 'version' };
  }
  if (word === 'help' || given.has('help')) {
    const [topic, extra] = word === 'help' ? rest : [word];
    const command = topic === undefined ? null : match(topic);
    if (extra !== undefined && command?.choices?.includes(extra) !== true) {
      throw usageError(null, `help: unexpected argument '${extra}'`);
    }
    return { kind: 'help', command };
  }
  if (word === undefined) {
    refuseUnknown(tokens, ALL_OPTIONS, null);
    throw usageError(null, `which command? ${COMMANDS.map((command) => command.name).join(', ')}`);
  }
  const command = match(word);
  return { kind: 'run', ...read(command, words) };
}

/** A wrong use of a command, or of the program where there is none. */
function usageError(command: CommandSpec | null, message: string): CommandError {
  const help = command === null ? 'metawsm --help' : `metawsm ${command.name} --help`;
  return new CommandError({
    exitCode: EXIT.usage,
    code: 'usage',
    message: command === null ? message : `${command.name}: ${message}`,
    hint: `usage: ${usageLine(command)}\nmore: ${help}`,
  });
}

function match(word: string): CommandSpec {
  const { cli, specs } = declareCommands(COMMANDS);
  // Only the word: cac's own reading of the rest would swallow or change some of it.
  cli.parse(['node', 'metawsm', word], { run: false });
  const spec = cli.matchedCommand && specs.get(cli.matchedCommand);
  if (spec) return spec;
  const names = COMMANDS.map((command) => command.name);
  throw usageError(null, withAdvice(`unknown command '${word}'`, didYouMean(word, names)));
}

function read(
  command: CommandSpec,
  words: readonly string[],
): Omit<Extract<Parsed, { kind: 'run' }>, 'kind'> {
  const specs = optionsOf(command);
  const tokens = tokenize(words, ALL_OPTIONS);
  refuseUnknown(tokens, specs, command);

  const values: Record<string, string | number | true | string[]> = {};
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const spec = specs.find((candidate) => nameOf(candidate) === token.name);
    if (!spec) continue;
    const key = camel(token.name);
    const value = readValue(command, spec, token.value);
    if (spec.repeatable) {
      const list = values[key];
      values[key] = [...(Array.isArray(list) ? list : []), String(value)];
    } else if (key in values) {
      throw usageError(command, `--${token.name} is given twice`);
    } else {
      values[key] = value;
    }
  }
  const positionals = tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : [])).slice(1);
  checkPositionals(command, positionals, values);

  const { state, lockTimeout, json, quiet, verbose, noColor, ...options } = values;
  return {
    command,
    positionals,
    options,
    globals: {
      state: typeof state === 'string' ? state : null,
      lockTimeoutMs: typeof lockTimeout === 'number' ? lockTimeout : DEFAULT_LOCK_TIMEOUT_MS,
      json: json === true,
      quiet: quiet === true,
      verbose: verbose === true,
      noColor: noColor === true,
    },
  };
}

type Token =
  | { readonly kind: 'positional'; readonly value: string }
  /** `value` is undefined where none was typed. */
  | {
      readonly kind: 'option';
      readonly name: string;
      readonly rawName: string;
      readonly value: string | undefined;
    };

/** Splits the words into options and others. Knows no command and refuses nothing. */
function tokenize(words: readonly string[], specs: readonly OptionSpec[]): Token[] {
  const options: Record<string, { type: 'string' | 'boolean'; short?: string }> = Object.create(null);
  for (const spec of specs) {
    const short = /^-(\w),/.exec(spec.flags)?.[1];
    options[nameOf(spec)] = {
      type: takesValue(spec) ? 'string' : 'boolean',
      ...(short === undefined ? {} : { short }),
    };
  }
  const { tokens } = parseArgs({
    args: joinValues(words, new Set(specs.filter(takesValue).map(nameOf))),
    options,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  return tokens.flatMap((token): Token[] => {
    if (token.kind === 'option-terminator') return [];
    if (token.kind === 'positional') return [{ kind: 'positional', value: token.value }];
    return [{ kind: 'option', name: token.name, rawName: token.rawName, value: token.value }];
  });
}

/** `--answer -5` → `--answer=-5`: an option that takes a text takes the next word, whatever it is. */
function joinValues(words: readonly string[], withValue: ReadonlySet<string>): string[] {
  const joined: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (word === '--') return [...joined, ...words.slice(at)];
    const next = words[at + 1];
    if (word.startsWith('--') && withValue.has(word.slice(2)) && next !== undefined) {
      joined.push(`${word}=${next}`);
      at++;
    } else {
      joined.push(word);
    }
  }
  return joined;
}

function refuseUnknown(
  tokens: readonly Token[],
  specs: readonly OptionSpec[],
  command: CommandSpec | null,
): void {
  const names = specs.map(nameOf);
  for (const token of tokens) {
    if (token.kind !== 'option' || names.includes(token.name)) continue;
    const dashed = names.map((name) => `--${name}`);
    throw usageError(command, withAdvice(`unknown option ${token.rawName}`, didYouMean(token.name, dashed)));
  }
}

function readValue(command: CommandSpec, spec: OptionSpec, text: string | undefined): string | number | true {
  const name = `--${nameOf(spec)}`;
  if (!takesValue(spec)) {
    if (text !== undefined) throw usageError(command, `${name} takes no value`);
    return true;
  }
  if (text === undefined) throw usageError(command, `${name} needs a value`);
  if (spec.value === 'duration') {
    const milliseconds = parseDuration(text);
    if (milliseconds === null || milliseconds > MAX_DURATION_MS) {
      throw usageError(command, `${name} takes a duration such as 500ms, 30s, 10m or 2h, not '${text}'`);
    }
    return milliseconds;
  }
  if (spec.value === 'count') {
    if (!/^[1-9]\d{0,3}$/.test(text)) {
      throw usageError(command, `${name} takes a whole number from 1 to 9999, not '${text}'`);
    }
    return Number(text);
  }
  if (spec.value === 'folder' && text === '') throw usageError(command, `${name} needs a folder`);
  if (Array.isArray(spec.value) && !spec.value.includes(text)) {
    throw usageError(command, `${name} is ${spec.value.join(' or ')}, not '${text}'`);
  }
  return text;
}

function checkPositionals(
  command: CommandSpec,
  positionals: readonly string[],
  values: Readonly<Record<string, unknown>>,
): void {
  const args = command.args ?? '';
  const most = args.includes('...') ? Number.POSITIVE_INFINITY : args === '' ? 0 : 1;
  const extra = positionals[most];
  if (extra !== undefined) throw usageError(command, `unexpected argument '${extra}'`);
  const [first] = positionals;
  if (positionals.includes('')) throw usageError(command, 'an argument is empty');
  if (first === undefined && args.startsWith('<')) {
    throw usageError(command, `<${argumentOf(command)}> is missing`);
  }
  if (command.choices && first !== undefined && !command.choices.includes(first)) {
    const advice = didYouMean(first, command.choices) ?? `it is ${command.choices.join(', ')}`;
    throw usageError(command, withAdvice(`unknown ${argumentOf(command)} '${first}'`, advice));
  }
  for (const spec of command.options) {
    if (camel(nameOf(spec)) in values && spec.only && !spec.only.includes(first ?? '')) {
      throw usageError(command, `--${nameOf(spec)} goes with ${spec.only.join(', ')}, not with ${first}`);
    }
  }
  if (command.selector) {
    const ways = [first, values.runId, values.ticket].filter((way) => way !== undefined);
    if (ways.length > 1) throw usageError(command, 'name the run once: <sel>, --run-id or --ticket');
    if (ways.length === 0 && command.selector === 'required') {
      throw usageError(command, 'which run? Give a manifest, a run id or a ticket id');
    }
  }
}

/** `-f, --follow` → `follow`; `--timeout <duration>` → `timeout`. */
export function nameOf(spec: OptionSpec): string {
  return /--([a-z-]+)/.exec(spec.flags)?.[1] ?? '';
}

/** Whether an option takes a value. */
export function takesValue(spec: OptionSpec): boolean {
  return spec.flags.includes('<');
}

/** The word for a command's first argument. */
function argumentOf(command: CommandSpec): string {
  return /\w+/.exec(command.args ?? '')?.[0] ?? 'argument';
}

function withAdvice(message: string, advice: string | null): string {
  return advice === null ? message : `${message}; ${advice}`;
}

function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
