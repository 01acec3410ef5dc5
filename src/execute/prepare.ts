/** From a manifest and what is recorded of it to a plan. Looks at the world, writes nothing. */
import { randomBytes } from 'node:crypto';
import type { Intent } from '../manifest/intent.js';
import { changesOf } from '../plan/diff.js';
import { draftRun, type Identity, knowsSource, type Surroundings, withIntent } from '../plan/draft.js';
import { compile, type Plan, type Request, sameIntent } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import { reconcile } from '../sentinels/reconcile.js';
import { autoSession } from '../sessions/index.js';
import { sha256 } from '../tools/files.js';
import type { Looked } from './look.js';
import { type Look, observe } from './observe.js';
import { commandsMissing, lookAround } from './surroundings.js';

export interface PrepareOptions {
  readonly stateFolder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
  readonly offline: boolean;
  readonly signal?: AbortSignal;
  /** For a run that does not exist yet. */
  readonly identity: Identity;
}

/** The plan, and the look that it was made from. */
export interface Prepared {
  readonly plan: Plan;
  /** null for a new run. */
  readonly looked: Looked | null;
}

/** A short digest, the same everywhere: plan hashes its steps with it. */
export function digest(text: string): string {
  return sha256(text).slice(0, 32);
}

/** Make the plan that would meet `request` for `intent` now. `recorded` null: it would be a new run. */
export async function prepare(
  intent: Intent,
  recorded: RecordedRun | null,
  request: Request,
  options: PrepareOptions,
): Promise<Prepared> {
  const { stateFolder, env } = options;
  // Its worktrees are gone for good: there is nothing to look at, and no base to ask a remote for.
  if (request.kind === 'apply' && recorded !== null && isFinished(recorded, intent)) {
    return { plan: nothingToDo(recorded, intent), looked: null };
  }
  const knowsAll = recorded !== null && intent.repos.every((repo) => knowsSource(recorded, repo));
  const around =
    knowsAll && recorded !== null
      ? { ...keptSurroundings(recorded, env), problems: [] }
      : await lookAround(intent, stateFolder, env);
  const run =
    recorded === null ? draftRun(intent, options.identity, around) : withIntent(recorded, intent, around);

  // What must not be changed is refused before any remote is asked.
  const refusedAlready =
    recorded !== null && changesOf(recorded, intent).some((change) => change.refusal !== null);
  const dropped = run.repos.filter((repo) => repo.removed).map((repo) => repo.name);
  const look: Look = {
    stateFolder,
    env,
    now: options.now,
    ticket: true,
    onlyHere: dropped,
    ...(recorded === null ? {} : { recorded }),
    problems: around.problems,
    ...(refusedAlready ? {} : { bases: { offline: options.offline } }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
  const observed = await observe(run, look);
  const outcome = recorded === null ? null : reconcile(recorded, observed);
  const compiled = compile({ request, run, recorded, observed, outcome, hash: digest });
  const plan = { ...compiled, problems: [...compiled.problems, ...commandsMissing(compiled, env)] };
  return { plan, looked: recorded === null || outcome === null ? null : { recorded, observed, outcome } };
}

function keptSurroundings(run: RecordedRun, env: NodeJS.ProcessEnv): Surroundings {
  return {
    autoSession: autoSession(env),
    ticketRoot: run.ticketRoot,
    sources: Object.fromEntries(run.repos.map((repo) => [repo.name, repo.source])),
  };
}

/** Whether a closed run of the manifest is what the manifest still asks for: then there is nothing to do. */
export function isFinished(run: RecordedRun, intent: Intent): boolean {
  return run.state === 'closed' && run.outcome === 'delivered' && sameIntent(run.intent, intent);
}

function nothingToDo(run: RecordedRun, intent: Intent): Plan {
  return {
    request: 'apply',
    manifest: intent.manifestPath,
    ticket: run.ticketId,
    run,
    isNew: false,
    runState: run.state,
    steps: [],
    changes: [],
    refused: [],
    problems: [],
    warnings: [],
    resumeAt: null,
  };
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** Names for a new run: the moment, and enough randomness that two runs of one second differ. */
export function newIdentity(now: number): Identity {
  const stamp = new Date(now).toISOString();
  const day = stamp.slice(0, 10);
  const time = stamp.slice(11, 19).replaceAll(':', '');
  return {
    runId: `run-${day.replaceAll('-', '')}-${time}-${randomName(4)}`,
    token: randomName(8),
    date: day,
    now,
  };
}

/** Names of a run that a plan shows and that nobody has decided yet. */
export function unknownIdentity(now: number): Identity {
  const date = new Date(now).toISOString().slice(0, 10);
  return { runId: 'run-<decided by apply>', token: '<random>', date, now };
}

/** `length` characters of a-z0-9, evenly drawn. */
function randomName(length: number): string {
  let name = '';
  while (name.length < length) {
    for (const byte of randomBytes(length * 2)) {
      // 252 is the largest multiple of 36 in a byte: above it some letters would come more often.
      if (byte < 252 && name.length < length) name += ALPHABET[byte % 36];
    }
  }
  return name;
}
