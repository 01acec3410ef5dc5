import { execFileSync } from 'node:child_process';
import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createStateFolder, insideWorkspace, resolveStateFolder } from '../../src/state/folder.js';
import { snapshot } from '../support/snapshot.js';
import { folder } from './support.js';

function git(cwd: string, ...args: string[]): void {
  const identity = ['-c', 'user.name=t', '-c', 'user.email=t@t', '-c', 'protocol.file.allow=always'];
  execFileSync('git', [...identity, ...args], { cwd, stdio: 'pipe' });
}

async function repo(at: string, ...how: string[]): Promise<string> {
  git(path.dirname(at), 'init', '-q', ...how, at);
  git(at, 'commit', '-q', '--allow-empty', '-m', 'one');
  return at;
}

async function find(cwd: string, manifestPath: string | null = null, more: object = {}): Promise<string> {
  return (await resolveStateFolder({ flag: null, env: {}, cwd, manifestPath, ...more })).path;
}

test('the flag, the environment, the workspace and the repo name it, in this order', async () => {
  const top = await folder();
  const main = await repo(path.join(top, 'main'));
  const workspace = path.join(top, 'ws');
  await mkdir(path.join(workspace, '.metawsm'), { recursive: true });
  await mkdir(path.join(workspace, 'api', 'src'), { recursive: true });
  await writeFile(
    path.join(workspace, '.metawsm', 'context.json'),
    JSON.stringify({ state_dir: '/kept/here' }),
  );
  const inside = path.join(workspace, 'api', 'src');
  const manifest = path.join(main, 'm', 'a.yaml');

  expect(await find(inside, manifest, { flag: 'rel', env: { METAWSM_STATE_DIR: '/env' } })).toBe(
    path.join(inside, 'rel'),
  );
  expect(await find(inside, manifest, { env: { METAWSM_STATE_DIR: '/env' } })).toBe('/env');
  expect(await find(inside, manifest, { env: { METAWSM_STATE_DIR: '' } })).toBe('/kept/here');
  expect(await find(top, manifest)).toBe(path.join(main, '.metawsm'));
  expect(await insideWorkspace(inside)).toBe(workspace);
  expect(await insideWorkspace(main)).toBeNull();
  await expect(find(top, null, { flag: '' })).rejects.toMatchObject({ code: 'state_path' });
});

test('a context behind a link names nothing, a broken one is a problem', async () => {
  const top = await folder();
  const real = path.join(top, 'real');
  await mkdir(path.join(real, '.metawsm'), { recursive: true });
  await writeFile(path.join(real, '.metawsm', 'context.json'), JSON.stringify({ state_dir: '/theirs' }));
  for (const name of ['a', 'b']) await mkdir(path.join(top, name));
  await symlink(path.join(real, '.metawsm'), path.join(top, 'a', '.metawsm'));
  await mkdir(path.join(top, 'b', '.metawsm'));
  await symlink(path.join(real, '.metawsm', 'context.json'), path.join(top, 'b', '.metawsm', 'context.json'));
  for (const name of ['a', 'b']) {
    expect(await insideWorkspace(path.join(top, name))).toBeNull();
    expect(await find(path.join(top, name))).toBe(path.join(top, name, '.metawsm'));
  }
  for (const text of ['{', '{}', '{"state_dir": "relative"}', '[]', 'null']) {
    await writeFile(path.join(real, '.metawsm', 'context.json'), text);
    await expect(find(real)).rejects.toMatchObject({ code: 'workspace_context' });
    expect(await insideWorkspace(real)).toBe(real);
  }
});

test('in git it is at the top of the main worktree', async () => {
  const top = await folder();
  const main = await repo(path.join(top, 'main'));
  const linked = path.join(top, 'linked');
  git(main, 'worktree', 'add', '-q', linked);
  await mkdir(path.join(linked, 'deep', 'er'), { recursive: true });
  const expected = path.join(main, '.metawsm');
  expect(await find(main)).toBe(expected);
  expect(await find(path.join(linked, 'deep', 'er'))).toBe(expected);
  expect(await find('/', path.join(linked, 'deep', 'a.yaml'))).toBe(expected);
  // The manifest was moved away with its folder.
  expect(await find('/', path.join(linked, 'gone', 'too', 'a.yaml'))).toBe(expected);
  await symlink(path.join(linked, 'deep'), path.join(top, 'link'));
  expect(await find('/', path.join(top, 'link', 'a.yaml'))).toBe(expected);
});

test('a submodule, a separate git folder, a bare repo, no repo', async () => {
  const top = await folder();
  const inner = await repo(path.join(top, 'inner'));
  const outer = await repo(path.join(top, 'outer'));
  git(outer, 'submodule', '--quiet', 'add', inner, 'sub');
  git(outer, 'commit', '-q', '-m', 'sub');
  const sub = path.join(outer, 'sub');
  expect(await find(sub)).toBe(path.join(sub, '.metawsm'));
  const subLinked = path.join(top, 'sub-linked');
  git(sub, 'worktree', 'add', '-q', subLinked);
  expect(await find(subLinked)).toBe(path.join(sub, '.metawsm'));

  const separate = await repo(path.join(top, 'separate'), '--separate-git-dir', path.join(top, 'kept.git'));
  expect(await find(separate)).toBe(path.join(separate, '.metawsm'));

  git(top, 'clone', '-q', '--bare', inner, path.join(top, 'hub', '.git'));
  const ofBare = path.join(top, 'hub', 'work');
  git(path.join(top, 'hub', '.git'), 'worktree', 'add', '-q', '-b', 'work', ofBare);
  expect(await find(ofBare)).toBe(path.join(ofBare, '.metawsm'));
  expect(await find(path.join(top, 'hub'))).toBe(path.join(top, 'hub', '.metawsm'));

  const plain = path.join(top, 'plain');
  await mkdir(path.join(plain, '.git'), { recursive: true });
  expect(await find('/', path.join(plain, 'a.yaml'))).toBe(path.join(plain, '.metawsm'));
  expect(await find(plain)).toBe(path.join(plain, '.metawsm'));
});

test('looking makes nothing; making it hides it from git and from others', async () => {
  const top = await folder();
  const main = await repo(path.join(top, 'main'));
  const before = snapshot(top);
  const found = await resolveStateFolder({ flag: null, env: {}, cwd: main, manifestPath: null });
  expect(found).toEqual({ path: path.join(main, '.metawsm'), exists: false });
  expect(snapshot(top)).toEqual(before);

  await Promise.all(Array.from({ length: 8 }, () => createStateFolder(found.path)));
  expect((await stat(found.path)).mode & 0o777).toBe(0o700);
  expect(await readFile(path.join(found.path, '.gitignore'), 'utf8')).toBe('*\n');
  expect(execFileSync('git', ['status', '--porcelain'], { cwd: main, encoding: 'utf8' })).toBe('');
  expect(await resolveStateFolder({ flag: null, env: {}, cwd: main, manifestPath: null })).toMatchObject({
    exists: true,
  });
});

test('what is in its place is refused and kept; a folder of other things is not ignored in git', async () => {
  const top = await folder();
  await writeFile(path.join(top, 'file'), 'mine');
  await symlink(path.join(top, 'nowhere'), path.join(top, 'dangling'));
  for (const name of ['file', 'dangling', 'file/below']) {
    await expect(createStateFolder(path.join(top, name))).rejects.toMatchObject({
      name: 'StateProblem',
      code: 'state_path',
      hint: expect.stringContaining('--state'),
    });
  }
  expect(await readFile(path.join(top, 'file'), 'utf8')).toBe('mine');

  await createStateFolder(top);
  expect(Object.keys(snapshot(top))).not.toContain('.gitignore');
  await mkdir(path.join(top, 'real'));
  await symlink(path.join(top, 'real'), path.join(top, 'link'));
  await createStateFolder(path.join(top, 'link'));
  expect(await readFile(path.join(top, 'real', '.gitignore'), 'utf8')).toBe('*\n');
});
