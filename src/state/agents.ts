/** Agents of a run in the record. */
import { type AgentState, mayTransitionAgent } from '../plan/lifecycle.js';
import type { RecordedAgent } from '../plan/recorded.js';
import type { StateContext } from './context.js';
import { appendEvent, touch } from './journal.js';
import { IllegalTransition } from './problem.js';
import { AGENT, insertRow, nextOrdinal, toCells, updateRow } from './rows.js';

/** An agent's decided names; everything else begins as never started. */
export type NewAgent = Pick<RecordedAgent, 'name' | 'session' | 'sessionName' | 'cwd' | 'sentinelDir'> &
  Partial<RecordedAgent>;

const NEVER_STARTED = {
  state: 'pending',
  health: 'none',
  healthReason: null,
  attempt: 0,
  tmuxSocket: null,
  pid: null,
  pidStart: null,
  bootId: null,
  host: null,
  exitCode: null,
  signal: null,
  startedAt: null,
  endedAt: null,
  lastOutputAt: null,
  lastProgressAt: null,
  progress: null,
  stoppedAttempt: null,
  startsUsed: 0,
  freeStartFor: null,
  summary: null,
  completedAt: null,
  feedback: null,
  removed: false,
} satisfies Partial<RecordedAgent>;

/** Add an agent; one that was removed comes back and goes on counting its attempts. */
export async function addAgent(context: StateContext, runId: string, agent: NewAgent): Promise<void> {
  const { db } = context;
  await db.transaction(async () => {
    const keys = { run_id: runId, name: agent.name };
    const old = await db.get('SELECT removed FROM agents WHERE run_id = ? AND name = ?', [runId, agent.name]);
    if (old?.removed === 1) {
      await updateRow(db, 'agents', keys, toCells<RecordedAgent>(AGENT, { ...agent, removed: false }));
    } else {
      const ordinal = await nextOrdinal(db, 'agents', runId);
      await insertRow(db, 'agents', {
        ...keys,
        ordinal,
        ...toCells<RecordedAgent>(AGENT, { ...NEVER_STARTED, ...agent }),
      });
    }
    await touch(context, runId);
    await appendEvent(context, runId, 'agent', {
      name: agent.name,
      state: agent.state ?? 'pending',
      exitCode: agent.exitCode ?? null,
      sessionName: agent.sessionName,
    });
  });
}

/**
 * Write what differs. Resolves to whether the agent's state changed, which is also an event of the journal.
 * Throws `IllegalTransition`.
 */
export async function updateAgent(
  context: StateContext,
  runId: string,
  name: string,
  patch: Partial<Omit<RecordedAgent, 'name'>>,
): Promise<boolean> {
  const { db } = context;
  return db.transaction(async () => {
    const row = await db.get('SELECT * FROM agents WHERE run_id = ? AND name = ?', [runId, name]);
    if (row === undefined) throw new Error(`run ${runId} has no agent ${name}`);
    const from = row.state as AgentState;
    const to = patch.state ?? from;
    if (!mayTransitionAgent(from, to)) throw new IllegalTransition(`agent ${name} of ${runId}`, from, to);
    const cells = toCells<RecordedAgent>(AGENT, patch);
    if (!(await updateRow(db, 'agents', { run_id: runId, name }, cells))) return false;
    await touch(context, runId);
    const attempt = patch.attempt ?? row.attempt;
    const removed = patch.removed !== undefined && Number(patch.removed) !== row.removed;
    if (from === to && attempt === row.attempt && !removed) return false;
    await appendEvent(context, runId, 'agent', {
      name,
      state: to,
      exitCode: patch.exitCode === undefined ? row.exit_code : patch.exitCode,
      attempt,
      from,
      reason: patch.healthReason === undefined ? row.health_reason : patch.healthReason,
      ...(removed ? { removed: patch.removed } : {}),
    });
    return from !== to;
  });
}
