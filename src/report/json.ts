/** The JSON view of events: one object a line, as `--json` of apply and its like promises. */
import type { AgentState } from '../plan/lifecycle.js';
import type { Event, Reporter, RunSummary } from './events.js';
import { unreachable } from './unreachable.js';

/**
 * Events for a program. Every field is there (null, not absent), `at` is RFC 3339 in UTC. Notes are for
 * persons and are left out. `now` gives milliseconds since the epoch.
 */
export function jsonReporter(options: { write(text: string): void; now(): number }): Reporter {
  return {
    emit(event) {
      const fields = jsonFields(event);
      if (fields === null) return;
      const { type, run_id = null, ...rest } = fields;
      const line = { type, at: new Date(options.now()).toISOString(), run_id, ...rest };
      options.write(`${JSON.stringify(line)}\n`);
    },
  };
}

/** An agent's state as programs know it: one that was never started is still to be. */
export function agentStateJson(state: AgentState): Exclude<AgentState, 'pending'> {
  return state === 'pending' ? 'starting' : state;
}

type Fields = { readonly type: string; readonly run_id?: string | null; readonly [name: string]: unknown };

/** An event's fields as programs read them; null: it is not for them. */
function jsonFields(event: Event): Fields | null {
  switch (event.type) {
    case 'version':
      return { type: event.type, format_version: event.formatVersion, metawsm: event.metawsm };
    case 'step':
      return {
        type: event.type,
        run_id: event.runId,
        id: event.id,
        state: event.state,
        attempt: event.attempt,
        duration_ms: event.durationMs === null ? null : elapsed(event.durationMs),
        error: event.error,
      };
    case 'run':
      return { type: event.type, run_id: event.runId, state: event.state, reason: event.reason };
    case 'agent':
      return {
        type: event.type,
        run_id: event.runId,
        name: event.name,
        state: agentStateJson(event.state),
        exit_code: event.exitCode,
      };
    case 'guidance':
      return {
        type: event.type,
        run_id: event.runId,
        id: event.id,
        agent: event.agent,
        question: event.question,
        state: event.state,
      };
    case 'criterion':
      return { type: event.type, run_id: event.runId, id: event.id, state: event.state };
    case 'gate':
      return { type: event.type, run_id: event.runId, name: event.name, ok: event.ok, reason: event.reason };
    case 'warning':
      return {
        type: event.type,
        run_id: event.runId,
        code: event.code,
        message: event.message,
        file: event.file,
      };
    case 'note':
      return null;
    case 'error':
      return {
        type: event.type,
        run_id: event.runId,
        code: event.code,
        message: event.message,
        hint: event.hint,
        step_id: event.stepId,
        log_tail: event.logTail,
      };
    case 'summary':
      return {
        type: event.type,
        exit_code: event.exitCode,
        duration_ms: elapsed(event.durationMs),
        runs: event.runs.map(runSummaryJson),
      };
    default:
      return unreachable(event);
  }
}

/** A clock that was set back meanwhile makes no time negative. */
function elapsed(milliseconds: number): number {
  return Math.max(0, Math.round(milliseconds));
}

/** One entry of a summary's `runs`. */
function runSummaryJson(run: RunSummary): unknown {
  return {
    run_id: run.runId,
    ticket: run.ticket,
    manifest: run.manifest,
    state: run.state,
    reason: run.reason,
    exit_code: run.exitCode,
    changed: run.changed,
    steps_done: run.stepsDone,
    steps_failed: run.stepsFailed,
    guidance_pending: run.guidancePending,
    criteria_passed: run.criteriaPassed,
    criteria_total: run.criteriaTotal,
    workspace: run.workspace,
    next: run.next && { argv: run.next.argv, text: run.next.text, why: run.next.why },
    error: run.error && {
      code: run.error.code,
      step_id: run.error.stepId,
      message: run.error.message,
      log_tail: run.error.logTail,
    },
  };
}
