/** Real repositories in a temporary folder. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach } from 'vitest';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

export function temporaryFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'metawsm-git-')));
  folders.push(folder);
  return folder;
}

const PERSON = [
  '-c',
  'user.name=Ada',
  '-c',
  'user.email=ada@example.org',
  '-c',
  'protocol.file.allow=always',
];

/** Runs git as a person would and gives its trimmed output. */
export function sh(cwd: string, ...args: readonly string[]): string {
  return execFileSync('git', [...PERSON, ...args], {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();
}

export function write(folder: string, name: string, text: string, mode?: number): void {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text, mode === undefined ? {} : { mode });
}

export function commit(repo: string, name: string, text: string): string {
  write(repo, name, text);
  sh(repo, 'add', '--all');
  sh(repo, 'commit', '-qm', `change ${name}`);
  return sh(repo, 'rev-parse', 'HEAD');
}

/** A repository with one commit on `main`. */
export function newRepo(path: string): string {
  mkdirSync(path, { recursive: true });
  sh(path, 'init', '-q', '-b', 'main');
  commit(path, 'a.txt', 'one\n');
  return path;
}
