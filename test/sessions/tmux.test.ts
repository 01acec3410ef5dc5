import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readAttempt } from '../../src/sessions/attempt.js';
import { observeAttempt } from '../../src/sessions/observe.js';
import { ToolFailure } from '../../src/tools/failure.js';
import { probe } from '../../src/tools/process.js';
import { type Compiled, compileSessions, hasTmux, SessionRig, until } from './rig.js';

describe.skipIf(!hasTmux)('a tmux session', () => {
  let compiled: Compiled;
  let rig: SessionRig;
  beforeAll(() => {
    compiled = compileSessions();
  });
  afterAll(() => compiled.remove());
  beforeEach(() => {
    rig = new SessionRig('tmux', compiled);
  });
  afterEach(() => rig.dispose());

  it('stays readable after the end of its agent, on a server of its own', async () => {
    const agent = await rig.start(['sh', '-c', 'echo last words; exit 4']);
    await agent.exit();
    await until(() => rig.tmux('display-message', '-p', '-t', '=agent-1:', '#{pane_dead}').startsWith('1'));
    const pane = rig.tmux('capture-pane', '-p', '-S', '-', '-t', '=agent-1:');
    expect(pane).toContain('last words\n');
    expect(pane).toContain('[metawsm] agent exited with status 4\n');
    expect(agent.ref.tmuxSocket?.startsWith(join(rig.root, 't'))).toBe(true);
    expect(agent.ref.tmuxSocket?.endsWith('/metawsm')).toBe(true);
    expect(await rig.driver.exists(agent.ref)).toBe('open');
    expect(await observeAttempt(agent.attemptDir)).toMatchObject({ process: 'dead' });
    await rig.driver.close(agent.ref);
    expect(await rig.driver.exists(agent.ref)).toBe('gone');
    await rig.driver.close(agent.ref);
  });

  it('is never mistaken for one whose name begins the same', async () => {
    const ten = await rig.start(['sleep', '1000'], { sessionName: 'a-10' });
    const one = { ...ten.ref, sessionName: 'a-1' };
    expect(await rig.driver.exists(one)).toBe('gone');
    await rig.driver.close(one);
    expect(await rig.driver.exists(ten.ref)).toBe('open');
    const other = await rig.start(['sleep', '1000'], { sessionName: 'a-1' });
    await rig.driver.close(other.ref);
    expect(await rig.driver.exists(ten.ref)).toBe('open');
  });

  it('is a fresh one at each start', async () => {
    const first = await rig.start(['sh', '-c', 'echo first; exit 1']);
    await first.exit();
    const second = await rig.start(['sh', '-c', 'echo second; sleep 1000'], { attempt: 2 });
    await second.log('second\n');
    expect(rig.tmux('capture-pane', '-p', '-t', '=agent-1:')).not.toContain('first');
    expect(rig.tmux('list-panes', '-s', '-t', '=agent-1').trim().split('\n')).toHaveLength(1);
  });

  it('can be started while the server is ending', async () => {
    for (let attempt = 1; attempt <= 10; attempt += 1) {
      const agent = await rig.start(['true'], { attempt });
      await rig.driver.close(agent.ref);
    }
    const agent = await rig.start(['echo', 'up'], { attempt: 11 });
    await agent.log('up\n');
  });

  it('hands Ctrl-C to the agent and records what comes of it', async () => {
    const agent = await rig.start([
      'bash',
      '-c',
      `trap 'echo got it; exit 9' INT; echo up; while :; do sleep 0.05; done`,
    ]);
    await agent.log('up\n');
    rig.tmux('send-keys', '-t', '=agent-1:', 'C-c');
    expect(await agent.exit()).toMatchObject({ exitCode: 9, signal: null });
    await agent.log('got it\n');
  });

  it('lets the agent read what is typed', async () => {
    const agent = await rig.start(['sh', '-c', 'echo up; read line; echo "<$line>"']);
    await agent.log('up\n');
    rig.tmux('send-keys', '-t', '=agent-1:', 'hello', 'Enter');
    await agent.log('<hello>\n');
  });

  it('that is closed by someone ends the agent, and that is recorded', async () => {
    const agent = await rig.start(['sleep', '1000']);
    await until(() => readAttempt(agent.attemptDir).started);
    rig.tmux('kill-server');
    expect(await agent.exit()).toMatchObject({ exitCode: null, signal: 'SIGHUP' });
    expect(await rig.driver.exists(agent.ref)).toBe('gone');
  });

  it('that is closed leaves an agent alive that ignores it, and stop still finds it', async () => {
    const agent = await rig.start(['bash', '-c', `trap '' HUP; echo up; sleep 1000 & wait; wait`]);
    await agent.log('up\n');
    await until(() => readAttempt(agent.attemptDir).started);
    await rig.driver.close(agent.ref);
    const view = await observeAttempt(agent.attemptDir);
    expect(view).toMatchObject({ wrapper: 'alive', process: 'alive' });
    expect(await rig.stop(agent)).toMatchObject({ survivors: [], exit: { signal: 'SIGTERM' } });
  });

  it('is attached to by name and socket', async () => {
    const agent = await rig.start(['sh', '-c', 'echo look here; sleep 1000']);
    await agent.log('look here\n');
    const [program = '', ...args] = rig.driver.attachArgv(agent.ref) ?? [];
    const terminal = spawn('script', ['-qec', [program, ...args].join(' '), '/dev/null'], {
      env: { ...rig.env, TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    let seen = '';
    terminal.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
    });
    await until(() => seen.includes('look here'));
    rig.tmux('detach-client', '-s', '=agent-1');
    await once(terminal, 'exit');
    const started = readAttempt(agent.attemptDir).started;
    expect(started === null ? null : probe(started)).toBe('alive');
  });

  it('that cannot be asked about is unknown, not gone', async () => {
    const socket = join(rig.root, 'silent');
    const ref = { sessionName: 'agent-1', tmuxSocket: socket };
    expect(await rig.driver.exists(ref)).toBe('gone');
    // Something else listens there and hangs up.
    const server = createServer((connection) => connection.destroy()).listen(socket);
    await once(server, 'listening');
    expect(await rig.driver.exists(ref)).toBe('unknown');
    await expect(rig.driver.close(ref)).rejects.toBeInstanceOf(ToolFailure);
    server.close();
    await once(server, 'close');

    const without = new SessionRig('tmux', compiled);
    without.env.PATH = join(rig.root, 'nowhere');
    expect(await without.driver.exists(ref)).toBe('unknown');
    await without.dispose();
  });

  it.skipIf(process.getuid?.() === 0)('that we may not ask about is unknown', async () => {
    const folder = join(rig.root, 'locked');
    mkdirSync(folder);
    chmodSync(folder, 0o000);
    const ref = { sessionName: 'agent-1', tmuxSocket: join(folder, 'socket') };
    expect(await rig.driver.exists(ref)).toBe('unknown');
    chmodSync(folder, 0o700);
  });

  it('that cannot be started says why and leaves nothing that could run', async () => {
    writeFileSync(join(rig.root, 'file'), '');
    rig.env.TMUX_TMPDIR = join(rig.root, 'file');
    const launch = rig.launch(['true']);
    const failure = await rig.driver.start(launch).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ToolFailure);
    expect((failure as ToolFailure).message).toMatch(/^tmux .*exit 1: /s);
    expect(readAttempt(launch.attemptDir).claim).toBe('void');
    expect(existsSync(join(launch.attemptDir, 'launch.json'))).toBe(false);
  });

  it('has a name that tmux cannot read as anything else', async () => {
    await expect(rig.driver.start(rig.launch(['true'], { sessionName: 'a:b' }))).rejects.toThrow(
      'not a session name',
    );
  });
});
