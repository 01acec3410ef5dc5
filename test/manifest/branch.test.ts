import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fillBranch, isValidBranchName } from '../../src/manifest/branch.js';
import { fuzz } from '../support/fuzz.js';

function gitAccepts(name: string): boolean {
  return spawnSync('git', ['check-ref-format', '--branch', name], { cwd: '/' }).status === 0;
}

describe('branch names', () => {
  test.each([
    'main',
    'task/a-1',
    'a.b',
    'a@b',
    'ünï',
    'a{b}',
    'a@',
    '@a',
    'a-',
    'HEAD/x',
    'a.lock.b',
    'a"b',
    "a'$`;&|b",
    'x'.repeat(250),
  ])('%j is one', (name) => {
    expect(isValidBranchName(name)).toBe(true);
    expect(gitAccepts(name)).toBe(true);
  });

  test.each([
    '',
    '@',
    'HEAD',
    '-a',
    '/a',
    'a/',
    'a//b',
    '.a',
    'a/.b',
    'a..b',
    'a.',
    'a.lock',
    'a.lock/b',
    'a b',
    'a~b',
    'a^b',
    'a:b',
    'a?b',
    'a*b',
    'a[b',
    'a\\b',
    'a@{b',
    'a\tb',
    'a\nb',
    'a\x7fb',
    'a\x01b',
  ])('%j is none', (name) => {
    expect(isValidBranchName(name)).toBe(false);
    // Git takes a lone @ for the current commit, and so for no error.
    if (name !== '@') expect(gitAccepts(name)).toBe(false);
  });

  test('too long for a file name is none', () => {
    expect(isValidBranchName('x'.repeat(251))).toBe(false);
    expect(isValidBranchName('é'.repeat(126))).toBe(false);
  });

  test('git agrees', () => {
    const part = fc.constantFrom(
      'a',
      'b',
      '.',
      '..',
      '/',
      '-',
      '@',
      '{',
      '}',
      '.lock',
      'HEAD',
      ' ',
      '~',
      '\\',
      'é',
      '[',
      '*',
    );
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join('')),
        (name) => {
          // `@{-1}` and the like are asked about and not named.
          if (name === '@' || name.includes('@{')) return;
          expect(isValidBranchName(name)).toBe(gitAccepts(name));
        },
      ),
      fuzz(150),
    );
  });

  test('templates are filled in once', () => {
    const values = { workspace: 'w', ticket: '{repo}', token: 't', repo: 'r' };
    expect(fillBranch('x/{workspace}-{ticket}-{token}-{repo}{repo}/{other}{', values)).toBe(
      'x/w-{repo}-t-rr/{other}{',
    );
  });
});
