/** What a look at the world means for the record, as data: `sentinels/reconcile.ts` makes it, plan reads it. */
import type { CriterionState } from './evidence.js';
import type { AgentState, Health, RunReason, RunState } from './lifecycle.js';
import type { Warning } from './observed.js';
import type { RecordedEvidence, RecordedGuidance } from './recorded.js';

/** What is true of one agent, in the order in which it is decided (PRODUCT §6). */
export type AgentVerdict =
  /** Never started, or its last attempt can never run. */
  | 'not_started'
  /** The attempt is recorded and its wrapper has not spoken yet. */
  | 'starting'
  | 'stopped'
  | 'completed'
  | 'failed'
  | 'dead'
  /** A pending question; the agent itself may live or have ended. */
  | 'asking'
  | 'alive'
  /** Ended with exit code 0, and an answer waits for it. */
  | 'answer_unread'
  /** Ended with exit code 0 and said nothing. */
  | 'silent'
  /** The probe could not be made. */
  | 'unknown';

/** What a look means for one agent. */
export interface AgentOutcome {
  readonly name: string;
  readonly verdict: AgentVerdict;
  /** The agent's own process lives (or may live: the probe said unknown). */
  readonly live: boolean;
  /** The guidance whose answer the agent has not read yet. */
  readonly unreadAnswer: RecordedGuidance | null;
  readonly rebooted: boolean;
  readonly endedAt: number | null;
  /** New values for the record; only what this look decides. */
  readonly patch: {
    readonly state: AgentState;
    readonly health: Health;
    readonly healthReason: string | null;
    readonly pid: number | null;
    readonly exitCode: number | null;
    readonly signal: string | null;
    readonly startedAt: number | null;
    readonly endedAt: number | null;
    readonly lastOutputAt: number | null;
    readonly lastProgressAt: number | null;
    readonly progress: string | null;
    readonly summary: string | null;
    readonly completedAt: number | null;
  };
}

/** A question seen for the first time. */
export interface NewGuidance {
  readonly agent: string;
  readonly attempt: number;
  readonly requestId: string | null;
  readonly question: string;
  readonly context: unknown;
  readonly digest: string;
  readonly file: string;
  readonly askedAt: number;
}

/** What a look means for a run. */
export interface Outcome {
  /** The state the run should have now; null: this look does not decide it. */
  readonly run: {
    readonly state: RunState;
    readonly reason: RunReason | null;
    readonly detail: string | null;
  } | null;
  readonly agents: readonly AgentOutcome[];
  readonly newGuidance: readonly NewGuidance[];
  /** Ids of pending guidance whose request is gone or was replaced. */
  readonly withdrawn: readonly string[];
  /** Words about criteria that were not read before. */
  readonly attested: readonly RecordedEvidence[];
  /** How the done criteria stand, these words included, in the manifest's order. */
  readonly criteria: readonly CriterionState[];
  readonly warnings: readonly Warning[];
}
