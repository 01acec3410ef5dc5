/** What a run keeps of the machine it is made on: source clones, tickets root, session driver. Looks at files only. */
import { realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { expandEnvValue } from '../manifest/expand.js';
import type { Intent, RepoIntent } from '../manifest/intent.js';
import type { Surroundings } from '../plan/draft.js';
import type { Problem } from '../plan/observed.js';
import { missingSteps, type Plan } from '../plan/plan.js';
import { autoSession } from '../sessions/index.js';
import { findTicketsRoot } from '../tickets/root.js';
import { sha256 } from '../tools/files.js';
import { gitVersion, isAtLeast } from '../tools/git.js';
import { findProgram } from '../tools/process.js';
import { lookupRegistry } from '../tools/wsm.js';
import { cloneFolder } from './paths.js';

const OLDEST_GIT = '2.38';

/** What a draft is made from, and what stands against making it. */
export interface SurroundingsFound extends Surroundings {
  readonly problems: readonly Problem[];
}

/** Look at what a new run (or a new repo of one) needs to know. */
export async function lookAround(
  intent: Intent,
  stateFolder: string,
  env: NodeJS.ProcessEnv,
): Promise<SurroundingsFound> {
  const problems: Problem[] = [];
  const sources: Record<string, string> = {};
  for (const repo of intent.repos) {
    const source = await sourceOf(repo, stateFolder, env);
    if ('problem' in source) {
      problems.push({
        code: 'repo_missing',
        message: source.problem,
        hint: 'add it with wsm discover, or give the repo a path or a url in the manifest',
      });
    } else sources[repo.name] = source.path;
  }
  const root =
    intent.tickets.driver === 'none'
      ? null
      : await findTicketsRoot({
          declared: intent.tickets.root,
          stateFolder,
          from: dirname(intent.manifestPath),
          env,
        });
  const missing = missingPrograms(intent, env);
  problems.push(...missing);
  if (!missing.some((problem) => problem.message.startsWith('git '))) problems.push(...(await oldGit()));
  return {
    autoSession: autoSession(env),
    ticketRoot: root === null ? null : await realOrSame(root.root),
    sources,
    problems,
  };
}

/** The programs that this manifest needs and that are not on PATH. */
function missingPrograms(intent: Intent, env: NodeJS.ProcessEnv): Problem[] {
  const needed: [string, string, string][] = [['git', 'worktrees', 'install git 2.38 or newer']];
  if (intent.session === 'tmux') {
    needed.push(['tmux', 'session: tmux', 'install tmux, or set session: process in the manifest']);
  }
  if (intent.tickets.driver === 'docmgr') {
    needed.push(['docmgr', 'tickets.driver: docmgr', 'install docmgr, or set tickets.driver: files']);
  }
  return needed
    .filter(([program]) => findProgram(program, env) === null)
    .map(([program, what, hint]) => ({
      code: 'program_missing',
      message: `${program} is not on PATH; ${what} needs it`,
      hint,
    }));
}

/** `git merge-tree --write-tree`, which close relies on, came with git 2.38. */
async function oldGit(): Promise<Problem[]> {
  const version = await gitVersion();
  if (isAtLeast(version, OLDEST_GIT)) return [];
  return [
    { code: 'git_too_old', message: `git ${version} is too old`, hint: `install git ${OLDEST_GIT} or newer` },
  ];
}

async function sourceOf(
  repo: RepoIntent,
  stateFolder: string,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly path: string } | { readonly problem: string }> {
  switch (repo.source.kind) {
    case 'path':
      return { path: await realOrSame(repo.source.path) };
    case 'url':
      return { path: cloneFolder(stateFolder, repo.name, sha256(repo.source.url)) };
    case 'registry': {
      const found = await lookupRegistry(repo.name, env);
      return 'problem' in found ? found : { path: await realOrSame(found.path) };
    }
  }
}

function realOrSame(path: string): Promise<string> {
  return realpath(path).catch(() => path);
}

/** Programs of the commands that a plan would run, as far as that can be known: a shell looks up its own. */
export function commandsMissing(plan: Plan, env: NodeJS.ProcessEnv): readonly Problem[] {
  const problems = new Map<string, Problem>();
  for (const { id, step } of missingSteps(plan)) {
    if (step.kind !== 'agent.start' && step.kind !== 'setup.run') continue;
    const program = typeof step.command === 'string' ? 'sh' : (step.command[0] ?? '');
    // A path may lead to what a setup command makes in the worktree; metawsm itself is always there for agents.
    if (program.includes('/') || program === 'metawsm') continue;
    const path = step.kind === 'agent.start' ? step.env.PATH : undefined;
    const expanded = path === undefined ? null : expandEnvValue(path, env);
    if (findProgram(program, expanded?.ok ? { PATH: expanded.value } : env) !== null) continue;
    problems.set(program, {
      code: 'program_missing',
      message: `${program} is not on PATH; ${id} needs it`,
      hint: `install ${program}; or, where the setup installs it, write the command as a string, which a shell looks up when it runs`,
    });
  }
  return [...problems.values()];
}
