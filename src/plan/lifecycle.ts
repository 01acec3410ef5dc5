/** The legal states of runs, agents, steps and guidance, and the one table each of transitions between them. */
import type { GuidanceState } from './recorded.js';

/** The states of a run (PRODUCT §5). */
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

/** The states of an agent (PRODUCT §6); `pending`: never started. */
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

/** How a living agent does, and why one that ended did; `none`: nothing is to be said. */
export type Health = 'healthy' | 'idle' | 'stalled' | 'failed' | 'dead' | 'unknown' | 'none';

/** The states of a recorded step; `skipped`: it was given up with the close that it belonged to. */
export type StepState = 'pending' | 'running' | 'done' | 'failed' | 'skipped';

const RUN_TRANSITIONS: Readonly<Record<RunState, readonly RunState[]>> = {
  created: ['planning', 'failed', 'stopping', 'closing', 'closed'],
  planning: ['running', 'failed', 'paused', 'stopping', 'closed'],
  running: ['awaiting_guidance', 'paused', 'failed', 'completed', 'stopping', 'closing', 'closed'],
  awaiting_guidance: ['running', 'paused', 'failed', 'completed', 'stopping', 'closing', 'closed'],
  paused: ['running', 'awaiting_guidance', 'failed', 'completed', 'stopping', 'closing', 'closed'],
  failed: ['running', 'awaiting_guidance', 'paused', 'completed', 'stopping', 'closing', 'closed'],
  completed: ['running', 'awaiting_guidance', 'paused', 'failed', 'stopping', 'closing', 'closed'],
  stopping: ['running', 'stopped', 'failed', 'closed'],
  stopped: ['running', 'stopping', 'closing', 'closed'],
  closing: ['closed', 'completed'],
  closed: [],
};

/** What a look at an agent that was started may find, whatever was found before: observed beats recorded. */
const OBSERVABLE: readonly AgentState[] = [
  'starting',
  'running',
  'exited',
  'completed',
  'failed',
  'dead',
  'stopped',
  'unknown',
];

const AGENT_TRANSITIONS: Readonly<Record<AgentState, readonly AgentState[]>> = {
  pending: ['starting', 'failed', 'stopped', 'unknown'],
  starting: OBSERVABLE,
  running: OBSERVABLE,
  exited: OBSERVABLE,
  completed: OBSERVABLE,
  failed: OBSERVABLE,
  dead: OBSERVABLE,
  // How a process ended that metawsm itself ended says nothing: it is never read as failed, dead or exited.
  stopped: ['pending', 'starting', 'running', 'completed', 'unknown'],
  unknown: OBSERVABLE,
};

const STEP_TRANSITIONS: Readonly<Record<StepState, readonly StepState[]>> = {
  // Its effect may be there without it ever having run.
  pending: ['running', 'done', 'skipped'],
  running: ['pending', 'done', 'failed', 'skipped'],
  done: ['pending', 'running'],
  failed: ['pending', 'running', 'done', 'skipped'],
  skipped: ['pending', 'running', 'done'],
};

const GUIDANCE_TRANSITIONS: Readonly<Record<GuidanceState, readonly GuidanceState[]>> = {
  pending: ['answered', 'withdrawn'],
  answered: ['delivered', 'withdrawn'],
  delivered: [],
  withdrawn: [],
};

/**
 * Whether a run may go from one state to another. Staying in a state (with another reason) is always legal.
 */
export function mayTransition(from: RunState, to: RunState): boolean {
  return from === to || RUN_TRANSITIONS[from].includes(to);
}

/** Whether an agent may go from one state to another. Staying is always legal. */
export function mayTransitionAgent(from: AgentState, to: AgentState): boolean {
  return from === to || AGENT_TRANSITIONS[from].includes(to);
}

/** Whether a step may go from one state to another. Staying is always legal: a step that was cut off runs again. */
export function mayTransitionStep(from: StepState, to: StepState): boolean {
  return from === to || STEP_TRANSITIONS[from].includes(to);
}

/** Whether a question may go from one state to another. Staying is always legal. */
export function mayTransitionGuidance(from: GuidanceState, to: GuidanceState): boolean {
  return from === to || GUIDANCE_TRANSITIONS[from].includes(to);
}

/** States in which a run holds its ticket: a second manifest for the ticket is refused meanwhile. */
export function isOpen(state: RunState): boolean {
  return state !== 'closed';
}
