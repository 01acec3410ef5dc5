/** Reading declared intent that an older metawsm stored. */
import type { Intent } from '../manifest/intent.js';

type Json = Readonly<Record<string, unknown>>;

/**
 * A stored intent in today's layout: fields that were added since get the default that an older manifest
 * meant without saying it. Throws when it is not one, or one of a newer layout.
 */
export function upgradeIntent(stored: unknown): Intent {
  const intent = object(stored, 'the stored intent');
  if (intent.intentVersion !== 1) {
    throw new Error(
      `the stored intent has layout ${String(intent.intentVersion)}, which this metawsm does not know`,
    );
  }
  const ticket = object(intent.ticket, 'its ticket');
  const policy = optional(intent.policy);
  return {
    session: 'auto',
    ...intent,
    ticket: { title: ticket.id, topics: [], ...ticket },
    repos: list(intent.repos).map((repo) => ({ copy: [], link: [], setup: [], ...repo })),
    workspace: { branch: 'task/{workspace}', ...optional(intent.workspace) },
    intake: { answers: [], mergeIntent: 'default', ...optional(intent.intake) },
    criteria: list(intent.criteria).map((criterion) =>
      criterion.kind === 'command' ? { repo: null, timeoutMs: 600_000, ...criterion } : criterion,
    ),
    agents: list(intent.agents).map((agent) => ({ env: {}, cwd: null, completeOn: 'signal', ...agent })),
    tickets: { driver: 'files', root: null, ...optional(intent.tickets) },
    policy: {
      stepRetries: 1,
      startGraceMs: 2000,
      restartBudget: 3,
      fixAttempts: 0,
      ...policy,
      health: {
        idleMs: 300_000,
        activityStalledMs: 900_000,
        progressStalledMs: 1_200_000,
        ...optional(policy.health),
      },
    },
  } as unknown as Intent;
}

function object(value: unknown, what: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${what} is no object`);
  return value as Json;
}

function optional(value: unknown): Json {
  return value === undefined ? {} : object(value, 'a section of the stored intent');
}

function list(value: unknown): readonly Json[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Error('a list of the stored intent is none');
  return value.map((item) => object(item, 'an entry of the stored intent'));
}
