/** The one place that looks at the world: repos, worktrees, tickets, agents and sentinels, as plain data. */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { RepoIntent } from '../manifest/intent.js';
import { briefTitle } from '../plan/names.js';
import type {
  Observed,
  ObservedBase,
  ObservedRepo,
  ObservedTicket,
  ObservedWorktree,
  Problem,
  Warning,
} from '../plan/observed.js';
import type { RecordedAgent, RecordedRepo, RecordedRun, RecordedStep } from '../plan/recorded.js';
import { readSentinels, type SentinelFolder } from '../sentinels/sentinels.js';
import { autoSession } from '../sessions/index.js';
import { observeAttempt } from '../sessions/observe.js';
import { ticketDriver } from '../tickets/index.js';
import { sha256 } from '../tools/files.js';
import { onlyHere } from '../tools/git-only-here.js';
import { branchInfo, locateRepo } from '../tools/git-read.js';
import { resolveBase, resolveBaseOfUrl } from '../tools/git-remote.js';
import { diffStat, worktreeStatus } from '../tools/git-status.js';
import { holdsOnlyOurGitFile, isUnfinished, worktreeState } from '../tools/git-worktree.js';
import { attemptFolder } from './paths.js';
import { lookOptions } from './trust.js';

/** How to look at a run. What costs a git call or the network is looked at only where it is asked for. */
export interface Look {
  readonly stateFolder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
  /** Resolve the bases of worktrees still to be made, by asking origin unless offline. */
  readonly bases?: { readonly offline: boolean };
  /** Of which repos to find out what exists nowhere else: for removing them. */
  readonly onlyHere?: 'all' | readonly string[];
  /**
   * The run as it is recorded, where the one that is looked at is what a changed manifest makes of it: an agent that
   * the manifest dropped has signalled all the same.
   */
  readonly recorded?: RecordedRun;
  /** Look at tickets: for planning, not for watching. */
  readonly ticket?: boolean;
  /** Look at clean, ahead, behind and diff of every worktree: for status. */
  readonly diff?: boolean;
  /** Problems found earlier (surroundings), to be told together with those found here. */
  readonly problems?: readonly Problem[];
  readonly signal?: AbortSignal;
}

/** Look at everything that concerns `run`, recorded or still a draft. Changes nothing. */
export async function observe(run: RecordedRun, look: Look): Promise<Observed> {
  const problems: Problem[] = [...(look.problems ?? [])];
  const warnings: Warning[] = [];
  const gitMissing = problems.some(
    (problem) => problem.code === 'program_missing' && /^git /.test(problem.message),
  );
  // How agents ended is read before what they wrote: one that signals and exits meanwhile has signalled.
  // Also those that the manifest dropped: whether they live decides what becomes of them.
  const views = await Promise.all(
    run.agents.map(async (agent) => {
      const folder = attemptFolder(look.stateFolder, run.id, agent.name, agent.attempt);
      return { agent, view: await observeAttempt(folder) };
    }),
  );
  const [workspace, repos, sentinels, ticket] = await Promise.all([
    observeWorkspace(run),
    gitMissing ? [] : Promise.all(run.repos.map((repo) => observeRepo(run, repo, look, problems, warnings))),
    readSentinels(run.workspace, sentinelFolders(look.recorded ?? run), { now: look.now }),
    look.ticket ? observeTicket(run, look, problems) : NO_TICKET,
  ]);
  problems.push(...sameRepository(run, repos));
  const byName = Object.fromEntries(repos.map(({ name, repo }) => [name, repo]));
  const marks = sentinels.map((s) => (s.content.kind === 'valid' ? s.content.digest : s.content.reason));
  const agents = views.map(({ agent, view }) => {
    const seen = { attempt: agent.attempt, ...view, progress: progressOf(run, agent, byName, marks) };
    return [agent.name, seen] as const;
  });
  return {
    now: look.now(),
    repos: byName,
    workspace,
    ticket,
    agents: Object.fromEntries(agents),
    sentinels,
    autoSession: autoSession(look.env),
    problems,
    warnings,
  };
}

const NO_TICKET: ObservedTicket = { folder: null, brief: null };

async function observeWorkspace(run: RecordedRun): Promise<Observed['workspace']> {
  const path = run.workspace;
  const kindOf = async (place: string): Promise<'folder' | 'missing' | 'foreign'> => {
    const stats = await lstat(place).catch(() => null);
    return stats === null ? 'missing' : stats.isDirectory() ? 'folder' : 'foreign';
  };
  const workspace = await kindOf(path);
  const exists = workspace === 'folder';
  const sentinelFolder = exists ? await kindOf(join(path, '.metawsm')) : 'missing';
  if (sentinelFolder !== 'folder') return { exists, sentinelFolder, gone: [] };
  const places = await Promise.all(
    placesForAgents(run).map(async (place) => ((await kindOf(place)) === 'missing' ? [place] : [])),
  );
  return { exists, sentinelFolder, gone: places.flat() };
}

/** What `workspace.create` and `brief.write` make in the workspace's `.metawsm`. */
function placesForAgents(run: RecordedRun): string[] {
  const agents = run.agents.filter((agent) => !agent.removed).map((agent) => agent.sentinelDir);
  const folders = new Set([...agents, join(run.workspace, '.metawsm')]);
  return [...folders].flatMap((dir) => [dir, join(dir, 'brief.md'), join(dir, 'context.json')]);
}

/** Where sentinels of a run may lie: each agent's own folder, the workspace's, the worktrees'. */
export function sentinelFolders(run: RecordedRun): SentinelFolder[] {
  const agents = run.agents.filter((agent) => !agent.removed);
  const shared = join(run.workspace, '.metawsm');
  const folders: SentinelFolder[] = agents.map((agent) => ({
    place: { kind: 'agent', agent: agent.name },
    dir: agent.sentinelDir,
  }));
  // With several agents, one may still have the workspace's folder for its own: the field then decides.
  const owner = agents.find((agent) => agent.sentinelDir === shared);
  if (owner === undefined) folders.push({ place: { kind: 'workspace' }, dir: shared });
  for (const repo of run.repos.filter((r) => !r.removed)) {
    folders.push({ place: { kind: 'repo', repo: repo.name }, dir: join(repo.path, '.metawsm') });
  }
  return folders;
}

async function observeTicket(run: RecordedRun, look: Look, problems: Problem[]): Promise<ObservedTicket> {
  const { driver } = run.intent.tickets;
  if (driver === 'none' || run.ticketRoot === null) return NO_TICKET;
  if (problems.some((p) => p.code === 'program_missing' && /^docmgr /.test(p.message))) return NO_TICKET;
  try {
    const tickets = ticketDriver(driver, run.ticketRoot, look.env);
    const folder = await tickets.find(run.ticketId);
    if (folder === null) return NO_TICKET;
    return { folder, brief: await tickets.findBrief(run.ticketId, briefTitle(run.id)) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    problems.push({ code: 'ticket_unreadable', message, hint: 'mend the ticket folder, then try again' });
    return NO_TICKET;
  }
}

/** Changes with the HEADs and files of the agent's repos, its run's sentinels and steps. */
function progressOf(
  run: RecordedRun,
  agent: RecordedAgent,
  repos: Readonly<Record<string, ObservedRepo>>,
  marks: readonly string[],
): string {
  const mine = run.repos.filter((repo) => agent.cwd === repo.path || agent.cwd === run.workspace);
  const work = mine.map((repo) => [repos[repo.name]?.worktree.head, repos[repo.name]?.worktree.dirtyFiles]);
  const steps = run.steps.map((step) => [step.id, step.state]);
  return sha256(JSON.stringify([work, marks, steps])).slice(0, 16);
}

const NO_WORKTREE: ObservedWorktree = {
  state: 'missing',
  branch: null,
  head: null,
  dirtyFiles: null,
  ahead: null,
  behind: null,
  filesChanged: null,
  insertions: null,
  deletions: null,
  onlyHere: [],
};

const NO_REPO: ObservedRepo = {
  source: null,
  commonDir: null,
  base: null,
  branchCommit: null,
  branchCheckedOutAt: null,
  worktree: NO_WORKTREE,
};

async function observeRepo(
  run: RecordedRun,
  repo: RecordedRepo,
  look: Look,
  problems: Problem[],
  warnings: Warning[],
): Promise<{ name: string; repo: ObservedRepo }> {
  const intent = run.intent.repos.find((r) => r.name === repo.name);
  const problem = (code: string, message: string, hint: string): { name: string; repo: ObservedRepo } => {
    problems.push({ code, message, hint });
    return { name: repo.name, repo: NO_REPO };
  };
  if (repo.source === '') return { name: repo.name, repo: NO_REPO };
  const source = await locateRepo(repo.source);
  if (!source.exists || !source.isRepo || source.commonDir === null) {
    if (intent?.source.kind === 'url')
      return { name: repo.name, repo: await notClonedYet(repo, intent, look, problems) };
    if (source.problem !== null)
      return problem('repo_unusable', `repo ${repo.name}: ${source.problem}`, `look at ${repo.source}`);
    const what = source.exists ? 'is no git repository' : 'does not exist';
    if (look.bases === undefined && run.repos.includes(repo)) {
      warnings.push({
        code: 'repo_missing',
        message: `the source clone of ${repo.name}, ${repo.source}, ${what}`,
        file: null,
      });
      const there = (await lstat(repo.path).catch(() => null)) !== null;
      const worktree: ObservedWorktree = there ? { ...NO_WORKTREE, state: 'foreign' } : NO_WORKTREE;
      return { name: repo.name, repo: { ...NO_REPO, worktree } };
    }
    return problem(
      'repo_missing',
      `repo ${repo.name}: ${repo.source} ${what}`,
      'mend the path in the manifest, or clone it there',
    );
  }
  if (!source.isTop && intent?.source.kind === 'path') {
    const { name } = problem(
      'repo_not_top',
      `repo ${repo.name}: ${repo.source} is inside the repository ${source.topLevel ?? source.commonDir}, not its top`,
      `say path: ${source.topLevel ?? source.commonDir}`,
    );
    // Which repository that is decides whether another repo of the run is the same one.
    return { name, repo: { ...NO_REPO, commonDir: source.commonDir } };
  }
  const row = run.steps.find((step) => step.id === `worktree.create/${repo.name}`);
  const [worktree, branch] = await Promise.all([
    observeWorktree(repo, source.commonDir, row, look),
    branchInfo(repo.source, repo.branch),
  ]);
  // Also where a worktree is there: one that a crash kept from being recorded still has to learn its base.
  const toMake = repo.baseRef === null && !repo.removed;
  const tried = row !== undefined && row.attempts > 0;
  let base: ObservedBase | null = null;
  if (look.bases !== undefined && toMake) {
    base = await findBase(repo, look, problems, warnings);
    if (branch.commit !== null && !tried) {
      const by =
        branch.lastAuthor === null ? '' : `, last commit by ${branch.lastAuthor} on ${branch.lastDate}`;
      const at = branch.checkedOutAt === null ? '' : `, checked out at ${branch.checkedOutAt}`;
      problems.push({
        code: 'branch_exists',
        message: `repo ${repo.name}: branch ${repo.branch} exists already (${branch.commit.slice(0, 12)}${by}${at}), and this run did not make it`,
        hint: 'rename or delete that branch, or put {token} into workspace.branch',
      });
    }
    if (worktree.state === 'foreign' && !tried) {
      problems.push({
        code: 'path_taken',
        message: `repo ${repo.name}: ${repo.path} is taken by something that metawsm did not make`,
        hint: 'move it away, or choose another workspace.root',
      });
    }
  }
  return {
    name: repo.name,
    repo: {
      source: repo.source,
      commonDir: source.commonDir,
      base,
      branchCommit: branch.commit,
      branchCheckedOutAt: branch.checkedOutAt,
      worktree,
    },
  };
}

async function notClonedYet(
  repo: RecordedRepo,
  intent: RepoIntent,
  look: Look,
  problems: Problem[],
): Promise<ObservedRepo> {
  if (look.bases === undefined || intent.source.kind !== 'url') return NO_REPO;
  if (look.bases.offline) {
    problems.push({
      code: 'repo_not_cloned',
      message: `repo ${repo.name}: ${intent.source.url} was never cloned, which --offline does not allow`,
      hint: 'apply once without --offline',
    });
    return NO_REPO;
  }
  const found = await resolveBaseOfUrl(join(look.stateFolder, '..'), intent.source.url, repo.baseBranch, {
    offline: false,
    signal: look.signal,
  });
  if ('problem' in found) {
    problems.push({
      code: 'base_missing',
      message: `repo ${repo.name}: ${found.problem}`,
      hint: 'mend base_branch in the manifest',
    });
    return NO_REPO;
  }
  if ('unreachable' in found) {
    problems.push({
      code: 'repo_unreachable',
      message: `repo ${repo.name}: ${intent.source.url} could not be asked: ${found.unreachable}`,
      hint: 'mend the url or the network, then try again',
    });
    return NO_REPO;
  }
  return { ...NO_REPO, base: found };
}

async function findBase(
  repo: RecordedRepo,
  look: Look,
  problems: Problem[],
  warnings: Warning[],
): Promise<ObservedBase | null> {
  const found = await resolveBase(repo.source, repo.baseBranch, {
    offline: look.bases?.offline ?? false,
    signal: look.signal,
  });
  if ('problem' in found) {
    problems.push({
      code: 'base_missing',
      message: `repo ${repo.name}: ${found.problem}`,
      hint: 'mend base_branch in the manifest, or push or create that branch',
    });
    return null;
  }
  if ('unreachable' in found) {
    // The fetch is a step of its own, and fails there: what was recorded before it stays true.
    warnings.push({
      code: 'origin_unreachable',
      message: `repo ${repo.name}: origin could not be asked (${found.unreachable}); --offline uses what was last fetched`,
      file: null,
    });
    return { from: 'origin', ref: `refs/remotes/origin/${repo.baseBranch}`, commit: null };
  }
  // Offline nothing is fetched: what was fetched last is as good as a local branch.
  return look.bases?.offline ? { ...found, from: 'local' } : found;
}

async function observeWorktree(
  repo: RecordedRepo,
  commonDir: string,
  making: RecordedStep | undefined,
  look: Look,
): Promise<ObservedWorktree> {
  const seen = await worktreeState(repo.source, repo.path, repo.branch, commonDir);
  const { state, branch, head } = seen;
  // A git that was killed over its first file left a folder that is not yet a worktree: ours, for all that.
  const isWhole = making?.state === 'done';
  const tried = making !== undefined && making.attempts > 0;
  if (state === 'foreign' && tried && !isWhole && (await holdsOnlyOurGitFile(repo.source, repo.path))) {
    return { ...NO_WORKTREE, state: 'ready' };
  }
  // git is at work on it, or was killed over it: there is nothing in it yet that could be asked about. Once it is
  // made, the same lock is somebody's own.
  if (state !== 'ready' || (isUnfinished(seen) && !isWhole)) return { ...NO_WORKTREE, state, branch, head };
  const looking = lookOptions(repo);
  const wantsOnlyHere = look.onlyHere === 'all' || look.onlyHere?.includes(repo.name) === true;
  const [status, diff, here] = await Promise.all([
    worktreeStatus(repo.path, looking),
    (look.diff || wantsOnlyHere) && repo.baseCommit !== null ? diffStat(repo.path, repo.baseCommit) : null,
    wantsOnlyHere ? onlyHere(repo.path, looking) : [],
  ]);
  return {
    state,
    branch,
    head,
    dirtyFiles: status.dirtyFiles,
    ahead: diff?.ahead ?? null,
    behind: diff?.behind ?? null,
    filesChanged: diff?.filesChanged ?? null,
    insertions: diff?.insertions ?? null,
    deletions: diff?.deletions ?? null,
    onlyHere: here,
  };
}

/** Two repos of a run may not be one git repository: their branches and worktrees would get in each other's way. */
function sameRepository(run: RecordedRun, repos: readonly { name: string; repo: ObservedRepo }[]): Problem[] {
  const problems: Problem[] = [];
  const seen = new Map<string, string>();
  for (const { name, repo } of repos) {
    if (repo.commonDir === null || run.repos.find((r) => r.name === name)?.removed) continue;
    const other = seen.get(repo.commonDir);
    if (other !== undefined) {
      problems.push({
        code: 'same_repository',
        message: `repos ${other} and ${name} are the same git repository (${repo.commonDir})`,
        hint: 'name it once, or use two clones',
      });
    } else seen.set(repo.commonDir, name);
  }
  return problems;
}
