/** Intents, recorded runs and looks at the world for tests of pure functions: a plain case, and what differs. */
import { createHash } from 'node:crypto';
import type { AgentIntent, Intent, RepoIntent } from '../../src/manifest/intent.js';
import { draftRun, withIntent } from '../../src/plan/draft.js';
import type {
  ExitRecord,
  FoundSentinel,
  Observed,
  ObservedAgent,
  ObservedRepo,
  SentinelKind,
  SentinelValue,
  StartRecord,
} from '../../src/plan/observed.js';
import type { Outcome } from '../../src/plan/outcome.js';
import { compile, type Plan, type Request } from '../../src/plan/plan.js';
import type {
  RecordedAgent,
  RecordedGuidance,
  RecordedRepo,
  RecordedRun,
  RecordedStep,
} from '../../src/plan/recorded.js';
import { reconcile } from '../../src/sentinels/reconcile.js';

export const MINUTE = 60_000;
/** When the run was created. */
const CREATED = Date.UTC(2026, 2, 4, 5, 6, 7);
/** When its agents were started. */
export const STARTED = CREATED + 1_000;
/** When one looks. */
export const NOW = STARTED + MINUTE;

export const RUN = 'run-20260304-050607-abcd';
export const WORKSPACE = '/workspaces/2026-03-04/t-1-abcd1234';
export const SHARED = `${WORKSPACE}/.metawsm`;
export const IDENTITY = { runId: RUN, token: 'abcd1234', date: '2026-03-04', now: CREATED };

export const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

export function repoIntent(name = 'api', more: Partial<RepoIntent> = {}): RepoIntent {
  const source = { kind: 'path', path: `/src/${name}` } as const;
  return { name, source, baseBranch: 'main', copy: [], link: [], setup: [], ...more };
}

export function agentIntent(name = 'agent', more: Partial<AgentIntent> = {}): AgentIntent {
  return { name, command: './agent.sh', env: {}, cwd: null, completeOn: 'signal', ...more };
}

export function makeIntent(more: Partial<Intent> = {}): Intent {
  return {
    intentVersion: 1,
    manifestPath: '/project/run.yaml',
    ticket: { id: 'T-1', title: 'A title', topics: ['api'] },
    repos: [repoIntent()],
    workspace: { root: '/workspaces', branch: 'task/{workspace}' },
    intake: { goal: 'g', scope: 's', constraints: 'c', answers: [], mergeIntent: 'default' },
    criteria: [{ kind: 'worded', text: 'It is documented' }],
    agents: [agentIntent()],
    session: 'auto',
    tickets: { driver: 'files', root: null },
    policy: {
      stepRetries: 1,
      startGraceMs: 2_000,
      restartBudget: 3,
      fixAttempts: 0,
      health: { idleMs: 5 * MINUTE, activityStalledMs: 15 * MINUTE, progressStalledMs: 20 * MINUTE },
    },
    ...more,
  };
}

function surroundings(intent: Intent) {
  const sources = Object.fromEntries(
    intent.repos.map(({ name, source }) => [name, source.kind === 'path' ? source.path : `/state/${name}`]),
  );
  return { autoSession: 'process' as const, ticketRoot: '/project/.metawsm/ttmp', sources };
}

/** A run that is not recorded yet. */
export function draft(intent: Intent = makeIntent()): RecordedRun {
  return draftRun(intent, IDENTITY, surroundings(intent));
}

/** `run` as `intent` wants it. */
export function wanted(run: RecordedRun, intent: Intent): RecordedRun {
  return withIntent(run, intent, surroundings(intent));
}

/** How a run differs from the plain one. Agents and repos by name. */
export interface RunOverrides extends Partial<Omit<RecordedRun, 'agents' | 'repos' | 'steps' | 'intent'>> {
  readonly intent?: Partial<Intent>;
  readonly agents?: Readonly<Record<string, Partial<RecordedAgent>>>;
  readonly repos?: Readonly<Record<string, Partial<RecordedRepo>>>;
  /** By id; null: without this row. */
  readonly steps?: Readonly<Record<string, Partial<RecordedStep> | null>>;
}

/** A recorded run with everything done and its agents started: `running`, unless something else is said. */
export function recordedRun(more: RunOverrides = {}): RecordedRun {
  const { intent, agents = {}, repos = {}, steps = {}, ...rest } = more;
  const fresh = draft(makeIntent(intent));
  const started: RecordedRun = {
    ...fresh,
    state: 'running',
    repos: fresh.repos.map((repo) => ({
      ...repo,
      baseRef: 'refs/heads/main',
      baseCommit: 'b'.repeat(40),
      ...repos[repo.name],
    })),
    agents: fresh.agents.map((agent) => ({
      ...agent,
      state: 'running' as const,
      health: 'healthy' as const,
      attempt: 1,
      pid: 100,
      startedAt: STARTED,
      lastOutputAt: STARTED,
      lastProgressAt: STARTED,
      progress: 'p1',
      ...agents[agent.name],
    })),
    ...rest,
  };
  const rows = compile({
    request: { kind: 'apply' },
    run: started,
    recorded: null,
    observed: look(fresh, { worktrees: 'missing' }),
    outcome: null,
    hash,
  }).steps.flatMap(({ id, step, inputHash }, index): RecordedStep[] => {
    const change = steps[id];
    if (change === null) return [];
    const done: RecordedStep = {
      id,
      kind: step.kind,
      ordinal: index + 1,
      inputHash,
      state: 'done',
      attempts: 1,
      startedAt: STARTED,
      endedAt: STARTED + 1,
      error: null,
      log: null,
      child: null,
    };
    return [{ ...done, ...change }];
  });
  return { ...started, steps: rows };
}

const START: StartRecord = {
  pid: 100,
  pidStart: '1',
  wrapperPid: 99,
  wrapperPidStart: '1',
  bootId: 'boot',
  host: 'here',
  startedAt: STARTED,
};

/** An agent that lives and works. */
export function aliveAgent(more: Partial<ObservedAgent> = {}): ObservedAgent {
  return {
    attempt: 1,
    claim: 'wrapper',
    wrapper: 'alive',
    process: 'alive',
    started: START,
    exit: null,
    rebooted: false,
    lastOutputAt: NOW - 1_000,
    progress: 'p1',
    ...more,
  };
}

export function startedAt(at: number): StartRecord {
  return { ...START, startedAt: at };
}

/** An agent that ended, as its wrapper recorded it. */
export function exited(
  exitCode: number | null,
  more: Partial<ExitRecord> = {},
  agent: Partial<ObservedAgent> = {},
): ObservedAgent {
  const exit = { exitCode, signal: null, startedAt: STARTED, endedAt: NOW - 500, error: null, ...more };
  return aliveAgent({ wrapper: 'dead', process: 'dead', exit, ...agent });
}

/** An agent that is gone and left no word of how. */
export function deadAgent(more: Partial<ObservedAgent> = {}): ObservedAgent {
  return aliveAgent({ wrapper: 'dead', process: 'dead', ...more });
}

export function readyRepo(more: Partial<ObservedRepo['worktree']> = {}, repo: Partial<ObservedRepo> = {}) {
  return {
    source: '/src/api',
    commonDir: '/src/api/.git',
    base: null,
    branchCommit: 'b'.repeat(40),
    branchCheckedOutAt: null,
    ...repo,
    worktree: {
      state: 'ready' as const,
      branch: 'task/t-1-abcd1234',
      head: 'b'.repeat(40),
      dirtyFiles: [],
      ahead: 0,
      behind: 0,
      filesChanged: 0,
      insertions: 0,
      deletions: 0,
      onlyHere: [],
      ...more,
    },
  } satisfies ObservedRepo;
}

/** A repo whose worktree is still to be made. */
export function freshRepo(name = 'api', repo: Partial<ObservedRepo> = {}): ObservedRepo {
  return readyRepo(
    { state: 'missing', branch: null, head: null, dirtyFiles: null },
    {
      source: `/src/${name}`,
      commonDir: `/src/${name}/.git`,
      base: { from: 'local', ref: 'refs/heads/main', commit: 'b'.repeat(40) },
      branchCommit: null,
      ...repo,
    },
  );
}

/** How a look differs from the plain one. */
export interface LookOverrides extends Partial<Omit<Observed, 'agents' | 'repos'>> {
  readonly agents?: Readonly<Record<string, ObservedAgent>>;
  readonly repos?: Readonly<Record<string, ObservedRepo>>;
  readonly worktrees?: 'ready' | 'missing';
}

/** A look at `run` that finds everything there and every started agent alive. */
export function look(run: RecordedRun, more: LookOverrides = {}): Observed {
  const { agents = {}, repos = {}, worktrees = 'ready', ...rest } = more;
  const there = worktrees === 'ready';
  return {
    now: NOW,
    repos: Object.fromEntries(
      run.repos.map((repo) => [
        repo.name,
        repos[repo.name] ??
          (there ? readyRepo({ branch: repo.branch }, { source: repo.source }) : freshRepo(repo.name)),
      ]),
    ),
    workspace: { exists: there, sentinelFolder: there ? 'folder' : 'missing', gone: [] },
    ticket: there
      ? { folder: '/project/.metawsm/ttmp/t-1', brief: { path: '/brief.md', hash: 'h' } }
      : { folder: null, brief: null },
    agents: Object.fromEntries(
      run.agents.map((agent) => [agent.name, agents[agent.name] ?? aliveAgent({ attempt: agent.attempt })]),
    ),
    sentinels: [],
    autoSession: 'process',
    problems: [],
    warnings: [],
    ...rest,
  };
}

/** A sentinel file in `agent`'s own folder, or elsewhere. */
export function sentinel(
  kind: SentinelKind,
  value: SentinelValue = {},
  at: {
    readonly place?: FoundSentinel['place'];
    readonly dir?: string;
    readonly mtime?: number;
    readonly digest?: string;
  } = {},
): FoundSentinel {
  const { place = { kind: 'agent', agent: 'agent' }, dir = SHARED, mtime = NOW - 2_000 } = at;
  const digest = at.digest ?? hash(JSON.stringify(value));
  return { kind, file: `${dir}/${kind}.json`, place, content: { kind: 'valid', value, digest, mtime } };
}

/** A sentinel file that cannot be read. */
export function unreadable(kind: SentinelKind, dir = SHARED): FoundSentinel {
  return {
    kind,
    file: `${dir}/${kind}.json`,
    place: { kind: 'agent', agent: 'agent' },
    content: { kind: 'problem', reason: 'is not valid JSON' },
  };
}

export const QUESTION = { question: 'Which?' };

/** The question that `sentinel('guidance-request', QUESTION)` asks, as recorded. */
export function recordedQuestion(more: Partial<RecordedGuidance> = {}): RecordedGuidance {
  return {
    id: 'g1',
    agent: 'agent',
    attempt: 1,
    requestId: null,
    question: 'Which?',
    context: null,
    digest: hash(JSON.stringify(QUESTION)),
    file: `${SHARED}/guidance-request.json`,
    askedAt: NOW - 2_000,
    state: 'pending',
    answer: null,
    answeredAt: null,
    ...more,
  };
}

/** The same question, answered and delivered. */
export function deliveredAnswer(more: Partial<RecordedGuidance> = {}): RecordedGuidance {
  return recordedQuestion({ state: 'delivered', answer: 'that', answeredAt: NOW - 1_000, ...more });
}

/** The response file that delivered it. */
export function response(id = 'g1', at: Parameters<typeof sentinel>[2] = {}): FoundSentinel {
  return sentinel('guidance-response', { guidance_id: id, run_id: RUN, agent: 'agent', answer: 'that' }, at);
}

/** The record after a look was recorded, as the store writes it. */
export function applied(run: RecordedRun, outcome: Outcome): RecordedRun {
  const asked = outcome.newGuidance.map(
    (question, index): RecordedGuidance => ({
      ...question,
      id: `g${run.guidance.length + index + 1}`,
      state: 'pending',
      answer: null,
      answeredAt: null,
    }),
  );
  return {
    ...run,
    ...(outcome.run ?? {}),
    agents: run.agents.map((agent) => {
      const seen = outcome.agents.find((a) => a.name === agent.name);
      return seen === undefined ? agent : { ...agent, ...seen.patch };
    }),
    guidance: [
      ...run.guidance.map((g) =>
        outcome.withdrawn.includes(g.id) ? { ...g, state: 'withdrawn' as const } : g,
      ),
      ...asked,
    ],
  };
}

/** The plan for a recorded run, with what the look means for it. */
export function planOf(
  recorded: RecordedRun,
  more: {
    readonly intent?: Intent;
    readonly observed?: LookOverrides;
    readonly request?: Request;
  } = {},
): Plan {
  const run = wanted(recorded, more.intent ?? recorded.intent);
  const observed = look(run, more.observed);
  const outcome = reconcile(recorded, observed);
  return compile({ request: more.request ?? { kind: 'apply' }, run, recorded, observed, outcome, hash });
}

/** The plan for a manifest that has no run yet. */
export function newPlan(intent: Intent = makeIntent(), observed: LookOverrides = {}): Plan {
  const run = draft(intent);
  return compile({
    request: { kind: 'apply' },
    run,
    recorded: null,
    observed: look(run, { worktrees: 'missing', ...observed }),
    outcome: null,
    hash,
  });
}
