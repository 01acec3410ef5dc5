/**
 * The durable record of a run as plain data. The store reads and writes it; plan and reconcile only read it.
 * Times are milliseconds since the epoch. Paths are absolute.
 */
import type { Command, Intent, SessionKind } from '../manifest/intent.js';
import type { AgentState, Health, RunOutcome, RunReason, RunState, StepState } from './lifecycle.js';

/** A run with everything that is recorded of it. */
export interface RecordedRun {
  readonly id: string;
  readonly ticketId: string;
  /** What it is called on a command line: its ticket, or its id where the ticket means another run or is no selector. */
  readonly selector: string;
  /** The manifest's path as first applied, absolute. */
  readonly manifestPath: string;
  readonly state: RunState;
  readonly reason: RunReason | null;
  /** A sentence for the operator that belongs to the state, such as the last error. */
  readonly detail: string | null;
  readonly outcome: RunOutcome | null;
  /** As of the last apply that was carried out. */
  readonly intent: Intent;
  readonly workspace: string;
  /** The random part of the workspace's name. */
  readonly token: string;
  readonly session: SessionKind;
  /** Where the ticket folder tree is; null for driver none. */
  readonly ticketRoot: string | null;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly repos: readonly RecordedRepo[];
  readonly agents: readonly RecordedAgent[];
  /** In order of their ordinals. */
  readonly steps: readonly RecordedStep[];
  /** All of them, oldest first. */
  readonly guidance: readonly RecordedGuidance[];
  readonly brief: RecordedBrief | null;
  /** All of it, oldest first. */
  readonly evidence: readonly RecordedEvidence[];
  /** By repo name. */
  readonly deliveries: readonly RecordedDelivery[];
  /** Where a command criterion that names no repo runs, as first decided: `evidence.ts` knows the keys. null: the workspace. */
  readonly criterionRepos: Readonly<Record<string, string | null>>;
  /** How often failed criteria were handed back to the agents since all passed or an operator stepped in. */
  readonly fixAttempts: number;
}

/** How far the delivery of a repo is. */
export interface RecordedDelivery {
  readonly repo: string;
  readonly kind: 'merge' | 'pull_request' | 'none';
  /**
   * `checked`: its HEAD passed the gates; `planned`: its merge is computed; `done`: delivered; `rolled_back`: taken
   * back because another repo's could not be made.
   */
  readonly state: 'checked' | 'planned' | 'done' | 'rolled_back';
  /** The commit that is delivered. */
  readonly head: string;
  /** The ref that moves, or that was pushed. */
  readonly ref: string | null;
  /** Where that ref was, and where it goes. */
  readonly before: string | null;
  readonly after: string | null;
  /** The pull request. */
  readonly url: string | null;
  readonly at: number;
}

/** A repo's decided names: they are never derived again. */
export interface RecordedRepo {
  readonly name: string;
  /** The source clone (a path, the clone of a url, or the registry's path), as resolved. */
  readonly source: string;
  /** The worktree. */
  readonly path: string;
  readonly branch: string;
  readonly baseBranch: string;
  /** The ref that the base commit was read from, such as `refs/remotes/origin/main`; null until the worktree was once whole. */
  readonly baseRef: string | null;
  readonly baseCommit: string | null;
  /** Files and links that metawsm itself put into the worktree: path relative to it → content hash or link target. */
  readonly placed: Readonly<Record<string, string>>;
  /** The repository's own git configuration and hooks when the worktree was made: close compares. Opaque here. */
  readonly configAtCreation: unknown;
  /** The worktree was removed by close, cleanup or a changed manifest. */
  readonly removed: boolean;
}

/** An agent's decided names, and what was last seen of its newest attempt. */
export interface RecordedAgent {
  readonly name: string;
  readonly state: AgentState;
  readonly health: Health;
  readonly healthReason: string | null;
  /** 0: never started. Recorded before the start it numbers. */
  readonly attempt: number;
  readonly session: SessionKind;
  /** Name of the tmux session, or of the detached process's record. */
  readonly sessionName: string;
  /** Socket of the tmux server that holds the session; null before the first start and for process. */
  readonly tmuxSocket: string | null;
  /** Absolute folder where the agent works. */
  readonly cwd: string;
  /** Absolute folder of the agent's sentinels. */
  readonly sentinelDir: string;
  readonly pid: number | null;
  /** Start time of that process as the system gives it: with the pid it names one process for good. */
  readonly pidStart: string | null;
  readonly bootId: string | null;
  readonly host: string | null;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly lastOutputAt: number | null;
  readonly lastProgressAt: number | null;
  /** Fingerprint of what counts as progress when last looked at; a new one is progress. */
  readonly progress: string | null;
  /** The attempt that metawsm itself ended (stop, restart, cleanup); null: none. */
  readonly stoppedAttempt: number | null;
  /** Starts that counted on the restart budget since it was last reset. */
  readonly startsUsed: number;
  /** Id of the newest guidance whose unread answer already bought a start free of budget. */
  readonly freeStartFor: string | null;
  readonly summary: string | null;
  readonly completedAt: number | null;
  /** What the operator, or a failed criterion, has to say to it: delivered before its next start. */
  readonly feedback: Feedback | null;
  /** No longer in the manifest. */
  readonly removed: boolean;
}

/** Words that wait for an agent's next start. */
export interface Feedback {
  /** Stands beside the text where it was delivered, so that it is delivered once. */
  readonly mark: string;
  readonly text: string;
}

/** A row of the plan, written before the step is carried out. */
export interface RecordedStep {
  readonly id: string;
  readonly kind: string;
  readonly ordinal: number;
  readonly inputHash: string;
  readonly state: StepState;
  readonly attempts: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly error: string | null;
  /** Last lines of its output, where a log was kept. */
  readonly log: string | null;
  /** Process that carries the step out, to see after a crash whether it still runs. */
  readonly child: { readonly pid: number; readonly pidStart: string } | null;
}

export type GuidanceState =
  /** Asked, not answered. */
  | 'pending'
  /** The answer is recorded, its delivery not finished. */
  | 'answered'
  /** The response file was written. */
  | 'delivered'
  /** The agent took its question back, or replaced it. */
  | 'withdrawn';

/** A question and, later, its answer. */
export interface RecordedGuidance {
  /** `g1`, `g2`, … counted per run. */
  readonly id: string;
  readonly agent: string;
  readonly attempt: number;
  readonly requestId: string | null;
  readonly question: string;
  /** Any JSON. */
  readonly context: unknown;
  /** Digest of the request file's bytes. */
  readonly digest: string;
  /** Where the request file was found. */
  readonly file: string;
  readonly askedAt: number;
  readonly state: GuidanceState;
  readonly answer: string | null;
  readonly answeredAt: number | null;
}

/** One check of one criterion, or one word about it. Whether it still counts is decided by looking (`evidence.ts`). */
export interface RecordedEvidence {
  /** What makes the criterion itself: a changed criterion has another key, a moved one has not. */
  readonly criterionId: string;
  /** What the criterion was called then: `c1`, `c2`, … */
  readonly label: string;
  readonly kind: 'command' | 'worded';
  /** The command that was run; null: words. */
  readonly command: Command | null;
  /** null: bound to the HEADs of all repos. */
  readonly repo: string | null;
  /** Repo name → commit that it is about. */
  readonly heads: Readonly<Record<string, string>>;
  /** A worktree had changes that are in no commit. */
  readonly dirty: boolean;
  /** null: words, or a command that did not end by itself. */
  readonly exitCode: number | null;
  readonly durationMs: number | null;
  readonly checkedAt: number;
  /** File with the command's output. */
  readonly log: string | null;
  readonly state: 'passed' | 'failed';
  /** How it ended, as a clause: `exited with status 1`, `attested by agent`. */
  readonly detail: string | null;
  /** Which statement of an agent it was read from, so that it counts once; null: a command. */
  readonly source: string | null;
}

/** What was written into the ticket. */
export interface RecordedBrief {
  /** Path of the ticket's reference document; null for driver none. */
  readonly ticketDocument: string | null;
  /** Hash of the document as metawsm last wrote it, to see whether a person edited it. */
  readonly ticketDocumentHash: string | null;
}
