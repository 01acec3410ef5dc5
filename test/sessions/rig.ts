/** Real sessions in temporary folders: a tmux server of their own, and a compiled wrapper. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { SessionKind } from '../../src/manifest/intent.js';
import type { ExitRecord } from '../../src/plan/observed.js';
import { logFileOf, readAttempt } from '../../src/sessions/attempt.js';
import { type DriverOptions, sessionDriver, stopAgent } from '../../src/sessions/index.js';
import type { Launch, SessionDriver, SessionRef } from '../../src/sessions/session.js';

const project = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

export const hasTmux = spawnSync('tmux', ['-V']).status === 0;
export const kinds: SessionKind[] = hasTmux ? ['tmux', 'process'] : ['process'];

export interface Compiled {
  readonly wrapper: string;
  readonly index: string;
  remove(): void;
}

/** The wrapper is a program of its own: it is run as node runs it, compiled. */
export function compileSessions(): Compiled {
  const cache = join(project, 'node_modules', '.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'sessions-'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const files = ['index.ts', 'wrapper.ts'].map((name) => join(project, 'src', 'sessions', name));
  const config = {
    extends: join(project, 'tsconfig.json'),
    compilerOptions: { rootDir: join(project, 'src'), outDir: join(folder, 'out'), types: ['node'] },
    files,
    include: [],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const tsc = join(project, 'node_modules', 'typescript', 'bin', 'tsc');
  execFileSync(process.execPath, [tsc, '-p', folder], { stdio: 'pipe' });
  return {
    wrapper: join(folder, 'out', 'sessions', 'wrapper.js'),
    index: join(folder, 'out', 'sessions', 'index.js'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export interface Started {
  readonly launch: Launch;
  readonly ref: SessionRef;
  readonly attemptDir: string;
  exit(): Promise<ExitRecord>;
  /** The log once it holds the text. */
  log(text: string): Promise<string>;
}

export class SessionRig {
  readonly root = mkdtempSync(join(tmpdir(), 'metawsm-sessions-'));
  readonly env: NodeJS.ProcessEnv;
  readonly options: DriverOptions;
  readonly driver: SessionDriver;
  readonly #started: { attemptDir: string; ref: SessionRef }[] = [];

  constructor(
    readonly kind: SessionKind,
    compiled: Compiled,
  ) {
    const sockets = join(this.root, 't');
    mkdirSync(sockets, { mode: 0o700 });
    this.env = {
      PATH: process.env.PATH,
      LANG: 'C.UTF-8',
      TMUX_TMPDIR: sockets,
      OPERATOR_SECRET: 'swordfish',
    };
    this.options = { wrapper: compiled.wrapper, env: this.env };
    this.driver = sessionDriver(kind, this.options);
  }

  launch(argv: readonly string[], changes: Partial<Launch> = {}): Launch {
    const attempt = changes.attempt ?? 1;
    const launch: Launch = {
      agent: 'agent',
      attempt,
      sessionName: 'agent-1',
      attemptDir: join(this.root, 'agents', changes.sessionName ?? 'agent-1', `attempt-${attempt}`),
      argv,
      cwd: this.root,
      env: { PATH: process.env.PATH ?? '', METAWSM_RUN_ID: 'run-1', METAWSM_AGENT: 'agent' },
      declared: [],
      ...changes,
    };
    return launch;
  }

  async start(argv: readonly string[], changes: Partial<Launch> = {}): Promise<Started> {
    const launch = this.launch(argv, changes);
    const ref = await this.driver.start(launch);
    return this.adopt(launch, ref);
  }

  /** Also of a start that somebody else made, so that it is cleaned up. */
  adopt(launch: Launch, ref: SessionRef): Started {
    const { attemptDir } = launch;
    this.#started.push({ attemptDir, ref });
    return {
      launch,
      ref,
      attemptDir,
      exit: () => until(() => readAttempt(attemptDir).exit),
      log: (text) =>
        until(() => {
          const log = readFileSync(logFileOf(attemptDir), 'utf8').replaceAll('\r\n', '\n');
          return log.includes(text) ? log : null;
        }),
    };
  }

  stop(started: Started, graceMs = 5_000) {
    return stopAgent(started.ref, started.attemptDir, this.kind, graceMs, this.options);
  }

  tmux(...args: string[]): string {
    const result = spawnSync('tmux', ['-L', 'metawsm', ...args], { env: this.env, encoding: 'utf8' });
    return result.stdout + result.stderr;
  }

  async dispose(): Promise<void> {
    for (const { attemptDir, ref } of this.#started) {
      await stopAgent(ref, attemptDir, this.kind, 0, this.options).catch(() => {});
    }
    if (this.kind === 'tmux') this.tmux('kill-server');
    // A wrapper that comes too late still looks at its attempt.
    await until(() => {
      try {
        rmSync(this.root, { recursive: true, force: true });
        return true;
      } catch {
        return false;
      }
    });
  }
}

/** The first answer that is neither null nor false; the test's own time limit bounds it. */
export async function until<T>(look: () => T | null | false): Promise<T> {
  for (;;) {
    const answer = look();
    if (answer !== null && answer !== false) return answer;
    await delay(5);
  }
}
