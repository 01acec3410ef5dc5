import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Outcome } from '../../src/plan/outcome.js';
import type { RecordedAgent } from '../../src/plan/recorded.js';
import { IllegalTransition } from '../../src/state/problem.js';
import { Store } from '../../src/state/store.js';
import { folder, intent, newRun, newStore, options, storeWithRun } from './support.js';

test('every field of a run comes back as it was recorded', async () => {
  let now = 1_700_000_000_000;
  const { store, top, state } = await newStore({ now: () => now++ });
  const manifest = path.join(top, 'manifests', 'a.yaml');
  await store.createRun(newRun('run-1', manifest), { beside: false });

  const agent: Omit<RecordedAgent, 'name'> = {
    state: 'running',
    health: 'idle',
    healthReason: 'no output for 6 min',
    attempt: 2,
    session: 'tmux',
    sessionName: 't-1-agent',
    tmuxSocket: 'metawsm',
    cwd: '/ws/api',
    sentinelDir: '/ws/.metawsm',
    pid: 4711,
    pidStart: '12345',
    bootId: 'boot',
    host: 'host',
    exitCode: 3,
    signal: 'SIGTERM',
    startedAt: 1_700_000_000_001,
    endedAt: 1_700_000_000_002,
    lastOutputAt: 1_700_000_000_003,
    lastProgressAt: 1_700_000_000_004,
    progress: 'f00',
    stoppedAttempt: 1,
    startsUsed: 2,
    freeStartFor: 'g1',
    summary: 'done "so far"\n',
    completedAt: 1_700_000_000_005,
    feedback: { mark: 'm', text: 'not yet' },
    removed: true,
  };
  await store.updateAgent('run-1', 'agent', { state: 'starting' });
  await store.updateAgent('run-1', 'agent', agent);
  const repo = {
    baseRef: 'refs/heads/main',
    baseCommit: 'abc',
    placed: { '.env': 'hash', node_modules: '-> /x' },
    configAtCreation: { files: [], hooks: [] },
    removed: true,
  };
  await store.updateRepo('run-1', 'api', repo);
  await store.planSteps('run-1', [
    { id: 'b', kind: 'repo.fetch', ordinal: 2, inputHash: 'h2' },
    { id: 'a', kind: 'workspace.create', ordinal: 1, inputHash: 'h1' },
  ]);
  await store.stepStarted('run-1', 'a', { pid: 1, pidStart: '2' });
  const asked = {
    agent: 'agent',
    attempt: 2,
    requestId: 'r',
    question: 'Tabs?\u001b[31m',
    context: { any: ['json', null, 1.5] },
    digest: 'd',
    file: '/ws/.metawsm/guidance-request.json',
    askedAt: 1_700_000_000_006.75,
  };
  await store.recordGuidance('run-1', asked);
  await store.answerGuidance('run-1', 'g1', '007', 1_700_000_000_009);
  await store.saveBrief('run-1', { ticketDocument: '/ttmp/brief.md', ticketDocumentHash: 'hash' });
  await store.saveFixAttempts('run-1', 2);
  await store.saveCriterionRepos('run-1', { '"npm test"': 'api', '["make"]': null });
  await store.transitionRun('run-1', 'paused', { reason: 'interrupted', detail: 'Ctrl-C' });

  const expected = {
    ...newRun('run-1', manifest),
    selector: 'T-1',
    state: 'paused',
    reason: 'interrupted',
    detail: 'Ctrl-C',
    outcome: null,
    createdAt: 1_700_000_000_000,
    updatedAt: expect.any(Number),
    repos: [{ ...newRun('run-1', manifest).repos[0], ...repo }],
    agents: [{ name: 'agent', ...agent }],
    steps: [
      {
        id: 'a',
        kind: 'workspace.create',
        ordinal: 1,
        inputHash: 'h1',
        state: 'running',
        attempts: 1,
        startedAt: expect.any(Number),
        endedAt: null,
        error: null,
        log: null,
        child: { pid: 1, pidStart: '2' },
      },
      {
        id: 'b',
        kind: 'repo.fetch',
        ordinal: 2,
        inputHash: 'h2',
        state: 'pending',
        attempts: 0,
        startedAt: null,
        endedAt: null,
        error: null,
        log: null,
        child: null,
      },
    ],
    guidance: [
      {
        ...asked,
        askedAt: 1_700_000_000_006,
        id: 'g1',
        state: 'answered',
        answer: '007',
        answeredAt: 1_700_000_000_009,
      },
    ],
    brief: { ticketDocument: '/ttmp/brief.md', ticketDocumentHash: 'hash' },
    evidence: [],
    deliveries: [],
    criterionRepos: { '"npm test"': 'api', '["make"]': null },
    fixAttempts: 2,
  };
  const loaded = await store.loadRun('run-1');
  expect(loaded).toEqual(expected);
  expect(await store.findRuns()).toEqual([loaded]);
  await store.close();

  const again = await Store.open(state, options());
  onTestFinished(() => again?.close());
  expect(await again?.loadRun('run-1')).toEqual(loaded);
});

test('a change that no table allows is refused and nothing of it is written', async () => {
  const { store } = await storeWithRun();
  await store.planSteps('run-1', [{ id: 'a', kind: 'repo.fetch', ordinal: 1, inputHash: 'h' }]);
  const { guidance } = await store.recordGuidance('run-1', question('one'));
  const before = [await store.loadRun('run-1'), await store.events('run-1')];
  const illegal = [
    () => store.transitionRun('run-1', 'completed'),
    () => store.updateAgent('run-1', 'agent', { state: 'completed', summary: 'x' }),
    () => store.stepEnded('run-1', 'a', { state: 'failed', error: 'x' }),
    () => store.markDelivered('run-1', guidance.id),
    () =>
      store.transaction(async () => {
        await store.appendEvent('run-1', 'test', {});
        await store.transitionRun('run-1', 'completed').catch(() => {});
      }),
  ];
  for (const change of illegal) await expect(change()).rejects.toBeInstanceOf(IllegalTransition);
  expect([await store.loadRun('run-1'), await store.events('run-1')]).toEqual(before);
});

test('a change of state is one event; what changes nothing is none', async () => {
  const { store } = await storeWithRun();
  expect(await store.transitionRun('run-1', 'failed', { reason: 'step_failed', detail: 'a' })).toBe(true);
  const { updatedAt } = await store.loadRun('run-1');
  expect(await store.transitionRun('run-1', 'failed', { reason: 'step_failed', detail: 'a' })).toBe(false);
  expect((await store.loadRun('run-1')).updatedAt).toBe(updatedAt);
  expect(await store.transitionRun('run-1', 'failed', { reason: 'step_failed', detail: 'b' })).toBe(false);
  expect(await store.transitionRun('run-1', 'closed', { outcome: 'abandoned' })).toBe(true);
  expect(await store.loadRun('run-1')).toMatchObject({ state: 'closed', reason: null, outcome: 'abandoned' });
  const told = (await store.events('run-1'))
    .filter((event) => event.type === 'run')
    .map((event) => event.data);
  expect(told).toMatchObject([
    { state: 'created' },
    { state: 'planning', from: 'created' },
    { state: 'failed', reason: 'step_failed', detail: 'a' },
    { state: 'closed', outcome: 'abandoned' },
  ]);
});

test('steps are replaced when their input changes, leave when they are not planned, and come back fresh', async () => {
  const { store } = await storeWithRun();
  const step = (id: string, ordinal: number, inputHash = 'h') => ({
    id,
    kind: 'setup.run',
    ordinal,
    inputHash,
  });
  expect(await store.planSteps('run-1', [step('a', 1), step('b', 2)])).toEqual({
    added: ['a', 'b'],
    replaced: [],
    removed: [],
  });
  for (const id of ['a', 'b']) {
    expect(await store.stepStarted('run-1', id)).toBe(1);
    expect(await store.stepEnded('run-1', id, { state: 'done' })).toMatchObject({ attempt: 1 });
  }
  const events = await store.events('run-1');
  expect(await store.planSteps('run-1', [step('a', 1), step('b', 2)])).toEqual({
    added: [],
    replaced: [],
    removed: [],
  });
  expect(await store.events('run-1')).toEqual(events);

  expect(await store.planSteps('run-1', [step('b', 1, 'other')])).toEqual({
    added: [],
    replaced: ['b'],
    removed: ['a'],
  });
  expect((await store.loadRun('run-1')).steps).toMatchObject([{ id: 'b', state: 'pending', attempts: 0 }]);
  expect(await store.planSteps('run-1', [step('a', 2)], 'keep')).toMatchObject({ added: ['a'], removed: [] });
  expect((await store.loadRun('run-1')).steps).toMatchObject([
    { id: 'b' },
    { id: 'a', state: 'pending', attempts: 0 },
  ]);
});

test('a step that was cut off keeps its child until it begins again', async () => {
  const { store } = await storeWithRun();
  await store.planSteps('run-1', [{ id: 'a', kind: 'setup.run', ordinal: 1, inputHash: 'h' }]);
  await store.stepStarted('run-1', 'a');
  await store.stepChild('run-1', 'a', { pid: 7, pidStart: 's' });
  await store.planSteps('run-1', [{ id: 'a', kind: 'setup.run', ordinal: 1, inputHash: 'new' }]);
  expect((await store.loadRun('run-1')).steps).toMatchObject([
    { state: 'pending', child: { pid: 7, pidStart: 's' } },
  ]);
  await store.stepStarted('run-1', 'a');
  expect((await store.loadRun('run-1')).steps).toMatchObject([
    { state: 'running', child: null, attempts: 1 },
  ]);
});

test('a question is recorded once until it is delivered', async () => {
  const { store } = await storeWithRun();
  expect(await store.recordGuidance('run-1', question('one'))).toMatchObject({
    isNew: true,
    guidance: { id: 'g1' },
  });
  expect(await store.recordGuidance('run-1', question('one'))).toMatchObject({
    isNew: false,
    guidance: { id: 'g1' },
  });
  await store.answerGuidance('run-1', 'g1', 'yes', 5);
  expect(await store.recordGuidance('run-1', question('one'))).toMatchObject({ isNew: false });
  await store.answerGuidance('run-1', 'g1', 'no', 6);
  await store.markDelivered('run-1', 'g1');
  await expect(store.answerGuidance('run-1', 'g1', 'late', 7)).rejects.toBeInstanceOf(IllegalTransition);
  expect(await store.recordGuidance('run-1', question('one'))).toMatchObject({
    isNew: true,
    guidance: { id: 'g2' },
  });
  await store.withdrawGuidance('run-1', 'g2');
  expect((await store.loadRun('run-1')).guidance).toMatchObject([
    { id: 'g1', state: 'delivered', answer: 'no', answeredAt: 6 },
    { id: 'g2', state: 'withdrawn' },
  ]);
});

test('what a look meant is recorded all at once or not at all', async () => {
  const { store } = await storeWithRun();
  await store.transitionRun('run-1', 'running');
  await store.updateAgent('run-1', 'agent', { state: 'starting', attempt: 1 });
  const outcome = (
    state: 'awaiting_guidance' | 'created',
  ): Pick<Outcome, 'run' | 'agents' | 'newGuidance' | 'withdrawn'> => ({
    run: { state, reason: null, detail: null },
    agents: [
      {
        name: 'agent',
        verdict: 'asking',
        live: true,
        unreadAnswer: null,
        rebooted: false,
        endedAt: null,
        patch: {
          state: 'running',
          health: 'healthy',
          healthReason: null,
          pid: 1,
          exitCode: null,
          signal: null,
          startedAt: 1,
          endedAt: null,
          lastOutputAt: 2.5,
          lastProgressAt: 2,
          progress: 'p',
          summary: null,
          completedAt: null,
        },
      },
    ],
    newGuidance: [question('one')],
    withdrawn: [],
  });
  const before = await store.loadRun('run-1');
  await expect(store.applyReconciled('run-1', outcome('created'))).rejects.toBeInstanceOf(IllegalTransition);
  expect(await store.loadRun('run-1')).toEqual(before);

  const first = await store.applyReconciled('run-1', outcome('awaiting_guidance'));
  expect(first).toMatchObject({ runChanged: true, changedAgents: ['agent'], questions: [{ id: 'g1' }] });
  const events = await store.events('run-1');
  const second = await store.applyReconciled('run-1', outcome('awaiting_guidance'));
  expect(second).toEqual({ runChanged: false, changedAgents: [], questions: [] });
  expect(await store.events('run-1')).toEqual(events);
});

test('a removed repo or agent comes back, the agent with its attempts', async () => {
  const { store, top } = await storeWithRun();
  const [repo, agent] = [newRun('x', top).repos[0], newRun('x', top).agents[0]];
  if (repo === undefined || agent === undefined) throw new Error('no sample');
  await store.updateAgent('run-1', 'agent', { state: 'starting', attempt: 3 });
  await store.updateAgent('run-1', 'agent', { removed: true });
  await store.updateRepo('run-1', 'api', { removed: true, baseCommit: 'old' });
  await store.addAgent('run-1', { ...agent, cwd: '/else' });
  await store.addRepo('run-1', { ...repo, branch: 'task/other' });
  const run = await store.loadRun('run-1');
  expect(run.agents).toMatchObject([{ name: 'agent', attempt: 3, cwd: '/else', removed: false }]);
  expect(run.repos).toMatchObject([{ name: 'api', branch: 'task/other', baseCommit: null, removed: false }]);
  await store.addRepo('run-1', { ...repo, name: 'web' });
  await expect(store.addRepo('run-1', { ...repo, name: 'web' })).rejects.toThrow(/UNIQUE/);
  expect((await store.loadRun('run-1')).repos.map((each) => each.name)).toEqual(['api', 'web']);
});

test('evidence and deliveries are kept', async () => {
  const { store } = await storeWithRun();
  const found = {
    criterionId: '["command","npm test","api"]',
    label: 'c1',
    kind: 'command' as const,
    command: 'npm test',
    repo: 'api',
    heads: { api: 'abc' },
    dirty: false,
    exitCode: 0,
    durationMs: 12,
    checkedAt: 5,
    log: '/state/c1.log',
    state: 'passed' as const,
    detail: null,
    source: null,
  };
  await store.addEvidence('run-1', found);
  await store.addEvidence('run-1', { ...found, state: 'failed', exitCode: 1, command: ['npm', 'test'] });
  expect((await store.loadRun('run-1')).evidence).toMatchObject([
    found,
    { state: 'failed', exitCode: 1, command: ['npm', 'test'] },
  ]);
  await store.saveFixAttempts('run-1', 2);
  expect(await store.loadRun('run-1')).toMatchObject({ fixAttempts: 2, criterionRepos: {} });
  const delivery = {
    repo: 'api',
    kind: 'merge' as const,
    state: 'planned' as const,
    head: 'c',
    ref: 'refs/heads/main',
    before: 'a',
    after: 'b',
    url: null,
    at: 1,
  };
  await store.saveDelivery('run-1', delivery);
  await store.saveDelivery('run-1', { ...delivery, state: 'done' });
  expect((await store.loadRun('run-1')).deliveries).toEqual([{ ...delivery, state: 'done' }]);
});

test('an intent of an older record is filled up with defaults', async () => {
  const { store, top, state } = await storeWithRun();
  await store.close();
  const { Database } = await import('../../src/state/database.js');
  const db = await Database.open(path.join(state, 'metawsm.db'), { create: false });
  await db.run(`UPDATE runs SET intent = json_remove(intent, '$.session', '$.policy.health.idleMs',
    '$.agents[0].completeOn', '$.repos[0].link', '$.tickets')`);
  await db.close();
  const again = await Store.open(state, options());
  onTestFinished(() => again?.close());
  const full = intent(path.join(top, 'a.yaml'));
  const health = { ...full.policy.health, idleMs: 300_000 };
  expect((await again?.loadRun('run-1'))?.intent).toEqual({ ...full, policy: { ...full.policy, health } });
});

test('the whole tree may be moved, and a manifest may', async () => {
  const { store, top, state } = await newStore();
  await mkdir(path.join(top, 'm'));
  const manifest = path.join(top, 'm', 'a.yaml');
  await writeFile(manifest, '');
  const ticketRoot = path.join(state, 'ttmp');
  await store.createRun({ ...newRun('run-1', manifest), ticketRoot }, { beside: false });
  await store.createRun({ ...newRun('run-2', manifest), ticketRoot: '/elsewhere/ttmp' }, { beside: true });
  await store.close();
  const moved = path.join(await folder(), 'elsewhere');
  await rename(top, moved);

  const again = await Store.open(state.replace(top, moved), options());
  if (again === null) throw new Error('no store');
  onTestFinished(() => again.close());
  const there = path.join(moved, 'm', 'a.yaml');
  const run = await again.loadRun('run-1');
  expect(run.manifestPath).toBe(there);
  expect(run.intent.manifestPath).toBe(there);
  // The tickets in the tree went along, those that lie elsewhere did not.
  expect(run.ticketRoot).toBe(path.join(state.replace(top, moved), 'ttmp'));
  expect((await again.loadRun('run-2')).ticketRoot).toBe('/elsewhere/ttmp');
  expect(await again.resolveManifestRun(there, 'T-1', () => true)).toMatchObject({
    kind: 'run',
    via: 'path',
  });

  const newPath = path.join(moved, 'b.yaml');
  expect(await again.resolveManifestRun(newPath, 'T-1', () => false)).toMatchObject({
    kind: 'run',
    via: 'ticket',
    run: { id: 'run-2' },
  });
  await again.saveIntent('run-1', intent(newPath));
  expect(await again.resolveManifestRun(newPath, 'T-1', () => true)).toMatchObject({
    kind: 'run',
    via: 'path',
  });
  await rm(moved, { recursive: true });
});

test('one manifest has one run, a ticket one open manifest', async () => {
  const { store, top } = await newStore();
  const [a, b] = [path.join(top, 'a.yaml'), path.join(top, 'b.yaml')];
  const there = () => true;
  expect(await store.resolveManifestRun(a, 'T-1', there)).toEqual({ kind: 'none' });
  await store.createRun(newRun('run-1', a), { beside: false });
  expect(await store.createRun(newRun('run-2', a), { beside: false })).toEqual({
    kind: 'exists',
    runId: 'run-1',
    holds: 'manifest',
  });
  expect(await store.createRun(newRun('run-2', b), { beside: false })).toMatchObject({
    runId: 'run-1',
    holds: 'ticket',
  });
  expect(await store.resolveManifestRun(b, 'T-1', there)).toMatchObject({
    kind: 'conflict',
    run: { id: 'run-1' },
  });
  expect(await store.resolveManifestRun(b, 'T-2', there)).toEqual({ kind: 'none' });
  await store.transitionRun('run-1', 'closed', { outcome: 'delivered' });
  expect(await store.resolveManifestRun(a, 'T-1', there)).toMatchObject({
    kind: 'run',
    run: { id: 'run-1' },
  });
  expect(await store.resolveManifestRun(b, 'T-1', there)).toEqual({ kind: 'none' });
  await store.createRun(newRun('run-2', b), { beside: false });
  expect(await store.resolveManifestRun(a, 'T-1', there)).toMatchObject({
    kind: 'run',
    run: { id: 'run-1' },
    conflict: { id: 'run-2' },
  });
  expect(await store.createRun(newRun('run-3', b), { beside: true })).toMatchObject({ kind: 'created' });
  expect(await store.resolveManifestRun(b, 'T-1', there)).toMatchObject({ run: { id: 'run-3' } });
});

test('a selector is a manifest path, a run id or a ticket', async () => {
  const { store, top } = await newStore();
  const a = path.join(top, 'm', 'a.yaml');
  await store.createRun(newRun('run-1', a), { beside: false });
  await store.transitionRun('run-1', 'running');
  await store.createRun(newRun('run-2', a), { beside: true });
  await store.transitionRun('run-2', 'closed', { outcome: 'abandoned' });
  await store.createRun(newRun('run-3', path.join(top, 'b.yaml'), '0123'), { beside: false });
  await store.transitionRun('run-3', 'closed', { outcome: 'abandoned' });
  const cases: [Parameters<Store['resolveSelector']>[0], string, string][] = [
    ['run-2', top, 'run-2'],
    ['T-1', top, 'run-1'],
    ['0123', top, 'run-3'],
    ['m/a.yaml', top, 'run-1'],
    ['a.yaml', path.join(top, 'm'), 'run-1'],
    ['../b.yaml', path.join(top, 'm'), 'run-3'],
    [a, '/', 'run-1'],
    [{ runId: 'run-1' }, top, 'run-1'],
    [{ ticket: 'T-1' }, top, 'run-1'],
  ];
  for (const [selector, cwd, id] of cases) {
    expect(await store.resolveSelector(selector, cwd)).toMatchObject({ kind: 'run', run: { id } });
  }
  for (const selector of ['run-', 'T-', '123', 'c.yaml', { runId: 'T-1' }, { ticket: 'run-1' }]) {
    const found = await store.resolveSelector(selector, top);
    expect(found).toMatchObject({
      kind: 'unknown',
      known: [{ id: 'run-3' }, { id: 'run-2' }, { id: 'run-1' }],
    });
  }
  expect((await store.findRuns({ ticket: 'T-1' })).map((run) => run.id)).toEqual(['run-2', 'run-1']);
  expect((await store.findRuns({ limit: 1 })).map((run) => run.id)).toEqual(['run-3']);
  expect((await store.findRuns({ manifestPath: a, limit: null })).map((run) => run.id)).toEqual([
    'run-2',
    'run-1',
  ]);
});

test('a run has the selector that means it', async () => {
  const { store, top } = await newStore();
  const a = path.join(top, 'a.yaml');
  const selectors = async () => {
    const runs = await store.findRuns({ limit: null });
    for (const run of runs) {
      expect(await store.resolveSelector(run.selector, top)).toMatchObject({ run: { id: run.id } });
    }
    return runs.map((run) => run.selector);
  };
  await store.createRun(newRun('run-1', a), { beside: false });
  await store.createRun(newRun('run-2', a), { beside: true });
  expect(await selectors()).toEqual(['T-1', 'run-1']);
  await store.transitionRun('run-2', 'closed', { outcome: 'abandoned' });
  expect(await selectors()).toEqual(['run-2', 'T-1']);
  await store.transitionRun('run-1', 'closed', { outcome: 'abandoned' });
  expect(await selectors()).toEqual(['T-1', 'run-1']);
  // A ticket that would be taken for a file.
  await store.createRun(newRun('run-3', path.join(top, 'b.yaml'), 'T.yaml'), { beside: false });
  expect((await selectors())[0]).toBe('run-3');
});

test('calls made at the same time do not get into each other', async () => {
  const { store } = await storeWithRun();
  const failing = store.transaction(async () => {
    await store.appendEvent('run-1', 'lost', {});
    await store.loadRun('run-1');
    throw new Error('no');
  });
  const kept = Array.from({ length: 20 }, (_, n) => store.appendEvent('run-1', 'kept', { n }));
  await expect(failing).rejects.toThrow('no');
  await Promise.all(kept);
  const events = (await store.events('run-1')).filter((event) => ['kept', 'lost'].includes(event.type));
  expect(events.map((event) => event.data.n)).toEqual(Array.from({ length: 20 }, (_, n) => n));
});

function question(digest: string) {
  return {
    agent: 'agent',
    attempt: 1,
    requestId: null,
    question: 'Which?',
    context: null,
    digest,
    file: '/ws/.metawsm/guidance-request.json',
    askedAt: 1,
  };
}
