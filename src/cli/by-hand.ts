/** resume, restart and iterate: the operator's own request to converge, on the intent as it was last applied. */
import { convergeRun } from '../execute/converge.js';
import { Warner } from '../execute/look.js';
import { prepare, unknownIdentity } from '../execute/prepare.js';
import { loadManifest } from '../manifest/load.js';
import type { Warning } from '../plan/observed.js';
import { type Request, sameIntent } from '../plan/plan.js';
import type { RecordedRun } from '../plan/recorded.js';
import type { CommandContext } from './context.js';
import { operateOn } from './operate.js';
import type { CommandOptions } from './options.js';
import { renderingOf } from './rendering.js';

/** Meet a request for the selected run. The command itself is the operator's word: nothing is asked. */
export function convergeByHand(
  ctx: CommandContext,
  positionals: readonly string[],
  options: CommandOptions,
  request: (run: RecordedRun) => Request,
): Promise<number> {
  return operateOn(ctx, positionals, options, {
    plan: async (run, look) => {
      const { plan } = await prepare(run.intent, run, request(run), {
        ...look,
        offline: false,
        identity: unknownIdentity(ctx.now()),
      });
      return { ...plan, warnings: [...plan.warnings, ...(await editedSince(ctx, run))] };
    },
    perform: async (run, world) => {
      for (const warning of await editedSince(ctx, run)) {
        world.reporter.emit({ type: 'warning', runId: run.id, ...warning });
      }
      return convergeRun(run.id, request(run), world, {
        offline: false,
        concurrency: null,
        rendering: renderingOf(ctx),
        lockTimeoutMs: ctx.globals.lockTimeoutMs,
        warner: new Warner(world.reporter),
        confirm: async () => true,
        announce: (plan) => {
          if (plan.resumeAt === null) return;
          const { id, position, of } = plan.resumeAt;
          const text = `resuming ${plan.run.id} at ${id} (${position} of ${of})`;
          world.reporter.emit({ type: 'note', runId: plan.run.id, text });
        },
      });
    },
  });
}

/** What was last applied counts here: somebody who edited the manifest and restarts an agent may expect otherwise. */
async function editedSince(ctx: CommandContext, run: RecordedRun): Promise<readonly Warning[]> {
  const file = run.intent.manifestPath;
  const loaded = await loadManifest(file, ctx.env, ctx.cwd);
  if (!loaded.ok || loaded.intent.ticket.id !== run.ticketId || sameIntent(run.intent, loaded.intent))
    return [];
  return [
    {
      code: 'manifest_edited',
      message:
        'the manifest was edited since it was last applied; what was applied counts here, and metawsm apply takes the changes up',
      file,
    },
  ];
}
