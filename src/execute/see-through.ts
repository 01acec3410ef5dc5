/**
 * `apply --wait`: wait for the agents, check what they claim, and hand a failed criterion back to them as often as
 * the policy allows.
 */
import type { RecordedRun } from '../plan/recorded.js';
import { convergeRun } from './converge.js';
import { type OpenCriterion, type Verified, verifyRun } from './verify.js';
import { type Waited, type WaitOptions, waitUntilSettled } from './wait.js';
import type { World } from './world.js';

/** How the wait ended, and what the check of the criteria after it found. */
export interface SeenThrough {
  readonly waited: Waited;
  /** What the last check of a completed run found; null: it did not come to that. */
  readonly verified: Verified | null;
  /** Whether any criterion was checked. */
  readonly checked: boolean;
}

/** See a run through to the point where an operator is needed, or all its command criteria pass. */
export async function seeThrough(runId: string, world: World, options: WaitOptions): Promise<SeenThrough> {
  const { timeoutMs } = options;
  const end = timeoutMs === null ? null : performance.now() + timeoutMs;
  let checked = false;
  for (;;) {
    const left = end === null ? null : Math.max(0, end - performance.now());
    const waited = await waitUntilSettled(runId, world, { ...options, timeoutMs: left });
    if (waited.kind !== 'settled' || waited.run.state !== 'completed')
      return { waited, verified: null, checked };

    const verified = await verifyRun(runId, world, { ...options, which: 'missing' });
    checked ||= verified.kind === 'checked' && verified.executed > 0;
    const { run } = verified;
    if (verified.kind === 'refused' || verified.open.length === 0) return { waited, verified, checked };
    // Meanwhile somebody gave it something else to do.
    if (run.state !== 'completed') continue;

    const { fixAttempts: limit } = run.intent.policy;
    if (limit === 0 || run.agents.every((agent) => agent.removed)) return { waited, verified, checked };
    if (run.fixAttempts >= limit) {
      const paused = await pause(run, verified.open, world, options.lockTimeoutMs);
      // What the look made of the run is no longer so.
      const outcome = { ...verified.outcome, run: null };
      return { waited, verified: { ...verified, run: paused, outcome }, checked };
    }
    const result = await handBack(run, verified.open, world, options);
    if (result.kind !== 'done') return { waited: { kind: 'converged', result }, verified: null, checked };
  }
}

/** The agents had all their attempts: an operator has to look. */
async function pause(
  run: RecordedRun,
  open: readonly OpenCriterion[],
  world: World,
  timeoutMs: number,
): Promise<RecordedRun> {
  const { store, reporter, signal } = world;
  const lock = await store.acquireLock(`run:${run.id}`, { timeoutMs, signal });
  try {
    const { state, fixAttempts } = await store.loadRun(run.id);
    if (state !== 'completed') return await store.loadRun(run.id);
    const detail = `its fix attempts are used up (${fixAttempts}): ${open.map((one) => one.sentence).join('; ')}`;
    if (await store.transitionRun(run.id, 'paused', { reason: 'fix_attempts', detail })) {
      reporter.emit({ type: 'run', runId: run.id, state: 'paused', reason: 'fix_attempts' });
    }
    return await store.loadRun(run.id);
  } finally {
    await lock.release();
  }
}

function handBack(run: RecordedRun, open: readonly OpenCriterion[], world: World, options: WaitOptions) {
  const { fixAttempts: limit } = run.intent.policy;
  const number = run.fixAttempts + 1;
  const text = `fix attempt ${number} of ${limit}: ${open.map((one) => one.sentence).join('; ')}`;
  world.reporter.emit({ type: 'note', runId: run.id, text });
  return convergeRun(
    run.id,
    {
      kind: 'iterate',
      agents: agentsFor(run, open),
      feedback: feedbackText(run, open, `Fix attempt ${number} of ${limit}`),
      fixAttempt: number,
    },
    world,
    { ...options, confirm: async () => true },
  );
}

/** Those who work where the criteria failed; null: all of them. */
function agentsFor(run: RecordedRun, open: readonly OpenCriterion[]): readonly string[] | null {
  const agents = run.agents.filter((agent) => !agent.removed);
  const named = new Set<string>();
  for (const { criterion } of open) {
    const path = run.repos.find((repo) => repo.name === criterion.repo)?.path;
    const there = agents.filter((agent) => path !== undefined && agent.cwd === path);
    if (there.length === 0) return null;
    for (const agent of there) named.add(agent.name);
  }
  return [...named];
}

/** What an agent is told of the criteria that failed. */
function feedbackText(run: RecordedRun, open: readonly OpenCriterion[], heading: string): string {
  const several = run.intent.repos.length > 1;
  const parts = open.map(({ criterion, sentence, logTail }) => {
    const where = several ? ` (in ${criterion.repo ?? 'the workspace'})` : '';
    const at = criterion.commit === null ? '' : ` at commit ${criterion.commit.slice(0, 12)}`;
    const code = criterion.exitCode === null ? '' : ` Exit code: ${criterion.exitCode}.`;
    const first = `${sentence}${where}${at}.${code}`;
    if (logTail.length === 0) return first;
    const fence = fenceFor(logTail);
    return `${first} The last lines of its output:\n\n${fence}text\n${logTail.join('\n')}\n${fence}`;
  });
  const what = open.length === 1 ? 'this done criterion does' : 'these done criteria do';
  return [
    `${heading}: you reported completion, but ${what} not hold.`,
    ...parts,
    'Mend it, commit everything, and report completion again.',
  ].join('\n\n');
}

/** Longer than any run of backticks in the text: nothing that a program printed ends the block. */
function fenceFor(lines: readonly string[]): string {
  const longest = Math.max(0, ...lines.flatMap((line) => line.match(/`+/g) ?? []).map((run) => run.length));
  return '`'.repeat(Math.max(3, longest + 1));
}
