/** `metawsm close`: pass the gates, deliver, close the ticket, remove the worktrees. */
import { closeRun, planClose } from '../execute/close.js';
import type { Gate } from '../plan/gates.js';
import type { Refusal } from '../plan/steps.js';
import { type Paint, paint } from '../report/paint.js';
import { safeText } from '../tools/files.js';
import type { CommandModule } from './commands.js';
import { operateOn } from './operate.js';
import { renderingOf } from './rendering.js';
import type { Spelling } from './world.js';

export const run: CommandModule['run'] = (ctx, positionals, options) => {
  const show = (gates: readonly Gate[]): void => {
    if (!ctx.json && gates.length > 0 && !(ctx.quiet && gates.every((gate) => gate.ok))) {
      ctx.stdout(gatesText(gates, paint(ctx.color)));
    }
  };
  return operateOn(ctx, positionals, options, {
    plan: async (run, look, spell) => {
      const { plan, gates: judged } = await planClose(run, look);
      const gates = spelledGates(judged, spell);
      show(gates);
      return ctx.json
        ? { ...plan, refused: plan.refused.flatMap((refusal) => perGate(refusal, gates)) }
        : plan;
    },
    perform: (run, world, spell) =>
      closeRun(run.id, world, {
        rendering: renderingOf(ctx),
        lockTimeoutMs: ctx.globals.lockTimeoutMs,
        gates: (judged) => {
          const gates = spelledGates(judged, spell);
          show(gates);
          for (const { name, ok, reason } of gates)
            world.reporter.emit({ type: 'gate', runId: run.id, name, ok, reason });
        },
      }),
  });
};

function spelledGates(gates: readonly Gate[], spell: Spelling): readonly Gate[] {
  return gates.map((gate) => ({ ...gate, reason: spell(gate.reason) }));
}

/** In the document of a plan, which has no gates: each that does not hold is a refusal of its own. */
function perGate(refusal: Refusal, gates: readonly Gate[]): readonly Refusal[] {
  if (refusal.code !== 'gates') return [refusal];
  const { wayOut } = refusal;
  return gates.filter(({ ok }) => !ok).map(({ name, reason }) => ({ code: name, message: reason, wayOut }));
}

/** The gates as a table. */
function gatesText(gates: readonly Gate[], colours: Paint): string {
  const width = Math.max(...gates.map((gate) => gate.name.length));
  const lines = gates.map(({ name, ok, reason }) => {
    const sign = ok ? colours.green('✔') : colours.red('✖');
    return `  ${sign} ${name.padEnd(width)}  ${safeText(reason).replace(/\s*\n\s*/g, ' ')}`;
  });
  return `Gates:\n${lines.join('\n')}\n`;
}
