/** A look at a run for `status`, which never waits for anybody. */
import { stat } from 'node:fs/promises';
import { type Looked, lookAt, recordLook } from '../execute/look.js';
import { attemptFolder } from '../execute/paths.js';
import type { Gate } from '../plan/gates.js';
import type { Problem, Warning } from '../plan/observed.js';
import type { RecordedRun } from '../plan/recorded.js';
import { asObserved, type StatusView, statusView } from '../report/status-view.js';
import { logFileOf } from '../sessions/attempt.js';
import { type Lock, LockHeld } from '../state/locks.js';
import type { Store } from '../state/store.js';
import type { CommandContext } from './context.js';
import { nextCommand, spellingFor, typedPath } from './world.js';

/** One look at a run. */
export interface StatusLook {
  readonly view: StatusView;
  /** Another process holds the run at this moment: what it does is not known yet. */
  readonly busy: boolean;
}

/** Looks at a run, again and again where that is asked. */
export class StatusLooker {
  readonly #checkManifest: (run: RecordedRun) => Promise<ManifestCheck>;

  constructor(
    private readonly ctx: CommandContext,
    private readonly store: Store,
    private readonly stateFolder: string,
  ) {
    this.#checkManifest = manifestChecker(ctx);
  }

  /**
   * Observe, reconcile, and record it when the run's lock is free at once; else show what was observed. Starts,
   * stops and removes nothing.
   */
  async look(runId: string): Promise<StatusLook> {
    const { store } = this;
    let lock: Lock | null = null;
    let unrecorded: string | null = null;
    let busy = false;
    try {
      lock = await store.acquireLock(`run:${runId}`, { timeoutMs: 0 });
    } catch (error) {
      // A record that cannot be written (full disk, read-only) is no reason to show nothing.
      if (!(error instanceof LockHeld) && !isStateProblem(error)) throw error;
      busy = error instanceof LockHeld;
      unrecorded = error instanceof LockHeld ? holderText(error) : error.message;
    }
    try {
      const recorded = await store.loadRun(runId);
      if (recorded.state === 'closed')
        return { view: await this.#view(recorded, null, null, [], [], false), busy: false };
      const { looked, problem } = await this.#observe(recorded);
      unrecorded ??= problem === null ? null : 'not everything could be looked at';
      let run = recorded;
      if (unrecorded === null) {
        try {
          run = await recordLook(store, SILENT, looked);
        } catch (error) {
          if (!isStateProblem(error)) throw error;
          unrecorded = error.message;
        }
      }
      if (unrecorded !== null) run = asObserved(recorded, looked.outcome);
      const gates = problem === null ? await this.#gates(run, looked) : [];
      return {
        view: await this.#view(run, looked, unrecorded, gates, problem === null ? [] : [problem], busy),
        busy,
      };
    } finally {
      await lock?.release().catch(() => {});
    }
  }

  /** A repository that git cannot read, or that goes away meanwhile, must not hide how the agents are. */
  async #observe(run: RecordedRun): Promise<{ looked: Looked; problem: Warning | null }> {
    const { env, now } = this.ctx;
    const look = {
      stateFolder: this.stateFolder,
      env: { ...env },
      now,
      diff: true,
      ...(gatesLook(run) ?? {}),
    };
    try {
      return { looked: await lookAt(run, look), problem: null };
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'ToolFailure') throw error;
      return {
        looked: await lookAt(run, { ...look, problems: [WITHOUT_GIT] }),
        problem: { code: 'repo_unreadable', message: error.message, file: null },
      };
    }
  }

  /** What close would say: only where it may be asked, because that takes more looking than all the rest. */
  async #gates(run: RecordedRun, looked: Looked): Promise<readonly Gate[]> {
    if (gatesLook(run) === null) return [];
    const { judgeGates } = await import('../execute/gates.js');
    try {
      // A run that this very look completed was not looked at for them.
      const known = gatesLook(looked.recorded) !== null;
      const full = known ? looked : (await this.#observe(run)).looked;
      return (await judgeGates({ ...full, recorded: run })).gates;
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'ToolFailure') throw error;
      return [];
    }
  }

  async #view(
    run: RecordedRun,
    looked: Looked | null,
    unrecorded: string | null,
    gates: readonly Gate[],
    more: readonly Warning[],
    busy: boolean,
  ): Promise<StatusView> {
    const { ctx, stateFolder } = this;
    const manifest = await this.#checkManifest(run);
    const spell = await spellingFor(ctx, run, { stateFolder });
    const problems = (looked?.observed.problems ?? [])
      .filter((found) => found !== WITHOUT_GIT)
      .map(({ code, message }) => ({ code, message, file: null }));
    return statusView({
      run,
      observed: looked?.observed ?? null,
      outcome: looked?.outcome ?? null,
      gates: gates.map((gate) => ({ ...gate, reason: spell(gate.reason) })),
      observedAt: looked?.observed.now ?? ctx.now(),
      unrecorded,
      manifest: typedPath(ctx, run.manifestPath),
      manifestGone: manifest.gone,
      warnings: [...(looked?.outcome.warnings ?? []), ...problems, ...more, ...manifest.warnings],
      next: await nextCommand(ctx, run, looked?.outcome ?? null, { store: this.store, stateFolder }, busy),
      logOf: (agent) => logFileOf(attemptFolder(stateFolder, run.id, agent.name, agent.attempt)),
    });
  }
}

/** What the gates of close want looked at besides; null: the run is in no state for them. */
function gatesLook(run: RecordedRun): { readonly onlyHere: 'all' } | null {
  return run.state === 'completed' || run.state === 'closing' ? { onlyHere: 'all' } : null;
}

/** Makes a look leave the repositories out. */
const WITHOUT_GIT: Problem = { code: 'program_missing', message: 'git was not asked', hint: '' };

/** A status tells everything on its page; the news of a look are no lines of their own. */
const SILENT = { emit: () => {} };

function holderText({ owner, liveness }: LockHeld): string {
  const doubt =
    liveness === 'alive' ? 'is at work' : 'holds the run; whether it lives cannot be seen from here';
  return `process ${owner.pid} on ${owner.host} (metawsm ${owner.command}) ${doubt}`;
}

function isStateProblem(error: unknown): error is Error {
  return error instanceof Error && error.name === 'StateProblem';
}

interface ManifestCheck {
  readonly gone: boolean;
  readonly warnings: readonly Warning[];
}

/**
 * Whether a run's manifest is there and usable. One that was not touched since the run was made was valid then,
 * so that most looks need no YAML; a file is read once for each of its versions.
 */
function manifestChecker(ctx: CommandContext): (run: RecordedRun) => Promise<ManifestCheck> {
  let known: { readonly version: string; readonly check: ManifestCheck } | null = null;
  return async (run) => {
    const file = run.intent.manifestPath;
    const stats = await stat(file).catch(() => null);
    if (stats === null) return { gone: true, warnings: [] };
    if (stats.mtimeMs <= run.createdAt || run.state === 'closed') return { gone: false, warnings: [] };
    const version = `${stats.mtimeMs} ${stats.size}`;
    if (known?.version !== version) {
      const { loadManifest } = await import('../manifest/load.js');
      const loaded = await loadManifest(file, ctx.env, ctx.cwd);
      const first = loaded.ok ? null : loaded.problems[0];
      const message = `the manifest cannot be used as it is now (${first?.message ?? 'invalid'}); the recorded run counts`;
      const warnings = loaded.ok ? [] : [{ code: 'manifest_broken', message, file }];
      known = { version, check: { gone: false, warnings } };
    }
    return known.check;
  };
}
