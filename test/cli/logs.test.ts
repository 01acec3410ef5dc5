import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test as plainTest } from 'vitest';
import { cleaner, lineSplitter, masker, type TextFilter } from '../../src/report/log-text.js';
import { safeText } from '../../src/tools/files.js';
import type { Status } from '../support/documents.js';
import { fuzz } from '../support/fuzz.js';
import { start } from '../support/processes.js';
import { agent, hasTmux, main, test } from '../support/rig.js';

describe('text in pieces', () => {
  const passed = (filter: TextFilter, pieces: readonly string[]): string =>
    pieces.map((piece) => filter.write(piece)).join('') + filter.end();
  /** Texts that are likely to be cut where it hurts. */
  const pieces = (parts: readonly string[]) =>
    fc.array(
      fc.array(fc.constantFrom(...parts), { maxLength: 8 }).map((some) => some.join('')),
      { maxLength: 8 },
    );

  plainTest('is as clean as the whole text', () => {
    const sequences = [
      '\u001b',
      '[',
      '3',
      'm',
      ']',
      '\u0007',
      '\\',
      '\u009b',
      '\n',
      'a',
      'P',
      '(',
      'é',
      '\u202e',
    ];
    for (const parts of [sequences, ['\r', '\n', 'a']]) {
      const whole = fc.property(pieces(parts), (some) => {
        expect(passed(cleaner(), some)).toBe(safeText(some.join('')));
      });
      fc.assert(whole, fuzz(2_000));
    }
  });

  plainTest('shows no secret, wherever it is cut', () => {
    const secrets = ['aab', 'aabaab', 'ba'];
    fc.assert(
      fc.property(pieces(['a', 'b', 'aab', 'x']), (some) => {
        const shown = passed(masker(secrets), some);
        for (const secret of secrets) expect(shown).not.toContain(secret);
        expect(shown.replaceAll('***', '')).not.toMatch(/[^abx]/);
      }),
      fuzz(2_000),
    );
    expect(passed(masker(['secret']), ['it is a sec', 'ret, a sec', 'ond, a se'])).toBe(
      'it is a ***, a second, a se',
    );
    expect(passed(masker([]), ['as it', ' is'])).toBe('as it is');
  });

  plainTest('is held back in bounds only', () => {
    const filter = cleaner();
    const text = `\u001b]${'x'.repeat(100_000)}`;
    expect(filter.write(text).length).toBeGreaterThan(90_000);
    const lines = lineSplitter();
    expect(lines.write('x'.repeat(100_000)).join('').length).toBeGreaterThan(30_000);
    expect([...lines.write('y\r\nz\n'), ...lines.end()].at(-1)).toBe('z');
  });
});

test('prints the newest attempt as safe text, or one object a line', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agent: {
      command: `printf '\\033[31mred\\033[0m\\nhalf a line'; touch "$RIG_DIR/alive-agent-1"; sleep 1000`,
    },
  });
  const { run } = await rig.applied();
  expect((await rig.run('logs run.yaml')).stdout).toBe('red\nhalf a line');
  const { stdout } = await rig.run('logs run.yaml --json');
  const line = { type: 'log', run_id: run.id, agent: 'agent', attempt: 1 };
  expect(objects(stdout)).toEqual([
    { ...line, text: '\u001b[31mred\u001b[0m' },
    { ...line, text: 'half a line' },
  ]);
  // Where the workspace is, its run is meant.
  expect((await rig.run('logs', { cwd: run.workspace })).stdout).toBe('red\nhalf a line');
});

test('of several agents it prints each under its name, or one', async ({ rig }) => {
  await rig.repo('api');
  const names = ['one', 'two'];
  rig.manifest({ agents: names.map((name) => ({ name, command: agent('live') })) });
  await rig.run('apply run.yaml');
  for (const name of names) await rig.untilFile(`alive-${name}-1`);
  expect((await rig.run('logs run.yaml')).stdout).toBe(
    '==> one <==\nalive as one\n\n==> two <==\nalive as two\n',
  );
  expect((await rig.run('logs run.yaml --agent two')).stdout).toBe('alive as two\n');
  const { stderr } = await rig.run('logs run.yaml --agent three', { code: 64 });
  expect(stderr).toContain('its agents: one, two');
});

test('an agent that was never started has no log, which is no failure', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: ['false'] }] });
  await rig.run('apply run.yaml', { code: 1 });
  for (const command of ['logs run.yaml', 'logs run.yaml -f'])
    expect(await rig.run(command)).toMatchObject({
      stdout: '',
      stderr: 'agent agent was never started, so there is no log\n',
    });
  rig.manifest({ ticket: 'ABC-2', agents: [] }, 'none.yaml');
  await rig.run('apply none.yaml', { code: 'any' });
  expect((await rig.run('logs none.yaml', { code: 'any' })).stdout).toBe('');
});

test('an agent that prints nothing has an empty log, and that is said', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: ['sleep', '1000'] } });
  await rig.run('apply run.yaml');
  const { stdout, stderr } = await rig.run('logs run.yaml');
  expect([stdout, stderr]).toEqual(['', 'agent agent has printed nothing in attempt 1\n']);
});

test('following goes on over a new attempt, and ends with the run', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const following = rig.spawn('logs run.yaml --follow --json');
  const seen = () => objects(following.stdout()) as { attempt: number; text: string }[];
  await rig.until('the first attempt', () => seen().some((line) => line.text === 'alive as agent'));
  await rig.run('restart run.yaml');
  await rig.until('the second attempt', () => seen().some((line) => line.attempt === 2));
  rig.release();
  expect(await following.result).toMatchObject({ code: 0, stderr: 'agent agent: attempt 2\n' });
  expect(
    seen()
      .map((line) => line.attempt)
      .filter((one, at, all) => one !== all[at - 1]),
  ).toEqual([1, 2]);
});

test('following ends on Ctrl-C, and with whoever reads it', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const status = await rig.applied();
  const following = rig.spawn('logs run.yaml -f');
  await rig.until('the log', () => following.stdout() === 'alive as agent\n');
  following.interrupt();
  expect((await following.result).code).toBe(130);

  // The next line is more than the reader wants.
  const shell = `"${process.execPath}" "${main}" logs run.yaml -f | head -n 1; echo gone > "$RIG_DIR/gone"`;
  const piped = start('sh', ['-c', shell], { cwd: rig.project, env: rig.env, timeout: 30_000 });
  await rig.until('the end', () => {
    appendFileSync(logOf(status), 'more\n');
    return existsSync(path.join(rig.dir, 'gone'));
  });
  expect((await piped.result).stdout).toBe('alive as agent\n');
});

test('a secret is masked also where the log is read in pieces', async ({ rig }) => {
  const secret = 'hunter2-hunter2-hunter2';
  const env = { MY_SECRET: secret };
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('live'), env: { TOKEN: '${MY_SECRET}' } } });
  await rig.run('apply run.yaml', { env });
  await rig.untilFile('alive-agent-1');
  const log = logOf(await rig.status());
  const coloured = `${secret.slice(0, 5)}\u001b[1m${secret.slice(5)}`;
  writeFileSync(log, `${'x'.repeat(65_530)}${secret}é${'y'.repeat(131_040)}${coloured}\n`);
  const { stdout } = await rig.run('logs run.yaml', { env });
  expect(stdout).toBe(`${'x'.repeat(65_530)}***é${'y'.repeat(131_040)}***\n`);
  expect((await rig.run('logs run.yaml --json', { env })).stdout).not.toContain(secret);
});

test('attach says what to do where there is no session or no terminal', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const { stderr } = await rig.run('attach run.yaml', { code: 4 });
  expect(stderr).toMatch(/detached process.*\n.*metawsm logs run-\S+ -f/);
  const unknown = await rig.run('attach run.yaml --agent other', { code: 64 });
  expect(unknown.stderr).toMatch(/its agents: .*agent/);
});

test.skipIf(!hasTmux)('attach names the command of a session that is there', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ session: 'tmux', agents: ['one', 'two'].map((name) => ({ name, command: agent('live') })) });
  await rig.run('apply run.yaml');
  expect((await rig.run('attach run.yaml', { code: 64 })).stderr).toContain('one, two');
  const { stderr } = await rig.run('attach run.yaml --agent two', { code: 4 });
  expect(stderr).toMatch(/terminal.*\n.*tmux -S \S+ .*attach-session -t '=\S+two'/);
  await rig.killTmux();
  expect((await rig.run('attach run.yaml --agent two', { code: 4 })).stderr).toMatch(/is gone/);
});

function logOf(status: Status): string {
  return status.agents[0]?.log ?? '';
}

function objects(stdout: string): unknown[] {
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}
