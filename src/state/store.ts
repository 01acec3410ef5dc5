/** The durable record: everything that metawsm remembers goes through this class. */
import { access, constants, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Intent } from '../manifest/intent.js';
import type { RunState } from '../plan/lifecycle.js';
import type { NewGuidance, Outcome } from '../plan/outcome.js';
import type {
  RecordedAgent,
  RecordedBrief,
  RecordedDelivery,
  RecordedEvidence,
  RecordedGuidance,
  RecordedRepo,
  RecordedRun,
  RecordedStep,
} from '../plan/recorded.js';
import * as agents from './agents.js';
import { rootOf, type StateContext, toStoredPath } from './context.js';
import { Database, type SqlValue } from './database.js';
import * as evidence from './evidence.js';
import { createStateFolder } from './folder.js';
import * as guidance from './guidance.js';
import * as journal from './journal.js';
import {
  type Lock,
  type LockHolder,
  type LockName,
  type LockOwner,
  Locks,
  type LockWait,
  type Probe,
} from './locks.js';
import * as lookup from './lookup.js';
import { migrate } from './migrations.js';
import { codeOf, fileProblem, StateProblem, type StateProblemCode } from './problem.js';
import * as runs from './runs.js';
import { openSnapshot } from './snapshot.js';
import * as steps from './steps.js';

/** SQLite says no more than that it cannot open a file: the folder may tell why. */
async function inFull(error: unknown, stateFolder: string): Promise<unknown> {
  if (!(error instanceof StateProblem) || error.code !== 'state_denied') return error;
  return access(stateFolder, constants.W_OK).then(
    () => error,
    (reason: unknown) => fileProblem(reason, stateFolder),
  );
}

/** Problems of writing, not of what is recorded. */
const CANNOT_WRITE: ReadonlySet<StateProblemCode> = new Set([
  'state_readonly',
  'state_full',
  'state_io',
  'state_denied',
]);

export interface StoreOptions {
  /** metawsm's own version: kept in the database for those who meet a layout they do not know. */
  readonly version: string;
  /** This process, as the owner of the locks it takes. */
  readonly owner: LockOwner;
  /** Whether the owner of a lock lives. */
  readonly probe: Probe;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

export interface RunQuery {
  readonly ticket?: string;
  /** Absolute. */
  readonly manifestPath?: string;
  /** null: all of them. Default 20. */
  readonly limit?: number | null;
}

export type RunCreated =
  /** `lock`: the run's lock, taken with it. */
  | { readonly kind: 'created'; readonly lock: Lock }
  /** An open run holds this manifest or its ticket already. */
  | { readonly kind: 'exists'; readonly runId: string; readonly holds: 'manifest' | 'ticket' };

/**
 * All calls may be made at the same time; each is atomic, and `transaction` makes one of several. A change of
 * state and its event in the journal are one. Throws `StateProblem` when the database cannot be used and
 * `IllegalTransition` for a change that the tables of plan/lifecycle.ts do not allow.
 */
export class Store {
  readonly #context: StateContext;
  readonly #locks: Locks;

  private constructor(
    context: StateContext,
    options: StoreOptions,
    /** Absolute path of the database. */
    readonly file: string,
  ) {
    this.#context = context;
    this.#locks = new Locks(context, options.owner, options.probe);
  }

  /** Opens the record for writing and makes it, with its folder, where it is missing. */
  static async create(stateFolder: string, options: StoreOptions): Promise<Store> {
    await createStateFolder(stateFolder);
    return Store.#open(stateFolder, options, true);
  }

  /** Opens the record for writing; null where there is none. */
  static async open(stateFolder: string, options: StoreOptions): Promise<Store | null> {
    const file = databaseFile(stateFolder);
    try {
      await stat(file);
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return null;
      throw fileProblem(error, file);
    }
    return Store.#open(stateFolder, options, false);
  }

  /** A look at the record as it is at this moment, without writing anything; null where there is none. */
  static async openReadOnly(stateFolder: string, options: StoreOptions): Promise<Store | null> {
    const file = databaseFile(stateFolder);
    const db = await openSnapshot(file, options.version);
    return db === null ? null : new Store(await contextOf(db, stateFolder, options), options, file);
  }

  /**
   * As `open`; where the disk does not let anybody write (full, read-only, somebody else's) as `openReadOnly`, and
   * every write then throws what stood against it.
   */
  static async openForLook(stateFolder: string, options: StoreOptions): Promise<Store | null> {
    try {
      return await Store.open(stateFolder, options);
    } catch (error) {
      if (!(error instanceof StateProblem) || !CANNOT_WRITE.has(error.code)) throw error;
      // Where it cannot be read either, the first problem says more.
      const store = await Store.openReadOnly(stateFolder, options).catch(() => null);
      if (store === null) throw error;
      store.#context.db.freeze(error);
      return store;
    }
  }

  static async #open(stateFolder: string, options: StoreOptions, create: boolean): Promise<Store> {
    const file = databaseFile(stateFolder);
    const db = await Database.open(file, { create }).catch(async (error: unknown) => {
      throw await inFull(error, stateFolder);
    });
    try {
      await migrate(db, options.version);
      return new Store(await contextOf(db, stateFolder, options), options, file);
    } catch (error) {
      await db.close().catch(() => {});
      throw error;
    }
  }

  /** Waits for what was asked and closes. Closing twice is fine. */
  close(): Promise<void> {
    return this.#context.db.close();
  }

  /** Makes one of all calls that `fn` makes: together or not at all. Nothing slow belongs into it. */
  transaction<T>(fn: () => Promise<T>): Promise<T> {
    return this.#context.db.transaction(fn);
  }

  // Runs

  /**
   * Records a new run with its repos and agents, in state planning, and takes its lock, all at once. Not when
   * an open run holds the manifest or the ticket, unless `beside`.
   */
  async createRun(run: runs.NewRun, options: { readonly beside: boolean }): Promise<RunCreated> {
    const { db, root } = this.#context;
    const path = await toStoredPath(root, run.manifestPath);
    return db.transaction<RunCreated>(async () => {
      // Open means not closed: `isOpen` of plan/lifecycle.ts.
      const holder = await db.get(
        `SELECT id, manifest_path FROM runs WHERE state <> 'closed' AND (manifest_path = ? OR ticket_id = ?)
         ORDER BY manifest_path = ? DESC, seq DESC LIMIT 1`,
        [path, run.ticketId, path],
      );
      if (holder !== undefined && !options.beside) {
        const holds = holder.manifest_path === path ? 'manifest' : 'ticket';
        return { kind: 'exists', runId: String(holder.id), holds };
      }
      await runs.insertRun(this.#context, run);
      return { kind: 'created', lock: await this.#locks.takeNew(`run:${run.id}`) };
    });
  }

  /** A run as recorded. Throws when there is no run of this id. */
  async loadRun(runId: string): Promise<RecordedRun> {
    const [run] = await runs.readRuns(this.#context, 'id = ?', [runId]);
    if (run === undefined) throw new Error(`no run ${runId} in ${this.file}`);
    return run;
  }

  /** Runs, newest first. */
  async findRuns(query: RunQuery = {}): Promise<RecordedRun[]> {
    const conditions = ['true'];
    const params: SqlValue[] = [];
    if (query.ticket !== undefined) {
      conditions.push('ticket_id = ?');
      params.push(query.ticket);
    }
    if (query.manifestPath !== undefined) {
      conditions.push('manifest_path = ?');
      params.push(await toStoredPath(this.#context.root, query.manifestPath));
    }
    const limit = query.limit === undefined ? 20 : query.limit;
    return runs.readRuns(this.#context, conditions.join(' AND '), params, limit);
  }

  /** The run of a manifest (PRODUCT: Which run). `exists` says whether a recorded manifest is still there. */
  resolveManifestRun(
    manifestPath: string,
    ticketId: string,
    exists: (path: string) => boolean | Promise<boolean>,
  ): Promise<lookup.ManifestRun> {
    return lookup.resolveManifestRun(this.#context, manifestPath, ticketId, exists);
  }

  /** The run that an operator means. A relative manifest path is relative to `cwd`. */
  resolveSelector(selector: lookup.Selector, cwd: string): Promise<lookup.Selected> {
    return lookup.resolveSelector(this.#context, selector, cwd);
  }

  /** The one place where a run changes its state. Resolves to whether it did; a detail alone does not count. */
  transitionRun(runId: string, to: RunState, why: runs.Transition = {}): Promise<boolean> {
    return runs.transitionRun(this.#context, runId, to, why);
  }

  /** Records what an apply carried out. A manifest that was moved is known under its new path from then on. */
  saveIntent(runId: string, intent: Intent): Promise<void> {
    return runs.saveIntent(this.#context, runId, intent);
  }

  /** Records how often failed criteria were handed back to the agents. */
  saveFixAttempts(runId: string, count: number): Promise<void> {
    return runs.saveFixAttempts(this.#context, runId, count);
  }

  /** Records where criteria run that name no repo. */
  saveCriterionRepos(runId: string, criterionRepos: RecordedRun['criterionRepos']): Promise<void> {
    return runs.saveCriterionRepos(this.#context, runId, criterionRepos);
  }

  /** Records where the brief is. */
  saveBrief(runId: string, brief: RecordedBrief): Promise<void> {
    return runs.saveBrief(this.#context, runId, brief);
  }

  // Repos and agents

  /** Adds a repo; one that was removed comes back under its newly decided names. */
  addRepo(runId: string, repo: runs.NewRepo): Promise<void> {
    return runs.addRepo(this.#context, runId, repo);
  }

  /** Writes what differs. Resolves to whether anything did. */
  updateRepo(runId: string, name: string, patch: Partial<Omit<RecordedRepo, 'name'>>): Promise<boolean> {
    return runs.updateRepo(this.#context, runId, name, patch);
  }

  /** Adds an agent; one that was removed comes back and goes on counting its attempts. */
  addAgent(runId: string, agent: agents.NewAgent): Promise<void> {
    return agents.addAgent(this.#context, runId, agent);
  }

  /** Writes what differs. Resolves to whether the agent's state changed. */
  updateAgent(runId: string, name: string, patch: Partial<Omit<RecordedAgent, 'name'>>): Promise<boolean> {
    return agents.updateAgent(this.#context, runId, name, patch);
  }

  // Steps

  /**
   * Makes the record hold these steps: missing ones are added, those with another input hash begin anew. With
   * `others: 'remove'` steps that are not named leave the record.
   */
  planSteps(
    runId: string,
    planned: readonly steps.StepToRecord[],
    others: 'remove' | 'keep' = 'remove',
  ): Promise<steps.StepsPlanned> {
    return steps.planSteps(this.#context, runId, planned, others);
  }

  /** A step begins; written before anything is done. Resolves to the number of this try, from 1. */
  stepStarted(runId: string, id: string, child: RecordedStep['child'] = null): Promise<number> {
    return steps.stepStarted(this.#context, runId, id, child);
  }

  /** A step ended, or was found done. Resolves to the number of the try and how long it took. */
  stepEnded(runId: string, id: string, end: steps.StepEnd): Promise<steps.StepMoment> {
    return steps.stepEnded(this.#context, runId, id, end);
  }

  /** The process that carries a running step out, so that after a crash it can be seen whether it still runs. */
  stepChild(runId: string, id: string, child: RecordedStep['child']): Promise<void> {
    return steps.stepChild(this.#context, runId, id, child);
  }

  // Guidance

  /** Records a question once, however often its file is read, until its answer is delivered. */
  recordGuidance(
    runId: string,
    asked: NewGuidance,
  ): Promise<{ readonly guidance: RecordedGuidance; readonly isNew: boolean }> {
    return guidance.recordGuidance(this.#context, runId, asked);
  }

  /** Records an answer; one that was not delivered yet may be given again. `at` in ms since the epoch. */
  answerGuidance(runId: string, id: string, answer: string, at: number): Promise<RecordedGuidance> {
    return guidance.answerGuidance(this.#context, runId, id, answer, at);
  }

  /** The response file was written. */
  markDelivered(runId: string, id: string): Promise<RecordedGuidance> {
    return guidance.move(this.#context, runId, id, 'delivered');
  }

  /** The agent took its question back, or replaced it. */
  withdrawGuidance(runId: string, id: string): Promise<RecordedGuidance> {
    return guidance.move(this.#context, runId, id, 'withdrawn');
  }

  /**
   * Records what a look at the world meant, all at once.
   * Resolves to what is new: the questions, the agents whose state changed, whether the run's did.
   */
  applyReconciled(
    runId: string,
    outcome: Pick<Outcome, 'run' | 'agents' | 'newGuidance' | 'withdrawn'> &
      Partial<Pick<Outcome, 'attested'>>,
  ) {
    return this.transaction(async () => {
      const changedAgents: string[] = [];
      const questions: RecordedGuidance[] = [];
      for (const id of outcome.withdrawn) await this.withdrawGuidance(runId, id);
      for (const asked of outcome.newGuidance) {
        const { guidance: question, isNew } = await this.recordGuidance(runId, asked);
        if (isNew) questions.push(question);
      }
      for (const { name, patch } of outcome.agents) {
        if (await this.updateAgent(runId, name, patch)) changedAgents.push(name);
      }
      for (const found of outcome.attested ?? []) await this.addEvidence(runId, found);
      const { run } = outcome;
      const runChanged = run !== null && (await this.transitionRun(runId, run.state, run));
      return { runChanged, changedAgents, questions };
    });
  }

  // Evidence and deliveries

  /** Records one check of one criterion, or one word about it. */
  addEvidence(runId: string, found: RecordedEvidence): Promise<void> {
    return evidence.addEvidence(this.#context, runId, found);
  }

  /** Records how far the delivery of a repo is. */
  saveDelivery(runId: string, delivery: RecordedDelivery): Promise<void> {
    return evidence.saveDelivery(this.#context, runId, delivery);
  }

  // Journal and locks

  /** Appends a line to the journal; nothing ever changes or deletes it. Never give it an expanded env value. */
  appendEvent(runId: string | null, type: string, data: Readonly<Record<string, unknown>>): Promise<void> {
    return journal.appendEvent(this.#context, runId, type, data);
  }

  /** The journal of a run, oldest first. */
  events(runId: string): Promise<journal.StoredEvent[]> {
    return journal.readEvents(this.#context, runId);
  }

  /** Takes a lock, or throws `LockHeld` after the time. Taken over only from a provably dead owner. */
  acquireLock(name: LockName, wait: LockWait): Promise<Lock> {
    return this.#locks.acquire(name, wait);
  }

  /** Who holds a lock, unless that owner is provably dead. Changes nothing. */
  lockOwner(name: LockName): Promise<LockHolder | null> {
    return this.#locks.owner(name);
  }
}

function databaseFile(stateFolder: string): string {
  return join(stateFolder, 'metawsm.db');
}

async function contextOf(db: Database, stateFolder: string, options: StoreOptions): Promise<StateContext> {
  const now = options.now ?? Date.now;
  return { db, now: () => Math.trunc(now()), root: await rootOf(stateFolder) };
}
