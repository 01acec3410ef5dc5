import { renameSync, unlinkSync } from 'node:fs';
import { expect } from 'vitest';
import type { EventLine, Plan } from '../support/documents.js';
import { isAlive } from '../support/processes.js';
import { agent, hasTmux, test } from '../support/rig.js';

/** A setup command that waits for the test, so that something can happen in the middle of an apply. */
const waitingSetup = 'touch "$RIG_DIR/in-setup"; until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done';

test('stop in a second terminal ends the agent and the wait', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const waiting = rig.spawn('apply run.yaml --wait');
  await rig.untilFile('alive-agent-1');
  await rig.untilDone('agent.start/agent');
  const { pid } = await rig.agentNamed();

  await rig.run('stop run.yaml');
  expect(isAlive(pid ?? 0)).toBe(false);
  expect((await waiting.result).code).toBe(4);
  expect(await rig.state()).toBe('stopped');
  await rig.run('status run.yaml --exit-code', { code: 4 });

  // A timer that applies every five minutes must not start what somebody stopped.
  const refused = await rig.run('apply run.yaml', { code: 4 });
  expect(refused.text).toMatch(/resume/);
  await rig.run('apply run.yaml --wait --yes', { code: 4 });
  expect(rig.starts()).toBe(1);

  await rig.run('resume run.yaml');
  await rig.untilFile('alive-agent-2');
  expect(await rig.state()).toBe('running');
  rig.release();
  await rig.run('apply run.yaml --wait');
});

test('stop and resume leave alone what is in order', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  await rig.run('resume run.yaml');
  expect(rig.starts()).toBe(1);
  await rig.run('stop run.yaml');
  await rig.run('stop run.yaml');
  expect(await rig.state()).toBe('stopped');
});

test('resume goes on with a run whose stop was cut off', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const stopping = rig.spawn('stop run.yaml --json');
  stopping.onLine((line) => {
    // Its first step: by then it is recorded that the run is being stopped.
    if ((JSON.parse(line) as EventLine).type === 'step') stopping.kill('SIGKILL');
  });
  await stopping.result;
  await rig.run('apply run.yaml', { code: 4 });
  await rig.run('resume run.yaml');
  expect((await rig.status()).run).toMatchObject({ state: 'running', reason: null });
  expect((await rig.agentNamed()).state).toBe('running');
});

test.skipIf(!hasTmux)('stop closes the session that was kept after its agent’s end', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ session: 'tmux', agent: { command: 'exit 0' } });
  await rig.run('apply run.yaml --wait', { code: 4 });
  expect(rig.tmuxSessions()).toHaveLength(1);
  await rig.run('stop run.yaml');
  expect(rig.tmuxSessions()).toEqual([]);
  expect(await rig.state()).toBe('stopped');
  expect((await rig.agentNamed()).state).toBe('exited');
  expect((await rig.run('stop run.yaml')).stdout).toContain('no changes');

  // Of a run that is completed nothing else changes.
  const agent = { command: 'exit 0', complete_on: 'exit' };
  rig.manifest({ ticket: 'ABC-2', session: 'tmux', agent }, 'done.yaml');
  await rig.run('apply done.yaml --wait');
  expect(rig.tmuxSessions()).toHaveLength(1);
  await rig.run('stop done.yaml');
  expect(rig.tmuxSessions()).toEqual([]);
  for (const command of ['stop', 'apply']) {
    expect((await rig.run(`${command} done.yaml`)).stdout).toContain('completed');
    expect((await rig.run(`${command} done.yaml`)).stdout).toContain('no changes');
  }
});

test('stop and restart can mean one agent', async ({ rig }) => {
  await rig.repo('api');
  const command = agent('live');
  rig.manifest({
    agents: [
      { name: 'one', cwd: 'api', command },
      { name: 'two', cwd: 'api', command },
    ],
  });
  await rig.run('apply run.yaml');
  await rig.untilFile('alive-one-1');
  await rig.untilFile('alive-two-1');
  await rig.run('restart run.yaml --agent two');
  await rig.untilFile('alive-two-2');
  await rig.run('stop run.yaml --agent one');
  expect((await rig.agentNamed('one')).state).toBe('stopped');
  expect(await rig.agentNamed('two')).toMatchObject({ state: 'running', attempt: 2 });
  await rig.run('stop run.yaml --agent nobody', { code: 'any' }).then((result) => {
    expect(result.code).not.toBe(0);
    expect(result.text).toContain('nobody');
  });
  expect((await rig.agentNamed('two')).state).toBe('running');
});

test('restart ends the live agent before it starts the next', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const { pid } = await rig.agentNamed();
  await rig.run('restart run.yaml');
  await rig.untilFile('alive-agent-2');
  expect(isAlive(pid ?? 0)).toBe(false);
  expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 2, restarts_left: 3 });
});

test.for(['stop', 'restart', 'resume', 'cleanup'])(
  '%s --dry-run changes nothing',
  async (command, { rig }) => {
    await rig.repo('api');
    rig.manifest();
    await rig.applied();
    if (command === 'resume') await rig.run('stop run.yaml');
    const status = await rig.status();
    const before = rig.snapshot();
    const { text } = await rig.run(`${command} run.yaml --dry-run`);
    expect(rig.snapshot()).toEqual(before);
    expect(text).toMatch(/agent/);
    expect((await rig.status()).run).toEqual(status.run);
    expect(rig.starts()).toBe(1);
  },
);

test('two applies at once make one run and one agent', async ({ rig }) => {
  const api = await rig.repo('api');
  rig.manifest();
  const command = 'apply run.yaml --lock-timeout 60s';
  const both = [command, command].map((each) => rig.spawn(each));
  const codes = await Promise.all(both.map(async (each) => (await each.result).code));
  expect(codes).toEqual([0, 0]);
  await rig.untilFile('alive-agent-1');
  expect(rig.starts()).toBe(1);
  expect(await rig.runs()).toHaveLength(1);
  expect(await api.worktrees()).toHaveLength(1);
});

test('who holds a run is named, and looking at it never waits', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: [waitingSetup] }] });
  const first = rig.spawn('apply run.yaml');
  await rig.untilFile('in-setup');

  const second = await rig.run('apply run.yaml --lock-timeout 200ms', { code: 75 });
  expect(second.text).toContain(String(first.pid));
  const status = await rig.status();
  expect(status).toMatchObject({ recorded: false, run: { state: 'running' } });
  expect(rig.starts()).toBe(0);
  // What is being done is not done yet; plan says who is at it.
  const plan = await rig.json<Plan>('plan run.yaml');
  expect(plan).toMatchObject({ has_changes: true, warnings: [{ code: 'busy' }] });
  expect(plan.warnings[0]?.message).toContain(`process ${first.pid} on `);

  rig.touch('go');
  expect((await first.result).code).toBe(0);
  expect(await rig.state()).toBe('running');
});

test('a lock of a dead process does not stay', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ repos: [{ name: 'api', path: '../repos/api', setup: [waitingSetup] }] });
  const first = rig.spawn('apply run.yaml');
  await rig.untilFile('in-setup');
  first.kill('SIGKILL');
  await first.result;
  rig.touch('go');
  await rig.run('apply run.yaml --lock-timeout 20s');
  expect(await rig.state()).toBe('running');
});

test('Ctrl-C ends the wait and not the agent', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const waiting = rig.spawn('apply run.yaml --wait');
  await rig.untilFile('alive-agent-1');
  await rig.untilDone('agent.start/agent');
  waiting.interrupt();
  const ended = await waiting.result;
  expect(ended.code).toBe(130);
  expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 1 });

  // Nothing was missing: the run goes on as if nobody had waited.
  expect(await rig.state()).toBe('running');
  rig.release();
  await rig.run('apply run.yaml --wait');
  expect(rig.starts()).toBe(1);
});

test.skipIf(!hasTmux)('Ctrl-C leaves an agent in tmux alone, too', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ session: 'tmux' });
  const waiting = rig.spawn('apply run.yaml --wait');
  await rig.untilFile('alive-agent-1');
  await rig.untilDone('agent.start/agent');
  waiting.interrupt();
  expect((await waiting.result).code).toBe(130);
  expect((await rig.agentNamed()).state).toBe('running');
});

test('SIGTERM ends the wait with 143', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const waiting = rig.spawn('apply run.yaml --wait');
  await rig.untilFile('alive-agent-1');
  await rig.untilDone('agent.start/agent');
  waiting.kill('SIGTERM');
  expect((await waiting.result).code).toBe(143);
  expect((await rig.agentNamed()).state).toBe('running');
});

test('an interrupted wait stops its agents where that was asked', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const waiting = rig.spawn('apply run.yaml --wait --on-exit stop');
  await rig.untilFile('alive-agent-1');
  await rig.untilDone('agent.start/agent');
  const { pid } = await rig.agentNamed();
  waiting.interrupt();
  expect((await waiting.result).code).toBe(130);
  expect(isAlive(pid ?? 0)).toBe(false);
  expect(await rig.state()).toBe('stopped');
});

test('logs shows what the agent printed, also while it goes on', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agent: {
      command:
        'echo first line; touch "$RIG_DIR/alive-agent-1"; until [ -e "$RIG_DIR/go" ]; do sleep 0.05; done; ' +
        'echo last line; metawsm signal complete --summary x',
    },
  });
  await rig.applied();
  await rig.until('the first line', async () =>
    (await rig.run('logs run.yaml')).stdout.includes('first line'),
  );
  const following = rig.spawn('logs run.yaml -f');
  await rig.until('the first line', () => following.stdout().includes('first line'));
  rig.touch('go');
  await rig.until('the last line', () => following.stdout().includes('last line'));
  following.interrupt();
  await following.result;
});

test('an agent cannot write to the operator’s terminal', async ({ rig }) => {
  await rig.repo('api');
  // A manifest holds plain text only: the characters are written as escapes of a string literal.
  const literal = (text: string): string =>
    JSON.stringify(text).replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const evil = '\x1b]0;owned\x07\x1b[2J\x9b31m\u202e';
  rig.manifest({
    agent: {
      command: [
        process.execPath,
        '-e',
        `process.stdout.write(${literal(`${evil}\n`)}); require('fs').writeFileSync(
           process.env.METAWSM_SENTINEL_DIR + '/guidance-request.json',
           JSON.stringify({ question: 'May I?' + ${literal(evil)} }))`,
      ],
    },
  });
  const waited = await rig.run('apply run.yaml --wait', { code: 3 });
  for (const command of ['status run.yaml', 'logs run.yaml', 'runs']) {
    const { text } = await rig.run(command);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    expect(`${text}${waited.text}`).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/);
  }
  // Only --json gives it as it was.
  expect((await rig.status()).guidance[0]?.question).toBe(`May I?${evil}`);
});

test('runs lists the history, newest first', async ({ rig }) => {
  await rig.repo('api');
  await rig.repo('web');
  rig.manifest({ agents: [] }, 'one.yaml');
  rig.manifest({ ticket: 'ABC-2', repos: [{ name: 'web', path: '../repos/web' }], agents: [] }, 'two.yaml');
  await rig.run('apply one.yaml');
  await rig.run('apply two.yaml');
  expect((await rig.runs()).map((run) => [run.ticket, run.state])).toEqual([
    ['ABC-2', 'completed'],
    ['ABC-1', 'completed'],
  ]);
  const { runs } = await rig.json<{ runs: { ticket: string }[] }>('runs --ticket ABC-1');
  expect(runs.map((run) => run.ticket)).toEqual(['ABC-1']);
  const { stdout } = await rig.run('runs');
  expect(stdout.indexOf('ABC-2')).toBeLessThan(stdout.indexOf('ABC-1'));
});

test('a run is found by manifest, ticket and id', async ({ rig }) => {
  await rig.repo('api');
  const manifest = rig.manifest({ agents: [] });
  await rig.run('apply run.yaml');
  const { id } = (await rig.status()).run;
  for (const selector of ['run.yaml', './run.yaml', manifest, 'ABC-1', id])
    expect((await rig.status(selector)).run.id).toBe(id);
  for (const flags of [`--run-id ${id}`, '--ticket ABC-1'])
    expect((await rig.json<{ run: { id: string } }>(`status ${flags}`)).run.id).toBe(id);

  for (const unknown of ['ABC-9', 'abc-1', 'run-20200101-000000-aaaa', 'other.yaml', id.slice(0, -1)]) {
    const { text } = await rig.run(['status', unknown], { code: 64 });
    expect(text).toContain('ABC-1');
  }

  // What was recorded counts, not whether the file is still there or valid.
  rig.write('run.yaml', 'version: [');
  expect((await rig.status()).run.id).toBe(id);
  expect((await rig.run('status run.yaml')).text).toMatch(/run\.yaml/);
  await rig.run('apply run.yaml', { code: 65 });
  unlinkSync(manifest);
  expect((await rig.status()).run.id).toBe(id);
  await rig.run('apply run.yaml', { code: 65 });
});

test('without a terminal nothing asks: what destroys is refused', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  // A pipe that never says anything: a prompt would wait for it for ever.
  await rig.run('apply run.yaml', { stdin: 'open' });
  await rig.untilFile('alive-agent-1');
  await rig.run('apply run.yaml --new-run', { stdin: 'open', code: 4 });
  expect(await rig.runs()).toHaveLength(1);
});

test('--new-run beside an active one needs a yes', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const first = (await rig.status()).run.id;
  await rig.run('apply run.yaml --new-run', { code: 4 });
  await rig.run('apply run.yaml --new-run --yes');
  await rig.until('the second start', () => rig.starts() === 2);
  const runs = await rig.runs();
  expect(runs).toHaveLength(2);
  expect(new Set(runs.map((run) => run.workspace)).size).toBe(2);
  expect((await rig.status()).run.id).not.toBe(first);
  expect((await rig.status(first)).run.state).toBe('running');
});

test('a second manifest for a ticket with an open run is refused, naming both', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agents: [] }, 'one.yaml');
  rig.manifest({ agents: [] }, 'two.yaml');
  await rig.run('apply one.yaml');
  const { text } = await rig.run('apply two.yaml', { code: 4 });
  expect(text).toContain('one.yaml');
  expect(text).toContain('two.yaml');
  expect(await rig.runs()).toHaveLength(1);
});

test('resume leads a run out of stopped also where all its agents are done', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('complete') } });
  await rig.run('apply run.yaml --wait');
  await rig.run('cleanup run.yaml --keep-workspaces');
  await rig.run('apply run.yaml', { code: 4 });
  await rig.run('resume run.yaml');
  expect(await rig.state()).toBe('completed');
  await rig.run('apply run.yaml');
  expect(rig.starts()).toBe(1);
});

test('a manifest that was moved keeps its run', async ({ rig }) => {
  await rig.repo('api');
  const manifest = rig.manifest();
  const { run } = await rig.applied();
  renameSync(manifest, `${rig.project}/moved.yaml`);
  expect((await rig.json<{ manifest: string }>('plan moved.yaml')).manifest).toBe(
    `${rig.project}/moved.yaml`,
  );
  const { text } = await rig.run('apply moved.yaml');
  expect(text).toMatch(/no changes/i);
  // What is said to be typed next works.
  expect(text).toContain('next: metawsm apply moved.yaml');
  expect((await rig.status('moved.yaml')).run).toMatchObject({
    id: run.id,
    manifest: `${rig.project}/moved.yaml`,
  });
  // Another manifest under the old name is none of its business.
  rig.manifest({ ticket: 'ABC-2', agents: [] });
  await rig.run('apply run.yaml');
  expect((await rig.runs()).map((each) => each.ticket)).toEqual(['ABC-2', 'ABC-1']);
  expect(rig.starts()).toBe(1);
});
