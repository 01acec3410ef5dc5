import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { logFileOf, prepareAttempt, readAttempt, readExit, voidAttempt } from '../../src/sessions/attempt.js';
import { observeAttempt } from '../../src/sessions/observe.js';
import { probe, processStart } from '../../src/tools/process.js';
import { type Compiled, compileSessions, kinds, SessionRig, until } from './rig.js';

let compiled: Compiled;
beforeAll(() => {
  compiled = compileSessions();
});
afterAll(() => compiled.remove());

describe.each(kinds)('an agent in a %s session', (kind) => {
  let rig: SessionRig;
  beforeEach(() => {
    rig = new SessionRig(kind, compiled);
  });
  afterEach(() => rig.dispose());

  it('is recorded from its start to its end', async () => {
    const agent = await rig.start(['sh', '-c', 'echo hello; exit 3']);
    const exit = await agent.exit();
    expect(exit).toMatchObject({ exitCode: 3, signal: null, error: null });
    expect(exit.endedAt).toBeGreaterThanOrEqual(exit.startedAt);
    const log = await agent.log('[metawsm] agent exited with status 3\n');
    expect(log).toContain('hello\n');
    const view = await observeAttempt(agent.attemptDir);
    expect(view).toMatchObject({ claim: 'wrapper', process: 'dead', rebooted: false });
    expect(view.started?.startedAt).toBe(exit.startedAt);
    expect(view.lastOutputAt).toBeGreaterThan(0);
    expect(existsSync(join(agent.attemptDir, 'launch.json'))).toBe(false);
  });

  it('is seen alive while it runs', async () => {
    const agent = await rig.start(['sleep', '1000']);
    const started = await until(() => readAttempt(agent.attemptDir).started);
    expect(await observeAttempt(agent.attemptDir)).toMatchObject({
      claim: 'wrapper',
      wrapper: 'alive',
      process: 'alive',
      exit: null,
      lastOutputAt: null,
    });
    expect(readFileSync(`/proc/${started.pid}/cmdline`, 'latin1')).toBe('sleep\x001000\0');
  });

  it('is recorded as killed by a signal', async () => {
    const agent = await rig.start(['sh', '-c', 'kill -KILL $$']);
    expect(await agent.exit()).toMatchObject({ exitCode: null, signal: 'SIGKILL', error: null });
    await agent.log('[metawsm] agent exited by signal SIGKILL\n');
  });

  it('has all of its output in the log, much and wide', async () => {
    const script = `for (let i = 0; i < 4000; i += 1) console.log(i + ':' + 'x'.repeat(400));`;
    writeFileSync(join(rig.root, 'much.js'), script);
    const agent = await rig.start([process.execPath, 'much.js']);
    const log = await agent.log('[metawsm] agent exited with status 0\n');
    const lines = log.split('\n').filter((line) => line.endsWith('x'));
    expect(lines).toHaveLength(4000);
    expect(lines.every((line, index) => line === `${index}:${'x'.repeat(400)}`)).toBe(true);
  });

  it('has its output in the log even if it ends at once', async () => {
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      const agent = await rig.start(['echo', `only line ${attempt}`], { attempt });
      const log = await agent.log('[metawsm] agent exited with status 0\n');
      expect(log.trimStart().startsWith(`only line ${attempt}\n`)).toBe(true);
    }
  });

  it.each([
    ['a missing program', ['no-such-program'], '.', 127, 'cannot start "no-such-program": no such program'],
    ['a program that cannot be run', ['./data'], '.', 126, 'cannot start "./data": permission denied'],
    [
      'a script without its interpreter',
      ['./lost'],
      '.',
      127,
      'cannot start "./lost": its #! interpreter is missing',
    ],
    ['a missing folder', ['true'], 'nowhere', 126, 'no such folder'],
    ['an argument that cannot be passed', ['echo', 'a\0b'], '.', 126, 'null bytes'],
    ['nothing to run', [], '.', 126, 'cannot start ""'],
  ])('records %s', async (_name, argv, folder, exitCode, error) => {
    writeFileSync(join(rig.root, 'data'), 'text\n', { mode: 0o644 });
    writeFileSync(join(rig.root, 'lost'), '#!/no/such/interpreter\n', { mode: 0o755 });
    const agent = await rig.start(argv, { cwd: join(rig.root, folder) });
    const exit = await agent.exit();
    expect(exit).toMatchObject({ exitCode, signal: null });
    expect(exit.error).toContain(error);
    expect(await agent.log('[metawsm] agent exited')).toContain(`[metawsm] ${exit.error}\n`);
    expect(await observeAttempt(agent.attemptDir)).toMatchObject({ process: null, started: null, exit });
  });

  it('gets exactly the environment it was given', async () => {
    const env = {
      PATH: '/usr/bin:/bin',
      A: 'one\ntwo',
      EMPTY: '',
      TMUX: 'outer',
      TMUX_PANE: '%7',
      TERM: 'x',
      'ä.b': '$A',
    };
    const agent = await rig.start(['/usr/bin/env', '-0'], { env });
    const log = await agent.log('[metawsm] agent exited with status 0\n');
    const seen = Object.fromEntries(
      log
        .slice(0, log.indexOf('\n[metawsm]') + 1)
        .split('\0')
        .filter((entry) => entry.includes('='))
        .map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
    );
    const { TMUX: _tmux, TMUX_PANE: _pane, TERM: _term, ...own } = env;
    if (kind === 'process') {
      expect(seen).toEqual({ ...own, TERM: 'x' });
    } else {
      const pane = {
        TERM: expect.stringMatching(/screen|tmux/),
        TMUX: expect.stringContaining(rig.root),
        TMUX_PANE: '%0',
      };
      expect(seen).toEqual({ ...own, ...pane });
    }
  });

  it('keeps secrets off every command line, and out of the environment of its session', async () => {
    const env = { PATH: process.env.PATH ?? '', TOKEN: 'hunter2-hunter2' };
    const agent = await rig.start(['sleep', '1000'], { env });
    const started = await until(() => readAttempt(agent.attemptDir).started);
    const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
    const contents = (file: string) => all.map((pid) => readOr(`/proc/${pid}/${file}`));
    expect(contents('cmdline').some((line) => line.includes('hunter2'))).toBe(false);
    expect(readOr(`/proc/${started.pid}/environ`)).toContain('TOKEN=hunter2-hunter2');
    expect(readOr(`/proc/${started.wrapperPid}/environ`)).not.toMatch(/hunter2|swordfish/);
    if (kind === 'tmux') {
      const server = rig.tmux('display-message', '-p', '#{pid}').trim();
      expect(readOr(`/proc/${server}/environ`)).toContain('PATH=');
      expect(readOr(`/proc/${server}/environ`)).not.toMatch(/hunter2|swordfish/);
    }
    expect(statSync(agent.attemptDir).mode & 0o777).toBe(0o700);
    expect(statSync(logFileOf(agent.attemptDir)).mode & 0o777).toBe(0o600);
  });

  it('has nothing open but its own input and output', async () => {
    const agent = await rig.start(['sleep', '1000']);
    const { pid } = await until(() => readAttempt(agent.attemptDir).started);
    await until(() => readOr(`/proc/${pid}/cmdline`).startsWith('sleep'));
    // What this test's own starter leaks has nothing to do with the attempt.
    const open = readdirSync(`/proc/${pid}/fd`)
      .filter((name) => Number(name) > 2)
      .map((name) => readlinkSync(`/proc/${pid}/fd/${name}`));
    expect(open.filter((file) => file.includes(rig.root))).toEqual([]);
    const stdin = readlinkSync(`/proc/${pid}/fd/0`);
    expect(stdin).toMatch(kind === 'tmux' ? /^\/dev\/pts\// : /^\/dev\/null$/);
  });

  it('outlives whoever started it, killed with SIGKILL', async () => {
    const launch = rig.launch(['sh', '-c', 'echo up; while [ ! -e go ]; do sleep 0.05; done; echo done']);
    const file = join(rig.root, 'starter.mjs');
    writeFileSync(
      file,
      `import { sessionDriver } from ${JSON.stringify(compiled.index)};
       const [kind, launch] = JSON.parse(process.argv[2]);
       const ref = await sessionDriver(kind, { wrapper: ${JSON.stringify(compiled.wrapper)} }).start(launch);
       console.log(JSON.stringify(ref));
       setInterval(() => {}, 1000);`,
    );
    const starter = spawn(process.execPath, [file, JSON.stringify([kind, launch])], {
      env: rig.env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(starter.stdout, 'data');
    const agent = rig.adopt(launch, JSON.parse(String(line)));
    starter.kill('SIGKILL');
    await once(starter, 'exit');
    await agent.log('up\n');
    await until(() => readAttempt(agent.attemptDir).started);
    expect(await observeAttempt(agent.attemptDir)).toMatchObject({ wrapper: 'alive', process: 'alive' });
    writeFileSync(join(rig.root, 'go'), '');
    expect(await agent.exit()).toMatchObject({ exitCode: 0 });
    await agent.log('done\n');
  });

  it('runs once, however many wrappers come at once', async () => {
    const launch = rig.launch(['sh', '-c', 'echo ran >> runs']);
    prepareAttempt(launch, kind);
    const wrappers = Array.from({ length: 6 }, () =>
      spawn(process.execPath, [compiled.wrapper, launch.attemptDir]),
    );
    await Promise.all(wrappers.map((wrapper) => once(wrapper, 'exit')));
    expect(wrappers.map((wrapper) => wrapper.exitCode)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(readExit(launch.attemptDir)).toMatchObject({ exitCode: 0 });
    expect(readFileSync(join(rig.root, 'runs'), 'utf8')).toBe('ran\n');
    expect(readdirSync(launch.attemptDir).filter((name) => name.startsWith('.'))).toEqual([]);
    expect(() => prepareAttempt(launch, kind)).toThrow('it was started already');
    await expect(rig.driver.start(launch)).rejects.toThrow('attempt 1 of agent agent cannot be started');
    expect(voidAttempt(launch.attemptDir)).toBe('already-claimed');
  });

  it('is ended with its grandchildren, also those in sessions of their own', async () => {
    const script = `trap 'echo bye > bye; exit 5' TERM
      sleep 1001 & echo $! > inner
      setsid sleep 1002 & echo $! > setsid
      (trap '' TERM HUP; echo up > stubborn-up; while :; do sleep 0.1; done) & echo $! > stubborn
      while [ ! -e stubborn-up ]; do sleep 0.02; done
      echo ready; while :; do sleep 0.05; done`;
    const agent = await rig.start(['bash', '-c', script]);
    await agent.log('ready\n');
    const pids = ['inner', 'setsid', 'stubborn'].map((name) =>
      Number(readFileSync(join(rig.root, name), 'utf8')),
    );
    const identities = pids.map((pid) => ({ pid, pidStart: processStart(pid) ?? '' }));
    for (const identity of identities) expect(probe(identity)).toBe('alive');
    const { started } = readAttempt(agent.attemptDir);

    // Time enough for the one that wants to go, on a busy machine too.
    const stopped = await rig.stop(agent, 3_000);
    expect(stopped).toMatchObject({ survivors: [], exit: { exitCode: 5, signal: null } });
    expect(existsSync(join(rig.root, 'bye'))).toBe(true);
    for (const identity of identities) expect(probe(identity)).toBe('dead');
    expect(probe({ pid: started?.wrapperPid ?? 0, pidStart: started?.wrapperPidStart ?? '' })).toBe('dead');
    expect(await rig.driver.exists(agent.ref)).toBe('gone');
    // And once more, when there is nothing left to do.
    expect(await rig.stop(agent)).toEqual(stopped);
  });

  it('is ended by SIGKILL when it does not want to go, and that is recorded', async () => {
    const agent = await rig.start(['bash', '-c', `trap '' TERM HUP; echo up; while :; do sleep 0.1; done`]);
    await agent.log('up\n');
    const stopped = await rig.stop(agent, 100);
    expect(stopped).toMatchObject({ survivors: [], exit: { exitCode: null, signal: 'SIGKILL' } });
  });

  it('leaves nothing behind when it ended before it is stopped, with a child still running', async () => {
    const agent = await rig.start([
      'bash',
      '-c',
      `trap '' HUP; nohup sleep 1003 > /dev/null & echo $! > child`,
    ]);
    await agent.exit();
    const child = Number(readFileSync(join(rig.root, 'child'), 'utf8'));
    const identity = { pid: child, pidStart: processStart(child) ?? '' };
    expect(probe(identity)).toBe('alive');
    expect(await rig.stop(agent)).toMatchObject({ survivors: [], exit: { exitCode: 0 } });
    expect(probe(identity)).toBe('dead');
  });

  it('is stopped right after its start, and then never runs or is ended', async () => {
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      const agent = await rig.start(['sleep', '1004'], { attempt });
      const stopped = await rig.stop(agent);
      const now = readAttempt(agent.attemptDir);
      if (stopped.exit === null) expect(now).toMatchObject({ claim: 'void', started: null });
      else expect(stopped.exit.signal).toBe('SIGTERM');
      expect((await observeAttempt(agent.attemptDir)).process).not.toBe('alive');
    }
  });

  it('never runs in a void attempt', async () => {
    const launch = rig.launch(['touch', 'ran']);
    prepareAttempt(launch, kind);
    expect(voidAttempt(launch.attemptDir)).toBe('voided');
    expect(voidAttempt(launch.attemptDir)).toBe('voided');
    expect(existsSync(join(launch.attemptDir, 'launch.json'))).toBe(false);
    const late = spawnSync(process.execPath, [compiled.wrapper, launch.attemptDir], { encoding: 'utf8' });
    expect(late).toMatchObject({
      status: 0,
      stdout: '[metawsm] this attempt was already claimed, nothing is started\n',
    });
    expect(existsSync(join(rig.root, 'ran'))).toBe(false);
    expect(await observeAttempt(launch.attemptDir)).toMatchObject({
      claim: 'void',
      wrapper: 'dead',
      process: null,
    });
    await expect(rig.driver.start(launch)).rejects.toThrow('it was given up');
  });

  it('keeps its state in a folder of any name', async () => {
    const name = `st at'e"#{x}#[bold]##%H%%$(touch pwned)#(touch pwned2)\`id\`;\\b ü`;
    const attemptDir = join(rig.root, name, 'attempt-1');
    const agent = await rig.start(['echo', 'here'], { attemptDir });
    expect(await agent.log('[metawsm] agent exited with status 0\n')).toContain('here\n');
    expect(readdirSync(rig.root).filter((entry) => entry.includes('pwned') && entry !== name)).toEqual([]);
  });

  it('is started in the folder and with the umask of the caller', async () => {
    const agent = await rig.start(['sh', '-c', 'pwd -P; umask']);
    const log = await agent.log('[metawsm] agent exited with status 0\n');
    expect(log).toContain(`${rig.root}\n0${process.umask().toString(8).padStart(3, '0')}\n`);
  });

  it('is not taken for dead without a record while its wrapper is about to write it', async () => {
    const agent = await rig.start(['sh', '-c', 'while [ ! -e go ]; do sleep 0.02; done; exit 7']);
    const started = await until(() => readAttempt(agent.attemptDir).started);
    process.kill(started.wrapperPid, 'SIGSTOP');
    writeFileSync(join(rig.root, 'go'), '');
    await until(() => probe(started) === 'dead');
    const looking = observeAttempt(agent.attemptDir);
    try {
      process.kill(started.wrapperPid, 'SIGCONT');
    } catch {
      // tmux itself lets a stopped child go on: it may be gone already.
    }
    expect(await looking).toMatchObject({ process: 'dead', exit: { exitCode: 7 } });
  });

  it('is dead without a record when its wrapper was killed, too', async () => {
    const agent = await rig.start(['sleep', '1005']);
    const started = await until(() => readAttempt(agent.attemptDir).started);
    process.kill(started.wrapperPid, 'SIGKILL');
    await until(() => probe({ pid: started.wrapperPid, pidStart: started.wrapperPidStart }) === 'dead');
    if (kind === 'process') {
      expect(await observeAttempt(agent.attemptDir)).toMatchObject({ wrapper: 'dead', process: 'alive' });
    }
    expect(await rig.stop(agent)).toEqual({ exit: null, survivors: [] });
    expect(await observeAttempt(agent.attemptDir)).toMatchObject({
      wrapper: 'dead',
      process: 'dead',
      exit: null,
    });
  });

  it('passes a SIGTERM to its wrapper on', async () => {
    const agent = await rig.start(['sleep', '1006']);
    const started = await until(() => readAttempt(agent.attemptDir).started);
    process.kill(started.wrapperPid, 'SIGINT');
    process.kill(started.wrapperPid, 'SIGTERM');
    expect(await agent.exit()).toMatchObject({ exitCode: null, signal: 'SIGTERM' });
  });
});

function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
