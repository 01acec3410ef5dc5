/** The documents that `--json` prints, as far as tests read them. Written from the contract, not from the source. */

export interface RunFields {
  readonly id: string;
  readonly ticket: string;
  readonly title: string;
  readonly state: string;
  readonly reason: string | null;
  readonly outcome: string | null;
  readonly manifest: string;
  readonly workspace: string;
  readonly session: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly resume_at_step: string | null;
}

export interface StatusStep {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly attempts: number;
  readonly error: string | null;
}

export interface StatusAgent {
  readonly name: string;
  readonly state: string;
  readonly health: string;
  readonly pid: number | null;
  readonly session_name: string | null;
  readonly attempt: number;
  readonly restarts_left: number;
  readonly exit_code: number | null;
  readonly signal: string | null;
  readonly sentinel_dir: string;
  readonly log: string | null;
  readonly summary: string | null;
}

export interface StatusGuidance {
  readonly id: string;
  readonly request_id: string | null;
  readonly agent: string;
  readonly question: string;
  readonly context: unknown;
  readonly asked_at: string;
}

export interface StatusRepo {
  readonly name: string;
  readonly path: string;
  readonly source: string;
  readonly branch: string;
  readonly base_branch: string;
  readonly base_commit: string;
  readonly head: string | null;
  readonly ahead: number | null;
  readonly behind: number | null;
  readonly clean: boolean | null;
  readonly dirty_files: readonly string[];
  readonly delivered: boolean;
  readonly pull_request: string | null;
}

export interface StatusCriterion {
  readonly id: string;
  readonly kind: string;
  readonly text: string;
  readonly repo: string | null;
  readonly state: string;
  readonly void_reason: string | null;
  readonly commit: string | null;
  readonly exit_code: number | null;
  readonly duration_ms: number | null;
  readonly checked_at: string | null;
  readonly log: string | null;
}

export interface Warning {
  readonly code: string;
  readonly message: string;
  readonly file: string | null;
}

export interface Status {
  readonly kind: 'status';
  readonly recorded: boolean;
  readonly run: RunFields;
  readonly steps: readonly StatusStep[];
  readonly agents: readonly StatusAgent[];
  readonly guidance: readonly StatusGuidance[];
  readonly criteria: readonly StatusCriterion[];
  readonly repos: readonly StatusRepo[];
  readonly gates: readonly { readonly name: string; readonly ok: boolean; readonly reason: string | null }[];
  readonly warnings: readonly Warning[];
  readonly next: Next | null;
}

export interface Next {
  readonly argv: readonly string[];
  readonly text: string;
  readonly why: string;
}

export interface Runs {
  readonly kind: 'runs';
  readonly runs: readonly (RunFields & {
    readonly agents_alive: number;
    readonly guidance_pending: number;
  })[];
}

export interface PlanStep {
  readonly id: string;
  readonly kind: string;
  readonly action: string;
  readonly repo: string | null;
  readonly agent: string | null;
  readonly needs_yes: boolean;
  readonly commands: readonly {
    readonly argv: readonly string[] | null;
    readonly shell: string | null;
    readonly cwd: string;
    readonly env_names: readonly string[];
  }[];
}

export interface Plan {
  readonly kind: 'plan';
  readonly run_id: string | null;
  readonly run_state: string | null;
  readonly resume_at_step: string | null;
  readonly has_changes: boolean;
  readonly steps: readonly PlanStep[];
  readonly changes: readonly {
    readonly source: string;
    readonly path: string;
    readonly effect: string;
    readonly step_ids: readonly string[];
  }[];
  readonly refused: readonly { readonly code: string; readonly message: string; readonly way_out: string }[];
  readonly warnings: readonly Warning[];
}

/** One line of a stream. */
export interface EventLine {
  readonly type: string;
  readonly at: string;
  readonly run_id?: string | null;
  readonly [field: string]: unknown;
}

export interface Summary extends EventLine {
  readonly type: 'summary';
  readonly exit_code: number;
  readonly duration_ms: number;
  readonly runs: readonly {
    readonly run_id: string | null;
    readonly ticket: string;
    readonly state: string | null;
    readonly reason: string | null;
    readonly exit_code: number;
    readonly changed: boolean;
    readonly steps_done: number;
    readonly steps_failed: number;
    readonly guidance_pending: number;
    readonly workspace: string | null;
    readonly next: Next | null;
    readonly error: {
      readonly code: string;
      readonly step_id: string | null;
      readonly message: string;
      readonly log_tail: readonly string[] | string | null;
    } | null;
  }[];
}

export interface Validation {
  readonly kind: 'validate';
  readonly valid: boolean;
  readonly files: readonly {
    readonly file: string;
    readonly valid: boolean;
    readonly problems: readonly {
      readonly line: number;
      readonly column: number;
      readonly path: string | null;
      readonly message: string;
      readonly suggestion: string | null;
    }[];
  }[];
}
