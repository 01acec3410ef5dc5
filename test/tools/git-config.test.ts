import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { configSnapshot, dangerousChanges, isDangerous } from '../../src/tools/git-config.js';
import { newRepo, sh, temporaryFolder, write } from './git-rig.js';

function setting() {
  const folder = temporaryFolder();
  const repo = newRepo(join(folder, "the repo's"));
  const task = join(folder, 'task');
  sh(repo, 'worktree', 'add', '-q', '-b', 'task', task);
  return { folder, repo, task };
}

/** What changed between the snapshot that is taken now and the one after `change`. */
async function changesOf(repo: string, change: () => void) {
  // As the record keeps it.
  const before = JSON.parse(JSON.stringify(await configSnapshot(repo)));
  change();
  return dangerousChanges(before, await configSnapshot(repo));
}

describe('isDangerous', () => {
  test.each([
    'core.hookspath core.fsmonitor core.sshcommand core.gitproxy core.editor core.pager core.askpass',
    'core.worktree core.attributesfile filter.lfs.clean filter.a.b.process merge.npm.driver diff.x.command',
    'diff.x.textconv diff.external credential.helper credential.https://x.y.helper url.git@x:.insteadof',
    'url.https://a.b/.pushinsteadof remote.origin.url remote.a.b.pushurl remote.o.uploadpack remote.o.vcs',
    'remote.o.receivepack remote.o.proxy include.path includeif.gitdir:~/x.path alias.st gpg.program',
    'gpg.x509.program sequence.editor uploadpack.packobjectshook protocol.allow protocol.ext.allow http.proxy',
    'http.https://x.y.proxy submodule.lib.update submodule.a\nb.update trailer.x.command',
  ])('%s', (keys) => {
    for (const key of keys.split(' ')) expect([key, isDangerous(key)]).toEqual([key, true]);
  });

  test.each([
    'user.name user.email core.bare core.autocrlf branch.main.remote branch.main.merge remote.origin.tagopt',
    'merge.conflictstyle merge.tool diff.algorithm submodule.lib.url submodule.lib.active gpg.format',
    'xcore.hookspath core.hookspathx extensions.worktreeconfig',
  ])('not %s', (keys) => {
    for (const key of keys.split(' ')) expect([key, isDangerous(key)]).toEqual([key, false]);
  });
});

describe('changes', () => {
  test('nothing, and what does no harm', async () => {
    const { repo } = setting();
    expect(await changesOf(repo, () => {})).toEqual([]);
    const harmless = () => {
      sh(repo, 'config', 'user.name', 'Eve');
      sh(repo, 'config', 'branch.task.remote', 'origin');
    };
    expect(await changesOf(repo, harmless)).toEqual([]);
  });

  test('each is listed with the command that puts it back', async () => {
    const { repo, task } = setting();
    sh(repo, 'config', 'core.editor', "vi -c 'x y'");
    sh(repo, 'config', 'core.pager', 'less');
    sh(repo, 'config', '--add', 'remote.origin.fetch', '+refs/heads/*:refs/remotes/origin/*');
    sh(repo, 'config', '--add', 'remote.origin.fetch', '+refs/tags/*:refs/tags/*');
    const snapshot = await configSnapshot(repo);
    sh(task, 'config', 'core.hooksPath', '/tmp/evil');
    sh(task, 'config', 'core.editor', 'evil');
    sh(task, 'config', '--unset', 'core.pager');
    sh(task, 'config', '--add', 'remote.origin.fetch', '+refs/heads/evil:refs/heads/main');
    sh(task, 'config', 'alias.its', '!evil');
    const changes = dangerousChanges(snapshot, await configSnapshot(task));
    expect(changes.map(({ key, change, note }) => [key, change, note])).toEqual([
      ['core.editor', 'changed', null],
      ['core.pager', 'removed', null],
      ['remote.origin.fetch', 'changed', null],
      ['core.hookspath', 'added', null],
      ['alias.its', 'added', null],
    ]);
    const [first] = changes;
    expect(first?.restore[1]?.argv.slice(-3)).toEqual(['--add', 'core.editor', "vi -c 'x y'"]);
    for (const { text } of changes.flatMap((change) => change.restore)) execFileSync('sh', ['-c', text]);
    expect(dangerousChanges(snapshot, await configSnapshot(repo))).toEqual([]);
  });

  test('no value appears that may be a secret', async () => {
    const { repo } = setting();
    sh(repo, 'config', 'remote.origin.url', 'https://me:hunter2@example.org/x');
    sh(repo, 'config', 'http.extraHeader', 'Authorization: hunter2');
    sh(repo, 'config', 'credential.helper', '!echo hunter2');
    sh(repo, 'config', 'user.signingKey', 'hunter2');
    const snapshot = await configSnapshot(repo);
    expect(JSON.stringify(snapshot)).not.toContain('hunter2');
    sh(repo, 'config', 'remote.origin.url', 'https://me:hunter3@example.org/x');
    sh(repo, 'config', 'alias.x', '!echo hunter3');
    const changes = dangerousChanges(snapshot, await configSnapshot(repo));
    expect(JSON.stringify(changes)).not.toMatch(/hunter/);
    expect(changes.map(({ key, note }) => [key, note === null])).toEqual([
      ['remote.origin.url', false],
      ['alias.x', true],
    ]);
    expect(changes[0]?.restore[0]?.argv.at(-1)).toBe('--edit');
  });

  test('values are hashed as the caller wants', async () => {
    const { repo } = setting();
    const { files } = await configSnapshot(repo, { hash: (text) => `<${text.length}>` });
    expect(files[0]?.entries.find((entry) => entry.key === 'core.bare')?.hash).toBe('<5>');
  });

  test('included files count, also new ones', async () => {
    const { folder, repo } = setting();
    const included = join(folder, 'more');
    write(folder, 'more', '[include]\n\tpath = nowhere\n[user]\n\tname = x\n');
    sh(repo, 'config', 'include.path', included);
    const inside = () => write(folder, 'more', '[include]\n\tpath = nowhere\n[core]\n\tsshCommand = evil\n');
    expect(await changesOf(repo, inside)).toMatchObject([
      {
        key: 'core.sshcommand',
        file: included,
        change: 'added',
        restore: [{ argv: ['git', 'config', '--file', included, '--unset-all', 'core.sshcommand'] }],
      },
    ]);
    write(repo, '.gitconfig', '[alias]\n\tx = !evil\n');
    const another = () => sh(repo, 'config', 'includeIf.onbranch:main.path', '../.gitconfig');
    expect((await changesOf(repo, another)).map(({ key }) => key)).toEqual([
      'includeif.onbranch:main.path',
      'alias.x',
    ]);
  });

  test('a worktree’s own configuration counts', async () => {
    const { repo, task } = setting();
    const before = await configSnapshot(repo);
    sh(task, 'config', 'extensions.worktreeConfig', 'true');
    sh(task, 'config', '--worktree', 'core.fsmonitor', 'evil');
    sh(repo, 'config', '--worktree', 'core.pager', 'evil');
    const changes = dangerousChanges(before, await configSnapshot(task));
    expect(changes.map(({ key, file }) => [key, file])).toEqual([
      ['core.pager', join(repo, '.git/config.worktree')],
      ['core.fsmonitor', join(repo, '.git/worktrees/task/config.worktree')],
    ]);
  });

  test('hooks: new, changed, gone; samples and files that are not executable do not count', async () => {
    const { repo } = setting();
    const hook = (name: string, text: string, mode = 0o755) => write(repo, `.git/hooks/${name}`, text, mode);
    hook('pre-commit', 'one');
    hook('post-merge', 'one');
    const changes = await changesOf(repo, () => {
      hook('pre-commit', 'two');
      rmSync(join(repo, '.git/hooks/post-merge'));
      hook('pre-push', 'evil');
      hook('pre-rebase', 'x', 0o644);
      hook('update.sample', 'x');
    });
    expect(changes.map(({ key, change }) => [key, change])).toEqual([
      ['hook pre-commit', 'changed'],
      ['hook pre-push', 'added'],
      ['hook post-merge', 'removed'],
    ]);
    execFileSync('sh', ['-c', changes[1]?.restore[0]?.text ?? 'false']);
    expect(existsSync(join(repo, '.git/hooks/pre-push'))).toBe(false);
  });

  test('a bare repository, and a folder that is none', async () => {
    const { folder, repo } = setting();
    const bare = join(folder, 'bare.git');
    sh(folder, 'clone', '-q', '--bare', repo, bare);
    const change = () => sh(bare, 'config', 'core.hooksPath', 'x');
    expect(await changesOf(bare, change)).toMatchObject([
      { key: 'core.hookspath', file: join(bare, 'config') },
    ]);
    await expect(configSnapshot(folder)).rejects.toThrow(/not a git repository/);
  });
});
