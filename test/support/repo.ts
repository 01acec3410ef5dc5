import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

/** A real git repository of a test. */
export class Repo {
  constructor(
    readonly path: string,
    /** The bare repository that it was pushed to. */
    readonly origin: string | null,
    private readonly env: Readonly<Record<string, string>>,
  ) {}

  /** Runs git here; returns stdout, trimmed. */
  async git(...args: string[]): Promise<string> {
    return git(this.path, this.env, args);
  }

  /** Writes files (path → content). */
  write(files: Readonly<Record<string, string>>): void {
    for (const [name, content] of Object.entries(files)) {
      const file = path.join(this.path, name);
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, content);
    }
  }

  /** Writes files and commits them; returns the commit. */
  async commit(message: string, files: Readonly<Record<string, string>>): Promise<string> {
    this.write(files);
    await this.git('add', '--all');
    await this.git('commit', '-q', '-m', message);
    return this.git('rev-parse', 'HEAD');
  }

  /** Names of all branches. */
  async branches(): Promise<string[]> {
    return lines(await this.git('for-each-ref', '--format=%(refname:short)', 'refs/heads'));
  }

  /** Paths of all worktrees but the main one. */
  async worktrees(): Promise<string[]> {
    return lines(await this.git('worktree', 'list', '--porcelain'))
      .filter((line) => line.startsWith('worktree '))
      .map((line) => line.slice('worktree '.length))
      .slice(1);
  }
}

/** Runs git in a folder; returns stdout, trimmed. */
export async function git(
  cwd: string,
  env: Readonly<Record<string, string>>,
  args: readonly string[],
): Promise<string> {
  const { stdout } = await promisify(execFile)('git', args, { cwd, env: { ...env } });
  return stdout.trim();
}

/** The lines of a text that are not empty. */
export function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}
