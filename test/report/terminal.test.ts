import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Listr, type ListrRendererFactory } from 'listr2';
import { describe, expect, test } from 'vitest';
import { Hopeless, listrOptions } from '../../src/report/terminal.js';
import { compiled } from '../support/compile.js';

/** Two repos: one step is tried twice, one fails, one is skipped. Gives what was printed on stderr. */
async function lines(view: { json?: boolean; quiet?: boolean; verbose?: boolean; color?: boolean }) {
  let printed = '';
  let tries = 0;
  const options = listrOptions({
    json: false,
    quiet: false,
    verbose: false,
    color: false,
    isTerminal: false,
    ...view,
    stderr: (text) => {
      printed += text;
    },
  });
  const tree = new Listr<object, ListrRendererFactory>(
    [
      {
        title: 'api',
        task: (_, task) =>
          task.newListr(
            [
              { title: 'worktree.create/api \u001b[31mred\u001b[0m\nmore', task: async () => {} },
              {
                title: 'setup.run/api/1',
                retry: 1,
                task: async (_ctx, step) => {
                  step.output = 'installing 100%s';
                  tries += 1;
                  if (tries === 1) throw new Error('exit 1\nnpm err\u0007');
                },
              },
              {
                title: 'agent.start/api',
                task: async () => {
                  throw new Error('died');
                },
              },
              { title: 'never.started', task: async () => {} },
            ],
            { exitOnError: true, concurrent: false },
          ),
      },
      {
        title: 'web',
        task: (_, task) =>
          task.newListr([
            {
              title: 'setup.run/web/1',
              skip: () => 'not started: an earlier step failed',
              task: async () => {},
            },
          ]),
      },
    ],
    { ...options, exitOnError: false, concurrent: false },
  );
  await tree.run();
  return printed;
}

describe('without a terminal', () => {
  test('each step is one line, when it has ended, with no control characters', async () => {
    expect((await lines({})).split('\n')).toEqual([
      '✔ worktree.create/api red more',
      '⚠ setup.run/api/1: exit 1 npm err\\x07 (trying again)',
      '✔ setup.run/api/1',
      '✖ agent.start/api: died',
      '↓ setup.run/web/1: not started: an earlier step failed',
      '',
    ]);
  });

  test('a failure that trying again does not help is told once, for what it is', async () => {
    let printed = '';
    const options = listrOptions({
      json: false,
      quiet: false,
      verbose: false,
      isTerminal: false,
      color: false,
      stderr: (text) => {
        printed += text;
      },
    });
    const refused = new Hopeless('refused');
    const step = async () => {
      throw refused;
    };
    await new Listr<object, ListrRendererFactory>([{ title: 'worktree.remove/api', retry: 2, task: step }], {
      ...options,
      exitOnError: false,
    }).run();
    expect(printed).toBe('✖ worktree.remove/api: refused\n');
  });

  test('--verbose adds starts and output', async () => {
    const printed = await lines({ verbose: true });
    expect(printed).toContain('❯ setup.run/api/1\n  installing 100%s\n');
  });

  test('--quiet leaves the failures, --json nothing', async () => {
    expect(await lines({ quiet: true })).toBe('✖ agent.start/api: died\n');
    expect(await lines({ json: true, verbose: true })).toBe('');
  });

  test('colours are metawsm’s decision', async () => {
    expect(await lines({ color: true })).toContain('\u001b[31m✖\u001b[39m agent.start/api: died\n');
  });

  test('no listener of listr2 takes the signals', async () => {
    const before = process.listenerCount('SIGINT');
    await lines({});
    expect(process.listenerCount('SIGINT')).toBe(before);
  });
});

const [terminal] = await compiled('report/terminal');

describe.skipIf(!hasTmux())('at a terminal', () => {
  const script = `
    import { Listr } from 'listr2';
    import { listrOptions } from '${terminal}';
    const view = { json: false, quiet: false, verbose: false, color: false, isTerminal: true };
    const options = listrOptions({ ...view, stderr: (text) => process.stderr.write(text) });
    await new Listr([{ title: 'api', task: (_, task) => task.newListr([
      { title: 'worktree.create \\u001b]0;title\\u0007', task: async () => {} },
      { title: 'setup.run', task: async () => { throw new Error('exit 1\\u001b[2J of npm'); } },
    ], { exitOnError: true }) }], { ...options, exitOnError: false }).run();
    console.log('RESULT');
  `;

  /** What a terminal shows after the script, run with this before it and behind it. */
  async function screen(before: string, behind: string): Promise<string> {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'mw-')));
    // Beside the packages, so that the import of listr2 is found.
    const cache = fileURLToPath(new URL('../../node_modules/.cache', import.meta.url));
    mkdirSync(cache, { recursive: true });
    const file = join(mkdtempSync(join(cache, 'terminal-')), 'tree.mjs');
    writeFileSync(file, script);
    const { CI: _, NO_COLOR: _1, FORCE_COLOR: _2, ...clean } = process.env;
    const env = { ...clean, TMUX_TMPDIR: folder, TERM: 'screen' };
    const tmux = (...args: string[]) =>
      execFileSync('tmux', ['-L', 'test', '-f', '/dev/null', ...args], { env, encoding: 'utf8' });
    try {
      const line = `${before} '${process.execPath}' '${file}' ${behind}; stty cols 100; echo ENDED; sleep 60`;
      tmux('new-session', '-d', '-s', 's', '-x', '100', '-y', '20', 'sh', '-c', line);
      for (let looks = 0; ; looks += 1) {
        const shown = tmux('capture-pane', '-p', '-t', '=s:');
        if (shown.includes('ENDED')) return shown.trimEnd();
        if (looks > 300) throw new Error(`never ended:\n${shown}`);
        await delay(50);
      }
    } finally {
      tmux('kill-server');
      rmSync(join(file, '..'), { recursive: true });
      rmSync(folder, { recursive: true });
    }
  }

  const tree = ['✖ api', '  ✔ worktree.create', '  ✖ setup.run', '    › exit 1 of npm'];

  test('the tree is on stderr', async () => {
    expect((await screen('', '2>/dev/tty | cat')).split('\n')).toEqual([...tree, 'RESULT', 'ENDED']);
    expect((await screen('', '')).split('\n')).toEqual([...tree, 'RESULT', 'ENDED']);
  });

  test('a terminal without columns or cursor gets lines', async () => {
    const flat = ['✔ worktree.create', '✖ setup.run: exit 1 of npm', 'RESULT', 'ENDED'];
    expect((await screen('stty cols 0;', '')).split('\n')).toEqual(flat);
    expect((await screen('TERM=dumb', '')).split('\n')).toEqual(flat);
  });
});

function hasTmux(): boolean {
  try {
    execFileSync('tmux', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
