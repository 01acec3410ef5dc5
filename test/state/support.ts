import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { Intent } from '../../src/manifest/intent.js';
import type { NewRun } from '../../src/state/runs.js';
import { Store, type StoreOptions } from '../../src/state/store.js';
import { probe, selfIdentity } from '../../src/tools/process.js';
import { compiled } from '../support/compile.js';

/** A temporary folder that goes with the test. */
export async function folder(): Promise<string> {
  const made = await realpath(await mkdtemp(path.join(tmpdir(), 'metawsm-state-')));
  onTestFinished(() => rm(made, { recursive: true, force: true }));
  return made;
}

export function options(more: Partial<StoreOptions> = {}): StoreOptions {
  return { version: '1.2.3', owner: { ...selfIdentity(), command: 'test' }, probe, ...more };
}

/** A new store in `<top>/.metawsm`, closed after the test. */
export async function newStore(
  more: Partial<StoreOptions> = {},
): Promise<{ store: Store; top: string; state: string }> {
  const top = await folder();
  const state = path.join(top, '.metawsm');
  const store = await Store.create(state, options(more));
  onTestFinished(() => store.close());
  return { store, top, state };
}

export function intent(manifestPath: string, ticket = 'T-1'): Intent {
  return {
    intentVersion: 1,
    manifestPath,
    ticket: { id: ticket, title: 'A title', topics: ['api'] },
    repos: [
      {
        name: 'api',
        source: { kind: 'path', path: '/src/api' },
        baseBranch: 'main',
        copy: ['.env'],
        link: [],
        setup: ['npm ci'],
      },
    ],
    workspace: { root: '/workspaces', branch: 'task/{workspace}' },
    intake: { goal: 'g', scope: 's', constraints: 'c', answers: [], mergeIntent: 'default' },
    criteria: [
      { kind: 'worded', text: 'It is documented' },
      { kind: 'command', run: 'npm test', repo: 'api', timeoutMs: 1000 },
    ],
    agents: [
      { name: 'agent', command: ['./agent.sh'], env: { A: '${B}' }, cwd: 'api', completeOn: 'signal' },
    ],
    session: 'auto',
    tickets: { driver: 'files', root: null },
    policy: {
      stepRetries: 1,
      startGraceMs: 2000,
      restartBudget: 3,
      fixAttempts: 0,
      health: { idleMs: 1, activityStalledMs: 2, progressStalledMs: 3 },
    },
  };
}

export function newRun(id: string, manifestPath: string, ticket = 'T-1'): NewRun {
  return {
    id,
    ticketId: ticket,
    manifestPath,
    intent: intent(manifestPath, ticket),
    workspace: '/workspaces/2025-01-01/t-1-abcd1234',
    token: 'abcd1234',
    session: 'process',
    ticketRoot: '/ttmp',
    repos: [
      { name: 'api', source: '/src/api', path: '/ws/api', branch: 'task/t-1-abcd1234', baseBranch: 'main' },
    ],
    agents: [
      {
        name: 'agent',
        session: 'process',
        sessionName: 't-1-agent',
        cwd: '/ws/api',
        sentinelDir: '/ws/.metawsm',
      },
    ],
  };
}

/** A store with one run, whose lock is given back. */
export async function storeWithRun(more: Partial<StoreOptions> = {}) {
  const made = await newStore(more);
  const created = await made.store.createRun(newRun('run-1', path.join(made.top, 'a.yaml')), {
    beside: false,
  });
  if (created.kind !== 'created') throw new Error('not created');
  await created.lock.release();
  return made;
}

const worker = fileURLToPath(new URL('worker.mjs', import.meta.url));
const modules = await compiled('state/store', 'tools/process');

export interface Worker {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  /** The next line that it prints. */
  line(): Promise<string>;
  /** Lets it go on. */
  go(): void;
  readonly ended: Promise<number | null>;
}

/**
 * Another process that uses the store: `node worker.mjs <modules…> <what> <argument as JSON>`. It says `ready`,
 * waits for `go`, and prints one line of JSON. Killed after the test.
 */
export function startWorker(what: string, argument: unknown, limit = ''): Worker {
  const node = [process.execPath, worker, ...modules, what, JSON.stringify(argument)];
  const argv = limit === '' ? node : ['bash', '-c', `${limit}; exec "$@"`, 'bash', ...node];
  const child = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<number | null>((done) => child.on('close', done));
  const lines: string[] = [];
  const waiting: ((line: string) => void)[] = [];
  let rest = '';
  child.stdout.on('data', (chunk) => {
    const parts = `${rest}${chunk}`.split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    while (lines.length > 0 && waiting.length > 0) waiting.shift()?.(lines.shift() ?? '');
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    child,
    ended,
    line: () => {
      const line = lines.shift();
      if (line !== undefined) return Promise.resolve(line);
      return new Promise((done, fail) => {
        waiting.push(done);
        void ended.then((code) => fail(new Error(`the worker ended with ${code} and said nothing`)));
      });
    },
    go: () => child.stdin.write('go\n'),
  };
}

/** Starts `count` workers, lets them go at the same moment, and gives back what each said. */
export async function race(
  count: number,
  what: string,
  argument: (index: number) => unknown,
): Promise<unknown[]> {
  const workers = Array.from({ length: count }, (_, index) => startWorker(what, argument(index)));
  await Promise.all(workers.map((each) => each.line()));
  for (const each of workers) each.go();
  return Promise.all(workers.map(async (each) => JSON.parse(await each.line())));
}
