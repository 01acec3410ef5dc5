/** The names that are decided once, when a run is created, and recorded: never derived a second time. Pure. */

/** `<ticket in lower case, other than [a-z0-9-] replaced by ->-<token>`. */
export function workspaceName(ticket: string, token: string): string {
  return `${slug(ticket)}-${token}`;
}

/** Fill in a branch template: `{workspace}`, `{ticket}`, `{token}`, `{repo}`. */
export function branchName(
  template: string,
  values: {
    readonly workspace: string;
    readonly ticket: string;
    readonly token: string;
    readonly repo: string;
  },
): string {
  return template.replace(/\{(workspace|ticket|token|repo)\}/g, (_, key: keyof typeof values) => values[key]);
}

/** Name of an agent's session: [a-z0-9_-] only, because tmux reads `.` and `:` in a name as its own syntax. */
export function sessionName(workspace: string, agent: string): string {
  return `${workspace}-${agent}`;
}

/** Where the run's brief stands among the ticket's documents. */
export function briefTitle(runId: string): string {
  return `Run brief ${runId}`;
}

function slug(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9-]/g, '-');
}
