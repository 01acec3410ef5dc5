import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backupWorktree, repositoriesInside } from '../../src/tools/git-backup.js';
import { configSnapshot } from '../../src/tools/git-config.js';
import { onlyHere } from '../../src/tools/git-only-here.js';
import { worktreeStatus } from '../../src/tools/git-status.js';
import { commit, newRepo, sh, temporaryFolder, write } from './git-rig.js';

const REF = 'refs/metawsm/backup/run-1/api';

function setting() {
  const folder = temporaryFolder();
  const source = newRepo(join(folder, 'source'));
  const path = join(folder, 'ws', 'api');
  sh(source, 'worktree', 'add', '-q', '-b', 'task', path);
  const marker = join(folder, 'it-ran');
  const program = join(folder, 'program');
  write(folder, 'program', `#!/bin/sh\ntouch '${marker}'\nexec cat\n`, 0o755);
  return { folder, source, path, program, ran: () => existsSync(marker) };
}

/** Files of which git has to look at the content, because size and times say nothing. */
function touch(path: string, name = 'a.txt'): void {
  write(path, name, 'one\n');
}

describe('a filter that came after the worktree', () => {
  test.each([
    ['clean', 'filter.evil.clean'],
    ['process', 'filter.evil.process'],
    ['a name with = and spaces', 'filter.ev=il x.clean'],
    ['in capitals', 'FILTER.evil.Clean'],
  ])('%s runs for no look and no backup', async (_, key) => {
    const { source, path, program, ran } = setting();
    commit(path, 'overlooked.txt', 'one\n');
    sh(path, 'update-index', '--assume-unchanged', 'overlooked.txt');
    const config = await configSnapshot(path);
    const name = key.slice('filter.'.length, key.lastIndexOf('.'));
    sh(path, 'config', key, program);
    sh(path, 'config', `filter.${name}.required`, 'true');
    // A name in .gitattributes holds no space; the others are enough to see that nothing breaks.
    write(path, '.gitattributes', `*.txt filter=${name.replace(/ .*/, '')}\n`);
    touch(path);
    touch(path, 'overlooked.txt');
    write(path, 'new.txt', 'new\n');
    await worktreeStatus(path, { config });
    await onlyHere(path, { config });
    await repositoriesInside(path, { config });
    const { commit: saved } = await backupWorktree({ source, path, ref: REF, config });
    expect(ran()).toBe(false);
    expect(sh(source, 'show', `${saved}:new.txt`)).toBe('new');

    // The proof that it would have.
    await worktreeStatus(path).catch(() => undefined);
    expect(ran()).toBe(!name.includes(' '));
  });

  test('hidden in an included file, in the worktree’s own configuration, or replaced', async () => {
    const { folder, path, program, ran } = setting();
    sh(path, 'config', 'filter.known.clean', 'cat');
    const config = await configSnapshot(path);
    write(path, '.gitattributes', '*.txt filter=known\n');
    write(folder, 'more', `[filter "known"]\n\tclean = ${program}\n`);
    const attempts: readonly (() => void)[] = [
      () => sh(path, 'config', 'include.path', join(folder, 'more')),
      () => {
        sh(path, 'config', 'extensions.worktreeConfig', 'true');
        sh(path, 'config', '--worktree', 'filter.known.clean', program);
      },
      () => sh(path, 'config', '--replace-all', 'filter.known.clean', program),
    ];
    for (const attempt of attempts) {
      attempt();
      touch(path);
      await worktreeStatus(path, { config });
      expect(ran()).toBe(false);
    }
  });

  test('in a submodule, and in a repository that was added as one', async () => {
    const { folder, source, path, program, ran } = setting();
    const library = newRepo(join(folder, 'library'));
    sh(path, 'submodule', '--quiet', 'add', library, 'lib');
    newRepo(join(path, 'embedded'));
    sh(path, '-c', 'advice.addEmbeddedRepo=false', 'add', 'embedded');
    sh(path, 'commit', '-qm', 'Both');
    const config = await configSnapshot(path);
    for (const name of ['lib', 'embedded']) {
      const inner = join(path, name);
      sh(inner, 'config', `filter.evil-${name}.clean`, program);
      write(inner, '.gitattributes', `*.txt filter=evil-${name}\n`);
      touch(inner);
    }
    await worktreeStatus(path, { config });
    await onlyHere(path, { config });
    await repositoriesInside(path, { config });
    await backupWorktree({ source, path, ref: REF, config });
    expect(ran()).toBe(false);
  });
});

test('a filter that was there before goes on, so that its files are no changes', async () => {
  const { source, path } = setting();
  sh(source, 'config', 'filter.upper.clean', 'tr a-z A-Z');
  sh(source, 'config', 'filter.upper.smudge', 'tr A-Z a-z');
  write(path, '.gitattributes', '*.txt filter=upper\n');
  commit(path, 'low.txt', 'low\n');
  const config = await configSnapshot(path);
  write(path, 'low.txt', 'low\n');
  expect((await worktreeStatus(path, { config })).changed).toEqual([]);
  // Not told what was there, none runs.
  write(path, 'low.txt', 'low\n');
  expect((await worktreeStatus(path, { config: null })).changed).toContain('low.txt');
});
