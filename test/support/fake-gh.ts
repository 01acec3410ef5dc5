import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('fake-gh.mjs', import.meta.url));

/** A pull request as the stand-in keeps it. */
export interface FakePr {
  readonly number: number;
  readonly url: string;
  readonly state: 'OPEN' | 'CLOSED' | 'MERGED';
  readonly headRefName: string;
  readonly headRefOid: string;
  readonly baseRefName: string;
  readonly isCrossRepository: boolean;
  readonly isDraft: boolean;
  readonly title: string;
  readonly body: string;
}

export interface FakeGhCall {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly stdin: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface FakeGh {
  /** The folder to put first on PATH. */
  readonly bin: string;
  /** An environment in which `gh` is the stand-in. */
  env(extra?: Record<string, string>): NodeJS.ProcessEnv;
  /** Every call so far. */
  calls(): readonly FakeGhCall[];
  /** The pull requests, oldest first. */
  prs(): readonly FakePr[];
  /** Replaces them. */
  setPrs(prs: readonly FakePr[]): void;
}

/** Puts the stand-in for gh (see fake-gh.mjs) into a folder of its own below `folder`. */
export function installFakeGh(folder: string): FakeGh {
  const bin = path.join(folder, 'gh-bin');
  const [log, store] = [path.join(bin, 'calls.jsonl'), path.join(bin, 'prs.json')];
  mkdirSync(bin, { recursive: true });
  symlinkSync(program, path.join(bin, 'gh'));
  const read = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8').trim() : '');
  return {
    bin,
    env: (extra = {}) => ({
      ...process.env,
      PATH: [bin, path.dirname(process.execPath), process.env.PATH ?? ''].join(path.delimiter),
      GH_STAND_IN: bin,
      ...extra,
    }),
    calls: () =>
      read(log)
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as FakeGhCall),
    prs: () => JSON.parse(read(store) || '[]') as FakePr[],
    setPrs: (prs) => writeFileSync(store, JSON.stringify(prs)),
  };
}
