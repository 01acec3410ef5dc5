import { describe, expect, test } from 'vitest';
import type { Intent, RepoIntent } from '../../src/manifest/intent.js';
import { abandonedSteps, compileClose, isUnderWay } from '../../src/plan/close.js';
import { deliveryKind, noneReason } from '../../src/plan/delivery.js';
import { missingSteps } from '../../src/plan/plan.js';
import type { RecordedDelivery, RecordedRun, RecordedStep } from '../../src/plan/recorded.js';
import { reconcile } from '../../src/sentinels/reconcile.js';
import {
  hash,
  look,
  makeIntent,
  type RunOverrides,
  recordedRun,
  repoIntent,
} from '../support/run-builder.js';

type MergeIntent = Intent['intake']['mergeIntent'];

const HEADS = { api: 'a'.repeat(40) };
const cloned: RepoIntent['source'] = { kind: 'url', url: 'https://example.com/api.git' };

function intake(mergeIntent: MergeIntent): Intent['intake'] {
  return { ...makeIntent().intake, mergeIntent };
}

function planned(recorded: RecordedRun) {
  const observed = look(recorded);
  return compileClose({ recorded, observed, outcome: reconcile(recorded, observed), hash }, HEADS);
}

/** The ids of what is to be done. */
function missing(overrides: RunOverrides, rows: readonly RecordedStep[] = []): string[] {
  const run = recordedRun({ state: 'completed', ...overrides });
  return missingSteps(planned({ ...run, steps: [...run.steps, ...rows] })).map(({ id }) => id);
}

function row(kind: string, state: RecordedStep['state'], id = kind): RecordedStep {
  const times = { startedAt: 1, endedAt: 2 };
  return {
    id,
    kind,
    ordinal: 99,
    inputHash: 'x',
    state,
    attempts: 1,
    ...times,
    error: null,
    log: null,
    child: null,
  };
}

function delivery(state: RecordedDelivery['state']): RecordedDelivery {
  const ref = { ref: null, before: null, after: null, url: null };
  return { repo: 'api', kind: 'merge', state, head: HEADS.api, ...ref, at: 1 };
}

test('the commands that are shown are those that move refs', () => {
  const { steps } = planned(recordedRun({ state: 'completed' }));
  const argvOf = (id: string) => steps.find((step) => step.id === id)?.commands.map(({ argv }) => argv);
  const branch = recordedRun({}).repos[0]?.branch;
  expect(argvOf('deliver.merge')).toEqual([
    ['git', 'merge-tree', '--write-tree', 'main', branch],
    ['git', 'update-ref', 'refs/heads/main', '<what is merged>', '<main now>'],
  ]);
  expect(argvOf('branch.delete/api')).toEqual([
    ['git', 'update-ref', '--no-deref', '-d', `refs/heads/${branch}`],
  ]);
});

describe('what becomes of the branches', () => {
  test.each<[MergeIntent, Partial<RepoIntent>, ReturnType<typeof deliveryKind>, string]>([
    ['default', {}, 'merge', 'default'],
    ['default', { source: cloned }, 'none', 'repo api has a url'],
    ['default', { baseBranch: 'HEAD' }, 'none', 'the base of repo api is HEAD'],
    ['merge', {}, 'merge', 'merge'],
    ['none', {}, 'none', 'merge_intent none'],
    ['pull_request', { source: cloned }, 'pull_request', 'pull_request'],
  ])('%s %j: %s', (mergeIntent, repo, kind, why) => {
    const intent = makeIntent({ intake: intake(mergeIntent), repos: [repoIntent('api', repo)] });
    expect(deliveryKind(intent)).toBe(kind);
    expect(noneReason(intent)).toContain(why);
  });
});

describe('the steps', () => {
  const END = ['ticket.close', 'worktree.remove/api'];
  const rest = (...more: string[]) => ['agent.stop/agent', 'close.check', ...more, 'workspace.remove'];
  test.each<[string, RunOverrides, string[]]>([
    ['a merge', {}, rest('deliver.merge', ...END, 'branch.delete/api')],
    ['nothing', { intent: { intake: intake('none') } }, rest(...END)],
    [
      'a pull request',
      { intent: { intake: intake('pull_request') } },
      rest('deliver.push/api', 'deliver.pull-request/api', ...END),
    ],
    [
      'no ticket',
      { intent: { tickets: { driver: 'none', root: null } } },
      rest('deliver.merge', 'worktree.remove/api', 'branch.delete/api'),
    ],
    [
      'an agent that never started',
      { agents: { agent: { attempt: 0 } } },
      rest('deliver.merge', ...END, 'branch.delete/api').slice(1),
    ],
  ])('of %s', (_, overrides, ids) => {
    expect(missing(overrides)).toEqual(ids);
  });

  test('a close that was cut off goes on with what is not done', () => {
    const rows = [
      row('close.check', 'done'),
      row('deliver.merge', 'running'),
      row('agent.stop', 'done', 'agent.stop/agent'),
    ];
    expect(missing({ state: 'closing' }, rows)).toEqual([
      'deliver.merge',
      'ticket.close',
      'worktree.remove/api',
      'branch.delete/api',
      'workspace.remove',
    ]);
    // Of a close that was refused nothing is left.
    expect(missing({}, rows)).toHaveLength(7);
  });

  test('a repo whose worktree this close removed still belongs to it, a dropped one never did', () => {
    const both = recordedRun({ state: 'closing', intent: { repos: [repoIntent('api'), repoIntent('web')] } });
    const gone = { ...both, repos: both.repos.map((repo) => ({ ...repo, removed: true })) };
    const merges = (run: RecordedRun) =>
      planned(run).steps.flatMap(({ step }) =>
        step.kind === 'deliver.merge' ? step.merges.map(({ repo }) => repo) : [],
      );
    expect(merges(gone)).toEqual(['api', 'web']);
    expect(merges({ ...gone, intent: makeIntent() })).toEqual(['api']);
  });
});

describe('whether a close left something behind', () => {
  test.each<[string, Partial<Pick<RecordedRun, 'deliveries' | 'steps'>>, boolean]>([
    ['only checked', { deliveries: [delivery('checked')], steps: [row('close.check', 'done')] }, false],
    [
      'rolled back',
      { deliveries: [delivery('rolled_back')], steps: [row('deliver.merge', 'failed')] },
      false,
    ],
    ['about to move', { deliveries: [delivery('planned')] }, true],
    ['moved', { deliveries: [delivery('done')] }, true],
    [
      'the ticket is closed',
      { deliveries: [delivery('checked')], steps: [row('ticket.close', 'done')] },
      true,
    ],
    ['a worktree is gone', { steps: [row('worktree.remove', 'done', 'worktree.remove/api')] }, true],
    [
      'one that the manifest dropped is gone',
      { steps: [row('worktree.remove', 'done', 'worktree.remove/old')] },
      false,
    ],
  ])('%s', (_, change, underWay) => {
    const run = { ...recordedRun({ state: 'closing' }), ...change };
    expect(isUnderWay(run, planned(run))).toBe(underWay);
  });

  test('what it leaves undone waits for nobody', () => {
    const run = recordedRun({ state: 'closing' });
    const rows = [row('close.check', 'failed'), row('deliver.merge', 'pending'), row('agent.stop', 'done')];
    const left = abandonedSteps({ ...run, steps: [...run.steps, ...rows] });
    expect(left.map(({ id }) => id)).toEqual(['close.check', 'deliver.merge']);
  });
});
