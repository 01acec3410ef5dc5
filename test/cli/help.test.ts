import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import {
  CommandError,
  errorDocument,
  Interrupted,
  renderError,
  toCommandError,
} from '../../src/cli/errors.js';
import { isCi, wantsColor } from '../../src/report/stream.js';
import { ToolFailure } from '../../src/tools/failure.js';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const env = { PATH: process.env.PATH ?? '', HOME: '/nonexistent' };

function metawsm(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...words], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

describe('the process', () => {
  test('prints its version', async () => {
    for (const words of [['--version'], ['-v'], ['status', '--version']]) {
      expect(await metawsm(...words)).toEqual({
        code: 0,
        stdout: expect.stringMatching(/^metawsm \d+\.\d+\.\d+\n$/),
        stderr: '',
      });
    }
  });

  test('prints its help on stdout, with every command and exit code', async () => {
    const { code, stdout, stderr } = await metawsm('--help');
    expect([code, stderr]).toEqual([0, '']);
    for (const { name, description } of COMMANDS)
      expect(stdout).toMatch(`  ${name.padEnd(8)}  ${description}`);
    for (const exit of [0, 1, 2, 3, 4, 5, 64, 65, 75, 130, 143])
      expect(stdout).toMatch(`\n  ${String(exit).padStart(3)}  `);
    for (const later of ['init', 'doctor', 'completion']) {
      expect(stdout).not.toMatch(new RegExp(`^  ${later}`, 'm'));
    }
    expect(stdout).not.toContain('default: true');
  });

  test('prints a help with an example for each command', async () => {
    for (const { name, args, example, usage } of COMMANDS) {
      const { code, stdout } = await metawsm(name, '--help');
      expect(code).toBe(0);
      expect(stdout).toContain(`$ metawsm ${name} ${usage}\n`);
      expect(stdout).toContain(`$ ${example}\n`);
      expect(stdout).toContain('--lock-timeout <duration>');
      // What may be typed for its argument.
      if (args === '[sel]') expect(stdout).toMatch(/^ {2}<sel> is a manifest path, a run id or a ticket id/m);
      if (args === '<...manifest>') expect(stdout).toMatch(/^ {2}<manifest> is a file, or a folder/m);
    }
  });

  test('says on stderr what is wrong with the usage, and exits 64', async () => {
    expect(await metawsm('guide', 'x', '--anwser', 'a')).toEqual({
      code: 64,
      stdout: '',
      stderr: [
        'metawsm: guide: unknown option --anwser; did you mean --answer?',
        'usage: metawsm guide <sel> (--answer TEXT | --answer-file FILE) [options]',
        'more: metawsm guide --help\n',
      ].join('\n'),
    });
    expect(await metawsm()).toMatchObject({ code: 64, stdout: '' });
  });

  test('says it as a document with --json', async () => {
    const { code, stdout, stderr } = await metawsm('aply', '--json');
    expect([code, stderr]).toEqual([64, '']);
    expect(JSON.parse(stdout)).toEqual({
      format_version: 1,
      kind: 'error',
      exit_code: 64,
      code: 'usage',
      message: "unknown command 'aply'; did you mean apply?",
      hint: 'usage: metawsm <command> [options]\nmore: metawsm --help',
      problems: [],
    });
  });

  test('does not mind a reader that is gone', async () => {
    const child = spawn(process.execPath, [main, '--help'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    const [code] = await once(child, 'close');
    expect([code, stderr]).toEqual([0, '']);
  });
});

describe('an error', () => {
  const seen = { verbose: false, color: false };

  test('is shown with its problems and its hint, without control characters', () => {
    const error = new CommandError({
      exitCode: 65,
      code: 'invalid_manifest',
      message: 'the manifest is \u001b[2Jinvalid',
      hint: 'mend it',
      problems: [
        { file: 'a.yaml', line: 3, column: 7, message: 'no such key', suggestion: 'did you mean repos?' },
        { message: 'git is missing', hint: 'install git' },
        { file: 'b.yaml', message: 'cannot be read' },
      ],
    });
    expect(renderError(error, seen)).toBe(
      [
        'metawsm: the manifest is invalid',
        'a.yaml:3:7: no such key; did you mean repos?',
        '  git is missing; install git',
        'b.yaml: cannot be read',
        'mend it\n',
      ].join('\n'),
    );
    expect(JSON.parse(errorDocument(error)).problems[1]).toEqual({
      code: null,
      message: 'git is missing',
      hint: 'install git',
      file: null,
      line: null,
      column: null,
      path: null,
      suggestion: null,
    });
  });

  test.each([
    ['StateProblem', 1, 'state_problem'],
    ['LockHeld', 75, 'locked'],
    ['PathRefused', 1, 'path_refused'],
  ])('%s is known by its name', (name, exitCode, code) => {
    const error = Object.assign(new Error('held by 123'), { name, hint: 'wait' });
    expect(toCommandError(error)).toMatchObject({ exitCode, code, message: 'held by 123', hint: 'wait' });
  });

  test('of a program is its sentence', () => {
    const error = toCommandError(new ToolFailure('git', ['fetch'], '/repo', 128, 'fatal: no\n'));
    expect(error).toMatchObject({ exitCode: 1, code: 'tool_failed' });
    expect(error.message).toBe('git fetch (in /repo): exit 128: fatal: no');
  });

  test('that nobody expected is one sentence; its stack comes with --verbose', () => {
    for (const thrown of [new TypeError('x is not a function\nmore'), 'x is not a function']) {
      const error = toCommandError(thrown);
      expect(error).toMatchObject({ exitCode: 1, code: 'internal' });
      expect(renderError(error, seen)).toMatch(
        /^metawsm: internal error: x is not a function\n.*--verbose.*\n$/,
      );
    }
    expect(renderError(toCommandError(new TypeError('x')), { verbose: true, color: false })).toMatch(
      /\n {4}at /,
    );
  });

  test('of a signal has its exit code', () => {
    expect(toCommandError(new Interrupted('SIGINT'))).toMatchObject({ exitCode: 130, code: 'interrupted' });
    expect(toCommandError(new Interrupted('SIGTERM'))).toMatchObject({ exitCode: 143 });
  });
});

test('colours: the flag and NO_COLOR say no, FORCE_COLOR yes or no, else a terminal that has them', () => {
  const cases: [NodeJS.ProcessEnv, boolean, boolean, boolean][] = [
    [{}, false, true, true],
    [{}, false, false, false],
    [{}, true, true, false],
    [{ NO_COLOR: '1' }, false, true, false],
    [{ NO_COLOR: '' }, false, true, true],
    [{ NO_COLOR: '1', FORCE_COLOR: '1' }, false, true, false],
    [{ FORCE_COLOR: '1' }, false, false, true],
    [{ FORCE_COLOR: '' }, false, false, true],
    [{ FORCE_COLOR: '0' }, false, true, false],
    [{ FORCE_COLOR: '3' }, true, true, false],
    [{ TERM: 'dumb' }, false, true, false],
    [{ CI: 'true' }, false, true, false],
  ];
  for (const [given, noColor, isTerminal, wanted] of cases) {
    expect([given, wantsColor(given, noColor, isTerminal)]).toEqual([given, wanted]);
  }
});

test('CI is set by anything but a word for no', () => {
  expect([{}, { CI: '' }, { CI: '0' }, { CI: 'False' }].map(isCi)).toEqual([false, false, false, false]);
  expect([{ CI: '1' }, { CI: 'true' }, { CI: 'woodpecker' }].map(isCi)).toEqual([true, true, true]);
});
