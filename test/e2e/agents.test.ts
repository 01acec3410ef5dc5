import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { isAlive, withEnvironment } from '../support/processes.js';
import { agent, hasTmux, type Rig, test } from '../support/rig.js';
import { filesBelow } from '../support/snapshot.js';

const failing = 'echo start >> "$RIG_DIR/starts"; echo "no licence found" >&2; exit 3';

describe.each(['process', 'tmux'] as const)('with %s sessions', (session) => {
  const testHere = test.skipIf(session === 'tmux' && !hasTmux);

  testHere('an agent that fails at once fails apply, with its last words', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ session, agent: { command: failing }, policy: { start_grace: '20s' } });

    const { summary, result } = await rig.events('apply run.yaml', { code: 1 });
    expect(summary.runs).toMatchObject([{ state: 'failed', reason: 'agent_failed', exit_code: 1 }]);
    expect(JSON.stringify(summary.runs[0]?.error)).toContain('no licence found');
    expect(result.code).toBe(1);
    expect(await rig.agentNamed()).toMatchObject({ state: 'failed', exit_code: 3 });
    expect((await rig.run('status run.yaml')).text).toMatch(/\b3\b/);
    await rig.run('status run.yaml --exit-code', { code: 1 });
    expect(rig.starts()).toBe(1);
  });

  testHere('the last words are shown also where they take their time to the log', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ session, agent: { command: failing }, policy: { start_grace: '20s' } });
    // What tmux hands the output of a pane to.
    const bin = path.join(rig.dir, 'bin');
    mkdirSync(bin);
    writeFileSync(path.join(bin, 'cat'), '#!/bin/sh\nsleep 0.4\nexec /bin/cat "$@"\n', { mode: 0o755 });

    const env = { PATH: `${bin}:${rig.env.PATH}` };
    const { text } = await rig.run('apply run.yaml --wait', { env, code: 1 });
    expect(text).toContain('no licence found');
    expect(text).toContain('[metawsm] agent exited with status 3');
  });

  testHere('an agent that was killed is dead, and apply starts it again', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ session });
    await rig.applied();
    const { pid } = await rig.agentNamed();
    process.kill(pid ?? 0, 'SIGKILL');

    const dead = await rig.untilState('failed');
    expect(dead.run.reason).toBe('agent_dead');
    expect(dead.agents[0]?.state).toMatch(/dead|failed/);
    // Looking starts nothing.
    expect(rig.starts()).toBe(1);

    await rig.run('apply run.yaml');
    await rig.untilFile('alive-agent-2');
    expect(await rig.agentNamed()).toMatchObject({ state: 'running', attempt: 2, restarts_left: 2 });
    expect(await rig.state()).toBe('running');
    rig.release();
    await rig.run('apply run.yaml --wait');
  });

  testHere('an agent whose wrapper was killed with it is dead too', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ session });
    const { run } = await rig.applied();
    // As after a crash of the machine: nobody is left to write down how it ended.
    if (session === 'tmux') await rig.killTmux();
    await rig.endAgents(run.id);

    expect(await rig.state()).toBe('failed (agent_dead)');
    await rig.run('apply run.yaml');
    await rig.untilFile('alive-agent-2');
    expect(await rig.state()).toBe('running');
  });
});

test('a person sees why the start failed', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: failing }, policy: { start_grace: '20s' } });
  const { text } = await rig.run('apply run.yaml', { code: 1 });
  expect(text).toContain('no licence found');
  expect(text).toMatch(/\b3\b/);
});

test('a validation is a sign of life, a question of the attempt before is none', async ({ rig }) => {
  await rig.repo('api');
  const command = [
    'touch "$RIG_DIR/started-$METAWSM_ATTEMPT"',
    'case $METAWSM_ATTEMPT in',
    '1) metawsm signal validation --status failed; until [ -e "$RIG_DIR/ask" ]; do sleep 0.05; done',
    '   metawsm signal guidance --question "So?" --wait;;',
    '*) exit 3;;',
    'esac',
  ].join('\n');
  rig.manifest({ agent: { command }, policy: { start_grace: '1h' } });
  // It is started long before its grace is over.
  await rig.run('apply run.yaml');
  rig.touch('ask');
  await rig.untilState('awaiting_guidance');
  const { text } = await rig.run('restart run.yaml', { code: 1 });
  expect(text).toContain('within its start grace');
  expect((await rig.status()).guidance).toMatchObject([{ question: 'So?' }]);
});

test('nobody starts without a brief', async ({ rig }) => {
  await rig.repo('api');
  const command = 'cat "$METAWSM_BRIEF" > "$RIG_DIR/brief-$METAWSM_AGENT-$METAWSM_ATTEMPT"; sleep 1000';
  rig.manifest({ agents: ['one', 'two'].map((name) => ({ name, command })) });
  await rig.run('apply run.yaml');
  const { agents } = await rig.status();
  const [one = '', two = ''] = agents.map((each) => each.sentinel_dir);
  rmSync(one, { recursive: true });
  rmSync(path.join(two, 'brief.md'));
  symlinkSync('/dev/null', path.join(two, 'brief.md'));

  await rig.run('restart run.yaml');
  for (const name of ['one', 'two']) {
    await rig.untilText(`brief-${name}-2`, 'Limit logins');
  }
  expect(existsSync(path.join(one, 'context.json'))).toBe(true);
});

test('the wait does not burn the budget on an agent that fails at once', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: failing }, policy: { start_grace: '20s' } });
  await rig.run('apply run.yaml --wait', { code: 1 });
  expect(rig.starts()).toBe(1);
});

test('the budget bounds what apply starts by itself, and restart resets it', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: failing }, policy: { start_grace: '20s', restart_budget: 1 } });
  await rig.run('apply run.yaml', { code: 1 });
  await rig.run('apply run.yaml', { code: 1 });
  expect(rig.starts()).toBe(2);
  expect(await rig.agentNamed()).toMatchObject({ attempt: 2, restarts_left: 0 });

  const refused = await rig.run('apply run.yaml', { code: 4 });
  expect(refused.text).toContain('restart');
  expect(rig.starts()).toBe(2);

  await rig.run('restart run.yaml', { code: 1 });
  expect(rig.starts()).toBe(3);
  expect((await rig.agentNamed()).restarts_left).toBe(1);
});

test('an agent that was mended in the manifest is started so, whatever the budget said', async ({ rig }) => {
  await rig.repo('api');
  const policy = { start_grace: '200ms', restart_budget: 0 };
  rig.manifest({ policy, agent: { command: 'exit 7' } });
  await rig.run('apply run.yaml', { code: 1 });
  expect((await rig.run('apply run.yaml', { code: 4 })).text).toMatch(/metawsm restart ABC-1 starts afresh/);

  rig.manifest({ policy, agent: { command: agent('complete') } });
  expect((await rig.run('apply run.yaml', { code: 4 })).text).toContain('raise policy.restart_budget');
  // By hand what was last applied counts, and that is said.
  const edited = /the manifest was edited since it was last applied/;
  expect((await rig.run('restart run.yaml --dry-run')).text).toMatch(edited);
  expect((await rig.run('restart run.yaml', { code: 1 })).text).toMatch(edited);
  rig.manifest({ policy: { ...policy, restart_budget: 1 }, agent: { command: agent('complete') } });
  await rig.run('apply run.yaml --wait');
  expect(await rig.state()).toBe('completed');
});

test('the wait starts an agent again that died after its start', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('die-first', '5') } });
  const waiting = rig.spawn('apply run.yaml --wait');
  // Past its grace: what dies in it is not started again by the wait.
  await rig.untilFile('starts');
  await rig.untilDone('agent.start/agent');
  rig.touch('die');
  expect((await waiting.result).code).toBe(0);
  expect(await rig.agentNamed()).toMatchObject({ state: 'completed', attempt: 2, restarts_left: 2 });
});

test('an agent that outlived its grace was started, however late that is seen', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: agent('die-first', '5') }, policy: { start_grace: '1s' } });
  const waiting = rig.spawn('apply run.yaml --wait');
  await rig.untilFile('starts');
  // As on a machine that is busy with something else.
  waiting.kill('SIGSTOP');
  await delay(1200);
  rig.touch('die');
  await rig.until('its end', () => filesBelow(rig.stateFolder).some((file) => file.endsWith('/exit.json')));
  waiting.kill('SIGCONT');
  expect((await waiting.result).code).toBe(0);
  expect(await rig.agentNamed()).toMatchObject({ state: 'completed', attempt: 2, restarts_left: 2 });
});

test('the wait that used the budget up ends with 1', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agent: { command: 'echo . >> "$RIG_DIR/starts"; sleep 0.6; exit 5' },
    policy: { start_grace: '200ms', restart_budget: 1 },
  });
  await rig.run('apply run.yaml --wait', { code: 1 });
  expect(rig.starts()).toBe(2);
  await rig.run('apply run.yaml --wait', { code: 4 });
  expect(rig.starts()).toBe(2);
});

test('an agent that ends without a word pauses the run', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: 'echo . >> "$RIG_DIR/starts"' } });
  await rig.run('apply run.yaml --wait', { code: 4 });
  expect(await rig.state()).toBe('paused (exited_without_signal)');
  await rig.run('status run.yaml --exit-code', { code: 4 });

  const refused = await rig.run('apply run.yaml', { code: 4 });
  expect(refused.text).toMatch(/resume|restart/);
  expect(rig.starts()).toBe(1);

  await rig.run('resume run.yaml');
  await rig.until('the second start', () => rig.starts() === 2);
});

test('a non-zero exit after the completion is only a warning', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: 'metawsm signal complete --summary ok; exit 5' } });
  await rig.run('apply run.yaml');
  await rig.until('the end', async () => (await rig.agentNamed()).exit_code === 5);
  const { run, warnings } = await rig.status();
  expect(run.state).toBe('completed');
  expect(warnings.map((warning) => warning.message).join()).toMatch(/5/);
});

test('the wait is bounded by its timeout and leaves the agent alone', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.run('apply run.yaml --wait --timeout 1s', { code: 5 });
  expect(isAlive((await rig.agentNamed()).pid ?? 0)).toBe(true);
});

test('the pid is the agent, not what wraps it', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  await rig.applied();
  const own = rig.read('starts').trim().split(' ').at(-1);
  expect((await rig.agentNamed()).pid).toBe(Number(own));
});

test('stopping ends everything the agent started', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ agent: { command: 'sleep 1000 & touch "$RIG_DIR/alive-agent-1"; sleep 1000' } });
  const { run } = await rig.applied();
  await rig.run('stop run.yaml');
  const left = withEnvironment(`METAWSM_RUN_ID=${run.id}`).filter(isAlive);
  expect(left).toEqual([]);
});

test('stopping ends what the agent put into the background, in a session of its own', async ({ rig }) => {
  await rig.repo('api');
  const server = 'setsid sh -c \'touch "$RIG_DIR/server"; exec sleep 1000\' & ';
  rig.manifest({ agent: { command: `(${server}); touch "$RIG_DIR/alive-agent-1"; exec sleep 1000` } });
  const { run } = await rig.applied();
  await rig.untilFile('server');
  await rig.run('stop run.yaml');
  expect(withEnvironment(`METAWSM_RUN_ID=${run.id}`).filter(isAlive)).toEqual([]);
});

test('an agent whose start could not be recorded is ended before the next', async ({ rig }) => {
  await rig.repo('api');
  const command = ['sh', '-c', '[ "$METAWSM_ATTEMPT" = 1 ] && kill -9 $PPID; exec sleep 1000'];
  rig.manifest({ agent: { command } });
  await rig.run('apply run.yaml', { code: 'any' });
  await rig.run('restart run.yaml');
  const { run } = await rig.status();
  const all = withEnvironment(`METAWSM_RUN_ID=${run.id}`).filter(isAlive);
  const attempt = (number: number) => {
    const pids = withEnvironment(`METAWSM_ATTEMPT=${number}`);
    return all.filter((pid) => pids.includes(pid));
  };
  expect((await rig.agentNamed()).attempt).toBe(2);
  expect(attempt(1)).toEqual([]);
  expect(attempt(2)).not.toEqual([]);
});

test('an agent whose record somebody removed is ended all the same', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { run } = await rig.applied();
  rmSync(path.join(rig.stateFolder, 'runs', run.id), { recursive: true });
  await rig.run('stop run.yaml');
  expect(withEnvironment(`METAWSM_RUN_ID=${run.id}`).filter(isAlive)).toEqual([]);
});

test('an agent that ignores SIGTERM is ended all the same', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agent: { command: 'trap "" TERM INT HUP; touch "$RIG_DIR/alive-agent-1"; while :; do sleep 0.1; done' },
  });
  const { run } = await rig.applied();
  await rig.run('stop run.yaml');
  expect(withEnvironment(`METAWSM_RUN_ID=${run.id}`).filter(isAlive)).toEqual([]);
  expect((await rig.agentNamed()).state).toBe('stopped');
});

test('a restart does not believe the completion of the attempt before', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({
    agent: {
      command:
        'touch "$RIG_DIR/alive-agent-$METAWSM_ATTEMPT"; ' +
        '[ "$METAWSM_ATTEMPT" != 1 ] || metawsm signal complete --summary first; sleep 1000',
    },
  });
  await rig.applied();
  await rig.untilState('completed');

  await rig.run('restart run.yaml');
  await rig.untilFile('alive-agent-2');
  expect(await rig.state()).toBe('running');
  await complete(rig, { attempt: 2, summary: 'second' });
  expect((await rig.agentNamed()).summary).toBe('second');
});

test('an agent of another host is left alone, and it is said where it can be stopped', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const { agents } = await rig.applied();
  const attempt = path.dirname(agents[0]?.log ?? '');
  // As it is seen through a state folder that two machines share.
  for (const file of readdirSync(attempt).filter((name) => !name.endsWith('.log'))) {
    const record = JSON.parse(readFileSync(path.join(attempt, file), 'utf8'));
    writeFileSync(path.join(attempt, file), JSON.stringify({ ...record, host: 'other-host' }));
  }
  expect(await rig.agentNamed()).toMatchObject({ state: 'unknown', health: 'unknown' });
  await rig.run('apply run.yaml');
  const { text } = await rig.run('stop run.yaml', { code: 1 });
  expect(text).toContain('run the same command on other-host');
  expect(text).not.toContain('internal error');
  expect(rig.starts()).toBe(1);
});

async function complete(rig: Rig, content: object): Promise<void> {
  const { agents } = await rig.status();
  writeFileSync(
    path.join(agents[0]?.sentinel_dir ?? '', 'implementation-complete.json'),
    JSON.stringify(content),
  );
  await rig.untilState('completed');
}
