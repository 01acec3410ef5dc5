/** Where agents run. One interface, one file per driver; only `index.ts` knows the drivers. */
import type { SessionKind } from '../manifest/intent.js';

/** Everything a driver needs to start one attempt of an agent. */
export interface Launch {
  readonly agent: string;
  readonly attempt: number;
  /** Name of the session: [a-z0-9_-] only. */
  readonly sessionName: string;
  /** Folder of this attempt's record: `<state>/runs/<run>/agents/<agent>/attempt-<n>/`; made where it is missing. */
  readonly attemptDir: string;
  /** argv of the agent, no shell. */
  readonly argv: readonly string[];
  readonly cwd: string;
  /** The whole environment. Handed over in a file of mode 0600 that the wrapper removes, never on a command line. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of `env` that the manifest declares: what a pane has of its own (TERM, TMUX) does not replace them. */
  readonly declared: readonly string[];
}

/** What identifies a started session from then on. */
export interface SessionRef {
  readonly sessionName: string;
  /** Socket of the tmux server; null for process. */
  readonly tmuxSocket: string | null;
}

export interface SessionDriver {
  readonly kind: SessionKind;
  /**
   * Start the wrapper for one attempt in a fresh session (an old session of that name is ended first).
   * Returns as soon as the session exists; whether the agent lives is read from the attempt's record.
   */
  start(launch: Launch): Promise<SessionRef>;
  /** The session of a start that nobody lived to record. */
  find(sessionName: string): Promise<SessionRef>;
  /**
   * Whether the session exists, which says nothing about the agent in it. Without a terminal there is no session
   * beside the processes, so the answer is always `gone`.
   */
  exists(ref: SessionRef): Promise<'open' | 'gone' | 'unknown'>;
  /** End the session itself (a dead pane that was kept for reading, too). Fine when it is gone. */
  close(ref: SessionRef): Promise<void>;
  /** argv with which a person attaches to it; null where the driver has nothing to attach to. */
  attachArgv(ref: SessionRef): readonly string[] | null;
}
