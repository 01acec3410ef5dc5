/** One temporary world: repositories, a manifest, a state folder, and metawsm as a process that can be killed. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = fileURLToPath(new URL('.', import.meta.url));
export const main = process.env.METAWSM_TEST_MAIN ?? path.resolve(here, '../../dist/main.js');
const hook = path.join(here, 'hook.mjs');
/** A command that takes longer hangs. */
const LIMIT_MS = 25_000;

/** Whether tmux is here. */
export const hasTmux = (() => {
  try {
    execFileSync('tmux', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

export class World {
  /** Short: tmux's socket lies in it. */
  dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'mc-'));
  state = path.join(this.dir, 'project/.metawsm');
  env = {
    PATH: process.env.PATH ?? '/usr/bin:/bin',
    HOME: path.join(this.dir, 'home'),
    LANG: 'C.UTF-8',
    TMUX_TMPDIR: path.join(this.dir, 't'),
    TMPDIR: path.join(this.dir, 'tmp'),
    GIT_CONFIG_NOSYSTEM: '1',
    // The same commits in every world.
    GIT_AUTHOR_DATE: '2026-01-02T03:04:05Z',
    GIT_COMMITTER_DATE: '2026-01-02T03:04:05Z',
    RIG_DIR: this.dir,
  };

  constructor(session) {
    this.session = session;
  }

  /** A world with its repositories (one with a remote, one local, one to be cloned) and its manifest. */
  static async create(session) {
    const world = new World(session);
    for (const name of ['home', 't', 'tmp']) fs.mkdirSync(path.join(world.dir, name));
    world.write(
      'home/.gitconfig',
      '[user]\n\tname = Operator\n\temail = operator@example.com\n[init]\n\tdefaultBranch = main\n' +
        '[protocol "file"]\n\tallow = always\n[gc]\n\tauto = 0\n',
    );
    await Promise.all([
      world.repo('project', { 'README.md': '# Project\n' }),
      world.repo('repos/api', {
        'README.md': '# api\n',
        '.gitignore': '/.env\n/deps\n/built\n',
        'ttmp/README.md': 'Tickets\n',
      }),
      world.repo('repos/web', { 'README.md': '# web\n' }),
      world.repo('made/lib', { 'README.md': '# lib\n' }),
    ]);
    await world.git('.', 'clone', '-q', '--bare', 'repos/api', 'origin/api.git');
    await world.git('.', 'clone', '-q', '--bare', 'made/lib', 'origin/lib.git');
    await world.git('repos/api', 'remote', 'add', 'origin', path.join(world.dir, 'origin/api.git'));
    await world.git('repos/api', 'fetch', '-q', 'origin');
    world.write('repos/api/.env', 'A=1\n');
    world.write('repos/api/deps/dep.js', '// a dependency\n');
    const agent = (name, asks) => ({ name, command: ['sh', path.join(here, 'agent.sh'), asks], cwd: 'api' });
    world.write(
      'project/run.yaml',
      // JSON is YAML.
      JSON.stringify({
        version: 1,
        ticket: { id: 'ABC-1', title: 'Rate-limit the login' },
        repos: [
          {
            name: 'api',
            path: '../repos/api',
            copy: ['.env'],
            link: ['deps'],
            setup: ['echo . >> "$RIG_DIR/setup"; sleep 0.03', 'echo built > built'],
          },
          { name: 'web', path: '../repos/web' },
          { name: 'lib', url: `file://${path.join(world.dir, 'origin/lib.git')}` },
        ],
        workspace: { root: '../workspaces' },
        intake: { goal: 'Limit logins', scope: 'The login endpoint', constraints: 'No new dependencies' },
        done_criteria: [{ run: 'test -e work-first.txt', repo: 'api' }],
        tickets: { root: '../repos/api/ttmp' },
        agents: [agent('first', 'ask'), agent('second', 'work')],
        session,
        policy: { start_grace: '100ms' },
      }),
    );
    return world;
  }

  async repo(folder, files) {
    for (const [name, text] of Object.entries(files)) this.write(path.join(folder, name), text);
    await this.git(folder, 'init', '-q');
    await this.git(folder, 'add', '--all');
    await this.git(folder, 'commit', '-q', '-m', 'Begin');
  }

  write(name, text) {
    const file = path.join(this.dir, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }

  /** Text of a file; empty where it is missing. */
  read(name) {
    try {
      return fs.readFileSync(path.join(this.dir, name), 'utf8');
    } catch {
      return '';
    }
  }

  has(name) {
    return fs.existsSync(path.join(this.dir, name));
  }

  /** stdout of git in a folder of this world. */
  async git(folder, ...args) {
    const options = { cwd: path.join(this.dir, folder), env: this.env };
    return (await promisify(execFile)('git', args, options)).stdout.trim();
  }

  /**
   * Runs metawsm, kills it as `kill` says (at the moment of a number, or after a time), and with `tree` also
   * what it started, except agents with what wraps them. Gives how it ended, and where it was killed.
   */
  async run(argv, { kill = null, count = false } = {}) {
    const report = path.join(this.dir, `report-${process.hrtime.bigint()}`);
    const hooked = count || kill?.kind === 'moment';
    const env = { ...this.env };
    if (hooked) env.CRASH_REPORT = report;
    if (kill?.kind === 'moment') {
      env.CRASH_AT = String(kill.moment);
      if (kill.delay > 0) env.CRASH_DELAY = String(kill.delay);
    }
    const begun = performance.now();
    const child = spawn(process.execPath, [...(hooked ? ['--import', hook] : []), main, ...argv], {
      cwd: path.join(this.dir, 'project'),
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      stderr += chunk;
    });
    let hung = false;
    const limit = setTimeout(() => {
      hung = true;
      child.kill('SIGKILL');
    }, LIMIT_MS);
    const timer = kill?.kind === 'time' ? setTimeout(() => child.kill('SIGKILL'), kill.ms) : undefined;
    const { code, signal } = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        // At once: what it started is killed while it is at work.
        if (kill?.tree && signal === 'SIGKILL') this.killTree();
        resolve({ code, signal });
      });
    });
    clearTimeout(limit);
    clearTimeout(timer);
    const ms = performance.now() - begun;
    // A child that lives on may hold the pipes.
    await Promise.race([new Promise((resolve) => child.once('close', resolve)), delay(50)]);
    child.stdout.destroy();
    child.stderr.destroy();
    const told = fs.existsSync(report) ? JSON.parse(fs.readFileSync(report, 'utf8')) : {};
    fs.rmSync(report, { force: true });
    const killed = signal === 'SIGKILL' && !hung;
    const where = told.killedAt ?? (killed ? `after ${Math.round(ms)} ms` : null);
    return { argv, code, killed, hung, where, moments: told.moments ?? [], stdout, stderr, ms };
  }

  /** Every living process of this world, with its environment and command line. */
  processes() {
    const entry = `RIG_DIR=${this.dir}`;
    return fs
      .readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
          if (/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))) return [];
          const argv = fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').filter(Boolean);
          const env = fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
          const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
          const mine = env.includes(entry) || argv.some((each) => each.includes(this.dir));
          return mine ? [{ pid: Number(pid), parent, argv, env }] : [];
        } catch {
          return [];
        }
      });
  }

  /** SIGKILL for what metawsm itself started: git, setup. Not agents, their wrappers, tmux. */
  killTree() {
    for (const { pid, argv, env } of this.processes()) {
      if (pid === process.pid || isDetached({ argv, env })) continue;
      signal(pid);
    }
  }

  /** The agents that live: `name attempt` by pid of the shell that is the agent. */
  agents() {
    const shells = this.processes().filter(({ argv }) => argv[1]?.endsWith('/agent.sh'));
    return shells.flatMap(({ pid, parent, env }) => {
      // A shell that is about to start a program looks like its parent.
      if (shells.some((other) => other.pid === parent)) return [];
      const of = (name) => env.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
      return [{ pid, name: of('METAWSM_AGENT'), attempt: Number(of('METAWSM_ATTEMPT')) }];
    });
  }

  /** Until `look` gives something true. Throws after 20 s. */
  async until(what, look) {
    const end = performance.now() + 20_000;
    for (;;) {
      const seen = await look();
      if (seen) return seen;
      if (performance.now() > end) throw new Error(`no ${what} after 20 s`);
      await delay(20);
    }
  }

  /** Ends everything and removes the folder, unless `keep`. */
  async dispose(keep) {
    for (let round = 0; round < 100; round++) {
      const left = this.processes().filter(({ pid }) => pid !== process.pid);
      if (left.length === 0) break;
      for (const { pid } of left) signal(pid);
      await delay(10);
    }
    if (!keep) fs.rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

function signal(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
}

function isDetached({ argv, env }) {
  if (env.some((each) => each.startsWith('METAWSM_ATTEMPT='))) return true;
  if (argv.some((each) => each.endsWith('/sessions/wrapper.js'))) return true;
  // The pipe of a pane's output, and the server with its clients.
  return /(^|\/)tmux|^cat$/.test(argv[0] ?? '') || argv.some((each) => each.startsWith('exec cat >>'));
}
