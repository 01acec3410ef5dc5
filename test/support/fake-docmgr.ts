import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('fake-docmgr.mjs', import.meta.url));

export interface FakeDocmgr {
  /** An environment in which `docmgr` is the stand-in, and the stand-in alone changes what it does by `extra`. */
  env(extra?: Record<string, string>): NodeJS.ProcessEnv;
  /** The argv of every call so far. */
  calls(): string[][];
}

/** Puts the stand-in for docmgr (see fake-docmgr.mjs) on a PATH, in a folder below `folder`. */
export function installFakeDocmgr(folder: string): FakeDocmgr {
  const bin = path.join(folder, 'docmgr-bin');
  const log = path.join(bin, 'calls.jsonl');
  mkdirSync(bin, { recursive: true });
  symlinkSync(program, path.join(bin, 'docmgr'));
  return {
    env: (extra = {}) => ({
      PATH: `${bin}${path.delimiter}${path.dirname(process.execPath)}${path.delimiter}${process.env.PATH ?? ''}`,
      HOME: folder,
      DOCMGR_STAND_IN_LOG: log,
      ...extra,
    }),
    calls: () =>
      existsSync(log)
        ? readFileSync(log, 'utf8')
            .trim()
            .split('\n')
            .map((line) => (JSON.parse(line) as { argv: string[] }).argv)
        : [],
  };
}
