import { describe, expect, test } from 'vitest';
import { nameOf, parseCommandLine, takesValue, wantsJson } from '../../src/cli/args.js';
import { COMMANDS, optionsOf } from '../../src/cli/commands.js';
import { CommandError } from '../../src/cli/errors.js';
import { worst } from '../../src/cli/exit-codes.js';
import { flag, number, selectorOf, text, texts } from '../../src/cli/options.js';

function parse(...words: string[]) {
  const parsed = parseCommandLine(words);
  if (parsed.kind !== 'run') throw new Error(`parsed as ${parsed.kind}`);
  return parsed;
}

function refusal(...words: string[]): CommandError {
  try {
    parseCommandLine(words);
  } catch (error) {
    if (error instanceof CommandError) return error;
    throw error;
  }
  throw new Error(`accepted: ${words.join(' ')}`);
}

describe('values are taken to the letter', () => {
  const answers: [string[], string][] = [
    [['--answer', '007'], '007'],
    [['--answer', '1e3'], '1e3'],
    [['--answer', '0x10'], '0x10'],
    [['--answer', ''], ''],
    [['--answer='], ''],
    [['--answer', '- use tabs'], '- use tabs'],
    [['--answer', '-5'], '-5'],
    [['--answer=-5'], '-5'],
    [['--answer', '--x'], '--x'],
    [['--answer=--x'], '--x'],
    [['--answer', '--json'], '--json'],
    [['--answer', '--help'], '--help'],
    [['--answer', '--version'], '--version'],
    [['--answer', '-h'], '-h'],
    [['--answer', '--'], '--'],
    [['--answer', '-'], '-'],
    [['--answer', '--answer'], '--answer'],
    [['--answer', 'a=b'], 'a=b'],
    [['--answer', '=b'], '=b'],
    [['--answer', 'true'], 'true'],
    [['--answer', '12345678901234567890'], '12345678901234567890'],
    [['--answer', 'two\nlines `id` $(id) %s'], 'two\nlines `id` $(id) %s'],
    [['--answer', '\ud800'], '\ud800'],
  ];
  test.each(answers)('guide x %j', (words, answer) => {
    for (const line of [
      ['guide', 'x', ...words],
      ['guide', ...words, 'x'],
      [...words, 'guide', 'x'],
    ]) {
      const { command, positionals, options } = parse(...line);
      expect(command.name).toBe('guide');
      expect(positionals).toEqual(['x']);
      expect(options).toEqual({ answer });
    }
  });

  const selectors = ['0123', '1e3', '0x10', '12345678901234567890', '-', 'true', 'false', 'a.b', '1.50'];
  test.each(selectors)('guide %s', (sel) => {
    for (const line of [
      ['guide', sel, '--answer', 'a'],
      ['guide', '--json', sel, '--answer', 'a'],
      ['guide', '--answer', 'a', sel],
      ['--json', 'guide', '--answer', 'a', '--', sel],
    ]) {
      expect(selectorOf(parse(...line).positionals, parse(...line).options)).toEqual({
        kind: 'any',
        text: sel,
      });
    }
  });

  test('a lone - is a value or an argument like any other', () => {
    expect(parse('guide', 'x', '--answer-file', '-').options).toEqual({ answerFile: '-' });
    expect(parse('apply', '-', 'b.yaml').positionals).toEqual(['-', 'b.yaml']);
  });

  test('-- ends the options', () => {
    expect(parse('validate', '--', '--json', '-x', '--').positionals).toEqual(['--json', '-x', '--']);
  });

  test('an id by flag stays as it is', () => {
    const { positionals, options } = parse('status', '--run-id', '0123');
    expect(selectorOf(positionals, options)).toEqual({ kind: 'run', id: '0123' });
    expect(selectorOf([], parse('status', '--ticket', '1e3').options)).toEqual({ kind: 'ticket', id: '1e3' });
    expect(selectorOf([], parse('status').options)).toBeNull();
  });

  test('repeatable options keep their order, single words too', () => {
    const { options } = parse(
      ...['signal', 'validation', '--status', 'passed', '--done', '007', '--done', '', '--check', '-x'],
    );
    expect(texts(options, 'done')).toEqual(['007', '']);
    expect(texts(options, 'check')).toEqual(['-x']);
    expect(texts(options, 'nothing')).toEqual([]);
    expect(text(options, 'status')).toBe('passed');
  });

  test('durations and counts are numbers, flags are true', () => {
    const { options } = parse(
      ...[
        'apply',
        'a.yaml',
        'b.yaml',
        '--wait',
        '--timeout',
        '30m',
        '--concurrency',
        '3',
        '--on-exit',
        'stop',
      ],
    );
    expect(options).toEqual({ wait: true, timeout: 1_800_000, concurrency: 3, onExit: 'stop' });
    expect(number(options, 'timeout')).toBe(1_800_000);
    expect(flag(options, 'wait')).toBe(true);
    expect(flag(options, 'yes')).toBe(false);
  });

  test('global options are kept apart', () => {
    const { options, globals } = parse(
      ...['runs', '--state', '-s', '--lock-timeout', '0s', '--json', '--quiet', '--verbose', '--no-color'],
    );
    expect(options).toEqual({});
    expect(globals).toEqual({
      state: '-s',
      lockTimeoutMs: 0,
      json: true,
      quiet: true,
      verbose: true,
      noColor: true,
    });
    expect(parse('runs').globals).toMatchObject({ state: null, lockTimeoutMs: 10_000, noColor: false });
  });

  test('short options, alone and together', () => {
    expect(parse('logs', '-f', 'x').options).toEqual({ follow: true });
    expect(parse('logs', 'x', '--follow').options).toEqual({ follow: true });
  });
});

describe('wrong usage is 64 and says what is wrong', () => {
  const wrong: [string[], string | RegExp][] = [
    [[], /^which command\? plan, apply, /],
    [['--json'], /^which command/],
    [['--bogus'], 'unknown option --bogus'],
    [['aply', 'a.yaml'], "unknown command 'aply'; did you mean apply?"],
    [['zzz'], "unknown command 'zzz'"],
    [['Plan', 'a.yaml'], "unknown command 'Plan'; did you mean plan?"],
    [[''], "unknown command ''"],
    [['__proto__'], "unknown command '__proto__'"],
    [['deliver', 'x'], "unknown command 'deliver'"],
    [['signal', 'complet'], "signal: unknown kind 'complet'; did you mean complete?"],
    [['signal', 'x'], "signal: unknown kind 'x'; it is guidance, complete, validation"],
    [['signal'], 'signal: <kind> is missing'],
    [['guide', 'x', '--anwser', 'a'], 'guide: unknown option --anwser; did you mean --answer?'],
    [['status', '--runId', 'x'], 'status: unknown option --runId; did you mean --run-id?'],
    [['status', 'x', '--run_id', 'x'], 'status: unknown option --run_id; did you mean --run-id?'],
    [['status', '--color'], /unknown option --color/],
    [['status', '--no-json'], /unknown option --no-json/],
    [['status', '--answer', 'x'], 'status: unknown option --answer'],
    [['guide', 'x', '--answer.foo', 'b'], /unknown option --answer.foo/],
    [['guide', 'x', '--__proto__', 'b'], /unknown option --__proto__/],
    [['guide', '-5'], 'guide: unknown option -5'],
    [['logs', 'x', '-fz'], 'logs: unknown option -z'],
    [['guide', 'x', '--answer'], 'guide: --answer needs a value'],
    [['guide', 'x', '--answer', 'a', '--answer', 'a'], 'guide: --answer is given twice'],
    [['status', '--json', '--json'], 'status: --json is given twice'],
    [['logs', 'x', '-f', '--follow'], 'logs: --follow is given twice'],
    [['status', '--json=true'], 'status: --json takes no value'],
    [['status', '--state', ''], 'status: --state needs a folder'],
    [['apply'], 'apply: <manifest> is missing'],
    [['apply', ''], 'apply: an argument is empty'],
    [['status', ''], 'status: an argument is empty'],
    [['status', 'a', 'b'], "status: unexpected argument 'b'"],
    [['runs', 'a'], "runs: unexpected argument 'a'"],
    [['schema', 'a', 'b'], "schema: unexpected argument 'b'"],
    [['guide', '--answer', 'a'], 'guide: which run? Give a manifest, a run id or a ticket id'],
    [['stop', 'x', '--run-id', 'y'], 'stop: name the run once: <sel>, --run-id or --ticket'],
    [['stop', '--ticket', 'x', '--run-id', 'y'], 'stop: name the run once: <sel>, --run-id or --ticket'],
    [['apply', 'm', '--timeout', '30'], /--timeout takes a duration .* not '30'$/],
    [['apply', 'm', '--timeout', '-5s'], /--timeout takes a duration/],
    [['apply', 'm', '--timeout', '1.5h'], /--timeout takes a duration/],
    [['apply', 'm', '--timeout', '1000h'], /--timeout takes a duration/],
    [['apply', 'm', '--timeout', ' 1s'], /--timeout takes a duration/],
    [['apply', 'm', '--concurrency', '0'], /--concurrency takes a whole number/],
    [['apply', 'm', '--concurrency', '1e3'], /--concurrency takes a whole number/],
    [['apply', 'm', '--on-exit', 'kill'], "apply: --on-exit is leave or stop, not 'kill'"],
    [['signal', 'complete', '--question', 'a'], 'signal: --question goes with guidance, not with complete'],
    [['help', 'nope'], "unknown command 'nope'"],
    [['help', 'apply', 'status'], "help: unexpected argument 'status'"],
    [['nope', '--help'], "unknown command 'nope'"],
    [['nope', '--version'], "unknown command 'nope'"],
    [['--version', 'nope'], "unknown command 'nope'"],
  ];
  test.each(wrong)('%j', (words, message) => {
    const error = refusal(...words);
    expect(error.exitCode).toBe(64);
    expect(error.code).toBe('usage');
    if (typeof message === 'string') expect(error.message).toBe(message);
    else expect(error.message).toMatch(message);
    expect(error.hint).toMatch(/^usage: metawsm .*\nmore: metawsm .*--help$/);
  });
});

test('help and version win wherever they stand, but not as a value or after --', () => {
  const apply = COMMANDS.find((command) => command.name === 'apply');
  for (const words of [
    ['apply', '--help'],
    ['-h', 'apply'],
    ['help', 'apply'],
    ['apply', '--bogus', '-h', 'a'],
  ]) {
    expect(parseCommandLine(words)).toEqual({ kind: 'help', command: apply });
  }
  expect(parseCommandLine(['help', 'signal', 'complete'])).toMatchObject({ command: { name: 'signal' } });
  for (const words of [['--help'], ['-h'], ['help'], ['--json', '--help']]) {
    expect(parseCommandLine(words)).toEqual({ kind: 'help', command: null });
  }
  for (const words of [
    ['guide', '--version'],
    ['--json', '--version'],
    ['--version', 'status'],
  ]) {
    expect(parseCommandLine(words)).toEqual({ kind: 'version' });
  }
  expect(parse('validate', '--', '--help').positionals).toEqual(['--help']);
});

test('--json is seen in a wrong command line, but not as a value', () => {
  expect(wantsJson(['aply', '--bogus', '--json'])).toBe(true);
  expect(wantsJson(['status', '--json=1'])).toBe(true);
  expect(wantsJson(['guide', 'x', '--answer', '--json'])).toBe(false);
  expect(wantsJson(['validate', '--', '--json'])).toBe(false);
});

describe('the table of commands', () => {
  test('an option is of one kind in all commands: what takes a value is known before the command is', () => {
    const kinds = new Map<string, boolean>();
    for (const option of COMMANDS.flatMap(optionsOf)) {
      expect(kinds.get(nameOf(option)) ?? takesValue(option)).toBe(takesValue(option));
      kinds.set(nameOf(option), takesValue(option));
      expect(`--${nameOf(option)}`).toMatch(/^--[a-z]+(-[a-z]+)*$/);
    }
  });

  test('no command has an option twice', () => {
    for (const command of COMMANDS) {
      const names = optionsOf(command).map(nameOf);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  test.each(COMMANDS)('$name loads, and its example is right', async (command) => {
    expect((await command.load()).run).toBeTypeOf('function');
    const words = (command.example.split(' > ')[0] ?? '').match(/'[^']*'|\S+/g) ?? [];
    const parsed = parse(...words.slice(1).map((word) => word.replace(/^'(.*)'$/, '$1')));
    expect(parsed.command).toBe(command);
  });
});

test('the worst of several exit codes', () => {
  const cases: [number[], number][] = [
    [[], 0],
    [[0, 0], 0],
    [[0, 3, 5], 5],
    [[5, 75, 3], 75],
    [[75, 4], 4],
    [[4, 1], 1],
    [[1, 65], 65],
    [[65, 143], 143],
    [[143, 130, 0], 130],
    [[0, 2], 2],
    [[0, 99], 1],
  ];
  for (const [codes, code] of cases) expect(worst(codes)).toBe(code);
});
