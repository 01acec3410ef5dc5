/** What a branch adds to its base: commits and changed files. Nothing here writes. */
import { run } from './git.js';

export interface History {
  /** Oldest first; at most as many as were asked for, and then the newest. */
  readonly commits: readonly Commit[];
  /** How many there are in all. */
  readonly commitCount: number;
  /** At most as many as were asked for. */
  readonly files: readonly ChangedFile[];
  readonly filesChanged: number;
  readonly insertions: number;
  readonly deletions: number;
}

export interface Commit {
  readonly commit: string;
  readonly subject: string;
  readonly author: string;
  /** When it was committed, in ms since the epoch. */
  readonly at: number;
}

export interface ChangedFile {
  readonly path: string;
  /** null: a binary file. */
  readonly insertions: number | null;
  readonly deletions: number | null;
}

/** What `head` adds since it and `base` parted. @throws {ToolFailure} */
export async function historySince(
  path: string,
  base: string,
  head: string,
  limits: { readonly commits: number; readonly files: number },
): Promise<History> {
  const range = `${base}..${head}`;
  const [counted, log, files] = await Promise.all([
    run(path, ['rev-list', '--count', range, '--']),
    run(path, [
      'log',
      // A signature would be checked by whatever program the configuration names.
      '--no-show-signature',
      '--no-color',
      '-z',
      '--format=%H%n%ct%n%an%n%s',
      `--max-count=${limits.commits}`,
      range,
      '--',
    ]),
    changedFiles(path, base, head),
  ]);
  const sum = (of: (file: ChangedFile) => number | null): number =>
    files.reduce((total, file) => total + (of(file) ?? 0), 0);
  return {
    commits: log.stdout
      .split('\0')
      .filter((record) => record !== '')
      .map(commitIn)
      .reverse(),
    commitCount: Number(counted.stdout.trim()),
    files: files.slice(0, limits.files),
    filesChanged: files.length,
    insertions: sum((file) => file.insertions),
    deletions: sum((file) => file.deletions),
  };
}

function commitIn(record: string): Commit {
  const [commit = '', seconds = '0', author = '', ...subject] = record.split('\n');
  return { commit, at: Number(seconds) * 1_000, author, subject: subject.join(' ') };
}

async function changedFiles(path: string, base: string, head: string): Promise<ChangedFile[]> {
  const diff = (range: readonly string[]) =>
    run(
      path,
      ['diff', '--numstat', '-z', '--no-ext-diff', '--no-textconv', '--find-renames', ...range, '--'],
      {
        okCodes: [0, 128],
      },
    );
  const sinceParting = await diff([`${base}...${head}`]);
  // Histories that have nothing in common have no point where they parted.
  const found = sinceParting.exitCode === 0 ? sinceParting : await diff([base, head]);
  const fields = found.stdout.split('\0');
  const files: ChangedFile[] = [];
  for (let at = 0; at < fields.length; at++) {
    const [insertions = '', deletions = '', ...rest] = (fields[at] ?? '').split('\t');
    if (deletions === '') continue;
    let name = rest.join('\t');
    if (name === '') {
      // A renamed file: its old and its new name follow.
      name = fields[at + 2] ?? '';
      at += 2;
    }
    files.push({ path: name, insertions: lines(insertions), deletions: lines(deletions) });
  }
  return files;
}

function lines(text: string): number | null {
  return text === '-' ? null : Number(text);
}
