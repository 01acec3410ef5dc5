/** The legal states of runs, agents and steps, and the one table of transitions between them. */

export type RunState =
  | 'created'
  | 'planning'
  | 'running'
  | 'awaiting_guidance'
  | 'paused'
  | 'failed'
  | 'completed'
  | 'stopping'
  | 'stopped'
  | 'closing'
  | 'closed';

/** Why a run is in its state, where one helps. */
export type RunReason =
  | 'agent_failed'
  | 'agent_dead'
  | 'rebooted'
  | 'step_failed'
  | 'exited_without_signal'
  | 'interrupted'
  | 'fix_attempts';

/** How a closed run ended. */
export type RunOutcome = 'delivered' | 'abandoned';

export type AgentState =
  | 'pending'
  | 'starting'
  | 'running'
  | 'exited'
  | 'completed'
  | 'failed'
  | 'dead'
  | 'stopped'
  | 'unknown';

export type Health = 'healthy' | 'idle' | 'stalled' | 'failed' | 'dead' | 'unknown' | 'none';

export type StepState = 'pending' | 'running' | 'done' | 'failed' | 'skipped';

const RUN_TRANSITIONS: Readonly<Record<RunState, readonly RunState[]>> = {
  created: ['planning', 'failed', 'stopping', 'closing', 'closed'],
  planning: ['running', 'failed', 'paused', 'stopping', 'closed'],
  running: ['awaiting_guidance', 'paused', 'failed', 'completed', 'stopping', 'closing', 'closed'],
  awaiting_guidance: ['running', 'paused', 'failed', 'completed', 'stopping', 'closing', 'closed'],
  paused: ['running', 'awaiting_guidance', 'failed', 'completed', 'stopping', 'closing', 'closed'],
  failed: ['running', 'awaiting_guidance', 'paused', 'completed', 'stopping', 'closing', 'closed'],
  completed: ['running', 'awaiting_guidance', 'paused', 'failed', 'stopping', 'closing', 'closed'],
  stopping: ['stopped', 'failed', 'closed'],
  stopped: ['running', 'stopping', 'closing', 'closed'],
  closing: ['closed', 'completed'],
  closed: [],
};

/**
 * Whether a run may go from one state to another. Staying in a state (with another reason) is always legal.
 */
export function mayTransition(from: RunState, to: RunState): boolean {
  return from === to || RUN_TRANSITIONS[from].includes(to);
}

/** States in which a run holds its ticket: a second manifest for the ticket is refused meanwhile. */
export function isOpen(state: RunState): boolean {
  return state !== 'closed';
}
