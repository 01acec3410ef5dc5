/** A look at a recorded run: observe, reconcile, and (under its lock) record what that means. */
import type { Observed } from '../plan/observed.js';
import type { Outcome } from '../plan/outcome.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { Reporter } from '../report/events.js';
import { reconcile } from '../sentinels/reconcile.js';
import type { Store } from '../state/store.js';
import { type Look, observe } from './observe.js';

/** A run as it was recorded, what was seen of it, and what that means. */
export interface Looked {
  /** As recorded before the look. */
  readonly recorded: RecordedRun;
  readonly observed: Observed;
  readonly outcome: Outcome;
}

/** Look at a run; changes nothing. */
export async function lookAt(recorded: RecordedRun, look: Look): Promise<Looked> {
  const observed = await observe(recorded, look);
  return { recorded, observed, outcome: reconcile(recorded, observed) };
}

/** Record what a look means and tell what is new. The caller holds the run's lock. Gives the run as it is then. */
export async function recordLook(store: Store, reporter: Reporter, looked: Looked): Promise<RecordedRun> {
  const { outcome } = looked;
  const runId = looked.recorded.id;
  const changed = await store.applyReconciled(runId, outcome);
  for (const name of changed.changedAgents) {
    const agent = outcome.agents.find((a) => a.name === name);
    if (agent === undefined) continue;
    reporter.emit({ type: 'agent', runId, name, state: agent.patch.state, exitCode: agent.patch.exitCode });
  }
  for (const { id, agent, question } of changed.questions) {
    reporter.emit({ type: 'guidance', runId, id, agent, question, state: 'pending' });
  }
  for (const { label, kind, state, detail } of outcome.attested) {
    reporter.emit({ type: 'criterion', runId, id: label, kind, state, detail });
  }
  if (changed.runChanged && outcome.run !== null) {
    reporter.emit({ type: 'run', runId, state: outcome.run.state, reason: outcome.run.reason });
  }
  return store.loadRun(runId);
}

/** Remembers which warnings were told, so that a watch says each of them once. */
export class Warner {
  readonly #told = new Set<string>();

  constructor(private readonly reporter: Reporter) {}

  tell(runId: string, warnings: Outcome['warnings']): void {
    for (const { code, message, file } of warnings) {
      const key = `${runId} ${code} ${message}`;
      if (this.#told.has(key)) continue;
      this.#told.add(key);
      this.reporter.emit({ type: 'warning', runId, code, message, file });
    }
  }
}
