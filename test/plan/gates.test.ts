import { describe, expect, test } from 'vitest';
import {
  type GateCriterion,
  type GateName,
  type GateRepo,
  type GatesInput,
  gatesOf,
} from '../../src/plan/gates.js';

const REPO: GateRepo = {
  name: 'api',
  path: '/ws/the api',
  baseBranch: 'main',
  dirtyFiles: [],
  onlyHere: [],
  metawsmCommitted: [],
  configChanges: [],
  configProblem: null,
  merge: { kind: 'mergeable', overlaps: [], problems: [] },
};

function criterion(
  kind: GateCriterion['kind'],
  state: GateCriterion['state'],
  voidReason?: string,
): GateCriterion {
  const text = kind === 'command' ? 'npm test' : 'It is documented';
  return { id: `${kind}-1`, kind, text, state, voidReason: voidReason ?? null };
}

const READY: GatesInput = {
  selector: 'MW-1',
  run: { state: 'completed', detail: null },
  hasBrief: true,
  pendingGuidance: [],
  criteria: [criterion('command', 'passed'), criterion('worded', 'passed')],
  repos: [REPO],
  mergeIntent: 'default',
};

const ORDER: readonly GateName[] = [
  'run_completed',
  'brief_and_criteria',
  'no_pending_guidance',
  'command_evidence',
  'worded_evidence',
  'worktrees_clean',
  'metawsm_not_committed',
  'git_config_unchanged',
  'base_mergeable',
];

const failing = (input: GatesInput) => gatesOf(input).filter((gate) => !gate.ok);
const withRepo = (change: Partial<GateRepo>): Partial<GatesInput> => ({ repos: [{ ...REPO, ...change }] });

describe('gatesOf', () => {
  test('all hold, in order, each with a sentence', () => {
    const gates = gatesOf(READY);
    expect(gates.map(({ name }) => name)).toEqual(ORDER);
    expect(gates.every(({ ok }) => ok)).toBe(true);
    for (const { reason } of gates) expect(reason).toMatch(/^[A-Z0-9].*\.$/s);
  });

  test.each<[string, GateName, Partial<GatesInput>, readonly string[]]>([
    [
      'a running run',
      'run_completed',
      { run: { state: 'running', detail: null } },
      ['The run is running, not completed.', 'metawsm status MW-1'],
    ],
    [
      'a failed run',
      'run_completed',
      { run: { state: 'failed', detail: 'agent exited with 1' } },
      ['failed (agent exited with 1)', 'metawsm restart MW-1'],
    ],
    ['a paused run', 'run_completed', { run: { state: 'paused', detail: null } }, ['metawsm resume MW-1']],
    ['no brief', 'brief_and_criteria', { hasBrief: false }, ['The run has no brief.', 'Apply the manifest']],
    ['no criteria', 'brief_and_criteria', { criteria: [] }, ['no done criterion']],
    [
      'a question',
      'no_pending_guidance',
      { pendingGuidance: [{ id: 'g1', agent: 'agent', question: 'Tabs or spaces?' }] },
      ['agent asks (g1): Tabs or spaces?', 'metawsm guide MW-1 --answer TEXT'],
    ],
    [
      'a command that failed',
      'command_evidence',
      { criteria: [criterion('command', 'failed', 'exit 1')] },
      ['Command "npm test" failed: exit 1.', 'metawsm iterate MW-1', 'metawsm verify MW-1'],
    ],
    [
      'a command never run',
      'command_evidence',
      { criteria: [criterion('command', 'missing')] },
      ['Command "npm test" was not run.', 'Run metawsm verify MW-1.'],
    ],
    [
      'a command that passed at another commit',
      'command_evidence',
      { criteria: [criterion('command', 'void', 'HEAD of api moved')] },
      ['does not hold any more: HEAD of api moved.'],
    ],
    [
      'words nobody attested',
      'worded_evidence',
      { criteria: [criterion('worded', 'missing')] },
      ['Criterion "It is documented" is not attested.', 'metawsm signal validation'],
    ],
    [
      'dirty files',
      'worktrees_clean',
      withRepo({ dirtyFiles: ['a.txt', 'line\nbreak'] }),
      ['api has 2 files not committed in /ws/the api: a.txt, "line\\nbreak".', 'Commit them'],
    ],
    [
      'a worktree out of sight',
      'worktrees_clean',
      withRepo({ dirtyFiles: null }),
      ['cannot be looked at', 'metawsm resume MW-1'],
    ],
    [
      'a branch out of sight',
      'metawsm_not_committed',
      withRepo({ metawsmCommitted: null }),
      ['api: its worktree cannot be looked at.'],
    ],
    [
      'a configuration out of sight',
      'git_config_unchanged',
      withRepo({ configProblem: 'bad config line 3' }),
      ['api: the git configuration cannot be looked at: bad config line 3.'],
    ],
    [
      '.metawsm on a branch',
      'metawsm_not_committed',
      withRepo({ metawsmCommitted: ['.metawsm/brief.md'] }),
      ['The branch of api holds .metawsm/brief.md.', "git -C '/ws/the api' rm -r --cached .metawsm"],
    ],
    [
      'a changed configuration',
      'git_config_unchanged',
      withRepo({
        configChanges: [
          {
            key: 'core.hookspath',
            change: 'added',
            restore: ['git config --unset-all core.hookspath'],
            note: null,
          },
          {
            key: 'remote.origin.url',
            change: 'changed',
            restore: ['git config --edit'],
            note: 'not recorded',
          },
          { key: 'hook pre-push', change: 'removed', restore: [], note: 'what it did was not recorded' },
        ],
      }),
      [
        'api: git config core.hookspath was added since the run began. Put it back with git config --unset-all core.hookspath.',
        'Put it back with git config --edit (not recorded).',
        'api: hook pre-push was removed since the run began. Put it back by hand (what it did was not recorded).',
      ],
    ],
    [
      'work that git status does not name',
      'worktrees_clean',
      withRepo({ onlyHere: ['1 commit on no branch (HEAD is abc)'] }),
      ['api holds what would be lost with /ws/the api: 1 commit on no branch (HEAD is abc).'],
    ],
    [
      'a conflict',
      'base_mergeable',
      withRepo({ merge: { kind: 'conflict', files: ['a.txt', 'b.txt'], with: 'origin/main' } }),
      ['api conflicts with origin/main in a.txt, b.txt.', "git -C '/ws/the api' merge origin/main"],
    ],
    [
      'a base that diverged',
      'base_mergeable',
      withRepo({ merge: { kind: 'problem', problem: 'main and origin/main have diverged' } }),
      ['api: main and origin/main have diverged.'],
    ],
    [
      'work in the way',
      'base_mergeable',
      withRepo({
        merge: { kind: 'mergeable', overlaps: ['/src/a.txt'], problems: ['a merge is in progress'] },
      }),
      ['in the way: /src/a.txt.', 'api: a merge is in progress.'],
    ],
  ])('%s', (_, name, change, texts) => {
    const gates = failing({ ...READY, ...change });
    expect(gates.map((gate) => gate.name)).toEqual([name]);
    for (const text of texts) expect(gates[0]?.reason).toContain(text);
  });

  test('everything that does not hold is told at once, in order', () => {
    const gates = failing({
      ...READY,
      run: { state: 'awaiting_guidance', detail: null },
      hasBrief: false,
      pendingGuidance: [
        { id: 'g1', agent: 'a', question: 'One?' },
        { id: 'g2', agent: 'b', question: 'Two' },
      ],
      criteria: [criterion('command', 'failed'), criterion('worded', 'void')],
      repos: [
        { ...REPO, dirtyFiles: Array.from({ length: 25 }, (_, n) => `f${n}`) },
        {
          ...REPO,
          name: 'web',
          metawsmCommitted: ['.metawsm/x'],
          merge: { kind: 'conflict', files: ['z'], with: 'main' },
        },
        {
          ...REPO,
          name: 'lib',
          configChanges: [{ key: 'alias.x', change: 'added', restore: ['y'], note: null }],
        },
      ],
    });
    expect(gates.map(({ name }) => name)).toEqual(ORDER);
    expect(gates[2]?.reason).toContain('b asks (g2): Two.');
    expect(gates[2]?.reason).toContain('--id ID');
    expect(gates[5]?.reason).toContain('f19, and 5 more.');
  });

  test.each(['none', 'pull_request'] as const)('with %s nothing need be mergeable', (mergeIntent) => {
    const input = {
      ...READY,
      ...withRepo({ merge: { kind: 'conflict', files: ['a'], with: 'main' } }),
      mergeIntent,
    };
    expect(failing(input)).toEqual([]);
  });

  test('a repo that is not merged is skipped, and a close that was cut off goes on', () => {
    expect(failing({ ...READY, ...withRepo({ merge: { kind: 'skipped' } }) })).toEqual([]);
    expect(failing({ ...READY, run: { state: 'closing', detail: null } })).toEqual([]);
  });
});
