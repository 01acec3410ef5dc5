/** A plan as programs read it: `plan` of the JSON documents, format_version 1. */
import { hasChanges, type Plan, summarize } from '../plan/plan.js';

/** The document of one plan. */
export function planDocument(plan: Plan): Record<string, unknown> {
  return {
    format_version: 1,
    kind: 'plan',
    manifest: plan.manifest,
    ticket: plan.ticket,
    run_id: plan.isNew ? null : plan.run.id,
    run_state: plan.runState,
    resume_at_step: plan.resumeAt?.id ?? null,
    has_changes: hasChanges(plan),
    steps: plan.steps.map((step) => ({
      id: step.id,
      kind: step.step.kind,
      action: step.action,
      recorded_state: step.recordedState,
      repo: step.repo,
      agent: step.agent,
      reason: step.reason === '' ? null : step.reason,
      needs_yes: step.needsYes,
      commands: step.commands.map((command) => ({
        argv: command.argv,
        shell: command.shell,
        cwd: command.cwd,
        env_names: command.envNames,
      })),
    })),
    changes: plan.changes.map((change) => ({
      source: change.source,
      path: change.path,
      effect: change.effect,
      before: change.before,
      after: change.after,
      step_ids: change.stepIds,
    })),
    refused: plan.refused.map((refusal) => ({
      code: refusal.code,
      message: refusal.message,
      way_out: refusal.wayOut,
    })),
    warnings: plan.warnings,
    summary: summarize(plan),
  };
}

/** The document of several plans. */
export function plansDocument(plans: readonly Plan[]): Record<string, unknown> {
  return { format_version: 1, kind: 'plans', plans: plans.map(planDocument) };
}
