/**
 * Checking the command criteria: look, run them side by side without holding anything, record each at its end,
 * look again. Two at once get in nobody's way: each records what it found, and the commits decide what counts.
 */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Listr, type ListrRendererFactory, type ListrTask } from 'listr2';
import { type CriterionState, type DeclaredCriterion, declaredCriteria } from '../plan/evidence.js';
import type { Outcome } from '../plan/outcome.js';
import type { RecordedEvidence, RecordedRun } from '../plan/recorded.js';
import type { Refusal } from '../plan/steps.js';
import { oneLine, shortened } from '../report/stream.js';
import { safeText } from '../tools/files.js';
import { hiddenChanges } from '../tools/git-only-here.js';
import { worktreeStatus } from '../tools/git-status.js';
import { masked, maskedTail, secretsOf } from './agent-env.js';
import { type CriterionEnd, endLeftovers, runCriterion } from './criterion.js';
import { type Looked, lookAt, recordLook, type Warner } from './look.js';
import { criteriaFolder } from './paths.js';
import type { Rendering } from './tasks.js';
import { lookOptions } from './trust.js';
import { writeValidation } from './validation-file.js';
import { manifestFolder, type World } from './world.js';

export interface VerifyOptions {
  /** `missing`: only those without passing evidence here and now. */
  readonly which: 'all' | 'missing';
  /** How many at a time; null: as many as there are processors. */
  readonly concurrency: number | null;
  readonly rendering: Rendering;
  readonly lockTimeoutMs: number;
  readonly warner: Warner;
}

/** A command criterion that does not hold, told for a person. */
export interface OpenCriterion {
  readonly criterion: CriterionState;
  /** Such as `c1 (npm test) exited with status 1`. */
  readonly sentence: string;
  /** Last lines of its output. */
  readonly logTail: readonly string[];
}

/** What checking the criteria of a run came to, with the run as it is recorded then. */
export type Verified =
  | {
      readonly kind: 'refused';
      readonly run: RecordedRun;
      readonly outcome: Outcome;
      readonly refusal: Refusal;
    }
  | {
      readonly kind: 'checked';
      readonly run: RecordedRun;
      readonly outcome: Outcome;
      /** How many commands were run. */
      readonly executed: number;
      /** The command criteria that do not hold. */
      readonly open: readonly OpenCriterion[];
    };

const TAIL = 20;
/** How much of a criterion names it, in characters. */
const NAME_LENGTH = 80;
/** A check took minutes: its result is worth waiting for whoever holds the run. */
const RECORD_WAIT_MS = 60_000;

/** Check the command criteria of a run at its HEADs and record what was found. */
export async function verifyRun(runId: string, world: World, options: VerifyOptions): Promise<Verified> {
  const { store } = world;
  const first = await locked(runId, world, options.lockTimeoutMs, async () => {
    const looked = await look(runId, world);
    options.warner.tell(runId, looked.outcome.warnings);
    return { looked, run: await recordLook(store, world.reporter, looked) };
  });
  const { looked, run } = first;
  const { outcome } = looked;
  const states = new Map(outcome.criteria.map((criterion) => [criterion.id, criterion.state]));
  const checks = distinct(
    declaredCriteria(run).filter(
      ({ id, criterion }) =>
        criterion.kind === 'command' && (options.which === 'all' || states.get(id) !== 'passed'),
    ),
  );
  if (checks.length === 0 && options.which === 'missing') {
    // A crash may have come between the record and the file that tells of it.
    if (outcome.criteria.some(({ kind }) => kind === 'command')) {
      await locked(runId, world, options.lockTimeoutMs, () => tell(run, looked, options));
    }
    return { kind: 'checked', run, outcome, executed: 0, open: [] };
  }
  const refusal = whyNot(run, looked, checks);
  if (refusal !== null) return { kind: 'refused', run, outcome, refusal };

  await endLeftovers(criteriaFolder(world.stateFolder, runId));
  const before = await seenBefore(run, looked);
  await runAll(checks, run, before, world, options);
  world.signal.throwIfAborted();
  return locked(runId, world, Math.max(options.lockTimeoutMs, RECORD_WAIT_MS), () =>
    conclude(runId, checks.length, world, options),
  );
}

/** The same command in the same place is run once, however often it is declared. */
function distinct(checks: readonly DeclaredCriterion[]): readonly DeclaredCriterion[] {
  return checks.filter((check, index) => checks.findIndex((other) => other.key === check.key) === index);
}

function whyNot(run: RecordedRun, looked: Looked, checks: readonly DeclaredCriterion[]): Refusal | null {
  if (run.state === 'closed' || run.state === 'closing') {
    const ended = run.state === 'closed' ? `closed (${run.outcome ?? 'ended'})` : 'being closed';
    return {
      code: `run_${run.state}`,
      message: `run ${run.id} is ${ended}: nothing is left to check`,
      wayOut: `metawsm status ${run.selector} shows what was recorded`,
    };
  }
  const gone = [...new Set(checks.flatMap(({ boundTo }) => boundTo))].filter(
    (repo) => looked.observed.repos[repo]?.worktree.state !== 'ready',
  );
  if (gone.length === 0 && looked.observed.workspace.exists) return null;
  const what = gone.length === 0 ? run.workspace : gone.map((repo) => `the worktree of ${repo}`).join(', ');
  return {
    code: 'worktree_missing',
    message: `${what} is not there: the criteria have nowhere to run`,
    wayOut: `metawsm resume ${run.selector} makes it again`,
  };
}

/** What the worktrees are before the first command starts: what it leaves for a moment is not held against others. */
type Before = ReadonlyMap<string, { readonly head: string; readonly dirty: boolean }>;

async function seenBefore(run: RecordedRun, { observed }: Looked): Promise<Before> {
  const seen = run.repos.map(async (repo) => {
    const worktree = observed.repos[repo.name]?.worktree;
    if (worktree === undefined || worktree.head === null) return [];
    const { head, state } = worktree;
    // What git was told to overlook is in nobody's commit, but the command sees it.
    const hidden = state === 'ready' ? await hiddenChanges(repo.path, lookOptions(repo)) : [];
    const dirty = (worktree.dirtyFiles ?? []).length + hidden.length > 0;
    return [[repo.name, { head, dirty }] as const];
  });
  return new Map((await Promise.all(seen)).flat());
}

async function runAll(
  checks: readonly DeclaredCriterion[],
  run: RecordedRun,
  before: Before,
  world: World,
  options: VerifyOptions,
): Promise<void> {
  const broken: unknown[] = [];
  const several = run.intent.repos.length > 1;
  const secrets = secretsOf(world.env, run);
  const tasks = checks.map((check): ListrTask<object, ListrRendererFactory> => {
    const where = several ? ` in ${check.repo ?? 'the workspace'}` : '';
    return {
      title: `${check.id} ${shortened(check.text, NAME_LENGTH)}${where}`,
      skip: () => world.signal.aborted && 'not started: interrupted',
      task: async (_context, task) => {
        let end: CriterionEnd;
        try {
          end = await checkOne(check, run, before, world, options, (line) => {
            task.output = oneLine(masked(line, secrets));
          });
        } catch (error) {
          broken.push(error);
          throw error instanceof Error ? error : new Error(String(error));
        }
        if (end.detail !== null) throw new Error(end.detail);
      },
    };
  });
  const tree = new Listr<object, ListrRendererFactory>(tasks, {
    concurrent: options.concurrency ?? Math.max(2, availableParallelism()),
    exitOnError: false,
    registerSignalListeners: false,
    renderer: options.rendering.renderer,
    rendererOptions: options.rendering.rendererOptions,
  } as never);
  await tree.run();
  world.signal.throwIfAborted();
  if (broken.length > 0) throw broken[0];
}

/** Run one criterion and record it. */
async function checkOne(
  check: DeclaredCriterion,
  run: RecordedRun,
  before: Before,
  world: World,
  options: VerifyOptions,
  output: (line: string) => void,
): Promise<CriterionEnd> {
  const { criterion, repo, boundTo } = check;
  if (criterion.kind !== 'command') throw new Error(`${check.id} is no command`);
  const cwd = repo === null ? run.workspace : (run.repos.find((r) => r.name === repo)?.path ?? run.workspace);
  const log = join(criteriaFolder(world.stateFolder, run.id), logName(check.id, world.now()));
  const end = await runCriterion({
    command: criterion.run,
    cwd,
    timeoutMs: criterion.timeoutMs,
    log,
    env: criterionEnv(world, run, cwd),
    signal: world.signal,
    output,
  });
  const heads = Object.fromEntries(boundTo.map((name) => [name, before.get(name)?.head ?? '']));
  const moved = (await Promise.all(boundTo.map((name) => hasMoved(run, name, heads)))).some(Boolean);
  const evidence: RecordedEvidence = {
    criterionId: check.key,
    label: check.id,
    kind: 'command',
    command: criterion.run,
    repo,
    heads,
    // What ran on two commits is about neither.
    dirty: moved || boundTo.some((name) => before.get(name)?.dirty === true),
    exitCode: end.exitCode,
    durationMs: end.durationMs,
    checkedAt: world.now(),
    log,
    state: end.passed ? 'passed' : 'failed',
    detail: end.detail,
    source: null,
  };
  await locked(run.id, world, Math.max(options.lockTimeoutMs, RECORD_WAIT_MS), () =>
    world.store.addEvidence(run.id, evidence),
  );
  const state = !end.passed ? 'failed' : evidence.dirty ? 'void' : 'passed';
  const { id } = check;
  world.reporter.emit({
    type: 'criterion',
    runId: run.id,
    id,
    kind: 'command',
    state,
    detail: end.detail,
  });
  return end;
}

async function hasMoved(
  run: RecordedRun,
  name: string,
  heads: Readonly<Record<string, string>>,
): Promise<boolean> {
  const repo = run.repos.find((r) => r.name === name);
  if (repo === undefined) return true;
  const status = await worktreeStatus(repo.path, lookOptions(repo)).catch(() => null);
  return status === null || status.head !== heads[name];
}

/** The caller's environment and where things are; nothing of the agent's own. */
function criterionEnv(world: World, run: RecordedRun, cwd: string): NodeJS.ProcessEnv {
  return {
    ...world.env,
    METAWSM_RUN_ID: run.id,
    METAWSM_TICKET: run.ticketId,
    METAWSM_WORKSPACE: run.workspace,
    METAWSM_MANIFEST_DIR: manifestFolder(run),
    PWD: cwd,
  };
}

/** One file for each check, also for those of two that check at once. */
function logName(id: string, at: number): string {
  const stamp = new Date(at).toISOString().replace(/[-:.]/g, '');
  return `${id}-${stamp}-${randomBytes(3).toString('hex')}.log`;
}

/** After the last command, under the run's lock: what it all means now. */
async function conclude(
  runId: string,
  executed: number,
  world: World,
  options: VerifyOptions,
): Promise<Verified> {
  const { store, reporter } = world;
  const looked = await look(runId, world);
  options.warner.tell(runId, looked.outcome.warnings);
  let run = await recordLook(store, reporter, looked);
  const { outcome } = looked;
  const open = outcome.criteria.filter(({ kind, state }) => kind === 'command' && state !== 'passed');
  if (open.length === 0) {
    await store.saveFixAttempts(runId, 0);
    // What it was paused for is mended.
    if (run.state === 'paused' && run.reason === 'fix_attempts') {
      await store.transitionRun(runId, 'completed');
      reporter.emit({ type: 'run', runId, state: 'completed', reason: null });
    }
    run = await store.loadRun(runId);
  }
  await tell(run, looked, options);
  return {
    kind: 'checked',
    run,
    outcome,
    executed,
    open: await Promise.all(open.map((criterion) => inWords(criterion, run, world))),
  };
}

/** Write what holds into the workspace, for those who read files. */
async function tell(run: RecordedRun, { observed, outcome }: Looked, options: VerifyOptions): Promise<void> {
  if (run.state === 'closed' || !observed.workspace.exists) return;
  const warning = await writeValidation(run, observed, outcome.criteria);
  if (warning !== null) options.warner.tell(run.id, [warning]);
}

async function inWords(criterion: CriterionState, run: RecordedRun, world: World): Promise<OpenCriterion> {
  const what = `${criterion.id} (${shortened(criterion.text, NAME_LENGTH)})`;
  const secrets = secretsOf(world.env, run);
  if (criterion.state === 'failed') {
    const lines = criterion.log === null ? [] : await maskedTail(criterion.log, TAIL, secrets);
    return {
      criterion,
      sentence: `${what} ${criterion.detail ?? 'failed'}`,
      logTail: lines.map((line) => masked(safeText(line), secrets)),
    };
  }
  const passed = criterion.exitCode === 0 ? ' passed, which does not count' : ' was not checked';
  const why = criterion.voidReason === null ? '' : `: ${criterion.voidReason}`;
  return { criterion, sentence: `${what}${passed}${why}`, logTail: [] };
}

function look(runId: string, world: World): Promise<Looked> {
  const { store, stateFolder, env, now } = world;
  return store.loadRun(runId).then((recorded) => lookAt(recorded, { stateFolder, env, now }));
}

async function locked<T>(runId: string, world: World, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const lock = await world.store.acquireLock(`run:${runId}`, { timeoutMs, signal: world.signal });
  try {
    return await work();
  } finally {
    await lock.release();
  }
}
