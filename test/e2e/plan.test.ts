import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Plan } from '../support/documents.js';
import type { Repo } from '../support/repo.js';
import { agent, hasTmux, type Rig, test } from '../support/rig.js';

test('plan writes nothing at all: no state folder, no ref, no fetch', async ({ rig }) => {
  const api = await rig.repo('api', { origin: true });
  await rig.repo('web');
  // Something to fetch that plan must not fetch.
  const elsewhere = await clone(rig, api.origin);
  const ahead = await elsewhere.commit('Later', { 'later.txt': 'x' });
  await elsewhere.git('push', '-q', 'origin', 'main');
  rig.manifest({
    repos: [
      { name: 'api', path: '../repos/api' },
      { name: 'web', path: '../repos/web' },
    ],
    agents: [{ name: 'agent', cwd: 'api', command: agent('live') }],
  });

  const before = rig.snapshot();
  const { stdout } = await rig.run('plan run.yaml');
  await rig.run('plan run.yaml --detailed-exitcode', { code: 2 });
  await rig.run('plan run.yaml --offline');
  const plan = await rig.json<Plan>('plan run.yaml');
  expect(rig.snapshot()).toEqual(before);
  expect(existsSync(rig.stateFolder)).toBe(false);

  expect(stdout).toContain('git worktree add');
  expect(stdout).toContain('worktree.create/api');
  expect(stdout).toContain('agent.start/agent');
  expect(plan).toMatchObject({ has_changes: true, run_id: null, refused: [] });
  expect(plan.steps.map((step) => step.id)).toEqual(
    expect.arrayContaining(['worktree.create/api', 'worktree.create/web', 'agent.start/agent']),
  );
  // It knows the newest base without having fetched it.
  expect(JSON.stringify(plan)).toContain(ahead);
});

test('plan of an applied manifest finds nothing, and writes nothing beside the database', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const before = rig.snapshot();
  await rig.run('plan run.yaml --detailed-exitcode');
  expect((await rig.run('plan run.yaml')).text).toMatch(/no changes/i);
  expect(await rig.json<Plan>('plan run.yaml')).toMatchObject({ has_changes: false, run_state: 'running' });
  expect(rig.snapshot()).toEqual(before);
});

test('plan beside an apply that waits sees what that recorded', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const waiting = rig.spawn('apply run.yaml --wait');
  await rig.untilFile('alive-agent-1');
  // It starts to wait when the agent has lived for long enough.
  await rig.untilDone('agent.start/agent');
  const plan = await rig.json<Plan>('plan run.yaml');
  expect(plan).toMatchObject({ has_changes: false, run_state: 'running', warnings: [] });
  rig.release();
  expect((await waiting.result).code).toBe(0);
});

test('plan shows a dead agent, and apply does just what it showed', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  process.kill((await rig.agentNamed()).pid ?? 0, 'SIGKILL');
  await rig.until('the death', async () => (await rig.json<Plan>('plan run.yaml')).has_changes);
  const plan = await rig.json<Plan>('plan run.yaml --detailed-exitcode', { code: 2 });
  const todo = plan.steps.filter((step) => step.action !== 'none').map((step) => step.id);
  expect(todo).toEqual(['agent.start/agent']);

  const { lines } = await rig.events('apply run.yaml');
  const done = lines.filter((line) => line.type === 'step' && line.state === 'done').map((line) => line.id);
  expect(done).toEqual(todo);
});

test('plan shows the exact command, with what codex needs put into it', async ({ rig }) => {
  await rig.repo('api');
  const commandOf = async (command: unknown): Promise<string> => {
    rig.manifest({ agent: { command, env: { TOKEN: 'secret-value-1' } } });
    const plan = await rig.json<Plan>('plan run.yaml', { env: { PATH: rig.binWith('codex') } });
    const [shown] = plan.steps.find((step) => step.id === 'agent.start/agent')?.commands ?? [];
    expect(shown?.env_names).toContain('TOKEN');
    expect(JSON.stringify(plan)).not.toContain('secret-value-1');
    return JSON.stringify(shown?.shell ?? shown?.argv);
  };
  const flag = '--skip-git-repo-check';
  expect(await commandOf('codex exec "do it"')).toContain(`codex exec ${flag} \\"do it\\"`);
  expect(await commandOf(`codex exec ${flag} x`)).toContain(`codex exec ${flag} x`);
  expect(await commandOf('cd . && codex exec x')).toContain(`cd . && codex exec ${flag} x`);
  expect(await commandOf('echo "codex exec x"')).not.toContain(flag);
  expect(await commandOf(['codex', 'exec', 'x'])).toContain(`"codex","exec","${flag}","x"`);
});

test('a saved plan is executed as it was saved, or refused', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] });
  await rig.run('plan run.yaml --out saved.plan');
  expect(existsSync(rig.stateFolder)).toBe(false);
  rig.manifest({ agents: [], ticket: 'ABC-2' });
  await rig.run('apply saved.plan', { code: 4 });

  rig.manifest({ agents: [] });
  await rig.run('plan run.yaml --out saved.plan');
  await rig.run('apply saved.plan');
  expect(await rig.state()).toBe('completed');
  // Done once: the world is another now.
  await rig.run('apply saved.plan', { code: 4 });
});

test('a saved plan counts for its state folder and its manifest, and alone', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] });
  const elsewhere = path.join(rig.dir, 'state');
  await rig.run(['plan', 'run.yaml', '--state', elsewhere, '--out', 'saved.plan']);
  const before = rig.snapshot();
  expect((await rig.run('apply saved.plan', { code: 4 })).text).toContain(`--state ${elsewhere}`);
  await rig.run('apply saved.plan run.yaml', { code: 64 });
  await rig.run('apply run.yaml saved.plan', { code: 64 });
  expect(rig.snapshot()).toEqual(before);

  // Edited into something that is no manifest any more, or removed: moved since, in any case.
  const manifest = rig.write('run.yaml', 'version: 1\n');
  expect((await rig.run(['apply', 'saved.plan', '--state', elsewhere], { code: 4 })).text).toMatch(
    /out of date: the manifest .*run\.yaml was edited/,
  );
  rmSync(manifest);
  await rig.run(['apply', 'saved.plan', '--state', elsewhere], { code: 4 });

  rig.manifest({ agents: [] });
  await rig.run(['apply', 'saved.plan', '--state', elsewhere]);
  expect(existsSync(rig.stateFolder)).toBe(false);
});

test('automatic sessions are tmux at a desk and processes in CI', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ session: 'auto', agent: { command: agent('complete') } });
  await rig.run('apply run.yaml --wait', { env: { CI: 'true' } });
  expect((await rig.status()).run.session).toBe('process');
  rig.manifest({ session: 'auto', ticket: 'ABC-2', agent: { command: agent('complete') } }, 'two.yaml');
  await rig.run('apply two.yaml --wait');
  expect((await rig.status('two.yaml')).run.session).toBe(hasTmux ? 'tmux' : 'process');
});

/** A second clone of a repo's origin, as a colleague has it. */
async function clone(rig: Rig, origin: string | null): Promise<Repo> {
  const folder = path.join(rig.dir, 'colleague');
  await rig.at(rig.dir).git('clone', '-q', origin ?? '', folder);
  return rig.at(folder);
}
