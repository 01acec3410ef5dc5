import { cpSync, existsSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Status } from '../support/documents.js';
import type { Repo } from '../support/repo.js';
import { checkout, type Rig, test } from '../support/rig.js';

test('the quickstart runs in a fresh clone, and leaves it clean', async ({ rig }) => {
  const { clone, metawsm } = await freshClone(rig);
  const plan = await metawsm('plan manifests/quickstart.yaml');
  expect(plan.stdout).toContain('git worktree add');
  await metawsm('apply manifests/quickstart.yaml --wait');

  const status = await rig.json<Status>('status QUICKSTART-1', {
    cwd: clone.path,
  });
  expect(status.run.state).toBe('completed');
  expect(status.run.workspace.startsWith(path.join(rig.home, 'workspaces'))).toBe(true);
  expect(status.repos).toMatchObject([
    { ahead: 1, clean: true, base_commit: await clone.git('rev-parse', 'HEAD') },
  ]);
  expect(await clone.git('show', `${status.repos[0]?.branch}:hello.md`)).toContain('greeting');
  expect(await clone.git('status', '--porcelain')).toBe('');

  await metawsm('cleanup QUICKSTART-1');
  expect(existsSync(status.run.workspace)).toBe(false);
  expect(await clone.git('status', '--porcelain')).toBe('');
});

test('the guided example asks, and goes on with the answer', async ({ rig }) => {
  const { clone, metawsm } = await freshClone(rig);
  const asked = await metawsm('apply manifests/guided.yaml --wait', 3);
  expect(asked.text).toContain('In which format');
  expect((await metawsm('status GUIDED-1')).stdout).toContain('In which format');
  await metawsm(['guide', 'GUIDED-1', '--answer', 'As a list, please']);
  await metawsm('apply manifests/guided.yaml --wait');
  const branch = (await clone.branches()).find((name) => name.startsWith('task/guided-1-'));
  expect(await clone.git('show', `${branch}:note.md`)).toContain('> As a list, please');
  expect(await clone.git('status', '--porcelain')).toBe('');
});

test('the example of two repos completes both', async ({ rig }) => {
  const { clone, metawsm } = await freshClone(rig);
  await metawsm('apply manifests/two-repos.yaml --wait');
  const status = await rig.json<Status>('status TWO-REPOS-1', {
    cwd: clone.path,
  });
  expect(status.run.state).toBe('completed');
  expect(status.repos.map((repo) => [repo.name, repo.ahead, repo.clean])).toEqual([
    ['app', 1, true],
    ['docs', 1, true],
  ]);
  expect(await clone.git('status', '--porcelain')).toBe('');
});

test('every example is valid', async ({ rig }) => {
  const { metawsm } = await freshClone(rig);
  await metawsm('validate manifests/quickstart.yaml manifests/guided.yaml manifests/two-repos.yaml');
});

/** The project as a stranger has it after `git clone`, with the manifests as they are in this checkout. */
async function freshClone(rig: Rig) {
  const folder = path.join(rig.dir, 'metawsm');
  await rig.at(rig.dir).git('clone', '-q', checkout, folder);
  const clone: Repo = rig.at(folder);
  cpSync(path.join(checkout, 'manifests'), path.join(folder, 'manifests'), { recursive: true });
  if ((await clone.git('status', '--porcelain')) !== '') await clone.commit('As in the checkout', {});
  const metawsm = (command: string | readonly string[], code = 0) => rig.run(command, { cwd: folder, code });
  return { clone, metawsm };
}
