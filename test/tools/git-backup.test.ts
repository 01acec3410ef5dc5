import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { archiveNested, backupWorktree, repositoriesInside } from '../../src/tools/git-backup.js';
import { removeWorktree } from '../../src/tools/git-remove.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

const REF = 'refs/metawsm/backup/run-1/api';

function setting(): { folder: string; source: string; path: string } {
  const folder = temporaryFolder();
  const source = newRepo(join(folder, 'source'));
  const path = join(folder, 'ws', 'the api');
  sh(source, 'worktree', 'add', '-q', '-b', 'task', path);
  return { folder, source, path };
}

/** Every file below a folder but `.git`: kind, executable or not, content. */
function contentOf(folder: string, prefix = ''): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(join(folder, prefix), { withFileTypes: true })) {
    const name = join(prefix, entry.name);
    const file = join(folder, name);
    if (name === '.git') continue;
    if (entry.isDirectory()) Object.assign(found, contentOf(folder, name));
    else if (entry.isSymbolicLink()) found[name] = `link ${readlinkSync(file)}`;
    else found[name] = `${lstatSync(file).mode & 0o100 ? 'x' : '-'} ${readFileSync(file, 'base64')}`;
  }
  return found;
}

describe('backupWorktree', () => {
  test('comes back to the byte with the command it gives', async () => {
    const { source, path } = setting();
    commit(path, 'gone.txt', 'x\n');
    commit(path, 'becomes/folder', 'x\n');
    const head = sh(path, 'rev-parse', 'HEAD');
    write(path, 'a.txt', 'changed\n');
    chmodSync(join(path, 'a.txt'), 0o755);
    rmSync(join(path, 'gone.txt'));
    rmSync(join(path, 'becomes'), { recursive: true });
    write(path, 'becomes', 'a file now');
    writeFileSync(join(path, 'binary'), Buffer.from([0, 255, 10, 13, 10]));
    write(path, 'line\nbreak ünï "x"', 'x');
    write(path, 'run.sh', '#!/bin/sh\n', 0o755);
    symlinkSync('nowhere', join(path, 'link'));
    write(path, 'staged.txt', 'staged and on disk');
    sh(path, 'add', 'staged.txt');
    write(path, '-dash/:(top)x', 'x');
    const before = contentOf(path);
    const statusBefore = sh(path, 'status', '--porcelain=v2', '-z');
    const backup = await backupWorktree({ source, path, ref: REF });
    expect(sh(path, 'status', '--porcelain=v2', '-z')).toBe(statusBefore);
    expect(backup.ref).toBe(REF);
    expect(sh(source, 'rev-parse', `${backup.commit}^1`)).toBe(head);
    await removeWorktree({ source, path, force: true });
    expect(existsSync(path)).toBe(false);
    execFileSync('sh', ['-c', backup.restore], { stdio: 'pipe' });
    expect(contentOf(path)).toEqual(before);
  });

  test('line endings come back as they are, whatever the attributes make of them', async () => {
    const { source, path } = setting();
    commit(path, '.gitattributes', '* text=auto\n*.sh text eol=lf\n*.bat text eol=crlf\n*.id ident\n');
    commit(path, 'run.sh', 'a\nb\n');
    write(path, 'a.txt', 'one\r\ntwo\r\n');
    write(path, 'line\nbreak "q" ä.txt', 'a\r\n');
    write(path, 'run.sh', 'a\r\nb\nc\n');
    write(path, 'new.bat', 'a\r\nb\r\n');
    write(path, 'k.id', 'x $Id: y $\n');
    const before = contentOf(path);
    const { restore, commit: saved } = await backupWorktree({ source, path, ref: REF });
    // Where a checkout brings it back anyway it is stored as git stores it.
    expect(sh(source, 'show', `${saved}:new.bat`)).toBe('a\nb');
    expect(sh(source, 'show', `${saved}:k.id`)).toBe('x $Id: y $');
    await removeWorktree({ source, path, force: true });
    execFileSync('sh', ['-c', restore], { stdio: 'ignore' });
    // A checkout writes the id of the file into it: the bytes are in the commit.
    const { 'k.id': id, ...others } = contentOf(path);
    const { 'k.id': idBefore, ...othersBefore } = before;
    expect([id, idBefore]).not.toContain(undefined);
    expect(others).toEqual(othersBefore);
  });

  test('what a filter or an encoding makes of a file is meant', async () => {
    const { source, path } = setting();
    sh(source, 'config', 'filter.lock.clean', 'sed s/secret/locked/');
    commit(path, '.gitattributes', '*.key filter=lock\n*.u16 text working-tree-encoding=UTF-16LE\n');
    write(path, 'my.key', 'secret\r\n');
    write(path, 'a.u16', 'a\0\n\0');
    const { commit: saved } = await backupWorktree({ source, path, ref: REF });
    expect(sh(source, 'show', `${saved}:my.key`)).toBe('locked');
    expect(sh(source, 'show', `${saved}:a.u16`)).toBe('a');
  });

  test('a file name that is no UTF-8 comes back too', async () => {
    const { source, path } = setting();
    const name = '"$(printf "f\\377")"';
    execFileSync('sh', ['-c', `echo x > ${name}`], { cwd: path });
    const { commit: saved } = await backupWorktree({ source, path, ref: REF });
    sh(path, 'clean', '-qfd');
    sh(path, 'checkout', '-q', '--detach', saved);
    execFileSync('sh', ['-c', `test -f ${name}`], { cwd: path });
  });

  test('leaves ignored, placed and own files out, but not a placed one that was changed', async () => {
    const { source, path } = setting();
    commit(path, '.gitignore', '*.log\n');
    write(path, 'x.log', 'x');
    write(path, 'forced.log', 'x');
    sh(path, 'add', '--force', 'forced.log');
    write(path, '.env', 'placed');
    write(path, '.env.local', 'changed');
    write(path, '.metawsm/brief.md', 'x');
    newRepo(join(path, 'inner'));
    const placedHash = createHash('sha256').update('placed').digest('hex');
    const placed = { '.env': placedHash, '.env.local': placedHash };
    const { commit: saved } = await backupWorktree({ source, path, ref: REF, placed });
    const files = sh(source, 'ls-tree', '-r', '--name-only', saved).split('\n');
    expect(files).toEqual(['.env.local', '.gitignore', 'a.txt', 'forced.log']);
  });

  test('never goes over an existing ref, and saves the same only once', async () => {
    const { source, path } = setting();
    write(path, 'b.txt', 'one');
    const first = await backupWorktree({ source, path, ref: REF });
    expect(await backupWorktree({ source, path, ref: REF })).toEqual(first);
    write(path, 'b.txt', 'two');
    const second = await backupWorktree({ source, path, ref: REF });
    write(path, 'b.txt', 'three');
    const third = await backupWorktree({ source, path, ref: REF });
    expect([second.ref, third.ref]).toEqual([`${REF}-2`, `${REF}-3`]);
    expect(sh(source, 'show', `${REF}:b.txt`)).toBe('one');
    expect(sh(source, 'show', `${REF}-3:b.txt`)).toBe('three');
  });

  test('what is staged and differs from the file is kept as second parent', async () => {
    const { source, path } = setting();
    write(path, 'a.txt', 'staged\n');
    sh(path, 'add', 'a.txt');
    write(path, 'a.txt', 'on disk\n');
    const { commit: saved } = await backupWorktree({ source, path, ref: REF });
    expect(sh(source, 'show', `${saved}:a.txt`)).toBe('on disk');
    expect(sh(source, 'show', `${saved}^2:a.txt`)).toBe('staged');
  });

  test('a conflict, an unborn HEAD, hidden changes, a sparse checkout', async () => {
    const { folder, source, path } = setting();
    commit(path, 'a.txt', 'task\n');
    commit(source, 'a.txt', 'main\n');
    expect(() => sh(path, 'merge', 'main')).toThrow();
    const conflict = await backupWorktree({ source, path, ref: REF });
    expect(sh(source, 'show', `${conflict.commit}:a.txt`)).toContain('<<<<<<<');
    sh(path, 'merge', '--abort');

    sh(path, 'update-index', '--assume-unchanged', 'a.txt');
    write(path, 'a.txt', 'hidden\n');
    const hidden = await backupWorktree({ source, path, ref: REF });
    expect(sh(source, 'show', `${hidden.commit}:a.txt`)).toBe('hidden');

    sh(path, 'update-index', '--no-assume-unchanged', 'a.txt');
    sh(path, 'checkout', '-q', '--orphan', 'fresh');
    const unborn = await backupWorktree({ source, path, ref: REF });
    expect(sh(source, 'rev-list', '--parents', '-1', unborn.commit).split(' ').length).toBeLessThanOrEqual(2);

    commit(source, 'dir/one.txt', '1\n');
    commit(source, 'other/two.txt', '2\n');
    const sparse = join(folder, 'sparse');
    sh(source, 'worktree', 'add', '-q', '-b', 'sparse', sparse);
    sh(sparse, 'sparse-checkout', 'set', 'dir');
    write(sparse, 'dir/new.txt', 'x');
    const part = await backupWorktree({ source, path: sparse, ref: REF });
    const files = sh(source, 'ls-tree', '-r', '--name-only', part.commit).split('\n');
    expect(files).toEqual(['a.txt', 'dir/new.txt', 'dir/one.txt', 'other/two.txt']);
  });

  test('commits as the caller, else as metawsm', async () => {
    const { source, path } = setting();
    const author = (commitId: string) => sh(source, 'show', '-s', '--format=%an <%ae> %cn <%ce>', commitId);
    const first = await backupWorktree({ source, path, ref: REF });
    expect(author(first.commit)).toBe('metawsm <metawsm@localhost> metawsm <metawsm@localhost>');
    sh(source, 'config', 'user.name', 'Eve');
    sh(source, 'config', 'user.email', 'eve@example.org');
    write(path, 'b.txt', 'x');
    const second = await backupWorktree({ source, path, ref: REF });
    expect(author(second.commit)).toBe('Eve <eve@example.org> Eve <eve@example.org>');
  });

  test('what cannot be saved is an error, and no ref', async () => {
    const { source, path } = setting();
    write(path, '.gitattributes', '*.bin filter=broken\n');
    write(path, 'x.bin', 'x');
    sh(source, 'config', 'filter.broken.clean', 'false');
    sh(source, 'config', 'filter.broken.required', 'true');
    await expect(backupWorktree({ source, path, ref: REF })).rejects.toThrow(/x\.bin/);
    expect(sh(source, 'for-each-ref', 'refs/metawsm')).toBe('');
  });
});

describe('archiveNested', () => {
  test('a repository inside is copied whole', async () => {
    const { folder, path } = setting();
    const inner = newRepo(join(path, 'deep', 'inner'));
    write(inner, 'untracked', 'x');
    const archive = join(folder, 'state', 'archive');
    expect(await repositoriesInside(path)).toEqual(['deep/inner']);
    const kept = await archiveNested(path, 'deep/inner', archive);
    expect(kept).toBe(join(archive, 'deep__inner'));
    expect(sh(kept, 'log', '--format=%s')).toBe('change a.txt');
    expect(sh(kept, 'status', '--porcelain')).toBe('?? untracked');
    expect(await archiveNested(path, 'deep/inner', archive)).toBe(`${kept}-2`);
    await expect(archiveNested(path, 'deep', archive)).rejects.toThrow(/no repository/);
    expect(readdirSync(archive).sort()).toEqual(['deep__inner', 'deep__inner-2']);
  });

  test('without the pipes that programs left in it', async () => {
    const { folder, path } = setting();
    const inner = newRepo(join(path, 'inner'));
    execFileSync('mkfifo', [join(inner, 'pipe')]);
    const kept = await archiveNested(path, 'inner', join(folder, 'a'));
    expect(sh(kept, 'status', '--porcelain')).toBe('');
    expect(existsSync(join(kept, 'pipe'))).toBe(false);
  });

  test('a submodule and a linked worktree stand on their own afterwards', async () => {
    const { folder, source, path } = setting();
    const library = newRepo(join(folder, 'library'));
    sh(path, 'submodule', '--quiet', 'add', library, 'lib');
    expect(await repositoriesInside(path)).toEqual([]);
    const done = commit(join(path, 'lib'), 'b.txt', 'x\n');
    sh(path, 'worktree', 'add', '-q', '--detach', 'linked');
    const linked = commit(join(path, 'linked'), 'c.txt', 'x\n');
    expect(await repositoriesInside(path)).toEqual(['linked', 'lib']);
    for (const name of ['lib', 'linked']) await archiveNested(path, name, join(folder, 'a'));
    sh(path, 'commit', '-qm', 'x', '--allow-empty');
    await removeWorktree({ source, path, force: true });
    sh(source, 'worktree', 'prune', '--expire=now');
    sh(source, 'gc', '-q', '--prune=now');
    for (const [name, head] of [
      ['lib', done],
      ['linked', linked],
    ] as const) {
      expect(sh(join(folder, 'a', name), 'rev-parse', 'HEAD')).toBe(head);
      expect(sh(join(folder, 'a', name), 'status', '--porcelain')).toBe('');
    }
  });
});
