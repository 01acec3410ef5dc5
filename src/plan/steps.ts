/** The steps a plan is made of: pure data that fully determines what is executed. */
import type { Command, SessionKind } from '../manifest/intent.js';
import type { StepState } from './lifecycle.js';
import type { ObservedBase } from './observed.js';

/** Stable and unique within a run, such as `worktree.create/api` or `setup.run/api/1`. */
export type StepId = string;

export type Step =
  /** Make the workspace folder and the sentinel folders in it. */
  | { readonly kind: 'workspace.create'; readonly path: string; readonly sentinelDirs: readonly string[] }
  /** Create the ticket where it is missing. */
  | {
      readonly kind: 'ticket.create';
      readonly ticket: string;
      readonly title: string;
      readonly topics: readonly string[];
    }
  /** Write the run's brief as a document of the ticket. */
  | { readonly kind: 'ticket.brief'; readonly ticket: string; readonly title: string }
  /** Clone a `url:` repo into the state folder, once. */
  | { readonly kind: 'repo.clone'; readonly repo: string; readonly url: string; readonly path: string }
  /** Fetch the base branch from origin. */
  | { readonly kind: 'repo.fetch'; readonly repo: string; readonly source: string; readonly branch: string }
  /** `git worktree add` on a new branch from the base commit, or on the recorded branch where `existing`. */
  | {
      readonly kind: 'worktree.create';
      readonly repo: string;
      readonly source: string;
      readonly path: string;
      readonly branch: string;
      readonly baseBranch: string;
      readonly base: ObservedBase | null;
      /** The branch is the run's own and exists: check it out, do not create it. */
      readonly existing: boolean;
    }
  /** Copy untracked files of the source clone into the worktree. */
  | {
      readonly kind: 'worktree.copy';
      readonly repo: string;
      readonly source: string;
      readonly path: string;
      readonly globs: readonly string[];
    }
  /** Symlink untracked paths of the source clone into the worktree. */
  | {
      readonly kind: 'worktree.link';
      readonly repo: string;
      readonly source: string;
      readonly path: string;
      readonly paths: readonly string[];
    }
  /** One setup command in the fresh worktree. Runs at least once. */
  | {
      readonly kind: 'setup.run';
      readonly repo: string;
      /** From 1. */
      readonly index: number;
      readonly command: Command;
      readonly cwd: string;
    }
  /** Copy the ticket's folder into the worktree of the repo that holds the tickets root. */
  | { readonly kind: 'ticket.copy'; readonly repo: string; readonly path: string; readonly relative: string }
  /** Write `brief.md` and `context.json` for every agent; one that has an older brief is told what changed. */
  | {
      readonly kind: 'brief.write';
      /** What changed in the manifest since the brief was last written, for operator-feedback.md. */
      readonly changed: readonly string[];
    }
  /** Start an attempt of an agent. */
  | {
      readonly kind: 'agent.start';
      readonly agent: string;
      readonly command: Command;
      readonly cwd: string;
      readonly env: Readonly<Record<string, string>>;
      readonly session: SessionKind;
      readonly sessionName: string;
      readonly sentinelDir: string;
      readonly startGraceMs: number;
      /**
       * What the start costs: nothing, for it is a first one or was asked for by hand (`none`), one of the restart
       * budget (`counted`), or the free start that an unread answer buys (`free`).
       */
      readonly budget: 'none' | 'counted' | 'free';
      /** The unread answer that pays for a free start. */
      readonly freeFor: string | null;
      /** Not to be started before this moment (backoff), milliseconds since the epoch; 0: at once. */
      readonly notBefore: number;
      /** End the live attempt first. */
      readonly replace: boolean;
    }
  /** End an agent and its session. */
  | { readonly kind: 'agent.stop'; readonly agent: string; readonly sessionName: string }
  /** `git worktree remove` and prune; with `backup` its work is first saved under that ref. */
  | {
      readonly kind: 'worktree.remove';
      readonly repo: string;
      readonly source: string;
      readonly path: string;
      readonly branch: string;
      readonly backup: string | null;
    }
  /** Look once more, after the agents ended, whether the HEADs are those that the gates held at. */
  | { readonly kind: 'close.check'; readonly heads: Readonly<Record<string, string>> }
  /** Merge the branches into their local bases, in every repo or in none. */
  | { readonly kind: 'deliver.merge'; readonly merges: readonly Merge[] }
  /** Push a branch to origin. */
  | { readonly kind: 'deliver.push'; readonly repo: string; readonly source: string; readonly branch: string }
  /** Open a pull request for a pushed branch, or find the one that is open. */
  | {
      readonly kind: 'deliver.pull-request';
      readonly repo: string;
      readonly source: string;
      readonly branch: string;
      readonly base: string;
      readonly title: string;
    }
  /** Close the ticket, with a changelog entry. */
  | { readonly kind: 'ticket.close'; readonly ticket: string }
  /** Delete a branch that is provably in its base. */
  | {
      readonly kind: 'branch.delete';
      readonly repo: string;
      readonly source: string;
      readonly branch: string;
      readonly base: string;
    }
  /** Remove the workspace folder once its worktrees are gone. */
  | { readonly kind: 'workspace.remove'; readonly path: string };

export type StepKind = Step['kind'];
export type StepOf<K extends StepKind> = Extract<Step, { kind: K }>;

/** One repo's part of a merge delivery. */
export interface Merge {
  readonly repo: string;
  readonly source: string;
  readonly branch: string;
  /** Short name of the local base branch. */
  readonly base: string;
}

/** A command as plan shows it: argv, or the text a shell runs. Names of variables only, never their values. */
export interface PlannedCommand {
  readonly argv: readonly string[] | null;
  readonly shell: string | null;
  readonly cwd: string;
  readonly envNames: readonly string[];
}

/** What is done with a step's effect; `none`: it is there. */
export type StepAction = 'create' | 'update' | 'replace' | 'delete' | 'run' | 'none';

/** A step in a plan, with what is to be done about it. */
export interface PlannedStep {
  readonly id: StepId;
  readonly step: Step;
  readonly action: StepAction;
  readonly recordedState: StepState | null;
  readonly repo: string | null;
  readonly agent: string | null;
  /** Why it is in the plan, in a few words. */
  readonly reason: string;
  readonly needsYes: boolean;
  readonly commands: readonly PlannedCommand[];
  /** Hash of what determines the step: a recorded step with another hash is replaced. */
  readonly inputHash: string;
}

/** Why a plan is not empty: an edit of the manifest, or drift of the world. */
export interface Change {
  readonly source: 'manifest' | 'world';
  /** JSON-pointer like: `/intake/goal`, `worktree/api`. */
  readonly path: string;
  readonly effect: 'in_place' | 'restart' | 'refused';
  readonly before: string | null;
  readonly after: string | null;
  readonly stepIds: readonly StepId[];
}

/** Why nothing is executed, and what an operator can do about it. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly wayOut: string;
}
