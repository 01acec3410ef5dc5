/** A plan in a file: what was looked at and agreed to, to be executed exactly so, or not at all. */
import { canonical } from '../plan/diff.js';
import type { Identity } from '../plan/draft.js';
import type { Plan } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { Refusal } from '../plan/steps.js';
import { MAX_DOCUMENT_BYTES, readRegular, sha256 } from '../tools/files.js';

/** The file, JSON. The seals say what the plan was made from; the rest is for readers. */
export interface SavedPlan {
  readonly format_version: 1;
  readonly kind: 'saved_plan';
  readonly metawsm: string;
  /** RFC 3339, UTC. */
  readonly created_at: string;
  /** Absolute. */
  readonly manifest: string;
  /** The state folder that it was made from, absolute. */
  readonly state: string;
  readonly offline: boolean;
  /** Names that a new run will have. */
  readonly identity: Identity;
  readonly seals: Seals;
  /** The `plan` document. */
  readonly plan: Readonly<Record<string, unknown>>;
}

/** Digests of everything a plan follows from. */
export interface Seals {
  /** The manifest's bytes. */
  readonly manifest: string;
  /** What was recorded of the run: its state, steps and attempts. */
  readonly record: string;
  /** What the plan would do, and so everything in the world that decided it. */
  readonly world: string;
}

/** The digests of a plan made from `recorded` (null: a new run) and from a manifest with these bytes. */
export async function sealsOf(plan: Plan, recorded: RecordedRun | null): Promise<Seals> {
  return {
    manifest: await manifestSeal(plan.manifest),
    record: sha256(canonical(recorded === null ? null : recordedFacts(recorded))),
    world: sha256(canonical(planFacts(plan))),
  };
}

/** The digest of a manifest's bytes, or a word for why there are none. */
export async function manifestSeal(file: string): Promise<string> {
  const read = await readRegular(file, MAX_DOCUMENT_BYTES);
  return read.kind === 'file' ? sha256(read.bytes) : read.kind;
}

function recordedFacts(run: RecordedRun): unknown {
  return {
    id: run.id,
    // Whether agents work or ask shows in the plan where it matters; looking at them must not spoil it.
    state: run.state === 'running' || run.state === 'awaiting_guidance' ? 'open' : run.state,
    intent: run.intent,
    steps: run.steps.map((step) => [step.id, step.inputHash, step.state, step.attempts]),
    agents: run.agents.map((agent) => [agent.name, agent.attempt, agent.stoppedAttempt, agent.startsUsed]),
  };
}

function planFacts(plan: Plan): unknown {
  return {
    run: plan.run.id,
    workspace: plan.run.workspace,
    steps: plan.steps.map(({ id, action, inputHash, step }) => [
      id,
      action,
      inputHash,
      step.kind === 'worktree.create' ? [step.base, step.existing] : null,
      step.kind === 'agent.start' ? [step.budget, step.freeFor, step.replace] : null,
    ]),
    changes: plan.changes.map(({ source, path, effect }) => [source, path, effect]),
    refused: plan.refused.map((refusal) => refusal.code),
    problems: plan.problems.map((problem) => problem.code),
  };
}

/** Why a saved plan may not be executed now; null: everything is as it was. */
export function staleReason(saved: Seals, now: Seals): Refusal | null {
  const moved = (['manifest', 'record', 'world'] as const).filter((seal) => saved[seal] !== now[seal]);
  const [first] = moved;
  if (first === undefined) return null;
  const what = {
    manifest: 'the manifest was edited',
    record: 'the recorded run went on',
    world: 'what is there (repos, worktrees, tickets, agents) moved',
  };
  return {
    code: 'plan_stale',
    message: `this plan is out of date: ${moved.map((seal) => what[seal]).join('; ')}`,
    wayOut: 'make a new one with metawsm plan --out, look at it, and apply that',
  };
}

/** The saved plan in a file; null: the file is none (a manifest, a folder, nothing). */
export async function readSavedPlan(file: string): Promise<SavedPlan | null> {
  const read = await readRegular(file, 8 * MAX_DOCUMENT_BYTES);
  if (read.kind !== 'file' || !read.bytes.subarray(0, 64).toString('utf8').trimStart().startsWith('{'))
    return null;
  try {
    const value: unknown = JSON.parse(read.bytes.toString('utf8'));
    return isSavedPlan(value) ? value : null;
  } catch {
    return null;
  }
}

function isSavedPlan(value: unknown): value is SavedPlan {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, format_version, manifest, state, identity, seals } = value as Partial<SavedPlan>;
  return (
    kind === 'saved_plan' &&
    format_version === 1 &&
    typeof manifest === 'string' &&
    typeof state === 'string' &&
    typeof identity === 'object' &&
    typeof identity?.runId === 'string' &&
    /^run-\d{8}-\d{6}-[a-z0-9]{4}$/.test(identity.runId) &&
    /^[a-z0-9]{8}$/.test(identity.token) &&
    /^\d{4}-\d{2}-\d{2}$/.test(identity.date) &&
    typeof seals?.manifest === 'string'
  );
}
