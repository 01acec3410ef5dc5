/** Where things are below the state folder. One place, so that nothing else joins these names. */
import { join } from 'node:path';

/** Folder of a run's own records, where its agents have no business. */
export function runFolder(state: string, runId: string): string {
  return join(state, 'runs', runId);
}

/** Folder of one attempt of an agent: claim, start and exit record, log. */
export function attemptFolder(state: string, runId: string, agent: string, attempt: number): string {
  return join(runFolder(state, runId), 'agents', agent, `attempt-${attempt}`);
}

/** Output of a step that runs a program. */
export function stepLog(state: string, runId: string, stepId: string): string {
  return join(runFolder(state, runId), 'steps', `${stepId.replace(/[^A-Za-z0-9._-]/g, '-')}.log`);
}

/** Folder with the output of a run's command criteria, a file for each check. */
export function criteriaFolder(state: string, runId: string): string {
  return join(runFolder(state, runId), 'criteria');
}

/** The clone of a `url:` repo. */
export function cloneFolder(state: string, name: string, digest: string): string {
  return join(state, 'clones', `${name}-${digest.slice(0, 10)}`);
}

/** Folder with the `metawsm` that agents find on their PATH. */
export function shimFolder(state: string): string {
  return join(state, 'bin');
}

/** Where repositories nested in a worktree are kept when that is removed. */
export function nestedFolder(state: string, runId: string, repo: string): string {
  return join(runFolder(state, runId), 'nested', repo);
}
