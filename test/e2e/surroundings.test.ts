import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import type { Status } from '../support/documents.js';
import { isAlive, type Result, start } from '../support/processes.js';
import { agent, checkout, hasTmux, main, type Rig, test } from '../support/rig.js';
import { snapshot } from '../support/snapshot.js';

/** No stack trace, and no claim that the world's trouble is a bug. */
function expectWords({ text }: Result): void {
  expect(text).not.toMatch(/\n\s+at .*(\.js|node:)/);
  expect(text).not.toMatch(/internal error|bug in metawsm/);
  expect(text.trim()).not.toBe('');
}

/** Runs metawsm with exactly this environment, so that a variable can be missing. */
async function withEnv(rig: Rig, command: string, env: Record<string, string | undefined>): Promise<Result> {
  const wanted = Object.entries({ ...rig.env, ...env }).filter(([, value]) => value !== undefined);
  const options = {
    cwd: rig.project,
    env: Object.fromEntries(wanted) as Record<string, string>,
    timeout: 40_000,
  };
  return start(process.execPath, [main, ...command.split(' ')], options).result;
}

const isRoot = process.getuid?.() === 0;
const canMount = isRoot && process.platform === 'linux' && tries(['unshare', '-m', 'true']);

function tries([file = '', ...args]: string[]): boolean {
  try {
    execFileSync(file, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** A file system of its own at a folder of the test, for as long as `work` takes. */
async function onTmpfs(rig: Rig, folder: string, size: string, work: () => Promise<void>): Promise<void> {
  mkdirSync(folder, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0755`, 'tmpfs', folder]);
  try {
    await work();
  } finally {
    for (const run of await rig.runs().catch(() => [])) await rig.endAgents(run.id);
    execFileSync('umount', ['-l', folder]);
  }
}

function remount(folder: string, how: 'ro' | 'rw'): void {
  execFileSync('mount', ['-o', `remount,${how}`, folder]);
}

/** Takes all the space that is left, but `spare` bytes. */
function fill(folder: string, spare = 0): string {
  const file = path.join(folder, 'ballast');
  writeFileSync(file, '');
  for (const size of [1 << 16, 1 << 12]) {
    try {
      for (;;) appendFileSync(file, Buffer.alloc(size));
    } catch {
      // Full.
    }
  }
  if (spare > 0) truncateSync(file, Math.max(0, readFileSync(file).length - spare));
  return file;
}

describe.skipIf(!canMount)('disks', () => {
  test('a read-only state folder: looking works, changing says what is wrong', async ({ rig }) => {
    const api = await rig.repo('api');
    rig.manifest({ agent: { command: agent('complete') } });
    const disk = path.join(rig.dir, 'disk');
    const flag = ['--state', path.join(disk, 'state')];
    await onTmpfs(rig, disk, '8m', async () => {
      remount(disk, 'ro');
      await rig.run(['plan', 'run.yaml', ...flag]);
      const refused = await rig.run(['apply', 'run.yaml', ...flag], { code: 1 });
      expectWords(refused);
      expect(refused.text).toMatch(/read-only/);
      expect(refused.text).toContain(disk);
      expect(await api.worktrees()).toEqual([]);

      remount(disk, 'rw');
      await rig.run(['apply', 'run.yaml', '--wait', ...flag]);
      // With its last writer gone nothing is left to be written but what a command writes.
      remount(disk, 'ro');
      const { recorded, run } = await rig.json<Status>(['status', 'run.yaml', ...flag]);
      expect({ recorded, state: run.state }).toEqual({ recorded: false, state: 'completed' });
      await rig.run(['runs', ...flag]);
      await rig.run(['plan', 'run.yaml', ...flag]);
      await rig.run(['logs', 'run.yaml', ...flag]);
      for (const command of ['verify run.yaml', 'cleanup run.yaml --force', 'restart run.yaml']) {
        const result = await rig.run([...command.split(' '), ...flag], { code: 1 });
        expectWords(result);
        expect.soft(result.text, command).toMatch(/cannot be written|read-only/);
      }
      expect(await api.worktrees()).toHaveLength(1);
      remount(disk, 'rw');
      await rig.run(['cleanup', 'run.yaml', ...flag]);
      expect(existsSync(run.workspace)).toBe(false);
    });
  });

  test('a full disk under the state folder: said, nothing half done, and it goes on after', async ({
    rig,
  }) => {
    const api = await rig.repo('api');
    rig.manifest();
    const disk = path.join(rig.dir, 'disk');
    const flag = ['--state', path.join(disk, 'state')];
    await onTmpfs(rig, disk, '2m', async () => {
      let ballast = fill(disk);
      const none = await rig.run(['apply', 'run.yaml', ...flag], { code: 1 });
      expectWords(none);
      expect(none.text).toMatch(/no space/i);
      expect(await api.worktrees()).toEqual([]);

      rmSync(ballast);
      await rig.run(['apply', 'run.yaml', ...flag]);
      await rig.untilFile('alive-agent-1');
      ballast = fill(disk);
      const { run } = await rig.json<{ run: { state: string } }>(['status', 'run.yaml', ...flag]);
      expect(run.state).toBe('running');
      for (const command of ['restart run.yaml', 'cleanup run.yaml --force']) {
        const result = await rig.run([...command.split(' '), ...flag], { code: 'any' });
        if (result.code === 0) continue;
        expectWords(result);
        expect(result.text).toMatch(/no space|full|could not be read or written/i);
      }
      rmSync(ballast);
      await rig.run(['cleanup', 'run.yaml', '--force', ...flag]);
      expect(await api.worktrees()).toEqual([]);
    });
  });

  test('a workspace root that is full or read-only fails the step, and apply goes on from there', async ({
    rig,
  }) => {
    const api = await rig.repo('api', { files: { 'big.bin': 'x'.repeat(300_000) } });
    rig.manifest();
    mkdirSync(rig.workspaces);
    await onTmpfs(rig, rig.workspaces, '512k', async () => {
      remount(rig.workspaces, 'ro');
      const readOnly = await rig.run('apply run.yaml', { code: 1 });
      expectWords(readOnly);
      expect(readOnly.text).toMatch(/workspace\.create[\s\S]*read-only/);
      expect(await rig.state()).toBe('failed (step_failed)');
      remount(rig.workspaces, 'rw');

      const ballast = fill(rig.workspaces, 100_000);
      const full = await rig.run('apply run.yaml', { code: 1 });
      expectWords(full);
      expect(full.text).toMatch(/worktree\.create\/api[\s\S]*(unable to write|[Nn]o space)/);
      expect(await api.branches()).toEqual(['main']);
      rmSync(ballast);

      expect((await rig.run('apply run.yaml')).text).toMatch(/resuming run-\S+ at worktree\.create\/api/);
      await rig.untilFile('alive-agent-1');
      expect(await rig.state()).toBe('running');
    });
  });

  test('a workspace root on another file system: made, cleaned up, notes and nested work kept', async ({
    rig,
  }) => {
    await rig.repo('api');
    rig.manifest();
    await onTmpfs(rig, rig.workspaces, '16m', async () => {
      const { run, repos } = await rig.applied();
      const tree = repos[0]?.path ?? '';
      const notes = path.join(run.workspace, 'notes');
      mkdirSync(notes);
      writeFileSync(path.join(notes, 'line\nbreak'), 'kept');
      symlinkSync('nowhere', path.join(notes, 'link'));
      mkdirSync(path.join(tree, 'nested'));
      await rig.at(path.join(tree, 'nested')).git('init', '-q');
      await rig.at(path.join(tree, 'nested')).commit('Inside', { 'inside.txt': 'x' });
      await rig.run('cleanup run.yaml --force');
      expect(existsSync(run.workspace)).toBe(false);
      const kept = path.join(rig.stateFolder, 'runs', run.id);
      expect(readFileSync(path.join(kept, 'workspace/notes/line\nbreak'), 'utf8')).toBe('kept');
      expect(readdirSync(path.join(kept, 'workspace/notes')).sort()).toEqual(['line\nbreak', 'link']);
      expect(existsSync(path.join(kept, 'nested/api/nested/inside.txt'))).toBe(true);
    });
  });
});

test('a file size limit that the database meets is said', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const limited = await start(
    'sh',
    ['-c', 'ulimit -f 8; exec "$@"', 'sh', process.execPath, main, 'apply', 'run.yaml'],
    { cwd: rig.project, env: rig.env, timeout: 40_000 },
  ).result;
  expect(limited.code).toBe(1);
  expectWords(limited);
  expect(limited.text).toMatch(/metawsm\.db.*(could not be|no space)|ulimit/s);
  await rig.run('apply run.yaml');
  await rig.untilFile('alive-agent-1');
});

describe.skipIf(!isRoot || !tries(['setpriv', '--version']))('as somebody else', () => {
  const NOBODY = 65534;

  /** The program where everybody can read it: the checkout may lie in a folder that is root's alone. */
  function forEverybody(rig: Rig): string {
    const folder = path.join(rig.dir, 'installed');
    cpSync(path.dirname(main), path.join(folder, 'dist'), { recursive: true });
    const others = ['package.json', 'schemas', 'node_modules/bindings', 'node_modules/file-uri-to-path'];
    const sqlite3 = ['package.json', 'lib', 'build/Release/node_sqlite3.node'];
    for (const name of [...others, ...sqlite3.map((each) => `node_modules/sqlite3/${each}`)]) {
      cpSync(path.join(checkout, name), path.join(folder, name), { recursive: true });
    }
    return path.join(folder, 'dist', path.basename(main));
  }

  test('a repo that cannot be read, or belongs to somebody else, is a problem with its name', async ({
    rig,
  }) => {
    const api = await rig.repo('api');
    await rig.repo('web');
    rig.manifest({
      repos: [
        { name: 'api', path: '../repos/api' },
        { name: 'web', path: '../repos/web' },
      ],
      agents: [],
    });
    const installed = forEverybody(rig);
    execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, rig.dir]);
    // One that is closed to him, and one that git does not trust because it is root's.
    execFileSync('chown', ['-R', 'root:root', api.path, path.join(rig.dir, 'repos/web')]);
    chmodSync(path.join(api.path, '.git'), 0o700);
    for (const command of ['plan', 'apply']) {
      const result = await start(
        'setpriv',
        [
          '--reuid',
          `${NOBODY}`,
          '--regid',
          `${NOBODY}`,
          '--clear-groups',
          process.execPath,
          installed,
          command,
          'run.yaml',
        ],
        { cwd: rig.project, env: rig.env, timeout: 40_000 },
      ).result;
      expect(result.code, result.text).toBe(1);
      expectWords(result);
      expect(result.text).toMatch(/repo api: /);
      expect(result.text).toMatch(/repo web: .*(dubious ownership|safe\.directory)/s);
    }
    chownSync(rig.dir, 0, 0);
    expect(existsSync(path.join(rig.dir, 'workspaces'))).toBe(false);
  });
});

/** A PATH with node and the usual tools, but without some. */
function pathWithout(rig: Rig, ...names: string[]): string {
  const folder = path.join(rig.dir, `without-${names.join('-')}`);
  mkdirSync(folder);
  for (const from of (rig.env.PATH ?? '').split(':').filter((each) => existsSync(each))) {
    for (const name of readdirSync(from)) {
      if (names.includes(name) || existsSync(path.join(folder, name))) continue;
      try {
        symlinkSync(path.join(from, name), path.join(folder, name));
      } catch {
        // There twice, one of them broken.
      }
    }
  }
  return folder;
}

test('without git: plan and apply say so before anything is made, status still shows the agents', async ({
  rig,
}) => {
  const api = await rig.repo('api');
  rig.manifest();
  const env = { PATH: pathWithout(rig, 'git') };
  for (const command of ['plan run.yaml', 'apply run.yaml']) {
    const result = await rig.run(command, { env, code: 1 });
    expectWords(result);
    expect(result.text).toMatch(/git is not installed|git .*PATH/);
  }
  expect(await api.worktrees()).toEqual([]);
  expect(existsSync(rig.workspaces)).toBe(false);

  await rig.applied();
  const status = await rig.run('status run.yaml', { env });
  expectWords(status);
  expect(status.text).toMatch(/running/);
  await rig.run('runs', { env });
  await rig.run('logs run.yaml', { env });
  const cleanup = await rig.run('cleanup run.yaml', { env, code: 'any' });
  expect([1, 4]).toContain(cleanup.code);
  expectWords(cleanup);
  expect(cleanup.text).toMatch(/git/);
  expect((await rig.agentNamed()).state).toBe('running');
});

test('without tmux: automatic sessions are processes, a wanted one is a problem', async ({ rig }) => {
  await rig.repo('api');
  const env = { PATH: pathWithout(rig, 'tmux') };
  rig.manifest({ session: 'tmux' });
  for (const command of ['plan run.yaml', 'apply run.yaml']) {
    const result = await rig.run(command, { env, code: 1 });
    expectWords(result);
    expect(result.text).toMatch(/tmux/);
  }
  rig.manifest({ session: 'auto' });
  await rig.run('apply run.yaml', { env });
  expect((await rig.status()).run.session).toBe('process');
});

test.skipIf(!hasTmux)('tmux that went away meanwhile: status and stop do without it', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ session: 'tmux' });
  await rig.applied();
  const { pid } = await rig.agentNamed();
  const env = { PATH: pathWithout(rig, 'tmux') };
  const status = await rig.run('status run.yaml --json', { env });
  expect(JSON.parse(status.stdout)).toMatchObject({ run: { state: 'running' } });
  const stop = await rig.run('stop run.yaml', { env, code: 'any' });
  expectWords(stop);
  expect(isAlive(pid ?? 0)).toBe(false);
  await rig.run('stop run.yaml');
  expect(await rig.state()).toBe('stopped');
});

const broken: readonly (readonly [what: string, spoil: (file: string) => void, word: RegExp])[] = [
  ['no database at all', (file) => writeFileSync(file, 'hello '.repeat(1000)), /not a SQLite database/],
  [
    'damaged pages',
    (file) => {
      const bytes = readFileSync(file);
      bytes.fill(0x5a, 4096);
      writeFileSync(file, bytes);
    },
    /damaged/,
  ],
  ['cut in the middle', (file) => truncateSync(file, 6000), /damaged|not a SQLite/],
  [
    'of a newer version',
    (file) => {
      const bytes = readFileSync(file);
      // The layout's number in the header of SQLite's file format.
      bytes.writeUInt32BE(999, 60);
      writeFileSync(file, bytes);
    },
    /made by metawsm \d+\.\d+\.\d+ .*layout 999/,
  ],
];

test.for(broken)(
  'a database that is %s is refused by every command, and kept to the byte',
  async ([, spoil, word], { rig }) => {
    await rig.repo('api');
    rig.manifest({ agents: [] });
    await rig.run('apply run.yaml');
    const file = path.join(rig.stateFolder, 'metawsm.db');
    spoil(file);
    const before = snapshot(rig.stateFolder);
    const bytes = readFileSync(file);
    for (const command of [
      'plan run.yaml',
      'apply run.yaml',
      'status run.yaml',
      'runs',
      'stop run.yaml',
      'cleanup run.yaml --force',
      'verify run.yaml',
      'logs run.yaml',
    ]) {
      const result = await rig.run(command, { code: 1 });
      expectWords(result);
      expect.soft(result.text, command).toMatch(word);
      expect.soft(result.text, command).toContain(file);
      expect(readFileSync(file).equals(bytes), command).toBe(true);
      const json = await rig.run(`${command} --json`, { code: 1 });
      expect(JSON.parse(json.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({ exit_code: 1 });
    }
    expect(Object.keys(snapshot(rig.stateFolder)).sort()).toEqual(Object.keys(before).sort());
  },
);

test('HOME unset, TMPDIR unset or missing', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest();
  const env = {
    HOME: undefined,
    XDG_CONFIG_HOME: undefined,
    TMPDIR: undefined,
    USER: undefined,
    GIT_AUTHOR_NAME: 'A',
    GIT_AUTHOR_EMAIL: 'a@example.com',
    GIT_COMMITTER_NAME: 'A',
    GIT_COMMITTER_EMAIL: 'a@example.com',
  };
  const applied = await withEnv(rig, 'apply run.yaml', env);
  expect(applied.code, applied.text).toBe(0);
  await rig.untilFile('alive-agent-1');
  const { repos } = await rig.status();
  writeFileSync(path.join(repos[0]?.path ?? '', 'new.txt'), 'x');
  const missing = path.join(rig.dir, 'nowhere/at/all');
  for (const command of ['status run.yaml', 'plan run.yaml', 'runs', 'logs run.yaml']) {
    const result = await withEnv(rig, command, { ...env, TMPDIR: missing });
    expect(result.code, result.text).toBe(0);
  }
  // Saving needs a temporary index: said where there is no place for one, and nothing is removed.
  const nowhere = await withEnv(rig, 'cleanup run.yaml --force', { ...env, TMPDIR: missing });
  expect(existsSync(path.dirname(missing))).toBe(false);
  expectWords(nowhere);
  if (nowhere.code !== 0) expect(existsSync(path.join(repos[0]?.path ?? '', 'new.txt'))).toBe(true);
  const cleaned = await withEnv(rig, 'cleanup run.yaml --force', env);
  expect(cleaned.code, cleaned.text).toBe(0);
});

test('a root that needs HOME says so where HOME is not set', async ({ rig }) => {
  await rig.repo('api');
  rig.manifest({ workspace: { root: '~/workspaces' } });
  const result = await withEnv(rig, 'validate run.yaml', { HOME: undefined });
  expectWords(result);
  expect([0, 65]).toContain(result.code);
});

describe('the clock', () => {
  /** Shifts the clock of a metawsm, not of its agents. */
  const clock = (rig: Rig, ms: number): Record<string, string> => {
    const hook = rig.write(
      'clock.mjs',
      `const shift = Number(process.env.RIG_CLOCK ?? 0);
       const real = Date.now.bind(Date);
       Date.now = () => real() + shift;
       const Real = Date;
       globalThis.Date = class extends Real { constructor(...a) { a.length === 0 ? super(Real.now()) : super(...a); } };\n`,
    );
    return { NODE_OPTIONS: `--import=${hook}`, RIG_CLOCK: String(ms) };
  };
  const DAY = 86_400_000;

  test('set back breaks neither status nor health nor a start', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest();
    await rig.applied();
    const env = clock(rig, -400 * DAY);
    const status = await rig.json<{ agents: { health: string; state: string }[] }>('status run.yaml', {
      env,
    });
    expect(status.agents).toMatchObject([{ state: 'running', health: 'healthy' }]);
    const { text } = await rig.run('status run.yaml', { env });
    expect(text).not.toMatch(/-\d+ ?(s|ms|min|h|d)\b|NaN/);
    expect((await rig.run('plan run.yaml', { env })).text).toMatch(/No changes/);
    await rig.run('runs', { env });
    await rig.run('restart run.yaml', { env });
    await rig.untilFile('alive-agent-2');
    // And forward again.
    expect((await rig.agentNamed()).state).toBe('running');
    rig.release();
    await rig.run('apply run.yaml --wait --timeout 20s', { env });
    expect(await rig.state()).toBe('completed');
    await rig.run('apply run.yaml', { env });
  });

  test('set back during a backoff: the next start does not wait until it has caught up', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ agent: { command: agent('die-first', '3') } });
    await rig.run('apply run.yaml');
    rig.touch('die');
    await rig.untilState('failed');
    await rig.run('apply run.yaml --wait --timeout 20s', { env: clock(rig, -DAY), timeout: 30_000 });
    expect(await rig.agentNamed()).toMatchObject({ state: 'completed', attempt: 2 });
  });

  test('set back within the grace of a start', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest({ policy: { start_grace: '1s' } });
    // The wrapper lives by the real clock, so to metawsm the agent began in the future.
    await rig.run('apply run.yaml', { env: clock(rig, -DAY), timeout: 30_000 });
    expect(await rig.state()).toBe('running');
  });

  test('far ahead: a stall is said, nothing is restarted, evidence and sentinels count', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest();
    await rig.applied();
    const env = clock(rig, 400 * DAY);
    const { agents } = await rig.json<{ agents: { health: string }[] }>('status run.yaml', { env });
    expect(agents).toMatchObject([{ health: 'stalled' }]);
    await rig.run('apply run.yaml', { env });
    expect(rig.starts()).toBe(1);
    expect(await rig.agentNamed()).toMatchObject({ state: 'running' });
  });
});

describe('unusual repositories', () => {
  test('bare, shallow, in the middle of a rebase: all make worktrees', async ({ rig }) => {
    const api = await rig.repo('api', { origin: true });
    await api.commit('Second', { 'b.txt': 'b' });
    await api.git('push', '-q', 'origin', 'main');
    const repos = path.join(rig.dir, 'repos');
    await rig.at(repos).git('clone', '-q', '--bare', api.path, path.join(repos, 'bare'));
    await rig
      .at(repos)
      .git('clone', '-q', '--depth', '1', `file://${api.origin}`, path.join(repos, 'shallow'));
    const rebased = await rig.repo('rebased');
    await rebased.git('checkout', '-q', '-b', 'feature');
    await rebased.commit('Feature', { 'README.md': 'feature\n' });
    await rebased.git('checkout', '-q', 'main');
    await rebased.commit('Main', { 'README.md': 'main\n' });
    await rebased.git('checkout', '-q', 'feature');
    await rebased.git('rebase', '-q', 'main').catch(() => undefined);
    const inTheMiddle = await rebased.git('status', '--porcelain');
    expect(existsSync(path.join(rebased.path, '.git/rebase-merge'))).toBe(true);

    rig.manifest({
      repos: ['bare', 'shallow', 'rebased'].map((name) => ({ name, path: `../repos/${name}` })),
      agents: [],
    });
    await rig.run('apply run.yaml');
    expect(await rig.state()).toBe('completed');
    expect(await rebased.git('status', '--porcelain')).toBe(inTheMiddle);
    expect(existsSync(path.join(rebased.path, '.git/rebase-merge'))).toBe(true);
    const status = await rig.status();
    expect(status.repos.map((repo) => repo.clean)).toEqual([true, true, true]);
    await rig.run('cleanup run.yaml');
    expect(await rebased.git('status', '--porcelain')).toBe(inTheMiddle);
  });

  test('one without a commit is a problem with a name, before anything is made', async ({ rig }) => {
    const api = await rig.repo('api');
    const empty = path.join(rig.dir, 'repos/empty');
    mkdirSync(empty);
    await rig.at(empty).git('init', '-q');
    for (const base_branch of ['main', 'HEAD']) {
      rig.manifest({
        repos: [
          { name: 'api', path: '../repos/api' },
          { name: 'empty', path: '../repos/empty', base_branch },
        ],
        agents: [],
      });
      for (const command of ['plan', 'apply']) {
        const result = await rig.run([command, 'run.yaml'], { code: 1 });
        expectWords(result);
        expect(result.text).toMatch(/repo empty: /);
      }
    }
    expect(await api.worktrees()).toEqual([]);
  });
});

describe('git configuration of an agent', () => {
  test('runs no program in any command that looks, checks or cleans up', async ({ rig }) => {
    const api = await rig.repo('api', { origin: true });
    rig.manifest({
      agent: { command: agent('complete') },
      done_criteria: [{ run: 'true' }],
    });
    await rig.run('apply run.yaml --wait');
    const { repos, run } = await rig.status();
    const tree = rig.at(repos[0]?.path ?? '');
    const program = evil(rig);
    const hooks = path.join(rig.dir, 'hooks');
    mkdirSync(hooks);
    for (const name of [
      'post-checkout',
      'reference-transaction',
      'pre-commit',
      'post-index-change',
      'post-merge',
      'pre-auto-gc',
    ]) {
      copyFileSync(program, path.join(hooks, name));
      copyFileSync(program, path.join(api.path, '.git/hooks', name));
    }
    const settings: readonly (readonly [string, string])[] = [
      ['core.hooksPath', hooks],
      ['core.fsmonitor', program],
      ['core.sshCommand', program],
      ['core.pager', program],
      ['core.editor', program],
      ['core.askPass', program],
      ['core.alternateRefsCommand', program],
      ['alias.status', `!${program}`],
      ['alias.worktree', `!${program}`],
      ['filter.evil.clean', program],
      ['filter.evil.smudge', program],
      ['filter.proc.process', program],
      ['filter.proc.required', 'true'],
      ['diff.evil.command', program],
      ['diff.evil.textconv', program],
      ['diff.external', program],
      ['merge.evil.driver', program],
      ['credential.helper', program],
      ['gpg.program', program],
      ['commit.gpgSign', 'true'],
      ['log.showSignature', 'true'],
      ['remote.origin.uploadpack', program],
      ['remote.origin.receivepack', program],
      ['uploadpack.packObjectsHook', program],
      ['submodule.x.update', `!${program}`],
      ['trailer.x.command', program],
      ['protocol.ext.allow', 'always'],
    ];
    for (const [key, value] of settings) await tree.git('config', key, value);
    tree.write({
      '.gitattributes': '*.txt filter=evil diff=evil merge=evil\n*.md filter=proc\n',
      'README.md': 'changed\n',
      'new.txt': 'new\n',
    });
    // Of the same size as before: git has to look at what is in it.
    for (const name of readdirSync(tree.path).filter((each) => each.endsWith('.txt')))
      writeFileSync(path.join(tree.path, name), readFileSync(path.join(tree.path, name)));

    const ran = (): string => (existsSync(path.join(rig.dir, 'evil')) ? rig.read('evil') : '');
    for (const [command, code] of [
      ['status run.yaml', 0],
      ['status run.yaml --json', 0],
      ['runs', 0],
      ['plan run.yaml', 0],
      ['apply run.yaml', 0],
      ['verify run.yaml', 'any'],
      ['report run.yaml --markdown', 0],
      ['report run.yaml --html report.html', 0],
      ['close run.yaml --dry-run', 4],
      ['close run.yaml', 4],
      ['cleanup run.yaml --dry-run', 4],
      ['cleanup run.yaml', 4],
      ['cleanup run.yaml --force', 0],
    ] as const) {
      const { text } = await rig.run(command, { code });
      expect(ran(), `${command}\n${text}`).toBe('');
    }
    // Saved as it was on the disk, with nothing of the filters done to it.
    const ref = `refs/metawsm/backup/${run.id}/api`;
    const env = {
      ...rig.env,
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'core.hooksPath',
      GIT_CONFIG_VALUE_0: '/dev/null',
    };
    const shown = execFileSync('git', ['cat-file', 'blob', `${ref}:README.md`], {
      cwd: api.path,
      env,
      encoding: 'utf8',
    });
    expect(shown).toBe('changed\n');
    expect(existsSync(run.workspace)).toBe(false);
  });

  test('a worktree is not made again with it, and is once it is put back', async ({ rig }) => {
    const api = await rig.repo('api');
    rig.manifest({ agent: { command: agent('complete') } });
    await rig.run('apply run.yaml --wait');
    const { repos } = await rig.status();
    const tree = repos[0]?.path ?? '';
    const program = evil(rig);
    await rig.at(tree).commit('Attributes', { '.gitattributes': '* filter=evil\n' });
    await rig.at(tree).git('config', 'filter.evil.smudge', program);
    rmSync(tree, { recursive: true });
    rig.manifest({
      agent: { command: agent('complete') },
      done_criteria: ['The README documents it', 'And more'],
    });
    const { text } = await rig.run('apply run.yaml --yes', { code: 4 });
    expect(text).toContain('filter.evil.smudge');
    expect(existsSync(path.join(rig.dir, 'evil'))).toBe(false);
    const undo = /(git config --file \S+ --unset-all filter\.evil\.smudge)/.exec(text)?.[1] ?? 'false';
    execFileSync('sh', ['-c', undo], { env: { ...rig.env } });
    await rig.run('apply run.yaml --yes');
    expect(existsSync(path.join(tree, '.gitattributes'))).toBe(true);
    expect(await api.worktrees()).toEqual([realpathSync(tree)]);
  });
});

/** A program that leaves its name and arguments. */
function evil(rig: Rig): string {
  const file = path.join(rig.dir, 'evil.sh');
  writeFileSync(file, `#!/bin/sh\necho "$0 $*" >> '${rig.dir}/evil'\nexec cat\n`, { mode: 0o755 });
  return file;
}
