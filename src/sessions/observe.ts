/** An attempt as it is now: its records, together with whether its processes live. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ExitRecord, ObservedAgent } from '../plan/observed.js';
import { isEarlierBoot, type ProcessIdentity, probe } from '../tools/process.js';
import { type Attempt, readAttempt, readExit } from './attempt.js';

export type AttemptView = Pick<
  ObservedAgent,
  'claim' | 'wrapper' | 'process' | 'started' | 'exit' | 'rebooted' | 'lastOutputAt'
>;

/** How long a live wrapper may take from its agent's end to the record of it. */
const EXIT_RECORD_WAIT_MS = 2_000;

/**
 * Looks at an attempt. `wrapper` is `unknown` while nobody has claimed it, and `dead` once it is void. An
 * agent that has just ended is not reported before its wrapper had time to record how (at most two seconds).
 * `lastOutputAt` is null until there is output.
 */
export async function observeAttempt(attemptDir: string): Promise<AttemptView> {
  const first = readAttempt(attemptDir);
  const wrapperIdentity = wrapperOf(first);
  const wrapper = wrapperLiveness(first, wrapperIdentity);
  let agent = first.started === null ? null : probe(first.started);
  // Records are read again after the look at the processes: whoever was seen dead wrote them before.
  let last = wrapper === 'dead' || agent === 'dead' ? readAttempt(attemptDir) : first;
  if (agent === 'dead' && wrapper === 'alive' && last.exit === null && wrapperIdentity !== null) {
    last = { ...last, exit: await awaitExit(attemptDir, wrapperIdentity, EXIT_RECORD_WAIT_MS) };
  }
  if (last.started !== null) agent = last.exit === null ? (agent ?? probe(last.started)) : 'dead';
  return {
    claim: last.claim,
    wrapper,
    process: agent,
    started: last.started,
    exit: last.exit,
    rebooted: wrapperIdentity !== null && isEarlierBoot(wrapperIdentity),
    lastOutputAt: last.log === null || last.log.size === 0 ? null : last.log.mtime,
  };
}

/** The attempt's exit record, waited for while its wrapper lives; null when none came in time. */
export async function awaitExit(
  attemptDir: string,
  wrapper: ProcessIdentity,
  limitMs: number,
): Promise<ExitRecord | null> {
  const end = performance.now() + limitMs;
  for (let wait = 2; ; wait = Math.min(wait * 2, 50)) {
    const alive = probe(wrapper) === 'alive';
    const exit = readExit(attemptDir);
    if (exit !== null || !alive || performance.now() >= end) return exit;
    await delay(wait);
  }
}

/** The process that runs an attempt; null where none was recorded. */
export function wrapperOf(attempt: Attempt): Required<ProcessIdentity> | null {
  if (attempt.claim === 'wrapper' && attempt.claimIdentity !== null) return attempt.claimIdentity;
  if (attempt.started === null) return null;
  const { wrapperPid: pid, wrapperPidStart: pidStart, host, bootId } = attempt.started;
  return { pid, pidStart, host, bootId };
}

function wrapperLiveness(attempt: Attempt, identity: ProcessIdentity | null): ObservedAgent['wrapper'] {
  if (attempt.claim === 'void') return 'dead';
  return identity === null ? 'unknown' : probe(identity);
}
