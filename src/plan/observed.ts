/**
 * The world as it was seen once, in one place (`execute/observe.ts`), as plain data. Plan and reconcile
 * decide from it and never look themselves. Times are milliseconds since the epoch, paths absolute.
 */
import type { SessionKind } from '../manifest/intent.js';

/** Everything that one look saw. */
export interface Observed {
  readonly now: number;
  readonly repos: Readonly<Record<string, ObservedRepo>>;
  readonly workspace: {
    readonly exists: boolean;
    /** The workspace's `.metawsm`: a folder, gone, or swapped for something else (a link, a file). */
    readonly sentinelFolder: 'folder' | 'missing' | 'foreign';
    /** What metawsm makes in it for the agents and is not there: their sentinel folders, briefs and contexts. */
    readonly gone: readonly string[];
  };
  readonly ticket: ObservedTicket;
  readonly agents: Readonly<Record<string, ObservedAgent>>;
  /** Every sentinel file found in the workspace's and the repos' `.metawsm` folders. */
  readonly sentinels: readonly FoundSentinel[];
  /** What `session: auto` means here and now. */
  readonly autoSession: SessionKind;
  /** What makes the plan impossible: missing programs, repos, branches. All of them at once. */
  readonly problems: readonly Problem[];
  readonly warnings: readonly Warning[];
}

/** A reason why nothing can be done, for a person. `hint` says what to do next. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** What a person should know and what stops nothing. */
export interface Warning {
  readonly code: string;
  readonly message: string;
  readonly file: string | null;
}

/** A repo of the run: its source clone, its branch and its worktree. */
export interface ObservedRepo {
  /** Resolved source clone; null where a url is not cloned yet. */
  readonly source: string | null;
  /** `git rev-parse --git-common-dir`, absolute: the identity of the repository. */
  readonly commonDir: string | null;
  /** Only for worktrees still to be made; null where it was not asked or could not be found. */
  readonly base: ObservedBase | null;
  /** The branch that the run uses for this repo: its commit, or null where it does not exist. */
  readonly branchCommit: string | null;
  /** Where that branch is checked out (a worktree path), or null. */
  readonly branchCheckedOutAt: string | null;
  readonly worktree: ObservedWorktree;
}

/** Where a worktree that is to be made starts. */
export interface ObservedBase {
  /** `origin`: fetch and use `origin/<base>`; `local`: the local branch or HEAD. */
  readonly from: 'origin' | 'local';
  /** The ref that gives the commit, such as `refs/remotes/origin/main`, `refs/heads/main` or `HEAD`. */
  readonly ref: string;
  /** null: not known before the fetch. */
  readonly commit: string | null;
}

export interface ObservedWorktree {
  /** `ready`: registered with git at this path and on disk; `prunable`: git knows it, the folder is gone; `foreign`: something else is there. */
  readonly state: 'ready' | 'missing' | 'prunable' | 'foreign';
  readonly branch: string | null;
  readonly head: string | null;
  /** Paths that `git status` names, without what metawsm put there itself. null: not looked at. */
  readonly dirtyFiles: readonly string[] | null;
  readonly ahead: number | null;
  readonly behind: number | null;
  readonly filesChanged: number | null;
  readonly insertions: number | null;
  readonly deletions: number | null;
  /** What exists nowhere else, one sentence each, where it was asked (cleanup, dropped repo). */
  readonly onlyHere: readonly string[];
}

export interface ObservedTicket {
  /** The folder of the ticket, or null where it does not exist. */
  readonly folder: string | null;
  /** The brief document of this run, found by its title. */
  readonly brief: { readonly path: string; readonly hash: string } | null;
}

/** `unknown`: the probe could not be made, which is never the same as dead. */
export type Liveness = 'alive' | 'dead' | 'unknown';

/** One attempt of an agent: its records, and whether its processes live. */
export interface ObservedAgent {
  /** The attempt that was looked at. */
  readonly attempt: number;
  /** Who holds the attempt's claim: its wrapper, metawsm itself (void, it can never run), or nobody yet. */
  readonly claim: 'wrapper' | 'void' | 'none';
  readonly wrapper: Liveness;
  /** The agent's own process; null: it was never started in this attempt. */
  readonly process: Liveness | null;
  readonly started: StartRecord | null;
  readonly exit: ExitRecord | null;
  /** The machine was started anew since the attempt began. */
  readonly rebooted: boolean;
  readonly lastOutputAt: number | null;
  /** Changes whenever a step, a sentinel, HEAD or `git status` of the agent's repos changes. */
  readonly progress: string;
}

/** `started.json` of an attempt in the state folder, written by the wrapper right after the spawn. */
export interface StartRecord {
  readonly pid: number;
  readonly pidStart: string;
  readonly wrapperPid: number;
  readonly wrapperPidStart: string;
  readonly bootId: string;
  readonly host: string;
  readonly startedAt: number;
}

/** `exit.json` of an attempt in the state folder: the one authority for how an agent ended. */
export interface ExitRecord {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly startedAt: number;
  readonly endedAt: number;
  /** Set when the command could not be started at all. */
  readonly error: string | null;
}

export type SentinelKind =
  | 'guidance-request'
  | 'guidance-response'
  | 'implementation-complete'
  | 'validation-result';

/** A file with a sentinel's name, read or the reason why it could not be. */
export interface FoundSentinel {
  readonly kind: SentinelKind;
  readonly file: string;
  /** Whose folder it lies in. */
  readonly place:
    | { readonly kind: 'agent'; readonly agent: string }
    | { readonly kind: 'workspace' }
    | { readonly kind: 'repo'; readonly repo: string };
  readonly content:
    | {
        readonly kind: 'valid';
        readonly value: SentinelValue;
        readonly digest: string;
        readonly mtime: number;
      }
    | { readonly kind: 'problem'; readonly reason: string };
}

/** The fields that any of the sentinel schemas allows; each kind's schema says which are there. */
export interface SentinelValue {
  readonly run_id?: string | null;
  readonly agent?: string | null;
  readonly attempt?: number | null;
  readonly request_id?: string | null;
  readonly guidance_id?: string | null;
  readonly question?: string;
  readonly answer?: string;
  readonly answered_at?: string;
  readonly context?: unknown;
  readonly summary?: string | null;
  readonly status?: string;
  readonly done_criteria?: readonly string[];
  readonly checks?: readonly unknown[];
  /** Commit per repo that a validation is about; absent: it counts for the HEADs at which it is first read. */
  readonly heads?: Readonly<Record<string, string>>;
}
