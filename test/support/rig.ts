import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test as base } from 'vitest';
import { stringify } from 'yaml';
import type { EventLine, Runs, Status, StatusAgent, StatusRepo, Summary } from './documents.js';
import { commandLines, endAll, type Result, type Running, start, withEnvironment } from './processes.js';
import { git, lines, Repo } from './repo.js';
import { filesBelow, type Snapshot, snapshot } from './snapshot.js';

/** The checkout that is tested. */
export const checkout = fileURLToPath(new URL('../..', import.meta.url));
/** The program under test; `METAWSM_TEST_MAIN` names another build, such as an installed package. */
export const main = process.env.METAWSM_TEST_MAIN ?? path.join(checkout, 'dist/main.js');
const agentsFolder = path.join(checkout, 'test/support/agents');

/** Whether tmux is here: tests of tmux sessions are skipped without it. */
export const hasTmux = works('tmux', ['-V']);

/** argv of one of the small agents in `test/support/agents`. */
export function agent(script: string, ...args: string[]): string[] {
  if (script.endsWith('.mjs')) return [process.execPath, path.join(agentsFolder, script), ...args];
  return ['sh', path.join(agentsFolder, `${script}.sh`), ...args];
}

/** A manifest as an object; a key set to undefined is left out. */
export type ManifestKeys = Record<string, unknown>;

export interface RunOptions {
  /** The exit code that the command must have; `any`: it is not judged here. Default 0. */
  readonly code?: number | 'any';
  readonly cwd?: string;
  /** Added to the rig's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Text for stdin; `open`: a pipe that never says anything; default: no stdin. */
  readonly stdin?: string;
  /** Milliseconds after which the command counts as hanging. Default 60 s. */
  readonly timeout?: number;
}

/**
 * One test's world: a temporary folder with its own home, tmux server, git repositories and project folder,
 * and metawsm as a process with an environment that does not depend on who runs the tests.
 */
export class Rig {
  /** The folder of the test. Short: tmux's socket lies in it, and such a path has at most 108 characters. */
  readonly dir = mkdtempSync(path.join(realpathSync(os.tmpdir()), 'mw-'));
  readonly home = path.join(this.dir, 'home');
  /** A git repository that holds the manifests. The working directory of all commands. */
  readonly project = path.join(this.dir, 'project');
  readonly stateFolder = path.join(this.project, '.metawsm');
  readonly workspaces = path.join(this.dir, 'workspaces');
  readonly env: Readonly<Record<string, string>> = {
    PATH: process.env.PATH ?? '/usr/bin:/bin',
    HOME: this.home,
    USER: 'operator',
    LANG: 'C.UTF-8',
    XDG_CONFIG_HOME: path.join(this.home, '.config'),
    TMUX_TMPDIR: path.join(this.dir, 't'),
    // What a killed process leaves goes with the test.
    TMPDIR: path.join(this.dir, 'tmp'),
    GIT_CONFIG_NOSYSTEM: '1',
    RIG_DIR: this.dir,
  };
  private readonly history: Result[] = [];

  static async create(): Promise<Rig> {
    const rig = new Rig();
    for (const folder of [rig.home, ...['t', 'tmp'].map((name) => path.join(rig.dir, name))])
      mkdirSync(folder);
    writeFileSync(
      path.join(rig.home, '.gitconfig'),
      '[user]\n\tname = Operator\n\temail = operator@example.com\n[init]\n\tdefaultBranch = main\n' +
        '[protocol "file"]\n\tallow = always\n',
    );
    await rig.initRepo(rig.project, { 'README.md': '# Project\n' });
    return rig;
  }

  /** A repository `repos/<name>` with one commit on main; with `origin` also pushed to a bare one. */
  async repo(
    name: string,
    options: { origin?: boolean; files?: Readonly<Record<string, string>> } = {},
  ): Promise<Repo> {
    const folder = path.join(this.dir, 'repos', name);
    await this.initRepo(folder, options.files ?? { 'README.md': `# ${name}\n` });
    if (options.origin !== true) return new Repo(folder, null, this.env);
    const origin = path.join(this.dir, 'origin', `${name}.git`);
    await git(this.dir, this.env, ['clone', '-q', '--bare', folder, origin]);
    await git(folder, this.env, ['remote', 'add', 'origin', origin]);
    await git(folder, this.env, ['fetch', '-q', 'origin']);
    return new Repo(folder, origin, this.env);
  }

  /** An existing repository or worktree, to run git in it. */
  at(folder: string): Repo {
    return new Repo(folder, null, this.env);
  }

  private async initRepo(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
    mkdirSync(folder, { recursive: true });
    await git(folder, this.env, ['init', '-q']);
    await new Repo(folder, null, this.env).commit('Begin', files);
  }

  /**
   * Writes a manifest into the project: one repo `api`, ticket ABC-1, detached processes, a short start grace;
   * `keys` are laid over that. Returns its absolute path.
   */
  manifest(keys: ManifestKeys = {}, name = 'run.yaml'): string {
    const content: ManifestKeys = {
      version: 1,
      ticket: { id: 'ABC-1', title: 'Rate-limit the login' },
      repos: [{ name: 'api', path: '../repos/api' }],
      workspace: { root: '../workspaces' },
      intake: { goal: 'Limit logins', scope: 'The login endpoint', constraints: 'No new dependencies' },
      done_criteria: ['The README documents it'],
      session: 'process',
      policy: { start_grace: '200ms' },
      ...('agents' in keys ? {} : { agent: { command: agent('live') } }),
      ...keys,
    };
    return this.write(name, stringify(JSON.parse(JSON.stringify(content))));
  }

  /** Writes a file into the project; returns its absolute path. */
  write(name: string, text: string | Buffer): string {
    const file = path.join(this.project, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  }

  /** A PATH on which a program of that name stands first; it does nothing but exist. */
  binWith(program: string): string {
    const folder = path.join(this.home, 'bin');
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, program), '#!/bin/sh\n', { mode: 0o755 });
    return `${folder}:${this.env.PATH}`;
  }

  /** Text of a file below the test's folder. */
  read(...segments: string[]): string {
    return readFileSync(path.join(this.dir, ...segments), 'utf8');
  }

  /** Runs metawsm to its end. `command` is split at white space; use a list where an argument has some. */
  async run(command: string | readonly string[], options: RunOptions = {}): Promise<Result> {
    const result = await this.spawn(command, options).result;
    const code = options.code ?? 0;
    if (code !== 'any' && result.code !== code) {
      const ended = result.code ?? result.signal;
      throw new Error(
        `metawsm ${result.argv.join(' ')}: ended with ${ended}, not ${code}\n${result.text}\n${await this.dump()}`,
      );
    }
    return result;
  }

  /** Starts metawsm and goes on. */
  spawn(command: string | readonly string[], options: RunOptions = {}): Running {
    const args = typeof command === 'string' ? command.split(/\s+/) : command;
    const running = start(process.execPath, [main, ...args], {
      cwd: options.cwd ?? this.project,
      env: { ...this.env, ...options.env },
      timeout: options.timeout ?? 60_000,
      ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
    });
    const result = running.result.then((ended) => {
      const shown = { ...ended, argv: args };
      this.history.push(shown);
      return shown;
    });
    result.catch(() => {});
    return { ...running, result };
  }

  /** The one document that a command prints with `--json`. */
  async json<T>(command: string | readonly string[], options: RunOptions = {}): Promise<T> {
    const result = await this.run([...split(command), '--json'], options);
    try {
      return JSON.parse(result.stdout) as T;
    } catch {
      throw new Error(`metawsm ${result.argv.join(' ')}: not one JSON document\n${result.text}`);
    }
  }

  /** The lines that a command prints with `--json`, and the summary at their end. */
  async events(
    command: string | readonly string[],
    options: RunOptions = {},
  ): Promise<{ lines: EventLine[]; summary: Summary; result: Result }> {
    const result = await this.run([...split(command), '--json'], options);
    const parsed = lines(result.stdout).map((line) => JSON.parse(line) as EventLine);
    const last = parsed.at(-1);
    if (last?.type !== 'summary') throw new Error(`no summary at the end of\n${result.text}`);
    return { lines: parsed, summary: last as Summary, result };
  }

  async status(selector = 'run.yaml'): Promise<Status> {
    return this.json<Status>(['status', selector]);
  }

  /** The run's state, and its reason where there is one: `failed (agent_dead)`. */
  async state(selector = 'run.yaml'): Promise<string> {
    const { run } = await this.status(selector);
    return run.reason === null ? run.state : `${run.state} (${run.reason})`;
  }

  async runs(): Promise<Runs['runs']> {
    return (await this.json<Runs>('runs')).runs;
  }

  async agentNamed(name = 'agent', selector = 'run.yaml'): Promise<StatusAgent> {
    const found = (await this.status(selector)).agents.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no agent ${name}\n${await this.dump()}`);
    return found;
  }

  async repoNamed(name = 'api', selector = 'run.yaml'): Promise<StatusRepo> {
    const found = (await this.status(selector)).repos.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no repo ${name}\n${await this.dump()}`);
    return found;
  }

  /** How often an agent was started, as the agents themselves wrote it down. */
  starts(name?: string): number {
    const file = path.join(this.dir, 'starts');
    if (!existsSync(file)) return 0;
    return lines(readFileSync(file, 'utf8')).filter(
      (line) => name === undefined || line.startsWith(`${name} `),
    ).length;
  }

  /** Lets an agent of the kind `live` finish. */
  release(name = 'agent'): void {
    this.touch(`release-${name}`);
  }

  /** Makes an empty file in the test's folder. */
  touch(name: string): void {
    writeFileSync(path.join(this.dir, name), '');
  }

  /** Applies `run.yaml` and returns once its `live` agent is at work. */
  async applied(...flags: string[]): Promise<Status> {
    await this.run(['apply', 'run.yaml', ...flags]);
    await this.untilFile('alive-agent-1');
    return this.status();
  }

  /** Looks again and again until `look` returns something; fails with everything there is to know. */
  async until<T>(
    what: string,
    look: () => T | Promise<T>,
    timeout = 60_000,
  ): Promise<Exclude<T, undefined | null | false>> {
    const end = Date.now() + timeout;
    for (;;) {
      const seen = await look();
      if (seen !== undefined && seen !== null && seen !== false) {
        return seen as Exclude<T, undefined | null | false>;
      }
      if (Date.now() > end) throw new Error(`no ${what} after ${timeout / 1000} s\n${await this.dump()}`);
      await delay(50);
    }
  }

  /** Until a file exists in the test's folder; returns its text. */
  async untilFile(name: string): Promise<string> {
    const file = path.join(this.dir, name);
    await this.until(`file ${name}`, () => existsSync(file));
    return readFileSync(file, 'utf8');
  }

  /** Until a file in the test's folder holds a text: it is there before its text is. Returns all of it. */
  async untilText(name: string, text: string): Promise<string> {
    const file = path.join(this.dir, name);
    return this.until(`${text} in file ${name}`, () => {
      const read = existsSync(file) ? readFileSync(file, 'utf8') : '';
      return read.includes(text) && read;
    });
  }

  /** Until `run.yaml` did a step. An agent is at work, and its run `running`, before its start is done. */
  async untilDone(step: string): Promise<Status> {
    return this.until(`end of ${step}`, async () => {
      const status = await this.status();
      return status.steps.some(({ id, state }) => id === step && state === 'done') && status;
    });
  }

  async untilState(state: string, selector = 'run.yaml'): Promise<Status> {
    let seen = '';
    try {
      return await this.until(`state ${state}`, async () => {
        const status = await this.status(selector);
        seen = status.run.state;
        return seen === state ? status : false;
      });
    } catch (error) {
      throw new Error(`the run is ${seen}\n${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** All that lies in the test's folder now: repos with their git data, project, state, workspaces. */
  snapshot(): Snapshot {
    // The journals of the agents are none of metawsm's files, nor is what lay in the temporary folder for a moment.
    return snapshot(this.dir, (file) => ['t', 'tmp', 'starts'].includes(file));
  }

  /** Everything a person needs to see why a test failed. */
  async dump(): Promise<string> {
    const sections = this.history
      .slice(-6)
      .map(
        (result) =>
          `$ metawsm ${result.argv.join(' ')} → ${result.code ?? result.signal}\n${tail(result.text)}`,
      );
    try {
      const status = await start(process.execPath, [main, 'status', 'run.yaml'], {
        cwd: this.project,
        env: this.env,
        timeout: 10_000,
      }).result;
      sections.push(`status now:\n${tail(status.text)}`);
    } catch (error) {
      sections.push(`status now: ${error}`);
    }
    const files = filesBelow(this.dir).filter((file) => !/(^|\/)\.git\//.test(file));
    for (const log of files.filter((file) => file.endsWith('.log')))
      sections.push(`${log}:\n${tail(this.read(log))}`);
    sections.push(`files:\n${files.slice(0, 150).join('\n')}`);
    sections.push(`processes: ${withEnvironment(`RIG_DIR=${this.dir}`).join(' ')}`);
    return sections.join('\n----\n');
  }

  /** Names of the tmux sessions of this test; none where no server runs. */
  tmuxSessions(): string[] {
    try {
      const args = ['-L', 'metawsm', 'list-sessions', '-F', '#{session_name}'];
      return lines(execFileSync('tmux', args, { encoding: 'utf8', env: { ...this.env }, stdio: 'pipe' }));
    } catch {
      return [];
    }
  }

  /** Ends the tmux server of this test, as a crash would. */
  async killTmux(): Promise<void> {
    works('tmux', ['-L', 'metawsm', 'kill-server'], { ...this.env });
  }

  /** SIGKILL for a run's agents, what they started and what wraps them. */
  async endAgents(run: string): Promise<void> {
    await endAll(`METAWSM_RUN_ID=${run}`);
    // What wraps an agent may lack the agent's variables, but works in the state folder for this run.
    for (const [pid, argv] of commandLines()) {
      if (!argv.some((each) => each.includes(this.dir) && each.includes(run))) continue;
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended with its agent.
      }
    }
  }

  /** Ends every process of the test and removes its folder. `METAWSM_KEEP=1` keeps the folder. */
  async dispose(): Promise<void> {
    if (hasTmux) works('tmux', ['-L', 'metawsm', 'kill-server'], { ...this.env });
    await endAll(`RIG_DIR=${this.dir}`);
    if (process.env.METAWSM_KEEP === '1') console.error(`kept ${this.dir}`);
    else rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** vitest's `test` with a rig that is made for the test and cleared away after it, also when it fails. */
export const test = base.extend<{ rig: Rig }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names from the pattern.
  rig: async ({}, use) => {
    const rig = await Rig.create();
    try {
      await use(rig);
    } finally {
      await rig.dispose();
    }
  },
});

function split(command: string | readonly string[]): readonly string[] {
  return typeof command === 'string' ? command.split(/\s+/) : command;
}

function tail(text: string): string {
  return text.length > 6000 ? `…${text.slice(-6000)}` : text;
}

function works(file: string, args: readonly string[], env?: Record<string, string>): boolean {
  try {
    execFileSync(file, args, { stdio: 'ignore', ...(env === undefined ? {} : { env }) });
    return true;
  } catch {
    return false;
  }
}
