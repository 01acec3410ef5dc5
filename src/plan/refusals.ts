/** What a run's state allows an operator to ask for: one table (PRODUCT §5), with the way out of each refusal. Pure. */
import type { Outcome } from './outcome.js';
import type { Request } from './plan.js';
import type { RecordedRun } from './recorded.js';
import type { Refusal } from './steps.js';

/** Why a request cannot be met in the state that the run is in; null: it can. */
export function refusalForState(request: Request, run: RecordedRun, outcome: Outcome | null): Refusal | null {
  const state = outcome?.run?.state ?? run.state;
  const reason = outcome?.run === null || outcome === null ? run.reason : outcome.run.reason;
  const byHand = request.kind !== 'apply';
  switch (state) {
    case 'closing':
      return refuse(
        'run_closing',
        `run ${run.id} is being closed`,
        `metawsm close ${run.selector} continues it`,
      );
    case 'closed':
      if (byHand) {
        return refuse(
          'run_closed',
          `run ${run.id} is closed (${run.outcome ?? 'ended'})`,
          'metawsm apply starts a new run',
        );
      }
      return null;
    case 'stopping':
      return byHand
        ? null
        : refuse(
            'run_stopping',
            `run ${run.id} was being stopped by an operator and that did not end`,
            `metawsm stop ${run.selector} ends it, metawsm resume ${run.selector} goes on`,
          );
    case 'stopped':
      return byHand
        ? null
        : refuse(
            'run_stopped',
            `run ${run.id} was stopped by an operator`,
            `metawsm resume ${run.selector} goes on where it stopped, metawsm restart ${run.selector} starts the agents afresh`,
          );
    case 'paused':
      if (byHand || reason === 'interrupted') return null;
      if (reason === 'exited_without_signal') {
        return refuse(
          'run_paused',
          `run ${run.id} is paused: ${outcome?.run?.detail ?? 'an agent exited with status 0 without signalling completion'}`,
          `look at metawsm logs ${run.selector}, then metawsm resume ${run.selector} or metawsm restart ${run.selector}`,
        );
      }
      if (reason === 'fix_attempts') {
        return refuse(
          'run_paused',
          `run ${run.id} is paused: ${run.detail ?? 'its fix attempts are used up'}`,
          `metawsm iterate ${run.selector} --feedback TEXT starts the agent again; mended by hand, metawsm verify ${run.selector}`,
        );
      }
      return refuse(
        'run_paused',
        `run ${run.id} is paused${reason === null ? '' : ` (${reason})`}`,
        `metawsm resume ${run.selector} or metawsm restart ${run.selector} goes on`,
      );
    default:
      return null;
  }
}

function refuse(code: string, message: string, wayOut: string): Refusal {
  return { code, message, wayOut };
}
