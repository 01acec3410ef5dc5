/** What the brief says of a run. */
import type { RecordedRun } from '../plan/recorded.js';
import type { BriefInput, BriefRepo } from '../tickets/brief.js';

/** The recorded run as the brief's text needs it. */
export function briefInput(
  run: RecordedRun,
): BriefInput & { readonly repos: readonly (BriefRepo & { readonly baseCommit: string | null })[] } {
  return {
    runId: run.id,
    ticket: run.intent.ticket,
    workspace: run.workspace,
    manifestPath: run.intent.manifestPath,
    intake: run.intent.intake,
    criteria: run.intent.criteria,
    repos: run.repos.filter((repo) => !repo.removed),
    agents: run.agents.filter((agent) => !agent.removed),
  };
}
