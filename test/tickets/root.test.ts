import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { findTicketsRoot } from '../../src/tickets/root.js';
import { test } from './temporary.js';

function lookFrom(from: string, folder: string, extra: { declared?: string; DOCMGR_CONFIG?: string } = {}) {
  const { declared = null, ...env } = extra;
  return findTicketsRoot({ declared, stateFolder: path.join(folder, 'state'), from, env });
}

function make(...parts: string[]): string {
  const folder = path.join(...parts);
  mkdirSync(folder, { recursive: true });
  return folder;
}

test('the declared root, whether it exists or not', ({ folder }) => {
  make(folder, 'ttmp');
  const declared = path.join(folder, 'tickets');
  expect(lookFrom(folder, folder, { declared })).toEqual({ root: declared, how: 'declared' });
});

test('a .ttmp.yaml upward, relative to itself', ({ folder }) => {
  const from = make(folder, 'repo/manifests');
  execFileSync('git', ['init', '-q', path.join(folder, 'repo')]);
  make(folder, 'repo/ttmp');
  const docs = make(folder, 'docs dir');
  for (const line of [
    'root: docs dir',
    "root: 'docs dir' # here",
    'vocabulary: x\nroot: "docs dir"\n',
    `root: ${docs}`,
  ]) {
    writeFileSync(path.join(folder, '.ttmp.yaml'), line);
    expect(lookFrom(from, folder)).toEqual({ root: docs, how: 'config' });
  }
  // The nearest one counts; one without a root, or that is broken, changes nothing.
  for (const text of ['', 'vocabulary: x\n', 'root: [\n', 'root: ""\n']) {
    writeFileSync(path.join(folder, 'repo/.ttmp.yaml'), text);
    expect(lookFrom(from, folder)).toEqual({ root: path.join(folder, 'repo/ttmp'), how: 'git' });
  }
});

test('a configured root that does not exist is not replaced by another tree', ({ folder }) => {
  make(folder, 'ttmp');
  writeFileSync(path.join(folder, '.ttmp.yaml'), 'root: nowhere\n');
  expect(lookFrom(folder, folder)).toEqual({ root: path.join(folder, 'state/ttmp'), how: 'state' });
});

test('DOCMGR_CONFIG overrides, where it exists', ({ folder }) => {
  const from = make(folder, 'manifests');
  make(folder, 'a');
  make(folder, 'other/b');
  writeFileSync(path.join(folder, '.ttmp.yaml'), 'root: a\n');
  writeFileSync(path.join(folder, 'other/config.yaml'), 'root: b\n');
  const b = { root: path.join(folder, 'other/b'), how: 'config' };
  expect(lookFrom(from, folder, { DOCMGR_CONFIG: path.join(folder, 'other/config.yaml') })).toEqual(b);
  expect(lookFrom(from, folder, { DOCMGR_CONFIG: '../other/config.yaml' })).toEqual(b);
  expect(lookFrom(from, folder, { DOCMGR_CONFIG: 'missing' }).root).toBe(path.join(folder, 'a'));
});

test('ttmp at the top of the git repository, also of a linked worktree', ({ folder }) => {
  const repo = make(folder, 'repo');
  const identity = ['-c', 'user.name=t', '-c', 'user.email=t@localhost'];
  execFileSync('git', ['init', '-q', repo]);
  execFileSync('git', ['-C', repo, ...identity, 'commit', '-q', '--allow-empty', '-m', 'first']);
  execFileSync('git', ['-C', repo, 'worktree', 'add', '-q', path.join(folder, 'linked')]);
  for (const top of [repo, path.join(folder, 'linked')]) {
    const from = make(top, 'deep/manifests');
    // One beside the manifest is not where docmgr would look.
    make(from, 'ttmp');
    expect(lookFrom(from, folder)).toEqual({ root: path.join(folder, 'state/ttmp'), how: 'state' });
    make(top, 'ttmp');
    expect(lookFrom(from, folder)).toEqual({ root: path.join(top, 'ttmp'), how: 'git' });
  }
});

test('outside a repository ttmp beside the manifest, else in the state folder', ({ folder }) => {
  expect(lookFrom(folder, folder)).toEqual({ root: path.join(folder, 'state/ttmp'), how: 'state' });
  writeFileSync(path.join(folder, 'ttmp'), 'a file');
  expect(lookFrom(folder, folder).how).toBe('state');
  expect(existsSync(path.join(folder, 'state'))).toBe(false);
  const beside = make(folder, 'x/ttmp');
  expect(lookFrom(path.join(folder, 'x'), folder)).toEqual({ root: beside, how: 'folder' });
  // A .git that points nowhere is no repository.
  writeFileSync(path.join(folder, '.git'), `gitdir: ${folder}/nowhere\n`);
  expect(lookFrom(path.join(folder, 'x'), folder).how).toBe('folder');
});
