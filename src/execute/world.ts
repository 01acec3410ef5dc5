/** What executing a step works with: the record, the state folder, the clock, and where news go. */
import { join } from 'node:path';
import type { RecordedRun } from '../plan/recorded.js';
import type { PlannedStep, StepKind, StepOf } from '../plan/steps.js';
import type { Reporter } from '../report/events.js';
import type { Store } from '../state/store.js';

/** What every execution has: one for a command and run. */
export interface World {
  readonly store: Store;
  readonly stateFolder: string;
  /** The environment as metawsm found it: what agents and setup commands inherit. */
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
  readonly reporter: Reporter;
  /** Aborted when the operator interrupts. */
  readonly signal: AbortSignal;
  /** How this metawsm is called again, for the shim on the agents' PATH. */
  readonly self: { readonly node: string; readonly main: string };
}

/** What one step is carried out with. */
export interface StepContext {
  readonly world: World;
  readonly runId: string;
  readonly planned: PlannedStep;
  /** The run as it is recorded at this moment. */
  run(): Promise<RecordedRun>;
  /** One line about what goes on in the step, shown at a terminal. */
  output(line: string): void;
}

/** How one kind of step is carried out. */
export interface StepHandler<K extends StepKind> {
  /**
   * Whether the step's effect is there already. Asked before every execution: after a crash the record says
   * `running` and only the world knows.
   */
  look(step: StepOf<K>, ctx: StepContext): Promise<boolean>;
  /** What must be recorded together with the step's start, in one transaction. */
  begin?(step: StepOf<K>, ctx: StepContext): Promise<void>;
  /** Do it. Throws when it cannot be done; may leave half of it, which `look` then sees. */
  do(step: StepOf<K>, ctx: StepContext): Promise<void>;
}

/** A step failed in a way that is no fault of metawsm: the sentence is for the operator. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed';
  constructor(
    message: string,
    /** What to do next. */
    readonly hint: string | null = null,
    /** Last lines of the output that shows why. */
    readonly logTail: readonly string[] = [],
    /** An agent's start failed: the run's reason is the agent, not the step. */
    readonly agentFailed = false,
  ) {
    super(message);
  }
}

/** It failed half way, and only a person can put that right: it is not tried again at once. */
export class StepStuck extends StepFailed {}

/** A step found on second sight that it must not do its work: refused (exit 4), nothing changed by it. */
export class StepRefused extends Error {
  override readonly name = 'StepRefused';
  constructor(
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

/** The manifest's own folder, for METAWSM_MANIFEST_DIR. */
export function manifestFolder(run: RecordedRun): string {
  return join(run.intent.manifestPath, '..');
}
