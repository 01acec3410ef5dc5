/** resume, restart and iterate: the operator's own request to converge, on the intent as it was last applied. */
import { convergeRun } from '../execute/converge.js';
import { Warner } from '../execute/look.js';
import { prepare, unknownIdentity } from '../execute/prepare.js';
import type { Request } from '../plan/plan.js';
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
      return plan;
    },
    perform: (run, world) =>
      convergeRun(run.id, request(run), world, {
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
      }),
  });
}
