/**
 * What an operator declared, made explicit: a valid manifest with its defaults filled in, its paths
 * absolute and its durations in milliseconds. `load.ts` makes it; everything after reads only this.
 *
 * It is stored with the run, so it never holds an expanded `env` value.
 */
export interface Intent {
  /** Layout of this document, so that an older record can be filled up on read. */
  readonly intentVersion: 1;
  /** Absolute path of the manifest file. */
  readonly manifestPath: string;
  readonly ticket: TicketIntent;
  /** At least one; names are unique. */
  readonly repos: readonly RepoIntent[];
  readonly workspace: WorkspaceIntent;
  readonly intake: Intake;
  /** At least one. */
  readonly criteria: readonly Criterion[];
  /** May be empty: then the run is a workspace only. */
  readonly agents: readonly AgentIntent[];
  readonly session: SessionChoice;
  readonly tickets: TicketsIntent;
  readonly policy: Policy;
}

export interface TicketIntent {
  readonly id: string;
  /** Defaults to the id. */
  readonly title: string;
  readonly topics: readonly string[];
}

/** A command as declared: a string runs under `bash -c` (`sh` where there is no bash), a list is argv. */
export type Command = string | readonly string[];

export interface RepoIntent {
  readonly name: string;
  readonly source: RepoSource;
  /** The repo's own base branch or the manifest's; `HEAD` is the repo's current commit. */
  readonly baseBranch: string;
  /** Globs of untracked files to copy into the worktree, relative to the repo. */
  readonly copy: readonly string[];
  /** Untracked paths to symlink into the worktree, relative to the repo. */
  readonly link: readonly string[];
  /** Commands run in the fresh worktree, in order. */
  readonly setup: readonly Command[];
}

export type RepoSource =
  /** A local clone, absolute path. */
  | { readonly kind: 'path'; readonly path: string }
  /** Cloned once into the state folder. A local path is absolute; other URLs stand as written. */
  | { readonly kind: 'url'; readonly url: string }
  /** Looked up by the repo's name in wsm's registry.json. */
  | { readonly kind: 'registry' };

export interface WorkspaceIntent {
  /** Absolute. */
  readonly root: string;
  /** Branch template: `{workspace}`, `{ticket}`, `{token}`, `{repo}`. */
  readonly branch: string;
}

export interface Intake {
  readonly goal: string;
  readonly scope: string;
  readonly constraints: string;
  readonly answers: readonly { readonly question: string; readonly answer: string }[];
  readonly mergeIntent: 'default' | 'merge' | 'pull_request' | 'none';
}

export type Criterion =
  /** Words: attested by the agent or by the operator. */
  | { readonly kind: 'worded'; readonly text: string }
  /** A command that metawsm runs itself. `repo` null: the only repo; with several, the workspace. */
  | {
      readonly kind: 'command';
      readonly run: Command;
      readonly repo: string | null;
      readonly timeoutMs: number;
    };

export interface AgentIntent {
  readonly name: string;
  /** After codex's trust flag was inserted where it lacked. */
  readonly command: Command;
  /** As written, `${NAME}` unexpanded: values are expanded only at the agent's start. */
  readonly env: Readonly<Record<string, string>>;
  /** A repo name; null: the only repo's worktree, else the workspace. */
  readonly cwd: string | null;
  readonly completeOn: 'signal' | 'exit';
}

export type SessionChoice = 'auto' | SessionKind;
export type SessionKind = 'tmux' | 'process';

export interface TicketsIntent {
  readonly driver: 'files' | 'docmgr' | 'none';
  /** Absolute; null: found by docmgr's rule, else `<state>/ttmp`. */
  readonly root: string | null;
}

/** Durations are in milliseconds. */
export interface Policy {
  readonly stepRetries: number;
  readonly startGraceMs: number;
  readonly restartBudget: number;
  readonly fixAttempts: number;
  readonly health: {
    readonly idleMs: number;
    readonly activityStalledMs: number;
    readonly progressStalledMs: number;
  };
}
