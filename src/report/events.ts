/**
 * Everything that happens and that somebody may want to know. Producers emit these and never format;
 * `terminal.ts` and `json.ts` are two views of them, and the journal keeps them.
 */
import type { CriterionState } from '../plan/evidence.js';
import type { AgentState, RunReason, RunState, StepState } from '../plan/lifecycle.js';

export type Event =
  /** First line of every JSON stream. */
  | { readonly type: 'version'; readonly formatVersion: 1; readonly metawsm: string }
  /** A step changed its state. */
  | {
      readonly type: 'step';
      readonly runId: string;
      readonly id: string;
      readonly state: StepState;
      readonly attempt: number;
      readonly durationMs: number | null;
      readonly error: string | null;
    }
  /** A run changed its state. */
  | {
      readonly type: 'run';
      readonly runId: string;
      readonly state: RunState;
      readonly reason: RunReason | null;
    }
  /** An agent changed its state. */
  | {
      readonly type: 'agent';
      readonly runId: string;
      readonly name: string;
      readonly state: AgentState;
      readonly exitCode: number | null;
    }
  /** An agent asked a question, or it was answered. */
  | {
      readonly type: 'guidance';
      readonly runId: string;
      readonly id: string;
      readonly agent: string;
      readonly question: string;
      readonly state: 'pending' | 'answered' | 'delivered' | 'withdrawn';
    }
  /** A criterion was checked, or an agent said something about it. */
  | {
      readonly type: 'criterion';
      readonly runId: string;
      /** `c1`, `c2`, … */
      readonly id: string;
      readonly kind: 'command' | 'worded';
      readonly state: CriterionState['state'];
      /** How it ended, as a clause. */
      readonly detail: string | null;
    }
  /** A gate of close, as it was judged. */
  | {
      readonly type: 'gate';
      readonly runId: string;
      readonly name: string;
      readonly ok: boolean;
      readonly reason: string;
    }
  /** Something that an operator should know and that stops nothing. */
  | {
      readonly type: 'warning';
      readonly runId: string | null;
      readonly code: string;
      readonly message: string;
      readonly file: string | null;
    }
  /** A line about progress for a person, such as `resuming run-… at …`. */
  | { readonly type: 'note'; readonly runId: string | null; readonly text: string }
  /** What made a command fail. */
  | {
      readonly type: 'error';
      readonly runId: string | null;
      readonly code: string;
      readonly message: string;
      readonly hint: string | null;
      readonly stepId: string | null;
      readonly logTail: readonly string[];
    }
  /** Last line of every JSON stream. */
  | {
      readonly type: 'summary';
      readonly exitCode: number;
      readonly durationMs: number;
      readonly runs: readonly RunSummary[];
    };

/** How one run stands at the end of a command. */
export interface RunSummary {
  readonly runId: string | null;
  readonly ticket: string;
  readonly manifest: string;
  readonly state: RunState | null;
  readonly reason: RunReason | null;
  readonly exitCode: number;
  /** Whether anything was executed. */
  readonly changed: boolean;
  readonly stepsDone: number;
  readonly stepsFailed: number;
  readonly guidancePending: number;
  readonly criteriaPassed: number;
  readonly criteriaTotal: number;
  readonly workspace: string | null;
  readonly next: NextCommand | null;
  readonly error: {
    readonly code: string;
    readonly stepId: string | null;
    readonly message: string;
    readonly logTail: readonly string[];
  } | null;
}

/** The one command to type next. */
export interface NextCommand {
  readonly argv: readonly string[];
  readonly text: string;
  readonly why: string;
}

/** Where events go. `at` is stamped by the receiver. */
export interface Reporter {
  emit(event: Event): void;
}
