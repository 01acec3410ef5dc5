/** Whose a sentinel file is, and whether it may speak for the attempt that runs now. Pure. */
import type { FoundSentinel, SentinelKind, SentinelValue, Warning } from '../plan/observed.js';
import type { RecordedAgent, RecordedRun } from '../plan/recorded.js';

/** A sentinel that is valid in form and belongs to an agent of the run. */
export interface OwnSentinel {
  readonly kind: SentinelKind;
  readonly file: string;
  readonly value: SentinelValue;
  readonly digest: string;
  readonly mtime: number;
}

export interface Assigned {
  /** Per agent and kind the one file that counts: the agent's own folder before other places. */
  readonly byAgent: ReadonlyMap<string, ReadonlyMap<SentinelKind, OwnSentinel>>;
  /** Everything that was said about the criteria, whoever said it: each word is bound to its commits. */
  readonly validations: readonly { readonly by: string | null; readonly found: OwnSentinel }[];
  readonly warnings: readonly Warning[];
}

/**
 * Give every found sentinel to its agent. A file that cannot be read, belongs to nobody, or speaks for another
 * run or attempt becomes a warning that names it; it counts for nothing and stays where it is.
 */
export function assignSentinels(run: RecordedRun, found: readonly FoundSentinel[]): Assigned {
  const agents = run.agents.filter((agent) => !agent.removed);
  const byAgent = new Map<string, Map<SentinelKind, OwnSentinel>>(agents.map((a) => [a.name, new Map()]));
  const validations: { by: string | null; found: OwnSentinel }[] = [];
  const warnings: Warning[] = [];
  const ownFolderFirst = found
    .map((sentinel) => inPlace(run, agents, sentinel))
    .sort((a, b) => rank(a) - rank(b));

  for (const sentinel of ownFolderFirst) {
    if (sentinel.content.kind === 'problem') {
      warnings.push(
        warn('sentinel_problem', `${sentinel.file} ${sentinel.content.reason}; it is ignored`, sentinel),
      );
      continue;
    }
    const { value, digest, mtime } = sentinel.content;
    // The workspace's own says what holds for the run: `verify` writes it, and whoever works without agents.
    if (isOfTheRun(sentinel, value, agents)) {
      if (value.run_id != null && value.run_id !== run.id) {
        const reason = `is of another run (${shown(value.run_id)})`;
        warnings.push(warn('sentinel_foreign', `${sentinel.file} ${reason}; it is ignored`, sentinel));
      } else {
        validations.push({
          by: null,
          found: { kind: sentinel.kind, file: sentinel.file, value, digest, mtime },
        });
      }
      continue;
    }
    const owner = ownerOf(run, agents, sentinel, value);
    if (typeof owner === 'string') {
      warnings.push(warn('sentinel_foreign', `${sentinel.file} ${owner}; it is ignored`, sentinel));
      continue;
    }
    const foreign = foreignReason(run, owner, sentinel, value, digest);
    if (foreign !== null) {
      warnings.push(warn('sentinel_foreign', `${sentinel.file} ${foreign}; it is ignored`, sentinel));
      continue;
    }
    const mine = byAgent.get(owner.name);
    if (mine === undefined) continue;
    if (sentinel.kind === 'validation-result') {
      const found = { kind: sentinel.kind, file: sentinel.file, value, digest, mtime };
      validations.push({ by: owner.name, found });
    }
    if (mine.has(sentinel.kind)) {
      if (sentinel.kind === 'validation-result' || isSameAnswer(mine.get(sentinel.kind), value)) continue;
      warnings.push(
        warn(
          'sentinel_duplicate',
          `${sentinel.file} is a second one beside ${mine.get(sentinel.kind)?.file}; it is ignored`,
          sentinel,
        ),
      );
      continue;
    }
    mine.set(sentinel.kind, { kind: sentinel.kind, file: sentinel.file, value, digest, mtime });
  }
  return { byAgent, validations, warnings };
}

/** Every completion that speaks for an agent, wherever it lies: with the one that counts gone, the next would count. */
export function completionsOf(
  run: RecordedRun,
  agent: string,
  found: readonly FoundSentinel[],
): readonly OwnSentinel[] {
  const completions: OwnSentinel[] = [];
  for (let left = found; ; ) {
    const next = assignSentinels(run, left).byAgent.get(agent)?.get('implementation-complete');
    if (next === undefined) return completions;
    completions.push(next);
    left = left.filter(({ file }) => file !== next.file);
  }
}

function isOfTheRun(
  sentinel: FoundSentinel,
  value: SentinelValue,
  agents: readonly RecordedAgent[],
): boolean {
  return (
    sentinel.kind === 'validation-result' &&
    sentinel.place.kind === 'workspace' &&
    (value.agent ?? null) === null &&
    agents.length !== 1
  );
}

/** The folder of one agent that is also the workspace's: a file there that names another agent is the workspace's. */
function inPlace(run: RecordedRun, agents: readonly RecordedAgent[], sentinel: FoundSentinel): FoundSentinel {
  const { place, content } = sentinel;
  if (place.kind !== 'agent' || content.kind === 'problem') return sentinel;
  const named = content.value.agent ?? null;
  const owner = agents.find((agent) => agent.name === place.agent);
  const shared = owner?.sentinelDir === `${run.workspace}/.metawsm`;
  return shared && named !== null && named !== place.agent
    ? { ...sentinel, place: { kind: 'workspace' } }
    : sentinel;
}

function rank(sentinel: FoundSentinel): number {
  return sentinel.place.kind === 'agent' ? 0 : sentinel.place.kind === 'workspace' ? 1 : 2;
}

function warn(code: string, message: string, sentinel: FoundSentinel): Warning {
  return { code, message, file: sentinel.file };
}

/** The agent a file belongs to, or why it belongs to none. */
function ownerOf(
  run: RecordedRun,
  agents: readonly RecordedAgent[],
  sentinel: FoundSentinel,
  value: SentinelValue,
): RecordedAgent | string {
  const named = value.agent ?? null;
  if (sentinel.place.kind === 'agent') {
    const folderOf = sentinel.place.agent;
    const owner = agents.find((agent) => agent.name === folderOf);
    if (owner === undefined) return `lies in the folder of ${folderOf}, which is no agent of this run`;
    if (named !== null && named !== folderOf)
      return `names the agent "${shown(named)}" in the folder of ${folderOf}`;
    return owner;
  }
  if (named !== null) {
    return (
      agents.find((agent) => agent.name === named) ??
      `names the agent "${shown(named)}", which this run does not have`
    );
  }
  if (agents.length === 1 && agents[0] !== undefined) return agents[0];
  const { place } = sentinel;
  const cwd =
    place.kind === 'workspace' ? run.workspace : run.repos.find((repo) => repo.name === place.repo)?.path;
  const there = agents.filter((agent) => agent.cwd === cwd);
  if (there.length === 1 && there[0] !== undefined) return there[0];
  return 'has no "agent" field, and it could belong to several agents';
}

/** An answer lies in two places where its question came from another folder than the agent's own. */
function isSameAnswer(one: OwnSentinel | undefined, other: SentinelValue): boolean {
  return one?.value.guidance_id !== undefined && one.value.guidance_id === other.guidance_id;
}

/** Why a file speaks for another run or attempt; null: it speaks for this one. */
function foreignReason(
  run: RecordedRun,
  agent: RecordedAgent,
  sentinel: FoundSentinel,
  value: SentinelValue,
  digest: string,
): string | null {
  if (value.run_id != null && value.run_id !== run.id) return `is of another run (${shown(value.run_id)})`;
  // Answers are metawsm's own and outlive the attempt that asked; verdicts of validation bind to commits instead.
  if (sentinel.kind === 'guidance-response' || sentinel.kind === 'validation-result') return null;
  if (agent.attempt === 0) return 'was there before its agent was started';
  if (value.attempt != null && Number(value.attempt) !== agent.attempt) {
    // A question stays open over a restart of its agent.
    const known =
      sentinel.kind === 'guidance-request' &&
      run.guidance.some((g) => g.agent === agent.name && g.digest === digest && isOpenGuidance(g.state));
    if (!known) return `is of another attempt (${value.attempt}, now ${agent.attempt})`;
  }
  return null;
}

function isOpenGuidance(state: string): boolean {
  return state === 'pending' || state === 'answered';
}

/** A name out of a file, as one short line of a warning: a line break in it would pass for a line of metawsm's. */
function shown(name: string): string {
  const line = name.replace(/\s+/g, ' ').trim();
  return line.length > 80 ? `${line.slice(0, 79)}…` : line;
}
