import { existsSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import type { EventLine, Status } from '../support/documents.js';
import { killingGit } from '../support/killing-git.js';
import { isAlive } from '../support/processes.js';
import { hasTmux, type Rig, test } from '../support/rig.js';

/** Leaves a line each time it runs. */
const counted = (name: string) => `echo . >> "$RIG_DIR/${name}"`;
const waitFor = (name: string) => `until [ -e "$RIG_DIR/${name}" ]; do sleep 0.05; done`;
const count = (rig: Rig, name: string): number =>
  existsSync(path.join(rig.dir, name)) ? rig.read(name).trim().split('\n').length : 0;

describe.each(['process', 'tmux'] as const)('with %s sessions', (session) => {
  test.skipIf(session === 'tmux' && !hasTmux)(
    'apply killed after each of its steps goes on to one run, one worktree a repo, one agent',
    async ({ rig }) => {
      const api = await rig.repo('api', { origin: true });
      const web = await rig.repo('web');
      api.write({ '.env': 'A=1\n' });
      rig.manifest({
        session,
        repos: [
          { name: 'api', path: '../repos/api', copy: ['.env'], setup: [counted('setup')] },
          { name: 'web', path: '../repos/web' },
        ],
      });

      let kills = 0;
      const seen = new Set<string>();
      for (let finished = false; !finished; ) {
        // Every second time it dies as a step begins, else as one ends: so it always gets on.
        finished = await applyKilledAt(rig, kills % 2 === 0 ? 'done' : 'running', (id) => seen.add(id));
        if (!finished) kills++;
        if (kills > 60) throw new Error(`it never ends\n${await rig.dump()}`);
      }

      expect(kills).toBeGreaterThan(3);
      expect(await rig.runs()).toHaveLength(1);
      const { run, agents } = await rig.status();
      expect(run.state).toBe('running');
      expect(agents[0]?.state).toBe('running');
      // An attempt that a kill came before is given up: its number is never used again, and it never ran.
      await rig.untilFile(`alive-agent-${agents[0]?.attempt}`);
      expect(rig.starts()).toBe(1);
      for (const repo of [api, web]) {
        expect(await repo.worktrees()).toEqual([path.join(run.workspace, path.basename(repo.path))]);
        expect((await repo.branches()).sort()).toEqual(['main', `task/${path.basename(run.workspace)}`]);
      }
      expect(await rig.run('apply run.yaml').then((each) => each.text)).toMatch(/no changes/i);
      rig.release();
      await rig.run('apply run.yaml --wait');
    },
  );
});

test('a lock that a killed git left on the branch is in nobody’s way', async ({ rig }) => {
  const api = await rig.repo('api');
  rig.manifest({ workspace: { root: '../workspaces', branch: 'task/one' } });
  const locked = path.join(api.path, '.git/refs/heads/task/one.lock');
  // The branch is there, and the next git fails at its lock.
  const first = ['git branch task/one main', `: > '${locked}'`];
  const env = killingGit(rig, { words: '*" worktree add "*', first });
  expect((await rig.run('apply run.yaml', { code: 'any', env })).signal).toBe('SIGKILL');
  // One of somebody else's, on a branch that is none of the run's.
  const other = path.join(api.path, '.git/refs/heads/main.lock');
  writeFileSync(other, '');
  await rig.run('apply run.yaml');
  expect(existsSync(locked)).toBe(false);
  expect(existsSync(other)).toBe(true);
});

test.for(['apply', 'cleanup'])(
  'a git that was killed over its first file of a worktree is in the way of no %s',
  async (command, { rig }) => {
    const api = await rig.repo('api');
    rig.manifest();
    const env = killingGit(rig, {
      words: '*" worktree add "*',
      first: [
        'git "$@"',
        "tree=$(git worktree list --porcelain | sed -n 's/^worktree //p' | tail -n 1)",
        'rm "$tree"/*; : > "$tree/.git"',
        'echo initializing > .git/worktrees/api/locked',
      ],
    });
    expect((await rig.run('apply run.yaml', { code: 'any', env })).signal).toBe('SIGKILL');
    const { run } = await rig.status();
    await rig.run(`${command} run.yaml`);
    const left = command === 'apply' ? [path.join(run.workspace, 'api')] : [];
    expect(await api.worktrees()).toEqual(left);
    expect(existsSync(run.workspace)).toBe(command === 'apply');
    expect(await rig.state()).toBe(command === 'apply' ? 'running' : 'closed');
  },
);

test('a setup that fails says why, and the next apply begins there', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    repos: [
      {
        name: 'api',
        path: '../repos/api',
        setup: [
          counted('first'),
          `${counted('second')}; echo "no network today" >&2; [ -e "$RIG_DIR/fixed" ]`,
          counted('third'),
        ],
      },
    ],
    policy: { step_retries: 0, start_grace: '200ms' },
  });

  const failed = await rig.events('apply run.yaml', { code: 1 });
  expect(failed.summary.runs).toMatchObject([
    {
      state: 'failed',
      reason: 'step_failed',
      error: { step_id: expect.stringMatching(/^setup\.run\/api\/2$/) },
    },
  ]);
  expect(JSON.stringify(failed.summary.runs[0]?.error?.log_tail)).toContain('no network today');
  expect(rig.starts()).toBe(0);
  expect((await rig.status()).run.resume_at_step).toBe('setup.run/api/2');

  // A person sees it, too.
  const again = await rig.run('apply run.yaml', { code: 1 });
  expect(again.text).toContain('no network today');
  expect(again.text).toMatch(/resuming run-\S+ at setup\.run\/api\/2 \(\d+ of \d+\)/);

  rig.touch('fixed');
  const resumed = await rig.run('apply run.yaml');
  expect(resumed.text).toMatch(/resuming run-\S+ at setup\.run\/api\/2 \(\d+ of \d+\)/);
  await rig.untilFile('alive-agent-1');
  expect([count(rig, 'first'), count(rig, 'second'), count(rig, 'third')]).toEqual([1, 3, 1]);
});

test('the setup of a worktree that is not ready yet is carried out as it is edited', async ({ rig }) => {
  await rig.repo('api');
  const repos = (...setup: string[]) => ({ repos: [{ name: 'api', path: '../repos/api', setup }] });
  const policy = { step_retries: 0, start_grace: '200ms' };
  rig.manifest({ ...repos(counted('first'), '[ -e "$RIG_DIR/tool" ]'), policy });
  await rig.run('apply run.yaml', { code: 1 });
  rig.manifest({ ...repos('touch "$RIG_DIR/tool"', counted('first'), '[ -e "$RIG_DIR/tool" ]'), policy });
  const { text } = await rig.run('apply run.yaml');
  expect(text).toMatch(/resuming run-\S+ at setup\.run\/api\/1 \(\d+ of \d+\)/);
  expect(text).not.toMatch(/not done again/);
  await rig.run('plan run.yaml --detailed-exitcode');
});

test('a step that fails is tried again as often as the policy says', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    repos: [{ name: 'api', path: '../repos/api', setup: [`${counted('tries')}; false`] }],
    policy: { step_retries: 2 },
    agents: [],
  });
  await rig.run('apply run.yaml', { code: 1 });
  expect(count(rig, 'tries')).toBe(3);
});

test('a setup command that outlived its apply is never doubled', async ({ rig }) => {
  await rig.repo('api');
  const alive = 'kill -0 "$p" 2>/dev/null && ! grep -qs "^State:.*[ZX] (" "/proc/$p/status"';
  rig.manifest({
    repos: [
      {
        name: 'api',
        path: '../repos/api',
        setup: [
          `p=$(cat "$RIG_DIR/pid" 2>/dev/null); if [ -n "$p" ] && ${alive}; then touch "$RIG_DIR/doubled"; fi; ` +
            `echo $$ > "$RIG_DIR/pid"; ${counted('ran')}; ${waitFor('go')}`,
        ],
      },
    ],
  });
  const first = rig.spawn('apply run.yaml');
  await rig.until('the setup', () => count(rig, 'ran') === 1);
  first.kill('SIGKILL');
  await first.result;

  const second = rig.spawn('apply run.yaml');
  await rig.until('the resumed step', () => /setup\.run\/api\/1/.test(second.stderr() + second.stdout()));
  // It may end the old one and begin anew, or wait for it: look for a second one, but not for long.
  await rig.until('a second one', () => count(rig, 'ran') === 2, 1000).catch(() => {});
  rig.touch('go');
  const result = await second.result;
  if (result.code !== 0) throw new Error(`${result.text}\n${await rig.dump()}`);
  expect(existsSync(path.join(rig.dir, 'doubled'))).toBe(false);
  expect(await rig.state()).toBe('running');
});

test('Ctrl-C between steps pauses the run, ends what the step started, and apply goes on', async ({
  rig,
}) => {
  await rig.repo('api');
  rig.manifest({
    repos: [
      {
        name: 'api',
        path: '../repos/api',
        setup: [counted('first'), `echo $$ > "$RIG_DIR/setup-pid"; [ -e "$RIG_DIR/go" ] || sleep 1000`],
      },
    ],
  });
  const applying = rig.spawn('apply run.yaml');
  const pid = Number(
    await rig.until('the setup', () => count(rig, 'setup-pid') === 1 && rig.read('setup-pid')),
  );
  applying.interrupt();
  const ended = await applying.result;
  expect(ended.code).toBe(130);
  expect(isAlive(pid)).toBe(false);
  expect(await rig.state()).toBe('paused (interrupted)');
  expect(rig.starts()).toBe(0);

  rig.touch('go');
  const resumed = await rig.run('apply run.yaml');
  expect(resumed.text).toMatch(/resuming run-\S+ at setup\.run\/api\/2/);
  expect(await rig.state()).toBe('running');
  expect(count(rig, 'first')).toBe(1);
});

test('Ctrl-C within the grace of a start leaves the agent, and apply goes on with that one', async ({
  rig,
}) => {
  await rig.repo('api');
  rig.manifest({ policy: { start_grace: '4s' } });
  const applying = rig.spawn('apply run.yaml');
  await rig.untilFile('alive-agent-1');
  applying.interrupt();
  expect((await applying.result).code).toBe(130);
  await rig.run('apply run.yaml');
  const { agents, run } = await rig.status();
  expect(run.state).toBe('running');
  expect(agents[0]).toMatchObject({ state: 'running', attempt: 1 });
  expect(rig.starts()).toBe(1);
});

test('SIGTERM between steps is recorded the same way', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    repos: [{ name: 'api', path: '../repos/api', setup: [`${counted('in')}; ${waitFor('go')}`] }],
  });
  const applying = rig.spawn('apply run.yaml');
  await rig.until('the setup', () => count(rig, 'in') === 1);
  applying.kill('SIGTERM');
  expect((await applying.result).code).toBe(143);
  expect(await rig.state()).toBe('paused (interrupted)');
  rig.touch('go');
  await rig.run('resume run.yaml');
  expect(await rig.state()).toBe('running');
});

test('a deleted worktree is drift: plan shows it, apply makes it again on its branch', async ({ rig }) => {
  const api = await rig.repo('api');
  api.write({ '.env': 'A=1\n' });
  rig.manifest({
    repos: [{ name: 'api', path: '../repos/api', copy: ['.env'], setup: [counted('setup')] }],
  });
  const before = await withDeadAgent(rig);
  rmSync(before.repos[0]?.path ?? '', { recursive: true });

  await rig.run('plan run.yaml --detailed-exitcode', { code: 2 });
  await rig.run('apply run.yaml');
  const after = await rig.repoNamed();
  expect(after).toMatchObject({
    path: before.repos[0]?.path,
    branch: before.repos[0]?.branch,
    head: before.repos[0]?.head,
  });
  expect(existsSync(path.join(after.path, 'work.txt'))).toBe(true);
  expect(rig.read(path.relative(rig.dir, after.path), '.env')).toBe('A=1\n');
  expect(count(rig, 'setup')).toBe(2);
  expect(await rig.state()).toBe('running');
});

test('a workspace that vanished altogether comes back with its work', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const before = await withDeadAgent(rig);
  rmSync(before.run.workspace, { recursive: true });

  await rig.run('apply run.yaml');
  await rig.untilFile('alive-agent-2');
  const after = await rig.status();
  expect(after.run).toMatchObject({ state: 'running', workspace: before.run.workspace });
  expect(after.repos[0]).toMatchObject({ ahead: 1, head: before.repos[0]?.head });
  expect(existsSync(path.join(before.run.workspace, '.metawsm/brief.md'))).toBe(true);
});

/** A run whose agent made a commit and was killed. */
async function withDeadAgent(rig: Rig): Promise<Status> {
  const { repos } = await rig.applied();
  await rig.at(repos[0]?.path ?? '').commit('Work', { 'work.txt': 'work\n' });
  process.kill((await rig.agentNamed()).pid ?? 0, 'SIGKILL');
  return rig.untilState('failed');
}

/**
 * Applies until the first step reaches that state and kills it there. true: it got through without one.
 */
async function applyKilledAt(rig: Rig, state: string, note: (step: string) => void): Promise<boolean> {
  const applying = rig.spawn('apply run.yaml --json');
  let killed = false;
  applying.onLine((line) => {
    const event = JSON.parse(line) as EventLine;
    if (killed || event.type !== 'step' || event.state !== state) return;
    note(String(event.id));
    killed = true;
    applying.kill('SIGKILL');
  });
  const result = await applying.result;
  if (result.signal === 'SIGKILL') return false;
  if (result.code !== 0) throw new Error(`${result.text}\n${await rig.dump()}`);
  return true;
}
