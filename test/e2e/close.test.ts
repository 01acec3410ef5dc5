import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { failing, named, ready, refused } from '../support/closing.js';
import type { Plan } from '../support/documents.js';
import { Repo } from '../support/repo.js';
import { type Rig, test } from '../support/rig.js';
import { filesBelow } from '../support/snapshot.js';

const GATES = [
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

/** The changelog of the run's ticket. */
function changelog(rig: Rig): string {
  const file = filesBelow(rig.stateFolder).find((name) => /ttmp\/.*\/changelog\.md$/.test(name));
  return file === undefined ? '' : readFileSync(path.join(rig.stateFolder, file), 'utf8');
}

describe('a run whose gates hold', () => {
  test('is fast-forwarded into its base, and nothing of it is left but the record', async ({ rig }) => {
    const { status, repos, trees } = await ready(rig);
    const [api, tree] = [named(repos), named(trees)];
    const head = await tree.git('rev-parse', 'HEAD');

    const { text } = await rig.run('close run.yaml');
    expect(await api.git('rev-parse', 'main')).toBe(head);
    expect(await api.git('status', '--porcelain')).toBe('');
    expect(readFileSync(path.join(api.path, 'work.txt'), 'utf8')).toBe('done\n');
    expect(await api.branches()).toEqual(['main']);
    expect(await api.worktrees()).toEqual([]);
    expect(existsSync(status.run.workspace)).toBe(false);
    for (const gate of GATES) expect(text).toContain(`✔ ${gate} `);
    expect(text).toMatch(/main of .* is at [0-9a-f]{12}; nothing was pushed/);

    const after = await rig.status();
    expect(after.run).toMatchObject({ state: 'closed', outcome: 'delivered', resume_at_step: null });
    expect(after.repos).toMatchObject([{ name: 'api', delivered: true, pull_request: null }]);
    expect(after.gates).toEqual([]);
    expect(after.criteria).toMatchObject([{ state: 'passed', commit: head }]);
    expect((await rig.run('status run.yaml')).stdout).toContain('delivered to main');
    expect((await api.git('log', '-g', '-1', '--format=%gs', 'main')).split('\n')[0]).toContain(
      status.run.id,
    );
  });

  test('is merged where the base went on, by the caller or else by metawsm', async ({ rig }) => {
    const { repos, trees, status } = await ready(rig);
    const api = named(repos);
    const before = await api.commit('Meanwhile', { 'other.txt': 'x\n' });
    const head = await named(trees).git('rev-parse', 'HEAD');
    await rig.run('close run.yaml');
    expect(await api.git('log', '-1', '--format=%P', 'main')).toBe(`${before} ${head}`);
    expect(await api.git('log', '-1', '--format=%an <%ae>|%cn|%s', 'main')).toBe(
      `Operator <operator@example.com>|Operator|Merge ${status.repos[0]?.branch} (ABC-1)`,
    );
    expect(await api.git('status', '--porcelain')).toBe('');

    writeFileSync(path.join(rig.home, '.gitconfig'), '[init]\n\tdefaultBranch = main\n');
    const mine = {
      ...rig.env,
      GIT_AUTHOR_NAME: 'x',
      GIT_AUTHOR_EMAIL: 'x@x',
      GIT_COMMITTER_NAME: 'x',
      GIT_COMMITTER_EMAIL: 'x@x',
    };
    rig.manifest({ agents: [], ticket: 'ABC-2', done_criteria: [{ run: 'true' }] }, 'two.yaml');
    await rig.run('apply two.yaml');
    const second = (await rig.status('two.yaml')).repos[0]?.path ?? '';
    await new Repo(second, null, mine).commit('Work', { 'second.txt': 'x\n' });
    await new Repo(api.path, null, mine).commit('Meanwhile again', { 'again.txt': 'x\n' });
    await rig.run('verify two.yaml');
    await rig.run('close two.yaml');
    expect(await api.git('log', '-1', '--format=%an <%ae>|%cn <%ce>', 'main')).toBe(
      'metawsm <metawsm@localhost>|metawsm <metawsm@localhost>',
    );
  });

  test('closes its ticket, with one entry in the changelog', async ({ rig }) => {
    const { status } = await ready(rig);
    await rig.run('close run.yaml');
    const entry = `Run ${status.run.id} delivered`;
    expect(changelog(rig).split(entry)).toHaveLength(2);
    expect(changelog(rig)).toMatch(/- api: [0-9a-f]{12} merged into main, now [0-9a-f]{12}/);
    const index = filesBelow(rig.stateFolder).find((name) => /ttmp\/.*\/index\.md$/.test(name)) ?? '';
    expect(readFileSync(path.join(rig.stateFolder, index), 'utf8')).toMatch(/^Status: complete$/m);
  });

  test('moves what lies beside its worktrees into the state folder', async ({ rig }) => {
    const { status } = await ready(rig);
    writeFileSync(path.join(status.run.workspace, 'notes.md'), 'remember');
    const { text } = await rig.run('close run.yaml');
    const kept = path.join(rig.stateFolder, 'runs', status.run.id, 'workspace');
    expect(readFileSync(path.join(kept, 'notes.md'), 'utf8')).toBe('remember');
    expect(readdirSync(path.join(kept, '.metawsm'))).toContain('brief.md');
    expect(text).toContain(kept);
    expect(existsSync(status.run.workspace)).toBe(false);
  });

  test('has nothing left to be done a second time', async ({ rig }) => {
    const { repos } = await ready(rig);
    await rig.run('close run.yaml');
    const main = await named(repos).git('rev-parse', 'main');
    const log = changelog(rig);
    const { summary, lines } = await rig.events('close run.yaml');
    expect(summary.runs).toMatchObject([{ state: 'closed', changed: false, exit_code: 0 }]);
    expect(lines.filter((line) => line.type === 'step' || line.type === 'gate')).toEqual([]);
    expect(await named(repos).git('rev-parse', 'main')).toBe(main);
    expect(changelog(rig)).toBe(log);
    expect((await rig.run('close run.yaml --dry-run')).text).toContain('closed');
  });

  test('is not applied again as it is, and is a new run once it changed', async ({ rig }) => {
    const { status } = await ready(rig);
    await rig.run('close run.yaml');
    const { summary } = await rig.events('apply run.yaml');
    expect(summary.runs).toMatchObject([{ run_id: status.run.id, changed: false, exit_code: 0 }]);
    const file = path.join(rig.project, 'run.yaml');
    writeFileSync(file, readFileSync(file, 'utf8').replace('Limit logins', 'Limit all logins'));
    await rig.run('apply run.yaml');
    const [newest, older] = await rig.runs();
    expect(newest).toMatchObject({ state: 'completed' });
    expect(newest?.id).not.toBe(status.run.id);
    expect(older).toMatchObject({ id: status.run.id, state: 'closed', outcome: 'delivered' });
  });
});

test('a dry run changes nothing at all', async ({ rig }) => {
  const { repos, status } = await ready(rig, { names: ['api', 'web'], origin: true });
  const origin = rig.at(named(repos).origin ?? '');
  // Something to fetch, which a dry run leaves there.
  const other = path.join(rig.dir, 'other');
  await rig.at(rig.dir).git('clone', '-q', origin.path, other);
  await rig.at(other).commit('Pushed by somebody', { 'pushed.txt': 'x\n' });
  await rig.at(other).git('push', '-q', 'origin', 'main');

  const before = rig.snapshot();
  const { stdout } = await rig.run('close run.yaml --dry-run');
  const plan = await rig.json<Plan>('close run.yaml --dry-run');
  expect(rig.snapshot()).toEqual(before);
  expect(stdout).toContain('nothing is pushed');
  expect(stdout).toContain('This was a dry run: nothing was changed.');
  expect(plan).toMatchObject({ run_id: status.run.id, run_state: 'completed', refused: [] });
  expect(plan.steps.map((step) => step.id)).toEqual([
    'close.check',
    'deliver.merge',
    'ticket.close',
    'worktree.remove/api',
    'branch.delete/api',
    'worktree.remove/web',
    'branch.delete/web',
    'workspace.remove',
  ]);
});

describe('gates', () => {
  test('are judged all at once, and nothing is changed where some do not hold', async ({ rig }) => {
    const { trees, repos } = await ready(rig, {
      keys: { done_criteria: [{ run: 'test -f work.txt' }, 'It is documented'] },
    });
    const tree = named(trees);
    tree.write({ 'junk.txt': 'x' });
    await tree.git('config', 'core.hooksPath', '/tmp/evil');
    await tree.git('add', '-f', 'junk.txt');
    await tree.git('-c', 'core.hooksPath=/dev/null', 'commit', '-q', '-m', 'Junk');
    tree.write({ '.metawsm/notes.md': 'x', 'more.txt': 'x' });
    await tree.git('add', '-f', '.metawsm');
    await tree.git('-c', 'core.hooksPath=/dev/null', 'commit', '-q', '-m', 'Own folder');
    // Recorded before what is to stay as it is is looked at.
    await rig.status();
    const before = rig.snapshot();

    const dry = await rig.run('close run.yaml --dry-run', { code: 4 });
    expect(rig.snapshot()).toEqual(before);
    const human = await rig.run('close run.yaml', { code: 4 });
    const { lines, summary } = await rig.events('close run.yaml', { code: 4 });
    expect(lines.filter((line) => line.type === 'gate').map((line) => line.name)).toEqual(GATES);
    const gates = failing(lines);
    expect(Object.keys(gates)).toEqual([
      'command_evidence',
      'worded_evidence',
      'worktrees_clean',
      'metawsm_not_committed',
      'git_config_unchanged',
      'base_mergeable',
    ]);
    expect(gates.command_evidence).toMatch(/HEAD of api moved from .* metawsm verify ABC-1/);
    expect(gates.worded_evidence).toContain('"It is documented" is not attested');
    expect(gates.worktrees_clean).toContain('more.txt');
    expect(gates.metawsm_not_committed).toContain('.metawsm/notes.md');
    expect(gates.git_config_unchanged).toContain('core.hookspath');
    for (const text of [human.text, dry.text]) {
      for (const [name, reason] of Object.entries(gates)) {
        expect(text).toMatch(new RegExp(`✖ ${name} `));
        expect(text).toContain(reason);
      }
    }
    expect(summary).toMatchObject({
      exit_code: 4,
      runs: [{ state: 'completed', changed: false, error: { code: 'gates' } }],
    });
    expect(lines.filter((line) => line.type === 'step')).toEqual([]);
    expect((await rig.status()).gates).toEqual(
      lines.filter((line) => line.type === 'gate').map(({ name, ok, reason }) => ({ name, ok, reason })),
    );
    expect(await named(repos).branches()).toHaveLength(2);

    const plan = await rig.json<Plan>('close run.yaml --dry-run', { code: 4 });
    expect(plan.refused.map(({ code }) => code)).toEqual(Object.keys(gates));
    expect(plan.refused[0]?.message).toBe(gates.command_evidence);
  });

  test('a question that is open, a run that is not completed', async ({ rig }) => {
    await rig.repo('api');
    rig.manifest();
    await rig.applied();
    const early = await refused(rig);
    expect(early.run_completed).toContain('The run is running, not completed');
    expect(await rig.state()).toBe('running');
    expect((await rig.status()).gates).toEqual([]);
  });

  test('evidence is void once HEAD moved or the tree changed', async ({ rig }) => {
    const { trees } = await ready(rig);
    const tree = named(trees);
    tree.write({ 'work.txt': 'changed\n' });
    const dirty = await refused(rig);
    expect(Object.keys(dirty)).toEqual(['command_evidence', 'worktrees_clean']);
    expect(dirty.command_evidence).toContain('api has uncommitted changes: work.txt');
    await tree.git('commit', '-q', '-a', '-m', 'More');
    expect(Object.keys(await refused(rig))).toEqual(['command_evidence']);
    await rig.run('verify run.yaml');
    await rig.run('close run.yaml');
  });

  test('evidence of a tree that git was told to overlook is none', async ({ rig }) => {
    const { trees } = await ready(rig, {
      keys: { done_criteria: [{ run: 'grep -q mended README.md' }] },
      verified: 4,
    });
    const tree = named(trees);
    await tree.git('update-index', '--skip-worktree', 'README.md');
    tree.write({ 'README.md': 'mended\n' });
    await rig.run('verify run.yaml', { code: 4 });
    await tree.git('update-index', '--no-skip-worktree', 'README.md');
    await tree.git('checkout', '-q', 'README.md');
    expect(Object.keys(await refused(rig))).toEqual(['command_evidence']);
  });

  test('words are attested for these HEADs', async ({ rig }) => {
    const { trees, status } = await ready(rig, { keys: { done_criteria: ['It is documented'] } });
    const attest = ['signal', 'validation', '--status', 'passed', '--done', 'It is documented'];
    await rig.run(attest, { cwd: status.run.workspace });
    await named(trees).commit('More', { 'more.txt': 'x' });
    expect((await refused(rig)).worded_evidence).toContain('HEAD of api moved');
    await rig.run(attest, { cwd: status.run.workspace });
    await rig.run('close run.yaml');
  });

  test('commits on no branch would be lost with the worktree', async ({ rig }) => {
    const { trees } = await ready(rig);
    await named(trees).git('checkout', '-q', '--detach');
    await named(trees).commit('Lost', { 'lost.txt': 'x' });
    await rig.run('verify run.yaml');
    expect((await refused(rig)).worktrees_clean).toContain('1 commit on no branch');
    await named(trees).git('switch', '-q', '-c', 'found');
    await rig.run('close run.yaml');
  });

  test('a worktree that is gone cannot be judged', async ({ rig }) => {
    const { trees, repos } = await ready(rig);
    await named(repos).git('worktree', 'remove', '--force', named(trees).path);
    const gates = await refused(rig);
    expect(gates.worktrees_clean).toContain('cannot be looked at');
    expect(gates.command_evidence).toContain('the worktree of api is gone');
    // What nobody could look at is not said to hold.
    expect(Object.keys(gates)).toEqual([
      'command_evidence',
      'worktrees_clean',
      'metawsm_not_committed',
      'base_mergeable',
    ]);
  });

  test('a configuration that hides the worktree is told with the way back', async ({ rig }) => {
    const { trees, repos } = await ready(rig);
    const head = await named(trees).git('rev-parse', 'HEAD');
    await named(trees).git('config', 'core.worktree', rig.dir);
    const gates = await refused(rig);
    expect(gates.worktrees_clean).toContain('cannot be looked at');
    const restore = /core\.worktree was added .* Put it back with git (.*)\.$/.exec(
      gates.git_config_unchanged ?? '',
    );
    await rig.at('/').git(...(restore?.[1] ?? '').split(' '));
    await rig.run('close run.yaml');
    expect(await named(repos).git('rev-parse', 'main')).toBe(head);
  });
});

describe('what an agent writes does not open a gate', () => {
  test('a validation result that claims the commands passed', async ({ rig }) => {
    const { status } = await ready(rig, {
      verified: 4,
      keys: { done_criteria: [{ run: 'test -f never.txt' }, 'It is documented'] },
    });
    const head = status.repos[0]?.head;
    const claim = {
      run_id: status.run.id,
      status: 'passed',
      done_criteria: ['test -f never.txt', 'It is documented'],
      checks: [{ name: 'test -f never.txt', passed: true }],
      heads: { api: head },
    };
    const file = path.join(status.run.workspace, '.metawsm/validation-result.json');
    writeFileSync(file, JSON.stringify(claim));
    expect(Object.keys(await refused(rig))).toEqual(['command_evidence']);
  });

  test('an exit record, a log of a step, a record of evidence', async ({ rig }) => {
    await rig.repo('api');
    const script = [
      'mkdir -p "$METAWSM_SENTINEL_DIR/criteria"',
      'echo \'{"exitCode":0,"signal":null,"error":null}\' > "$METAWSM_SENTINEL_DIR/exit.json"',
      'sleep 1; exit 3',
    ].join('\n');
    rig.manifest({
      agent: { command: script, complete_on: 'exit' },
      policy: { start_grace: '200ms', restart_budget: 0 },
    });
    await rig.run('apply run.yaml');
    await rig.untilState('failed');
    expect((await refused(rig)).run_completed).toContain('failed');
  });

  test.for([
    ['core.hooksPath', '/tmp/evil'],
    ['alias.status', '!touch /tmp/evil'],
    ['filter.evil.clean', 'touch /tmp/evil'],
    ['core.sshCommand', 'touch /tmp/evil'],
    ['url.https://evil/.insteadOf', 'https://good/'],
  ] as const)(
    'git config %s: the gate names what restores it, and that opens it',
    async ([key, value], { rig }) => {
      const { trees } = await ready(rig);
      await named(trees).git('config', key, value);
      const { git_config_unchanged: reason = '' } = await refused(rig);
      const [, command] = /Put it back with (git config .*?)\.(?: |$)/.exec(reason) ?? [];
      const { execFileSync } = await import('node:child_process');
      execFileSync('sh', ['-c', command ?? 'exit 1'], { env: { ...rig.env }, cwd: rig.project });
      await rig.run('close run.yaml');
    },
  );

  test('what setup configures is the operator’s own', async ({ rig }) => {
    const setup = ['git config core.hooksPath .husky', 'git config alias.co checkout'];
    await ready(rig, { keys: { repos: [{ name: 'api', path: '../repos/api', setup }] } });
    await rig.run('close run.yaml');
  });

  test('a hook is neither run nor passed', async ({ rig }) => {
    const { repos } = await ready(rig);
    for (const name of ['reference-transaction', 'post-checkout', 'pre-push', 'post-merge']) {
      writeFileSync(
        path.join(named(repos).path, '.git/hooks', name),
        `#!/bin/sh\ntouch ${rig.dir}/hook-ran\n`,
        { mode: 0o755 },
      );
    }
    expect((await refused(rig)).git_config_unchanged).toContain('hook reference-transaction');
    expect(existsSync(path.join(rig.dir, 'hook-ran'))).toBe(false);
  });
});

describe('branches that are left where they are', () => {
  test.for([
    ['merge_intent none', 'main', { merge_intent: 'none' }, 'merge_intent none'],
    ['a base that is no branch', 'HEAD', {}, 'HEAD'],
  ] as const)('%s', async ([, base, intake, why], { rig }) => {
    const { repos, status, trees } = await ready(rig, {
      keys: {
        base_branch: base,
        intake: { goal: 'g', scope: 's', constraints: 'c', ...intake },
      },
    });
    const api = named(repos);
    const main = await api.git('rev-parse', 'main');
    const head = await named(trees).git('rev-parse', 'HEAD');
    const dry = await rig.run('close run.yaml --dry-run');
    const { text } = await rig.run('close run.yaml');
    const branch = status.repos[0]?.branch ?? '';
    for (const said of [dry.text, text]) {
      expect(said).toContain(why);
      expect(said).toContain(branch);
    }
    expect(await api.git('rev-parse', 'main')).toBe(main);
    expect(await api.git('rev-parse', branch)).toBe(head);
    expect(existsSync(status.run.workspace)).toBe(false);
    const after = await rig.status();
    expect(after.run).toMatchObject({ state: 'closed', outcome: 'delivered' });
    expect(after.repos).toMatchObject([{ delivered: false, branch }]);
    expect(changelog(rig)).toContain('left on its branch');
  });

  test('work on another branch than the run’s: it is said on which', async ({ rig }) => {
    const api = await rig.repo('api');
    const intake = { goal: 'g', scope: 's', constraints: 'c', merge_intent: 'none' };
    rig.manifest({ agents: [], done_criteria: [{ run: 'true' }], intake });
    await rig.run('apply run.yaml');
    const [repo] = (await rig.status()).repos;
    const tree = rig.at(repo?.path ?? '');
    await tree.git('switch', '-q', '-c', 'mine');
    const head = await tree.commit('Work', { 'work.txt': 'x' });
    await rig.run('verify run.yaml');
    const { text } = await rig.run('close run.yaml');
    expect(text).toContain(`the work is on mine, not on ${repo?.branch}`);
    expect(await api.git('rev-parse', 'mine')).toBe(head);
  });

  test('a repo that was cloned from a url; plan says so', async ({ rig }) => {
    const api = await rig.repo('api', { origin: true });
    rig.manifest({ agents: [], repos: [{ name: 'api', url: api.origin }], done_criteria: [{ run: 'true' }] });
    expect((await rig.run('plan run.yaml')).stdout).toContain('close will not merge it: repo api has a url');
    await rig.run('apply run.yaml');
    const [repo] = (await rig.status()).repos;
    const head = await rig.at(repo?.path ?? '').commit('Work', { 'work.txt': 'x' });
    await rig.run('verify run.yaml');
    expect((await rig.run('close run.yaml')).text).toContain('nothing is delivered');
    expect(await rig.at(repo?.source ?? '').git('rev-parse', repo?.branch ?? '')).toBe(head);
    expect(await api.branches()).toEqual(['main']);
  });
});

describe('the state decides who may', () => {
  test('close of an abandoned run is refused', async ({ rig }) => {
    await ready(rig);
    await rig.run('cleanup run.yaml');
    const { text } = await rig.run('close run.yaml', { code: 4 });
    expect(text).toContain('cleanup');
    expect((await rig.runs())[0]).toMatchObject({ state: 'closed', outcome: 'abandoned' });
  });

  test('close of a run that nobody knows', async ({ rig }) => {
    await rig.run('close ABC-9', { code: 64 });
  });

  test('close inside a workspace is refused', async ({ rig }) => {
    const { status } = await ready(rig);
    await rig.run(['close', 'ABC-1'], { code: 4, cwd: status.run.workspace });
  });
});

describe('what an agent makes git believe about its branch', () => {
  test.for(['replace', 'grafts'])(
    'that the base holds it (%s): it is merged all the same',
    async (how, { rig }) => {
      const { repos, trees } = await ready(rig);
      const [api, tree] = [named(repos), named(trees)];
      const head = await tree.git('rev-parse', 'HEAD');
      if (how === 'replace') await tree.git('replace', '--graft', 'main', 'HEAD');
      else {
        const grafts = path.join(api.path, '.git/info/grafts');
        writeFileSync(grafts, `${await tree.git('rev-parse', 'main')} ${head}\n`);
      }
      await rig.run('close run.yaml');
      expect(await api.git('rev-parse', 'main')).toBe(head);
      expect(readFileSync(path.join(api.path, 'work.txt'), 'utf8')).toBe('done\n');
    },
  );

  test('that it is another name for the base: only that name is deleted', async ({ rig }) => {
    const { repos, trees, status } = await ready(rig);
    const [api, tree] = [named(repos), named(trees)];
    const head = await tree.git('rev-parse', 'HEAD');
    await api.git('merge', '-q', '--ff-only', head);
    await tree.git('symbolic-ref', `refs/heads/${status.repos[0]?.branch}`, 'refs/heads/main');
    await rig.run('close run.yaml');
    expect(await api.git('rev-parse', 'main')).toBe(head);
    expect(await api.branches()).toEqual(['main']);
  });
});
