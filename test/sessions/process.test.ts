import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { shellArgv } from '../../src/sessions/argv.js';
import { autoSession } from '../../src/sessions/index.js';
import {
  bootId,
  findProgram,
  isEarlierBoot,
  probe,
  processStart,
  selfIdentity,
  terminateTree,
} from '../../src/tools/process.js';
import { until } from './rig.js';

let folder: string;
let children: ChildProcess[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'metawsm-process-'));
  children = [];
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

async function start(argv: readonly string[], detached = false) {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { cwd: folder, detached, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  await once(child, 'spawn');
  const pid = child.pid ?? 0;
  return { child, identity: { pid, pidStart: processStart(pid) ?? '' } };
}

describe('probe', () => {
  it('knows the running process', () => {
    const self = selfIdentity();
    expect(self).toMatchObject({ pid: process.pid, host: hostname(), bootId: bootId() });
    expect(self.bootId).not.toBe('');
    expect(probe(self)).toBe('alive');
  });

  it('does not take another process with the same pid for it', () => {
    expect(probe({ ...selfIdentity(), pidStart: '1' })).toBe('dead');
  });

  it('calls a process of an earlier boot dead, whatever has its pid now', () => {
    const old = { ...selfIdentity(), bootId: 'another' };
    expect(probe(old)).toBe('dead');
    expect(isEarlierBoot(old)).toBe(true);
    expect(isEarlierBoot(selfIdentity())).toBe(false);
  });

  it('cannot say anything about another host, nor without a start time', () => {
    const far = { ...selfIdentity(), host: 'elsewhere.invalid', bootId: 'another' };
    expect(probe(far)).toBe('unknown');
    expect(isEarlierBoot(far)).toBe(false);
    expect(probe({ pid: process.pid, pidStart: '' })).toBe('unknown');
    expect(probe({ pid: Number.NaN, pidStart: '1' })).toBe('unknown');
    expect(probe({ pid: -1, pidStart: '1' })).toBe('unknown');
  });

  it('calls a process dead that has ended, and a zombie', async () => {
    const { child, identity } = await start(['cat', '/dev/zero']);
    expect(probe(identity)).toBe('alive');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(probe(identity)).toBe('dead');

    // The parent never asks for the status of its child.
    const parent = await start([
      'sh',
      '-c',
      'sh -c "while [ ! -e go ]; do sleep 0.01; done" & echo $!; exec sleep 1000',
    ]);
    const [line] = await once(parent.child.stdout as NonNullable<ChildProcess['stdout']>, 'data');
    const pid = Number(String(line));
    await until(() => readFileSync(`/proc/${parent.identity.pid}/comm`, 'utf8') === 'sleep\n');
    writeFileSync(join(folder, 'go'), '');
    await until(() => / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')));
    expect(probe({ pid, pidStart: processStart(pid) ?? '' })).toBe('dead');
  });

  it('reads the start of a process whose name looks like more fields', async () => {
    const name = 'a) S 1 (b';
    spawnSync('cp', [findProgram('sleep', process.env) ?? '', join(folder, name)]);
    const { identity } = await start([`./${name}`, '1000']);
    expect(identity.pidStart).toMatch(/^\d+$/);
    expect(probe(identity)).toBe('alive');
  });
});

describe('terminateTree', () => {
  it('never signals a process that is not the recorded one', async () => {
    const { identity } = await start(['sleep', '1000'], true);
    expect(await terminateTree({ pid: identity.pid, pidStart: '1' }, { graceMs: 0 })).toEqual([]);
    expect(await terminateTree({ ...identity, bootId: 'another' }, { graceMs: 0 })).toEqual([]);
    await expect(terminateTree({ ...identity, host: 'far.invalid' }, { graceMs: 0 })).rejects.toThrow(
      'far.invalid',
    );
    expect(probe(identity)).toBe('alive');
  });

  it('ends a stopped process', async () => {
    const { identity } = await start(['sleep', '1000']);
    process.kill(identity.pid, 'SIGSTOP');
    expect(await terminateTree(identity, { graceMs: 60_000 })).toEqual([]);
    expect(probe(identity)).toBe('dead');
  });

  it('lets an agent clean up with programs of its own', async () => {
    const script = `trap 'sleep 0.2; echo saved > saved; exit' TERM; echo up; while :; do sleep 0.05; done`;
    const { child, identity } = await start(['bash', '-c', script], true);
    await once(child.stdout as NonNullable<ChildProcess['stdout']>, 'data');
    expect(await terminateTree(identity, { graceMs: 60_000 })).toEqual([]);
    expect(readFileSync(join(folder, 'saved'), 'utf8')).toBe('saved\n');
  });

  it('finds those whose leader is gone only by their mark', async () => {
    const script = 'sleep 1000 > /dev/null & echo $!';
    const { child, identity } = await start(['env', 'RUN=1', 'sh', '-c', script], true);
    const [line] = await once(child.stdout as NonNullable<ChildProcess['stdout']>, 'data');
    if (child.exitCode === null) await once(child, 'exit');
    const orphan = { pid: Number(String(line)), pidStart: processStart(Number(String(line))) ?? '' };
    expect(await terminateTree(identity, { graceMs: 0 })).toEqual([]);
    expect(await terminateTree(identity, { graceMs: 0, mark: ['RUN=2'] })).toEqual([]);
    expect(probe(orphan)).toBe('alive');
    expect(await terminateTree(identity, { graceMs: 60_000, mark: ['RUN=1'] })).toEqual([]);
    expect(probe(orphan)).toBe('dead');
  });
});

describe('what is on the PATH', () => {
  it('is found without running it', () => {
    const bin = join(folder, 'bin');
    mkdirSync(join(bin, 'folder'), { recursive: true });
    writeFileSync(join(bin, 'tool'), '');
    expect(findProgram('tool', { PATH: bin })).toBe(null);
    chmodSync(join(bin, 'tool'), 0o755);
    expect(findProgram('tool', { PATH: `:relative:${folder}:${bin}` })).toBe(join(bin, 'tool'));
    expect(findProgram('folder', { PATH: bin })).toBe(null);
    expect(findProgram('tool', {})).toBe(null);
  });

  it('decides the shell of a string, and leaves a list alone', () => {
    writeFileSync(join(folder, 'bash'), '', { mode: 0o755 });
    expect(shellArgv('a && b', { PATH: folder })).toEqual(['bash', '-c', 'a && b']);
    expect(shellArgv('a && b', { PATH: join(folder, 'nowhere') })).toEqual(['sh', '-c', 'a && b']);
    expect(shellArgv(['a', '&&', 'b'], { PATH: folder })).toEqual(['a', '&&', 'b']);
  });

  it('decides what session auto means, outside CI', () => {
    writeFileSync(join(folder, 'tmux'), '', { mode: 0o755 });
    expect(autoSession({ PATH: folder })).toBe('tmux');
    expect(autoSession({ PATH: folder, CI: 'false' })).toBe('tmux');
    expect(autoSession({ PATH: folder, CI: '' })).toBe('tmux');
    expect(autoSession({ PATH: folder, CI: 'true' })).toBe('process');
    expect(autoSession({ PATH: folder, CI: '1' })).toBe('process');
    expect(autoSession({ PATH: join(folder, 'nowhere') })).toBe('process');
  });
});
