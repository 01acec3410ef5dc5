import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Rig } from './rig.js';

export interface KillingGit {
  /** A pattern of the shell for git's words, each followed by a space. */
  readonly words: string;
  /** Only in this folder. */
  readonly cwd?: string;
  /** Lines of the shell that it runs before it kills, such as `git "$@"`; it kills nobody after `exec git "$@"`. */
  readonly first?: readonly string[];
}

/** The environment with a git that kills the metawsm that called it, once, instead of doing what it was told. */
export function killingGit(
  rig: Rig,
  { words, cwd, first = [] }: KillingGit,
): Readonly<Record<string, string>> {
  const bin = path.join(rig.dir, 'killing-bin');
  mkdirSync(bin);
  const here = cwd === undefined ? 'true' : `[ "$PWD" = '${cwd}' ]`;
  const lines = [
    '#!/bin/sh',
    `PATH='${rig.env.PATH}'; export PATH`,
    'case "$* " in',
    `  ${words})`,
    `    if ${here} && mkdir '${bin}/killed' 2>/dev/null; then`,
    ...first.map((line) => `      ${line}`),
    '      kill -9 $PPID; exit 1',
    '    fi ;;',
    'esac',
    'exec git "$@"',
  ];
  writeFileSync(path.join(bin, 'git'), `${lines.join('\n')}\n`, { mode: 0o755 });
  return { PATH: `${bin}:${rig.env.PATH}` };
}
