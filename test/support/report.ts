/** Runs to report about, as they would be gathered: one of hours that saw everything, and what differs from it. */
import type { CriterionState } from '../../src/plan/evidence.js';
import { criteriaStates, declaredCriteria } from '../../src/plan/evidence.js';
import type { RecordedEvidence, RecordedRun, RecordedStep } from '../../src/plan/recorded.js';
import type { ReportInput } from '../../src/report/report-model.js';
import type { JournalEvent } from '../../src/report/report-timeline.js';
import { makeIntent, recordedRun, repoIntent } from './run-builder.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** When the runs here begin. */
export const BEGIN = Date.UTC(2026, 2, 4, 9, 14, 7);

const HEAD = '4be1c3f0a9d2e87b6c5f10293847564738291abc';
const OLD = '9d0f2c4b6a8e1357902468ace13579bdf0246813';

/** An event of the journal, `after` ms from the beginning. */
export function event(after: number, type: string, data: Readonly<Record<string, unknown>>): JournalEvent {
  return { at: BEGIN + after, type, data };
}

/** A run of 14 hours: questions overnight, a failed agent, a failed check, then everything well and delivered. */
export function longRun(more: Partial<ReportInput> = {}): ReportInput {
  const intent = makeIntent({
    ticket: { id: 'LOGIN-7', title: 'Rate-limit the login endpoint', topics: ['api', 'security'] },
    repos: [repoIntent('api'), repoIntent('web')],
    intake: {
      goal: 'A client that tries more than five passwords a minute is turned away with 429.',
      scope: 'The login endpoint and its page.\nNot the password reset.',
      constraints: 'No new dependencies; the token bucket of the gateway is to be used.',
      answers: [{ question: 'Who sees the limit?', answer: 'Everybody, in a header.' }],
      mergeIntent: 'pull_request',
    },
    criteria: [
      { kind: 'command', run: 'npm test', repo: 'api', timeoutMs: 10 * MINUTE },
      {
        kind: 'command',
        run: ['npx', 'playwright', 'test', '--grep', 'login'],
        repo: 'web',
        timeoutMs: 10 * MINUTE,
      },
      { kind: 'worded', text: 'The README documents the new header' },
    ],
  });
  const base = recordedRun({ intent });
  const keys = declaredCriteria(base);
  const found = (label: string, after: number, fields: Partial<RecordedEvidence>): RecordedEvidence => {
    const one = keys.find(({ id }) => id === label);
    return {
      criterionId: one?.key ?? '',
      label,
      kind: one?.criterion.kind ?? 'worded',
      command: null,
      repo: one?.repo ?? null,
      heads: { api: HEAD },
      dirty: false,
      exitCode: 0,
      durationMs: null,
      checkedAt: BEGIN + after,
      log: null,
      state: 'passed',
      detail: null,
      source: null,
      ...fields,
    };
  };
  const evidence = [
    found('c1', 13 * HOUR + 62 * SECOND, {
      heads: { api: OLD },
      state: 'failed',
      exitCode: 1,
      durationMs: 41 * SECOND,
      detail: 'exited with status 1',
      log: '/state/c1-old.log',
    }),
    found('c2', 13 * HOUR + 95 * SECOND, {
      heads: { web: OLD },
      durationMs: 73 * SECOND,
      log: '/state/c2.log',
    }),
    found('c3', 13 * HOUR + 30 * MINUTE, {
      heads: { api: HEAD, web: OLD },
      detail: 'attested by agent',
      exitCode: null,
    }),
    found('c1', 13 * HOUR + 31 * MINUTE, { durationMs: 44 * SECOND, log: '/state/c1.log' }),
  ];
  const run: RecordedRun = {
    ...base,
    state: 'closed',
    outcome: 'delivered',
    createdAt: BEGIN,
    updatedAt: BEGIN + 14 * HOUR,
    evidence,
    agents: base.agents.map((agent) => ({
      ...agent,
      state: 'completed',
      attempt: 3,
      exitCode: 0,
      startedAt: BEGIN + 13 * HOUR + 4 * MINUTE,
      endedAt: BEGIN + 13 * HOUR + 30 * MINUTE,
      summary: 'The limit is enforced in the gateway; the header is X-RateLimit-Remaining.',
    })),
    guidance: [
      {
        id: 'g1',
        agent: 'agent',
        attempt: 2,
        requestId: null,
        question: 'The gateway has two token buckets: the shared one and the one of the session. Which one?',
        context: { files: ['gateway/bucket.ts', 'gateway/session.ts'] },
        digest: 'd1',
        file: '/f',
        askedAt: BEGIN + 48 * MINUTE,
        state: 'delivered',
        answer: 'The shared one.\nThe other one goes away in May.',
        answeredAt: BEGIN + 12 * HOUR + 20 * MINUTE,
      },
    ],
    deliveries: ['api', 'web'].map((repo, index) => ({
      repo,
      kind: 'pull_request' as const,
      state: 'done' as const,
      head: HEAD,
      ref: 'refs/heads/task/login-7-9gm7133t',
      before: null,
      after: HEAD,
      url: `https://github.example.com/acme/${repo}/pull/${41 + index}`,
      at: BEGIN + 14 * HOUR,
    })),
  };
  const steps = run.steps.flatMap(({ id }, index) => [
    event(index * 400, 'step', { id, state: 'running', attempt: 1 }),
    event(index * 400 + 380, 'step', { id, state: 'done', attempt: 1 }),
  ]);
  const agent = (
    after: number,
    attempt: number,
    state: string,
    exitCode: number | null = null,
  ): JournalEvent => event(after, 'agent', { name: 'agent', attempt, state, exitCode });
  const events = [
    event(0, 'run', { state: 'created', reason: null }),
    event(2, 'run', { state: 'planning', reason: null }),
    ...steps,
    event(6 * SECOND, 'run', { state: 'running', reason: null }),
    agent(5 * SECOND, 1, 'starting'),
    agent(7 * SECOND, 1, 'running'),
    agent(19 * MINUTE, 1, 'failed', 1),
    event(19 * MINUTE, 'run', { state: 'failed', reason: 'agent_failed' }),
    agent(20 * MINUTE, 2, 'starting'),
    event(20 * MINUTE, 'run', { state: 'running', reason: null }),
    event(48 * MINUTE, 'run', { state: 'awaiting_guidance', reason: null }),
    event(12 * HOUR + 20 * MINUTE, 'run', { state: 'running', reason: null }),
    agent(13 * HOUR, 2, 'completed', 0),
    event(13 * HOUR, 'run', { state: 'completed', reason: null }),
    agent(13 * HOUR + 4 * MINUTE, 3, 'starting'),
    event(13 * HOUR + 4 * MINUTE, 'run', { state: 'running', reason: null }),
    agent(13 * HOUR + 30 * MINUTE, 3, 'completed', 0),
    event(13 * HOUR + 30 * MINUTE, 'run', { state: 'completed', reason: null }),
    event(14 * HOUR - 9 * SECOND, 'run', { state: 'closing', reason: null }),
    event(14 * HOUR - 4 * SECOND, 'delivery', { repo: 'api', kind: 'pull_request', state: 'done' }),
    event(14 * HOUR - 2 * SECOND, 'delivery', { repo: 'web', kind: 'pull_request', state: 'done' }),
    event(14 * HOUR, 'run', { state: 'closed', reason: null, outcome: 'delivered' }),
  ];
  const history = {
    commits: [
      {
        commit: OLD,
        subject: 'Count tries per client in the gateway',
        author: 'Coding Agent',
        at: BEGIN + HOUR,
      },
      {
        commit: HEAD,
        subject: 'Answer 429 with the remaining tries in a header',
        author: 'Coding Agent',
        at: BEGIN + 13 * HOUR,
      },
    ],
    commitCount: 2,
    files: [
      { path: 'gateway/bucket.ts', insertions: 84, deletions: 12 },
      { path: 'README.md', insertions: 9, deletions: 0 },
      { path: 'docs/limit.png', insertions: null, deletions: null },
    ],
    filesChanged: 3,
    insertions: 93,
    deletions: 12,
  };
  return {
    now: BEGIN + 15 * HOUR,
    version: '0.1.0',
    run,
    events,
    criteria: criteriaStates(run, null),
    gates: [],
    changes: {
      api: { from: 'delivery', head: HEAD, dirtyFiles: null, history, note: null },
      web: {
        from: 'delivery',
        head: OLD,
        dirtyFiles: null,
        history: {
          ...history,
          commits: history.commits.slice(0, 1),
          commitCount: 1,
          files: history.files.slice(0, 1),
          filesChanged: 1,
          insertions: 84,
        },
        note: null,
      },
    },
    logs: new Map([
      ['/state/c1.log', { text: '> npm test\n\n  ✓ 214 tests passed\n', leftOut: 0 }],
      [
        '/state/c1-old.log',
        { text: '> npm test\n\n  ✗ login › is limited\n    expected 429, got 200\n', leftOut: 90_000 },
      ],
      ['/state/c2.log', { text: '', leftOut: 0 }],
    ]),
    agentLogs: new Map([
      ['agent', { text: 'reading the brief\nediting gateway/bucket.ts\n', leftOut: 120_000 }],
    ]),
    warnings: [{ code: 'late', message: 'agent exited with status 3 after it had completed', file: null }],
    mask: (text) => text,
    ...more,
  };
}

/** A run of seconds that completed, with its gates, and is not closed. */
export function shortRun(): ReportInput {
  const input = longRun();
  const events = [
    event(0, 'run', { state: 'created', reason: null }),
    event(3, 'run', { state: 'planning', reason: null }),
    event(10, 'step', { id: 'workspace.create', state: 'running' }),
    event(14, 'step', { id: 'workspace.create', state: 'done' }),
    event(15, 'step', { id: 'worktree.create/api', state: 'running' }),
    event(16, 'step', { id: 'worktree.create/web', state: 'running' }),
    event(120, 'step', { id: 'worktree.create/api', state: 'done' }),
    event(190, 'step', { id: 'worktree.create/web', state: 'done' }),
    event(200, 'agent', { name: 'agent', attempt: 1, state: 'starting', exitCode: null }),
    event(420, 'run', { state: 'running', reason: null }),
    event(1_300, 'agent', { name: 'agent', attempt: 1, state: 'completed', exitCode: 0 }),
    event(1_300, 'run', { state: 'completed', reason: null }),
  ];
  const agents = input.run.agents.map((agent) => ({
    ...agent,
    attempt: 1,
    startedAt: BEGIN + 210,
    endedAt: BEGIN + 1_250,
  }));
  const run = {
    ...input.run,
    state: 'completed',
    outcome: null,
    agents,
    guidance: [],
    evidence: [],
    deliveries: [],
  } as const;
  return {
    ...input,
    run,
    events,
    now: BEGIN + 2_100,
    criteria: criteriaStates(run, null),
    gates: [
      { name: 'run_completed', ok: true, reason: 'The run is completed.' },
      {
        name: 'command_evidence',
        ok: false,
        reason: 'c1 (npm test) was not checked: metawsm verify LOGIN-7 does that.',
      },
    ],
    warnings: [],
  };
}

/** Steps without end, some at the same time, the last one failed. */
export function crowdedRun(): ReportInput {
  const input = longRun();
  const ids = Array.from(
    { length: 120 },
    (_, index) => `setup.run/repo-${index % 8}/${Math.floor(index / 8) + 1}`,
  );
  const steps = ids.map((id, index): RecordedStep => {
    const failed = index === ids.length - 1;
    return {
      id,
      kind: 'setup.run',
      ordinal: index + 1,
      inputHash: 'h',
      state: failed ? 'failed' : 'done',
      attempts: failed ? 2 : 1,
      startedAt: BEGIN + index * 350,
      endedAt: BEGIN + index * 350 + 1_200,
      error: failed ? 'npm ci: exited with status 1' : null,
      log: failed ? 'npm error code ENOENT' : null,
      child: null,
    };
  });
  const events = [
    event(0, 'run', { state: 'created', reason: null }),
    event(1, 'run', { state: 'planning', reason: null }),
    ...steps.flatMap(({ id, state, error }, index) => [
      event(index * 350, 'step', { id, state: 'running' }),
      event(index * 350 + 1_200, 'step', { id, state, error }),
    ]),
    event(44 * SECOND, 'run', { state: 'failed', reason: 'step_failed' }),
  ];
  const run = {
    ...input.run,
    state: 'failed',
    reason: 'step_failed',
    detail: 'setup.run/repo-7/15: npm ci: exited with status 1',
    outcome: null,
    steps,
    agents: [],
    guidance: [],
    evidence: [],
    deliveries: [],
  } as const;
  return {
    ...input,
    run,
    events,
    now: BEGIN + 60 * SECOND,
    criteria: criteriaStates(run, null),
    warnings: [],
  };
}

/** What an agent may write to be taken for a part of the page. */
export const HOSTILE: readonly string[] = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "'><svg/onload=alert(1)>",
  ']]><b>out</b>',
  '</pre></details></style></title><h1>out</h1>',
  'javascript:alert(1)',
  '[click](javascript:alert(1)) ![seen](https://evil.example/x.png)',
  '<https://evil.example> https://evil.example www.evil.example me@evil.example',
  '`code` ``more`` ```\nfence\n``` ~~~',
  'a | b \\| c || d',
  '# heading\n- list\n1. one\n> quote\n---\n    code',
  '@octocat closes #1 and GH-2 and acme/api#3 @org/team',
  '\u001b[31mred\u001b[0m \u0007 \u202eesrever\u202c \u200b \u0000',
  '&lt;already&gt; &amp; &#60;',
  '$x$ $$y$$ :tada: <!-- --> <?php ?> <![CDATA[ ]]>',
  '{{ template }} ${expansion} <%= erb %>',
];

/** The long run with one text in every place that an agent, a manifest or a repository fills. */
export function hostileRun(text: string): ReportInput {
  const input = longRun();
  const { run } = input;
  const criteria: CriterionState[] = input.criteria.map((criterion) => ({
    ...criterion,
    text,
    detail: text,
    voidReason: text,
    state: 'void',
  }));
  const log = { text, leftOut: 0 };
  return {
    ...input,
    run: {
      ...run,
      detail: text,
      manifestPath: `/project/${text}.yaml`,
      intent: {
        ...run.intent,
        ticket: { id: 'LOGIN-7', title: text, topics: [text] },
        intake: {
          ...run.intent.intake,
          goal: text,
          scope: text,
          constraints: text,
          answers: [{ question: text, answer: text }],
        },
      },
      agents: run.agents.map((agent) => ({ ...agent, summary: text, healthReason: text, signal: text })),
      guidance: run.guidance.map((asked) => ({
        ...asked,
        question: text,
        answer: text,
        context: { [text]: text },
      })),
      evidence: run.evidence.map((found) => ({ ...found, detail: text })),
      steps: run.steps.map((step) => ({ ...step, state: 'failed' as const, error: text, log: text })),
      deliveries: run.deliveries.map((delivery) => ({ ...delivery, url: text })),
      repos: run.repos.map((repo) => ({ ...repo, branch: text, baseBranch: text })),
    },
    events: [
      ...input.events,
      event(HOUR, 'step', { id: text, state: 'running' }),
      event(HOUR, 'step', { id: text, state: 'failed', error: text }),
      event(HOUR, 'delivery', { repo: text, kind: text, state: 'done' }),
    ],
    criteria,
    gates: [{ name: 'run_completed', ok: false, reason: text }],
    changes: Object.fromEntries(
      Object.entries(input.changes).map(([name, changes]) => [
        name,
        {
          ...changes,
          dirtyFiles: [text],
          note: text,
          history: changes.history && {
            ...changes.history,
            commits: [{ commit: HEAD, subject: text.replaceAll('\n', ' '), author: text, at: BEGIN }],
            files: [{ path: text, insertions: 1, deletions: 1 }],
          },
        },
      ]),
    ),
    logs: new Map([...input.logs.keys()].map((file) => [file, log])),
    agentLogs: new Map([['agent', log]]),
    warnings: [{ code: 'x', message: text, file: text }],
  };
}
