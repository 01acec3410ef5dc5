/** The smallest valid manifest, with parts replaced. */
export function minimal(
  parts: Partial<Record<'ticket' | 'repos' | 'agent' | 'workspace' | 'tickets' | 'policy', string>> = {},
): string {
  return `version: 1
${parts.ticket ?? 'ticket: T-1'}
${parts.repos ?? 'repos: [{name: api, path: ../api}]'}
intake:
  goal: g
  scope: s
  constraints: c
done_criteria:
  - it works
${parts.agent ?? 'agent: {command: ./agent.sh}'}
${parts.workspace ?? ''}${parts.tickets ? `\n${parts.tickets}` : ''}${parts.policy ?? ''}`;
}
